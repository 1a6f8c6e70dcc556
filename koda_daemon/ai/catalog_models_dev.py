"""Reads ``api.json`` of models.dev: what it says of the models of our providers.

Schema: github.com/anomalyco/models.dev, packages/core/src/schema.ts. What does not fit is left out, not refused: the
file changes without notice.
"""

from __future__ import annotations

from typing import Any

import msgspec

from koda_daemon.ai.discovery import MOST
from koda_daemon.ai.provider import EFFORTS, Effort, ModelFacts, Prices, PriceTier
from koda_daemon.ai.providers import PROVIDERS, SWITCHES, ProviderRow

URL = "https://models.dev/api.json"

_NAMES = {
    "azure-openai": "azure",
    "bedrock": "amazon-bedrock",
    "cloudflare": "cloudflare-workers-ai",
    "fireworks": "fireworks-ai",
    "kimi-coding": "kimi-for-coding",
    "novita": "novita-ai",
    "together": "togetherai",
    "zai-coding": "zai-coding-plan",
    "zhipu": "zhipuai",
}
"""Our providers whose ids differ there. Local servers are left out: only they know what they serve."""
_LOCAL = frozenset({"ollama", "lmstudio", "llama.cpp", "vllm", "demo"})
PLANS = frozenset({"kimi-coding", "zai-coding"})
"""Subscriptions: what the tables give for them are the prices of another offer."""


def read_models_dev(data: bytes) -> dict[str, list[ModelFacts]]:
    """The models of each of our providers, by its id. Raises ``ValueError`` if ``data`` is no such file."""
    try:
        providers = msgspec.json.decode(data, type=dict[str, dict[str, Any]])
    except msgspec.DecodeError as error:
        raise ValueError(f"not an api.json of models.dev: {error}") from None
    found: dict[str, list[ModelFacts]] = {}
    for row in PROVIDERS.values():
        models = providers.get(_NAMES.get(row.id, row.id), {}).get("models")
        if row.id not in _LOCAL and isinstance(models, dict):
            read = [_facts(id_, model, row) for id_, model in models.items() if isinstance(model, dict)]
            found[row.id] = [facts for facts in read if facts is not None]
    if not any(found.values()):
        raise ValueError("not an api.json of models.dev: none of our providers is in it")
    return found


def _facts(id_: str, model: dict[str, Any], row: ProviderRow) -> ModelFacts | None:
    modalities = _dict(model.get("modalities"))
    if model.get("status") == "deprecated" or "text" not in _texts(modalities.get("output")):
        return None
    limit = _dict(model.get("limit"))
    tools = model.get("tool_call")
    return ModelFacts(
        id=id_,
        name=model.get("name") if isinstance(model.get("name"), str) else None,
        context_window=_count(limit.get("context")),
        max_output=_count(limit.get("output")),
        input=tuple(kind for kind in ("text", "image") if kind in _texts(modalities.get("input"))) or None,
        reasoning=_efforts(model, row),
        tools=bool(tools.get("supported")) if isinstance(tools, dict) else tools if isinstance(tools, bool) else None,
        prices=None if row.id in PLANS else _prices(_dict(model.get("cost"))),
    )


def _efforts(model: dict[str, Any], row: ProviderRow) -> tuple[Effort, ...] | None:
    """The efforts, where they are told; None where only "it reasons" is."""
    if model.get("reasoning") is False:
        return ()
    offered: set[str] = set()
    options = model.get("reasoning_options")
    for option in options if isinstance(options, list) else ():
        if isinstance(option, dict) and option.get("type") == "effort":
            offered.update("off" if value == "none" else value for value in _texts(option.get("values")))
        elif isinstance(option, dict) and option.get("type") == "toggle":
            offered.add("off")
            if row.compat.reasoning in SWITCHES:
                offered.add("high")
    found = tuple(effort for effort in EFFORTS if effort in offered)
    return found if any(effort != "off" for effort in found) else None


def _prices(cost: dict[str, Any]) -> Prices | None:
    base = _rates(cost)
    if base is None:
        return None
    tiers = []
    for item in cost["tiers"] if isinstance(cost.get("tiers"), list) else ():
        size, rates = _count(_dict(_dict(item).get("tier")).get("size")), _rates(_dict(item))
        if size and rates:
            tiers.append(PriceTier(size, *rates))
    over = _rates(_dict(cost.get("context_over_200k")))
    if over and not tiers:
        tiers.append(PriceTier(200_000, *over))
    return Prices(*base, tiers=tuple(sorted(tiers, key=lambda tier: tier.above)) or msgspec.UNSET)


def _rates(cost: dict[str, Any]) -> tuple[float, float, float, float] | None:
    names = ("input", "output", "cache_read", "cache_write")
    rates = [cost.get(name) for name in names]
    numbers = [float(rate) if isinstance(rate, int | float) and rate >= 0 else 0.0 for rate in rates]
    if not isinstance(rates[0], int | float) or not isinstance(rates[1], int | float):
        return None
    return numbers[0], numbers[1], numbers[2], numbers[3]


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _texts(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _count(value: Any) -> int | None:
    return int(value) if isinstance(value, int | float) and 0 < value <= MOST else None
