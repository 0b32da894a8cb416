-- lint rule discouraged-type: types that are regretted later.
--
-- SPDX-License-Identifier: MIT

local function never(type, why, instead) return { type = type, why = why, instead = instead } end

local TYPES = {
  money = never("money", "its value changes with a setting of the server (lc_monetary), and it knows no currency",
    "numeric(12, 2)"),
  json = never("json", "it cannot be compared, so DISTINCT, GROUP BY and UNION fail, and each use parses it again",
    "jsonb"),
  ["timestamp without time zone"] = never("timestamp", "nobody can tell which moment it means", "timestamptz"),
  ["time with time zone"] = never("timetz", "a time zone without a date says nothing about summer time", "timestamptz"),
  character = never("char(n)", "it is filled up with blanks, which some comparisons count and others do not", "text"),
  serial = never("serial", "its sequence has rights and an owner of its own, and it ends at 2147483647",
    "bigint generated always as identity"),
  bigserial = never("bigserial", "its sequence has rights and an owner of its own",
    "bigint generated always as identity"),
}
local SMALL = { integer = true, smallint = true }

local function is_key(ddl, column)
  for _, constraint in ipairs(ddl.constraints or column.constraints) do
    if constraint.kind == "primary_key" and #constraint.columns == 1 and constraint.columns[1] == column.name then
      return true
    end
  end
  return false
end

local function check(column, ddl, report)
  local found = TYPES[column.type.base]
  if not found and SMALL[column.type.base] and is_key(ddl, column) then
    found = never("a primary key of type " .. column.type.base, "it ends at a number that a busy table reaches, and "
      .. "changing the type then means writing the whole table again", "bigint")
  end
  if found then
    report({ column = column.name, found = found.type, reason = found.why, instead = found.instead }, nil, column)
  end
end

return {
  name = "discouraged-type", severity = "warning", group = "hygiene",
  title = "Types that are regretted later",
  message = "{column}: {found}: {reason}",
  why = [[It is easy to choose another type today, and costs a rewrite of the table later.]],
  safe = "-- for that column\n{column} {instead}",
  bad = "create table visits (id bigint primary key, at timestamp not null);",
  good = { "create table visits (id bigint generated always as identity primary key, at timestamptz, doc jsonb);" },
  is_fragment = true, -- its safe way is no statement
  statements = {
    ["create table"] = function(ddl, _, report)
      for _, column in ipairs(ddl.columns or {}) do check(column, ddl, report) end
    end,
  },
  actions = {
    -- serial has a rule of its own there.
    add_column = function(action, ddl, _, report)
      if not action.definition.type.base:find "serial$" then check(action.definition, ddl, report) end
    end,
  },
}
