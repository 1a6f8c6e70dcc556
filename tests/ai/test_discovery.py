"""Lists of models as providers give them: the shapes are those of their documentation, cut to what matters."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from koda_daemon.ai.discovery import read_list
from koda_daemon.ai.discovery_local import described, llama_cpp, lmstudio, ollama
from koda_daemon.ai.provider import ModelFacts, Prices
from koda_daemon.ai.registry import ModelRegistry
from koda_daemon.ai.settings import ProviderSettings
from koda_daemon.base.errors import KodaError

TOOLS = ["tool_use"]


def read(*items: dict[str, Any], key: str = "data") -> dict[str, ModelFacts]:
    return {facts.id: facts for facts in read_list(msgspec.json.encode({"object": "list", key: items}), "Lab")}


def one(**item: Any) -> ModelFacts:
    (found,) = read(item).values()
    return found


def supported(value: bool) -> dict[str, bool]:
    return {"supported": value}


def test_openai_gives_names_and_much_that_is_no_chat() -> None:
    junk = ("text-embedding-3-large", "whisper-1", "gpt-4o-mini-tts", "gpt-image-1", "omni-moderation-latest", "sora-2")
    found = read(*({"id": id_, "object": "model"} for id_ in (*junk, "gpt-6-sol", "o3")))
    assert found == {"gpt-6-sol": ModelFacts(id="gpt-6-sol"), "o3": ModelFacts(id="o3")}


def test_a_chatgpt_plan() -> None:
    listed = {"slug": "gpt-6-sol", "display_name": "GPT-6 Sol", "visibility": "list"}
    found = read(listed, {"slug": "gpt-6-hidden", "visibility": "hide"}, key="models")
    assert found == {"gpt-6-sol": ModelFacts(id="gpt-6-sol", name="GPT-6 Sol")}


def test_vllm_and_groq() -> None:
    assert one(id="q", max_model_len=32_768) == ModelFacts(id="q", context_window=32_768)
    groq = one(id="l", active=True, context_window=131_072, max_completion_tokens=32_768)
    assert (groq.context_window, groq.max_output) == (131_072, 32_768)
    assert read({"id": "gone", "active": False}) == {}


def test_openrouter() -> None:
    found = one(
        id="vendor/m",
        name="Vendor: M",
        context_length=200_000,
        architecture={"input_modalities": ["text", "image"], "output_modalities": ["text"]},
        pricing={"prompt": "0.000003", "completion": "0.000015", "input_cache_read": "0.0000003", "request": "0"},
        top_provider={"context_length": 100_000, "max_completion_tokens": 8_192},
        supported_parameters=["tools", "reasoning"],
    )
    assert found == ModelFacts(
        id="vendor/m",
        name="Vendor: M",
        context_window=100_000,
        max_output=8_192,
        input=("text", "image"),
        tools=True,
        prices=Prices(3, 15, 0.3),
    )
    assert one(id="auto", pricing={"prompt": "-1", "completion": "-1"}).prices is None
    assert one(id="odd", pricing={"prompt": "?", "completion": "0"}).prices is None
    assert read({"id": "draws", "architecture": {"output_modalities": ["image"]}}) == {}


def test_together_and_vercel() -> None:
    assert one(id="t", type="chat", pricing={"input": 0.5, "output": 1.5, "base": 0}).prices == Prices(0.5, 1.5)
    assert read({"id": "t", "type": "image"}) == {}
    vercel = one(id="v", type="language", max_tokens=64, tags=["vision"], pricing={"input": "0.000001", "output": "0"})
    assert (vercel.max_output, vercel.input, vercel.prices) == (64, ("text", "image"), Prices(1))


def test_mistral_and_moonshot() -> None:
    abilities = {"completion_chat": True, "function_calling": True, "vision": False}
    mistral = one(id="m", capabilities=abilities, max_context_length=131_072)
    assert (mistral.tools, mistral.input, mistral.context_window) == (True, ("text",), 131_072)
    assert one(id="k", supports_image_in=True, context_length=1).input == ("text", "image")


def test_hugging_face_is_as_small_as_its_smallest_route() -> None:
    assert one(id="h", providers=[{"context_length": 9}, {"context_length": 5}, {}]).context_window == 5


def test_anthropic_tells_exactly_what_it_takes() -> None:
    kinds = {"adaptive": supported(True), "enabled": supported(False), "disabled": supported(False)}
    levels = {level: supported(level != "max") for level in ("low", "medium", "high", "xhigh", "max")}
    late = one(
        id="claude-x",
        type="model",
        display_name="Claude X",
        lifecycle="active",
        max_input_tokens=1_000_000,
        max_tokens=128_000,
        capabilities={
            "effort": levels | supported(True),
            "thinking": {"supported": True, "types": kinds},
            "image_input": supported(True),
        },
    )
    assert late == ModelFacts(
        id="claude-x",
        name="Claude X",
        context_window=1_000_000,
        max_output=128_000,
        input=("text", "image"),
        reasoning=("low", "medium", "high", "xhigh"),
        compat={"adaptive_thinking": True},
    )
    kinds = {"adaptive": supported(False), "enabled": supported(True), "disabled": supported(True)}
    early = one(id="e", capabilities={"effort": supported(False), "thinking": {"supported": True, "types": kinds}})
    assert (early.reasoning, early.compat) == (("off", "minimal", "low", "medium", "high"), None)
    assert one(id="n", capabilities={"effort": supported(False), "thinking": supported(False)}).reasoning == ()
    assert read({"id": "r", "lifecycle": "retired"}) == {}


def test_gemini() -> None:
    item = {
        "name": "models/gemini-x",
        "displayName": "Gemini X",
        "inputTokenLimit": 1_048_576,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": ["generateContent", "countTokens"],
    }
    found = read(item, item | {"name": "models/embedding-001", "supportedGenerationMethods": []}, key="models")
    assert found == {
        "gemini-x": ModelFacts(id="gemini-x", name="Gemini X", context_window=1_048_576, max_output=65_536)
    }


def test_copilot() -> None:
    abilities = {
        "type": "chat",
        "limits": {"max_context_window_tokens": 200_000, "max_output_tokens": 64_000},
        "supports": {"tool_calls": True, "vision": True},
    }
    found = one(id="c", name="C", capabilities=abilities)
    assert (found.context_window, found.max_output, found.tools, found.input) == (
        200_000,
        64_000,
        True,
        ("text", "image"),
    )
    assert read({"id": "c", "capabilities": {"type": "embeddings"}}) == {}


def test_a_bare_array_and_what_is_no_list() -> None:
    assert read_list(b'[{"id": "x"}, 5, {}]', "Lab") == [ModelFacts(id="x")]
    for data in (b"", b"<html>", b"{}", b'{"data": 5}', b"\xff", b"[" * 100_000):
        with pytest.raises(KodaError) as caught:
            read_list(data, "Lab")
        assert caught.value.kind == "provider.unreachable"


def test_ollama() -> None:
    facts = ModelFacts(id="q:8b")
    shown = {
        "model_info": {"qwen3.context_length": 40_960, "general.architecture": "qwen3"},
        "capabilities": ["completion", "tools", "vision"],
        "parameters": 'stop "<|im_end|>"\nnum_ctx 8192',
    }
    found = ollama(facts, shown, None)
    assert found == ModelFacts(id="q:8b", context_window=8_192, input=("text", "image"), tools=True)
    assert ollama(facts, shown, 4_096).context_window == 4_096
    assert ollama(facts, shown | {"parameters": "num_ctx"}, None).context_window == 40_960
    assert ollama(facts, {}, None) == facts


def test_lmstudio_and_llama_cpp() -> None:
    told = {
        "data": [
            {
                "id": "a",
                "type": "vlm",
                "max_context_length": 9,
                "loaded_context_length": 5,
                "capabilities": ["tool_use"],
            },
            {"id": "b", "type": "embeddings"},
        ]
    }
    found = lmstudio([ModelFacts(id="a"), ModelFacts(id="b"), ModelFacts(id="c")], told)
    assert found == [
        ModelFacts(id="a", context_window=5, input=("text", "image"), tools=True),
        ModelFacts(id="c"),
    ]
    props = {"default_generation_settings": {"n_ctx": 16_384}, "modalities": {"vision": True}}
    assert llama_cpp([ModelFacts(id="x")], props) == [
        ModelFacts(id="x", context_window=16_384, input=("text", "image"))
    ]
    assert llama_cpp([ModelFacts(id="x")], {}) == [ModelFacts(id="x")]


@pytest.mark.asyncio
async def test_a_server_that_tells_nothing_further_is_listed_all_the_same() -> None:
    async def refuse(_path: str, _body: bytes | None) -> bytes:
        raise KodaError("provider.unreachable", "no")

    async def garbage(_path: str, _body: bytes | None) -> bytes:
        return b"[]"

    for name in ("ollama", "lmstudio", "llama.cpp", "vllm"):
        for ask in (refuse, garbage):
            assert await described(name, [ModelFacts(id="m")], ask) == [ModelFacts(id="m")]


LAB = Path(__file__).parents[3] / "shared" / "lab" / "fakellm.py"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[str]:
    """The address of a fake of several vendors."""
    if not LAB.exists():
        pytest.skip("the lab is not next to this repository")
    argv = [sys.executable, str(LAB), "--port", "0", "--log", str(tmp_path / "log")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{msgspec.json.decode(server.stdout.readline())['listening']}"
        server.terminate()


@pytest.mark.material
@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("provider", "api", "path"),
    [
        ("chat", "openai-completions", "/v1"),
        ("claude", "anthropic-messages", ""),
        ("responses", "openai-responses", "/v1"),
        ("google", "google-generative-ai", "/v1beta"),
    ],
)
async def test_the_lab(lab: str, provider: str, api: str, path: str) -> None:
    own = ProviderSettings(api=api, base_url=lab + path, api_key="k")
    models = ModelRegistry({provider: own}, environ={"KODA_OFFLINE": "1"})
    found = {model.id: model.context_window for model in await models.listed(provider)}
    await models.aclose()
    assert found["fake-model"] == 262_144
