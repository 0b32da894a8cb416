-- diff, text, hash and JSON as functions of data: snapshots made by hand, no server.
--
-- SPDX-License-Identifier: MIT

local normal = require "luphant.schema.normal"
local schema = require "luphant.schema"

-- A snapshot with these families.
local function snapshot(families, scope)
  local out = { format = 1, server_version = 150000, scope = { owners = true, grants = true, comments = true } }
  for name, value in pairs(scope or {}) do out.scope[name] = value end
  for name, objects in pairs(families) do out[name] = objects end
  return out
end

local function users(columns, more)
  local object = { kind = "table", schema = "app", name = "users", columns = columns }
  for field, value in pairs(more or {}) do object[field] = value end
  return snapshot { tables = { ["app.users"] = object } }
end

local ID, NAME = { name = "id", type = "bigint" }, { name = "name", type = "text" }
local AGE = { name = "age", type = "integer" }

describe("schema.diff", function()
  it("lists object, kind, what, from and to, in the order of the families and of the names", function()
    local a = snapshot {
      schemas = { app = { name = "app", owner = "me" }, old = { name = "old" } },
      tables = { ["app.users"] = { kind = "table", columns = { ID, NAME } } },
    }
    local b = snapshot {
      schemas = { app = { name = "app", owner = "you" }, new = { name = "new" } },
      tables = {
        ["app.users"] = { kind = "table", columns = { ID, { name = "name", type = "citext", not_null = true } } },
      },
    }
    assert.same({
      { object = "app", kind = "schema", what = "owner", from = "me", to = "you" },
      { object = "new", kind = "schema", what = "added" },
      { object = "old", kind = "schema", what = "removed" },
      { object = "app.users.name", kind = "column", what = "not_null", to = true },
      { object = "app.users.name", kind = "column", what = "type", from = "text", to = "citext" },
    }, schema.diff(a, b))
  end)

  it("warns when columns stand in another order, and only then", function()
    local a, b = users { ID, NAME, AGE }, users { NAME, ID, AGE }
    assert.same({ {
      object = "app.users", kind = "table", what = "column order", warning = true,
      from = { "id", "name", "age" }, to = { "name", "id", "age" },
    } }, schema.diff(a, b))
    assert.equal(schema.hash(a), schema.hash(b))
    -- A column in between is another column, not another order.
    assert.same({ { object = "app.users.age", kind = "column", what = "added" } },
      schema.diff(users { ID, NAME }, users { ID, AGE, NAME }))
  end)

  it("takes the order of a composite type's attributes for what it is", function()
    local function pair(attributes)
      return snapshot { types = { ["app.pair"] = { kind = "composite type", attributes = attributes } } }
    end
    local a, b = pair { ID, NAME }, pair { NAME, ID }
    assert.same({ {
      object = "app.pair", kind = "composite type", what = "attribute order",
      from = { "id", "name" }, to = { "name", "id" },
    } }, schema.diff(a, b))
    assert.not_equal(schema.hash(a), schema.hash(b))
  end)

  it("compares grants by grantee, whatever the grantee is called", function()
    local a = users({ ID }, { grants = { comment = { "select" }, ["a.owner"] = { "select" } } })
    local b = users({ ID }, { grants = { comment = { "insert" }, ["a.owner"] = { "update" } } })
    local differences = schema.diff(a, b)
    assert.same({ "grants.a.owner", "grants.comment" }, { differences[1].what, differences[2].what })
    b.scope.comments, b.scope.owners = false, false
    assert.equal(2, #schema.diff(a, b))
    b.scope.grants = false
    assert.same({}, schema.diff(a, b))
  end)

  it("does not compare what belongs to no schema with a snapshot of chosen ones", function()
    local a = snapshot { extensions = { hstore = { name = "hstore", version = "1" } } }
    assert.equal(1, #schema.diff(a, snapshot {}))
    assert.same({}, schema.diff(a, snapshot({}, { schemas = { "app" } })))
  end)

  it("refuses what is no snapshot", function()
    assert.error_matches(function() schema.diff({}, snapshot {}) end,
      "bad argument #1 to 'diff' %(a snapshot of format 1")
    assert.error_matches(function() schema.diff(snapshot {}, 5) end, "bad argument #2 to 'diff'")
    assert.error_matches(function() schema.text { format = 2, scope = {} } end, "a snapshot of format 1 expected")
  end)
end)

describe("schema.hash", function()
  it("is told apart by each piece, not by how they are joined", function()
    local function with(comment, owner)
      return schema.hash(snapshot { schemas = { a = { name = "a", comment = comment, owner = owner } } })
    end
    assert.not_equal(with("x", "y"), with("xy", nil))
    assert.not_equal(with("x\n5:owner1:y", nil), with("x", "y"))
    assert.not_equal(with({ "a", "b" }), with({ "a,b" }))
    assert.not_equal(with({ "a" }), with("a"))
    assert.equal(64, #with "x")
  end)

  it("does not depend on the server's version", function()
    local a, b = users { ID }, users { ID }
    b.server_version = 180000
    assert.equal(schema.hash(a), schema.hash(b))
  end)
end)

describe("schema.text", function()
  it("is one block for each object and one line for each short member", function()
    local one = users({ ID, { name = "name", type = "text", not_null = true, comment = "two\nlines" } }, {
      owner = "me", options = { "fillfactor=70", "a,b" },
      constraints = { users_pkey = { type = "primary key", columns = { "id" }, definition = "PRIMARY KEY (id)" } },
    })
    assert.equal([[
table app.users
  options: [fillfactor=70, "a,b"]
  owner: me
  column id: bigint
  column name
    text
    comment:
      | two
      | lines
    not_null
  constraint users_pkey: PRIMARY KEY (id)
]], schema.text(one))
    assert.equal("", schema.text(snapshot {}))
  end)

  it("of differences shows the lines that differ", function()
    local function view(definition)
      return snapshot { views = { ["app.v"] = { kind = "view", definition = definition } } }
    end
    assert.equal("~ view app.v: definition\n    -   b\n    +   c\n    +   d\n",
      schema.diff_text(schema.diff(view "select\n  a,\n  b\nfrom t", view "select\n  a,\n  c\n  d\nfrom t")))
    assert.equal("", schema.diff_text {})
  end)
end)

describe("schema.from_json", function()
  it("refuses what to_json did not write, saying why", function()
    local nothing, err = schema.from_json "{"
    assert.is_nil(nothing)
    assert.equal("schema_invalid", err.kind)
    assert.equal("usage", err.class)
    for _, text in ipairs { "5", "[]", "null", '{"format": 1}', '{"format": 1, "scope": 5}' } do
      nothing, err = schema.from_json(text)
      assert.is_nil(nothing, text)
      assert.equal("schema_invalid", err.kind)
    end
    err = select(2, schema.from_json '{"format": 7, "scope": {}}')
    assert.truthy(err.message:find("its format is 7, this luphant reads 1", 1, true), err.message)
  end)

  it("keeps every byte of a text", function()
    local one = users { { name = "Ä \"x\"\\\n\t\1/", type = "t", not_null = true, statistics = 5 } }
    local back = assert(schema.from_json(schema.to_json(one)))
    assert.equal(one.tables["app.users"].columns[1].name, back.tables["app.users"].columns[1].name)
    assert.equal(schema.to_json(one), schema.to_json(back))
    assert.equal(schema.hash(one), schema.hash(back))
  end)
end)

describe("the lasting spelling of an expression", function()
  it("has casts inside of arrays", function()
    assert.equal("((a)::text = ANY (ARRAY[('x'::character varying)::text, ('y'::character varying)::text]))",
      normal "((a)::text = ANY ((ARRAY['x'::character varying, 'y'::character varying])::text[]))")
    assert.equal("ARRAY[(f(a, b[1]))::numeric(10,2)]", normal "(ARRAY[f(a, b[1])])::numeric(10,2)[]")
    assert.equal('ARRAY[(\'], (\'::text)::app."My type", (b)::app."My type"] || x',
      normal '(ARRAY[\'], (\'::text, b])::app."My type"[] || x')
    assert.equal("ARRAY[(1)::t] and ARRAY[(2)::t]", normal "(ARRAY[1])::t[] and (ARRAY[2])::t[]")
  end)

  it("leaves everything else as it is", function()
    for _, text in ipairs {
      "", "a > 5", "ARRAY[1, 2]", "(ARRAY[1, 2])[1]", "'(ARRAY[1])::text[]'::text", '"(ARRAY[1])::text[]"',
      "(ARRAY[ARRAY[1], ARRAY[2]])::text[]", "E'\\'(ARRAY[1])::text[]'", "(ARRAY[1", "(ARRAY['x",
      "'it''s (ARRAY[1])::text[]'",
    } do
      assert.equal(text, normal(text))
    end
  end)
end)
