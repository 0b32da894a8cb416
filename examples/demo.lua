-- What `./dev demo` runs: a database, the migrations, the shop.
--
--     lua examples/demo.lua                       starts a private PostgreSQL, and removes it afterwards
--     DATABASE_URL=... lua examples/demo.lua      uses that server: one schema, luphant_demo, which is
--                                                 dropped and made anew; nothing else is touched
--
-- SPDX-License-Identifier: MIT

local here = arg[0]:match "^(.*)/" or "."
package.path = here .. "/?.lua;" .. package.path

local luphant = require "luphant"
local migrate = require "luphant.migrate"
local paper = require "shop.paper"
local shop = require "shop"

local SCHEMA = "luphant_demo"

local function say(...) print((...):format(select(2, ...))) end

-- Only our own schema is dropped: a schema of that name without our mark is somebody else's.
local MARK = "Scratch data of the luphant demo; dropped at its next run."

local function make_schema(conn)
  local there = assert(conn:query([[
    select obj_description(oid, 'pg_namespace') as comment from pg_namespace where nspname = $1]], SCHEMA))[1]
  if there and there.comment ~= MARK then
    error(("the database has a schema %s that this demo did not make; rename it, or use another database")
      :format(SCHEMA), 0)
  end
  if there then say("Dropping the schema %s of an earlier run.", SCHEMA) end
  assert(conn:script(([[
    set client_min_messages = warning;
    drop schema if exists %s cascade;
    create schema %s;
    comment on schema %s is '%s';
    set search_path = %s;
  ]]):format(SCHEMA, SCHEMA, SCHEMA, MARK, SCHEMA)))
  say("Working in the schema %s.", SCHEMA)
end

local function apply_migrations(conn)
  paper.heading "Migrations"
  assert(migrate.up(conn, here .. "/../migrations", {
    schema = SCHEMA,
    on_event = function(event)
      if event.event ~= "applied" then return end
      say("  %s %s %s  %d ms", paper.style("green", "applied"), event.version, event.name, event.duration_ms)
    end,
  }))
end

local function run(url)
  local conn = assert(luphant.connect(url))
  local jit = rawget(_G, "jit")
  say("PostgreSQL %s, %s", assert(conn:query_value "show server_version"):match "^%S+", jit and jit.version or _VERSION)
  make_schema(conn)
  apply_migrations(conn)
  shop.run(conn)
  conn:close()
end

-- With DATABASE_URL there, else with a server that lives as long as this function.
local function with_database(fn)
  local url = os.getenv "DATABASE_URL"
  if url and url ~= "" then
    fn(url)
    say("\nEverything is in the schema %s; `drop schema %s cascade` removes it.", SCHEMA, SCHEMA)
    return
  end
  print "Starting a private PostgreSQL in a temporary folder ..."
  local server = assert(require("luphant.testing.server").start())
  local ok, err = pcall(fn, server:url())
  server:stop()
  print "\nThe private PostgreSQL is stopped and removed."
  if not ok then error(err, 0) end
end

-- Ctrl-C arrives as an error "interrupted!" that any pcall may catch: it ends the demo like every other.
local ok, err = pcall(with_database, run)
if not ok then
  io.stderr:write(tostring(err), "\n")
  os.exit(tostring(err):find "interrupted!$" and 130 or 1)
end
