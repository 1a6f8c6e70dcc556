"""Talking to the user through any LSP client: messages, questions with buttons, documents shown, progress of turns."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from koda_daemon.base.errors import KodaError
from koda_daemon.base.ids import new_id

if TYPE_CHECKING:
    from koda_daemon.server.language.tier import LanguageTier

logger = logging.getLogger(__name__)

MessageKind = Literal["error", "warning", "info", "log"]
_KINDS: dict[MessageKind, int] = {"error": 1, "warning": 2, "info": 3, "log": 4}  # LSP, MessageType


class Window:
    """The ``window/*`` part of LSP. What a client cannot do is answered as if its user had done nothing."""

    def __init__(self, tier: LanguageTier) -> None:
        self._tier = tier
        # Editors show one such question at a time or drop the older ones (Kate keeps five).
        self._one_question = asyncio.Lock()

    def show_message(self, kind: MessageKind, message: str) -> None:
        """Shows a message; nobody waits for it."""

        def params() -> Any:
            from lsprotocol import types

            return types.ShowMessageParams(types.MessageType(_KINDS[kind]), message)

        self._tier.notify("window/showMessage", params)

    def log_message(self, kind: MessageKind, message: str) -> None:
        """Adds a line to the client's log of the server."""

        def params() -> Any:
            from lsprotocol import types

            return types.LogMessageParams(types.MessageType(_KINDS[kind]), message)

        self._tier.notify("window/logMessage", params)

    async def ask(
        self, kind: MessageKind, message: str, actions: Sequence[str], *, timeout: float = 600.0
    ) -> str | None:
        """``window/showMessageRequest``: the chosen action; None for a closed box, an error, or silence for ``timeout``
        seconds. Questions wait for each other, and that time does not count."""
        async with self._one_question:
            try:
                await self._tier.load()
                from lsprotocol import types

                params = types.ShowMessageRequestParams(
                    type=types.MessageType(_KINDS[kind]),
                    message=message,
                    actions=[types.MessageActionItem(title) for title in actions],
                )
                chosen = await self._tier.request("window/showMessageRequest", params, timeout)
            except (KodaError, TimeoutError) as error:
                logger.info("no answer to a question: %s", type(error).__name__)
                return None
        return chosen.title if chosen is not None and chosen.title in actions else None

    async def show_document(
        self, uri: str, *, external: bool = False, take_focus: bool = True, timeout: float = 30.0
    ) -> bool:
        """Whether the client has shown it: in an editor, or outside (a browser) with ``external``."""
        if not self._tier.support.show_document:
            return False
        try:
            await self._tier.load()
            from lsprotocol import types

            params = types.ShowDocumentParams(uri=uri, external=external, take_focus=take_focus)
            shown = await self._tier.request("window/showDocument", params, timeout)
        except (KodaError, TimeoutError):
            return False
        return shown.success is True


class TurnProgress:
    """A turn's short status as work-done progress (LSP 3.15); silent when the client has none.

    Content never travels here: editors show or drop it as they like.
    """

    def __init__(self, tier: LanguageTier) -> None:
        self._tier = tier
        self._token = f"koda/{new_id()}"
        self._begun = False
        self._shown = False
        self._last: str | None = None
        self._ended = False
        self._ending: str | None = None  # how it ended

    async def begin(self, title: str, message: str | None = None, cancel: Callable[[], None] | None = None) -> None:
        """Asks the client for a progress display; ``cancel`` is called when the user presses its button."""
        if not self._tier.support.progress or self._begun or self._ended:
            return
        self._begun = True
        try:
            await self._tier.load()
            from lsprotocol import types

            if self._is_over():
                return
            params = types.WorkDoneProgressCreateParams(token=self._token)
            await self._tier.request("window/workDoneProgress/create", params, 10.0)
        except (KodaError, TimeoutError):
            self._ended = True
            return
        self._shown = True
        self._last = message
        if cancel is not None:
            self._tier.on_progress_cancel(self._token, cancel)
        self._send(types.WorkDoneProgressBegin(title=title, message=message, cancellable=cancel is not None))
        if self._is_over():  # before the client answered: it waits for both
            self._finish()

    def report(self, message: str) -> None:
        """Shows another status; the same again is not sent."""
        if self._shown and not self._ended and message != self._last:
            from lsprotocol import types

            self._last = message
            self._send(types.WorkDoneProgressReport(message=message))

    def end(self, message: str | None = None) -> None:
        """Ends the display; safe to call more than once and before ``begin`` has returned."""
        if self._ended:
            return
        self._ended = True
        self._ending = message
        if self._shown:
            self._finish()

    def _is_over(self) -> bool:
        return self._ended

    def _finish(self) -> None:
        from lsprotocol import types

        self._tier.on_progress_cancel(self._token, None)
        self._send(types.WorkDoneProgressEnd(message=self._ending))

    def _send(self, value: Any) -> None:
        from lsprotocol import types

        self._tier.notify("$/progress", lambda: types.ProgressParams(token=self._token, value=value))
