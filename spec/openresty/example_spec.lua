-- The service of examples/openresty: every answer it promises, alone and under load.
--
-- SPDX-License-Identifier: MIT

local cjson = require "cjson"
local env = require "spec.support.env"
local luphant = require "luphant"
local migrate = require "luphant.migrate"
local probe = require "spec.support.probe"
local shell = require "luphant.testing.shell"
local web = require "spec.openresty.web"

local DATABASE = "luphant_example_spec"

local missing = web.missing()

describe("the JSON service in nginx", function()
  if missing then return pending(missing) end
  local base, conn, server, url

  lazy_setup(function()
    base = assert(luphant.connect(env.url()))
    assert(base:execute("drop database if exists " .. DATABASE .. " with (force)"))
    assert(base:execute("create database " .. DATABASE))
    url = env.url():gsub("(//[^/]*/)[^?]*", "%1" .. DATABASE)
    conn = assert(luphant.connect(url))
    assert(migrate.up(conn, "migrations"))
    assert(conn:execute [[
      insert into products (sku, name, category, price, stock) values ('TOY-0001', 'x', 'toy', 5, 10)]])
    local root = shell.run "pwd"
    server = web.start {
      environment = { DATABASE_URL = url }, workers = 2, log_level = "error",
      http = "init_by_lua_block { require 'api.service' }",
      lua_path = root .. "/examples/openresty/?.lua;" .. package.path,
      server = ("include %s/examples/openresty/locations.conf;"):format(root),
    }
  end)

  lazy_teardown(function()
    if server then server:stop() end
    if conn then conn:close() end
    assert(base:execute("drop database " .. DATABASE .. " with (force)"))
    base:close()
  end)

  local function call(path, body)
    local text, status, headers = server:get(path, { body = body and (type(body) == "string" and body
      or cjson.encode(body)) })
    return status, cjson.decode(text), headers
  end

  it("creates users: 201, 409 with the constraint, 422 for bad input", function()
    local status, answer, headers = call("/users", { name = "Ada", email = "ada@example.org" })
    assert.same({ 201, { id = 1 } }, { status, answer })
    assert.equal(32, #headers["x-request-id"])
    status, answer = call("/users", { name = "Ada", email = "ADA@example.org" })
    assert.same({ 409, "users_email_key" }, { status, answer.constraint })
    for _, body in ipairs { "", "no JSON", "[]", '{"name":"x"}', { name = " ", email = "a@example.org" },
      { name = "x", email = "nowhere" }, { name = 7, email = "a@example.org" } } do
      status, answer = call("/users", body)
      assert.equal(422, status)
      assert.is_string(answer.error)
    end
    assert.equal(1, conn:query_value "select count(*) from users")
    assert.equal(405, (select(2, server:get("/users", { method = "DELETE" }))))
  end)

  it("lists users page by page", function()
    assert(conn:execute [[insert into users (name, email)
      select 'n' || i, 'n' || i || '@example.org' from generate_series(1, 44) i]])
    local seen, path, pages = {}, "/users?limit=20", 0
    while path do
      local status, answer = call(path)
      assert.equal(200, status)
      pages = pages + 1
      for _, user in ipairs(answer.users) do seen[#seen + 1] = user.id end
      path = answer.next ~= cjson.null and ("/users?limit=20&after=%d"):format(answer.next) or nil
    end
    assert.equal(3, pages)
    assert.same(conn:query_column "select id from users order by id", seen)
    assert.same({ 200, '{"users":[],"next":null}' }, { select(2, server:get "/users?after=999999"),
      (server:get("/users?after=999999"):gsub("\n", "")) })
    for _, bad in ipairs { "limit=0", "limit=101", "limit=x", "after=1.5" } do
      assert.equal(422, (call("/users?" .. bad)))
    end
  end)

  it("places an order whole or not at all", function()
    local function order(number, quantity, sku)
      return { number = number, user_id = 1, lines = { { sku = "TOY-0001", quantity = 1 },
        sku and { sku = sku, quantity = quantity } or nil } }
    end
    local function stock() return conn:query_value "select stock from products" end
    local status, answer = call("/orders", order "A1001")
    assert.same({ 201, "5.00" }, { status, answer.total })
    assert.equal(9, stock())
    assert.same({ 422, "there is no product NIL-0000" }, { (function()
      local code, body = call("/orders", order("A1002", 1, "NIL-0000"))
      return code, body.error
    end)() })
    status, answer = call("/orders", { number = "A1003", user_id = 1, lines = { { sku = "TOY-0001", quantity = 10 } } })
    assert.same({ 422, "products_stock_not_negative" }, { status, answer.constraint })
    status, answer = call("/orders", order "A1001")
    assert.same({ 409, "orders_number_key" }, { status, answer.constraint })
    assert.equal(422, (call("/orders", { number = "A1004", user_id = 12345, lines = { { sku = "x", quantity = 1 } } })))
    assert.equal(422, (call("/orders", { number = "A1004" })))
    assert.equal(9, stock())
    assert.equal(1, conn:query_value "select count(*) from orders")
  end)

  it("tells nothing of what it did not foresee but the id to look for in its log", function()
    local status, answer, headers = call("/orders", { number = "nonsense", user_id = 1,
      lines = { { sku = "TOY-0001", quantity = 1 } } })
    assert.equal(500, status)
    assert.same({ error = "internal error", request_id = headers["x-request-id"] }, answer)
    local log = server:log()
    local from = log:find("request " .. answer.request_id .. " failed: check_violation", 1, true)
    assert.is_truthy(from, log)
    assert.is_truthy(log:find("orders_number_format", from, true))
  end)

  it("says how it is", function()
    local status, answer = call "/health"
    assert.same({ 200, true }, { status, answer.ok })
    assert.matches('luphant_pool_connections{state="total",worker="%d+"} %d', (server:get "/metrics"))
  end)

  -- As its head says to start it, with nothing but the places changed where it would meet others.
  it("runs by its own nginx.conf", function()
    local root, dir = shell.run "pwd", server.dir
    local text = assert(shell.read_file "examples/openresty/nginx.conf")
    local port = probe.closed_port()
    local changed
    for from, to in pairs {
      ["listen 127%.0%.0%.1:8080;"] = ("listen 127.0.0.1:%d;"):format(port),
      ["pid [^;]*;"] = ("pid %s/own.pid;"):format(dir),
      ["error_log stderr info;"] = ("error_log %s/own.log info; %s"):format(dir,
        shell.run "id -u" == "0" and "user root;" or ""),
      ["include locations.conf;"] = ("include %s/examples/openresty/locations.conf;"):format(root),
      -- What a rock would have installed.
      ['"$prefix/%?%.lua;;";'] = ('"$prefix/?.lua;%s;;"; lua_package_cpath "%s;;"; client_body_temp_path %s/own;')
        :format(package.path, package.cpath, dir),
    } do
      text, changed = text:gsub(from, function() return to end)
      assert.equal(1, changed, from)
    end
    shell.write_file(dir .. "/own.conf", text)
    local command = ("cd %s && DATABASE_URL=%s %s -p examples/openresty -c %s/own.conf -e %s/own.log"):format(
      shell.quote(root), shell.quote(url), shell.run "command -v nginx" or "/usr/sbin/nginx", dir, dir)
    assert(os.execute(command .. " >" .. dir .. "/own.out 2>&1 &"))
    local own = setmetatable({ port = port }, { __index = server })
    local ok, err = pcall(function()
      assert.is_true(probe.eventually(function() return (select(2, own:get "/health")) == 200 end, 10))
      local body, status = own:get("/users", { body = '{"name": "Ada", "email": "own@example.org"}' })
      assert.equal(201, status)
      assert.is_number(cjson.decode(body).id)
      assert.equal(409, (select(2, own:get("/users", { body = '{"name": "Ada", "email": "own@example.org"}' }))))
    end)
    local pid = shell.read_file(dir .. "/own.pid")
    if pid then shell.run("kill -s QUIT " .. pid:match "%d+") end
    local log = (shell.read_file(dir .. "/own.log") or "") .. (shell.read_file(dir .. "/own.out") or "")
    if not ok then error(tostring(err) .. "\n" .. log, 0) end
    assert.is_nil(log:find "%[alert%]" or log:find "%[crit%]" or log:find "%[emerg%]", log)
    assert.is_true(probe.eventually(function() return not shell.run("kill -s 0 " .. pid:match "%d+") end, 10))
  end)

  it("is shown by its run.lua, call by call", function()
    local out = assert(shell.run(shell.quote(env.lua()) .. " examples/openresty/run.lua </dev/null"))
    local statuses = {}
    for status in out:gmatch "\nHTTP/1.1 (%d+)" do statuses[#statuses + 1] = status end
    assert.same({ "201", "409", "422", "201", "200", "200", "201", "422", "500", "200", "200" }, statuses, out)
    assert.is_truthy(out:find('"users_email_key"', 1, true), out)
  end)

  it("answers every request under load, beside others that write", function()
    if not shell.run "command -v wrk" then return pending "wrk is not installed" end
    local script = server.dir .. "/post.lua"
    shell.write_file(script, [[
      local n = 0
      request = function()
        n = n + 1
        local id = tostring({}):match "%x+$" .. n
        return wrk.format("POST", "/users", nil, '{"name":"load","email":"' .. id .. '@example.org"}')
      end]])
    local before = conn:query_value "select count(*) from users"
    local out = assert(shell.run(("(wrk -t1 -c16 -d2 -s %s %s & wrk -t1 -c16 -d2 %s; wait)"):format(shell.quote(script),
      server:url "/users", shell.quote(server:url "/users?limit=20"))))
    local total = 0
    for count in out:gmatch "(%d+) requests in" do total = total + tonumber(count) end
    assert(total > 100, out)
    assert(conn:query_value "select count(*) from users" > before)
    assert.is_nil(out:find "Non%-2xx", out)
    assert.is_nil(out:find "Socket errors", out)
    assert(conn:query_value [[select count(*) from pg_stat_activity
      where application_name = 'luphant-example' and datname = current_database()]] <= 16)
    web.check(server)
  end)
end)
