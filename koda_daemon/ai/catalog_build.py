"""Builds the bundled table of models out of public ones. Only the generator imports this.

Where tables differ: @earendil-works/pi-ai knows what its users run agents with, and its limits and efforts are kept by
hand; litellm has providers that it lacks; genai-prices has the most exact prices; models.dev, where it can be had,
names the newest models. Prices are taken as one set from one table, so that parts of a bill fit together.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from koda_daemon.ai.catalog import filled
from koda_daemon.ai.catalog_models_dev import PLANS
from koda_daemon.ai.catalog_readers import Table, genai_model, genai_prices, read_litellm, read_pi
from koda_daemon.ai.provider import Effort, ModelFacts, Prices
from koda_daemon.ai.providers import PROVIDERS, SWITCHES, ProviderRow


class Sources(Struct, kw_only=True):
    """The public tables as decoded; ``models_dev`` as ``read_models_dev`` gives it."""

    pi: Mapping[str, Mapping[str, Any]]
    """By file name without its end."""
    litellm: Mapping[str, Mapping[str, Any]]
    genai: Mapping[str, Any]
    """The providers of genai-prices by id."""
    models_dev: Mapping[str, list[ModelFacts]] = field(default_factory=dict)


class _Names(Struct, frozen=True):
    """What a provider is called elsewhere; ``litellm``: its name there, and what its keys begin with."""

    pi: str | None = None
    genai: str | None = None
    litellm: tuple[str, str] | None = None


_NAMES: dict[str, _Names] = {
    "alibaba": _Names(litellm=("dashscope", "dashscope/")),
    "anthropic": _Names("anthropic", "anthropic", ("anthropic", "")),
    "azure-openai": _Names("azure", "azure", ("azure", "azure/")),
    "baseten": _Names("baseten", "baseten", ("baseten", "baseten/")),
    "bedrock": _Names("amazon-bedrock", None, ("bedrock_converse", "")),
    "cerebras": _Names("cerebras", "cerebras", ("cerebras", "cerebras/")),
    "cloudflare": _Names("cloudflare-workers-ai", "cloudflare"),
    "deepseek": _Names("deepseek", "deepseek", ("deepseek", "deepseek/")),
    "fireworks": _Names("fireworks", "fireworks", ("fireworks_ai", "fireworks_ai/")),
    "github-copilot": _Names("github-copilot", "github-copilot"),
    "google": _Names("google", "google", ("gemini", "gemini/")),
    "google-vertex": _Names("google-vertex", "google"),
    "groq": _Names("groq", "groq", ("groq", "groq/")),
    "huggingface": _Names("huggingface"),
    "inception": _Names(litellm=("inception", "inception/")),
    "kimi-coding": _Names("kimi-coding"),
    "meta": _Names("meta", "meta", ("meta", "meta/")),
    "minimax": _Names("minimax", "minimax", ("minimax", "minimax/")),
    "minimax-cn": _Names("minimax-cn"),
    "mistral": _Names("mistral", "mistral", ("mistral", "mistral/")),
    "moonshotai": _Names("moonshotai", "moonshotai", ("moonshot", "moonshot/")),
    "moonshotai-cn": _Names("moonshotai-cn"),
    "nebius": _Names(litellm=("nebius", "nebius/")),
    "novita": _Names(None, "novita", ("novita", "novita/")),
    "nvidia": _Names("nvidia"),
    "openai": _Names("openai", "openai", ("openai", "")),
    "opencode": _Names("opencode"),
    "openrouter": _Names("openrouter"),
    "perplexity": _Names(None, "perplexity", ("perplexity", "perplexity/")),
    "scaleway": _Names(litellm=("scaleway", "scaleway/")),
    "together": _Names("together", "together", ("together_ai", "together_ai/")),
    "vercel": _Names("vercel-ai-gateway"),
    "xai": _Names("xai", "x-ai", ("xai", "xai/")),
    "xiaomi": _Names("xiaomi"),
    "zai": _Names("zai", "zai", ("zai", "zai/")),
    "zai-coding": _Names("zai"),
    "zhipu": _Names("zai", "zhipuai", ("bigmodel", "bigmodel/")),
}

_ONLY = {"perplexity": frozenset({"sonar", "sonar-pro", "sonar-deep-research", "sonar-reasoning-pro"})}
"""Where a table mixes in what is gone or is served at another address: the rest. They may lack tools."""

_BOTH = frozenset({"zai"})
"""Where pi has the models of another offer (a plan) only; elsewhere litellm's further ones are old."""

_FIRST: dict[str, str] = {
    "alibaba": "qwen3.8-max",
    "anthropic": "claude-sonnet-5-5",
    "azure-openai": "gpt-6-sol",
    "bedrock": "us.anthropic.claude-sonnet-5-5",
    "bedrock-mantle": "anthropic.claude-sonnet-5-5",
    "cerebras": "gpt-oss-120b",
    "deepseek": "deepseek-v4-pro",
    "fireworks": "accounts/fireworks/models/glm-5p3",
    "github-copilot": "claude-sonnet-5.5",
    "google": "gemini-3.8-flash",
    "google-vertex": "gemini-3.8-flash",
    "groq": "openai/gpt-oss-120b",
    "kimi-coding": "kimi-for-coding",
    "minimax": "MiniMax-M3",
    "minimax-cn": "MiniMax-M3",
    "mistral": "mistral-medium-latest",
    "moonshotai": "kimi-k3",
    "moonshotai-cn": "kimi-k3",
    "openai": "gpt-6-sol",
    "opencode": "claude-sonnet-5-5",
    "openrouter": "anthropic/claude-sonnet-5.5",
    "perplexity": "sonar-pro",
    "together": "zai-org/GLM-5.3",
    "vercel": "anthropic/claude-sonnet-5.5",
    "xai": "grok-4.7",
    "zai": "glm-5.3",
    "zai-coding": "glm-5.3",
    "zhipu": "glm-5.3",
}
"""The model that comes first in a provider's list, which is the one that is taken when nobody chose."""


def build(sources: Sources, today: date) -> dict[str, list[ModelFacts]]:
    """The models of each built-in provider, its first choice first, the others by id."""
    tables = {row.id: _models(row, sources, today) for row in PROVIDERS.values()}
    tables["bedrock-mantle"] = on_mantle(tables["bedrock"])
    claude = tables["anthropic"]
    found: dict[str, list[ModelFacts]] = {}
    for row in PROVIDERS.values():
        models = {id_: _as_its_maker_says(facts, claude) for id_, facts in tables[row.id].items()}
        if models:
            first = _FIRST.get(row.id)
            found[row.id] = sorted(models.values(), key=lambda facts: (facts.id != first, facts.id))
    return found


_ON_MANTLE = re.compile(
    r"((?:anthropic|deepseek|google|minimax|mistral|moonshotai|nvidia|openai|qwen|xai|zai)\..+?)"
    r"(?:-\d{8})?(?:-v?\d+:\d+|-v\d+)?\Z"
)


def on_mantle(bedrock: Table) -> Table:
    """Bedrock's models as Mantle names them: without region, date and version (AWS docs, "Bedrock Mantle")."""
    found: Table = {}
    for id_, facts in bedrock.items():
        named = _ON_MANTLE.match(id_)
        if named is not None:
            found.setdefault(named[1], replace(facts, id=named[1]))
    return found


_CLAUDE = re.compile(r"claude-[a-z]+-\d+(?:[-.]\d{1,2})?(?![\d])")


def _as_its_maker_says(facts: ModelFacts, claude: Table) -> ModelFacts:
    """Claude behind another door: what its maker refuses (to think nothing) is refused there too."""
    found = _CLAUDE.search(facts.id)
    own = claude.get(found[0].replace(".", "-")) if found else None
    if own is None or not own.reasoning or "off" in own.reasoning or not facts.reasoning:
        return facts
    return replace(facts, reasoning=tuple(effort for effort in facts.reasoning if effort != "off"))


def _models(row: ProviderRow, sources: Sources, today: date) -> Table:
    names = _NAMES.get(row.id, _Names())
    pi = read_pi(sources.pi[names.pi], row) if names.pi else {}
    lite = read_litellm(sources.litellm, *names.litellm, today) if names.litellm else {}
    dev = {facts.id: facts for facts in sources.models_dev.get(row.id, ())}
    genai = sources.genai.get(names.genai or "")
    ids = pi | lite if row.id in _BOTH else pi or lite
    found: Table = {}
    for id_ in ids.keys() | dev.keys():
        if id_ not in _ONLY.get(row.id, (id_,)):
            continue
        base = _merged([table[id_] for table in (pi, dev, lite) if id_ in table])
        if not base.context_window or (base.tools is False and row.id not in _ONLY):
            continue
        output = base.max_output or base.context_window
        priced = genai_model(genai, id_)
        offers = [facts.prices for facts in (pi.get(id_), dev.get(id_)) if facts is not None]
        if names.pi == "zai" and row.id != "zai":
            offers = []  # those are Z.ai's own
        offers += [genai_prices(priced) if priced is not None else None, lite[id_].prices if id_ in lite else None]
        found[id_] = replace(
            base,
            name=base.name or _spoken(id_),
            context_window=_window(base, priced),
            max_output=min(output, base.context_window),
            reasoning=base.reasoning if base.reasoning is not None else _guessed(row),
            tools=None if base.tools is not False else False,
            prices=None if row.id in PLANS else _told(id_, _best([prices for prices in offers if prices is not None])),
        )
    return found


def _merged(facts: list[ModelFacts]) -> ModelFacts:
    """Each field of the first that tells it."""
    first, *others = facts
    for other in others:
        first = replace(
            first,
            **{
                name: getattr(other, name)
                for name in first.__struct_fields__
                if getattr(first, name) is None and name != "prices"
            },
        )
    return first


def _window(facts: ModelFacts, priced: Any) -> int:
    """pi takes the size where a higher price begins for the window; what the model can hold is known elsewhere."""
    window = facts.context_window or 0
    tiers = (facts.prices.tiers if facts.prices else None) or ()
    known = getattr(priced, "context_window", None) or 0
    if any(tier.above == window for tier in tiers):
        return max(window, known)
    return window


def _guessed(row: ProviderRow) -> tuple[Effort, ...]:
    """Of a model that reasons in ways no table tells: what a switch can do, else nothing that might be refused."""
    return ("off", "high") if row.compat.reasoning in SWITCHES else ()


def _best(offers: list[Prices]) -> Prices | None:
    """The first set of prices that is not all zero, with what it leaves out from another that agrees with it."""
    if not offers:
        return None
    best = next((prices for prices in offers if prices.input or prices.output), offers[0])
    for other in offers:
        best = filled(best, other)
    return best


_DEPENDS = re.compile(r"(?:\A|/)auto\Z|-highspeed\Z")


def _told(id_: str, prices: Prices | None) -> Prices | None:
    """The prices; None where zeros only mean that it depends, or that nobody knew."""
    unknown = prices is not None and not prices.input and not prices.output and _DEPENDS.search(id_)
    return None if unknown else prices


def _spoken(id_: str) -> str:
    """A name for a model that has none: the last part of its id, with spaces and capitals."""
    words = id_.rsplit("/", 1)[-1].replace("_", "-").split("-")
    return " ".join(word.upper() if word in ("glm", "gpt", "oss") else word[:1].upper() + word[1:] for word in words)
