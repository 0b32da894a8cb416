-- copy/init.lua - COPY as verbs: conn:copy_in, conn:copy_out.
--
-- What is copied and how is plan.lua's, what both directions share course.lua's; writer.lua and reader.lua are what
-- the verbs return. The bytes are the core's (core/copy.h).
--
-- SPDX-License-Identifier: MIT

local course = require "luphant.copy.course"
local plan = require "luphant.copy.plan"
local reader = require "luphant.copy.reader"
local writer = require "luphant.copy.writer"

local copy = { settle = course.settle }

--- What connection.lua does for us.
function copy.serve(deliver_notices, complete)
  course.serve(deliver_notices)
  plan.complete = complete
end

--- Rows into a table: a writer. See docs/api/copy.md.
---@param conn luphant.connection
---@param target string  a table's name, or a COPY ... FROM STDIN statement
---@param options? table
---@return luphant.copy_writer|nil
---@return luphant.error|nil
function copy.copy_in(conn, target, options)
  local made, err = plan.make(conn, target, options, true)
  if not made then return course.refused(conn, true, target, err) end
  return writer.open(conn, made)
end

--- Rows out of a table or a query: a reader. See docs/api/copy.md.
---@param conn luphant.connection
---@param source string  a table's name, a query, or a COPY ... TO STDOUT statement
---@param options? table
---@return luphant.copy_reader|nil
---@return luphant.error|nil
function copy.copy_out(conn, source, options)
  local made, err = plan.make(conn, source, options, false)
  if not made then return course.refused(conn, false, source, err) end
  return reader.open(conn, made)
end

return copy
