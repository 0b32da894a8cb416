-- luphant.migrate.parts - a step of a plan as the parts that run, in their order. Pure.
--
-- SPDX-License-Identifier: MIT

local M = {}

---@class (exact) luphant.migrate.Part
---@field name "check"|"up"|"verify"|"down"
---@field section? luphant.migrate.Section
---@field fn? function of a migration in Lua
---@field is_judged boolean its answers must be true
---@field first integer the statement to begin with
---@field options luphant.migrate.SectionOptions those of its marker line
---@field counted boolean the statements the history counts

local function part(step, name, fields)
  local migration = step.migration
  local section = fields.section or (migration and migration[name])
  local fn = not section and migration and migration.script and migration.script[name]
  if not section and not fn then return nil end
  return {
    name = name, section = section, fn = fn, is_judged = fields.is_judged or false, first = fields.first or 1,
    counted = fields.counted or false, options = section and section.options or migration.options,
  }
end

--- The parts of a step.
---@param step luphant.migrate.Step
---@return luphant.migrate.Part[]
function M.of(step)
  if step.action == "forget" then return {} end
  if step.action == "revert" then
    return { part(step, "down", { section = step.section, first = step.first, counted = true }) }
  end
  local list = {}
  -- What comes before was checked before; a migration that goes on is not where its check expects it.
  if step.action ~= "resume" then list[1] = part(step, "check", { is_judged = true }) end
  list[#list + 1] = part(step, "up", { first = step.first, counted = true })
  list[#list + 1] = part(step, "verify", { is_judged = true })
  return list
end

--- The one whose statements the history counts.
---@param parts luphant.migrate.Part[]
---@return luphant.migrate.Part?
function M.counted(parts)
  for _, each in ipairs(parts) do
    if each.counted then return each end
  end
end

--- How many statements it has; nil in Lua.
---@param each luphant.migrate.Part?
---@return integer?
function M.count(each)
  return each and each.section and #each.section.statements or nil
end

return M
