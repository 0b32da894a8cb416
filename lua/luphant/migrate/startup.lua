-- luphant.migrate.startup - what a program does about migrations when it starts, many of it at once.
--
-- A database that is behind its program is an error; one that is ahead is not: during a deployment the old processes
-- start again beside the new ones, and must not die of it. So what is applied and has no file here is only told.
--
-- SPDX-License-Identifier: MIT

local errors = require "luphant.errors"
local execute = require "luphant.migrate.execute"
local failure = require "luphant.migrate.failure"
local history = require "luphant.migrate.history"
local lock = require "luphant.migrate.lock"
local objections = require "luphant.migrate.objections"
local order = require "luphant.migrate.order"
local planner = require "luphant.migrate.plan"
local run = require "luphant.migrate.run"

local M = {}

local POLL_PAUSE = 1

local function wants(entry, phase)
  if entry.state == "outdated" then return true end
  if entry.state ~= "pending" then return false end
  return phase == "all" or phase == "contract" or not entry.deferred
end

local BROKEN = { failed = true, interrupted = true, changed = true }

--- Where the database stands: what it lacks, what it has more, what is wrong with it.
---@param entries luphant.migrate.Entry[]
---@param phase? string
---@return { behind: table[], ahead: table[], problems: table[] }
function M.judge(entries, phase)
  local found = { behind = {}, ahead = {}, problems = {} }
  for _, entry in ipairs(entries) do
    if BROKEN[entry.state] and not entry.only_comments then
      local message, hint = objections.of(entry, {})
      found.problems[#found.problems + 1] = { file = order.file_of(entry), message = message, hint = hint }
    elseif entry.state == "missing" or entry.state == "returned" then
      found.ahead[#found.ahead + 1] = execute.event(entry)
    elseif entry.state == "running" or wants(entry, phase) then
      found.behind[#found.behind + 1] = execute.event(entry)
    end
  end
  return found
end

local function look(s, list)
  local rows, err = history.read(s.conn, s.place)
  if not rows then return nil, err end
  local holder
  holder, err = lock.holder(s.conn, s.place)
  if err then return nil, err end
  return M.judge(planner.compare(list, rows, { lock_is_held = holder ~= nil }), s.options.phase)
end

local function names_of(list)
  local names = {}
  for i, item in ipairs(list) do names[i] = order.label(item) .. "_" .. item.name end
  return table.concat(names, ", ")
end

local function behind(found)
  return errors.new("migration_behind",
    ("the database lacks %d migration%s: %s"):format(#found.behind, #found.behind == 1 and "" or "s",
      names_of(found.behind)),
    { pending = found.behind, hint = "run `luphant migrate up`, or start with on_startup = \"apply\"" })
end

local function answer(s, found, applied)
  if #found.ahead > 0 then
    s.emit {
      event = "warning", ahead = found.ahead,
      message = ("the database is ahead of this program, which does not know %s"):format(names_of(found.ahead)),
    }
  end
  return {
    state = #found.ahead > 0 and "ahead" or #found.behind > 0 and "behind" or "current", applied = applied or {},
    behind = found.behind, ahead = found.ahead,
  }
end

local function check(s, list)
  local found, err = look(s, list)
  if not found then return nil, err end
  if #found.problems > 0 then return nil, failure.invalid(found.problems) end
  if #found.behind > 0 then return nil, behind(found) end
  return answer(s, found)
end

-- Until somebody else has done it.
local function wait(s, list)
  local now, sleep = s.conn.waiter.now, s.conn.waiter.sleep
  local limit = now() + s.options.wait_for
  while true do
    local found, err = check(s, list)
    if found or err.kind ~= "migration_behind" then return found, err end
    if now() >= limit or s.watch:wants_stop() then return nil, err end
    s.emit { event = "waiting", behind = err.pending }
    sleep(math.min(now() + POLL_PAUSE * (0.5 + math.random() / 2), limit))
  end
end

-- A program that is behind its database has nothing to apply, and must not put back what is newer.
local function is_only_behind(found)
  return #found.ahead > 0 and #found.behind == 0 and #found.problems == 0
end

local function apply(s, list)
  local found, err = look(s, list)
  if not found then return nil, err end
  if is_only_behind(found) then return answer(s, found) end
  local applied
  applied, err = run.within(s, list, planner.make)
  if not applied then return nil, err end
  found, err = look(s, list)
  if not found then return nil, err end
  return answer(s, found, applied)
end

local ACTIONS = { check = check, wait = wait, apply = apply }

--- Does what `on_startup` says.
---@param target any
---@param options table as border.lua checks them
---@param level integer
---@return table?
---@return luphant.error?
function M.run(target, options, level)
  if options.on_startup == "off" then return { state = "off", applied = {}, behind = {}, ahead = {} } end
  local list, err = run.load(options.dir, options)
  if not list then return nil, err end
  options.ignore_missing = true
  return run.with_session(target, options, level + 1, function(s) return ACTIONS[options.on_startup](s, list) end)
end

return M
