-- luphant.migrate.import.folder - what all readers of other tools' migrations need: files, their texts, half-built
-- migrations, complaints.
--
-- A reader answers a list of migrations { kind, version, name, up =, down =, transaction =, vars = } and complaints.
--
-- SPDX-License-Identifier: MIT

local encoding = require "luphant.migrate.encoding"
local lfs = require "lfs"

local M = {}

local function read_file(path)
  local handle, why = io.open(path, "rb")
  local text = handle and handle:read "*a"
  if handle then handle:close() end
  return text and encoding.normalise(text), why
end

local function walk(dir, is_deep, out)
  local names = {}
  for name in lfs.dir(dir) do
    if not name:find "^%." then names[#names + 1] = name end
  end
  table.sort(names)
  for _, name in ipairs(names) do
    local path = dir .. "/" .. name
    local mode = lfs.attributes(path, "mode")
    if mode == "directory" and is_deep then
      walk(path, true, out)
    elseif mode == "file" then
      out[#out + 1] = { path = path, name = name }
    end
  end
  return out
end

---@class luphant.migrate.import.State
---@field list table[]
---@field problems luphant.migrate.Problem[]
local State = {}
State.__index = State

function State:complain(file, message, hint)
  self.problems[#self.problems + 1] = { file = file, message = message, hint = hint }
end

--- A migration, once for both of its halves.
function State:of(kind, version, name)
  local id = kind .. " " .. version
  if not self.index[id] then
    self.index[id] = { kind = kind, version = version, name = (name:gsub("[^%w_%-]+", "_")) }
    self.list[#self.list + 1] = self.index[id]
  end
  return self.index[id]
end

--- Reads a folder: `each(state, file)` for all files, with `path`, `name` and `text`.
---@param dir string
---@param each fun(state: luphant.migrate.import.State, file: table)
---@param is_deep? boolean folders within, too
---@return table[] list
---@return luphant.migrate.Problem[] problems
function M.read(dir, each, is_deep)
  local self = setmetatable({ list = {}, problems = {}, index = {} }, State)
  if lfs.attributes(dir, "mode") ~= "directory" then
    self:complain(dir, "is no folder")
    return self.list, self.problems
  end
  for _, file in ipairs(walk(dir, is_deep, {})) do
    local why
    file.text, why = read_file(file.path)
    if file.text then each(self, file) else self:complain(file.path, why) end
  end
  if #self.list == 0 and #self.problems == 0 then self:complain(dir, "has no migrations") end
  return self.list, self.problems
end

--- A text without blank lines around it, with one line break at its end; nil when nothing is left of it.
function M.trim(text)
  text = text:gsub("^%s*\n", ""):gsub("%s+$", "")
  return text:find "%S" and text .. "\n" or nil
end

return M
