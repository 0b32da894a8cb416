-- Verbs of a pool that the core waits for itself inside of nginx (ltrip.c): who stands in the queue is served in order,
-- his statement sent by whoever gives the connection back; and whatever is unusual on the way ends as it would
-- elsewhere.
--
-- To see it fail: let finish in ltripway.c answer `true` without serving the next (nobody in the queue is ever served),
-- or leave `oversleeps` away in send_for of ltrip.c (the time limit of a statement that others have sent is not seen).
--
-- SPDX-License-Identifier: MIT

local env = require "spec.support.env"
local luphant = require "luphant"
local probe = require "spec.support.probe"
local web = require "spec.openresty.web"

local TRAVEL = [=[
local luphant = require "luphant"
local core = require "luphant.core"
local wait, spawn = ngx.thread.wait, ngx.thread.spawn

local travel, pools = {}, {}

-- A pool whose verbs travel: what there is to be started has been.
local function open(options)
  options.max_connections = options.max_connections or 1
  options.min_connections = options.max_connections
  options.acquire_timeout = options.acquire_timeout or 20
  options.application_name = "nginx_travel"
  options.share = false -- what rides does not travel
  local db = assert(luphant.open(os.getenv "LUPHANT_TEST_URL", options))
  repeat
    local threads = {}
    for i = 1, 16 do threads[i] = spawn(function() return db:query "select 1" end) end
    for i = 1, 16 do assert(select(2, wait(threads[i]))) end
  until db.swift and db.keeper and db:stats().total == options.max_connections
  pools[#pools + 1] = db
  return db
end

-- How often the core waited for a verb, and the way through Lua was gone, while fn ran.
local function counted(db, fn)
  local box, travelled, other = db.core, 0, 0
  local probe = setmetatable({}, { __index = function(_, name)
    local method = box[name]
    return function(_, ...) return method(box, ...) end
  end })
  function probe:run(...) -- luacheck: ignore 212
    local slot, pass, more, last = box:run(...)
    if slot == nil then travelled = travelled + 1 else other = other + 1 end
    return slot, pass, more, last
  end
  db.core = probe
  fn()
  db.core = box
  return travelled, other
end

local function busy(db, seconds)
  local thread = spawn(function()
    local value, err = db:query_value("select 'slept' from pg_sleep($1)", seconds)
    return value, err -- no tail call: the line of this one is told
  end)
  assert(db:stats().used == db:stats().max)
  return thread
end

local function kind(err) return type(err) == "table" and err.kind or tostring(err) end

function travel.order()
  local db, done, threads = open {}, {}, {}
  local travelled, other = counted(db, function()
    for i = 1, 12 do
      threads[i] = spawn(function()
        local n = db:query_value("select $1::int", i) -- prepared by the first of them
        done[#done + 1] = n
      end)
    end
    for i = 1, 12 do assert(wait(threads[i])) end
  end)
  return table.concat(done, " ") .. (travelled > 8 and " by the core" or (" %d %d"):format(travelled, other))
end

-- Verbs that stand in the queue one after the other, of all kinds, with as many parameters as may be, and more.
function travel.kinds()
  local db, said, threads = open {}, {}, {}
  local first = busy(db, 0.05)
  local function ask(i, verb, ...)
    local args, n = { ... }, select("#", ...)
    threads[#threads + 1] = spawn(function()
      local value, err = db[verb](db, unpack(args, 1, n))
      if type(value) == "table" then value = #value > 0 and #value or value.a or "none" end
      said[i] = tostring(value) .. (err and "!" .. kind(err) or "")
    end)
  end
  local many, marks = {}, {}
  for i = 1, 40 do many[i], marks[i] = i, "$" .. i .. "::int" end
  ask(1, "query", "select generate_series(1, 3)")
  ask(2, "query_one", "select $1::text as a", nil)
  ask(3, "query_opt", "select 1 where false")
  ask(4, "query_value", "select " .. table.concat(marks, " + ", 1, 10), unpack(many, 1, 10))
  ask(5, "query_value", "select " .. table.concat(marks, " + ", 1, 40), unpack(many, 1, 40))
  ask(6, "execute", "create temporary table nginx_travel (a int)")
  ask(7, "query_column", { "select generate_series(1, 4)" })
  ask(8, "query_value", "select 1 / $1::int", 0)
  ask(9, "query_value", "select $1::int", "nine")
  ask(10, "query_value", "select $1::int")
  ask(11, "query_one", "select 1 where false")
  ask(12, "query_value", "selec")
  ask(13, "query_value", "select 'end'")
  for _, thread in ipairs(threads) do assert(wait(thread)) end
  assert(wait(first))
  return table.concat(said, " ")
end

-- A text that is none is misuse at the caller's line; a value that is none is told.
function travel.misuse()
  local db = open {}
  local first = busy(db, 0.05)
  local threads = {
    spawn(function() return pcall(db.query, db, false) end),
    spawn(function() return pcall(db.query, db, "select $1::text", print) end),
    spawn(function() return pcall(db.query_value, db, "select 'right'") end),
  }
  local said = {}
  for i, thread in ipairs(threads) do
    local _, ok, value, err = wait(thread)
    said[i] = tostring(ok) .. " " .. (err and kind(err) or tostring(value):gsub("^.-:%d+: ", ""):sub(1, 12))
  end
  wait(first)
  return table.concat(said, ", ")
end

function travel.too_late()
  local db = open { acquire_timeout = 0.2 }
  local first, from = busy(db, 0.6), core.now()
  local value, err = db:query_value "select 2"
  local took = core.now() - from
  local stats = db:stats()
  assert(wait(first))
  local line = err.waited >= 0.19 and err.detail:match "a query verb of the pool at .-travel%.lua:%d+"
  return ("%s %s %s %s %d %d %s"):format(tostring(value), kind(err), took < 0.55 and "in time" or took,
    line and "with the line" or tostring(err.detail), stats.waiting, stats.timeouts,
    assert(db:query_value "select 'on'"))
end

-- The limit of a statement that another one has sent begins when it is sent.
function travel.limits()
  local db, from = open { timeout = 0.5 }, core.now()
  wait(busy(db, 0)) -- what is sent for another has been prepared
  local first, second = busy(db, 0.3), busy(db, 20)
  local third = spawn(function() return db:query_value "select 'third'" end)
  local _, _, err = wait(second)
  local _, value = wait(third)
  wait(first)
  return ("%s %s %s"):format(kind(err), value, core.now() - from < 10 and "soon" or "late")
end

-- An encoder runs in the task whose value it is.
function travel.codecs()
  local db = open {}
  local runs
  assert(db:register_type("point", { encode = function(v)
    runs = coroutine.running()
    return ("(%d,%d)"):format(v.x, v.y)
  end }))
  local mine
  local function ask(x)
    mine = coroutine.running()
    return db:query_value("select ($1::point)[0]", { x = x, y = 4 })
  end
  wait(spawn(ask, 2)) -- what is sent for another has been prepared
  local first = busy(db, 0.05)
  local second = spawn(ask, 3)
  local _, x, err = wait(second)
  wait(first)
  return ("%s %s"):format(tostring(x or err), runs == mine and "by itself" or "by another")
end

-- Light threads that are killed, in the queue and under way: the next is served.
function travel.kills()
  local db = open {}
  wait(busy(db, 0)) -- prepares the statement
  local first, from = busy(db, 0.1), core.now()
  local second, third = busy(db, 30), busy(db, 30)
  local fourth = spawn(function() return db:query_value "select 'fourth'" end)
  assert(ngx.thread.kill(second))
  assert(wait(first))
  ngx.sleep(0.05) -- the third is under way
  assert(ngx.thread.kill(third))
  local _, value, err = wait(fourth)
  return ("%s %s %d"):format(tostring(value or err), core.now() - from < 15 and "soon" or "late", db:stats().waiting)
end

-- Those under way are cut off, those in the queue told.
function travel.closes()
  local db, from = open { max_connections = 2 }, core.now()
  local threads = {}
  for i = 1, 5 do threads[i] = spawn(function() return db:query "select pg_sleep(30)" end) end
  ngx.sleep(0.02)
  local ok, why = db:close(0.1)
  local said = { tostring(ok), kind(why) }
  for i = 1, 5 do
    local _, _, err = wait(threads[i])
    said[#said + 1] = kind(err)
  end
  return table.concat(said, " ") .. (core.now() - from < 10 and " soon" or " late")
end

function travel.holds()
  local db = open {}
  local _, err = db:with(function() return db:query "select 1" end)
  return kind(err)
end

-- A borrower that has ended without giving back is found by who waits.
function travel.forgets()
  local db, from = open {}, core.now()
  local held
  assert(wait(spawn(function() held = assert(db:acquire()) end)))
  local value, err = db:query_value "select 'found'"
  return ("%s %s %s"):format(tostring(value or kind(err)), core.now() - from < 10 and "soon" or "late",
    held:is_lent() and "still lent" or "taken back")
end

-- Under the one who runs the session ends; who waits has another one.
function travel.loses()
  local db = open {}
  local first = spawn(function() return db:query "select pg_terminate_backend(pg_backend_pid())" end)
  local second = spawn(function() return db:query_value "select 'another'" end)
  local _, _, err = wait(first)
  local _, value, why = wait(second)
  return kind(err) .. " " .. tostring(value or why)
end

-- Who subscribes while others stand in the queue hears of them, once.
function travel.hooks()
  local db, heard = open {}, {}
  local first = busy(db, 0.1)
  local second = spawn(function() return db:query_value "select 'second'" end)
  db:on("query_end", function(info) heard[#heard + 1] = info.sql end)
  local _, value = wait(second)
  wait(first)
  db:query_value "select 'third'"
  return value .. ": " .. table.concat(heard, ", ")
end

function travel.notices()
  local told = {}
  local db = open { on_notice = function(notice) told[#told + 1] = notice.message end }
  local first = busy(db, 0.05)
  assert(db:query "do $$ begin raise notice 'hear'; end $$")
  wait(first)
  return table.concat(told, " ")
end

-- What verbs leave behind in a session is put in order before the next in the queue has it.
function travel.leavings()
  local db, said = open {}, {}
  for i, sql in ipairs { "set search_path to nowhere", "begin isolation level serializable" } do
    local first = spawn(function() return db:execute(sql) end)
    local second = spawn(function()
      return db:query_value [[select current_setting('search_path') || ' ' ||
        current_setting('transaction_isolation')]]
    end)
    wait(first)
    said[i] = tostring(select(2, wait(second)))
  end
  return table.concat(said, ", ")
end

-- Beside borrowers by hand and through Lua: one queue for all.
function travel.mixes()
  local db, done, threads = open {}, {}, {}
  local first = busy(db, 0.05)
  local function add(fn)
    local number = #threads + 1
    threads[number] = spawn(function()
      fn()
      done[#done + 1] = number
    end)
  end
  for _ = 1, 3 do
    add(function() return assert(db:query "select 1") end)
    add(function() return assert(db:with(function(conn) return conn:query "select 2" end)) end)
    add(function() return assert(db:query { "select 3" }) end)
    add(function() return assert(db:transaction(function(tx) return tx:execute "select 4" end)) end)
  end
  for _, thread in ipairs(threads) do assert(wait(thread)) end
  wait(first)
  return table.concat(done, " ")
end

-- Collections at any time, rows and parameters of all sizes, beside each other.
function travel.crowd()
  local db, threads, wrong = open { max_connections = 3 }, {}, 0
  for i = 1, 60 do
    threads[i] = spawn(function()
      for k = 1, 10 do
        local text = ("%d.%d "):format(i, k):rep(i * k * 7 % 4000)
        local row = db:query_one("select $1::text as t, $2::int as n, pg_sleep($3)", text, i, k % 3 / 1000)
        if not row or row.t ~= text or row.n ~= i then wrong = wrong + 1 end
        if k % 4 == 0 then collectgarbage() end
      end
    end)
  end
  for _, thread in ipairs(threads) do assert(wait(thread)) end
  return ("%d wrong, %d used, %d waiting"):format(wrong, db:stats().used, db:stats().waiting)
end

-- A server that takes nothing for a while: the statement leaves in pieces.
function travel.large()
  local db = open {}
  local text = ("0123456789abcdef"):rep(2 ^ 19)
  local threads = {}
  local function send(i) return db:query_value("select $1::text || $2", text, tostring(i)) end
  for i = 1, 3 do threads[i] = spawn(send, i) end
  for i = 1, 3 do
    local _, value, err = wait(threads[i])
    if value ~= text .. i then return tostring(err or #value) end
  end
  return "whole"
end

function travel.rest()
  for i, db in ipairs(pools) do
    local stats = db:stats()
    if stats.used + stats.waiting > 0 then return ("%d: %d used, %d wait"):format(i, stats.used, stats.waiting) end
    db:close(0)
    pools[i] = nil
  end
  return "nothing"
end

-- For requests whose clients go away.
function travel.nap()
  travel.shared = travel.shared or open { max_connections = 2 }
  return assert(travel.shared:query_value("select 's' from pg_sleep($1)", tonumber(ngx.var.arg_s)))
end

function travel.state()
  local stats = travel.shared:stats()
  return ("%d %d %d"):format(stats.used, stats.waiting, stats.total)
end

return travel
]=]

local SERVER = [[
  lua_check_client_abort on;
  location / { content_by_lua_block { ngx.say(require("travel")[ngx.var.uri:sub(2)]()) } }
]]

local EXPECTED = {
  order = "1 2 3 4 5 6 7 8 9 10 11 12 by the core",
  kinds = "3 none nil 55 820 0 4 nil!division_by_zero nil!parameter nil!parameter nil!no_rows nil!syntax_error end",
  misuse = "false SQL text exp, true parameter, true right",
  too_late = "nil pool_timeout in time with the line 0 1 on",
  limits = "query_timeout third soon",
  codecs = "3 by itself",
  kills = "fourth soon 0",
  closes = "nil pool_closed closed closed pool_closed pool_closed pool_closed soon",
  holds = "pool_self_deadlock",
  forgets = "found soon taken back",
  loses = "admin_shutdown another",
  hooks = "second: select 'second', select 'third'",
  notices = "hear",
  leavings = [["$user", public read committed, "$user", public read committed]],
  mixes = "1 2 3 4 5 6 7 8 9 10 11 12",
  crowd = "0 wrong, 0 used, 0 waiting",
  large = "whole",
}

describe("verbs of a pool inside of nginx", function()
  if web.missing(false, true) then return pending(web.missing(false, true)) end

  local server, admin

  setup(function()
    admin = assert(luphant.connect(env.url()))
    server = web.start { server = SERVER, files = { ["travel.lua"] = TRAVEL }, events = "worker_connections 1024;" }
  end)
  teardown(function()
    server:stop()
    admin:close()
  end)

  local TITLES = {
    { "are served in the order they came in", "order" },
    { "give each his own answer, whoever has sent it", "kinds" },
    { "raise for misuse, where that is", "misuse" },
    { "wait in the queue as long as acquire_timeout says, and tell who has the connections", "too_late" },
    { "have their time limit from when they are sent, by whomever", "limits" },
    { "are left to send themselves what a codec of the user makes", "codecs" },
    { "let the next go on when their thread is killed", "kills" },
    { "are told when the pool is closed under them", "closes" },
    { "do not wait for themselves", "holds" },
    { "find what a borrower that has ended held", "forgets" },
    { "find another session when one is lost", "loses" },
    { "are seen by who subscribes meanwhile", "hooks" },
    { "deliver notices", "notices" },
    { "leave nothing for the next", "leavings" },
    { "stand in one queue with other borrowers", "mixes" },
    { "and many of them keep their values apart", "crowd" },
    { "send what does not fit into a socket", "large" },
  }
  for _, case in ipairs(TITLES) do
    it(case[1], function() assert.equal(EXPECTED[case[2]], web.fetch(server, "/" .. case[2])) end)
  end

  it("whose clients go away in the queue and under way are cancelled and leave nothing", function()
    assert.equal("s", web.fetch(server, "/nap?s=0"))
    for _ = 1, 3 do
      local paths = {}
      for i = 1, 40 do paths[i] = "/nap?s=0.5" end
      web.burst(server, paths, 0.05)
    end
    assert.is_true(probe.eventually(function() return web.fetch(server, "/state") == "0 0 2" end, 30),
      web.fetch(server, "/state"))
    local paths = {}
    for i = 1, 20 do paths[i] = "/nap?s=0.001" end
    for _, body in ipairs(web.burst(server, paths)) do assert.equal("s\n", body .. (body:find "\n" and "" or "\n")) end
    assert.is_true(probe.eventually(function()
      return admin:query_value [[select count(*) from pg_stat_activity
        where application_name = 'nginx_travel' and state = 'active' and query like '%pg_sleep%']] == 0
    end, 30))
  end)

  it("leave the pools whole, and the worker has nothing to complain about", function()
    assert.equal("nothing", web.fetch(server, "/rest"))
    web.check(server)
  end)
end)
