"""Arguments of a function call that Gemini streams in pieces (Vertex AI, "Streaming function call arguments").

A piece names its place by a JSON path (``$.files[0].name``) and holds a value; strings come in several pieces.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

_STEP = re.compile(r"""\.([^.\[\]]+)|\[(\d+)\]|\[(['"])(.*?)\3\]""")
_GAP = 100  # items that a list may lack before the next one: it is filled in order, and memory is not for the asking
_DEPTH = 64


class PartialArgs:
    """The arguments so far. Pieces that make no sense are left out."""

    __slots__ = ("_growing", "value")

    def __init__(self, given: Any = None) -> None:
        self.value: dict[str, Any] = dict(given) if isinstance(given, dict) else {}
        self._growing: str | None = None  # the path of a string that goes on

    def add(self, pieces: Any) -> None:
        """Takes the ``partialArgs`` of one part."""
        for piece in pieces if isinstance(pieces, list) else ():
            if isinstance(piece, dict) and isinstance(piece.get("jsonPath"), str):
                self._add(piece["jsonPath"], piece)

    def _add(self, path: str, piece: dict[str, Any]) -> None:
        steps = _steps(path)
        value = next((piece[name] for name in ("stringValue", "numberValue", "boolValue") if name in piece), None)
        if not steps or (value is None and "nullValue" not in piece):
            return
        goes_on = self._growing == path
        self._growing = path if piece.get("willContinue") is True else None
        place: Any = self.value
        for step, following in pairwise(steps):
            inner = _get(place, step)
            if not isinstance(inner, list if isinstance(following, int) else dict):
                inner = [] if isinstance(following, int) else {}
                if not _put(place, step, inner):
                    return
            place = inner
        before = _get(place, steps[-1])
        if goes_on and isinstance(before, str) and isinstance(value, str):
            value = before + value
        _put(place, steps[-1], value)


def _steps(path: str) -> list[str | int]:
    """Keys and indices of a path; none if it cannot be read."""
    steps: list[str | int] = []
    place = 1
    while place < len(path) and len(steps) < _DEPTH:
        found = _STEP.match(path, place)
        if found is None:
            return []
        steps.append(int(found[2][:6]) if found[2] else found[1] or found[4])
        place = found.end()
    return steps if path[:1] == "$" and place == len(path) and steps and isinstance(steps[0], str) else []


def _get(place: Any, step: str | int) -> Any:
    if isinstance(step, int):
        return place[step] if step < len(place) else None
    return place.get(step)


def _put(place: Any, step: str | int, value: Any) -> bool:
    if isinstance(step, int):
        if step > len(place) + _GAP:
            return False
        place.extend([None] * (step + 1 - len(place)))
    place[step] = value
    return True
