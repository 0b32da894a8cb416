-- luphant.migrate.lint.guard - a statement with IF [NOT] EXISTS where the grammar has room for it.
--
-- SPDX-License-Identifier: MIT

local M = {}

--- The statement, guarded; nil when there is no such form, or when it is guarded already.
---@param ddl luphant.migrate.Ddl
---@param sql string
---@return string?
function M.of(ddl, sql)
  if ddl.if_exists or ddl.if_not_exists then return nil end
  local out
  if ddl.what == "create index" and ddl.name then
    out = sql:gsub("^(.-[iI][nN][dD][eE][xX]%s+)", "%1if not exists ", 1)
    out = out:gsub("if not exists ([cC][oO][nN][cC][uU][rR][rR][eE][nN][tT][lL][yY])%s+", "%1 if not exists ", 1)
  elseif ddl.what == "drop index" then
    out = sql:gsub("^(%a+%s+%a+%s+)", "%1if exists ", 1)
    out = out:gsub("if exists ([cC][oO][nN][cC][uU][rR][rR][eE][nN][tT][lL][yY])%s+", "%1 if exists ", 1)
  elseif ddl.verb == "drop" and (ddl.object == "table" or ddl.object == "view") then
    out = sql:gsub("^(%a+%s+%a+%s+)", "%1if exists ", 1)
  end
  return out ~= sql and out or nil
end

return M
