// The Koda protocol, version 1.0. README.md beside this file is the text to it.
// Generated from koda_daemon/server/protocol by `python -m koda_daemon.server.protocol.generate`: do not edit.

/** Answers an approval that this client knows from the event. The first answer wins. */
export interface ApprovalAnswerParams {
  sessionId: string;
  callId: string;
  optionId: string | null;
  arguments?: { [key: string]: unknown } | null;
}

/** `accepted` is false when the approval was answered already. */
export interface ApprovalAnswerResult {
  accepted: boolean;
}

/** Lists the approvals that wait for an answer, oldest first. */
export interface ApprovalListParams {
  sessionId?: string | null;
}

/** The approvals that wait. */
export interface ApprovalListResult {
  approvals: ApprovalRequested[];
}

/** A choice: `rule` is the text of the permission rule that it would store, null for just this call. */
export interface ApprovalOption {
  id: string;
  label: string;
  decision: "allow" | "deny";
  scope: "once" | "session" | "turn" | "user" | "workspace";
  rule: string | null;
}

/** The client's answer. A null `optionId` denies, and so do a null answer, an error and a lost client. */
export interface ApprovalRequestResult {
  optionId: string | null;
  /** The arguments to run with instead, when the user has edited them. */
  arguments?: { [key: string]: unknown } | null;
}

/** The agent asks for leave to run a tool call: as in `koda/approval/request`. */
export interface ApprovalRequested {
  type: "approval.requested";
  sessionId: string;
  seq: number;
  turnId: string;
  nodeId?: string;
  agent?: string;
  callId: string;
  tool: string;
  title: string;
  arguments: { [key: string]: unknown };
  reason: string;
  options: ApprovalOption[];
  diff?: string;
  command?: string;
}

/** `optionId` null: denied because nobody answered; `by` names the client. */
export interface ApprovalResolved {
  type: "approval.resolved";
  sessionId: string;
  seq: number;
  turnId: string;
  nodeId?: string;
  agent?: string;
  callId: string;
  optionId: string | null;
  by: string;
}

export type AssistantBlock = TextBlock | ThinkingBlock | ToolCall;

/** One whole answer. `model` is `provider/id`; `api` the wire API that made it (for handoff). */
export interface AssistantMessage {
  role: "assistant";
  content: AssistantBlock[];
  model: string;
  api: string;
  stopReason: "cancelled" | "end" | "error" | "length" | "pause" | "refusal" | "toolUse";
  usage: Usage;
  error?: string;
}

/** A sign-in that was pending has ended, or credentials have changed. No event: it belongs to no session. */
export interface AuthChanged {
  provider: string;
  status: "expired" | "missing" | "ok";
  /** Why the sign-in failed, if it did. */
  error?: ErrorData;
}

/**
 * Signs in: stores `apiKey`, or without one starts OAuth, whose page opens through `window/showDocument`.
 *
 * A sign-in that is pending is ended by `code` too, for machines whose browser is elsewhere.
 */
export interface AuthLoginParams {
  provider: string;
  apiKey?: string | null;
  /** The address that the browser was sent to, pasted by the user, or the code in it. */
  code?: string | null;
  /** Gives up the sign-in that is pending; what is stored stays. Default: `false`. */
  cancel?: boolean;
}

/**
 * `pending`: the user goes on at `url` (entering `userCode`, if there is one).
 *
 * `koda/auth/changed` tells the end. To `cancel`: `cancelled`, or `ok` when nothing was pending.
 */
export interface AuthLoginResult {
  status: "cancelled" | "ok" | "pending";
  url?: string;
  userCode?: string;
}

/** Removes what `koda/auth/login` stored. Credentials of the environment stay. */
export interface AuthLogoutParams {
  provider: string;
}

/** `removed` is false when nothing was stored. */
export interface AuthLogoutResult {
  removed: boolean;
}

/** Where a provider stands. */
export interface AuthStatus {
  provider: string;
  status: "expired" | "missing" | "ok";
  /** Where the credentials come from; `none`: there are none, or none is needed. */
  source: "environment" | "file" | "keyring" | "none" | "oauth" | "settings";
  /** How one can sign in. */
  methods: ("apiKey" | "oauth")[];
  account?: string;
  /** When it was signed in. */
  since?: string;
  /** When what signing in gave ends or is refreshed. */
  expiresAt?: string;
}

/** Says which providers have credentials. Never gives a secret. */
export interface AuthStatusParams {
  provider?: string | null;
}

/** The providers. */
export interface AuthStatusResult {
  providers: AuthStatus[];
}

/** Brings the changes of a branch with a folder of its own into the workspace: a three-way merge of all files. */
export interface BranchApplyParams {
  sessionId: string;
  branchId: string;
  /** Changes nothing; the diffs of conflicts show both sides between markers. Default: `false`. */
  preview?: boolean;
  /**
   * Files that changed on both sides in the same places: refuse everything (the error `edit.conflict`), write both
   * sides between markers (files that are no text as the branch has them), keep the workspace's, take the branch's.
   * Default: `"refuse"`.
   */
  conflicts?: "keep" | "mark" | "overwrite" | "refuse";
}

/** The files that changed, or would change; `undoId` is for `koda/rewind/undo`, left out by a preview. */
export interface BranchApplyResult {
  files: FileChange[];
  undoId?: string;
}

/** Compares two branches, each named by a node, or by the id of a branch: one with a folder as it is now. */
export interface BranchCompareParams {
  sessionId: string;
  aId: string;
  bId: string;
}

/** What each side has beyond the nearest common ancestor (null: none); `diff` is unified, of the files, a to b. */
export interface BranchCompareResult {
  ancestorId: string | null;
  aNodes: TreeNode[];
  bNodes: TreeNode[];
  diff: string;
}

/** A branch was made that grows from `fromId`; null: from the very beginning. */
export interface BranchCreated {
  type: "branch.created";
  sessionId: string;
  seq: number;
  turnId?: string;
  nodeId?: string;
  agent?: string;
  branchId: string;
  fromId: string | null;
}

/** A branch by name. `workspace` and `sessionId` are there for one with a folder of its own. */
export interface BranchInfo {
  branchId: string;
  fromId: string | null;
  tipId: string | null;
  label?: string;
  workspace?: string;
  /** The session that works in the folder; it is listed and opened as any other. */
  sessionId?: string;
}

/** Makes a new branch that grows from any node; nothing is removed. */
export interface BranchParams {
  sessionId: string;
  /** The node that the branch grows from; null: from the very beginning. */
  fromId: string | null;
  label?: string | null;
  /** Whether the head moves to the new branch. Default: `true`. */
  checkout?: boolean;
  /**
   * Leave the workspace as it is, restore its files as they were at the node, or give the branch its own folder.
   * Default: `"keep"`.
   */
  files?: "keep" | "restore" | "worktree";
  /** Files that the user changed by hand since then, when files are restored. Default: `"refuse"`. */
  conflicts?: "keep" | "overwrite" | "refuse";
  /**
   * Whether the model sums up the branch that is left, in the first node of the new one (`headId` of the answer).
   * Without that summary there is no branch: the error is the provider's. Default: `false`.
   */
  summarize?: boolean;
}

/**
 * Removes a branch's own folder and its session; the conversation stays in the tree of the session it grew from.
 *
 * Refused with `edit.conflict` when something that only the folder has would be lost, unless `force`.
 */
export interface BranchRemoveParams {
  sessionId: string;
  branchId: string;
  /** Default: `false`. */
  force?: boolean;
}

/** The head as it is now. `workspace` is the absolute path of the branch's own folder, if it has one. */
export interface BranchResult {
  headId: string | null;
  branchId: string;
  workspace?: string;
  /** Of a branch with a folder: the session that works there, to prompt while this one goes on as well. */
  sessionId?: string;
}

/** Gives the files that a turn changed; without `turnId` all turns of the head's path together. */
export interface ChangesParams {
  sessionId: string;
  turnId?: string | null;
}

/** The files, with unified diffs of what changed. */
export interface ChangesResult {
  files: FileChange[];
}

/** Takes back what a turn changed: all, one file (`path`) or one hunk of it. */
export interface ChangesRevertParams {
  sessionId: string;
  turnId: string;
  path?: string | null;
  /** Which hunk of the file's diff, counted from 0; needs `path`. */
  hunk?: number | null;
}

/** The files, with unified diffs of what was changed back; `undoId` is for `koda/rewind/undo`. */
export interface ChangesRevertResult {
  files: FileChange[];
  undoId: string;
}

/** Moves the head to a node: the next prompt continues from there. */
export interface CheckoutParams {
  sessionId: string;
  nodeId: string;
  /** Default: `"keep"`. */
  files?: "keep" | "restore";
  /** Default: `"refuse"`. */
  conflicts?: "keep" | "overwrite" | "refuse";
}

/** The head as it is now. */
export interface CheckoutResult {
  headId: string | null;
}

/** Replaces, for the model, the older part of the head's path by a summary. The tree keeps everything. */
export interface CompactParams {
  sessionId: string;
  /** What the summary should care about. */
  instructions?: string | null;
}

/** The compaction node, and the size of the window's content in tokens before and after. */
export interface CompactResult {
  nodeId: string;
  tokensBefore: number;
  tokensAfter: number;
}

/** The summary is the node `nodeId`; without one nothing was compacted. Sizes are in tokens. */
export interface CompactionEnded {
  type: "compaction.ended";
  sessionId: string;
  seq: number;
  turnId?: string;
  nodeId?: string;
  agent?: string;
  tokensBefore: number;
  tokensAfter: number;
}

/** The older part of the head's path is being summed up. */
export interface CompactionStarted {
  type: "compaction.started";
  sessionId: string;
  seq: number;
  turnId?: string;
  nodeId?: string;
  agent?: string;
  tokensBefore: number;
}

export type ContentBlock = TextBlock | ImageBlock | ResourceBlock;

/** Something left out of the window or shortened; `tokens` is what that saved. */
export interface ContextCut {
  nodeId?: string;
  reason: string;
  tokens: number;
}

/** Explains what the next request to the model would hold. */
export interface ContextParams {
  sessionId: string;
}

/** One part of the window, in order. */
export interface ContextPart {
  kind: "assistant" | "attachment" | "memory" | "summary" | "system" | "toolResult" | "tools" | "user";
  title: string;
  tokens: number;
  nodeId?: string;
}

/** The window. Sizes are in tokens; `estimated` when they are not the provider's own count. */
export interface ContextResult {
  model: string;
  contextWindow: number;
  tokens: number;
  estimated: boolean;
  parts: ContextPart[];
  cut: ContextCut[];
}

/** Money, in `currency`, of one or more answers. */
export interface Cost {
  input: number;
  output: number;
  cacheRead: number;
  cacheWrite: number;
  total: number;
  currency: string;
}

/** One day's sum. */
export interface DayUsage {
  day: string;
  usage: Usage;
}

/** Makes a report for a bug report, with secrets removed. */
export interface DiagnoseParams {
  sessionId?: string | null;
}

/** `report` is Markdown for people, `facts` the same as data. */
export interface DiagnoseResult {
  report: string;
  facts: { [key: string]: unknown };
}

/** A file was changed: in the editor's buffer (`version` is the new one) or on disk. */
export interface EditApplied {
  type: "edit.applied";
  sessionId: string;
  seq: number;
  turnId: string;
  nodeId?: string;
  agent?: string;
  callId: string;
  uri: string;
  diff: string;
  via: "disk" | "editor";
  version?: number;
}

/** A file was not changed, since it was changed meanwhile; `diff` is what was meant. */
export interface EditConflict {
  type: "edit.conflict";
  sessionId: string;
  seq: number;
  turnId: string;
  nodeId?: string;
  agent?: string;
  callId: string;
  uri: string;
  diff: string;
  via: "disk" | "editor";
  version?: number;
}

/** Done; there is nothing more to say. An object, so that fields may be added. */
export interface Empty {
}

/** A failure as data: the same as the error of an answer says. */
export interface ErrorData {
  kind: "auth.expired" | "auth.required" | "content.refused" | "context.overflow" | "cursor.expired" | "edit.conflict" | "internal" | "model.unknown" | "node.notFound" | "overload" | "params.invalid" | "permission.denied" | "provider.overloaded" | "provider.unreachable" | "quota.exhausted" | "rate.limited" | "sandbox.unavailable" | "session.locked" | "session.notFound" | "tool.failed" | "turn.busy" | "turn.notFound" | "version.unsupported";
  message: string;
  retryable: boolean;
  retryAfterMs?: number;
  userAction?: string;
  path?: string;
}

/** `error` of a JSON-RPC answer; `message` is one sentence for people, without secrets or tracebacks. */
export interface ErrorObject {
  code: number;
  message: string;
  data: ErrorObjectData;
}

/** `error.data` of every error that Koda answers with. */
export interface ErrorObjectData {
  kind: "auth.expired" | "auth.required" | "content.refused" | "context.overflow" | "cursor.expired" | "edit.conflict" | "internal" | "model.unknown" | "node.notFound" | "overload" | "params.invalid" | "permission.denied" | "provider.overloaded" | "provider.unreachable" | "quota.exhausted" | "rate.limited" | "sandbox.unavailable" | "session.locked" | "session.notFound" | "tool.failed" | "turn.busy" | "turn.notFound" | "version.unsupported";
  /** Whether the same request may succeed later. */
  retryable: boolean;
  retryAfterMs?: number;
  /** What the user can do about it, in a sentence. */
  userAction?: string;
  /** The file, or the JSON path of the wrong field (`$.sessionId`). */
  path?: string;
}

/** One file that changed, or would change. */
export interface FileChange {
  /** Relative to the session's `cwd`, with forward slashes. */
  path: string;
  uri: string;
  change: "created" | "deleted" | "modified";
  /** Unified; empty when `binary`. */
  diff: string;
  /** Default: `false`. */
  binary?: boolean;
  /** An editor holds the file open: it changes through `workspace/applyEdit`. Default: `false`. */
  buffer?: boolean;
  /** The user changed the file since by hand; it is not overwritten silently. Default: `false`. */
  conflict?: boolean;
}

/** The head is another node now; null: the very beginning. */
export interface HeadMoved {
  type: "head.moved";
  sessionId: string;
  seq: number;
  turnId?: string;
  nodeId?: string;
  agent?: string;
  headId: string | null;
}

/** An image: `data` is base64 without a `data:` prefix; else `uri` names a file. */
export interface ImageBlock {
  type: "image";
  mimeType: string;
  data?: string | null;
  uri?: string | null;
}

/** `capabilities.experimental.koda` of the client: its presence, `{}` is enough, opts in to koda/* traffic. */
export interface KodaClientCapabilities {
  /** Protocol versions that the client speaks, such as `1.0`; left out: any. */
  versions?: string[] | null;
  /**
   * How long events may be held back, so that pieces of text that come meanwhile are sent as one; left out: not at
   * all.
   */
  maxLatencyMs?: number | null;
  /** Unknown fields in the client's koda/* parameters are errors. For tests of clients. Default: `false`. */
  strict?: boolean;
}

export type KodaEvent = TurnStarted | TurnEnded | TurnSteered | TextDeltaEvent | ThinkingDeltaEvent | MessageEnded | MessageDiscarded | ToolProposed | ToolInputDelta | ToolStarted | ToolOutput | ToolEnded | EditApplied | EditConflict | Retry | UsageUpdated | Notice | ApprovalRequested | ApprovalResolved | QueueChanged | HeadMoved | BranchCreated | LabelChanged | SessionChanged | OptionChanged | CompactionStarted | CompactionEnded | SessionError;

/** `capabilities.experimental.koda` of the daemon's answer to `initialize`; always there. */
export interface KodaServerCapabilities {
  protocolVersion: string;
  /** The koda/* requests that this daemon answers. */
  methods: string[];
  /** The types of `koda/event` that this daemon may send. */
  events: string[];
  limits: Limits;
}

/** A node has another label now; null: none. */
export interface LabelChanged {
  type: "label.changed";
  sessionId: string;
  seq: number;
  turnId?: string;
  nodeId: string;
  agent?: string;
  label: string | null;
}

/** Labels a node, or with null (or nothing in it) takes its label away. */
export interface LabelParams {
  sessionId: string;
  nodeId: string;
  label: string | null;
}

/** The label as it is now. */
export interface LabelResult {
  label: string | null;
}

/** How the last turn ended. `error` is known as long as the daemon runs that told it. */
export interface LastTurn {
  turnId: string;
  /** As in `turn.ended`. */
  stopReason: string;
  error?: ErrorData;
}

/** Bounds of this daemon. */
export interface Limits {
  /** Size of the largest message body that is read. */
  maxMessageBytes: number;
  /** How many bytes may wait for a client that does not read before its sessions' turns wait for it. */
  outboxBytes: number;
}

/**
 * A turn that runs while a snapshot is taken.
 *
 * `events` are those of the turn that `nodes` does not tell yet, consecutive deltas merged: a client that handles them
 * like live ones stands where a client stands that never left. They all carry the snapshot's `seq`.
 */
export interface LiveTurn {
  turnId: string;
  events: KodaEvent[];
}

export type Message = UserMessage | AssistantMessage | ToolResultMessage;

/** A retry replaces what was streamed under this `nodeId`: drop it. */
export interface MessageDiscarded {
  type: "message.discarded";
  sessionId: string;
  seq: number;
  turnId: string;
  nodeId: string;
  agent?: string;
}

/** The whole assistant message, as stored: it replaces what was streamed under its `nodeId`. */
export interface MessageEnded {
  type: "message.ended";
  sessionId: string;
  seq: number;
  turnId: string;
  nodeId: string;
  agent?: string;
  message: AssistantMessage;
  usage: Usage;
}

/** One model. `id` (`provider/model`) is its name everywhere; sizes are in tokens. */
export interface ModelInfo {
  id: string;
  name: string;
  provider: string;
  contextWindow: number;
  maxOutput: number;
  /** What it reads: `text`, `image`, ... */
  modalities: string[];
  /** The efforts it knows; empty: it does not reason. */
  reasoning: ("high" | "low" | "max" | "medium" | "minimal" | "off" | "xhigh")[];
  tools: boolean;
  /** Left out when unknown. */
  prices?: Prices;
  /** Whether its provider has credentials. */
  available: boolean;
  /** False for a model that no table knows: its sizes are cautious guesses. Default: `true`. */
  known?: boolean;
}

/** Lists models; with `available` only those whose provider has credentials. */
export interface ModelListParams {
  provider?: string | null;
  available?: boolean | null;
}

/** The models. */
export interface ModelListResult {
  models: ModelInfo[];
}

/** One model's sum. */
export interface ModelUsage {
  model: string;
  usage: Usage;
}

/**
 * One entry of the tree. `parentId` is null for a root.
 *
 * `summary` belongs to branchSummary, compaction and note; a compaction replaces, for the model, everything on its
 * path before `firstKeptId` (null: keep nothing before it).
 */
export interface Node {
  id: string;
  parentId: string | null;
  kind: "assistant" | "branchSummary" | "compaction" | "note" | "toolResult" | "user";
  createdAt: string;
  turnId?: string;
  label?: string;
  message?: Message;
  summary?: string;
  firstKeptId?: string;
  details?: { [key: string]: unknown };
}

/** Something that a person may want to know. */
export interface Notice {
  type: "notice";
  sessionId: string;
  seq: number;
  turnId?: string;
  nodeId?: string;
  agent?: string;
  level: "error" | "info" | "warning";
  message: string;
}

/** An option of the session, as it is now. */
export interface OptionChanged {
  type: "option.changed";
  sessionId: string;
  seq: number;
  turnId?: string;
  nodeId?: string;
  agent?: string;
  name: string;
  value: unknown;
}

/** One option and its value. */
export interface OptionInfo {
  name: string;
  value: unknown;
  description: string;
  /** The values to choose from; left out: free. */
  choices?: unknown[];
}

/** Lists the options of a session, or without one those that new sessions start with. */
export interface OptionListParams {
  sessionId?: string | null;
}

/** The options. */
export interface OptionListResult {
  options: OptionInfo[];
}

/** Sets an option of a session, or without one what new sessions start with. Null brings the default back. */
export interface OptionSetParams {
  sessionId?: string | null;
  name: string;
  value: unknown;
}

/** The option as it is now; all clients of the session get `option.changed`. */
export interface OptionSetResult {
  name: string;
  value: unknown;
}

/**
 * Where a session comes from that is a branch of another, with a folder of its own (its `cwd`).
 *
 * `workspace` is the folder of that other session, `fromId` the node that the branch grew from.
 */
export interface Origin {
  sessionId: string;
  branchId: string;
  fromId: string | null;
  workspace: string;
}

/** Stores a rule. The scopes `session` and `workspace` need a session. */
export interface PermissionGrantParams {
  sessionId?: string | null;
  tool: string;
  pattern: string;
  /** Default: `"allow"`. */
  decision?: "allow" | "ask" | "deny";
  scope: "session" | "user" | "workspace";
  expiresAt?: string | null;
}

/** The rule as stored. */
export interface PermissionGrantResult {
  rule: PermissionRule;
}

/** Lists the stored rules that hold for a session, or with none given those of the user. */
export interface PermissionListParams {
  sessionId?: string | null;
}

/** The rules. */
export interface PermissionListResult {
  rules: PermissionRule[];
}

/** Removes stored rules: those of `tool` and `pattern`, in all scopes unless one is named. */
export interface PermissionRevokeParams {
  sessionId?: string | null;
  tool: string;
  pattern: string;
  scope?: "session" | "user" | "workspace" | null;
}

/** How many rules were removed. */
export interface PermissionRevokeResult {
  revoked: number;
}

/** A stored decision. `pattern` is matched against what the tool would touch; `expiresAt` is ISO 8601. */
export interface PermissionRule {
  tool: string;
  pattern: string;
  decision: "allow" | "ask" | "deny";
  scope: "session" | "turn" | "user" | "workspace";
  expiresAt?: string;
}

/** Zero-based line and character, as in LSP (characters in the negotiated position encoding). */
export interface Position {
  line: number;
  character: number;
}

/** The prices of a whole request whose input, cached or not, is longer than `above` tokens. */
export interface PriceTier {
  above: number;
  input: number;
  output: number;
  cacheRead: number;
  cacheWrite: number;
  cacheWrite1h?: number;
}

/**
 * US dollars for a million tokens. A cache price of 0 is not known: the price of plain input is taken.
 *
 * `cacheWrite` is for an entry that lives five minutes, `cache_write_1h` for an hour; left out: the same.
 */
export interface Prices {
  input: number;
  output: number;
  cacheRead: number;
  cacheWrite: number;
  cacheWrite1h?: number;
  tiers?: PriceTier[];
}

/** With `wait`: the turn has ended, and all its events were sent before this. `text` is the last answer's. */
export interface PromptEnded {
  status: "ended";
  turnId: string;
  stopReason: "cancelled" | "end" | "error" | "length" | "maxIterations" | "refusal";
  text: string;
  usage: Usage;
  error?: ErrorData;
}

/** Says something to the agent. Answered as soon as the prompt is stored, with `wait` when its turn has ended. */
export interface PromptParams {
  sessionId: string;
  content: string | ContentBlock[];
  /**
   * While a turn runs: `auto` and `queue` wait for its end, `steer` enters it after the tools that run, `reject` is
   * the error `turn.busy`. When no turn runs, each of them starts one. Default: `"auto"`.
   */
  delivery?: "auto" | "queue" | "reject" | "steer";
  /** For this turn only; left out: the session's. */
  model?: string | null;
  /** For this turn only, over the session's. */
  options?: { [key: string]: unknown } | null;
  /** Default: `false`. */
  wait?: boolean;
  /**
   * Made by the client, different for every prompt: sent again (after a lost answer), the prompt is not taken twice,
   * the first answer is given again.
   */
  clientRequestId?: string | null;
}

/** The prompt is stored. `turnId`: the turn it started, will start (`queued`) or has entered (`steered`). */
export interface PromptStarted {
  turnId: string;
  status: "queued" | "started" | "steered";
}

/** The agent asks the user something. */
export interface QuestionAskParams {
  sessionId: string;
  turnId: string;
  callId: string;
  question: string;
  options: QuestionOption[];
  /** Whether several options may be chosen. Default: `false`. */
  multiple?: boolean;
  /** Whether an own text may be given. Default: `false`. */
  freeText?: boolean;
}

/** The user's answer. A null answer, an error or a lost client means: no answer. */
export interface QuestionAskResult {
  /** Default: `[]`. */
  optionIds?: string[];
  text?: string | null;
}

/** One of the offered answers. */
export interface QuestionOption {
  id: string;
  label: string;
  description?: string;
}

/** The prompts that wait, next first. */
export interface QueueChanged {
  type: "queue.changed";
  sessionId: string;
  seq: number;
  turnId?: string;
  nodeId?: string;
  agent?: string;
  queue: QueuedPrompt[];
}

/** Lists the prompts that wait for the running turn to end, next first. */
export interface QueueListParams {
  sessionId: string;
}

/** Takes a waiting prompt out of the queue. */
export interface QueueRemoveParams {
  sessionId: string;
  turnId: string;
}

/** Puts the waiting prompts into the order of `turnIds`, which names each of them once. */
export interface QueueReorderParams {
  sessionId: string;
  turnIds: string[];
}

/** The queue as it is now. */
export interface QueueResult {
  queue: QueuedPrompt[];
}

/** Changes a waiting prompt, named by the turn it will start. What is left out stays. */
export interface QueueUpdateParams {
  sessionId: string;
  turnId: string;
  content?: string | ContentBlock[] | null;
  model?: string | null;
  options?: { [key: string]: unknown } | null;
}

/**
 * A prompt that waits: for the running turn to end (`queue`) or for its tools to end (`steer`).
 *
 * `turnId` is the turn it will start; a steering prompt that comes too late starts that turn as well.
 */
export interface QueuedPrompt {
  turnId: string;
  content: ContentBlock[];
  createdAt: string;
  model?: string;
  options?: { [key: string]: unknown };
  /** Default: `"queue"`. */
  delivery?: "queue" | "steer";
}

/** A half-open range, as in LSP. */
export interface Range {
  start: Position;
  end: Position;
}

/** A file (or a part of it) that the user refers to. */
export interface ResourceBlock {
  type: "resource";
  uri: string;
  range?: Range | null;
}

/** An attempt failed; the next one starts after `delayMs`. */
export interface Retry {
  type: "retry";
  sessionId: string;
  seq: number;
  turnId: string;
  nodeId?: string;
  agent?: string;
  attempt: number;
  maxAttempts: number;
  delayMs: number;
  reason: string;
}

/** Rewinds. */
export interface RewindApplyParams {
  sessionId: string;
  toId: string | null;
  /**
   * Files that the user changed since by hand: refuse the whole rewind (the error `edit.conflict`), keep them as they
   * are, or overwrite them (undo brings them back). Default: `"refuse"`.
   */
  conflicts?: "keep" | "overwrite" | "refuse";
}

/** Done; `undoId` is for `koda/rewind/undo`. */
export interface RewindApplyResult {
  undoId: string;
  headId: string | null;
}

/** Shows what a rewind would do; changes nothing. */
export interface RewindPreviewParams {
  sessionId: string;
  /** The node that becomes the head; null: the very beginning. */
  toId: string | null;
}

/** Files and open buffers that would change, and nodes that would leave the head's path (the tree keeps them). */
export interface RewindPreviewResult {
  files: FileChange[];
  nodes: TreeNode[];
  /** Files that are not recorded (too large, or not to be read) and stay as they are. Default: `[]`. */
  leftOut?: string[];
}

/** Takes a rewind back, byte for byte (or whatever else gave an `undoId`). */
export interface RewindUndoParams {
  undoId: string;
  /** Files that the user changed since then, as for `koda/rewind/apply`. Default: `"refuse"`. */
  conflicts?: "keep" | "overwrite" | "refuse";
}

/** The head as it was before the rewind. */
export interface RewindUndoResult {
  sessionId: string;
  headId: string | null;
}

/** Gives the schema of this protocol: the content of `koda.schema.json`. */
export interface SchemaParams {
}

/** A node whose text matches; `snippet` marks the match with `**`. */
export interface SearchHit {
  sessionId: string;
  nodeId: string;
  snippet: string;
  createdAt: string;
}

/** The session's title, model or other facts, as they are now. */
export interface SessionChanged {
  type: "session.changed";
  sessionId: string;
  seq: number;
  turnId?: string;
  nodeId?: string;
  agent?: string;
  session: SessionInfo;
}

/** Ends this client's subscription. The session stays, and so does a running turn. */
export interface SessionCloseParams {
  sessionId: string;
}

/** Deletes a session with its whole tree, for good. A running turn is cancelled first. */
export interface SessionDeleteParams {
  sessionId: string;
}

/** Something failed outside of a turn. */
export interface SessionError {
  type: "error";
  sessionId: string;
  seq: number;
  turnId?: string;
  nodeId?: string;
  agent?: string;
  error: ErrorData;
}

/** Writes a session out: `jsonl` is lossless, `markdown` and `html` are for people. */
export interface SessionExportParams {
  sessionId: string;
  format: "html" | "jsonl" | "markdown";
  /** Absolute path of the file to write; left out: the text is in the answer. */
  path?: string | null;
}

/** The file written, or the text. */
export interface SessionExportResult {
  path?: string;
  content?: string;
}

/** Reads a session from a file: Koda's own JSONL, or that of Pi (v1 to v3). */
export interface SessionImportParams {
  path: string;
}

/** The session made; `warnings` says what was repaired. */
export interface SessionImportResult {
  sessionId: string;
  nodeCount: number;
  /** Default: `[]`. */
  warnings?: string[];
}

/**
 * A session without its tree. `options` are those set for this session (`koda/option/set`); `checkpoint` names the
 * state of the workspace's files that the session last saw (opaque; null: it never looked).
 */
export interface SessionInfo {
  id: string;
  cwd: string;
  title: string | null;
  model: string;
  headId: string | null;
  createdAt: string;
  updatedAt: string;
  options: { [key: string]: unknown };
  checkpoint?: string;
  origin?: Origin;
}

/**
 * The session went on without this client, which was too far behind, and its subscription has ended.
 *
 * Opening the session again (`since`: `seq`) brings the client up to date.
 */
export interface SessionLagged {
  sessionId: string;
  /** The number of the last event that was sent. */
  seq: number;
}

/** Lists sessions, last changed first; with `cwd` those of that workspace folder only. */
export interface SessionListParams {
  cwd?: string | null;
  cursor?: string | null;
  /** Default: `50`. */
  limit?: number;
}

/** A page of sessions; with `cursor` when there are more. */
export interface SessionListResult {
  sessions: SessionInfo[];
  cursor?: string;
}

/** Makes a session and subscribes this client to its events. */
export interface SessionNewParams {
  /** Absolute path of the workspace folder; left out: the client's first workspace folder. */
  cwd?: string | null;
  /** `provider/model`; left out: the default of the settings. */
  model?: string | null;
  title?: string | null;
  options?: { [key: string]: unknown } | null;
}

/** The new session. Its tree is empty, so `headId` is null; the first event has the number after `seq`. */
export interface SessionNewResult {
  sessionId: string;
  headId: string | null;
  model: string;
  seq: number;
}

/** Gives older nodes of the head's path (`cursor`), or those named by `ids`, whole, oldest first. */
export interface SessionNodesParams {
  sessionId: string;
  cursor?: string | null;
  /** Default: `200`. */
  limit?: number;
  ids?: string[] | null;
}

/** Whole nodes; with `cursor` when there are older ones. */
export interface SessionNodesResult {
  nodes: Node[];
  cursor?: string;
}

/** Shows a session and subscribes this client to its events. */
export interface SessionOpenParams {
  sessionId: string;
  /** The `seq` of the last event that the client has handled. */
  since?: number | null;
  /** How many nodes to show at most. Default: `200`. */
  limit?: number;
}

/**
 * Either a snapshot (`nodes`) or, after `since`, exactly the events missed (`events`, then no nodes).
 *
 * `nodes` are the newest of the head's path, whole, oldest first. The next event has the number after `seq`.
 */
export interface SessionOpenResult {
  session: SessionInfo;
  headId: string | null;
  seq: number;
  nodes: Node[];
  /** Leads to older nodes (`koda/session/nodes`); left out at the beginning of the path. */
  cursor?: string;
  liveTurn?: LiveTurn;
  /** Left out while a turn runs, and before the first one. */
  lastTurn?: LastTurn;
  pendingApprovals: ApprovalRequested[];
  events?: KodaEvent[];
}

/** Gives a session a title. */
export interface SessionRenameParams {
  sessionId: string;
  title: string;
}

/** The session as it is now; all its clients get `session.changed`. */
export interface SessionRenameResult {
  session: SessionInfo;
}

/** Finds nodes with all words of `query`, newest first: "quoted words" as a phrase, the last as a beginning. */
export interface SessionSearchParams {
  query: string;
  cwd?: string | null;
  /** Default: `50`. */
  limit?: number;
}

/** The nodes found. */
export interface SessionSearchResult {
  hits: SearchHit[];
}

/** One session's sum. */
export interface SessionUsage {
  sessionId: string;
  usage: Usage;
}

/** Text. `signature` is opaque provider data, sent back to the same provider only. */
export interface TextBlock {
  type: "text";
  text: string;
  signature?: string | null;
}

/** A piece of the answer's text, to be appended. Provisional until `message.ended`. */
export interface TextDeltaEvent {
  type: "text.delta";
  sessionId: string;
  seq: number;
  turnId: string;
  nodeId: string;
  agent?: string;
  offset: number;
  text: string;
}

/** Reasoning. `signature` (or encrypted content, then `redacted`) goes back to the same provider unchanged. */
export interface ThinkingBlock {
  type: "thinking";
  text: string;
  signature?: string;
  /** Default: `false`. */
  redacted?: boolean;
}

/** A piece of the answer's reasoning, to be appended. Provisional until `message.ended`. */
export interface ThinkingDeltaEvent {
  type: "thinking.delta";
  sessionId: string;
  seq: number;
  turnId: string;
  nodeId: string;
  agent?: string;
  offset: number;
  text: string;
}

/**
 * A tool call of the model.
 *
 * `argumentsError` is set when the streamed arguments were not a JSON object; such a call is never run. `signature` is
 * opaque provider data (Gemini thought signatures), sent back to the same provider only.
 */
export interface ToolCall {
  type: "toolCall";
  callId: string;
  tool: string;
  arguments: { [key: string]: unknown };
  argumentsError?: string;
  signature?: string;
}

/** Cancels one running tool call; the turn goes on with the result `cancelled`. */
export interface ToolCancelParams {
  sessionId: string;
  callId: string;
}

/** `cancelled` is false when no such call was running. */
export interface ToolCancelResult {
  cancelled: boolean;
}

/** A tool call has its result, stored as the node `nodeId`. */
export interface ToolEnded {
  type: "tool.ended";
  sessionId: string;
  seq: number;
  turnId: string;
  nodeId: string;
  agent?: string;
  callId: string;
  tool: string;
  status: "cancelled" | "denied" | "error" | "ok";
  content: ContentBlock[];
  details?: { [key: string]: unknown };
  diff?: string;
  durationMs: number;
}

/** A piece of the JSON text of a call's arguments, to be appended. Provisional. */
export interface ToolInputDelta {
  type: "tool.inputDelta";
  sessionId: string;
  seq: number;
  turnId: string;
  nodeId: string;
  agent?: string;
  callId: string;
  offset: number;
  text: string;
}

/** Lists the tools that the model sees (of a session, when one is named). */
export interface ToolListParams {
  sessionId?: string | null;
}

/** The tools, each with the JSON Schema of its arguments. */
export interface ToolListResult {
  tools: ToolSpec[];
}

/** A piece of what a running tool prints, to be appended. */
export interface ToolOutput {
  type: "tool.output";
  sessionId: string;
  seq: number;
  turnId: string;
  nodeId?: string;
  agent?: string;
  callId: string;
  offset: number;
  text: string;
}

/** The model begins to write a tool call; its arguments follow. */
export interface ToolProposed {
  type: "tool.proposed";
  sessionId: string;
  seq: number;
  turnId: string;
  nodeId: string;
  agent?: string;
  callId: string;
  tool: string;
}

/** The answer to one tool call, as the model sees it. `details` is for clients only. */
export interface ToolResultMessage {
  role: "toolResult";
  callId: string;
  tool: string;
  status: "cancelled" | "denied" | "error" | "ok";
  content: ContentBlock[];
  details?: { [key: string]: unknown };
}

/** A tool as the model is told of it; `parameters` is a JSON Schema (draft 2020-12) of an object. */
export interface ToolSpec {
  name: string;
  description: string;
  parameters: { [key: string]: unknown };
}

/** A tool runs, with these arguments. */
export interface ToolStarted {
  type: "tool.started";
  sessionId: string;
  seq: number;
  turnId: string;
  nodeId?: string;
  agent?: string;
  callId: string;
  tool: string;
  arguments: { [key: string]: unknown };
}

/** A node without its content, for drawing the tree; `preview` is one line of at most 120 characters. */
export interface TreeNode {
  id: string;
  parentId: string | null;
  kind: "assistant" | "branchSummary" | "compaction" | "note" | "toolResult" | "user";
  preview: string;
  createdAt: string;
  label?: string;
  turnId?: string;
  usage?: Usage;
}

/** Gives the tree for drawing, parents before children; with `aroundId` only what is near that node. */
export interface TreeParams {
  sessionId: string;
  aroundId?: string | null;
  /** How many steps up and down from `aroundId` (else: down from the roots); left out: all. */
  depth?: number | null;
}

/** Nodes without their content. `headId` is null before the first prompt. */
export interface TreeResult {
  headId: string | null;
  nodes: TreeNode[];
  /** The branches that were made with `koda/branch`, oldest first. Default: `[]`. */
  branches?: BranchInfo[];
}

/** Cancels the running turn (only if it is `turnId`, when given). What was streamed is kept as a node. */
export interface TurnCancelParams {
  sessionId: string;
  turnId?: string | null;
}

/** `cancelled` is false when no such turn was running. */
export interface TurnCancelResult {
  cancelled: boolean;
}

/** Lets the agent go on from the head without new text: after `length`, `maxIterations`, an error, a cancel. */
export interface TurnContinueParams {
  sessionId: string;
  model?: string | null;
  options?: { [key: string]: unknown } | null;
  /** Default: `false`. */
  wait?: boolean;
}

/** A turn has ended; nothing of this turn follows. `usage` is the sum of its answers. */
export interface TurnEnded {
  type: "turn.ended";
  sessionId: string;
  seq: number;
  turnId: string;
  nodeId?: string;
  agent?: string;
  stopReason: "cancelled" | "end" | "error" | "length" | "maxIterations" | "refusal";
  usage: Usage;
  error?: ErrorData;
}

/** Runs the last turn again from the same parent: a sibling branch, the first answer stays in the tree. */
export interface TurnRetryParams {
  sessionId: string;
  model?: string | null;
  options?: { [key: string]: unknown } | null;
  /** Default: `false`. */
  wait?: boolean;
}

/** A turn has begun with the node `nodeId`, whose text is `prompt`; without one it goes on. */
export interface TurnStarted {
  type: "turn.started";
  sessionId: string;
  seq: number;
  turnId: string;
  nodeId?: string;
  agent?: string;
  model: string;
  prompt: string;
  /** The prompt's blocks, when it is more than text. */
  content?: ContentBlock[];
}

/** A prompt has entered the running turn as the user node `nodeId`. */
export interface TurnSteered {
  type: "turn.steered";
  sessionId: string;
  seq: number;
  turnId: string;
  nodeId: string;
  agent?: string;
  prompt: string;
}

/** Tokens. `input` never includes cache reads or writes; `output` includes `reasoning`. */
export interface Usage {
  input: number;
  output: number;
  cacheRead: number;
  cacheWrite: number;
  reasoning: number;
  cost: Cost;
}

/** Sums tokens and cost, of one session or of all; days are UTC dates (`2026-01-31`), both inclusive. */
export interface UsageParams {
  sessionId?: string | null;
  fromDay?: string | null;
  toDay?: string | null;
}

/** The sum, and the same sum by session, by day and by model. */
export interface UsageResult {
  total: Usage;
  sessions: SessionUsage[];
  days: DayUsage[];
  models: ModelUsage[];
}

/** The tokens of the last answer, its cost in US dollars, and how full the window is. */
export interface UsageUpdated {
  type: "usage";
  sessionId: string;
  seq: number;
  turnId: string;
  nodeId?: string;
  agent?: string;
  input: number;
  output: number;
  cacheRead: number;
  cacheWrite: number;
  reasoning: number;
  cost: number;
  contextTokens: number;
  contextWindow: number;
}

/** What a user (or a steering client) said. */
export interface UserMessage {
  role: "user";
  content: ContentBlock[];
}

/** Requests that the client sends: method to `params` and `result`. */
export interface KodaRequests {
  "koda/session/new": { params: SessionNewParams; result: SessionNewResult };
  "koda/session/open": { params: SessionOpenParams; result: SessionOpenResult };
  "koda/session/nodes": { params: SessionNodesParams; result: SessionNodesResult };
  "koda/session/list": { params: SessionListParams; result: SessionListResult };
  "koda/session/search": { params: SessionSearchParams; result: SessionSearchResult };
  "koda/session/rename": { params: SessionRenameParams; result: SessionRenameResult };
  "koda/session/delete": { params: SessionDeleteParams; result: Empty };
  "koda/session/export": { params: SessionExportParams; result: SessionExportResult };
  "koda/session/import": { params: SessionImportParams; result: SessionImportResult };
  "koda/session/close": { params: SessionCloseParams; result: Empty };
  "koda/prompt": { params: PromptParams; result: PromptStarted | PromptEnded };
  "koda/turn/cancel": { params: TurnCancelParams; result: TurnCancelResult };
  "koda/turn/retry": { params: TurnRetryParams; result: PromptStarted | PromptEnded };
  "koda/turn/continue": { params: TurnContinueParams; result: PromptStarted | PromptEnded };
  "koda/tool/cancel": { params: ToolCancelParams; result: ToolCancelResult };
  "koda/queue/list": { params: QueueListParams; result: QueueResult };
  "koda/queue/update": { params: QueueUpdateParams; result: QueueResult };
  "koda/queue/remove": { params: QueueRemoveParams; result: QueueResult };
  "koda/queue/reorder": { params: QueueReorderParams; result: QueueResult };
  "koda/tree": { params: TreeParams; result: TreeResult };
  "koda/branch": { params: BranchParams; result: BranchResult };
  "koda/branch/compare": { params: BranchCompareParams; result: BranchCompareResult };
  "koda/branch/apply": { params: BranchApplyParams; result: BranchApplyResult };
  "koda/branch/remove": { params: BranchRemoveParams; result: Empty };
  "koda/checkout": { params: CheckoutParams; result: CheckoutResult };
  "koda/label": { params: LabelParams; result: LabelResult };
  "koda/rewind/preview": { params: RewindPreviewParams; result: RewindPreviewResult };
  "koda/rewind/apply": { params: RewindApplyParams; result: RewindApplyResult };
  "koda/rewind/undo": { params: RewindUndoParams; result: RewindUndoResult };
  "koda/compact": { params: CompactParams; result: CompactResult };
  "koda/context": { params: ContextParams; result: ContextResult };
  "koda/changes": { params: ChangesParams; result: ChangesResult };
  "koda/changes/revert": { params: ChangesRevertParams; result: ChangesRevertResult };
  "koda/approval/answer": { params: ApprovalAnswerParams; result: ApprovalAnswerResult };
  "koda/approval/list": { params: ApprovalListParams; result: ApprovalListResult };
  "koda/permission/list": { params: PermissionListParams; result: PermissionListResult };
  "koda/permission/grant": { params: PermissionGrantParams; result: PermissionGrantResult };
  "koda/permission/revoke": { params: PermissionRevokeParams; result: PermissionRevokeResult };
  "koda/model/list": { params: ModelListParams; result: ModelListResult };
  "koda/option/list": { params: OptionListParams; result: OptionListResult };
  "koda/option/set": { params: OptionSetParams; result: OptionSetResult };
  "koda/auth/status": { params: AuthStatusParams; result: AuthStatusResult };
  "koda/auth/login": { params: AuthLoginParams; result: AuthLoginResult };
  "koda/auth/logout": { params: AuthLogoutParams; result: AuthLogoutResult };
  "koda/usage": { params: UsageParams; result: UsageResult };
  "koda/tool/list": { params: ToolListParams; result: ToolListResult };
  "koda/schema": { params: SchemaParams; result: { [key: string]: unknown } };
  "koda/diagnose": { params: DiagnoseParams; result: DiagnoseResult };
}

/** Requests that the daemon sends, to clients that opted in. */
export interface KodaClientRequests {
  "koda/approval/request": { params: ApprovalRequested; result: ApprovalRequestResult | null };
  "koda/question/ask": { params: QuestionAskParams; result: QuestionAskResult | null };
}

/** Notifications that the daemon sends. */
export interface KodaNotifications {
  "koda/event": KodaEvent;
  "koda/session/lagged": SessionLagged;
  "koda/auth/changed": AuthChanged;
}

/** Events by type. Ignore types that you do not know. */
export interface KodaEvents {
  "turn.started": TurnStarted;
  "turn.ended": TurnEnded;
  "turn.steered": TurnSteered;
  "text.delta": TextDeltaEvent;
  "thinking.delta": ThinkingDeltaEvent;
  "message.ended": MessageEnded;
  "message.discarded": MessageDiscarded;
  "tool.proposed": ToolProposed;
  "tool.inputDelta": ToolInputDelta;
  "tool.started": ToolStarted;
  "tool.output": ToolOutput;
  "tool.ended": ToolEnded;
  "edit.applied": EditApplied;
  "edit.conflict": EditConflict;
  "retry": Retry;
  "usage": UsageUpdated;
  "notice": Notice;
  "approval.requested": ApprovalRequested;
  "approval.resolved": ApprovalResolved;
  "queue.changed": QueueChanged;
  "head.moved": HeadMoved;
  "branch.created": BranchCreated;
  "label.changed": LabelChanged;
  "session.changed": SessionChanged;
  "option.changed": OptionChanged;
  "compaction.started": CompactionStarted;
  "compaction.ended": CompactionEnded;
  "error": SessionError;
}

/** The code of each kind of error. */
export interface KodaErrorCodes {
  "auth.required": -31001;
  "auth.expired": -31002;
  "quota.exhausted": -31003;
  "rate.limited": -31004;
  "provider.overloaded": -31005;
  "provider.unreachable": -31006;
  "model.unknown": -31007;
  "context.overflow": -31008;
  "content.refused": -31009;
  "session.notFound": -31020;
  "session.locked": -31021;
  "turn.busy": -31022;
  "turn.notFound": -31023;
  "node.notFound": -31024;
  "edit.conflict": -31030;
  "tool.failed": -31031;
  "permission.denied": -31032;
  "sandbox.unavailable": -31033;
  "overload": -31040;
  "version.unsupported": -31041;
  "cursor.expired": -31042;
  "internal": -31099;
  "params.invalid": -32602;
}

export type KodaEventType = keyof KodaEvents;

export type KodaErrorKind = keyof KodaErrorCodes;
