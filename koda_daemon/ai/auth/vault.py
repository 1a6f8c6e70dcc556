"""The encrypted file of credentials: its form and its cryptography. Pure functions, no files.

The file is JSON: which providers have a credential, of which kind and where, in the clear; the credentials encrypted
with AES-256-GCM (NIST SP 800-38D) under a random 96-bit nonce, bound to their provider as associated data, so that they
cannot be swapped. What the encryption is worth depends on where its key is:

- ``keyring``: in the system keyring. The file alone is useless.
- ``passphrase``: derived from the user's ``KODA_PASSPHRASE`` by scrypt (RFC 7914). As good as the passphrase.
- ``keyfile``: in ``credentials.key`` beside it (0600). Protects only against the credentials file being copied alone:
  whoever can read the user's files can read both.
"""

from __future__ import annotations

import os
from typing import Literal

import msgspec
from msgspec import Struct, field

from koda_daemon.ai.auth import Stored

KeyPlace = Literal["keyring", "passphrase", "keyfile"]

VERSION = 1
KEY_BYTES = 32
_NONCE_BYTES = 12
_FORM = b"\x01"
"""The first byte of every sealed credential: AES-256-GCM with a 12-byte nonce before it."""

_stored: msgspec.json.Decoder[Stored] = msgspec.json.Decoder(Stored)


class Scrypt(Struct, frozen=True, kw_only=True):
    """How the passphrase became a key. The defaults take 32 MiB and about 70 ms."""

    salt: bytes
    n: int = 2**15
    r: int = 8
    p: int = 1


class Entry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One provider's credential. ``key`` None: it is in the keyring itself, and ``data`` is empty."""

    kind: Literal["api_key", "oauth"]
    key: KeyPlace | None = None
    data: bytes = b""
    ended: bool = False
    """The provider has ended the sign-in; one has to sign in again."""
    since: float = 0.0
    """When it was signed in, Unix seconds; 0: that was not noted."""


class VaultFile(Struct, kw_only=True):
    """The whole file. ``id`` tells its secrets in the keyring from those of other homes."""

    version: int = VERSION
    id: str = ""
    scrypt: Scrypt | None = None
    entries: dict[str, Entry] = field(default_factory=dict)


class VaultError(Exception):
    """The file, or a credential in it, cannot be read. The message says why, without secrets."""


class NewerVaultError(VaultError):
    """A later version of this program wrote it: it must not be overwritten."""


class _Version(Struct):
    version: int


def decode(data: bytes) -> VaultFile:
    """Reads the file. Raises ``VaultError`` for damage, ``NewerVaultError`` for a later version."""
    try:
        version = msgspec.json.decode(data, type=_Version).version
        if version != VERSION:
            raise NewerVaultError(f"it has version {version}; this program knows version {VERSION}")
        return msgspec.json.decode(data, type=VaultFile)
    except msgspec.DecodeError:
        raise VaultError("it is damaged") from None


def encode(file: VaultFile) -> bytes:
    """The bytes of the file."""
    return msgspec.json.format(msgspec.json.encode(file), indent=1) + b"\n"


def new_key() -> bytes:
    """A random key."""
    return os.urandom(KEY_BYTES)


def derived_key(passphrase: str, scrypt: Scrypt) -> bytes:
    """The key of a passphrase. Takes a while: run it in a thread. Raises ``VaultError`` for absurd parameters."""
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt as Derivation

    if not (2**14 <= scrypt.n <= 2**20 and 1 <= scrypt.r <= 16 and 1 <= scrypt.p <= 4 and len(scrypt.salt) >= 16):
        raise VaultError("the parameters of its passphrase are out of bounds")
    try:
        derivation = Derivation(salt=scrypt.salt, length=KEY_BYTES, n=scrypt.n, r=scrypt.r, p=scrypt.p)
        return derivation.derive(passphrase.encode())
    except (ValueError, MemoryError):
        raise VaultError("the parameters of its passphrase are out of bounds") from None


def seal(key: bytes, provider: str, stored: Stored) -> bytes:
    """Encrypts a credential for ``provider``."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = os.urandom(_NONCE_BYTES)
    return _FORM + nonce + AESGCM(key).encrypt(nonce, msgspec.json.encode(stored), _bound_to(provider))


def unseal(key: bytes, provider: str, data: bytes) -> Stored:
    """Decrypts what ``seal`` made. Raises ``VaultError`` for another key, another provider, or damage."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    start = len(_FORM) + _NONCE_BYTES
    if not data.startswith(_FORM) or len(data) <= start:
        raise VaultError("its form is not known")
    try:
        plain = AESGCM(key).decrypt(data[len(_FORM) : start], data[start:], _bound_to(provider))
        return _stored.decode(plain)
    except (InvalidTag, ValueError, msgspec.DecodeError):
        raise VaultError("the key does not fit, or it was changed") from None


def _bound_to(provider: str) -> bytes:
    return f"koda:v{VERSION}:{provider}".encode()
