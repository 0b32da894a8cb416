-- luphant.migrate.border - what callers give, checked: one table of rules for all functions of luphant.migrate.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local compat = require "luphant.compat"
local tables = require "luphant.migrate.tables"

local M = {}

local MOST = 2147483 -- seconds: milliseconds in an int4 on the other side

local function seconds(default) return { type = "number", min = 0, max = MOST, default = default } end

local function texts_problem(given)
  for _, text in ipairs(given) do
    if type(text) ~= "string" then return "must be a list of strings, but holds " .. args.show(text) end
  end
end

local function values_problem(given)
  for name, value in pairs(given) do
    if type(name) ~= "string" or type(value) ~= "string" then
      return "must have names of placeholders as keys and strings as values"
    end
  end
end

local TEXTS = { type = "table", check = texts_problem }
local TEXT, FLAG, FUNCTION = { type = "string" }, { type = "boolean" }, { type = "function" }
local WHOLE = { type = "number", integer = true, min = 1 }

local function tables_problem(given)
  if type(given) == "string" then return given ~= "touched" and 'must be a list, or "touched"' or nil end
  return texts_problem(given)
end

local BACKUP = {
  dir = TEXT, tables = { type = { "table", "string" }, check = tables_problem }, restore = FLAG, command = TEXT,
}

-- ---- for all ------------------------------------------------------------------------------------------------

local COMMON = {
  schema = { type = "string", default = "luphant" }, tenant = { type = "string", default = "" }, ignore = TEXTS,
}

local function backup_problem(given)
  if type(given) ~= "table" then return nil end
  local _, why = args.validate(given, BACKUP, "backup option")
  if not why and given.command and (given.dir or given.tables or given.restore) then
    return "is wrong: a command takes the backup its own way, without dir, tables and restore"
  end
  return why and "is wrong: " .. why
end

-- Loaded by who has any: this file is read by every program that looks at its migrations.
local function hooks_problem(given) return require("luphant.migrate.hooks").problem(given) end

-- What a run is: its session, its patience, its listeners.
local RUN = {
  url = TEXT, search_path = TEXT, lock_wait = seconds(60), lock_timeout = seconds(2), statement_timeout = seconds(),
  lock_retry_for = seconds(300), idle_timeout = seconds(60), values = { type = "table", check = values_problem },
  preserve = FLAG, on_event = FUNCTION, should_stop = FUNCTION, hide_queries = FLAG, app_version = TEXT, reason = TEXT,
  backup = { type = { "boolean", "table" }, check = backup_problem }, hooks = { type = "table", check = hooks_problem },
}

-- What is to run.
local UP = {
  count = WHOLE, to = TEXT, only = TEXTS, phase = { one_of = { "expand", "contract", "all" } }, plan_hash = TEXT,
  allow_out_of_order = FLAG, ignore_missing = FLAG, rerun = TEXTS,
  hazards = { one_of = { "allow", "refuse" }, default = "allow" }, allow_hazards = TEXTS,
}
local DOWN = { count = WHOLE, to = TEXT, run = { type = { "string", "boolean" } }, partial = FLAG, plan_hash = TEXT }
local RESUME = { from = WHOLE, assume_not_run = FLAG, plan_hash = TEXT }
local STARTUP = {
  dir = TEXT, on_startup = { one_of = { "check", "apply", "wait", "off" }, default = "check" }, wait_for = seconds(300),
}
local NEW = {
  style = { one_of = { "sql", "lua", "pair" } }, repeatable = FLAG, transaction = FLAG, version = TEXT,
  versions = { one_of = { "time", "number" } }, now = { type = "number" },
}
local DATABASE = { type = { "string", "table" } }
local FROM_DIFF = {
  from_diff = DATABASE, base = DATABASE, scratch = DATABASE, renames = { type = "table", check = values_problem },
}
local TABLE = { type = "table" }
local DRIFT = { against = TABLE, scratch = DATABASE, snapshot = TABLE, since_run = FLAG }
local DUMP = { owners = FLAG, grants = FLAG }
local NAME = { type = "string", check = function(name)
  if not name:find "^[%w_%-]+$" then return "must be letters, digits, _ and -" end
end }
local SQUASH = { to = TEXT, name = NAME, remove = FLAG, scratch = DATABASE }
local BASELINE = { from_db = FLAG, name = NAME, scratch = DATABASE }
local function tenants_problem(given)
  if given.query == nil then return texts_problem(given) end
  if type(given.query) == "string" and next(given, next(given)) == nil then return nil end
  return 'must be a list, or { query = "select ..." }'
end

local TENANTS = {
  tenants = { type = "table", check = tenants_problem }, continue_on_error = FLAG, create = FLAG, shared = TEXT,
  dry_run = FLAG, template = TEXT, jobs = { type = "number", integer = true, min = 1, max = 100, default = 1 },
}
local EVENTS = { version = TEXT, limit = WHOLE }

local function together(...)
  local out = {}
  for _, rules in ipairs { ... } do
    for name, rule in pairs(rules) do out[name] = rule end
  end
  return out
end

local RULES = {
  up = together(COMMON, RUN, UP), down = together(COMMON, RUN, DOWN), resume = together(COMMON, RUN, RESUME),
  redo = together(COMMON, RUN), amend = together(COMMON, RUN), baseline = together(COMMON, RUN, BASELINE),
  repair = together(COMMON, RUN, { dry_run = FLAG }),
  status = together(COMMON, RUN, UP),
  plan = together(COMMON, RUN, UP, DOWN), run = together(COMMON, RUN, UP, STARTUP),
  tenants = together(COMMON, RUN, UP, TENANTS), history = together(COMMON, EVENTS), load = { ignore = TEXTS },
  check = together(COMMON, RUN, UP, DRIFT, { drift = FLAG }), drift = together(COMMON, RUN, DRIFT),
  dump = together(COMMON, DUMP), load_dump = together(COMMON, { reason = TEXT }),
  seed = together(COMMON, { reason = TEXT, on_event = FUNCTION }), squash = together(COMMON, RUN, SQUASH),
  import = together(COMMON, RUN, {
    from = { one_of = { "sqlx", "dbmate", "goose", "golang-migrate", "flyway", "lapis", "kong" } }, table = TEXT,
  }),
  new = NEW, new_from_diff = together(COMMON, RUN, NEW, FROM_DIFF), place = COMMON,
  environment = together(COMMON, { protected = FLAG }),
}

local function nothing() end

--- Checks the options of a function.
---@param name string which of the rules
---@param given table?
---@param level integer who is to blame, as in error()
---@return table
function M.options(name, given, level)
  local options = args.check(given, RULES[name], "option", level + 1)
  if options.schema then options.place = tables.place(options.schema, options.tenant) end
  options.values = compat.copy(options.values)
  options.emit = options.on_event or nothing
  return options
end

--- Checks what a function of luphant.migrate runs on.
---@param target any
---@param name string of the function
---@param level integer
function M.target(target, name, level)
  args.argument(target, { "table", "string" }, 1, name, level + 1)
end

return M
