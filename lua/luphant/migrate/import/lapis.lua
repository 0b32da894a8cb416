-- luphant.migrate.import.lapis - a module of functions that call lapis.db.schema: they are run with a database that
-- writes down what it is told, and so become SQL.
--
-- A function that asks the database for something cannot be written down: what it does depends on the answer. Such ones
-- are told, all of them. There is no way back; lapis has none.
--
-- SPDX-License-Identifier: MIT

local compat = require "luphant.compat"

local M = {}

-- ---- what lapis.db is told ----------------------------------------------------------------------------------

local function identifier(name)
  if type(name) == "table" then return name[2] end -- db.raw
  return '"' .. tostring(name):gsub('"', '""') .. '"'
end

local function literal(value)
  if type(value) == "table" then return value[2] end
  if type(value) == "boolean" then return value and "TRUE" or "FALSE" end
  if type(value) == "number" then return ("%.14g"):format(value) end
  return "'" .. tostring(value):gsub("'", "''") .. "'"
end

local function raw(text) return { "raw", text } end

local function interpolate(sql, ...)
  local values, i = { ... }, 0
  return (sql:gsub("%?", function()
    i = i + 1
    return literal(values[i])
  end))
end

local function condition(fields)
  local parts = {}
  for _, name in ipairs(compat.sorted_keys(fields)) do
    parts[#parts + 1] = ("%s = %s"):format(identifier(name), literal(fields[name]))
  end
  return table.concat(parts, " AND ")
end

local function new_db(out)
  local db = { NULL = raw "NULL", TRUE = raw "TRUE", FALSE = raw "FALSE", raw = raw }
  db.escape_identifier, db.escape_literal, db.interpolate_query = identifier, literal, interpolate
  function db.query(sql, ...)
    sql = interpolate(sql, ...):gsub("%s*;?%s*$", "")
    local word = sql:match "^%s*(%a+)"
    if word and (word:lower() == "select" or sql:lower():find "%sreturning%s") then
      error({ asks = "asks the database: " .. sql }, 0)
    end
    out[#out + 1] = sql
    return {}
  end
  function db.select(sql) error({ asks = "asks the database: select " .. tostring(sql) }, 0) end
  function db.insert(name, fields)
    local columns, values = {}, {}
    for i, column in ipairs(compat.sorted_keys(fields)) do
      columns[i], values[i] = identifier(column), literal(fields[column])
    end
    return db.query(("INSERT INTO %s (%s) VALUES (%s)"):format(identifier(name), table.concat(columns, ", "),
      table.concat(values, ", ")))
  end
  function db.update(name, fields, where, ...)
    local cond = type(where) == "table" and condition(where) or where and interpolate(where, ...)
    local sets = condition(fields):gsub(" AND ", ", ")
    return db.query(("UPDATE %s SET %s"):format(identifier(name), sets) .. (cond and " WHERE " .. cond or ""))
  end
  function db.delete(name, where, ...)
    local cond = type(where) == "table" and condition(where) or where and interpolate(where, ...)
    return db.query("DELETE FROM " .. identifier(name) .. (cond and " WHERE " .. cond or ""))
  end
  return db
end

-- ---- what lapis.db.schema is told ---------------------------------------------------------------------------

local Type = {}
Type.__index = Type

local function with_options(self, given)
  local options = {}
  for name, value in pairs(self.defaults) do options[name] = value end
  for name, value in pairs(given or {}) do options[name] = value end
  local text = self.base .. (options.timezone and " with time zone" or "")
  if options.array then text = text .. ("[]"):rep(options.array == true and 1 or options.array) end
  if not options.null then text = text .. " NOT NULL" end
  if options.default ~= nil then text = text .. " DEFAULT " .. literal(options.default) end
  if options.unique then text = text .. " UNIQUE" end
  if options.primary_key then text = text .. " PRIMARY KEY" end
  return text
end

Type.__call = with_options
Type.__tostring = function(self) return with_options(self) end

local TYPES = {
  serial = { "serial" }, varchar = { "character varying(255)" }, text = { "text" }, time = { "timestamp" },
  date = { "date" }, foreign_key = { "integer" }, enum = { "smallint" }, bigint = { "bigint", 0 },
  integer = { "integer", 0 }, numeric = { "numeric", 0 }, real = { "real", 0 }, double = { "double precision", 0 },
  boolean = { "boolean", false },
}

local types = setmetatable({}, {
  __index = function(_, name)
    local known = TYPES[name]
    if not known then error(("there is no column type %q"):format(tostring(name)), 0) end
    return setmetatable({ base = known[1], defaults = { default = known[2] } }, Type)
  end,
})

local function index_name(...)
  local parts = {}
  for i = 1, select("#", ...) do
    local part = select(i, ...)
    if type(part) == "string" then
      parts[#parts + 1] = part
    elseif type(part) == "table" and part[1] == "raw" then
      parts[#parts + 1] = part[2]:gsub("[^%w]+$", ""):gsub("[^%w]+", "_")
    end
  end
  return table.concat(parts, "_") .. "_idx"
end

local function create_index(db, name, ...)
  local columns, options = {}, {}
  for i = 1, select("#", ...) do
    local part = select(i, ...)
    if type(part) == "table" and part[1] ~= "raw" then
      for key, value in pairs(part) do options[key] = value end
    else
      columns[#columns + 1] = identifier(part)
    end
  end
  db.query(("CREATE %sINDEX %s%s ON %s%s (%s)%s%s"):format(options.unique and "UNIQUE " or "",
    options.concurrently and "CONCURRENTLY " or "", identifier(options.index_name or index_name(name, ...)),
    identifier(name), options.method and " USING " .. options.method or "", table.concat(columns, ", "),
    options.tablespace and " TABLESPACE " .. options.tablespace or "",
    options.where and " WHERE " .. options.where or ""))
end

local function create_table(db, name, columns)
  local lines = {}
  for i, column in ipairs(columns) do
    lines[i] = type(column) == "table" and identifier(column[1]) .. " " .. tostring(column[2]) or column
  end
  db.query(("CREATE TABLE IF NOT EXISTS %s (\n  %s\n)"):format(identifier(name), table.concat(lines, ",\n  ")))
end

local function new_schema(db)
  local function alter(form)
    return function(name, ...) return db.query("ALTER TABLE " .. identifier(name) .. form(...)) end
  end
  local schema = { types = types, gen_index_name = index_name }
  schema.create_table = function(...) return create_table(db, ...) end
  schema.create_index = function(...) return create_index(db, ...) end
  schema.entity_exists = function() return false end -- as on a new database
  schema.drop_table = function(name) return db.query("DROP TABLE IF EXISTS " .. identifier(name)) end
  schema.drop_index = function(...) return db.query("DROP INDEX IF EXISTS " .. identifier(index_name(...))) end
  schema.add_column = alter(function(column, kind) return (" ADD COLUMN %s %s"):format(identifier(column),
    tostring(kind)) end)
  schema.drop_column = alter(function(column) return " DROP COLUMN " .. identifier(column) end)
  schema.rename_column = alter(function(from, to) return (" RENAME COLUMN %s TO %s"):format(identifier(from),
    identifier(to)) end)
  schema.rename_table = alter(function(to) return " RENAME TO " .. identifier(to) end)
  return schema
end

-- ---- the module ---------------------------------------------------------------------------------------------

local function load(path, out)
  local handle, why = io.open(path, "rb")
  local text = handle and handle:read "*a"
  if handle then handle:close() end
  if not text then return nil, why end
  local db = new_db(out)
  local schema = new_schema(db)
  local own = {
    ["lapis.db"] = db, ["lapis.db.postgres"] = db, ["lapis.db.schema"] = schema, ["lapis.db.postgres.schema"] = schema,
  }
  local globals = setmetatable({ require = function(name) return own[name] or require(name) end }, { __index = _G })
  local chunk
  chunk, why = compat.load(text, "@" .. path, globals)
  if not chunk then return nil, why end
  local fine, answer = pcall(chunk)
  if not fine then return nil, tostring(answer) end
  if type(answer) ~= "table" then return nil, "does not return a table of functions" end
  return answer
end

local function keys_of(functions)
  local keys = {}
  for key in pairs(functions) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  return keys
end

local function name_of(key)
  if type(key) == "number" then key = ("%.0f"):format(key) end
  local digits, name = tostring(key):match "^(%d+)[_%-]?(.*)$"
  if digits then return digits, name ~= "" and name:gsub("[^%w_%-]+", "_") or "migration" end
end

local function read(path)
  if path:sub(-4) ~= ".lua" then path = path .. "/migrations.lua" end
  local list, problems, out = {}, {}, {}
  local functions, why = load(path, out)
  if not functions then return {}, { { file = path, message = why } } end
  for _, key in ipairs(keys_of(functions)) do
    local digits, name = name_of(key)
    for i = #out, 1, -1 do out[i] = nil end
    local fine, fault = pcall(functions[key], key)
    if not digits then
      problems[#problems + 1] = { file = path, message = ("%s does not begin with digits"):format(tostring(key)) }
    elseif not fine then
      fault = type(fault) == "table" and fault.asks or tostring(fault)
      problems[#problems + 1] = { file = path, message = ("%s: %s"):format(tostring(key), fault),
        hint = "write this one by hand" }
    else
      list[#list + 1] = {
        kind = "versioned", version = digits, name = name, key = tostring(key),
        up = #out > 0 and table.concat(out, ";\n\n") .. ";\n" or "select 1; -- did nothing\n",
      }
    end
  end
  return list, problems
end

-- Names, perhaps behind a prefix.
local function history(q, name, list)
  local names, err = q:query_column(("select name::text from %s"):format(name))
  if not names then return nil, err end
  local out = {}
  for _, text in ipairs(names) do
    local found = name_of(text)
    for _, migration in ipairs(list) do
      local is_it = migration.key == text or text:sub(-#migration.key - 1) == "_" .. migration.key
      if is_it then found = migration.version end
    end
    out[#out + 1] = { version = found or text, kind = "versioned", fine = true }
  end
  return out
end

M.lapis = { table = "lapis_migrations", read = read, history = history }

return M
