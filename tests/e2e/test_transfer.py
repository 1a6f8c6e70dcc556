"""Sessions go out to files and come back; a file from elsewhere decides nothing about this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.koda import Koda, call, daemon, say, steps
from tests.harness.client import RefusedError, clean_environment

SCRIPT = {
    "answers": [
        steps(say("I write it."), call("write", path="a.txt", content="one\n")),
        steps(call("edit", path="a.txt", edits=[{"oldText": "one", "newText": "two"}])),
        "Done <b>&amp;</b>.",
    ],
    "otherwise": "Another way.",
}


async def told(koda: Koda) -> str:
    """A session with two branches, tools, labels and a title."""
    session = await koda.new(SCRIPT, title="The story")
    await koda.prompt(session, "Write a.txt")
    first = (await koda.request("koda/tree", sessionId=session))["nodes"][0]
    await koda.request("koda/label", sessionId=session, nodeId=first["id"], label="start")
    await koda.request("koda/branch", sessionId=session, fromId=first["id"], label="fork")
    await koda.prompt(session, "Otherwise?")
    return session


def bare(tree: dict[str, Any]) -> dict[str, Any]:
    return {"headId": tree["headId"], "nodes": tree["nodes"]}


@pytest.mark.asyncio
async def test_jsonl_comes_back_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "out" / "story.jsonl"
    target.parent.mkdir()
    async with daemon(tmp_path) as koda:
        session = await told(koda)
        assert await koda.request("koda/session/export", sessionId=session, format="jsonl", path=str(target)) == {
            "path": str(target)
        }
        content = (await koda.request("koda/session/export", sessionId=session, format="jsonl"))["content"]
        assert target.read_text() == content
        imported = await koda.request("koda/session/import", path=str(target))
        assert imported["nodeCount"] == len((await koda.request("koda/tree", sessionId=session))["nodes"])
        assert imported.get("warnings", []) == []
        again = imported["sessionId"]
        assert bare(await koda.request("koda/tree", sessionId=again)) == bare(
            await koda.request("koda/tree", sessionId=session)
        )
        left = await koda.request("koda/session/open", sessionId=session)
        right = await koda.request("koda/session/open", sessionId=again)
        assert left["nodes"] == right["nodes"]
        assert right["session"]["cwd"] == str(koda.workspace)
        assert right["session"]["options"] == {}, "a file grants nothing"
        await koda.request(
            "koda/option/set", sessionId=again, name="provider", value={"script": {"answers": [], "otherwise": "On."}}
        )
        assert (await koda.prompt(again, "Go on"))["text"] == "On."


@pytest.mark.asyncio
async def test_people_can_read_the_other_formats(tmp_path: Path) -> None:
    async with daemon(tmp_path) as koda:
        session = await told(koda)
        markdown = (await koda.request("koda/session/export", sessionId=session, format="markdown"))["content"]
        assert "# The story" in markdown
        assert "Otherwise?" in markdown
        assert "+two" in markdown
        html = (await koda.request("koda/session/export", sessionId=session, format="html"))["content"]
        assert "<!doctype html>" in html
        assert "<script" not in html
        assert "Done &lt;b&gt;&amp;amp;&lt;/b&gt;." in html
        assert "<ins>+two</ins>" in html


@pytest.mark.asyncio
async def test_an_export_replaces_a_file_whole_and_nothing_else(tmp_path: Path) -> None:
    async with daemon(tmp_path) as koda:
        session = await told(koda)
        target = tmp_path / "story.md"
        target.write_text("old")
        target.chmod(0o600)
        link = tmp_path / "link.md"
        link.symlink_to(target)
        await koda.request("koda/session/export", sessionId=session, format="markdown", path=str(link))
        assert link.is_symlink()
        assert "# The story" in target.read_text()
        assert target.stat().st_mode & 0o777 == 0o600
        (tmp_path / "folder").mkdir()
        os.mkfifo(tmp_path / "pipe")
        for path in ("story.md", str(tmp_path / "folder"), str(tmp_path / "no" / "such.md"), str(tmp_path / "pipe")):
            with pytest.raises(RefusedError) as refused:
                await koda.request("koda/session/export", sessionId=session, format="markdown", path=path)
            assert refused.value.data["kind"] == "params.invalid"
            assert refused.value.data["path"] == "$.path"
        assert sorted(each.name for each in tmp_path.iterdir()) == [
            *("folder", "home", "link.md", "pipe", "story.md", "work")
        ]


def pi_file(path: Path, cwd: str, **header: Any) -> Path:
    lines: list[dict[str, Any]] = [
        {"type": "session", "id": "s", "timestamp": "2026-01-01T00:00:00.000Z", "cwd": cwd, **header},
        {"type": "message", "timestamp": "2026-01-01T00:00:01.000Z", "message": {"role": "user", "content": "Look"}},
        {
            "type": "message",
            "timestamp": "2026-01-01T00:00:02.000Z",
            "message": {
                "role": "assistant",
                "provider": "anthropic",
                "model": "claude-x",
                "api": "anthropic-messages",
                "content": [{"type": "toolCall", "id": "c1", "name": "ls", "arguments": {}}],
                "stopReason": "aborted",
            },
        },
    ]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return path


@pytest.mark.asyncio
async def test_a_foreign_file_does_not_choose_a_folder_that_is_no_workspace(tmp_path: Path) -> None:
    async with daemon(tmp_path) as koda:
        home = tmp_path / "home"
        project = home / "project"
        project.mkdir()
        own = pi_file(tmp_path / "own.jsonl", str(project), provider="anthropic", modelId="claude-x")
        imported = await koda.request("koda/session/import", path=str(own))
        opened = await koda.request("koda/session/open", sessionId=imported["sessionId"])
        assert (opened["session"]["cwd"], opened["session"]["model"]) == (str(project), "anthropic/claude-x")
        assert [node["kind"] for node in opened["nodes"]] == ["user", "assistant", "toolResult"]
        assert any("result" in warning for warning in imported["warnings"])
        for cwd in ("/", str(home), str(tmp_path), str(home / ".koda"), str(tmp_path / "gone"), "relative", ""):
            imported = await koda.request("koda/session/import", path=str(pi_file(tmp_path / "x.jsonl", cwd)))
            opened = await koda.request("koda/session/open", sessionId=imported["sessionId"])
            assert opened["session"]["cwd"] == str(koda.workspace), cwd
            assert any(str(koda.workspace) in warning for warning in imported["warnings"])


@pytest.mark.asyncio
async def test_without_a_workspace_such_a_file_is_refused_with_advice(tmp_path: Path) -> None:
    async with daemon(tmp_path, initialize=False) as koda:
        await koda.initialize(rootUri=None)
        with pytest.raises(RefusedError) as refused:
            await koda.request("koda/session/import", path=str(pi_file(tmp_path / "x.jsonl", "/")))
        assert refused.value.data["kind"] == "params.invalid"
        assert refused.value.data["userAction"]
        assert (await koda.request("koda/session/list"))["sessions"] == []


@pytest.mark.asyncio
async def test_what_is_no_session_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "text").write_text("Just text.\n")
    (tmp_path / "empty").touch()
    newer = {"format": "koda.session", "version": 99, "session": {}}
    (tmp_path / "newer").write_text(json.dumps(newer))
    async with daemon(tmp_path) as koda:
        for name, kind in (
            *(("text", "params.invalid"), ("nothing", "params.invalid"), ("pipe", "params.invalid")),
            *(("empty", "params.invalid"), ("", "params.invalid"), ("newer", "version.unsupported")),
        ):
            with pytest.raises(RefusedError) as refused:
                await koda.request("koda/session/import", path=str(tmp_path / name))
            assert refused.value.data["kind"] == kind, name
            assert refused.value.data["path"] == str(tmp_path / name)
        with pytest.raises(RefusedError):
            await koda.request("koda/session/import", path="x.jsonl")
        assert (await koda.request("koda/session/list"))["sessions"] == []


def run(tmp_path: Path, *arguments: str) -> str:
    done = subprocess.run(
        (sys.executable, "-m", "koda_daemon", "session", *arguments),
        cwd=tmp_path / "work",
        env=clean_environment(tmp_path / "home"),
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


@pytest.mark.asyncio
async def test_the_command_line_exports_imports_and_searches(tmp_path: Path) -> None:
    async with daemon(tmp_path) as koda:
        await told(koda)
    assert "# The story" in run(tmp_path, "export", "last")
    run(tmp_path, "export", "last", "--format", "jsonl", "--output", "story.jsonl")
    again = run(tmp_path, "import", "story.jsonl").strip()
    assert again in run(tmp_path, "list")
    assert again in run(tmp_path, "search", "otherwise")
    assert "fork" in run(tmp_path, "show", again)
