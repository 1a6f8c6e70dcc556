"""AuthStorage: the credential of every provider, wherever it comes from, and signing in and out.

Order: the user's settings, the environment (``origins``), what signing in has stored (``store``: system keyring, else
encrypted file).
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic, time
from typing import TYPE_CHECKING, Literal

from msgspec import Struct
from msgspec.structs import replace

from koda_daemon.ai.auth import ApiKey, Credential, OAuthTokens, Source
from koda_daemon.ai.auth.origins import WrittenKeys
from koda_daemon.ai.auth.redact import REDACTOR
from koda_daemon.ai.auth.store import CredentialStore, Place
from koda_daemon.ai.settings import ProviderSettings
from koda_daemon.base.errors import KodaError

if TYPE_CHECKING:
    from koda_daemon.ai.auth.oauth import Attempt, Flow
    from koda_daemon.ai.auth.refresh import Refresher
    from koda_daemon.ai.auth.system_keyring import SystemKeyring

_log = logging.getLogger(__name__)

State = Literal["ok", "expired", "missing"]
Listener = Callable[[str, State, KodaError | None], None]
"""Called with a provider, how it stands now, and why a sign-in failed if one did."""

_EXCHANGED = frozenset({"github-copilot"})
"""Providers whose keys are not sent as they are but exchanged for short-lived tokens."""
_KEYLESS = frozenset({"demo"})
_COMMAND_LASTS = 600.0
"""Seconds that what a ``!command`` printed is used: some print tokens that expire."""
_REFUSED_AGAIN = 60.0
"""Seconds within which a second refusal is not put down to the age of the token."""
_LONGEST_KEY = 16 * 1024
_END_SECONDS = 0.5


class ProviderStatus(Struct, frozen=True, kw_only=True):
    """Where a provider stands.

    ``since`` (signed in) and ``expires``: Unix seconds. ``place``: where a key is written that signing in does not
    change. ``problem``: why a stored credential cannot be used.
    """

    provider: str
    state: State
    source: Source
    account: str | None = None
    since: float | None = None
    expires: float | None = None
    place: str | None = None
    problem: str | None = None


class _Cached(Struct, frozen=True):
    credential: Credential
    until: float | None
    stored: bool


class AuthStorage:
    """Credentials of one home folder (``CredentialSource``). Making one opens and imports nothing.

    ``settings`` is the ``providers`` part of the user's settings; ``keyring`` is for programs that bring their own.
    ``listeners`` hear of every change.
    """

    def __init__(
        self,
        home: Path,
        environ: Mapping[str, str] = os.environ,
        settings: Mapping[str, ProviderSettings] | None = None,
        *,
        keyring: SystemKeyring | None = None,
    ) -> None:
        self.home = home
        self.store = CredentialStore(home, environ, keyring)
        self.listeners: set[Listener] = set()
        self._environ = environ
        self._settings = settings or {}
        self._written = WrittenKeys(self._settings, environ)
        self._refresher: Refresher | None = None
        self._cache: dict[str, _Cached] = {}
        self._cache_version: object = None
        self._refused: dict[str, str] = {}
        self._refused_at: dict[str, float] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._attempts: dict[str, Attempt] = {}

    async def aclose(self) -> None:
        """Ends the sign-ins that are under way."""
        for provider_id in list(self._attempts):
            await self._drop(provider_id)
        if self._refresher is not None:
            await self._refresher.aclose(_END_SECONDS)

    # CredentialSource

    def known(self, provider_id: str) -> bool:
        return self._written.source(provider_id) is not None or self._may_be_stored(provider_id)

    def ready(self, provider_id: str) -> Credential | None:
        version = self.store.version
        if version != self._cache_version:  # signed in, out or refreshed, perhaps by another process
            self._cache_version = version
            self._cache = {name: cached for name, cached in self._cache.items() if not cached.stored}
        cached = self._cache.get(provider_id)
        if cached is not None:
            return cached.credential if cached.until is None or time() < cached.until else None
        plain = self._written.plain(provider_id)
        if plain is None or provider_id in _EXCHANGED:
            return None
        return self._keep(provider_id, Credential(secret=plain[0], source=plain[1]))

    async def credential(self, provider_id: str) -> Credential | None:
        found = self.ready(provider_id)
        if found is not None:
            return found
        async with self._locks.setdefault(provider_id, asyncio.Lock()):
            found = self.ready(provider_id)  # another task may have done it while we waited
            if found is not None:
                return found
            command, plain = self._written.command(provider_id), self._written.plain(provider_id)
            if command is not None:
                return await self._of_command(provider_id, command)
            if plain is not None:
                return await self._of_key(provider_id, *plain)
            if self._may_be_stored(provider_id, ended=True):
                return await self._of_store(provider_id)
            unread = self.store.problem
            if unread is None or self._written.in_settings(provider_id):
                return None
            raise KodaError("auth.required", unread.message, path=unread.path, user_action=unread.user_action)

    def refused(self, provider_id: str, secret: str) -> bool:
        cached = self._cache.get(provider_id)
        if cached is None or cached.credential.secret != secret:
            return True  # it has been replaced, or refused, meanwhile
        if cached.until is None:
            return False
        del self._cache[provider_id]
        self._refused[provider_id] = secret
        last, now = self._refused_at.get(provider_id, -math.inf), monotonic()
        self._refused_at[provider_id] = now
        return now - last > _REFUSED_AGAIN  # one that is refused when it is new is not refused for its age

    # status, signing in and out

    def methods(self, provider_id: str) -> tuple[Literal["apiKey", "oauth"], ...]:
        """How one can sign in."""
        from koda_daemon.ai.auth.flows import has_flow

        if provider_id in _KEYLESS:
            return ()
        return ("apiKey", "oauth") if has_flow(provider_id) else ("apiKey",)

    def written_place(self, provider_id: str) -> str | None:
        """Where the user has written a key down, which goes before what signing in stores; None: nowhere."""
        return self._written.place(provider_id)

    async def status(self, provider_id: str) -> ProviderStatus:
        """Where the credential of a provider comes from and how it stands; never the credential itself."""
        source = self._written.source(provider_id)
        if source is not None:
            return ProviderStatus(
                provider=provider_id, state="ok", source=source, place=self._written.place(provider_id)
            )
        entry = self.store.index().get(provider_id) if self._may_be_stored(provider_id, ended=True) else None
        if entry is None:
            return ProviderStatus(provider=provider_id, state="missing", source="none")
        since = entry.since or None
        if entry.key is None:  # only the keyring knows whether it is still there; asking may bother the user
            return ProviderStatus(provider=provider_id, state="ok", source="keyring", since=since)
        source = "oauth" if entry.kind == "oauth" else "file"
        try:
            stored = await self.store.read(provider_id)
        except KodaError as error:
            return ProviderStatus(
                provider=provider_id, state="missing", source=source, since=since, problem=error.message
            )
        if not isinstance(stored, OAuthTokens):
            return ProviderStatus(provider=provider_id, state="ok", source=source, since=since)
        over = stored.ended or (not stored.refresh and stored.expires is not None and stored.expires <= time())
        return ProviderStatus(
            provider=provider_id,
            state="expired" if over else "ok",
            source=source,
            account=stored.extra.get("account") or None,
            since=since,
            expires=None if stored.ended else stored.expires,
        )

    async def store_key(self, provider_id: str, key: str) -> Place:
        """Stores an API key; gives where. Raises ``params.invalid`` for what cannot be one, ``internal``."""
        key = key.strip()
        # It becomes a header: nothing that could end one, and none of the words around it on a pasted line.
        if not key or len(key) > _LONGEST_KEY or not key.isascii() or not key.isprintable() or " " in key:
            what = "An API key is one word of printable ASCII characters."
            raise KodaError("params.invalid", what, path="$.apiKey")
        REDACTOR.add(key)
        await self._drop(provider_id)
        place = await self.store.write(provider_id, ApiKey(key))
        self._changed(provider_id, "ok")
        return place

    async def begin(self, provider_id: str) -> Attempt:
        """Starts signing in without a key; ends an attempt that was under way. ``finish`` it.

        Raises ``params.invalid`` for providers that take keys only.
        """
        await self._drop(provider_id)
        attempt = await self._flow(provider_id).begin()
        await self._drop(provider_id)  # one that began meanwhile
        self._attempts[provider_id] = attempt
        return attempt

    async def finish(self, provider_id: str, attempt: Attempt) -> None:
        """Waits until the user is through, and stores what that gave. Raises what went wrong; listeners hear of it."""
        try:
            stored = await attempt.wait()
            if self._attempts.get(provider_id) is not attempt:  # given up while the provider was being asked
                from koda_daemon.ai.auth.callback import given_up

                raise given_up()
            await self.store.write(provider_id, stored)
        except KodaError as error:
            if self._attempts.get(provider_id) is attempt:  # nobody waits for one that another has replaced
                self._tell(provider_id, (await self.status(provider_id)).state, error)
            raise
        finally:
            if self._attempts.get(provider_id) is attempt:
                del self._attempts[provider_id]
            await attempt.aclose()
        self._changed(provider_id, "ok")

    def paste(self, provider_id: str, text: str) -> None:
        """Gives a sign-in that is under way the address that the browser ended at. Raises ``params.invalid``."""
        attempt = self._attempts.get(provider_id)
        if attempt is None:
            raise KodaError("params.invalid", f"No sign-in at {provider_id} is under way.", path="$.code")
        attempt.paste(text)

    async def cancel(self, provider_id: str) -> bool:
        """Ends a sign-in that is under way; what is stored stays. Listeners hear of it. False: there was none."""
        if provider_id not in self._attempts:
            return False
        from koda_daemon.ai.auth.callback import given_up

        await self._drop(provider_id)
        self._tell(provider_id, (await self.status(provider_id)).state, given_up())
        return True

    async def logout(self, provider_id: str) -> bool:
        """Forgets what signing in has stored, and tells the provider if it can be told. False: nothing was stored.

        Without tokens, a registration of this installation at the provider is forgotten.
        """
        await self._drop(provider_id)
        try:
            stored = await self.store.read(provider_id)
        except KodaError:
            stored = None  # it cannot be read; it can be forgotten all the same
        removed = await self.store.remove(provider_id)
        flow = self._flow_or_none(provider_id)
        if flow is not None and not removed:
            removed = await flow.forget()
        elif flow is not None and isinstance(stored, OAuthTokens) and not stored.ended:
            try:
                await flow.revoke(stored)
            except KodaError as error:
                _log.info("%s could not be told of the sign-out: %s", provider_id, error.message)
        if removed:
            self._changed(provider_id, (await self.status(provider_id)).state)
        return removed

    async def _drop(self, provider_id: str) -> None:
        attempt = self._attempts.pop(provider_id, None)
        if attempt is not None:
            await attempt.aclose()

    def _changed(self, provider_id: str, state: State) -> None:
        self._cache.pop(provider_id, None)
        self._refused.pop(provider_id, None)
        self._tell(provider_id, state, None)

    def _tell(self, provider_id: str, state: State, error: KodaError | None) -> None:
        for listener in list(self.listeners):
            listener(provider_id, state, error)

    # where credentials come from

    def _may_be_stored(self, provider_id: str, *, ended: bool = False) -> bool:
        if self._written.in_settings(provider_id):
            return False
        entry = self.store.index().get(provider_id)
        return entry is not None and (ended or not entry.ended)

    async def _of_command(self, provider_id: str, command: str) -> Credential:
        from koda_daemon.ai.auth.command import command_output

        key = await command_output(command, self._environ, path=f"providers.{provider_id}.apiKey")
        REDACTOR.add(key)
        return await self._of_key(provider_id, key, "settings", until=time() + _COMMAND_LASTS)

    async def _of_store(self, provider_id: str) -> Credential | None:
        stored = await self.store.read(provider_id)
        version = self.store.version
        if stored is None:
            return None
        if isinstance(stored, ApiKey):
            REDACTOR.add(stored.key)
            entry = self.store.index().get(provider_id)
            source: Source = "file" if entry is not None and entry.key is not None else "keyring"
            return await self._of_key(provider_id, stored.key, source, stored=True)
        tokens, until = await self._refreshed().fresh(provider_id, stored, self._refused.get(provider_id))
        if tokens is not stored:
            self._refused.pop(provider_id, None)
            version = self.store.version
        self._cache_version = version
        return self._keep(provider_id, self._flow(provider_id).credential(tokens), until, stored=True)

    async def _of_key(
        self, provider_id: str, key: str, source: Source, *, until: float | None = None, stored: bool = False
    ) -> Credential:
        if provider_id not in _EXCHANGED:
            return self._keep(provider_id, Credential(secret=key, source=source, expires=until), until, stored=stored)
        from koda_daemon.ai.auth.oauth import renew_at

        flow = self._flow(provider_id)
        tokens = await flow.exchange(key)
        credential = replace(flow.credential(tokens), source=source)
        return self._keep(provider_id, credential, renew_at(tokens), stored=stored)

    def _keep(
        self, provider_id: str, credential: Credential, until: float | None = None, *, stored: bool = False
    ) -> Credential:
        self._cache[provider_id] = _Cached(credential, until, stored)
        return credential

    # flows

    def _refreshed(self) -> Refresher:
        if self._refresher is None:
            from koda_daemon.ai.auth.refresh import Refresher

            self._refresher = Refresher(
                self.store, self._flow, self.home / "locks", lambda provider_id: self._changed(provider_id, "expired")
            )
        return self._refresher

    def _flow(self, provider_id: str) -> Flow:
        from koda_daemon.ai.auth.flows import flow
        from koda_daemon.ai.auth.oauth import FlowConfig

        row = self._settings.get(provider_id)
        options = row.options.get("oauth", {}) if row is not None else {}
        if not isinstance(options, dict):
            path = f"providers.{provider_id}.options.oauth"
            raise KodaError("params.invalid", f"{path} must be an object.", path=path)
        return flow(FlowConfig(provider=provider_id, options=options, environ=self._environ, home=self.home))

    def _flow_or_none(self, provider_id: str) -> Flow | None:
        from koda_daemon.ai.auth.flows import has_flow

        return self._flow(provider_id) if has_flow(provider_id) else None
