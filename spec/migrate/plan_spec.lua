-- Files and history side by side, without either.

local plan = require "luphant.migrate.plan"

local function file(version, checksum)
  return { version = version, name = "n" .. version, file = "m/" .. version .. ".sql", checksum = checksum or "c" }
end
local function row(version, checksum)
  return { version = version, name = "n" .. version, checksum = checksum or "c", down_sql = "down" }
end
local function states(entries)
  local out = {}
  for i, entry in ipairs(entries) do
    out[i] = entry.version .. "=" .. entry.state .. (entry.out_of_order and "!" or "")
  end
  return table.concat(out, " ")
end

describe("comparing files with the history", function()
  it("tells applied, changed, missing and pending apart, in the order of numbers", function()
    local entries = plan.compare(
      { file "0001", file("0002", "edited"), file "0010", file "0011" },
      { row "0009", row "0001", row "0002" })
    assert.equal("0001=applied 0002=changed 0009=missing 0010=pending 0011=pending", states(entries))
  end)

  it("matches numbers, not their spelling", function()
    assert.equal("0001=applied", states(plan.compare({ file "0001" }, { row "1" })))
  end)

  it("marks what is pending behind something applied", function()
    local entries = plan.compare({ file "1", file "2", file "3" }, { row "2" })
    assert.equal("1=pending! 2=applied 3=pending", states(entries))
  end)

  it("finds nothing to object to in an ordinary folder", function()
    assert.same({}, plan.objections(plan.compare({ file "1", file "2" }, { row "1" })))
    assert.same({}, plan.objections(plan.compare({}, {})))
  end)

  it("objects to edited, vanished and late files, each by name, all at once", function()
    local problems = plan.objections(plan.compare({ file "1", file("2", "edited") }, { row "2", row "3" }))
    assert.equal(3, #problems)
    assert.equal("m/1.sql", problems[1].file)
    assert.truthy(problems[1].message:find("higher number", 1, true))
    assert.equal("m/2.sql", problems[2].file)
    assert.truthy(problems[2].message:find("edited after it had been applied", 1, true))
    assert.equal("3_n3.sql", problems[3].file)
    assert.truthy(problems[3].message:find("the file is gone", 1, true))
  end)

  it("takes the newest applied ones back first", function()
    local entries = plan.compare({ file "1", file "2", file "3" }, { row "1", row "2" })
    assert.equal("2=applied", states(plan.last_applied(entries, 1)))
    assert.equal("2=applied 1=applied", states(plan.last_applied(entries, 9)))
    assert.equal("", states(plan.last_applied(entries, 0)))
    assert.equal("3=pending", states(plan.pending(entries)))
  end)
end)
