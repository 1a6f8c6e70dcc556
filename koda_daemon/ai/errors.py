"""One place that turns whatever a provider answers into the error kinds that users and the agent know.

Order of evidence: what the body says about the context window (worded in many ways, sometimes under status 429), then
codes, then the status. Texts are only consulted where no code exists.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from time import time
from typing import Any

import msgspec

from koda_daemon.ai.auth.redact import REDACTOR
from koda_daemon.base.errors import ErrorKind, KodaError

# "exceeds the context window", as providers word it (vendors named as far as known; tests/ai holds examples, and those
# of Anthropic, OpenAI, Google and Bedrock were seen in recorded answers).
_OVERFLOW = re.compile(
    r"""
      prompt\ is\ too\ long                                   # Anthropic, Fireworks
    | exceeds?\ the\ (model's\ )?context\ window              # OpenAI
    | maximum\ context\ length                                # OpenAI, DeepSeek, OpenRouter, Mistral, vLLM
    | context[ _]length[ _]exceeded | context_window_exceeded # OpenAI code; z.ai, Anthropic stop reasons
    | input\ token\ count.{0,40}(exceeds|only\ supports)      # Google, Vertex AI
    | maximum\ prompt\ length\ is                             # xAI
    | reduce\ the\ length\ of\ (the\ messages|your\ prompt)   # Groq, OpenAI
    | exceeds?\ the\ available\ context\ size                 # llama.cpp
    | context\ size\ (has\ been\ )?exceeded | exceed_context_size  # llama.cpp
    | (greater|longer)\ than\ the\ (model.s\ |maximum\ )?(context|model)\ length  # LM Studio, SGLang, vLLM
    | context\ length\ (of|is)\ only                          # LM Studio, vLLM
    | n_keep.{0,20}>=?\ n_ctx                                 # LM Studio
    | less\ than\ max_seq_len                                 # SiliconFlow
    | exceeds?\ the\ context\ length                          # Ollama
    | prompt\ exceeds\ max                                    # z.ai
    | exceeded\ this\ model\ context\ window                  # Cloudflare
    | context_?window_?exceeded                               # LiteLLM
    | max_prompt_tokens_exceeded                              # GitHub Copilot
    | tokens_limit_reached                                    # GitHub Models
    | context\ window\ exceeds\ limit                         # MiniMax
    | exceeded\ model\ token\ limit                           # Moonshot
    | input\ is\ too\ long\ for\ requested\ model             # Bedrock
    | input\ tokens?\ exceed | too\ many\ input\ tokens       # Bedrock, Alibaba
    | prompt\ token\ count\ of\ .{0,20}exceeds                # GitHub Copilot
    | prompt\ too\ long;\ exceeded                            # Ollama
    | tokens\ in\ the\ prompt\ (exceed|cannot)                # Cohere, NVIDIA
    | range\ of\ input\ length\ should\ be                    # Alibaba
    | inputs`?\ tokens\ \+\ `?max_new_tokens                  # Together, text-generation-inference
    | inputs`?\ must\ have\ less\ than                        # text-generation-inference
    | request\ too\ large\ for\ .{1,100}(in\ organization|tokens\ per|TPM)  # Groq, OpenAI (429)
    | usage\ is\ required\ for\ long\ context                 # Anthropic (429)
    | input\ length\ and\ `?max_tokens`?\ exceed              # Anthropic
    | too\ many\ tokens.{0,40}(exceed|maximum|limit\ of)
    """,
    re.IGNORECASE | re.VERBOSE,
)
_OVERFLOW_CODES = {
    "context_length_exceeded",
    "model_context_window_exceeded",
    "request_too_large",
    "string_above_max_length",
}
# What a payment or another month would end. "Billing" alone says nothing: limits of rates come with advice to pay more.
_QUOTA = re.compile(
    r"(insufficient|not[ _]enough)[ _](quota|balance|credits?|funds)|balance is (insufficient|not enough|too low)"
    r"|budget (has been )?exceeded|budget_exceeded|credit card on file"
    r"|exceeded[ _](your )?current[ _]quota|\bquota[ _]exceeded"
    r"|have exceeded your (monthly|quota)|credit (balance|limit)|credit_limit|(out of|any|more) credits"
    r"|all available credits|credits? (are|is|have been) (depleted|exhausted)|billing[ _](hard[ _]limit|error)"
    r"|payment required|spend(ing)? limit|usage[ _]limits?|key limit exceeded|free tier .{0,40}exhausted"
    r"|free allocation|arrear|account .{0,20}good standing|plan and billing details",
    re.IGNORECASE,
)
_REFUSED = re.compile(
    r"content[ _-]?(policy|filter|management)|safety (system|settings|check)|moderation|data_inspection_failed"
    r"|responsible ?ai|prohibited_content|usage (policy|policies|guidelines)|policy[ _]violation|invalid_prompt"
    r"|content exists risk|(unsafe|sensitive|inappropriate) content",
    re.IGNORECASE,
)
_OVERLOADED = re.compile(
    r"overloaded|capacity|unavailable|server_error|internal_error|timed? ?out|try again", re.IGNORECASE
)
_MODEL = re.compile(r"model|deployment ?(for|not ?found)|no endpoints found|function '", re.IGNORECASE)
# For statuses that say less than 404: the model itself is what is wrong, not a field that it does not take.
_NO_MODEL = re.compile(
    r"model_not_(found|available|supported|exist)|model_decommissioned|(unknown|invalid|unavailable)[ _]model"
    r"|model (not (found|exist)|does not exist)|no such model|no models loaded"
    r"|not a valid model|model identifier is invalid|with the id or arn of an inference profile"
    r"|(requested|the) model .{0,80}(does not exist|is not supported by|has been decommissioned)"
    r"|access to (the )?model|deploymentnotfound",
    re.IGNORECASE,
)
_THROTTLED = re.compile(r"rate_limit_e(rror|xceeded)|throttling", re.IGNORECASE)
_BRIEF = re.compile(r"per[ _-]?(minute|second)|per_base_model", re.IGNORECASE)  # a "quota" that is a rate (Vertex AI)
# What only a code says: the words may be in Chinese, or too few, and the status of all of them the same. MiniMax (read
# as "base_resp ..."), z.ai and Zhipu, OpenCode.
_VENDOR_CODES: dict[str, ErrorKind] = {
    **dict.fromkeys(("base_resp 1002", "base_resp 1039", "base_resp 1041", "base_resp 2045"), "rate.limited"),
    **dict.fromkeys(("base_resp 1004", "base_resp 2049"), "auth.required"),
    **dict.fromkeys(("base_resp 1008", "base_resp 2056"), "quota.exhausted"),
    **dict.fromkeys(("base_resp 1026", "base_resp 1027"), "content.refused"),
    **dict.fromkeys(("1113", "1304", "1308", "1309", "1310"), "quota.exhausted"),
    **dict.fromkeys(("1211", "1311", "ModelError"), "model.unknown"),
    "1261": "context.overflow",
    "1301": "content.refused",
    "CreditsError": "quota.exhausted",
}
# Some say it under status 400.
_BAD_KEY = re.compile(
    r"api key (not valid|not found|expired|is invalid)|(invalid|incorrect) api key|authorization header is badly",
    re.IGNORECASE,
)
_RETRY_DELAY = re.compile(r"(\d+(?:\.\d+)?)s\Z")
# "Please try again in 1m2.5s", "Please retry after 7 seconds": where no header says it.
_RETRY_WORDS = re.compile(
    r"(?:(?:try again|retry) (?:in|after)|please wait) "
    r"((?:[\d.]+ ?(?:ms|milli\w+|h|hours?|m|min\w*|s|sec\w*)(?![a-z]) ?)+)"
)
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?) ?([a-z]+)")
_UNITS = {"ms": 0.001, "m": 60.0, "h": 3600.0, "s": 1.0}
# Of requests that a ChatGPT plan pays for (developers.openai.com/siwc/token-sharing-open-source/errors-and-recovery);
# they come as statuses and as events.
_MANAGE = "Review the plan's usage: chatgpt.com/settings/usage."
_OTHERWISE = "Choose another model or provider, or sign in with an API key."
_PLAN: dict[str, tuple[ErrorKind, str, str]] = {
    "subscription_sharing_usage_limit_exceeded": ("quota.exhausted", "the plan's allowance is used up", _MANAGE),
    "subscription_sharing_user_not_eligible": (
        "permission.denied",
        "the account may not use its plan",
        _OTHERWISE,
    ),
    "subscription_sharing_unsupported_capability": ("internal", "plans do not pay for such a request", _OTHERWISE),
    "subscription_sharing_route_not_supported": ("internal", "plans do not pay for such a request", _OTHERWISE),
    "subscription_sharing_usage_unavailable": ("provider.overloaded", "the plan cannot be looked at now", ""),
    "subscription_sharing_user_unavailable": ("provider.overloaded", "the plan cannot be looked at now", ""),
    "subscription_sharing_invalid_user": ("auth.required", "the sign-in is not accepted", "Sign in again."),
    "chatpass_v2_scope_not_authorized": ("auth.required", "the sign-in does not permit this", "Sign in again."),
    "chatpass_v2_invalid_authorization_context": ("auth.required", "the sign-in is not accepted", "Sign in again."),
}
_EXPIRED = re.compile(r"expired", re.IGNORECASE)
# What looks like a credential, in case a provider quotes the one it refuses.
_SECRET = re.compile(
    r"(?:bearer\s+[\w.~+/=\-]+|\b(?:sk|pk|gsk|xai|hf|ghp|gho|ghu|key|AIza)[-_]?[A-Za-z0-9*_\-]{12,})", re.IGNORECASE
)
_LIMIT = 600
_BODY = 65_536

RETRYABLE_STATUS = frozenset({408, 409, 424, 425, 429, 498, 499, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529, 530})


def classify(
    provider: str,
    status: int | None,
    body: bytes | Mapping[str, Any] | str = b"",
    headers: Mapping[str, str] | None = None,
    *,
    secrets: tuple[str, ...] = (),
    env: tuple[str, ...] = (),
    empty_is_overflow: bool = False,
) -> KodaError:
    """The error that an HTTP answer (``status`` and ``body``) or an error event inside a stream (status None) means.

    ``provider`` is the name shown to the user; ``secrets`` are cut out of the provider's words; ``env`` names the
    variables that could hold a key. Never raises.
    """
    codes, message = _read(body)
    words = " ".join((*codes, message))
    if status is None:
        status = next((int(c) for c in codes if c.isdigit() and len(c) == 3), None)
    retry_after = retry_delay(headers or {})
    daily = False
    if status == 429:
        told, daily = _google_limits(body)
        retry_after = told if retry_after is None else retry_after
    if retry_after is None:
        retry_after = _told_in_words(message)
    text = _shown(message, secrets)
    said = f": {text}" if text else "."

    def error(kind: ErrorKind, what: str, *, retryable: bool = False, action: str | None = None) -> KodaError:
        return KodaError(
            kind, what, retryable=retryable, retry_after=retry_after if retryable else None, user_action=action
        )

    plan = next((_PLAN[code] for code in codes if code in _PLAN), None)
    if plan is not None:
        kind, what, action = plan
        return error(kind, f"{provider}: {what}{said}", retryable=kind == "provider.overloaded", action=action or None)
    coded = next((_VENDOR_CODES[code] for code in codes if code in _VENDOR_CODES), None)
    if (
        coded == "context.overflow"
        or _OVERFLOW_CODES.intersection(codes)
        or _OVERFLOW.search(words)
        or status == 413
        or (empty_is_overflow and status in (400, 413) and not words.strip())
    ):
        return error(
            "context.overflow",
            f"The conversation is too long for the model{said}",
            action="Compact the session, or choose a model with a larger context window.",
        )
    # Google words every limit as a quota; one that is over in seconds is a rate.
    soon = status == 429 and "RESOURCE_EXHAUSTED" in codes and retry_after is not None and not daily
    soon = soon or (status == 429 and _BRIEF.search(message) is not None)
    limited = coded == "rate.limited" or _THROTTLED.search(" ".join(codes)) is not None
    unpaid = status in (None, 400, 401, 403, 412, 429) and _QUOTA.search(words) and not (soon or limited)
    if status == 402 or coded == "quota.exhausted" or unpaid:
        return error(
            "quota.exhausted", f"{provider}: no quota left{said}", action=f"Check plan and billing at {provider}."
        )
    if coded == "model.unknown" or (status in (None, 400, 403, 422) and _NO_MODEL.search(words)):
        return error("model.unknown", f"{provider} does not know this model{said}", action="Choose another model.")
    bad_key = coded == "auth.required" or (status in (None, 400) and _BAD_KEY.search(words))
    if status == 401 or bad_key or (status == 403 and not _REFUSED.search(words)) or _auth_code(codes):
        # The provider's own words are left out: they tend to quote the key.
        kind = "auth.expired" if _EXPIRED.search(words) else "auth.required"
        what = "refused access with this key" if status == 403 else "refused the credentials"
        where = f", or set {env[0]}" if env else ""
        return error(kind, f"{provider} {what}.", action=f"Sign in again with a valid key{where}.")
    if coded == "content.refused" or (status in (None, 400, 403, 422, 451) and _REFUSED.search(words)):
        return error("content.refused", f"{provider} refused the content{said}")
    if status == 429 or limited:
        return error("rate.limited", f"{provider} limits the rate of requests{said}", retryable=True)
    if status == 404:
        if _MODEL.search(words):
            return error("model.unknown", f"{provider} does not know this model{said}", action="Choose another model.")
        return error(
            "provider.unreachable",
            f"{provider} has nothing at this address (HTTP 404){said}",
            action="Check the provider's baseUrl.",
        )
    if status in RETRYABLE_STATUS or (status or 0) > 505 or (status is None and _OVERLOADED.search(words)):
        number = f" (HTTP {status})" if status else ""
        return error("provider.overloaded", f"{provider} is overloaded or failing{number}{said}", retryable=True)
    if "tool_use_failed" in codes:  # Groq: the model wrote a call that the server's own check refused
        return error("provider.overloaded", f"{provider} could not read the model's call{said}", retryable=True)
    if status is None:
        # An error event inside a running answer: the request was accepted, so another attempt may well succeed.
        retryable = not any(code.startswith("invalid") for code in codes)
        return error(
            "provider.overloaded" if retryable else "internal", f"{provider} broke off{said}", retryable=retryable
        )
    if 300 <= status < 400:
        return error(
            "provider.unreachable",
            f"{provider} redirects elsewhere (HTTP {status}).",
            action="Check the provider's baseUrl.",
        )
    return error("internal", f"{provider} rejected the request (HTTP {status}){said}")


def retry_delay(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait out of ``retry-after-ms`` or ``retry-after`` (seconds or a date, RFC 9110, 10.2.3)."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            delay = float(value) * unit
        except ValueError:
            try:
                delay = parsedate_to_datetime(value).timestamp() - time()
            except ValueError:
                continue
            delay = max(delay, 0.0)
        # NaN, infinity and negative numbers are no delays; "retry-after-ms: 0" beside "retry-after: 1" is real (Azure).
        if 0 <= delay < 1e9 and (delay or name == "retry-after"):
            return delay
    return None


def _google_limits(body: bytes | Mapping[str, Any] | str) -> tuple[float | None, bool]:
    """Seconds to wait, and whether it is a limit of the day (google.rpc.RetryInfo, google.rpc.QuotaFailure)."""
    value: Any = body
    if isinstance(body, bytes):
        try:
            value = msgspec.json.decode(body[:_BODY])
        except msgspec.DecodeError:
            return None, False
    if isinstance(value, list) and value:
        value = value[0]
    error = value.get("error") if isinstance(value, Mapping) else None
    details = error.get("details") if isinstance(error, Mapping) else None
    delay: float | None = None
    daily = False
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, Mapping):
            found = _RETRY_DELAY.match(str(detail.get("retryDelay", "")))
            delay = float(found[1]) if found else delay
            daily = daily or "PerDay" in str(detail.get("violations", ""))
    return delay, daily


def _told_in_words(message: str) -> float | None:
    found = _RETRY_WORDS.search(message.lower())
    if found is None:
        return None
    amounts = _AMOUNT.findall(found[1])
    return sum(
        float(n) * _UNITS.get("ms" if unit.startswith("milli") else unit, _UNITS[unit[:1]]) for n, unit in amounts
    )


def _auth_code(codes: list[str]) -> bool:
    return any(code in ("invalid_api_key", "authentication_error", "permission_error") for code in codes)


def _read(body: bytes | Mapping[str, Any] | str) -> tuple[list[str], str]:
    """Codes (as strings) and message of an error body in any of the known shapes."""
    value: Any = body
    if isinstance(body, bytes):
        text = body[:_BODY].decode("utf-8", "replace").strip()
        try:
            value = msgspec.json.decode(text)
        except msgspec.DecodeError:
            value = "" if text[:1] == "<" else text  # an HTML page of some proxy says nothing that helps
    if isinstance(value, list) and value:
        value = value[0]  # Google wraps the error in a list
    if isinstance(value, str):
        return [], value
    if not isinstance(value, Mapping):
        return [], ""
    inner = value.get("error", value)
    several = value.get("errors")
    if isinstance(several, list) and several and isinstance(several[0], Mapping):
        inner = several[0]  # Cloudflare
    elif isinstance(value.get("base_resp"), Mapping):
        inner = {
            "message": value["base_resp"].get("status_msg"),
            "code": f"base_resp {value['base_resp'].get('status_code')}",
        }  # MiniMax
    if isinstance(inner, str):
        inner = {"message": inner, **{k: v for k, v in value.items() if k in ("code", "type")}}
    if not isinstance(inner, Mapping):
        inner = value
    codes = [
        str(inner[k])
        for k in ("code", "type", "status", "status_code", "error_type", "__type")
        if isinstance(inner.get(k), str | int)
    ]
    message = next((inner[k] for k in ("message", "detail", "error_msg", "msg") if isinstance(inner.get(k), str)), "")
    metadata = inner.get("metadata")
    if isinstance(metadata, Mapping) and isinstance(metadata.get("error_type"), str):
        codes.append(metadata["error_type"])  # OpenRouter
    if isinstance(metadata, Mapping) and isinstance(metadata.get("raw"), str):
        message = f"{message}: {metadata['raw']}"  # OpenRouter: the upstream's own words
    if not message:
        detail = value.get("detail")
        message = msgspec.json.encode(detail).decode() if detail else ""
    return codes, message


def _shown(message: str, secrets: tuple[str, ...]) -> str:
    for secret in secrets:
        if len(secret) >= 4:
            message = message.replace(secret, "***")
    message = " ".join(_SECRET.sub("***", REDACTOR.redact(message)).split())
    return message if len(message) <= _LIMIT else message[: _LIMIT - 1] + "…"
