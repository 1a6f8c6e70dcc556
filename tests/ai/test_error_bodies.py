"""What the vendors' refusals look like (``error_bodies.jsonl``, one a line) and the kind that each of them means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from koda_daemon.ai.errors import classify

BODIES: list[dict[str, Any]] = [
    msgspec.json.decode(line) for line in Path(__file__).with_name("error_bodies.jsonl").read_bytes().splitlines()
]
RETRYABLE = {"rate.limited", "provider.overloaded"}


@pytest.mark.parametrize("one", BODIES, ids=[f"{i}-{one['vendor']}-{one['status']}" for i, one in enumerate(BODIES)])
def test_kind(one: dict[str, Any]) -> None:
    body = one["body"]
    error = classify(
        one["vendor"], one["status"], body.encode() if isinstance(body, str) else msgspec.json.encode(body)
    )
    assert error.kind == one["kind"]
    assert error.retryable == (error.kind in RETRYABLE)
    if error.kind in ("context.overflow", "quota.exhausted", "model.unknown", "auth.required", "auth.expired"):
        assert error.user_action
    assert classify(one["vendor"], one["status"], body if isinstance(body, dict) else body.encode()).kind == error.kind


def test_every_vendor_words_its_overflow() -> None:
    vendors = {one["vendor"] for one in BODIES if one["kind"] == "context.overflow"}
    assert len(vendors) > 20


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ("Please try again in 2s.", 2.0),
        ("Please try again in 250ms.", 0.25),
        ("Please try again in 1m2.5s. Visit", 62.5),
        ("Please retry after 7 seconds. Please go", 7.0),
        ("please try again after 1 seconds", 1.0),
        ("Please retry in 34.4s.", 34.4),
        ("try again in 1h 5m", 3900.0),
        ("try again in 3 minutes", 180.0),
        ("try again in 40 milliseconds", 0.04),
        ("Please try again later.", None),
        ("try again in a moment", None),
    ],
)
def test_a_delay_in_words(words: str, seconds: float | None) -> None:
    error = classify("Lab", 429, {"error": {"message": words}})
    assert error.retry_after == seconds
    assert classify("Lab", 429, {"error": {"message": words}}, {"retry-after": "9"}).retry_after == 9.0
