-- luphant.migrate.failure - errors of the runner, with the place in the file.
--
-- SPDX-License-Identifier: MIT

local errors = require "luphant.errors"
local order = require "luphant.migrate.order"

local M = {}

---@param problem luphant.migrate.Problem
---@return string
function M.describe(problem)
  local place = problem.file and problem.file .. (problem.line and ":" .. problem.line or "") .. ": " or ""
  return place .. problem.message .. (problem.hint and "; " .. problem.hint or "")
end

--- One error for everything that speaks against a run; its message holds the whole list.
---@param problems luphant.migrate.Problem[]
---@return luphant.error
function M.invalid(problems)
  local lines = {}
  for i, problem in ipairs(problems) do lines[i] = M.describe(problem) end
  local head = #problems == 1 and "" or ("%d problems with the migrations:\n  "):format(#problems)
  return errors.new("migration_invalid", head .. table.concat(lines, "\n  "), {
    class = "usage", problems = problems,
  })
end

-- The place where the server found the error: it counts characters of the statement that was sent. The column is known
-- only with a position; values of placeholders before it on its line make it that of the text they were put into.
local function place_of(cause, statement)
  local position, line, column, seen = cause.position, statement.line, statement.column, 0
  if not position then return line end
  for char in (cause.query or statement.sql):gmatch "[%z\1-\127\194-\244][\128-\191]*" do
    seen = seen + 1
    if seen >= position then break end
    column = column and column + 1
    if char == "\n" then line, column = line + 1, 1 end
  end
  return line, column
end

---@class (exact) luphant.migrate.Where
---@field step luphant.migrate.Step
---@field part string "up", "down", "check", "verify", "commit" ...
---@field section? luphant.migrate.Section
---@field statement? luphant.sqltext.Statement
---@field index? integer which statement of the part
---@field line? integer of a migration in Lua

--- What went wrong in a migration, with the place in the file; the server's error is the cause.
---@param where luphant.migrate.Where
---@param cause any an error object, or { message = }
---@return luphant.error
function M.failed(where, cause)
  if type(cause) ~= "table" then cause = { message = tostring(cause) } end
  if cause.kind == "migration_failed" then return cause end
  local file, statement = order.file_of(where.step), where.statement
  local line, column
  if statement then line, column = place_of(cause, statement) end
  line = line or where.line or (where.section and where.section.line)
  local is_error = errors.is_error(cause)
  return errors.new("migration_failed",
    M.describe { file = file, line = line, message = ("migrate:%s: %s"):format(where.part, cause.message) }, {
      file = file, line = line, line_column = column, version = where.step.version,
      statement = where.index, part = where.part,
      class = is_error and cause.class or nil, sqlstate = cause.sqlstate, detail = cause.detail,
      hint = cause.hint, cause = is_error and cause or nil, sent = is_error and cause.sent or "yes",
      retryable = false,
    })
end

--- The server's error inside of one of ours.
---@param err any
---@return any
function M.root(err)
  while errors.is_error(err) and errors.is_error(err.cause) do err = err.cause end
  return err
end

return M
