from __future__ import annotations

import asyncio
import contextlib
import os
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from koda_daemon.ai.catalog import Bundled
from koda_daemon.ai.catalog_cache import TTL, CatalogCache
from koda_daemon.ai.catalog_models_dev import read_models_dev
from koda_daemon.ai.discovery import read_list
from koda_daemon.ai.provider import ModelFacts
from koda_daemon.ai.registry import ModelRegistry
from koda_daemon.ai.settings import ModelSettings, ProviderSettings
from tests.ai.conftest import Loopback

TEXT = {"modalities": {"input": ["text"], "output": ["text"]}, "limit": {"context": 7, "output": 3}}
API = msgspec.json.encode({"groq": {"models": {"new-model": TEXT}}})


def aged(folder: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(folder / "models.json", (then, then))


@pytest.mark.asyncio
async def test_models_dev_is_asked_once_a_day_and_only_for_what_changed(tmp_path: Path, loopback: Loopback) -> None:
    loopback.reply(API, content_type="application/json", etag='"1"')
    url = f"{loopback.url}/api.json"
    assert await CatalogCache(tmp_path, url=url).refresh()
    cache = CatalogCache(tmp_path, url=url)
    assert cache.models("groq") == [ModelFacts(id="new-model", context_window=7, max_output=3, input=("text",))]
    assert not await cache.refresh()
    assert len(loopback.requests) == 1

    aged(tmp_path, TTL + 1)
    loopback.replies.clear()
    loopback.reply(status=304)
    assert not await CatalogCache(tmp_path, url=url).refresh()
    assert loopback.requests[1].headers["if-none-match"] == '"1"'
    assert not await CatalogCache(tmp_path, url=url).refresh()
    assert len(loopback.requests) == 2
    assert cache.models("groq")


@pytest.mark.asyncio
@pytest.mark.parametrize(("body", "status"), [(b"<html>", 200), (b"{}", 200), (b"no", 503), (API[:-1], 200)])
async def test_an_answer_that_is_no_table_changes_nothing(
    tmp_path: Path, loopback: Loopback, body: bytes, status: int
) -> None:
    loopback.reply(body, status=status)
    cache = CatalogCache(tmp_path, url=f"{loopback.url}/api.json")
    assert not await cache.refresh()
    assert not await cache.refresh()
    assert len(loopback.requests) == 1  # not again for an hour
    assert not list(tmp_path.iterdir())


@pytest.mark.asyncio
async def test_without_a_network_the_tables_at_hand_are_used(tmp_path: Path) -> None:
    cache = CatalogCache(tmp_path, url="http://127.0.0.1:9/api.json")
    assert not await cache.refresh()
    assert cache.models("groq") == []


@pytest.mark.asyncio
async def test_lists_are_kept_and_broken_files_are_forgotten(tmp_path: Path) -> None:
    cache = CatalogCache(tmp_path / "deep" / "cache")
    await cache.keep_list("lab", "http://a", [ModelFacts(id="m")])
    again = CatalogCache(tmp_path / "deep" / "cache").listed("lab", "http://a")
    assert again is not None
    assert again.models == [ModelFacts(id="m")]
    (tmp_path / "deep" / "cache" / "lists.json").write_bytes(b"{")
    assert CatalogCache(tmp_path / "deep" / "cache").listed("lab", "http://a") is None
    nowhere = CatalogCache(None)
    await nowhere.keep_list("lab", "http://a", [ModelFacts(id="m")])
    assert nowhere.listed("lab", "http://a") is not None
    assert not await nowhere.refresh()


@pytest.mark.asyncio
async def test_a_folder_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"a file")
    cache = CatalogCache(tmp_path / "cache")
    await cache.keep_list("lab", "http://a", [ModelFacts(id="m")])
    assert cache.listed("lab", "http://a") is not None


def test_the_registry_knows_what_models_dev_said(tmp_path: Path) -> None:
    facts = ModelFacts(id="new-model", context_window=7)
    (tmp_path / "models.json").write_bytes(msgspec.json.encode({"etag": None, "providers": {"groq": [facts]}}))
    models = ModelRegistry({}, environ={}, cache=tmp_path)
    assert models.model("groq/new-model").context_window == 7
    assert models.model("groq/openai/gpt-oss-120b").context_window == 131_072


@pytest.mark.asyncio
async def test_daemons_keep_their_lists_side_by_side(tmp_path: Path) -> None:
    first, second = CatalogCache(tmp_path), CatalogCache(tmp_path)
    for cache in (first, second):
        assert cache.listed("a0", "http://a") is None  # both have read what there is
    async with asyncio.TaskGroup() as group:
        for number in range(8):
            for cache, name in ((first, "a"), (second, "b")):
                group.create_task(cache.keep_list(f"{name}{number}", "http://a", [ModelFacts(id=name)]))
    await first.keep_list("a0", "http://a", [ModelFacts(id="new")])
    await second.keep_list("last", "http://a", [])
    again = CatalogCache(tmp_path)
    kept = {name: again.listed(name, "http://a") for name in [*(f"{x}{n}" for x in "ab" for n in range(8)), "last"]}
    assert all(kept.values())
    assert kept["a0"] is not None
    assert kept["a0"].models == [ModelFacts(id="new")]
    assert [path.name for path in tmp_path.iterdir()] == ["lists.json"]


@pytest.mark.asyncio
async def test_each_source_stands_above_the_next_field_by_field(tmp_path: Path, loopback: Loopback) -> None:
    """User settings, the provider's live list, models.dev of today, the bundled table."""
    id_ = "openai/gpt-oss-120b"
    dev = ModelFacts(id=id_, name="Of models.dev", context_window=11, max_output=7)
    (tmp_path / "models.json").write_bytes(msgspec.json.encode({"etag": None, "providers": {"groq": [dev]}}))
    loopback.reply(
        msgspec.json.encode({"data": [{"id": id_, "context_window": 22, "max_completion_tokens": 9}]}),
        content_type="application/json",
    )
    own = ProviderSettings(
        base_url=loopback.url, api_key="k", models=[ModelSettings(id=id_, max_output=5), ModelSettings(id="mine")]
    )
    models = ModelRegistry({"groq": own}, environ={}, cache=tmp_path)
    bundled = next(facts for facts in Bundled().models("groq") if facts.id == id_)
    before = models.model(f"groq/{id_}")
    assert (before.context_window, before.max_output, before.name) == (11, 5, "Of models.dev")
    await models.listed("groq")
    await models.aclose()
    found = models.model(f"groq/{id_}")
    assert (found.max_output, found.context_window, found.name) == (5, 22, "Of models.dev")
    assert (found.prices, found.reasoning) == (bundled.prices, bundled.reasoning)
    assert models.model("groq/mine").known


TEXTS = st.sampled_from(["", "x", "text", "image", "chat", "1e999999", "NaN", "-1", "effort", "toggle"])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
NAMES = st.sampled_from(
    (
        *(
            "id",
            "models",
            "context_length",
            "pricing",
            "prompt",
            "completion",
            "capabilities",
            "limits",
            "type",
            "tags",
        ),
        *("modalities", "input", "output", "limit", "context", "cost", "tiers", "tier", "size", "reasoning", "status"),
        *("reasoning_options", "values", "thinking", "effort", "providers", "supports"),
    )
)
ANYTHING = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4))


@given(st.dictionaries(NAMES, ANYTHING, max_size=6), ANYTHING)
def test_lists_of_any_content_are_read_or_refused(item: dict[str, object], cost: object) -> None:
    listed = read_list(msgspec.json.encode({"data": [{**item, "id": "m", "pricing": cost}]}), "Lab")
    model = {"modalities": {"output": ["text"]}, **item, "cost": cost}
    with contextlib.suppress(ValueError):
        listed += read_models_dev(msgspec.json.encode({"groq": {"models": {"m": model}}}))["groq"]
    for facts in listed:
        assert 0 < (facts.context_window or 1) <= 10**9
        msgspec.json.encode(facts)
