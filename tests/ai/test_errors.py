from __future__ import annotations

from email.utils import formatdate
from time import time
from typing import Any

import msgspec
import pytest

from koda_daemon.ai.errors import classify, retry_delay


def of(status: int | None, message: str = "", code: str | None = None, type_: str | None = None, **more: Any) -> Any:
    body = {"error": {"message": message, "code": code, "type": type_}}
    return classify("Lab", status, msgspec.json.encode(body), **more)


OVERFLOWS = [
    (400, "prompt is too long: 201337 tokens > 200000 maximum"),
    (400, "Your input exceeds the context window of this model. Please adjust your input and try again."),
    (400, "This model's maximum context length is 128000 tokens. However, your messages resulted in 130000 tokens."),
    (400, "The input token count (1050001) exceeds the maximum number of tokens allowed (1048576)"),
    (400, "This model's maximum prompt length is 131072 but the request contains 140000 tokens."),
    (400, "Please reduce the length of the messages or completion."),
    (400, "the request exceeds the available context size, try increasing it"),
    (400, "tokens to keep from the initial prompt is greater than the context length"),
    (400, "invalid params, context window exceeds limit"),
    (400, "Your request exceeded model token limit: 262144 (requested: 300000)"),
    (400, "Input is too long for requested model."),
    (400, "prompt token count of 200000 exceeds the limit of 128000"),
    (400, "`inputs` tokens + `max_new_tokens` must be <= 32769. Given: 40000 `inputs` tokens and 100 `max_new_tokens`"),
    (400, "input length and `max_tokens` exceed context limit: 190000 + 32000 > 200000"),
    (413, "Request too large for model `x` in organization `y` on tokens per minute (TPM): Limit 6000, Requested 9000"),
    (429, "Request too large for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, Requested 40000."),
    (429, "Extra usage is required for long context requests."),
    (413, ""),
]


@pytest.mark.parametrize(("status", "message"), OVERFLOWS)
def test_overflow_in_its_many_wordings(status: int, message: str) -> None:
    error = of(status, message)
    assert (error.kind, error.retryable) == ("context.overflow", False)
    assert error.user_action


@pytest.mark.parametrize(
    ("status", "message", "code", "kind", "retryable"),
    [
        (400, "Something", "context_length_exceeded", "context.overflow", False),
        (400, "unknown parameter", "invalid_value", "internal", False),
        (401, "Incorrect API key", "invalid_api_key", "auth.required", False),
        (401, "token has expired", None, "auth.expired", False),
        (402, "Insufficient balance", None, "quota.exhausted", False),
        (403, "Country not supported", None, "auth.required", False),
        (403, "Your input was flagged by moderation", None, "content.refused", False),
        (400, "blocked by content management policy", "content_filter", "content.refused", False),
        (404, "The model `x` does not exist", "model_not_found", "model.unknown", False),
        (404, "Not Found", None, "provider.unreachable", False),
        (408, "timeout", None, "provider.overloaded", True),
        (
            429,
            "You exceeded your current quota",
            "insufficient_quota",
            "quota.exhausted",
            False,
        ),
        (429, "slow down", "rate_limit_exceeded", "rate.limited", True),
        (429, "Too many tokens, please wait before trying again.", None, "rate.limited", True),
        (500, "oops", None, "provider.overloaded", True),
        (501, "not implemented", None, "internal", False),
        (502, "", None, "provider.overloaded", True),
        (529, "Overloaded", "overloaded_error", "provider.overloaded", True),
        (307, "", None, "provider.unreachable", False),
        (None, "Overloaded", "overloaded_error", "provider.overloaded", True),
        (None, "something odd", None, "provider.overloaded", True),
        (None, "bad field", "invalid_request_error", "internal", False),
        (None, "validation failed", "tool_use_failed", "provider.overloaded", True),
        (None, "No such thing", "invalid_value", "internal", False),
        (None, "prompt is too long", None, "context.overflow", False),
        (None, "no credits", "402", "quota.exhausted", False),
    ],
)
def test_the_matrix(status: int | None, message: str, code: str | None, kind: str, retryable: bool) -> None:
    error = of(status, message, code)
    assert (error.kind, error.retryable) == (kind, retryable)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"<html>Bad gateway</html>",
        b"[]",
        b"null",
        b'{"error": null}',
        b'{"error": [1]}',
        b'{"detail": [{"loc": ["body"]}]}',
        b'"text"',
    ],
)
def test_bodies_of_any_kind(body: bytes) -> None:
    assert classify("Lab", 500, body).kind == "provider.overloaded"
    assert classify("Lab", 400, body).kind == "internal"


def test_a_call_that_the_server_refused_may_be_tried_again() -> None:
    assert of(None, "validation failed", "tool_use_failed", "invalid_request_error").retryable


def test_shapes_of_bodies() -> None:
    for body in (
        b'{"error": "Slow down"}',
        b'{"message": "Slow down"}',
        b'[{"error": {"message": "Slow down"}}]',
        b'{"detail": "Slow down"}',
        b"Slow down",
    ):
        assert classify("Lab", 429, body).message == "Lab limits the rate of requests: Slow down"
    upstream = b'{"error": {"message": "Provider returned error", "code": 429, "metadata": {"raw": "too busy"}}}'
    assert classify("Lab", 429, upstream).message.endswith("Provider returned error: too busy")


def test_an_empty_refusal_is_overflow_where_that_is_known() -> None:
    assert classify("Lab", 400, b"", empty_is_overflow=True).kind == "context.overflow"
    assert classify("Lab", 400, b"").kind == "internal"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2"}, 2.0),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "0", "retry-after": "1"}, 1.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after-ms": "x"}, None),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_delay(headers) == seconds
    assert of(429, "x", headers=headers).retry_after == seconds


def test_retry_after_as_a_date() -> None:
    found = retry_delay({"retry-after": formatdate(time() + 30, usegmt=True)})
    assert found is not None
    assert 28 < found <= 30
    assert retry_delay({"retry-after": formatdate(time() - 30, usegmt=True)}) == 0.0


def test_only_what_may_be_tried_again_has_a_delay() -> None:
    assert of(400, "no", headers={"retry-after": "2"}).retry_after is None


def test_no_secrets_in_messages() -> None:
    secrets = ("planted-credential",)
    message = "planted-credential, Bearer abcdef0123456789, sk-proj-abcdefabcdef012345, AIzaSyA0123456789abcdef"
    shown = of(400, message, secrets=secrets).message
    assert shown == "Lab rejected the request (HTTP 400): ***, ***, ***, ***"
    assert "abc" not in of(401, "Incorrect API key provided: abc").message


def test_long_words_are_cut() -> None:
    assert len(of(400, "x" * 10_000).message) < 700


def test_the_user_is_told_what_to_do() -> None:
    assert "LAB_API_KEY" in (of(401, "no", env=("LAB_API_KEY",)).user_action or "")
