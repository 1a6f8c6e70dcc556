"""A provider of the user's own through the daemon: what it does wrong stays its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ai.test_custom_provider import EXAMPLE
from tests.e2e.koda import daemon

pytestmark = pytest.mark.asyncio

MODULE = (
    EXAMPLE
    + """

import anyio


class Raises(MyProvider):
    def stream(self, model, context, options):
        raise ValueError("sk-secret-in-an-exception")


class RaisesLater(MyProvider):
    async def _answer(self, model, context):
        yield Start()
        yield TextStart(0)
        yield TextDelta(0, "So far")
        raise ValueError("sk-secret-in-an-exception")


class Hangs(MyProvider):
    async def _answer(self, model, context):
        yield Start()
        yield TextStart(0)
        yield TextDelta(0, "So far")
        await anyio.sleep_forever()

    async def list_models(self):
        await anyio.sleep_forever()


class Returns(MyProvider):
    def stream(self, model, context, options):
        return self._answer(model, context)


class Ends(MyProvider):
    async def _answer(self, model, context):
        yield Start()


class Lists(MyProvider):
    async def list_models(self):
        raise RuntimeError("sk-secret-in-an-exception")


class Unmade(MyProvider):
    def __init__(self):
        pass


class Abstract(BaseProvider):
    api_type = "x"
"""
)

SAID = {
    "Raises": "The provider of Raises/m failed: ValueError.",
    "RaisesLater": "The provider client failed: ValueError.",
    "Returns": "Returns.stream returned no AssistantMessageEventStream.",
    "Ends": "The answer ended early.",
    "Unmade": "providers.Unmade.api: Unmade cannot be made: TypeError: ",
    "Abstract": "providers.Abstract.api: Abstract cannot be made: TypeError: ",
    "Missing": "providers.Missing.api: koda_own_provider:Missing cannot be imported: ",
}


async def test_what_it_does_wrong_stays_its_own(tmp_path: Path) -> None:
    (tmp_path / "koda_own_provider.py").write_text(MODULE)
    rows = {
        name: {"api": f"koda_own_provider:{name}", "models": [{"id": "m"}]}
        for name in ("MyProvider", "Hangs", "Lists", *SAID)
    }
    settings = {"providers": rows, "retry": {"max_attempts": 1}}
    async with daemon(tmp_path, settings=settings, env={"PYTHONPATH": str(tmp_path)}) as koda:
        for name, said in SAID.items():
            session = await koda.new(model=f"{name}/m")
            result = await koda.prompt(session, "hello")
            assert result["stopReason"] == "error"
            assert result["error"]["message"].startswith(said)
        session = await koda.new(model="Hangs/m")
        await koda.request("koda/prompt", sessionId=session, content="hello")
        await koda.event(session, "text.delta")
        for name in ("Hangs", "Lists"):
            listed = await koda.request("koda/model/list", provider=name)
            assert [model["id"] for model in listed["models"]] == [f"{name}/m"]
        assert (await koda.prompt(await koda.new(model="MyProvider/m"), "hello you"))["text"] == "HELLO YOU "
        await koda.request("koda/turn/cancel", sessionId=session)
        assert (await koda.event(session, "turn.ended"))["stopReason"] == "cancelled"
        assert "sk-secret" not in str(koda.raw.messages)
