"""One JSON-RPC connection over a byte transport: calls in, calls out, answers both ways. Knows no method of Koda.

Order: messages are taken up in the order in which they arrived, and each request runs to its first await before the
next message is looked at. While more than ``Limits.outbox_bytes`` of answers wait for a client that does not read, none
is looked at.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine
from typing import Any

from msgspec import Raw

from koda_daemon.base.errors import KodaError
from koda_daemon.server.connection import envelope, frames
from koda_daemon.server.connection.envelope import Id, RpcError
from koda_daemon.server.connection.frames import FrameParser
from koda_daemon.server.connection.handler import ConnectionLost, End, ErrorOf, Handler, IncomingRequest, Limits
from koda_daemon.server.connection.outbox import Outbox
from koda_daemon.server.connection.transport import Transport

__all__ = ["Connection", "ConnectionLost", "End", "ErrorOf", "Handler", "IncomingRequest", "Limits"]

log = logging.getLogger(__name__)

EOF_GRACE_SECONDS = 0.3
"""For requests that still run at the end of input: a script that pipes requests in wants its answers."""
FLUSH_SECONDS = 0.15
"""For what is still to be written at the end."""


class Connection:
    """Serve with ``await serve()``. All methods belong to the event loop's thread."""

    def __init__(
        self,
        transport: Transport,
        handler: Handler,
        *,
        limits: Limits | None = None,
        error_of: ErrorOf = lambda _: None,
    ) -> None:
        self.limits = limits or Limits()
        self._transport = transport
        self._handler = handler
        self._error_of = error_of
        self._loop = asyncio.get_running_loop()
        self._parser = FrameParser(
            max_message_bytes=self.limits.max_message_bytes, max_header_bytes=self.limits.max_header_bytes
        )
        self.outbox = Outbox(transport.writer, limit_bytes=self.limits.outbox_bytes, on_pressure=self._on_pressure)
        self._running: dict[Id, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()  # those, and the coroutines of notifications
        self._cancelled: set[asyncio.Task[None]] = set()
        self._inbox: deque[frames.Item] = deque()  # read, not looked at; the reader pauses while there is something
        self._draining = False
        self._dropping = False  # notifications, since the client does not read
        self._pending: dict[Id, asyncio.Future[Raw]] = {}
        self._last_id = 0
        self._end: asyncio.Future[End] = self._loop.create_future()
        self._open = True
        self.ending = False
        """True once handlers are cancelled because the connection ends, not because the client asked for it."""

    # -- life

    def start(self) -> None:
        """Begin to read."""
        self._transport.writer.start(self._on_lost)
        self._transport.reader.start(self._on_data, self._on_end)

    async def ended(self) -> End:
        """Wait until the connection has ended, for whatever reason. Handlers may still be running then."""
        return await asyncio.shield(self._end)

    async def serve(self) -> End:
        """Start, wait for the end, let what runs end or cancel it, close."""
        self.start()
        try:
            if await self.ended() == "eof":
                await self.settle(EOF_GRACE_SECONDS)
            return self._end.result()
        finally:
            await self.cancel_all()
            await self.outbox.flush(FLUSH_SECONDS)
            self.close()

    def stop_reading(self) -> None:
        """Take no more messages. Answers still go out."""
        self._inbox.clear()
        self._transport.reader.stop()

    async def settle(self, seconds: float) -> bool:
        """Wait until no handler runs, at most ``seconds``; False when some still do."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        return not self._tasks

    async def cancel_all(self, seconds: float = 5.0) -> bool:
        """Cancel every handler and wait for their clean-up; False when some did not end within ``seconds``."""
        self.ending = True
        for task in self._tasks:
            self._cancel(task)
        return await self.settle(seconds)

    def close(self) -> None:
        """Drop what was not written, fail the requests that wait for an answer, close the transport. Idempotent."""
        if not self._open:
            return
        self._open = False
        self._finish("closed")
        self.outbox.close()
        self._transport.close()

    @property
    def closed(self) -> bool:
        """True once the client is gone or ``close`` was called: nothing can be asked any more."""
        return self._end.done()

    def _finish(self, end: End) -> None:
        if not self._end.done():
            self._end.set_result(end)
        for future in self._pending.values():
            if not future.done():
                future.set_exception(ConnectionLost())
        self._pending.clear()

    # -- calls out

    def next_id(self) -> int:
        """A new id for a request to the client: integers, because Vim takes no others."""
        self._last_id += 1
        return self._last_id

    def notify(self, method: str, params: Any = None) -> bool:
        """Send a notification ahead of the streams; False when it was dropped.

        It is dropped when the client is gone, or has not read for so long that twice the outbox's limit waits: what
        must not be lost belongs into a ``FrameSource``, whose backlog is elsewhere.
        """
        if self.closed:
            return False
        if self.outbox.control_bytes > 2 * self.limits.outbox_bytes:
            if not self._dropping:
                self._dropping = True
                log.warning("the client does not read: notifications are dropped, beginning with %s", method)
            return False
        self.outbox.put(envelope.encode_notification(method, params))
        return True

    async def request(self, method: str, params: Any = None, *, timeout: float | None = None) -> Raw:
        """Ask the client and wait; the result is raw JSON.

        Raises RpcError when the client answers with an error, ConnectionLost when it is gone, TimeoutError after
        ``timeout`` seconds. When the caller is cancelled or out of time, the client is told (``$/cancelRequest``) and a
        late answer is ignored.
        """
        if self.closed:
            raise ConnectionLost
        request_id = self.next_id()
        self.outbox.put(envelope.encode_request(request_id, method, params))
        answer: asyncio.Future[Raw] = self._loop.create_future()
        self._pending[request_id] = answer
        try:
            async with asyncio.timeout(timeout):
                return await answer
        except (asyncio.CancelledError, TimeoutError):
            if not self.closed:
                self.notify("$/cancelRequest", {"id": request_id})
            raise
        finally:
            self._pending.pop(request_id, None)
            if answer.done() and not answer.cancelled():
                answer.exception()  # it may have come in the moment of the cancellation: it is known, and ignored

    # -- the transport's calls

    def _on_pressure(self, on: bool) -> None:
        if on:
            self._transport.reader.pause()
        else:
            self._dropping = False
            self._drain_soon()

    def _on_end(self, error: OSError | None) -> None:
        if error is not None:
            log.info("reading from the client failed: %s", error)
        if self._parser.incomplete:
            log.warning("the client broke off in the middle of a message")
        self._loop.call_soon(self._finish, "eof")  # the last request has its first step before

    def _on_lost(self, error: OSError) -> None:
        log.info("writing to the client failed: %s", error)
        self.stop_reading()
        self.outbox.close()
        self._finish("lost")

    def _on_data(self, data: bytes) -> None:
        self._inbox += self._parser.feed(data)
        if not self._draining:
            self._drain()

    # -- calls in

    def _drain_soon(self) -> None:
        if not self._draining:
            self._draining = True
            self._loop.call_soon(self._drain)

    def _drain(self) -> None:
        """Look at what was read, up to what sets a task in motion: the rest comes after that task's next step."""
        self._draining = False
        inbox = self._inbox
        while inbox and not self.outbox.over_limit:
            item = inbox.popleft()
            if isinstance(item, bytes):
                if self._dispatch(envelope.parse_message(item)) and inbox:
                    self._drain_soon()
                    break
            else:
                code = envelope.PARSE_ERROR if item.kind == "header" else envelope.INVALID_REQUEST
                self._refuse(envelope.id_in(item.head, item.tail), code, item.message)
        if inbox or self.outbox.over_limit:
            self._transport.reader.pause()
        else:
            self._transport.reader.resume()

    def _dispatch(self, message: envelope.Message) -> bool:
        """Whether this set a task in motion, which has to come before the next message."""
        if isinstance(message, envelope.Request):
            return self._begin(message)
        if isinstance(message, envelope.Notification):
            if message.method != "$/cancelRequest":
                return self._notified(message)
            request_id = envelope.cancelled_id(message.params)
            if request_id is not None and request_id in self._running:
                self._cancel(self._running[request_id])
            return False
        if isinstance(message, envelope.Response):
            return self._answered(message)
        self._refuse(message.id, message.code, message.message)
        return False

    def _refuse(self, request_id: Id | None, code: int, reason: str) -> None:
        log.warning("bad input: %s", reason)
        self.outbox.put(envelope.encode_error(request_id, code, reason))

    def _begin(self, message: envelope.Request) -> bool:
        request_id = message.id
        if request_id in self._running:
            self._refuse(request_id, envelope.INVALID_REQUEST, "a request with this id is still being handled")
            return False
        if len(self._running) >= self.limits.max_in_flight:
            error = KodaError("overload", f"more than {self.limits.max_in_flight} requests at once", retryable=True)
            self.outbox.put(self._encode_failure(message, error))
            return False
        task = self._spawn(message.method, self._serve(IncomingRequest(self, message)))
        self._running[request_id] = task
        # A task that is cancelled before its first step never runs.
        task.add_done_callback(lambda task: self._never_ran(request_id, task))
        return True

    def _spawn(self, name: str, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(self._cancelled.discard)
        return task

    def _cancel(self, task: asyncio.Task[None]) -> None:
        # Once: a second time would break off the handler's clean-up.
        if task not in self._cancelled:
            self._cancelled.add(task)
            task.cancel()

    def _notified(self, message: envelope.Notification) -> bool:
        try:
            coroutine = self._handler.notification(message.method, message.params)
        except Exception as error:
            self._log_failure(message.method, error)
            return False
        if coroutine is None:
            return False
        self._spawn(message.method, self._follow(message.method, coroutine))
        return True

    async def _follow(self, method: str, coroutine: Coroutine[Any, Any, None]) -> None:
        try:
            await coroutine
        except Exception as error:
            self._log_failure(method, error)

    def _log_failure(self, method: str, error: Exception) -> None:
        # A notification has no answer: what the client sent wrong is worth a line, what we did wrong a traceback.
        if isinstance(error, RpcError) or (known := self._error_of(error)) is not None:
            log.warning("notification %s: %s", method, error if isinstance(error, RpcError) else known)
        else:
            log.error("notification %s failed", method, exc_info=error)

    async def _serve(self, request: IncomingRequest) -> None:
        try:
            body = envelope.encode_reply(request.id, await self._handler.request(request))
        except asyncio.CancelledError:
            self._reply(request, envelope.encode_error(request.id, envelope.REQUEST_CANCELLED, "cancelled"))
            raise
        except Exception as error:
            body = self._encode_failure(request, error)
        self._reply(request, body)

    def _encode_failure(self, request: IncomingRequest | envelope.Request, error: Exception) -> bytes:
        try:
            known = error if isinstance(error, RpcError) else self._error_of(error)
            if known is not None:
                if known.code == envelope.INTERNAL_ERROR:
                    log.error("request %s failed", request.method, exc_info=error)
                return envelope.encode_error(request.id, known.code, known.message, known.data)
        except Exception:
            log.exception("the error of request %s has no form", request.method)
        log.error("request %s failed", request.method, exc_info=error)
        return envelope.encode_error(request.id, envelope.INTERNAL_ERROR, "internal error")

    def _reply(self, request: IncomingRequest, body: bytes) -> None:
        self._running.pop(request.id, None)
        if request.route is not None:
            try:
                return request.route(body)
            except Exception:
                log.exception("the route of request %s failed", request.method)
        self.outbox.put(body)
        return None

    def _never_ran(self, request_id: Id, task: asyncio.Task[None]) -> None:
        if self._running.get(request_id) is task:
            del self._running[request_id]
            self.outbox.put(envelope.encode_error(request_id, envelope.REQUEST_CANCELLED, "cancelled"))

    def _answered(self, message: envelope.Response) -> bool:
        future = None if message.id is None else self._pending.get(message.id)
        if future is None:
            try:
                if self._handler.response(message):
                    return True
            except Exception:
                log.exception("the answer with id %r could not be taken", message.id)
        elif not future.done():
            if message.error is None:
                future.set_result(message.result)
            else:
                future.set_exception(envelope.decode_error(message.error))
            return True
        log.info("an answer to no request of ours, or one more: id %r", message.id)
        return False
