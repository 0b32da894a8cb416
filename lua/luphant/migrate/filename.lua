-- luphant.migrate.filename - what the name of a file says, and what it was probably meant to say.
--
--     20260731094500_add_users.sql      versioned; digits of any number
--     20260731094500_add_users.up.sql   versioned, its way back in .down.sql (sqlx, golang-migrate)
--     V1__add_users.sql, V1.2__x.sql    versioned (refinery, Flyway)
--     R__active_users.sql               repeatable: run again whenever its text changes
--     B42__start.sql                    baseline: stands for all versions up to 42 where the database is new
--     ... .lua                          the same, written in Lua
--
-- A file that is none of these is an error, not skipped: a misspelt migration would be left out in silence.
--
-- SPDX-License-Identifier: MIT

local version = require "luphant.migrate.version"

local M = {}

---@class (exact) luphant.migrate.Name
---@field kind "versioned"|"repeatable"|"baseline"
---@field version string of a repeatable one: its name
---@field name string
---@field language "sql"|"lua"
---@field part? "up"|"down" of a pair

local KINDS = { V = "versioned", B = "baseline" }

local function is_name(text) return text:find "^[%w_%-]+$" ~= nil end

local function read_stem(stem, is_repeatable)
  local name = stem:match "^R__(.+)$" or (is_repeatable and stem)
  if name then return { kind = "repeatable", version = name, name = name } end
  local digits, rest = stem:match "^(%d+)_(.+)$"
  if digits then return { kind = "versioned", version = digits, name = rest } end
  local letter, number, after = stem:match "^([VB])(%d[%d._]-)__(.+)$"
  if not letter then return nil end
  number = number:gsub("_", ".")
  if not version.is(number) then return nil end
  return { kind = KINDS[letter], version = number, name = after }
end

local function read_name(entry, is_repeatable)
  local stem, language = entry:match "^(.+)%.(%a+)$"
  if language ~= "sql" and language ~= "lua" then return nil end
  local whole, part = stem:match "^(.+)%.(%a+)$"
  if language == "sql" and (part == "up" or part == "down") then stem = whole else part = nil end
  local found = read_stem(stem, is_repeatable)
  if not found or not is_name(found.name) then return nil end
  if part and found.kind ~= "versioned" then return nil end
  found.language, found.part = language, part
  return found
end

-- ---- near misses ----------------------------------------------------------------------------------------

local LEFTOVERS = { "~$", "^#.*#$", "%.orig$", "%.rej$", "%.bak$", "%.old$", "%.sw[a-p]$", "%.tmp$", "%.save$" }
local ENDINGS = {
  SQL = "sql", Sql = "sql", psql = "sql", pgsql = "sql", sq = "sql", slq = "sql", sqll = "sql", ddl = "sql",
  LUA = "lua", Lua = "lua", txt = "sql",
}

local function with_ending(entry)
  local stem, ending = entry:match "^(.+)%.(%a+)$"
  if not stem then return entry .. ".sql" end
  local double = stem:match "^(.+)%.(%a+)$"
  if double and stem:match "%.(%a+)$" == ending then stem = double end
  return stem .. "." .. (ENDINGS[ending] or ending)
end

-- Turns what people write into what is read here, one habit at a time.
local function straighten(entry)
  local stem, ending = with_ending(entry):match "^(.+)(%.%a+)$"
  local whole, part = stem:match "^(.+)(%.%a+)$"
  if part and (part:lower() == ".up" or part:lower() == ".down") then
    stem, ending = whole, part:lower() .. ending
  end
  stem = stem:gsub("%s+", "_"):gsub("[^%w_.%-\128-\255]", "")
  stem = stem:gsub("^([vrb])(%d*[%d._]*__?)", function(letter, rest) return letter:upper() .. rest end)
  stem = stem:gsub("^([VB]%d[%d.]*)_*%-*([^%d._])", "%1__%2"):gsub("^R_+", "R__"):gsub("^R%-+", "R__")
  stem = stem:gsub("^(%d+)%-+", "%1_"):gsub("^(%d+)%.+", "%1_"):gsub("^(%d+)(%a)", "%1_%2")
  local head, tail = stem:match "^([VB]%d[%d._]-__)(.+)$"
  if not head then head, tail = "", stem end
  return head .. tail:gsub("%.", "_") .. ending
end

local function complaint(entry, is_repeatable)
  for _, pattern in ipairs(LEFTOVERS) do
    if entry:find(pattern) then
      return "was left behind by an editor or a merge; delete it or tell the ignore patterns"
    end
  end
  if entry:find "^[Uu]%d[%d._]*__" then
    return "U files mean different things to different tools; write the way back as `-- migrate:down` in the V file"
  end
  if entry:find "^[RB].*%.up%.sql$" or entry:find "^[RB].*%.down%.sql$" then
    return "only versioned migrations come in pairs"
  end
  local meant = straighten(entry)
  if meant ~= entry and read_name(meant, is_repeatable) then
    return ("is no name of a migration; did you mean %s?"):format(meant)
  end
  if entry:find "%.sql$" or entry:find "%.lua$" then
    if not entry:find "^[VBR]?%d" and is_name(entry:match "^(.*)%.") then
      return ("has no version; begin the name with digits, like 0007_%s, or with R__ if it is repeatable")
        :format(entry)
    end
    return "the name must be digits, `_`, then letters, digits, `_` or `-`, then `.sql` or `.lua`, "
      .. "like 0007_add_invoices.sql"
  end
  return "is no migration; only migrations, README files and dot files belong here, and what the ignore patterns name"
end

--- What a name says.
---@param entry string without its folder
---@param is_repeatable? boolean it stands in a folder of repeatable migrations
---@return luphant.migrate.Name? name
---@return string? complaint nil for files that are nobody's business
function M.read(entry, is_repeatable)
  if entry:find "^%." or entry:find "^README" then return nil end
  local found = read_name(entry, is_repeatable)
  if found then return found end
  return nil, complaint(entry, is_repeatable)
end

--- A glob (`*` and `?`) as a Lua pattern for whole names.
---@param glob string
---@return string
function M.pattern(glob)
  local pattern = glob:gsub("/$", ""):gsub("[^%w*?]", "%%%0"):gsub("%*", ".*"):gsub("%?", ".")
  return "^" .. pattern .. "$"
end

return M
