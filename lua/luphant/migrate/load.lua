-- luphant.migrate.load - migration files -> a sorted list. Reads a directory, touches no database.
--
-- A migration is one file, `<digits>_<name>.sql`, in sections that begin with a marker line:
--
--     -- migrate:up        required: the way forward
--     -- migrate:down      optional: the way back (without it the migration cannot be undone)
--     -- migrate:verify    optional: run after up, in the same transaction; see luphant.migrate
--
-- What stands before the first marker may only be comments. Text is normalised before anything
-- else looks at it (byte order mark dropped, CRLF -> LF), so that a checkout on another system has
-- the same checksum. Problems are collected, never reported one by one: who has to repair a folder
-- wants to see the whole list.
--
-- A marker is known by its line alone; the SQL is not parsed here. A line that looks like a marker
-- inside a string or a function body is therefore taken for one.
--
-- SPDX-License-Identifier: MIT

local lfs = require "lfs"

local M = {}

---@class (exact) luphant.migrate.Section
---@field text string the SQL, marker line excluded
---@field line integer line of the file on which `text` begins

---@class (exact) luphant.migrate.Migration
---@field version string the digits as written
---@field name string what follows them
---@field file string path, as messages name it
---@field body string the whole normalised text; the checksum is taken of this
---@field up luphant.migrate.Section
---@field down? luphant.migrate.Section
---@field verify? luphant.migrate.Section

---@class (exact) luphant.migrate.Problem
---@field file string
---@field line? integer
---@field message string

local SECTIONS = { up = true, down = true, verify = true }

-- Versions compare as numbers but may have any length: without leading zeros, the longer is the
-- greater, and equal lengths compare as text. No float ever sees them.
local function order_key(version)
  local digits = version:gsub("^0+", "")
  return ("%06d%s"):format(#digits, digits)
end
M.order_key = order_key

local function is_blank_or_comment(line)
  return line:find "^%s*$" ~= nil or line:find "^%s*%-%-" ~= nil
end

-- Does a section hold anything to run? Line comments are the only comments looked for: a section
-- of nothing but /* */ is sent and the server finds it empty.
local function has_statements(text)
  for line in (text .. "\n"):gmatch "(.-)\n" do
    if not is_blank_or_comment(line) then return true end
  end
  return false
end

local function normalise(text)
  return (text:gsub("^\239\187\191", ""):gsub("\r\n", "\n"))
end

-- One marker line -> section name, or nil and the complaint.
local function read_marker(line)
  local word, rest = line:match "^%s*%-%-%s*migrate:%s*([%w_]*)%s*(.-)%s*$"
  if not word then return nil end
  if not SECTIONS[word] then
    return nil, ("unknown section %q; there are migrate:up, migrate:down and migrate:verify"):format(word)
  end
  if rest ~= "" then
    return nil, ("migrate:%s takes no options, but %q follows it"):format(word, rest)
  end
  return word
end

--- Takes the text of one migration apart.
---@param text string
---@param file string how messages call it
---@return table<string, luphant.migrate.Section> sections, luphant.migrate.Problem[] problems
function M.parse(text, file)
  local sections, problems = {}, {}
  local function complain(line, message)
    problems[#problems + 1] = { file = file, line = line, message = message }
  end
  local nul = text:find("\0", 1, true)
  if nul then
    local _, before = text:sub(1, nul):gsub("\n", "")
    complain(before + 1, "holds a NUL byte; is this a text file in UTF-8?")
    return sections, problems
  end

  local current, start, lines, number = nil, nil, {}, 0
  local function close()
    if current and not sections[current] then
      sections[current] = { text = table.concat(lines, "\n"), line = start }
    end
  end
  local stray = false
  for line in (normalise(text) .. "\n"):gmatch "(.-)\n" do
    number = number + 1
    local word, complaint = read_marker(line)
    if complaint then complain(number, complaint) end
    if word then
      close()
      if sections[word] then complain(number, "a second migrate:" .. word .. " section") end
      current, start, lines = word, number + 1, {}
    elseif current then
      lines[#lines + 1] = line
    elseif not is_blank_or_comment(line) and not stray then
      stray = true
      complain(number, "SQL before the first marker; begin with a line `-- migrate:up`")
    end
  end
  close()

  if not sections.up then
    complain(nil, "has no `-- migrate:up` section")
  else
    for word, section in pairs(sections) do
      if not has_statements(section.text) then
        complain(section.line - 1, "migrate:" .. word .. " is empty")
      end
    end
  end
  return sections, problems
end

-- Why is this no name of a migration? Answers nil for files that are nobody's business.
local function name_complaint(entry)
  if entry:find "^%." or entry:find "^README" then return nil end
  if entry:find "%.sql$" then
    return "the name must be digits, `_`, then letters, digits, `_` or `-`, then `.sql`, like 0007_add_invoices.sql"
  end
  return "is no migration; only `<digits>_<name>.sql`, README files and dot files belong here"
end

local function read_file(path)
  local handle, why = io.open(path, "rb")
  if not handle then return nil, why end
  local text, read_why = handle:read "*a"
  handle:close()
  return text, read_why
end

local function load_one(dir, entry, problems)
  local version, name = entry:match "^(%d+)_([%w_%-]+)%.sql$"
  local path = dir .. "/" .. entry
  if not version then
    local complaint = name_complaint(entry)
    if complaint then problems[#problems + 1] = { file = path, message = complaint } end
    return nil
  end
  local text, why = read_file(path)
  if not text then
    problems[#problems + 1] = { file = path, message = "cannot be read: " .. why }
    return nil
  end
  local sections, found = M.parse(text, path)
  for _, problem in ipairs(found) do problems[#problems + 1] = problem end
  return {
    version = version, name = name, file = path, body = normalise(text),
    up = sections.up, down = sections.down, verify = sections.verify,
  }
end

-- Files that claim the same number, each named together with the first that had it.
local function find_duplicates(list, problems)
  for i = 2, #list do
    if order_key(list[i].version) == order_key(list[i - 1].version) then
      problems[#problems + 1] = {
        file = list[i].file,
        message = ("has the same number as %s"):format(list[i - 1].file),
      }
    end
  end
end

--- Lists and reads the migrations of a directory, in order.
--- With problems the answer is nil and all of them; an unreadable directory is one, too.
---@param dir string
---@return luphant.migrate.Migration[]? list
---@return luphant.migrate.Problem[]? problems
function M.load(dir)
  local list, problems, entries = {}, {}, {}
  local mode, why = lfs.attributes(dir, "mode")
  if mode ~= "directory" then
    return nil, { { file = dir, message = mode and "is not a directory" or "cannot be opened: " .. why } }
  end
  for entry in lfs.dir(dir) do entries[#entries + 1] = entry end
  table.sort(entries) -- the file system's order is nobody's; messages come in a stable one
  for _, entry in ipairs(entries) do
    list[#list + 1] = load_one(dir, entry, problems)
  end
  table.sort(list, function(a, b)
    local ka, kb = order_key(a.version), order_key(b.version)
    if ka ~= kb then return ka < kb end
    return a.file < b.file
  end)
  find_duplicates(list, problems)
  if #problems > 0 then return nil, problems end
  return list
end

return M
