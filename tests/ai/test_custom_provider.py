"""Providers of one's own: the README's example, by settings and by an entry point, and what is said when it fails."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from koda_daemon.ai import plugins
from koda_daemon.ai.events import Done, StreamError
from koda_daemon.ai.messages import TextBlock, UserMessage
from koda_daemon.ai.provider import Context, StreamOptions
from koda_daemon.ai.registry import ModelRegistry
from koda_daemon.ai.settings import ModelSettings, ProviderSettings
from koda_daemon.base.errors import KodaError

README = Path(__file__).parents[2] / "README.md"

EXAMPLE = """\
from koda_daemon.ai.events import Done, Start, TextDelta, TextEnd, TextStart
from koda_daemon.ai.messages import AssistantMessage, TextBlock, text_of
from koda_daemon.ai.provider import BaseProvider
from koda_daemon.ai.stream import AssistantMessageEventStream


class MyProvider(BaseProvider):
    api_type = "my-api"

    def stream(self, model, context, options):
        return AssistantMessageEventStream(self._answer(model, context))

    async def _answer(self, model, context):
        text = text_of(context.messages[-1].content).upper()
        yield Start()
        yield TextStart(0)
        for word in text.split(" "):
            yield TextDelta(0, word + " ")
        yield TextEnd(0)
        content = (TextBlock(text + " "),)
        yield Done(AssistantMessage(content=content, model=model.ref, api=self.api_type, stop_reason="end"))
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installed package with the example and an entry point."""
    (tmp_path / "koda_test_provider.py").write_text(EXAMPLE)
    (tmp_path / "koda_test_broken.py").write_text("1 / 0")
    info = tmp_path / "koda_test_provider-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: koda-test-provider\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[koda.providers]\nmy-api = koda_test_provider:MyProvider\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    plugins.installed.cache_clear()
    yield tmp_path
    plugins.installed.cache_clear()
    sys.modules.pop("koda_test_provider", None)


async def said(models: ModelRegistry, ref: str) -> str:
    context = Context("", (UserMessage((TextBlock("hello there"),)),))
    async with models.stream(models.model(ref), context, StreamOptions()) as stream:
        events = [event async for event in stream]
    last = events[-1]
    if isinstance(last, StreamError):
        raise last.error
    assert isinstance(last, Done)
    return last.message.text


def test_the_readme_shows_this_example() -> None:
    text = README.read_text(encoding="utf-8")
    assert f"```py\n{EXAMPLE}```" in text


@pytest.mark.asyncio
async def test_named_in_the_settings(package: Path) -> None:
    own = ProviderSettings(api="koda_test_provider:MyProvider", models=[ModelSettings(id="loud")])
    models = ModelRegistry({"mine": own}, environ={})
    assert await said(models, "mine/loud") == "HELLO THERE "
    assert [model.ref for model in models.models("mine")] == ["mine/loud"]
    assert models.available("mine")
    await models.aclose()


@pytest.mark.asyncio
async def test_by_an_entry_point(package: Path) -> None:
    models = ModelRegistry({"other": ProviderSettings(api="my-api")}, environ={})
    assert "my-api" in models.providers
    for ref in ("my-api/any", "other/any"):
        assert await said(models, ref) == "HELLO THERE "
    assert await models.listed("my-api") == []
    await models.aclose()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("koda_test_nowhere:MyProvider", "cannot be imported"),
        ("koda_test_provider:Nothing", "cannot be imported"),
        ("koda_test_provider:Done", "no subclass of BaseProvider"),
        ("koda_test_broken:MyProvider", "failed while it was imported: ZeroDivisionError"),
        ("os.system('x'):y", "no wire API named"),
    ],
)
async def test_what_is_wrong_is_named(package: Path, place: str, why: str) -> None:
    models = ModelRegistry({"mine": ProviderSettings(api=place)}, environ={})
    with pytest.raises(KodaError, match=why.replace(".", r"\.")) as caught:
        await said(models, "mine/x")
    assert (caught.value.kind, caught.value.path) == ("params.invalid", "providers.mine.api")
