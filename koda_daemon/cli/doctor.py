"""``koda-daemon doctor``: what works here, and what does not. Names only; no key is ever shown."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio.to_thread

from koda_daemon import __version__
from koda_daemon.ai.auth.storage import AuthStorage
from koda_daemon.ai.registry import ModelRegistry
from koda_daemon.base.errors import KodaError
from koda_daemon.coding.settings import Settings, koda_home, load_settings
from koda_daemon.mom.sandbox import probe
from koda_daemon.session.manager import SessionManager

_PACKAGES = (
    *("anthropic", "anyio", "click", "httpx2", "jsonschema-rs", "keyring", "lsprotocol", "msgspec", "openai"),
    *("psutil", "pygls", "watchfiles"),
)


async def examine(environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """The facts, as plain data. ``ok`` is False when something is broken that the daemon needs."""
    home = koda_home(environ)
    problems: list[KodaError] = []
    settings = await anyio.to_thread.run_sync(lambda: load_settings(home, None, environ, problems=problems))
    registry = ModelRegistry(settings.providers, environ=environ)
    problems += await anyio.to_thread.run_sync(registry.problems)
    sandbox = await probe(environ)
    store = await _store(home)
    found = await anyio.to_thread.run_sync(_programs, environ)
    return {
        "version": __version__,
        "python": {"version": platform.python_version(), "executable": sys.executable},
        "platform": platform.platform(),
        "packages": await anyio.to_thread.run_sync(_versions),
        "home": str(home),
        "settings": {
            "model": settings.model,
            "mode": settings.permissions.mode,
            "sandbox": settings.sandbox.mode,
            "problems": [problem.message for problem in problems],
        },
        "providers": _providers(home, settings, environ),
        "programs": found,
        "sandbox": {"backend": sandbox.backend, "program": sandbox.program, "reason": sandbox.reason},
        "store": store,
        "ok": not problems and store["ok"] and found["rg"] is not None,
    }


def report(facts: dict[str, Any]) -> list[tuple[bool | None, str]]:
    """The facts as lines for people, each good, bad or (None) neither."""
    settings, store, sandbox = facts["settings"], facts["store"], facts["sandbox"]
    packages = ", ".join(f"{name} {version}" for name, version in facts["packages"].items())
    lines: list[tuple[bool | None, str]] = [
        (
            None,
            f"koda-daemon {facts['version']}, Python {facts['python']['version']} ({facts['python']['executable']})",
        ),
        (None, f"platform {facts['platform']}"),
        (None, f"packages {packages}"),
        (None, f"home {facts['home']}"),
        (None, f"model {settings['model'] or 'not chosen'}, mode {settings['mode']}, sandbox {settings['sandbox']}"),
    ]
    lines += [(False, problem) for problem in settings["problems"]] or [(True, "settings have no problems")]
    names = ", ".join(facts["providers"])
    lines.append((bool(names), f"providers with credentials: {names or 'none; the demo models work without'}"))
    lines += [(path is not None, f"{name}: {path or 'not found'}") for name, path in facts["programs"].items()]
    confined = f"commands are confined by {sandbox['backend']}"
    lines.append(
        (sandbox["backend"] is not None, confined if sandbox["backend"] else f"no sandbox: {sandbox['reason']}")
    )
    lines.append((store["ok"], f"store: {store['state']} ({store['path']})"))
    return lines


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def _programs(environ: Mapping[str, str]) -> dict[str, str | None]:
    import shutil

    from koda_daemon.coding.tools.ripgrep import find_ripgrep

    try:
        rg: str | None = find_ripgrep()
    except KodaError:
        rg = None
    return {"rg": rg, "git": shutil.which("git", path=environ.get("PATH"))}


def _providers(home: Path, settings: Settings, environ: Mapping[str, str]) -> list[str]:
    auth = AuthStorage(home, environ, settings.providers)
    return [name for name in ModelRegistry(settings.providers, environ=environ).providers if auth.known(name)]


async def _store(home: Path) -> dict[str, Any]:
    path = home / "sessions.db"
    if not path.exists():
        return {"ok": True, "state": "not made yet", "path": str(path)}
    try:
        sessions = await SessionManager.open(path)
    except KodaError as error:
        return {"ok": False, "state": error.message, "path": str(path)}
    try:
        known, more = await sessions.list(limit=500)
    except KodaError as error:
        return {"ok": False, "state": error.message, "path": str(path)}
    finally:
        await sessions.aclose()
    return {"ok": True, "state": f"{len(known)}{'+' if more else ''} sessions", "path": str(path)}
