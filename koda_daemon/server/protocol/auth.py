"""koda/auth/*: signing in to providers."""

from __future__ import annotations

from typing import Literal

from koda_daemon.agent.events import ErrorData
from koda_daemon.server.protocol.base import Params, Result


class AuthStatusParams(Params, kw_only=True):
    """Says which providers have credentials. Never gives a secret."""

    provider: str | None = None


class AuthStatus(Result, kw_only=True):
    """Where a provider stands."""

    provider: str
    status: Literal["ok", "expired", "missing"]
    source: Literal["environment", "settings", "keyring", "file", "oauth", "none"]
    """Where the credentials come from; ``none``: there are none, or none is needed."""
    methods: tuple[Literal["apiKey", "oauth"], ...]
    """How one can sign in."""
    account: str | None = None
    since: str | None = None
    """When it was signed in."""
    expires_at: str | None = None
    """When what signing in gave ends or is refreshed."""


class AuthStatusResult(Result):
    """The providers."""

    providers: tuple[AuthStatus, ...]


class AuthLoginParams(Params, kw_only=True):
    """Signs in: stores ``api_key``, or without one starts OAuth, whose page opens through ``window/showDocument``.

    A sign-in that is pending is ended by ``code`` too, for machines whose browser is elsewhere.
    """

    provider: str
    api_key: str | None = None
    code: str | None = None
    """The address that the browser was sent to, pasted by the user, or the code in it."""
    cancel: bool = False
    """Gives up the sign-in that is pending; what is stored stays."""


class AuthLoginResult(Result, kw_only=True):
    """``pending``: the user goes on at ``url`` (entering ``user_code``, if there is one).

    ``koda/auth/changed`` tells the end. To ``cancel``: ``cancelled``, or ``ok`` when nothing was pending.
    """

    status: Literal["ok", "pending", "cancelled"]
    url: str | None = None
    user_code: str | None = None


class AuthLogoutParams(Params):
    """Removes what ``koda/auth/login`` stored. Credentials of the environment stay."""

    provider: str


class AuthLogoutResult(Result):
    """``removed`` is false when nothing was stored."""

    removed: bool


class AuthChanged(Result, kw_only=True):
    """A sign-in that was pending has ended, or credentials have changed. No event: it belongs to no session."""

    provider: str
    status: Literal["ok", "expired", "missing"]
    error: ErrorData | None = None
    """Why the sign-in failed, if it did."""
