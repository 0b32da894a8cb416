-- luphant.migrate.marker - one marker line: `-- migrate:up transaction:false lock_timeout:5s`.
--
-- Every option is known by name, belongs to certain sections, and has a type. Anything else is an error with the
-- nearest known name: a typo in `transaction:false` must not open a transaction in silence.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"
local version = require "luphant.migrate.version"

local M = {}

M.SECTIONS = { "up", "down", "check", "verify" }
local IS_SECTION = { up = true, down = true, check = true, verify = true }

local UNITS = { us = 1e-6, ms = 1e-3, s = 1, min = 60, h = 3600, d = 86400 }

-- ---- types: text -> value, or nil and half a sentence -----------------------------------------------------

local function boolean(text)
  if text == "true" then return true end
  if text == "false" then return false end
  return nil, ("must be true or false, not %q"):format(text)
end

--- A duration with its unit, as seconds: "500ms", "5s", "10min", "2h", "1d"; "0" needs none.
---@param text string
---@return number? seconds
---@return string? complaint
function M.duration(text)
  if text == "0" then return 0 end
  local number, unit = text:match "^(%d*%.?%d*)(%a*)$"
  local amount = number and tonumber(number)
  if not amount then return nil, ("must be a duration like 5s or 10min, not %q"):format(text) end
  if unit == "" then return nil, ("needs a unit: %ss or %sms?"):format(number, number) end
  if not UNITS[unit] then
    return nil, ("has the unit %q; there are us, ms, s, min, h and d"):format(unit)
  end
  return amount * UNITS[unit]
end

local function list(text, is_good, what)
  local out = {}
  for item in (text .. ","):gmatch "([^,]*)," do
    if not is_good(item) then return nil, ("must be %s, separated by commas, not %q"):format(what, item) end
    out[#out + 1] = item
  end
  return out
end

local function is_requirement(item) return version.is(item) or item:find "^R__[%w_%-]+$" ~= nil end
local function is_variable(item) return item:find "^[%a_][%w_]*$" ~= nil end

local function requirements(text) return list(text, is_requirement, "versions, or R__ and a name") end
local function versions(text) return list(text, version.is, "versions") end
local function variables(text) return list(text, is_variable, "names of letters, digits and `_`") end

local PHASES = { "expand", "contract" }
local function phase(text)
  if text == "expand" or text == "contract" then return text end
  return nil, ("must be expand or contract, not %q%s"):format(text, args.did_you_mean(text, PHASES))
end

local function flag(text)
  if text == "" then return true end
  return nil, "takes no value"
end

---@class (exact) luphant.migrate.SectionOptions
---@field transaction? boolean
---@field lock_timeout? number seconds
---@field statement_timeout? number seconds
---@field retry? boolean
---@field requires? string[]
---@field replaces? string[]
---@field phase? "expand"|"contract"
---@field vars? string[]
---@field irreversible? boolean

-- name -> its type and the sections on whose line it may stand
local OPTIONS = {
  transaction = { read = boolean, "up", "down" },
  lock_timeout = { read = M.duration, "up", "down" },
  statement_timeout = { read = M.duration, "up", "down", "check", "verify" },
  retry = { read = boolean, "up", "down" },
  requires = { read = requirements, "up" },
  replaces = { read = versions, "up" },
  phase = { read = phase, "up" },
  vars = { read = variables, "up" },
  irreversible = { read = flag, "up", "down" },
}

local NAMES = {}
for name in pairs(OPTIONS) do NAMES[#NAMES + 1] = name end
table.sort(NAMES)

local function belongs(rule, section)
  for _, name in ipairs(rule) do
    if name == section then return true end
  end
  return false
end

local function read_option(word, section)
  local name, colon, text = word:match "^([^:]*)(:?)(.*)$"
  local rule = OPTIONS[name]
  if not rule then
    return nil, ("unknown option %q%s"):format(name, args.did_you_mean(name, NAMES))
  elseif not belongs(rule, section) then
    return nil, ("%s belongs on the line of migrate:%s"):format(name, table.concat(rule, " or migrate:"))
  elseif rule.read ~= flag and (colon == "" or text == "") then
    return nil, ("%s needs a value, written without blanks: %s:..."):format(name, name)
  end
  local value, why = rule.read(text)
  if value == nil then return nil, name .. " " .. why end
  return name, value
end

local function read_options(text, section)
  local options, complaints = {}, {}
  for word in text:gmatch "%S+" do
    local name, value = read_option(word, section)
    if not name then
      complaints[#complaints + 1] = value
    elseif options[name] ~= nil then
      complaints[#complaints + 1] = name .. " stands there twice"
    else
      options[name] = value
    end
  end
  return options, complaints
end

--- Reads a line comment that begins its line.
---@param comment string with its two dashes
---@return string? section nil: no marker, or a broken one
---@return luphant.migrate.SectionOptions? options
---@return string[] complaints
function M.read(comment)
  local section, rest = comment:match "^%-%-%s*migrate:%s*([%w_]*)%s*(.-)%s*$"
  if not section then return nil, nil, {} end
  if not IS_SECTION[section] then
    return nil, nil, { ("unknown section %q%s; there are migrate:up, migrate:down, migrate:check and migrate:verify")
      :format(section, args.did_you_mean(section, M.SECTIONS)) }
  end
  local options, complaints = read_options(rest, section)
  return section, options, complaints
end

--- A marker line from options; nil when there are none to write.
---@param section string
---@param options luphant.migrate.SectionOptions
---@return string?
function M.write(section, options)
  local out = {}
  for _, name in ipairs(NAMES) do
    local value, read = options[name], OPTIONS[name].read
    if value ~= nil and read == flag then
      out[#out + 1] = name
    elseif value ~= nil and read == M.duration then
      -- In microseconds, below which the server's timeouts do not go either: nothing is lost in the fraction.
      out[#out + 1] = ("%s:%.0fus"):format(name, value * 1e6)
    elseif value ~= nil then
      out[#out + 1] = name .. ":" .. (type(value) == "table" and table.concat(value, ",") or tostring(value))
    end
  end
  if #out == 0 then return nil end
  return ("-- migrate:%s %s"):format(section, table.concat(out, " "))
end

-- ---- what looks like a marker and is none -----------------------------------------------------------------

-- Directives of other tools, which would otherwise be skipped as comments: pattern -> what it is called here.
local FOREIGN = {
  { "^%-%-%s*%+goose%s+Up", "goose", "-- migrate:up" },
  { "^%-%-%s*%+goose%s+Down", "goose", "-- migrate:down" },
  { "^%-%-%s*%+goose%s+NO%s+TRANSACTION", "goose", "-- migrate:up transaction:false" },
  { "^%-%-%s*%+goose%s+Statement", "goose", "nothing: statements are found without help" },
  { "^%-%-%s*%+goose%s+ENVSUB", "goose", "-- migrate:up vars:name and ${name}" },
  { "^%-%-%s*%+migrate%s+Up", "sql-migrate", "-- migrate:up" },
  { "^%-%-%s*%+migrate%s+Down", "sql-migrate", "-- migrate:down" },
  { "^%-%-%s*no%-transaction%s*$", "sqlx", "-- migrate:up transaction:false" },
  { "^%-%-!%s*no%-transaction", "graphile-migrate", "-- migrate:up transaction:false" },
  { "^%-%-%s*atlas:txmode%s+none", "Atlas", "-- migrate:up transaction:false" },
  { "^%-%-%s*atlas:delimiter", "Atlas", "nothing: statements are found without help" },
  { "^%-%-%s*liquibase formatted sql", "Liquibase", "one file for each change set" },
}

--- Why a line comment, though no marker, may not be skipped; nil for ordinary comments.
---@param comment string
---@return string?
function M.near_miss(comment)
  local word, section, rest = comment:match "^%-%-[%s!]*(%a+)%s*[:%s]%s*(%a+)%s*(.*)$"
  if word and word:lower():find "^migrat" and IS_SECTION[section:lower()]
    and (rest == "" or rest:find "^[%a_]+:%S") then
    return ("is no marker; did you mean `-- migrate:%s`?"):format(section:lower())
  end
  for _, rule in ipairs(FOREIGN) do
    if comment:find(rule[1]) then
      return ("is a directive of %s, unknown here; it is called %s"):format(rule[2], rule[3])
    end
  end
end

--- Checks options given as a Lua table (in a .lua migration) by the same rules.
---@param name string
---@param value any
---@return any value nil when there is a complaint
---@return string? complaint
function M.option(name, value)
  local rule = OPTIONS[name]
  if rule.read == boolean or rule.read == flag then
    if type(value) == "boolean" then return value end
    return nil, name .. " must be true or false"
  end
  local is_list = type(value) == "table" and #value > 0
  for _, item in ipairs(is_list and value or {}) do is_list = is_list and type(item) == "string" end
  if is_list then value = table.concat(value, ",") end
  if type(value) ~= "string" then return nil, name .. " must be text, also when it is a number" end
  local read, why = rule.read(value)
  if read == nil then return nil, name .. " " .. why end
  return read
end

return M
