-- The examples do what they say: each runs as a process of its own, and its output is read.

local lfs = require "lfs"
local env = require "spec.support.env"
local luphant = require "luphant"

-- A word for the shell.
local function quoted(text) return "'" .. text:gsub("'", "'\\''") .. "'" end

-- Runs an example with the Lua that runs this spec. The exit status is echoed behind the output,
-- because io.popen of Lua 5.1 does not tell it.
local function run(name, url)
  local setting = url and "DATABASE_URL=" .. quoted(url) or "-u DATABASE_URL"
  local path = ("LUA_PATH=%s LUA_CPATH=%s"):format(quoted(package.path), quoted(package.cpath))
  local pipe = assert(io.popen(("env %s %s %s examples/%s 2>&1; echo \"exit $?\"")
    :format(setting, path, env.lua(), name)))
  local output = pipe:read "*a"
  pipe:close()
  local text, status = output:match "^(.*)exit (%d+)\n$"
  return text, tonumber(status)
end

local function has(text, wanted)
  assert(text:find(wanted, 1, true), ("%q is not in:\n%s"):format(wanted, text))
end

local function row(text, first)
  for line in text:gmatch "[^\n]+" do
    local words = {}
    for word in line:gmatch "%S+" do words[#words + 1] = word end
    if words[1] == first then return words end
  end
  error("no line begins with " .. first .. " in:\n" .. text)
end

describe("the examples", function()
  it("are all run by this spec", function()
    local seen = {}
    for entry in lfs.dir "examples" do
      if entry:find "%.lua$" then seen[#seen + 1] = entry end
    end
    table.sort(seen)
    assert.same({ "demo.lua", "export_csv.lua", "hello.lua", "import_csv.lua", "job_queue.lua", "shop.lua",
      "types.lua" }, seen)
  end)

  it("hello: prints the row and the structured error", function()
    local text, status = run("hello.lua", env.url())
    assert.equal(0, status, text)
    assert.equal("elephant\t5400.25\tgrey+trunk\nunique_violation\tanimals_pkey\n", text)
  end)

  it("types: every value comes back as it went, or in its canonical form", function()
    local text, status = run("types.lua", env.url())
    assert.equal(0, status, text)
    has(text, '"12345678901234567890.10"                "12345678901234567890.10"')
    has(text, '{"a", NULL, "say \\"hi\\""}')
    has(text, "{{1, 2}, {3, 4}}                         {{1, 2}, {3, 4}}")
    has(text, '"2024-02-29 10:00:00+00"')
    has(text, '{bounds = "[)", lower = 1, upper = 10}')
    has(text, '{kg = "5400.25", moods = {"calm"}, name = "Ida"} {kg = "5400.25", moods = {"calm"}, name = "Ida"}')
    has(text, "\nparameter\tparameter $1 (smallint): out of range")
  end)

  it("import_csv: every row of the file, or none of one that has a mistake", function()
    local text, status = run("import_csv.lua 20000", env.url())
    assert.equal(0, status, text)
    has(text, "20000 rows from ")
    has(text, "sum of the balances: 49999900.00")
    has(text, "invalid_text_representation\tCOPY people, line 2, column balance")
    has(text, "\n0\n")
    assert.is_nil(text:find "\r") -- no bar where there is no terminal
  end)

  it("export_csv: a file that a spreadsheet opens, and the same as values", function()
    local path = os.tmpname()
    local text, status = run("export_csv.lua " .. path, env.url())
    assert.equal(0, status, text)
    has(text, "\nid,name,born,balance\n1,Person 1,1970-01-02,0.01000000000000000000\n2,")
    has(text, "the oldest is 20000, born 1970-01-01")
    local lines = 0
    for _ in io.lines(path) do lines = lines + 1 end
    os.remove(path)
    assert.equal(200001, lines)
  end)

  it("shop: refuses to run without its tables, saying what to do", function()
    local text, status = run("shop.lua", env.url())
    assert.equal(1, status)
    has(text, "luphant migrate up")
  end)
end)

describe("the demo in a database of ours", function()
  local conn, text, status, url

  lazy_setup(function()
    conn = assert(luphant.connect(env.url()))
    assert(conn:execute "drop database if exists luphant_examples_spec with (force)")
    assert(conn:execute "create database luphant_examples_spec")
    conn:close()
    conn = assert(luphant.connect(env.url(), { dbname = "luphant_examples_spec" }))
    url = env.url():gsub("(//[^/]*/)[^?]*", "%1luphant_examples_spec")
    assert(conn:script [[
      create schema bystander;
      create table bystander.users (n int);
      insert into bystander.users values (1)]])
    text, status = run("demo.lua", url)
    assert(conn:execute "set search_path = luphant_demo")
  end)

  lazy_teardown(function()
    conn:close()
    conn = assert(luphant.connect(env.url()))
    assert(conn:execute "drop database luphant_examples_spec with (force)")
    conn:close()
  end)

  it("ends well and is quiet about colours in a pipe", function()
    assert.equal(0, status, text)
    assert.is_nil(text:find "\27")
  end)

  it("applies every migration, naming it", function()
    for _, name in ipairs { "0001 users", "0002 products", "0003 sales", "0004 orders", "0005 reports" } do
      has(text, "applied " .. name)
    end
    assert.equal(5, conn:query_value "select count(*) from migrations")
  end)

  it("imports what is right and counts what is not, as the database has it", function()
    assert.same({ "users.csv", "310", "299", "11" }, row(text, "users.csv"))
    assert.same({ "products.csv", "160", "149", "11" }, row(text, "products.csv"))
    assert.equal(299, conn:query_value "select count(*) from users")
    assert.equal(149, conn:query_value "select count(*) from products")
  end)

  it("says in words, with file and line, why each row was refused", function()
    local reasons = {
      "this e-mail address is registered already", "the name has more than 60 characters", "the name is empty",
      "this is no e-mail address", "email is missing", "the row has 4 columns, the header 8", "there is no such date",
      "a text is too long for its column", 'newsletter "perhaps": expected true or false',
      'name "J\\xFCrgen M\\xFCller": is not valid UTF-8', 'price "12,50": expected a number',
      'stock "99999999999": out of range', 'stock "a few": expected an integer', "malformed json",
      "there is a product with this SKU already", "the price must be above zero",
      '"gadget" is none of the known values', "the SKU is not of the form ABC-1234",
      "the row has 8 columns, the header 7", "the name has more than 80 characters",
    }
    for _, reason in ipairs(reasons) do has(text, reason) end
    local lines = 0
    for _ in text:gmatch "\n  [a-z]+%.csv:%d+ " do lines = lines + 1 end
    assert.equal(11 + 11 + 6, lines)
  end)

  it("names the line on which a refused row begins", function()
    local number, wanted = 0, nil
    for line in io.lines "examples/data/users.csv" do
      number = number + 1
      if line:find("kontakt(at)example.org", 1, true) then wanted = number end
    end
    assert.equal(row(text, "users.csv:" .. wanted)[2], "kontakt(at)example.org")
  end)

  it("keeps what people wrote: scripts, quotes, commas and line breaks", function()
    assert.truthy(conn:query_value [[select count(*) from users where name = 'William "Bill" Smith, Jr.']] > 0)
    assert.truthy(conn:query_value [[select count(*) from users where (address).street like E'%\nc/o %']] > 0)
    assert.truthy(conn:query_value [[select count(*) from users where (address).city = '東京']] > 0)
    assert.equal(0, conn:query_value [[
      select count(*) from users where name like E'%\r%' or (address).street like E'%\r%']])
  end)

  it("leaves no trace of the order that failed for lack of stock", function()
    has(text, "Order A1233 failed at its line 2")
    has(text, "10 ordered, 3 in stock")
    has(text, "no trace left")
    assert.equal(0, conn:query_value "select count(*) from orders where number = 'A1233'")
    assert.equal(0, conn:query_value [[
      select count(*) from order_lines l where not exists (select from orders o where o.id = l.order_id)]])
  end)

  it("takes off the shelf exactly what was sold", function()
    local delivered, seen = 0, {}
    for line in io.lines "examples/data/products.csv" do
      local sku, quantity = line:match "^(%u+%-%d+),.-,%d+%.%d%d,(%d+),"
      if sku and not seen[sku] and conn:query_opt("select from products where sku = $1", sku) then
        seen[sku], delivered = true, delivered + tonumber(quantity)
      end
    end
    assert.equal(delivered, conn:query_value [[
      select (select sum(stock) from products) + (select sum(quantity) from order_lines)]])
  end)

  it("has totals that are the sums of the lines", function()
    assert.equal(0, conn:query_value [[
      select count(*) from orders o
       where o.total <> (select sum(quantity * unit_price) from order_lines l where l.order_id = o.id)]])
    assert.equal("6", tostring(conn:query_value "select count(distinct date_trunc('month', placed_at)) from orders"))
    local total = conn:query_value "select sum(amount)::text from order_lines"
    assert.equal(total, (function(words) return words[#words] end)(row(text, "total")))
  end)

  it("runs a second time in the same place, and touches nothing of anybody else", function()
    local again, code = run("demo.lua", url)
    assert.equal(0, code, again)
    has(again, "Dropping the schema luphant_demo")
    assert.equal(299, conn:query_value "select count(*) from luphant_demo.users")
    assert.equal(1, conn:query_value "select n from bystander.users")
    assert.is_nil((conn:query_opt "select from pg_namespace where nspname = 'luphant'"))
  end)

  it("does not drop a schema of its name that somebody else made", function()
    assert(conn:execute "comment on schema luphant_demo is 'mine'")
    local again, code = run("demo.lua", url)
    assert.equal(1, code)
    has(again, "that this demo did not make")
    assert.equal(299, conn:query_value "select count(*) from luphant_demo.users")
    assert(conn:execute "drop schema luphant_demo cascade")
  end)
end)

describe("the demo with nothing given", function()
  it("starts a private PostgreSQL and removes it", function()
    local text, status = run "demo.lua"
    assert.equal(0, status, text)
    has(text, "Starting a private PostgreSQL")
    has(text, "no trace left")
    has(text, "stopped and removed")
  end)

  it("leaves no server and no folder when it is interrupted", function()
    local dir = os.tmpname()
    os.remove(dir)
    assert(lfs.mkdir(dir))
    local script = ([[
      trap '' INT
      env -u DATABASE_URL TMPDIR=%s LUA_PATH=%s LUA_CPATH=%s %s examples/demo.lua > %s.out 2>&1 &
      for i in $(seq 500); do ls %s/*/data/postmaster.pid > %s.pid 2>/dev/null && break; sleep 0.02; done
      kill -INT $!
      wait $!
      code=$?
      # Interrupted while the server starts, the demo leaves the sweeping to the server's watchdog.
      for i in $(seq 200); do [ "$(ls %s)" ] || break; sleep 0.05; done
      echo "exit $code; left: $(ls %s)"]]):format(quoted(dir), quoted(package.path), quoted(package.cpath), env.lua(),
        dir, dir, dir, dir, dir)
    local pipe = assert(io.popen(script))
    local answer = pipe:read "*a"
    pipe:close()
    local out = assert(io.open(dir .. ".out"))
    local text = out:read "*a"
    out:close()
    os.remove(dir .. ".out")
    os.remove(dir .. ".pid")
    assert.equal("exit 130; left: \n", answer, text)
    assert(lfs.rmdir(dir))
  end)
end)

describe("the input files", function()
  it("are what the generator writes", function()
    local dir = os.tmpname()
    os.remove(dir)
    assert(lfs.mkdir(dir))
    assert(os.execute(("%s examples/data/generate.lua %s"):format(env.lua(), quoted(dir))))
    for _, name in ipairs { "users.csv", "products.csv", "orders.csv" } do
      local made, kept = assert(io.open(dir .. "/" .. name, "rb")), assert(io.open("examples/data/" .. name, "rb"))
      assert.is_true(made:read "*a" == kept:read "*a", name .. " differs")
      made:close()
      kept:close()
      os.remove(dir .. "/" .. name)
    end
    lfs.rmdir(dir)
  end)
end)
