"""Files that a state knows nothing of (ignored or too large then) are not taken for files that were not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from koda_daemon.coding.checkpoints import Checkpoints, Difference
from tests.coding.checkpoints import checkpoints, git, nothing, snapshot, write


async def rewind(points: Checkpoints, state: str) -> str:
    """Makes the files those of a state; the state before."""
    now = await points.record()
    await points.apply(await points.plan(now, await points.way_to(now, state)), nothing)
    return now


def paths(changes: Difference) -> list[bytes]:
    return [change.path for change in changes.files]


@pytest.mark.asyncio
async def test_what_was_ignored_then_stays(tmp_path: Path) -> None:
    points = checkpoints(tmp_path)
    root = points.root
    write(root, ".gitignore", "*.log\n/node_modules/\n")
    write(root, "deep/.gitignore", "secret\n")
    for name in ("x.log", "node_modules/a/b.js", "deep/er/secret"):
        write(root, name, "not ours\n")
    start = await points.record()
    write(root, ".gitignore", "")
    (root / "deep/.gitignore").unlink()
    write(root, "new.txt", "ours\n")
    changed = await points.record()
    wanted = [b".gitignore", b"deep/.gitignore", b"new.txt"]
    assert paths(await points.done_between(start, changed)) == wanted
    assert paths(await points.way_to(changed, start)) == wanted
    end = snapshot(root)
    await rewind(points, start)
    assert {"x.log", "node_modules/a/b.js", "deep/er/secret"} < snapshot(root).keys()
    assert "new.txt" not in snapshot(root)
    # what comes into sight again is there already: nobody's conflict
    await rewind(points, changed)
    assert snapshot(root) == end


@pytest.mark.asyncio
async def test_a_repository_that_was_cloned_goes_whole(tmp_path: Path) -> None:
    points = checkpoints(tmp_path)
    root = points.root
    write(root, ".gitignore", "*.log\n/build/\n")
    start = await points.record()
    for inner in ("inner", "build/inner"):
        git(root, "init", "-q", inner)
        write(root, f"{inner}/made.log", "not ignored in there\n")
        write(root, f"{inner}/.gitignore", "*.o\n")
        write(root, f"{inner}/old.o")
    changed = await points.record()
    assert paths(await points.way_to(changed, start)) == [b"inner/.gitignore", b"inner/made.log"]


@pytest.mark.asyncio
async def test_what_was_too_large_then_stays(tmp_path: Path) -> None:
    points = checkpoints(tmp_path, max_file_bytes=1000)
    write(points.root, "data", b"x" * 2000)
    start = await points.record()
    write(points.root, "data", b"x" * 10)
    await rewind(points, start)
    assert (points.root / "data").read_bytes() == b"x" * 10
