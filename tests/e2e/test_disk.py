"""A full disk, a quota and a read-only home: a clear error, nothing half stored, and work goes on when there is room.

Two ways to have no room: a small file system that only the daemon sees, where mount namespaces are allowed, and, on
every Linux, a limit on the size of files that the daemon writes, which is what a quota looks like from inside.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.koda import ARGV, Koda, call, daemon, say, steps
from tests.e2e.reducer import View
from tests.harness.client import RawClient, RefusedError

# A mount namespace of its own gives the daemon a small file system that only it sees.
_UNSHARE = ("unshare", "--mount", *(() if sys.platform == "linux" and os.geteuid() == 0 else ("--map-root-user",)))
_MOUNT = 'mount -t tmpfs -o size="$1" koda "$KODA_HOME" && shift && exec "$@"'


def can_mount() -> bool:
    if sys.platform != "linux" or shutil.which("unshare") is None:
        return False
    script = "mount -t tmpfs koda /mnt"
    return subprocess.run((*_UNSHARE, "sh", "-c", script), capture_output=True).returncode == 0


MOUNTS = can_mount()
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux has the means to pretend a full disk")
no_room = pytest.mark.parametrize("kind", ["limit", *(["disk"] if MOUNTS else [])])


class Room:
    """The room that a daemon has in its home, in ``folder``."""

    said: str
    """What errors say when there is none."""

    def __init__(self, koda: Koda, folder: Path) -> None:
        self.koda = koda
        self.folder = folder

    def fill(self) -> None:
        raise NotImplementedError

    def free(self) -> None:
        raise NotImplementedError

    def shrink(self, size: int) -> None:
        """Leaves room for less than ``size`` bytes in one file, and for what Koda itself needs."""

    def check(self, copy: Path) -> None:
        """The database of the idle daemon is sound, and no turn in it runs."""
        copy.mkdir()
        for name in ("sessions.db", "sessions.db-wal"):
            shutil.copy(self.folder / name, copy / name)
        connection = sqlite3.connect(copy / "sessions.db")
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("SELECT count(*) FROM turns WHERE status = 'running'").fetchone() == (0,)
        connection.close()


class Disk(Room):
    """A small one, full."""

    said = "disk is full"

    def fill(self) -> None:
        with (self.folder / "filler").open("ab", buffering=0) as file:
            for size in (1 << 16, 1 << 12, 1 << 8, 1):
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError:
                    pass

    def free(self) -> None:
        (self.folder / "filler").unlink()


class Limit(Room):
    """No file may grow, nor be written over."""

    said = "could not be written"

    def fill(self) -> None:
        self._set(0)

    def free(self) -> None:
        self._set(1 << 40)

    def shrink(self, size: int) -> None:
        self._set(size)

    def _set(self, size: int) -> None:
        if sys.platform == "linux":
            import resource

            _, hard = resource.prlimit(self.koda.raw.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(self.koda.raw.pid, resource.RLIMIT_FSIZE, (size, hard))


@asynccontextmanager
async def daemon_with(kind: str, tmp_path: Path, size: str = "4m") -> AsyncIterator[tuple[Koda, Room]]:
    if kind == "limit":
        async with daemon(tmp_path) as koda:
            room = Limit(koda, tmp_path / "home" / ".koda")
            yield koda, room
            room.free()
        return
    home, workspace = tmp_path / "home", tmp_path / "work"
    (home / ".koda").mkdir(parents=True)
    workspace.mkdir()
    raw = await RawClient.start((*_UNSHARE, "sh", "-c", _MOUNT, "sh", size, *ARGV), home=home, cwd=workspace)
    koda = Koda(raw, workspace)
    try:
        await koda.initialize()
        yield koda, Disk(koda, Path(f"/proc/{raw.pid}/root") / (home / ".koda").relative_to("/"))
    finally:
        await raw.stop()


def view_of(koda: Koda, session: str, opened: dict[str, Any]) -> View:
    """What a client shows that opened the session and saw all that came since."""
    view = View()
    view.open(opened)
    for message in koda.raw.messages:
        if message.get("method") == "koda/event" and message["params"]["sessionId"] == session:
            view.take(message["params"])
    return view


async def refusal(koda: Koda, method: str, **params: Any) -> RefusedError:
    """The answer once there is no room at all: what is small is taken while the log has space that it may overwrite."""
    for _ in range(5000):
        try:
            await koda.request(method, **params)
        except RefusedError as refused:
            return refused
    pytest.fail(f"{method} was never refused")


@no_room
@pytest.mark.asyncio
async def test_a_full_disk_refuses_prompts_and_takes_them_again_when_there_is_room(tmp_path: Path, kind: str) -> None:
    async with daemon_with(kind, tmp_path) as (koda, disk):
        session = await koda.new({"answers": ["One."], "otherwise": "More."})
        assert (await koda.prompt(session, "Go"))["text"] == "One."
        tree = await koda.request("koda/tree", sessionId=session)
        disk.fill()
        big = "x" * 200_000  # does not fit into what the log may still overwrite
        for method, params in (
            ("koda/prompt", {"content": big}),
            ("koda/session/rename", {"title": "x" * 1000}),
            ("koda/label", {"nodeId": tree["headId"], "label": "x" * 200}),
        ):
            refused = await refusal(koda, method, sessionId=session, **params)
            assert refused.data["kind"] == "internal"
            assert refused.data["retryable"]
            assert disk.said in refused.message
            assert refused.data["userAction"]
        # What is there can be looked at.
        assert await koda.request("koda/tree", sessionId=session) == tree
        assert len((await koda.request("koda/session/open", sessionId=session))["nodes"]) == 2
        disk.free()
        assert (await koda.prompt(session, big))["text"] == "More."
        disk.check(tmp_path / "copy")


@no_room
@pytest.mark.asyncio
async def test_a_disk_that_fills_up_in_mid_turn_ends_the_turn_and_nothing_else(tmp_path: Path, kind: str) -> None:
    script = {
        "answers": [steps(say("Much " * 60_000, 1000), {"type": "delay", "seconds": 1}, say("and more."))],
        "otherwise": "There is room.",
    }
    async with daemon_with(kind, tmp_path) as (koda, disk):
        session = await koda.new(script)
        opened = await koda.request("koda/session/open", sessionId=session)
        waiting = koda.raw.begin("koda/prompt", {"sessionId": session, "content": "Go", "wait": True})
        await koda.event(session, "text.delta")
        disk.fill()
        result = await waiting.result(20)
        assert result["stopReason"] == "error"
        assert disk.said in result["error"]["message"]
        assert result["error"]["userAction"]
        ended = await koda.event(session, "turn.ended")
        assert ended["error"] == result["error"]
        # The client that watched shows what the store has.
        fresh = View()
        fresh.open(await koda.request("koda/session/open", sessionId=session))
        assert view_of(koda, session, opened).shown() == fresh.shown()
        disk.free()
        await koda.request(
            "koda/option/set", sessionId=session, name="provider", value={"script": {"answers": ["There is room."]}}
        )
        assert (await koda.prompt(session, "Again"))["text"] == "There is room."
        fresh.open(await koda.request("koda/session/open", sessionId=session))
        assert view_of(koda, session, opened).shown() == fresh.shown()
        disk.check(tmp_path / "copy")


@no_room
@pytest.mark.asyncio
async def test_a_compaction_without_room_changes_nothing(tmp_path: Path, kind: str) -> None:
    script = {"answers": ["One. " * 3000, "Two. " * 3000], "otherwise": "Summed up. " * 20_000}
    async with daemon_with(kind, tmp_path) as (koda, disk):
        session = await koda.new(script)
        opened = await koda.request("koda/session/open", sessionId=session)
        for text in ("First", "Second"):
            await koda.prompt(session, text)
        disk.fill()
        with pytest.raises(RefusedError) as refused:
            await koda.request("koda/compact", sessionId=session)
        assert disk.said in refused.value.message
        assert "nodeId" not in await koda.event(session, "compaction.ended")
        fresh = View()
        fresh.open(await koda.request("koda/session/open", sessionId=session))
        assert view_of(koda, session, opened).shown() == fresh.shown()
        disk.free()
        node = (await koda.request("koda/compact", sessionId=session))["nodeId"]
        assert (await koda.request("koda/tree", sessionId=session))["headId"] == node
        disk.check(tmp_path / "copy")


@no_room
@pytest.mark.asyncio
async def test_a_checkpoint_that_finds_no_room_takes_none(tmp_path: Path, kind: str) -> None:
    """The files are more than the disk holds: that is told, and the session still has its room."""
    script = {"answers": [steps(call("write", path="a.txt", content="new\n")), "Done."], "otherwise": "More."}
    async with daemon_with(kind, tmp_path) as (koda, disk):
        disk.shrink(3 << 20)
        (koda.workspace / "big").write_bytes(os.urandom(6 << 20))
        session = await koda.new(script)
        assert (await koda.prompt(session, "Go"))["text"] == "Done."
        assert "cannot be taken back" in (await koda.event(session, "notice"))["message"]
        assert (koda.workspace / "a.txt").read_text() == "new\n"
        assert (await koda.prompt(session, "Go on"))["text"] == "More."
        assert not list(disk.folder.rglob("tmp_obj_*"))
        disk.check(tmp_path / "copy")


def unwritable(tmp_path: Path, kind: str) -> tuple[Path, tuple[str, ...]]:
    """A home that cannot be written, and the command to start the daemon with it."""
    home = tmp_path / "home" / ".koda"
    match kind:
        case "read-only":
            script = 'mount -t tmpfs -o ro koda "$KODA_HOME" && exec "$@"'
            return home, (*_UNSHARE, "sh", "-c", script, "sh", *ARGV)
        case "a file":
            home.rmdir()
            home.write_text("precious")
            return home, ARGV
        case _:
            return Path("/proc/koda"), ARGV  # nobody, not even root, makes folders there


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["nowhere", "a file", *(["read-only"] if MOUNTS else [])])
async def test_a_home_that_cannot_be_written_from_the_start_is_said(tmp_path: Path, kind: str) -> None:
    folder, workspace = tmp_path / "home", tmp_path / "work"
    (folder / ".koda").mkdir(parents=True)
    workspace.mkdir()
    home, argv = unwritable(tmp_path, kind)
    raw = await RawClient.start(argv, home=folder, env={"KODA_HOME": str(home)}, cwd=workspace)
    koda = Koda(raw, workspace)
    try:
        await koda.initialize()
        for method, params in (("koda/session/list", {}), ("koda/session/new", {"cwd": str(workspace)})):
            with pytest.raises(RefusedError) as refused:
                await raw.request(method, params)
            assert refused.value.data["kind"] == "internal"
            assert "KODA_HOME" in refused.value.data["userAction"]
    finally:
        await raw.stop()
