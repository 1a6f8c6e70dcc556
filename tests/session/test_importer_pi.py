"""Pi's files, written here by hand after its documentation: no file of anybody is copied."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from koda_daemon.ai.messages import (
    AssistantMessage,
    Cost,
    ImageBlock,
    TextBlock,
    ThinkingBlock,
    ToolCall,
    ToolResultMessage,
    Usage,
    UserMessage,
)
from koda_daemon.base.errors import KodaError
from koda_daemon.session.importer import import_session, parse
from koda_daemon.session.nodes import Node
from koda_daemon.session.window import effective_path
from tests.session.builders import opened

AT = "2025-12-08T22:41:05.306Z"


def file(*entries: dict[str, Any]) -> str:
    return "".join(json.dumps(entry) + "\n" for entry in entries)


def header(version: int | None = 3, **fields: Any) -> dict[str, Any]:
    numbered = {} if version is None else {"version": version}
    return {"type": "session", **numbered, "id": "s", "timestamp": AT, "cwd": "/w", **fields}


def said(role: str, content: Any = "hi", **fields: Any) -> dict[str, Any]:
    return {"type": "message", "timestamp": AT, "message": {"role": role, "content": content, **fields}}


def calls(*ids: str, stop: str = "toolUse", **fields: Any) -> dict[str, Any]:
    blocks = [{"type": "toolCall", "id": each, "name": "read", "arguments": {"path": each}} for each in ids]
    return said("assistant", blocks, provider="p", model="m", api="x", stopReason=stop, **fields)


def answered(call_id: str, text: str = "ok", **fields: Any) -> dict[str, Any]:
    return said("toolResult", [{"type": "text", "text": text}], toolCallId=call_id, toolName="read", **fields)


def tree(*entries: dict[str, Any], version: int = 3) -> str:
    """Entries as (id, parent, entry) with the id's letters; the first word of an entry's ``at`` is "id parent"."""
    linked: list[dict[str, Any]] = []
    for entry in entries:
        id_, _, parent = entry.pop("at").partition("<")
        linked.append({"timestamp": AT, **entry, "id": id_, "parentId": parent or None})
    return file(header(version), *linked)


def at(place: str, entry: dict[str, Any]) -> dict[str, Any]:
    """``"b<a"``: the entry b, child of a."""
    return {**entry, "at": place}


def shape(nodes: list[Node]) -> list[str]:
    return [f"{node.id}<{node.parent_id or ''}" for node in nodes]


def assert_every_call_has_its_result(nodes: list[Node]) -> None:
    children: dict[str | None, list[Node]] = {}
    for node in nodes:
        children.setdefault(node.parent_id, []).append(node)
    waiting: list[tuple[Node, frozenset[str]]] = [(node, frozenset()) for node in children.get(None, [])]
    while waiting:
        node, open_calls = waiting.pop()
        if isinstance(node.message, ToolResultMessage):
            assert node.message.call_id in open_calls
            open_calls -= {node.message.call_id}
        elif node.kind != "note":
            assert not open_calls
        if isinstance(node.message, AssistantMessage):
            open_calls = frozenset(call.call_id for call in node.message.tool_calls)
        below = children.get(node.id, [])
        assert below or not open_calls
        waiting += [(child, open_calls) for child in below]


def test_version_1_is_a_straight_line() -> None:
    text = file(
        header(None, provider="anthropic", modelId="claude", thinkingLevel="off", branchedFrom="/x.jsonl"),
        said("user", "Fix it"),
        {"type": "thinking_level_change", "timestamp": AT, "thinkingLevel": "high"},
        calls("1", "2"),
        answered("1"),
        answered("2", isError=True, details={"lines": 3}),
        {"type": "model_change", "timestamp": AT, "provider": "openai", "modelId": "gpt"},
        said("assistant", "Done.", provider="openai", model="gpt", api="openai-responses", stopReason="stop"),
    )
    imported = parse(text)
    kinds = [node.kind for node in imported.nodes]
    assert kinds == ["user", "assistant", "toolResult", "toolResult", "assistant"]
    assert [node.parent_id for node in imported.nodes] == [None, *(node.id for node in imported.nodes[:-1])]
    assert imported.head_id == imported.nodes[-1].id
    assert (imported.cwd, imported.model, imported.created_at) == ("/w", "openai/gpt", AT)
    second = imported.nodes[3].message
    assert isinstance(second, ToolResultMessage)
    assert (second.status, second.details, second.content) == ("error", {"lines": 3}, (TextBlock("ok"),))
    assert imported.warnings == []


def test_compactions_of_version_1_name_a_line() -> None:
    def compacted(summary: str, index: int) -> dict[str, Any]:
        return {
            "type": "compaction",
            "timestamp": AT,
            "summary": summary,
            "firstKeptEntryIndex": index,
            "tokensBefore": 5,
        }

    text = file(
        header(None),
        said("user", "a"),  # line 1, the header being 0
        said("user", "b"),
        {"type": "model_change", "timestamp": AT, "provider": "p", "modelId": "m"},
        said("user", "c"),
        compacted("one", 3),  # the change of model is no node: the next one is kept
        said("user", "d"),
        compacted("two", 4),
        said("user", "e"),
    )
    nodes = parse(text).nodes
    assert [node.summary or _text(node) for node in effective_path(nodes)] == ["two", "c", "d", "e"]
    assert [node.summary or _text(node) for node in effective_path(nodes[:5])] == ["one", "c", "d"]
    assert nodes[3].details == {"tokensBefore": 5, "readFiles": [], "changedFiles": []}


def _text(node: Node) -> str:
    assert isinstance(node.message, UserMessage)
    block = node.message.content[0]
    assert isinstance(block, TextBlock)
    return block.text


def test_versions_2_and_3_are_trees() -> None:
    text = tree(
        at("a", said("user", "one")),
        at("m<a", {"type": "model_change", "provider": "p", "modelId": "m"}),
        at("b<m", said("assistant", "two", provider="p", model="m", stopReason="stop")),
        at("c<a", said("user", "other way")),
        at("s<a", {"type": "branch_summary", "fromId": "c", "summary": "c was tried"}),
        at("d<s", said("hookMessage", "hook", customType="mine", display=True)),
        at("l<d", {"type": "label", "targetId": "m", "label": "old"}),
        at("k<l", {"type": "label", "targetId": "b", "label": "best"}),
        at("j<k", {"type": "label", "targetId": "m"}),
        at("n<j", {"type": "session_info", "name": "A name"}),
        at("u<n", {"type": "usage", "kind": "x", "provider": "p", "model": "m", "usage": {}}),
        at("x<u", {"type": "custom", "customType": "mine", "data": {}}),
        at("r", said("user", "another root")),
        at("e<x", {"type": "custom_message", "customType": "mine", "content": "in context", "display": False}),
        version=2,
    )
    imported = parse(text)
    assert shape(imported.nodes) == ["a<", "b<a", "c<a", "s<a", "d<s", "r<", "e<d"]
    assert imported.head_id == "e"
    assert {node.id: node.label for node in imported.nodes if node.label} == {"b": "best"}
    assert (imported.title, imported.model) == ("A name", "p/m")
    by_id = {node.id: node for node in imported.nodes}
    assert (by_id["s"].kind, by_id["s"].summary) == ("branchSummary", "c was tried")
    assert (by_id["d"].kind, by_id["d"].details) == ("user", {"customType": "mine"})
    assert by_id["e"].message == UserMessage((TextBlock("in context"),))


@pytest.mark.parametrize(
    ("fields", "seen"),
    [
        ({"firstKeptEntryId": "b"}, "zbc"),
        ({"firstKeptEntryId": "m"}, "zc"),
        ({"firstKeptEntryId": "z"}, "z"),
        ({"firstKeptEntryId": "gone"}, "z"),
        ({}, "z"),
        ({"retainedTail": [{"role": "assistant"}, {"role": "user"}]}, "zbc"),
        ({"retainedTail": [{}] * 9}, "z"),
    ],
)
def test_compactions_of_version_3_name_an_entry(fields: dict[str, Any], seen: str) -> None:
    text = tree(
        at("a", said("user")),
        at("b<a", said("assistant", "x", stopReason="stop")),
        at("m<b", {"type": "model_change", "provider": "p", "modelId": "m"}),
        at("c<m", said("user")),
        at(
            "z<c",
            {"type": "compaction", "summary": "s", "tokensBefore": 9, "details": {"modifiedFiles": ["f"]}, **fields},
        ),
    )
    nodes = parse(text).nodes
    assert "".join(node.id for node in effective_path(nodes)) == seen
    assert nodes[-1].details == {"tokensBefore": 9, "readFiles": [], "changedFiles": ["f"]}


def test_messages_keep_what_they_hold() -> None:
    usage = {
        "input": 10,
        "output": 5,
        "cacheRead": 3,
        "cacheWrite": 2,
        "totalTokens": 20,
        "cost": {"input": 0.1, "output": 0.2, "cacheRead": 0.3, "cacheWrite": 0.4, "total": 1.0},
    }
    blocks = [
        {"type": "thinking", "thinking": "hm", "thinkingSignature": "sig"},
        {"type": "thinking", "thinking": "", "thinkingSignature": "secret", "redacted": True},
        {"type": "text", "text": "I look."},
        {"type": "toolCall", "id": "call_1|fc_2", "name": "bash", "arguments": {"command": "ls"}},
    ]
    named = {"provider": "anthropic", "model": "claude", "usage": usage, "stopReason": "toolUse"}
    picture = [{"type": "image", "data": "AAAA", "mimeType": "image/png"}]
    attachment = {"type": "image", "mimeType": "image/gif", "content": "BBBB", "fileName": "x.gif"}
    nodes = parse(
        file(
            header(None),
            said("user", picture, attachments=[attachment]),
            said("assistant", blocks, api="anthropic-messages", **named),
            answered("call_1|fc_2"),
            said(
                "assistant",
                blocks[:2],
                api="openai-responses",
                **{**named, "stopReason": "aborted"},
                errorMessage="stop",
            ),
        )
    ).nodes
    assert nodes[0].message == UserMessage((ImageBlock("image/png", data="AAAA"), ImageBlock("image/gif", data="BBBB")))
    assert nodes[1].message == AssistantMessage(
        content=(
            ThinkingBlock("hm", "sig"),
            ThinkingBlock("", "secret", redacted=True),
            TextBlock("I look."),
            ToolCall("call_1", "bash", {"command": "ls"}),
        ),
        model="anthropic/claude",
        api="anthropic-messages",
        stop_reason="toolUse",
        usage=Usage(10, 5, 3, 2, 0, Cost(0.1, 0.2, 0.3, 0.4, 1.0)),
    )
    last = nodes[3].message
    assert isinstance(last, AssistantMessage)
    # A signature in Pi's own wrapping is no provider's signature.
    assert (last.content, last.stop_reason, last.error) == ((ThinkingBlock("hm"),), "cancelled", "stop")


def test_a_users_own_commands_are_in_the_context_unless_excluded() -> None:
    run = {"command": "ls", "output": "a\n", "exitCode": 2, "cancelled": False, "truncated": True}
    nodes = parse(
        file(header(None), said("bashExecution", **run), said("bashExecution", **run, excludeFromContext=True))
    ).nodes
    assert [node.kind for node in nodes] == ["user", "note"]
    assert _text(nodes[0]) == "I ran `ls`:\n```\na\n```\nIt ended with exit code 2.\nThe output was cut."


def test_calls_without_results_get_one_on_every_branch() -> None:
    text = tree(
        at("a", said("user")),
        at("b<a", calls("1", "2", stop="aborted")),
        at("r<b", answered("1")),
        at("c<r", said("user", "go on")),
        at("d<r", said("user", "another way")),
        at("e<b", said("user", "a third")),
        at("f<d", calls("3")),
    )
    imported = parse(text)
    assert_every_call_has_its_result(imported.nodes)
    by_id = {node.id: node for node in imported.nodes}
    assert by_id["c"].parent_id == by_id["d"].parent_id not in ("r", None)
    made_up = [node for node in imported.nodes if node.details == {"repaired": True}]
    assert len(made_up) == 4
    assert all(isinstance(n.message, ToolResultMessage) and n.message.status == "cancelled" for n in made_up)
    assert imported.head_id == made_up[-1].id
    assert len(imported.warnings) == 1


def test_a_result_without_its_call_becomes_a_note() -> None:
    imported = parse(tree(at("a", said("user")), at("b<a", answered("9", "lost")), at("c<b", said("user"))))
    assert shape(imported.nodes) == ["a<", "b<a", "c<b"]
    assert (imported.nodes[1].kind, "lost" in (imported.nodes[1].summary or "")) == ("note", True)


def test_context_edits_change_what_the_model_sees() -> None:
    def edit(target: str, replacement: Any) -> dict[str, Any]:
        return {"type": "context_edit", "targetId": target, "replacement": replacement}

    nodes = parse(
        tree(
            at("a", said("user", "long")),
            at("b<a", said("user", "wrong")),
            at("c<b", said("user", "keep")),
            at("x<c", edit("a", None)),
            at("y<x", edit("b", {"role": "user", "content": [{"type": "text", "text": "right"}]})),
            at("z<y", edit("nobody", None)),
        )
    ).nodes
    assert [_text(node) for node in effective_path(nodes)] == ["right", "keep"]


def test_damaged_files_are_read_as_far_as_they_go() -> None:
    whole = tree(at("a", said("user", "one")), at("b<a", said("user", "x" * 200_000)), at("c<b", said("user")))
    lines = whole.split("\n")
    cut = parse("\r\n".join([*lines[:3], lines[3][:30]]))
    assert shape(cut.nodes) == ["a<", "b<a"]
    assert cut.head_id == "b"
    assert len(cut.warnings) == 1
    # A line is lost in the middle: what hung on it stays behind the one before.
    assert shape(parse("\n".join([lines[0], lines[1], lines[3]])).nodes) == ["a<", "c<a"]
    # The header is lost.
    assert len(parse("\n".join(lines[1:])).nodes) == 3
    # An id is used twice.
    double = tree(at("a", said("user")), at("a", said("user")), at("b<a", said("user")))
    nodes = parse(double).nodes
    assert len({node.id for node in nodes}) == 3
    assert nodes[2].parent_id == nodes[1].id


def test_line_separators_inside_of_strings_end_no_line() -> None:
    entry = json.dumps(said("user", "a\u2028b\x85c"), ensure_ascii=False)
    imported = parse(
        json.dumps(header(None)) + "\n" + entry + '\n{"type":"message","message":{"role":"user","content":"\\ud83d"}}'
    )
    assert [_text(node) for node in imported.nodes] == ["a\u2028b\x85c", "\ud83d"]
    assert imported.warnings == []


@pytest.mark.asyncio
async def test_an_imported_session_goes_on() -> None:
    async with opened() as manager:
        text = tree(at("a", said("user", "half \ud83d")), at("b<a", calls("1")))
        session = await import_session(manager, text, cwd="/here")
        assert (session.cwd, session.model, len(session.tree)) == ("/here", "p/m", 3)
        assert [hit.node_id for hit in await manager.search("half")] == ["a"]
        with pytest.raises(KodaError, match="folder"):
            await import_session(manager, file({"type": "message", "message": {"role": "user", "content": "x"}}))
        assert len((await manager.list())[0]) == 1


# With halves of surrogate pairs, as JavaScript writes them.
texts = st.text(st.characters() | st.sampled_from("\ud800\udc00"), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "text", "id", "x"]), inner),
    max_leaves=6,
)
messages = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "toolResult", "bashExecution", "custom", "branchSummary"]) | values},
    optional={
        "content": values
        | st.lists(st.builds(lambda n: {"type": "toolCall", "id": n, "name": "t"}, st.sampled_from("123"))),
        "toolCallId": st.sampled_from("123") | values,
        "usage": values | st.dictionaries(st.sampled_from(["input", "cost"]), values),
        "stopReason": values,
        "api": values,
        "details": values,
        "attachments": values,
    },
)
entries = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["message", "compaction", "label", "context_edit", "branch_summary", "session_info"])
        | values
    },
    optional={
        "id": st.sampled_from("abcdef") | values,
        "parentId": st.sampled_from("abcdef") | values,
        "targetId": st.sampled_from("abcdef") | values,
        "firstKeptEntryId": st.sampled_from("abcdef") | values,
        "firstKeptEntryIndex": st.integers(0, 8) | values,
        "retainedTail": values,
        "message": messages | values,
        "timestamp": values,
        "summary": values,
        "label": values,
        "name": values,
        "replacement": values,
        "tokensBefore": values,
        "details": values,
    },
)


@given(st.sampled_from([None, 2, 3]), st.lists(entries, max_size=12), st.integers(0, 200))
@settings(max_examples=150, suppress_health_check=list(HealthCheck))
def test_whatever_a_file_holds_gives_a_sound_tree(version: int | None, lines: list[dict[str, Any]], cut: int) -> None:
    text = file(header(version), *lines)
    imported = parse(text[: max(120, len(text) - cut)])
    assert_every_call_has_its_result(imported.nodes)
    effective_path(imported.nodes)


@given(st.lists(st.sampled_from([None, 2, 3]), min_size=1), st.lists(entries, max_size=30))
@settings(max_examples=15, suppress_health_check=list(HealthCheck))
def test_whatever_a_file_holds_can_be_stored(versions: list[int | None], lines: list[dict[str, Any]]) -> None:
    async def run() -> None:
        async with opened() as manager:
            session = await import_session(manager, file(header(versions[0]), *lines))
            assert session.head_id is None or session.head_id in session.tree
            await session.path()

    asyncio.run(run())


def test_entries_may_come_before_their_parents() -> None:
    imported = parse(
        tree(
            at("c<b", said("user", "3")),
            at("b<a", said("user", "2")),
            at("a", said("user", "1")),
            at("d<c", {"type": "custom", "customType": "x"}),
        )
    )
    assert shape(imported.nodes) == ["a<", "b<a", "c<b"]
    assert imported.head_id == "c"


def test_circles_are_cut_open_and_the_missing_replaced() -> None:
    lines = (at("a", said("user")), at("b<d", said("user")), at("c<b", said("user")), at("d<c", said("user")))
    imported = parse(tree(*lines, at("e<gone", said("user")), at("f<f", said("user"))))
    by_id = {node.id: node.parent_id for node in imported.nodes}
    assert by_id == {"a": None, "b": "a", "c": "b", "d": "c", "e": "d", "f": "e"}
    assert imported.head_id == "f"
    assert sum("its own ancestor" in each for each in imported.warnings) == 2
    assert sum("missing" in each for each in imported.warnings) == 1


def test_an_id_that_comes_twice_means_the_last_one_before() -> None:
    imported = parse(
        tree(
            at("a", said("user", "1")),
            at("b<a", said("user", "2")),
            at("b<a", said("user", "3")),
            at("c<b", said("user")),
        )
    )
    by_text = {_text(node): node for node in imported.nodes[:3]}
    assert imported.nodes[3].parent_id == by_text["3"].id != "b"


def test_a_file_may_lack_its_header_or_its_version() -> None:
    parents = {"a": None, "b": "a", "c": "a"}
    lines = [{**said("user", f"text {id_}"), "id": id_, "parentId": parent} for id_, parent in parents.items()]
    for head in ((), ({"type": "title", "title": "x"}, header(None)), (header(None),)):
        imported = parse(file(*head, *lines))
        assert shape(imported.nodes) == ["a<", "b<a", "c<a"], head
        assert imported.title == "text a", "of the first prompt, where there is no name"


def test_a_branch_summary_remembers_what_was_left() -> None:
    left = {"type": "branch_summary", "summary": "s", "fromId": "b", "details": {"modifiedFiles": ["f"]}}
    imported = parse(tree(at("a", said("user")), at("b<a", said("user")), at("s<a", left)))
    assert imported.nodes[-1].details == {"readFiles": [], "changedFiles": ["f"], "fromId": "b"}
