"""The editors of several clients as one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from koda_daemon.host.clients import Client, Editors
from tests.coding.editor import MemoryEditor


def of(*editors: MemoryEditor | None) -> Editors:
    clients: list[Any] = [SimpleNamespace(editor=editor) for editor in editors]
    return Editors(cast("list[Client]", clients))


@pytest.mark.asyncio
async def test_of_two_that_have_a_file_open_unsaved_text_counts(tmp_path: Path) -> None:
    path, other = tmp_path / "a", tmp_path / "b"
    one, two = MemoryEditor(), MemoryEditor()
    editors = of(None, one, two)
    assert editors.buffer(path) is None
    assert not editors.can_edit(path)
    one.open(path, "saved")
    two.open(path, "saved")
    two.open(other, "only there")
    assert [buffer.text for buffer in editors.buffers()] == ["saved", "only there"]
    two.type(path, "typed")
    buffer = editors.buffer(path)
    assert buffer is not None
    assert buffer.text == "typed"
    assert [each.text for each in editors.buffers()] == ["typed", "only there"]
    assert await editors.replace(buffer, "changed", "test") is not None
    assert (one.documents[path].text, two.documents[path].text) == ("saved", "changed")
    assert await editors.replace(buffer, "again", "test") is None, "it has moved on"


def test_whether_it_takes_edits_is_asked_of_the_one_that_counts(tmp_path: Path) -> None:
    path = tmp_path / "a"
    one, two = MemoryEditor(), MemoryEditor(can_edit=False)
    one.open(path, "saved")
    two.open(path, "saved")
    assert of(one, two).can_edit(path)
    two.type(path, "typed")
    assert not of(one, two).can_edit(path)
