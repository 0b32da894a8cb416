-- errors.lua - the one error object: what the world did, with everything known about it.
--
-- An error is a table of plain fields under `errors.metatable`. The core fills in what the server
-- said (it is given the metatable once); the Lua side makes its own with `errors.new`. Code asks
-- `err.kind`, `err.class` or `err:is(...)`; people read tostring(err), which must make sense alone
-- in a log. No field and no text ever holds a password; parameter values stand apart from the
-- fields, so that dumping an error does not spill them. Nothing here raises or talks to a server.
--
-- SPDX-License-Identifier: MIT

local caret = require "luphant.caret"
local compat = require "luphant.compat"
local kinds = require "luphant.kinds"
local redact = require "luphant.redact"

local concat = table.concat

---@class luphant.error
---@field kind string           one word: "unique_violation", "connect_timeout", ...
---@field class string          connection, query, constraint, timeout, transaction, pool or usage
---@field sqlstate? string      five characters, when the server made the error
---@field message string
---@field detail? string
---@field hint? string
---@field position? integer     1-based, in characters of `query`
---@field schema? string
---@field table? string
---@field column? string
---@field datatype? string
---@field constraint? string
---@field context? string
---@field severity? string
---@field internal_query? string
---@field internal_position? integer
---@field routine? string       the server function that reported it
---@field query? string
---@field sent? "no"|"maybe"|"yes"  did the statement reach the server?
---@field retryable? boolean
---@field traceback? string
---@field cause? any            what led to this error
---@field attempts? table[]|integer  { host, address, port, kind, message } for each address that was tried; of a
---transaction with `retry`: how often it was tried
---@field causes? any[]         what the earlier attempts of a transaction failed with
---@field xid? string           commit_unknown: the transaction's id
---@field backend_pid? integer
---@field host? string
---@field port? string|integer
---@field dbname? string
---@field user? string
local methods = {}

local errors = {}

local metatable = { __name = "luphant.error" }
errors.metatable = metatable

local own_kinds = {}
for _, entry in ipairs(kinds) do own_kinds[entry.kind] = entry end
local UNKNOWN = { class = "query", retryable = false }

-- Parameter values by error object: private, so that neither pairs() nor a dumper meets them.
local captured = setmetatable({}, { __mode = "k" })

function metatable.__index(err, field)
  local method = methods[field]
  if method then return method end
  -- The core fills in class and retryable; an error that was made by hand has those of its kind.
  if field == "class" then return (own_kinds[rawget(err, "kind")] or UNKNOWN).class end
  if field == "retryable" then return (own_kinds[rawget(err, "kind")] or UNKNOWN).retryable end
end

--- Is `value` an error object of luphant?
---@param value any
---@return boolean
function errors.is_error(value)
  return type(value) == "table" and getmetatable(value) == metatable
end

--- Makes an error of the Lua side. `fields` are copied in.
---@param kind string
---@param message string
---@param fields? table
---@return luphant.error
function errors.new(kind, message, fields)
  local err = compat.copy(fields)
  err.kind, err.message = kind, message
  if err.sent == nil then err.sent = "no" end
  local known = own_kinds[kind] or UNKNOWN
  if err.class == nil then err.class = known.class end
  if err.retryable == nil then err.retryable = known.retryable end
  return setmetatable(err, metatable)
end

--- Does the error have this kind, class or SQLSTATE (five characters, or its first two)?
--- Several names: any of them. Anything that is not an error of luphant is none of them.
---@param err any
---@param ... string
---@return boolean
function errors.is(err, ...)
  if not errors.is_error(err) then return false end
  local sqlstate = rawget(err, "sqlstate")
  for i = 1, select("#", ...) do
    local name = select(i, ...)
    if name == err.kind or name == err.class then return true end
    if sqlstate and (name == sqlstate or (#name == 2 and name == sqlstate:sub(1, 2))) then return true end
  end
  return false
end
methods.is = errors.is

--- A method that another room gives to all errors: `fn(err, ...)`.
---@param name string
---@param fn function
function errors.add_method(name, fn)
  methods[name] = fn
end

--- The kinds luphant itself makes. Errors of the server carry the condition names of PostgreSQL's
--- appendix "Error Codes" instead.
---@return { kind: string, class: string, retryable: boolean, meaning: string }[]
function errors.kinds()
  local out = {}
  for i, entry in ipairs(kinds) do out[i] = compat.copy(entry) end
  return out
end

--- Keeps parameter values with an error, out of sight. `values` is a packed table (with `n`).
---@param err luphant.error
---@param values table
function errors.capture_params(err, values)
  captured[err] = values
end

--- The parameters of the failed statement (packed, with `n`), or nil when they were not captured.
---@return table|nil
function methods:params()
  return captured[self]
end

local TEXTS = { "message", "detail", "hint", "context", "query", "internal_query", "traceback" }

--- Removes a secret from a text, or from every text of an error object (also its causes).
---@generic T : string|luphant.error
---@param subject T
---@param secret string|nil
---@return T
function errors.redact(subject, secret)
  if type(subject) == "string" then return redact.secret(subject, secret) end
  local seen = {}
  local err = subject
  while errors.is_error(err) and not seen[err] do
    seen[err] = true
    for _, field in ipairs(TEXTS) do
      local text = rawget(err, field)
      if type(text) == "string" then err[field] = redact.secret(text, secret) end
    end
    local attempts = rawget(err, "attempts") -- of a transaction: how many there were
    for _, attempt in ipairs(type(attempts) == "table" and attempts or {}) do
      if type(attempt.message) == "string" then
        attempt.message = redact.secret(attempt.message, secret)
      end
    end
    if type(err.cause) == "string" then err.cause = redact.secret(err.cause, secret) end
    err = err.cause
  end
  return subject
end

---------------------------------------------------------------------------------------- as text

local MAX_CAUSES = 8
local QUERY_SHOWN = 200
local QUERY_READ = 65536 -- enough to find the end of any password that begins in what is shown

-- Later lines of a text stand under its first line (libpq indents its own with a tab).
local function indented(text, by)
  return (tostring(text):gsub("%s+$", ""):gsub("\r?\n\t*", "\n" .. (" "):rep(by)))
end

local function add(lines, label, text)
  if text == nil or text == "" then return end
  lines[#lines + 1] = ("  %s: %s"):format(label, indented(text, #label + 4))
end

-- A query without position: its beginning in one line says which one it was.
local function shortened(query)
  local line = redact.sql(query:sub(1, QUERY_READ)):gsub("%s+", " "):gsub("^ ", ""):gsub(" $", "")
  if #line <= QUERY_SHOWN then return line end
  -- Never cut within a UTF-8 character.
  return (line:sub(1, QUERY_SHOWN):gsub("[\192-\255][\128-\191]*$", "")) .. " ..."
end

local function add_query(lines, label, query, position)
  if type(query) ~= "string" or query == "" then return end
  local shown = position and caret.show(redact.sql(query), position)
  if shown then
    lines[#lines + 1] = "  " .. shown:gsub("\n", "\n  ")
  else
    add(lines, label, shortened(query))
  end
end

local function add_session(lines, err)
  local words = {}
  for _, field in ipairs { "host", "port", "dbname", "user", "backend_pid" } do
    local value = rawget(err, field)
    if value ~= nil and value ~= "" then words[#words + 1] = field .. "=" .. compat.text(value) end
  end
  if #words > 0 then add(lines, "session", concat(words, " ")) end
end

local function add_attempts(lines, attempts)
  if type(attempts) ~= "table" or #attempts == 0 then return end
  lines[#lines + 1] = "  attempts:"
  for i, attempt in ipairs(attempts) do
    local where = tostring(attempt.host or attempt.address or "?")
    if attempt.port then where = where .. ":" .. compat.text(attempt.port) end
    if attempt.host and attempt.address and attempt.host ~= attempt.address then
      where = ("%s (%s)"):format(where, attempt.address)
    end
    lines[#lines + 1] = ("    %d. %s: %s"):format(i, where, indented(attempt.message or "?", 7))
  end
end

local function first_line(err)
  local kind = tostring(rawget(err, "kind") or "unknown")
  local sqlstate = rawget(err, "sqlstate")
  if sqlstate and sqlstate ~= "" then kind = ("%s (%s)"):format(kind, sqlstate) end
  return ("%s: %s"):format(kind, indented(rawget(err, "message") or "no message was given", 2))
end

local render

local function add_cause(lines, err, depth)
  local cause = rawget(err, "cause")
  if cause == nil then return end
  if depth >= MAX_CAUSES then
    add(lines, "cause", "... (more causes are not shown)")
  elseif errors.is_error(cause) then
    lines[#lines + 1] = "  cause: " .. render(cause, depth + 1):gsub("\n", "\n  ")
  else
    add(lines, "cause", tostring(cause))
  end
end

function render(err, depth)
  local lines = { first_line(err) }
  add(lines, "detail", rawget(err, "detail"))
  add(lines, "hint", rawget(err, "hint"))
  add_query(lines, "query", rawget(err, "query"), rawget(err, "position"))
  add_query(lines, "inner query", rawget(err, "internal_query"), rawget(err, "internal_position"))
  add(lines, "context", rawget(err, "context"))
  add(lines, "batch", rawget(err, "batch"))
  if rawget(err, "sent") == "maybe" then
    add(lines, "sent", "maybe (no answer came back: the server may have run it)")
  end
  add_attempts(lines, rawget(err, "attempts"))
  add_session(lines, err)
  add_cause(lines, err, depth)
  return concat(lines, "\n")
end

function metatable.__tostring(err)
  return render(err, 0)
end

function metatable.__concat(a, b)
  return tostring(a) .. tostring(b)
end

return errors
