-- What `./dev openresty` runs: a private PostgreSQL with the tables of migrations/, nginx with the service of this
-- folder, and some calls with their answers. At a terminal it serves on until Ctrl-C.
--
--     luajit examples/openresty/run.lua
--
-- SPDX-License-Identifier: MIT

local here = arg[0]:match "^(.*)/" or "."

local luphant = require "luphant"
local migrate = require "luphant.migrate"
local nginx = require "luphant.testing.nginx"
local server = require "luphant.testing.server"
local shell = require "luphant.testing.shell"

local CALLS = {
  { "a user", "/users", '{"name": "Ada", "email": "ada@example.org"}' },
  { "the same again: 409, with the constraint", "/users", '{"name": "Ada", "email": "Ada@example.org"}' },
  { "bad input: 422", "/users", '{"name": "Ada", "email": "nowhere"}' },
  { "another user", "/users", '{"name": "Grace", "email": "grace@example.org"}' },
  { "a page of users", "/users?limit=1" },
  { "the next page", "/users?limit=1&after=1" },
  { "an order, in a transaction", "/orders",
    '{"number": "A1001", "user_id": 1, "lines": [{"sku": "TOY-0001", "quantity": 2}]}' },
  { "more than there is in stock: nothing of it happens", "/orders",
    '{"number": "A1002", "user_id": 1, "lines": [{"sku": "TOY-0001", "quantity": 99}]}' },
  { "what we did not foresee: 500, with the id to look for in the log", "/orders",
    '{"number": "nonsense", "user_id": 1, "lines": [{"sku": "TOY-0001", "quantity": 1}]}' },
  { "health", "/health" },
  { "metrics", "/metrics" },
}

local function prepare(url)
  local conn = assert(luphant.connect(url))
  assert(migrate.up(conn, here .. "/../../migrations"))
  assert(conn:execute [[insert into products (sku, name, category, price, stock)
    values ('TOY-0001', 'Wooden elephant', 'toy', 19.90, 10)]])
  conn:close()
end

local function show(web)
  for _, call in ipairs(CALLS) do
    local what, path, body = call[1], call[2], call[3]
    local command = "curl -si " .. (body and "-d " .. shell.quote(body) .. " " or "") .. shell.quote(web:url(path))
    local pipe = assert(io.popen(command))
    local text = pipe:read("*a"):gsub("\r", "")
    pipe:close()
    print(("\n# %s\n$ %s\n%s\n%s"):format(what, command, text:match "^[^\n]*", text:match "\n\n(.*)$":gsub("\n$", "")))
  end
end

local function serve(web)
  print(("\nServing on %s - Ctrl-C ends it. The log: %s/error.log"):format(web:url "", web.dir))
  io.stdout:flush()
  os.execute "sleep infinity"
end

local function is_terminal()
  local status = os.execute "test -t 0"
  return status == true or status == 0
end

local available, missing = nginx.available()
if not available then error(missing, 0) end
local database = assert(server.start())
local web
local ok, why = pcall(function()
  prepare(database:url())
  web = assert(nginx.start {
    main = ("env DATABASE_URL=%s;"):format(database:url()), workers = 2,
    http = "init_by_lua_block { require 'api.service' }", lua_path = here .. "/?.lua;" .. package.path,
    server = ("include %s/locations.conf;"):format(shell.run("cd " .. shell.quote(here) .. " && pwd")),
  })
  show(web)
  if is_terminal() then serve(web) end
end)
if web then web:stop() end
database:stop()
if not ok then error(why, 0) end
