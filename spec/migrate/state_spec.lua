-- Files and history side by side, without either.

local make = require "spec.support.migrations"
local order = require "luphant.migrate.order"
local state = require "luphant.migrate.state"

local function states(files, rows, options)
  local list = order.resolve(make.files(files), error)
  local out = {}
  for i, entry in ipairs(state.compare(list, make.rows(rows), options)) do
    local prefix = entry.kind == "baseline" and "B" or entry.kind == "repeatable" and "R__" or ""
    out[i] = ("%s%s=%s%s%s"):format(prefix, entry.version, entry.state, entry.out_of_order and "!" or "",
      entry.deferred and "~" or "")
  end
  return table.concat(out, " ")
end

describe("comparing files with the history", function()
  local CASES = {
    { "nothing", {}, {}, "" },
    { "applied, changed, missing and pending, in the order of numbers",
      { "0001", "0002 edited", "0010", "0011" }, { "0009", "0001", "0002" },
      "0001=applied 0002=changed 0009=missing 0010=pending 0011=pending" },
    { "what is pending behind something applied", { "1", "2", "3" }, { "2" }, "1=pending! 2=applied 3=pending" },
    { "what was taken back", { "1", "2" }, { "1", "2 reverted" }, "1=applied 2=pending" },
    { "what was taken back and is gone", { "1" }, { "1", "2 reverted" }, "1=applied" },
    { "what was skipped, whatever its text", { "1 edited", "2" }, { "1 skipped" }, "1=skipped 2=pending" },
    { "what failed", { "1", "2" }, { "1 failed done=1 total=3" }, "1=failed 2=pending" },
    { "what its process left", { "1" }, { "1 running" }, "1=interrupted" },
    { "what failed and is gone", {}, { "1 failed" }, "1=missing" },
    { "repeatable ones, new, run, with a new text and with an old one",
      { "R__new", "R__ran", "R__edited v2", "R__back v1" },
      { "R__ran", "R__edited", "R__back applied text=v2 earlier=v1", "R__gone" },
      "R__back=returned R__edited=outdated R__new=pending R__ran=applied R__gone=missing" },
    { "repeatable ones behind all others", { "R__a", "9", "10" }, { "11" },
      "9=pending! 10=pending! 11=missing R__a=pending" },
    { "contract migrations, for which no order holds", { "1 phase=contract", "2" }, { "2" }, "1=pending~ 2=applied" },
    { "what requires one, however far", { "1 phase=contract", "2 requires=1", "3 requires=2", "4" }, { "4" },
      "1=pending~ 2=pending~ 3=pending~ 4=applied" },
    { "the order of requirements", { "1 requires=3", "2", "3" }, { "3" }, "3=applied 1=pending 2=pending" },
  }
  for _, case in ipairs(CASES) do
    it("finds " .. case[1], function() assert.equal(case[4], states(case[2], case[3])) end)
  end

  it("takes what is on its way for running while somebody holds the lock", function()
    assert.equal("1=running", states({ "1" }, { "1 running" }, { lock_is_held = true }))
  end)

  it("matches numbers whatever their spelling", function()
    local file = make.file "0001"
    local row = make.row("1", file)
    assert.equal("applied", state.compare({ file }, { row })[1].state)
  end)

  it("says when only comments changed", function()
    local old, new = make.file "1 sql=select 1", make.file "1 sql=select /* one */ 1"
    local entry = state.compare({ new }, { make.row("1", old) })[1]
    assert.same({ "changed", true }, { entry.state, entry.only_comments })
    entry = state.compare({ make.file "1 sql=select 2" }, { make.row("1", old) })[1]
    assert.same({ "changed", false }, { entry.state, entry.only_comments })
    local row = make.row("1", old)
    row.statement_hash = nil
    assert.is_false(state.compare({ new }, { row })[1].only_comments)
  end)

  it("works without the kinds and states that an older history lacks", function()
    local row = make.row "1"
    row.kind, row.state = nil, nil
    assert.equal("applied", state.compare({ make.file "1" }, { row })[1].state)
    assert.equal("missing", state.compare({}, { row })[1].state)
  end)
end)

describe("baselines", function()
  local CASES = {
    { "stand for what lies before them where the database is new", { "1", "2", "B2", "3" }, {},
      "1=covered B2=pending 2=covered 3=pending" },
    { "do nothing where it is not", { "1", "2", "B2", "3" }, { "1", "2" },
      "1=applied B2=covered 2=applied 3=pending" },
    { "still do not when the files are gone", { "B2", "3" }, { "1", "2" },
      "1=squashed B2=covered 2=squashed 3=pending" },
    { "cover from then on", { "1", "2", "B2", "3" }, { "B2" }, "1=covered B2=applied 2=covered 3=pending" },
    { "only the highest counts", { "B1", "1", "2", "B2" }, {}, "B1=covered 1=covered B2=pending 2=covered" },
    { "with a list stand for what is on it", { "1", "2", "B3 replaces=1,3", "3" }, {},
      "1=covered 2=pending! B3=pending 3=covered" },
    { "with a list do not excuse what is not on it", { "B3 replaces=1,3" }, { "1", "2", "3" },
      "1=squashed 2=missing B3=covered 3=squashed" },
    { "made by hand need no file", { "1", "2", "3" }, { "B2" }, "1=covered 2=covered B2=applied 3=pending" },
  }
  for _, case in ipairs(CASES) do
    it(case[1], function() assert.equal(case[4], states(case[2], case[3])) end)
  end

  it("made by hand have no text to compare", function()
    local row = make.row "B2"
    row.checksum = ""
    assert.equal("applied", state.compare({ make.file "B2 edited" }, { row })[1].state)
    row.checksum = make.file("B2").checksum
    assert.equal("changed", state.compare({ make.file "B2 edited" }, { row })[1].state)
  end)
end)
