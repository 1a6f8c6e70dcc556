"""Streams of garbage: whatever comes, the readers give lawful events, lose none, and fail only in our error kinds."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from koda_daemon.ai.events import StreamEvent, TextDelta
from koda_daemon.ai.provider import Model
from koda_daemon.ai.providers import ProviderConfig
from koda_daemon.ai.sse import SSEReader
from koda_daemon.ai.wire.anthropic_events import EventReader
from koda_daemon.ai.wire.assembler import Assembler, read_arguments
from koda_daemon.ai.wire.openai_chat_chunks import ChunkReader
from koda_daemon.ai.wire.openai_chat_usage import read_usage
from koda_daemon.base.errors import KodaError
from tests.ai.wire.streams import DONE, call, check_order, delta, sse

MODEL = Model(provider="p", id="m", api="a")
CONFIG = ProviderConfig(id="p", name="P", api="a", base_url="http://x")
READERS = {"chat": ChunkReader, "claude": EventReader}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
odd = json_values | st.sampled_from([{}, [], "x", 0, True, {"type": "text", "text": "t"}, [{"text": "t"}]])
names = st.sampled_from(["content", "reasoning", "reasoning_content", "reasoning_details", "tool_calls", "refusal"])
pieces = st.builds(
    call,
    st.none() | st.integers(0, 2),
    st.none() | st.sampled_from(["a", "b"]),
    st.none() | st.just("read"),
    st.sampled_from(["", "{", "}", "{}"]),
)
chunks = (
    st.builds(
        lambda fields, finish: delta(finish, **fields),
        st.dictionaries(names, odd),
        st.none() | st.sampled_from(["stop", "length", "error"]),
    )
    | st.builds(lambda calls: delta(tool_calls=calls), st.lists(pieces, max_size=3))
    | st.fixed_dictionaries({}, optional={"choices": odd, "usage": odd, "error": odd, "x_groq": odd})
)
kinds = st.sampled_from(["text", "thinking", "tool_use", "redacted_thinking", "server_tool_use"])
blocks = st.builds(
    lambda kind, more: {"type": kind, **more},
    kinds,
    st.dictionaries(st.sampled_from(["text", "thinking", "data", "input", "id", "name", "signature"]), odd),
)
deltas = st.dictionaries(
    st.sampled_from(["type", "text", "thinking", "partial_json", "signature", "stop_reason", "usage"]), odd
)
types = st.sampled_from(
    [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "ping",
        "error",
        "new",
    ]
)
events = st.fixed_dictionaries(
    {"type": types},
    optional={
        "index": st.integers(0, 2) | odd,
        "content_block": blocks | odd,
        "delta": deltas | odd,
        "message": odd,
        "usage": odd,
        "error": odd,
    },
)


def run(kind: str, body: bytes) -> list[StreamEvent]:
    """What the provider does with a body, without the connection."""
    assembler = Assembler(MODEL, "a")
    reader: Any = READERS[kind](assembler)
    stream = SSEReader()
    try:
        for payload in (*stream.feed(body), *stream.close()):
            reader.read(payload)
            if reader.ended:
                break
        if reader.error is not None:
            raise KodaError("provider.overloaded", "x")
        reader.close(CONFIG)
    except KodaError as error:
        assembler.failed(error)
    return assembler.out


@settings(max_examples=150, deadline=None)
@given(st.lists(chunks | odd, max_size=8))
def test_chat_chunks_of_any_shape(values: list[object]) -> None:
    check_order(run("chat", sse(*values, DONE)))


@settings(max_examples=150, deadline=None)
@given(st.lists(events | odd, max_size=10))
def test_claude_events_of_any_shape(values: list[object]) -> None:
    check_order(run("claude", sse(*values)))


@pytest.mark.parametrize("kind", READERS)
@settings(max_examples=60, deadline=None)
@given(body=st.binary(max_size=200))
def test_bytes(kind: str, body: bytes) -> None:
    check_order(run(kind, body))
    check_order(run(kind, b"data: " + body + b"\n\n"))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=6), st.integers(0, 400))
def test_a_cut_stream_keeps_every_whole_event(texts: list[str], cut: int) -> None:
    body = sse(*(delta(content=text) for text in texts))[:cut]
    whole = [
        msgspec.json.decode(line[6:])["choices"][0]["delta"]["content"]
        for line in body.split(b"\n\n")
        if _is_json(line[6:])
    ]
    assert [event.text for event in run("chat", body) if isinstance(event, TextDelta)] == whole


def _is_json(payload: bytes) -> bool:
    try:
        return isinstance(msgspec.json.decode(payload), dict)
    except msgspec.DecodeError:
        return False


@given(st.text(max_size=30) | json_values.map(lambda value: msgspec.json.encode(value).decode()))
def test_arguments_are_a_dict_or_a_problem(text: str) -> None:
    arguments, problem = read_arguments(text)
    assert isinstance(arguments, dict)
    assert problem is None or not arguments
    msgspec.json.encode(arguments)


@given(
    st.dictionaries(
        st.sampled_from(
            ["prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "prompt_tokens_details"]
        ),
        odd,
    )
)
def test_usage_is_never_negative(raw: dict[str, Any]) -> None:
    found = read_usage(raw)
    assert found is None or min(found.input, found.output, found.cache_read, found.cache_write, found.reasoning) >= 0
