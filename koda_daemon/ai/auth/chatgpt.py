"""OpenAI: "Sign in with ChatGPT" for open-source, locally run apps: requests count against the user's ChatGPT plan.

As described at developers.openai.com/siwc/token-sharing-open-source. The first sign-in registers this installation as
an agent: it goes in as ``dynamic_agent_client``, and the client id that is to be used from then on comes back with the
code. The access token is used at api.openai.com like an API key; refresh tokens are used once.
"""

from __future__ import annotations

import uuid
from time import time
from typing import Any
from urllib.parse import urlencode

import anyio.to_thread
import msgspec
from msgspec import Struct
from msgspec.structs import replace

from koda_daemon.ai.auth import Credential, OAuthTokens, Stored
from koda_daemon.ai.auth.callback import Callback, CallbackServer
from koda_daemon.ai.auth.http import fetch
from koda_daemon.ai.auth.jwt import TokenError, verified_claims
from koda_daemon.ai.auth.oauth import (
    Attempt,
    CodeAttempt,
    Flow,
    ended,
    new_pkce,
    random_text,
    token_failure,
    token_request,
    tokens_of,
)
from koda_daemon.ai.auth.private_files import read_private, write_private
from koda_daemon.ai.auth.redact import REDACTOR
from koda_daemon.base.errors import KodaError

AGENT_NAME = "Koda"
REGISTRATION = "chatgpt.json"
_FIRST_CLIENT = "dynamic_agent_client"
_PLAN_SCOPE = "chatgpt.tokens.use.direct"
_SCOPE = f"openid profile email offline_access resource.invoke {_PLAN_SCOPE}"


class Registration(Struct, omit_defaults=True, kw_only=True):
    """What identifies this installation and its agent at OpenAI. No secret; kept when the user signs out."""

    host_id: str
    client_id: str = ""
    subject: str = ""
    """Whose agent it is."""


class ChatGPT(Flow):
    """Settings: ``issuer``, ``authorizeUrl``, ``tokenUrl``, ``revokeUrl``, ``jwksUrl``, ``resource``."""

    def _issuer(self) -> str:
        return self.config.url("issuer", "https://auth.openai.com")

    def _token_url(self) -> str:
        return self.config.url("tokenUrl", f"{self._issuer()}/api/accounts/oauth/token")

    def _resource(self) -> str:
        return self.config.url("resource", "https://api.openai.com/v1")

    async def begin(self) -> Attempt:
        page = self.config.url("authorizeUrl", f"{self._issuer()}/api/accounts/authorize")
        known = await anyio.to_thread.run_sync(self._registration)
        pkce, state, nonce = new_pkce(), random_text(), random_text()
        server = CallbackServer(state, "/auth/callback")
        await server.start(self.config.port())
        query = {
            "response_type": "code",
            "client_id": known.client_id or _FIRST_CLIENT,
            "ext_agent_host_id": known.host_id,
            "redirect_uri": server.url,
            "scope": _SCOPE,
            "resource": self._resource(),
            "state": state,
            "nonce": nonce,
            "code_challenge": pkce.challenge,
            "code_challenge_method": "S256",
        }
        if not known.client_id:
            query["agent_name_hint"] = AGENT_NAME

        async def exchange(callback: Callback) -> Stored:
            client_id = _client_id(callback, known)
            if client_id != known.client_id:
                # Issued for good: should the exchange fail, the next sign-in must not register a second agent.
                issued = Registration(host_id=known.host_id, client_id=client_id)
                await anyio.to_thread.run_sync(self._keep, issued)
            form = {
                "grant_type": "authorization_code",
                "client_id": client_id,
                "code": callback.code,
                "code_verifier": pkce.verifier,
                "redirect_uri": server.url,
                "resource": self._resource(),
            }
            body = await token_request(self.provider, self._token_url(), form)
            claims = await self._claims(body, client_id, nonce)
            if known.subject and claims["sub"] != known.subject and client_id == known.client_id:
                raise KodaError("permission.denied", "Another account has signed in than the one that is known here.")
            if _PLAN_SCOPE not in str(body.get("scope", "")).split():
                raise KodaError(
                    "permission.denied",
                    "ChatGPT did not permit the use of the plan.",
                    user_action="Sign in again and allow it, or sign in with an API key.",
                )
            registered = Registration(host_id=known.host_id, client_id=client_id, subject=claims["sub"])
            await anyio.to_thread.run_sync(self._keep, registered)
            email = claims.get("email") or claims.get("name") or ""
            extra = {"client_id": client_id, "resource": self._resource(), "account": str(email)}
            return tokens_of(body, extra=extra)

        return CodeAttempt(f"{page}?{urlencode(query)}", server, exchange)

    async def refresh(self, tokens: OAuthTokens) -> OAuthTokens:
        if not tokens.refresh:
            raise ended(self.provider)
        form = {
            "grant_type": "refresh_token",
            "client_id": tokens.extra.get("client_id", ""),
            "refresh_token": tokens.refresh,
            "resource": tokens.extra.get("resource") or self._resource(),
        }
        body = await token_request(self.provider, self._token_url(), form)
        if _PLAN_SCOPE not in str(body.get("scope", _PLAN_SCOPE)).split():
            raise ended(self.provider)  # the user has taken back what was agreed to
        return tokens_of(body, tokens)

    def credential(self, tokens: OAuthTokens) -> Credential:
        return replace(super().credential(tokens), plan=True)

    async def revoke(self, tokens: OAuthTokens) -> None:
        url = self.config.url("revokeUrl", f"{self._issuer()}/api/accounts/oauth/revoke")
        form = {
            "token": tokens.refresh or tokens.access,
            "token_type_hint": "refresh_token" if tokens.refresh else "access_token",
            "client_id": tokens.extra.get("client_id", ""),
        }
        await fetch(url, form=form, seconds=5.0)

    async def forget(self) -> bool:
        def forget() -> bool:
            known = self._registration()
            if not known.client_id:
                return False
            self._keep(Registration(host_id=known.host_id))
            return True

        return await anyio.to_thread.run_sync(forget)

    async def _claims(self, body: dict[str, Any], client_id: str, nonce: str) -> dict[str, Any]:
        url = self.config.url("jwksUrl", f"{self._issuer()}/.well-known/jwks.json")
        status, jwks = await fetch(url)
        if status != 200:
            raise token_failure(self.provider, status, "")
        token = str(body.get("id_token", ""))
        REDACTOR.add(token)
        try:
            return verified_claims(token, jwks, issuer=self._issuer(), audience=client_id, nonce=nonce, now=time())
        except TokenError as error:
            raise KodaError("internal", f"The identity token of {self.provider} is not valid: {error}.") from None

    def _registration(self) -> Registration:
        """The registration of this installation; its host id is made, and kept, at the first sign-in. Blocks."""
        try:
            data = read_private(self.config.home / REGISTRATION)
            known = msgspec.json.decode(data, type=Registration) if data is not None else None
        except (OSError, msgspec.DecodeError):
            known = None
        if known is None:
            known = Registration(host_id=f"urn:uuid:{uuid.uuid4()}")
            self._keep(known)
        return known

    def _keep(self, registration: Registration) -> None:
        try:
            write_private(self.config.home / REGISTRATION, msgspec.json.encode(registration))
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise KodaError("internal", f"The registration cannot be stored: {why}.") from None


def _client_id(callback: Callback, known: Registration) -> str:
    """The client id to go on with: the issued one, which for a known installation must be its own."""
    issued = callback.parameters.get("client_id", "")
    if known.client_id:
        if issued not in ("", known.client_id):
            raise KodaError("permission.denied", "The sign-in came back for another registration.")
        return known.client_id
    if not issued or issued == _FIRST_CLIENT:
        raise KodaError(
            "params.invalid",
            "ChatGPT gave this installation no client id.",
            path="$.code",
            user_action="Paste the whole address that the browser ended at, not the code alone.",
        )
    return issued
