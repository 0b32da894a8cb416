-- luphant.migrate.plan - files and history -> what is to be done. Pure: no files, no database.
--
-- SPDX-License-Identifier: MIT

local load = require "luphant.migrate.load"

local M = {}

---@class (exact) luphant.migrate.Applied one row of the history
---@field version string
---@field name string
---@field checksum string SHA-256 of the file as it was applied, hexadecimal
---@field down_sql? string
---@field applied_at string
---@field duration_ms integer

---@class (exact) luphant.migrate.Entry
---@field version string
---@field name string
---@field state "applied"|"pending"|"changed"|"missing"
---@field file? string absent when missing
---@field migration? luphant.migrate.Migration
---@field applied? luphant.migrate.Applied
---@field out_of_order boolean pending, but something with a higher number is applied

local function by_version(rows)
  local index = {}
  for _, row in ipairs(rows) do index[load.order_key(row.version)] = row end
  return index
end

local function entry_of(migration, row)
  local state = "pending"
  if row then state = row.checksum == migration.checksum and "applied" or "changed" end
  return {
    version = migration.version, name = migration.name, file = migration.file,
    state = state, migration = migration, applied = row, out_of_order = false,
  }
end

--- Lays files and history side by side, sorted by version.
---@param list luphant.migrate.Migration[] each with its `checksum`
---@param applied luphant.migrate.Applied[]
---@return luphant.migrate.Entry[]
function M.compare(list, applied)
  local rows, files, entries = by_version(applied), by_version(list), {}
  for _, migration in ipairs(list) do
    entries[#entries + 1] = entry_of(migration, rows[load.order_key(migration.version)])
  end
  for _, row in ipairs(applied) do
    if not files[load.order_key(row.version)] then
      entries[#entries + 1] = {
        version = row.version, name = row.name, state = "missing", applied = row, out_of_order = false,
      }
    end
  end
  table.sort(entries, function(a, b) return load.order_key(a.version) < load.order_key(b.version) end)
  local later = false
  for i = #entries, 1, -1 do
    if entries[i].applied then later = true else entries[i].out_of_order = later end
  end
  return entries
end

--- What speaks against running anything, as a list of problems (empty: nothing).
---@param entries luphant.migrate.Entry[]
---@return luphant.migrate.Problem[]
function M.objections(entries)
  local problems = {}
  for _, entry in ipairs(entries) do
    local label = entry.file or (entry.version .. "_" .. entry.name .. ".sql")
    local message
    if entry.state == "changed" then
      message = "was edited after it had been applied; put the old text back and write a new migration"
    elseif entry.state == "missing" then
      message = "is applied in this database, but the file is gone"
    elseif entry.out_of_order then
      message = "comes before migrations that are applied already; give it a higher number"
    end
    if message then problems[#problems + 1] = { file = label, message = message } end
  end
  return problems
end

--- The entries still to be applied, in order.
---@param entries luphant.migrate.Entry[]
---@return luphant.migrate.Entry[]
function M.pending(entries)
  local out = {}
  for _, entry in ipairs(entries) do
    if entry.state == "pending" then out[#out + 1] = entry end
  end
  return out
end

--- The entries that `down` undoes: the last `count` applied ones, newest first.
---@param entries luphant.migrate.Entry[]
---@param count integer
---@return luphant.migrate.Entry[]
function M.last_applied(entries, count)
  local out = {}
  for i = #entries, 1, -1 do
    if #out == count then break end
    if entries[i].applied then out[#out + 1] = entries[i] end
  end
  return out
end

return M
