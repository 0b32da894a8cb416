-- The report of the shop example: what came in, what was refused and why, what was sold.
--
-- Money arrives from PostgreSQL as exact decimal strings and is printed as it came: sums are the
-- database's business, no float ever touches them.
--
-- SPDX-License-Identifier: MIT

local import = require "shop.import"
local paper = require "shop.paper"

local M = {}

local text = tostring

--- How many rows came in.
function M.imported(reports)
  paper.heading "Import"
  local rows = {}
  for _, report in ipairs(reports) do
    rows[#rows + 1] = { report.file, text(report.rows), text(report.imported), text(#report.refused) }
  end
  paper.table({ "file", ">rows", ">imported", ">refused" }, rows)
end

--- The refused rows of the files, each with its line and the reason.
function M.refused(reports)
  paper.heading "Refused rows"
  local rows = {}
  for _, report in ipairs(reports) do
    for _, refused in ipairs(report.refused) do
      rows[#rows + 1] = {
        ("%s:%d"):format(refused.file, refused.line), paper.clip(refused.value, 28), refused.why,
      }
    end
  end
  paper.table({ "where", "which", "why" }, rows)
end

-- Equal before and after: the order left nothing.
local function same(a, b)
  return a.orders == b.orders and a.lines == b.lines and a.pieces == b.pieces
end

local function proof(refused)
  local rows = {}
  for _, name in ipairs { "orders", "lines", "pieces" } do
    rows[#rows + 1] = { ({ orders = "orders", lines = "order lines", pieces = "pieces on the shelves" })[name],
      text(refused.before[name]), text(refused.after[name]) }
  end
  print(("\n  Order %s failed at its line %d; the database before and after it:\n")
    :format(refused.value, refused.lines))
  paper.table({ "", ">before", ">after" }, rows)
  print("\n  " .. (same(refused.before, refused.after) and paper.style("green", "no trace left")
    or paper.style("red", "SOMETHING WAS LEFT BEHIND")))
end

--- The sales, and those that could not be.
function M.sales(conn, refused)
  paper.heading "Sales"
  for name, period, percent in conn:values "select name, period, percent from sales order by period" do
    print(("  %s: %s %% off from %s until %s"):format(name, percent, period.lower:sub(1, 10), period.upper:sub(1, 10)))
  end
  for _, name in ipairs(refused) do
    print(("  %s: refused, because it overlaps another one"):format(name))
  end
end

--- Orders placed and refused, with the proof that a failed one leaves no trace.
function M.orders(report)
  paper.heading "Orders"
  print(("  %d of %d orders placed, %d lines; %d refused:"):format(report.placed, report.orders, report.lines,
    #report.refused))
  local rows, scarce, traces = {}, nil, 0
  for _, refused in ipairs(report.refused) do
    rows[#rows + 1] = { ("%s:%d"):format(refused.file, refused.line), refused.value, import.explain(refused.error) }
    if refused.error.kind == "out_of_stock" then scarce = refused end
    if not same(refused.before, refused.after) then traces = traces + 1 end
  end
  print()
  paper.table({ "where", "order", "why" }, rows)
  if scarce then proof(scarce) end
  if traces > 0 then error(traces .. " refused orders left something behind", 0) end
end

--- Revenue per month and category, with both kinds of totals.
function M.revenue(conn)
  paper.heading "Revenue (EUR)"
  local categories = assert(conn:query_value "select enum_range(null::product_category)")
  local cells = assert(conn:query [[
    select coalesce(to_char(month, 'YYYY-MM'), 'total') as month, coalesce(category::text, 'total') as category,
           sum(revenue) as revenue
      from monthly_revenue
     group by cube (month, category)
     order by grouping(month), 1]])
  local titles, rows, row_of = { "month" }, {}, {}
  for i, category in ipairs(categories) do titles[i + 1] = ">" .. category end
  titles[#titles + 1] = ">total"
  for _, cell in ipairs(cells) do
    local row = row_of[cell.month]
    if not row then
      row = { cell.month }
      for i = 2, #titles do row[i] = "-" end
      row_of[cell.month], rows[#rows + 1] = row, row
    end
    for i = 2, #titles do
      if titles[i] == ">" .. cell.category then row[i] = cell.revenue end
    end
  end
  paper.table(titles, rows)
end

--- Exact money beside the same sum in floating point.
function M.exactness(conn)
  local exact = assert(conn:query_value "select sum(amount) from order_lines")
  local float = 0
  for amount in conn:values "select amount from order_lines order by order_id, line" do
    float = float + tonumber(amount)
  end
  print(("\n  Sum of all lines as numeric: %s; added up in floating point: %.17g"):format(exact, float))
end

--- What sells best; arrays and jsonb come as Lua tables.
function M.top_products(conn)
  paper.heading "Best sellers"
  local rows = {}
  for i, product in ipairs(assert(conn:query [[
    select p.name, p.tags, p.attributes, sum(l.quantity) as pieces, sum(l.amount) as revenue
      from products p join order_lines l on l.product_id = p.id
     group by p.id
     order by sum(l.amount) desc, p.sku
     limit 8]])) do
    local weight = product.attributes.weight_g
    rows[i] = {
      text(i), product.name, text(product.pieces), product.revenue,
      weight and weight .. " g" or "", table.concat(product.tags, ", "),
    }
  end
  paper.table({ ">", "product", ">pieces", ">revenue", ">weight", "tags" }, rows)
end

--- What to order again.
function M.low_stock(conn)
  local count = assert(conn:query_value "select count(*) from low_stock")
  paper.heading(("Running low (8 of %d)"):format(count))
  local rows = {}
  for i, product in ipairs(assert(conn:query "select * from low_stock order by stock, sold desc, sku limit 8")) do
    rows[i] = { product.sku, product.name, product.category, text(product.stock), text(product.sold) }
  end
  paper.table({ "sku", "product", "category", ">stock", ">sold" }, rows)
end

return M
