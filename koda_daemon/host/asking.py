"""For programs: a prompt as an async iteration over the events of its turn."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import anyio
import msgspec

from koda_daemon.ai.messages import UserBlock
from koda_daemon.host.live import LiveSession
from koda_daemon.host.prompts import prompt


async def ask(
    session: LiveSession,
    content: str | list[UserBlock],
    *,
    model: str | None = None,
    options: dict[str, Any] | None = None,
) -> AsyncGenerator[dict[str, Any]]:
    """Prompts, and yields the session's events (protocol/README.md, Events) as they come, up to the ``turn.ended``.

    Leaving the loop early (with ``aclosing``) cancels the turn. Raises what ``host.prompts.prompt`` raises.
    """
    news = anyio.Event()

    def wake() -> None:
        news.set()

    cursor = session.log.subscribe(wake)
    assert cursor is not None, "a log can always be followed from now on"
    turn_id = None
    try:
        turn_id = (await prompt(session, content, model=model, options=options)).turn_id
        while True:
            while (encoded := cursor.pull()) is not None:
                event: dict[str, Any] = msgspec.json.decode(encoded)
                yield event
                if event["type"] == "turn.ended" and event["turnId"] == turn_id:
                    turn_id = None
                    return
            await news.wait()
            news = anyio.Event()
    finally:
        cursor.close()
        if turn_id is not None:
            session.turns.cancel(turn_id)
