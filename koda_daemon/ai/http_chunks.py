"""Reads all HTTP/1.1 chunks that are at hand as one.

Providers send each event of an answer in a chunk of its own, and h11 (under httpx2) hands them up one by one through
six layers: two thirds of what a streamed token cost. Merged, a burst of tokens costs a third.
"""

from __future__ import annotations

import re

from h11 import SEND_BODY, Data, EndOfMessage
from h11._readers import READERS, ChunkedReader
from h11._receivebuffer import ReceiveBuffer

_PLAIN_HEAD = re.compile(rb"\r\n([0-9A-Fa-f]{1,16})\r\n")  # the end of one chunk and the head of the next


class MergingReader(ChunkedReader):
    """h11's reader of chunked bodies (RFC 9112, 7.1), which gives the whole chunks that follow with the first.

    What is not a plain, whole chunk (an extension, the last one, a fault) is left to h11.
    """

    def __call__(self, buf: ReceiveBuffer) -> Data | EndOfMessage | None:
        event = super().__call__(buf)
        if type(event) is not Data or not event.chunk_end:
            return event
        waiting = buf._data
        pieces: list[bytes | bytearray] = [event.data]
        end = 0
        while (head := _PLAIN_HEAD.match(waiting, end)) is not None:
            size = int(head[1], 16)
            begin = head.end()
            if not size or begin + size > len(waiting):
                break
            end = begin + size
            pieces.append(waiting[begin:end])
        if not end:
            return event
        buf._extract(end)
        return Data(data=b"".join(pieces), chunk_start=event.chunk_start, chunk_end=True)


def merge_chunks() -> None:
    """Has every HTTP/1.1 connection of this process that is made from now on read so."""
    readers = READERS[SEND_BODY]
    assert isinstance(readers, dict)
    readers["chunked"] = MergingReader
