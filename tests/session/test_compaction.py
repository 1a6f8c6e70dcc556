from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from koda_daemon.ai.messages import AssistantMessage, TextBlock, ThinkingBlock, ToolResultMessage, UserMessage
from koda_daemon.session.compaction import (
    Cut,
    branch_summary_prompt,
    choose_cut,
    compaction_node,
    record_of,
    summary_prompt,
    touched_files,
)
from koda_daemon.session.nodes import Node
from koda_daemon.session.tokens import node_tokens
from koda_daemon.session.window import effective_path, messages_of
from tests.ai.test_handoff import TARGETS, sent
from tests.session.builders import assistant, call, chain, compaction, result, user


def ids(nodes: Any) -> str:
    return "".join(node.id for node in nodes)


def sized(node: Node, tokens: int) -> Node:
    """The user node or answer with a text that makes its estimate ``tokens``."""
    text = "x" * 4 * (tokens - node_tokens(node))
    return user(None, text, id=node.id) if node.kind == "user" else assistant(None, text, id=node.id)


def turn(name: str, tokens: int = 100) -> list[Node]:
    """A prompt (upper case) and its answer (lower case)."""
    half = tokens // 2
    return [sized(user(None, "", id=name.upper()), half), sized(assistant(None, "", id=name), half)]


def cut_of(path: list[Node], keep: int) -> Cut:
    cut = choose_cut(path, keep)
    assert cut is not None
    return cut


def test_the_newest_turns_that_fit_stay_whole() -> None:
    path = chain(*turn("a"), *turn("b"), *turn("c"))
    assert ids(cut_of(path, 210).kept) == "BbCc"
    assert ids(cut_of(path, 199).kept) == "Cc"
    assert ids(cut_of(path, 100).summarized) == "AaBb"
    assert cut_of(path, 100).first_kept_id == "C"
    assert choose_cut(path, 1000) is None
    assert choose_cut([], 10) is None


def test_a_ratio_makes_nodes_larger() -> None:
    path = chain(*turn("a"), *turn("b"))
    assert choose_cut(path, 200) is None
    cut = choose_cut(path, 200, ratio=1.5)
    assert cut is not None
    assert ids(cut.kept) == "Bb"


def test_zero_keeps_nothing() -> None:
    cut = cut_of(chain(*turn("a"), *turn("b")), 0)
    assert (ids(cut.summarized), ids(cut.kept), cut.first_kept_id) == ("AaBb", "", None)


def test_a_turn_that_is_too_big_is_cut_before_an_answer() -> None:
    path = chain(
        *turn("a"),
        user(None, id="B"),
        assistant(None, call("1"), id="1"),
        result(None, "1", "x" * 4000, id="r"),
        assistant(None, call("2"), id="2"),
        result(None, "2", "x" * 400, id="s"),
    )
    assert ids(cut_of(path, 200).kept) == "2s"
    # Even when it is too big, the last call stays with its result.
    assert ids(cut_of(path, 20).kept) == "2s"
    assert ids(cut_of(path, 0).kept) == ""


def test_calls_that_still_run_stay() -> None:
    path = chain(
        user(None, id="A"), assistant(None, call("1"), call("2"), id="a"), result(None, "1", "x" * 4000, id="r")
    )
    for keep in (0, 10, 100):
        assert ids(cut_of(path, keep).kept) == "ar"
    # Calls that a cancelled turn left behind do not.
    assert ids(cut_of(chain(*path, user(None, id="B")), 10).kept) == "B"


def test_a_prompt_that_is_not_answered_yet_stays() -> None:
    path = chain(user(None, "first"), assistant(None, "done"), user(None, "and now this"))
    for keep in (0, 1, 10_000):
        cut = choose_cut(path, keep)
        assert cut is None or cut.kept[-1] == path[-1]
    cut = choose_cut(path, 0)
    assert cut is not None
    assert cut.kept == (path[-1],)
    assert choose_cut(path[:1], 0) is None


def test_a_prompt_sent_into_a_turn_does_not_begin_one() -> None:
    path = [replace(node, turn_id="t") for node in chain(*turn("a"), *turn("b"))]
    assert ids(cut_of(path, 150).kept) == "aBb"
    assert ids(cut_of([*path[:2], *(replace(node, turn_id="u") for node in path[2:])], 150).kept) == "Bb"


def test_a_second_compaction_builds_on_the_first() -> None:
    first = compaction(None, "one", "B", id="1", details={"readFiles": ["r.py", "x.py"], "changedFiles": ["c.py"]})
    path = chain(
        *turn("a"),
        *turn("b"),
        first,
        user(None, id="C"),
        assistant(None, call("1", "edit", {"path": "x.py"}), id="c"),
        result(None, "1", id="r"),
        *turn("d"),
    )
    cut = cut_of(path, 110)
    assert (cut.previous, ids(cut.summarized), ids(cut.kept)) == ("one", "BbCcr", "Dd")
    assert (cut.read, cut.changed) == (("r.py",), ("c.py", "x.py"))
    second = compaction_node("d", "two", cut, tokens_before=500)
    assert second.details == {"tokensBefore": 500, "readFiles": ["r.py"], "changedFiles": ["c.py", "x.py"]}
    assert second.summary == "two\n\n## Files changed\n- c.py\n- x.py\n\n## Files read\n- r.py"
    assert ids(effective_path([*path, second])) == f"{second.id}Dd"


histories = st.lists(
    st.tuples(st.sampled_from(["user", "answer", "calls", "compaction"]), st.integers(1, 300), st.integers(0, 3)),
    min_size=1,
    max_size=25,
)


def history(steps: list[tuple[str, int, int]]) -> list[Node]:
    nodes: list[Node] = []
    for i, (kind, size, count) in enumerate(steps):
        text = "x" * size
        match kind:
            case "user":
                nodes.append(user(None, text))
            case "answer":
                nodes.append(assistant(None, text))
            case "compaction":
                nodes.append(compaction(None, text, nodes[-1].id if nodes and nodes[-1].kind == "user" else None))
            case _:
                nodes.append(assistant(None, *(call(f"{i}.{n}") for n in range(count + 1))))
                nodes += [result(None, f"{i}.{n}", text) for n in range(count + size % 2)]
    return chain(*nodes)


@given(histories, st.integers(0, 500))
def test_a_cut_parts_no_call_from_its_result_and_loses_nothing(steps: list[tuple[str, int, int]], keep: int) -> None:
    path = history(steps)
    window = [node for node in effective_path(path) if node.kind != "compaction"]
    cut = choose_cut(path, keep)
    if cut is None:
        return
    assert [*cut.summarized, *cut.kept] == window
    assert cut.summarized
    calls = {call.call_id for node in cut.summarized for call in _calls(node)}
    assert not calls & {node.message.call_id for node in cut.kept if isinstance(node.message, ToolResultMessage)}
    after = effective_path([*path, compaction_node(path[-1].id, "s", cut, tokens_before=1)])
    assert after[1:] == list(cut.kept)


@given(histories, st.integers(1, 500))
def test_what_is_kept_fits_or_cannot_be_cut_again(steps: list[tuple[str, int, int]], keep: int) -> None:
    cut = choose_cut(history(steps), keep)
    if cut is not None:
        assert sum(map(node_tokens, cut.kept)) <= keep or choose_cut(cut.kept, 1) is None


def _calls(node: Node) -> list[Any]:
    return node.message.tool_calls if isinstance(node.message, AssistantMessage) else []


def test_files_are_read_off_the_good_calls() -> None:
    path = chain(
        assistant(
            None,
            call("1", "read", {"path": "a"}),
            call("2", "read", {"path": "b"}),
            call("3", "write", {"path": "b"}),
            call("4", "edit", {"path": "bad"}),
            call("5", "read", {}),
            call("6", "bash", {"path": "c"}),
        ),
        *(result(None, n, status="error" if n == "4" else "ok") for n in "123456"),
        result(None, "7"),
    )
    assert touched_files(path) == (("a",), ("b",))


def test_the_prompt_has_the_record_the_previous_summary_and_the_wishes() -> None:
    path = chain(
        compaction(None, "OLD SUMMARY"),
        user(None, "PLEASE FIX"),
        assistant(None, ThinkingBlock("SECRET THOUGHT"), "LOOKING", call("1", "bash", {"command": "make"})),
        result(None, "1", "OUTPUT" + "x" * 10_000 + "END", status="error"),
        assistant(None, stop="error", error="BROKEN"),
        user(None, "LATER"),
    )
    cut = cut_of(path, 20)
    prompt = summary_prompt(cut, instructions="KEEP THE NAMES")
    order = ("OLD SUMMARY", "PLEASE FIX", "LOOKING", "calls bash", "make", "OUTPUT", "END", "BROKEN", "## Goal", "KEEP")
    places = [prompt.index(each) for each in order]
    assert all(a < b for a, b in pairwise(places))
    for heading in ("Constraints", "Decisions", "Progress"):
        assert f"## {heading}" in prompt
    assert "SECRET THOUGHT" not in prompt
    assert "LATER" not in prompt
    assert "error" in prompt
    assert len(prompt) < 8_000
    assert "previous summary" not in summary_prompt(cut_of(chain(*turn("a"), *turn("b")), 100)).lower()


@pytest.mark.parametrize("limit", [1_000, 5_000, 100_000])
def test_a_record_keeps_to_its_limit(limit: int) -> None:
    nodes = chain(*(result(None, str(i), "y" * 3_000) for i in range(100)))
    assert len(record_of(nodes, limit)) <= limit + 100
    assert len(branch_summary_prompt(nodes, limit=limit)) <= limit + 600


def test_ids_that_come_again_bind_a_call_to_its_own_result() -> None:
    path = chain(
        *(node for _ in range(4) for node in (user(None), assistant(None, call("call_0")), result(None, "call_0")))
    )
    cut = choose_cut(path, 60)
    assert cut is not None
    assert [node.kind for node in cut.kept][:1] == ["user"]
    assert 0 < len(cut.kept) < len(path)


@given(histories, st.lists(st.integers(0, 400), min_size=1, max_size=4), st.sampled_from(sorted(TARGETS)))
@settings(max_examples=200, deadline=None)
def test_compacted_windows_are_lawful_and_small_for_every_wire_api(
    steps: list[tuple[str, int, int]], keeps: list[int], target: str
) -> None:
    """Compactions on compactions, at every place of a history: each window is what the wire API takes."""
    path: list[Node] = []
    parts = [history(steps[i::4]) for i in range(4)]
    for part, keep in zip(parts, keeps * 4, strict=False):
        path = chain(*path, *part)
        cut = choose_cut(path, keep)
        if cut is not None:
            path.append(compaction_node(path[-1].id, "Summary.", cut, tokens_before=1))
            window = effective_path(path)
            kept = sum(map(node_tokens, window[1:]))
            assert kept <= keep or choose_cut(window[1:], 1) is None
        messages = [*messages_of(effective_path(path)), UserMessage((TextBlock("Go on"),))]
        assert TARGETS[target](msgspec.json.decode(sent(target, messages))) == []
