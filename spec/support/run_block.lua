-- Runs one Lua block of a documentation page: lua spec/support/run_block.lua <page> <line of the fence>.
--
-- The block sees `luphant`, and `conn`: a connection to what DATABASE_URL names. Where the block has comments
-- of the form `--> text`, what it prints must be these texts, in order. Messages name the page and its line.
--
-- SPDX-License-Identifier: MIT

local page, fence = arg[1], tonumber(arg[2])

-- The block with empty lines before it, so that lines count as in the page.
local function read_block()
  local lines, number = {}, 0
  for line in io.lines(page) do
    number = number + 1
    if number > fence and line:find "^```" then return table.concat(lines, "\n") end
    lines[number] = number > fence and line or ""
  end
  error(("%s:%d: the block has no end"):format(page, fence), 0)
end

local function expected_lines(source)
  local expected = {}
  for line in source:gmatch "[^\n]+" do expected[#expected + 1] = line:match "%-%->%s?(.*)$" end
  return expected
end

local printed = {}

local function record(...)
  local words = {}
  for i = 1, select("#", ...) do words[i] = tostring((select(i, ...))) end
  for line in (table.concat(words, "\t") .. "\n"):gmatch "(.-)\n" do printed[#printed + 1] = line end
end

-- Tabs of print and runs of blanks are one blank here: a comment is written to be read.
local function plain(list)
  local out = {}
  for i, line in ipairs(list) do out[i] = line:gsub("%s+", " "):gsub("^ ", ""):gsub(" $", "") end
  return table.concat(out, "\n")
end

local function main()
  local source = read_block()
  local chunk = assert((loadstring or load)(source, "@" .. page)) -- luacheck: ignore
  local luphant = require "luphant"
  local conn = assert(luphant.connect())
  _G.luphant, _G.conn, _G.print = luphant, conn, record -- luacheck: ignore
  chunk()
  conn:close()
  local expected = expected_lines(source)
  if #expected > 0 and plain(expected) ~= plain(printed) then
    error(("%s:%d: the block says it prints\n%s\nbut it prints\n%s")
      :format(page, fence, plain(expected), plain(printed)), 0)
  end
end

local ok, trace = xpcall(main, function(err)
  return debug.traceback(tostring(err), 2)
end)
if not ok then
  io.stderr:write(trace, "\n")
  os.exit(1)
end
