"""Rewinding: conversation, files and open buffers as one operation, previewed and undone byte for byte."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from tests.coding.checkpoints import snapshot, write
from tests.e2e.koda import Koda, call, daemon, say, steps
from tests.harness.client import RefusedError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the commands of these scripts are for a POSIX shell")

BUSY = """
printf 'made by a command\\n' > made.txt
printf '\\000\\001\\002new' > logo.png
rm gone.txt
chmod 755 plain.sh
chmod 600 private
mkdir -p deep/er && printf 'x' > deep/er/file
rm link && ln -s plain.sh link
mkdir hollow
"""
SCRIPT = {
    "answers": [
        steps(say("First."), call("write", path="a.txt", content="one\n")),
        "Written.",
        steps(
            call("edit", path="a.txt", edits=[{"oldText": "one", "newText": "two"}]),
            call("bash", command=BUSY),
        ),
        steps(call("bash", command="printf 'later\\n' >> a.txt")),
        "All done.",
    ],
    "otherwise": "Nothing more.",
}


def fill(root: Path) -> None:
    write(root, "gone.txt", "here today\n")
    write(root, "logo.png", bytes(range(200)))
    write(root, "plain.sh", "echo hi\n", mode=0o644)
    write(root, "private", "mine\n", mode=0o644)
    (root / "link").symlink_to("gone.txt")
    write(root, ".gitignore", "*.log\n")
    write(root, "debug.log", "ignored\n")


async def two_turns(koda: Koda) -> tuple[str, list[dict[str, Any]]]:
    """A session with two turns that change much; its nodes."""
    session = await koda.new(SCRIPT)
    await koda.prompt(session, "One")
    await koda.prompt(session, "Two")
    return session, await nodes_of(koda, session)


async def nodes_of(koda: Koda, session: str) -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = (await koda.request("koda/tree", sessionId=session))["nodes"]
    return nodes


def changed(preview: dict[str, Any]) -> dict[str, str]:
    return {file["path"]: file["change"] for file in preview["files"]}


@pytest.mark.asyncio
async def test_everything_goes_back_and_comes_again(tmp_path: Path) -> None:
    async with daemon(tmp_path) as koda:
        fill(koda.workspace)
        start = snapshot(koda.workspace)
        session = await koda.new(SCRIPT)
        await koda.prompt(session, "One")
        middle = snapshot(koda.workspace)
        await koda.prompt(session, "Two")
        end = snapshot(koda.workspace)
        nodes = await nodes_of(koda, session)
        first_end = next(node["id"] for node in nodes if node["preview"] == "Written.")

        preview = await koda.request("koda/rewind/preview", sessionId=session, toId=first_end)
        assert snapshot(koda.workspace) == end
        assert changed(preview) == {
            "a.txt": "modified",
            "made.txt": "deleted",
            "logo.png": "modified",
            "gone.txt": "created",
            "plain.sh": "modified",
            "private": "modified",
            "deep/er/file": "deleted",
            "link": "modified",
        }
        files = {file["path"]: file for file in preview["files"]}
        assert "-two\n-later\n+one\n" in files["a.txt"]["diff"]
        assert (files["logo.png"]["diff"], files["logo.png"]["binary"]) == ("", True)
        assert files["private"]["diff"] == "old mode 100600\nnew mode 100644\n"
        assert not any(file.get("conflict") for file in preview["files"])
        assert preview["nodes"][0]["preview"] == "Two"
        assert len(preview["nodes"]) == 7

        applied = await koda.request("koda/rewind/apply", sessionId=session, toId=first_end)
        assert applied["headId"] == first_end
        assert snapshot(koda.workspace) == middle
        assert (await koda.event(session, "head.moved"))["headId"] == first_end
        undone = await koda.request("koda/rewind/undo", undoId=applied["undoId"])
        assert undone == {"sessionId": session, "headId": nodes[-1]["id"]}
        assert snapshot(koda.workspace) == end
        with pytest.raises(RefusedError) as twice:
            await koda.request("koda/rewind/undo", undoId=applied["undoId"])
        assert twice.value.code == -32602

        to_start = await koda.request("koda/rewind/apply", sessionId=session, toId=None)
        assert to_start["headId"] is None
        assert snapshot(koda.workspace) == start
        await koda.request("koda/rewind/undo", undoId=to_start["undoId"])
        assert snapshot(koda.workspace) == end
        assert [node["id"] for node in await nodes_of(koda, session)] == [node["id"] for node in nodes]


@pytest.mark.asyncio
async def test_every_node_has_its_files(tmp_path: Path) -> None:
    async with daemon(tmp_path) as koda:
        fill(koda.workspace)
        session, nodes = await two_turns(koda)
        # between the two answers of the second turn: the edit and the command have run, the last line has not
        answers = [node for node in nodes if node["kind"] == "assistant"]
        await koda.request("koda/rewind/apply", sessionId=session, toId=answers[3]["id"])
        assert (koda.workspace / "a.txt").read_text() == "two\n"
        assert (koda.workspace / "made.txt").exists()
        # the prompt of the second turn: nothing of it has happened
        prompts = [node for node in nodes if node["kind"] == "user"]
        await koda.request("koda/rewind/apply", sessionId=session, toId=prompts[1]["id"])
        assert (koda.workspace / "a.txt").read_text() == "one\n"
        assert not (koda.workspace / "made.txt").exists()
        # and forward again
        await koda.request("koda/rewind/apply", sessionId=session, toId=nodes[-1]["id"])
        assert (koda.workspace / "a.txt").read_text() == "two\nlater\n"


@pytest.mark.asyncio
async def test_what_the_user_changed_is_a_conflict_with_a_choice(tmp_path: Path) -> None:
    async with daemon(tmp_path) as koda:
        fill(koda.workspace)
        session, nodes = await two_turns(koda)
        write(koda.workspace, "a.txt", "two\nlater\nby hand\n")
        write(koda.workspace, "notes.txt", "also by hand\n")
        end = snapshot(koda.workspace)
        preview = await koda.request("koda/rewind/preview", sessionId=session, toId=nodes[0]["id"])
        assert {file["path"] for file in preview["files"] if file.get("conflict")} == {"a.txt", "notes.txt"}

        with pytest.raises(RefusedError) as refused:
            await koda.request("koda/rewind/apply", sessionId=session, toId=nodes[0]["id"])
        assert refused.value.code == -31030
        assert refused.value.data["kind"] == "edit.conflict"
        assert refused.value.data["path"] == "a.txt"
        assert snapshot(koda.workspace) == end
        assert (await koda.request("koda/tree", sessionId=session))["headId"] == nodes[-1]["id"]

        kept = await koda.request("koda/rewind/apply", sessionId=session, toId=nodes[0]["id"], conflicts="keep")
        assert (koda.workspace / "a.txt").read_text() == "two\nlater\nby hand\n"
        assert (koda.workspace / "notes.txt").exists()
        assert not (koda.workspace / "made.txt").exists()
        # what was kept is still the user's, not ours
        again = await koda.request("koda/rewind/preview", sessionId=session, toId=nodes[0]["id"])
        assert {file["path"] for file in again["files"] if file.get("conflict")} == {"a.txt", "notes.txt"}
        await koda.request("koda/rewind/undo", undoId=kept["undoId"])
        assert snapshot(koda.workspace) == end

        forced = await koda.request("koda/rewind/apply", sessionId=session, toId=nodes[0]["id"], conflicts="overwrite")
        assert not (koda.workspace / "a.txt").exists()
        assert not (koda.workspace / "notes.txt").exists()
        await koda.request("koda/rewind/undo", undoId=forced["undoId"])
        assert snapshot(koda.workspace) == end


@pytest.mark.asyncio
async def test_what_the_user_put_in_place_of_a_file_or_folder_is_kept_or_comes_back(tmp_path: Path) -> None:
    script = {"answers": [steps(call("bash", command="rm -r link folder")), "Gone."]}
    async with daemon(tmp_path) as koda:
        (koda.workspace / "link").symlink_to("somewhere")
        write(koda.workspace, "folder/file")
        start = snapshot(koda.workspace)
        session = await koda.new(script)
        await koda.prompt(session, "Go")
        first = (await nodes_of(koda, session))[0]["id"]
        write(koda.workspace, "link/file", "a folder now\n")
        write(koda.workspace, "folder", "a file now\n")
        by_hand = snapshot(koda.workspace)
        preview = await koda.request("koda/rewind/preview", sessionId=session, toId=first)
        assert all(file["conflict"] for file in preview["files"])
        kept = await koda.request("koda/rewind/apply", sessionId=session, toId=first, conflicts="keep")
        assert snapshot(koda.workspace) == by_hand
        await koda.request("koda/rewind/undo", undoId=kept["undoId"])
        forced = await koda.request("koda/rewind/apply", sessionId=session, toId=first, conflicts="overwrite")
        assert snapshot(koda.workspace) == start
        await koda.request("koda/rewind/undo", undoId=forced["undoId"])
        assert snapshot(koda.workspace) == by_hand


@pytest.mark.asyncio
async def test_a_hand_edit_between_two_turns_is_known_later(tmp_path: Path) -> None:
    script = {"answers": [steps(call("bash", command="echo 1 > a")), "One.", steps(call("bash", command="echo 2 > b"))]}
    async with daemon(tmp_path) as koda:
        session = await koda.new(script)
        await koda.prompt(session, "One")
        one = (await koda.request("koda/tree", sessionId=session))["headId"]
        write(koda.workspace, "a", "by hand\n")
        await koda.prompt(session, "Two")
        preview = await koda.request("koda/rewind/preview", sessionId=session, toId=one)
        assert {file["path"]: file.get("conflict", False) for file in preview["files"]} == {"a": True, "b": False}


@pytest.mark.asyncio
async def test_undo_notices_what_happened_since(tmp_path: Path) -> None:
    async with daemon(tmp_path) as koda:
        fill(koda.workspace)
        session, nodes = await two_turns(koda)
        end = snapshot(koda.workspace)
        applied = await koda.request("koda/rewind/apply", sessionId=session, toId=None)
        write(koda.workspace, "made.txt", "mine now\n")
        with pytest.raises(RefusedError) as refused:
            await koda.request("koda/rewind/undo", undoId=applied["undoId"])
        assert refused.value.data["kind"] == "edit.conflict"
        assert (koda.workspace / "made.txt").read_text() == "mine now\n"
        await koda.request("koda/rewind/undo", undoId=applied["undoId"], conflicts="overwrite")
        assert snapshot(koda.workspace) == end
        assert (await koda.request("koda/tree", sessionId=session))["headId"] == nodes[-1]["id"]


@pytest.mark.asyncio
async def test_it_waits_for_no_turn_and_survives_a_restart(tmp_path: Path) -> None:
    script = {"answers": [steps(call("bash", command="echo 1 > a")), "One.", steps({"type": "delay", "seconds": 60})]}
    async with daemon(tmp_path) as koda:
        session = await koda.new(script)
        await koda.prompt(session, "One")
        await koda.request("koda/prompt", sessionId=session, content="Two")
        with pytest.raises(RefusedError) as busy:
            await koda.request("koda/rewind/apply", sessionId=session, toId=None)
        assert busy.value.data["kind"] == "turn.busy"
        await koda.request("koda/turn/cancel", sessionId=session)
        await koda.event(session, "turn.ended", lambda event: event["stopReason"] == "cancelled")
        applied = await koda.request("koda/rewind/apply", sessionId=session, toId=None)
        assert not (koda.workspace / "a").exists()
        await koda.raw.kill()
    async with daemon(tmp_path) as koda:
        opened = await koda.request("koda/session/open", sessionId=session)
        assert opened["headId"] is None
        undone = await koda.request("koda/rewind/undo", undoId=applied["undoId"])
        assert undone["headId"] is not None
        assert (koda.workspace / "a").read_text() == "1\n"


@pytest.mark.asyncio
async def test_checkout_and_branch_bring_files_back_too(tmp_path: Path) -> None:
    async with daemon(tmp_path) as koda:
        fill(koda.workspace)
        start = snapshot(koda.workspace)
        session, nodes = await two_turns(koda)
        end = snapshot(koda.workspace)
        result = await koda.request("koda/branch", sessionId=session, fromId=None, files="restore", label="anew")
        assert result["headId"] is None
        assert snapshot(koda.workspace) == start
        result = await koda.request("koda/checkout", sessionId=session, nodeId=nodes[-1]["id"], files="restore")
        assert result["headId"] == nodes[-1]["id"]
        assert snapshot(koda.workspace) == end
        write(koda.workspace, "made.txt", "by hand")
        with pytest.raises(RefusedError) as refused:
            await koda.request("koda/checkout", sessionId=session, nodeId=nodes[0]["id"], files="restore")
        assert refused.value.data["kind"] == "edit.conflict"
        await koda.request("koda/checkout", sessionId=session, nodeId=nodes[0]["id"], files="restore", conflicts="keep")
        assert (koda.workspace / "made.txt").read_text() == "by hand"


@pytest.mark.asyncio
async def test_a_session_that_changed_nothing_rewinds_its_conversation_alone(tmp_path: Path) -> None:
    async with daemon(tmp_path) as koda:
        write(koda.workspace, "mine", "x")
        session = await koda.new({"answers": [], "otherwise": "Talk."})
        await koda.prompt(session, "One")
        before = snapshot(koda.workspace)
        preview = await koda.request("koda/rewind/preview", sessionId=session, toId=None)
        assert preview["files"] == []
        assert len(preview["nodes"]) == 2
        await koda.request("koda/rewind/apply", sessionId=session, toId=None)
        assert snapshot(koda.workspace) == before


@pytest.mark.asyncio
async def test_a_cancelled_command_is_taken_back_as_well(tmp_path: Path) -> None:
    script = {"answers": [steps(call("bash", command="echo 1 > a; echo up; sleep 60"))]}
    async with daemon(tmp_path) as koda:
        session = await koda.new(script)
        await koda.request("koda/prompt", sessionId=session, content="Go")
        await koda.event(session, "tool.output")
        await koda.request("koda/turn/cancel", sessionId=session)
        await koda.event(session, "turn.ended")
        assert (koda.workspace / "a").exists()
        await koda.request("koda/rewind/apply", sessionId=session, toId=None)
        assert not (koda.workspace / "a").exists()


@pytest.mark.asyncio
async def test_a_turn_that_was_killed_is_taken_back_as_well(tmp_path: Path) -> None:
    script = {"answers": [steps(call("bash", command="echo 1 > a; echo up; sleep 60"))]}
    async with daemon(tmp_path) as koda:
        session = await koda.new(script)
        await koda.request("koda/prompt", sessionId=session, content="Go")
        await koda.event(session, "tool.output")
        await koda.raw.kill()
    async with daemon(tmp_path) as koda:
        await koda.request("koda/session/open", sessionId=session)
        preview = await koda.request("koda/rewind/preview", sessionId=session, toId=None)
        assert changed(preview) == {"a": "deleted"}
        assert not any(file.get("conflict") for file in preview["files"])
        await koda.request("koda/rewind/apply", sessionId=session, toId=None)
        assert not (koda.workspace / "a").exists()


@pytest.mark.asyncio
@pytest.mark.parametrize("delay", [0.0, 0.01, 0.03, 0.06, 0.12, 0.2, 0.3, 0.5])
async def test_kill_in_the_middle_leaves_one_state_or_the_other(tmp_path: Path, delay: float) -> None:
    many = "for i in $(seq 400); do echo changed > f$i; done; rm g*; mkdir n; for i in $(seq 100); do echo > n/$i; done"
    async with daemon(tmp_path) as koda:
        for number in range(1, 401):
            write(koda.workspace, f"f{number}", f"{number}\n")
        for number in range(50):
            write(koda.workspace, f"g{number}", f"{number}\n")
        start = snapshot(koda.workspace)
        session = await koda.new({"answers": [steps(call("bash", command=many)), "Done."]})
        await koda.prompt(session, "Go")
        end = snapshot(koda.workspace)
        head = (await koda.request("koda/tree", sessionId=session))["headId"]
        koda.raw.begin("koda/rewind/apply", {"sessionId": session, "toId": None})
        await asyncio.to_thread(wait_for_change, koda.workspace / "f1", delay)
        await koda.raw.kill()
    async with daemon(tmp_path) as koda:
        opened = await koda.request("koda/session/open", sessionId=session)
        await koda.request("koda/rewind/preview", sessionId=session, toId=None)  # waits for what opening has begun
        now = snapshot(koda.workspace)
        assert (now == start, now == end, opened["headId"]) in ((True, False, None), (False, True, head))
        await koda.request("koda/rewind/apply", sessionId=session, toId=None)
        assert snapshot(koda.workspace) == start


def wait_for_change(path: Path, delay: float) -> None:
    """Until the rewind has reached one of the first files, and a moment longer."""
    import time

    until = time.monotonic() + 10
    while path.read_text() == "changed\n" and time.monotonic() < until:
        time.sleep(0.0005)
    time.sleep(delay)


@pytest.mark.asyncio
async def test_without_git_turns_go_on_and_say_so(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for name in ("bash", "sh"):
        found = next(Path(folder, name) for folder in os.environ["PATH"].split(":") if Path(folder, name).exists())
        (tmp_path / "bin" / name).symlink_to(found)
    async with daemon(tmp_path, env={"PATH": str(tmp_path / "bin")}) as koda:
        session = await koda.new({"answers": [steps(call("bash", command="echo 1 > a")), "One."]})
        turn = await koda.prompt(session, "One")
        assert turn["stopReason"] == "end"
        assert (koda.workspace / "a").exists()
        [notice] = koda.transcript(session).of("notice")
        assert "Checkpoints need git" in notice["message"]
        for method, params in (
            ("koda/rewind/preview", {"sessionId": session, "toId": None}),
            ("koda/changes", {"sessionId": session, "turnId": turn["turnId"]}),
        ):
            with pytest.raises(RefusedError) as refused:
                await koda.raw.request(method, params)
            assert refused.value.data["kind"] == "tool.failed"
        # the conversation alone can still go back
        first = (await koda.request("koda/tree", sessionId=session))["nodes"][0]["id"]
        assert (await koda.request("koda/checkout", sessionId=session, nodeId=first))["headId"] == first
