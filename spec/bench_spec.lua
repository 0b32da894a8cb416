-- The benchmark's harness works: every question is answered by luphant on the Lua that runs this, and all
-- contenders that are installed see the same values as the floor. Nothing here looks at a clock.

local env = require "spec.support.env"
local luphant = require "luphant"

local function quoted(text) return "'" .. text:gsub("'", "'\\''") .. "'" end

-- Runs bench/run.lua in a database of its own; answers its output and status.
local function run(arguments)
  local url = env.url():gsub("(//[^/]*/)[^?]*", "%1luphant_bench_spec")
  -- The interpreters that the harness starts by name must be those of this run: a sanitizer comes in by a stand-in.
  local folder, path = env.lua():match "^(.*)/", os.getenv "PATH"
  if folder then path = folder .. ":" .. path end
  local command = "env DATABASE_URL=%s LUA_PATH=%s LUA_CPATH=%s PATH=%s %s bench/run.lua %s 2>&1; echo \"exit $?\""
  command = command:format(quoted(url), quoted(package.path), quoted(package.cpath), quoted(path), env.lua(), arguments)
  local pipe = assert(io.popen(command))
  local output = pipe:read "*a"
  pipe:close()
  local text, status = output:match "^(.*)exit (%d+)\n$"
  return text, tonumber(status)
end

local mine = rawget(_G, "jit") and "luphant-jit" or "luphant-5.4"

local QUESTIONS = {
  "acquire_release", "copy_in", "copy_out_columns", "copy_out_raw", "copy_out_rows", "in_coroutine", "inserts",
  "inserts_batched", "inserts_bulk", "int4_array", "one_row_prepared", "rows_array", "rows_columns", "rows_named",
  "same_text", "small_row", "stream_200000", "stream_200000_rows", "tasks_16", "tasks_16_shared", "tasks_64",
  "tasks_64_shared", "transaction", "transaction_three_trips", "values_iterator",
}

describe("the benchmark #checkout", function()
  local conn

  lazy_setup(function()
    conn = assert(luphant.connect(env.url()))
    assert(conn:execute "drop database if exists luphant_bench_spec with (force)")
    assert(conn:execute "create database luphant_bench_spec")
  end)

  lazy_teardown(function()
    assert(conn:execute "drop database luphant_bench_spec with (force)")
    conn:close()
  end)

  it("asks luphant every question and gets the floor's values", function()
    local text, status = run("--rounds 1 --operations 3 --json --contenders " .. mine)
    assert.equal(0, status, text)
    local report = require("luphant.core").json_decode(text:match "({.*})%s*$")
    local seen = {}
    for i, answer in ipairs(report.questions) do
      seen[i] = answer.question
      assert.is_nil(answer.remarks, text)
      assert.is_number(answer.results[mine].cpu.median, answer.question)
      assert.is_true(answer.results.floor.cpu.median == 1)
    end
    table.sort(seen)
    assert.same(QUESTIONS, seen)
  end)

  it("says who is left out, and leaves out whose values are wrong", function()
    local text, status = run "rows_named --rounds 1 --operations 2"
    assert.equal(0, status, text)
    assert.truthy(text:find("- " .. mine .. ": luphant", 1, true), text)
    local line = text:match("\n| " .. mine:gsub("%p", "%%%0") .. " | %d+%.%d%d %([^\n]*")
    assert.truthy(line and (line:find " met |" or line:find " missed |"), text)
    for name, why in text:gmatch "\n| (%S+) | (%a+ ?%a*): [^\n]*" do
      -- LuaDBI cuts int8 to 32 bits, which the checksum catches.
      assert.equal("luadbi-5.4 wrong values", name .. " " .. why, text)
    end
  end)

  it("leaves the database as it was, and refuses one where its schema exists", function()
    local there = assert(luphant.connect(env.url(), { dbname = "luphant_bench_spec" }))
    assert.is_true(there:query_value "select to_regnamespace('luphant_bench') is null")
    assert(there:execute "create schema luphant_bench")
    there:close()
    local text, status = run "inserts --rounds 1 --operations 1"
    assert.is_not.equal(0, status)
    assert.truthy(text:find("drop schema luphant_bench cascade", 1, true), text)
  end)

  it("refuses what it does not know", function()
    local text, status = run "no_such_question"
    assert.equal(2, status)
    assert.truthy(text:find("no question no_such_question", 1, true), text)
    text, status = run "--speed 9"
    assert.equal(2, status)
    assert.truthy(text:find("no option --speed", 1, true), text)
  end)
end)
