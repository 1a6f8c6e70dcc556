from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from koda_daemon.coding.interfaces import OpenBuffer
from koda_daemon.server.language.editor import LspEditor
from tests.server.language.client import VSCODE, EditorClient, editor_client, span

CHANGES_ONLY = {"workspace": {"applyEdit": True}}


def opened(client: EditorClient, path: Path, text: str) -> OpenBuffer:
    client.open(path.as_uri(), text)
    buffer = LspEditor(client.tier).buffer(path)
    assert buffer is not None
    return buffer


@pytest.mark.asyncio
async def test_buffers_are_what_the_editor_shows(tmp_path: Path) -> None:
    path = tmp_path / "ä b#.py"
    path.write_bytes(b"saved\r\n")
    async with editor_client(VSCODE) as client:
        editor = LspEditor(client.tier)
        assert editor.buffer(path) is None
        assert not editor.can_edit(path)
        client.open(path.as_uri(), "saved\n")
        client.open("untitled:1", "new")
        await editor.compared()
        assert editor.can_edit(path)
        assert editor.buffers() == [OpenBuffer(str(path), path.as_uri(), 1, "saved\n", dirty=False, saved="saved\n")]
        client.change(path.as_uri(), {"text": "typed"})
        assert editor.buffers() == [OpenBuffer(str(path), path.as_uri(), 2, "typed", dirty=True, saved="saved\n")]
        client.save(path.as_uri())
        assert not editor.buffers()[0].dirty
        client.change(path.as_uri(), {"text": "x"}, {"text": "typed"})
        assert not editor.buffers()[0].dirty
        client.close(path.as_uri())
        assert editor.buffers() == []


@pytest.mark.asyncio
@pytest.mark.parametrize("on_disk", [b"older", None, b"\0binary"])
async def test_a_buffer_opened_with_unsaved_text_is_dirty_until_it_is_saved(
    tmp_path: Path, on_disk: bytes | None
) -> None:
    path = tmp_path / "a.py"
    if on_disk is not None:
        path.write_bytes(on_disk)
    async with editor_client(VSCODE) as client:
        editor = LspEditor(client.tier)
        client.open(path.as_uri(), "restored")
        assert editor.buffers()[0].dirty
        await editor.compared()
        assert editor.buffers()[0].dirty
        client.save(path.as_uri())
        assert not editor.buffers()[0].dirty


@pytest.mark.asyncio
@pytest.mark.skipif(sys.platform == "win32", reason="symlinks need a privilege there")
async def test_a_buffer_is_found_through_a_symlink(tmp_path: Path) -> None:
    real, link = tmp_path / "real.py", tmp_path / "link.py"
    real.touch()
    link.symlink_to(real)
    async with editor_client(VSCODE) as client:
        client.open(link.as_uri(), "text")
        found = LspEditor(client.tier).buffer(real)
        assert found is not None
        assert (found.path, found.uri) == (str(real), link.as_uri())


@pytest.mark.asyncio
async def test_clients_without_apply_edit_cannot_edit(tmp_path: Path) -> None:
    async with editor_client({}) as client:
        buffer = opened(client, tmp_path / "a.py", "a")
        editor = LspEditor(client.tier)
        assert not editor.can_edit(tmp_path / "a.py")
        assert await editor.replace(buffer, "b", "edit") is None
        assert client.sent == []


@pytest.mark.asyncio
async def test_an_edit_goes_through_the_editor(tmp_path: Path) -> None:
    async with editor_client(VSCODE) as client:
        buffer = opened(client, tmp_path / "a.py", "one\r\ntwo 😀 x\r\n")
        replacing = asyncio.create_task(LspEditor(client.tier).replace(buffer, "one\r\ntwo 😀 y\r\n", "edit"))
        request = await client.asked("workspace/applyEdit")
        assert request["params"] == {
            "label": "koda: edit",
            "edit": {
                "documentChanges": [
                    {
                        "textDocument": {"uri": buffer.uri, "version": 1},
                        "edits": [{"range": span((1, 7), (1, 8)), "newText": "y", "annotationId": "koda"}],
                    }
                ],
                "changeAnnotations": {"koda": {"label": "koda: edit", "needsConfirmation": False}},
            },
        }
        client.apply(request)
        changed = await replacing
        assert changed == OpenBuffer(buffer.path, buffer.uri, 2, "one\r\ntwo 😀 y\r\n", dirty=True)


@pytest.mark.asyncio
async def test_the_change_may_come_after_the_answer(tmp_path: Path) -> None:
    async with editor_client(CHANGES_ONLY) as client:
        buffer = opened(client, tmp_path / "a.py", "a\n")
        replacing = asyncio.create_task(LspEditor(client.tier).replace(buffer, "b\n", "koda: write"))
        request = await client.asked("workspace/applyEdit")
        edits = [{"range": span((0, 0), (0, 1)), "newText": "b"}]
        assert request["params"] == {"label": "koda: write", "edit": {"changes": {buffer.uri: edits}}}
        client.answer(request, {"applied": True})
        client.change(buffer.uri, {"text": "b\n"})
        changed = await replacing
        assert changed is not None
        assert changed.text == "b\n"


@pytest.mark.asyncio
async def test_the_user_may_type_on_at_once(tmp_path: Path) -> None:
    async with editor_client(VSCODE) as client:
        buffer = opened(client, tmp_path / "a.py", "a\n")
        replacing = asyncio.create_task(LspEditor(client.tier).replace(buffer, "b\n", "edit"))
        request = await client.asked("workspace/applyEdit")
        client.change(buffer.uri, {"text": "b\n"}, {"range": span((1, 0), (1, 0)), "text": "typed"})
        client.answer(request, {"applied": True})
        changed = await replacing
        assert changed is not None
        assert changed.text == "b\ntyped"


@pytest.mark.asyncio
@pytest.mark.parametrize("kept", ["b\r\nc\r\n", "b\nc"])
async def test_line_ends_are_the_editors_business(tmp_path: Path, kept: str) -> None:
    async with editor_client(VSCODE) as client:
        buffer = opened(client, tmp_path / "a.py", "a\r\n")
        replacing = asyncio.create_task(LspEditor(client.tier).replace(buffer, "b\nc\n", "edit"))
        request = await client.asked("workspace/applyEdit")
        client.change(buffer.uri, {"text": kept})
        client.answer(request, {"applied": True})
        changed = await replacing
        assert changed is not None
        assert changed.text == kept


@pytest.mark.asyncio
async def test_a_text_that_is_there_already_needs_no_edit(tmp_path: Path) -> None:
    async with editor_client(VSCODE) as client:
        buffer = opened(client, tmp_path / "a.py", "a")
        assert await LspEditor(client.tier).replace(buffer, "a", "edit") == buffer
        assert client.sent == []


@pytest.mark.asyncio
async def test_a_text_that_is_none_is_not_sent(tmp_path: Path) -> None:
    async with editor_client(VSCODE) as client:
        buffer = opened(client, tmp_path / "a.py", "a")
        assert await LspEditor(client.tier).replace(buffer, "\ud83d", "edit") is None
        assert client.sent == []


@pytest.mark.asyncio
async def test_a_buffer_that_moved_on_is_left_alone(tmp_path: Path) -> None:
    async with editor_client(VSCODE) as client:
        buffer = opened(client, tmp_path / "a.py", "a")
        client.change(buffer.uri, {"text": "typed"})
        assert await LspEditor(client.tier).replace(buffer, "b", "edit") is None
        client.close(buffer.uri)
        assert await LspEditor(client.tier).replace(buffer, "b", "edit") is None
        assert client.sent == []


@pytest.mark.asyncio
async def test_an_edit_that_the_editor_refuses(tmp_path: Path) -> None:
    async with editor_client(VSCODE) as client:
        buffer = opened(client, tmp_path / "a.py", "a")
        replacing = asyncio.create_task(LspEditor(client.tier).replace(buffer, "b", "edit"))
        request = await client.asked("workspace/applyEdit")
        client.change(buffer.uri, {"text": "typed meanwhile"})
        client.apply(request)
        assert await replacing is None


@pytest.mark.asyncio
@pytest.mark.parametrize("result", [{"applied": True}, {"applied": "yes"}, None])
async def test_an_edit_that_never_shows(tmp_path: Path, result: object) -> None:
    """Neovim answers ``applied: true`` also when it has dropped an edit of an old version."""
    async with editor_client(VSCODE) as client:
        buffer = opened(client, tmp_path / "a.py", "a")
        replacing = asyncio.create_task(LspEditor(client.tier, change_timeout=0.05).replace(buffer, "b", "edit"))
        client.answer(await client.asked("workspace/applyEdit"), result)
        assert await replacing is None
        assert client.tier.documents._listeners == set()


@pytest.mark.asyncio
async def test_an_edit_without_an_answer_is_cancelled(tmp_path: Path) -> None:
    async with editor_client(VSCODE) as client:
        buffer = opened(client, tmp_path / "a.py", "a")
        assert await LspEditor(client.tier, answer_timeout=0.05).replace(buffer, "b", "edit") is None
        request = await client.asked("workspace/applyEdit")
        assert (await client.asked("$/cancelRequest"))["params"] == {"id": request["id"]}


@pytest.mark.asyncio
async def test_a_failed_answer_is_a_refusal(tmp_path: Path) -> None:
    async with editor_client(VSCODE) as client:
        buffer = opened(client, tmp_path / "a.py", "a")
        replacing = asyncio.create_task(LspEditor(client.tier).replace(buffer, "b", "edit"))
        request = await client.asked("workspace/applyEdit")
        client.send({"id": request["id"], "error": {"code": -32603, "message": "no"}})
        assert await replacing is None


@pytest.mark.asyncio
async def test_edits_of_one_document_wait_for_each_other(tmp_path: Path) -> None:
    async with editor_client(VSCODE) as client:
        buffer = opened(client, tmp_path / "a.py", "a")
        editor = LspEditor(client.tier)
        first = asyncio.create_task(editor.replace(buffer, "b", "edit"))
        second = asyncio.create_task(editor.replace(buffer, "c", "edit"))
        client.apply(await client.asked("workspace/applyEdit"))
        changed = await first
        assert changed is not None
        assert changed.text == "b"
        assert await second is None
        assert client.methods() == ["workspace/applyEdit"]


@pytest.mark.asyncio
async def test_large_texts_are_compared_off_the_loop(tmp_path: Path) -> None:
    async with editor_client(VSCODE) as client:
        text = "line\n" * 20_000
        buffer = opened(client, tmp_path / "a.py", text)
        replacing = asyncio.create_task(LspEditor(client.tier).replace(buffer, text + "end\n", "edit"))
        request = await client.asked("workspace/applyEdit")
        [change] = request["params"]["edit"]["documentChanges"]
        assert [edit["newText"] for edit in change["edits"]] == ["end\n"]
        client.apply(request)
        assert await replacing is not None
