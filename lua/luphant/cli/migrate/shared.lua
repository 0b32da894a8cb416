-- cli/migrate/shared.lua - the verbs of `luphant migrate` that have one parser in common, each as a command of its own:
-- what it is, examples, exit codes, and which of the options mean anything to it. Others are refused.
--
-- SPDX-License-Identifier: MIT

local M = {}

M.NAMES = {
  "up", "down", "redo", "finish", "status", "history", "plan", "resume", "resolve", "skip", "repair", "baseline",
  "lint",
}

-- ---- help ---------------------------------------------------------------------------------------------------

local RUNS = [[

Exit codes: 0 done, or nothing to do; 1 failed, and nothing was applied; 2 wrong use, or not confirmed; 4 files,
history and database do not fit together; 5 refused for hazards; 6 locked by another runner; 7 stopped half-way;
130 interrupted, 143 by SIGTERM.]]
local AMENDS = [[

Exit codes: 0 done; 1 failed; 2 wrong use, or not confirmed; 4 it does not fit what is there; 6 locked by another
runner.]]
local READS = "\n\nExit codes: 0 done; 1 failed, no connection; 2 wrong use; 4 files and history do not fit together."

local VERBS = {
  up = { "Apply what is pending, in order", [[
  luphant migrate up
  luphant migrate up 2                                 # the next two
  luphant migrate up --to 20260731094500 --backup /var/backups
  luphant migrate up --plan-hash 4f0c...               # what was reviewed, or nothing
  luphant migrate up --tenants-query "select name from customers" --jobs 8 --continue-on-error
  luphant migrate up --only 0007 --reason "incident: logins fail"]] .. "\n" .. RUNS },
  down = { "Take the last ones back, newest first", [[
  luphant migrate down                                 # the last one
  luphant migrate down --to 20260731094500 --dry-run
  luphant migrate down --run last
  luphant migrate down --partial                       # what stopped half-way, too]] .. "\n" .. RUNS },
  redo = { "Take the last one back and apply it again", "  luphant migrate redo\n" .. RUNS },
  finish = { "Apply what waited for the contract phase (up --phase contract)", [[
  luphant migrate up && deploy && luphant migrate finish]] .. "\n" .. RUNS },
  status = { "Tell what each migration is in this database", [[
  luphant migrate status
  luphant migrate status --exit-code                   # 3: pending, 4: something is wrong
  luphant migrate status --json | jq '.migrations[] | select(.state == "pending") | .version'
  luphant migrate status --tenants-query "select name from customers"]]
    .. "\n\n" .. [[
Exit codes: 0 whatever it finds; with --exit-code 3 when something is pending and 4 when something is wrong; 1 failed,
no connection; 2 wrong use; 4 the folder is not in order.]] },
  history = { "Tell what was ever done, by whom and why", [[
  luphant migrate history --limit 20
  luphant migrate history 0007 --json]] .. READS },
  plan = { "Tell what would run, and what it does to others", [[
  luphant migrate plan --sql
  luphant migrate plan --down --to 0007
  luphant migrate plan --trace                         # run, and rolled back
  luphant migrate plan --json --stats-file stats.json | jq '.steps[].statements[].hazards']] .. READS },
  resume = { "Go on with a migration that stopped half-way outside of a transaction", [[
  luphant migrate resume 0007
  luphant migrate resume 0007 --from 3                 # with statement 3]] .. "\n" .. RUNS },
  resolve = { "Say what is true of one that stopped half-way, or was done by hand", [[
  luphant migrate resolve 0007 --applied --reason "finished by hand"
  luphant migrate resolve 0007 --rolled-back --reason "dropped the half built index by hand"]] .. "\n" .. AMENDS },
  skip = { "Pass a pending migration over for good", [[
  luphant migrate skip 0007 --reason "not on this server"]] .. "\n" .. AMENDS },
  repair = { "Record the texts of edited files as they are now", [[
  luphant migrate repair --dry-run
  luphant migrate repair --reason "only comments were edited"]] .. "\n" .. AMENDS },
  baseline = { "Begin the history of a database that was made otherwise", [[
  luphant migrate baseline 20260731094500              # all up to there count as applied
  luphant migrate baseline --from-db                   # what is there becomes the first migration]]
    .. "\n" .. AMENDS },
  lint = { "Tell what migrations will do to others, and the safe way", [[
  luphant migrate lint
  luphant migrate lint --base origin/main --format github
  luphant migrate lint --trace                         # run on a private server, and looked at]]
    .. "\n\n" .. [[
Exit codes: 0 nothing at or above --fail-on; 1 no connection, no trace; 2 wrong use; 4 the folder is not in order;
5 findings.]] },
}

-- ---- which options --------------------------------------------------------------------------------------------

local RUN, AMEND = "up down redo finish resume", "resolve skip repair baseline"

-- What is not here belongs to all of them.
local ONLY = {
  version = "up down resume resolve skip baseline history",
  ["--count"] = "up down finish plan", ["--to"] = "up down finish plan", ["--only"] = "up finish plan",
  ["--phase"] = "up plan lint", ["--allow-out-of-order"] = "up finish plan", ["--ignore-missing"] = "up finish plan",
  ["--rerun"] = "up finish plan", ["--refuse-hazards"] = "up finish", ["--allow-hazards"] = "up finish",
  ["--plan-hash"] = "up down finish", ["--dry-run"] = "up down finish repair", ["--run"] = "down plan",
  ["--partial"] = "down plan", ["--from"] = "resume", ["--assume-not-run"] = "resume", ["--applied"] = "resolve",
  ["--rolled-back"] = "resolve", ["--backup"] = RUN, ["--backup-table"] = RUN, ["--preserve"] = RUN,
  ["--verify-backup"] = RUN, ["--backup-cmd"] = RUN, ["--at"] = "baseline", ["--from-db"] = "baseline",
  ["--name"] = "baseline", ["--scratch"] = "baseline", ["--reason"] = RUN .. " " .. AMEND,
  ["--yes"] = RUN .. " plan " .. AMEND,
  ["--protected"] = RUN .. " plan " .. AMEND, ["--tenants"] = "up finish status",
  ["--tenants-query"] = "up finish status", ["--shared"] = "up finish", ["--create-tenants"] = "up finish",
  ["--template"] = "up finish", ["--jobs"] = "up finish status", ["--continue-on-error"] = "up finish",
  ["--search-path"] = RUN .. " plan", ["--var"] = RUN .. " plan status " .. AMEND,
  ["--lock-wait"] = RUN .. " " .. AMEND,
  ["--lock-timeout"] = RUN .. " plan", ["--lock-retry-for"] = RUN, ["--statement-timeout"] = RUN .. " plan",
  ["--app-version"] = RUN .. " " .. AMEND, ["--hide-queries"] = RUN .. " " .. AMEND, ["--exit-code"] = "status",
  ["--down"] = "plan", ["--sql"] = "plan", ["--stats-file"] = "up down finish plan", ["--limit"] = "history",
  ["--quiet"] = RUN .. " " .. AMEND, ["--verbose"] = RUN, ["--trace"] = "up down finish plan lint",
  ["--format"] = "lint", ["--base"] = "lint", ["--fail-on"] = "lint", ["--rule"] = "lint", ["--no-color"] = "lint",
}

-- An option may have a short name in front: "-d --database".
local function belongs(name, verb)
  local verbs = ONLY[name:match "%-%-%S+" or name]
  return not verbs or (" " .. verbs .. " "):find(" " .. verb .. " ", 1, true) ~= nil
end

-- "up, down: what it does" is "What it does" to the one who asked for `up`.
local function plain(text)
  local rest = text:match "^%l[%l, %-]*: (.*)$"
  return rest and (rest:gsub("^%l", string.upper)) or text
end

-- Takes the words of an option that is left out.
local nobody = setmetatable({}, { __index = function() return function(self) return self end end })

--- What puts arguments into a parser: into that of one verb only those that mean something to it.
---@param parser table argparse's
---@param verb? string
---@return table with option, flag and argument
function M.filter(parser, verb)
  if not verb then return parser end
  local function through(method)
    return function(_, name, text, ...)
      if not belongs(name, verb) then return nobody end
      return parser[method](parser, name, text and plain(text), ...)
    end
  end
  return { option = through "option", flag = through "flag", argument = through "argument" }
end

-- Lists are asked for their length, also where the verb has no such option.
local LISTS = { "only", "rerun", "allow_hazards", "backup_table", "var", "ignore", "rule" }

--- One verb as a command of its own.
---@param name string
---@param configure fun(parser: table, verb: string)
---@param run fun(args: table, env: luphant.cli.env): integer
---@return table? command
function M.command(name, configure, run)
  local verb = VERBS[name]
  if not verb then return nil end
  return {
    summary = verb[1],
    configure = function(parser)
      configure(parser, name)
      parser:epilog("Examples:\n" .. verb[2])
    end,
    run = function(args, env)
      args.verb = name
      for _, list in ipairs(LISTS) do args[list] = args[list] or {} end
      return run(args, env)
    end,
  }
end

return M
