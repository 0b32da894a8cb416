-- luphant.migrate.clone - the schema of a tenant that is not there yet: an empty one, or a copy of another tenant's.
--
-- Names in a dump cannot be changed by looking at its text. So the template steps aside under another name, the dump
-- makes it again, what was made gets the name of the tenant, and the template its own back, all in one transaction: the
-- template itself is never touched. What a function has in its text is text to the server; a function that names the
-- template would go on working there, and is refused.
--
-- SPDX-License-Identifier: MIT

local dump = require "luphant.migrate.dump"
local errors = require "luphant.errors"
local history = require "luphant.migrate.history"
local lock = require "luphant.migrate.lock"
local tables = require "luphant.migrate.tables"
local transact = require "luphant.migrate.transact"

local M = {}

local PAUSE = 0.2 -- seconds between two questions whether another runner has made it

local quote = tables.quote

-- Asks the table: to_regnamespace may answer from a cache that has not heard of the latest.
local function is_there(q, name)
  return q:query_value("select exists(select from pg_namespace where nspname = $1)", name)
end

local function refused(message, hint) return nil, errors.new("migration_refused", message, { hint = hint }) end

-- ---- the template -------------------------------------------------------------------------------------------

local STATE = [[
select count(*) filter (where state in ('applied', 'skipped'))::int as done,
       count(*) filter (where state in ('running', 'failed'))::int as half_done,
       (select max(id) from %s e where e.tenant = $1) as last_event
  from %s where tenant = $1]]

local function state_of(s, place)
  local format, err = tables.format(s.conn, place)
  if err then return nil, err end
  local state = format and s.conn:query_one(STATE:format(place.events, place.migrations), place.tenant)
  if not state or state.done == 0 then
    return refused(("the template %s has no history"):format(place.tenant),
      "it is a tenant like the others: migrate it first")
  elseif state.half_done > 0 then
    return refused(("a migration has stopped half-way in the template %s"):format(place.tenant),
      "resume or resolve it first")
  end
  return state
end

-- One dump serves all that are made in a row, as long as nobody migrates the template.
local dumps = setmetatable({}, { __mode = "k" })

local function dump_of(s, place, state)
  local kept = dumps[s.options.tenants]
  if kept and kept.last_event == state.last_event and kept.name == place.tenant then return kept.statements end
  local statements, err = dump.statements(s.plan, place, {
    data = true, owners = true, grants = true, only = place.tenant,
  })
  if not statements then return nil, err end
  dumps[s.options.tenants] = { last_event = state.last_event, name = place.tenant, statements = statements }
  return statements
end

local function with_template(s, fn)
  local options = s.options
  local place = tables.place(options.schema, options.template)
  local waited, err = lock.acquire(s.conn, place, {
    patience = options.lock_wait, emit = s.emit, should_stop = function() return s.watch:wants_stop() end,
    hide_queries = options.hide_queries,
  })
  if not waited then return nil, err end
  local state, statements
  state, err = state_of(s, place)
  if state then statements, err = dump_of(s, place, state) end
  local made
  if statements then made, err = fn(place, statements) end
  if s:is_open() then lock.release(s.conn, place) end
  return made, err
end

-- ---- making it ----------------------------------------------------------------------------------------------

local NAMED = [[
select p.oid::regprocedure::text from pg_proc p
 where p.pronamespace = to_regnamespace($1)
   and (p.prosrc ~ $2 or p.proconfig::text ~ $2) order by 1 limit 1]]

local function check_functions(tx, name, template)
  local pattern = "(^|[^[:alnum:]_$])" .. template:gsub("[^%w_]", "\\%0") .. "($|[^[:alnum:]_$])"
  local found, err = tx:query_column(NAMED, quote(name), pattern)
  if not found then return nil, err end
  if not found[1] then return true end
  return refused(("the function %s names the schema %s in its text, and would do so in every copy"):format(found[1],
    template), "leave the schema out: search_path finds it")
end

local HISTORY = [[
insert into %s select (jsonb_populate_record(m, jsonb_build_object('tenant', $2::text))).* from %s m
 where tenant = $1 and state in ('applied', 'skipped')]]

local function copy(tx, s, place, statements)
  local name, aside = s.options.tenant, "luphant aside " .. s.run_id
  local function all(list)
    for _, sql in ipairs(list) do
      local ok, err = tx:script(sql)
      if not ok then return nil, err end
    end
    return true
  end
  local function rename(from, to) return ("alter schema %s rename to %s"):format(quote(from), quote(to)) end
  local ok, err = all { rename(place.tenant, aside), dump.SETTINGS }
  if ok then ok, err = all(statements) end
  if ok then ok, err = all { rename(place.tenant, name), rename(aside, place.tenant) } end
  if ok then ok, err = check_functions(tx, name, place.tenant) end
  if ok then ok, err = tx:execute(HISTORY:format(place.migrations, place.migrations), place.tenant, name) end
  if not ok then return nil, err end
  return history.tell(tx, s.place, {
    run_id = s.run_id, action = "create", reason = s.options.reason, detail = { template = place.tenant },
  })
end

-- Under the lock of the tenant, taken by asking: nobody else makes it meanwhile. Answers "busy" when somebody does.
local function guarded(s, make)
  return s.conn:transaction(function(tx)
    local mine, err = tx:query_value("select pg_try_advisory_xact_lock($1, hashtext($2))", tables.LOCK_CLASS,
      s.place.lock_name)
    if err then return nil, err end
    if not mine then return "busy" end
    local there
    there, err = is_there(tx, s.options.tenant)
    if there or err then return there, err end
    return make(tx)
  end, { set = transact.settings(s) })
end

local function make(s)
  local name = s.options.tenant
  if not s.options.template then
    return guarded(s, function(tx) return tx:script("create schema " .. quote(name)) end)
  end
  return with_template(s, function(place, statements)
    return guarded(s, function(tx) return copy(tx, s, place, statements) end)
  end)
end

--- Makes the schema of a tenant where it is missing and may be made.
---@param s luphant.migrate.Session of that tenant
---@param name string
---@return any?
---@return luphant.error?
function M.ensure(s, name)
  local there, err = is_there(s.conn, name)
  if there or err then return there, err end
  if not s.options.create and not s.options.template then
    return nil, errors.new("migration_invalid", ("there is no schema for the tenant %s"):format(name), {
      class = "usage", problems = {}, hint = "make it, or let the runner make it: create = true, --create-tenants",
    })
  end
  local now, sleep = s.conn.waiter.now, s.conn.waiter.sleep
  local limit = now() + s.options.lock_wait
  local made
  repeat
    made, err = make(s)
    if made == "busy" then sleep(now() + PAUSE) end
  until made ~= "busy" or now() >= limit or s.watch:wants_stop()
  if made == "busy" then
    return nil, errors.new("migration_locked",
      ("another run is making the schema of the tenant %s; gave up after %g seconds"):format(name,
        s.options.lock_wait), { class = "timeout", retryable = true })
  end
  if made then s.emit { event = "created", template = s.options.template } end
  return made, err
end

return M
