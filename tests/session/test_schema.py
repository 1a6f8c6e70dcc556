from __future__ import annotations

import asyncio
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from sqlite3 import Connection

import pytest

from koda_daemon.base.errors import KodaError
from koda_daemon.session.schema import MIGRATIONS, back_up
from koda_daemon.session.store import Store
from tests.session.builders import opened, user


def version_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        found: int = connection.execute("PRAGMA user_version").fetchone()[0]
        return found


def content(path: Path) -> bytes:
    return path.read_bytes()


def add_colour(connection: Connection) -> None:
    connection.execute("ALTER TABLE sessions ADD COLUMN colour TEXT NOT NULL DEFAULT 'red'")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "k.db"


async def filled(path: Path) -> str:
    async with opened(path) as manager:
        session = await manager.create(cwd="/w", model="demo/one")
        await session.append(user(None, "keep me"))
        return session.id


@pytest.mark.asyncio
async def test_a_new_database_has_the_newest_version_and_no_backup(path: Path) -> None:
    await filled(path)
    assert version_of(path) == len(MIGRATIONS)
    assert not list(path.parent.glob("*.bak*"))


@pytest.mark.asyncio
async def test_an_older_database_is_copied_then_migrated(path: Path) -> None:
    session_id = await filled(path)
    store = await Store.open(path, migrations=(*MIGRATIONS, add_colour))
    assert await store.read(lambda c: c.execute("SELECT id, colour FROM sessions").fetchall()) == [(session_id, "red")]
    await store.aclose()
    assert version_of(path) == len(MIGRATIONS) + 1

    backup = path.with_name(f"k.db.v{len(MIGRATIONS)}.bak")
    assert version_of(backup) == len(MIGRATIONS)
    assert backup.stat().st_mode & 0o077 == 0
    async with opened(backup) as manager:
        session = await manager.load(session_id)
        assert len(await session.path()) == 1


@pytest.mark.asyncio
async def test_a_newer_database_is_refused_and_not_touched(path: Path) -> None:
    await filled(path)
    store = await Store.open(path, migrations=(*MIGRATIONS, add_colour))
    await store.aclose()
    before = content(path)
    with pytest.raises(KodaError) as caught:
        await Store.open(path)
    assert caught.value.kind == "version.unsupported"
    assert caught.value.user_action
    assert content(path) == before


@pytest.mark.asyncio
async def test_a_migration_that_fails_leaves_the_old_database(path: Path) -> None:
    def breaks(connection: Connection) -> None:
        add_colour(connection)
        connection.execute("DROP TABLE bodies")
        connection.execute("SELECT nothing FROM nowhere")

    session_id = await filled(path)
    with pytest.raises(KodaError):
        await Store.open(path, migrations=(*MIGRATIONS, breaks))
    assert version_of(path) == len(MIGRATIONS)
    async with opened(path) as manager:
        assert len(await (await manager.load(session_id)).path()) == 1


@pytest.mark.asyncio
async def test_migrations_run_in_order_from_any_version(path: Path) -> None:
    def first(connection: Connection) -> None:
        connection.execute("CREATE TABLE log (step TEXT)")
        connection.execute("INSERT INTO log VALUES ('first')")

    def second(connection: Connection) -> None:
        connection.execute("INSERT INTO log VALUES ('second')")

    def third(connection: Connection) -> None:
        connection.execute("INSERT INTO log VALUES ('third')")

    for migrations in ((first,), (first, second, third)):
        store = await Store.open(path, migrations=migrations)
        steps = await store.read(lambda c: [row[0] for row in c.execute("SELECT step FROM log")])
        await store.aclose()
    assert steps == ["first", "second", "third"]


@pytest.mark.asyncio
async def test_a_backup_of_what_another_daemon_has_migrated_is_not_kept(path: Path) -> None:
    await filled(path)
    target = path.with_name("k.bak")

    def migrated_meanwhile(step: int, left: int, total: int) -> None:
        if version_of(path) != 99:
            with closing(sqlite3.connect(path)) as other:
                other.execute("PRAGMA user_version = 99")

    class Racing(sqlite3.Connection):
        def backup(self, target: Connection, **_: object) -> None:
            super().backup(target, pages=1, progress=migrated_meanwhile)

    with closing(sqlite3.connect(path, factory=Racing)) as connection:
        back_up(connection, target)
    assert not list(path.parent.glob("*.bak*"))


@pytest.mark.asyncio
async def test_daemons_that_migrate_at_once_make_one_whole_backup(path: Path) -> None:
    session_id = await filled(path)
    migrations = (*MIGRATIONS, add_colour)
    stores = await asyncio.gather(*(Store.open(path, migrations=migrations) for _ in range(6)))
    for store in stores:
        assert await store.read(lambda c: c.execute("SELECT colour FROM sessions").fetchall()) == [("red",)]
        await store.aclose()
    [backup] = path.parent.glob("*.bak*")
    assert version_of(backup) == len(MIGRATIONS)
    async with opened(backup) as manager:
        assert len(await (await manager.load(session_id)).path()) == 1


@pytest.mark.asyncio
async def test_without_room_for_the_backup_nothing_is_migrated(path: Path) -> None:
    await filled(path)
    path.with_name(f"k.db.v{len(MIGRATIONS)}.bak").mkdir()  # cannot be replaced by a file
    with pytest.raises(KodaError) as caught:
        await Store.open(path, migrations=(*MIGRATIONS, add_colour))
    assert caught.value.kind == "internal"
    assert version_of(path) == len(MIGRATIONS)
    assert not list(path.parent.glob("*.part"))


@pytest.mark.asyncio
async def test_a_migration_that_is_killed_is_made_at_the_next_start(path: Path) -> None:
    session_id = await filled(path)
    script = (
        "import os, sqlite3, sys; from pathlib import Path; from koda_daemon.session import schema\n"
        "def dies(c):\n"
        "    c.execute('ALTER TABLE sessions ADD COLUMN colour TEXT'); c.execute('DELETE FROM nodes'); os._exit(9)\n"
        "schema.connect(Path(sys.argv[1]), 'normal', (*schema.MIGRATIONS, dies))"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, str(path))
    assert await process.wait() == 9
    assert version_of(path) == len(MIGRATIONS)
    store = await Store.open(path, migrations=(*MIGRATIONS, add_colour))
    assert await store.read(lambda c: c.execute("SELECT id, colour FROM sessions").fetchall()) == [(session_id, "red")]
    assert await store.read(lambda c: c.execute("SELECT count(*) FROM nodes").fetchone()[0]) == 1
    await store.aclose()


@pytest.mark.asyncio
async def test_a_database_of_the_first_version_is_searched_as_before(path: Path) -> None:
    store = await Store.open(path, migrations=MIGRATIONS[:1])
    await store.aclose()
    await filled(path)
    async with opened(path) as manager:
        assert len(await manager.search("kee")) == 1
