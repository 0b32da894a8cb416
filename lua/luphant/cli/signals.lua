-- cli/signals.lua - Ctrl-C, SIGTERM and SIGHUP end a command in order: it is told, finishes or undoes what it is at,
-- and leaves with 128 and the number of the signal. A second one ends the process at once.
--
-- Only for commands that ask whether to stop: for all others the signals do what they always did.
--
-- SPDX-License-Identifier: MIT

local core = require "luphant.core"

local M = {}

local BASE, SIGINT = 128, 2

--- Is somebody waiting for the end?
---@return boolean
function M.wants_stop() return core.caught_signal() ~= nil end

--- The exit code of a command that was ended from outside.
---@return integer
function M.code() return BASE + (core.caught_signal() or SIGINT) end

--- Calls `fn(...)` with the signals caught.
---@param fn function
---@return any ... what it answers
function M.during(fn, ...)
  core.catch_signals()
  local fine, answer, more = pcall(fn, ...)
  core.release_signals()
  if not fine then error(answer, 0) end
  return answer, more
end

return M
