--- LuaLS description of luphant.core: tables and comments of csrc/bind -> lua/luphant/meta/core.lua.
--
-- Which functions there are is read from the luaL_Reg and lenter_method tables; what they take and answer from
-- a comment anywhere in csrc/bind, one for each:
--
--     core.poll(fd, events [, seconds]) -> "r" | "w" | "rw" | nil; -1 as fd only waits
--     conn:take() -> result | PENDING, want | nil, err, stale
--
-- Alternatives are separated by |, values of one alternative by commas; behind a semicolon one may explain. Names
-- have one type everywhere: NAMES below. A function without such a comment, a comment without a function and a
-- name without a type are errors. See emit.lua for how to run it. SPDX-License-Identifier: MIT

local emit = dofile "csrc/gen/emit.lua"

local WANT = '"r"|"w"|"rw"'

-- Parameters and answers by their names.
local NAMES = {
  statements = "boolean", anything = "boolean", listened = "boolean?",
  channel = "string", payload = "string", pid = "integer",
  ["nil"] = "nil", ["true"] = "true", ["false"] = "false", ["..."] = "any",
  allow_plaintext = "boolean", array = "table", at = "number", attempt_timeout = "number", boolean = "boolean",
  cancel = "luphant.core.cancel", code = "integer", codecs = "table", connect_timeout = "number",
  connection = "luphant.core.conn", err = "luphant.error", events = WANT, fd = "integer", forever = "boolean",
  integer = "integer", list = "table[]", map = "luphant.core.typemap", message = "string", metatable = "table",
  mode = "integer", n = "integer", name = "string", number = "number", offset = "integer", oid = "integer",
  on = "boolean", options = "table", parameters = "string[]", path = "string", PENDING = "lightuserdata",
  result = "any", seconds = "number", sql = "string", stale = '"stale"?', string = "string", text = "string",
  slot = "integer", ticket = "integer", handles = "table", metatables = "table", handle = "table",
  db = "luphant.pool", slowly = "function", undecided = "boolean", chosen = "boolean",
  seed = "number", pool = "luphant.core.pool", stream = "luphant.core.stream",
  state = '"connecting"|"idle"|"used"|"tended"', due = '"check"|"retire"|"lost"', chore = '"close"|"ping"|"connect"',
  more = '"stale"|"hit"|"notices"?', news = "integer", occupied = "integer", stuck = "boolean?", under_way = "integer",
  swollen = "boolean?", choosy = "boolean", depth = "integer",
  batch = "luphant.core.batch", index = "integer", isolated = "boolean", style = "integer", again = "boolean",
  started = "integer", answered = "integer", ended = "boolean", normalize = "function", advance = "function",
  any = "any", table = "table",
  nginx = "luphant.core.nginx", nest = "luphant.core.nest", subsystem = '"http"|"stream"', semaphore = "number",
  request = "number",
  serial = "number", unflushed = "boolean?", timeout = "number", type = "table", value = "any", want = WANT,
  inward = "boolean", count = "integer", columns = "integer", is_binary = "boolean", reason = "string",
  names = "string[]", oids = "integer[]", guard = "luphant.core.copy", why = "string", from = "integer",
  row = "integer", pass = "number", thread = "thread", deadline = "number",
  lists = "table[]", last = "integer", is_full = "boolean", nothing = "nil", most = "integer", rows = "number",
  bytes = "number", is_doomed = "boolean", unread = '"unread"?',
  descriptors = "integer[]", wants = "string[]",
}

-- Objects of signatures, with their classes: those of lbox_class, and the module itself.
local OBJECTS = {
  { name = "core", class = "luphant.core" },
  { name = "conn", class = "luphant.core.conn" },
  { name = "cancel", class = "luphant.core.cancel" },
  { name = "batch", class = "luphant.core.batch" },
  { name = "map", class = "luphant.core.typemap" },
  { name = "pool", class = "luphant.core.pool" },
  { name = "nginx", class = "luphant.core.nginx" },
  { name = "nest", class = "luphant.core.nest" },
  { name = "guard", class = "luphant.core.copy" },
  { name = "stream", class = "luphant.core.stream" },
}

local HEAD = [[
-- core.lua - generated: what LuaLS knows about luphant.core, the C half. Never loaded by a program.
---@meta luphant.core
--
-- Made by csrc/gen/meta_core.lua from csrc/bind: edit the comments there and run the generator.
--
-- SPDX-License-Identifier: MIT
-- luacheck: ignore

]]

-- ---- reading C ----------------------------------------------------------------------------------------

local function sources()
  local list = {}
  local pipe = assert(io.popen "ls csrc/bind/*.c csrc/bind/*.h | LC_ALL=C sort")
  for path in pipe:lines() do list[#list + 1] = emit.read(path) end
  pipe:close()
  return table.concat(list, "\n")
end

-- #define NAME {"a", a}, ... over several lines
local function macros_of(text)
  local found = {}
  for name, body in (text:gsub("\\\n", " ")):gmatch "#define%s+([%u_]+)%s+({[^\n]*)" do found[name] = body end
  return found
end

local function names_in(body, macros)
  body = body:gsub("/%*.-%*/", ""):gsub("%f[%w_][%u_]+%f[^%w_]", macros)
  local names = {}
  for name in body:gmatch '{%s*"([%a_][%w_]*)"%s*,' do
    if not name:find "^__" then names[#names + 1] = name end
  end
  return names
end

-- Object -> names of its functions. Tables of methods are tied to a class by its lbox_class, all others are core's.
local function functions_of(text)
  local macros, tables, found = macros_of(text), {}, {}
  for name, body in text:gmatch "%f[%a]const [%a_]+ ([%a_]+)%[%] = (%b{});" do
    tables[name] = names_in(body, macros)
  end
  local object_of = {
    entered_methods = "conn", run_methods = "pool", lend_methods = "pool", lpoolfacts_methods = "pool",
    ltrip_methods = "pool",
  }
  for class, methods in text:gmatch 'lbox_class [%a_]+ = {"([%w_.]+)", ([%a_]+),' do
    for _, object in ipairs(OBJECTS) do
      if object.class == class then object_of[methods] = object.name end
    end
  end
  for name, names in pairs(tables) do
    local object = object_of[name] or (name:find "functions$" and "core")
    for _, each in ipairs(object and names or {}) do
      found[object] = found[object] or {}
      found[object][each] = true
    end
  end
  return found
end

-- ---- reading signatures -------------------------------------------------------------------------------

-- Splits at a separator that is not inside quotes or braces.
local function split(text, separator)
  local parts, part, depth, quoted = {}, "", 0, false
  for c in text:gmatch "." do
    if c == '"' then quoted = not quoted end
    if not quoted and c == "{" then depth = depth + 1 end
    if not quoted and c == "}" then depth = depth - 1 end
    if c == separator and depth == 0 and not quoted then
      parts[#parts + 1], part = part, ""
    else
      part = part .. c
    end
  end
  parts[#parts + 1] = part
  for i, each in ipairs(parts) do parts[i] = each:match "^%s*(.-)%s*$" end
  return parts
end

local function type_of(word)
  if word:find '^"[^"]*"$' then return word end
  if word:find "^{.*}$" then return "table" end
  return NAMES[word]
end

local function read_params(text)
  local params = {}
  local is_optional = false
  for piece in (text:gsub("%[", ",["):gsub("%]", "") .. ","):gmatch "([^,]*)," do
    if piece:find "%[" then is_optional = true end
    local name = piece:match "[%w_.]+"
    if name then params[#params + 1] = { name = name, type = type_of(name), is_optional = is_optional } end
  end
  for _, param in ipairs(params) do
    if not param.type then return nil end
  end
  return params
end

-- { types of the first value, of the second ... }; nil when a word has no type
local function read_returns(text)
  local alternatives, places = split(text, "|"), {}
  local width = 0
  for i, each in ipairs(alternatives) do
    alternatives[i] = split(each, ",")
    width = math.max(width, #alternatives[i])
  end
  for place = 1, width do
    local seen, types = {}, {}
    for _, values in ipairs(alternatives) do
      local found = type_of(values[place] or "nil")
      if not found then return nil end
      if not seen[found] then types[#types + 1] = found end
      seen[found] = true
    end
    places[place] = table.concat(types, "|")
  end
  return places
end

-- "core.poll" -> { object, name, params, returns, note }
local function signatures_of(text)
  local found = {}
  for comment in text:gmatch "/%*.-%*/" do
    for line in comment:gsub("%*/$", ""):gmatch "[^\n]+" do
      local object, name, params, rest = line:match "^[%s/*]*(%l+)[.:]([%a_][%w_]*)%(([^()]*)%)(.*)$"
      local returns, note = (rest or ""):match "^%s*%->%s*([^;]+);?%s*(.-)%s*$"
      if object and not returns then note = rest:match "^;%s*(.-)%s*$" end
      if object and (returns or note or rest:find "^%s*$") then
        local read = { object = object, name = name, note = note }
        read.params = read_params(params)
        read.returns = read_returns(returns or "nil")
        if read.params and read.returns then
          if not returns then read.returns = {} end
          found[object .. "." .. name] = read
        end
      end
    end
  end
  return found
end

-- ---- writing ------------------------------------------------------------------------------------------

local function describe(signature, prefix)
  local out, names = {}, {}
  if signature.note and signature.note ~= "" then out[#out + 1] = "--- " .. signature.note end
  for i, param in ipairs(signature.params) do
    names[i] = param.name
    out[#out + 1] = ("---@param %s%s %s"):format(param.name, param.is_optional and "?" or "", param.type)
  end
  for _, types in ipairs(signature.returns) do out[#out + 1] = "---@return " .. types end
  out[#out + 1] = ("function %s%s(%s) end"):format(prefix, signature.name, table.concat(names, ", "))
  return table.concat(out, "\n") .. "\n\n"
end

local function sorted(set)
  local list = {}
  for name in pairs(set) do list[#list + 1] = name end
  table.sort(list)
  return list
end

local function check(functions, signatures)
  local problems = {}
  for object, names in pairs(functions) do
    for name in pairs(names) do
      if not signatures[object .. "." .. name] then
        problems[#problems + 1] = ("%s.%s has no comment with its signature"):format(object, name)
      end
    end
  end
  for key, signature in pairs(signatures) do
    local names = functions[signature.object]
    if names and not names[signature.name] then problems[#problems + 1] = key .. " is described but does not exist" end
  end
  table.sort(problems)
  if #problems > 0 then error("csrc/bind:\n  " .. table.concat(problems, "\n  "), 0) end
end

local function outputs()
  local text = sources()
  local functions, signatures = functions_of(text), signatures_of(text)
  check(functions, signatures)
  local out = { HEAD }
  for _, object in ipairs(OBJECTS) do
    local is_module = object.name == "core"
    out[#out + 1] = ("---@class %s%s\n"):format(object.class, is_module and "" or ": userdata")
    if is_module then
      out[#out + 1] = "---@field NULL lightuserdata\n---@field PENDING lightuserdata\n---@field RAISED lightuserdata\n"
        .. "---@field DUE lightuserdata\n---@field LATE lightuserdata\n---@field CHOSEN integer\n"
        .. "---@field MARKS table<string, integer>\n"
      out[#out + 1] = "---@field wrappers { typed: table, json: table }\n"
    end
    out[#out + 1] = ("local %s = {}\n\n"):format(object.name)
    for _, name in ipairs(sorted(functions[object.name])) do
      out[#out + 1] = describe(signatures[object.name .. "." .. name], object.name .. (is_module and "." or ":"))
    end
  end
  out[#out + 1] = "return core\n"
  return { ["lua/luphant/meta/core.lua"] = table.concat(out) }
end

emit.main("csrc/gen/meta_core.lua", outputs, arg)
return { outputs = outputs }
