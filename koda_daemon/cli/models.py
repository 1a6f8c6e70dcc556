"""``koda-daemon models``: the table of models."""

from __future__ import annotations

import asyncio
import os
import sys

from koda_daemon.ai.auth.storage import AuthStorage
from koda_daemon.ai.provider import Model
from koda_daemon.ai.registry import ModelRegistry
from koda_daemon.base.errors import KodaError
from koda_daemon.cli.output import print_json, print_table
from koda_daemon.cli.style import style_for
from koda_daemon.coding.settings import koda_home, load_settings

_PATIENCE = 5.0


def list_models(provider: str | None, *, available: bool, raw: bool) -> None:
    """Prints the models of one provider or of all. Raises ``params.invalid`` for a provider that does not exist.

    Providers that can be used are asked for their own lists, for a few seconds at most.
    """
    asyncio.run(_list_models(provider, available=available, raw=raw))


async def _list_models(provider: str | None, *, available: bool, raw: bool) -> None:
    problems: list[KodaError] = []
    home = koda_home(os.environ)
    settings = load_settings(home, None, os.environ, problems=problems)
    auth = AuthStorage(home, os.environ, settings.providers)
    registry = ModelRegistry(settings.providers, cache=home / "cache", credentials=lambda: auth)
    for problem in problems + await asyncio.to_thread(registry.problems):
        sys.stderr.write(f"koda-daemon: {problem.message}\n")
    if provider is not None and provider not in registry.providers:
        raise KodaError("params.invalid", f"There is no provider {provider!r}: {', '.join(registry.providers)}.")
    try:
        listed = await registry.listed(provider, wait=_PATIENCE)
    finally:
        await registry.aclose()
    usable = {name: registry.available(name) for name in registry.providers}
    found = [model for model in listed if usable[model.provider] or not available]
    if raw:
        print_json([_as_data(model, usable[model.provider]) for model in found])
        return
    if not found:
        sys.stderr.write("koda-daemon: no models are known there; is the server running?\n")
    style = style_for(sys.stdout)
    mark = style.symbol("✓", "*")
    print_table(
        [
            (
                mark if usable[model.provider] else " ",
                model.ref,
                f"{model.context_window // 1000}k",
                _price(model),
                " ".join((*model.input, *(("reasoning",) if model.reasoning else ()))),
            )
            for model in found
        ]
    )


def _price(model: Model) -> str:
    if model.prices is None:
        return ""
    return f"${model.prices.input:g}/${model.prices.output:g}"


def _as_data(model: Model, usable: bool) -> dict[str, object]:
    """As in ``koda/model/list``."""
    return {
        "id": model.ref,
        "name": model.name or model.id,
        "provider": model.provider,
        "contextWindow": model.context_window,
        "maxOutput": model.max_output,
        "modalities": model.input,
        "reasoning": model.reasoning,
        "tools": model.tools,
        "prices": model.prices,
        "available": usable,
        "known": model.known,
    }
