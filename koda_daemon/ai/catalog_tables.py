"""ModelTables: what is known of each provider's models, from all sources at once.

The order, the stronger first: the user's settings, the provider's own list, models.dev of today, the bundled table.
Each field of a model comes from the strongest source that tells it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import ValidationError, convert, to_builtins
from msgspec.structs import replace

from koda_daemon.ai.catalog import Bundled, model_of, overlaid
from koda_daemon.ai.catalog_cache import CatalogCache
from koda_daemon.ai.provider import Model, ModelFacts
from koda_daemon.ai.providers import Compat, ProviderConfig
from koda_daemon.ai.settings import ModelSettings, ProviderSettings
from koda_daemon.base.errors import KodaError

_DATED = re.compile(r"[-@](\d{8}|\d{4}-\d{2}-\d{2})\Z")
_FRESH = 3600.0
_FRESH_LOCAL = 20.0
_AFTER_FAILURE = 60.0
"""Seconds that a list holds, that one of a server on this machine does, and before a failed one is asked for again."""


def is_local(config: ProviderConfig) -> bool:
    """Whether the provider is a server on this machine, which answers at once and changes its models at any time."""
    return config.base_url.startswith(("http://localhost", "http://127.0.0.1", "http://[::1]"))


class ModelTables:
    """The models of each provider. ``folder`` keeps what is learned while the daemon runs (None: nothing is kept)."""

    def __init__(self, folder: Path | None = None) -> None:
        self.cache = CatalogCache(folder)
        self._bundled = Bundled()
        self._models: dict[str, tuple[str, str, dict[str, Model]]] = {}
        self._failed: dict[str, float] = {}

    def forget(self, provider: str | None = None) -> None:
        """Lets the models of a provider (None: of all) be put together anew."""
        if provider is None:
            self._models.clear()
        else:
            self._models.pop(provider, None)

    def models(self, config: ProviderConfig, own: ProviderSettings | None) -> dict[str, Model]:
        """The models of a provider by id, the first choice first. ``params.invalid`` names a setting that is wrong."""
        kept = self._models.get(config.id)
        if kept is not None and kept[:2] == (config.api, config.base_url):
            return kept[2]
        listed = self.cache.listed(config.id, config.base_url)
        facts = {one.id: one for one in self._bundled.models(config.id)}
        for source in (self.cache.models(config.id), listed.models if listed is not None else ()):
            for one in source:
                facts[one.id] = overlaid(facts.get(one.id), one)
        rows = {row.id: row for row in own.models} if own is not None else {}
        flags: dict[str, set[str]] = {}
        for place, row in enumerate(rows.values()):
            told = _of_settings(row, f"providers.{config.id}.models[{place}]")
            facts[row.id] = overlaid(facts.get(row.id), told)
            flags[row.id] = set(told.compat or ())
        # What the user set for the whole provider holds for each model, but not against what he set for one.
        hidden = set(_flags(own.compat, f"providers.{config.id}.compat")) if own is not None else set()
        table = {
            id_: model_of(config.id, config.api, one, hidden=hidden - flags.get(id_, set()), known=id_ in rows)
            for id_, one in facts.items()
        }
        self._models[config.id] = (config.api, config.base_url, table)
        return table

    def model(self, config: ProviderConfig, own: ProviderSettings | None, model_id: str) -> Model:
        """The model of that id; of one that no source knows, what is known of it without its date, else guesses."""
        table = self.models(config, own)
        known = table.get(model_id)
        if known is not None:
            return known
        undated = table.get(_DATED.sub("", model_id))
        if undated is not None:
            return replace(undated, id=model_id, name="")
        return Model(provider=config.id, id=model_id, api=config.api, known=False)

    def is_stale(self, config: ProviderConfig) -> bool:
        """Whether the provider's own list is worth asking for."""
        if time.monotonic() < self._failed.get(config.id, 0.0):
            return False
        listed = self.cache.listed(config.id, config.base_url)
        return listed is None or not 0 <= time.time() - listed.at < (_FRESH_LOCAL if is_local(config) else _FRESH)

    def lacks_list(self, config: ProviderConfig) -> bool:
        """Whether a list of the provider is worth waiting for: there is none, or its server is on this machine."""
        return is_local(config) or self.cache.listed(config.id, config.base_url) is None

    async def keep(self, config: ProviderConfig, models: Sequence[ModelFacts]) -> None:
        """Takes in the provider's own list."""
        self._failed.pop(config.id, None)
        await self.cache.keep_list(config.id, config.base_url, models)
        self.forget(config.id)

    def failed(self, config: ProviderConfig) -> None:
        """The provider gave no list."""
        self._failed[config.id] = time.monotonic() + _AFTER_FAILURE

    async def refresh(self) -> None:
        """Takes in what models.dev says today, if that is not known yet."""
        if await self.cache.refresh():
            self.forget()


def _of_settings(row: ModelSettings, path: str) -> ModelFacts:
    try:
        facts = convert({**to_builtins(row), "compat": None}, ModelFacts)
    except ValidationError as error:
        raise KodaError("params.invalid", f"{path}: {error}", path=path) from None
    return replace(facts, compat=_flags(row.compat, f"{path}.compat") or None)


def _flags(compat: Mapping[str, Any], path: str) -> dict[str, str | bool]:
    """The flags of the settings by their Python names; ``params.invalid`` names one that is wrong."""
    try:
        made = convert(compat, Compat)
    except ValidationError as error:
        raise KodaError("params.invalid", f"{path}: {error}", path=path) from None
    names = zip(Compat.__struct_fields__, Compat.__struct_encode_fields__, strict=True)
    return {name: getattr(made, name) for name, written in names if written in compat}
