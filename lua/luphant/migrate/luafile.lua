-- luphant.migrate.luafile - a migration written in Lua: `return { up = function(db) ... end, down = ..., ... }`.
--
-- The file runs with a fresh table of globals that reads through to the real ones: what it assigns is gone with it.
-- Only text is loaded, never bytecode. Options are fields of the table, named and checked as on marker lines.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local compat = require "luphant.compat"
local marker = require "luphant.migrate.marker"

local FUNCTIONS = { up = true, down = true, check = true, verify = true }
local OPTIONS = {
  transaction = true, lock_timeout = true, statement_timeout = true, retry = true, requires = true, replaces = true,
  phase = true, irreversible = true,
}

local KNOWN = {}
for name in pairs(FUNCTIONS) do KNOWN[#KNOWN + 1] = name end
for name in pairs(OPTIONS) do KNOWN[#KNOWN + 1] = name end
table.sort(KNOWN)

-- "file.lua:3: message" -> 3, "message"
local function place_of(message, file)
  local head = file .. ":"
  if message:sub(1, #head) ~= head then return nil, message end
  local line, rest = message:match("^(%d+): (.*)$", #head + 1)
  return tonumber(line), rest or message
end

local function run(text, file)
  local chunk, why = compat.load(text, "@" .. file, setmetatable({}, { __index = _G }))
  if not chunk then return nil, why end
  local fine, answer = pcall(chunk)
  if not fine then return nil, tostring(answer) end
  if type(answer) ~= "table" then
    return nil, ("must return a table with the function up, not %s"):format(args.show(answer))
  end
  return answer
end

local function read_fields(fields, complain)
  local script, options = {}, {}
  for name, value in pairs(fields) do
    if FUNCTIONS[name] then
      if type(value) ~= "function" then complain(name .. " must be a function") end
      script[name] = value
    elseif OPTIONS[name] then
      local read, why = marker.option(name, value)
      if why then complain(why) end
      options[name] = read
    elseif name == "vars" then
      complain "vars belongs to SQL files; Lua reads values where it likes"
    else
      complain(("unknown field %q%s"):format(tostring(name), args.did_you_mean(tostring(name), KNOWN)))
    end
  end
  if not script.up then complain "has no function up" end
  if script.down and options.irreversible then complain "there is a way back, yet it says irreversible" end
  return script, options
end

--- Loads one file.
---@param text string normalised
---@param file string
---@return table<string, function> script `up`, and `down`, `check`, `verify` where there are any
---@return luphant.migrate.SectionOptions options
---@return luphant.migrate.Problem[] problems
local function load(text, file)
  local problems = {}
  local fields, why = run(text, file)
  if not fields then
    local line, message = place_of(why, file)
    return {}, {}, { { file = file, line = line, message = message } }
  end
  local script, options = read_fields(fields, function(message)
    problems[#problems + 1] = { file = file, message = message }
  end)
  table.sort(problems, function(a, b) return a.message < b.message end)
  return script, options, problems
end

return load
