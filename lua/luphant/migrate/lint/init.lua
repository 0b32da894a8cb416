-- luphant.migrate.lint - what a migration will do to those who use the tables meanwhile, told before it runs.
--
-- Static: texts in, findings out, no database. Facts from one (lint/facts.lua) and a run on a scratch database
-- (lint/trace.lua) make it sharper where the text alone cannot decide.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local check = require "luphant.migrate.lint.check"
local facts = require "luphant.migrate.lint.facts"
local failure = require "luphant.migrate.failure"
local fix = require "luphant.migrate.lint.fix"
local filename = require "luphant.migrate.filename"
local load = require "luphant.migrate.load"
local messages = require "luphant.migrate.lint.messages"
local rules = require "luphant.migrate.lint.rules"
local trace = require "luphant.migrate.lint.trace"
local version = require "luphant.migrate.version"

local M = {}

---@class (exact) luphant.migrate.lint.Options
---@field severity? table<string, "off"|"note"|"warning"|"error"> by rule
---@field only? string[] files; the others are read, for what they tell about the schema, and not judged
---@field phase? "expand"|"contract" only migrations of that phase
---@field facts? luphant.migrate.lint.Facts what a database knows (lint.facts)
---@field traced? luphant.migrate.lint.Traced[] what lint.trace saw
---@field base? { name: string, files: string[], edited: string[] } what the branch compared with has
---@field ignore? string[] globs of file names that are no migrations

---@class (exact) luphant.migrate.lint.Report
---@field findings luphant.migrate.lint.Finding[]
---@field allowed luphant.migrate.lint.Finding[] what a migrate:allow comment allows, with its reason in `allowed`
---@field refuted integer how many findings trace took back
---@field overruled luphant.migrate.lint.Finding[] those, with the reason in `overruled`
---@field files integer how many were judged
---@field counts { error: integer, warning: integer, note: integer }

local LEVELS = { "off", "note", "warning", "error" }

local function severity_problem(given)
  for name, level in pairs(given) do
    if not rules.by_name[name] then
      return ('names "%s", which is no rule%s'):format(tostring(name), args.did_you_mean(tostring(name), rules.names))
    end
    local why = args.problem(level, { one_of = LEVELS })
    if why then return ("of %s %s"):format(name, why) end
  end
end

local OPTIONS = {
  severity = { type = "table", check = severity_problem },
  only = { type = "table" },
  phase = { type = "string", one_of = { "expand", "contract" } },
  facts = { type = "table" },
  traced = { type = "table" },
  base = { type = "table", check = function(base)
    if type(base.name) ~= "string" or type(base.files) ~= "table" then return "needs a name and a list of files" end
  end },
  ignore = { type = "table" },
}

local function set(list)
  if not list then return nil end
  local members = {}
  for _, item in ipairs(list) do members[item] = true end
  return members
end

-- The highest number among files, which the order of new ones is measured by.
local function highest_of(paths)
  local highest
  for _, path in ipairs(paths) do
    local found = filename.read(path:match "[^/]*$")
    if found and found.kind == "versioned" and (not highest or version.before(highest, found.version)) then
      highest = found.version
    end
  end
  return highest
end

local function base_of(base)
  if not base then return nil end
  return {
    name = base.name, files = set(base.files), edited = set(base.edited or {}), highest = highest_of(base.files),
  }
end

local function judge(list, options)
  local run = {}
  for key, value in pairs(options) do run[key] = value end
  run.only, run.base = set(options.only), base_of(options.base)
  local report = check.run(list, run)
  local counts = { error = 0, warning = 0, note = 0 }
  report.counts = counts
  for _, finding in ipairs(report.findings) do counts[finding.severity] = counts[finding.severity] + 1 end
  return report
end

--- Lints migrations that have been loaded (migrate.load), in the order to run.
---@param list luphant.migrate.Migration[]
---@param opts? luphant.migrate.lint.Options
---@return luphant.migrate.lint.Report
function M.migrations(list, opts)
  args.argument(list, "table", 1, "migrations")
  return judge(list, args.check(opts, OPTIONS))
end

--- Lints a folder.
---@param dir string
---@param opts? luphant.migrate.lint.Options
---@return luphant.migrate.lint.Report? report
---@return table? err kind "migration_invalid"
function M.dir(dir, opts)
  args.argument(dir, "string", 1, "dir")
  local options = args.check(opts, OPTIONS)
  local list, problems = load.load(dir, { ignore = options.ignore })
  if not list then return nil, failure.invalid(problems) end
  return judge(list, options)
end

local function folder_of(path) return path:match "^(.*)/[^/]*$" or "." end

-- The folders of the files, each once, and the files as the folders' own listing will call them.
local function folders_of(paths)
  local folders, seen, files = {}, {}, {}
  for _, path in ipairs(paths) do
    local folder = folder_of(path)
    if folder:match "([^/]*)$" == "repeatable" then folder = folder_of(folder) end
    if not seen[folder] then folders[#folders + 1], seen[folder] = folder, true end
    files[#files + 1] = path:find "/" and path or "./" .. path
  end
  return folders, files
end

local function knows(list, path)
  for _, migration in ipairs(list) do
    if migration.file == path or migration.down_file == path then return migration.file end
  end
end

--- Lints files. Their neighbours in the folder are read as well, because they say what the tables look like.
---@param list string[] paths
---@param opts? luphant.migrate.lint.Options
---@return luphant.migrate.lint.Report? report
---@return table? err kind "migration_invalid"
function M.files(list, opts)
  args.argument(list, "table", 1, "files")
  local options = args.check(opts, OPTIONS)
  local folders, files = folders_of(list)
  local all, only, problems = {}, {}, {}
  for _, folder in ipairs(folders) do
    local found, complaints = load.load(folder, { ignore = options.ignore })
    for _, problem in ipairs(complaints or {}) do problems[#problems + 1] = problem end
    for _, migration in ipairs(found or {}) do all[#all + 1] = migration end
  end
  for _, path in ipairs(files) do
    local file = knows(all, path)
    if file then
      only[#only + 1] = file
    elseif #problems == 0 then
      problems[#problems + 1] = { file = path, message = "is no migration" }
    end
  end
  if #problems > 0 then return nil, failure.invalid(problems) end
  options.only = only
  return judge(all, options)
end

--- Writes what is mechanical of a report into the files: CONCURRENTLY with transaction:false, SET LOCAL, IF [NOT]
--- EXISTS, BEGIN and COMMIT left out. One remedy for each file; lint again for the next. Never give it files that are
--- applied somewhere: they would be edited.
---@param report luphant.migrate.lint.Report
---@return luphant.migrate.lint.Finding[]? fixed
---@return table? err kind "migration_file"
function M.fix(report)
  args.argument(report, "table", 1, "fix")
  return fix.run(report)
end

--- What a database knows, for the option `facts`. Reads catalogs only.
---@param conn table a connection
---@return luphant.migrate.lint.Facts? facts
---@return table? err
function M.facts(conn)
  args.argument(conn, { "table", "userdata" }, 1, "facts")
  return facts.read(conn)
end

--- Runs migrations on a scratch database, for the option `traced`. The database must be empty and nobody else's; the
--- server, one that may be spoilt.
---@param conn table a connection to it
---@param list luphant.migrate.Migration[] all of a folder, in order
---@param files? string[] those to look at; the others are only run
---@return luphant.migrate.lint.Traced[]? traced
---@return table? err
function M.trace(conn, list, files)
  args.argument(conn, { "table", "userdata" }, 1, "trace")
  args.argument(list, "table", 2, "trace")
  return trace.run(conn, list, set(files))
end

--- Does the report hold a finding of that severity or above?
---@param report luphant.migrate.lint.Report
---@param level "note"|"warning"|"error"
---@return boolean
function M.fails(report, level)
  for _, finding in ipairs(report.findings) do
    if messages.RANK[finding.severity] >= messages.RANK[level] then return true end
  end
  return false
end

--- The rules, in order: name, severity, title, why.
---@return table[]
function M.rules()
  local list = {}
  for i, rule in ipairs(rules.list) do
    list[i] = { name = rule.name, severity = rule.severity, group = rule.group, title = rule.title,
      why = (rule.why:gsub("%s+", " ")), needs = rule.needs }
  end
  return list
end

return M
