-- luphant.migrate.state - files and history side by side: what each migration is in this database. Pure.
--
--     pending      not applied                       applied      applied, the file as it was then
--     covered      stands behind a baseline          changed      applied, the file edited since
--     skipped      passed over by somebody           missing      applied, the file gone
--     failed       stopped outside of a transaction  squashed     applied, the file gone into a baseline
--     interrupted  its process died on the way       running      somebody is at it
--     outdated     repeatable, its text is new       returned     repeatable, its text is an older one again
--
-- What follows from these is plan.lua's business.
--
-- SPDX-License-Identifier: MIT

local order = require "luphant.migrate.order"
local version = require "luphant.migrate.version"

local M = {}

---@class (exact) luphant.migrate.Applied one row of the history
---@field version string
---@field kind? "versioned"|"repeatable"|"baseline" default "versioned"
---@field name string
---@field state? "applied"|"running"|"failed"|"skipped"|"reverted" default "applied"
---@field checksum string SHA-256 of the file as it was applied, hexadecimal
---@field statement_hash? string the same without comments and blanks
---@field earlier? string[] repeatable: checksums of runs before the last
---@field direction? "up"|"down" default "up": which way it was going when it stopped
---@field statements_total? integer
---@field statements_started? integer
---@field statements_done? integer
---@field error_message? string
---@field statements? string[] short hashes of the statements of its way there
---@field down_sql? string
---@field run_id? string
---@field applied_at? string
---@field duration_ms? integer

---@class (exact) luphant.migrate.Entry
---@field kind "versioned"|"repeatable"|"baseline"
---@field version string
---@field name string
---@field state string see the head of state.lua
---@field file? string absent when missing
---@field migration? luphant.migrate.Migration
---@field applied? luphant.migrate.Applied its row, unless that says it was reverted
---@field only_comments? boolean changed: the statements are the same
---@field out_of_order boolean pending, but something that comes later is applied
---@field deferred boolean of the contract phase, or requires something that is

-- Taken back is as good as never applied.
local function live(rows)
  local out = {}
  for _, row in ipairs(rows) do
    if row.state ~= "reverted" then out[#out + 1] = row end
  end
  return out
end

local function is_present(row) return row.state == nil or row.state == "applied" or row.state == "skipped" end

-- ---- baselines ----------------------------------------------------------------------------------------------

local function highest(list)
  local top
  for _, item in ipairs(list) do
    if item.kind == "baseline" and (not top or version.before(top.version, item.version)) then top = item end
  end
  return top
end

local function set_of(versions)
  local set = {}
  for _, text in ipairs(versions) do set[version.key(text)] = true end
  return set
end

-- Does the baseline stand for a version? With a list only for what is on it, else for all up to its own.
local function stands_for(baseline, replaces, text)
  if version.before(baseline.version, text) then return false end
  return not replaces or replaces[version.key(text)] == true
end

local function baseline_facts(list, rows)
  local file, row = highest(list), highest(rows)
  local facts = { file = file, row = row }
  facts.replaces = file and file.replaces and set_of(file.replaces)
  -- A row made by the file covers what the file lists; one made by hand covers all below it.
  facts.row_replaces = row and file and row.version == file.version and facts.replaces or nil
  facts.is_new = not row
  for _, other in ipairs(rows) do
    if other.kind ~= "baseline" and other.kind ~= "repeatable" then facts.is_new = false end
  end
  return facts
end

-- ---- entries ------------------------------------------------------------------------------------------------

local function has_been(row, checksum)
  for _, earlier in ipairs(row.earlier or {}) do
    if earlier == checksum then return true end
  end
  return false
end

local function state_of_row(migration, row, lock_is_held)
  if row.state == "failed" then return "failed" end
  if row.state == "running" then return lock_is_held and "running" or "interrupted" end
  if row.state == "skipped" then return "skipped" end
  -- A baseline made by hand (`baseline --at`) has no text.
  if row.checksum == migration.checksum or (row.kind == "baseline" and (row.checksum or "") == "") then
    return "applied"
  end
  if migration.kind ~= "repeatable" then return "changed" end
  return has_been(row, migration.checksum) and "returned" or "outdated"
end

local function state_without_row(migration, facts)
  if migration.kind == "repeatable" then return "pending" end
  if migration.kind == "baseline" then
    return facts.is_new and migration == facts.file and "pending" or "covered"
  end
  if facts.row and stands_for(facts.row, facts.row_replaces, migration.version) then return "covered" end
  if facts.is_new and facts.file and stands_for(facts.file, facts.replaces, migration.version) then return "covered" end
  return "pending"
end

local function entry_of(migration, row, facts, lock_is_held)
  local entry = {
    kind = migration.kind, version = migration.version, name = migration.name, file = migration.file,
    migration = migration, applied = row, out_of_order = false, deferred = false,
  }
  entry.state = row and state_of_row(migration, row, lock_is_held) or state_without_row(migration, facts)
  if entry.state == "changed" then
    entry.only_comments = row.statement_hash ~= nil and row.statement_hash == migration.statement_hash
  end
  return entry
end

local function entry_without_file(row, facts)
  local state = "missing"
  if row.kind == "baseline" then
    state = "applied"
  elseif row.kind ~= "repeatable" and is_present(row) and facts.file
    and stands_for(facts.file, facts.replaces, row.version) then
    state = "squashed"
  end
  return {
    kind = row.kind or "versioned", version = row.version, name = row.name, state = state, applied = row,
    out_of_order = false, deferred = false,
  }
end

-- Baselines have no id for requirements, but their rows have to find their files, too.
local function key_of(item)
  return order.id_of(item) or "B" .. version.key(item.version)
end

local function index_of(list)
  local index = {}
  for _, item in ipairs(list) do index[key_of(item)] = item end
  return index
end

-- Puts the entries without a file where their versions belong among the others, whose order stays.
local function merge(entries, orphans)
  local out, i = {}, 1
  order.sort(orphans)
  for _, entry in ipairs(entries) do
    while orphans[i] and orphans[i].kind ~= "repeatable"
      and (entry.kind == "repeatable" or version.before(orphans[i].version, entry.version)) do
      out[#out + 1], i = orphans[i], i + 1
    end
    out[#out + 1] = entry
  end
  while orphans[i] do out[#out + 1], i = orphans[i], i + 1 end
  return out
end

-- Entries come in the order to run, so that requirements stand before who requires them.
local function mark_deferred(entries)
  local deferred = {}
  for _, entry in ipairs(entries) do
    local migration = entry.migration
    if migration then
      entry.deferred = migration.phase == "contract"
      for _, wanted in ipairs(migration.requires or {}) do
        entry.deferred = entry.deferred or deferred[order.id(wanted)] == true
      end
      if entry.deferred then deferred[key_of(entry)] = true end
    end
  end
end

local function mark_out_of_order(entries)
  local later = false
  for i = #entries, 1, -1 do
    local entry = entries[i]
    if entry.kind ~= "repeatable" then
      if entry.applied or (entry.kind == "baseline" and entry.state == "pending") then
        later = true
      elseif entry.state == "pending" then
        entry.out_of_order = later and not entry.deferred
      end
    end
  end
end

---@class (exact) luphant.migrate.CompareOptions
---@field lock_is_held? boolean somebody else holds the lock: what is on its way is running, not interrupted

--- Lays files and history side by side, in the order to run.
---@param list luphant.migrate.Migration[] in the order of load
---@param rows luphant.migrate.Applied[]
---@param options? luphant.migrate.CompareOptions
---@return luphant.migrate.Entry[]
function M.compare(list, rows, options)
  rows = live(rows)
  local index, files, facts = index_of(rows), index_of(list), baseline_facts(list, rows)
  local entries, orphans = {}, {}
  for i, migration in ipairs(list) do
    entries[i] = entry_of(migration, index[key_of(migration)], facts, options and options.lock_is_held)
  end
  for _, row in ipairs(rows) do
    if not files[key_of(row)] then orphans[#orphans + 1] = entry_without_file(row, facts) end
  end
  entries = merge(entries, orphans)
  mark_deferred(entries)
  mark_out_of_order(entries)
  return entries
end

--- Is this migration's effect in the database (or nobody's business any more)?
---@param entry luphant.migrate.Entry
---@return boolean
function M.is_there(entry)
  local state = entry.state
  return state == "applied" or state == "changed" or state == "skipped" or state == "covered" or state == "squashed"
    or state == "outdated" or state == "returned" or (state == "missing" and is_present(entry.applied))
end

return M
