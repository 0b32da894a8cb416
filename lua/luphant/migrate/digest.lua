-- luphant.migrate.digest - what is remembered of a migration's text.
--
-- The checksum covers everything: way there, way back, checks, options, comments. The statement hash leaves comments,
-- blanks and line breaks out, so that a status can say "only comments changed". Values of placeholders are in neither:
-- the same migration runs with other values elsewhere.
--
-- SPDX-License-Identifier: MIT

local compat = require "luphant.compat"
local core = require "luphant.core"
local marker = require "luphant.migrate.marker"
local sqltext = require "luphant.sqltext"

local M = {}

local function show(value)
  if type(value) == "table" then return table.concat(value, ",") end
  return compat.text(value)
end

local function show_options(options)
  local out = {}
  for _, name in ipairs(compat.sorted_keys(options)) do out[#out + 1] = name .. "=" .. show(options[name]) end
  return table.concat(out, " ")
end

--- The checksum of a text, hexadecimal. Kind 1 of the history: SHA-256 of the normalised text.
---@param text string
---@return string
function M.checksum(text) return core.sha256(text) end

--- The hash of statements and options alone, hexadecimal; of a Lua file that is the checksum.
---@param migration luphant.migrate.Migration
---@return string
function M.statements(migration)
  if migration.language == "lua" then return migration.checksum end
  local out = {}
  for _, name in ipairs(marker.SECTIONS) do
    local section = migration[name]
    if section then
      out[#out + 1] = name .. " " .. show_options(section.options)
      for _, statement in ipairs(section.statements) do
        out[#out + 1] = sqltext.bare(statement.sql, { placeholders = true })
      end
    end
  end
  return core.sha256(table.concat(out, "\n\0\n"))
end

local SHORT = 16 -- hexadecimal digits: enough to tell the statements of one file apart

--- A short hash of each statement, comments and blanks left out: so that a later look can say which one was edited.
---@param section? luphant.migrate.Section
---@return string[]?
function M.each(section)
  if not section then return nil end
  local out = {}
  for i, statement in ipairs(section.statements) do
    out[i] = core.sha256((sqltext.bare(statement.sql, { placeholders = true }))):sub(1, SHORT)
  end
  return out
end

return M
