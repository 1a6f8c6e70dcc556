"""What was recorded comes back byte for byte, and nothing else is touched."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from koda_daemon.base.errors import KodaError
from koda_daemon.coding.checkpoints import Checkpoints, CheckpointStore
from koda_daemon.coding.settings import CheckpointSettings
from tests.coding.checkpoints import checkpoints, git, nothing, restore, snapshot, write

posix = pytest.mark.skipif(os.name == "nt", reason="modes and symlinks of POSIX")


@pytest.mark.asyncio
async def test_contents_come_back_whatever_they_are(tmp_path: Path) -> None:
    points = checkpoints(tmp_path)
    write(points.root, "crlf.txt", b"a\r\nb\r\n")
    write(points.root, "logo.png", bytes(range(256)))
    write(points.root, "empty", b"")
    write(points.root, "deep/er/$Id$.txt", "$Id$\n")
    write(points.root, ".gitattributes", "* text=auto ident eol=lf filter=lfs working-tree-encoding=UTF-16\n")
    before = snapshot(points.root)
    state = await points.record()
    for path in points.root.rglob("*.*"):
        path.unlink()
    write(points.root, "empty", b"not any more")
    write(points.root, "new/file", b"new")
    assert snapshot(points.root) != before
    await restore(points, state)
    assert snapshot(points.root) == before


@posix
@pytest.mark.asyncio
async def test_modes_symlinks_and_folders_come_back(tmp_path: Path) -> None:
    points = checkpoints(tmp_path)
    write(points.root, "run.sh", mode=0o755)
    write(points.root, "secret", mode=0o600)
    write(points.root, "plain", mode=0o644)
    (points.root / "link").symlink_to("run.sh")
    (points.root / "dangling").symlink_to("../nowhere")
    (points.root / "empty" / "deep").mkdir(parents=True)
    before = snapshot(points.root)
    state = await points.record()

    (points.root / "run.sh").chmod(0o644)
    (points.root / "secret").unlink()
    (points.root / "plain").chmod(0o666)
    (points.root / "link").unlink()
    (points.root / "link").write_text("a file now")
    (points.root / "dangling").unlink()
    (points.root / "empty" / "deep").rmdir()
    (points.root / "empty").rmdir()
    (points.root / "other" / "folder").mkdir(parents=True)
    after = snapshot(points.root)
    changed = await points.record()
    operation = await restore(points, state)
    assert snapshot(points.root) == before
    assert await points.record() == state
    now = await points.record()
    await points.apply(await points.plan(now, await points.back(now, operation)), nothing)
    assert snapshot(points.root) == after
    assert await points.record() == changed


@pytest.mark.asyncio
async def test_a_file_becomes_a_folder_and_back(tmp_path: Path) -> None:
    points = checkpoints(tmp_path)
    write(points.root, "thing", "a file")
    write(points.root, "box/inner", "in a folder")
    before = snapshot(points.root)
    state = await points.record()
    (points.root / "thing").unlink()
    write(points.root, "thing/inner", "in a folder now")
    (points.root / "box" / "inner").unlink()
    (points.root / "box").rmdir()
    write(points.root, "box", "a file now")
    after = snapshot(points.root)
    changed = await points.record()
    await restore(points, state)
    assert snapshot(points.root) == before
    await restore(points, changed)
    assert snapshot(points.root) == after


@pytest.mark.asyncio
async def test_the_same_files_have_the_same_state(tmp_path: Path) -> None:
    points = checkpoints(tmp_path)
    write(points.root, "a", "one")
    first = await points.record()
    assert await points.record() == first
    write(points.root, "a", "two")
    second = await points.record()
    assert second != first
    write(points.root, "a", "one")
    assert await points.record() == first
    again = checkpoints(tmp_path)
    assert await again.record() == first


@posix
@pytest.mark.asyncio
async def test_a_chmod_right_after_a_record_is_seen(tmp_path: Path) -> None:
    points = checkpoints(tmp_path)
    path = write(points.root, "a", mode=0o644)
    first = await points.record()
    path.chmod(0o640)
    second = await points.record()
    assert second != first
    [change] = (await points.difference(first, second)).files
    assert change.old is not None
    assert change.new is not None
    assert (change.old.bits, change.new.bits) == (0o644, 0o640)


@pytest.mark.asyncio
async def test_names_need_not_be_text(tmp_path: Path) -> None:
    if sys.platform in ("win32", "darwin"):
        pytest.skip("file names are text here")
    points = checkpoints(tmp_path)
    root = os.fsencode(points.root)
    names = [b"line\nbreak", b"\xff\xfe", b'"quoted" $(x)', b"-rf", b":(top)x", b"tab\t", "naïve ☃".encode()]
    for name in names:
        Path(os.fsdecode(os.path.join(root, name))).write_bytes(name)
    before = snapshot(points.root)
    state = await points.record()
    for name in names:
        os.unlink(os.path.join(root, name))
    changed = await points.record()
    await restore(points, state)
    assert snapshot(points.root) == before
    assert len((await points.difference(changed, state)).files) == len(names)
    for diff in await points.diffs((await points.difference(changed, state)).files):
        diff.diff.encode()  # fit for JSON


@pytest.mark.asyncio
async def test_what_git_ignores_is_neither_recorded_nor_removed(tmp_path: Path) -> None:
    points = checkpoints(tmp_path)
    write(points.root, ".gitignore", "*.log\nbuild/\n!keep.log\n")
    write(points.root, "keep.log")
    before = await points.record()
    write(points.root, "a.log")
    write(points.root, "build/out.o")
    write(points.root, "src/a.c")
    after = await points.record()
    assert [change.path for change in (await points.difference(before, after)).files] == [b"src/a.c"]
    await restore(points, before)
    assert (points.root / "a.log").exists()
    assert (points.root / "build" / "out.o").exists()
    assert not (points.root / "src").exists()


@pytest.mark.asyncio
async def test_the_users_repository_is_not_touched_and_its_rules_count(tmp_path: Path) -> None:
    points = checkpoints(tmp_path)
    git(points.root, "init", "-q")
    write(points.root, ".gitignore", "*.gen\n")
    write(points.root, "tracked.gen", "tracked though ignored")
    write(points.root, "a.txt")
    git(points.root, "add", "a.txt", ".gitignore")
    git(points.root, "add", "-f", "tracked.gen")
    git(points.root, "commit", "-q", "-m", "one")
    write(points.root / ".git", "info/exclude", "/private\n")
    write(points.root / ".git", "hooks/post-checkout", "#!/bin/sh\ntouch hooked\n", mode=0o755)
    git(points.root, "config", "core.fsmonitor", "touch hooked")
    mine = {path: path.read_bytes() for path in (points.root / ".git").rglob("*") if path.is_file()}
    state = await points.record()
    write(points.root, "private", "nobody's business")
    write(points.root, "tracked.gen", "changed")
    write(points.root, "a.txt", "changed")
    changed = await points.record()
    paths = [change.path for change in (await points.difference(state, changed)).files]
    assert paths == [b"a.txt", b"tracked.gen"]
    await restore(points, state)
    assert (points.root / "tracked.gen").read_text() == "tracked though ignored"
    assert {path: path.read_bytes() for path in (points.root / ".git").rglob("*") if path.is_file()} == mine
    assert not (points.root / "hooked").exists()


@pytest.mark.asyncio
async def test_the_users_own_list_and_folders_above_count(tmp_path: Path) -> None:
    top = tmp_path / "repo"
    top.mkdir()
    git(top, "init", "-q")
    write(top, ".gitignore", "*.tmp\n/packages/*/dist\n/other/x\n")
    write(tmp_path, ".config/git/ignore", "*.swp\n")
    (top / "packages").mkdir()
    points = checkpoints(tmp_path, name="repo/packages/app")
    for name in ("a.tmp", "dist/out.js", "b.swp", "x", "c.txt", "sub/dist/y"):
        write(points.root, name)
    state = await points.record()
    found = await points.files(state, [b"a.tmp", b"dist/out.js", b"b.swp", b"x", b"c.txt", b"sub/dist/y"])
    assert sorted(found) == [b"c.txt", b"sub/dist/y", b"x"]


@pytest.mark.asyncio
async def test_repositories_inside_are_recorded_as_files(tmp_path: Path) -> None:
    points = checkpoints(tmp_path)
    inner = points.root / "vendor" / "lib"
    inner.mkdir(parents=True)
    git(inner, "init", "-q")
    write(inner, "lib.c", "1")
    write(inner, ".gitignore", "*.o\n")
    write(inner, "lib.o", "ignored")
    deeper = inner / "deeper"
    deeper.mkdir()
    git(deeper, "init", "-q")
    write(deeper, "d.c", "1")
    before = snapshot(points.root)
    state = await points.record()
    write(inner, "lib.c", "2")
    write(inner, "new.c", "2")
    (deeper / "d.c").unlink()
    changed = await points.record()
    paths = [change.path for change in (await points.difference(state, changed)).files]
    assert paths == [b"vendor/lib/deeper/d.c", b"vendor/lib/lib.c", b"vendor/lib/new.c"]
    await restore(points, state)
    assert snapshot(points.root) == before
    assert (inner / ".git" / "HEAD").exists()


@pytest.mark.asyncio
async def test_large_files_are_left_out_and_left_alone(tmp_path: Path) -> None:
    points = checkpoints(tmp_path, max_file_bytes=1000)
    write(points.root, "small", "x")
    write(points.root, "grows", "x")
    state = await points.record()
    write(points.root, "big", "x" * 1001)
    write(points.root, "grows", "y" * 1001)
    changed = await points.record()
    assert await points.left_out(changed) == ["big", "grows"]
    plan = await points.plan(changed, await points.difference(changed, state))
    assert [(step.change.path, step.hard) for step in plan.conflicts] == [(b"grows", False)]
    with pytest.raises(KodaError) as refused:
        await points.apply(plan, nothing)
    assert refused.value.kind == "edit.conflict"
    operation = await points.apply(plan, nothing, conflicts="overwrite")
    assert (points.root / "grows").read_text() == "x"
    assert (points.root / "big").exists()
    now = await points.record()
    await points.apply(await points.plan(now, await points.back(now, operation)), nothing)
    assert (points.root / "grows").read_text() == "y" * 1001


@posix
@pytest.mark.asyncio
async def test_pipes_and_devices_do_no_harm(tmp_path: Path) -> None:
    points = checkpoints(tmp_path)
    write(points.root, "a")
    write(points.root, "becomes")
    os.mkfifo(points.root / "pipe")
    state = await points.record()
    (points.root / "becomes").unlink()
    os.mkfifo(points.root / "becomes")
    assert [change.path for change in (await points.difference(state, await points.record())).files] == [b"becomes"]


@posix
@pytest.mark.asyncio
async def test_a_folder_that_became_a_symlink_is_not_followed(tmp_path: Path) -> None:
    points = checkpoints(tmp_path)
    outside = tmp_path / "outside"
    outside.mkdir()
    write(points.root, "folder/a", "inside")
    state = await points.record()
    (points.root / "folder" / "a").unlink()
    (points.root / "folder").rmdir()
    (points.root / "folder").symlink_to(outside)
    await restore(points, state)
    assert (points.root / "folder" / "a").read_text() == "inside"
    assert not (points.root / "folder").is_symlink()
    assert list(outside.iterdir()) == []


@posix
@pytest.mark.asyncio
async def test_an_ignored_symlink_in_the_way_is_a_conflict(tmp_path: Path) -> None:
    points = checkpoints(tmp_path)
    outside = tmp_path / "outside"
    outside.mkdir()
    write(points.root, "folder/a", "inside")
    state = await points.record()
    (points.root / "folder" / "a").unlink()
    (points.root / "folder").rmdir()
    (points.root / "folder").symlink_to(outside)
    write(points.root, ".gitignore", "/folder\n")
    (points.root / "folder").unlink()
    await points.record()
    (points.root / "folder").symlink_to(outside)
    now = await points.record()
    plan = await points.plan(now, await points.difference(now, state))
    assert [(step.change.path, step.hard) for step in plan.conflicts] == [(b"folder/a", True)]
    with pytest.raises(KodaError):
        await points.apply(plan, nothing, conflicts="overwrite")
    assert list(outside.iterdir()) == []


@pytest.mark.asyncio
async def test_a_change_in_the_last_moment_stops_everything(tmp_path: Path) -> None:
    points = checkpoints(tmp_path)
    for name in "abc":
        write(points.root, name, "old")
    state = await points.record()
    for name in "abc":
        write(points.root, name, "new")
    now = await points.record()
    plan = await points.plan(now, await points.difference(now, state))
    write(points.root, "b", "typed this very moment")
    before = snapshot(points.root)
    with pytest.raises(KodaError) as refused:
        await points.apply(plan, nothing)
    assert refused.value.kind == "edit.conflict"
    assert snapshot(points.root) == before


@pytest.mark.asyncio
async def test_what_cannot_be_stored_is_taken_back(tmp_path: Path) -> None:
    points = checkpoints(tmp_path)
    write(points.root, "a", "old")
    state = await points.record()
    write(points.root, "a", "new")
    write(points.root, "b/c", "new")
    before = snapshot(points.root)

    async def refuse(_: object) -> None:
        raise KodaError("session.locked", "Somebody else.")

    now = await points.record()
    with pytest.raises(KodaError) as refused:
        await points.apply(await points.plan(now, await points.difference(now, state)), refuse)
    assert refused.value.kind == "session.locked"
    assert snapshot(points.root) == before
    assert await points.recover(lambda _: never()) == []


async def never() -> bool:
    raise AssertionError("nothing is pending")


@pytest.mark.asyncio
async def test_without_git_there_is_a_clear_error(tmp_path: Path) -> None:
    points = checkpoints(tmp_path, environ={"PATH": str(tmp_path)})
    with pytest.raises(KodaError) as refused:
        await points.record()
    assert refused.value.kind == "tool.failed"
    assert refused.value.user_action == "Install git."


@pytest.mark.asyncio
async def test_switched_off_and_too_much(tmp_path: Path) -> None:
    with pytest.raises(KodaError) as refused:
        await checkpoints(tmp_path, enabled=False).record()
    assert refused.value.kind == "tool.failed"
    store = CheckpointStore(tmp_path / "home", CheckpointSettings(), dict(os.environ))
    for folder in (Path.home(), Path.home().parent, Path(Path.home().anchor)):
        with pytest.raises(KodaError):
            await Checkpoints(store, folder).record()


@pytest.mark.asyncio
async def test_a_damaged_index_is_made_again(tmp_path: Path) -> None:
    points = checkpoints(tmp_path)
    write(points.root, "a")
    state = await points.record()
    index = points.folder.view.index
    index.write_bytes(b"garbage")
    index.with_name("index.lock").write_bytes(b"left by a killed git")
    assert await checkpoints(tmp_path).record() == state


@pytest.mark.asyncio
async def test_states_that_are_gone_say_so(tmp_path: Path) -> None:
    points = checkpoints(tmp_path)
    state = await points.record()
    with pytest.raises(KodaError) as refused:
        await points.difference(state, "0" * 40)
    assert "no longer kept" in refused.value.message


@pytest.mark.asyncio
async def test_pruning_keeps_what_is_needed(tmp_path: Path) -> None:
    points = checkpoints(tmp_path)
    states = []
    for number in range(5):
        write(points.root, "a", f"{number}")
        states.append(await points.record())
    marks = tmp_path / "home" / "checkpoints"
    old = [path for path in marks.rglob(states[1]) if path.parent.name == "koda"]
    os.utime(old[0], (0, 0))
    os.utime(next(path for path in marks.rglob(states[4]) if path.parent.name == "koda"), (0, 0))
    await points.folder.prune(force=True)
    with pytest.raises(KodaError):
        await points.difference(states[0], states[1])
    await restore(points, states[2])
    assert (points.root / "a").read_text() == "2"
    await restore(points, states[4])
    assert (points.root / "a").read_text() == "4"


@pytest.mark.asyncio
async def test_many_at_once_wait_for_each_other(tmp_path: Path) -> None:
    import anyio

    points, others = checkpoints(tmp_path), checkpoints(tmp_path)
    for number in range(20):
        write(points.root, f"{number}")
    found: set[str] = set()

    async def record(one: Checkpoints) -> None:
        found.add(await one.record())

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(record, points)
            group.start_soon(record, others)
    assert len(found) == 1
