-- bulk/init.lua - q:insert_many: any number of rows into a table, all or none, in few round trips.
--
-- Rows go out in portions: each is a batch of a few statements with one constant text. One portion is its own
-- transaction; more of them share one, each behind a savepoint. When a portion fails, the row that was refused is
-- looked for by inserting halves of it, which are rolled back with everything else.
--
-- SPDX-License-Identifier: MIT

local compat = require "luphant.compat"
local gather = require "luphant.bulk.gather"
local planning = require "luphant.bulk.plan"

-- note(conn, err) is transaction.lua's.
local bulk = {}

local unpack = table.unpack or unpack -- luacheck: ignore

---@class luphant.bulk.options
---@field on_conflict? "nothing"|table  { column ..., update = true|string[] } or { constraint =, update = }
---@field returning? string|string[]    "*", a column, or columns
---@field via? "unnest"|"values"|"copy"
---@field timeout? number|false  seconds for all of it

------------------------------------------------------------------------------------------ sending

local function add_chunk(b, plan, chunk)
  local verb = plan.returning and b.query or b.execute
  local sql = plan.returning and { plan.sql, rows = plan.rows } or plan.sql
  if chunk.columns then
    verb(b, sql, unpack(chunk.columns))
    return
  end
  local width = #plan.columns
  for i = 1, chunk.n do verb(b, sql, unpack(chunk.rows[i], 1, width)) end
end

-- Runs some chunks in one flight. `q`: what has a batch.
local function send(q, plan, chunks, first, last)
  local late = plan.clock:expired()
  if late then return nil, late end
  local results, err = q:batch(function(b)
    for i = first, last do add_chunk(b, plan, chunks[i]) end
  end, { timeout = plan.clock:left() })
  return results, err
end

local function collect(total, plan, results)
  if not plan.returning then
    for i = 1, results.n do total = total + results[i] end
    return total
  end
  local n = #total
  for i = 1, results.n do
    for _, row in ipairs(results[i]) do
      n = n + 1
      total[n] = row
    end
  end
  return total
end

------------------------------------------------------------------------------------- which row it was

-- The server refused a value or a row: another row may do.
local function is_about_a_row(err)
  local class = err.sqlstate and err.sqlstate:sub(1, 2)
  return class == "22" or class == "23" or class == "44" or class == "P0"
end

local function name_row(err, number)
  err.row, err.index = number, nil
  err.batch = ("row %s of those that were given; nothing was inserted"):format(compat.digits(number))
  return err
end

-- A value that did not fit: "parameter $2 (integer[]): element 17: ..." is column 2 of row 17.
local function name_value(err, plan, chunk)
  local param, row, why = tostring(err.message):match "^parameter %$(%d+) %(.-%): element (%d+): (.*)$"
  if not param then return err end
  local column = plan.columns[tonumber(param)]
  local number = chunk.first + tonumber(row) - 1
  err.column = column
  err.message = ('row %s, column "%s" (%s): %s'):format(compat.digits(number), column,
    plan.types[tonumber(param)], why)
  return name_row(err, number)
end

local function part_of(chunk, from, to)
  local part = { first = chunk.first + from - 1, n = to - from + 1, columns = {} }
  for i, column in ipairs(chunk.columns) do
    local values = {}
    for k = from, to do values[k - from + 1] = column[k] end
    part.columns[i] = values
  end
  return part
end

local function try(t, plan, part)
  local results, err = t:transaction(function(inner) return send(inner, plan, { part }, 1, 1) end)
  return results ~= nil, err
end

-- Inserts halves until one row is left. Answers nil when it cannot be made to fail again.
local function find_row(t, plan, chunk)
  local low, high, last = 0, chunk.n, nil
  while high - low > 1 do
    local middle = math.floor((low + high) / 2)
    local ok, err = try(t, plan, part_of(chunk, low + 1, middle))
    if ok then
      low = middle
    elseif is_about_a_row(err) then
      high, last = middle, err
    else
      return nil
    end
  end
  local ok, err = try(t, plan, part_of(chunk, high, high))
  if ok then return nil end
  return chunk.first + high - 1, err or last
end

-- `t` is a transaction that will be rolled back; `failed` the number of the chunk.
local function locate(t, plan, chunks, failed, err)
  local chunk = chunks[failed]
  if failed > 1 then
    local done = t:transaction(function(inner) return send(inner, plan, chunks, 1, failed - 1) end)
    if not done then return err end
  end
  local number, found = find_row(t, plan, chunk)
  if not number then return err end
  return name_row(found, number)
end

-- What a portion was refused with, made to name the row. `within(fn)` runs fn(t) in a transaction.
local function explain(err, plan, chunks, within)
  local failed = err.index
  if not failed or err.kind == "query_timeout" then return err end -- no row is to blame for the time
  if chunks[1].rows then
    if err.param then err.column = plan.columns[err.param] end
    return name_row(err, chunks[1].first + failed - 1)
  end
  local chunk = chunks[failed]
  err.rows = { first = chunk.first, last = chunk.first + chunk.n - 1 }
  if err.kind == "parameter" then return name_value(err, plan, chunk) end
  if not is_about_a_row(err) then return err end
  local found = err
  within(function(t)
    found = locate(t, plan, chunks, failed, err)
    return nil, found -- nothing of it is to stay
  end)
  return found
end

-------------------------------------------------------------------------------------------- running

-- All there is fits one flight, which is a transaction by itself.
local function run_one(q, plan, chunks)
  local results, err = send(q, plan, chunks, 1, #chunks)
  if results then return collect(plan.returning and {} or 0, plan, results) end
  return nil, explain(err, plan, chunks, function(fn) return q:transaction(fn, { timeout = plan.clock:left() }) end)
end

local function run_groups(t, plan, rows, chunks)
  local total = plan.returning and {} or 0
  while #chunks > 0 do
    local results, err = t:transaction(function(inner) return send(inner, plan, chunks, 1, #chunks) end)
    if not results then
      return nil, explain(err, plan, chunks, function(fn) return fn(t) end)
    end
    total = collect(total, plan, results)
    chunks, err = gather.group(rows)
    if not chunks then return nil, err end
  end
  return total
end

-- Answers true, or nil and why a row could not go.
local function put_all(writer, plan, rows)
  local width, values = #plan.columns, {}
  while true do
    local read, err = gather.row(rows, values)
    if not read then return err == nil or nil, err end
    local ok
    ok, err = writer:row(unpack(read, 1, width))
    if not ok then return nil, err end
  end
end

-- COPY itself is all or nothing. The server tells the line of what it refuses in err.context.
local function run_copy(q, plan, rows)
  local writer, err = q:copy_in(plan.target, { columns = plan.columns, timeout = plan.clock:left() })
  if not writer then return nil, err end
  local ok, done, why = pcall(put_all, writer, plan, rows)
  if not ok then
    writer:abort()
    error(done, 0)
  end
  local count
  if done then
    count, why = writer:finish()
    if count then return count end
  else
    writer:abort()
  end
  local line = why.row == nil and tostring(why.context):match "^COPY .-, line (%d+)"
  local number = why.row or tonumber(line)
  return nil, number and name_row(why, number) or why
end

-- COMMIT is bounded, too. A savepoint has no limit of its own: what is sent inside it has.
local function limits_of(conn, plan)
  return not conn and plan.clock.timeout and { timeout = plan.clock:left() } or nil
end

-- Inside a transaction a failure counts like that of any statement, though the savepoint was rolled back.
local function run_in(q, conn, plan, rows)
  if plan.via == "copy" then return run_copy(q, plan, rows) end
  local total
  local chunks, err = gather.group(rows)
  if chunks and rows.is_over and not conn then return run_one(q, plan, chunks) end
  if chunks then
    total, err = q:transaction(function(t) return run_groups(t, plan, rows, chunks) end, limits_of(conn, plan))
  end
  if total == nil and conn then bulk.note(conn, err) end
  return total, err
end

-- The look-up failed, of which nobody else tells.
local function refused(q, conn, target, err)
  local observers = (conn or q).settings.observers
  if observers then observers:failed("batch", err, { target = target, statements = 0 }) end
  return nil, err
end

--- q:insert_many(table, columns, rows, options). `conn`: the connection when q is a transaction.
---@param q table
---@param conn luphant.connection|nil
---@param style string  how rows are returned
---@param target string
---@param columns string[]
---@param rows table|fun(): table|nil
---@param given? luphant.bulk.options
---@return integer|table[]|nil
---@return luphant.error|nil
function bulk.insert_many(q, conn, style, target, columns, rows, given)
  local request, source = planning.read(target, columns, given), gather.source(rows)
  local plan, err = planning.make(q, request)
  if not plan then return refused(q, conn, target, err) end
  plan.rows = style == "array" and "array" or "named"
  return run_in(q, conn, plan, gather.new(plan, source))
end

--- What transaction.lua does for us: a statement failed while one is open.
---@param note fun(conn: luphant.connection, err: luphant.error)
function bulk.serve(note)
  bulk.note = note
end

return bulk
