"""Temporary folders of commands: gone at the end, and cleared by the next daemon after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from koda_daemon.mom.sandbox_temp import PREFIX, TempFolder, clear_leftovers

pytestmark = pytest.mark.skipif(os.name == "nt", reason="folders cannot be locked there")

HOLDER = "from koda_daemon.mom.sandbox_temp import TempFolder; t = TempFolder(); print(t.path, flush=True); input()"


@pytest.fixture(autouse=True)
def temp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_only_what_a_dead_process_left_is_cleared(temp: Path) -> None:
    mine = TempFolder()
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        env={**os.environ, "TMPDIR": str(temp)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout is not None
    with other:
        theirs = Path(other.stdout.readline().strip())
        (theirs / "cache").mkdir()
        (theirs / "cache" / "file").write_text("x")
        (theirs / "cache").chmod(0o500)
        assert clear_leftovers() == []
        other.send_signal(signal.SIGKILL)
    assert theirs.exists()
    assert clear_leftovers() == [theirs]
    assert not theirs.exists()
    assert mine.path.exists()
    mine.remove()
    assert not mine.path.exists()


def test_what_only_has_such_a_name_stays(temp: Path) -> None:
    elsewhere = temp / "elsewhere"
    elsewhere.mkdir()
    (temp / f"{PREFIX}link").symlink_to(elsewhere)
    (temp / f"{PREFIX}file").write_text("x")
    (temp / "koda-other").mkdir()
    assert clear_leftovers() == []
    assert len(list(temp.iterdir())) == 4
