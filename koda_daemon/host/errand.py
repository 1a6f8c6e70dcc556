"""Errands: what a model writes for a session outside a turn - summaries. They keep a session busy as a turn does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from koda_daemon.host.live import LiveSession


@asynccontextmanager
async def errand(live: LiveSession) -> AsyncIterator[None]:
    """Keeps an idle session busy: prompts are queued meanwhile. ``live.cancel`` ends it, with ``CancelledError``.

    Another daemon may write to the session meanwhile. Raises ``turn.busy``.
    """
    async with live.admission:
        live.need_idle()
        scope = live.errand = anyio.CancelScope()
    try:
        with scope:
            yield
    finally:
        live.errand = None
        if live.session.queue:
            live.host.start(live.turns.next)
    if scope.cancelled_caught:
        raise asyncio.CancelledError
