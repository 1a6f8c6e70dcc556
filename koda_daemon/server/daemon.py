"""The daemon: a connection, the methods it answers, and the host behind them, from start to a clean end."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
from msgspec import Raw

from koda_daemon import __version__
from koda_daemon.ai.auth.redact import REDACTOR
from koda_daemon.base.errors import KodaError
from koda_daemon.coding.settings import koda_home, load_settings
from koda_daemon.host.host import Host
from koda_daemon.server.commands import HostCommands
from koda_daemon.server.connection.connection import Connection, IncomingRequest, Limits
from koda_daemon.server.connection.envelope import METHOD_NOT_FOUND, Response, RpcError
from koda_daemon.server.connection.lifecycle import Gate, ProcessWatch, run_until_end
from koda_daemon.server.connection.stderr import StderrHandler
from koda_daemon.server.connection.transport import Transport, claim_stdio, open_transport
from koda_daemon.server.face import AfterStream, Face
from koda_daemon.server.features import METHODS as FEATURES
from koda_daemon.server.language.capabilities import client_support, server_capabilities
from koda_daemon.server.link import LanguageLink
from koda_daemon.server.protocol import initialize as p
from koda_daemon.server.protocol.decode import decoder, koda_capabilities, struct_decoder
from koda_daemon.server.protocol.errors import error_object
from koda_daemon.server.protocol.methods import EVENTS

_log = logging.getLogger(__name__)

WARM_AFTER = 0.03
"""Seconds of rest before SDKs are imported, so that the import is never in the way of a waiting answer."""

_initialize_params = struct_decoder(p.InitializeParams)


class Serving:
    """One host and whoever needs it: opened when first asked for, closed with the daemon."""

    def __init__(self, options: Callable[[], dict[str, Any] | None] = lambda: None) -> None:
        self._options = options
        self._opened: asyncio.Future[Host] | None = None
        self._task: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()
        self.problems: list[KodaError] = []
        """What is wrong in the settings; complete once it is ``examined``."""
        self.examined = asyncio.Event()

    async def host(self) -> Host:
        """The open host. Raises ``KodaError`` when the store cannot be opened."""
        if self._opened is None:
            self._opened = asyncio.get_running_loop().create_future()
            # The host's task group must be entered and left by one task.
            self._task = asyncio.create_task(self._run(self._opened))
        return await asyncio.shield(self._opened)

    async def _run(self, opened: asyncio.Future[Host]) -> None:
        try:
            async with Host.open(options=self._options(), problems=self.problems) as host:
                opened.set_result(host)
                host.problems += await asyncio.to_thread(host.models.problems)
                self.examined.set()
                await self._stop.wait()
        except Exception as error:
            if opened.done():
                raise
            _log.exception("the host cannot be opened")
            broken = KodaError("internal", f"Koda cannot open its store: {type(error).__name__}: {error}")
            opened.set_exception(error if isinstance(error, KodaError) else broken)
            opened.exception()  # whoever asks gets it; nobody has to
            self._opened = None  # the next request tries again

    async def close(self) -> None:
        """Cancels what runs and closes the store."""
        self._stop.set()
        if self._task is not None:
            await self._task


class Client:
    """The handler of one connection (``connection.Handler``): lifecycle, koda/*, and the language tier for the rest."""

    def __init__(self, serving: Serving | None = None, watch: ProcessWatch | None = None) -> None:
        self.serving = serving or Serving(lambda: self._client_options)
        self._watch = watch
        self._client_options: dict[str, Any] | None = None
        self._connection: Connection | None = None
        self._face: Face | None = None
        self._language: LanguageLink | None = None
        self._strict = False
        self._warming: asyncio.TimerHandle | None = None

    async def request(self, request: IncomingRequest, /) -> Any:
        self._warm_later()
        feature = FEATURES.get(request.method)
        if feature is not None:
            assert self._face is not None
            result = await feature(self._face, decoder(request.method, self._strict)(request.params))
            if isinstance(result, AfterStream):
                request.route = self._face.route(result)
                return result.result
            return result
        if request.method == "initialize":
            return self._initialize(request)
        if request.method == "shutdown":
            return None
        if request.method.startswith("koda/") or self._language is None:
            raise RpcError(METHOD_NOT_FOUND, f"no such method: {request.method}")
        return await self._language.request(request)

    def notification(self, method: str, params: Raw | None, /) -> Coroutine[Any, Any, None] | None:
        if self._language is not None and method != "initialized" and not method.startswith("koda/"):
            self._language.notification(method, params)
        return None

    def response(self, response: Response, /) -> bool:
        return self._language is not None and self._language.response(response)

    def _initialize(self, request: IncomingRequest) -> p.InitializeResult:
        params = _initialize_params(request.params)
        opted = koda_capabilities(params.capabilities)
        connection = self._connection = request.connection
        if self._watch is not None and params.process_id is not None:
            self._watch.watch(params.process_id)
        given: dict[str, Any] = msgspec.json.decode(request.params or b"{}")
        options = given.get("initializationOptions")
        self._client_options = options.get("koda") if isinstance(options, dict) else None
        self._strict = opted is not None and opted.strict
        commands = HostCommands(self.serving.host)
        self._language = LanguageLink(connection, given, commands)
        self._face = commands.face = Face(
            connection,
            self.serving.host,
            name=params.client_info.name if params.client_info is not None else "client",
            opted_in=opted is not None,
            max_latency=max(0, opted.max_latency_ms or 0) / 1000 if opted is not None else 0,
            workspace_folder=_workspace_folder(params),
            shows_progress=client_support(params.capabilities).progress,
            language=self._language,
        )
        capabilities = server_capabilities(params.capabilities)
        capabilities["experimental"] = {
            "koda": p.KodaServerCapabilities(
                protocol_version=p.PROTOCOL_VERSION,
                methods=tuple(FEATURES),
                events=_event_names(),
                limits=p.Limits(
                    max_message_bytes=connection.limits.max_message_bytes,
                    outbox_bytes=connection.limits.outbox_bytes,
                ),
            )
        }
        # Opened while the client reads the answer; a failure reaches the first request that needs it.
        loop = asyncio.get_running_loop()
        loop.call_soon(lambda: asyncio.ensure_future(self._open_host()))
        self._warming = loop.call_later(WARM_AFTER, lambda: asyncio.ensure_future(self._warm()))
        return p.InitializeResult(
            capabilities=capabilities, server_info=p.ServerInfo(name="koda-daemon", version=__version__)
        )

    async def _open_host(self) -> None:
        try:
            await self.serving.host()
        except KodaError as error:
            _log.error("%s", error.message)
            return
        # What is wrong with the files is told at once, ahead of the answers that come of it; providers take a while.
        told = len(self.serving.problems)
        self._tell(self.serving.problems[:told])
        await self.serving.examined.wait()
        self._tell(self.serving.problems[told:])

    def _tell(self, problems: list[KodaError]) -> None:
        for problem in problems:
            _log.warning("%s", problem.message)
            if self._connection is not None:
                self._connection.notify("window/showMessage", {"type": 2, "message": f"Koda: {problem.message}"})

    def _warm_later(self) -> None:
        """Puts the warming off: every request does, so that it begins when the client rests for the first time."""
        if self._warming is not None:
            self._warming.cancel()
            self._warming = asyncio.get_running_loop().call_later(
                WARM_AFTER, lambda: asyncio.ensure_future(self._warm())
            )

    async def _warm(self) -> None:
        """Imports, off the loop, what the first prompt will need."""
        self._warming = None
        try:
            host = await self.serving.host()
            await host.warm()
        except KodaError as error:
            _log.info("not warmed: %s", error.message)
        if self._language is not None and self._face is not None and not self._face.opted_in:
            self._language.tier.start()  # a client that opted in may never need it: its first LSP message loads it

    async def close(self) -> None:
        if self._warming is not None:
            self._warming.cancel()
        if self._face is not None:
            self._face.close()
        if self._language is not None:
            self._language.close()


def _event_names() -> Raw:
    """The types of events as a JSON array with escaped dots: quick clients tell events by the bytes of their type
    without parsing them, and must not take this list for one."""
    return Raw(msgspec.json.encode(list(EVENTS)).replace(b".", rb"\u002e"))


def error_of(error: Exception) -> RpcError | None:
    """A ``KodaError`` on the wire; None (an internal error, logged) for anything else."""
    if not isinstance(error, KodaError):
        _log.error("a request failed", exc_info=error)
        return RpcError(_INTERNAL.code, "Internal error; the daemon's log has the details.", _INTERNAL.data)
    known = error_object(error)
    return RpcError(known.code, known.message, known.data)


_INTERNAL = error_object(KodaError("internal", ""))


def _workspace_folder(params: p.InitializeParams) -> str | None:
    from koda_daemon.server.language.uris import path_of

    if params.workspace_folders:
        return path_of(params.workspace_folders[0].uri)
    if params.root_uri is not None:
        return path_of(params.root_uri)
    return params.root_path


def connection_limits() -> Limits:
    """The user's bounds for connections. What is wrong in the settings is told when a client is there to hear it."""
    settings = load_settings(koda_home(os.environ), None, os.environ, problems=[]).connection
    return Limits(max_message_bytes=settings.max_message_bytes, outbox_bytes=settings.outbox_bytes)


async def _serve_stdio(transport: Transport) -> int:
    watch = ProcessWatch()
    client = Client(watch=watch)
    gate = Gate(client)
    connection = Connection(transport, gate, limits=connection_limits(), error_of=error_of)

    async def shutdown() -> None:
        await client.close()
        await client.serving.close()

    return await run_until_end(connection, gate, shutdown=shutdown, parent=watch)


def _log_to_stderr(level: str) -> None:
    handler = StderrHandler()
    handler.addFilter(REDACTOR)
    logging.basicConfig(
        level=logging.getLevelNamesMapping().get(level.upper(), logging.WARNING),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        handlers=[handler],
    )


def serve_main(*, socket: str | None = None) -> int:
    """Serves on stdin and stdout, or on a Unix socket, until the end; gives the exit code."""
    _log_to_stderr(os.environ.get("KODA_LOG", "warning"))
    # What is imported at the start stays: collecting it again and again only costs time, then and later.
    gc.freeze()
    gc.enable()
    if socket is not None:
        from koda_daemon.server.socket import serve_socket_main

        return serve_socket_main(socket)
    fds = claim_stdio()

    async def main() -> int:
        return await _serve_stdio(open_transport(*fds))

    return asyncio.run(main())
