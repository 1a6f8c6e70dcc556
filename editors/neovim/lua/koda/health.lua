-- :checkhealth koda

local config = require("koda.config")

local M = {}

local health = vim.health or require("health")
local start = health.start or health.report_start
local ok = health.ok or health.report_ok
local fail = health.error or health.report_error

function M.check()
  start("koda")
  if vim.fn.has("nvim-0.7") == 1 then
    ok("Neovim is new enough")
  else
    fail("Koda needs Neovim 0.7 or newer")
  end
  local cmd = config.values.cmd
  local program = vim.fn.exepath(cmd[1])
  if program == "" then
    fail(cmd[1] .. " is not on PATH", { "install it, see :help koda-install", "or set `cmd` in setup(), see :help koda-options" })
    return
  end
  local command = { program }
  for index = 2, #cmd do
    if cmd[index] ~= "--stdio" then
      command[#command + 1] = cmd[index]
    end
  end
  local version = vim.fn.system(vim.list_extend(command, { "--version" }))
  if vim.v.shell_error == 0 then
    ok(vim.trim(version))
  else
    fail(("%s --version failed: %s"):format(table.concat(command, " "), vim.trim(version)))
  end
end

return M
