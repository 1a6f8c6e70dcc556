"""``koda-daemon tool``: the tools by themselves, as the agent would run them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import anyio.to_thread
import msgspec

from koda_daemon.agent.tool import ToolContext, ToolResult
from koda_daemon.agent.validation import argument_errors
from koda_daemon.ai.provider import ToolSpec
from koda_daemon.ai.settings import key_variables
from koda_daemon.base.errors import KodaError
from koda_daemon.base.ids import new_id
from koda_daemon.cli.output import print_json
from koda_daemon.coding.settings import koda_home, load_settings
from koda_daemon.coding.tools import make_tools
from koda_daemon.coding.workspace import Workspace
from koda_daemon.mom.sandbox import Sandbox


def specs() -> list[ToolSpec]:
    """What models are told of the tools."""
    folder = Path.cwd()
    tools = make_tools(Workspace(folder), Sandbox(mode="off", roots=[folder], koda_home=koda_home(os.environ)))
    return [tool.spec for tool in tools.values()]


async def run_tool(name: str, arguments: str, *, cwd: Path, outside: bool) -> int:
    """Runs a tool in ``cwd`` and prints its result; 0 when it is ok, 1 for any other.

    Nobody is asked: commands run in the sandbox of the settings, and paths outside of ``cwd`` are denied unless
    ``outside``. Raises ``KodaError`` ``params.invalid`` for a tool that there is not and arguments that are no object.
    """
    try:
        given: Any = msgspec.json.decode(arguments)
    except msgspec.DecodeError as error:
        raise KodaError("params.invalid", f"--args is not JSON: {error}.") from error
    if not isinstance(given, dict):
        raise KodaError("params.invalid", "--args must be a JSON object.")
    home = koda_home(os.environ)
    settings = await anyio.to_thread.run_sync(lambda: load_settings(home, cwd, os.environ, problems=[]))
    sandbox = Sandbox(
        mode=settings.sandbox.mode,
        roots=[cwd],
        koda_home=home,
        network=settings.sandbox.network,
        environ=os.environ,
        hidden=key_variables(settings.providers),
    )
    tools = make_tools(Workspace(cwd), sandbox)
    try:
        tool = tools.get(name)
        if tool is None:
            raise KodaError("params.invalid", f"There is no tool {name!r}: {', '.join(tools)}.")
        prepared = tool.prepare(given)
        if errors := argument_errors(tool.spec, prepared):
            result = ToolResult.failed("Invalid arguments: " + "; ".join(errors))
        else:
            result = await _run(tool, prepared, outside=outside)
    finally:
        await tools.aclose()
        await sandbox.aclose()
    shown = {"status": result.status, "content": result.content, "details": result.details, "diff": result.diff}
    print_json({key: value for key, value in shown.items() if value is not None})
    return 0 if result.status == "ok" else 1


async def _run(tool: Any, arguments: dict[str, Any], *, outside: bool) -> ToolResult:
    nothing = ToolContext(
        session_id=new_id(), turn_id=new_id(), call_id=new_id(), output=lambda _: None, emit=lambda _: None
    )
    try:
        if outside:
            tool.access(arguments)  # judges paths, and so lets them through
        result: ToolResult = await tool.run(arguments, nothing)
    except KodaError as error:
        text = " ".join(filter(None, (error.message, error.user_action)))
        return ToolResult.failed(text, status="denied" if error.kind == "permission.denied" else "error")
    return result
