"""Signing in at each provider, against servers that check what they are sent."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from time import time
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from koda_daemon.ai.auth import ApiKey, OAuthTokens
from koda_daemon.ai.auth.flows import flow, has_flow
from koda_daemon.ai.auth.http import checked_url, fetch
from koda_daemon.ai.auth.oauth import Flow, FlowConfig, renew_at
from koda_daemon.base.errors import KodaError
from tests.ai.auth.provider import ISSUED, NOW, Asked, FakeProvider, Reply, visit


def make(provider: FakeProvider, name: str, home: Path, **options: Any) -> Flow:
    return flow(FlowConfig(provider=name, options=provider.oauth()[name] | options, home=home))


async def sign_in(provider: FakeProvider, made: Flow, *, pasted: bool = False, **extra: str) -> ApiKey | OAuthTokens:
    attempt = await made.begin()
    waiting = asyncio.create_task(attempt.wait())
    back = provider.consent(attempt.url, **extra)
    if pasted:
        attempt.paste(back)
    else:
        assert (await visit(back))[0] == 200
    try:
        return await waiting
    finally:
        await attempt.aclose()


@pytest.mark.asyncio
@pytest.mark.parametrize("pasted", [False, True])
async def test_openrouter(provider: FakeProvider, tmp_path: Path, pasted: bool) -> None:
    key = await sign_in(provider, make(provider, "openrouter", tmp_path), pasted=pasted)
    assert isinstance(key, ApiKey)
    assert key.key.startswith("sk-or-")


@pytest.mark.asyncio
async def test_openrouter_takes_a_bare_code(provider: FakeProvider, tmp_path: Path) -> None:
    attempt = await make(provider, "openrouter", tmp_path).begin()
    attempt.paste(dict(parse_qsl(urlsplit(provider.consent(attempt.url)).query))["code"])
    assert isinstance(await attempt.wait(), ApiKey)
    await attempt.aclose()


@pytest.mark.asyncio
async def test_a_code_of_another_sign_in_is_worth_nothing(provider: FakeProvider, tmp_path: Path) -> None:
    made = make(provider, "openrouter", tmp_path)
    mine, other = await made.begin(), await made.begin()
    mine.paste(dict(parse_qsl(urlsplit(provider.consent(other.url)).query))["code"])
    with pytest.raises(KodaError, match="does not accept"):
        await mine.wait()
    await mine.aclose()
    await other.aclose()


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["openrouter", "openai", "huggingface"])
async def test_the_user_refuses(provider: FakeProvider, tmp_path: Path, name: str) -> None:
    attempt = await make(provider, name, tmp_path).begin()
    waiting = asyncio.create_task(attempt.wait())
    await visit(provider.refuse(attempt.url))
    with pytest.raises(KodaError) as caught:
        await waiting
    assert caught.value.kind == "permission.denied"
    await attempt.aclose()


@pytest.mark.asyncio
async def test_nobody_comes(provider: FakeProvider, tmp_path: Path) -> None:
    attempt = await make(provider, "openrouter", tmp_path).begin()
    attempt._seconds = 0.01  # type: ignore[attr-defined] # ten minutes
    with pytest.raises(KodaError, match="Nobody signed in"):
        await attempt.wait()
    await attempt.aclose()


# -- ChatGPT


@pytest.mark.asyncio
@pytest.mark.parametrize("pasted", [False, True])
async def test_chatgpt(provider: FakeProvider, tmp_path: Path, pasted: bool) -> None:
    made = make(provider, "openai", tmp_path)
    tokens = await sign_in(provider, made, pasted=pasted)
    assert isinstance(tokens, OAuthTokens)
    assert tokens.extra["account"] == "ada@example.org"
    assert tokens.extra["client_id"] == ISSUED
    assert tokens.expires is not None
    assert abs(tokens.expires - time() - 3600) < 60
    [first] = [grant.query for grant in provider.grants.values()]
    assert (first["client_id"], first["agent_name_hint"]) == ("dynamic_agent_client", "Koda")
    assert first["ext_agent_host_id"].startswith("urn:uuid:")
    assert first["resource"] == "https://api.openai.com/v1"
    assert next(asked.form["client_id"] for asked in provider.asked if asked.path == "/token") == ISSUED

    fresh = await made.refresh(tokens)
    assert fresh.access != tokens.access
    assert fresh.refresh != tokens.refresh
    assert fresh.extra == tokens.extra
    with pytest.raises(KodaError) as caught:
        await made.refresh(tokens)
    assert caught.value.kind == "auth.expired"
    await made.revoke(fresh)
    assert provider.refresh_tokens == set()


@pytest.mark.asyncio
async def test_chatgpt_knows_its_registration_again(provider: FakeProvider, tmp_path: Path) -> None:
    await sign_in(provider, make(provider, "openai", tmp_path))
    assert json.loads((tmp_path / "chatgpt.json").read_bytes()).keys() == {"host_id", "client_id", "subject"}
    await sign_in(provider, make(provider, "openai", tmp_path))
    first, second = (grant.query for grant in provider.grants.values())
    assert second["client_id"] == ISSUED
    assert "agent_name_hint" not in second
    assert second["ext_agent_host_id"] == first["ext_agent_host_id"]
    with pytest.raises(KodaError, match="another registration"):
        await sign_in(provider, make(provider, "openai", tmp_path), client_id="oaiapp_other")
    assert await make(provider, "openai", tmp_path).forget()
    assert not await make(provider, "openai", tmp_path).forget()
    await sign_in(provider, make(provider, "openai", tmp_path))
    *_, last = (grant.query for grant in provider.grants.values())
    assert (last["client_id"], last["ext_agent_host_id"]) == ("dynamic_agent_client", first["ext_agent_host_id"])


@pytest.mark.asyncio
async def test_chatgpt_asks_for_the_whole_address_at_first(provider: FakeProvider, tmp_path: Path) -> None:
    attempt = await make(provider, "openai", tmp_path).begin()
    attempt.paste(dict(parse_qsl(urlsplit(provider.consent(attempt.url)).query))["code"])
    with pytest.raises(KodaError) as caught:
        await attempt.wait()
    assert "whole address" in str(caught.value.user_action)
    await attempt.aclose()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("claims", "why"),
    [({"nonce": "replayed"}, "another sign-in"), ({"aud": "other"}, "another program"), ({"exp": 1}, "expired")],
)
async def test_chatgpt_checks_who_has_signed_in(
    provider: FakeProvider, tmp_path: Path, claims: dict[str, Any], why: str
) -> None:
    provider.claims = claims
    with pytest.raises(KodaError, match=why):
        await sign_in(provider, make(provider, "openai", tmp_path))


@pytest.mark.asyncio
async def test_chatgpt_notices_another_account(provider: FakeProvider, tmp_path: Path) -> None:
    await sign_in(provider, make(provider, "openai", tmp_path))
    provider.claims = {"sub": "user-2"}
    with pytest.raises(KodaError, match="Another account"):
        await sign_in(provider, make(provider, "openai", tmp_path))


@pytest.mark.asyncio
async def test_chatgpt_without_the_plan(provider: FakeProvider, tmp_path: Path) -> None:
    provider.scope = "openid profile email"
    with pytest.raises(KodaError) as caught:
        await sign_in(provider, make(provider, "openai", tmp_path))
    assert caught.value.kind == "permission.denied"


@pytest.mark.asyncio
async def test_chatgpt_keeps_an_id_that_was_issued_for_a_failed_sign_in(provider: FakeProvider, tmp_path: Path) -> None:
    provider.claims = {"nonce": "replayed"}
    with pytest.raises(KodaError):
        await sign_in(provider, make(provider, "openai", tmp_path))
    provider.claims = {}
    await sign_in(provider, make(provider, "openai", tmp_path))
    *_, last = (grant.query for grant in provider.grants.values())
    assert last["client_id"] == ISSUED


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "reply",
    [
        (400, {"error": "invalid_grant"}),
        (401, {"error": {"code": "refresh_token_reused", "message": "It was used"}}),
        (400, {"error": "refresh_token_expired"}),
        (200, {"access_token": "access-0123456789", "scope": "openid profile", "expires_in": 3600}),
    ],
)
async def test_chatgpt_ends_a_sign_in(provider: FakeProvider, tmp_path: Path, reply: Reply) -> None:
    made = make(provider, "openai", tmp_path)
    tokens = await sign_in(provider, made)
    assert isinstance(tokens, OAuthTokens)

    async def answer(_asked: Asked) -> Reply:
        return reply

    provider.answer = answer
    with pytest.raises(KodaError) as caught:
        await made.refresh(tokens)
    assert caught.value.kind == "auth.expired"


# -- Hugging Face


@pytest.mark.asyncio
async def test_huggingface(provider: FakeProvider, tmp_path: Path) -> None:
    made = make(provider, "huggingface", tmp_path)
    tokens = await sign_in(provider, made)
    assert isinstance(tokens, OAuthTokens)
    assert tokens.extra == {"client_id": "hf-app", "account": "hugger"}
    fresh = await made.refresh(tokens)
    assert fresh.access != tokens.access
    [grant] = provider.grants.values()
    assert grant.query["scope"] == "openid profile inference-api"


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["huggingface", "github-copilot"])
async def test_apps_of_ones_own_are_needed(provider: FakeProvider, tmp_path: Path, name: str) -> None:
    with pytest.raises(KodaError) as caught:
        await make(provider, name, tmp_path, clientId="").begin()
    assert caught.value.kind == "auth.required"
    assert caught.value.path == f"providers.{name}.options.oauth.clientId"


@pytest.mark.asyncio
async def test_an_app_may_be_named_by_a_variable(provider: FakeProvider, tmp_path: Path) -> None:
    options = provider.oauth()["huggingface"] | {"clientId": ""}
    environ = {"KODA_HUGGINGFACE_CLIENT_ID": "of-the-environment"}
    made = flow(FlowConfig(provider="huggingface", options=options, environ=environ, home=tmp_path))
    attempt = await made.begin()
    assert "client_id=of-the-environment" in attempt.url
    await attempt.aclose()


# -- GitHub Copilot


@pytest.mark.asyncio
async def test_copilot(provider: FakeProvider, tmp_path: Path) -> None:
    made = make(provider, "github-copilot", tmp_path)
    provider.device = [{"error": "authorization_pending"}, {"error": "authorization_pending"}]
    attempt = await made.begin()
    assert (attempt.user_code, attempt.url) == ("WDJB-MJHT", f"{provider.url}/login/device")
    tokens = await attempt.wait()
    assert isinstance(tokens, OAuthTokens)
    assert provider.count("/login/oauth/access_token") == 3
    assert tokens.refresh == "gho_0123456789abcdef"
    assert tokens.expires == NOW
    credential = made.credential(tokens)
    assert credential.base_url == "https://api.business.githubcopilot.com"
    assert credential.headers["copilot-integration-id"]
    assert tokens.extra["account"] == "octocat"
    fresh = await made.refresh(tokens)
    assert fresh.access != tokens.access
    assert fresh.extra == tokens.extra


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("access_denied", "permission.denied"),
        ("expired_token", "auth.required"),
        ("incorrect_client_credentials", "internal"),
    ],
)
async def test_copilot_is_refused(provider: FakeProvider, tmp_path: Path, error: str, kind: str) -> None:
    provider.device = [{"error": error}]
    attempt = await make(provider, "github-copilot", tmp_path).begin()
    with pytest.raises(KodaError) as caught:
        await attempt.wait()
    assert caught.value.kind == kind


@pytest.mark.asyncio
async def test_copilot_slows_down_when_told_to(provider: FakeProvider, tmp_path: Path) -> None:
    provider.device = [{"error": "slow_down"}]
    attempt = await make(provider, "github-copilot", tmp_path).begin()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await attempt.wait()
    assert provider.count("/login/oauth/access_token") == 1


@pytest.mark.asyncio
async def test_copilot_stops_asking_when_given_up(provider: FakeProvider, tmp_path: Path) -> None:
    provider.device = [{"error": "authorization_pending"}] * 1000
    attempt = await make(provider, "github-copilot", tmp_path).begin()
    waiting = asyncio.create_task(attempt.wait())
    await attempt.aclose()
    with pytest.raises(KodaError, match="given up"):
        await waiting


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ((401, {"message": "Bad credentials"}), "auth.expired"),
        ((403, {"message": "no access"}), "permission.denied"),
        ((404, {}), "permission.denied"),
        ((502, b"<html>"), "provider.unreachable"),
        ((200, {"unexpected": 1}), "internal"),
    ],
)
async def test_copilot_gives_no_token(provider: FakeProvider, tmp_path: Path, reply: Reply, kind: str) -> None:
    provider.exchange = reply
    with pytest.raises(KodaError) as caught:
        await make(provider, "github-copilot", tmp_path).exchange("gho_0123456789abcdef")
    assert caught.value.kind == kind
    assert "gho_" not in caught.value.message


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("endpoints", "token", "base_url"),
    [
        ({"api": "https://api.enterprise.githubcopilot.com/"}, "t" * 9, "https://api.enterprise.githubcopilot.com"),
        (
            {"api": "http://evil.example"},
            "tid=1;proxy-ep=proxy.x.githubcopilot.com;a=1",
            "https://api.x.githubcopilot.com",
        ),
        (None, "t" * 9, "https://api.individual.githubcopilot.com"),
    ],
)
async def test_copilot_addresses(
    provider: FakeProvider, tmp_path: Path, endpoints: Any, token: str, base_url: str
) -> None:
    provider.exchange = (200, {"token": token, "expires_at": 5, "refresh_in": 1000, "endpoints": endpoints})
    tokens = await make(provider, "github-copilot", tmp_path).exchange("gho_0123456789abcdef")
    assert tokens.extra["base_url"] == base_url
    assert tokens.expires is not None
    assert tokens.expires > time() + 900  # by our own clock, since the server's says that it is over


# -- all


@pytest.mark.parametrize(
    ("name", "why"), [("anthropic", "does not permit"), ("google", "does not permit"), ("groq", "no sign-in page")]
)
def test_providers_that_take_keys_only(name: str, why: str) -> None:
    assert not has_flow(name)
    with pytest.raises(KodaError, match=why) as caught:
        flow(FlowConfig(provider=name))
    assert (caught.value.kind, caught.value.path) == ("params.invalid", "$.apiKey")


@pytest.mark.parametrize("url", ["http://example.org/x", "ftp://127.0.0.1", "https://", "nonsense", "http://[", ""])
def test_credentials_go_over_https_or_nowhere(url: str) -> None:
    with pytest.raises(KodaError):
        checked_url(url, "where")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "options", [{"tokenUrl": 7}, {"tokenUrl": "http://example.org"}, {"callbackPort": "80"}, {"callbackPort": -1}]
)
async def test_wrong_settings_are_named(provider: FakeProvider, tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(KodaError) as caught:
        await make(provider, "openrouter", tmp_path, **options).begin()
    assert caught.value.kind == "params.invalid"
    assert str(caught.value.path).startswith("providers.openrouter.options.oauth.")


@pytest.mark.asyncio
async def test_answers_of_all_kinds(provider: FakeProvider) -> None:
    replies: dict[str, Reply] = {
        "/a": (200, b"\xff"),
        "/b": (200, b"[1]"),
        "/c": (302, {}),
        "/d": (200, b"x" * 300_000),
    }

    async def answer(asked: Asked) -> Reply:
        return replies[asked.path]

    provider.answer = answer
    assert await fetch(f"{provider.url}/a") == (200, {})
    assert await fetch(f"{provider.url}/b") == (200, {})
    assert await fetch(f"{provider.url}/c") == (302, {})
    with pytest.raises(KodaError, match="too much"):
        await fetch(f"{provider.url}/d")


@pytest.mark.asyncio
async def test_servers_that_are_not_there_or_hang(provider: FakeProvider) -> None:
    never = asyncio.Event()

    async def hang(_: Asked) -> None:
        await never.wait()

    provider.answer = hang
    for url, seconds in ((f"{provider.url}/a", 0.1), ("http://127.0.0.1:1/a", 5.0)):
        with pytest.raises(KodaError) as caught:
            await fetch(url, form={"refresh_token": "leaked-secret"}, seconds=seconds)
        assert (caught.value.kind, caught.value.retryable) == ("provider.unreachable", True)
        assert "leaked-secret" not in caught.value.message
    never.set()


def test_when_tokens_are_renewed() -> None:
    assert renew_at(OAuthTokens(access="a")) is None
    assert renew_at(OAuthTokens(access="a", issued=0, expires=3600)) == 3300
    assert renew_at(OAuthTokens(access="a", issued=0, expires=100)) == 50
