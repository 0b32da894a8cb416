-- The linter and the server, held against each other: every example of every rule is run, and the locks, rewrites and
-- scans that the rule claims have to be seen; what it says to write instead has to run, and to be better.
--
-- To see it fail: write another mode into the `claims` of a rule, or another lock into lint/locks.lua.

local env = require "spec.support.env"
local example = require "luphant.migrate.lint.example"
local lint = require "luphant.migrate.lint"
local locks_of = require "luphant.migrate.lint.locks"
local luphant = require "luphant"
local rules = require "luphant.migrate.lint.rules"

local DATABASE = "luphant_lint_trace"

local base

local function with_database(fn)
  assert(base:execute("drop database if exists " .. DATABASE .. " with (force)"))
  assert(base:execute("create database " .. DATABASE .. " template template0"))
  local conn = assert(luphant.connect(env.url(), { dbname = DATABASE }))
  local ok, a, b = pcall(fn, conn)
  conn:close()
  assert(base:execute("drop database " .. DATABASE .. " with (force)"))
  if not ok then error(a, 0) end
  return a, b
end

local function trace(list, first)
  local only = {}
  for i = first, #list do only[#only + 1] = list[i].file end
  return with_database(function(conn) return assert(lint.trace(conn, list, only)) end)
end

-- The strongest lock seen in all statements of traced migrations, by relation.
local function strongest(traced)
  local best = {}
  for _, migration in ipairs(traced) do
    for _, entry in ipairs(migration.statements) do
      for _, lock in ipairs(entry.seen and entry.seen.locks or {}) do
        local old = best[lock.relation]
        if not old or locks_of.LEVEL[lock.mode] > locks_of.LEVEL[old] then best[lock.relation] = lock.mode end
      end
    end
  end
  return best
end

local FIELD = { rewrite = "rewritten", scan = "scanned", build = "built" }

local function saw(traced, work)
  for _, migration in ipairs(traced) do
    for _, entry in ipairs(migration.statements) do
      if entry.seen and #entry.seen[FIELD[work]] > 0 then return true end
    end
  end
  return false
end

-- Work on rows under a lock that stops others, within one statement or one transaction.
local function strong_work(traced)
  for _, migration in ipairs(traced) do
    for _, entry in ipairs(migration.statements) do
      local is_strong = false
      for _, lock in ipairs(entry.seen and entry.seen.held or {}) do
        is_strong = is_strong or locks_of.is_strong(lock.mode)
      end
      for _, field in ipairs(is_strong and { "rewritten", "scanned", "built" } or {}) do
        if #entry.seen[field] > 0 then return entry.statement.sql end
      end
    end
  end
end

local function show(map)
  local out = {}
  for relation, mode in pairs(map) do out[#out + 1] = relation .. " " .. mode end
  return table.concat(out, ", ")
end

local function failure(traced)
  for _, migration in ipairs(traced) do
    if migration.failed then return tostring(migration.failed.err) end
  end
end

-- The only way there is does some work under a strong lock.
local STILL_WORKS = {
  ["domain-constraint"] = "a domain is validated under SHARE",
  ["refresh-without-concurrently"] = "the query of the view is run",
}

-- These fail, or are refused, by their nature.
local DOES_NOT_RUN = {
  ["concurrently-in-transaction"] = "refused", ["transaction-control"] = "refused",
  ["enum-value-in-same-transaction"] = "fails",
}

describe("on a server", function()
  lazy_setup(function() base = assert(luphant.connect(env.url())) end)
  lazy_teardown(function() base:close() end)

  for _, rule in ipairs(rules.list) do
    if rule.bad and rule.needs ~= "base" then
      it(rule.name .. ": the example does what the rule claims", function()
        local _, list = example.finding(rule)
        local traced = trace(list, #list)
        if DOES_NOT_RUN[rule.name] then
          assert.is_truthy(traced[1].failed or traced[1].skipped)
          return
        end
        assert.is_nil(failure(traced))
        if not rule.claims then return end
        local best, seen = strongest(traced), false
        for _, mode in pairs(best) do seen = seen or mode == rule.claims.mode end
        assert(seen, ("claims %s, seen: %s"):format(rule.claims.mode, show(best)))
        if rule.claims.work then assert(saw(traced, rule.claims.work), "no " .. rule.claims.work .. " seen") end
      end)

      it(rule.name .. ": what to write instead runs", function()
        local safe = example.safe(rule, (example.finding(rule)))
        if rule.is_fragment or #safe == 0 then return end
        if rule.safe_follows then table.insert(safe, 1, rule.bad) end
        local _, list = example.lint(rule, safe)
        local traced = trace(list, #list - #safe + 1)
        assert.is_nil(failure(traced))
        for _, migration in ipairs(traced) do assert.is_nil(migration.skipped) end
        if rule.claims and rule.claims.work and not STILL_WORKS[rule.name] then assert.is_nil(strong_work(traced)) end
      end)

      for _, good in ipairs(rule.good or {}) do
        it(rule.name .. ": the harmless example does no such work: " .. good:sub(1, 40), function()
          local _, list = example.lint(rule, { good })
          local traced = trace(list, #list)
          assert.is_nil(failure(traced))
          if rule.claims and rule.claims.work then assert.is_nil(strong_work(traced)) end
        end)
      end
    end
  end

  describe("the referee", function()
    local function judge(sql, setup)
      local list = { example.migration(example.SHOP, "0001"), example.migration(setup or "select 1", "0002"),
        example.migration("-- migrate:up irreversible\n" .. sql, "0003") }
      local only = { list[3].file }
      local traced = with_database(function(conn) return assert(lint.trace(conn, list, only)) end)
      return lint.migrations(list, { only = only, traced = traced })
    end

    local function names(report)
      local out = {}
      for i, finding in ipairs(report.findings) do out[i] = finding.rule end
      return table.concat(out, " ")
    end

    it("sees what a DO block hides", function()
      local report = judge "do $$ begin perform add_it(); end $$;"
      assert.equal("fails-in-trace", names(report))
      report = judge("do $$ begin perform add_it(); end $$;",
        "create function add_it() returns void language plpgsql as $f$ begin "
        .. "alter table orders add column token uuid default gen_random_uuid(); end $f$;")
      assert.equal("seen-by-trace", names(report))
      assert.matches("writes orders again", report.findings[1].message)
      assert.equal("error", report.findings[1].severity)
    end)

    it("tells a strong lock that no text shows", function()
      local report = judge("select rename_it();",
        "create function rename_it() returns void language plpgsql as $f$ begin "
        .. "execute 'alter table orders rename column note to remark'; end $f$;")
      assert.equal("seen-by-trace", names(report))
      assert.equal("takes ACCESS EXCLUSIVE on orders", report.findings[1].message)
    end)

    it("takes back a rewrite that does not happen", function()
      local report = judge("alter table orders add column n integer default calm();",
        "create function calm() returns integer language sql immutable as 'select 1';")
      assert.equal("", names(report))
      assert.equal(1, report.refuted)
      assert.same({ "volatile-default", "disagrees", "nothing was written anew" },
        { report.overruled[1].rule, report.overruled[1].verdict, report.overruled[1].overruled })
      local text = require "luphant.migrate.lint.format.text" (report)
      assert.truthy(text:find("0003_example.sql:2:20: taken back: ", 1, true), text)
      assert.truthy(text:find("trace: disagrees: nothing was written anew", 1, true), text)
      assert.truthy(text:find("1 taken back by trace", 1, true), text)
      report = judge("alter table orders add column n integer default wild();",
        "create function wild() returns integer language plpgsql volatile as $f$ begin return 1; end $f$;")
      assert.equal("volatile-default", names(report))
      assert.same({ "ACCESS EXCLUSIVE on orders", "rewritten: orders", "scanned: orders",
        "built: orders_customer_id_idx, orders_pkey" }, report.findings[1].seen)
      assert.equal("agrees", report.findings[1].verdict)
      assert.truthy(require "luphant.migrate.lint.format.text" (report):find("  trace: agrees\n", 1, true))
    end)

    it("knows the reason of the event trigger, and needs it not", function()
      local list = { example.migration(example.SHOP, "0001"),
        example.migration("alter table orders set unlogged;", "0002") }
      local traced = with_database(function(conn) return assert(lint.trace(conn, list)) end)
      assert.same({ "orders" }, traced[2].statements[1].seen.noted)
      assert.same({ "orders" }, traced[2].statements[1].seen.rewritten)
    end)

    it("shows where its two witnesses of a rewrite disagree", function()
      local referee = require "luphant.migrate.lint.referee"
      assert.is_nil(referee.disagreement { rewritten = { "orders" }, noted = { "orders" } })
      assert.is_nil(referee.disagreement { rewritten = { "orders" }, noted = {} }, "as VACUUM FULL does")
      assert.equal("the event trigger tells of a rewrite that no file shows: orders",
        referee.disagreement { rewritten = {}, noted = { "orders" } })
    end)

    it("looks at what is verified under the lock, and says when no table was read for it", function()
      local setup = "insert into customers (email) select n::text from generate_series(1, 1000) n; analyze customers;"
      local head = "alter table customers add column weight integer;\n-- migrate:verify\n"
      assert.equal("verify-under-lock", names(judge(head .. "select count(*) > 0 from customers;", setup)))
      local report = judge(head .. "select exists (select from customers where id = 7);", setup)
      assert.equal("", names(report))
      assert.equal("verify-under-lock", report.overruled[1].rule)
    end)

    it("is silenced by a comment with a reason, which counts as needed", function()
      local report = judge("-- migrate:allow seen-by-trace: five rows\n"
        .. "do $$ begin execute 'alter table orders set unlogged'; end $$;")
      assert.equal("", names(report))
      assert.equal(1, #report.allowed)
    end)

    it("agrees that a CHECK makes a harmless change of type read the table, and that indexes stay", function()
      local setup = "create unique index orders_note_key on orders (note);"
      assert.equal("", names(judge("alter table orders alter note type text;", setup)))
      local report = judge("alter table orders alter note type text;",
        setup .. "alter table orders add constraint orders_note_check check (note <> '');")
      assert.equal("change-column-type", names(report))
      assert.same({ "ACCESS EXCLUSIVE on orders", "scanned: orders" }, report.findings[1].seen)
    end)

    it("lets the way round for partitioned tables pass", function()
      local rule = { name = "index-without-concurrently", severity = "error", bad = "create index i on events (at);" }
      local finding = assert((example.finding(rule)))
      assert.equal(3, #finding.safe)
      local report, list = example.lint(rule, finding.safe)
      for _, item in ipairs(report.findings) do assert.equal("no-way-back", item.rule) end
      local traced = trace(list, #list - 2)
      assert.is_nil(failure(traced))
      assert.is_nil(strong_work(traced))
    end)

    it("agrees with what is said of keys of partitioned tables", function()
      local setup = [[
create table p (id bigint not null, customer_id bigint) partition by range (id);
create table p1 partition of p for values from (1) to (10);
create index on p (customer_id);
]]
      local rule = { name = "foreign-key-without-not-valid", severity = "error", setup = setup,
        bad = "alter table p add constraint k foreign key (customer_id) references customers (id);" }
      local finding = assert((example.finding(rule)))
      assert.is_nil(finding.safe)
      local _, list = example.lint(rule, {
        "alter table p add constraint k foreign key (customer_id) references customers (id) not valid;" })
      assert.matches("NOT VALID foreign key on partitioned table", failure(trace(list, #list)))
      _, list = example.lint(rule, {
        "alter table p1 add constraint k foreign key (customer_id) references customers (id) not valid;",
        "alter table p1 validate constraint k;", rule.bad,
        "alter table only p add constraint p_key unique (id);",
        "-- migrate:up transaction:false\ncreate unique index concurrently p1_key on p1 (id);",
        "alter table p1 add constraint p1_key unique using index p1_key;",
        "alter index p_key attach partition p1_key;" })
      local traced = trace(list, #list - 6)
      assert.is_nil(failure(traced))
      assert.is_nil(strong_work(traced))
    end)

    it("runs a baseline instead of what it stands for", function()
      local old, start = example.migration("create table t (a int primary key);", "0001"),
        example.migration("create table t (a int primary key);", "0002")
      start.kind = "baseline"
      local list = { old, start, example.migration("alter table t add b int;", "0003") }
      local traced = with_database(function(conn) return assert(lint.trace(conn, list)) end)
      assert.is_nil(failure(traced))
      assert.equal("0003", traced[#traced].version)
    end)

    it("runs migrations in Lua as well, and tells what they do to a table in use", function()
      local function of_lua(text)
        local list = { example.migration(example.SHOP, "0001"), example.migration("select 1;", "0002") }
        local migration = list[2]
        migration.language, migration.up, migration.file = "lua", nil, "0002_example.lua"
        local options
        migration.script, options = require "luphant.migrate.luafile" (text, migration.file)
        migration.transaction = options.transaction ~= false
        local only = { migration.file }
        local traced = with_database(function(conn)
          local found = assert(lint.trace(conn, list, only))
          if not found[1].failed then found.token = conn:query_value "select to_regclass('made_in_lua') is not null" end
          return found
        end)
        return lint.migrations(list, { only = only, traced = traced, severity = { ["no-way-back"] = "off" } }), traced
      end
      local report, traced = of_lua("return { up = function(db)\n  assert(db:execute 'create table made_in_lua ()')\n"
        .. "  assert(db:execute 'alter table orders alter note type int using 1')\nend }")
      assert.is_true(traced.token, "run for good behind the look")
      assert.equal("seen-by-trace", names(report))
      assert.truthy(report.findings[1].message:find("^line 3: writes orders again, .*while a strong lock is held"),
        report.findings[1].message)
      report, traced = of_lua("return { transaction = false, up = function(db)\n"
        .. "  assert(db:execute 'create table made_in_lua (id int primary key, n int)')\n"
        .. "  assert(db:execute 'insert into made_in_lua select generate_series(1, 10)')\n"
        .. "  db:assert_rows('made_in_lua', 10)\n"
        .. "  return db:batch { table = 'made_in_lua', set = 'n = id', where = 'n is null', size = 3 }\nend }")
      assert.equal("", names(report))
      assert.is_true(traced.token)
      local list = traced[1].statements
      assert.equal("update made_in_lua set n = id where n is null", list[#list].statement.sql)
      report = of_lua "return { up = function(db)\n  assert(db:execute 'alter table nosuch add a int')\nend }"
      assert.equal("fails-in-trace", names(report))
      assert.truthy(report.findings[1].message:find("nosuch", 1, true))
    end)

    it("says what it cannot run", function()
      local list = { example.migration("-- migrate:up vars:x irreversible\nselect ${x:literal};", "0001") }
      list[1].vars = { "x" }
      local traced = with_database(function(conn) return assert(lint.trace(conn, list)) end)
      local report = lint.migrations(list, { traced = traced })
      assert.equal("fails-in-trace", names(report))
      assert.equal("note", report.findings[1].severity)
    end)

    it("leaves nothing behind in the scratch database but the migrations", function()
      with_database(function(conn)
        local list = { example.migration("create table t (a int primary key);", "0001"),
          example.migration("drop table t;", "0002") }
        assert(lint.trace(conn, list))
        assert.is_nil(conn:query_value "select to_regclass('t')")
        assert.equal("idle", conn:transaction_status())
      end)
    end)
  end)

  describe("facts", function()
    it("are what the catalogs say", function()
      with_database(function(conn)
        assert(conn:script(example.SHOP .. "insert into customers (email) values ('a@example.org'); analyze;"
          .. "create index a on orders (lower(number), status) where total > 0;"
          .. "create function wild() returns int volatile language sql as 'select 1'"))
        local facts = assert(lint.facts(conn))
        local by_name = {}
        for _, relation in ipairs(facts.relations) do by_name[relation.name] = relation end
        assert.equal("v", facts.functions.wild)
        assert.equal(1, by_name.customers.rows)
        assert.equal("events_rest", by_name.events.default_partition)
        assert.equal("events", by_name.events_rest.parent)
        assert.equal("character varying(2)", by_name.customers.columns[3].type)
        assert.equal("a", by_name.orders.indexes[1].name)
        assert.equal(0, by_name.orders.indexes[1].reads)
        assert.is_true(facts.counted_days >= 0)
        assert.same({ false, "status" }, by_name.orders.indexes[1].columns)
        assert.is_true(by_name.orders.indexes[1].partial)
        assert.equal("materialized view", by_name.daily.kind)
        local key
        for _, item in ipairs(by_name.orders.constraints) do if item.kind == "foreign_key" then key = item end end
        assert.same({ "customer_id" }, key.columns)
        assert.equal("customers", key.references.name)
        -- The folder is replayed on top of them: nothing of the shop is flagged as another's.
        local list = { example.migration("-- migrate:up irreversible\n" .. example.SHOP, "0001"),
          example.migration("-- migrate:up irreversible\nalter table orders alter note type varchar(150);", "0002") }
        local report = lint.migrations(list, { facts = facts })
        for _, finding in ipairs(report.findings) do assert.equal("foreign-key-in-create-table", finding.rule) end
      end)
    end)
  end)
end)
