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

for _, verb in ipairs { "query", "query_one", "query_opt", "query_value", "query_column", "execute", "values" } do
  methods[verb] = function(self, ...)
    return self.conn[verb](self.conn, self.sql, ...)
  end
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
