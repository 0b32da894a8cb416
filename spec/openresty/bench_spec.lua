-- The harness of bench/openresty works: contenders answer what the tables hold, before anything is timed, and figures,
-- ratios and goals come out. What the figures are is no concern here. pgmoon is not there in CI: luphant.compat.pgmoon
-- stands in for it, so that its side of the harness is run as well.
--
-- To see it fail: change a column of /check/rows in bench/openresty/inside/answer.lua.
--
-- SPDX-License-Identifier: MIT

local env = require "spec.support.env"
local shell = require "luphant.testing.shell"
local web = require "spec.openresty.web"

local missing = web.missing()

local quote = shell.quote

local STAND_IN = 'return require "luphant.compat.pgmoon"\n'
local LIAR = [[
local pgmoon = require "luphant.compat.pgmoon"
local query = pgmoon.Postgres.query
function pgmoon.Postgres.query(...)
  local rows, err = query(...)
  if rows and rows[1] and rows[1].balance then rows[1].balance = rows[1].balance + 1 end
  return rows, err
end
return pgmoon
]]

-- Answers what it printed, its status and what it complained of. `pgmoon`: the text of such a module.
local function run(arguments, pgmoon)
  local folder = assert(shell.run "mktemp -d")
  if pgmoon then shell.write_file(folder .. "/pgmoon.lua", pgmoon) end
  local command = ("env LUA_PATH=%s LUA_CPATH=%s %s bench/openresty/run.lua --rounds 1 --seconds 1 --clients 2"
    .. " --pgmoon %s %s 2>%s"):format(quote(package.path), quote(package.cpath), env.lua(), quote(folder), arguments,
    quote(folder .. "/complaints"))
  local output, failure, status = shell.run(command)
  local complaints = shell.read_file(folder .. "/complaints")
  shell.run("rm -r " .. quote(folder))
  return output or failure, status or 0, complaints
end

describe("the benchmark inside nginx #checkout", function()
  if missing then return pending(missing) end

  it("answers right values and tells figures, ratios and goals", function()
    local text, status, complaints = run("--contenders luphant,luphant-shared --pairs 1 --json")
    assert.equal(0, status, text .. complaints)
    local report = require("luphant.core").json_decode(text)
    assert.same({ luphant = "takes part", ["luphant-shared"] = "takes part" }, report.contenders)
    for i, question in ipairs { "one", "rows" } do
      local cell = report.results[i]
      assert.same({ question, 2 }, { cell.question, cell.connections })
      for key in pairs(report.contenders) do
        local mine = cell.summary[key]
        assert.is_true(mine.rate.median > 0 and mine.cpu_us.median > 0 and mine.p50_ms.median <= mine.p99_ms.median)
      end
    end
    assert.is_true(report.beside.shares.luphant.median > 0)
    assert.equal(2, #report.beside.verdicts)
  end)

  it("compares with pgmoon, in every way that it is used", function()
    local text, status, complaints = run("one --clients 16 --contenders luphant,pgmoon,pgmoon-literal,pgmoon-execute",
      STAND_IN)
    assert.equal(0, status, text .. complaints)
    assert.matches("\n| luphant | %d+ | [%d.]+ / [%d.]+ | [%d.]+ | [%d.]+ / [%d.]+ | [%d.]+ / [%d.]+ | [%d.]+ / ", text)
    for _, goal in ipairs { "requests against pgmoon: goal 1.95", "CPU against pgmoon: goal 0.50",
      "requests against pgmoon-execute: goal 1.40" } do
      assert.matches("luphant, " .. goal:gsub("%p", "%%%0") .. ", is [%d.]+ %b(): %a+\n", text)
    end
    assert.is_nil(text:find("against pgmoon-literal: goal", 1, true)) -- shown, not judged
  end)

  it("gives no figures to who is not there, and none to who tells wrong values", function()
    local text, status = run "one --contenders luphant,pgmoon-execute"
    assert.equal(0, status, text)
    assert.truthy(text:find("pgmoon-execute: left out, there is no pgmoon", 1, true), text)
    local complaints
    text, status, complaints = run("one --contenders pgmoon", LIAR)
    assert.equal(1, status, text)
    assert.truthy(text:find("pgmoon: left out, wrong values from /check/one", 1, true), text)
    assert.truthy(complaints:find("instead of 1|Person number 1", 1, true), complaints)
    assert.is_nil(text:find("| pgmoon |", 1, true))
  end)

  it("refuses what it does not know", function()
    local _, status, complaints = run "no_such_question"
    assert.equal(2, status)
    assert.truthy(complaints:find("no question no_such_question", 1, true))
    _, status, complaints = run "--contenders nobody"
    assert.equal(2, status)
    assert.truthy(complaints:find("no contender nobody", 1, true))
  end)
end)
