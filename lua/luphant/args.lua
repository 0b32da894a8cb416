-- args.lua - arguments and options checked by tables of rules, with messages that help.
--
-- A rule says what one option may be:
--   type     a Lua type name or a list of them (default: any)
--   integer  true: a number without fraction
--   min, max, above   bounds of a number (`above` excludes the bound itself)
--   one_of   a list of allowed strings
--   none     true: `false` may stand for "no limit" and arrives as nil, also over a default
--   default  what is taken when the option is absent
--   check    function(value) -> nil when good, else half a sentence that finishes "option "x" ..."
--   secret   true: the value never stands in a message
--
-- `validate` answers, `check` and `argument` raise at the line of whoever misused us. The given
-- table is never changed. Nothing here knows what any option means.
--
-- SPDX-License-Identifier: MIT

local args = {}

local min, max, floor = math.min, math.max, math.floor

---@class luphant.args.rule
---@field type? string|string[]
---@field integer? boolean
---@field min? number
---@field max? number
---@field above? number
---@field one_of? string[]
---@field none? boolean
---@field default? any
---@field check? fun(value: any): string?
---@field secret? boolean

-- Edits (insert, delete, replace, swap of neighbours) that turn a into b; the "optimal string
-- alignment" kind of Damerau-Levenshtein. Names are short, so three rows of a table are plenty.
local function distance(a, b)
  local before, above = {}, {}
  for j = 0, #b do above[j] = j end
  for i = 1, #a do
    local row = { [0] = i }
    for j = 1, #b do
      local same = a:byte(i) == b:byte(j)
      local cost = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (same and 0 or 1))
      if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
        cost = min(cost, before[j - 2] + 1)
      end
      row[j] = cost
    end
    before, above = above, row
  end
  return above[#b]
end

-- "statement_cache" is far from "statement_cache_size" in edits, yet surely meant.
local function is_beginning(short, long)
  return #short >= 4 and #short < #long and long:sub(1, #short) == short
end

--- The known name most like `name`, or nil when none is like it (more than a third differs).
---@param name string
---@param known string[]
---@return string|nil
function args.nearest(name, known)
  local wanted = name:lower():gsub("-", "_")
  if #wanted > 64 then return nil end
  local best, best_cost = nil, max(1, min(3, floor(#wanted / 3))) + 1
  for _, candidate in ipairs(known) do
    local cost = distance(wanted, (candidate:lower():gsub("-", "_")))
    if cost < best_cost or (cost == best_cost and best and candidate < best) then
      best, best_cost = candidate, cost
    end
  end
  if best then return best end
  for _, candidate in ipairs(known) do
    if is_beginning(wanted, candidate) and (not best or candidate < best) then best = candidate end
  end
  return best
end

--- ` (did you mean "x"?)`, or an empty string.
---@param name string
---@param known string[]
---@return string
function args.did_you_mean(name, known)
  local found = args.nearest(name, known)
  return found and (' (did you mean "%s"?)'):format(found) or ""
end

local function join(words, last)
  if #words < 2 then return words[1] end
  return table.concat(words, ", ", 1, #words - 1) .. " " .. last .. " " .. words[#words]
end

--- How a value looks in a message: short strings, numbers and booleans as they are, else the type.
---@param value any
---@param is_secret? boolean
---@return string
function args.show(value, is_secret)
  local kind = type(value)
  if value == nil then return "nil" end
  if is_secret then return "a " .. kind end
  if kind == "string" then
    if #value > 40 or value:find("%c") then return "a string" end
    return '"' .. value .. '"'
  end
  if kind == "number" or kind == "boolean" then return tostring(value) end
  return "a " .. kind
end

local function quoted(words)
  local out = {}
  for i, word in ipairs(words) do out[i] = '"' .. word .. '"' end
  return join(out, "or")
end

local function has_type(value, allowed)
  if type(allowed) == "string" then return type(value) == allowed end
  for _, name in ipairs(allowed) do
    if type(value) == name then return true end
  end
  return false
end

local function type_names(rule)
  if rule.integer then return "an integer" end
  local allowed = type(rule.type) == "string" and { rule.type } or rule.type
  local out = {}
  for i, name in ipairs(allowed) do out[i] = "a " .. name end
  return join(out, "or") .. (rule.none and ", or false for none" or "")
end

local function number_problem(value, rule)
  if value ~= value then return "must be a number, not NaN" end
  if rule.integer and (value ~= floor(value) or value - value ~= 0) then -- infinity has no fraction
    return "must be an integer, got " .. tostring(value)
  end
  if rule.above and value <= rule.above then
    return ("must be above %s, got %s"):format(rule.above, value)
  end
  if rule.min and value < rule.min then
    return ("must be at least %s, got %s"):format(rule.min, value)
  end
  if rule.max and value > rule.max then
    return ("must be at most %s, got %s"):format(rule.max, value)
  end
end

local function choice_problem(value, rule)
  for _, word in ipairs(rule.one_of) do
    if word == value then return nil end
  end
  local hint = type(value) == "string" and args.did_you_mean(value, rule.one_of) or ""
  local got = rule.secret and "" or ", got " .. args.show(value)
  return ("must be %s%s%s"):format(quoted(rule.one_of), got, hint)
end

--- Why `value` breaks `rule`: half a sentence, or nil when it is good.
---@param value any
---@param rule luphant.args.rule
---@return string|nil
function args.problem(value, rule)
  if rule.none and value == false then return nil end
  if rule.one_of then
    local why = choice_problem(value, rule)
    if why then return why end
  end
  if rule.type and not has_type(value, rule.type) then
    return ("must be %s, got %s"):format(type_names(rule), args.show(value, rule.secret))
  end
  if type(value) == "number" then
    local why = number_problem(value, rule)
    if why then return why end
  end
  return rule.check and rule.check(value)
end

local function unknown(key, rules, what)
  if type(key) ~= "string" then
    return ("%ss have names, but one was given at [%s]"):format(what, tostring(key))
  end
  local known = {}
  for name in pairs(rules) do known[#known + 1] = name end
  return ('unknown %s "%s"%s'):format(what, key, args.did_you_mean(key, known))
end

--- A new table with the checked options and the defaults of those that are absent.
---@param given table|nil
---@param rules table<string, luphant.args.rule>
---@param what? string  the noun of messages (default "option")
---@return table|nil checked
---@return string|nil message
function args.validate(given, rules, what)
  what = what or "option"
  local out = {}
  if given ~= nil and type(given) ~= "table" then
    return nil, ("%ss must be a table, got %s"):format(what, args.show(given))
  end
  for key, value in pairs(given or {}) do
    local rule = rules[key]
    if not rule then return nil, unknown(key, rules, what) end
    local why = args.problem(value, rule)
    if why then return nil, ('%s "%s" %s'):format(what, key, why) end
    out[key] = value
  end
  for key, rule in pairs(rules) do
    if out[key] == nil then out[key] = rule.default end
    if rule.none and out[key] == false then out[key] = nil end
  end
  return out
end

--- `validate` that raises. `level` counts as in error(): 1 is the function that calls check,
--- 2 (the default) is the caller of that function.
---@param given table|nil
---@param rules table<string, luphant.args.rule>
---@param what? string
---@param level? integer
---@return table
function args.check(given, rules, what, level)
  local checked, message = args.validate(given, rules, what)
  if not checked then error(message, (level or 2) + 1) end
  return checked
end

-- Where luphant's files are, as the debug library names them; nil when that was stripped.
local HOME = debug.getinfo(1, "S").source:match("^(@.*)args%.lua$")

local function is_ours(source)
  return source == "=[C]" or (HOME and source:sub(1, #HOME) == HOME)
end

--- Raises at the line of the nearest caller outside of luphant, however many calls (and tail calls) lie between.
---@param message string
function args.misuse(message)
  local level = 2
  local info = debug.getinfo(level, "S")
  while info and is_ours(info.source) do
    level = level + 1
    info = debug.getinfo(level, "S")
  end
  error(message, level)
end

--- Raises unless `value` has the expected type; answers the value.
---@param value any
---@param expected string|string[]  Lua type name, or a list of them
---@param index integer  which argument of `name` it is
---@param name string    the public function, as the user knows it
---@param level? integer as in `check`
---@return any
function args.argument(value, expected, index, name, level)
  if has_type(value, expected) then return value end
  local wanted = type(expected) == "string" and expected or join(expected, "or")
  error(("bad argument #%d to '%s' (%s expected, got %s)"):format(
    index, name, wanted, value == nil and "nil" or type(value)), (level or 2) + 1)
end

return args
