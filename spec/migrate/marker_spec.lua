-- Marker lines and their options.

local marker = require "luphant.migrate.marker"

local function options(text, section)
  local name, found, complaints = marker.read("-- migrate:" .. (section or "up") .. " " .. text)
  assert.same({}, complaints, text)
  assert.equal(section or "up", name)
  return found
end

local function complaint(text, section)
  local _, _, complaints = marker.read("-- migrate:" .. (section or "up") .. " " .. text)
  return table.concat(complaints, "; ")
end

describe("a marker line", function()
  it("names its section, with blanks as one likes", function()
    for _, line in ipairs { "--migrate:up", "--  migrate:up", "-- migrate:up  ", "-- migrate: up",
      "-- migrate:up\t" } do
      assert.equal("up", (marker.read(line)), line)
    end
    assert.equal("verify", (marker.read "-- migrate:verify"))
    assert.equal("check", (marker.read "-- migrate:check"))
    assert.equal("down", (marker.read "-- migrate:down"))
  end)

  it("is none when it says something else", function()
    for _, line in ipairs { "-- see migrate:up below", "-- migrated: up", "-- a comment", "--" } do
      assert.same({ nil, nil, {} }, { marker.read(line) }, line)
    end
  end)

  it("of an unknown section tells the nearest", function()
    local name, _, complaints = marker.read "-- migrate:upp"
    assert.is_nil(name)
    assert.equal('unknown section "upp" (did you mean "up"?); there are '
      .. "migrate:up, migrate:down, migrate:check and migrate:verify", complaints[1])
  end)

  it("has options with types", function()
    assert.same({}, options "")
    assert.same({
      transaction = false, lock_timeout = 5, statement_timeout = 600, retry = true, requires = { "20260701", "R__x" },
      phase = "contract", vars = { "app_role", "tenant" },
    }, options("transaction:false lock_timeout:5s statement_timeout:10min retry:true requires:20260701,R__x "
      .. "phase:contract vars:app_role,tenant"))
    assert.same({ irreversible = true }, options("irreversible", "down"))
    assert.same({ statement_timeout = 0 }, options("statement_timeout:0", "verify"))
    assert.same({ replaces = { "1", "2" } }, options "replaces:1,2")
  end)

  it("has durations with units", function()
    for text, seconds in pairs {
      ["0"] = 0, ["500ms"] = 0.5, ["5s"] = 5, ["1.5s"] = 1.5, [".5s"] = 0.5, ["2min"] = 120, ["1h"] = 3600,
        ["1d"] = 86400,
    } do
      assert.equal(seconds, (marker.duration(text)), text)
    end
    assert.equal("needs a unit: 5s or 5ms?", select(2, marker.duration "5"))
    for _, text in ipairs { "", "s", "5x", "five", "-5s", "5 s", ".s", "1e3s", "5m" } do
      assert.is_nil((marker.duration(text)), text)
    end
    assert.equal('has the unit "m"; there are us, ms, s, min, h and d', select(2, marker.duration "5m"))
  end)

  it("refuses what it does not know, with the nearest known name", function()
    for text, words in pairs {
      ["transactoin:false"] = 'unknown option "transactoin" (did you mean "transaction"?)',
      ["transaction:no"] = 'transaction must be true or false, not "no"',
      ["transaction"] = "transaction needs a value, written without blanks: transaction:...",
      ["transaction: false"] = 'transaction needs a value, written without blanks: transaction:...; '
        .. 'unknown option "false"',
      ["phase:contact"] = 'phase must be expand or contract, not "contact" (did you mean "contract"?)',
      ["irreversible:true"] = "irreversible takes no value",
      ["lock_timeout:5"] = "lock_timeout needs a unit: 5s or 5ms?",
      ["requires:"] = "requires needs a value",
      ["requires:1,,2"] = 'requires must be versions, or R__ and a name, separated by commas, not ""',
      ["requires:add_users"] = 'not "add_users"',
      ["vars:a-b"] = 'vars must be names of letters, digits and `_`, separated by commas, not "a-b"',
      ["retry:true retry:false"] = "retry stands there twice",
      ["a:1 b:2"] = 'unknown option "a"; unknown option "b"',
    } do
      local found = complaint(text)
      assert.truthy(found:find(words, 1, true), text .. " -> " .. found)
    end
  end)

  it("keeps options to the sections they belong to", function()
    assert.equal("requires belongs on the line of migrate:up", complaint("requires:1", "down"))
    assert.equal("transaction belongs on the line of migrate:up or migrate:down", complaint("transaction:false",
      "verify"))
    assert.equal("", complaint("transaction:false", "down"))
  end)
end)

describe("an ordinary comment", function()
  it("that was probably meant as a marker is told", function()
    for line, section in pairs {
      ["-- Migrate:Up"] = "up", ["-- migrate up"] = "up", ["--! migrate:down"] = "down", ["-- migration:up"] = "up",
      ["-- MIGRATE: VERIFY"] = "verify", ["-- migrate down transaction:false"] = "down",
      ["-- migrates: up"] = "up",
    } do
      assert.equal(("is no marker; did you mean `-- migrate:%s`?"):format(section), marker.near_miss(line), line)
    end
  end)

  it("of another tool that would have meant something is told, too", function()
    for line, words in pairs {
      ["-- +goose Up"] = "it is called -- migrate:up", ["-- +goose StatementBegin"] = "found without help",
      ["-- +goose NO TRANSACTION"] = "transaction:false", ["-- +migrate Down"] = "-- migrate:down",
      ["-- no-transaction"] = "transaction:false", ["--! no-transaction"] = "transaction:false",
      ["-- atlas:txmode none"] = "transaction:false", ["-- liquibase formatted sql"] = "one file",
    } do
      assert.truthy((marker.near_miss(line) or ""):find(words, 1, true), line)
    end
  end)

  it("stays a comment otherwise", function()
    for _, line in ipairs {
      "-- migrate up the users", "-- migrate:", "-- see migrate:up below", "-- why there is no transaction",
      "-- migration of the users", "--", "-- up", "---------- migrate ----------",
    } do
      assert.is_nil(marker.near_miss(line), line)
    end
  end)
end)

describe("options as fields of a Lua table", function()
  it("follow the same rules", function()
    assert.is_false(marker.option("transaction", false))
    assert.equal(5, marker.option("lock_timeout", "5s"))
    assert.same({ "1", "R__x" }, marker.option("requires", { "1", "R__x" }))
    assert.same({ "1" }, marker.option("requires", "1"))
    for _, case in ipairs {
      { "transaction", "false", "transaction must be true or false" },
      { "lock_timeout", 5, "lock_timeout must be text, also when it is a number" },
      { "requires", { 1 }, "requires must be text" },
      { "requires", {}, "requires must be text" },
      { "phase", "x", "phase must be expand or contract" },
    } do
      local value, why = marker.option(case[1], case[2])
      assert.is_nil(value)
      assert.truthy(why:find(case[3], 1, true), why)
    end
  end)
end)
