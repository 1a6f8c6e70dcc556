"""AssistantMessageEventStream: one streamed answer, to iterate over or to listen to."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Protocol, TypeAlias

from koda_daemon.ai.events import Done, StreamError, StreamEvent
from koda_daemon.ai.messages import AssistantMessage, Usage
from koda_daemon.base.errors import KodaError

Listener: TypeAlias = Callable[[StreamEvent], None]


class Gate(Protocol):
    """What a request waits at before it goes out, and tells how it ended."""

    async def enter(self) -> None:
        """Waits; raises ``KodaError`` when it may not go now."""

    def leave(self, error: KodaError | None) -> None:
        """Called once after ``enter`` has returned: with the final event, or when the stream is closed before it."""


class AssistantMessageEventStream:
    """Wraps the generator of a wire API and holds it to the contract of ``ai.events``.

    Iterating never raises for anything the provider did: failures arrive as one ``StreamError``, also when the
    generator itself breaks or ends without a final event (a stream that just stops is a failed attempt, never an
    answer). Leaving ``async with`` closes the connection. Use it once.
    """

    def __init__(self, events: AsyncGenerator[StreamEvent], spent: Callable[[], Usage] = Usage) -> None:
        """``spent`` tells what the provider has counted so far, for streams that are left before their end."""
        self._events = events
        self._spent = spent
        self._listeners: list[Listener] = []
        self._final: Done | StreamError | None = None
        self._ahead: Gate | None = None
        self._passed: Gate | None = None

    def behind(self, gate: Gate) -> AssistantMessageEventStream:
        """Lets the stream wait at ``gate`` before its first event; returns itself."""
        self._ahead = gate
        return self

    @property
    def spent(self) -> Usage:
        """What the attempt has cost, as far as the provider told it: also of one that failed or was left."""
        match self._final:
            case Done(message=message):
                return message.usage
            case StreamError(partial=partial) if partial is not None:
                return partial.usage
        return self._spent()

    def on_event(self, listener: Listener) -> Callable[[], None]:
        """Calls ``listener`` with each event as it is consumed; returns a function that takes it off again."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def __aenter__(self) -> AssistantMessageEventStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Ends the stream and frees its connection; safe at any time."""
        try:
            await self._events.aclose()
        finally:
            self._leave(None)

    async def _enter(self, gate: Gate) -> None:
        self._ahead = None
        await gate.enter()
        self._passed = gate

    def _leave(self, error: KodaError | None) -> None:
        gate, self._passed = self._passed, None
        if gate is not None:
            gate.leave(error)

    def __aiter__(self) -> AsyncIterator[StreamEvent]:
        return self

    async def __anext__(self) -> StreamEvent:
        if self._final is not None:
            raise StopAsyncIteration
        try:
            if self._ahead is not None:
                await self._enter(self._ahead)
            event = await self._events.__anext__()
        except StopAsyncIteration:
            event = StreamError(KodaError("provider.unreachable", "The answer ended early.", retryable=True))
        except KodaError as error:
            event = StreamError(error)
        except Exception as error:
            # A bug or a surprise of an SDK: named by its class only, since its text may hold headers or keys.
            event = StreamError(KodaError("internal", f"The provider client failed: {type(error).__name__}."))
        if isinstance(event, Done | StreamError):
            self._final = event
            self._leave(event.error if isinstance(event, StreamError) else None)
        for listener in self._listeners:
            listener(event)
        return event

    async def result(self) -> AssistantMessage:
        """Consumes what is left and returns the whole message; raises the ``KodaError`` of a failed attempt."""
        async for _ in self:
            pass
        assert self._final is not None
        if isinstance(self._final, StreamError):
            raise self._final.error
        return self._final.message
