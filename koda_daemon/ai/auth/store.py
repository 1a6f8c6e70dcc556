"""CredentialStore: what signing in left behind, in the system keyring and in the encrypted file of ``vault``.

API keys go to the keyring if there is one, else to the file; tokens always to the file, since they outgrow what some
keyrings take (2,560 bytes on Windows). The file also lists what is in the keyring, which cannot be listed itself: so a
keyring is only ever asked for what is known to be there, and most daemons never ask it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from time import monotonic, time
from typing import TYPE_CHECKING, Literal

import anyio.to_thread
from msgspec.structs import replace

from koda_daemon.ai.auth import ApiKey, OAuthTokens, Stored, vault
from koda_daemon.ai.auth.locks import file_lock
from koda_daemon.ai.auth.private_files import read_private, write_private
from koda_daemon.ai.auth.system_keyring import KeyringUnavailableError, SystemKeyring
from koda_daemon.base.errors import KodaError
from koda_daemon.base.ids import new_id

if TYPE_CHECKING:
    from koda_daemon.ai.auth.vault import Entry, KeyPlace, VaultFile

_log = logging.getLogger(__name__)

FILE = "credentials.enc"
KEY_FILE = "credentials.key"
PASSPHRASE = "KODA_PASSPHRASE"  # noqa: S105 - the name of the variable
_LONGEST_IN_KEYRING = 1000
_LOOK_EVERY = 1.0

Place = Literal["keyring", "file"]


class CredentialStore:
    """The stored credentials of one home folder. Safe to use from several processes at once."""

    def __init__(
        self, home: Path, environ: Mapping[str, str] = os.environ, keyring: SystemKeyring | None = None
    ) -> None:
        self.keyring = keyring or SystemKeyring(environ)
        self._path = home / FILE
        self._environ = environ
        self._keys: dict[tuple[str, KeyPlace], bytes] = {}
        self._seen: tuple[int, int, int] | None = None
        self._entries: dict[str, Entry] = {}
        self._looked = -_LOOK_EVERY
        self.problem: KodaError | None = None
        """Why the file cannot be read, as ``index`` found."""

    def index(self) -> dict[str, Entry]:
        """What is stored for which provider, without the secrets. A ``stat`` at most once a second, and a small read
        when the file has changed: too little to hand to a thread."""
        if monotonic() - self._looked >= _LOOK_EVERY:
            self._look()
        return self._entries

    def _look(self) -> None:
        self._looked = monotonic()
        try:
            status = self._path.stat()
            seen = status.st_mtime_ns, status.st_size, status.st_ino
        except OSError:
            seen = None
        if seen != self._seen:
            self._seen = seen
            self.problem = None
            try:
                self._entries = self._read().entries
            except KodaError as error:
                _log.warning("%s", error.message)
                self._entries = {}
                self.problem = error

    @property
    def version(self) -> object:
        """Changes when the file has changed, by whomever."""
        self.index()
        return self._seen

    async def read(self, provider: str) -> Stored | None:
        """The credential; None when none is stored. Raises ``auth.required`` when it cannot be read now."""
        file = await anyio.to_thread.run_sync(self._read)
        entry = file.entries.get(provider)
        if entry is None:
            return None
        try:
            if entry.key is None:
                secret = await self.keyring.get(_name_in_keyring(provider, file))
                return None if secret is None else ApiKey(secret)
            key = await self._key(file, entry.key)
            return await anyio.to_thread.run_sync(vault.unseal, key, provider, entry.data)
        except KeyringUnavailableError as error:
            raise self._locked_away(provider, str(error), "Unlock the system keyring, or sign in again.") from None
        except vault.VaultError as error:
            self._keys.clear()  # another process may have begun with new ones
            action = f"Set the right {PASSPHRASE}, or sign in again." if entry.key == "passphrase" else "Sign in again."
            raise self._locked_away(provider, str(error), action) from None

    def _locked_away(self, provider: str, why: str, action: str) -> KodaError:
        what = f"The stored credential of {provider} cannot be read: {why}."
        return KodaError("auth.required", what, user_action=action, path=str(self._path))

    async def write(self, provider: str, stored: Stored, *, refreshed: bool = False) -> Place:
        """Stores a credential durably, over the one before; gives where. Raises ``internal`` when it cannot.

        ``refreshed``: it goes on with the sign-in that is stored.
        """
        async with file_lock(self._path.with_suffix(".lock")):
            file = await self._for_change()
            old = file.entries.get(provider)
            entry = await self._in_keyring(file, provider, stored) or await self._in_file(file, provider, stored)
            since = old.since if refreshed and old is not None else time()
            file.entries[provider] = replace(entry, since=since)
            await self._write(file)
            if old is not None and old.key is None and entry.key is not None:
                await self._forget_in_keyring(file, provider)
        return "file" if entry.key else "keyring"

    async def remove(self, provider: str) -> bool:
        """Forgets a credential; False when there was none."""
        if not await anyio.to_thread.run_sync(self._path.exists):
            return False
        async with file_lock(self._path.with_suffix(".lock")):
            file = await anyio.to_thread.run_sync(self._read)
            entry = file.entries.pop(provider, None)
            if entry is None:
                return False
            await self._write(file)
            if entry.key is None:
                await self._forget_in_keyring(file, provider)
        return True

    async def _in_keyring(self, file: VaultFile, provider: str, stored: Stored) -> Entry | None:
        if not isinstance(stored, ApiKey) or len(stored.key) > _LONGEST_IN_KEYRING:
            return None
        try:
            await self.keyring.set(_name_in_keyring(provider, file), stored.key)
        except KeyringUnavailableError:
            return None
        return vault.Entry(kind="api_key")

    async def _in_file(self, file: VaultFile, provider: str, stored: Stored) -> Entry:
        place = await self._key_place(file)
        try:
            key = await self._key(file, place, make=True)
        except (KeyringUnavailableError, vault.VaultError) as error:
            raise KodaError("internal", f"The credential cannot be stored: {error}.", path=str(self._path)) from None
        data = await anyio.to_thread.run_sync(vault.seal, key, provider, stored)
        if isinstance(stored, OAuthTokens):
            return vault.Entry(kind="oauth", key=place, data=data, ended=stored.ended)
        return vault.Entry(kind="api_key", key=place, data=data)

    async def _forget_in_keyring(self, file: VaultFile, provider: str) -> None:
        try:
            await self.keyring.delete(_name_in_keyring(provider, file))
        except KeyringUnavailableError as error:
            _log.warning("the key of %s is still in the system keyring: %s", provider, error)

    # keys

    async def _key_place(self, file: VaultFile) -> KeyPlace:
        """Where the key for new credentials is: the best place that there is now."""
        try:
            await self._key(file, "keyring", make=True)
        except (KeyringUnavailableError, vault.VaultError):
            return "passphrase" if self._environ.get(PASSPHRASE) else "keyfile"
        return "keyring"

    async def _key(self, file: VaultFile, place: KeyPlace, *, make: bool = False) -> bytes:
        """The key; raises ``VaultError``, ``KeyringUnavailableError``. With ``make`` a missing one is made."""
        known = self._keys.get((file.id, place))
        if known is not None:
            return known
        match place:
            case "keyring":
                key = await self._keyring_key(file, make=make)
            case "passphrase":
                key = await self._passphrase_key(file, make=make)
            case "keyfile":
                key = await anyio.to_thread.run_sync(partial(self._file_key, make=make))
        self._keys[file.id, place] = key
        return key

    async def _keyring_key(self, file: VaultFile, *, make: bool) -> bytes:
        name = _name_in_keyring("key of credentials.enc", file)
        text = await self.keyring.get(name)
        if text is None:
            if not make:
                raise vault.VaultError("its key is no longer in the system keyring")
            text = vault.new_key().hex()
            await self.keyring.set(name, text)
        try:
            key = bytes.fromhex(text)
        except ValueError:
            key = b""
        if len(key) != vault.KEY_BYTES:
            raise vault.VaultError("its key in the system keyring is damaged")
        return key

    async def _passphrase_key(self, file: VaultFile, *, make: bool) -> bytes:
        passphrase = self._environ.get(PASSPHRASE)
        if not passphrase:
            raise vault.VaultError(f"{PASSPHRASE} is not set")
        if file.scrypt is None:
            if not make:
                raise vault.VaultError("the parameters of its passphrase are missing")
            file.scrypt = vault.Scrypt(salt=os.urandom(16))
        return await anyio.to_thread.run_sync(vault.derived_key, passphrase, file.scrypt)

    def _file_key(self, *, make: bool) -> bytes:
        path = self._path.with_name(KEY_FILE)
        try:
            key = read_private(path)
            if key is None:
                if not make:
                    raise vault.VaultError(f"{KEY_FILE} is missing")
                key = vault.new_key()
                write_private(path, key)
        except OSError as error:
            raise vault.VaultError(f"{KEY_FILE}: {error.strerror or type(error).__name__}") from None
        if len(key) != vault.KEY_BYTES:
            raise vault.VaultError(f"{KEY_FILE} is damaged")
        return key

    # the file

    def _read(self) -> VaultFile:
        """The file as it is; an empty one when there is none. Raises ``internal``. Blocks."""
        try:
            data = read_private(self._path)
            return vault.VaultFile() if data is None else vault.decode(data)
        except vault.VaultError as error:
            why, action = str(error), "Remove the file and sign in again."
            if isinstance(error, vault.NewerVaultError):
                action = "Update this program."
        except OSError as error:
            why, action = error.strerror or type(error).__name__, "Correct the permissions of the file."
        raise KodaError("internal", f"{self._path} cannot be read: {why}.", path=str(self._path), user_action=action)

    async def _for_change(self) -> VaultFile:
        """The file to add to. A damaged one is put aside: signing in must still be possible."""

        def read() -> VaultFile:
            try:
                file = self._read()
            except KodaError as error:
                try:
                    vault.decode(read_private(self._path) or b"")
                except vault.NewerVaultError:
                    raise error from None
                except vault.VaultError:
                    aside = self._path.with_name(f"{FILE}.{new_id()[:13]}.damaged")
                    self._path.rename(aside)
                    _log.warning("%s was damaged and is now %s", self._path, aside.name)
                    file = vault.VaultFile()
                except OSError:
                    raise error from None
            if not file.id:
                file.id = new_id()
            return file

        return await anyio.to_thread.run_sync(read)

    async def _write(self, file: VaultFile) -> None:
        def write() -> None:
            write_private(self._path, vault.encode(file))

        try:
            await anyio.to_thread.run_sync(write)
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise KodaError("internal", f"Credentials cannot be stored: {why}.", path=str(self._path)) from None
        self._look()


def _name_in_keyring(what: str, file: VaultFile) -> str:
    return f"{what} ({file.id})"
