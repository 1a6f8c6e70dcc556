from __future__ import annotations

import io
import json
import logging
from base64 import b64encode, urlsafe_b64encode
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koda_daemon.ai.auth.redact import MASK, Redactor, is_secret_name, secret_values

SECRET = "sk-planted-0123456789"


def logged(redactor: Redactor, *args: object, **more: object) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(redactor)
    log = logging.Logger("test")
    log.addHandler(handler)
    log.warning(*args, **more)  # type: ignore[arg-type]
    return stream.getvalue()


def known(*secrets: str) -> Redactor:
    redactor = Redactor()
    redactor.add(*secrets)
    return redactor


def test_messages_arguments_and_tracebacks() -> None:
    redactor = known(SECRET)
    assert logged(redactor, "key %s of %s", SECRET, {"nested": [SECRET]}).count(MASK) == 2
    assert logged(redactor, SECRET) == f"{MASK}\n"
    assert logged(redactor, "plain %d", 5) == "plain 5\n"
    try:
        raise ValueError(f"refused {SECRET}")
    except ValueError:
        text = logged(redactor, "failed", exc_info=True)
    assert "Traceback" in text
    assert SECRET not in text
    assert SECRET not in logged(redactor, "here", stack_info=True)


def test_records_that_cannot_be_formatted_are_left_to_the_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    assert logged(known(SECRET), "%d", "no number") == ""


def test_short_values_are_no_secrets() -> None:
    assert known("dummy", "").redact("a dummy") == "a dummy"
    Redactor().add(None)


@pytest.mark.parametrize("before", ["", "u:", "us:", "user:"])
@pytest.mark.parametrize("after", ["", "!", "@host", "and more"])
def test_encoded_secrets_are_found(before: str, after: str) -> None:
    secret = "plänted/+key?0123456789"
    redactor = known(secret)
    text = f"{before}{secret}{after}"
    for encoded in (b64encode(text.encode()), urlsafe_b64encode(text.encode())):
        clean = redactor.redact(encoded.decode())
        assert MASK in clean
        assert len(clean) < len(MASK) + (len(before.encode()) + len(after.encode())) * 2 + 8
    for encoded_text in (quote(text), quote(text, safe=""), quote_plus(text), json.dumps(text)):
        assert redactor.redact(encoded_text).count(MASK) == 1


def test_keys_that_a_server_half_masked_are_masked_whole() -> None:
    redactor = known(SECRET)
    for shown in (
        "sk-planted-****6789",
        "sk-pla...789",
        "sk-plant…89",
        "sk-planted-0123******",
        "sk-pla**********6789",
    ):
        assert redactor.redact(f"Incorrect key: {shown}. Look at /keys") == f"Incorrect key: {MASK}. Look at /keys"
    assert redactor.redact("sk-planted is a prefix. ** bold **") == "sk-planted is a prefix. ** bold **"


def test_a_password_that_is_no_text() -> None:
    redactor = known("caf\udce9-0123456789")
    assert redactor.redact("caf%E9-0123456789") == MASK


def test_secrets_within_secrets_go_as_a_whole() -> None:
    assert known("12345678", "12345678-longer").redact("x 12345678-longer 12345678") == f"x {MASK} {MASK}"


@given(st.lists(st.text(min_size=8, max_size=12), min_size=1, max_size=5), st.text(max_size=5))
def test_nothing_known_is_left(secrets: list[str], between: str) -> None:
    clean = known(*secrets).redact(between.join(secrets))
    # A mask may meet the text around it, but no secret survives where it stood.
    assert len(clean) <= len(between.join(secrets))
    assert known(*secrets).redact(secrets[0]) == MASK


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        *((name, True) for name in ("Authorization", "x-api-key", "OPENAI_API_KEY", "HF_TOKEN", "KODA_PASSPHRASE")),
        *((name, True) for name in ("AWS_SECRET_ACCESS_KEY", "cookie", "DB_PASSWORD", "AZURE_OPENAI_AD_TOKEN")),
        *((name, False) for name in ("PATH", "x-team", "HOME", "KODA_MODEL", "SSH_AUTH_SOCK", "AWS_REGION")),
    ],
)
def test_names_of_secrets(name: str, secret: bool) -> None:
    assert is_secret_name(name) is secret


def test_values_of_secrets() -> None:
    named = [("authorization", "Bearer abc"), ("x-team", "blue"), ("x-api-key", "k")]
    assert secret_values(named) == ["Bearer abc", "k", "abc"]
    proxies = [("HTTPS_PROXY", "http://me:p%40ss@proxy:3128"), ("no_proxy", "http://proxy"), ("bad", "http://[@")]
    assert secret_values(proxies) == ["p%40ss", "p@ss", "bWU6cEBzcw=="]
