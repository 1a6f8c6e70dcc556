"""Compaction of a live session: a model summarises the older part of the head's path, which then leaves the window."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import msgspec
from msgspec import Struct

from koda_daemon.agent.retry import RetryPolicy
from koda_daemon.ai.messages import TextBlock, UserMessage
from koda_daemon.ai.provider import Context, Model, StreamOptions
from koda_daemon.base.errors import KodaError
from koda_daemon.host.errand import errand
from koda_daemon.host.events import CompactionEnded, CompactionStarted
from koda_daemon.host.lease import writes
from koda_daemon.session.compaction import SUMMARY_SYSTEM, Cut, choose_cut, compaction_node, summary_prompt
from koda_daemon.session.manager import SessionMovedError
from koda_daemon.session.nodes import Node
from koda_daemon.session.tokens import node_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from koda_daemon.host.live import LiveSession

KEPT_SHARE = 0.25
"""Of the budget, what the newest turns may take after a compaction."""
LEAST_SUMMARY = 1_000
"""Tokens that a summary may take in the smallest window."""
LEAST_RECORD = 4_000
"""Characters of a conversation that are worth a summary."""


class Compacted(Struct, frozen=True, kw_only=True):
    """A compaction that is stored; sizes in tokens of the window's content."""

    node_id: str
    tokens_before: int
    tokens_after: int


def budget(live: LiveSession, model: Model) -> int:
    """Tokens of window content above which a session is compacted."""
    settings = live.settings.compaction
    return round(min(settings.max_tokens, model.context_window) * settings.trigger_ratio)


async def needs_room(live: LiveSession, model: Model) -> bool:
    """Whether the next request would exceed the budget. When a compaction could not bring the window below it, the
    next one waits until there is something worth it to summarise, or no room at all."""
    limit, tokens = budget(live, model), await live.context.tokens()
    if tokens <= limit:
        return False
    least = await live.context.tokens_after_compaction()
    return least <= limit or tokens > min(least + round(limit * KEPT_SHARE), model.context_window)


@writes
async def compact_now(live: LiveSession, instructions: str | None) -> Compacted | None:
    """Compacts an idle session on request, as ``compact``. Raises ``turn.busy``."""
    async with errand(live):
        return await compact(live, live.model, instructions=instructions, wanted=True)


async def compact(
    live: LiveSession, model: Model, *, instructions: str | None = None, wanted: bool = False
) -> Compacted | None:
    """Summarises and appends the compaction node. None when there is nothing to summarise.

    ``wanted``: by the user, or by a provider that refused the window as too long; then what fits into the budget is
    summarised as well. Raises the provider's ``KodaError``; then nothing has changed.
    """
    path = await live.context.live_path()
    head = live.session.head_id
    before = await live.context.tokens()
    cut = _cut(live, path, round(budget(live, model) * KEPT_SHARE), before, wanted=wanted)
    if cut is None:
        return None
    turn_id = live.turn.id if live.turn is not None else None
    live.emit(CompactionStarted(turn_id=turn_id, tokens_before=before))
    try:
        summary = await summary_of(
            live, model, lambda limit: summary_prompt(cut, instructions=instructions, limit=limit)
        )
        if head is None or live.session.head_id != head:
            raise SessionMovedError
        node = compaction_node(head, summary, cut, tokens_before=before, turn_id=turn_id)
        after = await live.context.tokens_with(node)
        if not wanted and node_tokens(node) >= sum(map(node_tokens, cut.summarized)):
            # Nobody asked for it, and it would be made again and again.
            raise KodaError("internal", "The summary is no shorter than what it stands for; nothing was changed.")
        node = msgspec.structs.replace(node, details={**(node.details or {}), "tokensAfter": after})
        with anyio.CancelScope(shield=True):
            await live.append(node)
    except BaseException:
        # Without a node: nothing was compacted.
        live.emit(CompactionEnded(turn_id=turn_id, tokens_before=before, tokens_after=before))
        raise
    live.emit(CompactionEnded(turn_id=turn_id, node_id=node.id, tokens_before=before, tokens_after=after))
    return Compacted(node_id=node.id, tokens_before=before, tokens_after=after)


def _cut(live: LiveSession, path: Sequence[Node], keep: int, before: int, *, wanted: bool) -> Cut | None:
    ratio = live.context.ratio
    kept = [keep, min(keep, round(before * KEPT_SHARE)), 0] if wanted else [keep]
    cuts = (choose_cut(path, tokens, ratio=ratio) for tokens in kept)
    return next((cut for cut in cuts if cut is not None and len(cut.summarized) > 1), None)


async def summary_of(live: LiveSession, model: Model, prompt: Callable[[int], str]) -> str:
    """What the model writes for a prompt that is made for a length in characters. Failures that may pass are tried
    again as those of turns are; a record that is too long for the model (whose window may be smaller than is known) is
    shortened. Raises the provider's ``KodaError``, and ``internal`` when it wrote nothing."""
    retry = live.settings.retry
    policy = RetryPolicy(max_attempts=retry.max_attempts, base_delay=retry.base_delay, max_delay=retry.max_delay)
    # Characters: half of the window is left for the answer, and three characters a token errs on the safe side.
    limit = max(LEAST_RECORD, model.context_window * 3 // 2)
    attempt = 1
    while True:
        try:
            return await _ask(live, model, prompt(limit))
        except KodaError as error:
            if error.kind == "context.overflow" and limit > LEAST_RECORD:
                limit = max(LEAST_RECORD, limit // 4)
                continue
            delay = policy.delay(attempt, error)
            if delay is None:
                raise
            attempt += 1
            await anyio.sleep(delay)


async def _ask(live: LiveSession, model: Model, text: str) -> str:
    context = Context(SUMMARY_SYSTEM, [UserMessage((TextBlock(text),))])
    # A summary that takes most of a small window would be of no use.
    longest = min(model.max_output, max(LEAST_SUMMARY, model.context_window // 4))
    options = StreamOptions(max_tokens=longest, extra=live.session.options.get("provider") or {})
    stream = live.host.models.stream(model, context, options)
    try:
        async with stream:
            answer = await stream.result()
    finally:
        with anyio.CancelScope(shield=True):
            await live.session.add_usage(model.ref, stream.spent)
    if not answer.text.strip():
        raise KodaError("internal", "The model wrote no summary; nothing was changed.", retryable=True)
    return answer.text
