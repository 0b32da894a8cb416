-- luphant.migrate.tools - the other half of the door: what stands around running migrations.
--
-- Checks what callers give and hands on, like init.lua, which makes these functions its own.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local border = require "luphant.migrate.border"
local environment = require "luphant.migrate.environment"
local new = require "luphant.migrate.new"

local M = {}

-- ---- files --------------------------------------------------------------------------------------------------

--- Writes a new migration with the next version from a template. Needs no database.
---@param dir string made when missing
---@param name string what it does, in words
---@param opts? luphant.migrate.NewOptions
---@return { version: string, name: string, kind: string, files: string[] }? made
---@return luphant.error? err kind "migration_file"
function M.new(dir, name, opts)
  args.argument(dir, "string", 1, "new")
  args.argument(name, "string", 2, "new")
  return new.new(dir, name, border.options("new", opts, 2))
end

-- ---- environment --------------------------------------------------------------------------------------------

--- Which environment a database says it is, and whether it is protected. Creates nothing.
---@param db any a pool or a connection
---@param opts? { schema?: string }
---@return luphant.migrate.Environment?
---@return luphant.error?
function M.environment(db, opts)
  args.argument(db, "table", 1, "environment")
  return environment.read(db, border.options("place", opts, 2).place)
end

--- Says it, in the database itself.
---@param db any a pool or a connection
---@param name? string nil: as it was
---@param opts? { schema?: string, protected?: boolean }
---@return luphant.migrate.Environment?
---@return luphant.error?
function M.set_environment(db, name, opts)
  args.argument(db, "table", 1, "set_environment")
  if name ~= nil then args.argument(name, "string", 2, "set_environment") end
  local options = border.options("environment", opts, 2)
  return environment.set(db, options.place, name, options.protected)
end

return M
