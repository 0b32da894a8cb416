-- The way back on its way into the history and out again.

local parse = require "luphant.migrate.parse"
local wayback = require "luphant.migrate.wayback"

local function migration(text)
  local sections, problems = parse(text, "f.sql")
  assert.same({}, problems)
  return { down = sections.down, vars = sections.up.options.vars or {} }
end

describe("the way back", function()
  it("is kept as it is when it has no options", function()
    local text = wayback.write(migration "-- migrate:up\nselect 1;\n-- migrate:down\n\ndrop table t; -- gone\n")
    assert.equal("\ndrop table t; -- gone\n", text)
    assert.is_nil((wayback.write(migration "select 1")))
  end)

  it("keeps its options", function()
    local text = wayback.write(migration("-- migrate:up\nselect 1;\n"
      .. "-- migrate:down transaction:false lock_timeout:1500ms retry:true\ndrop index concurrently i;"))
    local section, problems = wayback.read(text, "f.sql")
    assert.same({}, problems)
    assert.same({ transaction = false, lock_timeout = 1.5, retry = true }, section.options)
    assert.equal("drop index concurrently i;", section.text)
    assert.equal(1, #section.statements)
  end)

  it("is kept with the values of its day", function()
    local found = migration("-- migrate:up vars:role\nselect ${role:literal};\n"
      .. "-- migrate:down\ndrop role ${role}; -- ${role}\nselect 2;")
    local text = wayback.write(found, { role = 'a"b' })
    assert.equal('drop role "a""b"; -- ${role}\nselect 2;', text)
    assert.same({}, select(2, wayback.read(text, "f.sql")))
    local none, why = wayback.write(found, { role = nil })
    assert.is_nil(none)
    assert.is_string(why)
  end)
end)
