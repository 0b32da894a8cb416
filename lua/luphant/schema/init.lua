-- luphant.schema - what is in a database, as plain data: to compare, to keep in a file, to write docs from.
--
--   local before = assert(schema.snapshot(conn))
--   ...
--   for _, d in ipairs(schema.diff(before, assert(schema.snapshot(conn)))) do print(d.kind, d.object, d.what) end
--
-- Reads, never writes. Everything behind `snapshot` is a function of data and needs no database; the data is described
-- in docs/api/schema.md and, for editors, in meta/schema.lua.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local core = require "luphant.core"
local diff = require "luphant.schema.diff"
local draft = require "luphant.schema.draft"
local errors = require "luphant.errors"
local family = require "luphant.schema.family"
local hash = require "luphant.schema.hash"
local json = require "luphant.schema.json"
local take = require "luphant.schema.snapshot"
local text = require "luphant.schema.text"

local M = {}

---@class (exact) luphant.schema.Options
---@field schemas? string|string[] names or patterns (`*`, `?`); default: all, and what belongs to no schema
---@field except? string|string[]  names or patterns to leave out; default "luphant" unless `schemas` is given
---@field owners? boolean          default true
---@field grants? boolean          default true
---@field comments? boolean        default true

local function patterns_problem(value)
  if type(value) == "string" then return nil end
  for _, pattern in ipairs(value) do
    if type(pattern) ~= "string" then return "must be a name, a pattern or a list of them" end
  end
end

local OPTIONS = {
  schemas = { type = { "string", "table" }, check = patterns_problem },
  except = { type = { "string", "table" }, check = patterns_problem },
  owners = { type = "boolean", default = true },
  grants = { type = "boolean", default = true },
  comments = { type = "boolean", default = true },
}

-- One pattern or a list of them as a sorted list of our own; nil for none.
local function patterns(value)
  if value == nil then return nil end
  if type(value) == "string" then return { value } end
  if #value == 0 then return nil end
  local list = {}
  for i, pattern in ipairs(value) do list[i] = pattern end
  table.sort(list)
  return list
end

local function scope_of(opts, level)
  local checked = args.check(opts, OPTIONS, "option", level + 1)
  local except = checked.except
  if except == nil and checked.schemas == nil then except = "luphant" end
  return {
    schemas = patterns(checked.schemas), except = patterns(except),
    owners = checked.owners, grants = checked.grants, comments = checked.comments,
  }
end

local function check_snapshot(value, index, name)
  args.argument(value, "table", index, name, 3)
  if value.format ~= family.FORMAT or type(value.scope) ~= "table" then
    error(("bad argument #%d to '%s' (a snapshot of format %d expected)"):format(index, name, family.FORMAT), 3)
  end
end

--- Reads the catalog of a database, all of it in one moment.
---@param q table  a connection, a pool or a transaction
---@param opts? luphant.schema.Options
---@return luphant.schema.Snapshot|nil
---@return luphant.error|nil
function M.snapshot(q, opts)
  args.argument(q, "table", 1, "snapshot")
  return take(q, scope_of(opts, 2))
end

--- What has to happen to `a` to be like `b`; empty when nothing has.
---@param a luphant.schema.Snapshot
---@param b luphant.schema.Snapshot
---@return luphant.schema.Difference[]
function M.diff(a, b)
  check_snapshot(a, 1, "diff")
  check_snapshot(b, 2, "diff")
  return diff(a, b)
end

--- Statements that make a database like `a` one like `b`: a draft for people to read. It knows no rows and no locks;
--- what was renamed is dropped and added.
---@param a luphant.schema.Snapshot
---@param b luphant.schema.Snapshot
---@return string[] statements in order, without semicolons
---@return string[] left differences for which no statement was found, as lines
function M.draft(a, b)
  check_snapshot(a, 1, "draft")
  check_snapshot(b, 2, "draft")
  return draft(a, b)
end

--- Differences as lines for people.
---@param differences luphant.schema.Difference[]
---@return string
function M.diff_text(differences)
  args.argument(differences, "table", 1, "diff_text")
  return text.of_differences(differences)
end

--- A snapshot as lines for people and for version control.
---@param snapshot luphant.schema.Snapshot
---@return string
function M.text(snapshot)
  check_snapshot(snapshot, 1, "text")
  return text.of(snapshot)
end

--- SHA-256 of a snapshot in hexadecimal digits: the same for two whose diff is empty or has nothing but warnings.
---@param snapshot luphant.schema.Snapshot
---@return string
function M.hash(snapshot)
  check_snapshot(snapshot, 1, "hash")
  return core.sha256(hash(snapshot))
end

--- A snapshot as JSON, for files. The same snapshot gives the same bytes.
---@param snapshot luphant.schema.Snapshot
---@return string
function M.to_json(snapshot)
  check_snapshot(snapshot, 1, "to_json")
  return json.encode(snapshot)
end

--- The snapshot that `to_json` wrote.
---@param document string
---@return luphant.schema.Snapshot|nil
---@return luphant.error|nil  kind "schema_invalid"
function M.from_json(document)
  args.argument(document, "string", 1, "from_json")
  local snapshot, why = json.decode(document)
  if snapshot then
    why = snapshot.format ~= family.FORMAT
        and ("its format is %s, this luphant reads %d"):format(args.show(snapshot.format), family.FORMAT)
      or type(snapshot.scope) ~= "table" and "it does not say what it covers"
    if not why then return snapshot end
  end
  return nil, errors.new("schema_invalid", "this is not a snapshot of luphant.schema: " .. why)
end

return M
