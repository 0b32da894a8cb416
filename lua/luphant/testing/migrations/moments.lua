-- luphant.testing.migrations.moments - when a runner is to die on its way through a migration. Pure.
--
-- In a transaction nothing but its end makes a difference to the server, so it is inside of each statement and behind
-- it; without one also before it is sent.
--
-- SPDX-License-Identifier: MIT

local M = {}

local ENDS = { up = "applied", down = "reverted" }

---@class (exact) luphant.testing.migrations.Moment
---@field event string of the runner, or "inside"
---@field nth integer of these events

--- The moments of one way.
---@param way luphant.testing.migrations.Way
---@return luphant.testing.migrations.Moment[]
function M.of(way)
  local out = {}
  local function add(event, nth) out[#out + 1] = { event = event, nth = nth } end
  if not way.section then
    add("statement", 1)
    add("inside", 1)
    add(ENDS[way.part], 1)
    return out
  end
  for i = 1, #way.section.statements do
    if not way.transaction then add("statement", i) end
    add("inside", i)
    add("statement_done", i)
  end
  add(ENDS[way.part], 1)
  return out
end

local WORDS = { statement = "before", inside = "inside", statement_done = "behind" }

--- A moment in words.
---@param moment luphant.testing.migrations.Moment
---@param way luphant.testing.migrations.Way
---@return string
function M.describe(moment, way)
  local text
  if moment.event == ENDS[way.part] then
    text = "killed behind its COMMIT"
  elseif not way.section then
    text = moment.event == "inside" and "killed inside its first statement" or "killed before it did anything"
  else
    text = ("killed %s statement %d of %d"):format(WORDS[moment.event], moment.nth, #way.section.statements)
  end
  return way.part == "down" and text .. " on the way back" or text
end

-- Where the way back of the last one ends: the one before it; nil where that is none that one can stand on.
local function place_before(list, i)
  for j = i - 1, 1, -1 do
    if list[j].kind == "versioned" then return list[j].version end
    if list[j].kind == "baseline" then return nil end
  end
  return "0"
end

--- The way back of a migration, where it has one.
---@param list luphant.migrate.Migration[]
---@param i integer
---@return luphant.testing.migrations.Way?
function M.way_back(list, i)
  local migration = list[i]
  local script = migration.script and migration.script.down
  local to = place_before(list, i)
  if migration.kind ~= "versioned" or not to or not (migration.down or script) then return nil end
  local options = migration.down and migration.down.options or {}
  local transaction = migration.transaction
  if migration.down then transaction = options.transaction ~= false end
  return { i = i, migration = migration, part = "down", to = to, section = migration.down, transaction = transaction }
end

return M
