"""The parts of checkpoints: hunks, merges, patterns of folders above, what a killed process left."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from koda_daemon.base.errors import KodaError
from koda_daemon.coding.checkpoints import Change, Checkpoints
from koda_daemon.coding.checkpoints_diff import without_hunk
from koda_daemon.coding.checkpoints_git import Blobs, locked
from koda_daemon.coding.checkpoints_ignore import patterns_below
from koda_daemon.coding.checkpoints_journal import Operation
from koda_daemon.coding.checkpoints_restore import apply
from koda_daemon.coding.textdiff import unified_diff
from tests.coding.checkpoints import checkpoints, git, nothing, restore, snapshot, write

LINES = st.lists(st.sampled_from(["a\n", "b\n", "c\r\n", "d\n", "\n", "x"]), max_size=40).map("".join)


@settings(max_examples=200)
@given(LINES, LINES)
def test_taking_back_every_hunk_gives_the_old_text(old: str, new: str) -> None:
    text = new.encode()
    hunks = unified_diff(old, new, "x").count("\n@@ -")
    for hunk in reversed(range(hunks)):
        changed = without_hunk(old.encode(), text, hunk)
        assert changed is not None
        text = changed
    assert text == old.encode()
    assert without_hunk(old.encode(), new.encode(), hunks) is None


def test_binary_files_have_no_hunks() -> None:
    assert without_hunk(b"\0", b"\1\0", 0) is None


@pytest.mark.parametrize(
    ("pattern", "below"),
    [
        ("*.log", ["*.log"]),
        ("build/", ["build/"]),
        ("!keep", ["!keep"]),
        ("# comment", []),
        ("", []),
        ("\\#file", ["\\#file"]),
        ("/packages/app/dist", ["/dist"]),
        ("packages/*/dist/", ["/dist/"]),
        ("!packages/app/dist/keep", ["!/dist/keep"]),
        ("/packages", []),
        ("/packages/app/", []),
        ("packages/other/x", []),
        ("**/dist/x", ["/**/dist/x"]),
        ("packages/**", []),
        ("packages/**/x", ["/**/x"]),
        ("packages/[ab]pp/x", ["/x"]),
        ("packages/[!a]pp/x", []),
        ("packages/a\\pp/x", ["/x"]),
        ("packages/[z-a]/x", []),
    ],
)
def test_patterns_of_folders_above(pattern: str, below: list[str]) -> None:
    assert patterns_below([pattern], "packages/app") == below


PARTS = st.sampled_from(["a", "b", "*", "**", "?", "[ab]", "a*", "x"])
PATTERNS = st.builds(
    lambda negated, anchor, parts, folder: negated + anchor + "/".join(parts) + folder,
    st.sampled_from(["", "", "!"]),
    st.sampled_from(["", "/"]),
    st.lists(PARTS, min_size=1, max_size=4),
    st.sampled_from(["", "/"]),
)
INSIDE = ["a", "b", "x", "a/b", "b/a/x", "ab", "x/x/x"]


@settings(max_examples=60, deadline=None)
@given(st.lists(PATTERNS, min_size=1, max_size=3))
def test_they_mean_what_git_takes_them_for(tmp_path_factory: pytest.TempPathFactory, patterns: list[str]) -> None:
    top = tmp_path_factory.mktemp("top")
    folder = top / "a" / "b"
    folder.mkdir(parents=True)
    git(top, "init", "-q")
    write(top, ".gitignore", "".join(f"{pattern}\n" for pattern in patterns))
    if ignored(top, ["a/b", "a"]):  # then the whole workspace would be ignored, which is not meant
        return
    expected = {path.removeprefix("a/b/") for path in ignored(top, [f"a/b/{path}" for path in INSIDE])}
    git(folder, "init", "-q")
    write(folder, ".gitignore", "".join(f"{pattern}\n" for pattern in patterns_below(patterns, "a/b")))
    found = ignored(folder, INSIDE)
    if any(pattern.rstrip("/").endswith("**") for pattern in patterns):
        return  # "a/**" ignores a workspace in a as a whole: what is in it is not meant either
    assert found == expected


def ignored(folder: Path, paths: list[str]) -> set[str]:
    import subprocess

    result = subprocess.run(
        ["git", "check-ignore", "--no-index", "--stdin"],
        cwd=folder,
        input="\n".join(paths),
        capture_output=True,
        text=True,
    )
    return set(result.stdout.splitlines())


async def three(tmp_path: Path, base: str, ours: str, theirs: str) -> tuple[Checkpoints, str, str, str]:
    points = checkpoints(tmp_path)
    states = []
    for text in (base, ours, theirs):
        write(points.root, "a", text)
        states.append(await points.record())
    return (points, *states)  # type: ignore[return-value]


@pytest.mark.asyncio
async def test_a_merge_takes_both_sides(tmp_path: Path) -> None:
    lines = [f"{number}\n" for number in range(20)]
    ours, theirs = lines.copy(), lines.copy()
    ours[2], theirs[15] = "ours\n", "theirs\n"
    points, *states = await three(tmp_path, "".join(lines), "".join(ours), "".join(theirs))
    [merged] = await points.merged(*states)
    assert not merged.conflict
    both = ours.copy()
    both[15] = "theirs\n"
    assert await points.read(merged.change.new) == ["".join(both).encode()]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("base", "ours", "theirs", "outcome"),
    [
        ("1\n", "1\n", "2\n", b"2\n"),
        ("1\n", "2\n", "1\n", None),
        ("1\n", "2\n", "2\n", None),
        ("1\n", "2\n", "3\n", b"<<<<<<< workspace\n2\n=======\n3\n>>>>>>> branch\n"),
        ("\0", "\0\1", "\0\2", b"\0\2"),
    ],
)
async def test_what_a_merge_does(tmp_path: Path, base: str, ours: str, theirs: str, outcome: bytes | None) -> None:
    points, *states = await three(tmp_path, base, ours, theirs)
    merged = await points.merged(*states)
    if outcome is None:
        assert merged == []
    else:
        assert await points.read(merged[0].change.new) == [outcome]
        assert merged[0].conflict == (ours not in (base, theirs))


@pytest.mark.asyncio
async def test_what_a_killed_process_left_is_taken_back(tmp_path: Path) -> None:
    points = checkpoints(tmp_path)
    for name in ("a", "b/c", "d"):
        write(points.root, name, "old\n")
    before = await points.record()
    for name in ("a", "b/c", "d", "new"):
        write(points.root, name, "new\n")
    here = snapshot(points.root)
    now = await points.record()
    wanted = await points.difference(now, before)
    operation = Operation(id="0" * 12, root=str(points.root), main=str(points.root), before=now, changes=wanted.files)

    def begin_and_die(repository: object) -> None:
        points.store.journal.begin(operation)
        with Blobs(points.store.repository(points.main)) as blobs:
            apply(os.fsencode(points.root), wanted, blobs.get, operation.tag)
        write(points.root, ".a.koda-" + operation.tag, "half written")
        write(points.root, "d", "typed since\n")

    await points.folder.work(begin_and_die)

    async def stored(found: Operation) -> bool:
        assert found.id == operation.id
        return False

    assert [one.id for one in await points.recover(stored)] == [operation.id]
    assert snapshot(points.root) == {**here, "d": (b"typed since\n", here["d"][1])}
    assert await points.recover(stored) == []


@pytest.mark.asyncio
async def test_what_was_stored_is_complete(tmp_path: Path) -> None:
    points = checkpoints(tmp_path)
    operation = Operation(id="1" * 12, root=str(points.root), main=str(points.root), before=await points.record())
    points.store.journal.begin(operation)

    async def stored(_: Operation) -> bool:
        return True

    assert await points.recover(stored) == []
    assert points.store.journal.find(operation.id) == operation
    undoing = msgspec.structs.replace(operation, id="2" * 12, undoes=operation.id)
    points.store.journal.begin(undoing)
    assert await points.recover(stored) == []
    assert points.store.journal.find(operation.id).undone


@pytest.mark.asyncio
async def test_a_new_folder_gets_a_state(tmp_path: Path) -> None:
    points = checkpoints(tmp_path)
    write(points.root, "a", b"\r\n\0")
    write(points.root, "private", mode=0o600)
    write(points.root, "deep/run", mode=0o755)
    (points.root / "empty").mkdir()
    (points.root / "link").symlink_to("a")
    state = await points.record()
    (tmp_path / "copy").mkdir()
    copy = Checkpoints(points.store, tmp_path.resolve() / "copy", main=points.root)
    await copy.unfold(state)
    assert snapshot(copy.root) == snapshot(points.root)
    assert await copy.record() == state


@pytest.mark.asyncio
async def test_a_state_with_other_files(tmp_path: Path) -> None:
    points = checkpoints(tmp_path)
    write(points.root, "a", "1")
    write(points.root, "b", "1")
    first = await points.record()
    write(points.root, "a", "2", mode=0o600)
    second = await points.record()
    [change] = (await points.difference(first, second)).files
    assert await points.with_files(first, {b"a": change.new}) == second
    assert await points.with_files(second, {b"a": change.old}) == first
    without = await points.with_files(second, {b"a": None})
    assert (await points.difference(second, without)).files == (Change(b"a", change.new, None),)


@pytest.mark.asyncio
async def test_what_is_not_recorded_gives_way_only_by_choice_and_comes_back(tmp_path: Path) -> None:
    points = checkpoints(tmp_path)
    write(points.root, "a", "recorded\n")
    state = await points.record()
    (points.root / "a").unlink()
    write(points.root, ".gitignore", "/a\n")
    await points.record()
    write(points.root, "a", "ignored now\n")
    before = snapshot(points.root)
    now = await points.record()
    plan = await points.plan(now, await points.difference(now, state))
    assert [(step.change.path, step.hard) for step in plan.conflicts] == [(b"a", False)]
    operation = await points.apply(plan, nothing, conflicts="overwrite")
    assert (points.root / "a").read_text() == "recorded\n"
    now = await points.record()
    await points.apply(await points.plan(now, await points.back(now, operation)), nothing)
    assert snapshot(points.root) == before


def test_a_lock_is_one_for_all(tmp_path: Path) -> None:
    from koda_daemon.base.errors import KodaError

    with locked(tmp_path / "lock", 1), pytest.raises(KodaError) as busy, locked(tmp_path / "lock", 0.01):
        pass
    assert busy.value.retryable
    with locked(tmp_path / "lock", 0.01):
        pass


@pytest.mark.asyncio
async def test_a_home_repository_that_ignores_everything_does_not_count(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    write(tmp_path, ".gitignore", "*\n")
    points = checkpoints(tmp_path)
    write(points.root, "a", "1")
    first = await points.record()
    write(points.root, "a", "2")
    assert await points.record() != first
    await restore(points, first)
    assert (points.root / "a").read_text() == "1"


@pytest.mark.asyncio
async def test_what_nobody_used_for_long_goes_whole(tmp_path: Path) -> None:
    old, here = checkpoints(tmp_path, name="old"), checkpoints(tmp_path, name="here")
    write(old.root, "a", "secret")
    state = await old.record()
    await here.record()
    place = old.store.place(old.root)
    await here.folder.prune(force=True)
    assert place.exists()
    for path in [place, *place.rglob("*")]:
        os.utime(path, (0, 0))
    await here.folder.prune(force=True)
    assert not place.exists()
    assert {path.name.partition("-")[0] for path in place.parent.iterdir()} <= {"here", "operations"}
    with pytest.raises(KodaError):
        await old.difference(state, "0" * 40)
    assert await old.record() == state


@pytest.mark.asyncio
async def test_a_folder_that_is_gone_is_forgotten(tmp_path: Path) -> None:
    main = checkpoints(tmp_path)
    write(main.root, "a", "text")
    (tmp_path / "branch").mkdir()
    branch = Checkpoints(main.store, tmp_path / "branch", main=main.root)
    state = await main.record()
    await branch.unfold(state)
    assert await branch.record() == state
    await branch.folder.forget()
    assert not branch.folder.view.home.exists()
    assert (await main.difference(state, await main.record())).files == ()
