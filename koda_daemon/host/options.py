"""Options: what can be chosen for a session (or for one turn) while the daemon runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from msgspec import Struct

from koda_daemon.ai.provider import Effort
from koda_daemon.base.errors import KodaError
from koda_daemon.coding.settings import PermissionMode, SandboxMode
from koda_daemon.host.events import OptionChanged
from koda_daemon.host.lease import writes

if TYPE_CHECKING:
    from koda_daemon.host.host import Host
    from koda_daemon.host.live import LiveSession


class Option(Struct, frozen=True, kw_only=True):
    """``choices`` None: any value of ``kind``."""

    name: str
    description: str
    kind: type
    choices: tuple[Any, ...] | None = None


OPTIONS: dict[str, Option] = {
    option.name: option
    for option in (
        Option(name="model", description="The model that answers, as provider/model.", kind=str),
        Option(name="effort", description="How much the model reasons.", kind=str, choices=get_args(Effort)),
        Option(
            name="mode",
            description="What the agent may do unasked.",
            kind=str,
            choices=get_args(PermissionMode),
        ),
        Option(
            name="sandbox",
            description="What confines the agent's commands, from the next turn on.",
            kind=str,
            choices=get_args(SandboxMode),
        ),
        Option(name="maxIterations", description="Answers of the model in one turn, at most.", kind=int),
        Option(name="provider", description="Extra parameters for the provider, as it names them.", kind=dict),
    )
}


def check_options(host: Host, options: dict[str, Any] | None, path: str = "$.options") -> dict[str, Any]:
    """The options if all are known and fit; raises ``params.invalid`` naming the first that does not."""
    for name, value in (options or {}).items():
        _check(host, name, value, f"{path}.{name}")
    return options or {}


def _check(host: Host, name: str, value: Any, path: str) -> None:
    option = OPTIONS.get(name)
    if option is None:
        raise KodaError("params.invalid", f"There is no option {name!r}: {', '.join(OPTIONS)}.", path=path)
    if isinstance(value, bool) or not isinstance(value, option.kind):
        raise KodaError("params.invalid", f"{name} must be of type {option.kind.__name__}.", path=path)
    if option.choices is not None and value not in option.choices:
        raise KodaError("params.invalid", f"{name} must be one of {', '.join(option.choices)}.", path=path)
    if name == "model":
        host.models.model(str(value))
    if isinstance(value, int) and value < 1:
        raise KodaError("params.invalid", f"{name} must be 1 or more.", path=path)


def current(host: Host, live: LiveSession | None) -> dict[str, Any]:
    """The value of every option: the session's own, else the default. None: the model's own default."""
    settings = live.settings if live is not None else host.settings
    values: dict[str, Any] = {
        "model": host.default_model,
        "effort": None,
        "mode": settings.permissions.mode,
        "sandbox": settings.sandbox.mode,
        "maxIterations": settings.agent.max_iterations,
        "provider": None,
        **host.defaults,
    }
    if live is not None:
        values |= {name: value for name, value in live.session.options.items() if name in OPTIONS}
        values["model"] = live.session.model
    return values


async def set_option(host: Host, live: LiveSession | None, name: str, value: Any) -> Any:
    """Sets an option of a session (None: of the sessions made from now on); value None brings the default back.

    Returns the value in force. Raises ``params.invalid``, ``model.unknown``.
    """
    if name not in OPTIONS or value is not None:
        _check(host, name, value, "$.name" if name not in OPTIONS else "$.value")
    if live is None:
        host.defaults.pop(name, None)
        if value is not None:
            host.defaults[name] = value
        return current(host, None)[name]
    await _store(live, name, value if value is not None or name != "model" else host.default_model)
    now = current(host, live)[name]
    live.emit(OptionChanged(name=name, value=now))
    return now


@writes
async def _store(live: LiveSession, name: str, value: Any) -> None:
    if name == "model":
        await live.session.set_model(value)
    else:
        await live.session.set_option(name, value)
