"""The built-in providers, as data: where each one is, which wire API it speaks, and how it departs from that API.

A provider that speaks a known wire API is one row here, or a few lines of user settings; never code. The flags are
what is known of each; only those of recorded answers (tests/ai/wire) were seen at work, so settings can override all.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal

import msgspec
from msgspec import Struct, field

from koda_daemon.base.errors import KodaError

ReasoningStyle = Literal["none", "openai", "openrouter", "thinking", "enabled", "qwen"]
"""How a chat-completions server is told to think.

openai: ``reasoning_effort``; openrouter: ``reasoning: {effort}``; thinking: ``thinking: {type}`` (DeepSeek, Z.ai,
Moonshot); enabled: ``reasoning: {enabled}`` (Together); qwen: ``enable_thinking``; none: cannot be told.
"""
SWITCHES: frozenset[ReasoningStyle] = frozenset({"thinking", "enabled", "qwen"})
"""The styles that say on or off only, unless ``reasoning_effort`` is taken too."""


class Compat(Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True, kw_only=True):
    """How a provider departs from the plain form of its wire API. Overridable in the settings (``compat``)."""

    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    stream_usage: bool = True
    """Understands ``stream_options: {include_usage: true}``."""
    reasoning: ReasoningStyle = "openai"
    reasoning_effort: bool = False
    """Takes ``reasoning_effort`` too, where ``reasoning`` is only a switch (DeepSeek V4, GLM 5.2)."""
    adaptive_thinking: bool = False
    """Decides itself how much to think, as Claude since 4.6 (known by its name) does: told an effort, not a budget."""
    replay_reasoning: bool = False
    """Wants its own ``reasoning_content`` back on assistant turns (DeepSeek refuses tool turns without it)."""
    finish_reason: bool = True
    """Ends each answer with a ``finish_reason``; False takes ``[DONE]`` for the end."""
    tool_result_name: bool = False
    """Tool results must repeat the tool's name."""
    assistant_after_tool: bool = False
    """A user turn may not follow a tool result directly (Mistral)."""
    tools_with_history: bool = False
    """Must be sent ``tools`` when the history holds tool calls, even if none is offered now."""
    call_ids: Literal["any", "mistral"] = "any"
    """``mistral``: tool-call ids are exactly nine letters or digits."""
    cache_key: bool = False
    """Routes by ``prompt_cache_key``."""
    cache_control: bool = False
    """Takes Anthropic's ``cache_control`` marks for Claude models (OpenRouter)."""
    thought_signatures: bool = False
    """Gemini behind chat completions: refuses a call without ``extra_content.google.thought_signature``."""
    empty_error_is_overflow: bool = False
    """Reports a prompt that is too long as 400 or 413 without a body (Cerebras)."""
    limits_per_model: bool = False
    """A limited rate says nothing of other models: what refused is one of many servers behind this one."""
    plan_usage: bool = False
    """Is paid by the user's ChatGPT plan, which takes less than the API does. Set by signing in there."""
    anthropic_version: str | None = None
    """The ``anthropic-version`` header; None takes the newest for api.anthropic.com, 2023-06-01 elsewhere."""


class ProviderRow(Struct, frozen=True, kw_only=True):
    """A built-in provider. ``env``: the variables that may hold its key, best first; empty: it needs none.

    ``base_url`` may name variables: ``{NAME}``, ``{NAME|OTHER}``, ``{NAME=default}``. ``reads``: variables beside the
    key that its wire API asks for.
    """

    id: str
    name: str
    api: str
    base_url: str
    env: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    apis: dict[str, str] = field(default_factory=dict)
    """Other wire APIs that some of its models are reached by, and the addresses of those."""
    compat: Compat = Compat()
    headers: dict[str, str] = field(default_factory=dict)


class ProviderConfig(Struct, frozen=True, kw_only=True):
    """A provider row with the user's settings and key applied: what the class of a wire API is made with."""

    id: str
    name: str
    api: str
    base_url: str
    api_key: str | None = None
    env: tuple[str, ...] = ()
    headers: dict[str, str] = field(default_factory=dict)
    compat: Compat = Compat()
    options: dict[str, Any] = field(default_factory=dict)
    environ: dict[str, str] = field(default_factory=dict)
    """The variables of the row's ``env`` and ``reads`` that are set."""
    missing: str | None = None
    """A variable that the address needs and that is not set."""
    token: Callable[[], Awaitable[str]] | None = None
    """Gives a bearer token that is good now, for providers that one signs in to; asked for at each request."""

    @property
    def needs_key(self) -> bool:
        return bool(self.env)

    def __repr__(self) -> str:  # the key and headers stay out of logs and tracebacks
        return f"ProviderConfig(id={self.id!r}, api={self.api!r}, base_url={self.base_url!r})"

    def compat_with(self, flags: tuple[tuple[str, str | bool], ...]) -> Compat:
        """The flags for a model that departs from the row in some (``Model.compat``)."""
        return msgspec.structs.replace(self.compat, **dict(flags)) if flags else self.compat

    def seconds(self, name: str, default: float) -> float:
        """A positive number of seconds out of ``options``; ``params.invalid`` for anything else."""
        value = self.options.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            path = f"providers.{self.id}.options.{name}"
            raise KodaError("params.invalid", f"{path} must be a positive number of seconds.", path=path)
        return float(value)


_VARIABLE = re.compile(r"\{([A-Z0-9_|]+)(?:=([^}]*))?\}")


def filled_in(template: str, environ: Mapping[str, str]) -> tuple[str, str | None]:
    """An address with its variables put in; ``""`` and the name of the variable when one is not set."""
    missing: list[str] = []

    def value(found: re.Match[str]) -> str:
        names = found[1].split("|")
        given = next((text for name in names if (text := environ.get(name, "").strip())), found[2])
        if given is None:
            missing.append(names[0])
        return given or ""

    address = _VARIABLE.sub(value, template)
    return ("", missing[0]) if missing else (address.rstrip("/"), None)


def merged_compat(base: Compat, override: dict[str, Any], provider: str) -> Compat:
    """``base`` with the flags of the settings over it; ``params.invalid`` names a flag that is wrong."""
    if not override:
        return base
    try:
        return msgspec.convert(msgspec.to_builtins(base) | override, Compat)
    except msgspec.ValidationError as error:
        path = f"providers.{provider}.compat"
        raise KodaError("params.invalid", f"{path}: {error}", path=path) from None


def _chat(id_: str, name: str, base_url: str, *env: str, **flags: Any) -> ProviderRow:
    return ProviderRow(id=id_, name=name, api="openai-completions", base_url=base_url, env=env, compat=Compat(**flags))


def _claude(id_: str, name: str, base_url: str, *env: str, **flags: Any) -> ProviderRow:
    return ProviderRow(id=id_, name=name, api="anthropic-messages", base_url=base_url, env=env, compat=Compat(**flags))


def _responses(id_: str, name: str, base_url: str, *env: str, **flags: Any) -> ProviderRow:
    return ProviderRow(id=id_, name=name, api="openai-responses", base_url=base_url, env=env, compat=Compat(**flags))


_ROWS = (
    _claude("anthropic", "Anthropic", "https://api.anthropic.com", "ANTHROPIC_API_KEY"),
    ProviderRow(
        id="openai",
        name="OpenAI",
        api="openai-responses",
        base_url="https://api.openai.com/v1",
        env=("OPENAI_API_KEY",),
        reads=("OPENAI_ORG_ID", "OPENAI_PROJECT_ID"),
        compat=Compat(max_tokens_field="max_completion_tokens", cache_key=True),
    ),
    _chat(
        "openrouter",
        "OpenRouter",
        "https://openrouter.ai/api/v1",
        "OPENROUTER_API_KEY",
        reasoning="openrouter",
        cache_control=True,
        limits_per_model=True,
    ),
    _chat("groq", "Groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    _chat(
        "deepseek",
        "DeepSeek",
        "https://api.deepseek.com",
        "DEEPSEEK_API_KEY",
        reasoning="thinking",
        replay_reasoning=True,
    ),
    _chat(
        "mistral",
        "Mistral",
        "https://api.mistral.ai/v1",
        "MISTRAL_API_KEY",
        stream_usage=False,
        assistant_after_tool=True,
        call_ids="mistral",
    ),
    ProviderRow(
        id="google",
        name="Google Gemini",
        api="google-generative-ai",
        base_url="https://generativelanguage.googleapis.com/v1beta",
        env=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    ),
    ProviderRow(
        id="google-vertex",
        name="Google Vertex AI",
        api="google-generative-ai",
        base_url="https://aiplatform.googleapis.com/v1beta1/projects/{GOOGLE_CLOUD_PROJECT|GCLOUD_PROJECT=-}"
        "/locations/{GOOGLE_CLOUD_LOCATION|GOOGLE_CLOUD_REGION=global}/publishers/google",
        # A key, or else what the application default credentials (ADC) are found by.
        env=("GOOGLE_CLOUD_API_KEY", "GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT"),
    ),
    ProviderRow(
        id="azure-openai",
        name="Azure OpenAI",
        api="azure-openai",
        base_url="{AZURE_OPENAI_ENDPOINT}",
        env=("AZURE_OPENAI_AD_TOKEN", "AZURE_OPENAI_API_KEY"),
        reads=("OPENAI_API_VERSION",),
        compat=Compat(max_tokens_field="max_completion_tokens", cache_key=True),
    ),
    ProviderRow(
        id="bedrock",
        name="Amazon Bedrock",
        api="bedrock-converse",
        base_url="https://bedrock-runtime.{AWS_REGION|AWS_DEFAULT_REGION=us-east-1}.amazonaws.com",
        env=("AWS_BEARER_TOKEN_BEDROCK", "AWS_ACCESS_KEY_ID", "AWS_PROFILE"),
        reads=("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION"),
    ),
    ProviderRow(
        id="bedrock-mantle",
        name="Amazon Bedrock Mantle",
        api="bedrock-mantle",
        base_url="https://bedrock-mantle.{AWS_REGION|AWS_DEFAULT_REGION=us-east-1}.api.aws",
        env=("AWS_BEARER_TOKEN_BEDROCK", "AWS_ACCESS_KEY_ID", "AWS_PROFILE"),
        reads=("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION"),
    ),
    ProviderRow(
        id="github-copilot",
        name="GitHub Copilot",
        api="github-copilot",
        base_url="https://api.individual.githubcopilot.com",
        env=("COPILOT_GITHUB_TOKEN",),
        compat=Compat(reasoning="openai"),
    ),
    _responses("xai", "xAI", "https://api.x.ai/v1", "XAI_API_KEY"),
    _chat("cerebras", "Cerebras", "https://api.cerebras.ai/v1", "CEREBRAS_API_KEY", empty_error_is_overflow=True),
    _chat("together", "Together AI", "https://api.together.ai/v1", "TOGETHER_API_KEY", reasoning="enabled"),
    _chat("fireworks", "Fireworks AI", "https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY"),
    _chat(
        "moonshotai",
        "Moonshot AI",
        "https://api.moonshot.ai/v1",
        "MOONSHOT_API_KEY",
        reasoning="thinking",
        replay_reasoning=True,
    ),
    _chat(
        "moonshotai-cn",
        "Moonshot AI (China)",
        "https://api.moonshot.cn/v1",
        "MOONSHOT_API_KEY",
        reasoning="thinking",
        replay_reasoning=True,
    ),
    _chat(
        "kimi-coding",
        "Kimi for Coding",
        "https://api.kimi.com/coding/v1",
        "KIMI_API_KEY",
        reasoning="thinking",
        replay_reasoning=True,
    ),
    _chat("zai", "Z.ai", "https://api.z.ai/api/paas/v4", "ZAI_API_KEY", "ZHIPU_API_KEY", reasoning="thinking"),
    _chat(
        "zai-coding",
        "Z.ai coding plan",
        "https://api.z.ai/api/coding/paas/v4",
        "ZAI_API_KEY",
        "ZHIPU_API_KEY",
        reasoning="thinking",
    ),
    _chat(
        "zhipu", "Zhipu", "https://open.bigmodel.cn/api/paas/v4", "ZHIPU_API_KEY", "ZAI_API_KEY", reasoning="thinking"
    ),
    _chat("huggingface", "Hugging Face", "https://router.huggingface.co/v1", "HF_TOKEN", limits_per_model=True),
    _chat("nvidia", "NVIDIA NIM", "https://integrate.api.nvidia.com/v1", "NVIDIA_API_KEY", reasoning="none"),
    _chat(
        "alibaba",
        "Alibaba Cloud",
        "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        "DASHSCOPE_API_KEY",
        reasoning="qwen",
    ),
    _chat("github-models", "GitHub Models", "https://models.github.ai/inference", "GITHUB_TOKEN"),
    _chat(
        "vercel",
        "Vercel AI Gateway",
        "https://ai-gateway.vercel.sh/v1",
        "AI_GATEWAY_API_KEY",
        reasoning="openrouter",
        limits_per_model=True,
    ),
    _chat("perplexity", "Perplexity", "https://api.perplexity.ai", "PERPLEXITY_API_KEY", reasoning="none"),
    _chat("baseten", "Baseten", "https://inference.baseten.co/v1", "BASETEN_API_KEY"),
    _chat("nebius", "Nebius", "https://api.tokenfactory.nebius.com/v1", "NEBIUS_API_KEY"),
    _chat("novita", "Novita AI", "https://api.novita.ai/openai", "NOVITA_API_KEY"),
    _chat("siliconflow", "SiliconFlow", "https://api.siliconflow.com/v1", "SILICONFLOW_API_KEY", reasoning="qwen"),
    _chat("scaleway", "Scaleway", "https://api.scaleway.ai/v1", "SCALEWAY_API_KEY"),
    _chat("poe", "Poe", "https://api.poe.com/v1", "POE_API_KEY", limits_per_model=True),
    _chat("requesty", "Requesty", "https://router.requesty.ai/v1", "REQUESTY_API_KEY", limits_per_model=True),
    _chat("synthetic", "Synthetic", "https://api.synthetic.new/openai/v1", "SYNTHETIC_API_KEY"),
    _chat("stepfun", "StepFun", "https://api.stepfun.com/v1", "STEPFUN_API_KEY"),
    _chat("upstage", "Upstage", "https://api.upstage.ai/v1/solar", "UPSTAGE_API_KEY"),
    _chat("inception", "Inception", "https://api.inceptionlabs.ai/v1", "INCEPTION_API_KEY"),
    _chat("xiaomi", "Xiaomi MiMo", "https://api.xiaomimimo.com/v1", "XIAOMI_API_KEY", reasoning="thinking"),
    ProviderRow(
        id="opencode",
        name="OpenCode Zen",
        api="openai-completions",
        base_url="https://opencode.ai/inference/openai/v1",
        env=("OPENCODE_API_KEY",),
        apis={
            "openai-responses": "https://opencode.ai/inference/openai/v1",
            "anthropic-messages": "https://opencode.ai/inference/anthropic",
            "google-generative-ai": "https://opencode.ai/inference/google/v1beta",
        },
        compat=Compat(limits_per_model=True),
    ),
    _responses("meta", "Meta", "https://api.meta.ai/v1", "META_API_KEY"),
    _chat(
        "cloudflare",
        "Cloudflare Workers AI",
        "https://api.cloudflare.com/client/v4/accounts/{CLOUDFLARE_ACCOUNT_ID}/ai/v1",
        "CLOUDFLARE_API_KEY",
    ),
    _claude("minimax", "MiniMax", "https://api.minimax.io/anthropic", "MINIMAX_API_KEY"),
    _claude(
        "minimax-cn",
        "MiniMax (China)",
        "https://api.minimaxi.com/anthropic",
        "MINIMAX_CN_API_KEY",
        "MINIMAX_API_KEY",
    ),
    _chat("ollama", "Ollama", "http://localhost:11434/v1"),
    _chat("lmstudio", "LM Studio", "http://localhost:1234/v1"),
    _chat("llama.cpp", "llama.cpp", "http://localhost:8080/v1"),
    _chat("vllm", "vLLM", "http://localhost:8000/v1"),
    ProviderRow(id="demo", name="Koda demo (scripted, no network)", api="demo", base_url=""),
)

PROVIDERS: dict[str, ProviderRow] = {row.id: row for row in _ROWS}
