"""koda/auth/*: which providers have credentials, and signing in and out."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

from koda_daemon.agent.events import error_data
from koda_daemon.base.errors import KodaError
from koda_daemon.host.host import Host
from koda_daemon.server.face import Face, Feature
from koda_daemon.server.protocol import auth as p

if TYPE_CHECKING:
    from koda_daemon.ai.auth.oauth import Attempt

_log = logging.getLogger(__name__)


async def status(face: Face, params: p.AuthStatusParams) -> p.AuthStatusResult:
    host = await _host(face)
    names = host.models.providers if params.provider is None else [_known(host, params.provider)]
    return p.AuthStatusResult(providers=tuple([await _status(host, name) for name in names]))


async def login(face: Face, params: p.AuthLoginParams) -> p.AuthLoginResult:
    host = await _host(face)
    provider = _known(host, params.provider)
    given = [name for name, value in (("apiKey", params.api_key), ("code", params.code)) if value is not None]
    if len(given) + params.cancel > 1:
        raise KodaError("params.invalid", "Give one of apiKey, code and cancel.", path=f"$.{given[-1]}")
    if params.cancel:
        return p.AuthLoginResult(status="cancelled" if await host.auth.cancel(provider) else "ok")
    if params.api_key is not None:
        await host.auth.store_key(provider, params.api_key)
        return p.AuthLoginResult(status="ok")
    if params.code is not None:
        host.auth.paste(provider, params.code)
        return p.AuthLoginResult(status="pending")
    attempt = await host.auth.begin(provider)
    host.start(_finish, host, provider, attempt)
    host.start(_show, face, attempt)
    return p.AuthLoginResult(status="pending", url=attempt.url, user_code=attempt.user_code)


async def logout(face: Face, params: p.AuthLogoutParams) -> p.AuthLogoutResult:
    host = await _host(face)
    return p.AuthLogoutResult(removed=await host.auth.logout(_known(host, params.provider)))


class _Watcher(Struct, frozen=True):
    """Tells one client of changes; equal for the same client, so that it is told once."""

    face: Any
    host: Any

    def __call__(self, provider: str, state: Literal["ok", "expired", "missing"], error: KodaError | None) -> None:
        if self.face.connection.closed:
            self.host.auth.listeners.discard(self)
            return
        changed = p.AuthChanged(provider=provider, status=state, error=None if error is None else error_data(error))
        self.face.connection.notify("koda/auth/changed", changed)


async def _host(face: Face) -> Host:
    """The host; from now on the client hears of changes."""
    host = await face.host()
    host.auth.listeners.add(_Watcher(face, host))
    return host


def _known(host: Host, provider: str) -> str:
    if provider not in host.models.providers:
        raise KodaError("params.invalid", f"No provider named {provider!r}.", path="$.provider")
    return provider


async def _status(host: Host, provider: str) -> p.AuthStatus:
    found = await host.auth.status(provider)
    return p.AuthStatus(
        provider=provider,
        status="ok" if found.state == "missing" and _needs_none(host, provider) else found.state,
        source=found.source,
        methods=host.auth.methods(provider),
        account=found.account,
        since=None if found.since is None else _iso(found.since),
        expires_at=None if found.expires is None else _iso(found.expires),
    )


def _needs_none(host: Host, provider: str) -> bool:
    try:
        return not host.models.config(provider).needs_key
    except KodaError:
        return False


def _iso(seconds: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


async def _finish(host: Host, provider: str, attempt: Attempt) -> None:
    try:
        await host.auth.finish(provider, attempt)
    except KodaError as error:  # listeners have been told
        _log.info("the sign-in at %s failed: %s", provider, error.message)


async def _show(face: Face, attempt: Attempt) -> None:
    """Opens the page in the user's browser, if the client can; it has the address in any case."""
    await face.language.tier.window.show_document(attempt.url, external=True)


METHODS: dict[str, Feature] = {
    "koda/auth/status": status,
    "koda/auth/login": login,
    "koda/auth/logout": logout,
}
