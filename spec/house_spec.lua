-- The law of the house, read from the real #include and require lines: a file may use its own room and the
-- storeys below, never one above, and a sister room only where the map says so. docs/architecture.md tells
-- why. A new room goes into the map here, where reviewers see it.
--
-- To see it fail: write `require "luphant.migrate"` into any file of the runtime, or `#include <lua.h>` into
-- one of core/.
--
-- SPDX-License-Identifier: MIT

-- ---- the map ----------------------------------------------------------------------------------------

-- C: room -> rooms whose headers it may include.
local C_ROOMS = {
  base = {},
  types = { "base" },
  crypto = { "base" },
  core = { "base", "types", "crypto" },
  bind = { "base", "types", "crypto", "core" },
}

-- C: foreign header (a pattern of its name) -> rooms or files that may include it.
local C_FOREIGN = {
  { "^openssl/", { "crypto" } },
  { "^lua%.h$", { "bind" } },
  { "^lauxlib%.h$", { "bind" } },
  { "^lualib%.h$", { "bind" } },
  { "^luajit%.h$", { "bind" } },
  { "^libpq", { "core", "bind" } },
  { "^postgres", {} },
}

-- Lua, from the ground up. A room is `luphant.<room>` with everything below it. A room of the ground requires
-- nothing of ours; rooms of the runtime and of testing know each other; from services to features a sister
-- must be named in SISTERS.
local STOREYS = {
  {
    name = "ground",
    sisters = "none",
    rooms = { "args", "caret", "compat", "deadline", "kinds", "meta", "redact", "sqltext" },
  },
  {
    name = "runtime",
    sisters = "all",
    rooms = {
      "init", "batch", "bulk", "connection", "conninfo", "copy", "crypto", "cursor", "dial", "drive", "errors", "hooks",
      "notify", "pipeline", "pool", "progress", "request", "reset", "result", "session", "settings", "shape", "share",
      "statement", "stream", "strict", "tls", "transaction", "types",
      "values", "wait",
    },
  },
  {
    name = "services",
    sisters = "named",
    rooms = { "access", "alerts", "audit", "cache", "config", "log", "metrics", "routing", "trace" },
  },
  {
    name = "features",
    sisters = "named",
    rooms = { "advisor", "check", "codegen", "compat.pgmoon", "migrate", "model", "query", "schema", "sql" },
  },
  { name = "testing", sisters = "all", rooms = { "testing" } },
  { name = "cli", sisters = "all", rooms = { "cli" } },
}

local SISTERS = {
  alerts = { "metrics" },
  query = { "sql" },
  model = { "query", "sql" },
  codegen = { "check", "schema" },
  check = { "sql" },
  migrate = { "schema" },
}

-- The C core has one door: these storeys may open it.
local MAY_USE_CORE = { runtime = true, services = true, features = true, testing = true, cli = true }

-- Foreign Lua modules, each in one room unless there is a reason.
local LUA_FOREIGN = {
  argparse = "cli",
  cjson = "shape",
  copas = "wait",
  cqueues = "wait",
  ffi = { "shape", "wait" },
  lfs = { "migrate", "testing" },
  luv = "wait",
  ngx = "wait",
  resty = "wait",
  socket = { "testing", "wait" }, -- copas is made of it
}

local C_LINES, LUA_LINES = 600, 500

-- ---- reading ----------------------------------------------------------------------------------------

local function files(where)
  local list = {}
  local pipe = assert(io.popen("find " .. where .. " -type f | LC_ALL=C sort"))
  for path in pipe:lines() do
    list[#list + 1] = path
  end
  pipe:close()
  return list
end

local function matching(list, pattern)
  local found = {}
  for _, path in ipairs(list) do
    if path:find(pattern) then
      found[#found + 1] = path
    end
  end
  return found
end

local function lines_of(path)
  local list = {}
  for line in io.lines(path) do
    list[#list + 1] = line
  end
  return list
end

local function set(list)
  local members = {}
  for _, item in ipairs(list) do
    members[item] = true
  end
  return members
end

-- All offences of a law are told at once.
local function assert_none(offences)
  assert(#offences == 0, "\n  " .. table.concat(offences, "\n  "))
end

local c_files = matching(files("csrc"), "%.[ch]$")
local lua_files = matching(files("lua"), "%.lua$")

local function c_room(path)
  return path:match("^csrc/([^/]+)/") or path:match("^csrc/(.+)$")
end

local function lua_module(path)
  local name = path:gsub("^lua/", ""):gsub("%.lua$", ""):gsub("/init$", ""):gsub("/", ".")
  return name
end

local function lua_room(module)
  -- A room of its own, far above the ground module whose name it carries.
  if module:find("^luphant%.compat%.pgmoon") then return "compat.pgmoon" end
  return module == "luphant" and "init" or module:match("^luphant%.([^.]+)")
end

local storey_of = {} -- room -> index into STOREYS
for index, storey in ipairs(STOREYS) do
  for _, room in ipairs(storey.rooms) do
    storey_of[room] = index
  end
end

-- Every module named in a require, also behind pcall, with its line number. Comments do not count.
local function requires(path)
  local found = {}
  for number, line in ipairs(lines_of(path)) do
    local code = line:gsub("^%s*%-%-.*", ""):gsub("%s%-%-[^'\"]*$", "")
    for name in code:gmatch("%f[%w_]require%s*%(?%s*[\"']([%w_.]+)[\"']") do
      found[#found + 1] = { name = name, at = path .. ":" .. number }
    end
    for name in code:gmatch("pcall%s*%(%s*require%s*,%s*[\"']([%w_.]+)[\"']") do
      found[#found + 1] = { name = name, at = path .. ":" .. number }
    end
  end
  return found
end

-- What is wrong with a file of `room` requiring the luphant module `name`; nil when nothing is.
local function lua_offence(room, name)
  local from = STOREYS[storey_of[room]]
  if name == "luphant.core" then
    return not MAY_USE_CORE[from.name] and from.name .. " may not use luphant.core" or nil
  end
  local other = lua_room(name)
  if not storey_of[other] then
    return "a room nobody knows: add it to the map in spec/house_spec.lua"
  end
  local to = STOREYS[storey_of[other]]
  if other == room or storey_of[other] < storey_of[room] then
    return nil
  elseif to ~= from then
    return ("%s is above %s"):format(to.name, from.name)
  elseif from.sisters == "none" or (from.sisters == "named" and not set(SISTERS[room] or {})[other]) then
    return ("%s and %s are sister rooms of %s"):format(other, room, from.name)
  end
end

-- ---- the laws ---------------------------------------------------------------------------------------

describe("the house", function()
  it("is read as it stands", function()
    assert.is_true(#c_files > 20 and #lua_files > 10)
    assert.equal("migrate", lua_room("luphant.migrate.load"))
    assert.equal("services is above runtime", lua_offence("connection", "luphant.log"))
    assert.equal("deadline and args are sister rooms of ground", lua_offence("args", "luphant.deadline"))
    assert.equal("advisor and query are sister rooms of features", lua_offence("query", "luphant.advisor"))
    assert.equal("ground may not use luphant.core", lua_offence("args", "luphant.core"))
    assert.is_nil(lua_offence("query", "luphant.sql.ident"))
    assert.is_nil(lua_offence("migrate", "luphant"))
  end)

  it("has a place on the map for every C file", function()
    local offences = {}
    for _, path in ipairs(c_files) do
      if not C_ROOMS[c_room(path)] then
        offences[#offences + 1] = path .. ": add its room to the map in spec/house_spec.lua"
      end
    end
    assert_none(offences)
  end)

  it("has a place on the map for every Lua file", function()
    local offences = {}
    for _, path in ipairs(lua_files) do
      if not storey_of[lua_room(lua_module(path)) or ""] then
        offences[#offences + 1] = path .. ": add its room to the map in spec/house_spec.lua"
      end
    end
    assert_none(offences)
  end)

  it("lets C include only from the same room and the storeys below", function()
    local offences, seen = {}, 0
    for _, path in ipairs(c_files) do
      local room = c_room(path)
      local allowed = set(C_ROOMS[room] or {})
      allowed[room] = true
      for number, line in ipairs(lines_of(path)) do
        local header = line:match('^%s*#%s*include%s*"([^"]+)"')
        if header then
          seen = seen + 1
          local other = header:match("^([^/]+)/")
          if not other then
            offences[#offences + 1] = ("%s:%d: write the room: \"%s/%s\""):format(path, number, room, header)
          elseif not allowed[other] then
            offences[#offences + 1] = ("%s:%d: %s may not use %s"):format(path, number, room, header)
          end
        end
      end
    end
    assert_none(offences)
    assert.is_true(seen > 20)
  end)

  it("lets each foreign library into its own C room only", function()
    local offences, seen = {}, 0
    for _, path in ipairs(c_files) do
      local room = c_room(path)
      for number, line in ipairs(lines_of(path)) do
        local header = line:match("^%s*#%s*include%s*<([^>]+)>")
        for _, rule in ipairs(C_FOREIGN) do
          if header and header:find(rule[1]) then
            seen = seen + 1
            if not set(rule[2])[room] then
              offences[#offences + 1] = ("%s:%d: <%s> belongs to %s"):format(
                path, number, header, #rule[2] > 0 and table.concat(rule[2], " and ") or "nobody")
            end
          end
        end
      end
    end
    assert_none(offences)
    assert.is_true(seen > 2)
  end)

  it("knows the differences between Lua versions in one place", function()
    local offences = {}
    for _, path in ipairs(c_files) do
      for number, line in ipairs(lines_of(path)) do
        if line:find("LUA_VERSION_NUM", 1, true) and not path:find("^csrc/bind/compat%.[ch]$") then
          offences[#offences + 1] = ("%s:%d: LUA_VERSION_NUM belongs to csrc/bind/compat.h"):format(path, number)
        end
      end
    end
    assert_none(offences)
  end)

  it("lets Lua require only from the same room and the storeys below", function()
    local offences, seen = {}, 0
    for _, path in ipairs(lua_files) do
      local room = lua_room(lua_module(path))
      for _, use in ipairs(storey_of[room] and requires(path) or {}) do
        if use.name:find("^luphant%f[%W]") then
          seen = seen + 1
          local offence = lua_offence(room, use.name)
          if offence then
            offences[#offences + 1] = ("%s: requires %s: %s"):format(use.at, use.name, offence)
          end
        end
      end
    end
    assert_none(offences)
    assert.is_true(seen > 10)
  end)

  it("lets each foreign Lua module into one room only", function()
    local offences = {}
    for _, path in ipairs(lua_files) do
      local room = lua_room(lua_module(path))
      for _, use in ipairs(requires(path)) do
        local home = LUA_FOREIGN[use.name:match("^[^.]+")]
        local homes = type(home) == "table" and home or { home }
        if not use.name:find("^luphant%f[%W]") and not set(homes)[room] then
          offences[#offences + 1] = ("%s: requires %s: %s"):format(use.at, use.name,
            home and "that belongs to " .. table.concat(homes, " and ") or "add it to the map in spec/house_spec.lua")
        end
      end
    end
    assert_none(offences)
  end)

  it("has no two Lua modules that require each other, however far around", function()
    local graph = {}
    for _, path in ipairs(lua_files) do
      graph[lua_module(path)] = requires(path)
    end
    local state, circles = {}, {}
    local function visit(module, trail)
      if state[module] == "done" or not graph[module] then
        return
      end
      trail = trail .. " > " .. module
      if state[module] == "open" then
        circles[#circles + 1] = trail
        return
      end
      state[module] = "open"
      for _, use in ipairs(graph[module]) do
        visit(use.name, trail)
      end
      state[module] = "done"
    end
    for module in pairs(graph) do
      visit(module, "")
    end
    assert_none(circles)
  end)

  it("keeps its guests to the public modules", function()
    local offences = {}
    for _, path in ipairs(matching(files("examples"), "%.lua$")) do
      for _, use in ipairs(requires(path)) do
        if use.name == "luphant.core" then
          offences[#offences + 1] = use.at .. ": examples show the public modules only"
        end
      end
    end
    assert_none(offences)
  end)

  it("keeps files to a size one can read", function()
    local offences = {}
    local function measure(list, pattern, limit)
      for _, path in ipairs(matching(list, pattern)) do
        local count = #lines_of(path)
        local head = table.concat(lines_of(path), "\n", 1, 4)
        if count > limit and not head:find("generated", 1, true) and not head:find("Made by csrc/gen", 1, true) then
          offences[#offences + 1] = ("%s: %d lines, the limit is %d: one noun too many?"):format(path, count, limit)
        end
      end
    end
    measure(c_files, "%.c$", C_LINES)
    measure(lua_files, "%.lua$", LUA_LINES)
    assert_none(offences)
  end)

  it("has a licence line in every source file, and no file named after nothing", function()
    local offences = {}
    local sources = matching(files("csrc lua bin spec/support"), "%.[ch]$")
    for _, path in ipairs(matching(files("csrc lua bin spec/support"), "%.lua$")) do
      sources[#sources + 1] = path
    end
    for _, path in ipairs(sources) do
      local head = table.concat(lines_of(path), "\n"):sub(1, 6000)
      if not head:find("SPDX-License-Identifier: MIT", 1, true) and not head:find("generated", 1, true) then
        offences[#offences + 1] = path .. ": no SPDX line in its head"
      end
      local name = path:match("([^/.]+)%.[^/]*$")
      if name == "util" or name == "utils" or name == "misc" or name == "helper" or name == "helpers" then
        offences[#offences + 1] = path .. ": name it after what is in it"
      end
    end
    assert_none(offences)
  end)

  it("exports one symbol from the core: the function that opens it", function()
    local found
    for template in package.cpath:gmatch("[^;]+") do
      local path = template:gsub("%?", "luphant/core")
      local file = not found and io.open(path, "rb")
      if file then
        file:close()
        found = path
      end
    end
    assert(found, "luphant.core is not on package.cpath")
    local pipe = assert(io.popen("nm -D --defined-only '" .. found .. "'"))
    local symbols = {}
    for line in pipe:lines() do
      local kind, name = line:match("^%x*%s*(%a)%s+(%S+)")
      -- The sanitizers add marks of their own.
      if not name:find("^__[aul]?[asb]*san") and not name:find("^__odr_asan") then
        symbols[#symbols + 1] = kind .. " " .. name
      end
    end
    pipe:close()
    assert.same({ "T luaopen_luphant_core" }, symbols)
  end)
end)
