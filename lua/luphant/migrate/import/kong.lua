-- luphant.migrate.import.kong - Kong and its plugins: init.lua lists the names of files beside it, each a module with
-- `postgres = { up = [[SQL]], up_f = function, teardown = function }`.
--
-- A teardown is what is done once the old nodes are gone: it becomes a migration of its own, phase:contract, behind the
-- one it belongs to (003.1 behind 003). Functions are run with a connector that writes down what it is told; one that
-- asks the database for something, or needs modules of Kong, cannot be written down and is told.
--
-- SPDX-License-Identifier: MIT

local compat = require "luphant.compat"
local folder = require "luphant.migrate.import.folder"

local M = {}

local function load(path)
  local handle, why = io.open(path, "rb")
  local text = handle and handle:read "*a"
  if handle then handle:close() end
  if not text then return nil, why end
  local chunk
  chunk, why = compat.load(text, "@" .. path, setmetatable({}, { __index = _G }))
  if not chunk then return nil, why end
  local fine, answer = pcall(chunk)
  if not fine then return nil, tostring(answer) end
  if type(answer) ~= "table" then return nil, "does not return a table" end
  return answer
end

-- Stands for Kong's connector; everything but a query is none of its business.
local function recorder(out)
  local connector = {}
  function connector.query(_, sql)
    local word = tostring(sql):match "^%s*(%a+)"
    if not word or word:lower() == "select" or tostring(sql):lower():find "%sreturning%s" then
      error({ asks = "asks the database: " .. tostring(sql) }, 0)
    end
    out[#out + 1] = (tostring(sql):gsub("%s*;?%s*$", ""))
    return {}
  end
  for _, name in ipairs { "connect_migrations", "close", "setkeepalive" } do
    connector[name] = function() return true end
  end
  return setmetatable(connector, { __index = function(_, name)
    return function() error({ asks = ("calls %s, which is Kong's own"):format(tostring(name)) }, 0) end
  end })
end

local function written(fn)
  local out = {}
  local fine, fault = pcall(fn, recorder(out))
  if not fine then return nil, type(fault) == "table" and fault.asks or tostring(fault) end
  return #out > 0 and table.concat(out, ";\n\n") .. ";\n" or ""
end

local function add(state, kind, entry, text)
  if text == "" then return end
  state.list[#state.list + 1] = {
    kind = "versioned", version = entry.version .. (kind == "teardown" and ".1" or ""),
    name = entry.slug .. (kind == "teardown" and "_teardown" or ""), up = text, key = entry.name,
    phase = kind == "teardown" and "contract" or nil, is_teardown = kind == "teardown",
  }
end

local function complain(state, path, message)
  state.problems[#state.problems + 1] = { file = path, message = message, hint = "write this one by hand" }
end

local function read_entry(state, dir, entry)
  local path = ("%s/%s.lua"):format(dir, entry.name)
  local module, why = load(path)
  local postgres = module and module.postgres
  if not module then return complain(state, path, why) end
  if type(postgres) ~= "table" then return complain(state, path, "has no migration for postgres") end
  local parts = { type(postgres.up) == "string" and folder.trim(postgres.up) or "" }
  if postgres.up_f then
    local text, fault = written(postgres.up_f)
    if not text then return complain(state, path, "up_f " .. fault) end
    parts[2] = text
  end
  local text = table.concat(parts)
  -- Kong counts it as executed all the same.
  add(state, "up", entry, text ~= "" and text or "select 1; -- did nothing\n")
  if not postgres.teardown then return end
  local teardown, fault = written(postgres.teardown)
  if not teardown then return complain(state, path, "teardown " .. fault) end
  add(state, "teardown", entry, teardown)
end

local function read(dir)
  local state = { list = {}, problems = {} }
  local names, why = load(dir .. "/init.lua")
  if not names then return {}, { { file = dir .. "/init.lua", message = why } } end
  for _, name in ipairs(names) do
    local digits, slug = tostring(name):match "^(%d+)_(.+)$"
    if digits then
      read_entry(state, dir, { name = name, version = digits, slug = (slug:gsub("[^%w_%-]+", "_")) })
    else
      complain(state, dir .. "/init.lua", ("%s does not begin with digits"):format(tostring(name)))
    end
  end
  if #names == 0 then complain(state, dir .. "/init.lua", "lists no migrations") end
  return state.list, state.problems
end

-- What is executed is all there; what is pending has had its `up`, and waits for its teardown. A subsystem has the name
-- of its folder; the folder of the names of the files decides where two have a name in common.
local HISTORY = [[
select distinct n.name, n.is_pending
  from %s m, lateral (
    select unnest(m.executed) as name, false as is_pending
    union all select unnest(m.pending), true) n
 where m.subsystem = (
   select o.subsystem from %s o
    order by (select count(*) from unnest(coalesce(o.executed, '{}') || coalesce(o.pending, '{}')) e
               where e = any ($1::text[])) desc, o.subsystem limit 1)]]

local function history(q, name, list)
  local keys = {}
  for i, migration in ipairs(list) do keys[i] = migration.key end
  local rows, err = q:query(HISTORY:format(name, name), keys)
  if not rows then return nil, err end
  local out = {}
  for _, row in ipairs(rows) do
    local is_known = false
    for _, migration in ipairs(list) do
      local is_it = migration.key == row.name
      is_known = is_known or is_it
      if is_it and not (migration.is_teardown and row.is_pending) then
        out[#out + 1] = { version = migration.version, kind = "versioned", fine = true }
      end
    end
    if not is_known then out[#out + 1] = { version = row.name, kind = "versioned", fine = true } end
  end
  return out
end

M.kong = { table = "schema_meta", read = read, history = history }

return M
