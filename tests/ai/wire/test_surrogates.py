from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koda_daemon.ai.messages import TextBlock, ToolCall
from koda_daemon.ai.wire.assembler import read_arguments
from koda_daemon.ai.wire.surrogates import SurrogateJoiner
from tests.ai.conftest import Loopback
from tests.ai.wire.streams import DONE, ask, call, delta, message, registry, sse


@given(st.text(st.sampled_from("a\\é🚀\U0010ffff퟿\ue000"), max_size=12), st.integers(1, 3))
def test_text_cut_by_utf_16_units_is_whole_again(text: str, size: int) -> None:
    units = text.encode("utf-16-be", "surrogatepass")
    pieces = [units[at : at + 2 * size].decode("utf-16-be", "surrogatepass") for at in range(0, len(units), 2 * size)]
    joiner = SurrogateJoiner()
    assert "".join(json.loads(joiner.joined(json.dumps(piece).encode())) for piece in pieces) == text


def test_halves_that_have_no_other() -> None:
    joiner = SurrogateJoiner()
    assert joiner.joined(rb'"a\uDE80b\ud83dc"') == rb'"a\ufffdbc"'
    assert joiner.joined(rb'"\\ud83d"') == rb'"\\ud83d"'
    assert joiner.joined('"é'.encode() + b'\xff"') == '"é\ufffd"'.encode()
    assert read_arguments(r'{"a": "x\ud83d"}') == ({"a": "x"}, None)


@pytest.mark.asyncio
async def test_an_answer_with_a_character_in_two_events(loopback: Loopback) -> None:
    halves = [json.dumps(delta(content=half)).encode() for half in ("Up \ud83d", "\ude80!")]
    arguments = call(0, "c1", "paint", '{"name": "\\ud83d"}')
    latin = json.dumps(delta(content="é"), ensure_ascii=False).encode("latin-1")
    loopback.reply(sse(*halves, latin, delta(tool_calls=[arguments]), delta("tool_calls"), DONE))
    models = registry(loopback)
    answer = message(await ask(models))
    await models.aclose()
    text, painted = answer.content
    assert isinstance(text, TextBlock)
    assert text.text == "Up 🚀!\ufffd"
    assert isinstance(painted, ToolCall)
    assert painted.arguments == {"name": ""}
