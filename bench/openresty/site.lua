-- site.lua - the place of a run: a private PostgreSQL with the data, and an nginx with one worker for each contender.
--
-- All of them stay up for the whole run; who is not asked costs nothing. Before anything is timed each answers what the
-- tables say it must.
--
-- SPDX-License-Identifier: MIT

local luphant = require "luphant"
local nginx = require "luphant.testing.nginx"
local server = require "luphant.testing.server"
local shell = require "luphant.testing.shell"

local site = {}

local DATABASE = {
  tcp = true, hba = { "host all all 127.0.0.1/32 trust" }, -- pgmoon needs a further library for passwords
  settings = { fsync = false, synchronous_commit = false, full_page_writes = false, shared_buffers = "256MB",
    autovacuum = false, jit = false, max_connections = 300, timezone = "UTC" },
}

local function location(path, name)
  return ("location = %s { content_by_lua_block { require(\"$service\").%s() } }"):format(path, name)
end

local LOCATIONS = table.concat({
  location("/one", "one"), location("/rows", "rows"), location("/slow", "slow"),
  location("/check/one", "check_one"), location("/check/rows", "check_rows"),
  "location = /none { content_by_lua_block { ngx.print 'nothing was asked' } }",
}, "\n")

--- A PostgreSQL with the data of data.sql. Answers { server =, conn =, version = }.
function site.database()
  local database = assert(server.start(DATABASE))
  local conn = assert(luphant.connect(database:url()))
  local ok, err = conn:script(assert(shell.read_file "bench/openresty/data.sql", "run this from the repository's root"))
  if not ok then
    database:stop()
    error(err, 0)
  end
  return { server = database, conn = conn, version = assert(conn:query_value "show server_version") }
end

-- Where a pgmoon is: the folder that was named, the module path, what LuaRocks knows. Answers templates to search.
local function pgmoon_path(folder)
  if folder then return ("%s/?.lua;%s/?/init.lua"):format(folder, folder) end
  local rocks = shell.run "command -v luarocks" and shell.run "luarocks --lua-version 5.1 path --lr-path"
  return package.path .. (rocks and ";" .. rocks or "")
end

local function has_module(name, path)
  for template in path:gmatch "[^;]+" do
    if shell.is_file((template:gsub("%?", (name:gsub("%.", "/"))))) then return true end
  end
  return false
end

--- Notes for each contender what keeps it away (`absent`), or the module path it needs (`path`).
---@param contenders table[]
---@param folder string|nil  where pgmoon is
function site.look(contenders, folder)
  local path = pgmoon_path(folder)
  for _, contender in ipairs(contenders) do
    contender.path = package.path
    if contender.pgmoon == "pgmoon" then
      contender.path = path .. ";" .. package.path
      if not has_module("pgmoon", path) then
        contender.absent = "there is no pgmoon: install it with LuaRocks, or name its folder with --pgmoon"
      end
    end
  end
end

local function environment(contender, database, connections)
  local db = database.server
  local values = {
    BENCH_WAY = contender.way, BENCH_PGMOON = contender.pgmoon or "", BENCH_CONNECTIONS = connections,
    BENCH_HOST = "127.0.0.1", BENCH_PORT = db.port, BENCH_DATABASE = db.database, BENCH_USER = db.user,
    BENCH_URL = ("postgresql://%s@127.0.0.1:%d/%s"):format(db.user, db.port, db.database),
  }
  local lines = {}
  for name, value in pairs(values) do lines[#lines + 1] = ('env "%s=%s";'):format(name, value) end
  return table.concat(lines, "\n")
end

--- Starts a contender's nginx.
---@return luphant.testing.Nginx|nil
---@return string|nil why
function site.start(contender, database, connections)
  local here = assert(shell.run "pwd")
  return nginx.start {
    main = environment(contender, database, connections), lua_path = here .. "/?.lua;" .. contender.path,
    events = "worker_connections 1024;", http = "keepalive_requests 1000000000; keepalive_timeout 300s;",
    server = (LOCATIONS:gsub("%$service", "bench.openresty.inside." .. contender.service)),
  }
end

local ONE = [[select concat_ws('|', id, name, email, balance, active::text) || e'\n' from luphant_bench.person
  where id = $1]]
local ROWS = [[select string_agg(concat_ws('|', id, big, title, code, active::text, ratio::float8, at::text,
  trim_scale(price)), e'\n' order by id) || e'\n' from luphant_bench.item where id between $1 and $1 + 199]]

--- Does the contender tell what the tables hold? If not: what is wrong.
---@return string|nil
function site.check(web, database)
  for path, sql in pairs { ["/check/one"] = ONE, ["/check/rows"] = ROWS } do
    for _, id in ipairs { 1, 77, 801 } do
      local expected = assert(database.conn:query_value(sql, id))
      local body, status = web:get(("%s?id=%d"):format(path, id))
      if status ~= 200 then return ("%s: %s\n%s"):format(path, tostring(status), web:log():sub(-2000)) end
      if body ~= expected then
        return ("wrong values from %s?id=%d: %s instead of %s"):format(path, id, body:sub(1, 200), expected:sub(1, 200))
      end
    end
  end
end

--- What nginx, its Lua and the load generator are.
---@return string
function site.versions()
  local text = shell.run "nginx -v" or shell.run "/usr/sbin/nginx -v" or ""
  local wrk = (shell.run "wrk -v; true" or ""):match "wrk (%S+)"
  return ("nginx %s, wrk %s"):format(text:match "nginx/(%S+)" or "?", wrk or "?")
end

return site
