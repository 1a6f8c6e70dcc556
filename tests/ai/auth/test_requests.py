"""What requests are authorized with, from the registry to the wire."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from time import time
from typing import Any

import msgspec
import pytest

from koda_daemon.ai.auth import OAuthTokens
from koda_daemon.ai.auth.storage import AuthStorage
from koda_daemon.ai.events import StreamError
from koda_daemon.ai.messages import TextBlock, UserMessage
from koda_daemon.ai.provider import Context, StreamOptions
from koda_daemon.ai.registry import ModelRegistry
from koda_daemon.ai.settings import ProviderSettings
from tests.ai.auth.provider import ISSUED, FakeProvider
from tests.ai.conftest import Loopback

OFF = {"KODA_KEYRING": "off"}
KEY = "sk-stored-0123456789"
CONTEXT = Context("Be brief.", (UserMessage((TextBlock("Hi"),)),))


class Made:
    """A registry with the credentials of a home folder, whose providers are all at one address."""

    def __init__(self, home: Path, url: str, fake: FakeProvider | None = None, **settings: Any) -> None:
        oauth = fake.oauth() if fake is not None else {}
        names = {"groq", "openai", "openrouter", "ollama", "github-copilot", *settings}
        self.rows = {
            name: ProviderSettings(
                base_url=f"{url}/v1", options={"oauth": oauth.get(name, {})}, **settings.get(name, {})
            )
            for name in names
        }
        self.auth = AuthStorage(home, OFF, self.rows)
        self.models = ModelRegistry(self.rows, environ={**OFF, "KODA_OFFLINE": "1"}, credentials=lambda: self.auth)

    async def error(self, ref: str) -> str:
        """Asks, and gives the kind of the error that comes."""
        async with self.models.stream(self.models.model(ref), CONTEXT, StreamOptions()) as stream:
            *_, last = [event async for event in stream]
        assert isinstance(last, StreamError)
        return last.error.kind


def refusals(loopback: Loopback) -> None:
    loopback.reply(b'{"error":{"code":"invalid_api_key"}}', status=401, content_type="application/json")


def sent(loopback: Loopback) -> list[str]:
    return [seen.headers["authorization"] for seen in loopback.requests]


@pytest.mark.asyncio
async def test_a_stored_key_is_sent(tmp_path: Path, loopback: Loopback) -> None:
    made = Made(tmp_path, loopback.url)
    refusals(loopback)
    assert not made.models.available("groq")
    assert await made.error("groq/any") == "auth.required"
    assert loopback.requests == []
    await made.auth.store_key("groq", KEY)
    assert made.models.available("groq")
    for _ in range(2):
        assert await made.error("groq/any") == "auth.required"
    await made.auth.store_key("groq", "another-key-0123456789")
    await made.error("groq/any")
    await made.auth.logout("groq")
    await made.error("groq/any")
    assert sent(loopback) == [f"Bearer {KEY}", f"Bearer {KEY}", "Bearer another-key-0123456789"]
    await made.models.aclose()


@pytest.mark.asyncio
async def test_a_server_without_need_of_keys_may_have_one(tmp_path: Path, loopback: Loopback) -> None:
    made = Made(tmp_path, loopback.url)
    refusals(loopback)
    await made.error("ollama/any")
    assert "authorization" not in loopback.requests[0].headers
    await made.auth.store_key("ollama", KEY)
    await made.error("ollama/any")
    assert loopback.requests[1].headers["authorization"] == f"Bearer {KEY}"
    await made.models.aclose()


@pytest.mark.asyncio
async def test_the_key_of_a_command_is_sent(tmp_path: Path, loopback: Loopback) -> None:
    count = tmp_path / "count"
    code = f"open(r'{count}', 'a').write('x'); print('key-' + open(r'{count}').read())"
    made = Made(tmp_path, loopback.url, lab={"api_key": f'!"{sys.executable}" -c "{code}"'})
    refusals(loopback)
    for _ in range(2):
        await made.error("lab/any")
    assert sent(loopback) == ["Bearer key-x", "Bearer key-xx"]  # it was refused, so it is asked for again
    await made.models.aclose()


@pytest.mark.asyncio
async def test_a_command_that_fails_is_told(tmp_path: Path, loopback: Loopback) -> None:
    made = Made(tmp_path, loopback.url, lab={"api_key": "!exit 3"})
    async with made.models.stream(made.models.model("lab/any"), CONTEXT, StreamOptions()) as stream:
        [event] = [event async for event in stream]
    assert isinstance(event, StreamError)
    assert event.error.path == "providers.lab.apiKey"
    assert loopback.requests == []


@pytest.mark.asyncio
async def test_tokens_are_sent_and_refreshed_over_one_connection(
    tmp_path: Path, loopback: Loopback, provider: FakeProvider
) -> None:
    made = Made(tmp_path, loopback.url, provider)
    refusals(loopback)
    provider.refresh_tokens.add("refresh-0123456789")
    old = OAuthTokens(
        access="access-old-0123456789",
        refresh="refresh-0123456789",
        expires=time() + 3600,
        issued=time(),
        extra={"client_id": ISSUED},
    )
    await made.auth.store.write("openai", old)
    assert made.models.available("openai")
    for _ in range(2):
        assert await made.error("openai/gpt-5") == "auth.required"
    assert provider.count("/token") == 1
    first, second = sent(loopback)
    assert first == "Bearer access-old-0123456789" != second
    assert second.startswith("Bearer access-")
    assert loopback.connections == 1
    await made.models.aclose()


@pytest.mark.asyncio
async def test_a_refused_token_is_worth_one_more_try(
    tmp_path: Path, loopback: Loopback, provider: FakeProvider
) -> None:
    made = Made(tmp_path, loopback.url, provider)
    refusals(loopback)
    provider.refresh_tokens.add("refresh-0123456789")
    tokens = OAuthTokens(access="a" * 9, refresh="refresh-0123456789", expires=time() + 3600, extra={"client_id": "me"})
    await made.auth.store.write("openai", tokens)
    retryable = []
    for _ in range(2):
        async with made.models.stream(made.models.model("openai/gpt-5"), CONTEXT, StreamOptions()) as stream:
            *_, last = [event async for event in stream]
        assert isinstance(last, StreamError)
        retryable.append(last.error.retryable)
    assert retryable == [True, False]
    await made.models.aclose()


@pytest.mark.asyncio
async def test_an_ended_sign_in_is_told_without_a_request(
    tmp_path: Path, loopback: Loopback, provider: FakeProvider
) -> None:
    made = Made(tmp_path, loopback.url, provider)
    await made.auth.store.write("openai", OAuthTokens(access="a" * 9, refresh="r" * 9, expires=time() - 10))
    for _ in range(2):
        assert await made.error("openai/gpt-5") == "auth.expired"
    assert not made.models.available("openai")
    assert loopback.requests == []


@pytest.mark.asyncio
async def test_many_requests_at_once_wait_for_one_refresh(
    tmp_path: Path, loopback: Loopback, provider: FakeProvider
) -> None:
    made = Made(tmp_path, loopback.url, provider)
    refusals(loopback)
    provider.refresh_tokens.add("refresh-0123456789")
    old = OAuthTokens(access="a" * 9, refresh="refresh-0123456789", expires=time() - 10, extra={"client_id": ISSUED})
    await made.auth.store.write("openai", old)
    await asyncio.gather(*(made.error("openai/gpt-5") for _ in range(6)))
    assert provider.count("/token") == 1
    assert len(set(sent(loopback))) == 1
    await made.models.aclose()


@pytest.mark.asyncio
async def test_what_a_chatgpt_plan_pays_for(tmp_path: Path, loopback: Loopback, provider: FakeProvider) -> None:
    """Signing in changes what is sent; a key of the same provider does not."""
    made = Made(tmp_path, loopback.url, provider)
    environ = {**OFF, "KODA_OFFLINE": "1", "OPENAI_ORG_ID": "org-1"}
    made.models = ModelRegistry(made.rows, environ=environ, credentials=lambda: made.auth)
    refusals(loopback)
    await made.auth.store.write("openai", OAuthTokens(access="access-0123456789", issued=time()))
    await made.error("openai/gpt-5")
    await made.auth.store_key("openai", KEY)
    await made.error("openai/gpt-5")
    plan, paid = loopback.requests
    assert [one["role"] for one in msgspec.json.decode(plan.body)["input"]] == ["developer", "user"]
    assert [one["role"] for one in msgspec.json.decode(paid.body)["input"]] == ["system", "user"]
    assert ("openai-organization" in plan.headers, paid.headers["openai-organization"]) == (False, "org-1")
    await made.models.aclose()


@pytest.mark.asyncio
async def test_warming_has_tokens_at_hand_unless_offline(tmp_path: Path, provider: FakeProvider) -> None:
    provider.refresh_tokens.add("refresh-0123456789")
    rows = provider.settings()
    auth = AuthStorage(tmp_path, OFF, rows)
    old = OAuthTokens(access="a" * 9, refresh="refresh-0123456789", expires=time() - 10, extra={"client_id": ISSUED})
    await auth.store.write("openai", old)
    offline = ModelRegistry(rows, environ={"KODA_OFFLINE": "1"}, credentials=lambda: auth)
    models = ModelRegistry(rows, environ={}, credentials=lambda: auth)
    with pytest.raises(Exception, match="needs an API key"):
        await offline.warm("openai/gpt-5")
    assert provider.asked == []
    await models.warm("openai/gpt-5")
    assert provider.count("/token") == 1
    await models.aclose()
