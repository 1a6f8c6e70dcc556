"""Every command but serving. Errors go to stderr in one line; the exit code is 2 for bad usage, 1 for a failure."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from koda_daemon import __version__
from koda_daemon.base.errors import KodaError
from koda_daemon.cli.output import print_json, print_table
from koda_daemon.cli.style import clean, one_line, style_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from koda_daemon.cli.client import DaemonClient

_FOLDER = click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path)
_MODES = click.Choice(["read-only", "ask", "auto", "full"])


def run(arguments: list[str]) -> int:
    """Runs a command line; gives the exit code."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")  # a terminal that lacks a character shows a question mark
    try:
        code = cli.main(arguments, prog_name="koda-daemon", standalone_mode=False)
    except click.UsageError as error:
        return _failed(error.format_message(), 2)
    except click.ClickException as error:
        return _failed(error.format_message(), error.exit_code)
    except KodaError as error:
        return _failed(f"{error.message} {error.user_action or ''}", 2 if error.kind == "params.invalid" else 1)
    except (KeyboardInterrupt, click.Abort, asyncio.CancelledError):
        return _failed("interrupted", 130)
    return code if isinstance(code, int) else 0


def _failed(message: str, code: int) -> int:
    sys.stderr.write(f"koda-daemon: {one_line(message, 1000).strip()}\n")
    return code


def _await(work: Callable[[], Awaitable[int | None]]) -> int:
    async def main() -> int:
        return await work() or 0

    return asyncio.run(main())


@click.group(invoke_without_command=False, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(prog)s %(version)s")
def cli() -> None:
    """Koda: a coding agent that lives in the editor.

    Without a command it serves on stdio, for an editor to talk to.
    """


@cli.command()
@click.option("--stdio", is_flag=True, help="Serve on stdin and stdout (the default).")
@click.option("--socket", metavar="PATH", help="Serve on a Unix socket.")
def serve(stdio: bool, socket: str | None) -> int:
    """Serve an editor (JSON-RPC in the manner of a language server)."""
    if stdio and socket is not None:
        raise click.UsageError("Choose one of --stdio and --socket.")
    from koda_daemon.server.daemon import serve_main

    return serve_main(socket=socket)


@cli.command()
@click.option("--keep", is_flag=True, help="Leave the temporary folder for a look around.")
def demo(keep: bool) -> int:
    """See it work: an agent without a model mends a small project, and a second branch looks on."""
    from koda_daemon.cli.demo import demonstrate

    return _await(lambda: demonstrate(keep=keep))


@cli.command()
@click.argument("text")
@click.option("--model", metavar="PROVIDER/MODEL", help="Which model answers.")
@click.option("--cwd", type=_FOLDER, default=".", help="The workspace folder (default: this one).")
@click.option("--session", metavar="ID", help="Go on with a session: its id, the end of it, or `last`.")
@click.option("--mode", type=_MODES, help="What may be done unasked.")
@click.option("--json", "raw", is_flag=True, help="Print every message of the daemon as JSON.")
def prompt(text: str, model: str | None, cwd: Path, session: str | None, mode: str | None, raw: bool) -> int:
    """Say TEXT to the agent (`-` reads it from stdin)."""
    from koda_daemon.cli.prompt import prompt as send

    said = sys.stdin.read() if text == "-" else text
    if not said.strip():
        raise click.UsageError("There is nothing to say.")
    return _await(lambda: send(said, cwd=cwd, model=model, session=session, mode=mode, raw=raw))


@cli.group()
def tool() -> None:
    """The agent's tools, without an agent."""


@tool.command("list")
@click.option("--json", "raw", is_flag=True, help="With the JSON Schema of the arguments.")
def tool_list(raw: bool) -> None:
    """List the tools."""
    from koda_daemon.cli.tools import specs

    found = specs()
    if raw:
        print_json(found)
    else:
        print_table([(spec.name, spec.description.split(". ")[0].rstrip(".") + ".") for spec in found])


@tool.command("run")
@click.argument("name")
@click.option("--args", "arguments", default="{}", metavar="JSON", help="The arguments (`-` reads them from stdin).")
@click.option("--cwd", type=_FOLDER, default=".", help="The workspace folder (default: this one).")
@click.option("--outside", is_flag=True, help="Allow paths outside of the workspace folder.")
def tool_run(name: str, arguments: str, cwd: Path, outside: bool) -> int:
    """Run the tool NAME; print its result as JSON."""
    from koda_daemon.cli.tools import run_tool

    text = sys.stdin.read() if arguments == "-" else arguments
    return _await(lambda: run_tool(name, text, cwd=cwd, outside=outside))


@cli.command()
@click.option("--provider", metavar="NAME", help="Only of this provider.")
@click.option(
    "--available", is_flag=True, help="Only those that can be used: with credentials, or without need of any."
)
@click.option("--json", "raw", is_flag=True, help="As JSON.")
def models(provider: str | None, available: bool, raw: bool) -> None:
    """List the models."""
    from koda_daemon.cli.models import list_models

    list_models(provider, available=available, raw=raw)


@cli.command()
@click.argument("provider")
@click.argument("rest", nargs=-1, metavar="")
@click.option("--key", is_flag=True, help="With an API key, also where one could sign in on a page.")
@click.option("--no-browser", is_flag=True, help="Only show the address of the page.")
def login(provider: str, rest: tuple[str, ...], key: bool, no_browser: bool) -> int:
    """Sign in to PROVIDER: on its page, or with an API key, which is asked for or read from stdin."""
    from koda_daemon.cli.auth import SignIns, read_key, uses_page

    _refuse(rest)
    sign_ins = SignIns()
    sign_ins.check(provider)
    if uses_page(provider, key=key):
        return _await(lambda: sign_ins.login_with_page(provider, browser=not no_browser))
    said = read_key(provider)
    return _await(lambda: sign_ins.login_with_key(provider, said))


def _refuse(rest: tuple[str, ...]) -> None:
    """Refuses arguments that are none without showing them, as click would: one may be a key."""
    if rest:
        raise click.UsageError("Other users can see arguments, so a key is none: it is asked for, or read from stdin.")


@cli.command()
@click.argument("provider")
@click.argument("rest", nargs=-1, metavar="")
def logout(provider: str, rest: tuple[str, ...]) -> int:
    """Forget what `login` has stored for PROVIDER."""
    from koda_daemon.cli.auth import SignIns

    _refuse(rest)
    sign_ins = SignIns()
    return _await(lambda: sign_ins.logout(provider))


@cli.command()
@click.argument("rest", nargs=-1, metavar="")
@click.option("--all", "everything", is_flag=True, help="Also providers without credentials.")
@click.option("--json", "raw", is_flag=True, help="As JSON.")
def auth(rest: tuple[str, ...], everything: bool, raw: bool) -> int:
    """Show which providers have credentials, and where from; never a key."""
    from koda_daemon.cli.auth import SignIns

    _refuse(rest)
    return _await(lambda: SignIns().show(everything=everything, raw=raw))


@cli.group()
def session() -> None:
    """Conversations."""


@asynccontextmanager
async def _daemon() -> AsyncIterator[DaemonClient]:
    from koda_daemon.cli.client import DaemonClient

    async with DaemonClient.start(cwd=Path.cwd()) as client:
        yield client


@session.command("list")
@click.option("--cwd", type=_FOLDER, help="Only those of this workspace folder.")
@click.option("--limit", type=click.IntRange(1, 500), default=50, help="How many at most (default: 50).")
@click.option("--json", "raw", is_flag=True, help="As JSON.")
def session_list(cwd: Path | None, limit: int, raw: bool) -> int:
    """List sessions, last changed first."""

    async def work() -> None:
        async with _daemon() as client:
            params = {"limit": limit} | ({"cwd": str(cwd)} if cwd else {})
            found = (await client.request("koda/session/list", params))["sessions"]
        if raw:
            print_json(found)
        else:
            print_table(
                [
                    (one["id"], one["updatedAt"][:16].replace("T", " "), one["model"], one_line(one["title"] or "", 60))
                    for one in found
                ]
            )

    return _await(work)


@session.command("show")
@click.argument("name", metavar="ID")
@click.option("--all", "whole", is_flag=True, help="Every node, also the steps within a turn.")
@click.option("--json", "raw", is_flag=True, help="The nodes as JSON.")
def session_show(name: str, whole: bool, raw: bool) -> int:
    """Draw the tree of a session (its id, the end of it, or `last`)."""

    async def work() -> None:
        from koda_daemon.cli.prompt import find_session, terminal_width
        from koda_daemon.cli.tree import draw_tree

        async with _daemon() as client:
            tree = await client.request("koda/tree", {"sessionId": await find_session(client, name)})
        if raw:
            print_json(tree)
        else:
            style = style_for(sys.stdout)
            for line in draw_tree(tree["nodes"], tree.get("headId"), style, width=terminal_width(), whole=whole):
                click.echo(line, color=style.colour)

    return _await(work)


@session.command("search")
@click.argument("query")
@click.option("--cwd", type=_FOLDER, help="Only in sessions of this workspace folder.")
@click.option("--limit", type=click.IntRange(1, 500), default=20, help="How many at most (default: 20).")
@click.option("--json", "raw", is_flag=True, help="As JSON.")
def session_search(query: str, cwd: Path | None, limit: int, raw: bool) -> int:
    """Find QUERY in the text of all sessions."""

    async def work() -> None:
        async with _daemon() as client:
            params = {"query": query, "limit": limit} | ({"cwd": str(cwd)} if cwd else {})
            hits = (await client.request("koda/session/search", params))["hits"]
        if raw:
            print_json(hits)
        else:
            print_table([(hit["sessionId"], one_line(hit["snippet"], 120)) for hit in hits])

    return _await(work)


@session.command("export")
@click.argument("name", metavar="ID")
@click.option("--format", "form", type=click.Choice(["jsonl", "markdown", "html"]), default="markdown")
@click.option("--output", type=click.Path(dir_okay=False, resolve_path=True), help="A file (default: stdout).")
def session_export(name: str, form: str, output: str | None) -> int:
    """Write a session out: `jsonl` keeps all of it."""

    async def work() -> None:
        from koda_daemon.cli.prompt import find_session

        async with _daemon() as client:
            params = {"sessionId": await find_session(client, name), "format": form}
            answer = await client.request("koda/session/export", params | ({"path": output} if output else {}))
        click.echo(answer.get("path") or answer.get("content", ""))

    return _await(work)


@session.command("import")
@click.argument("path", type=click.Path(exists=True, dir_okay=False, resolve_path=True))
def session_import(path: str) -> int:
    """Read a session from a file: Koda's JSONL, or Pi's."""

    async def work() -> None:
        async with _daemon() as client:
            answer = await client.request("koda/session/import", {"path": path})
        for warning in answer.get("warnings", ()):
            click.echo(clean(str(warning)), err=True)
        click.echo(answer["sessionId"])

    return _await(work)


@cli.command()
def schema() -> None:
    """Print the protocol as a JSON Schema."""
    from koda_daemon.server.protocol.generate import schema as generate

    print_json(generate())


@cli.command()
@click.option("--json", "raw", is_flag=True, help="As JSON.")
def doctor(raw: bool) -> int:
    """Look whether everything is in place."""

    async def work() -> int:
        from koda_daemon.cli.doctor import examine, report

        facts: dict[str, Any] = await examine()
        if raw:
            print_json(facts)
        else:
            style = style_for(sys.stdout)
            good, bad = style.paint(style.symbol("✓", "ok"), "green"), style.paint(style.symbol("✗", "--"), "yellow")
            for state, line in report(facts):
                mark = " " if state is None else good if state else bad
                click.echo(f"{mark} {clean(line)}", color=style.colour)
        return 0 if facts["ok"] else 1

    return _await(work)
