-- Snapshots of real databases: complete, repeatable, the same after a dump and its restore, of one moment.
--
-- SPDX-License-Identifier: MIT

local env = require "spec.support.env"
local luphant = require "luphant"
local schema = require "luphant.schema"
local scratch = require "spec.schema.scratch"
local shell = require "luphant.testing.shell"

local DATABASE, COPY = "luphant_schema_spec", "luphant_schema_copy_spec"
local SLOW = tonumber(os.getenv "LUPHANT_TEST_SLOW_FACTOR") or 1

local function sorted_keys(map)
  local keys = {}
  for key in pairs(map) do keys[#keys + 1] = key end
  table.sort(keys)
  return keys
end

describe("a snapshot of everything", function()
  local admin, conn, snapshot

  lazy_setup(function()
    admin = assert(luphant.connect(env.url()))
    conn = scratch.fill(admin, DATABASE)
    snapshot = assert(schema.snapshot(conn))
  end)

  lazy_teardown(function()
    conn:close()
    scratch.drop(admin, DATABASE)
    scratch.drop(admin, COPY)
    scratch.drop_roles(admin)
    admin:close()
  end)

  it("has something in each family but those this server does not know", function()
    local not_here = conn:server_version() < 140000 and { access_methods = true } or {}
    not_here.transforms, not_here.settings = true, true -- no extension brings one; they have specs below
    for _, family in ipairs(require("luphant.schema.family").ORDER) do
      assert.is_truthy(next(snapshot[family]) or not_here[family], family .. " is empty")
    end
  end)

  it("is the same twice, and whatever the session is set to", function()
    local json = schema.to_json(snapshot)
    assert.equal(json, schema.to_json(assert(schema.snapshot(conn))))
    local other = assert(luphant.connect(scratch.url(DATABASE)))
    assert(other:script [[
      set search_path = shop, "Odd schema.", pg_catalog; set datestyle = 'SQL, DMY'; set timezone = 'Asia/Tokyo';
      set quote_all_identifiers = on; set intervalstyle = 'iso_8601'; set extra_float_digits = -5;
      set bytea_output = 'escape'; create temporary table pg_class (oid oid, relname name)]])
    assert.equal(json, schema.to_json(assert(schema.snapshot(other))))
    assert.equal("shop, \"Odd schema.\", pg_catalog", assert(other:query_value "show search_path"))
    other:close()
  end)

  it("is the same after pg_dump and psql into another database", function()
    if not io.open(env.bin_dir() .. "/pg_dump") then return pending "there is no pg_dump beside this server" end
    local copy = scratch.create(admin, COPY)
    local command = ("%s -d %s | %s -q -v ON_ERROR_STOP=1 -d %s >/dev/null"):format(
      shell.quote(env.bin_dir() .. "/pg_dump"), shell.quote(scratch.url(DATABASE)),
      shell.quote(env.bin_dir() .. "/psql"), shell.quote(scratch.url(COPY)))
    local pipe = assert(io.popen("(" .. command .. ") 2>&1; echo \"exit $?\""))
    local output = pipe:read "*a"
    pipe:close()
    assert.matches("exit 0\n$", output)
    local restored = assert(schema.snapshot(copy))
    copy:close()
    assert.equal("", schema.diff_text(schema.diff(snapshot, restored)))
    assert.equal(schema.hash(snapshot), schema.hash(restored))
    assert.equal(schema.to_json(snapshot), schema.to_json(restored))
    assert.equal(schema.text(snapshot), schema.text(restored))
  end)

  it("survives JSON", function()
    local json = schema.to_json(snapshot)
    local back = assert(schema.from_json(json))
    assert.equal(json, schema.to_json(back))
    assert.equal(schema.hash(snapshot), schema.hash(back))
    assert.equal(schema.text(snapshot), schema.text(back))
    assert.same({}, schema.diff(snapshot, back))
  end)

  it("describes a table as documented", function()
    local customers = snapshot.tables["shop.customers"]
    assert.equal("table", customers.kind)
    assert.equal("All of them.\nReally.", customers.comment)
    assert.same({ "insert", "select" }, customers.grants.luphant_reader)
    local id = customers.columns[1]
    assert.same({
      name = "id", type = "bigint", not_null = true, identity = "always",
      sequence = { name = "customers_id_seq", increment = "2", start = "10" },
    }, id)
    assert.same({ "name", "kind" }, customers.constraints.customers_name_key.columns)
    local key = snapshot.tables["shop.orders"].constraints.orders_customer_fkey
    assert.same({ "foreign key", "shop.customers", { "id" } }, { key.type, key.foreign_table, key.foreign_columns })
    local index = snapshot.tables["shop.orders"].indexes["shop.orders_customer"]
    assert.same({ "btree", { "total" } }, { index.method, index.include })
    assert.same({ "new", "paid", 'it\'s "odd"' }, snapshot.types["shop.state"].labels)
  end)

  it("holds no password", function()
    for _, text in ipairs { schema.to_json(snapshot), schema.text(snapshot) } do
      assert.is_nil(text:find("hidden", 1, true))
    end
    assert.same({ "login", "password" }, snapshot.user_mappings["luphant_reader on far"].option_names)
  end)

  it("of chosen schemas has nothing else", function()
    local part = assert(schema.snapshot(conn, { schemas = "Odd*" }))
    assert.same({ '"Odd schema.".inside' }, sorted_keys(part.tables))
    assert.same({ '"Odd schema."' }, sorted_keys(part.schemas))
    for _, family in ipairs { "types", "functions", "extensions", "publications", "settings", "casts", "languages" } do
      assert.is_nil(next(part[family]), family)
    end
    part = assert(schema.snapshot(conn, { except = { "sh?p" } }))
    assert.same({ '"Odd schema."', "public" }, sorted_keys(part.schemas))
    assert.is_truthy(next(part.extensions))
    assert.same({ "shop" }, sorted_keys(assert(schema.snapshot(conn, { schemas = { "shop", "s%", "_hop" } })).schemas))
  end)

  it("leaves luphant's own schema out unless it is asked for", function()
    assert(conn:execute "create schema luphant")
    assert.same({}, schema.diff(snapshot, assert(schema.snapshot(conn))))
    assert.same({ "luphant" }, sorted_keys(assert(schema.snapshot(conn, { schemas = "luphant" })).schemas))
    assert.is_truthy(assert(schema.snapshot(conn, { except = {} })).schemas.luphant)
    assert(conn:execute "drop schema luphant")
  end)

  it("without owners, grants and comments has none, and the diff does not miss them", function()
    local bare = assert(schema.snapshot(conn, { owners = false, grants = false, comments = false }))
    local text = schema.text(bare)
    for _, word in ipairs { "owner:", "comment:", "grants%.", "revoked%.", "default privileges" } do
      assert.is_nil(text:find(word), word)
    end
    assert.same({}, schema.diff(snapshot, bare))
    assert.same({}, schema.diff(bare, snapshot))
    assert.not_equal(schema.hash(snapshot), schema.hash(bare))
  end)

  it("knows the settings of the database", function()
    assert(conn:execute("alter database " .. DATABASE .. " set work_mem = '7MB'"))
    assert(conn:execute("alter role luphant_reader in database " .. DATABASE .. " set search_path = shop"))
    assert.equal("+ settings all roles\n+ settings role luphant_reader\n",
      schema.diff_text(schema.diff(snapshot, assert(schema.snapshot(conn)))))
    assert(conn:execute("alter database " .. DATABASE .. " reset all"))
    assert(conn:execute("alter role luphant_reader in database " .. DATABASE .. " reset all"))
  end)

  it("knows transforms", function()
    assert(conn:transaction(function(tx)
      assert(tx:script [[
        create function shop.from_sql(internal) returns internal language internal immutable as 'int2in';
        create transform for shop.address language luphantish (from sql with function shop.from_sql(internal))]])
      assert.equal("+ function shop.from_sql(internal)\n+ transform shop.address language luphantish\n",
        schema.diff_text(schema.diff(snapshot, assert(schema.snapshot(tx)))))
      assert(tx:script [[drop transform for shop.address language luphantish; drop function shop.from_sql(internal)]])
      return true
    end))
  end)

  it("can be taken by those who may not read the tables", function()
    assert(conn:execute "create role luphant_nobody login")
    local other = assert(luphant.connect(scratch.url(DATABASE), { user = "luphant_nobody" }))
    local seen = assert(schema.snapshot(other))
    other:close()
    assert(conn:execute "drop role luphant_nobody")
    -- Options of user mappings are for those they are about.
    for _, mapping in pairs(seen.user_mappings) do assert.is_nil(mapping.option_names) end
    assert.same({ "option_names" }, (function()
      local whats = {}
      for _, difference in ipairs(schema.diff(snapshot, seen)) do whats[#whats + 1] = difference.what end
      return whats
    end)())
  end)

  it("inside a transaction sees what that did, and leaves its settings alone", function()
    assert(conn:transaction(function(tx)
      assert(tx:script "set local search_path = shop; create table made_here (n int)")
      local seen = assert(schema.snapshot(tx))
      assert.equal("+ table shop.made_here\n", schema.diff_text(schema.diff(snapshot, seen)))
      assert.equal("shop", tx:query_value "show search_path")
      assert(tx:transaction(function(inner)
        assert.same({}, schema.diff(seen, assert(schema.snapshot(inner))))
        return true
      end))
      assert(tx:execute "drop table made_here")
      return true
    end))
    assert.equal("idle", conn:transaction_status())
  end)

  it("can be taken through a pool and through strict views", function()
    local db = assert(luphant.open(scratch.url(DATABASE), { max_connections = 1 }))
    assert.same({}, schema.diff(snapshot, assert(schema.snapshot(db))))
    assert.same({}, schema.diff(snapshot, assert(schema.snapshot(db:strict()))))
    assert(db:transaction(function(tx)
      assert.same({}, schema.diff(snapshot, assert(schema.snapshot(tx))))
      return true
    end))
    db:close()
  end)

  -- How it is made, how it is dropped, and what is in the query that reads it. (A constraint needs no reading again:
  -- the server describes it as the transaction sees it.)
  local SHORT_LIVED = {
    view = { "create view shop.short_lived as select 1 as one", "drop view shop.short_lived", "pg_get_viewdef" },
    index = { "create index short_lived on shop.parts (n)", "drop index shop.short_lived", "pg_get_indexdef" },
    trigger = {
      "create trigger short_lived before insert on shop.parts for each row execute function shop.touch()",
      "drop trigger short_lived on shop.parts", "pg_get_triggerdef",
    },
    default = {
      "create table shop.short_lived (n int default 1)", "drop table shop.short_lived", "pg_get_expr(d.adbin",
    },
  }

  -- `q`, in whose first transaction something is dropped elsewhere just before it is read.
  local function meddled(q, other, attempts, drop, needle)
    return {
      close = q.close,
      transaction = function(_, fn, options)
        attempts.count = attempts.count + 1
        return q:transaction(function(tx)
          return fn(setmetatable({}, { __index = function(_, verb)
            return function(_, sql, ...)
              if attempts.count == 1 and sql:find(needle, 1, true) then
                assert(other:execute(drop))
              end
              return tx[verb](tx, sql, ...)
            end
          end }))
        end, options)
      end,
    }
  end

  for what, sql in pairs(SHORT_LIVED) do
    it(("is read again when a %s went away meanwhile"):format(what), function()
      local other, attempts = assert(luphant.connect(scratch.url(DATABASE))), { count = 0 }
      assert(other:execute(sql[1]))
      local seen = assert(schema.snapshot(meddled(conn, other, attempts, sql[2], sql[3])))
      assert.equal("", schema.diff_text(schema.diff(snapshot, seen)))
      assert.equal(2, attempts.count)
      other:close()
    end)
  end

  it("inside a transaction that cannot see the change fails, and leaves the transaction usable", function()
    local other, attempts = assert(luphant.connect(scratch.url(DATABASE))), { count = 0 }
    local sql = SHORT_LIVED.view
    assert(other:execute(sql[1]))
    assert(conn:transaction(function(tx)
      assert(tx:query_value "select 1")
      local nothing, err = schema.snapshot(meddled(tx, other, attempts, sql[2], sql[3]))
      assert.is_nil(nothing)
      assert.equal("schema_changed", err.kind)
      assert.is_true(err.retryable)
      return tx:query_value "select 1"
    end, { isolation = "repeatable read" }))
    assert.equal(1, attempts.count)
    other:close()
  end)

  it("of a server older than 11 is refused", function()
    local old = {
      close = true,
      transaction = function(_, fn)
        return fn { script = function() return {} end, query_value = function() return 100023 end }
      end,
    }
    local nothing, err = schema.snapshot(old)
    assert.is_nil(nothing)
    assert.equal("schema_unsupported", err.kind)
  end)

  it("says what went wrong", function()
    local lost = assert(luphant.connect(scratch.url(DATABASE)))
    assert(conn:query_value("select pg_terminate_backend($1)", lost:backend_pid()))
    local nothing, err = schema.snapshot(lost)
    assert.is_nil(nothing)
    assert.equal("connection", err.class)
    lost:close()
    assert.has_error(function() schema.snapshot() end, "bad argument #1 to 'snapshot' (table expected, got nil)")
    assert.error_matches(function() schema.snapshot(conn, { schema = "shop" }) end, 'did you mean "schemas"')
    assert.error_matches(function() schema.snapshot(conn, { schemas = { 1 } }) end, "must be a name")
  end)
end)

describe("a snapshot of 500 tables", function()
  local admin, conn

  lazy_setup(function()
    admin = assert(luphant.connect(env.url()))
    conn = scratch.create(admin, DATABASE)
  end)
  lazy_teardown(function()
    conn:close()
    scratch.drop(admin, DATABASE)
    admin:close()
  end)

  local function make(from, to)
    assert(conn:execute(([[
      do $do$ begin
        for i in %d..%d loop
          execute format($f$
            create table t%%1$s (
              id bigint generated always as identity primary key, a int not null default 5, b text,
              c varchar(20) check (c in ('x', 'y')), d timestamptz default now(), e numeric(12,2), f jsonb, g uuid,
              h int, parent bigint references t%%1$s);
            create index on t%%1$s (a, b) where h > 0;
            comment on table t%%1$s is 'Number %%1$s';
            comment on column t%%1$s.b is 'A column';
            grant select on t%%1$s to public;
            create view v%%1$s as select id, a, b from t%%1$s where h > 5 $f$, i);
        end loop;
      end $do$]]):format(from, to)))
  end

  -- Statements it takes.
  local function count_statements()
    local before = conn:stats().statements
    local snapshot = assert(schema.snapshot(conn))
    local after = conn:stats().statements
    return after.hits + after.misses - before.hits - before.misses, snapshot
  end

  it("takes as many statements as one of a single table, little memory and not long", function()
    make(1, 1)
    local few = count_statements()
    make(2, 500)
    collectgarbage()
    collectgarbage()
    local memory, clock = collectgarbage "count", assert(conn:query_value "select clock_timestamp()::text")
    local many, snapshot = count_statements()
    local since = "select extract(epoch from clock_timestamp() - $1::timestamptz)::float8"
    local seconds = assert(conn:query_value(since, clock))
    collectgarbage()
    collectgarbage()
    memory = collectgarbage "count" - memory
    assert.equal(few, many)
    assert.is_true(many < 50, many .. " statements")
    assert.equal(500, #sorted_keys(snapshot.tables))
    assert.is_true(memory < 30000, ("%.0f kB"):format(memory)) -- 500 tables, 500 views, 6 500 columns: about 10 MB
    assert.is_true(seconds < 10 * SLOW, ("%.1f s"):format(seconds))
    local hash = schema.hash(snapshot)
    assert.equal(hash, schema.hash(assert(schema.from_json(schema.to_json(snapshot)))))
    assert.same({}, schema.diff(snapshot, assert(schema.snapshot(conn))))
  end)
end)
