-- luphant.migrate.seed - rows for development and tests, as often as wanted; never in a protected environment.
--
-- A folder of .sql and .lua files, run in the order of their names, each in one transaction; after them those of a
-- folder with the name of the environment. They are run again each time, so they are to be written for that
-- (`on conflict do nothing`), and no history is kept of them but an event.
--
-- SPDX-License-Identifier: MIT

local compat = require "luphant.compat"
local encoding = require "luphant.migrate.encoding"
local environment = require "luphant.migrate.environment"
local errors = require "luphant.errors"
local failure = require "luphant.migrate.failure"
local history = require "luphant.migrate.history"
local lfs = require "lfs"
local sqltext = require "luphant.sqltext"
local tables = require "luphant.migrate.tables"

local M = {}

-- ---- files --------------------------------------------------------------------------------------------------

local function list(dir, out)
  local names = {}
  for name in lfs.dir(dir) do
    if not name:find "^%." and not name:find "^README" and lfs.attributes(dir .. "/" .. name, "mode") == "file" then
      names[#names + 1] = name
    end
  end
  table.sort(names)
  for _, name in ipairs(names) do out[#out + 1] = dir .. "/" .. name end
  return out
end

local function read(path)
  local handle, why = io.open(path, "rb")
  local text = handle and handle:read "*a"
  if handle then handle:close() end
  if text then return encoding.normalise(text) end
  return nil, why
end

local function read_sql(path, text, problems)
  local statements, found = sqltext.split(text)
  for _, problem in ipairs(found or {}) do
    problem.file = path
    problems[#problems + 1] = problem
  end
  return statements
end

local function read_lua(path, text, problems)
  local chunk, why = compat.load(text, "@" .. path, setmetatable({}, { __index = _G }))
  local fine, answer = pcall(chunk or error, why)
  if fine and type(answer) == "function" then return answer end
  problems[#problems + 1] = {
    file = path, message = fine and "must return a function(db)" or tostring(answer),
  }
end

local READ = { sql = read_sql, lua = read_lua }

local function load(paths)
  local seeds, problems = {}, {}
  for _, path in ipairs(paths) do
    local reader, text, why = READ[path:match "%.(%a+)$"], read(path)
    if not text then
      problems[#problems + 1] = { file = path, message = why }
    elseif not reader then
      problems[#problems + 1] = { file = path, message = "is no seed; there are .sql and .lua" }
    else
      seeds[#seeds + 1] = { file = path, work = reader(path, text, problems) }
    end
  end
  if #problems > 0 then return nil, failure.invalid(problems) end
  return seeds
end

-- ---- running ------------------------------------------------------------------------------------------------

local function run_sql(tx, seed)
  for _, statement in ipairs(seed.work) do
    local ok, err = tx:script(statement.sql)
    if not ok then
      return nil, errors.new("migration_failed",
        failure.describe { file = seed.file, line = statement.line, message = err.message },
        { file = seed.file, line = statement.line, class = err.class, sqlstate = err.sqlstate, cause = err,
          hint = err.hint, detail = err.detail, retryable = false })
    end
  end
  return true
end

local function run_lua(tx, seed)
  local fine, answer, why = pcall(seed.work, tx)
  if fine and answer ~= false and not (answer == nil and why ~= nil) then return true end
  local reason = fine and (why or "answered false") or answer
  return nil, errors.new("migration_failed", ("%s: %s"):format(seed.file, tostring(reason)), {
    file = seed.file, class = "query", retryable = false, cause = errors.is_error(reason) and reason or nil,
  })
end

local function tell(tx, seed, options)
  if not tables.format(tx, options.place) then return true end
  return history.tell(tx, options.place, { action = "seed", name = seed.file, reason = options.reason })
end

local function run(conn, seed, options)
  return conn:transaction(function(tx)
    local ok, err = (type(seed.work) == "function" and run_lua or run_sql)(tx, seed)
    if not ok then return nil, err end
    return tell(tx, seed, options)
  end)
end

local function paths_of(dir, name)
  local mode, why = lfs.attributes(dir, "mode")
  if mode ~= "directory" then
    return nil, failure.invalid { { file = dir, message = mode and "is not a directory" or why } }
  end
  local paths = list(dir, {})
  local deeper = name and dir .. "/" .. name
  if deeper and lfs.attributes(deeper, "mode") == "directory" then list(deeper, paths) end
  return paths
end

--- Runs the seeds of a folder.
---@param conn table a pool or a connection
---@param dir string
---@param options table as border.lua checks them
---@return table[]? done { file = } each
---@return luphant.error? err.done lists what was run before the failure
function M.seed(conn, dir, options)
  local found, err = environment.read(conn, options.place)
  if not found then return nil, err end
  if found.protected then
    return nil, errors.new("migration_protected",
      ("%s is protected; seeds are for development and tests"):format(found.name or "this environment"))
  end
  local paths
  paths, err = paths_of(dir, found.name)
  if not paths then return nil, err end
  local seeds
  seeds, err = load(paths)
  if not seeds then return nil, err end
  local done = {}
  for _, seed in ipairs(seeds) do
    local ok
    ok, err = run(conn, seed, options)
    if not ok then
      if errors.is_error(err) then err.done = done end
      return nil, err
    end
    done[#done + 1] = { event = "seeded", file = seed.file }
    options.emit(done[#done])
  end
  return done
end

return M
