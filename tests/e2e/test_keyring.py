"""The command line with a real keyring: GNOME's, on a session bus of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.client import clean_environment

PROGRAMS = ("dbus-run-session", "gnome-keyring-daemon")
pytestmark = pytest.mark.skipif(not all(map(shutil.which, PROGRAMS)), reason=f"needs {' and '.join(PROGRAMS)}")

KEY = "sk-keyring-0123456789abcdef"
LONG = "k" * 3000
SCRIPT = """
set -e
printf pw | gnome-keyring-daemon --unlock --components=secrets >/dev/null
koda() { "$PYTHON" -m koda_daemon "$@" 2>&1; }
echo "$KEY" | koda login groq
echo "$LONG" | koda login mistral
echo "$LONG" | koda login xai
koda auth
koda logout xai
"$PYTHON" -c 'import secretstorage as s; s.get_default_collection(s.dbus_init()).lock()'
echo LOCKED
koda auth
echo "$KEY" | koda login openrouter --key
koda logout groq
"""


def test_a_real_keyring(tmp_path: Path) -> None:
    """Keys go there, long ones beside it under a key of it; while it is locked nothing hangs, and that is said."""
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    more = {"PYTHON": sys.executable, "KEY": KEY, "LONG": LONG, "XDG_RUNTIME_DIR": str(runtime)}
    done = subprocess.run(
        ["dbus-run-session", "--", "sh", "-c", SCRIPT],
        capture_output=True,
        text=True,
        env=clean_environment(tmp_path, more),
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    opened, locked = done.stdout.split("LOCKED\n")
    assert "Signed in to Groq. Kept in the system keyring." in opened
    assert opened.count("credentials.enc, encrypted with a key in the system keyring.") == 2
    assert [line.split()[:3] for line in opened.splitlines() if " since " in line] == [
        ["✓", "groq", "keyring"],
        ["✓", "mistral", "file"],
        ["✓", "xai", "file"],
    ]
    assert "Signed out of xAI." in opened
    assert "The stored credential of mistral cannot be read: the keyring is locked." in locked
    assert "encrypted with credentials.key beside it." in locked
    assert "The system keyring cannot be used (the keyring is locked)" in locked
    assert "the key of groq is still in the system keyring: the keyring is locked" in locked
    for path in (tmp_path / ".koda").iterdir():
        assert KEY not in path.read_text(errors="replace")
        assert path.stat().st_mode & 0o077 == 0
