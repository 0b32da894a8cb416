-- cli/args.lua - command lines by argparse, without its habit of leaving the process by itself.
--
-- SPDX-License-Identifier: MIT

local argparse = require "argparse"

local args = {}

local function parser_of(name, command)
  local parser = argparse("luphant " .. name, command.summary):add_help(false)
  command.configure(parser)
  return parser
end

--- The options of a command, or nil and what is wrong.
---@param name string
---@param command table
---@param words string[]
---@return table|nil
---@return string|nil
function args.parse(name, command, words)
  local ok, result = parser_of(name, command):pparse(words)
  if not ok then return nil, (tostring(result):gsub("\n", "; ")) end
  return result
end

---@param name string
---@param command table
---@return string
function args.usage(name, command)
  return parser_of(name, command):get_usage()
end

---@param name string
---@param command table
---@return string
function args.help(name, command)
  return parser_of(name, command):get_help() .. "\n"
end

return args
