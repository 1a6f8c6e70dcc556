from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import h11
import pytest
from h11._readers import READERS, ChunkedReader
from hypothesis import given
from hypothesis import strategies as st

from koda_daemon.ai.http_chunks import MergingReader, merge_chunks

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes, extension: bytes = b"") -> bytes:
    return b"%x%b\r\n%b\r\n" % (len(data), extension, data)


def received(reader: Callable[[], object], *reads: bytes) -> tuple[list[bytes], str]:
    """The pieces of the body as an h11 client with that reader gives them, and how it ended."""
    readers = READERS[h11.SEND_BODY]
    assert isinstance(readers, dict)
    before = readers["chunked"]
    readers["chunked"] = reader
    try:
        connection = h11.Connection(h11.CLIENT)
        connection.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
        connection.send(h11.EndOfMessage())
        pieces: list[bytes] = []
        for data in (HEAD, *reads, b""):
            connection.receive_data(data)
            while True:
                event = connection.next_event()
                if event is h11.NEED_DATA or event is h11.PAUSED:
                    break
                if isinstance(event, h11.ConnectionClosed | h11.EndOfMessage):
                    return pieces, "".join(f"{name!r}" for name, _ in getattr(event, "headers", ()))
                if isinstance(event, h11.Data):
                    pieces.append(bytes(event.data))
    except h11.RemoteProtocolError as error:
        return pieces, str(error)
    finally:
        readers["chunked"] = before
    return pieces, "open"


def test_chunks_that_are_at_hand_come_as_one() -> None:
    body = b"".join(chunk(b"data: %d\n\n" % number) for number in range(100)) + b"0\r\n\r\n"
    pieces, _ = received(MergingReader, body)
    assert len(pieces) == 1
    assert pieces[0].count(b"\n\n") == 100


def test_it_is_what_connections_read_with(monkeypatch: pytest.MonkeyPatch) -> None:
    readers = READERS[h11.SEND_BODY]
    assert isinstance(readers, dict)
    monkeypatch.setitem(readers, "chunked", ChunkedReader)
    merge_chunks()
    assert readers["chunked"] is MergingReader


pieces_of_bodies = st.lists(
    st.one_of(
        st.builds(chunk, st.binary(min_size=1, max_size=40), st.sampled_from([b"", b"", b";a=b", b" "])),
        st.sampled_from([b"0\r\n\r\n", b"0\r\nTrailer: x\r\n\r\n", b"5\r\nabc", b"zz\r\n", b"\r\n", b"3\r\nabcd\r\n"]),
        st.binary(max_size=8),
    ),
    max_size=12,
)


@given(pieces_of_bodies, st.lists(st.integers(0, 300), max_size=6))
def test_bodies_and_faults_are_those_of_h11(pieces: list[bytes], cuts: list[int]) -> None:
    body = b"".join(pieces)
    places = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    reads = [body[begin:end] for begin, end in pairwise(places)]
    plain, end = received(ChunkedReader, *reads)
    merged, merged_end = received(MergingReader, *reads)
    assert (b"".join(merged), merged_end) == (b"".join(plain), end)
