-- lint rule duplicate-index: the same index under another name.
--
-- SPDX-License-Identifier: MIT

local function same(a, b)
  if not a or not b then return false end
  local function bare(text) return (text:lower():gsub("using%s+btree", ""):gsub("%s+", "")) end
  return bare(a) == bare(b)
end

return {
  name = "duplicate-index", severity = "warning", group = "compatibility", needs = "folder",
  title = "An index that is there already",
  message = "indexes the same as {other}",
  why = [[Both are written with every row, and one of them is never read.]],
  advice = "Leave it out.",
  bad = "-- migrate:up transaction:false\n"
    .. "create index concurrently if not exists orders_customer_idx on orders (customer_id);",
  statements = {
    ["create index"] = function(ddl, ctx, report)
      local relation = ctx.known:relation(ddl.table)
      for name, index in pairs(relation and relation.indexes or {}) do
        local is_same = same(index.definition, ddl.definition) and (index.unique or false) == (ddl.unique or false)
        if is_same and not (ddl.name and ddl.name.name == name) then
          report { other = name }
          return
        end
      end
    end,
  },
}
