-- luphant.testing.shell - commands, files and random bytes with nothing but io and os.
--
-- What the test server and the certificate maker share. Every command runs through io.popen, never
-- os.execute: a child of io.popen does not inherit the pipes of earlier ones, and the pipe to the
-- server's watchdog must have one owner only (see server.lua). Whatever is put into a command line
-- goes through `quote`. Not for running commands while anything else should go on: it blocks.
--
-- SPDX-License-Identifier: MIT
local shell = {}

--- Quotes one word for a POSIX shell.
---@param word string|number
---@return string
function shell.quote(word)
  return "'" .. (tostring(word):gsub("'", [['\'']])) .. "'"
end

--- Makes a command line of words, each quoted.
---@param words (string|number)[]
---@return string
function shell.line(words)
  local quoted = {}
  for i, word in ipairs(words) do
    quoted[i] = shell.quote(word)
  end
  return table.concat(quoted, " ")
end

--- Runs a command line, stdout and stderr together, stdin empty.
--- The exit code travels in the output because Lua 5.1 does not give that of a pipe.
---@param command string
---@return string? output without trailing newlines; nil when the command failed
---@return string? output_of_failure
---@return integer? code
function shell.run(command)
  local pipe = assert(io.popen("( " .. command .. "\n) </dev/null 2>&1; printf '\\n%d' $?", "r"))
  local all = pipe:read("*a") or ""
  pipe:close()
  local output, code = all:match("^(.*)\n(%d+)$")
  output = (output or all):gsub("%s+$", "")
  if code == "0" then
    return output
  end
  return nil, output, tonumber(code) or 127
end

--- As `run`, with a failure told in one readable text.
---@param what string names the attempt, for the message: "initdb failed: ..."
---@param command string
---@return string? output
---@return string? message
function shell.try(what, command)
  local output, failure, code = shell.run(command)
  if output then
    return output
  end
  return nil, ("%s failed (exit code %d): %s"):format(what, code, failure)
end

---@param path string
---@return string? content
function shell.read_file(path)
  local file = io.open(path, "rb")
  local content = file and file:read("*a")
  if file then
    file:close()
  end
  return content
end

---@param path string
---@param content string
---@param mode? string as io.open's; default "wb"
function shell.write_file(path, content, mode)
  local file = assert(io.open(path, mode or "wb"))
  assert(file:write(content))
  assert(file:close())
end

---@param path string
---@return boolean
function shell.is_file(path)
  local file = io.open(path, "rb")
  if file then
    file:close()
  end
  return file ~= nil
end

--- Random bytes as hexadecimal digits, from the system's generator.
---@param count integer how many bytes
---@return string
function shell.random_hex(count)
  local file = assert(io.open("/dev/urandom", "rb"))
  local bytes = assert(file:read(count))
  file:close()
  return (bytes:gsub(".", function(c)
    return ("%02x"):format(c:byte())
  end))
end

return shell
