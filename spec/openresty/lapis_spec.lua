-- The real Lapis in nginx, its database calls and models over luphant.compat.pgmoon.
--
-- Lapis is in no package of Debian's, and this is skipped where it is not found: on the usual paths (`luarocks
-- --lua-version 5.1 install lapis`), or those in LUPHANT_LAPIS_PATH and LUPHANT_LAPIS_CPATH, templates as in LUA_PATH.
--
-- SPDX-License-Identifier: MIT

local env = require "spec.support.env"
local luphant = require "luphant"
local shell = require "luphant.testing.shell"
local web = require "spec.openresty.web"

local path, cpath = package.path, package.cpath
if os.getenv "LUPHANT_LAPIS_PATH" then path = os.getenv "LUPHANT_LAPIS_PATH" .. ";" .. path end
if os.getenv "LUPHANT_LAPIS_CPATH" then cpath = os.getenv "LUPHANT_LAPIS_CPATH" .. ";" .. cpath end

local function is_there(name)
  for template in path:gmatch "[^;]+" do
    if shell.is_file((template:gsub("%?", (name:gsub("%.", "/"))))) then return true end
  end
end

local CONFIG = [[
local config = require "lapis.config"
config("development", {
  postgres = { host = "HOST/.s.PGSQL.PORT", socket_path = "HOST/.s.PGSQL.PORT", user = "USER", database = "DATABASE",
    application_name = "lapis_spec" },
  logging = { queries = false, requests = false },
})
]]

local APP = [[
local lapis = require "lapis"
local db = require "lapis.db"
local Model = require("lapis.db.model").Model
local schema = require "lapis.db.schema"

local Users = Model:extend("lapis_users", { timestamp = true, relations = { { "posts", has_many = "Posts" } } })
local Posts = Model:extend("lapis_posts", { relations = { { "user", belongs_to = "Users" } } })
package.loaded.models = { Users = Users, Posts = Posts }

local app = lapis.Application()
app.layout = false

app:get("/make", function()
  schema.drop_table "lapis_posts"
  schema.drop_table "lapis_users"
  local types = schema.types
  schema.create_table("lapis_users", {
    { "id", types.serial }, { "name", types.varchar }, { "tags", types.text { array = true, null = true } },
    { "is_admin", types.boolean { default = false } }, { "created_at", types.time }, { "updated_at", types.time },
    "primary key (id)",
  })
  schema.create_table("lapis_posts", {
    { "id", types.serial }, { "user_id", types.foreign_key }, { "title", types.text }, "primary key (id)",
  })
  schema.create_index("lapis_users", "name", { unique = true })
  return { json = { made = true } }
end)

app:get("/calls", function()
  local seen = {}
  local inserted = db.insert("lapis_users", { name = "it's", tags = db.array { "a", 'b"c' },
    created_at = db.format_date(), updated_at = db.format_date() }, "id")
  seen.id = inserted[1].id
  seen.tag = db.select("tags from lapis_users where name = ?", "it's")[1].tags[2]
  seen.updated = db.update("lapis_users", { is_admin = true }, { name = "it's" }).affected_rows
  seen.admin = db.select("is_admin from lapis_users where id = ?", seen.id)[1].is_admin
  seen.null = db.select("* from lapis_users where tags is not distinct from ?", db.NULL)[1] == nil
  seen.count = db.query("select count(*) as n from lapis_users where id in ?", db.list { seen.id, 77 })[1].n
  local ok, message = pcall(db.insert, "lapis_users", { name = "it's", created_at = db.raw "now()",
    updated_at = db.raw "now()" })
  seen.refused = not ok and tostring(message):match "ERROR: duplicate key value"
  seen.deleted = db.delete("lapis_users", { name = "it's" }).affected_rows
  return { json = seen }
end)

app:get("/models", function()
  local seen = {}
  local user = Users:create { name = "Ada" }
  seen.id, seen.stamped = user.id, user.created_at ~= nil
  user:update { name = "Ada L." }
  seen.found = Users:find { name = "Ada L." }.id == user.id
  for i = 1, 25 do Posts:create { user_id = user.id, title = "post " .. i } end
  seen.count = Posts:count("user_id = ?", user.id)
  local pager = Posts:paginated("where user_id = ? order by id", user.id, { per_page = 10 })
  seen.pages, seen.last = pager:num_pages(), #pager:get_page(3)
  local posts = Posts:select("order by id limit 3")
  Users:include_in(posts, "user_id")
  seen.author = posts[3].user.name
  seen.all = #Users:find_all { user.id }
  user:refresh "name"
  seen.deleted = user:delete() and Users:find(user.id) == nil
  return { json = seen }
end)

app:get("/failing", function() db.query "select nothing" end)
app:get("/pid", function() return { json = db.select "pg_backend_pid() as pid"[1] } end)

return app
]]

describe("Lapis in nginx", function()
  if web.missing() then return pending(web.missing()) end
  if not is_there "lapis" then return pending "Lapis is not installed (LUPHANT_LAPIS_PATH, LUPHANT_LAPIS_CPATH)" end

  local server, conn

  setup(function()
    conn = assert(luphant.connect(env.url()))
    local target = conn:target()
    server = web.start {
      files = {
        ["config.lua"] = (CONFIG:gsub("%u%u%u%u+", { HOST = target.host, PORT = tostring(target.port),
          USER = target.user, DATABASE = target.dbname })),
        ["app.lua"] = APP,
      },
      http = [[init_by_lua_block { require("luphant.compat.pgmoon").stand_in() }]],
      server = [[location / { default_type text/html; content_by_lua_block { require("lapis").serve "app" } }]],
      lua_path = path, lua_cpath = cpath,
    }
  end)
  teardown(function()
    if server then server:stop() end
    if conn then
      conn:script "drop table if exists lapis_posts, lapis_users"
      conn:close()
    end
  end)

  local function get(name) return require("cjson").decode(web.fetch(server, name)) end

  it("makes tables, selects, inserts, updates and deletes", function()
    assert.is_true(get("/make").made)
    assert.same({
      id = 1, tag = 'b"c', updated = 1, admin = true, null = true, count = 1,
      refused = "ERROR: duplicate key value", deleted = 1,
    }, get "/calls")
  end)

  it("has its models, with relations and pages", function()
    get "/make"
    assert.same({
      id = 1, stamped = true, found = true, count = 25, pages = 3, last = 5, author = "Ada L.", all = 1, deleted = true,
    }, get "/models")
  end)

  it("gives connections back after each request, failing ones too", function()
    for _ = 1, 5 do web.fetch(server, "/failing", 500) end
    get "/make"
    web.burst(server, { "/models", "/calls" })
    assert.is_true(conn:query_value [[select count(*) from pg_stat_activity
      where application_name = 'lapis_spec' and state <> 'idle']] == 0)
    assert.is_true(conn:query_value "select count(*) from pg_stat_activity where application_name = 'lapis_spec'" <= 6)
    web.check(server)
  end)
end)
