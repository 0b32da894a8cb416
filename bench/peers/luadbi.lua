-- LuaDBI (Debian: lua-dbi-postgresql).
-- SPDX-License-Identifier: MIT

local meter = require "bench.peers.meter"
local dbi = meter.need "DBI"

local connection -- held here: its statements do not keep it alive

-- It takes neither URLs nor socket directories apart: the parts of the URL are handed over one by one.
local function connect(url)
  local function part(name)
    local value = url:match("[?&]" .. name .. "=([^&]*)")
    return value and value:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end) or nil
  end
  local user, password, host, port, database = url:match "^%w+://([^:@/]*):?([^@/]*)@([^:/?]*):?(%d*)/([^?]*)"
  if not user then error "LuaDBI needs a URL of the form postgresql://user@host/database" end
  connection = assert(dbi.Connect("PostgreSQL", database, user, password ~= "" and password or nil,
    host ~= "" and host or part "host", port ~= "" and port or part "port"))
  return connection
end

local questions = {}

local function by_key(keys, prepare_once, check_row)
  return function(url, sql)
    local conn = connect(url)
    local key = meter.key
    local statement = assert(conn:prepare(sql))
    local function ask(id)
      if not prepare_once then statement = assert(conn:prepare(sql)) end
      assert(statement:execute(id))
      local row = statement:fetch(true)
      if not prepare_once then statement:close() end
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

local function balance(row) return row.balance end

questions.one_row_prepared = by_key(10000, true, balance)
questions.same_text = by_key(10000, false, balance)
questions.small_row = by_key(10000, true, function(row) return row.id + #row.name + #row.email end)
questions.int4_array = by_key(1000, true, function(row) return meter.array_sum(row.samples) end)

local function all(named, values_of)
  return function(url, sql)
    local conn = connect(url)
    local statement = assert(conn:prepare(sql))
    local function rows()
      assert(statement:execute())
      local list, i = {}, 0
      for row in statement:rows(named) do
        i = i + 1
        list[i] = row
      end
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

questions.rows_named = all(true, function(r) return r.id, r.big, r.title, r.code, r.active, r.ratio, r.at, r.price end)
questions.rows_array = all(false, function(r) return r[1], r[2], r[3], r[4], r[5], r[6], r[7], r[8] end)

function questions.inserts(url, sql)
  local conn = connect(url)
  conn:autocommit(false)
  local statement = assert(conn:prepare(sql))
  local event = meter.event
  return function(n)
    for i = 1, n do assert(statement:execute(event(i))) end
    assert(conn:commit())
    return n
  end
end

meter.main(function() return ("LuaDBI %s, %s"):format(dbi._VERSION or "", meter.lua) end, questions)
