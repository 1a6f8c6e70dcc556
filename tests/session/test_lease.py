"""Several processes on one session: one writes, the others follow, nobody writes over what it has not seen."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from koda_daemon.base.errors import KodaError
from koda_daemon.session.lease import SILENT_BEATS
from koda_daemon.session.manager import SessionManager, SessionMovedError
from koda_daemon.session.memory import Changes
from koda_daemon.session.session import Session
from tests.session.builders import assistant, branch, chain, opened, prompt, running, user

# Holds a session with a running turn until it is killed.
HOLDER = """
import asyncio, os, sys
from pathlib import Path
from koda_daemon.session.manager import SessionManager
from tests.session.builders import running, user

async def main():
    manager = await SessionManager.open(Path(sys.argv[1]))
    session = await manager.load(sys.argv[2])
    await session.append(user(session.head_id, "theirs"), turn=running("theirs"))
    os.write(1, b"up")
    await asyncio.sleep(600)

asyncio.run(main())
"""


def hold(path: Path, session_id: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(path), session_id], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.read(2) == b"up"
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


def leave_dead(process: subprocess.Popen[bytes]) -> None:
    """Killed, and a zombie as long as nobody waits for it: as good as gone."""
    process.kill()
    if sys.platform != "win32":
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)


async def shared(path: Path, mine: SessionManager, theirs: SessionManager) -> tuple[Session, Session]:
    """One session as two processes have it."""
    session = await mine.create(cwd="/w", model="demo/one")
    await session.append(user(None, "first"))
    return session, await theirs.load(session.id)


@pytest.mark.asyncio
async def test_an_idle_session_belongs_to_whoever_writes_next(tmp_path: Path) -> None:
    path = tmp_path / "k.db"
    async with opened(path) as one, opened(path) as two:
        mine, theirs = await shared(path, one, two)
        heard: list[Changes] = []
        mine.on_changes = heard.append
        second = user(theirs.head_id, "second")
        await theirs.append(second)
        # What is not known yet cannot be written over.
        with pytest.raises(SessionMovedError) as moved:
            await mine.append(user(mine.head_id, "stale"))
        assert moved.value.kind == "session.locked"
        assert heard == []
        await mine.claim()
        assert mine.head_id == second.id
        assert [node.id for node in heard[0].nodes] == [second.id]
        third = user(mine.head_id, "third")
        await mine.append(third)
        assert await theirs.refresh()
        assert not await theirs.refresh()
        assert [node.message for node in await theirs.path()] == [node.message for node in await mine.path()]


@pytest.mark.asyncio
async def test_everything_that_another_wrote_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "k.db"
    async with opened(path) as one, opened(path) as two:
        mine, theirs = await shared(path, one, two)
        (first,) = await mine.path()
        await mine.set_label(first.id, "start")
        assert await theirs.refresh()
        heard: list[Changes] = []
        theirs.on_changes = heard.append
        nodes = chain(user(None, "a", label="x", turn_id="t"), assistant(None, "b", turn_id="t"))
        nodes[0] = user(first.id, "a", label="x", turn_id="t", id=nodes[0].id)
        await mine.append(*nodes, turn=running("t"))
        await mine.end_turn("t", "end")
        await mine.enqueue(prompt("later"))
        await mine.set_label(first.id, None)
        await mine.rename("A title")
        await mine.set_model("demo/two")
        await mine.set_option("effort", "high")
        fork = branch(first.id, "fork")
        await mine.put_branch(fork, checkout=True)
        assert await theirs.refresh()
        assert theirs.info == mine.info
        assert list(theirs.tree) == list(mine.tree)
        assert (theirs.queue, theirs.turns(), theirs.branches, theirs.growing) == (
            mine.queue,
            mine.turns(),
            mine.branches,
            mine.growing,
        )
        [changes] = heard
        assert [node.id for node in changes.nodes] == [node.id for node in nodes]
        assert changes.nodes[0].label == "x"
        assert [(before, after.status) for before, after in changes.turns] == [(None, "ended")]
        assert changes.labels == {first.id: None}
        assert changes.branches == (fork,)
        assert changes.queue == tuple(mine.queue)
        assert (changes.before.title, changes.after.title) == (None, "A title")
        assert await theirs.path() == await mine.path()


@pytest.mark.asyncio
async def test_a_working_session_is_locked_for_others(tmp_path: Path) -> None:
    path = tmp_path / "k.db"
    async with opened(path) as one, opened(path) as two:
        mine, theirs = await shared(path, one, two)
        await mine.append(user(mine.head_id), turn=running("t"))
        await theirs.refresh()
        for change in (
            theirs.append(user(theirs.head_id)),
            theirs.set_head(None),
            theirs.rename("x"),
            theirs.set_option("a", 1),
            theirs.enqueue(prompt("q")),
            theirs.claim(),
            two.delete(theirs.id),
        ):
            with pytest.raises(KodaError) as caught:
                await change
            assert (caught.value.kind, caught.value.retryable) == ("session.locked", True)
            assert caught.value.user_action
        await mine.end_turn("t", "end")
        await theirs.claim()
        await theirs.rename("theirs now")


@pytest.mark.asyncio
async def test_several_writes_at_once_take_the_lease_once(tmp_path: Path) -> None:
    import asyncio

    path = tmp_path / "k.db"
    async with opened(path) as one, opened(path) as two:
        _, theirs = await shared(path, one, two)
        nodes = chain(*(user(None, str(i)) for i in range(20)))
        await asyncio.gather(*(theirs.append(node) for node in nodes))
        assert theirs.tree.path_ids(theirs.head_id) == [node.id for node in nodes]


@pytest.mark.asyncio
async def test_a_dead_daemon_s_turn_is_ended_by_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "k.db"
    async with opened(path) as manager:
        session = await manager.create(cwd="/w", model="demo/one")
        process = hold(path, session.id)
        try:
            await session.refresh()
            with pytest.raises(KodaError) as caught:
                await session.claim()
            assert f"process {process.pid}" in caught.value.message
            leave_dead(process)
            await session.claim(patient=True)
        finally:
            end(process)
        assert [(turn.turn_id, turn.status, turn.stop_reason) for turn in session.turns()] == [
            ("theirs", "ended", "error")
        ]
        await session.append(user(session.head_id, "mine"))
        assert await manager.others() == []


@pytest.mark.asyncio
async def test_a_silent_daemon_is_replaced_on_demand_and_cannot_write_any_more(tmp_path: Path) -> None:
    path = tmp_path / "k.db"
    async with opened(path) as one, opened(path) as two:
        mine, theirs = await shared(path, one, two)
        await mine.append(user(mine.head_id), turn=running("t"))
        await theirs.refresh()
        for _ in range(SILENT_BEATS):
            await two.look()
        await one.beat()
        await two.look()
        with pytest.raises(KodaError):
            await theirs.claim()
        for _ in range(SILENT_BEATS):
            await two.look()
        with pytest.raises(KodaError):
            await theirs.claim(patient=True)
        await theirs.claim()
        await theirs.append(user(theirs.head_id, "goes on"), turn=running("t2"))
        # The other wakes up.
        with pytest.raises(KodaError) as caught:
            await mine.append(assistant(mine.head_id, "late", turn_id="t"))
        assert caught.value.kind == "session.locked"
        await mine.refresh()
        assert mine.turn("t").stop_reason == "error"
        assert len(await mine.path()) == 3


@pytest.mark.asyncio
async def test_an_idle_daemon_is_not_silent(tmp_path: Path) -> None:
    path = tmp_path / "k.db"
    async with opened(path) as one, opened(path) as two:
        mine, theirs = await shared(path, one, two)
        for _ in range(2 * SILENT_BEATS):
            await two.look()
        await mine.append(user(mine.head_id), turn=running("t"))
        await theirs.refresh()
        await two.look()
        with pytest.raises(KodaError):
            await theirs.claim()


@pytest.mark.asyncio
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGSTOP")
async def test_a_stopped_process_keeps_its_turn_until_it_has_been_silent_for_long(tmp_path: Path) -> None:
    path = tmp_path / "k.db"
    async with opened(path) as manager:
        session = await manager.create(cwd="/w", model="demo/one")
        process = hold(path, session.id)
        try:
            os.kill(process.pid, signal.SIGSTOP)
            await session.refresh()
            for _ in range(SILENT_BEATS):
                await manager.look()
            with pytest.raises(KodaError):
                await session.claim()
            await manager.look()
            await session.claim()
            assert session.turn("theirs").status == "ended"
        finally:
            end(process)


@pytest.mark.asyncio
async def test_others_are_known_while_they_are_there(tmp_path: Path) -> None:
    path = tmp_path / "k.db"
    async with opened(path) as one:
        session = await one.create(cwd="/w", model="demo/one")
        assert await one.changed()
        assert not await one.changed()
        await session.append(user(None))
        assert not await one.changed()
        async with opened(path) as two:
            assert await one.others() == []
            await (await two.load(session.id)).take_numbers()
            assert await one.changed()
            assert [other.pid for other in await one.others()] == [os.getpid()]
        assert await one.others() == []


@pytest.mark.asyncio
async def test_what_was_deleted_elsewhere_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "k.db"
    async with opened(path) as one, opened(path) as two:
        mine, _ = await shared(path, one, two)
        await two.delete(mine.id)
        for change in (mine.refresh(), mine.claim(), mine.append(user(mine.head_id))):
            with pytest.raises(KodaError) as caught:
                await change
            assert caught.value.kind == "session.notFound"


@pytest.mark.asyncio
async def test_a_number_that_another_process_has_now_holds_nothing(tmp_path: Path) -> None:
    """The holder has died, and its process number was given to a stranger."""
    path = tmp_path / "k.db"
    async with opened(path) as one, opened(path) as two:
        mine, theirs = await shared(path, one, two)
        await mine.append(user(mine.head_id, "x"), turn=running("t"))
        with pytest.raises(KodaError) as refused:
            await theirs.claim()
        assert refused.value.kind == "session.locked"
        connection = sqlite3.connect(path)
        connection.execute("UPDATE daemons SET started = 'long ago'")
        connection.commit()
        connection.close()
        await theirs.claim()
        assert not theirs.running


@pytest.mark.asyncio
async def test_a_manager_that_is_closed_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "k.db"
    async with opened(path) as one:
        session = await one.create(cwd="/w", model="demo/one")
        await session.append(user(None, "first"), turn=running("t"))
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM sessions WHERE holder IS NOT NULL").fetchone() == (0,)
    assert connection.execute("SELECT count(*) FROM daemons").fetchone() == (0,)
    connection.close()
