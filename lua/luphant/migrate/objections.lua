-- luphant.migrate.objections - what speaks against going forward, state by state. Pure.
--
-- SPDX-License-Identifier: MIT

local order = require "luphant.migrate.order"
local version = require "luphant.migrate.version"

local M = {}

local function describe_stop(row)
  local where = ""
  if row.statements_total then
    where = (" at statement %d of %d"):format((row.statements_done or 0) + 1, row.statements_total)
  end
  return where .. (row.error_message and ": " .. row.error_message or "")
end

local WAY_OUT = "resume goes on, resolve says what is true, down --partial takes it back"

local OBJECTIONS = {
  changed = function(entry)
    if entry.only_comments then
      return "was edited after it had been applied, but only in comments or blanks", "repair records the new text"
    end
    return "was edited after it had been applied; put the old text back and write a new migration"
  end,
  missing = function(entry, options)
    if entry.kind == "repeatable" then return nil end
    if entry.applied.state == "failed" or entry.applied.state == "running" then
      return "stopped half-way in this database, and the file is gone", "bring the file back first"
    end
    if not options.ignore_missing then return "is applied in this database, but the file is gone" end
  end,
  failed = function(entry) return "failed" .. describe_stop(entry.applied), WAY_OUT end,
  interrupted = function(entry)
    return "was interrupted" .. describe_stop(entry.applied) .. "; the process is gone", WAY_OUT
  end,
  running = function() return "is being run by somebody just now", "wait for it" end,
  returned = function(entry, options)
    for _, name in ipairs(options.rerun or {}) do
      if order.id(name) == order.id_of(entry) then return nil end
    end
    return "has the text of an earlier run again", ("if that is meant, say --rerun %s"):format(order.label(entry))
  end,
  pending = function(entry, options)
    if entry.out_of_order and not options.allow_out_of_order then
      return "comes before migrations that are applied already; give it a higher number"
    end
  end,
}

--- Why an entry in this state stops every run; nil when it does not.
---@param entry luphant.migrate.Entry
---@param options luphant.migrate.PlanOptions
---@return string? message
---@return string? hint
function M.of(entry, options)
  local rule = OBJECTIONS[entry.state]
  if rule then return rule(entry, options) end
end

--- A database that stopped in the middle of what a baseline stands for cannot go on without the old files. Answers
--- the baseline and the versions that are neither in the database nor here; or nil.
---@param entries luphant.migrate.Entry[]
---@return luphant.migrate.Entry?
---@return string[]?
function M.half_squashed(entries)
  local base
  for _, entry in ipairs(entries) do
    if entry.kind == "baseline" and entry.state == "pending" then return nil end
    if entry.kind == "baseline" and entry.migration and entry.state == "covered" then base = entry end
  end
  if not base then return nil end
  local there, missing = {}, {}
  for _, entry in ipairs(entries) do
    local is_baseline = entry.applied and entry.kind == "baseline"
    if is_baseline and not version.before(entry.version, base.version) then return nil end
    if entry.kind == "versioned" then there[version.key(entry.version)] = true end
  end
  for _, wanted in ipairs(base.migration.replaces or { base.version }) do
    if not there[version.key(wanted)] then missing[#missing + 1] = wanted end
  end
  if #missing > 0 then return base, missing end
end

return M
