"""Any state of a workspace can be brought back from any other."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.coding.checkpoints import checkpoints, restore, snapshot, write

NAMES = st.sampled_from(["a", "b", "c/d", "c/e", "c/f/g", "a/x", "b/y/z"])
FOLDER = "an empty folder"
CONTENTS = st.one_of(st.none(), st.sampled_from([FOLDER, b"", b"1\n", b"2\r\n", b"\0\xff", b"same"]))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.dictionaries(NAMES, st.tuples(CONTENTS, st.booleans()), max_size=4), min_size=2, max_size=4))
def test_any_state_can_be_brought_back_from_any_other(
    tmp_path_factory: pytest.TempPathFactory, states: list[dict[str, tuple[bytes | str | None, bool]]]
) -> None:
    async def run() -> None:
        points = checkpoints(tmp_path_factory.mktemp("any"))
        known: list[tuple[str, object]] = []
        for state in states:
            for name, (content, executable) in state.items():
                put(points.root, name, content, executable)
            known.append((await points.record(), snapshot(points.root)))
        for recorded, files in [*known, *reversed(known)]:
            await restore(points, recorded)
            assert snapshot(points.root) == files

    asyncio.run(run())


def put(root: Path, name: str, content: bytes | str | None, executable: bool) -> None:
    """Writes or deletes a file (or an empty folder), whatever is in its way."""
    path = root / name
    for folder in [*reversed(path.relative_to(root).parents)][1:]:
        if (root / folder).is_file():
            (root / folder).unlink()
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    if content == FOLDER:
        path.mkdir(parents=True)
    elif content is not None:
        write(root, name, content, 0o755 if executable else 0o644)
