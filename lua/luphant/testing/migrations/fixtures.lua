-- luphant.testing.migrations.fixtures - rows for the test of migrations: a migration fails where there are rows, rarely
-- where there are none.
--
--     20260731094500.before.sql    run before the migration: rows as they were then
--     20260731094500.after.sql     run after it: queries must answer no row, or nothing but true
--     20260731094500.down.sql      the same, after it was taken back
--     start.sql                    run before the first migration
--
-- Of a repeatable migration the version is R__name. A file that belongs to no migration is an error.
--
-- SPDX-License-Identifier: MIT

local encoding = require "luphant.migrate.encoding"
local lfs = require "lfs"
local order = require "luphant.migrate.order"
local shell = require "luphant.testing.shell"
local sqltext = require "luphant.sqltext"
local version = require "luphant.migrate.version"

local M = {}

local PARTS = { before = true, after = true, down = true }

local function key_of(text)
  if text:find "^R__" then return text end
  return version.is(text) and version.key(text) or nil
end

local function read_file(self, path, id, part, problems)
  local text = shell.read_file(path)
  local statements, found = sqltext.split(encoding.normalise(text or ""))
  for _, problem in ipairs(found or {}) do
    problems[#problems + 1] = ("%s:%d: %s"):format(path, problem.line or 1, problem.message)
  end
  self[id] = self[id] or {}
  self[id][part] = { file = path, statements = statements or {} }
end

local function read_entry(self, dir, entry, known, problems)
  local path = dir .. "/" .. entry
  if entry == "start.sql" then return read_file(self, path, "", "before", problems) end
  local text, part = entry:match "^(.+)%.(%l+)%.sql$"
  local id = text and PARTS[part] and key_of(text)
  if not id then
    problems[#problems + 1] = path .. ": is no fixture; they are called <version>.before.sql, .after.sql or .down.sql"
  elseif not known[id] then
    problems[#problems + 1] = path .. ": there is no migration " .. text
  else
    read_file(self, path, id, part, problems)
  end
end

--- Reads the fixtures of a folder; no folder, no fixtures.
---@param dir string?
---@param list luphant.migrate.Migration[]
---@return table? fixtures
---@return string[]? problems
function M.load(dir, list)
  local self, problems, known = {}, {}, {}
  if not dir or lfs.attributes(dir, "mode") ~= "directory" then return self end
  for _, migration in ipairs(list) do known[key_of(order.label(migration)) or ""] = true end
  for entry in lfs.dir(dir) do
    if not entry:find "^%." and not entry:find "^README" then read_entry(self, dir, entry, known, problems) end
  end
  table.sort(problems)
  if #problems > 0 then return nil, problems end
  return self
end

local function complaint_of(results)
  for _, result in ipairs(results) do
    for _, row in ipairs(result.columns and result.rows or {}) do
      for _, column in ipairs(result.columns) do
        local value = row[column.name]
        if value ~= true then
          return ("answered %s = %s"):format(column.name, value == nil and "NULL" or tostring(value))
        end
      end
    end
  end
end

--- Runs a fixture; those behind a migration are judged. Answers true, or nil and what is wrong.
---@param fixtures table
---@param migration luphant.migrate.Migration? nil: start.sql
---@param part "before"|"after"|"down"
---@param conn luphant.connection
---@return true?
---@return string?
function M.run(fixtures, migration, part, conn)
  local id = migration and key_of(order.label(migration)) or ""
  local fixture = fixtures[id] and fixtures[id][part]
  if not fixture then return true end
  for _, statement in ipairs(fixture.statements) do
    local place = ("%s:%d: "):format(fixture.file, statement.line)
    local results, err = conn:script(statement.sql)
    if not results then return nil, place .. err.message end
    local complaint = part ~= "before" and complaint_of(results)
    if complaint then return nil, place .. complaint end
  end
  return true
end

return M
