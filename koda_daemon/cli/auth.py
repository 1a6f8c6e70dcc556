"""``koda-daemon login``, ``logout`` and ``auth``: signing in without an editor. No daemon is needed for it.

A daemon that runs sees within a second what has changed here.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import partial

import click
from msgspec.structs import replace

from koda_daemon.ai.auth.flows import has_flow, why_key
from koda_daemon.ai.auth.limited import LimitedThread
from koda_daemon.ai.auth.oauth import Attempt
from koda_daemon.ai.auth.redact import SHORTEST
from koda_daemon.ai.auth.storage import AuthStorage, ProviderStatus
from koda_daemon.ai.auth.store import FILE, KEY_FILE, PASSPHRASE
from koda_daemon.ai.providers import PROVIDERS
from koda_daemon.ai.registry import ModelRegistry
from koda_daemon.base.errors import KodaError
from koda_daemon.cli.output import print_json, print_table
from koda_daemon.cli.style import clean, style_for
from koda_daemon.coding.settings import koda_home, load_settings

_BROWSER_SECONDS = 5.0


class SignIns:
    """The credentials and providers of this user."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        problems: list[KodaError] = []
        self.home = koda_home(environ)
        settings = load_settings(self.home, None, environ, problems=problems)
        self.auth = AuthStorage(self.home, environ, settings.providers)
        self.registry = ModelRegistry(settings.providers, environ=environ)
        self._environ = environ

    def check(self, provider: str) -> None:
        """Raises ``params.invalid`` for a provider that does not exist."""
        if provider not in self.registry.providers:
            raise unknown(provider, self.registry.providers)

    async def login_with_key(self, provider: str, key: str) -> None:
        """Stores a key."""
        await self.auth.store_key(provider, key)
        self._say_where(provider)

    async def login_with_page(self, provider: str, *, browser: bool) -> None:
        """Signs in on the provider's page, which is opened if it can be; its last address may be pasted instead."""
        attempt = await self.auth.begin(provider)
        click.echo(f"Sign in to {_name(provider)} here:\n\n  {clean(attempt.url)}\n")
        if attempt.user_code is not None:
            click.echo(f"and enter the code {click.style(clean(attempt.user_code), bold=True)}\n")
        else:
            click.echo(
                "Is the browser on another machine? Then its last page cannot be shown: paste its address here.\n"
            )
        if browser and _has_browser(self._environ):
            await _open_page(attempt.url)
        finishing = asyncio.ensure_future(self.auth.finish(provider, attempt))
        stop = _each_line(partial(self._paste, provider, attempt))
        try:
            await finishing
        finally:
            stop()
            finishing.cancel()
        self._say_where(provider)

    def _paste(self, provider: str, attempt: Attempt, line: str) -> None:
        if line.strip() and attempt.user_code is None:
            try:
                self.auth.paste(provider, line)
            except KodaError as error:
                click.echo(f"{error.message} {error.user_action or ''}", err=True)

    def _say_where(self, provider: str) -> None:
        entry = self.auth.store.index().get(provider)
        match None if entry is None else entry.key:
            case None:
                where = "in the system keyring"
            case "keyring":
                where = f"in {self.home / FILE}, encrypted with a key in the system keyring"
            case "passphrase":
                where = f"in {self.home / FILE}, encrypted with {PASSPHRASE}"
            case "keyfile":
                where = (
                    f"in {self.home / FILE}, encrypted with {KEY_FILE} beside it.\n"
                    "That protects the file when it is copied alone, and not from programs that may read your files. "
                    f"The system keyring cannot be used ({self.auth.store.keyring.unused}); set {PASSPHRASE} for more"
                )
        click.echo(f"Signed in to {_name(provider)}. Kept {where}.")
        if place := self.auth.written_place(provider):  # what the user has written down goes before what is stored
            click.echo(f"Note: {place} goes first.", err=True)

    async def logout(self, provider: str) -> None:
        """Forgets what is stored."""
        if not self.auth.store.index().get(provider):
            self.check(provider)
        removed = await self.auth.logout(provider)
        click.echo(f"Signed out of {_name(provider)}." if removed else "Nothing was stored.")
        if place := self.auth.written_place(provider):
            click.echo(f"Note: {place} is still there, and only you can take it away.", err=True)

    async def show(self, *, everything: bool, raw: bool) -> None:
        """Prints where each provider stands."""
        found = [await self._status(name) for name in self.registry.providers]
        if not everything:
            found = [one for one in found if one.source != "none"]
        if raw:
            print_json([_as_data(one, self.auth.methods(one.provider)) for one in found])
            return
        style = style_for(sys.stdout)
        good, bad = style.paint(style.symbol("✓", "ok"), "green"), style.paint(style.symbol("✗", "--"), "yellow")
        print_table(
            [
                (good if one.state == "ok" else bad, one.provider, one.source, clean(one.account or ""), _remark(one))
                for one in found
            ]
        )
        if not found:
            click.echo("No provider has credentials. The demo models work without; koda-daemon login PROVIDER.")

    async def _status(self, provider: str) -> ProviderStatus:
        found = await self.auth.status(provider)
        with suppress(KodaError):  # wrong settings: told when it is used
            if found.source == "none" and not self.registry.config(provider).needs_key:
                return replace(found, state="ok")
        return found


def unknown(provider: str, known: Sequence[str]) -> KodaError:
    """What to say of a provider that does not exist: which were meant, or all. Long words are not repeated: people
    paste keys where a name belongs."""
    name = repr(provider) if len(provider) < SHORTEST * 2 else "of that name"
    near = get_close_matches(provider.lower(), known, 3, 0.5)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"There are {', '.join(known)}."
    return KodaError("params.invalid", f"There is no provider {name}. {hint}")


def uses_page(provider: str, *, key: bool) -> bool:
    """Whether to sign in on a page of the provider: where there is one, unless a ``key`` is to be given."""
    return not key and has_flow(provider)


def read_key(provider: str) -> str:
    """An API key from stdin, or asked for on a terminal, where it is not shown."""
    if not sys.stdin.isatty():
        return sys.stdin.read()
    if not has_flow(provider):
        click.echo(f"{why_key(provider)}.", err=True)
    key: str = click.prompt(f"API key of {_name(provider)}", hide_input=True, err=True)
    return key


def _each_line(take: Callable[[str], None]) -> Callable[[], None]:
    """Calls ``take`` with each line of stdin, until the function that it gives is called.

    In a daemon thread and without Python's own buffer, whose lock a blocked reader would hold at the exit.
    """
    loop = asyncio.get_running_loop()
    stopped = threading.Event()

    def read() -> None:
        text = ""
        with suppress(OSError, RuntimeError):  # RuntimeError: the loop has ended
            while data := os.read(0, 4096):
                text += data.decode(errors="replace")
                *lines, text = text.split("\n")
                for line in lines:
                    if not stopped.is_set():
                        loop.call_soon_threadsafe(take, line)

    threading.Thread(target=read, name="koda-stdin", daemon=True).start()
    return stopped.set


def _has_browser(environ: Mapping[str, str]) -> bool:
    """Whether a browser would open before the user's eyes: not over SSH, not one that takes the terminal."""
    if environ.get("SSH_CONNECTION"):
        return False
    return sys.platform in ("darwin", "win32") or bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))


async def _open_page(url: str) -> None:
    import webbrowser

    with suppress(TimeoutError, OSError, webbrowser.Error):
        await LimitedThread("koda-browser").run(lambda: webbrowser.open(url), _BROWSER_SECONDS)


def _name(provider: str) -> str:
    row = PROVIDERS.get(provider)
    return provider if row is None else row.name


def _remark(status: ProviderStatus) -> str:
    if status.problem:
        return status.problem
    if status.state == "expired":
        return f"has ended; koda-daemon login {status.provider}"
    if status.place:
        return status.place
    since = "" if status.since is None else f"since {_iso(status.since)}"
    until = "" if status.expires is None else f"refreshed by {_iso(status.expires)}"
    return ", ".join(filter(None, (since, until)))


def _as_data(status: ProviderStatus, methods: tuple[str, ...]) -> dict[str, object]:
    """As in ``koda/auth/status``."""
    data: dict[str, object] = {
        "provider": status.provider,
        "status": status.state,
        "source": status.source,
        "methods": methods,
    }
    if status.account:
        data["account"] = status.account
    if status.since is not None:
        data["since"] = _iso(status.since)
    if status.expires is not None:
        data["expiresAt"] = _iso(status.expires)
    return data


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
