"""Good streams of every wire API, then one field of any depth replaced, garbage put in, cut anywhere, in any chunks.

Whatever comes: events in lawful order, failures of our kinds only, and every text that came whole before the damage.
"""

from __future__ import annotations

import copy
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import anyio
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from koda_daemon.ai.errors import classify
from koda_daemon.ai.events import Done, StreamError, StreamEvent, TextDelta
from koda_daemon.ai.http import Answer
from koda_daemon.ai.wire.assembler import Assembler
from koda_daemon.ai.wire.bedrock_converse import _events as bedrock_payloads
from koda_daemon.ai.wire.google_generative_ai import _elements as array_payloads
from koda_daemon.base.errors import KodaError
from tests.ai.wire import frames
from tests.ai.wire.streams import DONE, call, check_order, delta
from tests.ai.wire.test_dialects import WHOLE, part, piece
from tests.ai.wire.test_fuzz import CONFIG, MODEL, odd
from tests.ai.wire.test_fuzz import READERS as SOME
from tests.ai.wire.test_google import chunk
from tests.ai.wire.test_responses_fuzz import READERS as OTHERS

READERS: dict[str, Any] = {**SOME, **OTHERS}
USAGE = {"input_tokens": 5, "output_tokens": 3, "output_tokens_details": {"reasoning_tokens": 1}}
ITEM = {"type": "function_call", "id": "f", "call_id": "c", "name": "read", "arguments": '{"path":"x"}'}
TEXTS = ["One ", "two ", "thrée."]


def _chat() -> list[Any]:
    return [
        delta(reasoning_content="Hm.", reasoning_details=[{"type": "reasoning.text", "text": "Hm.", "index": 0}]),
        *(delta(content=text) for text in TEXTS),
        delta(tool_calls=[call(0, "a", "read", '{"path":')]),
        delta("tool_calls", tool_calls=[call(0, None, None, '"x"}')]),
        {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 3, "prompt_tokens_details": {}}},
    ]


def _claude() -> list[Any]:
    def block(index: int, begun: dict[str, Any], *pieces: dict[str, Any]) -> list[Any]:
        start = {"type": "content_block_start", "index": index, "content_block": begun}
        deltas = [{"type": "content_block_delta", "index": index, "delta": one} for one in pieces]
        return [start, *deltas, {"type": "content_block_stop", "index": index}]

    return [
        {"type": "message_start", "message": {"usage": USAGE, "content": []}},
        *block(
            0,
            {"type": "thinking", "thinking": "", "signature": ""},
            {"type": "thinking_delta", "thinking": "Hm."},
            {"type": "signature_delta", "signature": "s"},
        ),
        *block(1, {"type": "text", "text": ""}, *({"type": "text_delta", "text": text} for text in TEXTS)),
        *block(
            2,
            {"type": "tool_use", "id": "t", "name": "read", "input": {}},
            {"type": "input_json_delta", "partial_json": "{}"},
        ),
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": USAGE},
        {"type": "message_stop"},
    ]


def _responses() -> list[Any]:
    place = {"output_index": 0, "content_index": 0, "item_id": "m"}
    return [
        {"type": "response.created", "response": {"status": "in_progress"}},
        {"type": "response.output_item.added", "output_index": 0, "item": {"type": "message", "id": "m"}},
        *({"type": "response.output_text.delta", **place, "delta": text} for text in TEXTS),
        {"type": "response.output_text.done", **place, "text": "".join(TEXTS)},
        {"type": "response.output_item.added", "output_index": 1, "item": {**ITEM, "arguments": ""}},
        {"type": "response.function_call_arguments.delta", "output_index": 1, "delta": '{"path":"x"}'},
        {"type": "response.output_item.done", "output_index": 1, "item": ITEM},
        {"type": "response.reasoning_summary_text.delta", "output_index": 2, "summary_index": 0, "delta": "Hm."},
        {"type": "response.completed", "response": {"status": "completed", "usage": USAGE, "output": [ITEM]}},
    ]


def _gemini() -> list[Any]:
    return [
        chunk({"text": "Hm.", "thought": True}),
        *(chunk({"text": text}) for text in TEXTS),
        part(name="read", willContinue=True),
        part(partialArgs=[piece("$.a[0].b", stringValue="x")], willContinue=True),
        part(),
        chunk({"functionCall": {"name": "list", "args": {}}}, finish="STOP", usageMetadata={"promptTokenCount": 5}),
    ]


def _bedrock() -> list[Any]:
    return [
        {"messageStart": {"role": "assistant"}},
        *({"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"text": text}}} for text in TEXTS),
        {"contentBlockStop": {"contentBlockIndex": 0}},
        {"contentBlockStart": {"contentBlockIndex": 1, "start": {"toolUse": {"toolUseId": "t", "name": "read"}}}},
        {"contentBlockDelta": {"contentBlockIndex": 1, "delta": {"toolUse": {"input": "{}"}}}},
        {"contentBlockStop": {"contentBlockIndex": 1}},
        {"messageStop": {"stopReason": "tool_use"}},
        {"metadata": {"usage": {"inputTokens": 5, "outputTokens": 3}}},
    ]


STREAMS: dict[str, list[Any]] = {
    "chat": _chat(),
    "claude": _claude(),
    "responses": _responses(),
    "azure": _chat(),
    "azure-responses": _responses(),
    "gemini": _gemini(),
    "gemini-array": _gemini(),
    "bedrock": _bedrock(),
}


def framed(kind: str, values: list[Any]) -> list[bytes]:
    """Each value as it goes over the wire; bytes are taken as they are."""
    if kind == "bedrock":
        return [one if isinstance(one, bytes) else _frame(one) for one in values]
    if kind == "gemini-array":
        found = [one if isinstance(one, bytes) else b", " + msgspec.json.encode(one) for one in values]
        return [b"[" + found[0][2:], *found[1:], b"]"] if found else []
    found = [one if isinstance(one, bytes) else b"data: %b\n\n" % msgspec.json.encode(one) for one in values]
    return [*found, b"data: %b\n\n" % DONE] if kind in ("chat", "azure") else found


def _frame(value: Any) -> bytes:
    name, inner = next(iter(value.items())) if isinstance(value, dict) and value else ("x", value)
    return frames.frame(msgspec.json.encode(inner), message_type="event", event_type=str(name))


class _Body:
    """An answer's body without a connection."""

    def __init__(self, pieces: list[bytes], kind: str) -> None:
        self.pieces = pieces
        self.is_json = kind == "gemini-array"

    async def chunks(self) -> AsyncGenerator[bytes]:
        for one in self.pieces:
            yield one


def run(kind: str, pieces: list[bytes]) -> list[StreamEvent]:
    """What the provider code does with the bytes of a body."""

    async def read() -> list[StreamEvent]:
        assembler = Assembler(MODEL, "a")
        reader = READERS[kind.partition("-")[0]](assembler)
        chunks = _Body(pieces, kind).chunks()
        answer = Answer.__new__(Answer)
        answer._chunks = chunks
        source = {"bedrock": bedrock_payloads, "gemini-array": array_payloads}.get(kind)
        try:
            with anyio.fail_after(20):
                async for payload in source(chunks) if source else answer.payloads():
                    reader.read(payload)
                    if reader.ended:
                        break
            if reader.error is not None:
                raise classify("P", None, reader.error)
            reader.close(CONFIG)
        except KodaError as error:
            assembler.failed(error)
        return assembler.out

    return anyio.run(read)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield (*path, key)
        yield from places(one, (*path, key))


def texts(events: list[StreamEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def chopped(body: bytes, sizes: list[int]) -> list[bytes]:
    pieces, place = [], 0
    for size in sizes:
        pieces.append(body[place : place + size])
        place += size
    return [*pieces, body[place:]]


sizes = st.lists(st.integers(0, 40), max_size=30)
sometimes = settings(max_examples=40, deadline=None)


@pytest.mark.parametrize("kind", STREAMS)
def test_whole(kind: str) -> None:
    body = b"".join(framed(kind, STREAMS[kind]))
    for pieces in ([body], [body[i : i + 1] for i in range(len(body))]):
        events = run(kind, pieces)
        check_order(events)
        assert isinstance(events[-1], Done)
        assert texts(events) == "".join(TEXTS)
        assert len(events[-1].message.tool_calls) == (2 if "gemini" in kind else 1)


@pytest.mark.parametrize("kind", STREAMS)
@sometimes
@given(st.data(), sizes)
def test_a_field_of_another_type(kind: str, data: st.DataObject, cuts: list[int]) -> None:
    values = copy.deepcopy(STREAMS[kind])
    path = data.draw(st.sampled_from(sorted(places(values), key=str)))
    place: Any = values
    for key in path[:-1]:
        place = place[key]
    if isinstance(place, dict) and data.draw(st.booleans()):
        del place[path[-1]]
    else:
        place[path[-1]] = data.draw(odd | st.sampled_from([1e400, -1, 2**70, "9" * 30, [[[]]], {"a": {"a": {}}}]))
    events = run(kind, chopped(b"".join(framed(kind, values)), cuts))
    check_order(events)
    before = texts(run(kind, framed(kind, STREAMS[kind][: path[0]])))
    assert texts(events).startswith(before)


@pytest.mark.parametrize("kind", STREAMS)
@sometimes
@given(st.data(), sizes)
def test_garbage_between_events(kind: str, data: st.DataObject, cuts: list[int]) -> None:
    values = list(STREAMS[kind])
    place = data.draw(st.integers(0, len(values)))
    garbage = data.draw(st.binary(max_size=30) | odd.map(lambda one: b"data: %b\n\n" % msgspec.json.encode(one)))
    values.insert(place, garbage if kind != "gemini-array" else b", " + garbage)
    events = run(kind, chopped(b"".join(framed(kind, values)), cuts))
    check_order(events)
    assert texts(events).startswith(texts(run(kind, framed(kind, STREAMS[kind][:place]))))


@pytest.mark.parametrize("kind", STREAMS)
@sometimes
@given(st.integers(0, 3000), sizes)
def test_a_cut_at_any_byte(kind: str, cut: int, cuts: list[int]) -> None:
    parts = framed(kind, STREAMS[kind])
    body = b"".join(parts)[:cut]
    events = run(kind, chopped(body, cuts))
    check_order(events)
    whole, place = 0, 0
    for one in parts:
        place += len(one)
        whole += place <= len(body)
    assert texts(events).startswith(texts(run(kind, parts[:whole])))
    if len(body) < len(b"".join(parts)) // 2:
        assert isinstance(events[-1], StreamError)
        assert events[-1].error.retryable


@pytest.mark.parametrize(("kind", "api"), [*zip(("chat", "claude", "gemini", "responses"), WHOLE, strict=True)])
@sometimes
@given(st.data(), sizes)
def test_a_document_with_a_field_of_another_type(kind: str, api: str, data: st.DataObject, cuts: list[int]) -> None:
    document = copy.deepcopy(WHOLE[api])
    path = data.draw(st.sampled_from(sorted(places(document), key=str)))
    place: Any = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = data.draw(odd)
    body = msgspec.json.encode(document)
    check_order(run(kind, chopped(body, cuts)))
    check_order(run(kind, chopped(body[: data.draw(st.integers(0, len(body)))], cuts)))
