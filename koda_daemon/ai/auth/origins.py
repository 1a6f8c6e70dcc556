"""Keys that the user has written down: in the settings, or in the environment."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from koda_daemon.ai.auth import Source
from koda_daemon.ai.auth.redact import REDACTOR, passwords_in, secret_values
from koda_daemon.ai.providers import PROVIDERS
from koda_daemon.ai.settings import ProviderSettings

_KEY_LIKE = re.compile(r"(?=\S*\d)(?=\S*[A-Za-z])\S{20,}")


def _secrets_of(row: ProviderSettings, environ: Mapping[str, str]) -> Iterator[str]:
    """What must not be shown of a row beside its key: passwords in addresses, and headers that look like keys."""
    named = {
        name: environ.get(value[1:], "") if value.startswith("$") else value for name, value in row.headers.items()
    }
    yield from secret_values(named.items())
    yield from (value for name, value in named.items() if row.headers[name] != value or _KEY_LIKE.fullmatch(value))
    for address in (row.base_url, row.options.get("proxy")):
        if isinstance(address, str):
            yield from passwords_in(address)


class WrittenKeys:
    """``providers.<id>.apiKey`` (``$NAME``, ``!command`` or the key itself), else the variables of the provider's row.

    Settings go first since they may name another address too, where a key of the environment must not be sent.
    """

    def __init__(self, settings: Mapping[str, ProviderSettings], environ: Mapping[str, str]) -> None:
        self._settings = settings
        self._environ = environ
        for row in settings.values():
            REDACTOR.add(*_secrets_of(row, environ))
        REDACTOR.add(*secret_values(environ.items()))

    def in_settings(self, provider_id: str) -> bool:
        """Whether the settings say where the key is: then it is looked for nowhere else."""
        row = self._settings.get(provider_id)
        return row is not None and bool(row.api_key)

    def source(self, provider_id: str) -> Source | None:
        """Where the key is; None when there is none. A ``!command`` is taken to print one."""
        if self.command(provider_id) is not None:
            return "settings"
        plain = self.plain(provider_id)
        return None if plain is None else plain[1]

    def place(self, provider_id: str) -> str | None:
        """Where the user has written the key, in words; None when nowhere."""
        if self.source(provider_id) is None:
            return None
        row = self._settings.get(provider_id)
        if row is not None and row.api_key:
            return f"providers.{provider_id}.apiKey in the settings"
        built_in = PROVIDERS.get(provider_id)
        names = built_in.env if built_in is not None else ()
        return next((f"{name} in the environment" for name in names if self._environ.get(name, "").strip()), None)

    def command(self, provider_id: str) -> str | None:
        """The command line that prints the key."""
        row = self._settings.get(provider_id)
        value = row.api_key if row is not None else None
        return value[1:].strip() if value is not None and value.startswith("!") else None

    def plain(self, provider_id: str) -> tuple[str, Source] | None:
        """The key, if no command has to be run for it, and where it is from."""
        row = self._settings.get(provider_id)
        if row is not None and row.api_key:
            value = row.api_key
            if value.startswith("!"):
                return None
            found = self._environ.get(value[1:], "").strip() if value.startswith("$") else value
            REDACTOR.add(found)
            return (found, "settings") if found else None
        built_in = PROVIDERS.get(provider_id)
        for name in built_in.env if built_in is not None else ():
            if found := self._environ.get(name, "").strip():
                return found, "environment"
        return None
