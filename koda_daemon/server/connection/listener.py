"""A Unix socket that clients connect to: each client is a ``Transport`` of its own."""

import asyncio
import contextlib
import errno
import logging
import os
import socket
import stat
import sys
from collections.abc import AsyncIterator, Awaitable, Callable

from koda_daemon.server.connection.transport import Transport, open_transport

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.5
"""How long no client is accepted after accepting one has failed."""
LOCK_TRIES = 100
"""Of 20 ms each."""


@contextlib.asynccontextmanager
async def listen(path: str, on_client: Callable[[Transport], Awaitable[None]]) -> AsyncIterator[None]:
    """Within the block clients may connect to ``path``; ``on_client`` serves each one in a task of its own.

    The socket is for the user alone (mode 0600). The socket of a daemon that is gone is replaced; OSError when a daemon
    listens there, when ``path`` is something else, or where there are no Unix sockets. At the end all clients are
    cancelled and the socket is removed.
    """
    if sys.platform == "win32":
        raise OSError(errno.EAFNOSUPPORT, "Unix sockets are not supported here", path)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with server:
        server.setblocking(False)
        async with _one_at_a_time(path):
            await _remove_stale(path)
            before = os.umask(0o177)
            try:
                server.bind(path)
            finally:
                os.umask(before)
            own = os.stat(path).st_ino
            server.listen()
        clients: set[asyncio.Task[None]] = set()
        accepting = asyncio.create_task(_accept(server, on_client, clients))
        try:
            yield
        finally:
            tasks = {accepting, *clients}
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            with contextlib.suppress(FileNotFoundError):
                if os.stat(path).st_ino == own:  # not a successor's
                    os.unlink(path)


async def _accept(
    server: socket.socket, on_client: Callable[[Transport], Awaitable[None]], clients: set[asyncio.Task[None]]
) -> None:
    loop = asyncio.get_running_loop()
    while True:
        try:
            client, _ = await loop.sock_accept(server)
        except OSError as error:  # no file descriptor is left: who waits is served when another client has gone
            log.error("a client cannot be accepted: %s", error.strerror)
            await asyncio.sleep(RETRY_SECONDS)
            continue
        client.setblocking(False)
        try:
            transport = open_transport(client.fileno(), client.fileno())
        except OSError as error:
            log.error("a client cannot be served: %s", error.strerror)
            client.close()
            continue
        client.detach()
        task = loop.create_task(_serve(transport, on_client))
        clients.add(task)
        task.add_done_callback(clients.discard)


async def _serve(transport: Transport, on_client: Callable[[Transport], Awaitable[None]]) -> None:
    try:
        await on_client(transport)
    finally:
        transport.close()


@contextlib.asynccontextmanager
async def _one_at_a_time(path: str) -> AsyncIterator[None]:
    """Of daemons that start together on one path, one looks at what is there and binds before the next one looks.

    The folder is what they lock: a lock file would have to stay. Whoever else holds that lock delays us at most.
    """
    import fcntl

    folder = os.open(os.path.dirname(path) or os.curdir, os.O_RDONLY)
    try:
        for _ in range(LOCK_TRIES):
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(0.02)
            except OSError:  # a file system without locks
                break
        yield
    finally:
        os.close(folder)


async def _remove_stale(path: str) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, "there is something that is not a socket", path)
    try:
        _, writer = await asyncio.open_unix_connection(path)
    except FileNotFoundError:  # its daemon was ending
        return
    except ConnectionRefusedError:
        os.unlink(path)
    else:
        writer.close()
        raise OSError(errno.EADDRINUSE, "another daemon listens here", path)
