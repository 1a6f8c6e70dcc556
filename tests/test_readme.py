"""The examples of the README are run as a user would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def blocks(language: str) -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def environment(home: Path) -> dict[str, str]:
    """The koda-daemon of this Python first on PATH, and no settings or keys of whoever runs the tests."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {
        "PATH": path,
        "HOME": str(home),
        "KODA_HOME": str(home / ".koda"),
        "KODA_OFFLINE": "1",
        "LANG": os.environ.get("LANG", "C.UTF-8"),
    }


def test_the_python_example_answers(tmp_path: Path) -> None:
    (example,) = blocks("python")
    done = subprocess.run(
        [sys.executable, "-c", example],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "demo agent" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell example")
def test_the_dialogue_to_paste_is_answered(tmp_path: Path) -> None:
    example = next(block for block in blocks("sh") if "frame()" in block)
    done = subprocess.run(
        ["bash", "-c", example], cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    for number in (1, 2, 3, 4):
        assert f'"id":{number},"result"' in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell example")
def test_the_script_example_plays(tmp_path: Path) -> None:
    example = next(block for block in blocks("sh") if "KODA_DEMO_SCRIPT" in block)
    done = subprocess.run(
        ["bash", "-c", example], cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "That was all." in done.stdout
    assert "ls" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell example")
def test_the_two_branches_do_what_the_page_says(tmp_path: Path) -> None:
    (example,) = (block for block in blocks("sh") if "worktree" in block)
    said = (ROOT / "README.md").read_text(encoding="utf-8").split(example)[1].split("```")[2]
    done = subprocess.run(
        ["bash", "-c", example],
        cwd=tmp_path,
        env={**environment(tmp_path), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == said.strip()
    assert not (tmp_path / ".koda").exists()
    assert list(tmp_path.glob("*/koda/worktrees/*")) == []


def test_every_linked_file_exists() -> None:
    for page in ("README.md", "ARCHITECTURE.md", "protocol/README.md"):
        folder = (ROOT / page).parent
        for target in re.findall(r"\]\(([^)#:]+)[^)]*\)", (ROOT / page).read_text(encoding="utf-8")):
            assert (folder / target).exists(), f"{page} links to {target}"
