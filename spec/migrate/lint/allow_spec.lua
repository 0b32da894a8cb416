-- `-- migrate:allow rule: reason`: what it speaks of, and what is wrong with one that says too little or too much.

local example = require "luphant.migrate.lint.example"
local lint = require "luphant.migrate.lint"

local function run(text)
  local list = { example.migration(example.SHOP, "0001"), example.migration(text, "0002") }
  local report = lint.migrations(list, {
    only = { list[2].file }, severity = { ["no-way-back"] = "off", ["several-alters-of-one-table"] = "off" },
  })
  local out = {}
  for i, finding in ipairs(report.findings) do out[i] = finding.rule .. ":" .. (finding.line or "") end
  return table.concat(out, " "), report
end

local SET = "alter table orders alter column status set not null, add column a text;"

describe("migrate:allow", function()
  it("is heard before, inside and behind a statement", function()
    for _, text in ipairs {
      "-- migrate:up\n-- migrate:allow set-not-null, constraint-before-code: few rows\n" .. SET,
      "-- migrate:up\nalter table orders -- migrate:allow set-not-null, constraint-before-code: few rows\n"
        .. "alter column status set not null;",
      "-- migrate:up\n" .. SET .. " -- migrate:allow set-not-null, constraint-before-code: few rows\n",
      "--   migrate: allow set-not-null,constraint-before-code :   few rows\n-- migrate:up\n" .. SET,
    } do
      local findings, report = run(text)
      assert.equal("", findings)
      assert.equal(2, #report.allowed)
      assert.equal("few rows", report.allowed[1].allowed)
    end
  end)

  it("speaks of one statement, and from the head of all", function()
    local two = "alter table orders alter column status set not null;\n"
      .. "alter table orders alter column total set not null;"
    assert.equal("set-not-null:4 constraint-before-code:4",
      (run("-- migrate:up\n-- migrate:allow set-not-null, constraint-before-code: few rows\n" .. two)))
    assert.equal("", (run("-- migrate:allow set-not-null, constraint-before-code: few rows\n-- migrate:up\n" .. two)))
  end)

  it("counts in strings and function bodies as text", function()
    assert.equal("", (run "-- migrate:up\ncomment on table orders is '\n-- migrate:allow set-not-null: no\n';"))
  end)

  it("needs a reason", function()
    local findings, report = run("-- migrate:up\n-- migrate:allow set-not-null, constraint-before-code\n" .. SET)
    assert.equal("unneeded-allow:2 set-not-null:3 constraint-before-code:3", findings)
    assert.matches("gives no reason", report.findings[1].message)
  end)

  it("needs a rule that exists", function()
    local _, report = run("-- migrate:up\n-- migrate:allow set-not-nul: few rows\nselect 1;")
    assert.equal('migrate:allow names "set-not-nul", which is no rule (did you mean "set-not-null"?)',
      report.findings[1].message)
    _, report = run("-- migrate:up\n-- migrate:allow : few rows\nselect 1;")
    assert.equal("migrate:allow names no rule", report.findings[1].message)
  end)

  it("that nothing needs is told", function()
    local findings, report = run("-- migrate:up\n-- migrate:allow drop-column: gone long ago\nselect 1;")
    assert.equal("unneeded-allow:2", findings)
    assert.equal("migrate:allow allows drop-column, but nothing here needs that", report.findings[1].message)
  end)

  it("is not needless to a run that cannot know: without facts, without a trace, with the rule off", function()
    local text = "-- migrate:up\n-- migrate:allow invalid-index-in-the-way, seen-by-trace: known\nselect 1;"
    assert.equal("", (run(text)))
    local list = { example.migration(example.SHOP, "0001"), example.migration(text, "0002") }
    local only = { list[2].file }
    local report = lint.migrations(list, { only = only, facts = { relations = {} }, traced = {},
      severity = { ["no-way-back"] = "off" } })
    assert.equal(2, #report.findings)
    list[2] = example.migration("-- migrate:up\n-- migrate:allow drop-column: gone\nselect 1;", "0002")
    report = lint.migrations(list, { only = only, severity = { ["no-way-back"] = "off", ["drop-column"] = "off" } })
    assert.same({}, report.findings)
  end)

  it("is no marker: the file has the same sections with and without it", function()
    local migration = example.migration("-- migrate:allow x: y\n-- migrate:up\nselect 1;\n-- migrate:allow x: y\n"
      .. "select 2;\n-- migrate:down\nselect 3;", "0001")
    assert.equal(2, #migration.up.statements)
    assert.equal(1, #migration.down.statements)
  end)
end)
