"""What can be wrong with the settings of a provider beyond their types."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from koda_daemon.ai.plugins import BUILT_IN
from koda_daemon.ai.providers import ProviderConfig
from koda_daemon.ai.settings import ProviderSettings
from koda_daemon.base.errors import KodaError

# Names and values as HTTP carries them (RFC 9110, 5.1 and 5.5); the rest of Unicode is refused where they are encoded.
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

_OPTIONS = frozenset({"body", "connectTimeout", "maxConcurrent", "oauth", "proxy", "readTimeout"})
_FURTHER = {
    "azure-openai": frozenset({"apiVersion", "wire"}),
    "bedrock-converse": frozenset({"profile", "region"}),
    "demo": frozenset({"pace", "script"}),
}


def checked_headers(headers: Mapping[str, str], provider: str) -> Mapping[str, str]:
    """``headers``; ``params.invalid`` names one that cannot be sent, without its value."""
    path = f"providers.{provider}.headers"
    for name, value in headers.items():
        if not _NAME.match(name):
            raise KodaError("params.invalid", f"{path}: {name!r} is no name of a header.", path=path)
        if value.startswith("!"):
            raise KodaError("params.invalid", f"{path}.{name}: commands are for the apiKey only.", path=path)
        if _CONTROL.search(value):
            raise KodaError("params.invalid", f"{path}.{name} holds a line break or control character.", path=path)
    return headers


def checked_options(options: Mapping[str, Any], provider: str) -> None:
    """``params.invalid`` if ``body`` is no object: it is merged into each request."""
    if not isinstance(options.get("body", {}), dict):
        path = f"providers.{provider}.options.body"
        raise KodaError("params.invalid", f"{path} must be an object.", path=path)


def problems_of(
    settings: Mapping[str, ProviderSettings],
    is_api: Callable[[str], bool],
    configured: Callable[[str], ProviderConfig],
    models: Callable[[ProviderConfig], object],
) -> list[KodaError]:
    """All that is wrong. ``configured`` and ``models`` raise what is wrong with a provider and with its models."""
    found: list[KodaError] = []

    def wrong(path: str, why: str) -> None:
        found.append(KodaError("params.invalid", f"{path}: {why}.", path=path))

    for name, own in settings.items():
        if "/" in name:
            wrong(f"providers.{name}", "cannot be chosen, since a slash ends the name of a provider")
        for place, row in enumerate(own.models):
            if row.api is not None and not is_api(row.api):
                wrong(f"providers.{name}.models[{place}].api", f"no wire API named {row.api!r}")
        try:
            config = configured(name)
            known = _OPTIONS | _FURTHER.get(config.api, frozenset())
            for option in own.options:
                if option not in known and config.api in BUILT_IN:  # most likely misspelt
                    wrong(f"providers.{name}.options.{option}", "unknown key")
            models(config)
        except KodaError as error:
            found.append(error)
    return found
