-- luphant.migrate.replay - what a folder of migrations makes of an empty database, seen on a scratch database.
--
-- The truth about what a schema ought to be is nothing but its migrations: no file that was dumped once, no memory of
-- the runner. So whoever wants to know runs them again somewhere else and looks.
--
-- SPDX-License-Identifier: MIT

local failure = require "luphant.migrate.failure"
local plan = require "luphant.migrate.plan"
local run = require "luphant.migrate.run"
local schema = require "luphant.schema"
local scratch = require "luphant.migrate.scratch"
local state = require "luphant.migrate.state"

local M = {}

--- Which of the files made a database what it is, and what speaks against knowing that.
---@param entries luphant.migrate.Entry[]
---@return luphant.migrate.Migration[] list
---@return luphant.migrate.Problem[] problems
function M.applied(entries)
  local list, problems = {}, {}
  for _, entry in ipairs(entries) do
    if entry.state == "failed" or entry.state == "interrupted" or entry.state == "running" then
      problems[#problems + 1] = {
        file = entry.file, message = ("%s_%s is %s: what it has done so far cannot be known")
          :format(entry.version, entry.name, entry.state),
      }
    elseif entry.state == "missing" and entry.kind ~= "repeatable" then
      problems[#problems + 1] = {
        message = ("%s_%s is applied, but its file is gone: what it did cannot be known"):format(entry.version,
          entry.name),
      }
    elseif entry.migration and entry.state ~= "skipped" and (state.is_there(entry) or entry.kind == "baseline") then
      list[#list + 1] = entry.migration
    end
  end
  return list, problems
end

--- Runs migrations on a scratch database.
---@param s luphant.migrate.Scratch
---@param list luphant.migrate.Migration[]
---@param options table as border.lua checks them
---@return table[]? done
---@return luphant.error?
function M.run(s, list, options)
  local own = {}
  for name, value in pairs(options) do own[name] = value end
  own.phase, own.plan_hash, own.url, own.backup, own.is_scratch = "all", nil, nil, nil, true
  return s:with(function(conn)
    return run.with_session(conn, own, 2, function(session) return run.within(session, list, plan.make) end)
  end)
end

-- What belongs to the runner is no part of anybody's schema.
local function snapshot_options(options)
  local out = {}
  for name, value in pairs(options.snapshot or {}) do out[name] = value end
  if not out.schemas and not out.except then out.except = options.place.schema end
  return out
end

--- The snapshot of a database, without the runner's own tables.
---@param conn table
---@param options table
---@return luphant.schema.Snapshot?
---@return luphant.error?
function M.snapshot(conn, options) return schema.snapshot(conn, snapshot_options(options)) end

--- What a list of migrations makes of an empty database on the server of `target`. `fn(scratch, snapshot)`, where
--- given, sees the database before it is gone.
---@param target any
---@param list luphant.migrate.Migration[]
---@param options table
---@param fn? fun(s: luphant.migrate.Scratch, snapshot: luphant.schema.Snapshot): any, luphant.error?
---@return luphant.schema.Snapshot|any|nil
---@return luphant.error?
function M.snapshot_of(target, list, options, fn)
  return scratch.with(target, function(s)
    local done, err = M.run(s, list, options)
    if not done then return nil, err end
    local found
    found, err = s:with(function(conn) return M.snapshot(conn, options) end)
    if not found then return nil, err end
    if fn then return fn(s, found) end
    return found
  end)
end

--- One error for problems.
M.refuse = failure.invalid

return M
