"""Which state of the files belongs to which node."""

from __future__ import annotations

from koda_daemon.host.changes_map import leaving, segments, state_at, turns_of
from koda_daemon.session.nodes import NodeKind, TreeNode, TurnFiles, TurnRecord
from koda_daemon.session.tree import Tree


def tree_of(*rows: tuple[str, str | None, NodeKind, str | None]) -> Tree:
    """Rows of id, parent, kind and turn."""
    return Tree(
        TreeNode(id=id_, parent_id=parent, kind=kind, preview="", created_at="", turn_id=turn)
        for id_, parent, kind, turn in rows
    )


def turn(turn_id: str, files: TurnFiles | None = None) -> TurnRecord:
    return TurnRecord(turn_id=turn_id, status="ended", model="m", created_at="", files=files)


TALK_AND_WORK = tree_of(
    ("u1", None, "user", "talk"),
    ("a1", "u1", "assistant", "talk"),
    ("u2", "a1", "user", "work"),
    ("a2", "u2", "assistant", "work"),
    ("r1", "a2", "toolResult", "work"),
    ("r2", "r1", "toolResult", "work"),
    ("a3", "r2", "assistant", "work"),
    ("r3", "a3", "toolResult", "work"),
    ("a4", "r3", "assistant", "work"),
    ("u3", "a4", "user", "later"),
    ("a5", "u3", "assistant", "later"),
)
WORK = TurnFiles(before="B", after="D", nodes={"r2": "C", "r3": "D", "a4": "D"})
TURNS = {each.turn_id: each for each in (turn("talk"), turn("work", WORK), turn("later", TurnFiles(known="D")))}


def test_every_node_has_the_state_of_its_moment() -> None:
    expected = {
        None: "B",
        "u1": "B",
        "a1": "B",
        "u2": "B",
        "a2": "B",
        "r1": "C",
        "r2": "C",
        "a3": "C",
        "r3": "D",
        "a4": "D",
        "u3": "D",
        "a5": "D",
    }
    assert {node: state_at(TALK_AND_WORK, TURNS, node) for node in expected} == expected


def test_nothing_is_known_where_nothing_was_recorded() -> None:
    assert state_at(TALK_AND_WORK, {}, "a5") is None
    assert state_at(TALK_AND_WORK, {"talk": turn("talk")}, None) is None


def test_a_failed_record_leaves_what_was_known() -> None:
    turns = {**TURNS, "work": turn("work", TurnFiles(known="A", failed="no git"))}
    assert state_at(TALK_AND_WORK, turns, "a4") == "A"


def test_what_leaves_the_path() -> None:
    assert leaving(TALK_AND_WORK, "u3", "a2") == ["r1", "r2", "a3", "r3", "a4", "u3"]
    assert leaving(TALK_AND_WORK, "a1", "u3") == []
    assert leaving(TALK_AND_WORK, "a1", None) == ["u1", "a1"]
    assert [each.turn_id for each in turns_of(TALK_AND_WORK, TURNS, ["a1", "u2", "r1", "u3"])] == [
        "talk",
        "work",
        "later",
    ]


def test_turns_that_follow_each_other_are_one_change() -> None:
    def files(before: str, after: str | None) -> TurnRecord:
        return turn(before, TurnFiles(before=before, after=after))

    assert segments([files("A", "B"), turn("x"), files("B", "C"), files("D", "E"), files("F", None)]) == [
        ("A", "C"),
        ("D", "E"),
    ]
