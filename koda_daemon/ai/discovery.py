"""Reads the lists of models that providers give (``GET .../models``), in every dialect that is known.

One reader for all: the fields do not contradict each other, and servers mix them. What a list does not tell stays None.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from koda_daemon.ai.provider import Effort, ModelFacts, Prices
from koda_daemon.base.errors import KodaError

_WINDOW = (
    "context_length",  # OpenRouter, Together, Fireworks, Moonshot
    "context_window",  # Groq, Vercel, Requesty
    "max_model_len",  # vLLM
    "max_context_length",  # Mistral, LM Studio
    "max_input_tokens",  # Anthropic
    "inputTokenLimit",  # Gemini
    "context_size",  # Novita
    "max_context_window_tokens",  # GitHub Copilot
)
_OUTPUT = ("max_completion_tokens", "max_output_tokens", "outputTokenLimit", "max_tokens")
# Lists of whole platforms hold much that is no chat; where no type is given, the name tells.
_NO_CHAT = re.compile(
    r"embed|whisper|\btts\b|-tts|transcri|dall-e|image|audio|realtime|moderation|sora|rerank|\bocr\b|-ocr|davinci|babbage"
    r"|speech|voice|veo-|imagen|lyria|-guard|prompt-guard|\bbge\b",
    re.IGNORECASE,
)
MOST = 1_000_000_000
"""Tokens: sizes beyond are no sizes."""
_CHAT_TYPES = frozenset({"chat", "language", "model", "llm", "vlm"})
_LEVELS: tuple[Effort, ...] = ("low", "medium", "high", "xhigh", "max")


def read_list(data: bytes, provider: str) -> list[ModelFacts]:
    """The models of a list. ``provider.unreachable`` if ``data`` is none (some other server answered)."""
    try:
        whole = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        whole = None
    items = whole if isinstance(whole, list) else None
    if isinstance(whole, dict):
        items = next((whole[key] for key in ("data", "models") if isinstance(whole.get(key), list)), None)
    if items is None:
        raise KodaError("provider.unreachable", f"{provider} gave no list of models.")
    found = {facts.id: facts for item in items if isinstance(item, dict) and (facts := _facts(item)) is not None}
    return list(found.values())


def _facts(item: dict[str, Any]) -> ModelFacts | None:
    id_ = item.get("id") or item.get("model") or item.get("slug") or item.get("name")
    if not isinstance(id_, str) or not id_ or not _is_chat(id_, item):
        return None
    id_ = id_.removeprefix("models/")  # Gemini
    abilities = _dict(item.get("capabilities"))
    places = (_dict(item.get("top_provider")), item, _dict(abilities.get("limits")), _dict(item.get("meta")))
    return ModelFacts(
        id=id_,
        name=_first_text(item, "display_name", "displayName", "name", but=item.get("id") or item.get("name")),
        context_window=_first_count(places, (*_WINDOW, "n_ctx")) or _of_routes(item),
        max_output=_first_count(places, _OUTPUT),
        input=_input(item, abilities),
        reasoning=_efforts(abilities),
        tools=_tools(item, abilities),
        prices=_prices(_dict(item.get("pricing"))),
        compat={"adaptive_thinking": True} if _adaptive(abilities) else None,
    )


def _is_chat(id_: str, item: Mapping[str, Any]) -> bool:
    if "slug" in item and item.get("visibility", "list") != "list":
        return False  # of a ChatGPT plan, and not to be offered
    if item.get("lifecycle") == "retired" or item.get("active") is False or item.get("archived") is True:
        return False
    methods = item.get("supportedGenerationMethods")
    if isinstance(methods, list):
        return "generateContent" in methods and not _NO_CHAT.search(id_)
    written = _texts(_dict(item.get("architecture")).get("output_modalities"))
    if written:
        return "text" in written
    kind = _dict(item.get("capabilities")).get("type") or item.get("type")
    if isinstance(kind, str) and kind != "model":
        return kind in _CHAT_TYPES
    return not _NO_CHAT.search(id_)


def _input(item: Mapping[str, Any], abilities: Mapping[str, Any]) -> tuple[str, ...] | None:
    listed = _texts(_dict(item.get("architecture")).get("input_modalities")) or _texts(item.get("input_modalities"))
    if listed:
        return ("text", "image") if "image" in listed else ("text",)
    sees = _first_flag(
        (item, abilities, _dict(abilities.get("supports"))),
        ("vision", "image_input", "supports_vision", "supports_image_in", "supports_image_input"),
    )
    if sees is None and item.get("type") == "vlm":
        sees = True
    if sees is None and "vision" in _texts(item.get("tags")):
        sees = True
    return None if sees is None else ("text", "image") if sees else ("text",)


def _tools(item: Mapping[str, Any], abilities: Mapping[str, Any]) -> bool | None:
    parameters = _texts(item.get("supported_parameters"))
    if parameters:
        return "tools" in parameters
    return _first_flag(
        (item, abilities, _dict(abilities.get("supports"))), ("function_calling", "supports_tools", "tool_calls")
    )


def _efforts(abilities: Mapping[str, Any]) -> tuple[Effort, ...] | None:
    """Of Anthropic's list, which tells exactly what is accepted."""
    effort, thinking = _dict(abilities.get("effort")), _dict(abilities.get("thinking"))
    if not effort or not thinking:
        return None
    if not _says(thinking):
        return ()
    kinds = _dict(thinking.get("types"))
    levels = tuple(level for level in _LEVELS if _says(effort.get(level))) if _says(effort) else ()
    if not levels or _says(kinds.get("enabled")):
        levels = tuple(dict.fromkeys(("minimal", "low", "medium", "high", *levels)))  # a budget serves
    return ("off", *levels) if _says(kinds.get("disabled")) else levels


def _adaptive(abilities: Mapping[str, Any]) -> bool:
    kinds = _dict(_dict(abilities.get("thinking")).get("types"))
    return _says(kinds.get("adaptive")) and not _says(kinds.get("enabled"))


def _prices(pricing: Mapping[str, Any]) -> Prices | None:
    """For a million tokens. OpenRouter and Vercel tell dollars for one token, as text; Together for a million."""
    names = (("prompt", "input"), ("completion", "output"), ("input_cache_read",), ("input_cache_write",))
    rates = [next((pricing[name] for name in group if name in pricing), None) for group in names]
    if rates[0] is None or rates[1] is None:
        return None
    unit = Decimal(1_000_000) if isinstance(rates[0], str) else Decimal(1)
    try:
        numbers = [float(round(Decimal(str(rate or 0)) * unit, 6)) for rate in rates]
    except ArithmeticError:
        return None
    if not all(0 <= number < math.inf for number in numbers):
        return None  # -1: depends on the model that is chosen
    return Prices(numbers[0], numbers[1], numbers[2], numbers[3])


def _of_routes(item: Mapping[str, Any]) -> int | None:
    """Hugging Face: the window of each server behind the router; the smallest holds wherever it goes."""
    routes = item.get("providers")
    sizes = [
        size
        for route in (routes if isinstance(routes, list) else ())
        if (size := _first_count((_dict(route),), ("context_length",)))
    ]
    return min(sizes, default=None)


def _says(value: Any) -> bool:
    return value is True or (isinstance(value, dict) and value.get("supported") is True)


def _first_flag(places: Iterable[Mapping[str, Any]], names: Iterable[str]) -> bool | None:
    names = tuple(names)
    for place in places:
        for name in names:
            if isinstance(place.get(name), bool | dict):
                return _says(place[name])
    return None


def _first_count(places: Iterable[Mapping[str, Any]], names: Iterable[str]) -> int | None:
    names = tuple(names)
    for place in places:
        for name in names:
            value = place.get(name)
            if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= MOST:
                return int(value)
    return None


def _first_text(item: Mapping[str, Any], *names: str, but: Any) -> str | None:
    found = (item.get(name) for name in names)
    return next((text for text in found if isinstance(text, str) and text and text != but), None)


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _texts(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
