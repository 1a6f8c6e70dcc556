from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from koda_daemon.ai.catalog import DATA, Bundled, Catalog, encoded, filled, model_of, overlaid, problems
from koda_daemon.ai.catalog_build import Sources, build
from koda_daemon.ai.catalog_table import BEGIN, END, table, with_table
from koda_daemon.ai.catalog_tables import ModelTables
from koda_daemon.ai.provider import EFFORTS, ModelFacts, Prices, PriceTier
from koda_daemon.ai.providers import PROVIDERS, ProviderConfig
from koda_daemon.ai.settings import ModelSettings, PriceSettings, ProviderSettings, TierSettings

CATALOG = msgspec.json.decode(DATA.read_bytes(), type=Catalog)


def test_the_bundled_table_is_sound() -> None:
    assert problems() == []
    assert CATALOG.providers.keys() <= PROVIDERS.keys()
    assert sum(map(len, CATALOG.providers.values())) > 1_500
    assert DATA.stat().st_size < 500_000
    for provider, models in CATALOG.providers.items():
        assert len({facts.id for facts in models}) == len(models)
        for facts in models:
            model = model_of(provider, PROVIDERS[provider].api, facts)
            assert model.known
            assert model.name
            assert 0 < model.max_output <= model.context_window
            assert "text" in model.input
            assert list(model.reasoning) == [effort for effort in EFFORTS if effort in model.reasoning]
            assert model.reasoning != ("off",)
            assert hash(model)  # writers are kept by model


def test_prices_of_the_bundled_table_make_sense() -> None:
    priced = [facts.prices for models in CATALOG.providers.values() for facts in models if facts.prices]
    tiers = [tier for prices in priced for tier in prices.tiers or ()]
    rates: list[Prices | PriceTier] = [*priced, *tiers]
    for rate in rates:
        assert 0 <= rate.input < 1_000
        assert 0 <= rate.output < 1_000
        assert rate.cache_read <= rate.input or not rate.input


@pytest.mark.parametrize(
    ("ref", "window", "efforts", "prices"),
    [
        ("anthropic/claude-sonnet-4-5", 200_000, "off minimal low medium high", (3, 15, 0.3, 3.75, 6)),
        ("anthropic/claude-opus-5-5", 1_000_000, "low medium high xhigh max", (4, 20, 0.2, 5, 8)),
        ("openai/gpt-5.1", 400_000, "off low medium high", (1.25, 10, 0.125, 0)),
        ("openai/gpt-6-sol", 1_050_000, "off low medium high xhigh max", (2, 10, 0.2, 2.5)),
        ("deepseek/deepseek-v4-pro", 1_000_000, "off high max", None),
        ("groq/openai/gpt-oss-120b", 131_072, "low medium high", (0.15, 0.6, 0.075, 0)),
    ],
)
def test_some_models(ref: str, window: int, efforts: str, prices: tuple[float, ...] | None) -> None:
    provider, _, id_ = ref.partition("/")
    facts = next(facts for facts in Bundled().models(provider) if facts.id == id_)
    assert (facts.context_window, " ".join(facts.reasoning or ())) == (window, efforts)
    if prices is not None:
        assert facts.prices is not None
        told = facts.prices
        assert (told.input, told.output, told.cache_read, told.cache_write, told.cache_write_1h)[
            : len(prices)
        ] == prices


def test_a_missing_or_broken_file_is_an_empty_table(tmp_path: Path) -> None:
    assert Bundled(tmp_path / "none.json").models("openai") == []
    broken = tmp_path / "broken.json"
    broken.write_bytes(b'{"providers": {"openai": [{"id": 5}], "groq": [{"id": "x"}]}}')
    assert Bundled(broken).models("openai") == []
    assert [facts.id for facts in Bundled(broken).models("groq")] == ["x"]
    broken.write_bytes(b"{")
    assert Bundled(broken).models("groq") == []


def test_a_table_that_was_edited_by_hand_is_found(tmp_path: Path) -> None:
    path = tmp_path / "models.json"
    path.write_bytes(encoded(CATALOG).replace(b'"maxOutput":', b'"maxOutput": ', 1))
    assert "edited by hand" in problems(path)[0]
    wrong = Catalog(built="", providers={"nobody": [], "groq": [ModelFacts(id="x", api="soap", compat={"no": True})]})
    path.write_bytes(encoded(wrong))
    assert len(problems(path)) == 2


def test_the_stronger_source_wins_field_by_field() -> None:
    base = ModelFacts(id="m", name="M", context_window=5, tools=True, compat={"a": True, "b": True})
    over = ModelFacts(id="m", context_window=9, compat={"b": False})
    assert overlaid(base, over) == ModelFacts(
        id="m", name="M", context_window=9, tools=True, compat={"a": True, "b": False}
    )
    assert overlaid(None, over) == over


def test_finer_prices_are_kept_when_the_plain_ones_agree() -> None:
    fine = Prices(2, 10, 0.2, 2.5, 4, (PriceTier(100, 4, 20, 0.4),))
    assert filled(Prices(2, 10), fine) == fine
    assert filled(Prices(2, 10, 0.1, tiers=(PriceTier(100, 4, 20),)), fine) == Prices(
        2, 10, 0.1, 2.5, 4, (PriceTier(100, 4, 20, 0.4),)
    )
    assert filled(Prices(3, 10), fine) == Prices(3, 10)


def config(compat: dict[str, object] | None = None) -> ProviderConfig:
    return ProviderConfig(id="lab", name="Lab", api="openai-completions", base_url="http://127.0.0.1:9/v1")


@pytest.mark.asyncio
async def test_lists_stand_above_the_table_and_settings_above_all(tmp_path: Path) -> None:
    tables = ModelTables(tmp_path)
    await tables.keep(config(), [ModelFacts(id="a", context_window=10, max_output=4), ModelFacts(id="b")])
    rows = [
        ModelSettings(
            id="a", max_output=3, prices=PriceSettings(input=1, output=2, tiers=[TierSettings(above=9, input=2)])
        )
    ]
    found = tables.models(config(), ProviderSettings(models=rows))
    assert (found["a"].context_window, found["a"].max_output) == (10, 3)
    assert found["a"].prices == Prices(1, 2, tiers=(PriceTier(9, 2),))
    assert (found["a"].known, found["b"].known) == (True, False)
    again = ModelTables(tmp_path)
    assert again.models(config(), None)["a"].context_window == 10
    elsewhere = msgspec.structs.replace(config(), base_url="http://127.0.0.1:8/v1")
    assert again.models(elsewhere, None) == {}


def test_flags_of_the_settings_stand_above_those_of_the_table() -> None:
    row = PROVIDERS["deepseek"]
    made = ProviderConfig(id=row.id, name=row.name, api=row.api, base_url=row.base_url, compat=row.compat)
    plain = ModelTables().models(made, None)["deepseek-v4-pro"]
    assert dict(plain.compat) == {"reasoning_effort": True}
    own = ProviderSettings(compat={"reasoningEffort": False})
    assert ModelTables().models(made, own)["deepseek-v4-pro"].compat == ()
    own.models.append(ModelSettings(id="deepseek-v4-pro", compat={"reasoningEffort": True}))
    assert dict(ModelTables().models(made, own)["deepseek-v4-pro"].compat) == {"reasoning_effort": True}


def test_a_dated_name_is_known_by_its_model() -> None:
    row = PROVIDERS["openai"]
    made = ProviderConfig(id=row.id, name=row.name, api=row.api, base_url=row.base_url)
    dated = ModelTables().model(made, None, "gpt-5.1-2025-11-13")
    assert (dated.id, dated.context_window, dated.known) == ("gpt-5.1-2025-11-13", 400_000, True)
    assert not ModelTables().model(made, None, "gpt-99").known


def test_the_readme_table() -> None:
    text = with_table(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert with_table(text) == text
    assert with_table("no markers") == "no markers"
    lines = table().splitlines()
    assert len(lines) == 2 + len(PROVIDERS) - 1
    assert len({line.count("|") for line in lines}) == 1


def test_what_is_built_of_nothing_is_nothing() -> None:
    from datetime import date

    class Nothing(dict[str, dict[str, object]]):
        def __missing__(self, key: str) -> dict[str, object]:
            return {}

    assert build(Sources(pi=Nothing(), litellm={}, genai={}), date(2026, 11, 23)) == {}
