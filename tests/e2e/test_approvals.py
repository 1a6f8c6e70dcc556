"""Approvals: asked of clients, remembered as rules, and denied when nobody answers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.koda import call, daemon, steps, texts
from tests.harness.client import RefusedError

WRITES = {
    "answers": [
        steps(call("write", path="a.txt", content="new\n")),
        "Done.",
        steps(call("write", path="b.txt", content="b\n")),
    ],
    "otherwise": "Done.",
}
ASK = {"options": {"mode": "ask"}}


@pytest.mark.asyncio
async def test_a_change_is_shown_and_allowed(tmp_path: Path) -> None:
    async with daemon(tmp_path) as koda:
        asked: list[dict[str, Any]] = []

        def allow(params: dict[str, Any]) -> dict[str, Any]:
            asked.append(params)
            return {"optionId": next(each["id"] for each in params["options"] if each["scope"] == "once")}

        koda.raw.on_request("koda/approval/request", allow)
        session = await koda.new(WRITES, **ASK)
        assert (await koda.prompt(session, "Go"))["text"] == "Done."
        assert (koda.workspace / "a.txt").read_text() == "new\n"
        [request] = asked
        assert (request["tool"], request["arguments"]["path"]) == ("write", "a.txt")
        assert "+new" in request["diff"]
        assert {option["decision"] for option in request["options"]} == {"allow", "deny"}
        transcript = koda.transcript(session)
        assert [event["callId"] for event in transcript.of("approval.requested")] == [request["callId"]]
        [resolved] = transcript.of("approval.resolved")
        assert resolved["by"] == "test"
        request_ids = [message["id"] for message in koda.raw.requests]
        assert all(isinstance(each, int) for each in request_ids)


@pytest.mark.asyncio
async def test_an_allowed_rule_is_not_asked_again_and_can_be_revoked(tmp_path: Path) -> None:
    async with daemon(tmp_path) as koda:
        asked: list[dict[str, Any]] = []

        def allow(params: dict[str, Any]) -> dict[str, Any]:
            asked.append(params)
            return {"optionId": next(each["id"] for each in params["options"] if each["scope"] == "session")}

        koda.raw.on_request("koda/approval/request", allow)
        session = await koda.new(WRITES, **ASK)
        await koda.prompt(session, "Go")
        await koda.prompt(session, "Again")
        assert (koda.workspace / "b.txt").exists()
        assert len(asked) == 1
        rules = (await koda.request("koda/permission/list", sessionId=session))["rules"]
        assert [(rule["tool"], rule["decision"], rule["scope"]) for rule in rules] == [("write", "allow", "session")]
        revoked = await koda.request(
            "koda/permission/revoke", sessionId=session, tool="write", pattern=rules[0]["pattern"]
        )
        assert revoked == {"revoked": 1}
        assert (await koda.request("koda/permission/list", sessionId=session))["rules"] == []


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "answer", [None, {"optionId": None}, {"optionId": "deny"}, {"optionId": "nosuch"}, "error", "bad"]
)
async def test_everything_but_an_allowing_option_denies(tmp_path: Path, answer: Any) -> None:
    def respond(params: dict[str, Any]) -> Any:
        if answer == "error":
            raise RefusedError(-32603, "The user has gone.")
        return answer

    async with daemon(tmp_path) as koda:
        koda.raw.on_request("koda/approval/request", respond)
        session = await koda.new(WRITES, **ASK)
        assert (await koda.prompt(session, "Go"))["text"] == "Done."
        assert not (koda.workspace / "a.txt").exists()
        [ended] = koda.transcript(session).of("tool.ended")
        assert ended["status"] == "denied"
        assert not koda.transcript(session).of("tool.started")


@pytest.mark.asyncio
async def test_arguments_can_be_changed_before_they_are_allowed(tmp_path: Path) -> None:
    async with daemon(tmp_path) as koda:
        koda.raw.on_request(
            "koda/approval/request",
            lambda params: {"optionId": "once", "arguments": {"path": "a.txt", "content": "mine\n"}},
        )
        session = await koda.new(WRITES, **ASK)
        await koda.prompt(session, "Go")
        assert (koda.workspace / "a.txt").read_text() == "mine\n"


@pytest.mark.asyncio
async def test_a_pending_approval_is_seen_and_answered_by_another_request(tmp_path: Path) -> None:
    async with daemon(tmp_path) as koda:
        import asyncio

        koda.raw.on_request("koda/approval/request", lambda params: asyncio.sleep(60))
        session = await koda.new(WRITES, **ASK)
        waiting = koda.raw.begin("koda/prompt", {"sessionId": session, "content": "Go", "wait": True})
        requested = await koda.event(session, "approval.requested")
        [pending] = (await koda.request("koda/approval/list", sessionId=session))["approvals"]
        assert pending["callId"] == requested["callId"]
        opened = await koda.request("koda/session/open", sessionId=session)
        assert [each["callId"] for each in opened["pendingApprovals"]] == [requested["callId"]]
        answer = {"sessionId": session, "callId": requested["callId"], "optionId": "once"}
        assert (await koda.request("koda/approval/answer", **answer))["accepted"]
        assert not (await koda.request("koda/approval/answer", **answer))["accepted"]
        assert (await waiting.result())["text"] == "Done."
        assert (koda.workspace / "a.txt").exists()


@pytest.mark.asyncio
async def test_read_only_changes_nothing_and_runs_nothing(tmp_path: Path) -> None:
    script = {
        "answers": [
            steps(call("read", path="a.txt"), call("write", path="a.txt", content="x"), call("bash", command="id"))
        ]
    }
    async with daemon(tmp_path) as koda:
        (koda.workspace / "a.txt").write_text("old\n")
        session = await koda.new(script, options={"mode": "read-only"})
        await koda.prompt(session, "Go")
        assert [event["status"] for event in koda.transcript(session).of("tool.ended")] == ["ok", "denied", "denied"]
        assert (koda.workspace / "a.txt").read_text() == "old\n"
        assert koda.raw.requests == []


@pytest.mark.asyncio
async def test_what_lies_outside_of_the_workspace_is_asked(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret\n")
    async with daemon(tmp_path) as koda:
        (koda.workspace / "link").symlink_to(tmp_path / "secret.txt")
        for path in ("../secret.txt", str(tmp_path / "secret.txt"), "link"):
            session = await koda.new({"answers": [steps(call("read", path=path))]}, **ASK)
            await koda.prompt(session, "Go")
            [ended] = koda.transcript(session).of("tool.ended")
            assert ended["status"] == "denied", path
            assert "secret" not in str(ended["content"]).replace("secret.txt", "")


@pytest.mark.asyncio
async def test_a_plain_lsp_client_is_asked_with_a_message(tmp_path: Path) -> None:
    async with daemon(tmp_path, initialize=False) as koda:
        shown: list[dict[str, Any]] = []

        def choose(params: dict[str, Any]) -> dict[str, Any]:
            shown.append(params)
            return dict(params["actions"][0])

        koda.raw.on_request("window/showMessageRequest", choose)
        await koda.initialize({})
        session = await koda.new(WRITES, **ASK)
        assert (await koda.prompt(session, "Go"))["text"] == "Done."
        assert (koda.workspace / "a.txt").read_text() == "new\n"
        [message] = shown
        assert "a.txt" in message["message"]


@pytest.mark.asyncio
async def test_a_plain_client_without_answers_denies(tmp_path: Path) -> None:
    async with daemon(tmp_path, initialize=False) as koda:
        koda.raw.on_request("window/showMessageRequest", lambda params: None)
        await koda.initialize({})
        session = await koda.new(WRITES, **ASK)
        await koda.prompt(session, "Go")
        assert not (koda.workspace / "a.txt").exists()


@pytest.mark.asyncio
async def test_texts_need_no_approval(tmp_path: Path) -> None:
    async with daemon(tmp_path) as koda:
        session = await koda.new(texts("Just text."), **ASK)
        assert (await koda.prompt(session, "Go"))["text"] == "Just text."
        assert koda.raw.requests == []


@pytest.mark.asyncio
@pytest.mark.skipif(sys.platform == "win32", reason="runs POSIX shell commands")
async def test_the_sandbox_is_chosen_for_a_session(tmp_path: Path) -> None:
    """Confined, or refused where nothing confines: either way the file outside is out of reach."""
    outside = tmp_path / "outside.txt"
    script = {"otherwise": "Done.", "answers": [steps(call("bash", command=f"echo x > {outside}")), "Done."] * 2}
    async with daemon(tmp_path) as koda:
        session = await koda.new(script, options={"mode": "full", "sandbox": "off"})
        await koda.prompt(session, "Go")
        assert outside.exists()
        outside.unlink()
        await koda.request("koda/option/set", sessionId=session, name="sandbox", value="required")
        await koda.prompt(session, "Again")
        assert len(koda.transcript(session).of("tool.ended")) == 2
        assert not outside.exists()
        default = await koda.request("koda/option/set", sessionId=session, name="sandbox", value=None)
        assert default == {"name": "sandbox", "value": "workspace-write"}
