from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncGenerator

import pytest

from koda_daemon.ai.events import Done, StreamError, StreamEvent
from koda_daemon.ai.messages import AssistantMessage, TextBlock, UserMessage
from koda_daemon.ai.provider import BaseProvider, Context, Model, Prices, StreamOptions, ToolSpec
from koda_daemon.ai.providers import PROVIDERS, ProviderConfig
from koda_daemon.ai.registry import ModelRegistry
from koda_daemon.ai.settings import ModelSettings, PriceSettings, ProviderSettings
from koda_daemon.ai.stream import AssistantMessageEventStream
from koda_daemon.base.errors import KodaError

CONTEXT = Context("", (UserMessage((TextBlock("Hi"),)),))


class Parrot(BaseProvider):
    """A custom wire API, as a user would write it."""

    api_type = "parrot"

    def stream(self, model: Model, context: Context, options: StreamOptions) -> AssistantMessageEventStream:
        async def events() -> AsyncGenerator[StreamEvent]:
            yield Done(AssistantMessage(content=(TextBlock("Hi!"),), model=model.ref, api="parrot", stop_reason="end"))

        return AssistantMessageEventStream(events())


class Configured(Parrot):
    api_type = "configured"

    def __init__(self, config: ProviderConfig) -> None:
        self.config = config


def test_known_and_unknown_models() -> None:
    models = ModelRegistry({}, environ={})
    known = models.model("anthropic/claude-sonnet-4-5")
    assert (known.api, known.known, known.input) == ("anthropic-messages", True, ("text", "image"))
    unknown = models.model("openrouter/vendor/new-model")
    assert (unknown.id, unknown.api, unknown.known) == ("vendor/new-model", "openai-completions", False)


@pytest.mark.parametrize("ref", ["nobody/model", "gpt", "", "/x", "openai/"])
def test_refs_that_name_nothing(ref: str) -> None:
    with pytest.raises(KodaError) as caught:
        ModelRegistry({}, environ={}).model(ref)
    assert caught.value.kind == "model.unknown"


def test_thirty_providers_are_rows() -> None:
    assert len(PROVIDERS) > 30
    for row in PROVIDERS.values():
        assert row.base_url.startswith(("https://", "{")) or not row.env


def test_models_of_one_or_all() -> None:
    models = ModelRegistry({}, environ={})
    assert {model.ref for model in models.models("demo")} == {"demo/koda", "demo/scripted", "demo/echo"}
    assert len({model.ref for model in models.models()}) == len(models.models()) > 10
    assert models.models("nobody") == []


def test_availability_and_the_default() -> None:
    models = ModelRegistry({}, environ={"GROQ_API_KEY": "k"})
    assert [models.available(name) for name in ("groq", "openai", "ollama", "demo", "nobody")] == [
        True,
        False,
        True,
        True,
        False,
    ]
    assert models.default_ref().startswith("groq/")
    assert ModelRegistry({}, environ={}).default_ref() == "demo/koda"


def test_settings_override_a_built_in_row() -> None:
    own = ProviderSettings(
        base_url="http://127.0.0.1:9/v1/", headers={"x-team": "$TEAM", "x-y": "$NONE"}, compat={"reasoning": "none"}
    )
    config = ModelRegistry({"groq": own}, environ={"GROQ_API_KEY": "k", "TEAM": "a"}).config("groq")
    assert (config.base_url, config.api_key, config.headers) == ("http://127.0.0.1:9/v1", "k", {"x-team": "a"})
    assert config.compat.reasoning == "none"


def test_settings_add_a_provider() -> None:
    row = ModelSettings(id="any", context_window=1_000, reasoning=["low"], prices=PriceSettings(input=1.0, output=2.0))
    own = ProviderSettings(base_url="http://127.0.0.1:9/v1", api_key="$LAB_KEY", models=[row])
    models = ModelRegistry({"lab": own}, environ={"LAB_KEY": "k"})
    found = models.model("lab/any")
    assert (found.context_window, found.reasoning, found.prices) == (1_000, ("low",), Prices(1, 2))
    assert models.config("lab").api_key == "k"
    assert models.available("lab")


def test_settings_may_describe_a_bundled_model_further() -> None:
    own = ProviderSettings(models=[ModelSettings(id="gpt-4o", max_output=5)])
    found = ModelRegistry({"openai": own}, environ={}).model("openai/gpt-4o")
    assert (found.max_output, found.context_window) == (5, 128_000)


@pytest.mark.parametrize(
    ("own", "path"),
    [
        (ProviderSettings(), "providers.lab.baseUrl"),
        (ProviderSettings(base_url="http://x", api="soap"), "providers.lab.api"),
        (ProviderSettings(base_url="http://x", compat={"nope": 1}), "providers.lab.compat"),
        (
            ProviderSettings(base_url="http://x", models=[ModelSettings(id="m", compat={"nope": 1})]),
            "providers.lab.models[0].compat",
        ),
        (ProviderSettings(base_url="http://x", headers={"a b": "c"}), "providers.lab.headers"),
        (ProviderSettings(base_url="http://x", headers={"": "c"}), "providers.lab.headers"),
        (ProviderSettings(base_url="http://x", headers={"a": "b\r\nc: d"}), "providers.lab.headers"),
        (ProviderSettings(base_url="http://x", headers={"a": "$BROKEN"}), "providers.lab.headers"),
        (ProviderSettings(base_url="http://x", headers={"a": "!date"}), "providers.lab.headers"),
        (ProviderSettings(base_url="http://x", options={"body": [1]}), "providers.lab.options.body"),
    ],
)
def test_settings_that_are_wrong_are_named(own: ProviderSettings, path: str) -> None:
    models = ModelRegistry({"lab": own}, environ={"BROKEN": "x\ny"})
    with pytest.raises(KodaError) as caught:
        models.model("lab/m")
    assert (caught.value.kind, caught.value.path) == ("params.invalid", path)
    assert [problem.path for problem in models.problems()] == [path]
    assert models.models("lab") == []


def test_options_that_no_wire_api_knows_are_told_of() -> None:
    known = {"readTimeout": 1, "proxy": "http://x", "body": {}, "maxConcurrent": 2, "connectTimeout": 1}
    own = {
        "lab": ProviderSettings(base_url="http://x", options={**known, "readTimeOut": 5}),
        "azure-openai": ProviderSettings(base_url="http://x", options={"apiVersion": "v1", "wire": "chat"}),
        "bedrock": ProviderSettings(options={"region": "x", "profile": "y", "wire": "chat"}),
        "mine": ProviderSettings(api="some.module:Class", options={"anything": "it understands"}),
        "soap": ProviderSettings(
            base_url="http://x", models=[ModelSettings(id="m"), ModelSettings(id="n", api="soap")]
        ),
        "a/b": ProviderSettings(base_url="http://x"),
    }
    problems = ModelRegistry(own, environ={}).problems()
    assert [problem.path for problem in problems] == [
        "providers.lab.options.readTimeOut",
        "providers.bedrock.options.wire",
        "providers.soap.models[1].api",
        "providers.a/b",
    ]


@pytest.mark.asyncio
async def test_a_key_in_a_variable_that_is_not_set_is_asked_for() -> None:
    own = ProviderSettings(base_url="http://127.0.0.1:9/v1", api_key="$LAB_KEY")
    models = ModelRegistry({"lab": own}, environ={})
    assert not models.available("lab")
    with pytest.raises(KodaError) as caught:
        await models.stream(models.model("lab/m"), CONTEXT, StreamOptions()).result()
    assert (caught.value.kind, caught.value.user_action) == (
        "auth.required",
        "Set LAB_KEY, or sign in: koda-daemon login lab",
    )
    assert ModelRegistry({"lab": own}, environ={"LAB_KEY": "k"}).available("lab")


def test_a_wrong_row_does_not_hide_the_others() -> None:
    models = ModelRegistry({"lab": ProviderSettings(), "openai": ProviderSettings(api_key="k")}, environ={})
    assert models.default_ref().startswith("openai/")
    assert not models.available("lab")
    assert models.models()
    assert [problem.path for problem in models.problems()] == ["providers.lab.baseUrl"]


async def events_of(models: ModelRegistry, ref: str) -> list[StreamEvent]:
    async with models.stream(models.model(ref), CONTEXT, StreamOptions()) as stream:
        return [event async for event in stream]


@pytest.mark.asyncio
async def test_without_a_key_the_stream_says_so() -> None:
    (event,) = await events_of(ModelRegistry({}, environ={}), "openai/gpt-4o")
    assert isinstance(event, StreamError)
    assert event.error.kind == "auth.required"
    assert "OPENAI_API_KEY" in (event.error.user_action or "")


@pytest.mark.asyncio
@pytest.mark.parametrize("provider_class", [Parrot, Configured])
async def test_custom_wire_apis(provider_class: type[BaseProvider]) -> None:
    api = provider_class.api_type
    models = ModelRegistry({"mine": ProviderSettings(api=api)}, environ={})
    models.register(provider_class)
    for ref in ("mine/any", f"{api}/any"):
        (event,) = await events_of(models, ref)
        assert isinstance(event, Done)
    await models.warm(f"{api}/any")
    await models.aclose()


@pytest.mark.asyncio
async def test_a_model_without_tools_is_offered_none() -> None:
    seen: list[Context] = []

    class Listening(Parrot):
        api_type = "listening"

        def stream(self, model: Model, context: Context, options: StreamOptions) -> AssistantMessageEventStream:
            seen.append(context)
            return super().stream(model, context, options)

    rows = [ModelSettings(id="plain", tools=False), ModelSettings(id="able")]
    models = ModelRegistry({"mine": ProviderSettings(api="listening", models=rows)}, environ={})
    models.register(Listening)
    offered = Context("", CONTEXT.messages, (ToolSpec("read", "Reads.", {}),))
    for ref in ("mine/plain", "mine/able"):
        async with models.stream(models.model(ref), offered, StreamOptions()) as stream:
            await stream.result()
    assert [len(context.tools) for context in seen] == [0, 1]


@pytest.mark.asyncio
async def test_one_object_for_a_row_and_key() -> None:
    made: list[str | None] = []

    class Counted(Configured):
        api_type = "counted"

        def __init__(self, config: ProviderConfig) -> None:
            super().__init__(config)
            made.append(config.api_key)

    environ = {"KEY": "a"}
    models = ModelRegistry({"mine": ProviderSettings(api="counted", api_key="$KEY")}, environ=environ)
    models.register(Counted)
    for key in ("a", "a", "b"):
        environ["KEY"] = key
        await events_of(models, "mine/any")
    assert made == ["a", "b"]


def test_secrets_are_not_shown() -> None:
    own = ProviderSettings(base_url="http://127.0.0.1:9", api_key="planted", headers={"x-key": "planted"})
    assert "planted" not in repr(own)
    assert "planted" not in repr(ModelRegistry({"lab": own}, environ={}).config("lab"))


def test_importing_the_registry_imports_no_sdk() -> None:
    code = (
        "import sys, koda_daemon.ai.registry; print(*{'openai', 'anthropic', 'httpx2', 'pydantic'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""
