from __future__ import annotations

import asyncio
import html.parser
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from koda_daemon.ai.messages import (
    Cost,
    ImageBlock,
    ResourceBlock,
    TextBlock,
    ThinkingBlock,
    Usage,
    UserMessage,
)
from koda_daemon.base.errors import KodaError
from koda_daemon.session.export import export_session, segments_of
from koda_daemon.session.export_html import PART, articles
from koda_daemon.session.export_markdown import transcript
from koda_daemon.session.importer import import_session
from koda_daemon.session.manager import SessionManager
from koda_daemon.session.nodes import Branch, Node
from koda_daemon.session.session import Session, ended
from koda_daemon.session.tree import Tree, tree_node
from tests.session.builders import (
    assistant,
    branch,
    branch_summary,
    call,
    chain,
    compaction,
    note,
    opened,
    result,
    running,
    user,
)

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


async def sample(manager: SessionManager) -> Session:
    """Two branches from a shared prompt, with one of everything."""
    session = await manager.create(cwd="/w", model="demo/one", title="Fix <b>it</b>", options={"effort": "low"})
    first, *left = chain(
        user(None, "Fix `a.py`, please.\n\n```py\nx < 1\n```", label="start <here>", turn_id="t1"),
        assistant(None, ThinkingBlock("Hm."), "I edit."),
        assistant(
            None,
            call("1", "edit", {"path": "a.py", "edits": [{"oldText": "x < 1", "newText": "x <= 1"}]}),
            usage=Usage(100, 20, cost=Cost(total=0.5)),
        ),
        result(None, "1", "done ```` & <script>alert(1)</script>"),
        assistant(None, "Done.", label="best"),
    )
    picture = UserMessage((TextBlock("look"), ImageBlock("image/png", data=PIXEL), ResourceBlock("file:///w/b.py")))
    right = chain(
        branch_summary(first.id, "The other way <i>failed</i>"),
        user(None, message=picture),
        assistant(None, stop="error", error="No <network>"),
    )
    second = chain(user(None, "Another start"), note(None, "for people"), compaction(None, "# Summary", None))
    await session.append(first, *left, turn=running("t1"))
    await session.append(*right, move_head=False)
    await session.append(*second, move_head=False)
    return session


@pytest.mark.asyncio
async def test_jsonl_loses_nothing(tmp_path: Path) -> None:
    async with opened() as manager:
        session = await sample(manager)
        await session.put_branch(branch(session.tree.leaves()[0], "side", workspace="/elsewhere", details={"a": 1}))
        await session.set_head(session.tree.leaves()[1])
        text = await export_session(session, "jsonl")
        path = tmp_path / "s.jsonl"
        path.write_text(text, encoding="utf-8", newline="")
        again = await import_session(manager, path)
        assert again.id != session.id
        assert list(again.tree) == list(session.tree)
        ids = [entry.id for entry in session.tree]
        assert await again.nodes(ids) == await session.nodes(ids)
        assert again.head_id == session.head_id
        assert replace(again.info, id="", updated_at="", options={}) == replace(
            session.info, id="", updated_at="", options={}
        )
        # What ran when the file was written does not run in the copy; permissions do not travel.
        assert (again.turn("t1").status, again.running, again.options) == ("ended", [], {})
        lines = (await export_session(again, "jsonl")).split("\n")
        assert lines[1:-3] == text.split("\n")[1:-3]
        # A branch keeps its name and place, not the folder that somebody gave it on another machine.
        (side,) = session.branches.values()
        assert list(again.branches.values()) == [replace(side, workspace=None, details=None)]
        assert await manager.usage(session_id=again.id) == []


@pytest.mark.asyncio
async def test_an_empty_session_is_exported_too() -> None:
    async with opened() as manager:
        session = await manager.create(cwd="/w", model="demo/one")
        again = await import_session(manager, await export_session(session, "jsonl"), cwd="/elsewhere")
        assert (len(again.tree), again.head_id, again.cwd) == (0, None, "/elsewhere")
        assert "# Session" in await export_session(session, "markdown")
        assert "<h1>Session</h1>" in await export_session(session, "html")


class Page(html.parser.HTMLParser):
    """Checks that every element is closed in order, and collects what a page shows and refers to."""

    VOID = ("meta", "img", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        values = dict(attrs)
        assert not any(name.startswith("on") for name in values)
        self.ids += [values["id"] or ""] if "id" in values else []
        self.links += [values["href"] or ""] if "href" in values else []
        self.sources += [values["src"] or ""] if "src" in values else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.asyncio
async def test_the_page_shows_everything_and_runs_nothing() -> None:
    async with opened() as manager:
        session = await sample(manager)
        text = await export_session(session, "html")
    page = Page(text)
    assert page.tags.isdisjoint({"script", "link", "iframe", "object", "form", "b1"})
    assert "default-src 'none'" in text
    for shown in ("Fix <b>it</b>", "x < 1", "<script>alert(1)</script>", "No <network>", "start <here>", "Hm.", "best"):
        assert shown in page.text
    assert "<ins>+x &lt;= 1</ins>" in text
    assert "<del>-x &lt; 1</del>" in text
    assert page.sources == [f"data:image/png;base64,{PIXEL}"]
    assert {f"#n-{entry.id}" for entry in session.tree} | {"#conversation"} == set(page.links)
    assert len(page.ids) == len(set(page.ids)) == len(session.tree) + 1, "every node, and where the conversation begins"
    assert "$0.50" in page.text


@pytest.mark.asyncio
async def test_a_long_page_is_laid_out_in_parts() -> None:
    nodes = chain(*(user(None, f"prompt {number}") for number in range(2 * PART + 1)))
    async with opened() as manager:
        session = await manager.create(cwd="/w", model="demo/one")
        await session.append(*nodes)
        text = await export_session(session, "html")
    parts = text.split('<div class="part">')[1:]
    assert [part.count("<article") for part in parts] == [PART, PART, 1]
    assert [part.count("<li ") for part in text.split("<ol>")[1:]] == [PART, PART, 1]
    assert len(Page(text).ids) == len(nodes) + 1


@given(st.text(max_size=60), st.sampled_from(["image/png", "image/svg+xml", '"><script>']))
@settings(max_examples=40, suppress_health_check=list(HealthCheck))
def test_no_text_breaks_out_of_the_page(text: str, mime_type: str) -> None:
    from koda_daemon.session.export import Segment
    from koda_daemon.session.export_html import page
    from koda_daemon.session.nodes import SessionInfo

    hostile = f"{text}</pre></div></details>\"'><script>x</script><!--"
    nodes = chain(
        user(None, message=UserMessage((TextBlock(hostile), ImageBlock(mime_type, data=text), ResourceBlock(hostile)))),
        assistant(None, hostile, call("1", hostile, {"path": hostile, "oldText": hostile, "newText": text})),
        result(None, "1", hostile),
        note(None, hostile, label=hostile),
    )
    info = SessionInfo(
        id="s",
        cwd=hostile,
        title=hostile,
        model=hostile,
        head_id=nodes[-1].id,
        created_at="",
        updated_at="",
        options={},
    )
    shown = page(info, Tree(map(tree_node, nodes)), [Segment(None, nodes)])
    assert "script" not in Page(shown).tags


@pytest.mark.asyncio
async def test_markdown_reads_as_a_transcript() -> None:
    async with opened() as manager:
        session = await sample(manager)
        text = await export_session(session, "markdown")
    order = (
        "# Fix",
        "### User · **start <here>**",
        "Fix `a.py`",
        "Thinking",
        "I edit.",
        "<summary>edit a.py · ok</summary>",
    )
    places = [text.index(each) for each in order]
    assert places == sorted(places)
    assert "```diff\n-x < 1\n+x <= 1\n```" in text
    # The fence is longer than what it holds.
    assert "`````\ndone ```` &" in text
    assert "## Another branch, after “Fix `a.py`, please." in text
    assert "## Another branch, from the beginning" in text
    assert "*Stopped: error (No <network>)*" in text
    assert "> # Summary" in text
    assert text.count("<details>") == text.count("</details>") == 2


def test_what_was_left_open_in_a_text_swallows_nothing_after_it() -> None:
    nodes = chain(
        user(None, "Look:\n```py\nopen\n``\n<!-- in code"),
        assistant(None, "<!-- <details>\n  <script>x</script>\na < b, `<b>`\n~~~~\n~~~\n```"),
        user(None, "```\nclosed\n```\n```inline``` `code`"),
    )
    text = "\n\n".join(transcript(nodes))
    assert "<!-- in code\n```\n\n### Koda" in text
    assert "\\<!-- <details>\n  \\<script>x</script>\na < b, `<b>`\n~~~~\n~~~\n```\n~~~~\n\n### User" in text
    assert text.endswith("```\nclosed\n```\n```inline``` `code`")


def test_segments_show_every_node_once_the_head_first() -> None:
    nodes = [
        user(None, id="a"),
        user("a", id="b"),
        user("a", id="c"),
        user("c", id="d"),
        user("c", id="e"),
        user(None, id="f"),
    ]
    tree = Tree(map(tree_node, nodes))
    assert segments_of(tree, "d") == [(None, ["a", "c", "d"]), ("a", ["b"]), ("c", ["e"]), (None, ["f"])]
    assert segments_of(tree, "a") == [(None, ["a"]), ("a", ["b"]), ("a", ["c", "d"]), ("c", ["e"]), (None, ["f"])]
    assert segments_of(tree, None)[0] == (None, ["a", "b"])


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", "params.invalid"),
        ("hello", "params.invalid"),
        ("[1]", "params.invalid"),
        ('{"type": "other"}', "params.invalid"),
        ('{"type": ["session"]}', "params.invalid"),
        ('{"format": "koda.session", "version": 99}', "version.unsupported"),
        ('{"format": "koda.session", "version": 1}', "params.invalid"),
    ],
)
@pytest.mark.asyncio
async def test_other_files_are_refused(text: str, kind: str) -> None:
    async with opened() as manager:
        with pytest.raises(KodaError) as caught:
            await import_session(manager, text)
        assert caught.value.kind == kind
        assert await manager.list() == ([], None)


@pytest.mark.asyncio
async def test_a_damaged_export_says_where_or_is_mended(tmp_path: Path) -> None:
    async with opened() as manager:
        session = await sample(manager)
        lines = (await export_session(session, "jsonl")).split("\n")
        with pytest.raises(KodaError, match="Line 2: There is no node"):
            await import_session(manager, "\n".join([lines[0], *lines[2:]]))
        with pytest.raises(KodaError, match="Line 3: "):
            await import_session(manager, "\n".join([*lines[:2], '{"node": {"id": 7}}']))
        with pytest.raises(KodaError, match="exists already"):
            await import_session(manager, "\n".join([*lines[:2], lines[1]]))
        warnings: list[str] = []
        cut = await import_session(manager, "\n".join([*lines[:3], lines[3][:20]]), warnings=warnings)
        assert len(cut.tree) == 2
        assert cut.head_id == list(cut.tree)[-1].id
        assert len(warnings) == 2
        with pytest.raises(KodaError, match="cannot be read"):
            await import_session(manager, tmp_path / "none.jsonl")


@st.composite
def sessions(draw: st.DrawFn) -> tuple[list[Node], list[Branch]]:
    """A tree of any shape with what nodes can hold, and branches by name."""
    nodes: list[Node] = []
    for number in range(draw(st.integers(1, 14))):
        parent = draw(st.sampled_from([None, *(node.id for node in nodes)]))
        text = draw(st.text(max_size=20))
        usage = Usage(number, 2, 3, 4, 1, Cost(0.1, 0.2, 0.3, 0.4, 1.0))
        made: list[Node] = [
            user(parent, text, turn_id="t1"),
            assistant(parent, text, call(f"c{number}"), usage=usage, stop="cancelled", error=text or None),
            result(parent, f"c{number}", text, details={"diff": text}),
            compaction(parent, text, parent, details={"tokensBefore": number}),
            branch_summary(parent, text),
            note(parent, text, details={"contextEdit": {"targetId": parent, "replacement": None}}),
        ]
        label = draw(st.none() | st.text(min_size=1, max_size=5))
        nodes.append(replace(draw(st.sampled_from(made)), label=label))
    places = st.sampled_from([None, *(node.id for node in nodes)])
    branches = [branch(draw(places), draw(st.none() | st.text(max_size=5))) for _ in range(draw(st.integers(0, 3)))]
    return nodes, branches


@given(sessions(), st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_session_goes_out_and_comes_back(made: tuple[list[Node], list[Branch]], data: st.DataObject) -> None:
    nodes, branches = made

    async def run() -> None:
        async with opened() as manager:
            session = await manager.create(cwd="/w", model="demo/one", title=data.draw(st.none() | st.text(max_size=9)))
            for node in nodes:
                await session.append(node, move_head=False)
            await session.start_turn(ended(running("t1"), "end", "2026-01-01T00:00:00.000Z"))
            for each in branches:
                await session.put_branch(each)
            if branches:
                await session.put_branch(branches[-1], checkout=True)
            else:
                await session.set_head(data.draw(st.sampled_from([None, *(node.id for node in nodes)])))
            text = await export_session(session, "jsonl")
            again = await import_session(manager, text)
            assert (await export_session(again, "jsonl")).split("\n")[1:] == text.split("\n")[1:]
            assert replace(again.info, id=session.id, updated_at=session.info.updated_at) == session.info
            assert again.growing == session.growing
            assert list(again.tree) == list(session.tree)

    asyncio.run(run())


def test_pages_cost_what_their_nodes_cost() -> None:
    def seconds(count: int) -> float:
        nodes = chain(*(user(None, f"prompt {number}") for number in range(count)))
        tree = Tree(map(tree_node, nodes))
        begun = time.process_time()
        articles(nodes, tree)
        return time.process_time() - begun

    assert min(seconds(8_000) for _ in range(2)) < 40 * max(0.005, min(seconds(1_000) for _ in range(2)))
