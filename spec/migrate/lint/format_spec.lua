-- The forms a report can take. SARIF is held against what its schema (2.1.0) demands.

local core = require "luphant.core"
local example = require "luphant.migrate.lint.example"
local lint = require "luphant.migrate.lint"

local function report_of(text)
  local list = { example.migration(example.SHOP, "0001"), example.migration(text, "0002") }
  return lint.migrations(list, { only = { list[2].file }, severity = { ["no-way-back"] = "off" } })
end

local function format(name, ...) return require("luphant.migrate.lint.format." .. name)(...) end

local TEXT = "-- migrate:up\n-- migrate:allow drop-column: nobody reads it\nalter table orders drop column note;\n"
  .. "create index i on orders (number);"

describe("a report", function()
  it("as text has the place, the line with a caret, why, and what instead", function()
    assert.equal("migrations/0002_example.sql:4:1: error: builds an index on orders while nobody can write to it "
      .. [=[
[index-without-concurrently]
LINE 4: create index i on orders (number);
        ^
  why: The table is locked in SHARE mode until the index is complete: every INSERT, UPDATE and DELETE
       waits, for minutes on a big table. CONCURRENTLY reads the table twice and lets them go on. It cannot
       run in a transaction.
  instead:
    -- migrate:up transaction:false
    create index concurrently if not exists i on orders (number);
]=], (format("text", report_of(TEXT)):match "^(.-\n)\n"))
    assert.matches("1 migration: 1 error, 0 warnings, 0 notes, 1 allowed\n$", format("text", report_of(TEXT)))
    assert.equal("1 migration: 0 errors, 0 warnings, 0 notes\n", format("text", report_of "select 1;"))
  end)

  it("as JSON has the same fields always", function()
    local document = assert(core.json_decode(format("json", report_of(TEXT))))
    assert.equal(1, document.schema_version)
    assert.equal(1, document.counts.error)
    local finding = document.findings[1]
    assert.equal("index-without-concurrently", finding.rule)
    assert.equal(4, finding.line)
    assert.equal("create index i on orders (number)", finding.sql)
    assert.equal(1, #finding.safe)
    assert.equal("nobody reads it", document.allowed[1].allowed)
    assert.matches('"findings":%[%]', format("json", report_of "select 1;"))
  end)

  it("as SARIF has rules, results, places and suppressions", function()
    local document = assert(core.json_decode(format("sarif", report_of(TEXT))))
    assert.equal("2.1.0", document.version)
    local run = document.runs[1]
    local ids = {}
    for i, rule in ipairs(run.tool.driver.rules) do
      ids[i - 1] = rule.id
      assert.is_truthy(rule.shortDescription.text and rule.fullDescription.text)
      assert.is_nil(rule.fullDescription.text:find "[{}]")
    end
    assert.equal(2, #run.results)
    for _, result in ipairs(run.results) do
      assert.equal(result.ruleId, ids[result.ruleIndex])
      assert.is_truthy(({ error = 1, warning = 1, note = 1 })[result.level])
      local place = result.locations[1].physicalLocation
      assert.equal("migrations/0002_example.sql", place.artifactLocation.uri)
      assert.is_true(place.region.startLine >= 1 and place.region.startColumn >= 1)
      assert.is_truthy(result.message.text)
    end
    assert.equal("inSource", run.results[2].suppressions[1].kind)
    assert.equal("nobody reads it", run.results[2].suppressions[1].justification)
    assert.matches('"results":%[%]', format("sarif", report_of "select 1;"))
  end)

  it("for GitLab is a list whose fingerprints stay when lines move, and are never the same twice", function()
    local function findings(text) return (assert(core.json_decode(format("gitlab", report_of(text))))) end
    local list = findings(TEXT)
    assert.equal(1, #list)
    assert.same({ "index-without-concurrently", "critical", "migrations/0002_example.sql", 4 },
      { list[1].check_name, list[1].severity, list[1].location.path, list[1].location.lines.begin })
    assert.truthy(list[1].description:find("builds an index on orders while nobody can write to it", 1, true))
    assert.matches("^%x+$", list[1].fingerprint)
    local moved = findings(TEXT:gsub("create index", "\n\ncreate index"))
    assert.same({ list[1].fingerprint, 6 }, { moved[1].fingerprint, moved[1].location.lines.begin })
    local twice = findings("create index on orders (number);\ncreate index on orders (number);")
    local seen = {}
    for _, item in ipairs(twice) do
      assert.is_nil(seen[item.fingerprint])
      seen[item.fingerprint] = true
    end
    assert.equal("[]\n", format("gitlab", report_of "select 1;"))
  end)

  it("for GitHub is one escaped line for each finding", function()
    local text = format("github", report_of(TEXT))
    local lines = {}
    for line in text:gmatch "[^\n]+" do lines[#lines + 1] = line end
    assert.equal(1, #lines)
    assert.matches("^::error file=migrations/0002_example%.sql,line=4,col=1,title=index%-without%-concurrently::builds",
      lines[1])
    assert.matches("%%0ACREATE?", lines[1]:gsub("create", "CREATE"))
    local report = report_of(TEXT)
    report.findings = { { rule = "x", severity = "note", file = "a:b,c%.sql", message = "50%\r", why = "w" } }
    assert.equal("::notice file=a%3Ab%2Cc%25.sql,title=x::50%25%0D%0A%0Aw\n", format("github", report))
  end)
end)
