"""Clients on a Unix socket: the same connection, for the user alone, one daemon per path."""

import asyncio
import json
import os
import socket
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from koda_daemon.server.connection import listener
from koda_daemon.server.connection.connection import Connection
from koda_daemon.server.connection.lifecycle import Gate, ProcessWatch
from koda_daemon.server.connection.listener import listen
from koda_daemon.server.connection.transport import Transport
from tests.harness.client import frame
from tests.server.connection.echo_daemon import Echo

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Unix sockets")


async def serve(transport: Transport) -> None:
    await Connection(transport, Gate(Echo(ProcessWatch()))).serve()


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, method: str, params: Any = None) -> Any:
    writer.write(frame({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
    header = await reader.readuntil(b"\r\n\r\n")
    return json.loads(await reader.readexactly(int(header.split()[1])))["result"]


@pytest.mark.asyncio
async def test_each_client_has_its_own_connection(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    async with listen(path, serve):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        clients = [await asyncio.open_unix_connection(path) for _ in range(3)]
        for client in clients:
            await ask(*client, "initialize", {})
        for number, client in enumerate(clients):
            assert await ask(*client, "echo", {"client": number}) == {"client": number}
        clients[0][1].close()
        assert await ask(*clients[1], "order") == ["initialize", "echo", "order"]
        assert await ask(*clients[2], "echo", {"big": "x" * 1_000_000}) == {"big": "x" * 1_000_000}
    assert os.listdir(tmp_path) == []
    for reader, writer in clients[1:]:
        assert await reader.read() == b""
        writer.close()


@pytest.mark.asyncio
async def test_a_client_that_will_say_no_more_gets_its_answers(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    async with listen(path, serve):
        reader, writer = await asyncio.open_unix_connection(path)
        for number, method in enumerate(["initialize", "sleep"]):
            params = {"pause": 0.05, "text": "x" * 1_000_000}
            writer.write(frame({"jsonrpc": "2.0", "id": number, "method": method, "params": params}))
        writer.write_eof()
        assert (await reader.read()).count(b"Content-Length") == 2
        writer.close()


@pytest.mark.asyncio
async def test_a_stale_socket_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    async with listen(path, serve):
        with pytest.raises(OSError, match="another daemon"):
            async with listen(path, serve):
                pass
        reader, writer = await asyncio.open_unix_connection(path)
        await ask(reader, writer, "initialize", {})
        writer.close()


@pytest.mark.asyncio
async def test_what_is_no_socket_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("precious")
    with pytest.raises(OSError, match="not a socket"):
        async with listen(str(path), serve):
            pass
    assert path.read_text() == "precious"


@pytest.mark.asyncio
async def test_the_socket_of_a_successor_is_not_removed(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    async with listen(path, serve):
        os.rename(path, path + ".old")
        with socket.socket(socket.AF_UNIX) as successor:
            successor.bind(path)
    assert sorted(os.listdir(tmp_path)) == ["socket", "socket.old"]


@pytest.mark.asyncio
async def test_of_two_that_start_together_one_listens(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    over = asyncio.Event()

    async def start() -> str:
        try:
            async with listen(path, serve):
                await over.wait()
        except OSError as error:
            over.set()
            return str(error.strerror)
        return "listened"

    assert sorted(await asyncio.gather(start(), start())) == ["another daemon listens here", "listened"]


@pytest.mark.asyncio
async def test_who_cannot_be_accepted_is_served_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process has no file descriptor left for a while: who connects waits, and nobody else notices."""
    import resource  # not on Windows

    path = str(tmp_path / "socket")
    tried = asyncio.Event()
    monkeypatch.setattr(listener.log, "error", lambda *_: tried.set())
    async with listen(path, serve):
        with socket.socket(socket.AF_UNIX) as client:
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            free = os.dup(client.fileno())
            os.close(free)
            resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
            try:
                client.connect(path)
                await asyncio.wait_for(tried.wait(), 10)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            client.setblocking(False)
            reader, writer = await asyncio.open_connection(sock=client)
            assert await ask(reader, writer, "initialize", {}) is not None
            writer.close()
            await writer.wait_closed()
