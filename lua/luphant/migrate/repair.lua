-- luphant.migrate.repair - applied files that were edited since: which statements differ, and their texts recorded as
-- they are now. Nothing of them is run.
--
-- The history keeps a short hash of each statement of the way there, and the way back as text. So it can be said which
-- statement was edited, added or taken out, but not what it was before.
--
-- SPDX-License-Identifier: MIT

local amend = require "luphant.migrate.amend"
local digest = require "luphant.migrate.digest"
local execute = require "luphant.migrate.execute"
local failure = require "luphant.migrate.failure"
local record = require "luphant.migrate.record"
local wayback = require "luphant.migrate.wayback"

local M = {}

-- ---- the difference -----------------------------------------------------------------------------------------

-- Lengths of the longest common subsequences of all ends of two lists.
local function common(a, b)
  local length = {}
  for i = #a + 1, 1, -1 do
    length[i] = {}
    for j = #b + 1, 1, -1 do
      if i > #a or j > #b then
        length[i][j] = 0
      elseif a[i] == b[j] then
        length[i][j] = length[i + 1][j + 1] + 1
      else
        length[i][j] = math.max(length[i + 1][j], length[i][j + 1])
      end
    end
  end
  return length
end

-- What made `b` of `a`: runs of old and new items that stand in each other's place.
local function runs_of(a, b)
  local length, out, i, j = common(a, b), {}, 1, 1
  local run
  while i <= #a or j <= #b do
    if i <= #a and j <= #b and a[i] == b[j] then
      run, i, j = nil, i + 1, j + 1
    else
      if not run then
        run = { old = {}, new = {} }
        out[#out + 1] = run
      end
      if j > #b or (i <= #a and length[i + 1][j] >= length[i][j + 1]) then
        run.old[#run.old + 1], i = i, i + 1
      else
        run.new[#run.new + 1], j = j, j + 1
      end
    end
  end
  return out
end

---@class (exact) luphant.migrate.Change of a file since it was applied
---@field part "up"|"down"|"other"
---@field what "edited"|"added"|"removed"
---@field statement? integer its number now; where it was removed, before
---@field line? integer
---@field sql? string as it is now

local function statement_changes(old, section, out)
  local statements = section.statements
  for _, run in ipairs(runs_of(old, digest.each(section))) do
    for k = 1, math.max(#run.old, #run.new) do
      local now = run.new[k]
      local statement = now and statements[now]
      out[#out + 1] = {
        part = "up", what = not now and "removed" or run.old[k] and "edited" or "added", statement = now or run.old[k],
        line = statement and statement.line, sql = statement and statement.sql,
      }
    end
  end
end

local function down_change(row, migration, values)
  local now = wayback.write(migration, values) -- without the values nobody can say
  if now == row.down_sql or (migration.down and not now) then return nil end
  return { part = "down", what = not now and "removed" or row.down_sql and "edited" or "added", sql = now }
end

local function changes_of(entry, values)
  local out, row, migration = {}, entry.applied, entry.migration
  if entry.only_comments then return out end
  if row.statements and migration.up then statement_changes(row.statements, migration.up, out) end
  out[#out + 1] = down_change(row, migration, values)
  -- Options of a marker line, a check, a verification, anything in Lua.
  if #out == 0 then out[1] = { part = "other", what = "edited" } end
  return out
end

---@class (exact) luphant.migrate.Edited
---@field entry luphant.migrate.Entry
---@field only_comments boolean
---@field changes luphant.migrate.Change[]

--- The applied files that were edited.
---@param entries luphant.migrate.Entry[]
---@param values table<string, string>
---@return luphant.migrate.Edited[]
function M.list(entries, values)
  local out = {}
  for _, entry in ipairs(entries) do
    if entry.state == "changed" and entry.migration then
      out[#out + 1] = {
        entry = entry, only_comments = entry.only_comments == true, changes = changes_of(entry, values),
      }
    end
  end
  return out
end

--- What listeners and callers are told of one.
---@param edited luphant.migrate.Edited
---@return table
function M.event(edited)
  return execute.event(edited.entry, {
    event = "edited", only_comments = edited.only_comments, changes = edited.changes,
  })
end

-- ---- the repair ---------------------------------------------------------------------------------------------

local UPDATE = [[
update %s set name = $4, checksum = decode($5, 'hex'), statement_hash = decode($6, 'hex'), down_sql = $7,
       statements = $8
 where tenant = $1 and kind = $2 and version = $3]]

local function repair_one(s, edited)
  local entry = edited.entry
  local row, why = record.row(s, { kind = entry.kind, version = entry.version, name = entry.name,
    migration = entry.migration }, { state = "applied" })
  if not row then return nil, failure.failed({ step = entry, part = "down" }, { message = why }) end
  local detail = {
    before = entry.applied.checksum, after = entry.migration.checksum, only_comments = edited.only_comments,
    changes = edited.changes,
  }
  return amend.change(s, entry, "repair", function(tx)
    return tx:execute(UPDATE:format(s.place.migrations), s.place.tenant, entry.kind, entry.version, entry.name,
      row.checksum, row.statement_hash, row.down_sql, row.statements)
  end, detail)
end

--- Records the texts of applied files as they are now.
---@return table[]? done
---@return luphant.error?
function M.run(target, dir, options, level)
  return amend.under_lock(target, dir, options, level + 1, function(s, entries)
    local done = {}
    for _, edited in ipairs(M.list(entries, options.values)) do
      s.emit(M.event(edited))
      local event, err = repair_one(s, edited)
      if not event then return nil, err end
      event.only_comments, event.changes = edited.only_comments, edited.changes
      done[#done + 1] = event
    end
    return done
  end)
end

return M
