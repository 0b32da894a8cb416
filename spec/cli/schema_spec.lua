-- luphant schema: arguments, output and exit codes; what a snapshot holds has spec/schema.

local core = require "luphant.core"
local env = require "spec.support.env"
local luphant = require "luphant"
local main = require "luphant.cli.main"

local function sink()
  local file = { text = "" }
  function file:write(...)
    self.text = self.text .. table.concat { ... }
    return self
  end
  return file
end

describe("luphant schema", function()
  local conn, path

  local function run_with(url, ...)
    local outside = {
      out = sink(), err = sink(), is_terminal = function() return false end,
      getenv = function(name) return name == "DATABASE_URL" and url or nil end,
    }
    return main.run({ "schema", ... }, outside), outside.out.text, outside.err.text
  end
  local function run(...) return run_with(env.url(), ...) end

  local function save(text)
    local file = assert(io.open(path, "wb"))
    file:write(text)
    file:close()
  end

  before_each(function()
    conn = assert(luphant.connect(env.url()))
    assert(conn:script [[
      set client_min_messages = warning;
      drop schema if exists luphant_cli_schema cascade;
      create schema luphant_cli_schema;
      create table luphant_cli_schema.a (n int, m text);
      comment on table luphant_cli_schema.a is 'First.']])
    path = os.tmpname()
  end)
  after_each(function()
    os.remove(path)
    assert(conn:execute "drop schema luphant_cli_schema cascade")
    conn:close()
  end)

  local ONE = { "--schema", "luphant_cli_schema" }
  local function with_one(...)
    local words = { ... }
    words[#words + 1], words[#words + 2] = ONE[1], ONE[2]
    return require("luphant.compat").unpack(words)
  end

  it("writes a snapshot, and shows it from the file or from the database alike", function()
    local code, json, err = run(with_one "snapshot")
    assert.same({ 0, "" }, { code, err })
    assert.equal("First.", assert(core.json_decode(json)).tables["luphant_cli_schema.a"].comment)
    save(json)
    local _, of_file = run("text", path)
    local _, of_database = run(with_one "text")
    assert.equal(of_database, of_file)
    assert.truthy(of_file:find("table luphant_cli_schema.a\n  comment: First.", 1, true), of_file)
    local _, hash = run("hash", path)
    assert.matches("^%x+\n$", hash)
    assert.equal(65, #hash)
    assert.equal(hash, select(2, run(with_one "hash")))
  end)

  it("answers 4 and names the differences, 0 when there are none", function()
    save(select(2, run(with_one "snapshot")))
    assert.same({ 0, "", "" }, { run(with_one("diff", path)) })
    assert(conn:execute "alter table luphant_cli_schema.a alter n type bigint, add o int")
    local code, out = run(with_one("diff", path))
    assert.equal(4, code)
    assert.equal("~ column luphant_cli_schema.a.n: type: integer -> bigint\n+ column luphant_cli_schema.a.o\n", out)
    code, out = run(with_one("diff", path, env.url()))
    assert.equal(4, code)
    assert.matches("^~ column", out)
    code, out = run(with_one("diff", "--json", env.url(), path))
    assert.equal(4, code)
    local answer = assert(core.json_decode(out))
    assert.is_true(answer.different)
    assert.equal("bigint", answer.differences[1].from)
    assert.not_equal(answer.from, answer.to)
  end)

  it("answers 0 when only the order of columns differs, and says so", function()
    save(select(2, run(with_one "snapshot")))
    assert(conn:script [[
      drop table luphant_cli_schema.a;
      create table luphant_cli_schema.a (m text, n int);
      comment on table luphant_cli_schema.a is 'First.']])
    assert.same({ 0, "! table luphant_cli_schema.a: column order: [n, m] -> [m, n]\n", "" },
      { run(with_one("diff", path)) })
    local _, out = run(with_one("diff", "--json", path))
    local answer = assert(core.json_decode(out))
    assert.is_false(answer.different)
    assert.equal(answer.from, answer.to)
  end)

  it("leaves out what it is told to", function()
    local _, out = run(with_one("text", "--no-owners", "--no-comments", "--no-grants"))
    assert.is_nil(out:find("owner", 1, true))
    assert.is_nil(out:find("First.", 1, true))
    _, out = run("text", "--schema", "luphant_cli_*", "--except", "*_schema")
    assert.equal("", out)
  end)

  it("exits with 1 for a file that is no snapshot, 2 for wrong use, 3 without a connection", function()
    save "{}"
    local code, out, err = run("text", path)
    assert.same({ 1, "" }, { code, out })
    assert.truthy(err:find("this is not a snapshot of luphant.schema", 1, true), err)
    code, out = run("diff", "--json", path)
    assert.equal(1, code)
    assert.truthy(assert(core.json_decode(out)).error.message:find(path, 1, true))
    assert.equal(2, (run "diff"))
    assert.equal(2, (run("text", path, path)))
    assert.equal(2, (run("text", "--json")))
    assert.equal(2, (run("text", "/nowhere/at/all")))
    assert.equal(2, (run "draw"))
    assert.equal(3, (run_with("host=/nowhere port=1", "text")))
    assert.equal(3, (run("text", "host=/nowhere port=1")))
  end)
end)
