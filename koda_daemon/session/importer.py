"""Sessions from files: our own JSONL, and that of Pi (versions 1 to 3)."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from koda_daemon.base.errors import KodaError
from koda_daemon.base.ids import new_id
from koda_daemon.session import queries
from koda_daemon.session.export import FORMAT, VERSION, Header
from koda_daemon.session.manager import SessionManager
from koda_daemon.session.nodes import Branch, Node, SessionInfo, TurnRecord, timestamp
from koda_daemon.session.session import Session
from koda_daemon.session.tree import Tree, tree_node

T = TypeVar("T")

UNKNOWN_MODEL = "unknown/unknown"
WARNINGS_SHOWN = 50
HEADER_LINES = 10
"""How far down Pi's header may be: programs that build on it put lines of their own before it."""


class Imported(Struct, kw_only=True):
    """What a file holds, parents before children. ``warnings`` say what was repaired or left out."""

    nodes: list[Node]
    head_id: str | None
    cwd: str | None = None
    title: str | None = None
    model: str | None = None
    created_at: str | None = None
    turns: list[TurnRecord] = []
    branches: list[Branch] = []
    growing: str | None = None
    """The named branch that the head is on."""
    warnings: list[str] = []


async def import_session(
    manager: SessionManager,
    text: str | Path,
    *,
    cwd: str | None = None,
    model: str | None = None,
    warnings: list[str] | None = None,
) -> Session:
    """``read_session``, then ``store_session``. ``cwd`` and ``model`` go before those of the file; ``warnings``
    collects what was repaired or left out."""
    imported = await read_session(text)
    folder = cwd or imported.cwd
    if not folder:
        raise KodaError("params.invalid", "The file does not say which folder the session belongs to.", path="cwd")
    if warnings is not None:
        warnings += imported.warnings
    return await store_session(manager, imported, cwd=folder, model=model or imported.model or UNKNOWN_MODEL)


async def read_session(source: str | Path) -> Imported:
    """What a session file (``Path``, or its text) holds.

    Raises ``KodaError`` ``params.invalid`` for what is no session file, ``version.unsupported`` for a newer one.
    """
    return await asyncio.to_thread(_read, source)


async def store_session(manager: SessionManager, imported: Imported, *, cwd: str, model: str) -> Session:
    """Makes a session of what a file holds: the whole session or, on an error, none.

    Options are not taken over: a file from elsewhere must not grant permissions. What it cost before is not added to
    the sums of usage.
    """
    rows = await asyncio.to_thread(lambda: [queries.row_of(node) for node in imported.nodes])
    now = timestamp()
    info = SessionInfo(
        id=new_id(),
        cwd=queries.mended(cwd),
        title=queries.mended(imported.title),
        model=queries.mended(model),
        head_id=queries.mended(imported.head_id),
        created_at=imported.created_at or now,
        updated_at=now,
        options={},
    )
    session = await manager.adopt(info, rows, imported.turns, imported.branches)
    if any(branch.id == imported.growing and branch.tip_id == info.head_id for branch in imported.branches):
        await session.set_head(info.head_id, branch_id=imported.growing)
    return session


def _read(source: str | Path) -> Imported:
    if isinstance(source, str):
        return _parsed(source)
    try:
        if source.exists() and not source.is_file():  # a pipe would be waited for
            raise KodaError("params.invalid", "This is not a file.")
        # As bytes: universal newlines and an odd byte must not change or refuse the rest.
        return _parsed(source.read_bytes().decode("utf-8-sig", "replace"))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise KodaError("params.invalid", f"The file cannot be read: {reason}.", path=str(source)) from None
    except KodaError as error:
        error.path = str(source)
        raise


def _parsed(text: str) -> Imported:
    imported = parse(text)
    imported.warnings = _bounded(imported.warnings)
    return imported


def parse(text: str) -> Imported:
    """Reads a session file's text. Raises as ``import_session``."""
    warnings: list[str] = []
    lines = list(_objects(text, warnings))
    if not text.strip():
        raise KodaError("params.invalid", "The file is empty.")
    first = lines[0][1] if lines else {}
    if first.get("format") == FORMAT:
        return _own(lines, warnings)
    from koda_daemon.session.importer_pi import ENTRY_TYPES, convert

    if any(entry.get("type") == "session" for _, entry in lines[:HEADER_LINES]) or first.get("type") in ENTRY_TYPES:
        return convert([entry for _, entry in lines], warnings)
    raise KodaError("params.invalid", "This is neither a Koda nor a Pi session file.")


def _bounded(warnings: list[str]) -> list[str]:
    """Each warning once, and not more than a person reads."""
    counted = Counter(warnings)
    shown = [text if count == 1 else f"{text} ({count} times)" for text, count in counted.items()]
    more = len(shown) - WARNINGS_SHOWN
    return [*shown[:WARNINGS_SHOWN], f"… and {more} more."] if more > 0 else shown


def _objects(text: str, warnings: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The JSON objects of the lines, with their line numbers. A last line that a crash cut off is passed over."""
    # Not splitlines(): JSON strings may hold U+2028 and others that it takes for line ends.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                value = _decoded(line)
            except (ValueError, RecursionError):
                value = None
            if isinstance(value, dict):
                yield number, value
            else:
                warnings.append(f"Line {number} is not a JSON object and was left out.")


def _decoded(line: str) -> Any:
    try:
        return msgspec.json.decode(line)
    except msgspec.DecodeError:
        return json.loads(line)  # takes halves of surrogate pairs, which JavaScript programs write


def _own(lines: list[tuple[int, dict[str, Any]]], warnings: list[str]) -> Imported:
    number, first = lines[0]
    version = first.get("version")
    if isinstance(version, int) and version > VERSION:
        raise KodaError("version.unsupported", f"The file has version {version}; this Koda reads up to {VERSION}.")
    header = _converted(number, first, Header)
    tree = Tree()
    nodes: list[Node] = []
    turns: list[TurnRecord] = []
    branches: list[Branch] = []
    for number, line in lines[1:]:
        if "node" in line:
            node = _converted(number, line["node"], Node)
            try:
                tree.add(tree_node(node))
            except KodaError as error:
                raise KodaError("params.invalid", f"Line {number}: {error.message}") from None
            nodes.append(node)
        elif "turn" in line:
            turns.append(_ended(_converted(number, line["turn"], TurnRecord)))
        elif "branch" in line:
            branches.append(_converted(number, line["branch"], Branch))
    head = header.session.head_id
    if head is not None and head not in tree:
        warnings.append("The head is missing; the newest node takes its place.")
        head = nodes[-1].id if nodes else None
    session = header.session
    return Imported(
        nodes=nodes,
        head_id=head,
        cwd=session.cwd,
        title=session.title,
        model=session.model,
        created_at=session.created_at,
        turns=turns,
        growing=header.growing,
        branches=[_bare(branch) for branch in branches if branch.tip_id is None or branch.tip_id in tree],
        warnings=warnings,
    )


def _bare(branch: Branch) -> Branch:
    """Without the folder and the notes of whoever made it: they mean something there, not here."""
    return msgspec.structs.replace(branch, workspace=None, details=None)


def _converted(number: int, value: Any, kind: type[T]) -> T:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise KodaError("params.invalid", f"Line {number}: {error}") from None


def _ended(turn: TurnRecord) -> TurnRecord:
    """A turn that ran when the file was written does not run here."""
    if turn.status == "ended":
        return turn
    return msgspec.structs.replace(turn, status="ended", stop_reason="cancelled", ended_at=turn.created_at)
