"""What goes to Gemini."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from msgspec.structs import replace

from koda_daemon.ai.messages import ImageBlock, Message, TextBlock, ThinkingBlock, ToolCall
from koda_daemon.ai.provider import Context, Model, StreamOptions, ToolSpec
from koda_daemon.ai.wire.google_request import UNSIGNED, GeminiWriter, gemini_generation
from koda_daemon.ai.wire.google_schema import gemini_schema
from tests.ai.test_transform import histories
from tests.ai.wire.test_requests import EFFORTS, TOOLS, assistant, result, user

API = "google-generative-ai"
MODEL = Model(provider="g", id="gemini-3-pro-preview", api=API, input=("text", "image"), reasoning=EFFORTS)
OLD = replace(MODEL, id="gemini-2.5-flash")


def request(
    *messages: Message,
    model: Model = MODEL,
    system: str = "",
    tools: Sequence[ToolSpec] = (),
    extra: dict[str, Any] | None = None,
    **options: Any,
) -> dict[str, Any]:
    body = GeminiWriter(model, API).body(Context(system, messages, tools), StreamOptions(**options), extra or {})
    found: dict[str, Any] = msgspec.json.decode(body)
    return found


def own(*blocks: Any, of: Model = MODEL) -> Any:
    return assistant(*blocks, of=of)


def test_contents() -> None:
    body = request(
        user("Hi"),
        own(TextBlock("I read.", "sig"), ToolCall("c", "read", {"path": "a"}, signature="one")),
        result("c"),
        system="Be brief.",
        tools=TOOLS,
    )
    assert body["systemInstruction"] == {"parts": [{"text": "Be brief."}]}
    assert body["tools"][0]["functionDeclarations"][1] == {
        "name": "ls",
        "description": "Lists.",
        "parametersJsonSchema": {"type": "object"},
    }
    assert body["contents"] == [
        {"role": "user", "parts": [{"text": "Hi"}]},
        {
            "role": "model",
            "parts": [
                {"text": "I read.", "thoughtSignature": "sig"},
                {"functionCall": {"id": "c", "name": "read", "args": {"path": "a"}}, "thoughtSignature": "one"},
            ],
        },
        {
            "role": "user",
            "parts": [{"functionResponse": {"id": "c", "name": "read", "response": {"output": "done"}}}],
        },
    ]


def test_ids_stay_out_where_they_are_not_known() -> None:
    history = (user("x"), own(ToolCall("c", "read", {}), of=OLD), result("c", "no", status="error"))
    call, given_ = (content["parts"][0] for content in request(*history, model=OLD)["contents"][1:])
    assert call == {"functionCall": {"name": "read", "args": {}}}
    assert given_ == {"functionResponse": {"name": "read", "response": {"error": "no"}}}


def test_results_stand_in_the_order_of_the_calls() -> None:
    calls = own(ToolCall("a", "read", {}), ToolCall("b", "ls", {}))
    contents = request(user("x"), calls, result("b", "two", tool="ls"), result("a", "one"), user("And?"))["contents"]
    assert [part["functionResponse"]["response"]["output"] for part in contents[2]["parts"]] == ["one", "two"]
    assert contents[3] == {"role": "user", "parts": [{"text": "And?"}]}


def test_signatures_go_back_to_their_maker_only() -> None:
    blocks = (
        ThinkingBlock("Hm", "s1"),
        ThinkingBlock("bare"),
        ThinkingBlock("", "s2", redacted=True),
        TextBlock("Yes", "s3"),
        ToolCall("c", "read", {}, signature="s4"),
    )
    parts = request(user("x"), own(*blocks), result("c"))["contents"][1]["parts"]
    assert parts[:2] == [
        {"text": "Hm", "thought": True, "thoughtSignature": "s1"},
        {"text": "", "thoughtSignature": "s2"},
    ]
    assert [part["thoughtSignature"] for part in parts] == ["s1", "s2", "s3", "s4"]
    for other in (OLD, replace(MODEL, provider="q"), replace(MODEL, api="openai-completions")):
        parts = request(user("x"), own(*blocks, of=other), result("c"))["contents"][1]["parts"]
        assert [part.get("thoughtSignature") for part in parts] == [None, UNSIGNED]


def test_the_first_call_of_another_model_is_marked() -> None:
    calls = assistant(ToolCall("a", "read", {}), ToolCall("b", "ls", {}), of=OLD)
    parts = request(user("x"), calls, result("a"), result("b"))["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in parts] == [UNSIGNED, None]
    parts = request(user("x"), calls, result("a"), result("b"), model=OLD)["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in parts] == [None, None]


@pytest.mark.parametrize(
    ("name", "marked"),
    [
        ("gemini-3.1-pro-preview", True),
        ("gemini-4-argon", True),
        ("gemini-flash-latest", True),
        ("google/gemini-3-flash", True),
        ("my-alias", True),  # of a proxy, or a tuned model: what it stands for is not known
        ("projects/p/locations/l/endpoints/123", True),
        ("gemini-2.5-flash", False),
        ("models/gemini-1.5-pro-002", False),
    ],
)
def test_whose_calls_need_a_signature(name: str, marked: bool) -> None:
    target = Model(provider="custom", id=name, api=API, known=False)
    for calls in (own(ToolCall("a", "read", {})), own(ToolCall("a", "read", {}), of=target)):
        part = request(user("x"), calls, result("a"), model=target)["contents"][1]["parts"][0]
        assert part.get("thoughtSignature") == (UNSIGNED if marked else None)


def test_images() -> None:
    png, tiff = ImageBlock("image/png", data="AAAA"), ImageBlock("image/tiff", data="AAAA")
    shown = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    assert request(user("See", png))["contents"][0]["parts"] == [{"text": "See"}, shown]
    assert request(user(tiff))["contents"][0]["parts"] == [{"text": "[Image (image/tiff) left out]"}]
    contents = request(user("x"), own(ToolCall("c", "read", {})), result("c", content=(png,)))["contents"]
    assert contents[2]["parts"][0]["functionResponse"]["response"] == {"output": "(see the attached image)"}
    assert contents[3]["parts"][1] == shown


@pytest.mark.parametrize(
    ("model", "effort", "expected"),
    [
        ("gemini-3-pro-preview", "high", {"includeThoughts": True, "thinkingLevel": "high"}),
        ("gemini-3-pro-preview", "max", {"includeThoughts": True, "thinkingLevel": "high"}),
        ("gemini-flash-latest", "off", {"includeThoughts": False, "thinkingLevel": "minimal"}),
        ("gemini-2.5-flash", "off", {"includeThoughts": False, "thinkingBudget": 0}),
        ("gemini-2.5-flash", "max", {"includeThoughts": True, "thinkingBudget": 24_576}),
        ("gemini-2.5-pro", "off", {"includeThoughts": False, "thinkingBudget": 128}),
        ("gemini-2.5-pro", "max", {"includeThoughts": True, "thinkingBudget": 32_768}),
        ("gemini-2.5-pro", None, {"includeThoughts": True}),
    ],
)
def test_efforts(model: str, effort: Any, expected: dict[str, Any]) -> None:
    body = request(user("x"), model=replace(MODEL, id=model), effort=effort)
    assert body["generationConfig"] == {"thinkingConfig": expected}


def test_limits_and_fields_of_the_settings() -> None:
    extra = {"generationConfig": {"temperature": 0.1}, "safetySettings": []}
    body = request(user("x"), model=replace(MODEL, reasoning=()), max_tokens=5, effort="high", extra=extra)
    assert body["generationConfig"] == {"maxOutputTokens": 5, "temperature": 0.1}
    assert body["safetySettings"] == []
    assert set(request(user("x"), model=replace(MODEL, reasoning=()))) == {"contents"}


def test_generations() -> None:
    known = {"gemini-3.1-pro": 3, "models/gemini-2.5-flash": 2, "gemini-live-2": 2, "gemini-pro-latest": 3, "gemma": 0}
    assert {name: gemini_generation(name) for name in known} == known


def test_schemas_hold_what_is_supported() -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "default": {"type": "string", "default": "x", "pattern": "a", "minLength": 1},
            "kind": {"const": "a"},
            "list": {"type": "array", "items": {"$ref": "#/definitions/one", "description": "gone"}, "minItems": 1},
            "either": {"anyOf": [{"type": "null"}, {"type": "integer", "exclusiveMinimum": 0, "minimum": 0}]},
        },
        "definitions": {"one": {"type": "object", "additionalProperties": {"type": "string", "not": {}}}},
        "required": ["kind"],
        "additionalProperties": False,
    }
    assert gemini_schema(schema) == {
        "type": "object",
        "properties": {
            "default": {"type": "string"},
            "kind": {"enum": ["a"]},
            "list": {"type": "array", "items": {"$ref": "#/$defs/one"}, "minItems": 1},
            "either": {"anyOf": [{"type": "null"}, {"type": "integer", "minimum": 0}]},
        },
        "$defs": {"one": {"type": "object", "additionalProperties": {"type": "string"}}},
        "required": ["kind"],
        "additionalProperties": False,
    }


@given(histories)
def test_turns_follow_the_rules(history: list[Message]) -> None:
    contents = request(*history)["contents"]
    assert contents[0]["role"] == "user"
    assert contents[-1]["role"] == "user"
    calls: list[str] = []
    for content in contents:
        assert content["parts"]
        given_ = [part["functionResponse"]["id"] for part in content["parts"] if "functionResponse" in part]
        assert given_ == calls
        assert not given_ or len(given_) == len(content["parts"])
        calls = [part["functionCall"]["id"] for part in content["parts"] if "functionCall" in part]
        assert not calls or content["role"] == "model"
    assert not calls


def test_a_next_request_begins_with_the_bytes_of_the_last() -> None:
    history: list[Message] = [user("Hi"), own(ToolCall("c", "read", {})), result("c")]
    writer = GeminiWriter(MODEL, API)
    for number in range(6):
        one = writer.body(Context("S", history, TOOLS), StreamOptions(), {})
        history += [own(ToolCall(f"c{number}", "read", {})), result(f"c{number}")]
        assert writer.body(Context("S", history, TOOLS), StreamOptions(), {}).startswith(one.removesuffix(b"]}"))
