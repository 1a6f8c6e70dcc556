"""The readable spec names everything, and its examples are what they say they are."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pytest

from koda_daemon.coding.settings import Settings
from koda_daemon.server.protocol.decode import decoder
from koda_daemon.server.protocol.errors import ERROR_CODES
from koda_daemon.server.protocol.generate import schema
from koda_daemon.server.protocol.methods import EVENTS, METHODS, NOTIFICATIONS

README = (Path(__file__).parents[3] / "protocol" / "README.md").read_text(encoding="utf-8")
SCHEMA = schema()
CONTEXT = ("type", "sessionId", "seq", "agent")

SAYING = re.compile(r"^([→←]) (?:([\w/]+) )?(?=\{)", re.MULTILINE)


def sayings() -> list[tuple[str, str, Any]]:
    """(arrow, method or nothing, JSON) of every example."""
    found = []
    for block in re.findall(r"^```koda\n(.*?)^```", README, re.MULTILINE | re.DOTALL):
        heads = list(SAYING.finditer(block))
        ends = [head.start() for head in heads[1:]] + [len(block)]
        found += [
            (head[1], head[2] or "", json.loads(block[head.end() : end])) for head, end in zip(heads, ends, strict=True)
        ]
    return found


@cache
def validator(reference: str) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(json.loads(reference) | {"$defs": SCHEMA["$defs"]})


def check(value: Any, reference: dict[str, Any]) -> None:
    validator(json.dumps(reference)).validate(value)


def test_examples_are_valid() -> None:
    last = ""
    for arrow, method, value in sayings():
        if method == "error":
            check(value, SCHEMA["errors"][value["data"]["kind"]]["error"])
            assert value["code"] == ERROR_CODES[value["data"]["kind"]]
        elif method == "initialize" or (not method and last == "initialize"):
            name = "client" if method else "server"
            check(value["capabilities"]["experimental"]["koda"], SCHEMA["capabilities"][name])
        elif method in NOTIFICATIONS:
            check(value, SCHEMA["notifications"][method]["params"])
        elif method:
            assert SCHEMA["methods"][method]["direction"] == ("toDaemon" if arrow == "→" else "toClient")
            check(value, SCHEMA["methods"][method]["params"])
            if arrow == "→":
                decoder(method, True)(msgspec.json.encode(value))
        else:
            check(value, SCHEMA["methods"][last]["result"])
            assert_known(value, SCHEMA["methods"][last]["result"])
        last = method or last


def assert_known(value: dict[str, Any], result: dict[str, Any]) -> None:
    """No example shows a field that is not there."""
    names = [ref["$ref"].rpartition("/")[2] for ref in result.get("anyOf", [result]) if "$ref" in ref]
    known = {field for name in names for field in SCHEMA["$defs"][name]["properties"]}
    assert not names or value.keys() <= known


def test_everything_has_an_example() -> None:
    said = sayings()
    methods = {method for _, method, _ in said}
    assert METHODS.keys() - methods == set()
    assert NOTIFICATIONS.keys() - methods == set()
    assert EVENTS.keys() - {value["type"] for _, method, value in said if method == "koda/event"} == set()


def test_events_of_the_example_are_gapless() -> None:
    events = [value for _, method, value in sayings() if method == "koda/event"]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))


def shape(item: dict[str, Any]) -> str:
    if "anyOf" in item:
        return " or ".join(map(shape, item["anyOf"]))
    if item == {"type": "null"}:
        return "`null`"
    if "$ref" not in item:
        return "`{…}`"
    made = SCHEMA["$defs"][item["$ref"].rpartition("/")[2]]
    return "`{" + ", ".join(name if name in made["required"] else f"{name}?" for name in made["properties"]) + "}`"


@pytest.mark.parametrize("method", METHODS)
def test_tables_of_requests_are_current(method: str) -> None:
    item = SCHEMA["methods"][method]
    assert f"| `{method}` | {shape(item['params'])} | {shape(item['result'])} |" in README


def event_rows() -> dict[str, set[str]]:
    rows: dict[str, set[str]] = {}
    for types, fields in re.findall(r"^\| ((?:`[a-z]+(?:\.\w+)?` ?)+) \| `([\w?, ]+)` \|", README, re.MULTILINE):
        for name in re.findall(r"`([\w.]+)`", types):
            rows[name] = set(fields.split(", "))
    return rows


@pytest.mark.parametrize("name", EVENTS)
def test_table_of_events_is_current(name: str) -> None:
    made = SCHEMA["$defs"][EVENTS[name].__name__]
    optional_context = {"turnId", "nodeId"} - set(made["required"])
    fields = [field for field in made["properties"] if field not in {*CONTEXT, *optional_context}]
    row = event_rows()[name] - {f"{field}?" for field in optional_context}
    assert row == {field if field in made["required"] else f"{field}?" for field in fields}


def test_table_of_errors_is_current() -> None:
    rows = dict(re.findall(r"^\| `([\w.]+)` \| (-\d+) \|", README, re.MULTILINE))
    assert {kind: int(code) for kind, code in rows.items()} == ERROR_CODES


def test_links_lead_somewhere() -> None:
    anchors = {heading.lower().replace(" ", "-") for heading in re.findall(r"^###? (.+)$", README, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([\w-]+)\)", README)) <= anchors
    for file in re.findall(r"\]\(([\w./-]+)\)", README):
        assert (Path(__file__).parents[3] / "protocol" / file).exists()


def test_the_example_of_settings_is_valid() -> None:
    (block,) = re.findall(r"^```json\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    msgspec.json.decode(block, type=Settings)


def test_the_python_client_is_python() -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    compile(block, "README.md", "exec")
