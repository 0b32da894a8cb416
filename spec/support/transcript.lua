-- spec.support.transcript: pages whose transcripts are what the commands really print.
--
-- A page is read from heading to heading; each section has an empty database and an empty folder of its own. Of a
-- section count its `sql` blocks that begin with `-- migrations/NAME` (the file is written) and its `console` blocks:
-- `$ command`, and what it prints up to the next one. A line `^C` in the answer means that the command is interrupted
-- while the server sleeps for it. What differs from run to run (times, numbers of processes) is made the same on both
-- sides.
--
--   LUPHANT_UPDATE_PAGES=1 ./dev test lua spec/docs_migrations_spec.lua      writes the answers into the page
--
-- SPDX-License-Identifier: MIT

local env = require "spec.support.env"
local lfs = require "lfs"
local luphant = require "luphant"
local shell = require "luphant.testing.shell"

local M = {}

local MARK = "\1"

-- ---- reading ------------------------------------------------------------------------------------------------

local function add_command(section, line_number, text)
  section.commands[#section.commands + 1] = { line = line_number, text = text, expected = {} }
end

local function read_console(section, number, line)
  local command = line:match "^%$ (.*)$"
  local last = section.commands[#section.commands]
  if command then
    add_command(section, number, command)
  elseif last and last.text:find "\\$" then
    last.text = last.text .. "\n" .. line
    last.line = number
  else
    last.expected[#last.expected + 1] = line
  end
end

--- The sections of a page that have transcripts.
---@param path string
---@return table[]
function M.read(path)
  local sections, section, block = {}, nil, nil
  local number = 0
  for line in io.lines(path) do
    number = number + 1
    local fence, heading = line:match "^```(.*)$", not block and line:match "^##+ (.*)$"
    if heading then
      section = { title = heading, line = number, commands = {} }
      sections[#sections + 1] = section
    elseif fence and not block then
      block = { info = fence, first = number }
    elseif fence then
      block = nil
    elseif block and block.info == "console" then
      read_console(section, number, line)
    elseif block and block.info == "sql" and number == block.first + 1 and line:find "^%-%- migrations/" then
      add_command(section, number, ("cat >%s <<'END-OF-FILE'\n"):format(line:match "^%-%- (%S+)"))
      block.file = section.commands[#section.commands]
      block.file.is_file = true
    elseif block and block.file then
      block.file.text = block.file.text .. line .. "\n"
    end
  end
  local out = {}
  for _, each in ipairs(sections) do
    if #each.commands > 0 then out[#out + 1] = each end
  end
  return out
end

-- ---- what differs -------------------------------------------------------------------------------------------

local RULES = {
  { "%(%d+ ms%)", "(4 ms)" }, { "%-%- %d+ ms", "-- 4 ms" }, { "in %d%.%d s:", "in 0.8 s:" },
  { "%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d+Z", "2026-07-31T03:12:45.678901Z" },
  { "%d%d%d%d%d%d%d%dT%d%d%d%d%d%dZ%-%x%x%x%x%x%x%x%x", "20260731T031245Z-5b1f0a77" },
  { "%(%d+ bytes", "(3141 bytes" },
  { "luphant%-migrate %x+%-%x+%-%x+%-%x+%-%x+", "luphant-migrate 5b1f0a77-93a4-4c1e-ad52-1b2c3d4e5f60" },
  { "plan hash %x+", "plan hash 5d1c" }, { "its hash is %x+", "its hash is 5d1c" }, { "process %d+", "process 4711" },
  { ", for %d+ s", ", for 1 s" },
  { "  by %S+", "  by deploy" },
}

--- The same text with one value for everything that differs from run to run.
---@param text string
---@return string
function M.settled(text)
  for _, rule in ipairs(RULES) do text = text:gsub(rule[1], rule[2]) end
  -- Whether and how often a long statement is told depends on how long it took.
  text = (text .. "\n"):gsub("%f[^\n%z]running   [^\n]*\n", "")
  return (text:gsub("[ \t]+\n", "\n"):gsub("%s+$", ""))
end

-- ---- running ------------------------------------------------------------------------------------------------

-- Where two things happen at once nothing is left to the clock: what was sent to the background is waited for until it
-- sleeps in the server, `sleep 1` behind it takes no time then, and `sleep 2` waits until no migrations run any more.
local PRELUDE = [[
exec 2>&1
rc=0
until_is() {
  tries=0
  while [ "$(psql -Atc "select count(*) > 0 from pg_stat_activity where datname = current_database() and $2
      and pid <> pg_backend_pid()")" != "$1" ] && [ $tries -lt 300 ]; do
    command sleep 0.1
    tries=$((tries + 1))
  done
}
until_asleep() { until_is t "state = 'active' and query like '%pg_sleep%'"; }
sleep() { if [ "$1" = 2 ]; then until_is f "application_name like 'luphant-migrate%'"; fi; }
]]

local function wrapped(command)
  if command.is_file then return command.text .. "END-OF-FILE" end
  if command.expected[1] == "^C" then
    return command.text .. " & pid=$!\nuntil_asleep\nkill -INT $pid\nwait $pid"
  elseif command.text:find "&$" then
    return command.text .. "\nbackground=$!\nuntil_asleep"
  end
  return (command.text:gsub("%$!", "$background"))
end

local function script_of(section)
  local out = { PRELUDE }
  for _, command in ipairs(section.commands) do
    out[#out + 1] = ("(exit $rc)\n%s\nrc=$?; printf '%s'"):format(wrapped(command), "\\001")
  end
  return table.concat(out, "\n") .. "\nwait\n"
end

local function in_database(fn)
  local name = "shop"
  local base = assert(luphant.connect(env.url()))
  assert(base:script("drop database if exists " .. name .. " with (force)"))
  assert(base:script("create database " .. name))
  local target = base:target()
  local ok, err = pcall(fn, ("DATABASE_URL=%s PGHOST=%s PGPORT=%s PGUSER=%s PGDATABASE=%s"):format(
    shell.quote((env.url():gsub("(//[^/]*/)[^?]*", "%1" .. name))), shell.quote(target.host), target.port, target.user,
    name))
  assert(base:script("drop database if exists " .. name .. " with (force)"))
  base:close()
  if not ok then error(err, 0) end
end

local function write_tool(dir)
  local root = lfs.currentdir()
  shell.write_file(dir .. "/bin/luphant", ("#!/bin/sh\nLUA_PATH=%s LUA_CPATH=%s exec %s %s \"$@\"\n"):format(
    shell.quote(package.path), shell.quote(package.cpath), env.lua(), shell.quote(root .. "/bin/luphant")))
  assert(shell.run("chmod +x " .. shell.quote(dir .. "/bin/luphant")))
end

--- Runs a section; each of its commands has `output` then.
---@param section table
function M.run(section)
  local dir = os.tmpname()
  os.remove(dir)
  assert(shell.run(("mkdir -p %s/bin %s/shop/migrations"):format(dir, dir)))
  write_tool(dir)
  shell.write_file(dir .. "/script", script_of(section))
  local all
  in_database(function(variables)
    local pipe = io.popen(("cd %s/shop && PATH=%s/bin:%s:$PATH %s sh ../script"):format(shell.quote(dir), dir,
      env.bin_dir(), variables))
    all = pipe:read "*a"
    pipe:close()
  end)
  os.execute("rm -rf " .. shell.quote(dir))
  local i = 0
  for output in all:gmatch("([^" .. MARK .. "]*)" .. MARK) do
    i = i + 1
    if section.commands[i] then section.commands[i].output = M.settled(output) end
  end
end

-- ---- writing ------------------------------------------------------------------------------------------------

--- Puts what the commands printed into the page.
---@param path string
---@param sections table[] that have been run
function M.update(path, sections)
  local by_line = {}
  for _, section in ipairs(sections) do
    for _, command in ipairs(section.commands) do
      if not command.is_file then by_line[command.line] = command end
    end
  end
  local out, number, skipping = {}, 0, false
  for line in io.lines(path) do
    number = number + 1
    if line:find "^```" or line:find "^%$ " then skipping = false end
    local command = by_line[number]
    if not skipping then out[#out + 1] = line end
    if command then
      skipping = true
      if command.expected[1] == "^C" then out[#out + 1] = "^C" end
      if command.output ~= "" then out[#out + 1] = command.output end
    end
  end
  shell.write_file(path, table.concat(out, "\n") .. "\n")
end

return M
