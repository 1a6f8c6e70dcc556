"""What the wire APIs over HTTP and server-sent events share: connect once, post, read events, end exactly once."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import anyio
import anyio.to_thread

from koda_daemon.ai.discovery import read_list
from koda_daemon.ai.events import StreamEvent
from koda_daemon.ai.provider import BaseProvider, Context, Model, ModelFacts, StreamOptions
from koda_daemon.ai.providers import ProviderConfig
from koda_daemon.ai.stream import AssistantMessageEventStream
from koda_daemon.ai.wire.assembler import Assembler
from koda_daemon.ai.wire.surrogates import SurrogateJoiner, needs_mending
from koda_daemon.base.errors import KodaError
from koda_daemon.base.loading import background_import

if TYPE_CHECKING:
    import httpx2

    from koda_daemon.ai.http import Answer, HttpPool

_log = logging.getLogger(__name__)
_WRITERS = 8
Fetch: TypeAlias = Callable[[str, bytes | None], Awaitable[bytes]]


class Reader(Protocol):
    """Reads the payloads of one answer into an ``Assembler``."""

    @property
    def malformed(self) -> int:
        """How many events were not JSON and were skipped."""

    @property
    def ended(self) -> bool:
        """The last event has come; what follows is not read."""

    @property
    def error(self) -> Any:
        """The decoded error event that ended the answer, or None."""

    def read(self, payload: bytes) -> None:
        """Takes the data of one event."""

    def close(self, config: ProviderConfig) -> None:
        """Ends the answer; a ``KodaError`` if it was cut off."""


class Writer(Protocol):
    """Encodes the requests to one model."""

    def body(self, context: Context, options: StreamOptions, extra: Mapping[str, Any]) -> bytes:
        """The whole request as JSON, with the fields of ``extra`` added."""


class SSEProvider(BaseProvider):
    """One provider row: its connections and, per model, what was encoded before."""

    def __init__(self, config: ProviderConfig) -> None:
        self.config = config
        self._pool: HttpPool | None = None
        self._url: httpx2.URL | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._writers: dict[Model, Writer] = {}
        self._lock = anyio.Lock()

    @abstractmethod
    def address(self, pool: HttpPool) -> tuple[httpx2.URL, dict[str, str]]:
        """The address of requests and the headers that authorize them. Runs in a thread: it may import an SDK."""

    async def target(self, model: Model, context: Context, body: bytes) -> tuple[httpx2.URL, list[tuple[bytes, bytes]]]:
        """Where one request goes, and its headers. For APIs where that depends on the model, the body or the hour."""
        assert self._url is not None
        if self.config.token is None:
            return self._url, self._headers
        return self._url, with_header(self._headers, b"authorization", f"Bearer {await self.config.token()}")

    def payloads(self, answer: Answer) -> AsyncGenerator[bytes]:
        """The events of an open answer, for ``Reader.read``. For APIs that frame them otherwise."""
        return answer.payloads()

    @abstractmethod
    def writer(self, model: Model) -> Writer:
        """A writer for a model."""

    @abstractmethod
    def reader(self, assembler: Assembler) -> Reader:
        """A reader for one answer."""

    def list_request(self) -> tuple[str, dict[str, str]] | None:
        """Where the provider lists its models, and the credentials for that; None where that is not known."""
        return None

    async def list_models(self) -> Sequence[ModelFacts] | None:
        request = self.list_request()
        if request is None:
            return None
        address, headers = request
        async with self._fetcher(headers) as fetch:
            return read_list(await fetch(address, None), self.config.name)

    @asynccontextmanager
    async def _fetcher(self, headers: Mapping[str, str]) -> AsyncIterator[Fetch]:
        """What gets a document of the provider (with a body: by POST). It raises ``KodaError``."""
        from koda_daemon.ai.http import HttpPool

        if self.config.token is not None:
            headers = {**headers, "authorization": f"Bearer {await self.config.token()}"}
        encoded = self._encoded(headers)
        pool = self._pool if self._pool is not None else await anyio.to_thread.run_sync(HttpPool, self.config)

        async def fetch(address: str, body: bytes | None) -> bytes:
            return await pool.fetch(address, encoded, body)

        try:
            yield fetch
        finally:
            if pool is not self._pool:
                await pool.aclose()

    async def warm(self) -> None:
        async with self._lock:
            if self._pool is None:
                await anyio.to_thread.run_sync(self._import_and_connect)

    async def aclose(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.aclose()

    def stream(self, model: Model, context: Context, options: StreamOptions) -> AssistantMessageEventStream:
        assembler = Assembler(model, self.api_type)
        return AssistantMessageEventStream(self._run(model, context, options, assembler), lambda: assembler.spent)

    def _import_and_connect(self) -> None:
        with background_import():
            self._connect()

    def _connect(self) -> None:
        from koda_daemon.ai.http import HttpPool

        pool = HttpPool(self.config)
        self._url, headers = self.address(pool)
        self._headers = self._encoded(headers)
        self._pool = pool

    def _encoded(self, headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
        """Headers as they are sent; those of the settings win."""
        from koda_daemon.ai.http import encoded_headers

        lower = {name.lower(): value for name, value in headers.items()}
        lower |= {name.lower(): value for name, value in self.config.headers.items()}
        try:
            return encoded_headers(lower)
        except UnicodeEncodeError:
            path = f"providers.{self.config.id}"
            what = f"{path}: the key or a header holds characters that HTTP cannot carry."
            raise KodaError("params.invalid", what, path=path) from None

    async def _run(
        self, model: Model, context: Context, options: StreamOptions, assembler: Assembler
    ) -> AsyncGenerator[StreamEvent]:
        answer: Answer | None = None
        out = assembler.out
        try:
            try:
                answer = await self._post(model, context, options)
                assembler.start()
                reader = self.reader(assembler)
                joiner = SurrogateJoiner()
                async with aclosing(self.payloads(answer)) as payloads:
                    async for payload in payloads:
                        reader.read(joiner.joined(payload) if needs_mending(payload) else payload)
                        if out:
                            for event in out:
                                yield event
                            out.clear()
                        if reader.ended:
                            break
                await answer.finish()
                if reader.malformed:
                    _log.warning("%s sent %d malformed events; they were skipped", self.config.id, reader.malformed)
                if reader.error is not None:
                    assert self._pool is not None
                    raise self._pool.rejected(None, reader.error, {})
                reader.close(self.config)
            except KodaError as error:
                assembler.failed(error)
            for event in out:
                yield event
        finally:
            if answer is not None:
                await answer.aclose()

    async def _post(self, model: Model, context: Context, options: StreamOptions) -> Answer:
        if self._pool is None:
            await self.warm()
        assert self._pool is not None
        writer = self._writers.get(model)
        if writer is None:
            if len(self._writers) >= _WRITERS:
                self._writers.pop(next(iter(self._writers)))
            writer = self._writers[model] = self.writer(model)
        own = options.extra.get("body", {})
        if not isinstance(own, dict):
            raise KodaError("params.invalid", "options.provider.body must be an object.", path="options.provider.body")
        extra = self.config.options.get("body", {}) | own
        body = writer.body(context, options, extra)
        url, headers = await self.target(model, context, body)
        return await self._pool.post(url, headers, body)


def address_under(base_url: str, path: str) -> httpx2.URL:
    """``path`` below an address; a query of the address stays."""
    import httpx2

    url = httpx2.URL(base_url)
    below, mark, query = url.raw_path.partition(b"?")
    return url.copy_with(raw_path=below.rstrip(b"/") + b"/" + path.encode() + mark + query)


def with_header(headers: list[tuple[bytes, bytes]], name: bytes, value: str) -> list[tuple[bytes, bytes]]:
    """``headers`` with one of them (lower case) set anew."""
    return [*(pair for pair in headers if pair[0] != name), (name, value.encode("latin-1"))]


def broken_off(config: ProviderConfig, detail: str = "") -> KodaError:
    """The error of an answer that stopped without its end."""
    what = f"{config.name} broke the answer off{f' ({detail})' if detail else ''}."
    return KodaError("provider.unreachable", what, retryable=True)
