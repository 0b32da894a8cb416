-- luphant completion - a script that teaches a shell the commands, verbs and options of luphant.
--
-- The script is made by argparse from the very parsers that read the command line, so it knows what they know.
--
-- SPDX-License-Identifier: MIT

local argparse = require "argparse"

local M = { summary = "Print the completion script for bash, zsh or fish" }

--- Adds the arguments of this command to its parser (argparse).
function M.configure(parser)
  parser:argument("shell", "Which shell."):choices { "bash", "zsh", "fish" }
  parser:epilog [[
Examples:
  luphant completion bash > ~/.local/share/bash-completion/completions/luphant
  luphant completion zsh  > "${fpath[1]}/_luphant"
  luphant completion fish > ~/.config/fish/completions/luphant.fish

Exit codes: 0 fine; 2 wrong use.]]
end

local function add_verbs(parser, command)
  for _, verb in ipairs(command.verbs or {}) do
    local own = command.verb(verb)
    own.configure(parser:command(verb, own.summary))
  end
end

local function parser_of_all()
  local root = argparse("luphant", "PostgreSQL for Lua.")
  root:flag("-V --version", "Show the versions of luphant, Lua and libpq.")
  for _, item in ipairs(require("luphant.cli.main").commands()) do
    local parser = root:command(item.name, item.command.summary)
    if item.command.verb then
      add_verbs(parser, item.command)
    else
      item.command.configure(parser)
    end
  end
  root:command("help", "Show the help of one command.")
  return root
end

--- Runs the command.
---@param args table what the parser made of the command line
---@param env luphant.cli.env
---@return integer exit_code
function M.run(args, env)
  local root = parser_of_all()
  env.out:write((root["get_" .. args.shell .. "_complete"](root)))
  return 0
end

return M
