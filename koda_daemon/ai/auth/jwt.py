"""Verifying identity tokens (OpenID Connect Core 1.0, 3.1.3.7): who has signed in, by the issuer's signature."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

_LEEWAY = 60.0


class TokenError(Exception):
    """The token is not to be trusted. The message says why, without the token."""


def verified_claims(
    token: str, jwks: Mapping[str, Any], *, issuer: str, audience: str, nonce: str, now: float
) -> dict[str, Any]:
    """The claims of an RS256 or ES256 token, signed with a key of ``jwks`` (RFC 7517) and meant for us, now.

    Raises ``TokenError``.
    """
    try:
        head, body, signature = (_bytes(part) for part in token.split("."))
        header: dict[str, Any] = msgspec.json.decode(head, type=dict[str, Any])
        claims: dict[str, Any] = msgspec.json.decode(body, type=dict[str, Any])
    except (ValueError, msgspec.DecodeError):
        raise TokenError("it is malformed") from None
    signed = token.rpartition(".")[0].encode("ascii")
    _check_signature(header, jwks, signed, signature)
    audiences = claims.get("aud")
    if claims.get("iss") != issuer:
        raise TokenError("it is from another issuer")
    listed = audiences if isinstance(audiences, list) else [audiences]
    party = claims.get("azp", audience if len(listed) == 1 else None)  # whose it is, among several
    if audience not in listed or party != audience:
        raise TokenError("it is for another program")
    expires = claims.get("exp")
    if not isinstance(expires, int | float) or expires < now - _LEEWAY:
        raise TokenError("it has expired (is the clock right?)")
    if claims.get("nonce") != nonce:
        raise TokenError("it belongs to another sign-in")
    if not isinstance(claims.get("sub"), str) or not claims["sub"]:
        raise TokenError("it names nobody")
    return claims


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None


def _check_signature(header: Mapping[str, Any], jwks: Mapping[str, Any], signed: bytes, signature: bytes) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec, padding
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
    from cryptography.hazmat.primitives.hashes import SHA256

    keys = jwks.get("keys")
    kid, algorithm = header.get("kid"), header.get("alg")
    fitting = [key for key in keys if isinstance(key, dict) and key.get("kid") == kid] if isinstance(keys, list) else []
    if len(fitting) != 1:
        raise TokenError("the key of its signature is not known")
    key = fitting[0]
    try:
        # The algorithm goes with the key, never with the token alone.
        if algorithm == "RS256" and key.get("kty") == "RSA":
            _rsa(key).verify(signature, signed, padding.PKCS1v15(), SHA256())
        elif algorithm == "ES256" and key.get("kty") == "EC" and key.get("crv") == "P-256" and len(signature) == 64:
            pair = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
            _elliptic(key).verify(encode_dss_signature(*pair), signed, ec.ECDSA(SHA256()))
        else:
            raise TokenError("its kind of signature is not accepted")
    except (InvalidSignature, ValueError, KeyError, TypeError):
        raise TokenError("its signature is wrong") from None


def _rsa(key: Mapping[str, Any]) -> RSAPublicKey:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

    exponent, modulus = (int.from_bytes(_bytes(str(key[name])), "big") for name in ("e", "n"))
    return RSAPublicNumbers(exponent, modulus).public_key()


def _elliptic(key: Mapping[str, Any]) -> EllipticCurvePublicKey:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicNumbers

    x, y = (int.from_bytes(_bytes(str(key[name])), "big") for name in ("x", "y"))
    return EllipticCurvePublicNumbers(x, y, SECP256R1()).public_key()
