"""The command line with a real daemon behind it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.client import clean_environment

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and terminals of POSIX")


class Shop:
    """A home and a workspace, and command lines run there."""

    def __init__(self, folder: Path) -> None:
        self.work = folder / "work"
        self.work.mkdir()
        (self.work / "note.txt").write_text("remember the milk\n")
        self.environment = clean_environment(folder / "user")
        self._started: list[subprocess.Popen[str]] = []
        (folder / "user").mkdir()

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "koda_daemon", *arguments],
            cwd=self.work,
            env=self.environment,
            text=True,
            **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options,
        )
        self._started.append(process)
        return process

    def close(self) -> None:
        """Ends what a failed test has left."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.communicate()

    def run(self, *arguments: str) -> tuple[int, str, str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def script(self, *answers: dict[str, Any]) -> None:
        """Has ``demo/scripted`` give these answers."""
        path = self.work.parent / "script.json"
        path.write_text(json.dumps({"answers": answers}))
        self.environment["KODA_DEMO_SCRIPT"] = str(path)


def read_until(process: subprocess.Popen[str], words: str) -> str:
    """What the process has printed when it has printed these words."""
    assert process.stdout is not None
    said = ""
    while not said.endswith(words):
        char = process.stdout.read(1)
        assert char, f"ended before {words!r}: {said}"
        said += char
    return said


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path)
    yield shop
    shop.close()


def test_the_demonstration() -> None:
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "koda_daemon", "demo"],
        capture_output=True,
        encoding="utf-8",
        env=os.environ | {"PYTHONIOENCODING": "utf-8"},
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The tests pass." in done.stdout
    assert "◀ head" in done.stdout
    assert "[another question]" in done.stdout
    assert "\x1b" not in done.stdout
    assert time.monotonic() - started < 15


def test_a_prompt_and_its_session(shop: Shop) -> None:
    code, out, err = shop.run("prompt", "read note.txt")
    assert code == 0, err
    assert "remember the milk" in out
    code, out, _ = shop.run("session", "list", "--json")
    (session,) = json.loads(out)
    assert (code, session["cwd"]) == (0, str(shop.work.resolve()))
    assert shop.run("prompt", "list", "--session", session["id"][-8:])[0] == 0
    code, out, _ = shop.run("session", "show", "last")
    assert code == 0
    assert len([line for line in out.splitlines() if line.startswith("you ")]) == 2
    code, out, _ = shop.run("session", "search", "milk", "--json")
    assert code == 0
    assert json.loads(out)[0]["sessionId"] == session["id"]


def test_json_is_every_message(shop: Shop) -> None:
    code, out, err = shop.run("prompt", "list", "--json")
    assert code == 0, err
    messages = [json.loads(line) for line in out.splitlines()]
    assert "capabilities" in messages[0]["result"]
    events = [message["params"] for message in messages if message.get("method") == "koda/event"]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["type"] == "turn.ended"
    assert any(message.get("result") and message["result"].get("status") == "ended" for message in messages)


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (["prompt", "hello", "--model", "nowhere/nothing"], 1, "nowhere"),
        (["prompt", "hello", "--session", "nosuch"], 1, "no session"),
        (["session", "show", "last"], 1, "no session"),
    ],
)
def test_failures_are_one_line(shop: Shop, arguments: list[str], code: int, error: str) -> None:
    assert shop.run(*arguments)[0] == code
    _, _, err = shop.run(*arguments)
    assert error in err
    assert err.count("\n") == 1


def test_a_damaged_database_says_what_to_do(shop: Shop) -> None:
    home = Path(shop.environment["KODA_HOME"])
    home.mkdir()
    (home / "sessions.db").write_text("this is no database\n" * 100)
    code, out, err = shop.run("session", "list")
    assert (code, out) == (1, "")
    assert err.strip() == (
        "koda-daemon: The file is not a session database. Move it away, or set KODA_HOME to another folder."
    )


def test_a_turn_that_fails_is_one(shop: Shop) -> None:
    shop.script({"steps": [{"type": "error", "kind": "auth.required", "message": "No key here."}]})
    code, out, _ = shop.run("prompt", "hello", "--model", "demo/scripted")
    assert code == 1
    assert "No key here." in out


def test_nobody_to_ask_is_a_denial(shop: Shop) -> None:
    code, out, err = shop.run("prompt", "write new.txt: x")
    assert code == 0
    assert "denied" in out
    assert "--mode" in err
    assert not (shop.work / "new.txt").exists()
    assert shop.run("prompt", "write new.txt: x", "--mode", "full")[0] == 0
    assert (shop.work / "new.txt").read_text() == "x\n"


@posix
@pytest.mark.parametrize(("answer", "written"), [("1\n", True), ("4\n", False), ("\n", False), ("\x04", False)])
def test_asking_at_the_terminal(shop: Shop, answer: str, written: bool) -> None:
    import pty

    ours, theirs = pty.openpty()
    process = shop.start("prompt", "write new.txt: x", stdin=theirs)
    os.close(theirs)
    said = read_until(process, "[1-4] ")
    os.write(ours, answer.encode())
    out, err = process.communicate(timeout=30)
    os.close(ours)
    assert process.returncode == 0, err
    assert "+x" in said, "the diff is shown before it is allowed"
    assert (shop.work / "new.txt").exists() is written
    assert ("denied" in out) is not written


@posix
def test_interrupting_cancels_the_turn_and_keeps_what_there_is(shop: Shop) -> None:
    shop.script({"steps": [{"type": "text", "text": "Here it comes."}, {"type": "delay", "seconds": 600}]})
    process = shop.start("prompt", "hello", "--model", "demo/scripted")
    read_until(process, "comes.")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "cancelled" in out
    _, out, _ = shop.run("session", "show", "last")
    assert "Here it comes." in out
