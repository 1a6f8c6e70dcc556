from __future__ import annotations

from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st

from koda_daemon.ai.auth.jwt import TokenError, verified_claims
from tests.ai.auth.provider import Asked, FakeProvider, b64

PROVIDER = FakeProvider("https://issuer.example")
JWKS: Any = PROVIDER.reply(Asked("GET", "/jwks", {}, b""))[1]
CLAIMS = {"iss": "https://issuer.example", "aud": "me", "sub": "user", "exp": 2000, "nonce": "n"}


def check(token: str, jwks: Any = JWKS) -> dict[str, Any]:
    return verified_claims(token, jwks, issuer="https://issuer.example", audience="me", nonce="n", now=1000.0)


def test_a_good_token() -> None:
    assert check(PROVIDER.signed(CLAIMS)) == CLAIMS
    assert check(PROVIDER.signed(CLAIMS | {"aud": ["other", "me"], "azp": "me"}))["sub"] == "user"
    assert check(PROVIDER.signed(CLAIMS | {"aud": ["me"]}))["sub"] == "user"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"iss": "https://evil.example"}, "issuer"),
        ({"aud": "other"}, "another program"),
        ({"aud": None}, "another program"),
        ({"aud": ["other", "me"]}, "another program"),
        ({"azp": "other"}, "another program"),
        ({"exp": 900}, "expired"),
        ({"exp": "soon"}, "expired"),
        ({"nonce": "other"}, "another sign-in"),
        ({"sub": ""}, "nobody"),
        ({"sub": 7}, "nobody"),
    ],
)
def test_claims_that_do_not_fit(change: dict[str, Any], why: str) -> None:
    with pytest.raises(TokenError, match=why):
        check(PROVIDER.signed(CLAIMS | change))


@pytest.mark.parametrize("header", [{"alg": "none"}, {"alg": "HS256"}, {"alg": "ES256"}, {"kid": "other"}])
def test_headers_that_do_not_fit(header: dict[str, str]) -> None:
    with pytest.raises(TokenError):
        check(PROVIDER.signed(CLAIMS, **header))


def test_the_signature_counts() -> None:
    head, body, signature = PROVIDER.signed(CLAIMS).split(".")
    forged = b64(msgspec.json.encode(CLAIMS | {"sub": "another"}))
    for token in (f"{head}.{forged}.{signature}", f"{head}.{body}.", f"{head}.{body}.{b64(bytes(256))}"):
        with pytest.raises(TokenError, match="signature"):
            check(token)


@pytest.mark.parametrize(
    "jwks", [{}, {"keys": []}, {"keys": [{"kid": "k1", "kty": "RSA"}]}, {"keys": ["k1"]}, {"keys": 1}]
)
def test_keys_that_are_none(jwks: Any) -> None:
    with pytest.raises(TokenError):
        check(PROVIDER.signed(CLAIMS), jwks)


def test_elliptic_curves() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    numbers = key.public_key().public_numbers()
    x, y = (b64(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))
    jwks = {"keys": [{"kid": "e", "kty": "EC", "crv": "P-256", "x": x, "y": y}]}
    text = f"{b64(msgspec.json.encode({'alg': 'ES256', 'kid': 'e'}))}.{b64(msgspec.json.encode(CLAIMS))}"
    pair = decode_dss_signature(key.sign(text.encode(), ec.ECDSA(SHA256())))
    signature = b"".join(number.to_bytes(32, "big") for number in pair)
    assert check(f"{text}.{b64(signature)}", jwks) == CLAIMS
    with pytest.raises(TokenError):
        check(f"{text}.{b64(bytes(64))}", jwks)


@given(st.text(max_size=80) | st.from_regex(r"[A-Za-z0-9_-]{0,20}\.[A-Za-z0-9_-]{0,20}\.[A-Za-z0-9_-]{0,20}"))
def test_garbage_is_no_token(text: str) -> None:
    with pytest.raises(TokenError):
        check(text)
