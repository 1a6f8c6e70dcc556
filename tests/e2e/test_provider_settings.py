"""Providers in the settings: what is wrong with them is told with its place, and the rest works."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.ai.conftest import Loopback
from tests.ai.wire.streams import DONE, delta, sse
from tests.e2e.koda import daemon
from tests.harness.client import RefusedError

pytestmark = pytest.mark.asyncio


async def test_a_provider_is_a_few_lines(tmp_path: Path) -> None:
    loopback = Loopback()
    await loopback.start()
    loopback.reply(sse(delta(content="Hi"), delta("stop"), DONE))
    rows: dict[str, Any] = {
        "lab": {"baseUrl": f"{loopback.url}/v1", "apiKey": "$LAB_KEY"},
        "groq": {"baseUrl": f"{loopback.url}/g", "apiKey": "!echo printed", "headers": {"X-Team": "$TEAM"}},
    }
    try:
        env = {"LAB_KEY": "from-env\n", "TEAM": "blue"}
        async with daemon(tmp_path, settings={"providers": rows}, env=env) as koda:
            for model in ("lab/anything:at-all", "groq/never-heard-of-it", "groq/openai/gpt-oss-120b"):
                session = await koda.new(model=model)
                assert (await koda.prompt(session, "Hello"))["text"] == "Hi"
            context = await koda.request("koda/context", sessionId=session)
            assert context["contextWindow"] == 131_072
    finally:
        await loopback.stop()
    asked = [seen for seen in loopback.requests if seen.path.endswith("/chat/completions")]
    assert [seen.path for seen in asked] == ["/v1/chat/completions", "/g/chat/completions", "/g/chat/completions"]
    assert [seen.json["model"] for seen in asked] == ["anything:at-all", "never-heard-of-it", "openai/gpt-oss-120b"]
    assert [seen.headers["authorization"] for seen in asked] == ["Bearer from-env", "Bearer printed", "Bearer printed"]
    assert [seen.headers.get("x-team") for seen in asked] == [None, "blue", "blue"]


async def test_what_is_wrong_is_told_with_its_place(tmp_path: Path) -> None:
    address = "http://127.0.0.1:9/v1"
    rows = {
        "typo": {"baseURL": address},
        "size": {"baseUrl": address, "models": [{"id": "m", "contextWindow": 0}]},
        "price": {"baseUrl": address, "models": [{"id": "m", "prices": {"input": 1, "ouput": 2}}]},
        "gift": {"baseUrl": address, "models": [{"id": "m", "prices": {"input": -1}}]},
        "flag": {"baseUrl": address, "compat": {"streamUsages": False}},
        "wire": {"baseUrl": address, "api": "soap"},
        "option": {"baseUrl": address, "options": {"read_timeout": 5}},
        "header": {"baseUrl": address, "headers": {"a b": "c"}},
        "good": {"baseUrl": address, "models": [{"id": "m"}]},
    }
    async with daemon(tmp_path, settings={"providers": rows}) as koda:
        await koda.raw.wait_for(lambda message: "providers.header" in str(message), 10)
        told = " ".join(
            message["params"]["message"]
            for message in koda.raw.notifications
            if message["method"] == "window/showMessage"
        )
        for place in (
            "providers.typo.baseURL: unknown key",
            "providers.size.models[0].contextWindow",
            "providers.price.models[0].prices.ouput: unknown key",
            "providers.gift.models[0].prices.input",
            "providers.flag.compat",
            "providers.wire.api",
            "providers.option.options.read_timeout: unknown key",
            "providers.header.headers",
        ):
            assert place in told
        assert "providers.good" not in told
        models = (await koda.request("koda/model/list", provider="good"))["models"]
        assert [model["id"] for model in models] == ["good/m"]


async def test_a_typo_is_told_ahead_of_the_refusal_that_comes_of_it(tmp_path: Path) -> None:
    rows = {
        "typo": {"baseURL": "http://127.0.0.1:9/v1", "headers": {"x-team": 5}},
        "far": {"baseUrl": "http://a:99999"},
    }
    async with daemon(tmp_path, settings={"providers": rows}) as koda:
        with pytest.raises(RefusedError, match=r"providers\.typo\.baseUrl is missing"):
            await koda.new(model="typo/m")
        answered = next(i for i, message in enumerate(koda.raw.messages) if "error" in message)
        told = str(
            [message for message in koda.raw.messages[:answered] if message.get("method") == "window/showMessage"]
        )
        assert "providers.typo.baseURL: unknown key" in told
        assert "providers.typo.headers.x-team: expected `str`" in told
        session = await koda.new(model="far/m")
        result = await koda.prompt(session, "Hello")
        assert result["stopReason"] == "error"
        assert "providers.far.baseUrl" in koda.transcript(session).of("turn.ended")[0]["error"]["message"]
