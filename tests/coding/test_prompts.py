"""The system prompt is stable, and instruction files are found, ordered and bounded."""

from __future__ import annotations

from pathlib import Path

import pytest

from koda_daemon.ai.provider import ToolSpec
from koda_daemon.coding.prompts import MAX_FILE_BYTES, MAX_TOTAL_BYTES, ContextFile, read_context_files, system_prompt


def tool(name: str) -> ToolSpec:
    return ToolSpec(name, "", {"type": "object"})


def test_the_prompt_says_where_it_is_and_speaks_only_of_tools_there_are() -> None:
    prompt = system_prompt(cwd=Path("/work"), tools=[tool("read"), tool("bash")], platform="darwin")
    assert "Working directory: /work" in prompt
    assert "macOS" in prompt
    assert "`bash` runs" in prompt
    assert "`oldText`" not in prompt
    assert "# Project instructions" not in prompt


def test_without_tools_no_word_of_tools() -> None:
    assert "# Tools" not in system_prompt(cwd=Path("/work"), tools=[])


def test_the_prompt_begins_alike_for_every_folder() -> None:
    tools = [tool("read"), tool("edit")]
    one, two = (system_prompt(cwd=Path(cwd), tools=tools, platform="linux") for cwd in ("/one", "/two"))
    assert one.split("# Environment")[0] == two.split("# Environment")[0]


def test_instructions_come_last_and_in_order() -> None:
    files = [ContextFile("/home/AGENTS.md", "general\n"), ContextFile("/project/AGENTS.md", "special\n")]
    prompt = system_prompt(cwd=Path("/work"), tools=[], context_files=files)
    assert prompt.endswith('<instructions file="/project/AGENTS.md">\nspecial\n</instructions>\n')
    assert prompt.index("general") < prompt.index("special")


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


async def texts(tmp_path: Path, cwd: str) -> list[str]:
    return [file.text for file in read_context_files(tmp_path / "home", tmp_path / cwd)]


@pytest.mark.asyncio
async def test_files_from_the_home_and_the_repository_down(tmp_path: Path) -> None:
    put(tmp_path / "AGENTS.md", "above the repository")
    put(tmp_path / "home/AGENTS.md", "user")
    put(tmp_path / "repo/.git/HEAD", "")
    put(tmp_path / "repo/CLAUDE.md", "repository")
    put(tmp_path / "repo/a/AGENTS.md", "a")
    put(tmp_path / "repo/a/CLAUDE.md", "not this one")
    (tmp_path / "repo/a/b").mkdir()
    assert await texts(tmp_path, "repo/a/b") == ["user", "repository", "a"]


@pytest.mark.asyncio
async def test_outside_of_a_repository_only_the_folder_itself(tmp_path: Path) -> None:
    put(tmp_path / "AGENTS.md", "above")
    put(tmp_path / "work/AGENTS.md", "here")
    assert await texts(tmp_path, "work") == ["here"]


@pytest.mark.asyncio
async def test_long_files_are_cut_and_say_so(tmp_path: Path) -> None:
    for name in ("a", "a/b", "a/b/c"):
        put(tmp_path / name / "AGENTS.md", "é" * MAX_FILE_BYTES)
    put(tmp_path / "a/.git", "")
    found = await texts(tmp_path, "a/b/c")
    assert len(found) == 3
    assert sum(text.count("é") * 2 for text in found) <= MAX_TOTAL_BYTES
    assert all("for the rest]" in text for text in found)
    assert "\ufffd" not in "".join(found)


@pytest.mark.asyncio
async def test_a_link_out_of_the_repository_is_not_followed(tmp_path: Path) -> None:
    put(tmp_path / "secret", "sesame")
    put(tmp_path / "work/CLAUDE.md", "real")
    try:
        (tmp_path / "work/AGENTS.md").symlink_to(tmp_path / "secret")
    except OSError:
        pytest.skip("no symlinks here")
    assert await texts(tmp_path, "work") == ["real"]


@pytest.mark.asyncio
async def test_what_is_no_file_is_absent(tmp_path: Path) -> None:
    (tmp_path / "work/AGENTS.md").mkdir(parents=True)
    assert await texts(tmp_path, "work") == []
