-- Each change of changes.lua, made to a database of everything: the diff names exactly that change.
--
-- To see it fail: take a column out of a query in lua/luphant/schema/read/.
--
-- SPDX-License-Identifier: MIT

local changes = require "spec.schema.changes"
local env = require "spec.support.env"
local luphant = require "luphant"
local schema = require "luphant.schema"
local scratch = require "spec.schema.scratch"

local DATABASE = "luphant_schema_change_spec"

-- No statement is drafted for these.
local LEFT = {
  aggregate = true, operator = true, ["operator family"] = true, ["operator class"] = true, cast = true,
  conversion = true, collation = true, language = true, ["access method"] = true, ["foreign data wrapper"] = true,
  server = true, ["user mapping"] = true, ["event trigger"] = true, publication = true, subscription = true,
  ["default privileges"] = true, database = true, ["base type"] = true, ["foreign table"] = true, transform = true,
}

-- To try a draft takes a second look at the catalog: each Lua does half of them, none under a sanitizer.
local TRIES = not os.getenv "ASAN_OPTIONS" and (rawget(_G, "jit") and 1 or 0) or nil

local function is_drafted(change, differences)
  if change.is_left then return false end
  for _, difference in ipairs(differences) do
    local is_left = LEFT[difference.kind] or difference.kind:find "^text search"
    if is_left or difference.object:find "^shop.remote" then return false end
  end
  return true
end

local function only_warnings(differences)
  for _, difference in ipairs(differences) do
    if not difference.warning then return false end
  end
  return true
end

local OPPOSITE = { added = "removed", removed = "added" }

describe("the diff of a database before and after", function()
  local admin, conn, before

  lazy_setup(function()
    admin = assert(luphant.connect(env.url()))
    conn = scratch.fill(admin, DATABASE)
    before = assert(schema.snapshot(conn))
  end)

  lazy_teardown(function()
    conn:close()
    scratch.drop(admin, DATABASE)
    scratch.drop_roles(admin)
    admin:close()
  end)

  -- The snapshot after the change, which is undone.
  local function after(sql)
    local snapshot, err
    conn:transaction(function(tx)
      local results
      results, err = tx:script(sql)
      if results then snapshot, err = schema.snapshot(tx) end
      return nil, "undo"
    end)
    return assert(snapshot, err and tostring(err) .. "\nof:\n" .. sql)
  end

  for i, change in ipairs(changes) do
    local sql, lines, since, last = change[1], change[2], change.since or 11, change.last or 99
    it(sql, function()
      local version = math.floor(conn:server_version() / 10000)
      if version < since or version > last then return pending("is for PostgreSQL " .. since .. " to " .. last) end
      local changed = after(sql)
      local differences = schema.diff(before, changed)
      assert.equal(table.concat(lines, "\n"), (schema.diff_text(differences):gsub("\n$", "")))

      -- The hash, the text, the JSON and the way back agree with the diff.
      local is_same = #lines == 0
      assert.equal(is_same or change.is_soft == true, schema.hash(before) == schema.hash(changed))
      assert.equal(is_same, schema.text(before) == schema.text(changed))
      assert.same({}, schema.diff(changed, assert(schema.from_json(schema.to_json(changed)))))
      -- What is drafted of it makes the same of a database as the change did; what is not drafted is told.
      local statements, left = schema.draft(before, changed)
      if not is_drafted(change, differences) then
        assert.is_true(#left > 0 or change.is_left == nil)
      else
        assert.same({}, left)
      end
      if TRIES and i % 2 == TRIES and is_drafted(change, differences) then
        local made = schema.diff(#statements > 0 and after(table.concat(statements, ";\n")) or before, changed)
        assert(only_warnings(made), schema.diff_text(made))
      end

      for n, back in ipairs(schema.diff(changed, before)) do
        local forth = differences[n]
        assert.same({ forth.object, OPPOSITE[forth.what] or forth.what, forth.to, forth.from },
          { back.object, back.what, back.from, back.to })
      end
    end)
  end

  it("all of them undone, is empty", function()
    assert.same({}, schema.diff(before, assert(schema.snapshot(conn))))
  end)
end)
