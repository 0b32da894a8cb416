-- luphant.migrate.concurrently - indexes that are built while others write: what may lie there before, what must not
-- lie there after.
--
-- CREATE INDEX CONCURRENTLY that fails or is killed leaves an invalid index: it costs like any other, serves no query,
-- and IF NOT EXISTS finds it there and is content. So an invalid index of that name that nobody is building is dropped
-- first, and one that is invalid afterwards is a failure whatever the server answered.
--
-- SPDX-License-Identifier: MIT

local sqltext = require "luphant.sqltext"
local tables = require "luphant.migrate.tables"

local M = {}

local BLANK = { space = true, comment = true }

local function tokens_of(sql)
  local list = {}
  for _, token in ipairs((sqltext.tokens(sql))) do
    if not BLANK[token.kind] then list[#list + 1] = token end
  end
  return list
end

local function is_word(token, word) return token ~= nil and token.kind == "word" and token.text:lower() == word end

local function skip(list, at, ...)
  for i = 1, select("#", ...) do
    if not is_word(list[at], (select(i, ...))) then return at, false end
    at = at + 1
  end
  return at, true
end

-- One name, with its parts, as it stands; where it ends.
local function name_at(list, at)
  local parts = {}
  while list[at] and (list[at].kind == "word" or list[at].kind == "quoted") do
    parts[#parts + 1] = list[at].text
    if not (list[at + 1] and list[at + 1].text == ".") then return table.concat(parts, "."), at + 1 end
    at = at + 2
  end
  return nil, at
end

local function bare(name)
  if name:find '^"' then return (name:sub(2, -2):gsub('""', '"')) end
  return name:lower()
end

local function read_create(list)
  local at = is_word(list[2], "unique") and 3 or 2
  local found
  at, found = skip(list, at, "index", "concurrently")
  if not found then return nil end
  local if_at, has_if = skip(list, at, "if", "not", "exists")
  if has_if then at = if_at end
  local name
  if not is_word(list[at], "on") then name, at = name_at(list, at) end
  at = skip(list, at, "on")
  local only_at, has_only = skip(list, at, "only")
  local relation = name_at(list, has_only and only_at or at)
  -- Without a name the server makes one; nothing of that can be found again.
  if not name or not relation then return { verb = "create" } end
  return { verb = "create", index = bare(name), relation = relation }
end

local REINDEXED = { index = "index", table = "table" }

local function read_reindex(list)
  local at = 2
  if list[at] and list[at].text == "(" then
    while list[at] and list[at].text ~= ")" do at = at + 1 end
    at = at + 1
  end
  local what = list[at] and REINDEXED[list[at].text:lower()]
  if not what then return nil end
  if not is_word(list[at + 1], "concurrently") then return nil end
  return { verb = "reindex", what = what, relation = (name_at(list, at + 2)) }
end

--- What a statement builds concurrently; nil for all others.
---@param statement luphant.sqltext.Statement
---@return { verb: string, index?: string, relation?: string, what?: string }?
function M.read(statement)
  local words, has = statement.words, false
  for _, word in ipairs(words) do has = has or word == "concurrently" end
  if not has then return nil end
  local list = tokens_of(statement.sql)
  if words[1] == "create" then return read_create(list) end
  if words[1] == "reindex" then return read_reindex(list) or { verb = "other" } end
  return { verb = "other" }
end

local INVALID = [[
select c.relname as name, n.nspname as schema, p.pid as builder
  from pg_index i join pg_class c on c.oid = i.indexrelid join pg_namespace n on n.oid = c.relnamespace
  left join pg_stat_progress_create_index p on p.index_relid = c.oid and p.pid <> pg_backend_pid()
 where not i.indisvalid and %s
 order by c.relname]]

local OF_CREATE = "i.indrelid = to_regclass($1) and c.relname = $2"
-- The new ones that REINDEX CONCURRENTLY leaves when it fails; the old one goes on serving.
local OF_TABLE = "i.indrelid = to_regclass($1) and c.relname ~ '_cc(new|old)[0-9]*$'"
local OF_INDEX = [[i.indrelid = (select indrelid from pg_index where indexrelid = to_regclass($1))
   and c.relname ~ '_cc(new|old)[0-9]*$']]

-- Invalid indexes that a statement leaves or left.
local function invalid(conn, found)
  if not found.relation then return {} end
  if found.verb == "create" then
    return conn:query(INVALID:format(OF_CREATE), found.relation, found.index)
  elseif found.verb == "reindex" then
    return conn:query(INVALID:format(found.what == "index" and OF_INDEX or OF_TABLE), found.relation)
  end
  return {}
end

--- Drops what an earlier attempt has left.
---@param conn luphant.connection
---@param found table as `read` answers it
---@param on_drop fun(name: string)
---@return true?
---@return luphant.error|table|nil
function M.before(conn, found, on_drop)
  local list, err = invalid(conn, found)
  if not list then return nil, err end
  for _, index in ipairs(list) do
    local name = tables.quote(index.schema) .. "." .. tables.quote(index.name)
    if index.builder then
      return nil, { message = ("the index %s is being built by server process %d"):format(name, index.builder) }
    end
    on_drop(name)
    local done
    done, err = conn:script(("drop index concurrently if exists %s"):format(name))
    if not done then return nil, err end
  end
  return true
end

--- Is what was built valid?
---@param conn luphant.connection
---@param found table
---@return true?
---@return luphant.error|table|nil
function M.after(conn, found)
  local list, err = invalid(conn, found)
  if not list then return nil, err end
  if #list == 0 then return true end
  return nil, {
    message = ("the index %s is there, but invalid"):format(list[1].name),
    hint = "`resume` drops it and builds it again",
  }
end

return M
