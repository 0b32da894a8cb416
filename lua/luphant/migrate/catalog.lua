-- luphant.migrate.catalog - the schema of the database as one hash, without the tables that remember migrations.
--
-- What was reviewed was meant for a schema as it was then: a table that somebody changed since is as good a reason to
-- look again as an edited file.
--
-- SPDX-License-Identifier: MIT

local schema = require "luphant.schema"

local M = {}

-- The history may live among other things. Then only what is its own is left out.
local function without_history(snapshot, place)
  if snapshot.schemas then snapshot.schemas[place.schema] = nil end
  for _, family in pairs(snapshot) do
    if type(family) == "table" then
      for _, name in ipairs { "migrations", "events", "meta", "events_id_seq" } do
        family[place.schema .. "." .. name] = nil
      end
    end
  end
  return snapshot
end

--- The hash.
---@param q table
---@param place luphant.migrate.Place
---@return string?
---@return luphant.error?
function M.hash(q, place)
  local snapshot, err = schema.snapshot(q)
  if not snapshot then
    if err.kind == "schema_unsupported" then return "" end -- a server that is too old to be looked at
    return nil, err
  end
  if place.schema ~= "luphant" then snapshot = without_history(snapshot, place) end
  return schema.hash(snapshot)
end

return M
