-- luphant.testing.migrations.context - what the parts of a test of migrations share: the folder, the server, what they
-- have found.
--
-- SPDX-License-Identifier: MIT

local border = require "luphant.migrate.border"
local order = require "luphant.migrate.order"
local plan = require "luphant.migrate.plan"
local replay = require "luphant.migrate.replay"
local run = require "luphant.migrate.run"
local schema = require "luphant.schema"
local drift = require "luphant.migrate.drift"
local version = require "luphant.migrate.version"

local M = {}

---@class (exact) luphant.testing.migrations.Finding
---@field event "finding"
---@field severity "error"|"warning"
---@field phase string
---@field message string
---@field version? string
---@field name? string
---@field file? string
---@field differences? luphant.schema.Difference[]

---@class luphant.testing.migrations.Context
---@field list luphant.migrate.Migration[]
---@field target any
---@field options table of the runner
---@field findings luphant.testing.migrations.Finding[]
local Context = {}
Context.__index = Context

function Context:emit(event)
  if self.on_event then self.on_event(event) end
end

--- Adds a finding.
function Context:find(severity, migration, message, more)
  local finding = more or {}
  finding.event, finding.severity, finding.phase, finding.message = "finding", severity, self.phase, message
  if migration then
    finding.version, finding.name, finding.file = migration.version, migration.name, migration.file
    finding.kind = migration.kind
  end
  self.findings[#self.findings + 1] = finding
  self:emit(finding)
end

--- Compares two snapshots; a difference is a finding.
---@return boolean same
function Context:compare(migration, expected, actual, what)
  local differences = schema.diff(expected, actual)
  if #differences == 0 then return true end
  local is_different = drift.is_different(differences)
  self:find(is_different and "error" or "warning", migration,
    ("%s:\n%s"):format(what, (schema.diff_text(differences):gsub("\n$", ""))), { differences = differences })
  return not is_different
end

--- Is this one to be looked at closely?
function Context:wants(migration)
  if not self.only then return true end
  for _, text in ipairs(self.only) do
    if order.label(migration) == text or (version.is(text) and version.is(migration.version)
      and version.key(text) == version.key(migration.version)) then
      return true
    end
  end
  return false
end

-- The first `count` of the list, which is what the folder was then.
function Context:prefix(count)
  local out = { hooks = self.list.hooks }
  for i = 1, count do out[i] = self.list[i] end
  return out
end

local function session_options(self, more)
  local out = {}
  for name, value in pairs(self.options) do out[name] = value end
  for name, value in pairs(more or {}) do out[name] = value end
  return out
end

--- Runs what `make` plans for a list on a scratch database.
---@return table[]? done
---@return luphant.error?
function Context:run(scratch, list, make, more)
  return scratch:with(function(conn)
    return run.with_session(conn, session_options(self, more), 2, function(s) return run.within(s, list, make) end)
  end)
end

--- Forward to the first `count` of the list.
function Context:up(scratch, count, more) return self:run(scratch, self:prefix(count), plan.make, more) end

--- The last of the first `count` back, or all behind `to`.
function Context:down(scratch, count, more)
  return self:run(scratch, self:prefix(count), plan.revert, more or { count = 1 })
end

--- The catalog of a scratch database.
---@return luphant.schema.Snapshot
function Context:snapshot(scratch)
  local found, err = scratch:with(function(conn) return replay.snapshot(conn, self.options) end)
  if not found then error(err, 0) end
  return found
end

-- A baseline behind what it stands for, where the files are still there: one by one they come first.
local function in_order(list)
  local out, last = { hooks = list.hooks }, {}
  for _, migration in ipairs(list) do
    for _, other in ipairs(list) do
      local is_covered = migration.kind == "baseline" and other.kind == "versioned"
        and not version.before(migration.version, other.version)
      if is_covered then last[migration] = other end
    end
  end
  for _, migration in ipairs(list) do
    if not last[migration] then out[#out + 1] = migration end
    for baseline, other in pairs(last) do
      if other == migration then out[#out + 1] = baseline end
    end
  end
  return out
end

---@param fields table list, target, given options of the runner, on_event, only
---@return luphant.testing.migrations.Context
function M.new(fields)
  fields.findings = {}
  fields.list = in_order(fields.list)
  fields.options = border.options("up", fields.runner, 2)
  fields.options.phase, fields.options.is_scratch = "all", true
  return setmetatable(fields, Context)
end

return M
