-- luphant migrate db - the database itself: made, dropped, made anew and migrated, waited for.
--
-- SPDX-License-Identifier: MIT

local common = require "luphant.cli.migrate.common"
local confirm = require "luphant.cli.migrate.confirm"
local database = require "luphant.migrate.database"
local ending = require "luphant.cli.migrate.ending"
local json = require "luphant.cli.migrate.json"
local lines = require "luphant.cli.migrate.lines"
local migrate = require "luphant.migrate"
local signals = require "luphant.cli.signals"

local M = { summary = "Make, drop, make anew or wait for the database" }

--- Adds the arguments of this verb to its parser (argparse).
function M.configure(parser)
  parser:argument("action", "create: unless it is there. drop. reset: drop, create, migrate up. wait: for the server.")
    :choices { "create", "drop", "reset", "wait" }
  common.files(parser)
  common.database(parser)
  common.values(parser)
  parser:option("--owner", "create, reset: whose it is.")
  parser:option("--template", "create, reset: made as a copy of this database.")
  parser:flag("--force", "drop, reset: end the sessions that use it.")
  parser:option("--timeout", "wait: seconds (default: 60)."):convert(common.seconds "--timeout"):default "60"
  common.consent(parser)
  common.json(parser)
  parser:epilog [[
drop and reset ask first; where the environment is protected (luphant migrate environment) they ask twice. A job says
--yes, and --protected NAME there.

Examples:
  luphant migrate db wait --timeout 30 && luphant migrate db create && luphant migrate up
  luphant migrate db reset --yes                       # in development
  luphant migrate db drop --database postgres:///shop_review_17 --yes --force

Exit codes: 0 done, or as it was wanted already; 1 failed, no connection; 2 wrong use, or not confirmed;
4, 6, 7 of reset: as `luphant migrate up`.]]
end

local function tell(args, env, document, line)
  if args.json then
    document.schema_version, document.verb = json.VERSION, "db " .. args.action
    json.write(env, document)
  else
    env.out:write(line, "\n")
  end
  return ending.OK
end

local function create(args, env)
  local done, err = database.create(ending.url(args, env), { owner = args.owner, template = args.template })
  if not done then return ending.report(args, env, err) end
  return tell(args, env, done, (done.created and "created   " or "there     ") .. done.name)
end

local function allowed(args, env)
  local environment, err = database.environment(ending.url(args, env), args.schema)
  if not environment then return nil, ending.report(args, env, err) end
  local name
  name, err = database.name(ending.url(args, env))
  if not name then return nil, ending.report(args, env, err) end
  return confirm.ask(args, env, ("%s the database %s"):format(args.action, name), environment)
end

local function drop(args, env)
  local ok, code = allowed(args, env)
  if not ok then return code end
  local done, err = database.drop(ending.url(args, env), { force = args.force })
  if not done then return ending.report(args, env, err) end
  return tell(args, env, done, (done.dropped and "dropped   " or "absent    ") .. done.name)
end

local function reset(args, env)
  local code = drop(args, env)
  if code ~= ending.OK then return code end
  code = create(args, env)
  if code ~= ending.OK then return code end
  local opts = common.options(args)
  local told = 0
  local listener = args.json and function(event) json.write(env, event) end or lines.listener(env)
  function opts.on_event(event)
    told = told + 1
    listener(event)
  end
  opts.should_stop = signals.wants_stop
  local done, err = signals.during(migrate.up, ending.url(args, env) or {}, args.dir, opts)
  if not done then return ending.report(args, env, err) end
  if args.json and told == 0 then json.nothing(env) end
  return ending.OK
end

local function wait(args, env)
  local done, err = database.wait(ending.url(args, env), tonumber(args.timeout))
  if not done then return ending.report(args, env, err) end
  return tell(args, env, done, ("ready     after %.1f s%s"):format(done.seconds,
    done.exists and "" or "; the database is not there yet"))
end

local ACTIONS = { create = create, drop = drop, reset = reset, wait = wait }

--- Runs the verb.
---@param args table what the parser made of the command line
---@param env luphant.cli.env
---@return integer exit_code
function M.run(args, env) return ACTIONS[args.action](args, env) end

return M
