-- luphant.migrate.draft - the first text of a migration from a difference: between what the files make and a database
-- that somebody has changed by hand, or between two databases.
--
-- Nothing is guessed: what was renamed looks like something dropped and something added, and is that, until the caller
-- says which name became which. Nothing is run but on the scratch database of the files, and, where two databases are
-- compared, renames in a transaction that is rolled back.
--
-- SPDX-License-Identifier: MIT

local compat = require "luphant.compat"
local draft_of = require "luphant.schema.draft"
local errors = require "luphant.errors"
local luphant = require "luphant"
local replay = require "luphant.migrate.replay"
local run = require "luphant.migrate.run"
local schema = require "luphant.schema"
local words = require "luphant.schema.draft.words"

local M = {}

-- ---- renames -------------------------------------------------------------------------------------------------

local function refuse(message, hint) return nil, errors.new("migration_refused", message, { hint = hint }) end

local function has_column(relation, name)
  for _, column in ipairs(relation.columns or {}) do
    if words.quote(column.name) == name then return true end
  end
  return false
end

-- ALTER TABLE for one name, there and back; nil where the snapshot has no such thing.
local function rename(snapshot, from, to)
  if snapshot.tables[from] then
    local place, name = from:match "^(.*)%.([^.]*)$"
    local quoted = words.quote(to)
    return ("alter table %s rename to %s"):format(from, quoted),
      ("alter table %s.%s rename to %s"):format(place, quoted, name)
  end
  local id, column = from:match '^(.*)%.("[^"]*")$'
  if not id then id, column = from:match "^(.*)%.([^.]*)$" end
  local relation = id and snapshot.tables[id]
  if not relation or not has_column(relation, column) then return nil end
  local form = "alter table %s rename column %s to %s"
  return form:format(id, column, words.quote(to)), form:format(id, words.quote(to), column)
end

local function renames_of(snapshot, given)
  local forth, back = {}, {}
  for _, from in ipairs(compat.sorted_keys(given or {})) do
    local there, here = rename(snapshot, from, given[from])
    if not there then
      return refuse(("there is no table or column %s to be renamed"):format(from),
        "write it with its schema: public.orders.note=remark")
    end
    forth[#forth + 1] = there
    table.insert(back, 1, here)
  end
  return { forth = forth, back = back }
end

-- ---- snapshots -----------------------------------------------------------------------------------------------

local function look(q, options) return replay.snapshot(q, { place = options.place, snapshot = { owners = false } }) end

-- The snapshot, and the one after the renames.
local function with_renames(conn, options)
  local before, err = look(conn, options)
  if not before then return nil, err end
  local renames
  renames, err = renames_of(before, options.renames)
  if not renames then return nil, err end
  if #renames.forth == 0 then return { before = before, after = before, renames = renames } end
  local after
  local undone = {}
  local _, why = conn:transaction(function(tx)
    local ok, fault = tx:script(table.concat(renames.forth, ";\n"))
    if ok then after, fault = look(tx, options) end
    return nil, after and undone or fault
  end)
  if not after then return nil, why end
  return { before = before, after = after, renames = renames }
end

local function connected(db, fn)
  if type(db) ~= "string" then return fn(db) end
  local conn, err = luphant.connect(db)
  if not conn then return nil, err end
  local fine, answer, why = pcall(fn, conn)
  conn:close()
  if not fine then error(answer, 0) end
  return answer, why
end

-- What the files make, or what the other database has.
local function base_of(dir, options)
  if options.base then return connected(options.base, function(q) return with_renames(q, options) end) end
  local list, err = run.load(dir, options)
  if not list then return nil, err end
  return replay.snapshot_of(options.scratch or options.from_diff, list, options, function(s)
    return s:with(function(conn) return with_renames(conn, options) end)
  end)
end

-- ---- text ------------------------------------------------------------------------------------------------------

local function section(statements)
  local out = {}
  for i, sql in ipairs(statements) do out[i] = sql .. ";\n" end
  return table.concat(out)
end

-- A column that went and one of the same type that came, in one table, may be the same.
local function hints(differences, a, b)
  local gone, out = {}, {}
  local function type_of(snapshot, object)
    for id, relation in pairs(snapshot.tables) do
      for _, column in ipairs(relation.columns or {}) do
        if id .. "." .. column.name == object then return id, column end
      end
    end
  end
  for _, difference in ipairs(differences) do
    if difference.kind == "column" and difference.what == "removed" then
      local id, column = type_of(a, difference.object)
      if id then gone[#gone + 1] = { id = id, column = column } end
    end
  end
  for _, difference in ipairs(differences) do
    local is_new = difference.kind == "column" and difference.what == "added"
    local id, column = nil, nil
    if is_new then id, column = type_of(b, difference.object) end
    for _, old in ipairs(id and gone or {}) do
      if old.id == id and old.column.type == column.type then
        out[#out + 1] = ("if %s was renamed: --rename %s.%s=%s"):format(words.quote(column.name), id,
          words.quote(old.column.name), column.name)
      end
    end
  end
  return out
end

local function together(first, second)
  local out = {}
  for _, list in ipairs { first, second } do
    for _, item in ipairs(list) do out[#out + 1] = item end
  end
  return out
end

---@class (exact) luphant.migrate.Draft
---@field up string
---@field down string
---@field left string[] differences for which no statement was found, and what may have been renamed

--- Drafts.
---@param dir string
---@param options table as border.lua checks them: `from_diff`, `base`, `renames`
---@return luphant.migrate.Draft?
---@return luphant.error?
function M.draft(dir, options)
  local base, err = base_of(dir, options)
  if not base then return nil, err end
  local wanted
  wanted, err = connected(options.from_diff, function(q) return look(q, options) end)
  if not wanted then return nil, err end
  local differences = schema.diff(base.after, wanted)
  local up, left = draft_of(base.after, wanted)
  local down = draft_of(wanted, base.after)
  up, down = together(base.renames.forth, up), together(down, base.renames.back)
  left = together(left, hints(differences, base.after, wanted))
  if #up == 0 and #left == 0 then return refuse "there is no difference to write a migration from" end
  if #up == 0 then
    return refuse("no statement was found for what is different:\n" .. table.concat(left, "\n"), "write it by hand")
  end
  return { up = section(up), down = section(down), left = left }
end

return M
