"""What the types do not say: which context an event always carries, and when an error is answered.

An event that is not named here is described by its docstring alone.
"""

from __future__ import annotations

from koda_daemon.base.errors import ErrorKind

EVENT_CONTEXT: dict[str, tuple[str, ...]] = {
    "turn.started": ("turnId",),
    "turn.ended": ("turnId",),
    "turn.steered": ("turnId", "nodeId"),
    "text.delta": ("turnId", "nodeId"),
    "thinking.delta": ("turnId", "nodeId"),
    "message.ended": ("turnId", "nodeId"),
    "message.discarded": ("turnId", "nodeId"),
    "tool.proposed": ("turnId", "nodeId"),
    "tool.inputDelta": ("turnId", "nodeId"),
    "tool.started": ("turnId",),
    "tool.output": ("turnId",),
    "tool.ended": ("turnId", "nodeId"),
    "edit.applied": ("turnId",),
    "edit.conflict": ("turnId",),
    "approval.requested": ("turnId",),
    "approval.resolved": ("turnId",),
    "retry": ("turnId",),
    "usage": ("turnId",),
    "label.changed": ("nodeId",),
}
"""The optional fields of ``Event`` that are always there, by type. ``sessionId`` and ``seq`` are with all of them."""

EVENT_NOTES: dict[str, str] = {
    "turn.started": "A turn has begun with the node `nodeId`, whose text is `prompt`; without one it goes on.",
    "turn.ended": "A turn has ended; nothing of this turn follows. `usage` is the sum of its answers.",
    "text.delta": "A piece of the answer's text, to be appended. Provisional until `message.ended`.",
    "thinking.delta": "A piece of the answer's reasoning, to be appended. Provisional until `message.ended`.",
    "message.ended": "The whole assistant message, as stored: it replaces what was streamed under its `nodeId`.",
    "message.discarded": "A retry replaces what was streamed under this `nodeId`: drop it.",
    "tool.proposed": "The model begins to write a tool call; its arguments follow.",
    "tool.inputDelta": "A piece of the JSON text of a call's arguments, to be appended. Provisional.",
    "tool.started": "A tool runs, with these arguments.",
    "tool.output": "A piece of what a running tool prints, to be appended.",
    "tool.ended": "A tool call has its result, stored as the node `nodeId`.",
    "edit.applied": "A file was changed: in the editor's buffer (`version` is the new one) or on disk.",
    "edit.conflict": "A file was not changed, since it was changed meanwhile; `diff` is what was meant.",
    "retry": "An attempt failed; the next one starts after `delayMs`.",
    "usage": "The tokens of the last answer, its cost in US dollars, and how full the window is.",
    "notice": "Something that a person may want to know.",
    "approval.requested": "The agent asks for leave to run a tool call: as in `koda/approval/request`.",
    "queue.changed": "The prompts that wait, next first.",
    "head.moved": "The head is another node now; null: the very beginning.",
    "branch.created": "A branch was made that grows from `fromId`; null: from the very beginning.",
    "label.changed": "A node has another label now; null: none.",
    "session.changed": "The session's title, model or other facts, as they are now.",
    "option.changed": "An option of the session, as it is now.",
    "compaction.started": "The older part of the head's path is being summed up.",
    "compaction.ended": "The summary is the node `nodeId`; without one nothing was compacted. Sizes are in tokens.",
    "error": "Something failed outside of a turn.",
}

ERROR_NOTES: dict[ErrorKind, str] = {
    "auth.required": "The provider has no credentials.",
    "auth.expired": "The credentials were refused or have expired.",
    "quota.exhausted": "The account's money or quota is used up.",
    "rate.limited": "Too many requests; `retryAfterMs` says when to try again.",
    "provider.overloaded": "The provider cannot answer at the moment.",
    "provider.unreachable": "No connection, a time-out, or a stream that broke off.",
    "model.unknown": "There is no such model or provider.",
    "context.overflow": "The conversation does not fit into the model's window, even after compaction.",
    "content.refused": "The provider refused the request for its content.",
    "session.notFound": "There is no such session.",
    "session.locked": "Another daemon writes to the session.",
    "turn.busy": "A turn is running, and the request does not go together with it.",
    "turn.notFound": "There is no such turn, call or waiting prompt.",
    "node.notFound": "There is no such node in the session.",
    "edit.conflict": "Files were changed meanwhile; they were not overwritten.",
    "tool.failed": "A tool could not do its work.",
    "permission.denied": "The user, or a rule, did not allow it.",
    "sandbox.unavailable": "Commands cannot be confined as the settings ask.",
    "overload": "The daemon has too much to do at the moment.",
    "version.unsupported": "Client and daemon share no version of the protocol.",
    "cursor.expired": "The cursor leads nowhere any more; start again without it.",
    "params.invalid": "A parameter is missing or wrong; `path` names it.",
    "internal": "A fault of the daemon.",
}
