-- LuaSQL (Debian: lua-sql-postgres). It has no parameters, so values are put into the text, and gives every value
-- as a string. Rows come one at a time from a cursor; the loop makes a new table for each, as a caller who keeps
-- them must.
-- SPDX-License-Identifier: MIT

local meter = require "bench.peers.meter"
local luasql = meter.need "luasql.postgres"

-- LuaSQL hands its text to PQconnectdb, which takes a URL.
local function connect(url)
  return assert(assert(luasql.postgres()):connect(url))
end

local questions = {}

local function by_key(keys, check_row)
  return function(url, sql)
    local conn = connect(url)
    local pattern = sql:gsub("%$1", "%%d")
    local key = meter.key
    local function ask(id)
      local cursor = assert(conn:execute(pattern:format(id)))
      local row = cursor:fetch({}, "a")
      cursor:close()
      return row
    end
    local function run(n)
      local units = 0
      for i = 1, n do
        if ask(key(i, keys)) then units = units + 1 end
      end
      return units
    end
    return run, function()
      local sum = 0
      for id = 1, 100 do sum = sum + check_row(ask(id)) end
      return ("%d"):format(sum)
    end
  end
end

-- It prepares nothing, so the question with the text each time is the one it can answer.
questions.same_text = by_key(10000, function(row) return tonumber(row.balance) end)
questions.one_row_prepared = questions.same_text
questions.small_row = by_key(10000, function(row) return tonumber(row.id) + #row.name + #row.email end)
questions.int4_array = by_key(1000, function(row) return meter.array_sum(row.samples) end)

local function all(mode, values_of)
  return function(url, sql)
    local conn = connect(url)
    local function rows()
      local cursor, list, i = assert(conn:execute(sql)), {}, 0
      local row = cursor:fetch({}, mode)
      while row do
        i = i + 1
        list[i] = row
        row = cursor:fetch({}, mode)
      end
      cursor:close()
      return list
    end
    local function run(n)
      local units = 0
      for _ = 1, n do units = units + #rows() end
      return units
    end
    return run, function()
      local add, result = meter.items()
      for _, row in ipairs(rows()) do add(values_of(row)) end
      return result()
    end
  end
end

questions.rows_named = all("a", function(r) return r.id, r.big, r.title, r.code, r.active, r.ratio, r.at, r.price end)
questions.rows_array = all("n", function(r) return r[1], r[2], r[3], r[4], r[5], r[6], r[7], r[8] end)

-- All rows are in memory, as the server sent them; a table at a time is made of them.
function questions.stream_200000(url, sql)
  local conn = connect(url)
  local function each(use)
    local cursor, units = assert(conn:execute(sql)), 0
    local row = cursor:fetch({}, "a")
    while row do
      units = units + 1
      if use then use(row.id, row.big, row.title, row.code, row.active, row.ratio, row.at, row.price) end
      row = cursor:fetch({}, "a")
    end
    cursor:close()
    return units
  end
  local function run(n)
    local units = 0
    for _ = 1, n do units = units + each() end
    return units
  end
  return run, function()
    local add, result = meter.items()
    each(add)
    return result()
  end
end

function questions.values_iterator(url, sql)
  local conn = connect(url)
  local function each(use)
    local cursor, units = assert(conn:execute(sql)), 0
    local id, big, title, code, active, ratio, at, price = cursor:fetch()
    while id do
      if use then use(id, big, title, code, active, ratio, at, price) end
      units = units + 1
      id, big, title, code, active, ratio, at, price = cursor:fetch()
    end
    cursor:close()
    return units
  end
  local function run(n)
    local units = 0
    for _ = 1, n do units = units + each() end
    return units
  end
  return run, function()
    local add, result = meter.items()
    each(add)
    return result()
  end
end

function questions.inserts(url)
  local conn = connect(url)
  local text = "insert into luphant_bench.event (id, name, amount) values (%d, '%s', %s)"
  local event = meter.event
  return function(n)
    assert(conn:setautocommit(false))
    for i = 1, n do
      local id, name, amount = event(i)
      assert(conn:execute(text:format(id, conn:escape(name), amount)))
    end
    assert(conn:commit())
    return n
  end
end

meter.main(function() return ("%s, %s"):format(luasql._VERSION, meter.lua) end, questions)
