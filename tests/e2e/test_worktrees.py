"""Branches with folders of their own: at work at the same time, compared, merged, removed."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from tests.coding.checkpoints import git, snapshot, write
from tests.e2e.koda import Koda, call, daemon, say, steps
from tests.harness.client import RefusedError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the commands of these scripts are for a POSIX shell")

TEXT = "".join(f"line {number}\n" for number in range(1, 31))


def script(*commands: str) -> dict[str, Any]:
    """The n-th answer of a conversation with n answers: each command is followed by words."""
    answers: list[Any] = []
    for command in commands:
        answers += [steps(call("bash", command=command)), f"Did {command}."]
    return {"answers": answers, "otherwise": "Nothing more."}


async def with_script(koda: Koda, session: str, chosen: dict[str, Any]) -> None:
    await koda.request("koda/option/set", sessionId=session, name="provider", value={"script": chosen})


async def started(koda: Koda, *, repository: bool) -> tuple[str, str]:
    """A session with one turn; its head."""
    write(koda.workspace, "text", TEXT)
    write(koda.workspace, ".gitignore", "*.log\n")
    write(koda.workspace, "build.log", "ignored\n")
    (koda.workspace / "link").symlink_to("text")
    if repository:
        git(koda.workspace, "init", "-q")
        git(koda.workspace, "add", ".")
        git(koda.workspace, "commit", "-q", "-m", "one")
        write(koda.workspace / ".git", "hooks/post-checkout", "#!/bin/sh\ntouch ../hooked hooked\n", mode=0o755)
    write(koda.workspace, "untracked", "not committed\n")
    session = await koda.new(script("echo turn one > one"))
    await koda.prompt(session, "One")
    return session, (await koda.request("koda/tree", sessionId=session))["headId"]


async def branched(koda: Koda, session: str, from_id: str, label: str | None = None) -> tuple[str, str, Path]:
    """A branch with a folder: its id, its session, its folder."""
    made = await koda.request("koda/branch", sessionId=session, fromId=from_id, files="worktree", label=label)
    opened = await koda.request("koda/session/open", sessionId=made["sessionId"])
    koda.sessions[made["sessionId"]] = type(koda.sessions[session])(opened["seq"])
    return made["branchId"], made["sessionId"], Path(made["workspace"])


def without_git(files: dict[str, Any]) -> dict[str, Any]:
    return {name: what for name, what in files.items() if name not in (".git", "build.log")}


@pytest.mark.asyncio
@pytest.mark.parametrize("repository", [True, False])
async def test_two_branches_work_at_the_same_time(tmp_path: Path, repository: bool) -> None:
    async with daemon(tmp_path) as koda:
        session, head = await started(koda, repository=repository)
        branch, other, folder = await branched(koda, session, head, "another way")
        assert without_git(snapshot(folder)) == without_git(snapshot(koda.workspace))
        assert not list(tmp_path.rglob("hooked"))
        if repository:
            assert git(folder, "status", "--porcelain").splitlines() == ["?? one", "?? untracked"]
            assert str(folder.resolve()) in git(koda.workspace, "worktree", "list")

        # Each waits for the other: they could not end one after the other.
        os.mkfifo(tmp_path / "meet")
        meet = tmp_path / "meet"
        here = "echo here > text; rm one"
        there = "sed -i 's/line 20/twenty/' text; echo new > new"
        await with_script(koda, session, script("x", f"cat {meet}; {here}"))
        await with_script(koda, other, script("x", f"echo go > {meet}; {there}"))
        first = koda.raw.begin("koda/prompt", {"sessionId": session, "content": "Two", "wait": True})
        second = koda.raw.begin("koda/prompt", {"sessionId": other, "content": "Two, otherwise", "wait": True})
        assert (await first.result(20))["stopReason"] == "end"
        assert (await second.result(20))["stopReason"] == "end"
        koda.follow()
        assert (koda.workspace / "text").read_text() == "here\n"
        assert (folder / "text").read_text() == TEXT.replace("line 20", "twenty")
        assert (folder / "one").exists()

        # One tree shows both.
        tree = await koda.request("koda/tree", sessionId=session)
        [info] = tree["branches"]
        assert (info["branchId"], info["sessionId"], info["label"]) == (branch, other, "another way")
        assert (info["workspace"], info["fromId"]) == (str(folder), head)
        previews = {node["preview"]: node for node in tree["nodes"]}
        assert previews["Two"]["parentId"] == previews["Two, otherwise"]["parentId"] == head
        assert previews["Two, otherwise"]["label"] == "another way"
        assert tree["headId"] != info["tipId"]

        for a, b in ((tree["headId"], info["tipId"]), (tree["headId"], branch)):
            compared = await koda.request("koda/branch/compare", sessionId=session, aId=a, bId=b)
            assert compared["ancestorId"] == head
            assert compared["aNodes"][0]["preview"] == "Two"
            assert compared["bNodes"][0]["preview"] == "Two, otherwise"
            assert len(compared["bNodes"]) == 4
            assert "-here\n" in compared["diff"]
            assert "+twenty\n" in compared["diff"]
            assert "+++ b/new\n" in compared["diff"]
        theirs = await koda.request("koda/branch/compare", sessionId=other, aId=tree["headId"], bId=branch)
        assert theirs == compared

        listed = (await koda.request("koda/session/list"))["sessions"]
        origin = next(each["origin"] for each in listed if each["id"] == other)
        assert origin["sessionId"] == session
        assert origin["branchId"] == branch


@pytest.mark.asyncio
@pytest.mark.parametrize("repository", [True, False])
async def test_a_branch_is_applied_undone_and_removed(tmp_path: Path, repository: bool) -> None:
    async with daemon(tmp_path) as koda:
        session, head = await started(koda, repository=repository)
        branch, other, folder = await branched(koda, session, head)
        await with_script(koda, other, script("x", "sed -i 's/line 20/twenty/' text; echo new > new; rm one"))
        await koda.prompt(other, "Two")
        write(koda.workspace, "text", TEXT.replace("line 5\n", "five, by hand\n"))
        before = snapshot(koda.workspace)

        with pytest.raises(RefusedError) as unapplied:
            await koda.request("koda/branch/remove", sessionId=session, branchId=branch)
        assert unapplied.value.data["kind"] == "edit.conflict"
        assert folder.exists()

        preview = await koda.request("koda/branch/apply", sessionId=session, branchId=branch, preview=True)
        changes = {file["path"]: file["change"] for file in preview["files"]}
        assert changes == {"text": "modified", "new": "created", "one": "deleted"}
        assert "undoId" not in preview
        assert snapshot(koda.workspace) == before

        done = await koda.request("koda/branch/apply", sessionId=session, branchId=branch)
        merged = TEXT.replace("line 20", "twenty").replace("line 5\n", "five, by hand\n")
        assert (koda.workspace / "text").read_text() == merged
        assert (koda.workspace / "new").exists()
        assert not (koda.workspace / "one").exists()
        again = await koda.request("koda/branch/apply", sessionId=session, branchId=branch)
        assert again["files"] == []

        await koda.request("koda/rewind/undo", undoId=done["undoId"])
        assert snapshot(koda.workspace) == before
        with pytest.raises(RefusedError):
            await koda.request("koda/branch/remove", sessionId=session, branchId=branch)
        await koda.request("koda/branch/apply", sessionId=session, branchId=branch)
        # what the user did by hand is still the user's
        rewind = await koda.request("koda/rewind/preview", sessionId=session, toId=None)
        assert "text" in {file["path"] for file in rewind["files"] if file.get("conflict")}

        tip = (await koda.request("koda/tree", sessionId=other))["headId"]
        await koda.request("koda/branch/remove", sessionId=session, branchId=branch)
        assert not folder.exists()
        if repository:
            assert str(folder) not in git(koda.workspace, "worktree", "list")
        tree = await koda.request("koda/tree", sessionId=session)
        assert tip in {node["id"] for node in tree["nodes"]}
        assert "workspace" not in tree["branches"][0]
        with pytest.raises(RefusedError) as gone:
            await koda.request("koda/session/open", sessionId=other)
        assert gone.value.data["kind"] == "session.notFound"
        await koda.request("koda/checkout", sessionId=session, nodeId=tip)
        assert (await koda.prompt(session, "Go on"))["text"] == "Nothing more."


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("choice", "text"),
    [
        ("keep", "ours\n"),
        ("overwrite", "theirs\n"),
        ("mark", "<<<<<<< workspace\nours\n=======\ntheirs\n>>>>>>> branch\n"),
    ],
)
async def test_conflicts_are_shown_and_chosen(tmp_path: Path, choice: str, text: str) -> None:
    async with daemon(tmp_path) as koda:
        session, head = await started(koda, repository=False)
        branch, other, _ = await branched(koda, session, head)
        await with_script(koda, other, script("x", "echo theirs > text; printf '\\000' > untracked; echo t > both"))
        await koda.prompt(other, "Two")
        await with_script(koda, session, script("x", "echo ours > text; rm untracked; echo o > both; echo fine > fine"))
        await koda.prompt(session, "Two")
        before = snapshot(koda.workspace)
        preview = await koda.request("koda/branch/apply", sessionId=session, branchId=branch, preview=True)
        files = {file["path"]: file for file in preview["files"]}
        assert {path for path, file in files.items() if file.get("conflict")} == {"text", "untracked", "both"}
        assert "+<<<<<<< workspace\n ours\n+=======\n+theirs\n" in files["text"]["diff"]
        with pytest.raises(RefusedError) as refused:
            await koda.request("koda/branch/apply", sessionId=session, branchId=branch)
        assert refused.value.data["kind"] == "edit.conflict"
        assert snapshot(koda.workspace) == before
        done = await koda.request("koda/branch/apply", sessionId=session, branchId=branch, conflicts=choice)
        assert (koda.workspace / "text").read_text() == text
        assert (koda.workspace / "untracked").exists() == (choice != "keep")
        assert (koda.workspace / "fine").exists()
        await koda.request("koda/rewind/undo", undoId=done["undoId"])
        assert snapshot(koda.workspace) == before


@pytest.mark.asyncio
async def test_a_preview_shows_what_an_ignored_file_is_in_the_way_of(tmp_path: Path) -> None:
    async with daemon(tmp_path) as koda:
        session, head = await started(koda, repository=False)
        branch, other, _ = await branched(koda, session, head)
        await with_script(koda, other, script("x", "rm .gitignore; echo theirs > build.log"))
        await koda.prompt(other, "Two")
        preview = await koda.request("koda/branch/apply", sessionId=session, branchId=branch, preview=True)
        assert {file["path"]: "conflict" in file for file in preview["files"]} == {
            ".gitignore": False,
            "build.log": True,
        }
        with pytest.raises(RefusedError):
            await koda.request("koda/branch/apply", sessionId=session, branchId=branch)
        assert (koda.workspace / "build.log").read_text() == "ignored\n"


@pytest.mark.asyncio
async def test_nothing_in_a_folder_is_lost(tmp_path: Path) -> None:
    settings = {"checkpoints": {"max_file_bytes": 1000}}
    async with daemon(tmp_path, settings=settings) as koda:
        session, head = await started(koda, repository=True)
        branch, other, folder = await branched(koda, session, head)

        async def refused(word: str) -> None:
            for method, params in (
                ("koda/branch/remove", {"sessionId": session, "branchId": branch}),
                ("koda/session/delete", {"sessionId": other}),
            ):
                with pytest.raises(RefusedError) as error:
                    await koda.raw.request(method, params)
                assert error.value.data["kind"] == "edit.conflict"
                assert word in error.value.message
            assert folder.exists()

        write(folder, "by-hand", "x")
        await refused("by-hand")
        (folder / "by-hand").unlink()
        write(folder, "large", "x" * 2000)
        await refused("large")
        (folder / "large").unlink()
        git(folder, "commit", "-q", "--allow-empty", "-m", "only here")
        await refused("commits")
        git(folder, "branch", "kept")
        with pytest.raises(RefusedError) as parent:
            await koda.request("koda/session/delete", sessionId=session)
        assert parent.value.data["kind"] == "edit.conflict"
        await koda.request("koda/session/delete", sessionId=other)
        assert not folder.exists()
        assert "kept" in git(koda.workspace, "branch")
        await koda.request("koda/session/delete", sessionId=session)


@pytest.mark.asyncio
async def test_by_force_and_from_an_earlier_node(tmp_path: Path) -> None:
    async with daemon(tmp_path) as koda:
        session, _ = await started(koda, repository=False)
        first = (await koda.request("koda/tree", sessionId=session))["nodes"][0]["id"]
        branch, other, folder = await branched(koda, session, first)
        assert not (folder / "one").exists(), "the prompt is before the turn's change"
        assert (folder / "untracked").exists()
        write(folder, "unapplied", "x")
        await koda.request("koda/branch/remove", sessionId=other, branchId=branch, force=True)
        assert not folder.exists()
        for wrong in (branch, "nope"):
            with pytest.raises(RefusedError) as error:
                await koda.request("koda/branch/apply", sessionId=session, branchId=wrong)
            assert error.value.code == -32602


@pytest.mark.asyncio
async def test_branches_survive_a_restart_and_rewind_on_their_own(tmp_path: Path) -> None:
    async with daemon(tmp_path) as koda:
        session, head = await started(koda, repository=True)
        branch, other, folder = await branched(koda, session, head, "later")
        await with_script(koda, other, script("x", "echo two > two"))
        await koda.prompt(other, "Two")
        await koda.raw.kill()
    async with daemon(tmp_path) as koda:
        tree = await koda.request("koda/tree", sessionId=session)
        assert tree["branches"][0]["sessionId"] == other
        assert "Two" in {node["preview"] for node in tree["nodes"]}
        applied = await koda.request("koda/rewind/apply", sessionId=other, toId=head)
        assert not (folder / "two").exists()
        await koda.request("koda/rewind/undo", undoId=applied["undoId"])
        assert (folder / "two").exists()
        whole = await koda.request("koda/rewind/apply", sessionId=other, toId=None)
        assert not (folder / "one").exists()
        await koda.request("koda/rewind/undo", undoId=whole["undoId"])
        done = await koda.request("koda/branch/apply", sessionId=session, branchId=branch)
        assert [file["path"] for file in done["files"]] == ["two"]
        assert (koda.workspace / "two").exists()


@pytest.mark.asyncio
async def test_nothing_is_applied_while_somebody_works(tmp_path: Path) -> None:
    async with daemon(tmp_path) as koda:
        session, head = await started(koda, repository=False)
        branch, other, _ = await branched(koda, session, head)
        await with_script(koda, other, {"answers": [], "otherwise": steps(say("a"), {"type": "delay", "seconds": 60})})
        await koda.request("koda/prompt", sessionId=other, content="Two")
        await koda.event(other, "text.delta")
        for method in ("koda/branch/apply", "koda/branch/remove"):
            with pytest.raises(RefusedError) as busy:
                await koda.request(method, sessionId=session, branchId=branch)
            assert busy.value.data["kind"] == "turn.busy"
        with pytest.raises(RefusedError) as nested:
            await koda.request("koda/branch", sessionId=other, fromId=head, files="worktree")
        assert nested.value.code == -32602


@pytest.mark.asyncio
async def test_a_folder_that_was_deleted_by_hand_costs_nothing(tmp_path: Path) -> None:
    async with daemon(tmp_path) as koda:
        session, head = await started(koda, repository=True)
        branch, other, folder = await branched(koda, session, head)
        before = snapshot(koda.workspace)
        shutil.rmtree(folder)
        for method, params in (
            ("koda/branch/compare", {"sessionId": session, "aId": head, "bId": branch}),
            ("koda/branch/apply", {"sessionId": session, "branchId": branch}),
            ("koda/rewind/apply", {"sessionId": other, "toId": None}),
        ):
            with pytest.raises(RefusedError) as gone:
                await koda.raw.request(method, params)
            assert gone.value.data["kind"] == "tool.failed"
            assert str(folder) in gone.value.message
        assert snapshot(koda.workspace) == before
        await koda.request("koda/branch/remove", sessionId=session, branchId=branch)
        assert str(folder) not in git(koda.workspace, "worktree", "list")


@pytest.mark.asyncio
async def test_a_sparse_checkout_is_one_in_the_folder_too(tmp_path: Path) -> None:
    async with daemon(tmp_path) as koda:
        for name in ("here/a", "elsewhere/b"):
            write(koda.workspace, name)
        git(koda.workspace, "init", "-q")
        git(koda.workspace, "add", ".")
        git(koda.workspace, "commit", "-q", "-m", "one")
        git(koda.workspace, "sparse-checkout", "set", "here")
        session = await koda.new(script())
        await koda.prompt(session, "One")
        head = (await koda.request("koda/tree", sessionId=session))["headId"]
        _, _, folder = await branched(koda, session, head)
        assert (folder / "here" / "a").exists()
        assert not (folder / "elsewhere").exists()
        assert git(folder, "status", "--porcelain") == ""


@pytest.mark.asyncio
async def test_of_branches_made_at_the_same_time_each_has_its_folder(tmp_path: Path) -> None:
    async with daemon(tmp_path) as koda:
        session, head = await started(koda, repository=True)
        params = {"sessionId": session, "fromId": head, "files": "worktree", "label": "same"}
        made = [await one.result(20) for one in [koda.raw.begin("koda/branch", params) for _ in range(4)]]
        assert len({one["workspace"] for one in made}) == 4
        for one in made:
            assert (Path(one["workspace"]) / "text").read_text() == TEXT
            assert git(Path(one["workspace"]), "rev-parse", "HEAD") == git(koda.workspace, "rev-parse", "HEAD")


@pytest.mark.asyncio
@pytest.mark.parametrize("repository", [True, False])
@pytest.mark.parametrize("moment", [0.0, 0.1])
async def test_what_a_killed_daemon_was_making_goes_at_the_next_branch(
    tmp_path: Path, repository: bool, moment: float
) -> None:
    folders = tmp_path / "home" / ".koda" / "worktrees"
    async with daemon(tmp_path) as koda:
        session, head = await started(koda, repository=repository)
        params = {"sessionId": session, "fromId": head, "files": "worktree", "label": "cut off"}
        koda.raw.begin("koda/branch", params)
        await asyncio.to_thread(wait_for_folder, folders, moment)
        await koda.raw.kill()
    async with daemon(tmp_path) as koda:
        await koda.open(session)
        known = [one["workspace"] for one in (await koda.request("koda/tree", sessionId=session)).get("branches", ())]
        _, _, folder = await branched(koda, session, head)
        assert sorted(map(str, folders.iterdir())) == sorted([*known, str(folder)])
        cwds = {one["cwd"] for one in (await koda.request("koda/session/list"))["sessions"]}
        assert cwds == {str(koda.workspace), str(folder), *known}
        if repository:
            assert len(git(koda.workspace, "worktree", "list").splitlines()) == 2 + len(known)


def wait_for_folder(parent: Path, longer: float) -> None:
    """Until something is made there, and a moment longer."""
    until = time.monotonic() + 20
    while not (parent.exists() and any(parent.iterdir())) and time.monotonic() < until:
        time.sleep(0.001)
    time.sleep(longer)
