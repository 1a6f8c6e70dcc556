"""Open documents: their unsaved text is part of a state, and they change in the editor."""

from __future__ import annotations

from pathlib import Path

import pytest

from koda_daemon.base.errors import KodaError
from tests.coding.checkpoints import checkpoints, nothing, restore, snapshot, write
from tests.coding.editor import MemoryEditor


@pytest.mark.asyncio
async def test_unsaved_text_is_the_file(tmp_path: Path) -> None:
    editor = MemoryEditor()
    points = checkpoints(tmp_path, editor)
    path = write(points.root, "a", "on disk\n")
    editor.open(path, "on disk\n")
    saved = await points.record()
    editor.type(path, "typed\n")
    typed = await points.record()
    assert typed != saved
    assert await points.record() == typed
    [change] = (await points.difference(saved, typed)).files
    assert await points.read(change.old, change.new) == [b"on disk\n", b"typed\n"]
    await restore(points, saved)
    assert editor.documents[path].text == "on disk\n"
    assert path.read_text() == "on disk\n"
    await restore(points, typed)
    assert editor.documents[path].text == "typed\n"
    assert path.read_text() == "on disk\n"
    del editor.documents[path]
    assert await points.record() == saved


@pytest.mark.asyncio
async def test_unsaved_text_keeps_the_files_charset_and_mode(tmp_path: Path) -> None:
    editor = MemoryEditor()
    points = checkpoints(tmp_path, editor)
    path = write(points.root, "a", "käse\r\n".encode("cp1252"), mode=0o755)
    before = await points.record()
    editor.open(path, "käse\r\n")
    editor.type(path, "brötchen\r\n")
    after = await points.record()
    [change] = (await points.difference(before, after)).files
    assert await points.read(change.new) == ["brötchen\r\n".encode("cp1252")]
    assert change.old is not None
    assert change.new is not None
    assert change.old.mode == change.new.mode


@pytest.mark.asyncio
async def test_new_documents_and_ignored_ones(tmp_path: Path) -> None:
    editor = MemoryEditor()
    points = checkpoints(tmp_path, editor)
    write(points.root, ".gitignore", "*.log\n")
    before = await points.record()
    for name in ("new", "new.log", ":(top)x", "../outside"):
        path = Path(points.root, name).resolve()
        editor.open(path, "never saved\n", dirty=True)
    after = await points.record()
    assert [change.path for change in (await points.difference(before, after)).files] == [b":(top)x", b"new"]


@pytest.mark.asyncio
async def test_a_clean_document_behind_its_file_yields_to_it(tmp_path: Path) -> None:
    editor = MemoryEditor()
    points = checkpoints(tmp_path, editor)
    path = write(points.root, "a", "old\n")
    editor.open(path, "old\n")
    before = await points.record()
    path.write_text("changed by a command\n")
    await restore(points, before)
    assert path.read_text() == "old\n"
    assert editor.labels == []


@pytest.mark.asyncio
async def test_an_editor_that_takes_no_edits_keeps_its_unsaved_text(tmp_path: Path) -> None:
    editor = MemoryEditor(can_edit=False)
    points = checkpoints(tmp_path, editor)
    path = write(points.root, "a", "old\n")
    editor.open(path, "old\n")
    before = await points.record()
    editor.type(path, "typed\n")
    now = await points.record()
    plan = await points.plan(now, await points.difference(now, before))
    assert [step.hard for step in plan.conflicts] == [True]
    with pytest.raises(KodaError) as refused:
        await points.apply(plan, nothing, conflicts="overwrite")
    assert refused.value.kind == "edit.conflict"
    kept = await points.apply(plan, nothing, conflicts="keep")
    assert editor.documents[path].text == "typed\n"
    assert kept.seen == before, "what is kept still differs from what the session knows"


@pytest.mark.asyncio
async def test_what_fails_on_disk_is_put_back_in_the_editor(tmp_path: Path) -> None:
    editor = MemoryEditor()
    points = checkpoints(tmp_path, editor)
    opened, closed = write(points.root, "open", "old\n"), write(points.root, "closed", "old\n")
    editor.open(opened, "old\n")
    before = await points.record()
    editor.type(opened, "typed\n")
    closed.write_text("new\n")
    now = await points.record()
    plan = await points.plan(now, await points.difference(now, before))
    editor.before_replace = lambda: nothing_but(closed.write_text("typed in the last moment\n"))
    with pytest.raises(KodaError):
        await points.apply(plan, nothing)
    assert editor.documents[opened].text == "typed\n"
    assert closed.read_text() == "typed in the last moment\n"


@pytest.mark.asyncio
async def test_a_document_that_moves_on_stops_everything(tmp_path: Path) -> None:
    editor = MemoryEditor()
    points = checkpoints(tmp_path, editor)
    first, second = write(points.root, "first", "old\n"), write(points.root, "second", "old\n")
    for path in (first, second):
        editor.open(path, "old\n")
    before = await points.record()
    for path in (first, second):
        editor.type(path, "typed\n")
    now = await points.record()
    plan = await points.plan(now, await points.difference(now, before))
    editor.type(second, "typed on\n")
    files = snapshot(points.root)
    with pytest.raises(KodaError) as refused:
        await points.apply(plan, nothing)
    assert refused.value.kind == "edit.conflict"
    assert editor.documents[first].text == "typed\n"
    assert editor.documents[second].text == "typed on\n"
    assert snapshot(points.root) == files


@pytest.mark.asyncio
async def test_a_file_that_is_open_can_be_deleted_and_get_its_mode_back(tmp_path: Path) -> None:
    editor = MemoryEditor()
    points = checkpoints(tmp_path, editor)
    tool = write(points.root, "tool", "old\n", mode=0o755)
    before = await points.record()
    made = write(points.root, "made", "new\n")
    tool.chmod(0o644)
    tool.write_text("new\n")
    editor.open(made, "new\n")
    editor.open(tool, "new\n")
    await restore(points, before)
    assert not made.exists()
    assert editor.documents[tool].text == "old\n"
    assert tool.stat().st_mode & 0o777 == 0o755


def nothing_but(_: object) -> None:
    """For callbacks."""


@pytest.mark.asyncio
async def test_half_a_character_is_no_reason_to_fail(tmp_path: Path) -> None:
    editor = MemoryEditor()
    points = checkpoints(tmp_path, editor)
    editor.open(Path(points.root, "a"), "half \ud83d", dirty=True)
    state = await points.record()
    [entry] = (await points.files(state, [b"a"])).values()
    assert await points.read(entry) == [b"half ?"]


@pytest.mark.asyncio
async def test_a_file_below_unsaved_text_is_overwritten_by_choice_and_comes_back(tmp_path: Path) -> None:
    editor = MemoryEditor()
    points = checkpoints(tmp_path, editor)
    path = write(points.root, "a", "saved\n")
    editor.open(path, "saved\n")
    saved = await points.record()
    editor.type(path, "typed\n")
    path.write_text("by another program\n")
    plan = await points.plan(await points.record(), await points.difference(await points.record(), saved))
    assert [step.conflict for step in plan.conflicts] == ["its file was changed below unsaved text"]
    done = await points.apply(plan, nothing, conflicts="overwrite")
    assert (editor.documents[path].text, path.read_text()) == ("saved\n", "saved\n")
    now = await points.record()
    assert now == saved
    back = await points.plan(now, await points.back(now, done), undone=done)
    await points.apply(back, nothing)
    assert (editor.documents[path].text, path.read_text()) == ("typed\n", "by another program\n")


@pytest.mark.asyncio
@pytest.mark.parametrize("unsaved", [True, False])
async def test_an_open_file_that_goes_comes_back_below_its_document(tmp_path: Path, unsaved: bool) -> None:
    editor = MemoryEditor()
    points = checkpoints(tmp_path, editor)
    before = await points.record()
    path = write(points.root, "a", "on disk\n")
    editor.open(path, "older\n")
    if unsaved:
        editor.type(path, "typed\n")
    shown = editor.documents[path].text
    now = await points.record()
    plan = await points.plan(now, await points.difference(now, before))
    done = await points.apply(plan, nothing)
    assert not path.exists()
    now = await points.record()
    await points.apply(await points.plan(now, await points.back(now, done), undone=done), nothing)
    assert (editor.documents[path].text, path.read_text()) == (shown, "on disk\n")
