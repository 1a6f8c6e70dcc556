"""Refresher: tokens that are good now, refreshed once among all tasks and processes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import time
from urllib.parse import quote

from koda_daemon.ai.auth import OAuthTokens
from koda_daemon.ai.auth.locks import file_lock
from koda_daemon.ai.auth.oauth import Flow, ended, renew_at
from koda_daemon.ai.auth.redact import REDACTOR
from koda_daemon.ai.auth.store import CredentialStore
from koda_daemon.base.errors import KodaError

_log = logging.getLogger(__name__)

_TRY_AGAIN = 30.0
"""Seconds between attempts to refresh a token that is still valid."""
_LOCK_SECONDS = 60.0
_LEFT = 10.0
"""Seconds that a token must still last to be used although it could not be refreshed."""


class Refresher:
    """Keeps the tokens in ``store`` fresh. ``on_ended`` hears of sign-ins that the provider has ended.

    A refresh token is often good for one use, so that two refreshes at once would end the sign-in. One process at a
    time refreshes a provider's tokens, under a file lock in ``folder``; the others wait, and find them refreshed. What
    comes back is stored before anyone uses it, also when the turn that wanted it is cancelled meanwhile.
    """

    def __init__(
        self, store: CredentialStore, flow: Callable[[str], Flow], folder: Path, on_ended: Callable[[str], None]
    ) -> None:
        self._store = store
        self._flow = flow
        self._folder = folder
        self._on_ended = on_ended
        self._running: dict[str, asyncio.Task[OAuthTokens]] = {}

    async def fresh(self, provider: str, tokens: OAuthTokens, refused: str | None) -> tuple[OAuthTokens, float | None]:
        """Tokens that are good now, and when to ask again (Unix seconds). ``refused``: an access token that is not.

        Raises ``auth.expired``, or ``provider.unreachable`` when they can be refreshed neither now nor used.
        """
        REDACTOR.add(tokens.access, tokens.refresh)
        if tokens.ended:
            raise ended(provider)
        if not _is_due(tokens, refused):
            return tokens, renew_at(tokens)
        task = self._running.get(provider)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._refreshed(provider, refused))
            self._running[provider] = task
            task.add_done_callback(lambda _: self._running.pop(provider, None))
        try:
            fresh = await asyncio.shield(task)
        except KodaError as error:
            usable = tokens.expires is not None and tokens.expires > time() + _LEFT and tokens.access != refused
            if not error.retryable or not usable:
                raise
            _log.warning("%s: %s The token is used as long as it lasts.", provider, error.message)
            return tokens, time() + _TRY_AGAIN
        return fresh, renew_at(fresh)

    async def aclose(self, seconds: float) -> None:
        """Gives refreshes that are under way a moment to be stored."""
        if self._running:
            await asyncio.wait(self._running.values(), timeout=seconds)

    async def _refreshed(self, provider: str, refused: str | None) -> OAuthTokens:
        async with file_lock(self._folder / f"refresh-{quote(provider, safe='')}.lock", seconds=_LOCK_SECONDS):
            tokens = await self._store.read(provider)  # whoever held the lock may have refreshed them
            if not isinstance(tokens, OAuthTokens) or tokens.ended:
                raise ended(provider)
            REDACTOR.add(tokens.access, tokens.refresh)
            if not _is_due(tokens, refused):
                return tokens
            try:
                fresh = await self._flow(provider).refresh(tokens)
            except KodaError as error:
                if error.kind == "auth.expired":
                    with suppress(KodaError):
                        await self._store.write(provider, OAuthTokens(access="", extra=tokens.extra), refreshed=True)
                    self._on_ended(provider)
                raise
            try:
                await self._store.write(provider, fresh, refreshed=True)
            except KodaError as error:
                # The old ones are spent. These serve until the process ends; then one has to sign in again.
                _log.error("the refreshed tokens of %s are not stored: %s", provider, error.message)
            return fresh


def _is_due(tokens: OAuthTokens, refused: str | None) -> bool:
    until = renew_at(tokens)
    return tokens.access == refused or not tokens.access or (until is not None and time() >= until)
