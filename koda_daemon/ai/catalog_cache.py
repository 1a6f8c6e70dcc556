"""What was learned of models since the release, under ``KODA_HOME/cache``: models.dev as of today, lists of providers.

Nothing here is needed: a missing, old or broken file only means that the bundled table stands alone. Files are replaced
whole, so that two daemons never see half of one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import msgspec
from msgspec import Struct

from koda_daemon.ai.catalog import Bundled
from koda_daemon.ai.provider import ModelFacts

if TYPE_CHECKING:
    import httpx2

_log = logging.getLogger(__name__)

URL = "https://models.dev/api.json"
TTL = 24 * 3600.0
"""Seconds until models.dev is asked again."""
_AFTER_FAILURE = 3600.0
_LARGEST = 64 << 20
_TIMEOUT = 30.0


class ListedModels(Struct, frozen=True, rename="camel"):
    """A list that a provider gave: by which address, when (seconds since 1970), and the models."""

    base_url: str
    at: float
    models: list[ModelFacts]


class _Head(Struct, frozen=True):
    etag: str | None = None


_lists = msgspec.json.Decoder(dict[str, ListedModels])


class CatalogCache:
    """The cache in one folder; without a folder it remembers for as long as it lives and asks models.dev nothing."""

    def __init__(self, folder: Path | None, *, url: str = URL) -> None:
        self._folder = folder
        self._url = url
        self._table = Bundled(folder / "models.json") if folder is not None else None
        self._listed: dict[str, ListedModels] | None = None
        self._next_try = 0.0
        self._refreshing = asyncio.Lock()
        self._keeping = asyncio.Lock()

    def models(self, provider: str) -> list[ModelFacts]:
        """What models.dev said of a provider's models."""
        return self._table.models(provider) if self._table is not None else []

    def listed(self, provider: str, base_url: str) -> ListedModels | None:
        """The last list that the provider gave at that address."""
        found = self._lists().get(provider)
        return found if found is not None and found.base_url == base_url else None

    async def keep_list(self, provider: str, base_url: str, models: Sequence[ModelFacts]) -> None:
        """Remembers a list of a provider."""
        self._lists()[provider] = ListedModels(base_url, time.time(), list(models))
        if self._folder is not None:
            async with self._keeping:
                await anyio.to_thread.run_sync(_add_lists, self._folder / "lists.json", dict(self._lists()))

    def _lists(self) -> dict[str, ListedModels]:
        if self._listed is None:
            self._listed = {} if self._folder is None else _read_lists(self._folder / "lists.json")
        return self._listed

    async def refresh(self) -> bool:
        """Gets models.dev if what is here is a day old; True when there is something new. Never raises.

        The answer is asked for only if it changed (ETag). After a failure it is not tried again for an hour.
        """
        if self._folder is None or self._refreshing.locked():
            return False
        async with self._refreshing:
            path = self._folder / "models.json"
            age = await anyio.to_thread.run_sync(_age, path)
            if age < TTL or time.monotonic() < self._next_try:
                return False
            self._next_try = time.monotonic() + _AFTER_FAILURE
            try:
                data = await self._fetch(path)
                if data is not None:
                    await anyio.to_thread.run_sync(_write, path, data)
            except (OSError, ValueError) as error:
                _log.info("models.dev could not be read (%s); the tables at hand are used", type(error).__name__)
                return False
            if data is not None:
                self._table = Bundled(path)
            return data is not None

    async def _fetch(self, path: Path) -> bytes | None:
        """The new table, condensed; None if the old one still holds. Raises ``OSError``, ``ValueError``."""
        await anyio.to_thread.run_sync(_import)  # off the loop, as all that loads much
        import httpx2

        etag = await anyio.to_thread.run_sync(_etag, path)
        headers = {"accept": "application/json"} | ({"if-none-match": etag} if etag else {})
        client = await anyio.to_thread.run_sync(self._client)  # loads certificates
        document = bytearray()
        try:
            async with client, client.stream("GET", self._url, headers=headers) as response:
                if response.status_code == 304:
                    await anyio.to_thread.run_sync(os.utime, path)
                    return None
                if response.status_code != 200:
                    raise ValueError(f"HTTP {response.status_code}")
                async for chunk in response.aiter_bytes():
                    document += chunk
                    if len(document) > _LARGEST:
                        raise ValueError("too large")
                new_etag = response.headers.get("etag")
        except httpx2.HTTPError as error:
            raise ValueError(type(error).__name__) from None
        return await anyio.to_thread.run_sync(_condensed, bytes(document), new_etag)

    def _client(self) -> httpx2.AsyncClient:
        import httpx2

        from koda_daemon.ai.http import certificates

        return httpx2.AsyncClient(timeout=_TIMEOUT, verify=certificates(self._url.partition(":")[0]))


def _import() -> None:
    import httpx2  # noqa: F401


def _condensed(document: bytes, etag: str | None) -> bytes:
    """What is kept of models.dev: the models of our providers, in the form of the bundled table."""
    from koda_daemon.ai.catalog_models_dev import read_models_dev

    return msgspec.json.encode({"etag": etag, "providers": read_models_dev(document)})


def _read_lists(path: Path) -> dict[str, ListedModels]:
    try:
        return _lists.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError):
        return {}


def _add_lists(path: Path, lists: dict[str, ListedModels]) -> None:
    """Keeps ``lists`` beside those that another daemon has kept since; of one provider the newest."""
    for provider, other in _read_lists(path).items():
        if provider not in lists or lists[provider].at < other.at:
            lists[provider] = other
    _write(path, msgspec.json.encode(lists))


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return float("inf")


def _etag(path: Path) -> str | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Head).etag
    except (OSError, msgspec.DecodeError):
        return None


def _write(path: Path, data: bytes) -> None:
    """Replaces a file whole; what cannot be kept is done without."""
    scratch = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        scratch.write_bytes(data)
        os.replace(scratch, path)
    except OSError as error:
        _log.info("%s could not be kept: %s", path.name, error.strerror)
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)
