-- spec.support.migration_ground: a database and a folder for specs that run migrations, new for each test.
--
--   local ground = require "spec.support.migration_ground"
--   local g                                   before_each(function() g = ground.open() end)
--   g.put("0001_a.sql", "create table a ()")  after_each(function() g.close() end)
--   assert(migrate.up(g.conn, g.dir))
--
-- SPDX-License-Identifier: MIT

local env = require "spec.support.env"
local lfs = require "lfs"
local luphant = require "luphant"
local shell = require "luphant.testing.shell"

local M = {}

local DATABASE = "luphant_migrate_ground"

local function empty(dir)
  for entry in lfs.dir(dir) do
    if entry ~= "." and entry ~= ".." then os.remove(dir .. "/" .. entry) end
  end
  lfs.rmdir(dir)
end

--- A folder of its own, removed with the ground.
local function folder(list)
  local dir = os.tmpname()
  os.remove(dir)
  assert(lfs.mkdir(dir))
  list[#list + 1] = dir
  return dir
end

--- Makes database and folder. `base`: URL of another server than the shared one.
function M.open(base)
  base = base or env.url()
  local admin = assert(luphant.connect(base))
  assert(admin:execute(("drop database if exists %s with (force)"):format(DATABASE)))
  assert(admin:execute("create database " .. DATABASE))
  local folders = {}
  local g = { dir = folder(folders), url = base:gsub("(//[^/]*/)[^?]*", "%1" .. DATABASE), dbname = DATABASE }
  g.conn = assert(luphant.connect(g.url))

  function g.folder() return folder(folders) end

  function g.put(name, text, dir)
    shell.write_file((dir or g.dir) .. "/" .. name, text)
  end

  function g.remove(name) assert(os.remove(g.dir .. "/" .. name)) end

  function g.value(sql, ...)
    local value, err = g.conn:query_value(sql, ...)
    assert(err == nil, tostring(err))
    return value
  end

  function g.exists(name) return g.value("select to_regclass($1) is not null", name) end

  function g.row(version)
    return assert(g.conn:query_one("select * from luphant.migrations where version = $1", version))
  end

  -- The events of a version, the oldest first: "apply", "fail" ...
  function g.actions(version)
    return assert(g.conn:query_column(
      "select action from luphant.events where $1::text is null or version = $1 order by id", version))
  end

  function g.locks()
    return g.value [[select count(*)::int from pg_locks where locktype = 'advisory'
      and database = (select oid from pg_database where datname = current_database())]]
  end

  --- Waits until a query is true.
  function g.eventually(sql, ...)
    for _ = 1, 200 do
      if g.value(sql, ...) == true then return true end
      g.conn:execute "select pg_sleep(0.05)"
    end
    error("never became true: " .. sql, 2)
  end

  function g.connect(options) return assert(luphant.connect(g.url, options)) end

  --- Runs a Lua text in a process of its own, with DIR and URL as globals. Answers its output and its exit code.
  function g.child(text, background)
    local file = g.folder() .. "/child.lua"
    local head = ("DIR, URL = %q, %q\nlocal migrate = require 'luphant.migrate'\n"):format(g.dir, g.url)
    shell.write_file(file, head .. text)
    local command = ("LUA_PATH=%s LUA_CPATH=%s %s %s"):format(shell.quote(package.path), shell.quote(package.cpath),
      env.lua(), shell.quote(file))
    if background then return io.popen(command .. " 2>&1", "r") end
    local output, failure, code = shell.run(command)
    return output or failure, code or 0
  end

  function g.close()
    g.conn:close()
    local ok, err = admin:execute(("drop database if exists %s with (force)"):format(DATABASE))
    admin:close()
    for _, dir in ipairs(folders) do empty(dir) end
    assert(ok, err)
  end

  return g
end

return M
