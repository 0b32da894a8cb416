-- luphant.migrate.load - a folder of migrations -> a list in the order to run. Touches no database.
--
-- Reads names (filename.lua), texts (parse.lua, luafile.lua), pairs up ways there and back, and tells everything that
-- is wrong with the folder at once.
--
-- SPDX-License-Identifier: MIT

local lfs = require "lfs"
local digest = require "luphant.migrate.digest"
local encoding = require "luphant.migrate.encoding"
local filename = require "luphant.migrate.filename"
local hooks = require "luphant.migrate.hooks"
local luafile = require "luphant.migrate.luafile"
local order = require "luphant.migrate.order"
local parse = require "luphant.migrate.parse"

local M = { parse = parse }

---@class (exact) luphant.migrate.Migration
---@field kind "versioned"|"repeatable"|"baseline"
---@field version string the digits as written; of a repeatable one its name
---@field name string what follows them
---@field language "sql"|"lua"
---@field file string path, as messages name it
---@field down_file? string the other half of a pair
---@field body string the whole normalised text; the checksum is taken of this
---@field checksum string SHA-256, hexadecimal
---@field statement_hash string the same without comments and blanks
---@field requires string[]
---@field replaces? string[] baselines: the versions it stands for; absent = all up to its own
---@field phase "expand"|"contract"
---@field vars string[] names of placeholders
---@field transaction boolean
---@field irreversible boolean there is no way back, and that is meant
---@field options luphant.migrate.SectionOptions those of `up`
---@field up? luphant.migrate.Section SQL only, as the next three
---@field down? luphant.migrate.Section
---@field check? luphant.migrate.Section
---@field verify? luphant.migrate.Section
---@field script? table<string, function> Lua only

local REPEATABLE, HOOKS = "repeatable", "hooks"

local function read_file(path)
  local handle, why = io.open(path, "rb")
  if not handle then return nil, why end
  local text, read_why = handle:read "*a"
  handle:close()
  return text, read_why
end

local function add(problems, found)
  for _, problem in ipairs(found) do problems[#problems + 1] = problem end
end

-- ---- one file -----------------------------------------------------------------------------------------------

-- What a marker line may not say in a file of this kind.
local function kind_complaints(migration)
  local out = {}
  if migration.kind == "repeatable" then
    if migration.down then out[#out + 1] = "a repeatable migration has no way back; the older text is run instead" end
    if migration.phase == "contract" then out[#out + 1] = "a repeatable migration has no phase" end
  end
  if migration.replaces and migration.kind ~= "baseline" then
    out[#out + 1] = "replaces belongs to baselines, files named B<version>__<name>"
  end
  return out
end

local function fill_in(migration, options, problems)
  migration.options = options
  migration.requires, migration.replaces = options.requires or {}, options.replaces
  migration.phase, migration.vars = options.phase or "expand", options.vars or {}
  migration.transaction = options.transaction ~= false
  local down = migration.down
  migration.irreversible = options.irreversible or (down and down.options.irreversible) or false
  if down and #down.statements == 0 then migration.down = nil end
  for _, message in ipairs(kind_complaints(migration)) do
    problems[#problems + 1] = { file = migration.file, message = message }
  end
end

local function read_lua(migration, problems)
  local at, fault = encoding.fault(migration.body)
  if at then
    problems[#problems + 1] = { file = migration.file, message = fault }
    return {}
  end
  local script, options, found = luafile(migration.body, migration.file)
  add(problems, found)
  migration.script = script
  return options
end

local function read_sql(migration, part, problems)
  local sections, found = parse(migration.body, migration.file, part)
  add(problems, found)
  for name, section in pairs(sections) do migration[name] = section end
  return sections.up and sections.up.options or {}
end

-- The way back of a pair joins the migration its name belongs to.
local function join_down(migration, half, problems)
  local sections, found = parse(half.text, half.file, "down")
  add(problems, found)
  migration.down, migration.down_file = sections.down, half.file
  migration.body = migration.body .. "\0" .. encoding.normalise(half.text)
end

local function build(half, down, problems)
  local migration = {
    kind = half.kind, version = half.version, name = half.name, language = half.language, file = half.file,
    body = encoding.normalise(half.text),
  }
  local options
  if half.language == "lua" then
    options = read_lua(migration, problems)
  else
    options = read_sql(migration, half.part, problems)
    if down then join_down(migration, down, problems) end
  end
  fill_in(migration, options, problems)
  migration.checksum = digest.checksum(migration.body)
  migration.statement_hash = digest.statements(migration)
  return migration
end

-- ---- the folder ---------------------------------------------------------------------------------------------

local function ignores(patterns, entry)
  for _, pattern in ipairs(patterns) do
    if entry:find(pattern) then return true end
  end
  return false
end

local function sorted_entries(dir)
  local entries = {}
  for entry in lfs.dir(dir) do
    if entry ~= "." and entry ~= ".." then entries[#entries + 1] = entry end
  end
  table.sort(entries) -- the file system's order is nobody's; messages come in a stable one
  return entries
end

local function read_entry(state, dir, entry, is_repeatable)
  local path = dir .. "/" .. entry
  if ignores(state.ignore, entry) then return end
  if lfs.attributes(path, "mode") == "directory" and not entry:find "^%." then
    if entry == REPEATABLE and not is_repeatable then return path end
    if entry == HOOKS and not is_repeatable then
      state.hooks = hooks.load(path, state.problems)
      return
    end
    state.problems[#state.problems + 1] = {
      file = path, message = "is no migration but a folder; only those called repeatable and hooks belong here",
    }
    return
  end
  local found, complaint = filename.read(entry, is_repeatable)
  if complaint then state.problems[#state.problems + 1] = { file = path, message = complaint } end
  if not found then return end
  local text, why = read_file(path)
  if not text then
    state.problems[#state.problems + 1] = { file = path, message = "cannot be read: " .. why }
    return
  end
  found.file, found.text = path, text
  local list = found.part == "down" and state.downs or state.halves
  list[#list + 1] = found
end

local function read_folder(state, dir, is_repeatable)
  for _, entry in ipairs(sorted_entries(dir)) do
    local deeper = read_entry(state, dir, entry, is_repeatable)
    if deeper then read_folder(state, deeper, true) end
  end
end

-- Files that claim the same number, each named together with the first that had it.
local function find_duplicates(list, problems)
  local first = {}
  for _, item in ipairs(list) do
    local id = item.kind .. " " .. (order.id_of(item) or order.id(item.version))
    if first[id] then
      local what = item.kind == "repeatable" and "name" or "number"
      problems[#problems + 1] = { file = item.file, message = ("has the same %s as %s"):format(what, first[id].file) }
    else
      first[id] = item
    end
  end
end

-- Ways back by the id of their way there.
local function index_downs(state)
  local index = {}
  order.sort(state.downs)
  find_duplicates(state.downs, state.problems)
  for _, down in ipairs(state.downs) do
    local id = order.id_of(down)
    index[id] = index[id] or down
  end
  return index
end

local function pair_complaint(half, down)
  if half.part ~= "up" then
    return ("belongs to %s, which is no .up.sql; one of the two is too many"):format(half.file)
  elseif half.name ~= down.name then
    return ("is called otherwise than its way there, %s"):format(half.file)
  end
end

local function build_all(state)
  local downs, list = index_downs(state), {}
  for _, half in ipairs(state.halves) do
    local id = half.kind == "versioned" and order.id_of(half)
    local down = id and downs[id]
    if down then
      local complaint = pair_complaint(half, down)
      if complaint then state.problems[#state.problems + 1] = { file = down.file, message = complaint } end
      downs[id] = nil
    end
    list[#list + 1] = build(half, half.part == "up" and down or nil, state.problems)
  end
  for _, down in pairs(downs) do
    state.problems[#state.problems + 1] = {
      file = down.file, message = "is a way back without its way there; the .up.sql file is missing",
    }
  end
  return list
end

local function sort_problems(problems)
  for i, problem in ipairs(problems) do problem.rank = i end
  table.sort(problems, function(a, b)
    if a.file ~= b.file then return a.file < b.file end
    return a.rank < b.rank
  end)
  for _, problem in ipairs(problems) do problem.rank = nil end
end

---@class (exact) luphant.migrate.LoadOptions
---@field ignore? string[] globs of names that are nobody's business

--- Lists and reads the migrations of a folder: versioned ones and baselines in the order to run, then repeatable ones.
--- With problems the answer is nil and all of them; an unreadable folder is one, too.
---@param dir string
---@param options? luphant.migrate.LoadOptions
---@return luphant.migrate.Migration[]? list `hooks` of it are those of the folder, where there are any
---@return luphant.migrate.Problem[]? problems
function M.load(dir, options)
  local mode, why = lfs.attributes(dir, "mode")
  if mode ~= "directory" then
    return nil, { {
      file = dir, message = mode and "is not a directory" or "cannot be opened: " .. why,
      hint = not mode and "`luphant migrate new` makes it with the first migration; --dir says where it is" or nil,
    } }
  end
  local state = { problems = {}, halves = {}, downs = {}, ignore = {} }
  for i, glob in ipairs(options and options.ignore or {}) do state.ignore[i] = filename.pattern(glob) end
  read_folder(state, dir)
  local list = build_all(state)
  order.sort(list)
  find_duplicates(list, state.problems)
  list = order.resolve(list, function(migration, message)
    state.problems[#state.problems + 1] = { file = migration.file, message = message }
  end)
  if #state.problems == 0 then
    list.hooks = state.hooks
    return list
  end
  sort_problems(state.problems)
  return nil, state.problems
end

return M
