"""A client of the daemon: starts one as a process of its own and speaks the protocol to it over stdio."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from koda_daemon import __version__
from koda_daemon.base.errors import ERROR_KINDS, KodaError
from koda_daemon.server.connection.frames import FrameError, FrameParser, encode_frame

Message: TypeAlias = dict[str, Any]
Answer: TypeAlias = Callable[[Any], Awaitable[Any]]
"""Answers a request of the daemon: takes its params, gives the result."""

_INVALID_PARAMS = -32602
_METHOD_NOT_FOUND = -32601
_STDERR_KEPT = 8 * 1024
_END_SECONDS = 3.0


class DaemonClient:
    """One daemon process. Use it through ``DaemonClient.start``.

    Every failure is a ``KodaError``: what the daemon answers, and that it is gone. Nothing waits for a dead daemon.
    """

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        answers: Mapping[str, Answer],
        on_message: Callable[[Message], None] | None,
    ) -> None:
        self.on_notification: Callable[[str, Any], None] = lambda method, params: None
        """Called with each notification. What it raises ends the conversation: every request raises it then."""
        self._process = process
        self._answers = answers
        self._on_message = on_message
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._next_id = 1
        self._failure: Exception | None = None
        self._stderr = b""
        self._answering: set[asyncio.Task[None]] = set()

    @classmethod
    @asynccontextmanager
    async def start(
        cls,
        *,
        cwd: Path,
        environ: Mapping[str, str] | None = None,
        options: Mapping[str, Any] | None = None,
        answers: Mapping[str, Answer] | None = None,
        on_message: Callable[[Message], None] | None = None,
        argv: Sequence[str] | None = None,
    ) -> AsyncIterator[DaemonClient]:
        """Starts a daemon for the workspace folder ``cwd``, shakes hands, and ends it when the block is left.

        ``options`` are settings for this daemon; ``answers`` serve its requests (``koda/approval/request``), which are
        refused otherwise; ``on_message`` sees everything that the daemon sends, before it is acted upon. The daemon is
        not in our process group, so that Ctrl-C reaches us alone.
        """
        process = await asyncio.create_subprocess_exec(
            *(argv or (sys.executable, "-m", "koda_daemon", "--stdio")),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=None if environ is None else dict(environ),
            start_new_session=True,
        )
        client = cls(process, answers or {}, on_message)
        readers = [asyncio.create_task(client._read()), asyncio.create_task(client._read_stderr())]
        try:
            await client._initialize(cwd, options)
            yield client
        finally:
            await client._end()
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, *client._answering, return_exceptions=True)

    async def request(self, method: str, params: Mapping[str, Any] | None = None) -> Any:
        """Asks the daemon and waits for its answer. Cancelling it cancels the request (``$/cancelRequest``)."""
        if self._failure is not None:
            raise self._failure
        number, self._next_id = self._next_id, self._next_id + 1
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._send({"jsonrpc": "2.0", "id": number, "method": method, "params": params or {}})
        try:
            return await answer
        except asyncio.CancelledError:
            self.notify("$/cancelRequest", {"id": number})
            raise
        finally:
            del self._waiting[number]

    def notify(self, method: str, params: Mapping[str, Any] | None = None) -> None:
        """Tells the daemon something; nothing happens when it is gone."""
        self._send({"jsonrpc": "2.0", "method": method} | ({} if params is None else {"params": params}))

    async def _initialize(self, cwd: Path, options: Mapping[str, Any] | None) -> None:
        uri = cwd.as_uri()
        await self.request(
            "initialize",
            {
                "processId": os.getpid(),
                "clientInfo": {"name": "koda-daemon command line", "version": __version__},
                "rootUri": uri,
                "workspaceFolders": [{"uri": uri, "name": cwd.name}],
                "capabilities": {"experimental": {"koda": {"versions": ["1.0"]}}},
                "initializationOptions": {"koda": dict(options)} if options else None,
            },
        )
        self.notify("initialized", {})

    def _send(self, message: Message) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        if self._failure is None and not stdin.is_closing():
            # Not drained: what a command line sends is small, and a dead daemon is noticed by the reader.
            stdin.write(encode_frame(msgspec.json.encode(message)))

    async def _read(self) -> None:
        try:
            await self._read_messages()
        except Exception as error:  # of a callback: whoever waits for an answer must hear of it
            self._fail(error)

    async def _read_messages(self) -> None:
        assert self._process.stdout is not None
        parser = FrameParser()
        while data := await self._process.stdout.read(65536):
            for item in parser.feed(data):
                if isinstance(item, FrameError):
                    raise KodaError("internal", f"The daemon sent something that is no message: {item.message}.")
                try:
                    message = msgspec.json.decode(item)
                except msgspec.DecodeError as error:
                    raise KodaError("internal", "The daemon sent something that is not JSON.") from error
                self._take(message)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), _END_SECONDS)
        code = self._process.returncode
        how = "" if code is None else f" with exit code {code}"
        raise self._told(KodaError("internal", f"The daemon has ended{how}."))

    async def _read_stderr(self) -> None:
        assert self._process.stderr is not None
        shown = "KODA_LOG" in os.environ
        while data := await self._process.stderr.read(4096):
            self._stderr = (self._stderr + data)[-_STDERR_KEPT:]
            if shown:
                sys.stderr.write(data.decode(errors="replace"))

    def _take(self, message: Any) -> None:
        if not isinstance(message, dict):
            return
        if self._on_message is not None:
            self._on_message(message)
        method, number = message.get("method"), message.get("id")
        if method is None:
            answer = self._waiting.get(number) if isinstance(number, int) else None
            if answer is None or answer.done():
                return
            if "error" in message:
                answer.set_exception(self._told(_error(message["error"])))
            else:
                answer.set_result(message.get("result"))
        elif number is None:
            self.on_notification(method, message.get("params"))
        else:
            task = asyncio.ensure_future(self._answer(number, method, message.get("params")))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)

    async def _answer(self, number: Any, method: str, params: Any) -> None:
        reply: Message = {"jsonrpc": "2.0", "id": number}
        answer = self._answers.get(method)
        if answer is None:
            reply["error"] = {"code": _METHOD_NOT_FOUND, "message": f"{method} is not supported by this client"}
        else:
            reply["result"] = await answer(params)
        self._send(reply)

    def _fail(self, error: Exception) -> None:
        self._failure = error
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(error)

    def _told(self, error: KodaError) -> KodaError:
        """An internal error that says nothing to do, with the last line of the daemon's log: nobody else sees it."""
        lines = self._stderr.decode(errors="replace").strip().splitlines()
        if error.kind != "internal" or error.user_action or not lines:
            return error
        return KodaError("internal", f"{error.message} It said: {lines[-1][:300]}")

    async def _end(self) -> None:
        """Asks the daemon to end, and ends it when it does not."""
        process = self._process
        for task in list(self._answering):
            task.cancel()
        try:
            async with asyncio.timeout(_END_SECONDS):
                if self._failure is None:
                    with suppress(KodaError):
                        await self.request("shutdown")
                self.notify("exit")
                assert process.stdin is not None
                process.stdin.close()
                await process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()


def _error(raw: Any) -> KodaError:
    """A JSON-RPC error object as the ``KodaError`` that it was."""
    raw = raw if isinstance(raw, dict) else {}
    data = raw.get("data") if isinstance(raw.get("data"), dict) else {}
    kind: Any = data.get("kind")
    if kind not in ERROR_KINDS:
        kind = "params.invalid" if raw.get("code") == _INVALID_PARAMS else "internal"
    after = data.get("retryAfterMs")
    return KodaError(
        kind,
        str(raw.get("message", "The daemon refused without a reason.")),
        retryable=data.get("retryable") is True,
        retry_after=after / 1000 if isinstance(after, int | float) else None,
        user_action=data.get("userAction"),
        path=data.get("path"),
    )
