"""The drawing of a tree."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from koda_daemon.cli.style import Style, columns
from koda_daemon.cli.tree import draw_tree


def node(id_: str, parent: str | None, kind: str = "assistant", **rest: Any) -> dict[str, Any]:
    return {"id": id_, "parentId": parent, "kind": kind, "preview": f"says {id_}", **rest}


TURN = [
    node("a1", None, "user"),
    node("a2", "a1"),
    node("a3", "a2", "toolResult"),
    node("a4", "a3"),
]


def drawn(nodes: list[dict[str, Any]], head: str | None = None, *, whole: bool = False) -> list[str]:
    return draw_tree(nodes, head, Style(), width=80, whole=whole)


def test_a_conversation_goes_straight_down() -> None:
    assert drawn([*TURN, node("b1", "a4", "user"), node("b2", "b1")], "b2") == [
        "you   a1 says a1",
        "⋮ 2 more steps",
        "koda  a4 says a4",
        "you   b1 says b1",
        "koda  b2 says b2 ◀ head",
    ]


def test_all_steps() -> None:
    assert len(drawn(TURN, whole=True)) == 4


def test_heads_labels_and_forks_are_never_left_out() -> None:
    labelled = [TURN[0], TURN[1] | {"label": "here"}, *TURN[2:]]
    assert drawn(labelled, "a3") == [
        "you   a1 says a1",
        "koda  a2 says a2 [here]",
        "tool  a3 says a3 ◀ head",
        "koda  a4 says a4",
    ]


def test_branches() -> None:
    nodes = [
        *TURN,
        node("b1", "a2", "user"),
        node("b2", "b1"),
        node("c1", "b1"),
        node("d1", None, "user"),
    ]
    assert drawn(nodes, "c1") == [
        "you   a1 says a1",
        "koda  a2 says a2",
        "├─ tool  a3 says a3",
        "│  koda  a4 says a4",
        "└─ you   b1 says b1",
        "   ├─ koda  b2 says b2",
        "   └─ koda  c1 says c1 ◀ head",
        "you   d1 says d1",
    ]


def test_a_part_of_a_tree_can_be_drawn() -> None:
    assert drawn([node("x", "not here"), node("y", "x")]) == ["koda  x says x", "koda  y says y"]
    assert drawn([]) == []


def test_a_long_conversation() -> None:
    nodes = [node(f"{number:05}", f"{number - 1:05}" if number else None, "user") for number in range(10_000)]
    assert len(drawn(nodes)) == 10_000


@given(st.lists(st.integers(0, 30), max_size=30), st.booleans())
def test_every_node_is_shown_or_counted(parents: list[int], whole: bool) -> None:
    kinds = ("user", "assistant", "toolResult")
    nodes = [
        node(f"n{place:02}", f"n{parent % place:02}" if place and parent else None, kinds[parent % 3])
        for place, parent in enumerate(parents)
    ]
    lines = drawn(nodes, whole=whole)
    counted = sum(int(line.split("⋮ ")[1].split()[0]) for line in lines if "⋮" in line)
    assert sum("says" in line for line in lines) + counted == len(nodes)


def test_lines_fit_whatever_they_hold() -> None:
    nodes = [node("r", None, "user", preview="漢字 " * 80)]
    for number in range(60):  # forks of forks
        parent = nodes[-1]["id"]
        nodes += [
            node(f"a{number:04}", parent, "user", preview="e\u0301" * 200),
            node(f"b{number:04}", parent, "user", preview="🎉" * 100, label="很" * 30),
        ]
    for style in (Style(), Style(unicode=False)):
        lines = draw_tree(nodes, "b0059", style, width=80)
        assert len(lines) == len(nodes)
        assert max(map(columns, lines)) <= 80
        assert lines[0].endswith("漢字 …")
