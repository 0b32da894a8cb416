-- The core's own memory runs out at every allocation (base/mem.h): the scenarios of support/sweep.lua, with
-- core.mem_fail_at. The same for Lua's allocator is done by support/sweep.c, which this starts.
--
-- LUPHANT_SWEEP_FULL=1 fails at every point; otherwise at most LUPHANT_SWEEP_RUNS of them, evenly spread.
--
-- SPDX-License-Identifier: MIT
local core = require "luphant.core"
local env = require "spec.support.env"

local is_luajit = rawget(_G, "jit") ~= nil
local full = os.getenv "LUPHANT_SWEEP_FULL" == "1"
local RUNS = tonumber(os.getenv "LUPHANT_SWEEP_RUNS") or 24

local function settle(live)
  if is_luajit then require("jit").flush() end -- compiled loops hold on to the iterator they were compiled with
  for _ = 1, 500 do
    collectgarbage()
    collectgarbage()
    if core.mem_live() <= live then break end
    core.poll(-1, "r", 0.002) -- a helper thread ends in its own time
  end
  return core.mem_live()
end

describe("memory that runs out #checkout", function()
  local sweep = assert(loadfile "spec/support/sweep.lua")(env.url())

  -- The scenarios switch LuaJIT's compiler off, for sweep.c's sake.
  teardown(function()
    if is_luajit then require("jit").on() end
  end)

  local function finish(s, things)
    if s.close then s.close(things) elseif things.conn then things.conn:close() end
  end

  -- One run on a new connection, whose buffers and statements are still to be allocated. Answers whether the n-th
  -- allocation was reached, and so failed.
  local function run(s, n, forever)
    local things = s.setup()
    if s.before then s.before(things) end
    core.mem_fail_at(n, forever)
    local ok, result, err = pcall(s.run, things)
    local failed = core.mem_failed()
    core.mem_fail_at(0, false)
    local fine, why = pcall(sweep.verify, s, things, ok, result, err)
    finish(s, things)
    if not fine then
      error(("call %d%s: %s"):format(n, forever and " and all later ones" or "", tostring(why)), 0)
    end
    return failed
  end

  for _, s in ipairs(sweep.scenarios) do
    if not s.only_lua then
      it("in the core: " .. s.name, function()
        if not core.mem_fail_at(0, false) then return pending "the core was built without LPH_FAULT_ALLOC" end
        finish(s, s.setup()) -- what is made only once in a process is there now
        local live = settle(0)
        local high = 1
        while run(s, high, false) do high = high * 2 end
        local step = full and 1 or math.ceil(high / (s.slow and math.min(RUNS, 8) or RUNS))
        local reached = 0
        for _, forever in ipairs { false, true } do
          local n = 1
          while run(s, n, forever) do
            reached = n
            n = n + step
          end
        end
        assert.is_true(reached > 0 and reached >= high / 2 - step)
        assert.equal(live, settle(live))
      end)
    end
  end

  it("in Lua: every scenario with an allocator that fails", function()
    local program
    for template in package.cpath:gmatch "[^;]+" do -- it lies beside the directory of the core in use
      local path = template:match "^(.*/)[^/]+/%?%.so$"
      local candidate = path and path .. (is_luajit and "sweep_luajit" or "sweep_lua5.4")
      local file = candidate and io.open(candidate)
      if file then
        file:close()
        program = program or candidate
      end
    end
    if not program then return pending "the program sweep is not built here (LPH_TESTS)" end
    local command = ("LUPHANT_TEST_URL='%s' %s spec/support/sweep.lua 2>&1"):format(env.url(), program)
    local pipe = assert(io.popen(command))
    local output = pipe:read "*a"
    pipe:close()
    assert.matches("\n0 broken promises\n$", output)
  end)
end)
