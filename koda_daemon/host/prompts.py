"""Prompts: taken, started, queued, steered with, retried, and the queue of those that wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import anyio
import msgspec
from msgspec import Struct

from koda_daemon.ai.messages import TextBlock, UserBlock, UserMessage, text_of
from koda_daemon.ai.provider import Model
from koda_daemon.base.errors import KodaError
from koda_daemon.base.ids import new_id
from koda_daemon.host.events import QueueChanged
from koda_daemon.host.lease import writes
from koda_daemon.host.options import check_options
from koda_daemon.session.nodes import QueuedPrompt, TurnRecord, timestamp

if TYPE_CHECKING:
    from koda_daemon.host.live import LiveSession

Delivery = Literal["auto", "steer", "queue", "reject"]

TITLE_LENGTH = 80


class Admission(Struct, rename="camel", frozen=True, kw_only=True):
    """What became of a prompt. It is durable."""

    turn_id: str
    status: Literal["started", "queued", "steered"]


@writes
async def prompt(
    live: LiveSession,
    content: str | list[UserBlock],
    *,
    delivery: Delivery = "auto",
    model: str | None = None,
    options: dict[str, Any] | None = None,
    request_id: str | None = None,
) -> Admission:
    """Takes a prompt: starts a turn, queues it, or lets it steer the running turn. Durable when it returns.

    A repeated ``request_id`` gives the first answer. Raises ``turn.busy`` (delivery ``reject``), ``model.unknown``,
    ``params.invalid``.
    """
    blocks = _blocks(content)
    async with live.admission:
        if request_id is not None and (known := await live.session.recall(request_id)) is not None:
            return msgspec.convert(known, Admission)
        chosen = live.host.models.model(model or live.session.model)
        check_options(live.host, options)
        if not live.busy and not live.session.queue:
            return await _start(live, blocks, new_id(), chosen, options or {}, request_id)
        if delivery == "reject":
            live.need_idle("Wait, steer or queue the prompt.")
        steered = live.turn if delivery == "steer" else None
        waiting = QueuedPrompt(
            turn_id=new_id(),
            content=blocks,
            created_at=timestamp(),
            model=model,
            options=options,
            delivery="queue" if steered is None else "steer",
        )
        admission = Admission(
            turn_id=waiting.turn_id if steered is None else steered.id,
            status="queued" if steered is None else "steered",
        )
        await live.session.enqueue(waiting, request=_remember(request_id, admission))
        queue_changed(live)
        if not live.busy:  # it ended while the prompt was being stored
            await start_next(live)
        return admission


@writes
async def retry(live: LiveSession, *, model: str | None = None, options: dict[str, Any] | None = None) -> Admission:
    """The last turn again, as a sibling branch from the same parent. Raises ``turn.busy``, ``turn.notFound``."""
    async with live.admission:
        live.need_idle()
        last = live.last_prompt()
        node = (await live.session.nodes([last]))[0] if last is not None else None
        if node is None or not isinstance(node.message, UserMessage):
            raise KodaError("turn.notFound", "There is no turn to retry.")
        chosen = live.host.models.model(model or live.session.model)
        await live.set_head(node.parent_id)
        return await _start(live, node.message.content, new_id(), chosen, options or {})


@writes
async def continue_(live: LiveSession, *, model: str | None = None, options: dict[str, Any] | None = None) -> Admission:
    """Goes on from the head without new text. Raises ``turn.busy``, ``turn.notFound``."""
    async with live.admission:
        live.need_idle()
        if live.session.head_id is None:
            raise KodaError("turn.notFound", "There is nothing to continue.")
        chosen = live.host.models.model(model or live.session.model)
        record = TurnRecord(
            turn_id=new_id(),
            status="running",
            parent_id=live.session.head_id,
            model=chosen.ref,
            created_at=timestamp(),
        )
        await live.session.start_turn(live.turns.claim(record))
        live.turns.start(record.turn_id, chosen, options or {}, None)
        return Admission(turn_id=record.turn_id, status="started")


async def _start(
    live: LiveSession,
    content: tuple[UserBlock, ...],
    turn_id: str,
    model: Model,
    options: dict[str, Any],
    request_id: str | None = None,
    *,
    dequeue: str | None = None,
) -> Admission:
    node = live.user_node(content, turn_id)
    admission = Admission(turn_id=turn_id, status="started")
    record = TurnRecord(
        turn_id=turn_id,
        status="running",
        user_node_id=node.id,
        parent_id=node.parent_id,
        model=model.ref,
        created_at=node.created_at,
    )
    with anyio.CancelScope(shield=True):
        request = _remember(request_id, admission)
        await live.append(node, turn=live.turns.claim(record), dequeue=dequeue, request=request)
    live.turns.start(turn_id, model, options, node)
    if dequeue is not None:
        queue_changed(live)
    if live.session.info.title is None:
        live.host.start(_name_after, live, text_of(content))
    return admission


async def start_next(live: LiveSession) -> None:
    """Starts the turn of the oldest waiting prompt; the caller holds ``admission`` of the idle session.

    A model that is gone falls back to the session's own.
    """
    waiting = next(iter(live.session.queue), None)
    if waiting is None:
        return
    try:
        model = live.host.models.model(waiting.model or live.session.model)
    except KodaError:
        model = live.model
    await _start(live, waiting.content, waiting.turn_id, model, waiting.options or {}, dequeue=waiting.turn_id)


async def _name_after(live: LiveSession, text: str) -> None:
    title = " ".join(text.split())[:TITLE_LENGTH]
    if title:
        await live.rename(title)


# the queue


def queue_changed(live: LiveSession) -> None:
    """Tells which prompts wait."""
    live.emit(QueueChanged(queue=tuple(live.session.queue)))


@writes
async def update_queued(
    live: LiveSession,
    turn_id: str,
    *,
    content: str | list[UserBlock] | None = None,
    model: str | None = None,
    options: dict[str, Any] | None = None,
) -> None:
    """Changes a waiting prompt; None leaves a part as it is. Raises ``turn.notFound``."""
    waiting = _queued(live, turn_id)
    if model is not None:
        live.host.models.model(model)
    changed = msgspec.structs.replace(
        waiting,
        content=waiting.content if content is None else _blocks(content),
        model=waiting.model if model is None else model,
        options=waiting.options if options is None else options,
    )
    await live.session.update_queued(changed)
    queue_changed(live)


@writes
async def remove_queued(live: LiveSession, turn_id: str) -> None:
    """Takes a waiting prompt out. Raises ``turn.notFound``."""
    _queued(live, turn_id)
    await live.session.dequeue(turn_id)
    live.turns.settle(turn_id, None)
    queue_changed(live)


@writes
async def reorder_queue(live: LiveSession, turn_ids: list[str]) -> None:
    """Puts the waiting prompts in another order. Raises ``params.invalid``."""
    await live.session.reorder(turn_ids)
    queue_changed(live)


def _queued(live: LiveSession, turn_id: str) -> QueuedPrompt:
    for waiting in live.session.queue:
        if waiting.turn_id == turn_id:
            return waiting
    raise KodaError("turn.notFound", f"No prompt of turn {turn_id} waits.")


def _blocks(content: str | list[UserBlock]) -> tuple[UserBlock, ...]:
    blocks: tuple[UserBlock, ...] = (TextBlock(content),) if isinstance(content, str) else tuple(content)
    if not any(not isinstance(block, TextBlock) or block.text.strip() for block in blocks):
        raise KodaError("params.invalid", "The prompt is empty.", path="$.content")
    return blocks


def _remember(request_id: str | None, admission: Admission) -> tuple[str, dict[str, Any]] | None:
    if request_id is None:
        return None
    return request_id, msgspec.to_builtins(admission)
