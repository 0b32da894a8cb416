-- field.lua - the contenders as commands: which of them can run here, and one measurement of one of them.
--
-- SPDX-License-Identifier: MIT

local place = require "bench.harness.place"

local field = {}

local quote = place.quote
local searchpath = rawget(package, "searchpath") -- Lua 5.4 and LuaJIT have it

-- Module paths for a Lua. For the Lua we run on: our own, so that an installed luphant can be measured too. For the
-- other one: the build directory.
local function lua_env(lua)
  local ours = rawget(_G, "jit") and "luajit" or "lua5.4"
  if lua == ours then return { LUA_PATH = "./?.lua;" .. package.path, LUA_CPATH = package.cpath } end
  local core = searchpath("luphant.core", package.cpath) or ""
  local build = core:match("^(.*)/" .. ours:gsub("%p", "%%%0") .. "/")
  return {
    LUA_PATH = "./?.lua;./lua/?.lua;./lua/?/init.lua;;",
    LUA_CPATH = ("%s/%s/?.so;;"):format(build or "build", lua),
  }
end

local function environment(contender, loops)
  local words = { "env -u LUA_PATH_5_4 -u LUA_CPATH_5_4 -u LUA_INIT -u LUA_INIT_5_4" }
  local function add(list)
    for name, value in pairs(list) do words[#words + 1] = name .. "=" .. quote(value) end
  end
  if contender.lua then
    local paths = lua_env(contender.lua)
    paths.LUA_PATH = "./?/init.lua;" .. paths.LUA_PATH
    paths.LUA_CPATH = ("%s/%s/?.so;%s"):format(loops, contender.lua, paths.LUA_CPATH)
    add(paths)
  end
  add(contender.env or {})
  return table.concat(words, " ")
end

-- Runs a command; answers its output and its status.
local function run(command)
  local pipe = assert(io.popen(command .. " 2>&1; s=$?; echo; echo status $s"))
  local text, status = pipe:read "*a":match "^(.-)%s*status (%d+)%s*$"
  pipe:close()
  return text, tonumber(status)
end

--- Looks which contenders can take part. Each gets `version`, or `absent` with the reason.
---@param contenders table[]
---@param machine table
---@param floor string  path of the compiled floor
---@param loops string  folder of what place.build_loops has made
function field.probe(contenders, machine, floor, loops)
  local list = { { key = "floor", command = quote(floor) } }
  for _, contender in ipairs(contenders) do
    for _, program in ipairs(contender.programs) do
      if not contender.version and not place.output("command -v " .. program) then
        contender.absent = contender.absent or program .. " is not installed"
      elseif not contender.version then
        contender.command = ("%s %s bench/%s"):format(environment(contender, loops), program, contender.script)
        local text, status = run(contender.command .. " --probe")
        contender.version = status == 0 and text or nil
        contender.absent = status ~= 0 and text:match "[^\n]*" or nil
      end
    end
    list[#list + 1] = contender
  end
  list[1].version = run(list[1].command .. " --probe")
  for _, contender in ipairs(list) do
    contender.pin = machine.client and ("taskset -c %d "):format(machine.client) or ""
  end
  return list
end

--- One measurement. Answers { cpu =, wall =, units =, check =, memory = (kB, or nil) }, or nil and why not.
function field.measure(contender, question, operations, here)
  if question.needs then assert(here.conn:script(question.needs)) end
  if question.writes or question.name:find "^inserts" then assert(here.conn:execute "truncate luphant_bench.event") end
  local text, status = run(("%s%s %s %d %s %s"):format(contender.pin, contender.command, question.name, operations,
    quote(here.url), quote(question.sql)))
  local cpu, wall, units, check = text:match "([%d.]+) ([%d.]+) (%d+) (%S+)$"
  if status ~= 0 or not cpu then return nil, text:match "[^\n]*", status == 3 end
  if question.writes or question.name:find "^inserts" then
    check = assert(here.conn:query_value [[
      select concat_ws('/', count(*), sum(id), sum(length(name)), sum(amount)) from luphant_bench.event]])
  end
  return {
    cpu = tonumber(cpu), wall = tonumber(wall), units = tonumber(units), check = check,
    memory = tonumber((text:match "(%d+) [%d.]+ [%d.]+ %d+ %S+$")),
  }
end

return field
