"""The ``providers`` part of the settings: rows that add a provider or override a built-in one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType, field

from koda_daemon.ai.provider import Effort

Count: TypeAlias = Annotated[int, Meta(ge=1)]
Rate: TypeAlias = Annotated[float, Meta(ge=0, le=1_000_000)]


class TierSettings(Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """As ``ai.provider.PriceTier``."""

    above: Count
    input: Rate = 0.0
    output: Rate = 0.0
    cache_read: Rate = 0.0
    cache_write: Rate = 0.0
    cache_write_1h: Rate | UnsetType = field(default=UNSET, name="cacheWrite1h")


class PriceSettings(Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """As ``ai.provider.Prices``: US dollars for a million tokens."""

    input: Rate = 0.0
    output: Rate = 0.0
    cache_read: Rate = 0.0
    cache_write: Rate = 0.0
    cache_write_1h: Rate | UnsetType = field(default=UNSET, name="cacheWrite1h")
    tiers: list[TierSettings] | UnsetType = UNSET


class ModelSettings(Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """A model of a provider, over what is known of it; what nobody tells gets cautious defaults."""

    id: Annotated[str, Meta(min_length=1)]
    name: str | None = None
    context_window: Count | None = None
    max_output: Count | None = None
    input: list[Literal["text", "image"]] | None = None
    reasoning: list[Effort] | None = None
    tools: bool | None = None
    prices: PriceSettings | None = None
    api: str | None = None
    """Its wire API, where it is not the provider's."""
    max_images: Count | None = None
    compat: dict[str, Any] = field(default_factory=dict)


class ProviderSettings(Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """One provider row. ``api_key`` may be ``$NAME`` (environment), ``!command`` (what it prints) or a literal."""

    api: str | None = None
    base_url: str | None = None
    api_key: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    models: list[ModelSettings] = field(default_factory=list)
    compat: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:  # the key and headers stay out of logs and tracebacks
        return f"ProviderSettings(api={self.api!r}, base_url={self.base_url!r})"


def key_variables(providers: Mapping[str, ProviderSettings]) -> frozenset[str]:
    """The variables of the environment that the settings name as keys (``$NAME``), whatever they are called."""
    written = (value for row in providers.values() for value in (row.api_key or "", *row.headers.values()))
    return frozenset(value[1:] for value in written if value.startswith("$"))
