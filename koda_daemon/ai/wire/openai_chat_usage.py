"""What the servers of chat completions say that an answer took: tokens in any spelling, and what was paid."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

from koda_daemon.ai.messages import Usage


def read_usage(raw: dict[str, Any]) -> Usage | None:
    """Token counts in our sense (input without cache, output with reasoning) out of any known spelling."""
    details = raw.get("prompt_tokens_details") or raw.get("input_tokens_details")
    out_details = raw.get("completion_tokens_details") or raw.get("output_tokens_details")
    prompt = _count(raw, "prompt_tokens", "input_tokens")
    completion = _count(raw, "completion_tokens", "output_tokens")
    total = _count(raw, "total_tokens")
    cached = _count(details, "cached_tokens") or _count(
        raw, "prompt_cache_hit_tokens", "cached_tokens", "num_cached_tokens"
    )
    written = _count(details, "cache_write_tokens", "cache_creation_tokens") or _count(
        raw, "cache_creation_input_tokens"
    )
    reasoning = _count(out_details, "reasoning_tokens") or _count(raw, "reasoning_tokens")
    if not (prompt or completion or total):
        return None
    if reasoning and total == prompt + completion + reasoning:
        completion += reasoning  # xAI counts reasoning beside the completion
    return Usage(
        input=max(prompt - cached - written, 0),
        output=completion,
        cache_read=cached,
        cache_write=written,
        reasoning=min(reasoning, completion),
    )


def read_cost(raw: dict[str, Any]) -> float | None:
    """US dollars that the server says were paid; None if it says nothing."""
    cost = raw.get("cost")
    if isinstance(cost, int | float) and not isinstance(cost, bool) and cost >= 0:
        return float(Decimal(str(cost)) + _paid_upstream(raw))  # OpenRouter
    if isinstance(cost, dict) and isinstance(cost.get("total_cost"), int | float):
        return float(cost["total_cost"])  # Perplexity
    return None


def _paid_upstream(usage: dict[str, Any]) -> Decimal:
    """What OpenRouter's upstream charges the user's own key (BYOK) beside OpenRouter's fee, which is all of ``cost``.

    Other requests name their upstream cost too, where ``cost`` holds it already: only ``is_byok`` tells.
    """
    details = usage.get("cost_details")
    paid = details.get("upstream_inference_cost") if isinstance(details, dict) else None
    own_key = usage.get("is_byok") is True
    known = isinstance(paid, int | float) and not isinstance(paid, bool) and 0 < paid < math.inf
    return Decimal(str(paid)) if own_key and known else Decimal(0)


def _count(raw: Any, *names: str) -> int:
    if isinstance(raw, dict):
        for name in names:
            value = raw.get(name)
            if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf:
                return int(value)
    return 0
