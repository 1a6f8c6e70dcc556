---@meta koda
-- The Koda protocol, version 1.0. README.md beside this file is the text to it.
-- Generated from koda_daemon/server/protocol by `python -m koda_daemon.server.protocol.generate`: do not edit.
-- A field that may be null is marked `?`, as one that may be left out: Neovim decodes null in objects as nil.

---Answers an approval that this client knows from the event. The first answer wins.
---@class koda.ApprovalAnswerParams
---@field sessionId string
---@field callId string
---@field optionId? string
---@field arguments? table<string, any>

---`accepted` is false when the approval was answered already.
---@class koda.ApprovalAnswerResult
---@field accepted boolean

---Lists the approvals that wait for an answer, oldest first.
---@class koda.ApprovalListParams
---@field sessionId? string

---The approvals that wait.
---@class koda.ApprovalListResult
---@field approvals koda.ApprovalRequested[]

---A choice: `rule` is the text of the permission rule that it would store, null for just this call.
---@class koda.ApprovalOption
---@field id string
---@field label string
---@field decision "allow"|"deny"
---@field scope "once"|"session"|"turn"|"user"|"workspace"
---@field rule? string

---The client's answer. A null `optionId` denies, and so do a null answer, an error and a lost client.
---@class koda.ApprovalRequestResult
---@field optionId? string
---@field arguments? table<string, any> The arguments to run with instead, when the user has edited them.

---The agent asks for leave to run a tool call: as in `koda/approval/request`.
---@class koda.ApprovalRequested
---@field type "approval.requested"
---@field sessionId string
---@field seq integer
---@field turnId string
---@field nodeId? string
---@field agent? string
---@field callId string
---@field tool string
---@field title string
---@field arguments table<string, any>
---@field reason string
---@field options koda.ApprovalOption[]
---@field diff? string
---@field command? string

---`optionId` null: denied because nobody answered; `by` names the client.
---@class koda.ApprovalResolved
---@field type "approval.resolved"
---@field sessionId string
---@field seq integer
---@field turnId string
---@field nodeId? string
---@field agent? string
---@field callId string
---@field optionId? string
---@field by string

---@alias koda.AssistantBlock koda.TextBlock|koda.ThinkingBlock|koda.ToolCall

---One whole answer. `model` is `provider/id`; `api` the wire API that made it (for handoff).
---@class koda.AssistantMessage
---@field role "assistant"
---@field content koda.AssistantBlock[]
---@field model string
---@field api string
---@field stopReason "cancelled"|"end"|"error"|"length"|"pause"|"refusal"|"toolUse"
---@field usage koda.Usage
---@field error? string

---A sign-in that was pending has ended, or credentials have changed. No event: it belongs to no session.
---@class koda.AuthChanged
---@field provider string
---@field status "expired"|"missing"|"ok"
---@field error? koda.ErrorData Why the sign-in failed, if it did.

---Signs in: stores `apiKey`, or without one starts OAuth, whose page opens through `window/showDocument`.
---
---A sign-in that is pending is ended by `code` too, for machines whose browser is elsewhere.
---@class koda.AuthLoginParams
---@field provider string
---@field apiKey? string
---@field code? string The address that the browser was sent to, pasted by the user, or the code in it.
---@field cancel? boolean Gives up the sign-in that is pending; what is stored stays. Default: `false`.

---`pending`: the user goes on at `url` (entering `userCode`, if there is one).
---
---`koda/auth/changed` tells the end. To `cancel`: `cancelled`, or `ok` when nothing was pending.
---@class koda.AuthLoginResult
---@field status "cancelled"|"ok"|"pending"
---@field url? string
---@field userCode? string

---Removes what `koda/auth/login` stored. Credentials of the environment stay.
---@class koda.AuthLogoutParams
---@field provider string

---`removed` is false when nothing was stored.
---@class koda.AuthLogoutResult
---@field removed boolean

---Where a provider stands.
---@class koda.AuthStatus
---@field provider string
---@field status "expired"|"missing"|"ok"
---@field source "environment"|"file"|"keyring"|"none"|"oauth"|"settings" Where the credentials come from; `none`: there are none, or none is needed.
---@field methods ("apiKey"|"oauth")[] How one can sign in.
---@field account? string
---@field since? string When it was signed in.
---@field expiresAt? string When what signing in gave ends or is refreshed.

---Says which providers have credentials. Never gives a secret.
---@class koda.AuthStatusParams
---@field provider? string

---The providers.
---@class koda.AuthStatusResult
---@field providers koda.AuthStatus[]

---Brings the changes of a branch with a folder of its own into the workspace: a three-way merge of all files.
---@class koda.BranchApplyParams
---@field sessionId string
---@field branchId string
---@field preview? boolean Changes nothing; the diffs of conflicts show both sides between markers. Default: `false`.
---@field conflicts? "keep"|"mark"|"overwrite"|"refuse" Files that changed on both sides in the same places: refuse everything (the error `edit.conflict`), write both sides between markers (files that are no text as the branch has them), keep the workspace's, take the branch's. Default: `"refuse"`.

---The files that changed, or would change; `undoId` is for `koda/rewind/undo`, left out by a preview.
---@class koda.BranchApplyResult
---@field files koda.FileChange[]
---@field undoId? string

---Compares two branches, each named by a node, or by the id of a branch: one with a folder as it is now.
---@class koda.BranchCompareParams
---@field sessionId string
---@field aId string
---@field bId string

---What each side has beyond the nearest common ancestor (null: none); `diff` is unified, of the files, a to b.
---@class koda.BranchCompareResult
---@field ancestorId? string
---@field aNodes koda.TreeNode[]
---@field bNodes koda.TreeNode[]
---@field diff string

---A branch was made that grows from `fromId`; null: from the very beginning.
---@class koda.BranchCreated
---@field type "branch.created"
---@field sessionId string
---@field seq integer
---@field turnId? string
---@field nodeId? string
---@field agent? string
---@field branchId string
---@field fromId? string

---A branch by name. `workspace` and `sessionId` are there for one with a folder of its own.
---@class koda.BranchInfo
---@field branchId string
---@field fromId? string
---@field tipId? string
---@field label? string
---@field workspace? string
---@field sessionId? string The session that works in the folder; it is listed and opened as any other.

---Makes a new branch that grows from any node; nothing is removed.
---@class koda.BranchParams
---@field sessionId string
---@field fromId? string The node that the branch grows from; null: from the very beginning.
---@field label? string
---@field checkout? boolean Whether the head moves to the new branch. Default: `true`.
---@field files? "keep"|"restore"|"worktree" Leave the workspace as it is, restore its files as they were at the node, or give the branch its own folder. Default: `"keep"`.
---@field conflicts? "keep"|"overwrite"|"refuse" Files that the user changed by hand since then, when files are restored. Default: `"refuse"`.
---@field summarize? boolean Whether the model sums up the branch that is left, in the first node of the new one (`headId` of the answer). Without that summary there is no branch: the error is the provider's. Default: `false`.

---Removes a branch's own folder and its session; the conversation stays in the tree of the session it grew from.
---
---Refused with `edit.conflict` when something that only the folder has would be lost, unless `force`.
---@class koda.BranchRemoveParams
---@field sessionId string
---@field branchId string
---@field force? boolean Default: `false`.

---The head as it is now. `workspace` is the absolute path of the branch's own folder, if it has one.
---@class koda.BranchResult
---@field headId? string
---@field branchId string
---@field workspace? string
---@field sessionId? string Of a branch with a folder: the session that works there, to prompt while this one goes on as well.

---Gives the files that a turn changed; without `turnId` all turns of the head's path together.
---@class koda.ChangesParams
---@field sessionId string
---@field turnId? string

---The files, with unified diffs of what changed.
---@class koda.ChangesResult
---@field files koda.FileChange[]

---Takes back what a turn changed: all, one file (`path`) or one hunk of it.
---@class koda.ChangesRevertParams
---@field sessionId string
---@field turnId string
---@field path? string
---@field hunk? integer Which hunk of the file's diff, counted from 0; needs `path`.

---The files, with unified diffs of what was changed back; `undoId` is for `koda/rewind/undo`.
---@class koda.ChangesRevertResult
---@field files koda.FileChange[]
---@field undoId string

---Moves the head to a node: the next prompt continues from there.
---@class koda.CheckoutParams
---@field sessionId string
---@field nodeId string
---@field files? "keep"|"restore" Default: `"keep"`.
---@field conflicts? "keep"|"overwrite"|"refuse" Default: `"refuse"`.

---The head as it is now.
---@class koda.CheckoutResult
---@field headId? string

---Replaces, for the model, the older part of the head's path by a summary. The tree keeps everything.
---@class koda.CompactParams
---@field sessionId string
---@field instructions? string What the summary should care about.

---The compaction node, and the size of the window's content in tokens before and after.
---@class koda.CompactResult
---@field nodeId string
---@field tokensBefore integer
---@field tokensAfter integer

---The summary is the node `nodeId`; without one nothing was compacted. Sizes are in tokens.
---@class koda.CompactionEnded
---@field type "compaction.ended"
---@field sessionId string
---@field seq integer
---@field turnId? string
---@field nodeId? string
---@field agent? string
---@field tokensBefore integer
---@field tokensAfter integer

---The older part of the head's path is being summed up.
---@class koda.CompactionStarted
---@field type "compaction.started"
---@field sessionId string
---@field seq integer
---@field turnId? string
---@field nodeId? string
---@field agent? string
---@field tokensBefore integer

---@alias koda.ContentBlock koda.TextBlock|koda.ImageBlock|koda.ResourceBlock

---Something left out of the window or shortened; `tokens` is what that saved.
---@class koda.ContextCut
---@field nodeId? string
---@field reason string
---@field tokens integer

---Explains what the next request to the model would hold.
---@class koda.ContextParams
---@field sessionId string

---One part of the window, in order.
---@class koda.ContextPart
---@field kind "assistant"|"attachment"|"memory"|"summary"|"system"|"toolResult"|"tools"|"user"
---@field title string
---@field tokens integer
---@field nodeId? string

---The window. Sizes are in tokens; `estimated` when they are not the provider's own count.
---@class koda.ContextResult
---@field model string
---@field contextWindow integer
---@field tokens integer
---@field estimated boolean
---@field parts koda.ContextPart[]
---@field cut koda.ContextCut[]

---Money, in `currency`, of one or more answers.
---@class koda.Cost
---@field input number
---@field output number
---@field cacheRead number
---@field cacheWrite number
---@field total number
---@field currency string

---One day's sum.
---@class koda.DayUsage
---@field day string
---@field usage koda.Usage

---Makes a report for a bug report, with secrets removed.
---@class koda.DiagnoseParams
---@field sessionId? string

---`report` is Markdown for people, `facts` the same as data.
---@class koda.DiagnoseResult
---@field report string
---@field facts table<string, any>

---A file was changed: in the editor's buffer (`version` is the new one) or on disk.
---@class koda.EditApplied
---@field type "edit.applied"
---@field sessionId string
---@field seq integer
---@field turnId string
---@field nodeId? string
---@field agent? string
---@field callId string
---@field uri string
---@field diff string
---@field via "disk"|"editor"
---@field version? integer

---A file was not changed, since it was changed meanwhile; `diff` is what was meant.
---@class koda.EditConflict
---@field type "edit.conflict"
---@field sessionId string
---@field seq integer
---@field turnId string
---@field nodeId? string
---@field agent? string
---@field callId string
---@field uri string
---@field diff string
---@field via "disk"|"editor"
---@field version? integer

---Done; there is nothing more to say. An object, so that fields may be added.
---@class koda.Empty

---A failure as data: the same as the error of an answer says.
---@class koda.ErrorData
---@field kind "auth.expired"|"auth.required"|"content.refused"|"context.overflow"|"cursor.expired"|"edit.conflict"|"internal"|"model.unknown"|"node.notFound"|"overload"|"params.invalid"|"permission.denied"|"provider.overloaded"|"provider.unreachable"|"quota.exhausted"|"rate.limited"|"sandbox.unavailable"|"session.locked"|"session.notFound"|"tool.failed"|"turn.busy"|"turn.notFound"|"version.unsupported"
---@field message string
---@field retryable boolean
---@field retryAfterMs? integer
---@field userAction? string
---@field path? string

---`error` of a JSON-RPC answer; `message` is one sentence for people, without secrets or tracebacks.
---@class koda.ErrorObject
---@field code integer
---@field message string
---@field data koda.ErrorObjectData

---`error.data` of every error that Koda answers with.
---@class koda.ErrorObjectData
---@field kind "auth.expired"|"auth.required"|"content.refused"|"context.overflow"|"cursor.expired"|"edit.conflict"|"internal"|"model.unknown"|"node.notFound"|"overload"|"params.invalid"|"permission.denied"|"provider.overloaded"|"provider.unreachable"|"quota.exhausted"|"rate.limited"|"sandbox.unavailable"|"session.locked"|"session.notFound"|"tool.failed"|"turn.busy"|"turn.notFound"|"version.unsupported"
---@field retryable boolean Whether the same request may succeed later.
---@field retryAfterMs? integer
---@field userAction? string What the user can do about it, in a sentence.
---@field path? string The file, or the JSON path of the wrong field (`$.sessionId`).

---One file that changed, or would change.
---@class koda.FileChange
---@field path string Relative to the session's `cwd`, with forward slashes.
---@field uri string
---@field change "created"|"deleted"|"modified"
---@field diff string Unified; empty when `binary`.
---@field binary? boolean Default: `false`.
---@field buffer? boolean An editor holds the file open: it changes through `workspace/applyEdit`. Default: `false`.
---@field conflict? boolean The user changed the file since by hand; it is not overwritten silently. Default: `false`.

---The head is another node now; null: the very beginning.
---@class koda.HeadMoved
---@field type "head.moved"
---@field sessionId string
---@field seq integer
---@field turnId? string
---@field nodeId? string
---@field agent? string
---@field headId? string

---An image: `data` is base64 without a `data:` prefix; else `uri` names a file.
---@class koda.ImageBlock
---@field type "image"
---@field mimeType string
---@field data? string
---@field uri? string

---`capabilities.experimental.koda` of the client: its presence, `{}` is enough, opts in to koda/* traffic.
---@class koda.KodaClientCapabilities
---@field versions? string[] Protocol versions that the client speaks, such as `1.0`; left out: any.
---@field maxLatencyMs? integer How long events may be held back, so that pieces of text that come meanwhile are sent as one; left out: not at all.
---@field strict? boolean Unknown fields in the client's koda/* parameters are errors. For tests of clients. Default: `false`.

---@alias koda.KodaEvent koda.TurnStarted|koda.TurnEnded|koda.TurnSteered|koda.TextDeltaEvent|koda.ThinkingDeltaEvent|koda.MessageEnded|koda.MessageDiscarded|koda.ToolProposed|koda.ToolInputDelta|koda.ToolStarted|koda.ToolOutput|koda.ToolEnded|koda.EditApplied|koda.EditConflict|koda.Retry|koda.UsageUpdated|koda.Notice|koda.ApprovalRequested|koda.ApprovalResolved|koda.QueueChanged|koda.HeadMoved|koda.BranchCreated|koda.LabelChanged|koda.SessionChanged|koda.OptionChanged|koda.CompactionStarted|koda.CompactionEnded|koda.SessionError

---`capabilities.experimental.koda` of the daemon's answer to `initialize`; always there.
---@class koda.KodaServerCapabilities
---@field protocolVersion string
---@field methods string[] The koda/* requests that this daemon answers.
---@field events string[] The types of `koda/event` that this daemon may send.
---@field limits koda.Limits

---A node has another label now; null: none.
---@class koda.LabelChanged
---@field type "label.changed"
---@field sessionId string
---@field seq integer
---@field turnId? string
---@field nodeId string
---@field agent? string
---@field label? string

---Labels a node, or with null (or nothing in it) takes its label away.
---@class koda.LabelParams
---@field sessionId string
---@field nodeId string
---@field label? string

---The label as it is now.
---@class koda.LabelResult
---@field label? string

---How the last turn ended. `error` is known as long as the daemon runs that told it.
---@class koda.LastTurn
---@field turnId string
---@field stopReason string As in `turn.ended`.
---@field error? koda.ErrorData

---Bounds of this daemon.
---@class koda.Limits
---@field maxMessageBytes integer Size of the largest message body that is read.
---@field outboxBytes integer How many bytes may wait for a client that does not read before its sessions' turns wait for it.

---A turn that runs while a snapshot is taken.
---
---`events` are those of the turn that `nodes` does not tell yet, consecutive deltas merged: a client that handles them like live ones stands where a client stands that never left. They all carry the snapshot's `seq`.
---@class koda.LiveTurn
---@field turnId string
---@field events koda.KodaEvent[]

---@alias koda.Message koda.UserMessage|koda.AssistantMessage|koda.ToolResultMessage

---A retry replaces what was streamed under this `nodeId`: drop it.
---@class koda.MessageDiscarded
---@field type "message.discarded"
---@field sessionId string
---@field seq integer
---@field turnId string
---@field nodeId string
---@field agent? string

---The whole assistant message, as stored: it replaces what was streamed under its `nodeId`.
---@class koda.MessageEnded
---@field type "message.ended"
---@field sessionId string
---@field seq integer
---@field turnId string
---@field nodeId string
---@field agent? string
---@field message koda.AssistantMessage
---@field usage koda.Usage

---One model. `id` (`provider/model`) is its name everywhere; sizes are in tokens.
---@class koda.ModelInfo
---@field id string
---@field name string
---@field provider string
---@field contextWindow integer
---@field maxOutput integer
---@field modalities string[] What it reads: `text`, `image`, ...
---@field reasoning ("high"|"low"|"max"|"medium"|"minimal"|"off"|"xhigh")[] The efforts it knows; empty: it does not reason.
---@field tools boolean
---@field prices? koda.Prices Left out when unknown.
---@field available boolean Whether its provider has credentials.
---@field known? boolean False for a model that no table knows: its sizes are cautious guesses. Default: `true`.

---Lists models; with `available` only those whose provider has credentials.
---@class koda.ModelListParams
---@field provider? string
---@field available? boolean

---The models.
---@class koda.ModelListResult
---@field models koda.ModelInfo[]

---One model's sum.
---@class koda.ModelUsage
---@field model string
---@field usage koda.Usage

---One entry of the tree. `parentId` is null for a root.
---
---`summary` belongs to branchSummary, compaction and note; a compaction replaces, for the model, everything on its path before `firstKeptId` (null: keep nothing before it).
---@class koda.Node
---@field id string
---@field parentId? string
---@field kind "assistant"|"branchSummary"|"compaction"|"note"|"toolResult"|"user"
---@field createdAt string
---@field turnId? string
---@field label? string
---@field message? koda.Message
---@field summary? string
---@field firstKeptId? string
---@field details? table<string, any>

---Something that a person may want to know.
---@class koda.Notice
---@field type "notice"
---@field sessionId string
---@field seq integer
---@field turnId? string
---@field nodeId? string
---@field agent? string
---@field level "error"|"info"|"warning"
---@field message string

---An option of the session, as it is now.
---@class koda.OptionChanged
---@field type "option.changed"
---@field sessionId string
---@field seq integer
---@field turnId? string
---@field nodeId? string
---@field agent? string
---@field name string
---@field value any

---One option and its value.
---@class koda.OptionInfo
---@field name string
---@field value any
---@field description string
---@field choices? any[] The values to choose from; left out: free.

---Lists the options of a session, or without one those that new sessions start with.
---@class koda.OptionListParams
---@field sessionId? string

---The options.
---@class koda.OptionListResult
---@field options koda.OptionInfo[]

---Sets an option of a session, or without one what new sessions start with. Null brings the default back.
---@class koda.OptionSetParams
---@field sessionId? string
---@field name string
---@field value any

---The option as it is now; all clients of the session get `option.changed`.
---@class koda.OptionSetResult
---@field name string
---@field value any

---Where a session comes from that is a branch of another, with a folder of its own (its `cwd`).
---
---`workspace` is the folder of that other session, `fromId` the node that the branch grew from.
---@class koda.Origin
---@field sessionId string
---@field branchId string
---@field fromId? string
---@field workspace string

---Stores a rule. The scopes `session` and `workspace` need a session.
---@class koda.PermissionGrantParams
---@field sessionId? string
---@field tool string
---@field pattern string
---@field decision? "allow"|"ask"|"deny" Default: `"allow"`.
---@field scope "session"|"user"|"workspace"
---@field expiresAt? string

---The rule as stored.
---@class koda.PermissionGrantResult
---@field rule koda.PermissionRule

---Lists the stored rules that hold for a session, or with none given those of the user.
---@class koda.PermissionListParams
---@field sessionId? string

---The rules.
---@class koda.PermissionListResult
---@field rules koda.PermissionRule[]

---Removes stored rules: those of `tool` and `pattern`, in all scopes unless one is named.
---@class koda.PermissionRevokeParams
---@field sessionId? string
---@field tool string
---@field pattern string
---@field scope? "session"|"user"|"workspace"

---How many rules were removed.
---@class koda.PermissionRevokeResult
---@field revoked integer

---A stored decision. `pattern` is matched against what the tool would touch; `expiresAt` is ISO 8601.
---@class koda.PermissionRule
---@field tool string
---@field pattern string
---@field decision "allow"|"ask"|"deny"
---@field scope "session"|"turn"|"user"|"workspace"
---@field expiresAt? string

---Zero-based line and character, as in LSP (characters in the negotiated position encoding).
---@class koda.Position
---@field line integer
---@field character integer

---The prices of a whole request whose input, cached or not, is longer than `above` tokens.
---@class koda.PriceTier
---@field above integer
---@field input number
---@field output number
---@field cacheRead number
---@field cacheWrite number
---@field cacheWrite1h? number

---US dollars for a million tokens. A cache price of 0 is not known: the price of plain input is taken.
---
---`cacheWrite` is for an entry that lives five minutes, `cache_write_1h` for an hour; left out: the same.
---@class koda.Prices
---@field input number
---@field output number
---@field cacheRead number
---@field cacheWrite number
---@field cacheWrite1h? number
---@field tiers? koda.PriceTier[]

---With `wait`: the turn has ended, and all its events were sent before this. `text` is the last answer's.
---@class koda.PromptEnded
---@field status "ended"
---@field turnId string
---@field stopReason "cancelled"|"end"|"error"|"length"|"maxIterations"|"refusal"
---@field text string
---@field usage koda.Usage
---@field error? koda.ErrorData

---Says something to the agent. Answered as soon as the prompt is stored, with `wait` when its turn has ended.
---@class koda.PromptParams
---@field sessionId string
---@field content string|koda.ContentBlock[]
---@field delivery? "auto"|"queue"|"reject"|"steer" While a turn runs: `auto` and `queue` wait for its end, `steer` enters it after the tools that run, `reject` is the error `turn.busy`. When no turn runs, each of them starts one. Default: `"auto"`.
---@field model? string For this turn only; left out: the session's.
---@field options? table<string, any> For this turn only, over the session's.
---@field wait? boolean Default: `false`.
---@field clientRequestId? string Made by the client, different for every prompt: sent again (after a lost answer), the prompt is not taken twice, the first answer is given again.

---The prompt is stored. `turnId`: the turn it started, will start (`queued`) or has entered (`steered`).
---@class koda.PromptStarted
---@field turnId string
---@field status "queued"|"started"|"steered"

---The agent asks the user something.
---@class koda.QuestionAskParams
---@field sessionId string
---@field turnId string
---@field callId string
---@field question string
---@field options koda.QuestionOption[]
---@field multiple? boolean Whether several options may be chosen. Default: `false`.
---@field freeText? boolean Whether an own text may be given. Default: `false`.

---The user's answer. A null answer, an error or a lost client means: no answer.
---@class koda.QuestionAskResult
---@field optionIds? string[] Default: `[]`.
---@field text? string

---One of the offered answers.
---@class koda.QuestionOption
---@field id string
---@field label string
---@field description? string

---The prompts that wait, next first.
---@class koda.QueueChanged
---@field type "queue.changed"
---@field sessionId string
---@field seq integer
---@field turnId? string
---@field nodeId? string
---@field agent? string
---@field queue koda.QueuedPrompt[]

---Lists the prompts that wait for the running turn to end, next first.
---@class koda.QueueListParams
---@field sessionId string

---Takes a waiting prompt out of the queue.
---@class koda.QueueRemoveParams
---@field sessionId string
---@field turnId string

---Puts the waiting prompts into the order of `turnIds`, which names each of them once.
---@class koda.QueueReorderParams
---@field sessionId string
---@field turnIds string[]

---The queue as it is now.
---@class koda.QueueResult
---@field queue koda.QueuedPrompt[]

---Changes a waiting prompt, named by the turn it will start. What is left out stays.
---@class koda.QueueUpdateParams
---@field sessionId string
---@field turnId string
---@field content? string|koda.ContentBlock[]
---@field model? string
---@field options? table<string, any>

---A prompt that waits: for the running turn to end (`queue`) or for its tools to end (`steer`).
---
---`turnId` is the turn it will start; a steering prompt that comes too late starts that turn as well.
---@class koda.QueuedPrompt
---@field turnId string
---@field content koda.ContentBlock[]
---@field createdAt string
---@field model? string
---@field options? table<string, any>
---@field delivery? "queue"|"steer" Default: `"queue"`.

---A half-open range, as in LSP.
---@class koda.Range
---@field start koda.Position
---@field end koda.Position

---A file (or a part of it) that the user refers to.
---@class koda.ResourceBlock
---@field type "resource"
---@field uri string
---@field range? koda.Range

---An attempt failed; the next one starts after `delayMs`.
---@class koda.Retry
---@field type "retry"
---@field sessionId string
---@field seq integer
---@field turnId string
---@field nodeId? string
---@field agent? string
---@field attempt integer
---@field maxAttempts integer
---@field delayMs integer
---@field reason string

---Rewinds.
---@class koda.RewindApplyParams
---@field sessionId string
---@field toId? string
---@field conflicts? "keep"|"overwrite"|"refuse" Files that the user changed since by hand: refuse the whole rewind (the error `edit.conflict`), keep them as they are, or overwrite them (undo brings them back). Default: `"refuse"`.

---Done; `undoId` is for `koda/rewind/undo`.
---@class koda.RewindApplyResult
---@field undoId string
---@field headId? string

---Shows what a rewind would do; changes nothing.
---@class koda.RewindPreviewParams
---@field sessionId string
---@field toId? string The node that becomes the head; null: the very beginning.

---Files and open buffers that would change, and nodes that would leave the head's path (the tree keeps them).
---@class koda.RewindPreviewResult
---@field files koda.FileChange[]
---@field nodes koda.TreeNode[]
---@field leftOut? string[] Files that are not recorded (too large, or not to be read) and stay as they are. Default: `[]`.

---Takes a rewind back, byte for byte (or whatever else gave an `undoId`).
---@class koda.RewindUndoParams
---@field undoId string
---@field conflicts? "keep"|"overwrite"|"refuse" Files that the user changed since then, as for `koda/rewind/apply`. Default: `"refuse"`.

---The head as it was before the rewind.
---@class koda.RewindUndoResult
---@field sessionId string
---@field headId? string

---Gives the schema of this protocol: the content of `koda.schema.json`.
---@class koda.SchemaParams

---A node whose text matches; `snippet` marks the match with `**`.
---@class koda.SearchHit
---@field sessionId string
---@field nodeId string
---@field snippet string
---@field createdAt string

---The session's title, model or other facts, as they are now.
---@class koda.SessionChanged
---@field type "session.changed"
---@field sessionId string
---@field seq integer
---@field turnId? string
---@field nodeId? string
---@field agent? string
---@field session koda.SessionInfo

---Ends this client's subscription. The session stays, and so does a running turn.
---@class koda.SessionCloseParams
---@field sessionId string

---Deletes a session with its whole tree, for good. A running turn is cancelled first.
---@class koda.SessionDeleteParams
---@field sessionId string

---Something failed outside of a turn.
---@class koda.SessionError
---@field type "error"
---@field sessionId string
---@field seq integer
---@field turnId? string
---@field nodeId? string
---@field agent? string
---@field error koda.ErrorData

---Writes a session out: `jsonl` is lossless, `markdown` and `html` are for people.
---@class koda.SessionExportParams
---@field sessionId string
---@field format "html"|"jsonl"|"markdown"
---@field path? string Absolute path of the file to write; left out: the text is in the answer.

---The file written, or the text.
---@class koda.SessionExportResult
---@field path? string
---@field content? string

---Reads a session from a file: Koda's own JSONL, or that of Pi (v1 to v3).
---@class koda.SessionImportParams
---@field path string

---The session made; `warnings` says what was repaired.
---@class koda.SessionImportResult
---@field sessionId string
---@field nodeCount integer
---@field warnings? string[] Default: `[]`.

---A session without its tree. `options` are those set for this session (`koda/option/set`); `checkpoint` names the state of the workspace's files that the session last saw (opaque; null: it never looked).
---@class koda.SessionInfo
---@field id string
---@field cwd string
---@field title? string
---@field model string
---@field headId? string
---@field createdAt string
---@field updatedAt string
---@field options table<string, any>
---@field checkpoint? string
---@field origin? koda.Origin

---The session went on without this client, which was too far behind, and its subscription has ended.
---
---Opening the session again (`since`: `seq`) brings the client up to date.
---@class koda.SessionLagged
---@field sessionId string
---@field seq integer The number of the last event that was sent.

---Lists sessions, last changed first; with `cwd` those of that workspace folder only.
---@class koda.SessionListParams
---@field cwd? string
---@field cursor? string
---@field limit? integer Default: `50`.

---A page of sessions; with `cursor` when there are more.
---@class koda.SessionListResult
---@field sessions koda.SessionInfo[]
---@field cursor? string

---Makes a session and subscribes this client to its events.
---@class koda.SessionNewParams
---@field cwd? string Absolute path of the workspace folder; left out: the client's first workspace folder.
---@field model? string `provider/model`; left out: the default of the settings.
---@field title? string
---@field options? table<string, any>

---The new session. Its tree is empty, so `headId` is null; the first event has the number after `seq`.
---@class koda.SessionNewResult
---@field sessionId string
---@field headId? string
---@field model string
---@field seq integer

---Gives older nodes of the head's path (`cursor`), or those named by `ids`, whole, oldest first.
---@class koda.SessionNodesParams
---@field sessionId string
---@field cursor? string
---@field limit? integer Default: `200`.
---@field ids? string[]

---Whole nodes; with `cursor` when there are older ones.
---@class koda.SessionNodesResult
---@field nodes koda.Node[]
---@field cursor? string

---Shows a session and subscribes this client to its events.
---@class koda.SessionOpenParams
---@field sessionId string
---@field since? integer The `seq` of the last event that the client has handled.
---@field limit? integer How many nodes to show at most. Default: `200`.

---Either a snapshot (`nodes`) or, after `since`, exactly the events missed (`events`, then no nodes).
---
---`nodes` are the newest of the head's path, whole, oldest first. The next event has the number after `seq`.
---@class koda.SessionOpenResult
---@field session koda.SessionInfo
---@field headId? string
---@field seq integer
---@field nodes koda.Node[]
---@field cursor? string Leads to older nodes (`koda/session/nodes`); left out at the beginning of the path.
---@field liveTurn? koda.LiveTurn
---@field lastTurn? koda.LastTurn Left out while a turn runs, and before the first one.
---@field pendingApprovals koda.ApprovalRequested[]
---@field events? koda.KodaEvent[]

---Gives a session a title.
---@class koda.SessionRenameParams
---@field sessionId string
---@field title string

---The session as it is now; all its clients get `session.changed`.
---@class koda.SessionRenameResult
---@field session koda.SessionInfo

---Finds nodes with all words of `query`, newest first: "quoted words" as a phrase, the last as a beginning.
---@class koda.SessionSearchParams
---@field query string
---@field cwd? string
---@field limit? integer Default: `50`.

---The nodes found.
---@class koda.SessionSearchResult
---@field hits koda.SearchHit[]

---One session's sum.
---@class koda.SessionUsage
---@field sessionId string
---@field usage koda.Usage

---Text. `signature` is opaque provider data, sent back to the same provider only.
---@class koda.TextBlock
---@field type "text"
---@field text string
---@field signature? string

---A piece of the answer's text, to be appended. Provisional until `message.ended`.
---@class koda.TextDeltaEvent
---@field type "text.delta"
---@field sessionId string
---@field seq integer
---@field turnId string
---@field nodeId string
---@field agent? string
---@field offset integer
---@field text string

---Reasoning. `signature` (or encrypted content, then `redacted`) goes back to the same provider unchanged.
---@class koda.ThinkingBlock
---@field type "thinking"
---@field text string
---@field signature? string
---@field redacted? boolean Default: `false`.

---A piece of the answer's reasoning, to be appended. Provisional until `message.ended`.
---@class koda.ThinkingDeltaEvent
---@field type "thinking.delta"
---@field sessionId string
---@field seq integer
---@field turnId string
---@field nodeId string
---@field agent? string
---@field offset integer
---@field text string

---A tool call of the model.
---
---`argumentsError` is set when the streamed arguments were not a JSON object; such a call is never run. `signature` is opaque provider data (Gemini thought signatures), sent back to the same provider only.
---@class koda.ToolCall
---@field type "toolCall"
---@field callId string
---@field tool string
---@field arguments table<string, any>
---@field argumentsError? string
---@field signature? string

---Cancels one running tool call; the turn goes on with the result `cancelled`.
---@class koda.ToolCancelParams
---@field sessionId string
---@field callId string

---`cancelled` is false when no such call was running.
---@class koda.ToolCancelResult
---@field cancelled boolean

---A tool call has its result, stored as the node `nodeId`.
---@class koda.ToolEnded
---@field type "tool.ended"
---@field sessionId string
---@field seq integer
---@field turnId string
---@field nodeId string
---@field agent? string
---@field callId string
---@field tool string
---@field status "cancelled"|"denied"|"error"|"ok"
---@field content koda.ContentBlock[]
---@field details? table<string, any>
---@field diff? string
---@field durationMs integer

---A piece of the JSON text of a call's arguments, to be appended. Provisional.
---@class koda.ToolInputDelta
---@field type "tool.inputDelta"
---@field sessionId string
---@field seq integer
---@field turnId string
---@field nodeId string
---@field agent? string
---@field callId string
---@field offset integer
---@field text string

---Lists the tools that the model sees (of a session, when one is named).
---@class koda.ToolListParams
---@field sessionId? string

---The tools, each with the JSON Schema of its arguments.
---@class koda.ToolListResult
---@field tools koda.ToolSpec[]

---A piece of what a running tool prints, to be appended.
---@class koda.ToolOutput
---@field type "tool.output"
---@field sessionId string
---@field seq integer
---@field turnId string
---@field nodeId? string
---@field agent? string
---@field callId string
---@field offset integer
---@field text string

---The model begins to write a tool call; its arguments follow.
---@class koda.ToolProposed
---@field type "tool.proposed"
---@field sessionId string
---@field seq integer
---@field turnId string
---@field nodeId string
---@field agent? string
---@field callId string
---@field tool string

---The answer to one tool call, as the model sees it. `details` is for clients only.
---@class koda.ToolResultMessage
---@field role "toolResult"
---@field callId string
---@field tool string
---@field status "cancelled"|"denied"|"error"|"ok"
---@field content koda.ContentBlock[]
---@field details? table<string, any>

---A tool as the model is told of it; `parameters` is a JSON Schema (draft 2020-12) of an object.
---@class koda.ToolSpec
---@field name string
---@field description string
---@field parameters table<string, any>

---A tool runs, with these arguments.
---@class koda.ToolStarted
---@field type "tool.started"
---@field sessionId string
---@field seq integer
---@field turnId string
---@field nodeId? string
---@field agent? string
---@field callId string
---@field tool string
---@field arguments table<string, any>

---A node without its content, for drawing the tree; `preview` is one line of at most 120 characters.
---@class koda.TreeNode
---@field id string
---@field parentId? string
---@field kind "assistant"|"branchSummary"|"compaction"|"note"|"toolResult"|"user"
---@field preview string
---@field createdAt string
---@field label? string
---@field turnId? string
---@field usage? koda.Usage

---Gives the tree for drawing, parents before children; with `aroundId` only what is near that node.
---@class koda.TreeParams
---@field sessionId string
---@field aroundId? string
---@field depth? integer How many steps up and down from `aroundId` (else: down from the roots); left out: all.

---Nodes without their content. `headId` is null before the first prompt.
---@class koda.TreeResult
---@field headId? string
---@field nodes koda.TreeNode[]
---@field branches? koda.BranchInfo[] The branches that were made with `koda/branch`, oldest first. Default: `[]`.

---Cancels the running turn (only if it is `turnId`, when given). What was streamed is kept as a node.
---@class koda.TurnCancelParams
---@field sessionId string
---@field turnId? string

---`cancelled` is false when no such turn was running.
---@class koda.TurnCancelResult
---@field cancelled boolean

---Lets the agent go on from the head without new text: after `length`, `maxIterations`, an error, a cancel.
---@class koda.TurnContinueParams
---@field sessionId string
---@field model? string
---@field options? table<string, any>
---@field wait? boolean Default: `false`.

---A turn has ended; nothing of this turn follows. `usage` is the sum of its answers.
---@class koda.TurnEnded
---@field type "turn.ended"
---@field sessionId string
---@field seq integer
---@field turnId string
---@field nodeId? string
---@field agent? string
---@field stopReason "cancelled"|"end"|"error"|"length"|"maxIterations"|"refusal"
---@field usage koda.Usage
---@field error? koda.ErrorData

---Runs the last turn again from the same parent: a sibling branch, the first answer stays in the tree.
---@class koda.TurnRetryParams
---@field sessionId string
---@field model? string
---@field options? table<string, any>
---@field wait? boolean Default: `false`.

---A turn has begun with the node `nodeId`, whose text is `prompt`; without one it goes on.
---@class koda.TurnStarted
---@field type "turn.started"
---@field sessionId string
---@field seq integer
---@field turnId string
---@field nodeId? string
---@field agent? string
---@field model string
---@field prompt string
---@field content? koda.ContentBlock[] The prompt's blocks, when it is more than text.

---A prompt has entered the running turn as the user node `nodeId`.
---@class koda.TurnSteered
---@field type "turn.steered"
---@field sessionId string
---@field seq integer
---@field turnId string
---@field nodeId string
---@field agent? string
---@field prompt string

---Tokens. `input` never includes cache reads or writes; `output` includes `reasoning`.
---@class koda.Usage
---@field input integer
---@field output integer
---@field cacheRead integer
---@field cacheWrite integer
---@field reasoning integer
---@field cost koda.Cost

---Sums tokens and cost, of one session or of all; days are UTC dates (`2026-01-31`), both inclusive.
---@class koda.UsageParams
---@field sessionId? string
---@field fromDay? string
---@field toDay? string

---The sum, and the same sum by session, by day and by model.
---@class koda.UsageResult
---@field total koda.Usage
---@field sessions koda.SessionUsage[]
---@field days koda.DayUsage[]
---@field models koda.ModelUsage[]

---The tokens of the last answer, its cost in US dollars, and how full the window is.
---@class koda.UsageUpdated
---@field type "usage"
---@field sessionId string
---@field seq integer
---@field turnId string
---@field nodeId? string
---@field agent? string
---@field input integer
---@field output integer
---@field cacheRead integer
---@field cacheWrite integer
---@field reasoning integer
---@field cost number
---@field contextTokens integer
---@field contextWindow integer

---What a user (or a steering client) said.
---@class koda.UserMessage
---@field role "user"
---@field content koda.ContentBlock[]

---Requests that the client sends.
---@class koda.Requests
---@field ["koda/session/new"] { params: koda.SessionNewParams, result: koda.SessionNewResult }
---@field ["koda/session/open"] { params: koda.SessionOpenParams, result: koda.SessionOpenResult }
---@field ["koda/session/nodes"] { params: koda.SessionNodesParams, result: koda.SessionNodesResult }
---@field ["koda/session/list"] { params: koda.SessionListParams, result: koda.SessionListResult }
---@field ["koda/session/search"] { params: koda.SessionSearchParams, result: koda.SessionSearchResult }
---@field ["koda/session/rename"] { params: koda.SessionRenameParams, result: koda.SessionRenameResult }
---@field ["koda/session/delete"] { params: koda.SessionDeleteParams, result: koda.Empty }
---@field ["koda/session/export"] { params: koda.SessionExportParams, result: koda.SessionExportResult }
---@field ["koda/session/import"] { params: koda.SessionImportParams, result: koda.SessionImportResult }
---@field ["koda/session/close"] { params: koda.SessionCloseParams, result: koda.Empty }
---@field ["koda/prompt"] { params: koda.PromptParams, result: koda.PromptStarted|koda.PromptEnded }
---@field ["koda/turn/cancel"] { params: koda.TurnCancelParams, result: koda.TurnCancelResult }
---@field ["koda/turn/retry"] { params: koda.TurnRetryParams, result: koda.PromptStarted|koda.PromptEnded }
---@field ["koda/turn/continue"] { params: koda.TurnContinueParams, result: koda.PromptStarted|koda.PromptEnded }
---@field ["koda/tool/cancel"] { params: koda.ToolCancelParams, result: koda.ToolCancelResult }
---@field ["koda/queue/list"] { params: koda.QueueListParams, result: koda.QueueResult }
---@field ["koda/queue/update"] { params: koda.QueueUpdateParams, result: koda.QueueResult }
---@field ["koda/queue/remove"] { params: koda.QueueRemoveParams, result: koda.QueueResult }
---@field ["koda/queue/reorder"] { params: koda.QueueReorderParams, result: koda.QueueResult }
---@field ["koda/tree"] { params: koda.TreeParams, result: koda.TreeResult }
---@field ["koda/branch"] { params: koda.BranchParams, result: koda.BranchResult }
---@field ["koda/branch/compare"] { params: koda.BranchCompareParams, result: koda.BranchCompareResult }
---@field ["koda/branch/apply"] { params: koda.BranchApplyParams, result: koda.BranchApplyResult }
---@field ["koda/branch/remove"] { params: koda.BranchRemoveParams, result: koda.Empty }
---@field ["koda/checkout"] { params: koda.CheckoutParams, result: koda.CheckoutResult }
---@field ["koda/label"] { params: koda.LabelParams, result: koda.LabelResult }
---@field ["koda/rewind/preview"] { params: koda.RewindPreviewParams, result: koda.RewindPreviewResult }
---@field ["koda/rewind/apply"] { params: koda.RewindApplyParams, result: koda.RewindApplyResult }
---@field ["koda/rewind/undo"] { params: koda.RewindUndoParams, result: koda.RewindUndoResult }
---@field ["koda/compact"] { params: koda.CompactParams, result: koda.CompactResult }
---@field ["koda/context"] { params: koda.ContextParams, result: koda.ContextResult }
---@field ["koda/changes"] { params: koda.ChangesParams, result: koda.ChangesResult }
---@field ["koda/changes/revert"] { params: koda.ChangesRevertParams, result: koda.ChangesRevertResult }
---@field ["koda/approval/answer"] { params: koda.ApprovalAnswerParams, result: koda.ApprovalAnswerResult }
---@field ["koda/approval/list"] { params: koda.ApprovalListParams, result: koda.ApprovalListResult }
---@field ["koda/permission/list"] { params: koda.PermissionListParams, result: koda.PermissionListResult }
---@field ["koda/permission/grant"] { params: koda.PermissionGrantParams, result: koda.PermissionGrantResult }
---@field ["koda/permission/revoke"] { params: koda.PermissionRevokeParams, result: koda.PermissionRevokeResult }
---@field ["koda/model/list"] { params: koda.ModelListParams, result: koda.ModelListResult }
---@field ["koda/option/list"] { params: koda.OptionListParams, result: koda.OptionListResult }
---@field ["koda/option/set"] { params: koda.OptionSetParams, result: koda.OptionSetResult }
---@field ["koda/auth/status"] { params: koda.AuthStatusParams, result: koda.AuthStatusResult }
---@field ["koda/auth/login"] { params: koda.AuthLoginParams, result: koda.AuthLoginResult }
---@field ["koda/auth/logout"] { params: koda.AuthLogoutParams, result: koda.AuthLogoutResult }
---@field ["koda/usage"] { params: koda.UsageParams, result: koda.UsageResult }
---@field ["koda/tool/list"] { params: koda.ToolListParams, result: koda.ToolListResult }
---@field ["koda/schema"] { params: koda.SchemaParams, result: table<string, any> }
---@field ["koda/diagnose"] { params: koda.DiagnoseParams, result: koda.DiagnoseResult }

---Requests that the daemon sends, to clients that opted in.
---@class koda.ClientRequests
---@field ["koda/approval/request"] { params: koda.ApprovalRequested, result: koda.ApprovalRequestResult }
---@field ["koda/question/ask"] { params: koda.QuestionAskParams, result: koda.QuestionAskResult }

---Events by type. Ignore types that you do not know.
---@class koda.Events
---@field ["turn.started"] koda.TurnStarted
---@field ["turn.ended"] koda.TurnEnded
---@field ["turn.steered"] koda.TurnSteered
---@field ["text.delta"] koda.TextDeltaEvent
---@field ["thinking.delta"] koda.ThinkingDeltaEvent
---@field ["message.ended"] koda.MessageEnded
---@field ["message.discarded"] koda.MessageDiscarded
---@field ["tool.proposed"] koda.ToolProposed
---@field ["tool.inputDelta"] koda.ToolInputDelta
---@field ["tool.started"] koda.ToolStarted
---@field ["tool.output"] koda.ToolOutput
---@field ["tool.ended"] koda.ToolEnded
---@field ["edit.applied"] koda.EditApplied
---@field ["edit.conflict"] koda.EditConflict
---@field ["retry"] koda.Retry
---@field ["usage"] koda.UsageUpdated
---@field ["notice"] koda.Notice
---@field ["approval.requested"] koda.ApprovalRequested
---@field ["approval.resolved"] koda.ApprovalResolved
---@field ["queue.changed"] koda.QueueChanged
---@field ["head.moved"] koda.HeadMoved
---@field ["branch.created"] koda.BranchCreated
---@field ["label.changed"] koda.LabelChanged
---@field ["session.changed"] koda.SessionChanged
---@field ["option.changed"] koda.OptionChanged
---@field ["compaction.started"] koda.CompactionStarted
---@field ["compaction.ended"] koda.CompactionEnded
---@field ["error"] koda.SessionError

---The name of a request that the client sends.
---@alias koda.Method
---| "koda/session/new"
---| "koda/session/open"
---| "koda/session/nodes"
---| "koda/session/list"
---| "koda/session/search"
---| "koda/session/rename"
---| "koda/session/delete"
---| "koda/session/export"
---| "koda/session/import"
---| "koda/session/close"
---| "koda/prompt"
---| "koda/turn/cancel"
---| "koda/turn/retry"
---| "koda/turn/continue"
---| "koda/tool/cancel"
---| "koda/queue/list"
---| "koda/queue/update"
---| "koda/queue/remove"
---| "koda/queue/reorder"
---| "koda/tree"
---| "koda/branch"
---| "koda/branch/compare"
---| "koda/branch/apply"
---| "koda/branch/remove"
---| "koda/checkout"
---| "koda/label"
---| "koda/rewind/preview"
---| "koda/rewind/apply"
---| "koda/rewind/undo"
---| "koda/compact"
---| "koda/context"
---| "koda/changes"
---| "koda/changes/revert"
---| "koda/approval/answer"
---| "koda/approval/list"
---| "koda/permission/list"
---| "koda/permission/grant"
---| "koda/permission/revoke"
---| "koda/model/list"
---| "koda/option/list"
---| "koda/option/set"
---| "koda/auth/status"
---| "koda/auth/login"
---| "koda/auth/logout"
---| "koda/usage"
---| "koda/tool/list"
---| "koda/schema"
---| "koda/diagnose"

---The type of an event.
---@alias koda.EventType
---| "turn.started"
---| "turn.ended"
---| "turn.steered"
---| "text.delta"
---| "thinking.delta"
---| "message.ended"
---| "message.discarded"
---| "tool.proposed"
---| "tool.inputDelta"
---| "tool.started"
---| "tool.output"
---| "tool.ended"
---| "edit.applied"
---| "edit.conflict"
---| "retry"
---| "usage"
---| "notice"
---| "approval.requested"
---| "approval.resolved"
---| "queue.changed"
---| "head.moved"
---| "branch.created"
---| "label.changed"
---| "session.changed"
---| "option.changed"
---| "compaction.started"
---| "compaction.ended"
---| "error"

---`data.kind` of an error.
---@alias koda.ErrorKind
---| "auth.required"
---| "auth.expired"
---| "quota.exhausted"
---| "rate.limited"
---| "provider.overloaded"
---| "provider.unreachable"
---| "model.unknown"
---| "context.overflow"
---| "content.refused"
---| "session.notFound"
---| "session.locked"
---| "turn.busy"
---| "turn.notFound"
---| "node.notFound"
---| "edit.conflict"
---| "tool.failed"
---| "permission.denied"
---| "sandbox.unavailable"
---| "overload"
---| "version.unsupported"
---| "cursor.expired"
---| "internal"
---| "params.invalid"
