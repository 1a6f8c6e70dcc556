"""Colours and symbols for a terminal, and text that cannot play tricks on it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Literal, TextIO
from unicodedata import combining, east_asian_width

from msgspec import Struct

Colour = Literal["red", "green", "yellow", "blue", "cyan", "dim", "bold"]

_CODES: dict[Colour, str] = {
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "cyan": "36",
    "dim": "2",
    "bold": "1",
}
_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI sequences (ECMA-48, section 5.4)
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?"  # OSC, DCS and other strings
    r"|\x1b."
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]"  # other controls, and text direction
)


class Style(Struct, frozen=True):
    """How to write for one stream."""

    colour: bool = False
    unicode: bool = True

    def paint(self, text: str, *colours: Colour) -> str:
        """``text`` in colours, if there are colours."""
        if not self.colour or not text:
            return text
        return f"\x1b[{';'.join(_CODES[colour] for colour in colours)}m{text}\x1b[0m"

    def symbol(self, text: str, plain: str) -> str:
        """A symbol, or its replacement for a terminal that cannot show it."""
        return text if self.unicode else plain


def style_for(stream: TextIO, environ: Mapping[str, str] = os.environ) -> Style:
    """Colours on a terminal unless ``NO_COLOR`` (no-color.org) is set or it is a dumb one; ``FORCE_COLOR`` has them
    anywhere. Symbols where the encoding has them."""
    forced = bool(environ.get("FORCE_COLOR"))
    colour = not environ.get("NO_COLOR") and (forced or (stream.isatty() and environ.get("TERM") != "dumb"))
    try:
        "…●└├│✓✗▸◀".encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return Style(colour, unicode=False)
    return Style(colour)


def clean(text: str) -> str:
    """Text of a model, a tool or a file without control sequences: it must not steer the terminal."""
    return _ESCAPES.sub("", text)


def one_line(text: str, width: int) -> str:
    """The text on one line of at most ``width`` columns of a terminal."""
    line = " ".join(clean(text).split())
    if columns(line) <= width:
        return line
    room = width - 1
    for index, character in enumerate(line):
        room -= columns(character)
        if room < 0:
            return line[:index] + "…"
    return line


def columns(text: str) -> int:
    """How many columns a text takes: wide characters two, marks that combine none (Unicode, annex 11)."""
    if text.isascii():
        return len(text)
    return sum(2 if east_asian_width(c) in "WF" else 0 if combining(c) else 1 for c in text)


def coloured_diff(diff: str, style: Style, limit: int = 60) -> str:
    """A unified diff for reading: file headers dim, removed red, added green, cut after ``limit`` lines."""
    lines = clean(diff).rstrip("\n").split("\n")
    out = []
    for line in lines[:limit]:
        if line.startswith(("+++", "---", "diff ", "index ", "\\")):
            out.append(style.paint(line, "dim"))
        elif line.startswith("@@"):
            out.append(style.paint(line, "cyan"))
        elif line.startswith("+"):
            out.append(style.paint(line, "green"))
        elif line.startswith("-"):
            out.append(style.paint(line, "red"))
        else:
            out.append(line)
    if len(lines) > limit:
        out.append(style.paint(f"({len(lines) - limit} more lines)", "dim"))
    return "\n".join(out)
