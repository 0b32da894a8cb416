-- luphant.migrate.wayback - the way back as text, as it is kept in the history, and read from there. Pure.
--
-- Kept are the statements with their values filled in, behind a marker line when there are options: what is recorded
-- needs neither the file nor the values of the day.
--
-- SPDX-License-Identifier: MIT

local marker = require "luphant.migrate.marker"
local order = require "luphant.migrate.order"
local parse = require "luphant.migrate.parse"
local vars = require "luphant.migrate.vars"

local M = {}

--- What to record when a migration is applied: its way back, or nil when it has none (or one in Lua).
---@param migration luphant.migrate.Migration
---@param values? table<string, string>
---@return string? text
---@return string? complaint
function M.write(migration, values)
  local section = migration.down
  if not section then return nil end
  local text, why = vars.fill_section(section, migration.vars, values or {})
  if not text then return nil, why end
  local line = marker.write("down", section.options)
  return line and line .. "\n" .. text or text
end

--- Reads it again.
---@param text string
---@param name string how messages call it
---@return luphant.migrate.Section? section
---@return luphant.migrate.Problem[] problems
function M.read(text, name)
  local sections, problems = parse(text, name .. " (recorded way back)", "down")
  return sections.down, problems
end

--- The recorded way back of an entry; nil when it cannot be read. Its lines are the file's only as long as the text is
--- the same.
---@param entry luphant.migrate.Entry
---@param complain fun(entry: luphant.migrate.Entry?, message: string, hint: string?)
---@return luphant.migrate.Section?
function M.of(entry, complain)
  local section, problems = M.read(entry.applied.down_sql, entry.file or order.label(entry))
  for _, problem in ipairs(problems) do
    complain(nil, ("%s, line %d: %s"):format(problem.file, problem.line or 1, problem.message), problem.hint)
  end
  local own = entry.migration and entry.migration.down
  return section and own and own.text == section.text and own or section
end

return M
