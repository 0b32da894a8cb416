-- lint rule unused-index: one more index where one is there that nobody reads.
--
-- SPDX-License-Identifier: MIT

local LEAST_DAYS = 7 -- of counting; a report that runs once a week has had its turn

-- The names of indexes that only cost: those that hold a promise (unique ones) do more than being read.
local function unread(relation)
  local names, is_any_read = {}, false
  for name, index in pairs(relation.indexes) do
    is_any_read = is_any_read or (index.reads or 0) > 0
    if index.reads == 0 and not index.unique and index.valid ~= false then names[#names + 1] = name end
  end
  table.sort(names)
  return is_any_read and names or {}
end

return {
  name = "unused-index", severity = "note", group = "compatibility", needs = "facts", exempts_new = true,
  title = "An index that nobody reads",
  message = "adds an index to {table}, where nobody has read {others} in {days} days",
  why = [[Every index is written with every row and read by nobody but queries that fit it. The server has counted
none for this one, while it has counted some for others of the table. Replicas count for themselves: ask them too.]],
  safe = "-- migrate:up transaction:false\n{drops}",
  bad = "-- migrate:up transaction:false\n"
    .. "create index concurrently if not exists orders_number_idx on orders (number);",
  facts = {
    counted_days = 30,
    indexes = { orders = {
      { name = "orders_status_idx", columns = { "status" }, valid = true, reads = 0 },
      { name = "orders_pkey", columns = { "id" }, valid = true, unique = true, reads = 10 },
    } },
  },
  statements = {
    ["create index"] = function(ddl, ctx, report)
      local relation = ctx.known:relation(ddl.table)
      local days = ctx.known.counted_days
      local names = relation and days >= LEAST_DAYS and unread(relation) or {}
      if #names == 0 then return end
      local drops = {}
      for i, name in ipairs(names) do drops[i] = ("drop index concurrently if exists %s;"):format(name) end
      report { others = table.concat(names, ", "), days = ("%.0f"):format(days), drops = table.concat(drops, "\n") }
    end,
  },
}
