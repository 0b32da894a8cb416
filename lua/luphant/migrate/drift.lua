-- luphant.migrate.drift - has anybody changed the schema beside the migrations?
--
-- Compared is the catalog of the database with that of a scratch database on which the applied migrations have been
-- run again, or with a snapshot that was kept in a file.
--
-- SPDX-License-Identifier: MIT

local history = require "luphant.migrate.history"
local imprint = require "luphant.migrate.imprint"
local replay = require "luphant.migrate.replay"
local run = require "luphant.migrate.run"
local schema = require "luphant.schema"
local state = require "luphant.migrate.state"

local M = {}

-- Values of placeholders as they were when the migrations were applied; what the caller gives counts more.
local function with_values(q, options)
  local values = {}
  local rows, err = q:query(([[
    select key, value from %s m, jsonb_each_text(m.vars) where m.tenant = $1 order by m.applied_at]])
    :format(options.place.migrations), options.place.tenant)
  if not rows then return nil, err end
  for _, row in ipairs(rows) do values[row.key] = row.value end
  for name, value in pairs(options.values) do values[name] = value end
  return values
end

-- The migrations that made the database, and how they were run.
local function past(q, dir, options)
  local list, err = run.load(dir, options)
  if not list then return nil, err end
  local rows
  rows, err = history.read(q, options.place)
  if not rows then return nil, err end
  local applied, problems = replay.applied(state.compare(list, rows))
  applied.hooks = list.hooks
  if #problems > 0 then return nil, replay.refuse(problems) end
  if #rows > 0 then
    options.values, err = with_values(q, options)
    if not options.values then return nil, err end
  end
  return applied
end

local function expected(q, dir, options)
  if options.against then return options.against end
  local applied, err = past(q, dir, options)
  if not applied then return nil, err end
  return replay.snapshot_of(options.scratch or q, applied, options)
end

local function is_different(differences)
  for _, difference in ipairs(differences) do
    if not difference.warning then return true end
  end
  return false
end

---@class (exact) luphant.migrate.Drift
---@field different boolean apart from the order of columns
---@field differences luphant.schema.Difference[] from what the migrations say to what is there
---@field expected string hash of the one
---@field actual string and of the other
---@field since? luphant.migrate.Imprint whether it was so when the last run ended

--- Compares.
---@param q table a pool or a connection
---@param dir string
---@param options table as border.lua checks them; `against`, a snapshot; `scratch`, another server; `since_run`
---@return luphant.migrate.Drift?
---@return luphant.error?
function M.drift(q, dir, options)
  if options.since_run then return imprint.drift(q, options.place) end
  if options.against and not options.snapshot then
    local scope = options.against.scope
    options.snapshot = {
      schemas = scope.schemas, except = scope.except, owners = scope.owners, grants = scope.grants,
      comments = scope.comments,
    }
  end
  local wanted, err = expected(q, dir, options)
  if not wanted then return nil, err end
  local actual
  actual, err = replay.snapshot(q, options)
  if not actual then return nil, err end
  local differences = schema.diff(wanted, actual)
  local found = {
    different = is_different(differences), differences = differences, expected = schema.hash(wanted),
    actual = schema.hash(actual),
  }
  if found.different then found.since = imprint.look(q, options.place) end
  return found
end

M.is_different = is_different

return M
