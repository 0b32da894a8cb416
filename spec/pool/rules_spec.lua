-- The options of a pool as they are given: names, types, bounds, defaults. What each does is in the files beside.
--
-- SPDX-License-Identifier: MIT

local luphant = require "luphant"
local rules = require "luphant.pool.rules"

local TARGET = { host = "/nowhere", dbname = "none" }

local function open(options)
  return luphant.open(TARGET, options)
end

-- What misuse says, without the place; the place must be here.
local function misuse(options)
  local ok, err = pcall(function() open(options) end)
  assert.is_false(ok)
  local place, text = err:match "^(.-rules_spec.lua:%d+): (.*)$"
  assert.is_string(place, err)
  return text
end

describe("the options of a pool", function()
  it("that nobody knows are refused with the nearest name", function()
    for given, meant in pairs {
      max_connection = "max_connections", min_conections = "min_connections", aquire_timeout = "acquire_timeout",
      idle_timout = "idle_timeout", max_life_time = "max_lifetime", health_check = "health_check_after",
      after_conect = "after_connect", leak_timout = "leak_timeout", application_nam = "application_name",
    } do
      assert.equal(('unknown option "%s" (did you mean "%s"?)'):format(given, meant), misuse { [given] = 1 })
    end
  end)

  it("have types and bounds", function()
    for option, wrong in pairs {
      max_connections = { 0, 1.5, "many", 65536, false, 0 / 0 }, min_connections = { -1, 0.5, false },
      max_waiting = { 0, 1.5, "none" }, acquire_timeout = { 0, -1, "5", true }, idle_timeout = { 0, "long" },
      max_lifetime = { 0, {} }, lifetime_jitter = { -0.1, 1.1, false }, max_uses = { 0, 1.5 },
      reuse = { "stack", 1, "LIFO" }, health_check_after = { 0, true }, keepalive_interval = { -1 },
      reset = { "yes", true, false }, after_connect = { "select 1", 1 }, before_acquire = { {} },
      after_release = { true }, leak_timeout = { 0 }, on_warning = { io.stderr },
    } do
      for _, value in pairs(wrong) do
        assert.matches(('^option "%s" must be '):format(option), misuse { [option] = value })
      end
    end
  end)

  it("do not contradict each other", function()
    assert.equal("min_connections (5) is more than max_connections (4)",
      misuse { min_connections = 5, max_connections = 4 })
    assert.equal("min_connections (16) is more than max_connections (15)", misuse { min_connections = 16 })
  end)

  it("may be switched off where a limit is optional, and keep what was given", function()
    local off = { acquire_timeout = false, idle_timeout = false, max_lifetime = false, max_uses = false,
      max_waiting = false, health_check_after = false, keepalive_interval = false, leak_timeout = false }
    local db = assert(open(off))
    assert.same({ 15, 0, 0 }, { db:stats().max, db:stats().min, db:stats().total })
    assert(db:close())
  end)

  it("of resize are checked as those of open, and a wrong one changes nothing", function()
    local db = assert(open { max_connections = 4, min_connections = 0 })
    for wrong, text in pairs {
      [{ max_connections = 0 }] = 'pool option "max_connections" must be at least 1, got 0',
      [{ max_conections = 2 }] = 'unknown pool option "max_conections" (did you mean "max_connections"?)',
      [{ min_connections = 5 }] = "min_connections (5) is more than max_connections (4)",
      [{ after_connect = print }] = 'unknown pool option "after_connect"',
      [{ max_connections = 2, idle_timeout = 0 }] = 'pool option "idle_timeout" must be above 0, got 0',
    } do
      local ok, err = pcall(function() db:resize(wrong) end)
      assert.is_false(ok)
      assert.equal(text, err:match "rules_spec.lua:%d+: (.*)$")
      assert.same({ 4, 0 }, { db:stats().max, db:stats().min })
    end
    db:resize { max_connections = 2 }
    db:resize {}
    assert.equal(2, db:stats().max)
    assert(db:close())
  end)

  it("are all in the reference, with their defaults", function()
    local page = assert(io.open("docs/api/pool.md")):read "*a"
    local connection = require "luphant.settings".connection
    for name, rule in pairs(rules) do
      if not connection[name] then
        local shown = page:match("\n| `" .. name .. "` |([^|]*)|")
        assert.is_string(shown, name .. " is not in docs/api/pool.md")
        local default = rule.default
        if type(default) == "string" then default = '"' .. default .. '"' end
        assert.equal(default ~= nil and ("`%s`"):format(tostring(default)) or "", shown:match "^%s*(.-)%s*$", name)
      end
    end
  end)
end)
