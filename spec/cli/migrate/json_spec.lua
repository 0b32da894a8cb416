-- Every verb with --json: what it writes is what the reference says, and nothing else goes anywhere. A verb that is
-- new has to be added to the cases and to the reference, or this fails.

local cli = require "spec.support.cli"
local compat = require "luphant.compat"
local core = require "luphant.core"
local ground = require "spec.support.migration_ground"
local migrate_command = require "luphant.cli.cmd.migrate"

-- The table of docs/api/migrate.md: verb -> { field -> is it required? }.
local function documented()
  local out, is_there = {}, false
  for line in io.lines "docs/api/migrate.md" do
    is_there = is_there or line:find("What `--json` writes.", 1, true) ~= nil
    local verbs, fields = line:match "^| (`[^|]*) | ([^|]*) |$"
    if is_there and verbs then
      for verb in verbs:gmatch "`([%l ]+)`" do
        out[verb] = { schema_version = true, verb = true, events = fields:find "events" and not fields:find "^`" }
        for name, optional in (fields:match "^[^;]*"):gmatch "`([%l_]+)(%??)`" do out[verb][name] = optional == "" end
      end
    end
    if is_there and line:find "^| exit code" then break end
  end
  return out
end

describe("luphant migrate --json:", function()
  local g
  local shapes = documented()

  setup(function()
    g = ground.open()
    g.put("0001_users.sql", "-- migrate:up\ncreate table users (id int);\n-- migrate:down\ndrop table users;\n")
    g.put("0002_b.sql", "-- migrate:up\ncreate table b ();\n-- migrate:down\ndrop table b;\n")
  end)
  teardown(function() g.close() end)

  local function run(verb, ...)
    local code, out, err = cli.run({ DATABASE_URL = g.url }, {}, "migrate", verb, ...)
    assert.equal("", err)
    for line in out:gmatch "[^\n]*\n" do assert.truthy(line:find "^{.*}\n$", line) end
    return cli.documents(out), code
  end

  local function is_shaped(verb, document)
    local shape = assert(shapes[verb], verb .. " is not in the table of docs/api/migrate.md")
    assert.equal(1, document.schema_version)
    assert.equal(verb, document.verb)
    for name, is_required in pairs(shape) do
      if name ~= "events" and is_required then assert(document[name] ~= nil, verb .. " lacks " .. name) end
    end
    for name in pairs(document) do assert(shape[name] ~= nil, verb .. " has " .. name .. ", which nobody documents") end
  end

  local seen = {}

  -- One object, as documented.
  local function object(name, code, verb, ...)
    seen[verb] = true
    local documents, got = run(verb, ...)
    assert.equal(code, got, documents[#documents] and core.json_encode(documents[#documents]))
    assert.equal(1, #documents)
    is_shaped(name, documents[1])
    return documents[1]
  end

  -- Lines of events, and the last one.
  local function events(last, code, verb, ...)
    seen[verb] = true
    local documents, got = run(verb, ...)
    assert.equal(code, got, documents[#documents] and core.json_encode(documents[#documents]))
    for _, document in ipairs(documents) do assert.equal("string", type(document.event), core.json_encode(document)) end
    assert.equal(last, documents[#documents].event)
    return documents[#documents]
  end

  it("verbs that read write one object, those that run a line for each event", function()
    local dir = { "--dir", g.dir, "--json" }
    local function with(...)
      local words = { ... }
      for _, word in ipairs(dir) do words[#words + 1] = word end
      return compat.unpack(words)
    end
    local other = g.folder()
    object("status", 0, "status", with())
    object("status", 3, "status", with "--exit-code")
    object("plan", 0, "plan", with())
    object("plan", 0, "plan", with "--trace")
    object("plan", 0, "up", with "--dry-run")
    object("check", 3, "check", with())
    object("check", 0, "check", with "--files")
    object("lint", 0, "lint", with("--fail-on", "error"))
    object("history", 0, "history", "--json")
    object("environment", 0, "environment", "--json")
    events("summary", 0, "up", with("--count", "1"))
    events("summary", 0, "up", with())
    events("summary", 0, "up", with()) -- nothing to do
    object("check", 0, "check", with "--drift")
    object("drift", 0, "drift", with())
    object("dump", 0, "dump", other .. "/dump.sql", "--json")
    events("summary", 0, "redo", with())
    events("summary", 0, "finish", with())
    events("summary", 0, "down", with())
    events("skip", 0, "skip", with("2", "--reason", "x"))
    events("baseline", 0, "baseline", with("1", "--tenant", "t"))
    local function put(sql) g.put("0003_c.sql", "-- migrate:up transaction:false\n" .. sql .. ";\n") end
    put "select 1 / 0"
    assert.equal(7, select(2, run("up", with())))
    events("resolve", 0, "resolve", with("3", "--rolled-back", "--reason", "x"))
    assert.equal(7, select(2, run("up", with())))
    put "select 1 / 1"
    events("summary", 0, "resume", with("3", "--from", "1"))
    put "select 1 / 2"
    events("edited", 0, "repair", with "--dry-run")
    events("repair", 0, "repair", with("--reason", "x"))
    events("summary", 0, "repair", with "--dry-run")
    object("new", 0, "new", "things", "--dir", other, "--json")
    local old = g.folder()
    for n = 1, 2 do g.put(n .. "_a.sql", ("create table s%d ();\n"):format(n), old) end
    object("squash", 0, "squash", "--dir", old, "--json")
    old = g.folder()
    g.put("20200101000000_a.sql", "-- migrate:up\nselect 1;\n\n-- migrate:down\nselect 1;\n", old)
    object("import", 0, "import", old, "--from", "dbmate", "--dir", other .. "/new", "--files", "--json")
    g.put("rows.sql", "select 1;\n", other)
    os.remove(other .. "/dump.sql")
    for entry in require("lfs").dir(other) do
      if entry:find "things" then os.remove(other .. "/" .. entry) end
    end
    events("summary", 0, "seed", "--seeds", other, "--json")
  end)

  it("verbs of whole databases do, too", function()
    local name = "luphant_json_spec"
    local url = g.url:gsub("(//[^/]*/)[^?]*", "%1" .. name)
    local function db(action, ...) return "db", action, "--database", url, "--json", ... end
    object("db wait", 0, db "wait")
    object("db create", 0, db "create")
    local dump = g.folder() .. "/dump.sql"
    object("dump", 0, "dump", dump, "--json")
    object("load", 0, "load", dump, "--database", url, "--json")
    local documents, code = run(db("reset", "--yes", "--dir", g.folder()))
    assert.same({ 0, "db reset", "db reset", "summary" },
      { code, documents[1].verb, documents[2].verb, documents[#documents].event })
    object("db drop", 0, db("drop", "--yes"))
  end)

  it("the long ones, too", function()
    local few = g.folder()
    g.put("0001_a.sql", "-- migrate:up\ncreate table a ();\n-- migrate:down\ndrop table a;\n", few)
    events("summary", 0, "test", "--dir", few, "--server", g.url, "--skip", "kill", "--skip", "race", "--skip",
      "impact", "--json")
    events("tenants", 0, "up", "--tenants", "j1,j2", "--create-tenants", "--jobs", "2", "--dir", few, "--json")
    assert.equal(2, #run("status", "--tenants", "j1,j2", "--dir", few, "--json")[1].tenants)
    assert.equal("tenants", run("up", "--tenants", "j3", "--dir", few, "--json")[2].event)
  end)

  it("an error is the last line, of one form, and nothing goes to standard error", function()
    local cases = {
      { 1, "up", "--database", "host=/nowhere" }, { 2, "skip", "9" }, { 2, "up", "0001" },
      { 4, "up", "--dir", "/nowhere" }, { 4, "lint", "--dir", "/nowhere" }, { 2, "lint", "--rule", "nosuch=off" },
      { 1, "lint", "--database", "host=/nowhere" }, { 4, "plan", "--dir", "/nowhere" },
      { 1, "history", "--database", "host=/nowhere" }, { 2, "check", "--files", "--drift" },
      { 4, "check", "--files", "--dir", "/nowhere" }, { 2, "db", "drop" }, { 2, "new", "x", "--lua", "--pair" },
      { 1, "db", "wait", "--database", "host=/nowhere", "--timeout", "0" }, { 2, "dump" }, { 1, "load", "/nowhere" },
      { 4, "seed", "--seeds", "/nowhere" }, { 4, "test", "--dir", "/nowhere" }, { 4, "squash", "--dir", "/nowhere" },
      { 4, "drift", "--dir", "/nowhere" },
    }
    for _, case in ipairs(cases) do
      local words = {}
      for i = 2, #case do words[#words + 1] = case[i] end
      if words[1] ~= "environment" and words[1] ~= "history" and words[1] ~= "db" and words[1] ~= "dump"
        and words[1] ~= "load" and words[1] ~= "seed" and not table.concat(words, " "):find "%-%-dir" then
        words[#words + 1], words[#words + 2] = "--dir", g.dir
      end
      words[#words + 1] = "--json"
      local what = table.concat(words, " ")
      local documents, code = run(compat.unpack(words))
      assert.equal(case[1], code, what)
      local last = documents[#documents]
      if not last.verb then
        assert.same({ "error", "string", "string", "string" },
          { last.event, type(last.error.kind), type(last.error.class), type(last.error.message) }, what)
        assert.equal(1, last.schema_version)
      end
    end
  end)

  it("there is a case and a help with examples for each verb, and options of others are refused", function()
    for _, verb in ipairs(migrate_command.verbs) do
      assert(seen[verb], "no case for " .. verb)
      local code, out = cli.run({}, "migrate", verb, "--help")
      assert.equal(0, code)
      assert.truthy(out:find("Usage: luphant migrate " .. verb, 1, true), out)
      assert.truthy(out:match("\nExamples:\n(.*)\n\nExit codes"):find("luphant migrate " .. verb, 1, true), out)
      assert.truthy(out:find("Exit codes: 0 ", 1, true), out)
    end
    for _, words in ipairs { { "status", "--plan-hash", "x" }, { "down", "--limit", "1" }, { "lint", "--yes" },
      { "history", "--backup", "x" }, { "resume", "1", "--to", "2" } } do
      local code, _, err = cli.run({}, "migrate", compat.unpack(words))
      assert.equal(2, code)
      assert.truthy(err:find("unknown option", 1, true), err)
    end
  end)
end)
