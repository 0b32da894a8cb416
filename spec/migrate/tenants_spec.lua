-- Many schemas, one folder: several at once, and new ones as copies of a template. The plain case, 100 of them, is in
-- faults_spec.

local ground = require "spec.support.migration_ground"
local luphant = require "luphant"
local migrate = require "luphant.migrate"

local STEPWISE = "-- migrate:up transaction:false\n"

-- Comes to an end only when so many are there at the same time.
local function meeting(count)
  return STEPWISE .. ([[
insert into public.here (who) values (current_schema());
do $$ begin
  for i in 1..400 loop
    if (select count(*) from public.here) >= %d then return; end if;
    perform pg_sleep(0.02);
  end loop;
  raise 'nobody else came';
end $$;
]]):format(count)
end

describe("tenants", function()
  local g

  before_each(function()
    g = ground.open()
    assert(g.conn:script "create table public.here (who text)")
    g.put("0001_a.sql", "-- migrate:up\ncreate table a (n int);\n-- migrate:down\ndrop table a;\n")
  end)
  after_each(function() g.close() end)

  local function tenants(options)
    options.lock_wait = options.lock_wait or 5
    return migrate.tenants(g.conn, g.dir, options)
  end

  local function names_of(reports)
    local out = {}
    for i, report in ipairs(reports) do out[i] = report.tenant .. (report.err and "!" or "") end
    return table.concat(out, " ")
  end

  -- ---- several at once --------------------------------------------------------------------------------------

  it("are migrated several at once, each in a session of its own, and reported in their order", function()
    g.put("0002_meet.sql", meeting(3))
    local most, running = 0, {}
    local reports = assert(tenants {
      tenants = { "t1", "t2", "t3", "t4", "t5" }, create = true, jobs = 3,
      on_event = function(e)
        if e.event == "start" and not running[e.tenant] then
          running[e.tenant] = true
        elseif e.event == "tenant" then
          local count = 0
          for _ in pairs(running) do count = count + 1 end
          most, running[e.tenant] = math.max(most, count), nil
        end
      end,
    })
    assert.equal("t1 t2 t3 t4 t5", names_of(reports))
    assert.equal(3, most)
    assert.equal(5, g.value "select count(distinct tenant)::int from luphant.migrations where state = 'applied'")
    assert.equal(0, g.locks())
    assert.equal(1, g.value "select count(*)::int from pg_stat_activity where datname = current_database()")
  end)

  it("that are begun when one fails are finished, and no more are begun", function()
    g.put("0002_meet.sql", meeting(2) .. "insert into public.late select current_schema();\n")
    assert(g.conn:script [[
      create table public.late (who text);
      create function public.refuse() returns trigger language plpgsql as $$ begin
        if new.who = 't1' then raise 'not here'; end if;
        perform pg_sleep(0.3);
        return new;
      end $$;
      create trigger t before insert on public.late for each row execute function public.refuse()]])
    local summary
    local options = {
      tenants = { "t1", "t2", "t3", "t4" }, create = true, jobs = 2,
      on_event = function(e) if e.event == "tenants" then summary = e end end,
    }
    local reports, err = tenants(options)
    assert.is_nil(reports)
    assert.equal("t1! t2", names_of(err.tenants))
    assert.same({ "t3", "t4" }, err.not_begun)
    assert.same({ 1, { "t1" }, { "t3", "t4" } }, { summary.done, summary.failed, summary.not_run })
    assert.truthy(err.message:find("1 of 4 tenants failed: t1", 1, true), err.message)
    -- The others can be had all the same.
    assert(g.conn:script "truncate here; insert into here values ('x'), ('y')")
    options.continue_on_error = true
    reports, err = tenants(options)
    assert.is_nil(reports)
    assert.equal("t1! t2 t3 t4", names_of(err.tenants))
    assert.same({}, err.not_begun)
  end)

  it("go on in another session when one is lost, and the loss is that tenant's", function()
    g.put("0002_b.sql", STEPWISE .. "select case when current_schema() = 't2' then "
      .. "pg_terminate_backend(pg_backend_pid()) end;\n")
    local _, err = tenants {
      tenants = { "t1", "t2", "t3", "t4", "t5" }, create = true, jobs = 2, continue_on_error = true,
    }
    assert.equal("t1 t2! t3 t4 t5", names_of(err.tenants))
    assert.equal("connection", err.class)
  end)

  it("stop when that is asked for, and say how far they have come", function()
    g.put("0002_b.sql", "select pg_sleep(20);\n")
    local began, asked = os.time(), 0
    local _, err = tenants {
      tenants = { "t1", "t2", "t3" }, create = true, jobs = 2, continue_on_error = true,
      should_stop = function() asked = asked + 1 return asked > 8 end,
    }
    assert.equal("t1! t2!", names_of(err.tenants))
    assert.same({ "t3" }, err.not_begun)
    assert.equal("migration_interrupted", err.cause.kind)
    assert.is_true(os.time() - began < 15)
    assert.equal(2, g.value "select count(*)::int from luphant.migrations where state = 'applied'")
  end)

  it("that nobody can connect to are one error", function()
    local _, err = migrate.tenants("postgres:///nowhere?host=/nowhere", g.dir, { tenants = { "a", "b" }, jobs = 2 })
    assert.equal("connection", err.class)
    assert.is_nil(err.tenants)
  end)

  -- ---- templates --------------------------------------------------------------------------------------------

  local RICH = [[
create table orders (id bigint generated always as identity primary key, state text not null default 'new');
create table items (order_id bigint references orders (id), n int check (n > 0));
create index on items (order_id);
create view open_orders as select * from orders where state = 'new';
create function total() returns bigint language sql as 'select count(*) from orders';
create table states (name text primary key);
insert into states values ('new'), ('done');
create policy all_of_it on orders using (true);
comment on table orders is 'What people want';
]]

  it("that are new are copies of a template: schema, rows and history, and then what is pending", function()
    g.put("0002_rich.sql", RICH)
    assert(tenants { tenants = { "tpl" }, create = true })
    g.put("0003_c.sql", "-- migrate:up\ncreate table c ();\n-- migrate:down\ndrop table c;\n")
    local events = {}
    local reports = assert(tenants {
      tenants = { "t1", "t2" }, template = "tpl", jobs = 2,
      on_event = function(e)
        if e.event == "created" then events[#events + 1] = e.tenant .. " of " .. e.template end
      end,
    })
    table.sort(events)
    assert.same({ "t1 of tpl", "t2 of tpl" }, events)
    assert.equal("t1 t2", names_of(reports))
    assert.equal(1, #reports[1].done) -- 0003 alone was run
    local schema = require "luphant.schema"
    local function snapshot(name)
      local text = schema.text(assert(schema.snapshot(g.conn, { schemas = { name } })))
      return (text:gsub("%f[%w]" .. name .. "%f[%W]", "X"))
    end
    assert(tenants { tenants = { "tpl", "t3" }, create = true })
    assert.equal(snapshot "t3", snapshot "t1") -- t3 was made by running all of them
    assert.equal(snapshot "tpl", snapshot "t2")
    assert.same({ "done", "new" }, assert(g.conn:query_column "select name from t1.states order by 1"))
    -- Each works on its own tables.
    assert(g.conn:script "insert into t1.orders default values; set search_path = t1")
    assert.same({ 1, 1, 0 }, { g.value "select total()", g.value "select count(*)::int from t1.open_orders",
      g.value "select count(*)::int from tpl.orders" })
    assert.same({ "create", "apply" }, assert(g.conn:query_column
      "select action from luphant.events where tenant = 't1' order by id"))
    -- What was copied can be taken back.
    assert(migrate.down(g.conn, g.dir, 1, { tenant = "t1", search_path = "t1", to = "0002" }))
  end)

  it("are no copies of what is not in order", function()
    local function refusal(options)
      local _, err = tenants(options)
      assert.equal("migration_refused", err.cause.kind)
      return err.cause.message
    end
    assert.truthy(refusal({ tenants = { "t1" }, template = "tpl" }):find("has no history", 1, true))
    g.put("0002_f.sql", "create function f() returns int language sql as 'select n from tpl.a';\n")
    assert(tenants { tenants = { "tpl" }, create = true })
    assert.truthy(refusal({ tenants = { "t1" }, template = "tpl" }):find("names the schema tpl in its text", 1, true))
    assert.is_true(g.value "select to_regnamespace('t1') is null and to_regclass('tpl.a') is not null")
    g.put("0003_c.sql", STEPWISE .. "select 1;\nselect 1 / 0;\n")
    tenants { tenants = { "tpl" } }
    assert.truthy(refusal({ tenants = { "t1" }, template = "tpl" }):find("stopped half-way", 1, true))
    assert.equal(0, g.locks())
  end)

  it("are made once, however many runners find them missing", function()
    assert(tenants { tenants = { "tpl" }, create = true })
    local pipes = {}
    for i = 1, 4 do
      pipes[i] = g.child([[
        local reports, err = migrate.tenants(URL, DIR, { tenants = { "t1", "t2", "t3" }, template = "tpl", jobs = 2 })
        print(reports and #reports or err)]], true)
    end
    for i = 1, 4 do
      assert.equal("3\n", pipes[i]:read "*a")
      pipes[i]:close()
    end
    assert.equal(3, g.value "select count(*)::int from luphant.events where action = 'create'")
  end)
end)

describe("the waiting of several", function()
  it("is one for all", function()
    local core = require "luphant.core"
    assert.is_nil(core.poll_any({}, {}, 0.01))
    for _, wrong in ipairs { { { "x" }, { "r" } }, { { 1 }, { "z" } }, { { 1 }, {} }, { 1, {} } } do
      assert.has_error(function() core.poll_any(wrong[1], wrong[2], 0) end)
    end
    local conn = assert(luphant.connect(require("spec.support.env").url()))
    local fd = conn.box:fd()
    assert.is_nil(core.poll_any({ fd }, { "r" }, 0.01))
    assert.same({ [2] = "w" }, core.poll_any({ fd, fd }, { "r", "rw" }, 1))
    conn:close()
    assert.same({ "r" }, core.poll_any({ 987654 }, { "r" }, 1)) -- no descriptor at all: the next read tells
  end)
end)
