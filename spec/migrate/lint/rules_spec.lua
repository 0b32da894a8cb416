-- The rules of the linter, each on its own example: it is found, what to write instead is clean, and what looks
-- similar and is harmless stays unmentioned. No database; lint/trace_spec.lua runs the same examples on one.
--
-- To see it fail: take an action out of a rule's table, or write a {place} that nobody fills.

local example = require "luphant.migrate.lint.example"
local lint = require "luphant.migrate.lint"
local rules = require "luphant.migrate.lint.rules"

local NEEDS_SERVER = { trace = true }

local function names(findings, least)
  local out = {}
  for _, finding in ipairs(findings) do
    local is_severe = not least or finding.severity ~= "note"
    if finding.rule ~= "no-way-back" and is_severe then out[#out + 1] = finding.rule end
  end
  return table.concat(out, " ")
end

local function lint_texts(...)
  local texts = { ... }
  return lint.migrations((function()
    local list = { example.migration(example.SHOP, "0001") }
    for i, text in ipairs(texts) do list[#list + 1] = example.migration(text, ("%04d"):format(6 + i)) end
    return list
  end)(), { only = { ("migrations/%04d_example.sql"):format(6 + #texts) } })
end

local function found(...) return names(lint_texts(...).findings) end
local function has(rule, ...) return (" " .. found(...) .. " "):find(" " .. rule .. " ", 1, true) ~= nil end

describe("the rule", function()
  for _, rule in ipairs(rules.list) do
    if not NEEDS_SERVER[rule.needs] then
      describe(rule.name, function()
        it("finds its example, and says why and what instead", function()
          local finding = example.finding(rule)
          assert(finding, "not found in: " .. rule.bad)
          local all = finding.message .. finding.why .. table.concat(finding.safe or {}) .. (finding.advice or "")
          assert.is_nil(all:match "{[%a_]+}")
          assert.is_truthy(finding.advice or finding.safe)
          assert.is_nil(finding.why:find "%s%s")
          if not rule.is_about_file then
            assert.is_truthy(finding.line and finding.column)
          end
        end)

        it("is satisfied by what it says to write instead", function()
          local safe = example.safe(rule, (example.finding(rule)))
          if rule.is_fragment or #safe == 0 then return end
          -- What follows the statement stands with it here: the table is new, so CONCURRENTLY is not needed.
          if rule.safe_follows then
            safe = { rule.bad .. "\n" .. safe[1]:gsub("^[^\n]*\n", ""):gsub("concurrently ", "") }
          end
          assert.equal("", names(example.lint(rule, safe).findings, true))
        end)

        it("does not mind what is harmless", function()
          for _, good in ipairs(rule.good or {}) do
            for _, finding in ipairs(example.lint(rule, { good }).findings) do
              assert.is_true(finding.rule ~= rule.name, good)
            end
          end
        end)
      end)
    end
  end

  it("has a name, a severity, a title and an example, and stands in a file of that name", function()
    for _, rule in ipairs(rules.list) do
      assert.is_truthy(rule.name:find "^[a-z][a-z-]+$")
      assert.is_truthy(({ off = 1, note = 1, warning = 1, error = 1 })[rule.severity])
      assert.is_truthy(rule.title and rule.message and rule.why and rule.group)
      assert.is_truthy(rule.bad or rule.needs == "trace")
    end
  end)
end)

describe("harmless is", function()
  for _, sql in ipairs {
    "alter table orders set (fillfactor = 80);",
    "alter table orders alter column status set statistics 500;",
    "comment on table orders is 'what was sold';",
    "create statistics orders_stats on status, total from orders;",
    "analyze orders;",
    "alter table orders validate constraint orders_customer_id_fkey;",
    "alter table orders add column weight integer;",
    "alter table orders add column weight integer not null default 0;",
    "alter table orders add column seen_at timestamptz not null default now();",
    "alter table orders add column tags text[] not null default '{}';",
    "alter table orders alter column note type text;",
    "create function f(a integer) returns integer language sql as 'select a';",
    "insert into customers (email) values ('a@example.org');",
    "update orders set status = 'open' where id = 7;",
    "grant select on orders to public;",
    "drop function f(integer);",
    "alter index orders_customer_id_idx rename to orders_customer_idx;",
  } do
    it(sql, function() assert.equal("", found(sql)) end)
  end
end)

describe("a table that the same migration made", function()
  it("needs no care", function()
    assert.equal("", found [[
      create table parcels (id bigint primary key, order_id bigint, weight text, note text);
      create index parcels_order_id_idx on parcels (order_id);
      alter table parcels add column token uuid default gen_random_uuid();
      alter table parcels alter column weight type integer using weight::integer;
      alter table parcels alter column weight set not null;
      alter table parcels add constraint parcels_weight_positive check (weight > 0);
      alter table parcels add unique (token);
      alter table parcels drop column note;
      alter table parcels rename column weight to grams;
      update parcels set grams = 1;
      truncate parcels;
      drop table parcels;]])
  end)

  it("keeps its state under a new name, and loses it with the next migration", function()
    assert.equal("", found [[
      create table p (id bigint primary key, a text);
      alter table p rename to parcels;
      alter table parcels alter column a set not null;]])
    assert.is_true(has("set-not-null", "create table parcels (id bigint primary key, a text);",
      "alter table parcels alter column a set not null;"))
  end)

  it("is told by schema from others of its name", function()
    assert.is_true(has("index-without-concurrently",
      "create table archive.orders (id bigint primary key, n text); create index i on public.orders (number);"))
    assert.is_false(has("index-without-concurrently",
      'create table "Parcels" (id bigint primary key, n text); create index i on public."Parcels" (n);'))
  end)
end)

describe("what the folder tells", function()
  it("decides about SET NOT NULL", function()
    local check = "alter table orders add constraint c check (status is not null) not valid;"
    local valid = "alter table orders validate constraint c;"
    local set = "alter table orders alter column status set not null;"
    assert.is_true(has("set-not-null", set))
    assert.is_true(has("set-not-null", check, set))
    assert.is_false(has("set-not-null", check, valid, set))
    assert.is_true(has("set-not-null", check, valid, "alter table orders drop constraint c;", set))
  end)

  it("decides about changes of type", function()
    assert.is_false(has("change-column-type", "alter table orders alter note type varchar(200);"))
    assert.is_true(has("change-column-type", "alter table orders alter note type varchar(50);"))
    assert.is_true(has("change-column-type", "alter table orders add constraint c check (note <> '') not valid;",
      "alter table orders alter note type text;"))
    assert.is_true(has("change-column-type", "alter table unknown_to_us alter note type text;"))
    assert.is_true(has("change-column-type", "alter table orders alter note type text using upper(note);"))
  end)

  it("decides about indexes for foreign keys", function()
    local made = "create table notes (id bigint primary key, order_id bigint, kind text);"
    local key = "alter table notes add constraint k foreign key (order_id) references orders (id) not valid;"
    assert.is_true(has("foreign-key-without-index", made, key))
    assert.is_false(has("foreign-key-without-index", made, "create index i on notes (order_id, kind);", key))
    assert.is_true(has("foreign-key-without-index", made, "create index i on notes (kind, order_id);", key))
    assert.is_true(has("foreign-key-without-index", made, "create index i on notes (order_id) where kind = 'x';", key))
    assert.is_false(has("foreign-key-without-index", made, key .. " create index i on notes (order_id);"))
  end)
end)

describe("where a finding points", function()
  it("is the action of ALTER TABLE, in lines and characters of the file", function()
    local report = lint_texts("-- migrate:up\n-- größer\nalter table orders\n  add column ä text,\n"
      .. "  alter column status set not null;")
    local finding
    for _, item in ipairs(report.findings) do if item.rule == "set-not-null" then finding = item end end
    assert.equal(5, finding.line)
    assert.equal(3, finding.column)
    assert.equal("LINE 5:   alter column status set not null;\n          ^", finding.excerpt)
  end)
end)

describe("options", function()
  it("change severities and switch rules off and on", function()
    local list = { example.migration(example.SHOP, "0001"), example.migration("create table t (a text);", "0002") }
    local only = { "migrations/0002_example.sql" }
    local report = lint.migrations(list, { only = only, severity = {
      ["no-primary-key"] = "off", ["unqualified-name"] = "error", ["no-way-back"] = "note" } })
    assert.equal("unqualified-name", names(report.findings))
    assert.equal(1, report.counts.error)
    assert.equal(1, report.counts.note)
    assert.is_true(lint.fails(report, "error"))
  end)

  it("judge one phase only", function()
    local list = { example.migration("create table t (a text);", "0001"),
      example.migration("-- migrate:up phase:contract\ncreate table u (a text);", "0002") }
    assert.equal(1, lint.migrations(list, { phase = "contract" }).files)
    assert.equal("migrations/0002_example.sql", lint.migrations(list, { phase = "contract" }).findings[1].file)
  end)

  it("that do not exist are misuse, at the caller's line", function()
    local ok, message = pcall(function() lint.migrations({}, { severity = { ["set-not-nul"] = "off" } }) end)
    assert.is_false(ok)
    assert.matches('rules_spec.lua:%d+: option "severity" names "set%-not%-nul"', message)
    assert.matches('did you mean "set%-not%-null"', message)
    assert.error_matches(function() lint.migrations({}, { severity = { ["set-not-null"] = "fatal" } }) end, "must be")
  end)

  it("take facts: rows, functions, invalid indexes", function()
    local facts = {
      relations = { { name = "orders", schema = "public", kind = "table", rows = 500 },
        { name = "big", schema = "public", kind = "table", rows = 5e7 } },
      functions = { calm = "i", wild = "v" },
    }
    local function severity_of(sql, rule)
      local report = lint.migrations({ example.migration(sql, "0001") }, { facts = facts })
      for _, finding in ipairs(report.findings) do if finding.rule == rule then return finding.severity end end
    end
    assert.is_nil(severity_of("update orders set a = 1 where b is null;", "backfill-in-one-statement"))
    assert.equal("warning", severity_of("update big set a = 1 where b is null;", "backfill-in-one-statement"))
    assert.equal("note", severity_of("update other set a = 1 where b is null;", "backfill-in-one-statement"))
    local report = lint.migrations({ example.migration("alter table big add a int default random();", "0001") },
      { facts = facts })
    assert.equal(5e7, report.findings[2].rows)
    assert.matches("table: about 50000000 rows", require("luphant.migrate.lint.format.text")(report))
    assert.is_nil(severity_of("alter table orders add a int default calm();", "volatile-default"))
    assert.equal("error", severity_of("alter table orders add a int default wild();", "volatile-default"))
    assert.equal("warning", severity_of("alter table orders add a int default nobody_knows();", "volatile-default"))
  end)
end)

describe("a text that is no DDL at all", function()
  it("raises nothing", function()
    for _, sql in ipairs { "alter", "alter table", "create", "create index", "create table", "drop", "alter table t",
      "alter table t add", "alter table t alter", "alter type t add value", "set", "lock", "vacuum",
      "reindex", "create trigger", "alter domain d add", "update", "create unique", "drop index", "with", "do",
      "alter table t add constraint", "alter table t add foreign key", "alter table t attach partition", "comment on",
      "create policy", "refresh materialized view", "truncate", "alter table t detach partition", "insert into",
      "alter table t add column a int references", "create table t (a int references)", "cluster", "alter domain d",
      "alter table t validate constraint", "alter table t rename", "create table t partition of", "alter view v",
      "create domain d", "alter table t add column a", "create table t (constraint c)", "reset", "set local",
      "alter table t add exclude", "alter table t alter a type", "drop table", "delete from", "create rule r" } do
      assert(pcall(lint_texts, sql .. ";"))
    end
  end)
end)
