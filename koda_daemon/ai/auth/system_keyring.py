"""The keyring of the system (Secret Service, KWallet, macOS Keychain, Windows Credential Manager), if there is one.

A keyring may be missing, locked, or waiting for its user to type a password; then there is none, for now. Nothing here
blocks the loop or waits for longer than a few seconds. Back ends that keep secrets in plain or home-made files, or ask
for passwords on stdin (``keyrings.alt``, ``keyrings.cryptfile``), are never used, also when they are installed and
keyring itself would choose them.
"""

from __future__ import annotations

import logging
import math
import os
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from koda_daemon.ai.auth.limited import LimitedThread

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

T = TypeVar("T")

_log = logging.getLogger(__name__)

SERVICE = "koda-daemon"
VARIABLE = "KODA_KEYRING"
LIMIT = 4.0
"""Seconds that a keyring may take; one that asks its user something takes longer and is not waited for."""

_LOOK_AGAIN = 60.0
_BACKENDS = {
    "darwin": ("keyring.backends.macOS.Keyring",),
    "win32": ("keyring.backends.Windows.WinVaultKeyring",),
}
_FREEDESKTOP = ("keyring.backends.SecretService.Keyring", "keyring.backends.kwallet.DBusKeyring")
_REFUSED = ("keyrings.", "keyring.backends.fail.", "keyring.backends.null.", "keyring.backends.chainer.")


class KeyringUnavailableError(Exception):
    """There is no keyring, or none that answers now. The message says why, without secrets."""


class SystemKeyring:
    """Small secrets by name, in the user's keyring.

    The variable ``KODA_KEYRING`` may be ``off``, or name the class of a back end; ``backend`` is for programs that
    bring their own.
    """

    def __init__(
        self, environ: Mapping[str, str] = os.environ, backend: KeyringBackend | None = None, *, limit: float = LIMIT
    ) -> None:
        self._environ = environ
        self._backend = backend
        self._limit = limit
        self._thread = LimitedThread("koda-keyring")
        self.unused = ""
        """Why the last call was of no use; empty after one that was."""
        self._absent = ""
        self._absent_until = 0.0
        if backend is None and (why := _nowhere(environ)):
            self._absent, self._absent_until = why, math.inf

    async def get(self, name: str) -> str | None:
        """The secret of that name, None when there is none. Raises ``KeyringUnavailableError``."""
        return await self._call(lambda backend: backend.get_password(SERVICE, name))

    async def set(self, name: str, secret: str) -> None:
        """Stores a secret, and reads it back to be sure. Raises ``KeyringUnavailableError``."""

        def store(backend: KeyringBackend) -> bool:
            backend.set_password(SERVICE, name, secret)
            return backend.get_password(SERVICE, name) == secret

        if not await self._call(store):
            raise KeyringUnavailableError("the keyring does not keep what it is given")

    async def delete(self, name: str) -> None:
        """Removes a secret; one that is not there is no error. Raises ``KeyringUnavailableError``."""

        def delete(backend: KeyringBackend) -> None:
            if backend.get_password(SERVICE, name) is not None:
                backend.delete_password(SERVICE, name)

        await self._call(delete)

    async def _call(self, use: Callable[[KeyringBackend], T]) -> T:
        try:
            found = await self._try(use)
        except KeyringUnavailableError as error:
            self.unused = str(error)
            raise
        self.unused = ""
        return found

    async def _try(self, use: Callable[[KeyringBackend], T]) -> T:
        if monotonic() < self._absent_until:
            raise KeyringUnavailableError(self._absent)
        try:
            return await self._thread.run(lambda: use(self._found()), self._limit)
        except TimeoutError:
            raise KeyringUnavailableError(f"the keyring did not answer within {self._limit:g} s") from None
        except KeyringUnavailableError as error:
            # Its service may only start after us, so we look again, but not for every request.
            self._absent, self._absent_until = str(error), monotonic() + _LOOK_AGAIN
            raise
        except Exception as error:  # back ends raise what they like: D-Bus, Win32 and keyring's own errors
            _log.info("the keyring failed: %s", type(error).__name__)
            raise KeyringUnavailableError(_why(error)) from None

    def _found(self) -> KeyringBackend:
        """The back end (blocking: imports it and asks whether it is there)."""
        if self._backend is not None:
            return self._backend
        chosen = self._environ.get(VARIABLE)
        candidates = (chosen,) if chosen else _BACKENDS.get(sys.platform, _FREEDESKTOP)
        for name in candidates:
            if name.startswith(_REFUSED):
                raise KeyringUnavailableError(f"{name} is not a keyring of the system")
            module, _, attribute = name.rpartition(".")
            try:
                kind: type[KeyringBackend] = getattr(import_module(module), attribute)
                if not kind.viable:
                    continue
                self._backend = kind()
            except (ImportError, AttributeError, ValueError):
                continue
            return self._backend
        raise KeyringUnavailableError("this system has no keyring that can be used")


def _why(error: Exception) -> str:
    from keyring.errors import InitError, KeyringLocked

    if isinstance(error, KeyringLocked | InitError):
        return "the keyring is locked"
    return f"the keyring failed ({type(error).__name__})"


def _nowhere(environ: Mapping[str, str]) -> str:
    """Why looking for a keyring is not worth importing one: switched off, or no session bus to ask. Else empty."""
    chosen = environ.get(VARIABLE)
    if chosen:
        return f"{VARIABLE} is off" if chosen.lower() == "off" else ""
    bus = environ.get("XDG_RUNTIME_DIR")
    has_bus = environ.get("DBUS_SESSION_BUS_ADDRESS") or (bus and os.path.exists(os.path.join(bus, "bus")))
    return "" if sys.platform in _BACKENDS or has_bus else "this system has no keyring"
