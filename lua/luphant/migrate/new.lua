-- luphant.migrate.new - a new file in a folder of migrations, with the next version and the sections to fill.
--
-- What the folder has decides what its next name looks like: 0007_x after 0006_y, V7__x after V6__y, and the time in
-- UTC where that is used or nothing is there yet. Times are right for teams: two people who both take the next number
-- clash, two who both take the time do not. Only names are read: a folder with a broken file gets its new one, too.
--
-- SPDX-License-Identifier: MIT

local errors = require "luphant.errors"
local filename = require "luphant.migrate.filename"
local lfs = require "lfs"
local template = require "luphant.migrate.template"
local version = require "luphant.migrate.version"

local M = {}

local MOST_DIGITS_OF_NUMBERS = 9 -- more are a time

local function refuse(message, hint) return nil, errors.new("migration_file", message, { hint = hint }) end

-- ---- what is there ------------------------------------------------------------------------------------------

local function read_folder(dir, found, is_repeatable)
  for entry in lfs.dir(dir) do
    local path = dir .. "/" .. entry
    if entry == "repeatable" and not is_repeatable and lfs.attributes(path, "mode") == "directory" then
      read_folder(path, found, true)
    else
      local name = filename.read(entry, is_repeatable)
      if name then
        name.entry = entry
        found[#found + 1] = name
      end
    end
  end
  return found
end

local function last_of(found)
  local last
  for _, item in ipairs(found) do
    if item.kind ~= "repeatable" and (not last or version.before(last.version, item.version)) then last = item end
  end
  return last
end

-- ---- versions -----------------------------------------------------------------------------------------------

-- Digits plus one, as text: no float sees them.
local function increment(digits)
  local head, digit, nines = digits:match "^(%d-)([0-8]?)(9*)$"
  if digit == "" then return "1" .. ("0"):rep(#nines) end
  return head .. (digit + 1) .. ("0"):rep(#nines)
end
M.increment = increment

local function is_time(digits) return #digits > MOST_DIGITS_OF_NUMBERS end

--- The time in UTC as a version.
---@param now? integer
---@return string
function M.stamp(now) return tostring(os.date("!%Y%m%d%H%M%S", now)) end

-- The number behind the last one, or the time; whatever it is, it comes behind the last one.
local function next_version(last, now, wanted)
  local digits = last and last.version:match "^%d+"
  local by_time = wanted == "time" or (wanted ~= "number" and (not last or is_time(digits)))
  if not by_time then return last and increment(digits) or "0001" end
  local stamp = M.stamp(now)
  if last and not version.before(last.version, stamp) then stamp = increment(digits) end
  return stamp
end

-- "Add users' e-mail" -> "add_users_e_mail"
local function slug_of(name)
  return (name:lower():gsub("['\"]", ""):gsub("[^%w]+", "_"):gsub("^_+", ""):gsub("_+$", ""))
end

local function stem_of(last, text, slug)
  local is_lettered = last and last.entry:find "^[VB]"
  return is_lettered and ("V%s__%s"):format(text, slug) or ("%s_%s"):format(text, slug)
end

-- ---- files --------------------------------------------------------------------------------------------------

local ENDINGS = {
  sql = { { ".sql", "sql" } }, lua = { { ".lua", "lua" } },
  pair = { { ".up.sql", "pair_up" }, { ".down.sql", "pair_down" } },
}

local function clash(found, kind, text, slug)
  for _, item in ipairs(found) do
    if kind == "versioned" and item.kind ~= "repeatable" and version.key(item.version) == version.key(text) then
      return ("%s has this version already"):format(item.entry)
    elseif item.name == slug and item.kind == kind then
      return ("%s is called so already"):format(item.entry)
    end
  end
end

-- All or none: the second half of a pair that cannot be written takes the first with it.
local function write(files)
  for i, file in ipairs(files) do
    local handle, why = io.open(file.path, "wb")
    if handle then
      local ok, fault = handle:write(file.text)
      handle:close()
      why = not ok and fault or nil
    end
    if why then
      for j = 1, i do os.remove(files[j].path) end
      return refuse(("cannot be written: %s"):format(why))
    end
  end
  return true
end

local function make_folder(dir)
  if lfs.attributes(dir, "mode") == "directory" then return true end
  local ok, why = lfs.mkdir(dir)
  if ok then return true end
  return refuse(("the folder %s cannot be made: %s"):format(dir, why))
end

local function files_of(dir, stem, options, title)
  local files = {}
  for i, ending in ipairs(ENDINGS[options.style or "sql"]) do
    local path = ("%s/%s%s"):format(dir, stem, ending[1])
    if lfs.attributes(path) then return refuse(path .. " is there already") end
    files[i] = { path = path, text = template[ending[2]](title, options) }
  end
  return files
end

---@class (exact) luphant.migrate.NewOptions
---@field style? "sql"|"lua"|"pair"
---@field repeatable? boolean
---@field transaction? boolean false: the template says transaction:false
---@field version? string instead of the next one
---@field versions? "time"|"number" what the next one is where the folder does not say, and where it does
---@field now? integer for tests
---@field from_diff? any a database (pool, connection, URL) that is as the migration shall make it: it is drafted
---@field base? any the database to compare with, instead of what the files make
---@field renames? table<string, string> public.orders.note = remark: what became of names
---@field scratch? any where the files are run, instead of the server of `from_diff`
---@field draft? luphant.migrate.Draft

--- Writes a new migration.
---@param dir string made when missing
---@param name string words
---@param options luphant.migrate.NewOptions
---@return { version: string, name: string, files: string[] }? made
---@return luphant.error?
function M.new(dir, name, options)
  local slug = slug_of(name)
  if slug == "" then return refuse(("%q has no letter or digit to make a name of"):format(name)) end
  local ok, err = make_folder(dir)
  if not ok then return nil, err end
  local found = read_folder(dir, {})
  local kind, last = options.repeatable and "repeatable" or "versioned", last_of(found)
  local text = options.repeatable and slug or options.version or next_version(last, options.now, options.versions)
  local complaint = clash(found, kind, text, slug)
  if complaint then return refuse(complaint, "choose another name") end
  local stem = options.repeatable and "R__" .. slug or stem_of(last, text, slug)
  local files
  files, err = files_of(dir, stem, options, name)
  if not files then return nil, err end
  ok, err = write(files)
  if not ok then return nil, err end
  local paths = {}
  for i, file in ipairs(files) do paths[i] = file.path end
  return { version = text, name = slug, files = paths, kind = kind }
end

return M
