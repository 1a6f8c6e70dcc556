"""koda/prompt, koda/turn/*, koda/tool/cancel and koda/queue/*: starting, steering and ending turns."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import anyio

from koda_daemon.agent.events import error_data
from koda_daemon.base.errors import KodaError
from koda_daemon.host import prompts
from koda_daemon.host.live import LiveSession
from koda_daemon.host.prompts import Admission
from koda_daemon.server.face import AfterStream, Face, Feature
from koda_daemon.server.protocol import prompt as p

if TYPE_CHECKING:
    from koda_daemon.host.turn import TurnOutcome


async def prompt(face: Face, params: p.PromptParams) -> p.PromptStarted | AfterStream:
    live = await (await face.host()).session(params.session_id)
    face.subscribe(live)
    admission = await prompts.prompt(
        live,
        params.content if isinstance(params.content, str) else list(params.content),
        delivery=params.delivery,
        model=params.model,
        options=params.options,
        request_id=params.client_request_id,
    )
    return await _answer(face, live, admission, wait=params.wait)


async def _answer(face: Face, live: LiveSession, admission: Admission, *, wait: bool) -> p.PromptStarted | AfterStream:
    if not wait:
        return p.PromptStarted(turn_id=admission.turn_id, status=admission.status)
    try:
        outcome = await live.turns.outcome(admission.turn_id)
    except anyio.get_cancelled_exc_class():
        # Cancelling a request that waits is cancelling its turn; losing the client is not.
        if not face.connection.ending and not live.turns.cancel(admission.turn_id):
            with anyio.CancelScope(shield=True), contextlib.suppress(KodaError):
                await prompts.remove_queued(live, admission.turn_id)
        raise
    return AfterStream(live.id, live.log.seq, _ended(outcome))


def _ended(outcome: TurnOutcome) -> p.PromptEnded:
    return p.PromptEnded(
        turn_id=outcome.turn_id,
        stop_reason=outcome.stop_reason,
        text=outcome.text,
        usage=outcome.usage,
        error=None if outcome.error is None else error_data(outcome.error),
    )


async def cancel(face: Face, params: p.TurnCancelParams) -> p.TurnCancelResult:
    live = await (await face.host()).session(params.session_id)
    cancelled = live.turns.cancel(params.turn_id)
    if not cancelled and live.foreign_turns:
        await live.claim()  # ``session.locked`` when another daemon runs it; else it is dead and ended now
    return p.TurnCancelResult(cancelled=cancelled)


async def retry(face: Face, params: p.TurnRetryParams) -> p.PromptStarted | AfterStream:
    live = await (await face.host()).session(params.session_id)
    face.subscribe(live)
    admission = await prompts.retry(live, model=params.model, options=params.options)
    return await _answer(face, live, admission, wait=params.wait)


async def continue_(face: Face, params: p.TurnContinueParams) -> p.PromptStarted | AfterStream:
    live = await (await face.host()).session(params.session_id)
    face.subscribe(live)
    admission = await prompts.continue_(live, model=params.model, options=params.options)
    return await _answer(face, live, admission, wait=params.wait)


async def cancel_tool(face: Face, params: p.ToolCancelParams) -> p.ToolCancelResult:
    live = await (await face.host()).session(params.session_id)
    return p.ToolCancelResult(cancelled=live.turns.cancel_tool(params.call_id))


async def queue_list(face: Face, params: p.QueueListParams) -> p.QueueResult:
    live = await (await face.host()).session(params.session_id)
    await live.refresh()
    return p.QueueResult(queue=tuple(live.session.queue))


async def queue_update(face: Face, params: p.QueueUpdateParams) -> p.QueueResult:
    live = await (await face.host()).session(params.session_id)
    changes: dict[str, Any] = {}
    if params.content is not None:
        changes["content"] = params.content if isinstance(params.content, str) else list(params.content)
    if params.model is not None:
        changes["model"] = params.model
    if params.options is not None:
        changes["options"] = params.options
    if not changes:
        raise KodaError("params.invalid", "Nothing to change: give content, model or options.", path="$.content")
    await prompts.update_queued(live, params.turn_id, **changes)
    return p.QueueResult(queue=tuple(live.session.queue))


async def queue_remove(face: Face, params: p.QueueRemoveParams) -> p.QueueResult:
    live = await (await face.host()).session(params.session_id)
    await prompts.remove_queued(live, params.turn_id)
    return p.QueueResult(queue=tuple(live.session.queue))


async def queue_reorder(face: Face, params: p.QueueReorderParams) -> p.QueueResult:
    live = await (await face.host()).session(params.session_id)
    await prompts.reorder_queue(live, list(params.turn_ids))
    return p.QueueResult(queue=tuple(live.session.queue))


METHODS: dict[str, Feature] = {
    "koda/prompt": prompt,
    "koda/turn/cancel": cancel,
    "koda/turn/retry": retry,
    "koda/turn/continue": continue_,
    "koda/tool/cancel": cancel_tool,
    "koda/queue/list": queue_list,
    "koda/queue/update": queue_update,
    "koda/queue/remove": queue_remove,
    "koda/queue/reorder": queue_reorder,
}
