"""The bytes of one streamed request: a pooled httpx2 client per provider row, its errors told in our kinds.

The request body is already encoded and the answer's bytes are read here, since the decoding of SDKs costs ten times
what all else does. Where a cloud's sign-in is more than a header, its client is given this pool.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncGenerator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

import anyio

from koda_daemon.ai.errors import classify
from koda_daemon.ai.providers import ProviderConfig
from koda_daemon.ai.sse import SSEReader
from koda_daemon.base.errors import KodaError

if TYPE_CHECKING:
    import ssl

    import httpx2

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_ERROR_BODY = 65_536
_DOCUMENT = 32 << 20
_BOM = b"\xef\xbb\xbf"
_BLANK = _BOM + b" \t\r\n"
_GRACE = 0.05  # seconds to wait for the end of a body whose last event has come, so that its connection can be reused


class HttpPool:
    """Keep-alive connections to one provider. Made off the loop: loading TLS roots blocks."""

    def __init__(self, config: ProviderConfig) -> None:
        import httpx2

        from koda_daemon.ai.http_chunks import merge_chunks

        merge_chunks()
        self._config = config
        self.read_timeout = config.seconds("readTimeout", 300.0)
        self.connect_timeout = config.seconds("connectTimeout", 10.0)
        try:
            url = httpx2.URL(config.base_url)
            if url.port is not None and url.port > 65_535:
                raise httpx2.InvalidURL("no such port")
        except httpx2.InvalidURL as error:
            raise self.failure(error) from None
        self.client: httpx2.AsyncClient = httpx2.AsyncClient(
            timeout=httpx2.Timeout(self.read_timeout, connect=self.connect_timeout),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=16, keepalive_expiry=60.0),
            verify=certificates(url.scheme),
            # HTTP_PROXY and its like; such a proxy is never meant for a server on this machine.
            trust_env=url.host not in _LOOPBACK,
            proxy=self._proxy(),
        )
        self._timeouts = {
            "connect": self.connect_timeout,
            "read": self.read_timeout,
            "write": 60.0,
            "pool": self.connect_timeout,
        }

    async def aclose(self) -> None:
        await self.client.aclose()

    def _proxy(self) -> httpx2.Proxy | None:
        """The proxy of the settings (``options.proxy``), which stands above those of the environment."""
        import httpx2

        chosen = self._config.options.get("proxy")
        try:
            return None if chosen is None else httpx2.Proxy(chosen)
        except (ValueError, TypeError, httpx2.InvalidURL):
            path = f"providers.{self._config.id}.options.proxy"
            raise KodaError("params.invalid", f"{path} is not the address of a proxy.", path=path) from None

    async def post(self, url: httpx2.URL, headers: list[tuple[bytes, bytes]], body: bytes) -> Answer:
        """Sends ``body`` and returns the open answer; a ``KodaError`` for any status but 200."""
        import httpx2

        request = httpx2.Request("POST", url, headers=headers, content=body, extensions={"timeout": self._timeouts})
        try:
            response = await self.client.send(request, stream=True)
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, OSError) as error:
            raise self.failure(error) from None
        if response.status_code == 200:
            if not response.headers.get("content-type", "").startswith("text/html"):
                return Answer(self, response)
            await response.aclose()
            what = f"{self._config.name} answered with a web page."
            raise KodaError("provider.unreachable", what, user_action="Check the provider's baseUrl.")
        try:
            text = await _read_error(response)
        finally:
            await response.aclose()
        raise self.rejected(response.status_code, text, response.headers)

    async def fetch(
        self, url: str, headers: list[tuple[bytes, bytes]], body: bytes | None = None, *, timeout: float = 10.0
    ) -> bytes:
        """A small document: by GET, or with ``body`` by POST. A ``KodaError`` for any status but 200."""
        import httpx2

        kept = [pair for pair in headers if pair[0] not in (b"accept", b"content-type")]
        kept.append((b"accept", b"application/json"))
        if body is not None:
            kept.append((b"content-type", b"application/json"))
        try:
            request = httpx2.Request("GET" if body is None else "POST", url, headers=kept, content=body)
            with anyio.fail_after(timeout):
                response = await self.client.send(request, stream=True)
                try:
                    if response.status_code != 200:
                        raise self.rejected(response.status_code, await _read_error(response), response.headers)
                    document = bytearray()
                    async for chunk in response.aiter_bytes():
                        document += chunk
                        if len(document) > _DOCUMENT:
                            raise KodaError("provider.unreachable", f"{self._config.name} sent too much.")
                    return bytes(document)
                finally:
                    await response.aclose()
        except TimeoutError:
            what = f"{self._config.name} sent nothing within {timeout:g} s."
            raise KodaError("provider.unreachable", what, retryable=True) from None
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, OSError) as error:
            raise self.failure(error) from None

    def rejected(self, status: int | None, body: bytes | Mapping[str, object], headers: Mapping[str, str]) -> KodaError:
        """The classified error of an answer, or (status None) of an error event inside one."""
        config = self._config
        secrets = tuple(filter(None, (config.api_key, *config.headers.values())))
        return classify(
            config.name,
            status,
            body,
            headers,
            secrets=secrets,
            env=config.env,
            empty_is_overflow=config.compat.empty_error_is_overflow,
        )

    def failure(self, error: Exception) -> KodaError:
        """The error of a connection that could not be made or broke. Texts of exceptions are left out."""
        import httpx2

        if isinstance(error, httpx2.InvalidURL | httpx2.UnsupportedProtocol):
            path = f"providers.{self._config.id}.baseUrl"
            return KodaError("params.invalid", f"{path} is not an http(s) address.", path=path)
        name, host = self._config.name, httpx2.URL(self._config.base_url).netloc.decode("ascii", "replace")
        host = host.rpartition("@")[2]
        if isinstance(error, httpx2.ConnectTimeout | httpx2.PoolTimeout):
            what = f"No connection to {name} ({host}) within {self.connect_timeout:g} s."
        elif _is_about_certificates(error):
            what = f"{name} ({host}) shows a certificate that this machine does not trust."
            action = "If a proxy or your own server made it, set SSL_CERT_FILE to a file with its certificates."
            return KodaError("provider.unreachable", what, user_action=action)
        elif isinstance(error, httpx2.ProxyError):
            what = f"The proxy refuses to connect to {name} ({host})."
        elif isinstance(error, httpx2.ConnectError):
            what = f"Cannot connect to {name} ({host})."
        elif isinstance(error, httpx2.TimeoutException):
            what = f"{name} sent nothing for {self.read_timeout:g} s."
        else:
            what = f"The connection to {name} ({host}) broke off ({type(error).__name__})."
        return KodaError("provider.unreachable", what, retryable=True)


class Answer:
    """An open 200 answer. Iterate over ``payloads`` once, then ``finish``; ``aclose`` is safe at any time."""

    def __init__(self, pool: HttpPool, response: httpx2.Response) -> None:
        self._pool = pool
        self._response = response
        self._chunks = self._raw()

    @property
    def is_json(self) -> bool:
        """The server did not stream: one JSON document follows."""
        return self._response.headers.get("content-type", "").startswith("application/json")

    async def payloads(self) -> AsyncGenerator[bytes]:
        """The ``data`` of each server-sent event; for an answer that is not streamed, the whole document."""
        begin = b""
        async for chunk in self._chunks:
            begin += chunk
            if begin.strip(_BLANK):
                break
        # What the body is, its first character tells better than the content type does.
        if begin.lstrip(_BLANK)[:1] in (b"{", b"["):
            yield b"".join([begin, *[chunk async for chunk in self._chunks]]).removeprefix(_BOM)
            return
        reader = SSEReader()
        for payload in _fed(reader, begin):
            yield payload
        async for chunk in self._chunks:
            for payload in _fed(reader, chunk):
                yield payload
        for payload in reader.close():
            yield payload

    def chunks(self) -> AsyncGenerator[bytes]:
        """The body as it comes, for what is neither; instead of ``payloads``."""
        return self._chunks

    async def _raw(self) -> AsyncGenerator[bytes]:
        import httpx2

        response = self._response
        coded = response.headers.get("content-encoding", "identity") != "identity"
        source = response.aiter_bytes() if coded else response.aiter_raw()
        try:
            async for chunk in source:
                yield chunk
        except (httpx2.HTTPError, httpx2.StreamError, OSError) as error:
            raise self._pool.failure(error) from None

    async def finish(self) -> None:
        """After the last event: reads to the end of the body if that is at hand, so that the connection is kept."""
        with contextlib.suppress(KodaError), anyio.move_on_after(_GRACE):
            async for _ in self._chunks:
                pass
        await self.aclose()

    async def aclose(self) -> None:
        await self._chunks.aclose()
        await self._response.aclose()


@lru_cache(maxsize=1)
def _trusted(sources: tuple[str | None, ...]) -> ssl.SSLContext:
    import ssl

    import httpx2

    context = httpx2.create_ssl_context()
    if any(sources):
        # Python 3.13 also demands extensions that the authorities of companies and proxies often lack.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def certificates(scheme: str) -> ssl.SSLContext:
    """What servers are trusted by: ``SSL_CERT_FILE`` or ``SSL_CERT_DIR``, else the system's store. Loaded once."""
    import ssl

    if scheme != "https":
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return _trusted((os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")))


def _is_about_certificates(error: BaseException) -> bool:
    import ssl

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


async def _read_error(response: httpx2.Response) -> bytes:
    import httpx2

    body = bytearray()
    # What was read of a long, slow or broken error text is enough.
    with contextlib.suppress(httpx2.HTTPError, httpx2.StreamError, OSError), anyio.move_on_after(10.0):
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > _ERROR_BODY:
                break
    return bytes(body)


def encoded_headers(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """The headers of every request of a provider, ready for the wire. ``headers`` may override all but the body's."""
    from koda_daemon import __version__

    merged = {"user-agent": f"koda-daemon/{__version__}"} | {name.lower(): value for name, value in headers.items()}
    # Uncompressed, so that no event waits in a codec.
    merged |= {"accept": "text/event-stream", "accept-encoding": "identity", "content-type": "application/json"}
    return [(name.encode("ascii"), value.encode("latin-1")) for name, value in merged.items()]


def _fed(reader: SSEReader, chunk: bytes) -> list[bytes]:
    try:
        return reader.feed(chunk)
    except ValueError as error:
        raise KodaError("provider.unreachable", str(error)) from None
