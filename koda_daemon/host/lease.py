"""Several daemons on one session: who works in it holds the lease, all others follow what it writes.

An idle session belongs to whoever writes next. While a turn runs, others read along and are refused with
``session.locked``; when the daemon that runs it has died, the next one ends the turn and goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from koda_daemon.base.errors import KodaError
from koda_daemon.session.lease import BEAT_SECONDS
from koda_daemon.session.manager import SessionMovedError

if TYPE_CHECKING:
    from koda_daemon.host.host import Host
    from koda_daemon.host.live import LiveSession

_log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

ALONE_SECONDS = 2.0
"""How often a daemon that is alone looks whether another has come."""
FOLLOW_SECONDS = 0.15
"""How often it looks for news when it is not alone. A look that finds nothing costs microseconds."""
TAKEOVER_SECONDS = 1.0
"""How often it looks whether the daemon whose turn it follows is still there."""
CLOSE_SECONDS = 300.0
"""After how long a session that all clients have left is closed. Until then it knows what they may have missed."""
ATTEMPTS = 3


def writes(
    function: Callable[Concatenate[LiveSession, P], Awaitable[T]],
) -> Callable[Concatenate[LiveSession, P], Coroutine[Any, Any, T]]:
    """For functions that change a session: what another daemon has written is learned first, and when that was found
    out too late, the function begins again with what is known now. It must not have changed anything by then. So it
    does when it looks for something that another daemon has just made.

    They raise ``session.locked`` while a turn of another daemon runs.
    """

    @functools.wraps(function)
    async def attempt(live: LiveSession, /, *args: P.args, **kwargs: P.kwargs) -> T:
        for _ in range(ATTEMPTS):
            if live.foreign_turns:
                await live.claim()
            try:
                return await function(live, *args, **kwargs)
            except SessionMovedError:
                await live.claim()
            except KodaError as error:
                if error.kind not in ("node.notFound", "turn.notFound") or not await live.refresh():
                    raise
        return await function(live, *args, **kwargs)

    return attempt


class Watch:
    """Keeps this daemon's lease alive while it works, follows what others write, and closes what nobody looks at.

    ``run`` is its task.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._alone = True
        self._asked = asyncio.Event()
        self._behind: set[str] = set()
        self._beat_at = self._look_at = self._takeover_at = 0.0  # of time.monotonic(): no clock can be set back

    def look_now(self) -> None:
        """A session was opened: another daemon may be at work in it."""
        self._takeover_at = 0.0
        self._asked.set()

    async def run(self) -> None:
        while True:
            # Not with anyio, whose backend would be imported before the client is ready.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), ALONE_SECONDS if self._alone else FOLLOW_SECONDS)
            self._asked.clear()
            try:
                await self.step(time.monotonic())
            except KodaError as error:  # of the store: the next look may find it well again
                _log.warning("looking after the sessions: %s", error.message)

    async def step(self, now: float) -> None:
        """Does what is due at ``now``."""
        host = self._host
        open_sessions = host.open_sessions
        if any(live.busy for live in open_sessions) and now >= self._beat_at:
            self._beat_at = now + BEAT_SECONDS
            await host.sessions.beat()
        if not open_sessions:
            self._alone = True
            return
        self._behind |= {live.id for live in open_sessions} if await host.sessions.changed() else set()
        for live in open_sessions:
            if live.id in self._behind and not live.admission.locked():
                self._behind.discard(live.id)
                await self._follow(live)
        if now >= self._takeover_at:
            self._takeover_at = now + TAKEOVER_SECONDS
            self._alone = not await host.sessions.others()
            for live in open_sessions:
                if live.foreign_turns:
                    await self._take_over(live)
        if not self._alone and now >= self._look_at:
            self._look_at = now + BEAT_SECONDS
            await host.sessions.look()
        for live in open_sessions:
            if live.left_at is not None and now - live.left_at > CLOSE_SECONDS and live.idle:
                await host.close_session(live.id)

    async def _follow(self, live: LiveSession) -> None:
        try:
            await live.refresh()
        except KodaError as error:
            if error.kind != "session.notFound":
                raise
            await self._host.lose_session(live.id)

    async def _take_over(self, live: LiveSession) -> None:
        """Ends what a daemon that died has left; nothing happens while it is there."""
        try:
            await live.claim(patient=True)
        except KodaError as error:
            _log.debug("session %s is not taken over: %s", live.id, error.message)
