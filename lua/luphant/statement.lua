-- statement.lua - a prepared statement as an object: the verbs of its connection without the SQL text.
--
-- It pins nothing on the server: should the cache have evicted the statement, the next use prepares
-- it again.
--
-- SPDX-License-Identifier: MIT

local statement = {}

---@class luphant.statement
---@field sql string
---@field params { type: string, oid: integer }[]
---@field columns { name: string, type: string, oid: integer }[]
local methods = {}
local metatable = { __name = "luphant.statement", __index = methods }

--- connection.lua gives the verbs, which are its own; one that needs no more than another verb is here.
---@param name string
---@param verb function
function statement.define(name, verb)
  methods[name] = verb
end

--- `for id, name in statement:values(...)`; see luphant.connection.
---@return fun(): any ...
function methods:values(...)
  return self.conn:values(self.sql, ...)
end

--- `for row in statement:stream(...)`; see luphant.connection.
---@return luphant.stream
function methods:stream(...)
  return self.conn:stream(self.sql, ...)
end

function metatable:__tostring()
  return "luphant.statement (" .. self.sql .. ")"
end

---@param conn luphant.connection
---@param sql string
---@param description table
---@return luphant.statement
function statement.new(conn, sql, description)
  return setmetatable({
    conn = conn, sql = sql, params = description.params, columns = description.columns,
  }, metatable)
end

return statement
