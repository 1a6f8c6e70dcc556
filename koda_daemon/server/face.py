"""Face: one connected client as the host sees it (``host.clients.Client``), and what features need of it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from koda_daemon.coding.interfaces import Editor
from koda_daemon.host.clients import ApprovalAnswer
from koda_daemon.host.events import ApprovalRequested
from koda_daemon.server.protocol.decode import result_decoder

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from koda_daemon.host.host import Host
    from koda_daemon.host.live import LiveSession
    from koda_daemon.host.log import Cursor
    from koda_daemon.host.turn import TurnOutcome
    from koda_daemon.server.connection.connection import Connection
    from koda_daemon.server.language.window import TurnProgress
    from koda_daemon.server.link import LanguageLink

_EVENT_HEAD = b'{"jsonrpc":"2.0","method":"koda/event","params":'


SHOWN = 600

_approval_result = result_decoder("koda/approval/request")


Feature: TypeAlias = "Callable[[Face, Any], Awaitable[Any]]"
"""Answers one method: its decoded parameters in, its result out."""


class AfterStream:
    """A result that must not overtake the events of its session up to number ``seq``."""

    def __init__(self, session_id: str, seq: int, result: Any) -> None:
        self.session_id = session_id
        self.seq = seq
        self.result = result


class SessionStream:
    """The events of one session on their way to one client (``connection.FrameSource``)."""

    def __init__(self, face: Face, live: LiveSession) -> None:
        self._face = face
        self.live = live
        self._replies: deque[tuple[int, bytes]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self.cursor = self._subscribe()

    def _subscribe(self) -> Cursor:
        cursor = self.live.log.subscribe(self._wake)
        assert cursor is not None, "a log can always be followed from now on"
        return cursor

    def restart(self) -> None:
        """Passes over what has not been sent yet."""
        self.cursor.close()
        self.cursor = self._subscribe()
        self._wake()  # for replies that waited for what is passed over

    def _wake(self) -> None:
        if self._face.max_latency == 0:
            self._face.connection.outbox.wake(self)
        elif self._timer is None:  # pieces that come until then are sent as one
            self._timer = asyncio.get_running_loop().call_later(self._face.max_latency, self._due)

    def _due(self) -> None:
        self._timer = None
        self._face.connection.outbox.wake(self)

    def reply_after(self, seq: int, body: bytes) -> None:
        """Sends ``body`` once event ``seq`` has been sent."""
        self._replies.append((seq, body))
        self._wake()

    def pull(self) -> bytes | None:
        if self._replies and self._replies[0][0] < self.cursor.next:
            return self._replies.popleft()[1]
        event = self.cursor.pull()
        if event is not None:
            return b"%b%b}" % (_EVENT_HEAD, event)
        if self.cursor.lost:
            self._face.lost(self)
        return None

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.cursor.close()
        self._face.connection.outbox.detach(self)
        while self._replies:  # nobody waits for the events any more
            self._face.connection.outbox.put(self._replies.popleft()[1])


class Face:
    """Made at ``initialize``; lives as long as its connection."""

    def __init__(
        self,
        connection: Connection,
        host: Callable[[], Awaitable[Host]],
        *,
        name: str,
        opted_in: bool,
        max_latency: float,
        workspace_folder: str | None,
        shows_progress: bool,
        language: LanguageLink,
    ) -> None:
        self.connection = connection
        self.host = host
        self.name = name
        self.opted_in = opted_in
        self.max_latency = max_latency
        """Seconds that events may wait for more to come; 0: none."""
        self.workspace_folder = workspace_folder
        self.shows_progress = shows_progress
        self.language = language
        self._progress: dict[str, TurnProgress] = {}
        self.last_session: str | None = None
        """The session that this client used last: what plain-LSP commands act on."""
        self._streams: dict[str, SessionStream] = {}
        self._attached: dict[str, LiveSession] = {}

    @property
    def editor(self) -> Editor | None:
        return self.language.editor

    # subscriptions

    def subscribe(self, live: LiveSession, *, anew: bool = False) -> None:
        """Attaches the client to a session; one that opted in gets its events from now on. ``anew``: also when it is
        attached already, since it is told in another way of all that was before."""
        self.last_session = live.id
        attached = self._attached.get(live.id)
        if attached is not None and attached is not live:  # that one was closed, and the session opened again
            self.unsubscribe(live.id)
        elif attached is not None:
            if anew and live.id in self._streams:
                self._streams[live.id].restart()
            return
        self._attached[live.id] = live
        live.attach(self)
        if self.opted_in:
            stream = self._streams[live.id] = SessionStream(self, live)
            self.connection.outbox.attach(stream)

    def unsubscribe(self, session_id: str) -> None:
        live = self._attached.pop(session_id, None)
        if live is not None:
            live.detach(self)
        stream = self._streams.pop(session_id, None)
        if stream is not None:
            stream.close()

    def lost(self, stream: SessionStream) -> None:
        """The session went on without this client, which was too far behind: it has to open the session again."""
        self.unsubscribe(stream.live.id)
        self.connection.notify("koda/session/lagged", {"sessionId": stream.live.id, "seq": stream.cursor.next - 1})

    def route(self, after: AfterStream) -> Callable[[bytes], None]:
        """Where an encoded answer goes that must not overtake events."""

        def send(body: bytes) -> None:
            stream = self._streams.get(after.session_id)
            if stream is None:
                self.connection.outbox.put(body)
            else:
                stream.reply_after(after.seq, body)

        return send

    def close(self) -> None:
        for session_id in list(self._attached):
            self.unsubscribe(session_id)

    # host.clients.Client

    async def request_approval(self, request: ApprovalRequested) -> ApprovalAnswer | None:
        if self.opted_in:
            answer = _approval_result(await self.connection.request("koda/approval/request", request))
            if answer is None or answer.option_id is None:
                return None
            return ApprovalAnswer(option_id=answer.option_id, arguments=answer.arguments)
        labels = {option.label: option.id for option in request.options}
        question = f"Koda: {request.title}\n{request.command or request.diff or request.reason}"
        chosen = await self.language.tier.window.ask("warning", question, list(labels))
        return None if chosen is None else ApprovalAnswer(option_id=labels[chosen])

    async def turn_started(self, live: LiveSession, turn_id: str) -> None:
        if not self.shows_progress:
            return
        from koda_daemon.server.language.window import TurnProgress

        progress = self._progress[turn_id] = TurnProgress(self.language.tier)
        await progress.begin("Koda", "Working", lambda: _nothing(live.turns.cancel(turn_id)))

    async def turn_ended(self, outcome: TurnOutcome) -> None:
        progress = self._progress.pop(outcome.turn_id, None)
        if progress is not None:
            progress.end()
        if not self.opted_in:  # it saw no event: this is all that it hears of the answer
            kind: Literal["error", "info"] = "error" if outcome.error is not None else "info"
            said = outcome.error.message if outcome.error is not None else outcome.text
            self.language.tier.window.show_message(kind, f"Koda: {_shortened(said or outcome.stop_reason)}")


def _shortened(text: str) -> str:
    """At most ``SHOWN`` characters, for a message box."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]} … (koda.showTranscript shows the whole)"


def _nothing(_: object) -> None:
    """For callbacks whose result nobody wants."""
