--- The guide to the linter of migrations: lua/luphant/migrate/lint/rules/*.lua -> docs/guide/migration-lint.md.
--
-- One section per rule; what it says about the example is what the linter said when this ran. luphant.core has to be
-- on LUA_CPATH (build/<lua>/?.so), the checkout on LUA_PATH.
-- See emit.lua for how to run it. SPDX-License-Identifier: MIT

local emit = dofile "csrc/gen/emit.lua"

local INTRO = [[
# Linting migrations

`luphant migrate lint` reads the folder of migrations and tells what they will do to those who use the tables
meanwhile: locks that stop traffic, tables that are written again, names that running programs still need. Each finding
says why, and what to write instead, with the names of your statement in it.

```sh
luphant migrate lint                        # the whole folder
luphant migrate lint --base main            # what this branch adds or edits; what came before stays silent
luphant migrate lint --format github        # annotations beside the lines; also gitlab, json, sarif
luphant migrate lint --base main --fix      # writes what is mechanical into the new files
luphant migrate lint --trace                # runs everything on a private scratch server, and watches
luphant migrate lint -d postgres://readonly@db/shop    # asks production's catalogs: row counts, types, indexes
```

The exit code is 5 when there is a finding of severity `warning` or above (`--fail-on` changes that), 4 when the folder
is not in order, else 0. From Lua it is [luphant.migrate.lint](../api/migrate-lint.md).

## How it decides

- **By the text**, without any database: statements are taken apart as far as locks depend on it.
- **By the folder**: what earlier migrations made is known - types of columns, constraints, indexes. So `SET NOT NULL`
  after a valid `CHECK` is fine, and a longer `varchar` too. A table made by the same migration is nobody else's yet,
  and needs no care.
- **By facts** of a database, with `--database`: how many rows there are, which functions are volatile, which index is
  invalid. Catalogs are read and nothing else.
- **By trace**, with `--trace`: every migration runs on a scratch database in a transaction that is rolled back, and
  `pg_locks`, the files of tables and the `table_rewrite` event trigger say what happened. Trace is the referee: each
  finding says whether it agrees, what did not happen (a function that turns out not to be volatile) is listed as taken
  back, with the reason, and what no text shows (a `DO` block) is told. It then runs the migration for good, so that
  the next one finds what it needs. `--trace URL` uses that server
  instead of a private one; roles and settings of the server that a migration makes stay there.

## Allowing what is meant

```sql
-- migrate:allow set-not-null: the table has forty rows
alter table countries alter column name set not null;
```

The comment stands before, inside or behind the statement; above the first marker it speaks for the whole file. Several
rules are separated by commas. The reason is not optional, and a comment that allows what nothing here needs is a
finding itself, unless this run cannot know: rules that need facts or a trace want those for it. A whole rule gets
another severity with `--rule no-way-back=off` (`off`, `note`, `warning`, `error`).

## Two phases

A migration is of the phase `expand` unless it says `phase:contract`. Expand runs before the new release is deployed,
while the old one still works; contract runs after the last old process is gone. Whatever takes something away that
the old release uses belongs there, and is an error elsewhere. `--phase` judges the migrations of one phase only.
]]

local GROUPS = {
  { "locks", "Locks, scans, rewrites", "What makes others wait, and for how long." },
  { "compatibility", "Programs that run meanwhile", "What the release that is still running cannot bear, and data." },
  { "hygiene", "Order in the house", "What goes wrong elsewhere, or later." },
  { "trace", "Found by running", "With `--trace` only." },
}

local NEEDS = {
  folder = "Decided with what earlier migrations tell.", facts = "Found with facts from a database.",
  base = "Found with `--base`.", trace = "Found with `--trace`.",
}

-- English for the three modes that occur, as pg_locks and the manual spell them.
local function lock_of(rule)
  local locks = require "luphant.migrate.lint.locks"
  if not rule.claims then return nil end
  return ("Lock: `%s`%s."):format(locks.sql_name(rule.claims.mode),
    ({ rewrite = ", with a rewrite", scan = ", with a scan", build = ", with an index build" })[rule.claims.work] or "")
end

local function facts_line(rule)
  local parts = { ("Severity: %s."):format(rule.severity == "off" and "off unless asked for" or rule.severity) }
  parts[#parts + 1] = lock_of(rule)
  parts[#parts + 1] = NEEDS[rule.needs]
  return table.concat(parts, " ")
end

local function wrap(text)
  local lines, line = {}, ""
  for word in text:gmatch "%S+" do
    if line ~= "" and #line + #word > 118 then lines[#lines + 1], line = line, "" end
    line = line == "" and word or line .. " " .. word
  end
  lines[#lines + 1] = line
  return table.concat(lines, "\n")
end

local function section(rule)
  local example = require "luphant.migrate.lint.example"
  local messages = require "luphant.migrate.lint.messages"
  local out = { ("### `%s`"):format(rule.name), "", wrap(rule.title .. ". " .. facts_line(rule)), "" }
  local finding = rule.bad and example.finding(rule)
  local function add(text) out[#out + 1] = text end
  add(wrap(finding and finding.why or (rule.why:gsub("%s+", " "))))
  add ""
  if finding then
    add("```sql\n" .. rule.bad:gsub("\n$", "") .. "\n```\n")
    add(wrap(("> %s"):format(finding.message)) .. "\n")
    if finding.advice then add(wrap("Instead: " .. finding.advice) .. "\n") end
    if finding.safe then
      add("Instead:\n\n```sql\n" .. messages.join(example.safe(rule, finding)) .. "\n```\n")
    end
  elseif rule.advice then
    add(wrap("Instead: " .. rule.advice) .. "\n")
  end
  return table.concat(out, "\n")
end

local function overview(rules)
  local out = { "## All rules", "", "| rule | severity | |", "|---|---|---|" }
  for _, rule in ipairs(rules.list) do
    out[#out + 1] = ("| [`%s`](#%s) | %s | %s |"):format(rule.name, rule.name, rule.severity, rule.title)
  end
  return table.concat(out, "\n") .. "\n"
end

local function outputs()
  -- The examples are read by the linter itself: the one in use (specs), else what ./dev build has made.
  if not pcall(require, "luphant.core") then
    package.path = "lua/?.lua;lua/?/init.lua;" .. package.path
    package.cpath = ("build/%s/?.so;"):format(rawget(_G, "jit") and "luajit" or "lua5.4") .. package.cpath
  end
  local rules = require "luphant.migrate.lint.rules"
  local parts = { INTRO, overview(rules) }
  for _, group in ipairs(GROUPS) do
    parts[#parts + 1] = ("## %s\n\n%s\n"):format(group[2], group[3])
    for _, rule in ipairs(rules.list) do
      if rule.group == group[1] then parts[#parts + 1] = section(rule) end
    end
  end
  parts[#parts + 1] = "<!-- Made by csrc/gen/docs_lint.lua; edit lua/luphant/migrate/lint/rules. -->\n"
  local text = table.concat(parts, "\n"):gsub("\n\n\n+", "\n\n"):gsub("\n+$", "\n")
  return { ["docs/guide/migration-lint.md"] = text }
end

emit.main("csrc/gen/docs_lint.lua", outputs, arg)
return { outputs = outputs }
