"""What turns changed, by turn, file and hunk, and taking that back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.coding.checkpoints import snapshot, write
from tests.e2e.koda import Koda, call, daemon, say, steps
from tests.harness.client import RefusedError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the commands of these scripts are for a POSIX shell")

LINES = "".join(f"line {number}\n" for number in range(1, 41))
FIRST = LINES.replace("line 5\n", "five\n").replace("line 35\n", "thirty-five\n")


def bash(command: str) -> dict[str, Any]:
    return steps(call("bash", command=command))


SCRIPT = {
    "answers": [
        steps(
            call("write", path="text", content=FIRST),
            call("bash", command="echo new > new; rm old; printf '\\000' > binary; chmod +x tool"),
        ),
        "First.",
        bash("sed -i 's/line 20/twenty/' text; echo 2 >> new"),
        "Second.",
        "Third, which changes nothing.",
    ],
    "otherwise": "Nothing more.",
}


async def three_turns(koda: Koda) -> tuple[str, list[str]]:
    write(koda.workspace, "text", LINES)
    write(koda.workspace, "old", "old\n")
    write(koda.workspace, "binary", b"\1\2\0")
    write(koda.workspace, "tool", "#!/bin/sh\n", mode=0o644)
    session = await koda.new(SCRIPT)
    return session, [(await koda.prompt(session, str(number)))["turnId"] for number in range(3)]


async def changes(koda: Koda, session: str, **params: Any) -> dict[str, dict[str, Any]]:
    result = await koda.request("koda/changes", sessionId=session, **params)
    return {file["path"]: file for file in result["files"]}


@pytest.mark.asyncio
async def test_by_turn_and_all_together(tmp_path: Path) -> None:
    async with daemon(tmp_path) as koda:
        session, turns = await three_turns(koda)
        first = await changes(koda, session, turnId=turns[0])
        assert {path: file["change"] for path, file in first.items()} == {
            "binary": "modified",
            "new": "created",
            "old": "deleted",
            "text": "modified",
            "tool": "modified",
        }
        assert first["text"]["diff"].count("@@ -") == 2
        assert first["text"]["uri"] == (koda.workspace / "text").resolve().as_uri()
        assert first["old"]["diff"] == "--- a/old\n+++ /dev/null\n@@ -1 +0,0 @@\n-old\n"
        assert first["new"]["diff"] == "--- /dev/null\n+++ b/new\n@@ -0,0 +1 @@\n+new\n"
        assert first["tool"]["diff"] == "old mode 100644\nnew mode 100755\n"
        assert (first["binary"]["diff"], first["binary"]["binary"]) == ("", True)
        assert set(await changes(koda, session, turnId=turns[1])) == {"text", "new"}
        assert await changes(koda, session, turnId=turns[2]) == {}
        together = await changes(koda, session)
        assert together.keys() == first.keys()
        assert together["text"]["diff"].count("@@ -") == 3
        with pytest.raises(RefusedError) as unknown:
            await koda.request("koda/changes", sessionId=session, turnId="nope")
        assert unknown.value.data["kind"] == "turn.notFound"


@pytest.mark.asyncio
async def test_a_running_turn_tells_what_it_did_so_far(tmp_path: Path) -> None:
    script = {"answers": [bash("echo 1 > a"), steps(say("And now"), {"type": "delay", "seconds": 60})]}
    async with daemon(tmp_path) as koda:
        session = await koda.new(script)
        started = await koda.request("koda/prompt", sessionId=session, content="Go")
        await koda.event(session, "text.delta")
        assert list(await changes(koda, session, turnId=started["turnId"])) == ["a"]
        assert list(await changes(koda, session)) == ["a"]


@pytest.mark.asyncio
async def test_a_turn_is_taken_back_and_later_ones_stay(tmp_path: Path) -> None:
    async with daemon(tmp_path) as koda:
        session, turns = await three_turns(koda)
        end = snapshot(koda.workspace)
        write(koda.workspace, "mine", "by hand\n")
        with pytest.raises(RefusedError) as conflict:  # the second turn has added to a file that the first one made
            await koda.request("koda/changes/revert", sessionId=session, turnId=turns[0])
        assert (conflict.value.data["kind"], conflict.value.data["path"]) == ("edit.conflict", "new")
        for path in ("text", "./old", str(koda.workspace.resolve() / "binary"), "tool"):
            await koda.request("koda/changes/revert", sessionId=session, turnId=turns[0], path=path)
        assert (koda.workspace / "text").read_text() == LINES.replace("line 20", "twenty")
        assert (koda.workspace / "old").read_text() == "old\n"
        assert (koda.workspace / "binary").read_bytes() == b"\1\2\0"
        assert not os.access(koda.workspace / "tool", os.X_OK)
        second = await koda.request("koda/changes/revert", sessionId=session, turnId=turns[1])
        assert {file["path"]: file["change"] for file in second["files"]} == {"text": "modified", "new": "modified"}
        assert (koda.workspace / "text").read_text() == LINES
        assert (koda.workspace / "new").read_text() == "new\n"
        assert (koda.workspace / "mine").read_text() == "by hand\n"
        await koda.request("koda/rewind/undo", undoId=second["undoId"])
        assert (koda.workspace / "text").read_text() == LINES.replace("line 20", "twenty")
        # what was changed by hand meanwhile is still known to be the user's
        preview = await koda.request("koda/rewind/preview", sessionId=session, toId=None)
        assert {file["path"] for file in preview["files"] if file.get("conflict")} == {"mine"}
        assert end != snapshot(koda.workspace)


@pytest.mark.asyncio
async def test_one_hunk_is_taken_back(tmp_path: Path) -> None:
    async with daemon(tmp_path) as koda:
        session, turns = await three_turns(koda)
        done = await koda.request("koda/changes/revert", sessionId=session, turnId=turns[0], path="text", hunk=1)
        assert [file["path"] for file in done["files"]] == ["text"]
        expected = FIRST.replace("thirty-five", "line 35").replace("line 20", "twenty")
        assert (koda.workspace / "text").read_text() == expected
        await koda.request("koda/changes/revert", sessionId=session, turnId=turns[0], path="text", hunk=0)
        assert (koda.workspace / "text").read_text() == LINES.replace("line 20", "twenty")
        await koda.request("koda/changes/revert", sessionId=session, turnId=turns[0], path="old", hunk=0)
        assert (koda.workspace / "old").exists()
        for wrong in ({"path": "text", "hunk": 2}, {"hunk": 0}, {"path": "nope"}, {"path": "binary", "hunk": 0}):
            with pytest.raises(RefusedError) as refused:
                await koda.request("koda/changes/revert", sessionId=session, turnId=turns[0], **wrong)
            assert refused.value.code == -32602
        with pytest.raises(RefusedError) as nothing:
            await koda.request("koda/changes/revert", sessionId=session, turnId=turns[2])
        assert nothing.value.code == -32602


@pytest.mark.asyncio
async def test_a_revert_of_what_was_changed_by_hand_is_merged_or_refused(tmp_path: Path) -> None:
    async with daemon(tmp_path) as koda:
        session, turns = await three_turns(koda)
        by_hand = (koda.workspace / "text").read_text().replace("line 1\n", "one\n")
        write(koda.workspace, "text", by_hand)
        assert (await changes(koda, session, turnId=turns[0]))["text"]["conflict"]
        await koda.request("koda/changes/revert", sessionId=session, turnId=turns[1], path="text")
        assert (koda.workspace / "text").read_text() == by_hand.replace("twenty", "line 20")
        write(koda.workspace, "text", by_hand.replace("five\n", "5\n"))
        before = snapshot(koda.workspace)
        with pytest.raises(RefusedError) as refused:
            await koda.request("koda/changes/revert", sessionId=session, turnId=turns[0], path="text")
        assert refused.value.data["kind"] == "edit.conflict"
        assert snapshot(koda.workspace) == before


@pytest.mark.asyncio
async def test_a_file_that_is_open_changes_in_its_buffer(tmp_path: Path) -> None:
    script = {"answers": [steps(call("edit", path="open", edits=[{"oldText": "old", "newText": "new"}])), "Done."]}
    async with daemon(tmp_path, initialize=False) as koda:
        editor = EditorSide(koda)
        await koda.initialize(editor.capabilities)
        path = write(koda.workspace, "open", "old\n")
        editor.open(path)
        session = await koda.new(script)
        turn = (await koda.prompt(session, "Go"))["turnId"]
        assert editor.text(path) == "new\n"
        assert path.read_text() == "old\n", "the editor has not saved"
        found = await changes(koda, session, turnId=turn)
        assert found["open"]["buffer"]
        assert "-old\n+new\n" in found["open"]["diff"]

        preview = await koda.request("koda/rewind/preview", sessionId=session, toId=None)
        assert [(file["path"], file["buffer"]) for file in preview["files"]] == [("open", True)]
        applied = await koda.request("koda/rewind/apply", sessionId=session, toId=None)
        assert (editor.text(path), path.read_text()) == ("old\n", "old\n")
        await koda.request("koda/rewind/undo", undoId=applied["undoId"])
        assert (editor.text(path), path.read_text()) == ("new\n", "old\n")

        # the user types, which is a conflict, and saves, which is none
        editor.type(path, "new\ntyped\n")
        preview = await koda.request("koda/rewind/preview", sessionId=session, toId=None)
        assert [file["conflict"] for file in preview["files"]] == [True]
        editor.type(path, "new\n")
        editor.save(path)
        applied = await koda.request("koda/rewind/apply", sessionId=session, toId=None)
        assert editor.text(path) == "old\n"
        await koda.request("koda/rewind/undo", undoId=applied["undoId"])
        assert editor.text(path) == "new\n"
        await koda.request("koda/changes/revert", sessionId=session, turnId=turn, path="open", hunk=0)
        assert editor.text(path) == "old\n"


@pytest.mark.asyncio
async def test_a_clean_document_yields_to_its_file_however_early_it_was_opened(tmp_path: Path) -> None:
    async with daemon(tmp_path, initialize=False) as koda:
        editor = EditorSide(koda)
        await koda.initialize(editor.capabilities)
        path = write(koda.workspace, "open", "old\n")
        editor.open(path)
        session = await koda.new(
            {"answers": [bash("echo 1 > other"), "Done.", steps(call("read", path="open")), "Read."]}
        )
        await koda.prompt(session, "Go")
        path.write_text("pulled\n")
        preview = await koda.request("koda/rewind/preview", sessionId=session, toId=None)
        assert {file["path"]: file.get("conflict", False) for file in preview["files"]} == {
            "open": True,
            "other": False,
        }
        await koda.prompt(session, "Read it")
        assert "pulled" in str(koda.transcript(session).of("tool.ended")[-1]["content"])


@pytest.mark.asyncio
async def test_an_editor_that_refuses_stops_everything(tmp_path: Path) -> None:
    script = {"answers": [bash("echo new > open; echo new > closed"), "Done."]}
    async with daemon(tmp_path, initialize=False) as koda:
        editor = EditorSide(koda)
        await koda.initialize(editor.capabilities)
        opened = write(koda.workspace, "open", "old\n")
        write(koda.workspace, "closed", "old\n")
        session = await koda.new(script)
        await koda.prompt(session, "Go")
        editor.open(opened)
        before = snapshot(koda.workspace)
        editor.refuses = True
        with pytest.raises(RefusedError) as refused:
            await koda.request("koda/rewind/apply", sessionId=session, toId=None)
        assert refused.value.data["kind"] == "edit.conflict"
        assert snapshot(koda.workspace) == before
        editor.refuses = False
        await koda.request("koda/rewind/apply", sessionId=session, toId=None)
        assert editor.text(opened) == "old\n"
        assert (koda.workspace / "closed").read_text() == "old\n"


class EditorSide:
    """What an editor does with documents, in a raw client."""

    def __init__(self, koda: Koda) -> None:
        self._raw = koda.raw
        self._texts: dict[str, str] = {}
        self._versions: dict[str, int] = {}
        self.refuses = False
        self.capabilities = {
            "experimental": {"koda": {"strict": True}},
            "workspace": {"applyEdit": True, "workspaceEdit": {"documentChanges": True}},
            "textDocument": {"synchronization": {"didSave": True}},
        }
        self._raw.on_request("workspace/applyEdit", self._apply)

    def open(self, path: Path) -> None:
        uri = path.as_uri()
        self._texts[uri], self._versions[uri] = path.read_text(), 1
        document = {"uri": uri, "languageId": "text", "version": 1, "text": self._texts[uri]}
        self._raw.notify("textDocument/didOpen", {"textDocument": document})

    def text(self, path: Path) -> str:
        return self._texts[path.as_uri()]

    def type(self, path: Path, text: str) -> None:
        self._changed(path.as_uri(), text)

    def save(self, path: Path) -> None:
        path.write_text(self.text(path))
        self._raw.notify("textDocument/didSave", {"textDocument": {"uri": path.as_uri()}})

    def _changed(self, uri: str, text: str) -> None:
        self._texts[uri] = text
        self._versions[uri] += 1
        identifier = {"uri": uri, "version": self._versions[uri]}
        self._raw.notify("textDocument/didChange", {"textDocument": identifier, "contentChanges": [{"text": text}]})

    def _apply(self, params: Any) -> dict[str, Any]:
        if self.refuses:
            return {"applied": False, "failureReason": "The user said no."}
        for change in params["edit"]["documentChanges"]:
            uri = change["textDocument"]["uri"]
            if change["textDocument"]["version"] != self._versions[uri]:
                return {"applied": False}
            lines = self._texts[uri].splitlines(keepends=True)
            for edit in reversed(change["edits"]):
                first, last = (edit["range"][end] for end in ("start", "end"))
                head = "".join(lines[: first["line"]]) + "".join(lines[first["line"] :])[: first["character"]]
                tail = "".join(lines[last["line"] :])[last["character"] :]
                lines = (head + edit["newText"] + tail).splitlines(keepends=True)
            self._changed(uri, "".join(lines))
        return {"applied": True}
