"""Settings: what a user may choose, in layers (protocol/README.md, Settings and environment).

Layers, later ones win: built-in defaults, ``<home>/settings.json``, ``<workspace>/.koda/settings.json`` (only when the
user's own file lists the workspace under ``trusted``), the environment, the client's options. Objects merge key by
key and permission rules add up; every other value replaces the one before.

A cloned repository is not its user. What the workspace layer says may therefore narrow what is allowed and never widen
it: a stricter ``permissions.mode``, ``deny`` and ``ask`` rules, a stricter sandbox, more ``models`` of a provider.
Other keys of ``permissions``, ``sandbox``, ``providers`` and all of ``trusted``, ``store``, ``connection`` and
``checkpoints`` are ignored there, and reported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct, field

from koda_daemon.ai.settings import ProviderSettings
from koda_daemon.base.errors import KodaError

PermissionMode = Literal["read-only", "ask", "auto", "full"]
SandboxMode = Literal["off", "workspace-write", "read-only", "required"]
RuleScope = Literal["once", "turn", "session", "workspace", "user"]
RuleDecision = Literal["allow", "ask", "deny"]

Positive: TypeAlias = Annotated[int, Meta(ge=1)]
Seconds: TypeAlias = Annotated[float, Meta(ge=0)]
Name: TypeAlias = Annotated[str, Meta(min_length=1)]

_MODES: tuple[PermissionMode, ...] = ("read-only", "ask", "auto", "full")
"""Strictest first."""
_SANDBOXES: tuple[SandboxMode, ...] = ("read-only", "required", "workspace-write", "off")
"""Strictest first."""


class _Part(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """One object of the file; unknown keys are errors."""


class Rule(Struct, rename="camel", forbid_unknown_fields=True, omit_defaults=True, frozen=True, kw_only=True):
    """A permission rule as data: what ``koda/permission/*`` lists and grants (``coding.permissions`` applies it).

    ``tool`` is a tool's name or ``*``; ``pattern`` a command (``git status *``) for calls that run one, else a glob on
    the resolved path. ``expires_at`` is ISO 8601 with an offset.
    """

    tool: Name
    pattern: Name
    decision: RuleDecision
    scope: RuleScope = "user"
    expires_at: Annotated[datetime, Meta(tz=True)] | None = None


class CompactionSettings(_Part, frozen=True, kw_only=True):
    """When a branch is summarised: above ``trigger_ratio`` of the model's window or of ``max_tokens``."""

    max_tokens: Positive = 128_000
    trigger_ratio: Annotated[float, Meta(gt=0, le=1)] = 0.8


class ImageSettings(_Part, frozen=True, kw_only=True):
    """Pixels that images are shrunk to before a model sees them."""

    max_width: Positive = 2048
    max_height: Positive = 2048


class RetrySettings(_Part, frozen=True, kw_only=True):
    """Attempts in all, and delays in seconds. ``max_delay`` caps the back-off and what Retry-After asks for."""

    max_attempts: Positive = 3
    base_delay: Seconds = 1.0
    max_delay: Seconds = 60.0


class AgentSettings(_Part, frozen=True, kw_only=True):
    """``max_iterations``: answers of the model in one turn."""

    max_iterations: Positive = 200


class PermissionSettings(_Part, frozen=True, kw_only=True):
    """``rules`` are added to those that users grant as they work."""

    mode: PermissionMode = "ask"
    rules: tuple[Rule, ...] = ()


class SandboxSettings(_Part, frozen=True, kw_only=True):
    """``required`` is ``workspace-write`` that refuses to run anything when the sandbox does not work here.

    ``network``: ``[]`` for none, ``["*"]`` for all.
    """

    mode: SandboxMode = "workspace-write"
    network: tuple[Literal["*"], ...] = ()


class StoreSettings(_Part, frozen=True, kw_only=True):
    """``full``: fsync at each acknowledgement, so that a power cut loses nothing either."""

    durability: Literal["normal", "full"] = "normal"


class CheckpointSettings(_Part, frozen=True, kw_only=True):
    """States of the workspace's files, which rewinds need. ``max_file_bytes``: larger files are left as they are;
    ``keep_days``: how long a state is kept after it was last needed."""

    enabled: bool = True
    max_file_bytes: Positive = 10 * 1024 * 1024
    keep_days: Positive = 90


class ConnectionSettings(_Part, frozen=True, kw_only=True):
    """Bytes: the longest message accepted, and what waits for a client that does not read."""

    max_message_bytes: Positive = 64 * 1024 * 1024
    outbox_bytes: Positive = 8 * 1024 * 1024


class Settings(_Part, frozen=True, kw_only=True):
    """Everything a user may choose, complete and checked."""

    model: Name | None = None
    compaction: CompactionSettings = CompactionSettings()
    images: ImageSettings = ImageSettings()
    retry: RetrySettings = RetrySettings()
    agent: AgentSettings = AgentSettings()
    permissions: PermissionSettings = PermissionSettings()
    sandbox: SandboxSettings = SandboxSettings()
    store: StoreSettings = StoreSettings()
    connection: ConnectionSettings = ConnectionSettings()
    checkpoints: CheckpointSettings = CheckpointSettings()
    providers: dict[str, ProviderSettings] = field(default_factory=dict)
    trusted: tuple[Name, ...] = ()
    """Workspace folders whose own settings are read; counts for the folders below them too."""


def koda_home(environ: Mapping[str, str]) -> Path:
    """The folder of everything Koda keeps: ``KODA_HOME``, else ``~/.koda``. Absolute; may not exist yet."""
    chosen = environ.get("KODA_HOME")
    return (Path(chosen).expanduser() if chosen else Path.home() / ".koda").absolute()


def load_settings(
    home: Path,
    workspace: Path | None,
    environ: Mapping[str, str],
    client_options: Mapping[str, Any] | None = None,
    *,
    problems: list[KodaError] | None = None,
) -> Settings:
    """The settings of all layers together. Reads at most two small files (blocking).

    What is wrong (unknown keys, wrong types, keys that the layer may not set, unreadable files) is a ``KodaError``
    ``params.invalid`` that names layer and JSON path. With a ``problems`` list these are appended there and the good
    part is used; without one the first is raised. A broken ``permissions`` part never leaves more than mode ``ask``.
    """
    found: list[KodaError] = []
    user = _checked(_read(home / "settings.json", found), str(home / "settings.json"), found)
    merged = user
    if workspace is not None and is_trusted(workspace, user.get("trusted", ())):
        path = workspace / ".koda" / "settings.json"
        layer = _checked(_read(path, found), str(path), found)
        merged = _merge(merged, _narrowed(layer, merged, str(path), found))
    merged = _merge(merged, _checked(_from_environment(environ), "environment", found))
    merged = _merge(merged, _checked(_from_client(client_options, found), "client options", found))
    if found:
        if problems is None:
            raise found[0]
        problems.extend(found)
        if any((problem.path or "").split(": ")[-1].startswith("permissions") for problem in found):
            merged = _merge(merged, {"permissions": {"mode": _stricter(_MODES, _mode(merged), "ask")}})
    return msgspec.convert(merged, Settings)


def is_trusted(workspace: Path, trusted: tuple[str, ...] | list[str]) -> bool:
    """Whether the folder or one above it is listed. Both sides are resolved, so a symlink lends no trust."""
    folder = workspace.resolve()
    roots = [Path(entry).expanduser().resolve() for entry in trusted]
    return any(folder == root or root in folder.parents for root in roots)


def _problem(layer: str, where: str, why: str) -> KodaError:
    place = f"{layer}: {where}" if where else layer
    return KodaError("params.invalid", f"Settings: {place}: {why}.", path=place, user_action="Correct the settings.")


def _read(path: Path, problems: list[KodaError]) -> dict[str, Any]:
    try:
        raw = msgspec.json.decode(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        problems.append(_problem(str(path), "", f"cannot be read ({type(error).__name__})"))
        return {}
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        problems.append(_problem(str(path), "", f"is not JSON ({error})"))
        return {}
    if not isinstance(raw, dict):
        problems.append(_problem(str(path), "", "is not a JSON object"))
        return {}
    return raw


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    model = environ.get("KODA_MODEL")
    return {"model": model} if model else {}


def _from_client(options: Mapping[str, Any] | None, problems: list[KodaError]) -> dict[str, Any]:
    layer = dict(options or {})
    if layer.pop("trusted", None) is not None:
        problems.append(_problem("client options", "trusted", "belongs in the user's settings file"))
    return layer


def _checked(raw: dict[str, Any], layer: str, problems: list[KodaError]) -> dict[str, Any]:
    """The valid part of one layer, as plain data; what is left out is reported."""
    rest = dict(raw)
    providers, permissions = rest.pop("providers", {}), rest.pop("permissions", {})
    good: dict[str, Any] = _valid_part(rest, Settings, layer, "", problems) or {}
    if isinstance(providers, dict):
        rows = {
            name: _valid_part(row, ProviderSettings, layer, f"providers.{name}", problems)
            for name, row in providers.items()
        }
        good["providers"] = {name: row for name, row in rows.items() if row is not None}
    else:
        problems.append(_problem(layer, "providers", "expected `object`"))
    rules = permissions.get("rules", []) if isinstance(permissions, dict) else []
    if isinstance(rules, list):
        # A broken rule goes as a whole: without its expiry, say, it would mean something else.
        kept = [rule for index, rule in enumerate(rules) if _is_rule(rule, layer, index, problems)]
        if isinstance(permissions, dict) and "rules" in permissions:
            permissions = {**permissions, "rules": kept}
    good["permissions"] = _valid_part(permissions, PermissionSettings, layer, "permissions", problems) or {}
    return good


def _is_rule(raw: Any, layer: str, index: int, problems: list[KodaError]) -> bool:
    try:
        msgspec.convert(raw, Rule)
    except msgspec.ValidationError as error:
        where, why, _ = _located(error)
        problems.append(_problem(layer, f"permissions.rules[{index}]{where}", why))
        return False
    return True


def _valid_part(raw: Any, kind: type, layer: str, prefix: str, problems: list[KodaError]) -> Any:
    """``raw`` without what ``kind`` does not accept; None when it is no object at all."""
    raw = msgspec.json.decode(msgspec.json.encode(raw))  # a deep copy to take things out of
    while True:
        try:
            msgspec.convert(raw, kind)
        except msgspec.ValidationError as error:
            where, why, keys = _located(error)
            where = where.replace("[...]", f".{_not_text(raw, keys)}") if where.endswith(".headers[...]") else where
            problems.append(_problem(layer, f"{prefix}{where}".removeprefix("."), why))
            if not _take_out(raw, keys):
                return None
        else:
            return raw


def _not_text(raw: Any, keys: list[str]) -> str:
    """The first key of a map of texts whose value is none: msgspec names no keys of maps."""
    for key in keys:
        raw = raw[key]
    return next((name for name, value in raw.items() if not isinstance(value, str)), "")


def _take_out(raw: Any, keys: list[str]) -> bool:
    """False when there is nothing there: the object itself is wrong, or a key looks like msgspec's own words."""
    *owners, last = keys or [""]
    for key in owners:
        raw = raw.get(key) if isinstance(raw, dict) else None
    return isinstance(raw, dict) and raw.pop(last, _UNKNOWN) is not _UNKNOWN


_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`$", re.DOTALL)


def _located(error: msgspec.ValidationError) -> tuple[str, str, list[str]]:
    """msgspec's message as (path for people, reason, keys of what to leave out: a list or map goes as a whole)."""
    why, _, at = str(error).partition(" - at `$")
    where = at.removesuffix("`")
    keys = [key for key in where.partition("[")[0].split(".") if key]
    if unknown := _UNKNOWN.match(why):
        return f"{where}.{unknown[1]}", "unknown key", keys if "[" in where else [*keys, unknown[1]]
    if where.startswith((".network", ".sandbox.network")) and "enum" in why:
        why = 'only [] (none) and ["*"] (all) are supported'
    return where, why[:1].lower() + why[1:], keys


def _merge(base: dict[str, Any], over: dict[str, Any], at: str = "") -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old, place = merged.get(key), f"{at}.{key}"
        if isinstance(old, dict) and isinstance(value, dict):
            merged[key] = _merge(old, value, place)
        elif place == ".permissions.rules" and isinstance(old, list):
            merged[key] = [*old, *value]
        else:
            merged[key] = value
    return merged


def _mode(layer: dict[str, Any]) -> PermissionMode:
    mode: PermissionMode = layer.get("permissions", {}).get("mode", PermissionSettings().mode)
    return mode


def _stricter(order: tuple[Any, ...], a: Any, b: Any) -> Any:
    return min(a, b, key=order.index)


def _narrowed(layer: dict[str, Any], base: dict[str, Any], name: str, problems: list[KodaError]) -> dict[str, Any]:
    """The part of a workspace's layer that a workspace may say (see the module's docstring)."""

    def refuse(where: str, why: str) -> None:
        problems.append(_problem(name, where, f"ignored: {why}"))

    kept: dict[str, Any] = {
        key: layer[key] for key in ("model", "compaction", "images", "retry", "agent") if key in layer
    }
    for key in ("trusted", "store", "connection", "checkpoints"):
        if key in layer:
            refuse(key, "belongs in the user's settings file")

    permissions: dict[str, Any] = {}
    asked = layer.get("permissions", {})
    if "mode" in asked:
        if _stricter(_MODES, asked["mode"], _mode(base)) == asked["mode"]:
            permissions["mode"] = asked["mode"]
        else:
            refuse("permissions.mode", "a workspace may only be stricter than its user")
    if "rules" in asked:
        permissions["rules"] = [rule for rule in asked["rules"] if rule["decision"] != "allow"]
        for index, rule in enumerate(asked["rules"]):
            if rule["decision"] == "allow":
                refuse(f"permissions.rules[{index}]", "a workspace may only deny or ask")

    sandbox: dict[str, Any] = {}
    wanted, own = layer.get("sandbox", {}), base.get("sandbox", {})
    if "mode" in wanted:
        if _stricter(_SANDBOXES, wanted["mode"], own.get("mode", SandboxSettings().mode)) == wanted["mode"]:
            sandbox["mode"] = wanted["mode"]
        else:
            refuse("sandbox.mode", "a workspace may only be stricter than its user")
    if "network" in wanted:
        if set(wanted["network"]) <= set(own.get("network", ())):
            sandbox["network"] = wanted["network"]
        else:
            refuse("sandbox.network", "a workspace may only be stricter than its user")

    providers: dict[str, Any] = {}
    for provider, row in layer.get("providers", {}).items():
        providers[provider] = {key: value for key, value in row.items() if key == "models"}
        for key in row.keys() - {"models"}:
            refuse(f"providers.{provider}.{key}", "only the user may say where prompts and keys go")
    return {**kept, "permissions": permissions, "sandbox": sandbox, "providers": providers}
