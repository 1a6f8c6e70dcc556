"""Characters beyond U+FFFF that a server cut in two: servers that count in UTF-16 send the halves in two events.

A half is no character: JSON with one does not decode, and its event would be lost. Nor do bytes that are no UTF-8.
"""

from __future__ import annotations

import re

# An escaped backslash (what follows it is text), a pair, or a half of one.
_ESCAPE = re.compile(
    rb"\\\\|\\u([dD][89abAB][0-9a-fA-F]{2})(\\u[dD][c-fC-F][0-9a-fA-F]{2})?|\\u([dD][c-fC-F][0-9a-fA-F]{2})"
)


def needs_mending(payload: bytes) -> bool:
    """Whether there may be halves in it, or bytes that are no UTF-8; costs next to nothing."""
    return b"\\ud" in payload or b"\\uD" in payload or not payload.isascii()


class SurrogateJoiner:
    """Feed it the JSON of the events in order: a first half waits for its second, which then is the whole character."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: bytes | None = None

    def joined(self, payload: bytes) -> bytes:
        """``payload`` without halves; one that has no other becomes U+FFFD, or is left out if it was the first.

        Bytes that are no UTF-8 become U+FFFD too.
        """
        try:
            payload.decode()
        except UnicodeDecodeError:
            payload = payload.decode("utf-8", "replace").encode()
        return _ESCAPE.sub(self._whole, payload) if b"\\u" in payload else payload

    def _whole(self, found: re.Match[bytes]) -> bytes:
        first, second, alone = found.groups()
        if first is not None and second is None:
            self._held = first
            return b""
        if alone is None:
            return found[0]
        held, self._held = self._held, None
        return b"\\ufffd" if held is None else b"\\u%b\\u%b" % (held, alone)
