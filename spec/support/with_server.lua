-- Runs a command with a private PostgreSQL server: lua5.4 spec/support/with_server.lua <command> [arguments].
-- The command finds it through LUPHANT_TEST_URL (see env.lua). Ends with the command's exit code; the server
-- is gone by then, also when somebody pressed Ctrl-C.
--
-- SPDX-License-Identifier: MIT
local server = require "luphant.testing.server"
local shell = require "luphant.testing.shell"

-- A lock that a failed test has left behind fails those who wait for it; the run goes on.
local private, message = server.start { settings = { lock_timeout = "90s" } }
if not private then
  io.stderr:write(message, "\n")
  os.exit(1)
end

local words = { "env", "LUPHANT_TEST_URL=" .. private:url(), "LUPHANT_TEST_BIN=" .. private.bin_dir }
for _, word in ipairs(arg) do
  words[#words + 1] = word
end
local ok, how, code = os.execute("exec " .. shell.line(words))
private:stop()

-- Lua 5.1 and LuaJIT give the wait status alone; from 5.2 on it comes taken apart.
if type(ok) == "number" then
  how = ok % 128 ~= 0 and "signal" or "exit"
  code = how == "signal" and ok % 128 or math.floor(ok / 256)
end
os.exit(how == "signal" and 128 + code or code)
