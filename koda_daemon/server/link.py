"""The way between the connection and the language tier, which is made when something first needs it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from msgspec import Raw

from koda_daemon.server.connection.connection import Connection, IncomingRequest
from koda_daemon.server.connection.envelope import (
    Id,
    Notification,
    Response,
    encode_notification,
    encode_request,
    encode_response,
    parse_message,
)

if TYPE_CHECKING:
    from koda_daemon.server.commands import HostCommands
    from koda_daemon.server.language.editor import LspEditor
    from koda_daemon.server.language.tier import LanguageTier


class LanguageLink:
    """Passes LSP messages on, both ways. The tier's modules are imported at first use: no ``initialize`` waits for
    them, and a client that speaks koda/* alone never loads them."""

    def __init__(self, connection: Connection, initialize_params: dict[str, Any], commands: HostCommands) -> None:
        self._connection = connection
        self._initialize_params = initialize_params
        self._commands = commands
        self._tier: LanguageTier | None = None
        self._editor: LspEditor | None = None
        self._answers: dict[Id, asyncio.Future[bytes]] = {}

    @property
    def tier(self) -> LanguageTier:
        if self._tier is None:
            from koda_daemon.server.language.tier import LanguageTier

            self._tier = LanguageTier(self._send, self._connection.next_id, self._initialize_params, self._commands)
        return self._tier

    @property
    def editor(self) -> LspEditor | None:
        """The client's open documents; None as long as it has told of none."""
        if self._editor is None and self._tier is not None:
            from koda_daemon.server.language.editor import LspEditor

            self._editor = LspEditor(self._tier)
        return self._editor

    async def request(self, request: IncomingRequest) -> Any:
        """Has the tier answer a request of the client; its answer is passed on as it is."""
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._answers[request.id] = answer
        try:
            self.tier.handle(encode_request(request.id, request.method, request.params))
            body = await answer
        except asyncio.CancelledError:
            self.tier.handle(encode_notification("$/cancelRequest", {"id": request.id}))
            raise
        finally:
            del self._answers[request.id]
        request.route = lambda _: self._connection.outbox.put(body)
        return None

    def notification(self, method: str, params: Raw | None) -> None:
        tier = self.tier
        if method == "textDocument/didOpen":
            _ = self.editor  # compares what is opened with its file, now that they are the same
        tier.handle(encode_notification(method, params))

    def response(self, response: Response) -> bool:
        """The client's answer to a request that the connection did not make; whether the tier made it."""
        if self._tier is None or not self._tier.owns_response(response.id):
            return False
        self._tier.handle(encode_response(response))
        return True

    def _send(self, body: bytes) -> None:
        """A message of the tier: answers belong to requests that wait here, the rest goes out as it is."""
        message = parse_message(body)
        if isinstance(message, Response):
            answer = self._answers.get(message.id) if message.id is not None else None
            if answer is not None and not answer.done():
                answer.set_result(body)
        elif isinstance(message, Notification):
            self._connection.notify(message.method, message.params)  # bounded, whatever the client reads
        else:
            self._connection.outbox.put(body)

    def close(self) -> None:
        if self._tier is not None:
            self._tier.close()
