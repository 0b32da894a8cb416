-- luphant.testing.migrations.inside - kills a runner while the server is in the middle of its statement.
--
-- A short statement is over before anybody could aim, so it is held up: by a lock on the catalogs that it has to write
-- to and on the tables whose rows it changes, where it has got so far; one with CONCURRENTLY by an old snapshot and a
-- reader of the tables, which is what such a statement waits for in earnest, with an index half built. When the server
-- says that it waits, the runner is killed and its session is ended, as the server does by itself once it notices. A
-- statement that waits for none of that (a SELECT) comes through; then the runner dies behind it.
--
-- SPDX-License-Identifier: MIT

local poll = require "luphant.wait.poll"
local shell = require "luphant.testing.shell"

local M = {}

local NAP = 0.01 -- seconds between two looks
local PATIENCE = 30 -- seconds for a runner to come to its statement, and to be seen in it

-- What cannot be had at once, the runner has: it stays with what is left.
local HOLD = [[
begin isolation level repeatable read;
select 1;
do $$
declare
  t regclass;
begin
  for t in
    select c.oid::regclass from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where c.relkind in ('r', 'p') and not c.relisshared
       and (%s n.nspname !~ '^pg_' and n.nspname not in ('information_schema', '%s'))
  loop
    begin
      execute format('lock table %%s in %s mode nowait', t);
    exception when lock_not_available or insufficient_privilege then null;
    end;
  end loop;
end $$]]

local function is_concurrent(statement)
  for _, word in ipairs(statement and statement.words or {}) do
    if word == "concurrently" then return true end
  end
  return false
end

local function hold_sql(statement, schema)
  local own = schema:gsub("'", "''")
  if is_concurrent(statement) then return HOLD:format("", own, "access share") end
  return HOLD:format("n.nspname = 'pg_catalog' or", own, "share")
end

local WAITING = [[
select pid from pg_stat_activity
 where datname = $1 and application_name like 'luphant-migrate %' and state = 'active' and wait_event_type = 'Lock'
   and pid <> pg_backend_pid()]]
local GONE = "select not exists (select from pg_stat_activity where pid = $1)"

-- Until `look` answers something; nil when it never does.
local function wait_for(look)
  local waiter = poll.waiter()
  local limit = waiter.now() + PATIENCE
  repeat
    local found = look()
    if found then return found end
    waiter.sleep(waiter.now() + NAP)
  until waiter.now() > limit
end

local function end_session(looker, pid)
  looker:query_value("select pg_terminate_backend($1)", pid)
  wait_for(function() return looker:query_value(GONE, pid) end)
end

-- Answers "inside" or "behind", or nil and what went wrong.
local function aim(s, holder, looker, gate, sql)
  local runner = wait_for(function() return (shell.read_file(gate .. ".at") or ""):match "%d+" end)
  if not runner then return nil, "the runner did not come to its statement" end
  local held, err = holder:script(sql)
  shell.write_file(gate .. ".go", "")
  if not held then return nil, tostring(err) end
  local pid = wait_for(function()
    return shell.is_file(gate .. ".past") or looker:query_column(WAITING, s.name)[1]
  end)
  if pid == true then return "behind" end
  shell.run("kill -9 " .. runner)
  if pid then end_session(looker, pid) end
  return pid and "inside" or nil, "the statement was neither held up nor done"
end

local function remove(gate)
  for _, ending in ipairs { "", ".at", ".go", ".past" } do os.remove(gate .. ending) end
end

-- The name of a file that is there; those beside it have it with an ending.
function M.gate() return os.tmpname() end

--- Runs a command line of worker.lua with that gate, and kills it inside of the statement.
---@param s luphant.migrate.Scratch
---@param command string
---@param gate string
---@param statement luphant.sqltext.Statement? nil: of a migration in Lua
---@param schema string of the history, which is left alone
---@return "inside"|"behind"|nil where it was when it died
---@return string? why it did not
function M.kill(s, command, gate, statement, schema)
  local pipe = io.popen("( " .. command .. "; echo \"code $?\" ) </dev/null 2>&1")
  local fine, where, why = pcall(function()
    return s:with(function(holder)
      return s:with(function(looker) return aim(s, holder, looker, gate, hold_sql(statement, schema)) end)
    end)
  end)
  shell.write_file(gate .. ".go", "") -- whatever happened, nobody is left waiting for it
  local output = pipe:read "*a"
  pipe:close()
  remove(gate)
  if not fine then error(where, 0) end
  if where then return where end
  return nil, ("%s: %s"):format(tostring(why), output)
end

return M
