-- One daemon for this Neovim: a real LSP client, so that text sync, edits and messages are Neovim's own.

local buffers = require("koda.buffers")
local config = require("koda.config")
local transport = require("koda.transport")
local util = require("koda.util")

local M = {
  --- Set by koda.session and koda.approvals: `events(list)`, `notifications`, `requests`, `ended(message)`.
  hooks = { notifications = {}, requests = {} },
}

-- nil: no daemon. Else {id, rpc, root, lsp, capabilities, waiting}; `waiting` until it is initialised.
local state

local group = vim.api.nvim_create_augroup("koda_buffers", { clear = true })

--- Calls a method of vim.lsp's client: since 0.11 it is an object.
local function call(name, ...)
  local lsp = state.lsp
  if vim.fn.has("nvim-0.11") == 1 then
    return lsp[name](lsp, ...)
  end
  return lsp[name](...)
end

--- Sends buffer changes that vim.lsp holds back for a moment; it does so before any other message.
local function flush()
  if state and state.lsp then
    call("notify", "$/setTrace", { value = "off" })
  end
end

function M.attach(bufnr)
  if not (state and state.lsp) or not buffers.wanted(bufnr, state.root) then
    return
  end
  if not vim.lsp.buf_is_attached(bufnr, state.id) then
    vim.lsp.buf_attach_client(bufnr, state.id)
  end
end

function M.is_attached(bufnr)
  return state ~= nil and state.lsp ~= nil and vim.lsp.buf_is_attached(bufnr, state.id)
end

function M.reload_buffers()
  buffers.reload(vim.tbl_filter(M.is_attached, vim.api.nvim_list_bufs()))
end

local function attach_all()
  for _, bufnr in ipairs(vim.api.nvim_list_bufs()) do
    M.attach(bufnr)
  end
  vim.api.nvim_clear_autocmds({ group = group })
  vim.api.nvim_create_autocmd("BufFilePre", {
    group = group,
    callback = function(args)
      -- It gets another name: the daemon must see the old one close.
      if M.is_attached(args.buf) then
        vim.lsp.buf_detach_client(args.buf, state.id)
      end
    end,
  })
  vim.api.nvim_create_autocmd({ "BufReadPost", "BufNewFile", "BufFilePost", "BufWritePost" }, {
    group = group,
    callback = function(args)
      M.attach(args.buf)
    end,
  })
end

local function settle(err)
  local waiting = state.waiting
  state.waiting = nil
  for _, callback in ipairs(waiting or {}) do
    callback(err)
  end
end

local function ready(started, lsp, result)
  -- After the handlers of vim.lsp: 0.7 knows the client by its id only then.
  vim.schedule(function()
    if state ~= started then
      return
    end
    state.lsp = lsp
    local koda = vim.tbl_get and vim.tbl_get(result, "capabilities", "experimental", "koda")
      or (result.capabilities.experimental or {}).koda
    if not koda or not tostring(koda.protocolVersion):find("^1%.") then
      settle({ message = "This daemon does not speak version 1 of the Koda protocol." })
      M.stop()
      return
    end
    state.capabilities = koda
    attach_all()
    settle(nil)
  end)
end

local function last_line(text)
  local lines = vim.split(vim.trim(text), "\n", { plain = true })
  return util.one_line(lines[#lines], 200)
end

local function ended(started, code, signal, stderr)
  M.last_log = stderr
  if state ~= started then
    return -- it was stopped on purpose
  end
  local how = signal ~= 0 and ("was killed by signal %d"):format(signal) or ("ended with code %d"):format(code)
  local why = vim.trim(stderr) ~= "" and (" Its last words: " .. last_line(stderr)) or ""
  local message = ("The daemon %s.%s"):format(how, why)
  local waiting = state.waiting
  state.waiting = nil
  state = nil
  vim.api.nvim_clear_autocmds({ group = group })
  if waiting then
    for _, callback in ipairs(waiting) do
      callback({ message = message })
    end
  end
  M.hooks.ended(message, waiting ~= nil)
end

local function lsp_config(started, connect)
  local capabilities = vim.lsp.protocol.make_client_capabilities()
  capabilities.experimental = capabilities.experimental or {}
  capabilities.experimental.koda = { versions = { "1.0" } }
  return {
    name = "koda",
    cmd = connect,
    root_dir = started.root,
    capabilities = capabilities,
    init_options = config.values.settings and { koda = config.values.settings } or nil,
    on_init = function(lsp, result)
      ready(started, lsp, result)
    end,
    handlers = {
      ["workspace/applyEdit"] = function(_, params)
        return buffers.apply_edit(params, started.lsp.offset_encoding, flush)
      end,
    },
  }
end

--- Starts vim.lsp's client over our transport. Gives its id, or nil and what is wrong.
local function start_lsp(started)
  local problem
  local function connect(dispatchers)
    started.rpc, problem = transport.start(
      config.values.cmd,
      { cwd = started.root, env = config.values.cmd_env },
      dispatchers,
      {
        events = M.hooks.events,
        notifications = M.hooks.notifications,
        requests = M.hooks.requests,
        ended = function(...)
          ended(started, ...)
        end,
      }
    )
    if not started.rpc then
      error(problem, 0)
    end
    return started.rpc
  end
  local ok, id
  if vim.fn.has("nvim-0.11") == 1 then
    ok, id = pcall(vim.lsp.start, lsp_config(started, connect), { attach = false, silent = true })
  elseif vim.fn.has("nvim-0.8") == 1 then
    ok, id = pcall(vim.lsp.start_client, lsp_config(started, connect))
  else
    -- 0.7 takes no function as `cmd`; its own starter is replaced for the time of one call.
    local original = vim.lsp.rpc.start
    vim.lsp.rpc.start = function(_, _, dispatchers)
      return connect(dispatchers)
    end
    ok, id = pcall(vim.lsp.start_client, lsp_config(started, config.values.cmd))
    vim.lsp.rpc.start = original
  end
  if not ok or not id then
    return nil, problem or tostring(id or "vim.lsp could not start the daemon")
  end
  return id
end

--- Calls `callback(err)` when the daemon is ready; starts it if there is none.
function M.ready(callback)
  if state then
    if state.waiting then
      table.insert(state.waiting, callback)
    else
      callback(nil)
    end
    return
  end
  local started = { root = config.root(), waiting = { callback } }
  state = started
  local id, problem = start_lsp(started)
  if id then
    started.id = id
    return
  end
  state = nil
  local action = "Install it or set `cmd`; see :help koda-install."
  callback({ message = problem .. ".", data = { kind = "daemon.missing", userAction = action } })
end

--- Sends a request when the daemon is ready. `callback(err, result)` runs on the main loop.
function M.request(method, params, callback)
  M.ready(function(err)
    if err then
      return callback(err)
    end
    local sent = call("request", method, params, function(failure, result)
      callback(failure, result)
    end)
    if not sent then
      callback({ message = "The daemon is gone.", data = { kind = "daemon.ended", retryable = true } })
    end
  end)
end

function M.running()
  return state ~= nil
end

--- The end of the running daemon's log, or of the last one's.
function M.log()
  return state and state.rpc and state.rpc.log() or M.last_log or ""
end

--- What :KodaStatus shows; nil when there is no daemon.
function M.info()
  return state and { pid = state.rpc and state.rpc.pid, root = state.root, id = state.id }
end

function M.root()
  return state and state.root or config.root()
end

--- Ends the daemon, in peace: running turns are cancelled and kept.
function M.stop()
  local stopped = state
  if not stopped then
    return false
  end
  local waiting = stopped.waiting
  stopped.waiting = nil
  state = nil
  vim.api.nvim_clear_autocmds({ group = group })
  for _, callback in ipairs(waiting or {}) do
    callback({ message = "The daemon was stopped." })
  end
  if stopped.rpc then
    stopped.rpc.stopped = true -- what waits for an answer is not to be sent again
  end
  if stopped.lsp then
    if vim.fn.has("nvim-0.11") == 1 then
      stopped.lsp:stop()
    else
      stopped.lsp.stop()
    end
  elseif stopped.rpc then
    stopped.rpc.hang_up()
  end
  M.hooks.ended(nil, false)
  return true
end

return M
