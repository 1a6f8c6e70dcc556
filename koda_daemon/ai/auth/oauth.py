"""Signing in with OAuth: what all providers have in common. Each provider is a ``Flow`` in a module of its own.

Plain PKCE (RFC 7636) and device codes (RFC 8628) over our HTTP client: a library would add a dependency for some
twenty lines, and none of them works on httpx2.
"""

from __future__ import annotations

import base64
import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from time import time
from typing import Any

from msgspec import Struct, field

from koda_daemon.ai.auth import Credential, OAuthTokens, Stored
from koda_daemon.ai.auth.callback import Callback, CallbackServer
from koda_daemon.ai.auth.http import checked_url, error_code, fetch
from koda_daemon.ai.auth.redact import REDACTOR
from koda_daemon.base.errors import KodaError

SKEW = 300.0
"""Seconds before its end that a token is refreshed: a long answer must not outlive it, and clocks differ."""


class FlowConfig(Struct, frozen=True, kw_only=True):
    """What a flow works with: the user's ``providers.<id>.options.oauth``, the environment, the home folder."""

    provider: str
    options: dict[str, Any] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    home: Path = Path()

    def __repr__(self) -> str:  # the environment holds secrets
        return f"FlowConfig(provider={self.provider!r})"

    def _at(self, name: str) -> str:
        return f"providers.{self.provider}.options.oauth.{name}"

    def text(self, name: str, default: str = "") -> str:
        """A setting that is text. Raises ``params.invalid``."""
        value = self.options.get(name, default)
        if not isinstance(value, str):
            raise KodaError("params.invalid", f"{self._at(name)} must be text.", path=self._at(name))
        return value

    def url(self, name: str, default: str) -> str:
        """The address of an endpoint. Raises ``params.invalid`` unless it is https, or on this machine."""
        return checked_url(self.text(name, default), self._at(name)).rstrip("/")

    def port(self) -> int:
        """The port of the callback, for apps that are registered with one; 0: any. Raises ``params.invalid``."""
        value = self.options.get("callbackPort", 0)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 65536:
            raise KodaError(
                "params.invalid", f"{self._at('callbackPort')} must be a port.", path=self._at("callbackPort")
            )
        return value

    def client_id(self, variable: str, what: str) -> str:
        """The id of the user's own app, which this flow needs. Raises ``auth.required`` with what to do."""
        found = self.text("clientId") or self.environ.get(variable, "")
        if not found:
            raise KodaError(
                "auth.required",
                f"Signing in at {self.provider} needs the client id of {what}.",
                user_action=f"Set {variable}, or {self._at('clientId')} in the settings. Or sign in with an API key.",
                path=self._at("clientId"),
            )
        return found


class Attempt(ABC):
    """One sign-in that the user is in the middle of: at ``url``, perhaps entering ``user_code``."""

    url: str
    user_code: str | None = None

    @abstractmethod
    async def wait(self) -> Stored:
        """What the sign-in gives, when the user is through. Raises what went wrong as a ``KodaError``."""

    def paste(self, text: str) -> None:
        """Takes the address that the browser ended at, or the code. Raises ``params.invalid``."""
        raise KodaError("params.invalid", "This sign-in goes on by itself; there is nothing to paste.", path="$.code")

    async def aclose(self) -> None:  # noqa: B027 - not every attempt holds something
        """Ends the attempt; safe at any time."""


class Flow(ABC):
    """How one provider signs its users in. Made anew for each use: settings may change."""

    def __init__(self, config: FlowConfig) -> None:
        self.config = config

    @property
    def provider(self) -> str:
        return self.config.provider

    @abstractmethod
    async def begin(self) -> Attempt:
        """Starts signing in."""

    async def refresh(self, tokens: OAuthTokens) -> OAuthTokens:
        """New tokens for old ones. Raises ``auth.expired`` when the user has to sign in again."""
        raise ended(self.provider)

    async def exchange(self, key: str) -> OAuthTokens:
        """Tokens for an API key, for providers that do not take keys as they are."""
        raise NotImplementedError

    async def revoke(self, tokens: OAuthTokens) -> None:  # noqa: B027 - not every provider can
        """Tells the provider that the tokens are no longer used; they are forgotten in any case."""

    async def forget(self) -> bool:
        """Forgets what is kept apart from tokens (a registration); False when there is nothing."""
        return False

    def credential(self, tokens: OAuthTokens) -> Credential:
        """What requests are authorized with."""
        return Credential(secret=tokens.access, source="oauth", kind="oauth", expires=tokens.expires)


class CodeAttempt(Attempt):
    """A sign-in in the browser (authorization code with PKCE)."""

    def __init__(
        self,
        url: str,
        server: CallbackServer,
        exchange: Callable[[Callback], Awaitable[Stored]],
        seconds: float = 600.0,
    ) -> None:
        self.url = url
        self._server = server
        self._exchange = exchange
        self._seconds = seconds

    async def wait(self) -> Stored:
        import anyio

        callback: Callback | None = None
        with anyio.move_on_after(self._seconds):
            callback = await self._server.wait()
        if callback is None:
            what = f"Nobody signed in within {self._seconds / 60:g} minutes."
            raise KodaError("auth.required", what, retryable=True, user_action="Start the sign-in again.")
        return await self._exchange(callback)

    def paste(self, text: str) -> None:
        self._server.paste(text)

    async def aclose(self) -> None:
        await self._server.aclose()


class Pkce(Struct, frozen=True):
    """A secret of ours and its hash, which binds the code to this sign-in (RFC 7636, method S256)."""

    verifier: str
    challenge: str

    def __repr__(self) -> str:
        return "Pkce(***)"


def new_pkce() -> Pkce:
    """A fresh pair."""
    verifier = random_text()
    REDACTOR.add(verifier)
    return Pkce(verifier, base64url(hashlib.sha256(verifier.encode()).digest()))


def random_text() -> str:
    """256 random bits that may stand in any address."""
    return base64url(os.urandom(32))


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def ended(provider: str) -> KodaError:
    """The sign-in is over: the provider takes the refresh token no more."""
    return KodaError(
        "auth.expired",
        f"The sign-in at {provider} has ended.",
        user_action=f"Sign in again: koda-daemon login {provider}",
    )


# What says that a refresh token is worth nothing any more; all but the first are OpenAI's.
_ENDED = frozenset(
    {
        "invalid_grant",
        "invalid_refresh_token",
        "token_expired",
        "refresh_token_expired",
        "refresh_token_invalidated",
        "refresh_token_reused",
    }
)


async def token_request(provider: str, url: str, form: Mapping[str, str]) -> dict[str, Any]:
    """Asks a token endpoint (RFC 6749, 4.1.3 and 6). Raises ``auth.expired`` for ``invalid_grant``."""
    status, body = await fetch(url, form=form)
    code = error_code(body)
    if status == 200 and not code and isinstance(body.get("access_token"), str) and body["access_token"]:
        return body
    raise token_failure(provider, status, code)


def token_failure(provider: str, status: int, code: str) -> KodaError:
    """What an answer without tokens means."""
    if code in _ENDED:
        return ended(provider)
    if status == 429 or status >= 500:
        what = f"The sign-in server of {provider} is busy (HTTP {status})."
        return KodaError("provider.unreachable", what, retryable=True)
    if code == "access_denied":
        return KodaError("permission.denied", f"The sign-in at {provider} was refused.")
    said = f" ({code})" if code else f" (HTTP {status})"
    what = f"{provider} does not accept the sign-in{said}."
    return KodaError("internal", what, user_action="Start the sign-in again.")


def tokens_of(
    body: Mapping[str, Any], old: OAuthTokens | None = None, extra: Mapping[str, str] | None = None
) -> OAuthTokens:
    """The tokens of a token endpoint's answer. What it leaves out stays as it was (RFC 6749, 6)."""
    now = time()
    lifetime, refresh = body.get("expires_in"), body.get("refresh_token")
    if not isinstance(refresh, str) or not refresh:
        refresh = old.refresh if old is not None else ""
    lasts = isinstance(lifetime, int | float) and not isinstance(lifetime, bool) and lifetime > 0
    tokens = OAuthTokens(
        access=body["access_token"],
        refresh=refresh,
        expires=now + float(lifetime) if lasts and isinstance(lifetime, int | float) else None,
        issued=now,
        extra={**(old.extra if old is not None else {}), **(extra or {})},
    )
    REDACTOR.add(tokens.access, tokens.refresh)
    return tokens


def renew_at(tokens: OAuthTokens) -> float | None:
    """When tokens should be refreshed: ``SKEW`` before their end, or half way for those that live shortly."""
    if tokens.expires is None:
        return None
    return tokens.expires - min(SKEW, max(0.0, (tokens.expires - tokens.issued) / 2))
