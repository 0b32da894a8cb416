-- schema/reading.lua - what all readers of the catalog share: one snapshot in the making.
--
-- SQL of the readers is a template. In braces stand conditions and expressions that recur:
--   {scope n}              the namespace aliased n is among the wanted schemas
--   {own pg_class c.oid}   the object is no member of an extension
--   {free pg_proc p.oid}   nor made by the server along with another object
--   {owner c.relowner}     the role's name
--   {comment c.oid pg_class}
--   {grants r c.relacl c.relowner}   what the ACL says beyond (and below) what an owner's object has by default
--   {word}                 whatever `words` says, for what differs between server versions
-- Relations are named with their schema. Functions are not: the transaction this runs in has an empty search_path,
-- where only pg_catalog is searched for them.
--
-- Column names of a query are the field names of the object; those that begin with "_" serve the reader only.
--
-- SPDX-License-Identifier: MIT

local compat = require "luphant.compat"
local errors = require "luphant.errors"
local normal = require "luphant.schema.normal"

---@class luphant.schema.reading
---@field version integer  server_version_num
---@field is_whole boolean  no schemas were chosen, so what belongs to no schema is wanted too
---@field snapshot table
---@field relations table<integer, table>  OID -> object with columns
---@field columns table<integer, table<integer, table>>  OID of the relation -> attnum -> column
---@field types table<integer, table>
local methods = {}
local metatable = { __index = methods }

local reading = {}

-- Expressions as the server writes them.
local DEPARSED = {
  definition = true, default = true, generated = true, using = true, check = true, bound = true, partition_key = true,
  where = true, sql_body = true,
}

-- What aclexplode answers with the default taken away, and the other way round: neither a default that was written
-- out nor a privilege that a newer server grants to every owner is a difference.
local GRANTS = [[
  case when %ACL is not null then array(
    select array[x.sign, case x.grantee when 0 then 'public' else pg_get_userbyid(x.grantee)::text end,
        lower(x.privilege_type), case when x.is_grantable then 'grantable' else '' end,
        case x.grantor when %OWNER then '' else pg_get_userbyid(x.grantor)::text end]
      from (
        (select '+' as sign, a.* from aclexplode(%ACL) a
          except select '+', d.* from aclexplode(%DEFAULT) d)
        union all
        (select '-', d.* from aclexplode(%DEFAULT) d
          except select '-', a.* from aclexplode(%ACL) a)
      ) x) end as _grants]]

local BELONGS = [[not exists (select from pg_catalog.pg_depend belongs
    where belongs.classid = 'pg_catalog.%s'::regclass and belongs.objid = %s and belongs.objsubid = 0
      and belongs.deptype in (%s))]]

local function words_of(text)
  local list = {}
  for word in text:gmatch "%S+" do list[#list + 1] = word end
  return list
end

--- What an ACL says that differs from `default`, as an expression.
---@param acl string
---@param default string
---@param owner string
---@return string
function reading.grants(acl, default, owner)
  return (GRANTS:gsub("%%(%u+)", { ACL = acl, OWNER = owner, DEFAULT = default }))
end

local makers = {}

function makers.scope(_, alias)
  local name = alias .. ".nspname::text"
  return ("%s like any ($1::text[]) and not (%s like any ($2::text[]))"):format(name, name)
end

function makers.own(_, class, oid) return BELONGS:format(class, oid, "'e'") end

function makers.free(_, class, oid) return BELONGS:format(class, oid, "'e', 'i'") end

function makers.owner(self, role)
  return self.with.owners and ("pg_get_userbyid(%s)::text as owner"):format(role) or "null::text as owner"
end

function makers.comment(self, oid, class)
  if not self.with.comments then return "null::text as comment" end
  return ("obj_description(%s, '%s') as comment"):format(oid, class)
end

function makers.index_comment(self, oid)
  if not self.with.comments then return "null::text as index_comment" end
  return ("obj_description(%s, 'pg_class') as index_comment"):format(oid)
end

function makers.grants(self, code, acl, owner)
  if not self.with.grants then return "null::text[] as _grants" end
  return reading.grants(acl, ("acldefault('%s', %s)"):format(code, owner), owner)
end

--- Is the server of this major version or newer?
---@param major integer
---@return boolean
function methods:since(major) return self.version >= major * 10000 end

--- The rows of a query. Raises the error object: the transaction around all readers ends with it.
---@param sql string  a template
---@param words? table<string, string>
---@return table[]
function methods:rows(sql, words)
  local text = sql:gsub("{([%a_]+)%s*([^{}]*)}", function(name, rest)
    if words and words[name] then return words[name] end
    return makers[name](self, compat.unpack(words_of(rest)))
  end)
  local rows, err
  if text:find("$1", 1, true) then
    rows, err = self.q:query(text, self.include, self.exclude)
  else
    rows, err = self.q:query(text)
  end
  if not rows then error(err, 0) end
  return rows
end

-- { { sign, grantee, privilege, grantable, grantor } } -> grants and revoked, by grantee.
local function add_grants(object, list)
  for _, entry in ipairs(list) do
    local sign, grantee, privilege, grantable, grantor = entry[1], entry[2], entry[3], entry[4], entry[5]
    local field = sign == "+" and "grants" or "revoked"
    if grantable ~= "" then privilege = privilege .. " with grant option" end
    if grantor ~= "" then privilege = privilege .. " by " .. grantor end
    object[field] = object[field] or {}
    object[field][grantee] = object[field][grantee] or {}
    table.insert(object[field][grantee], privilege)
  end
  for _, field in ipairs { "grants", "revoked" } do
    for _, privileges in pairs(object[field] or {}) do table.sort(privileges) end
  end
end

--- A row as an object of the snapshot: without what serves the reader only, and without `false`, empty texts and
--- empty lists - an absent field means no, none, or PostgreSQL's own default.
---@param row table
---@return table
function methods:object(row) -- luacheck: ignore self
  local object = {}
  for field, value in pairs(row) do
    local is_nothing = value == false or value == "" or (type(value) == "table" and next(value) == nil)
    if not is_nothing and not field:find "^_" then
      object[field] = DEPARSED[field] and type(value) == "string" and normal(value) or value
    end
  end
  if row._grants then add_grants(object, row._grants) end
  return object
end

--- pg_get_viewdef and its kin look at the catalog of now, not of the transaction's beginning: of what another session
--- has dropped meanwhile they answer NULL, and what was read does not belong together.
---@param is_there boolean
---@param name string
function reading.check_there(is_there, name)
  if is_there then return end
  error(errors.new("schema_changed", ("the schema was changed while it was read: %s is gone"):format(name)), 0)
end

--- Puts an object into a family of the snapshot.
---@param family string
---@param row table  with `_id`, the key
---@return table object
function methods:put(family, row)
  local object = self:object(row)
  self.snapshot[family][row._id] = object
  return object
end

--- Puts an object into a map of the object it belongs to. Answers nil when that one is not in the snapshot.
---@param owner table|nil
---@param field string
---@param key string
---@param row table
---@return table|nil object
function methods:attach(owner, field, key, row)
  if not owner then return nil end
  local object = self:object(row)
  owner[field] = owner[field] or {}
  owner[field][key] = object
  return object
end

--- Sorts a list in place, by bytes, as the server's collation might not.
---@param list string[]|nil
function reading.sort(list)
  if list then table.sort(list) end
end

--- A word for a letter of the catalog; the letter that stands for the default becomes nil.
---@param row table
---@param field string
---@param words table<string, string|false>
function reading.spell(row, field, words)
  local letter = row[field]
  if letter == nil then return end
  local word = words[letter]
  if word == nil then word = letter end
  row[field] = word or nil
end

---@param fields table  q, version, include, exclude, is_whole, with, snapshot
---@return luphant.schema.reading
function reading.new(fields)
  fields.relations, fields.columns, fields.types = {}, {}, {}
  return setmetatable(fields, metatable)
end

return reading
