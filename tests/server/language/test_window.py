from __future__ import annotations

import asyncio
from typing import Any

import pytest

from koda_daemon.server.language.window import TurnProgress
from tests.server.language.client import VSCODE, editor_client


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("answer", "chosen"),
    [({"title": "Allow"}, "Allow"), (None, None), ({"title": "Other"}, None), ({}, None), ("Allow", None)],
)
async def test_only_an_offered_action_is_an_answer(answer: Any, chosen: str | None) -> None:
    async with editor_client() as client:
        asking = asyncio.create_task(client.tier.window.ask("warning", "Run rm?", ["Allow", "Deny"]))
        question = await client.asked("window/showMessageRequest")
        actions = [{"title": "Allow"}, {"title": "Deny"}]
        assert question["params"] == {"type": 2, "message": "Run rm?", "actions": actions}
        client.answer(question, answer)
        assert await asking == chosen


@pytest.mark.asyncio
async def test_an_error_is_no_answer() -> None:
    async with editor_client() as client:
        asking = asyncio.create_task(client.tier.window.ask("info", "?", ["Allow"]))
        question = await client.asked("window/showMessageRequest")
        client.send({"id": question["id"], "error": {"code": -32800, "message": "quit"}})
        assert await asking is None


@pytest.mark.asyncio
async def test_silence_is_no_answer_and_takes_the_question_back() -> None:
    async with editor_client() as client:
        assert await client.tier.window.ask("info", "?", ["Allow"], timeout=0.05) is None
        question = await client.asked("window/showMessageRequest")
        assert (await client.asked("$/cancelRequest"))["params"] == {"id": question["id"]}


@pytest.mark.asyncio
async def test_one_question_at_a_time() -> None:
    async with editor_client() as client:
        asking = [asyncio.create_task(client.tier.window.ask("info", text, ["Yes"])) for text in ("one", "two")]
        first = await client.asked("window/showMessageRequest")
        await client.execute("koda.status")
        assert client.methods().count("window/showMessageRequest") == 1
        client.answer(first, {"title": "Yes"})
        second = await client.asked("window/showMessageRequest")
        assert (first["params"]["message"], second["params"]["message"]) == ("one", "two")
        client.answer(second, None)
        assert await asyncio.gather(*asking) == ["Yes", None]


@pytest.mark.asyncio
async def test_a_cancelled_question_is_taken_back() -> None:
    async with editor_client() as client:
        asking = asyncio.create_task(client.tier.window.ask("info", "?", ["Allow"]))
        question = await client.asked("window/showMessageRequest")
        asking.cancel()
        assert (await client.asked("$/cancelRequest"))["params"] == {"id": question["id"]}
        with pytest.raises(asyncio.CancelledError):
            await asking


@pytest.mark.asyncio
async def test_messages() -> None:
    async with editor_client() as client:
        client.tier.window.show_message("error", "broken")
        client.tier.window.log_message("log", "detail")
        assert (await client.asked("window/showMessage"))["params"] == {"type": 1, "message": "broken"}
        assert (await client.asked("window/logMessage"))["params"] == {"type": 4, "message": "detail"}


@pytest.mark.asyncio
@pytest.mark.parametrize("success", [True, False])
async def test_a_document_is_shown(success: bool) -> None:
    async with editor_client(VSCODE) as client:
        showing = asyncio.create_task(client.tier.window.show_document("https://x.test", external=True))
        request = await client.asked("window/showDocument")
        assert request["params"] == {"uri": "https://x.test", "external": True, "takeFocus": True}
        client.answer(request, {"success": success})
        assert await showing is success


@pytest.mark.asyncio
async def test_clients_that_cannot_show_documents_are_not_asked() -> None:
    async with editor_client() as client:
        assert not await client.tier.window.show_document("https://x.test")
        assert client.sent == []


@pytest.mark.asyncio
async def test_progress_of_a_turn() -> None:
    async with editor_client(VSCODE) as client:
        progress, pressed = TurnProgress(client.tier), asyncio.Event()
        beginning = asyncio.create_task(progress.begin("Koda", "thinking", pressed.set))
        create = await client.asked("window/workDoneProgress/create")
        token = create["params"]["token"]
        client.answer(create, None)
        await beginning
        progress.report("thinking")
        progress.report("edit a.py")
        client.notify("window/workDoneProgress/cancel", {"token": token})
        assert pressed.is_set()
        progress.end("done")
        progress.report("late")
        progress.end()
        values = [message["params"] for message in client.sent if message.get("method") == "$/progress"]
        assert values == [
            {"token": token, "value": {"kind": "begin", "title": "Koda", "message": "thinking", "cancellable": True}},
            {"token": token, "value": {"kind": "report", "message": "edit a.py"}},
            {"token": token, "value": {"kind": "end", "message": "done"}},
        ]
        pressed.clear()
        client.notify("window/workDoneProgress/cancel", {"token": token})
        assert not pressed.is_set()


@pytest.mark.asyncio
async def test_a_turn_that_ends_before_the_client_agrees_is_shown_as_ended() -> None:
    async with editor_client(VSCODE) as client:
        progress = TurnProgress(client.tier)
        beginning = asyncio.create_task(progress.begin("Koda"))
        create = await client.asked("window/workDoneProgress/create")
        progress.end("done")
        client.answer(create, None)
        await beginning
        # A client that has agreed waits for both.
        values = [m["params"]["value"] for m in client.sent if m.get("method") == "$/progress"]
        assert values == [{"kind": "begin", "title": "Koda", "cancellable": False}, {"kind": "end", "message": "done"}]


@pytest.mark.asyncio
async def test_no_progress_for_clients_that_have_none() -> None:
    async with editor_client() as client:
        progress = TurnProgress(client.tier)
        await progress.begin("Koda")
        progress.report("x")
        progress.end()
        assert client.sent == []
