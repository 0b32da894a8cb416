-- Rows that a migration destroys are kept, all of them, and can be made rows again.
--
-- To see it fail: take a kind of action out of losses.lua, or the foreign keys out of preserve.lua.

local ground = require "spec.support.migration_ground"
local losses = require "luphant.migrate.losses"
local migrate = require "luphant.migrate"

describe("what a statement destroys", function()
  local function of(sql)
    local list, is_blind = losses.of(sql)
    local out = {}
    for i, loss in ipairs(list) do
      out[i] = loss.what .. " " .. loss.name .. (loss.column and "." .. loss.column or "")
        .. (loss.with_cascade and " cascade" or "")
    end
    if is_blind then out[#out + 1] = "blind" end
    return table.concat(out, ", ")
  end

  for sql, expected in pairs {
    ["drop table a, only_b cascade"] = "rows a, rows only_b",
    ["drop table if exists x.a"] = "rows x.a",
    ["drop view a"] = "",
    ["drop index a"] = "",
    ["drop schema s cascade"] = "schema s",
    ["drop schema s"] = "",
    ["drop type mood cascade"] = "type mood",
    ["truncate a, b"] = "rows a, rows b",
    ["truncate table only a cascade"] = "rows a cascade",
    ["alter table a drop column b, drop column if exists c cascade, drop constraint d"] = "column a.b, column a.c",
    ["alter table only a alter column b type date using b::date"] = "column a.b",
    ["alter table a add column b int"] = "",
    ["delete from only a where b"] = "changes a",
    ["update a set b = 1 from c"] = "changes a",
    ["with gone as (delete from a returning *), x as (update b set n = 1) insert into c select * from gone"] =
      "changes a, changes b",
    ["insert into a values (1) on conflict (n) do update set n = 2"] = "changes a",
    ["insert into a values (1)"] = "",
    ["merge into a using b on true when matched then delete"] = "changes a",
    ["select * from a for update"] = "",
    ["select * from a for no key update of a"] = "",
    ["create trigger t after update on a for each row execute function f()"] = "",
    ["alter table a add foreign key (b) references c on delete cascade on update set null"] = "",
    ["do $$ begin delete from a; end $$"] = "blind",
    ["drop owned by somebody"] = "blind",
  } do
    it("is known of: " .. sql, function() assert.equal(expected, of(sql)) end)
  end
end)

describe("migrations with preserve", function()
  local g

  before_each(function()
    g = ground.open()
    assert(g.conn:script [[
      create type mood as enum ('good', 'bad');
      create table users (id int primary key, name text, mood mood, born date, photo bytea);
      insert into users values (1, 'Ada', 'good', 'infinity', '\xdeadbeef'), (2, null, 'bad', '0044-03-15 BC', null);
      create table posts (id int primary key, user_id int references users (id) on delete cascade);
      insert into posts values (10, 1), (11, 1), (12, 2);
      create table likes (post_id int references posts (id) on delete cascade, n numeric);
      insert into likes values (10, 1.50), (12, 'NaN');
      create table log (at int, what text) partition by range (at);
      create table log_1 partition of log for values from (0) to (10);
      create table log_2 partition of log for values from (10) to (20);
      insert into log values (1, 'a'), (11, 'b'), (12, 'c')]])
  end)
  after_each(function() g.close() end)

  local function up(opts)
    opts = opts or {}
    opts.preserve = true
    return migrate.up(g.conn, g.dir, opts)
  end
  local function kept()
    return assert(g.conn:query_column [[
      select statement || ' ' || relation || ' ' || count(*) from luphant.kept group by statement, relation
       order by statement, relation]])
  end

  it("keep what is dropped, emptied, deleted, overwritten, and what foreign keys take along", function()
    g.put("0001_a.sql", "delete from users where id = 1;\nupdate users set name = 'Gaius' where id = 2;\n"
      .. "alter table users drop column born, alter column name type varchar(3) using left(name, 3);\n"
      .. "truncate users cascade;\ndelete from log where at > 10;\ndrop table log;\n"
      .. "drop table likes, posts, users;\ndrop type mood;\n")
    local heard = {}
    assert(up { on_event = function(e)
      if e.event == "preserved" then heard[#heard + 1] = ("%d %d"):format(e.statement, #e.relations) end
    end })
    assert.same({
      "1 public.likes 1", "1 public.posts 2", "1 public.users 1", "2 public.users 1", "3 public.users 2",
      "4 public.likes 1", "4 public.posts 1", "4 public.users 1", "5 public.log 2", "6 public.log_1 1",
    }, kept())
    assert.same({ "1 3", "2 1", "3 1", "4 3", "5 1", "6 1" }, heard)
    assert.same({ "preserve", "preserve", "preserve", "preserve", "preserve", "preserve", "apply" }, g.actions "0001")
    -- Only the value and the key of the column that went.
    assert.same({ id = 2, born = "0044-03-15 BC" }, g.value "select row from luphant.kept where row ? 'born' \z
      and relation = 'public.users' and statement = 3")
  end)

  it("can be undone: the kept rows are rows again", function()
    g.put("0001_a.sql", "-- migrate:up\ntruncate users, posts, likes;\n"
      .. "-- migrate:down\ninsert into users select (jsonb_populate_record(null::users, row)).* from luphant.kept\n"
      .. " where version = '0001' and relation = 'public.users';\n"
      .. "insert into likes select (jsonb_populate_record(null::likes, row)).* from luphant.kept\n"
      .. " where version = '0001' and relation = 'public.likes';\n")
    local before = g.value "select string_agg(u::text, '|' order by id) from users u"
    assert(up())
    assert(g.conn:execute "alter table likes drop constraint likes_post_id_fkey")
    local named
    assert(migrate.down(g.conn, g.dir, 1, { on_event = function(e)
      if e.event == "start" then named = e.kept end
    end }))
    assert.same({ { relation = "public.likes", rows = 2 }, { relation = "public.posts", rows = 3 },
      { relation = "public.users", rows = 2 } }, named)
    assert.equal(before, g.value "select string_agg(u::text, '|' order by id) from users u")
    assert.equal("1.50,NaN", g.value "select string_agg(n::text, ',' order by n) from likes")
  end)

  it("keep rows in the transaction of the statement, also where the file has none", function()
    g.put("0001_a.sql", "-- migrate:up transaction:false\ndelete from posts where id = 10;\n"
      .. "delete from users where 1 / (id - 2) > 0;\n")
    assert.is_nil((up()))
    assert.same({ "1 public.likes 1", "1 public.posts 1" }, kept())
    assert.equal(0, g.value "select count(*) from pg_trigger where tgname like 'luphant%'")
    g.put("0001_a.sql", "-- migrate:up transaction:false\ndelete from posts where id = 10;\n"
      .. "delete from users where id = 1;\n")
    assert(migrate.resume(g.conn, g.dir, "0001", { from = 2, preserve = true }))
    assert.equal(2, g.value "select count(*) from luphant.kept where statement = 2")
  end)

  it("that fail keep nothing, and warn of what they cannot read", function()
    g.put("0001_a.sql", "delete from posts;\ndo $$ begin delete from users; end $$;\nselect nosuch;\n")
    local warning
    assert.is_nil((up { on_event = function(e) warning = e.event == "warning" and e.message or warning end }))
    assert.is_false(g.exists "luphant.kept")
    assert.truthy(warning:find("statement 2 may destroy rows", 1, true), warning)
    assert.equal(3, g.value "select count(*) from posts")
  end)

  it("keep also for a role of the migration, for types and schemas that go, and for each partition", function()
    assert(g.conn:script [[create schema attic; create table attic.t (n int); insert into attic.t values (7);
      drop role if exists luphant_keeper; create role luphant_keeper; grant all on log to luphant_keeper;
      grant usage on schema public to luphant_keeper]])
    g.put("0001_a.sql", "drop schema attic cascade;\ndrop type mood cascade;\nset local role luphant_keeper;\n"
      .. "update log set what = 'z' where at = 1;\nselect 1 / (current_user = 'luphant_keeper')::int;\nreset role;\n")
    assert(up())
    assert.same({ "1 attic.t 1", "2 public.users 2", "4 public.log 1" }, kept())
    assert.same({ at = 1, what = "a" }, g.value "select row from luphant.kept where statement = 4")
    assert(g.conn:script "drop owned by luphant_keeper; drop role luphant_keeper")
  end)
end)
