-- The shapes rows come in, at their edges: NULLs first, names that repeat or look odd, no column, as many columns as a
-- query can have, no row.

local luphant = require "luphant"
local values = require "spec.support.values"

local NULL = luphant.NULL

describe("rows", function()
  local conn
  setup(function() conn = values.connect() end)
  teardown(function() conn:close() end)

  local SQL = "select * from (values (null::int, 'a', null::text), (2, null, 'b')) x(n, t, u)"

  it("are tables by name, sequences, or columns; NULL is absent by name and luphant.NULL by position", function()
    assert.same({ { t = "a" }, { n = 2, u = "b" } }, assert(conn:query { SQL, rows = "named" }))
    assert.same({ { NULL, "a", NULL }, { 2, NULL, "b" } }, assert(conn:query { SQL, rows = "array" }))
    assert.same({ n = { NULL, 2 }, t = { "a", NULL }, u = { NULL, "b" } }, assert(conn:query { SQL, rows = "columns" }))
    assert.same({ NULL, 2 }, assert(conn:query_column(SQL)))
    for _, style in ipairs { "named", "array", "columns" } do
      local other = values.connect { rows = style }
      assert.same(assert(conn:query { SQL, rows = style }), assert(other:query(SQL)))
      assert.same(assert(conn:query { SQL, rows = "array" }), assert(other:query { SQL, rows = "array" }))
      other:close()
    end
  end)

  it("one by one follow the same style", function()
    local one = "select null as a, 1 as b"
    assert.same({ b = 1 }, assert(conn:query_one(one)))
    assert.same({ NULL, 1 }, assert(conn:query_one { one, rows = "array" }))
    assert.same({ NULL, 1 }, assert(conn:query_opt { one, rows = "array" }))
    local value, err = conn:query_value(one)
    assert.is_nil(value)
    assert.is_nil(err)
    assert.is_nil((conn:query_opt(one .. " where false")))
    value, err = conn:query_one(one .. " where false")
    assert.is_nil(value)
    assert.equal("no_rows", err.kind)
    value, err = conn:query_one(SQL)
    assert.is_nil(value)
    assert.equal("too_many_rows", err.kind)
  end)

  it("of the iterator do not end at a NULL in the first column", function()
    local seen = {}
    for n, t, u in conn:values(SQL) do seen[#seen + 1] = { n, t, u } end
    assert.same({ { NULL, "a", NULL }, { 2, NULL, "b" } }, seen)
    local count = 0
    for v in conn:values "select null from generate_series(1, 100)" do
      count = count + 1
      assert.equal(NULL, v)
    end
    assert.equal(100, count)
  end)

  it("of the iterator may be left, and the connection is free for others within the loop", function()
    for n in conn:values "select generate_series(1, 10)" do
      assert.equal(n * 2, conn:query_value("select $1::int * 2", n))
      if n == 3 then break end
    end
    local next_row = conn:values "select generate_series(1, 2)"
    assert.equal(1, next_row())
    assert.equal(2, next_row())
    assert.is_nil(next_row())
    assert.is_nil(next_row())
  end)

  it("with a name twice keep the later column, also when it is NULL", function()
    assert.same({ { a = 2 } }, assert(conn:query "select 1 as a, 2 as a"))
    assert.same({ {} }, assert(conn:query "select 1 as a, null as a"))
    assert.same({ { a = 1 } }, assert(conn:query "select null as a, 1 as a"))
    assert.same({ { a = 3, b = 0 }, { b = 0 } },
      assert(conn:query "select 1 as a, 0 as b, case when n = 1 then 3 end as a from generate_series(1, 2) n"))
    assert.same({ a = 2 }, assert(conn:query_one "select 1 as a, 2 as a"))
    assert.same({ a = { 2, 2 } }, assert(conn:query { "select 1 as a, 2 as a from generate_series(1, 2)",
      rows = "columns" }))
    assert.same({ { 1, 2 } }, assert(conn:query { "select 1 as a, 2 as a", rows = "array" }))
    local columns = assert(conn:query "select 1 as a, 2 as a").columns
    assert.equal("a", columns[1].name)
    assert.equal("a", columns[2].name)
  end)

  it("keep any name a column can have", function()
    for _, name in ipairs { "end", "with space", 'quote"d', "back\\slash", "é", "new\nline", "1", "%s", "self", "]]",
      "$1" } do
      local rows = assert(conn:query(('select 5 as "%s", null as x from generate_series(1, 2)'):format((name:gsub('"',
        '""')))))
      assert.same({ { [name] = 5 }, { [name] = 5 } }, rows)
      assert.equal(name, rows.columns[1].name)
    end
    assert.same({ { ["?column?"] = 1 } }, assert(conn:query "select 1"))
  end)

  it("may have no column at all", function()
    local rows = assert(conn:query "select")
    assert.same({ {} }, rows)
    assert.equal(1, rows.affected)
    assert.same({}, rows.columns)
    assert.same({ {}, {}, {} }, assert(conn:query "select from generate_series(1, 3)"))
    assert.same({ {}, {} }, assert(conn:query { "select from generate_series(1, 2)", rows = "array" }))
    assert.same({}, assert(conn:query { "select from generate_series(1, 2)", rows = "columns" }))
    assert.same({}, assert(conn:query_one "select"))
    assert.equal(3, conn:execute "select from generate_series(1, 3)")
    for _ in conn:values "select" do error "a row without values ends the loop" end
    local value, err = conn:query_value "select"
    assert.is_nil(value)
    assert.equal("usage", err.kind)
    value, err = conn:query_column "select"
    assert.is_nil(value)
    assert.equal("usage", err.kind)
  end)

  it("may have as many columns as a query can", function()
    local columns = {}
    for i = 1, 1600 do columns[i] = (i % 7 == 0 and "null" or tostring(i)) .. " as c" .. i end
    local sql = "select " .. table.concat(columns, ", ") .. " from generate_series(1, 3)"
    for _, format in ipairs(values.formats) do
      local wide = values.connect { result_format = format }
      local named, listed = assert(wide:query(sql)), assert(wide:query { sql, rows = "array" })
      local by_column = assert(wide:query { sql, rows = "columns" })
      assert.equal(1600, #named.columns)
      local iterated = { wide:values(sql)() }
      assert.equal(1600, #iterated)
      for i = 1, 1600 do
        local expected = i % 7 ~= 0 and i or nil
        for row = 1, 3 do
          assert.equal(expected, named[row]["c" .. i])
          assert.equal(expected or NULL, listed[row][i])
          assert.equal(expected or NULL, by_column["c" .. i][row])
        end
        assert.equal(expected or NULL, iterated[i])
      end
      wide:close()
    end
  end)

  it("tell their columns, command and count", function()
    local rows = assert(conn:query("select 1::int8 as id, 'x'::text as name, null::int4[] as list where $1::bool",
      true))
    assert.same({ { name = "id", type = "bigint", oid = 20 }, { name = "name", type = "text", oid = 25 },
      { name = "list", type = "integer[]", oid = 1007 } }, rows.columns)
    if not values.is_luajit then assert.equal("20", tostring(rows.columns[1].oid)) end
    assert.equal("SELECT", rows.command)
    assert.equal(1, rows.affected)
    rows = assert(conn:query("select 1 where $1::bool", false))
    assert.same({}, rows)
    assert.equal(0, rows.affected)
    assert.equal(1, #rows.columns)
    assert(conn:script "drop table if exists counted; create table counted (n int)")
    rows = assert(conn:query "insert into counted select generate_series(1, 5)")
    assert.equal("INSERT", rows.command)
    assert.equal(5, rows.affected)
    rows = assert(conn:query "update counted set n = n + 1 where n > 2 returning n")
    assert.equal("UPDATE", rows.command)
    assert.equal(3, rows.affected)
    assert.equal(5, conn:execute "delete from counted")
    assert.equal(0, conn:execute "drop table counted")
  end)

  it("are many when there are many", function()
    local rows = assert(conn:query "select n, n::text as t from generate_series(1, 100000) n")
    assert.equal(100000, #rows)
    assert.same({ n = 77777, t = "77777" }, { n = rows[77777].n, t = rows[77777].t })
  end)

  it("of a script come one list a statement", function()
    local results = assert(conn:script "select 1 as a, null as b; select; create temp table s (n int); select * from s")
    assert.equal(4, #results)
    assert.same({ { a = 1 } }, results[1].rows)
    assert.same({ {} }, results[2].rows)
    assert.equal("CREATE TABLE", results[3].command)
    assert.is_nil(results[3].rows)
    assert.same({}, results[4].rows)
    assert.equal("n", results[4].columns[1].name)
  end)
end)
