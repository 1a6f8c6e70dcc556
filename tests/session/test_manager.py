from __future__ import annotations

import asyncio
import gc
import time
import weakref
from pathlib import Path
from sqlite3 import Connection

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from koda_daemon.base.errors import KodaError
from koda_daemon.session import library, queries
from koda_daemon.session.manager import ADOPT_STEP, SessionManager
from koda_daemon.session.nodes import SessionInfo, timestamp
from koda_daemon.session.queries import row_of
from koda_daemon.session.search import SNIPPET_LENGTH, Snippets, from_index, match_expression, to_index
from tests.session.builders import assistant, call, chain, opened, prompt, result, running, user


async def fill(manager: SessionManager, *texts: str, cwd: str = "/w") -> str:
    session = await manager.create(cwd=cwd, model="demo/one")
    await session.append(*chain(*(user(None, text) for text in texts)))
    return session.id


@pytest.mark.asyncio
async def test_an_unknown_session_is_not_found() -> None:
    async with opened() as manager:
        for asked in (manager.load("nobody"), manager.delete("nobody")):
            with pytest.raises(KodaError) as caught:
                await asked
            assert caught.value.kind == "session.notFound"


@pytest.mark.asyncio
async def test_a_session_is_one_object_while_anybody_holds_it(tmp_path: Path) -> None:
    async with opened(tmp_path / "k.db") as manager:
        session = await manager.create(cwd="/w", model="demo/one")
        assert await manager.load(session.id) is session
        await session.append(user(None, "x"))
        session_id, left = session.id, weakref.ref(session)
        del session
        await asyncio.sleep(0)  # the loop lets go of what it delivered
        gc.collect()
        assert left() is None
        one, two = await asyncio.gather(manager.load(session_id), manager.load(session_id))
        assert one is two


@pytest.mark.asyncio
async def test_the_list_shows_what_changed_last_first() -> None:
    async with opened() as manager:
        ids = [await fill(manager, "x", cwd=f"/w{i % 2}") for i in range(7)]
        newest = list(reversed(ids))
        everything, cursor = await manager.list()
        assert ([info.id for info in everything], cursor) == (newest, None)
        assert everything[0] == (await manager.load(ids[-1])).info

        seen: list[str] = []
        cursor = None
        for size in (3, 3, 1):
            page, cursor = await manager.list(cursor=cursor, limit=3)
            assert len(page) == size
            seen += [info.id for info in page]
        assert (seen, cursor) == (newest, None)
        here, _ = await manager.list(cwd="/w1")
        assert [info.id for info in here] == [ids[5], ids[3], ids[1]]


@pytest.mark.parametrize("cursor", ["", "x", "!!!", "W10", "é", "AAAA" * 100])
@pytest.mark.asyncio
async def test_a_foreign_cursor_has_expired(cursor: str) -> None:
    async with opened() as manager:
        with pytest.raises(KodaError) as caught:
            await manager.list(cursor=cursor)
        assert caught.value.kind == "cursor.expired"


@pytest.mark.asyncio
async def test_deleting_leaves_nothing_behind(tmp_path: Path) -> None:
    async with opened(tmp_path / "k.db") as manager:
        kept = await fill(manager, "keep the needle")
        session = await manager.create(cwd="/w", model="demo/one")
        await session.append(*chain(*(user(None, f"needle {i}") for i in range(1200))), turn=running("t"))
        await session.enqueue(prompt("q"), request_id="r")
        assert len(await manager.search("needle", limit=2000)) == 1201
        await manager.delete(session.id)
        assert [hit.session_id for hit in await manager.search("needle")] == [kept]
        assert [info.id for info in (await manager.list())[0]] == [kept]

        def rows(connection: Connection) -> list[int]:
            return [connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables]

        tables = ("nodes", "bodies", "turns", "queue", "requests", "sessions", "node_text")
        assert await manager._store.read(rows) == [1, 1, 0, 0, 0, 1, 1]


@pytest.mark.asyncio
async def test_search_finds_words_phrases_and_beginnings() -> None:
    async with opened() as manager:
        session = await manager.create(cwd="/w", model="demo/one")
        nodes = chain(
            user(None, "Fix the parser, please"),
            assistant(None, "I read the lexer.", call("1", "bash", {"command": "make test_all"})),
            result(None, "1", "parser ok\nfix_me failed"),
            user(None, "Résumé of 世界你好 done"),
        )
        await session.append(*nodes)

        async def found(query: str) -> list[int]:
            hits = await manager.search(query)
            return [[node.id for node in nodes].index(hit.node_id) for hit in hits]

        assert await found("parser") == [2, 0]
        assert await found("parser fix") == [2, 0]
        assert await found('"fix the"') == [0]
        assert await found('"the fix"') == []
        assert await found("pars") == [2, 0]
        assert await found("pars fix") == []
        assert await found("test_all") == [1]
        assert await found("make bash") == [1]
        assert await found("resume") == [3]
        assert await found("你好") == [3]
        assert await found("好世") == []
        assert await found("") == []
        assert await found("( * )") == []

        (hit,) = await manager.search("lexer")
        assert hit.session_id == session.id
        assert "I read the **lexer**." in hit.snippet
        (hit,) = await manager.search("世界")
        assert hit.snippet == "Résumé of **世界**你好 done"


@pytest.mark.asyncio
async def test_search_sees_what_was_just_stored_and_keeps_to_the_folder() -> None:
    async with opened() as manager:
        a = await fill(manager, "needle", cwd="/a")
        b = await fill(manager, *["needle"] * 150, cwd="/b")
        assert {hit.session_id for hit in await manager.search("needle", limit=200)} == {a, b}
        assert [hit.session_id for hit in await manager.search("needle", cwd="/a")] == [a]
        assert len(await manager.search("needle", limit=3)) == 3


@given(st.lists(st.text(alphabet=st.characters() | st.sampled_from('"*()^:-+{}ANDORNEAR \0\ud800')), max_size=20))
@settings(max_examples=15, suppress_health_check=list(HealthCheck))
def test_any_text_can_be_searched_for(queries: list[str]) -> None:
    async def run() -> None:
        async with opened() as manager:
            await fill(manager, "some AND text", "NEAR (other) -text")
            for query in queries:
                await manager.search(query)
                await manager.search(query + '"')

    asyncio.run(run())


@given(st.text(min_size=1))
def test_every_word_of_a_query_is_quoted(query: str) -> None:
    expression = match_expression(query)
    if expression is not None:
        # Outside of the quotes there is nothing but what we put there.
        assert expression.replace('""', "").split('"')[2::2] == [
            *[" AND "] * (expression.replace('""', "").count('"') // 2 - 1),
            expression.replace('""', "").rsplit('"', 1)[1],
        ]
        assert expression.rsplit('"', 1)[1] in ("", " *")


@given(st.text(alphabet="ab 世界你好", max_size=30))
def test_cjk_text_survives_the_index(text: str) -> None:
    squeezed = "".join(text.split(" "))
    assert "".join(from_index(to_index(text)).split(" ")) == squeezed


@pytest.mark.asyncio
async def test_a_deletion_that_a_crash_cut_off_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(tmp_path / "k.db") as manager:
        session_id = await fill(manager, "x", "y")
        await manager._store.write(lambda c: library.mark_deleted(c, manager._leases, session_id))
        with pytest.raises(KodaError):
            await manager.load(session_id)
    async with opened(tmp_path / "k.db") as manager:
        while await manager._store.write(library.housekeeping_step):
            pass
        assert await manager._store.read(lambda c: c.execute("SELECT count(*) FROM bodies").fetchone()[0]) == 0


@pytest.mark.asyncio
async def test_old_requests_are_forgotten() -> None:
    async with opened() as manager:
        session = await manager.create(cwd="/w", model="demo/one")
        await session.append(user(None), request=("old", {}))
        await session.append(user(None), request=("new", {}))
        await manager._store.write(
            lambda c: c.execute("UPDATE requests SET created_at = '2026-01-01' WHERE request_id = 'old'").rowcount
        )
        await manager._store.write(library.housekeeping_step)
        assert await session.recall("old") is None
        assert await session.recall("new") == {}


@pytest.mark.asyncio
async def test_a_session_that_cannot_be_stored_whole_is_not_there(tmp_path: Path) -> None:
    async with opened(tmp_path / "k.db") as manager:
        nodes = chain(*(user(None, "word") for _ in range(2 * ADOPT_STEP)))
        now = timestamp()
        info = SessionInfo(
            id="s", cwd="/w", title=None, model="m/m", head_id=None, created_at=now, updated_at=now, options={}
        )
        with pytest.raises(KodaError) as caught:
            await manager.adopt(info, [row_of(node) for node in (*nodes, user("nowhere"))])
        assert caught.value.kind == "node.notFound"
        assert (await manager.list())[0] == []
        assert await manager.search("word") == []
        with pytest.raises(KodaError):
            await manager.load("s")
        while await manager._store.write(library.housekeeping_step):
            pass
        assert await manager._store.read(lambda c: c.execute("SELECT count(*) FROM bodies").fetchone()[0]) == 0
        # One whose daemon died on the way is given a day.
        await manager._store.write(lambda c: queries.insert_session(c, info, hidden=True))
        await manager._store.write(library.housekeeping_step)
        assert await manager._store.read(sids) == 1
        await manager._store.write(lambda c: c.execute("UPDATE sessions SET updated_at = '2026-01-01'"))
        while await manager._store.write(library.housekeeping_step):
            pass
        assert await manager._store.read(sids) == 0


def sids(connection: Connection) -> int:
    count: int = connection.execute("SELECT count(*) FROM sessions").fetchone()[0]
    return count


@pytest.mark.parametrize(
    ("query", "text", "shown"),
    [
        ("CAFÉ pars", "the cafe's parser", "the **cafe**'s **parser**"),
        ("creme", "Crème brûlée", "**Crème** brûlée"),
        ("foo-bar", "a foo_bar b", "a **foo_bar** b"),
        ('"b c"', "a b c d bc", "a **b c** d bc"),
        ("字か", "漢字かな", "漢**字か**な"),
        ("x", "y " * 200 + "x " + "z " * 200, "**x**"),
        ("x", "A" * 100_000 + " x", "…"),
        ("nowhere", "some text", "some text"),
        ("some* 🎉", "something 🎉", "**something** **🎉**"),
    ],
)
def test_snippets_show_the_place(query: str, text: str, shown: str) -> None:
    snippet = Snippets(query).of(to_index(text))
    assert shown in snippet
    assert len(snippet) < 2 * SNIPPET_LENGTH + 20


@given(st.text(max_size=30), st.text(max_size=400))
def test_snippets_hold_nothing_that_is_not_there(query: str, text: str) -> None:
    if match_expression(query) is not None:
        snippet = Snippets(query).of(text)
        assert set(snippet) <= set(text) | set("*… ")
        assert len(snippet) < 3 * SNIPPET_LENGTH


@pytest.mark.asyncio
async def test_short_beginnings_of_many_words_in_long_texts_are_found_at_once() -> None:
    async with opened() as manager:
        text = " ".join(f"word{number}" for number in range(6_000))
        await fill(manager, *[text] * 60)
        await manager.search("nothing")  # brings the index up to date
        begun = time.process_time()
        assert len(await manager.search("wor", limit=50)) == 50
        assert time.process_time() - begun < 2, "0.1; SQLite's own snippets take a minute"
