-- From the protocol's nodes and events to blocks of a view. Live events and a snapshot lead to the same picture.

local calls = require("koda.calls")
local config = require("koda.config")
local render = require("koda.render")
local util = require("koda.util")

local M = {}
M.__index = M

function M.new(view)
  local self = setmetatable({ view = view }, M)
  self:reset()
  return self
end

function M:reset()
  self.view:clear()
  -- By node id: how much of the text and the thinking of an answer was seen, and its blocks.
  self.messages = {}
  self.calls = calls.new(self.view)
  -- By call id.
  self.approvals = {}
  -- Ids of the prompts that are shown.
  self.prompts = {}
  -- The newest node that is whole, and by the last node of each turn the block where that turn ends.
  self.newest = nil
  self.turn_ends = {}
end

--- Takes back what is shown after a turn, named by its last node (nil: everything). Gives false when it is not shown.
function M:rewind(node_id)
  local block = self.turn_ends[node_id or ""]
  if node_id == nil then
    block = self.view.blocks[1]
  end
  if not block or not self.view:truncate(block) then
    return false
  end
  self.newest = node_id
  return true
end

local function text_of(content)
  local texts = {}
  for _, block in ipairs(content) do
    if block.type == "text" then
      texts[#texts + 1] = block.text
    end
  end
  return texts
end

-- prompts

local function show_prompt(self, node_id, text, blocks, steered)
  if self.prompts[node_id or ""] then
    return
  end
  if node_id then
    self.prompts[node_id] = true
  end
  self.view:add(render.user(text, blocks, steered))
  self.newest = node_id
end

-- answers

local function message_of(self, node_id)
  local message = self.messages[node_id]
  if not message then
    message = { units = { text = 0, thinking = 0 }, parts = {}, blocks = {} }
    self.messages[node_id] = message
  end
  return message
end

local function close(self, message)
  local open = message.open
  message.open, message.ends = nil, nil
  if open and open.kind == "thinking" and config.values.thinking == "fold" then
    self.view:fold(open)
  end
end

local function append(self, message, kind, text)
  if kind == "thinking" and config.values.thinking == "hide" then
    return
  end
  if not message.open or message.open.kind ~= kind then
    close(self, message)
    local block = self.view:add(render.stream(kind))
    block.kind = kind
    if kind == "thinking" then
      block.prefix, block.group = "> ", "KodaThinking"
    end
    message.open = block
    table.insert(message.blocks, block)
  end
  -- Line ends are held back until something follows them, so that no empty lines stand before the next block.
  text = (message.ends or "") .. util.plain(text)
  message.ends = text:match("\n*$")
  self.view:append(message.open, text:sub(1, #text - #message.ends))
end

--- Gives false when something before this piece was lost.
local function delta(kind)
  return function(self, event)
    local message = message_of(self, event.nodeId)
    if event.offset ~= message.units[kind] then
      return false
    end
    message.units[kind] = event.offset + util.utf16_length(event.text)
    if kind == "text" then
      table.insert(message.parts, event.text)
    end
    append(self, message, kind, event.text)
  end
end

local function forget(self, node_id)
  local message = self.messages[node_id]
  for _, block in ipairs(message and message.blocks or {}) do
    self.view:remove(block)
  end
  self.calls:forget(node_id)
  self.messages[node_id] = nil
end

-- nodes

local function show_answer(self, node_id, message)
  local state = message_of(self, node_id)
  for _, block in ipairs(message.content) do
    if block.type == "text" or (block.type == "thinking" and block.text ~= "") then
      append(self, state, block.type, block.text)
    elseif block.type == "toolCall" then
      close(self, state)
      self.calls:called(block, node_id)
    end
  end
  close(self, state)
  self.messages[node_id] = { blocks = state.blocks, units = {}, parts = {}, ended = true }
  if message.stopReason == "error" and message.error then
    self.view:add(render.note("✗ " .. message.error, "KodaError"))
  end
  self.newest = node_id
end

local function add_usage(sum, usage)
  if not usage then
    return sum
  end
  sum = sum or { input = 0, output = 0, cacheRead = 0, cacheWrite = 0, cost = { total = 0 } }
  for _, name in ipairs({ "input", "output", "cacheRead", "cacheWrite" }) do
    sum[name] = sum[name] + (usage[name] or 0)
  end
  sum.cost.total = sum.cost.total + (usage.cost and usage.cost.total or 0)
  return sum
end

local function finish(self, stop_reason, usage)
  local content = render.finish(stop_reason, usage)
  if content then
    self.view:add(content)
  end
  if self.newest then
    self.turn_ends[self.newest] = self.view:last()
  end
end

local turn_ends = { cancelled = true, error = true, length = true, refusal = true }

--- Shows the nodes of a path. `live`: the id of the turn that is still running; `cut`: older nodes were left out.
function M:snapshot(session, nodes, live, cut)
  self:reset()
  self.view:add(render.title(session.title or session.id))
  if cut then
    self.view:add(render.note("… what came before is not shown here; the agent still knows it"))
  end
  local turn, headed, usage, stop
  local function end_turn()
    if headed and turn ~= live then
      finish(self, stop, usage)
    end
    headed, usage, stop = false, nil, nil
  end
  local function head(model)
    if not headed then
      headed = true
      self.view:add(render.agent(model))
    end
  end
  for _, node in ipairs(nodes) do
    local message = node.message
    if node.turnId ~= turn then
      end_turn()
      turn = node.turnId
    end
    if node.kind == "user" then
      local blocks = vim.tbl_filter(function(block)
        return block.type ~= "text"
      end, message.content)
      show_prompt(self, node.id, table.concat(text_of(message.content), "\n"), blocks, headed)
    elseif node.kind == "assistant" then
      head(message.model)
      show_answer(self, node.id, message)
      usage = add_usage(usage, message.usage)
      stop = turn_ends[message.stopReason] and message.stopReason or nil
    elseif node.kind == "toolResult" then
      self.calls:result(message)
      self.newest = node.id
    elseif node.summary then
      self.view:add(render.note("— " .. node.kind .. ": " .. node.summary))
      self.newest = node.id
    end
  end
  if live and turn == live then
    head(session.model)
  end
  end_turn()
end

-- events

local handlers = {
  ["text.delta"] = delta("text"),
  ["thinking.delta"] = delta("thinking"),
}

handlers["turn.started"] = function(self, event)
  local blocks = self.outgoing and self.outgoing[event.prompt]
  if blocks then
    self.outgoing[event.prompt] = nil
  end
  if event.nodeId then
    show_prompt(self, event.nodeId, event.prompt, blocks)
  end
  self.view:add(render.agent(event.model))
end

handlers["turn.steered"] = function(self, event)
  show_prompt(self, event.nodeId, event.prompt, nil, true)
end

handlers["turn.ended"] = function(self, event)
  for _, message in pairs(self.messages) do
    close(self, message)
  end
  if event.error then
    self.view:add(render.note("✗ " .. util.error_text(event.error), "KodaError"))
  end
  finish(self, event.stopReason, event.usage)
end

handlers["message.ended"] = function(self, event)
  local message = self.messages[event.nodeId]
  if not message or message.ended then
    if not message then
      show_answer(self, event.nodeId, event.message)
    end
    return
  end
  if table.concat(message.parts) ~= table.concat(text_of(event.message.content)) then
    return false -- what is stored is not what was streamed: show what is stored
  end
  close(self, message)
  self.messages[event.nodeId] = { blocks = message.blocks, units = {}, parts = {}, ended = true }
  for _, block in ipairs(event.message.content) do
    if block.type == "toolCall" then
      self.calls:called(block, event.nodeId)
    end
  end
  self.newest = event.nodeId
end

handlers["message.discarded"] = function(self, event)
  forget(self, event.nodeId)
end

for kind, handler in pairs(calls.handlers) do
  handlers[kind] = function(self, event)
    return handler(self.calls, event)
  end
end

handlers["tool.ended"] = function(self, event)
  calls.handlers["tool.ended"](self.calls, event)
  self.newest = event.nodeId
end

handlers["tool.proposed"] = function(self, event)
  local message = self.messages[event.nodeId]
  if message then
    close(self, message)
  end
  calls.handlers["tool.proposed"](self.calls, event)
end

handlers["approval.requested"] = function(self, event)
  self:approval(event)
end

--- Shows a question; a question that is shown already stays one.
function M:approval(request)
  if not self.approvals[request.callId] then
    local block = self.view:add(render.approval(request))
    self.approvals[request.callId] = { request = request, block = block }
  end
end

handlers["approval.resolved"] = function(self, event)
  local shown = self.approvals[event.callId]
  if not shown then
    return
  end
  self.approvals[event.callId] = nil
  self.view:remove(shown.block)
  for _, option in ipairs(shown.request.options) do
    if option.id == event.optionId and option.decision == "allow" then
      self.calls:approved(event.callId) -- a denial is the call's status
    end
  end
end

handlers["retry"] = function(self, event)
  self.view:add(render.note(
    ("↻ attempt %d of %d in %.1f s: %s"):format(event.attempt, event.maxAttempts, event.delayMs / 1000, event.reason),
    "KodaWarning"
  ))
end

handlers["notice"] = function(self, event)
  local group = event.level == "error" and "KodaError" or event.level == "warning" and "KodaWarning" or "KodaMeta"
  self.view:add(render.note(event.message, group))
end

handlers["error"] = function(self, event)
  self.view:add(render.note("✗ " .. util.error_text(event.error), "KodaError"))
end

handlers["session.changed"] = function(self, event)
  local title = self.view.blocks[1]
  self.view:set(title, render.title(event.session.title or event.session.id))
end

handlers["compaction.started"] = function(self)
  self.view:add(render.note("— summing up what came before …"))
end

handlers["compaction.ended"] = function(self, event)
  if not event.nodeId then
    return -- nothing was summed up
  end
  self.view:add(render.note(
    ("— summed up: %s tokens became %s"):format(render.tokens(event.tokensBefore), render.tokens(event.tokensAfter))
  ))
end

--- Takes an event. Gives false when what is shown cannot be right any more and has to be asked for again.
function M:event(event)
  local handler = handlers[event.type]
  return not (handler and handler(self, event) == false)
end

--- A line of the plugin's own, such as the death of the daemon.
function M:note(text, group)
  self.view:add(render.note(text, group))
end

return M
