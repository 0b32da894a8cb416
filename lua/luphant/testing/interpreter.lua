-- luphant.testing.interpreter - how to start this very Lua once more, in a process of its own.
--
-- Inside another program (a web server with Lua in it, valgrind) the running binary is no interpreter; then the usual
-- names of one that understands our package.cpath are tried. A sanitizer's library that was preloaded into this
-- process has to be in the other one before anything else, too, or our core cannot be loaded there.
--
-- SPDX-License-Identifier: MIT

local shell = require "luphant.testing.shell"

local M = {}

local IS_JIT = rawget(_G, "jit") ~= nil

-- The words in front of the interpreter where this process runs under a sanitizer. LeakSanitizer does not look into
-- LuaJIT's heap: to it a process that ends by os.exit has lost everything.
local function preloaded()
  local library = (shell.read_file "/proc/self/maps" or ""):match "(/%S*/libasan%.so%S*)"
  if not library then return "" end
  local words = "env LD_PRELOAD=" .. shell.quote(library) .. " "
  if not IS_JIT then return words end
  return words .. "ASAN_OPTIONS=" .. shell.quote((os.getenv "ASAN_OPTIONS" or "") .. ":detect_leaks=0") .. " "
end

--- The interpreter, quoted for a shell where it has to be, and the id of this process.
---@return string word
---@return string pid
function M.find()
  local pipe = io.popen "echo $PPID; readlink /proc/$PPID/exe 2>/dev/null"
  local pid, exe = pipe:read "*l", pipe:read "*l"
  pipe:close()
  if exe and exe:match("[^/]*$"):find("lua", 1, true) then return shell.quote(exe), pid end
  local name = IS_JIT and "luajit" or "lua" .. _VERSION:match "%d+%.%d+"
  return ("$(command -v %s || command -v lua)"):format(name), pid
end

--- A command line that runs a Lua text which needs our core.
---@param text string
---@return string
function M.run(text) return preloaded() .. M.find() .. " -e " .. shell.quote(text) end

return M
