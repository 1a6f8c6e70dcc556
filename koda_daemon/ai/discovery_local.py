"""What local servers tell of their models outside of ``/v1/models``, where most give nothing but names.

Ollama: github.com/ollama/ollama, docs/api.md (``/api/show``, ``/api/ps``). LM Studio: lmstudio.ai/docs, REST API v0.
llama.cpp: tools/server/README.md (``/props``). vLLM tells the size in ``/v1/models`` itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import anyio
import msgspec
from msgspec.structs import replace

from koda_daemon.ai.discovery import MOST
from koda_daemon.ai.provider import ModelFacts
from koda_daemon.base.errors import KodaError

Ask = Callable[[str, bytes | None], Awaitable[bytes]]
"""Asks a path at the server's root; with a body by POST. Raises ``KodaError``."""

LOCAL = frozenset({"ollama", "lmstudio", "llama.cpp"})
"""The providers that ``described`` knows."""
_AT_ONCE = 4
_MOST = 40  # models that are asked for one by one


async def described(provider: str, models: Sequence[ModelFacts], ask: Ask) -> list[ModelFacts]:
    """The models with what their server tells further; as they are where it tells nothing."""
    try:
        match provider:
            case "ollama":
                return await _ollama(models, ask)
            case "lmstudio":
                return lmstudio(models, await _asked(ask, "/api/v0/models"))
            case "llama.cpp":
                return llama_cpp(models, await _asked(ask, "/props"))
    except KodaError:
        pass
    return list(models)


async def _ollama(models: Sequence[ModelFacts], ask: Ask) -> list[ModelFacts]:
    running = await _asked(ask, "/api/ps")
    loaded = {item.get("model"): item.get("context_length") for item in _items(running, "models")}
    found = list(models)
    limiter = anyio.CapacityLimiter(_AT_ONCE)

    async def one(place: int) -> None:
        async with limiter:
            facts = found[place]
            try:
                shown = await _asked(ask, "/api/show", {"model": facts.id})
            except KodaError:
                return
            found[place] = ollama(facts, shown, loaded.get(facts.id))

    async with anyio.create_task_group() as group:
        for place in range(min(len(found), _MOST)):
            group.start_soon(one, place)
    return found


def ollama(facts: ModelFacts, shown: Mapping[str, Any], loaded: Any) -> ModelFacts:
    """A model of Ollama with what ``/api/show`` says.

    What is beyond the window that the model runs with is cut off in silence, so the window is that one: of the loaded
    model, else of its parameters, else as far as it was trained (the server's own default is not told).
    """
    info = shown.get("model_info")
    info = info if isinstance(info, dict) else {}
    trained = next((value for name, value in info.items() if name.endswith(".context_length")), None)
    parameters = str(shown.get("parameters") or "").split()
    chosen = parameters[parameters.index("num_ctx") + 1] if "num_ctx" in parameters[:-1] else None
    abilities = shown.get("capabilities")
    told = [item for item in abilities if isinstance(item, str)] if isinstance(abilities, list) else None
    return replace(
        facts,
        context_window=_size(loaded) or _size(chosen) or _size(trained) or facts.context_window,
        input=facts.input if told is None else ("text", "image") if "vision" in told else ("text",),
        tools=facts.tools if told is None else "tools" in told,
    )


def lmstudio(models: Sequence[ModelFacts], told: Mapping[str, Any]) -> list[ModelFacts]:
    """Models of LM Studio with what its own list says; without those that only embed."""
    by_id = {item.get("id"): item for item in _items(told, "data")}
    found = []
    for facts in models:
        item = by_id.get(facts.id, {})
        if item.get("type") == "embeddings":
            continue
        abilities = item.get("capabilities")
        found.append(
            replace(
                facts,
                context_window=_size(item.get("loaded_context_length"))
                or _size(item.get("max_context_length"))
                or facts.context_window,
                input=("text", "image") if item.get("type") == "vlm" else facts.input,
                tools="tool_use" in abilities if isinstance(abilities, list) else facts.tools,
            )
        )
    return found


def llama_cpp(models: Sequence[ModelFacts], told: Mapping[str, Any]) -> list[ModelFacts]:
    """Models of llama.cpp with what ``/props`` says of the one that is loaded."""
    settings = told.get("default_generation_settings")
    window = _size(settings.get("n_ctx")) if isinstance(settings, dict) else None
    modalities = told.get("modalities")
    sees = isinstance(modalities, dict) and modalities.get("vision") is True
    return [
        replace(
            facts,
            context_window=window or facts.context_window,
            input=("text", "image") if sees else facts.input,
        )
        for facts in models
    ]


async def _asked(ask: Ask, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    data = await ask(path, None if body is None else msgspec.json.encode(body))
    try:
        value = msgspec.json.decode(data)
    except msgspec.DecodeError:
        value = None
    if not isinstance(value, dict):
        raise KodaError("provider.unreachable", f"The server's answer to {path} is not JSON.")
    return value


def _items(value: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    items = value.get(name)
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _size(value: Any) -> int | None:
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if 0 < number <= MOST else None
