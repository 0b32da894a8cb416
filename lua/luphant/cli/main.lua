-- cli/main.lua - the luphant command: finds the subcommand, runs it, answers the exit code.
--
-- Exit codes: 0 fine, 1 the command found something wrong, 2 wrong use, 3 cannot connect; a command
-- may have more of its own, which its head tells. A command is a module luphant.cli.cmd.<name> with
-- `summary`, `configure(parser)` (its arguments, by argparse) and `run(options, env) -> exit code`.
-- What it touches of the outside should come from `env`, so that specs can run it in their own
-- process. Nothing but this file knows the list of commands.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local command_line = require "luphant.cli.args"
local dotenv = require "luphant.cli.dotenv"
local terminal = require "luphant.cli.terminal"

local main = {}

main.OK, main.PROBLEMS, main.USAGE, main.NO_CONNECTION = 0, 1, 2, 3

local COMMANDS = { "completion", "doctor", "migrate", "schema" }

---@class luphant.cli.env
---@field out file*
---@field err file*
---@field getenv fun(name: string): string|nil
---@field is_terminal fun(): boolean   is standard output a terminal?
---@field target? table<string, string> keywords of a connection, from a file of variables
---@field ask? fun(question: string): string|nil   what a person answers; nil where there is none

-- There is no isatty in Lua; the shell has one, and its files are ours.
local function is_open_on_terminal(number)
  local ok = os.execute("test -t " .. number)
  return ok == true or ok == 0
end

local function is_terminal() return is_open_on_terminal(1) end

-- Nobody is asked where standard input is no terminal: a job would wait for ever, or take a line that means something
-- else for the answer.
local function ask(question)
  if not is_open_on_terminal(0) then return nil end
  io.stderr:write(question)
  return io.stdin:read "*l"
end

local function real_env()
  io.stdout:setvbuf "line" -- in the order of standard error, and at once for who reads events from a pipe
  return {
    out = terminal.stream(io.stdout, is_terminal),
    err = terminal.stream(io.stderr, function() return is_open_on_terminal(2) end),
    getenv = os.getenv, is_terminal = is_terminal, ask = ask,
  }
end

local function load(name) return require("luphant.cli.cmd." .. name) end

local function find(name)
  for _, known in ipairs(COMMANDS) do
    if known == name then return load(name) end
  end
end

-- A verb may be a command of its own, with its own arguments: `luphant migrate new`. Answers it and its whole name, or
-- the command as it was.
local function descend(command, name, verb)
  for _, known in ipairs(command.verbs or {}) do
    if known == verb then return command.verb(verb), name .. " " .. verb end
  end
  return command, name
end

--- All commands, for what has to know them (shell completion): name and module.
---@return { name: string, command: table }[]
function main.commands()
  local list = {}
  for i, name in ipairs(COMMANDS) do list[i] = { name = name, command = load(name) } end
  return list
end

local function overview()
  local lines = { "Usage: luphant <command> [arguments]", "", "PostgreSQL for Lua. Commands:", "" }
  for _, name in ipairs(COMMANDS) do lines[#lines + 1] = ("  %-10s %s"):format(name, load(name).summary) end
  lines[#lines + 1] = ("  %-10s %s"):format("help", "Show this, or the help of one command.")
  lines[#lines + 1] = ""
  lines[#lines + 1] = "luphant --version shows the versions of luphant, Lua and libpq."
  return table.concat(lines, "\n") .. "\n"
end

local function misused(env, message)
  env.err:write("luphant: ", message, "\n")
  return main.USAGE
end

local function unknown(env, name)
  return misused(env, ('unknown command "%s"%s; the commands are: %s, help'):format(
    name, args.did_you_mean(name, COMMANDS), table.concat(COMMANDS, ", ")))
end

local function help(env, name, verb)
  if name == nil then
    env.out:write(overview())
    return main.OK
  end
  local command = find(name)
  if not command then return unknown(env, name) end
  command, name = descend(command, name, verb)
  env.out:write(command_line.help(name, command))
  return main.OK
end

local function version(env)
  local versions = require("luphant.cli.doctor.facts").versions()
  env.out:write(("luphant %s (%s, libpq %s)\n"):format(versions.luphant, versions.lua, versions.libpq))
  return main.OK
end

local function rest(words, from)
  local out = {}
  for i = from, #words do out[#out + 1] = words[i] end
  return out
end

local function wants_help(words)
  for _, word in ipairs(words) do
    if word == "--" then return false end
    if word == "-h" or word == "--help" then return true end
  end
end

-- Ctrl-C arrives as an error of this text, wherever Lua happens to run; a command has closed what it had open by then.
local INTERRUPTED = 130
local function guarded(fn, words, env)
  local fine, code = xpcall(fn, function(err)
    local is_interrupt = type(err) == "string" and err:find "interrupted!$"
    return is_interrupt and INTERRUPTED or debug.traceback(tostring(err), 2)
  end, words, env)
  if fine then return code end
  if code ~= INTERRUPTED then error(code, 0) end
  env.err:write "luphant: interrupted\n"
  return INTERRUPTED
end

local function dispatch(words, env)
  local outside = env
  local first = words[1]
  if first == nil then
    env.err:write(overview())
    return main.USAGE
  end
  if first == "--version" or first == "-V" then return version(env) end
  if first == "help" or first == "-h" or first == "--help" then return help(env, words[2], words[3]) end
  if first:find("^%-") then
    return misused(env, ('unknown option "%s"; options of a command stand behind it'):format(first))
  end
  local command = find(first)
  if not command then return unknown(env, first) end
  local name
  command, name = descend(command, first, words[2])
  local given = rest(words, name == first and 2 or 3)
  if wants_help(given) then return help(env, first, words[2]) end
  local options, message = command_line.parse(name, command, given)
  if not options then return misused(env, ("%s: %s\n%s"):format(name, message, command_line.usage(name, command))) end
  if options.env_file and not options.no_dotenv then
    env, message = dotenv.over(env, options.env_file)
    if not env then return misused(outside, ("%s: --env-file: %s"):format(name, message)) end
  end
  return command.run(options, env)
end

--- Runs the command line `words` (without the program's name).
---@param words string[]
---@param env? luphant.cli.env
---@return integer exit_code
function main.run(words, env) return guarded(dispatch, words, env or real_env()) end

return main
