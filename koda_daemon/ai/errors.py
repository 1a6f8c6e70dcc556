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
    | input\ token\ count.{0,40}exceeds                       # Google
    | maximum\ prompt\ length\ is                             # xAI
    | reduce\ the\ length\ of\ (the\ messages|your\ prompt)   # Groq, OpenAI
    | exceeds?\ the\ available\ context\ size                 # llama.cpp
    | greater\ than\ the\ context\ length                     # LM Studio
    | context\ window\ exceeds\ limit                         # MiniMax
    | exceeded\ model\ token\ limit                           # Moonshot
    | input\ is\ too\ long\ for\ requested\ model             # Bedrock
    | input\ tokens?\ exceed                                  # Bedrock, Alibaba
    | prompt\ token\ count\ of\ .{0,20}exceeds                # GitHub Copilot
    | prompt\ too\ long;\ exceeded                            # Ollama
    | tokens\ in\ the\ prompt\ (exceed|cannot)                # Cohere, NVIDIA
    | range\ of\ input\ length\ should\ be                    # Alibaba
    | inputs`?\ tokens\ \+\ `?max_new_tokens                  # Together, text-generation-inference
    | request\ too\ large\ for\ model | request\ too\ large\ for\ \S+\ in\ organization  # Groq, OpenAI (429)
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
_QUOTA = re.compile(
    r"insufficient[ _](quota|balance|credits?|funds)|exceeded your current quota|credit balance|billing|out of credits"
    r"|payment required|spend(ing)? limit|monthly (usage|spending) limit|arrears",
    re.IGNORECASE,
)
_REFUSED = re.compile(
    r"content[ _-]?(policy|filter|management)|safety (system|settings)|moderation|data_inspection_failed"
    r"|responsible ?ai|prohibited_content",
    re.IGNORECASE,
)
_OVERLOADED = re.compile(
    r"overloaded|capacity|unavailable|server_error|internal_error|timed? ?out|try again", re.IGNORECASE
)
_MODEL = re.compile(r"model", re.IGNORECASE)
# Google answers these with status 400.
_BAD_KEY = re.compile(r"api key (not valid|not found|expired|is invalid)|invalid api key", re.IGNORECASE)
_RETRY_DELAY = re.compile(r"(\d+(?:\.\d+)?)s\Z")
_EXPIRED = re.compile(r"expired", re.IGNORECASE)
# What looks like a credential, in case a provider quotes the one it refuses.
_SECRET = re.compile(
    r"(?:bearer\s+[\w.~+/=\-]+|\b(?:sk|pk|gsk|xai|hf|ghp|gho|ghu|key|AIza)[-_]?[A-Za-z0-9*_\-]{12,})", re.IGNORECASE
)
_LIMIT = 600
_BODY = 65_536

RETRYABLE_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529, 530})


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
    text = _shown(message, secrets)
    said = f": {text}" if text else "."

    def error(kind: ErrorKind, what: str, *, retryable: bool = False, action: str | None = None) -> KodaError:
        return KodaError(
            kind, what, retryable=retryable, retry_after=retry_after if retryable else None, user_action=action
        )

    if (
        _OVERFLOW_CODES.intersection(codes)
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
    if status == 402 or (status in (None, 400, 403, 429) and _QUOTA.search(words) and not soon):
        return error(
            "quota.exhausted", f"{provider}: no quota left{said}", action=f"Check plan and billing at {provider}."
        )
    bad_key = status in (None, 400) and _BAD_KEY.search(words)
    if status == 401 or bad_key or (status == 403 and not _REFUSED.search(words)) or _auth_code(codes):
        # The provider's own words are left out: they tend to quote the key.
        kind: ErrorKind = "auth.expired" if _EXPIRED.search(words) else "auth.required"
        what = "refused access with this key" if status == 403 else "refused the credentials"
        where = f", or set {env[0]}" if env else ""
        return error(kind, f"{provider} {what}.", action=f"Sign in again with a valid key{where}.")
    if status in (None, 400, 403, 422, 451) and _REFUSED.search(words):
        return error("content.refused", f"{provider} refused the content{said}")
    if status == 429 or "rate_limit_error" in codes or "rate_limit_exceeded" in codes:
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
    if status is None:
        # An error event inside a running answer: the request was accepted, so another attempt may well succeed; also
        # when the model wrote a call that the server's own check refused (Groq).
        retryable = "tool_use_failed" in codes or not any(code.startswith("invalid") for code in codes)
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
    if isinstance(inner, str):
        inner = {"message": inner, **{k: v for k, v in value.items() if k in ("code", "type")}}
    if not isinstance(inner, Mapping):
        inner = value
    codes = [str(inner[k]) for k in ("code", "type", "status", "status_code") if isinstance(inner.get(k), str | int)]
    message = next((inner[k] for k in ("message", "detail", "error_msg", "msg") if isinstance(inner.get(k), str)), "")
    metadata = inner.get("metadata")
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
