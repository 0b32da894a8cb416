-- Sales, and the orders of orders.csv: each order is one transaction, so it is either in the database
-- as a whole, with its lines, its total and the goods taken off the shelf, or not at all.
--
-- SPDX-License-Identifier: MIT

local csv = require "shop.csv"

local M = {}

local SALES = {
  { name = "Spring cleaning", from = "2024-03-15", till = "2024-04-01", percent = "12.5" },
  { name = "Summer", from = "2024-06-10", till = "2024-06-24", percent = "20" },
  { name = "Midsummer", from = "2024-06-20", till = "2024-06-25", percent = "30" }, -- overlaps: refused
}

--- Enters the sales; the exclusion constraint keeps them apart.
---@return table[] refused
function M.enter_sales(conn)
  local refused = {}
  for _, sale in ipairs(SALES) do
    local period = { lower = sale.from .. "T00:00:00Z", upper = sale.till .. "T00:00:00Z", bounds = "[)" }
    local ok, err = conn:execute("insert into sales (name, period, percent) values ($1, $2, $3)",
      sale.name, period, sale.percent)
    if not ok then
      if err.constraint ~= "sales_no_overlap" then error(err, 0) end
      refused[#refused + 1] = sale.name
    end
  end
  return refused
end

-- Consecutive records with the same number are the lines of one order.
local function read(path)
  local header, records = csv.read(path)
  assert(table.concat(header, " ") == "number email placed_at status sku quantity", path .. ": unknown columns")
  local orders = {}
  for _, record in ipairs(records) do
    local order = orders[#orders]
    if not order or order.number ~= record[1] then
      order = {
        number = record[1], email = record[2], placed_at = record[3], status = record[4],
        at = record.line, lines = {},
      }
      orders[#orders + 1] = order
    end
    order.lines[#order.lines + 1] = { sku = record[5], quantity = tonumber(record[6]) }
  end
  return orders
end

-- Reasons to refuse an order that only this program knows.
local function refusal(kind, ...)
  return { kind = kind, message = (...):format(select(2, ...)) }
end

-- One line: the product's row is locked first, so nobody else can sell the same pieces meanwhile.
local function add_line(tx, order, order_id, index, line)
  local product, err = tx:query_opt("select id, price, stock from products where sku = $1 for update", line.sku)
  if err then return nil, err end
  if not product then return nil, refusal("unknown_product", "there is no product %s", line.sku) end
  if line.quantity > product.stock then
    return nil, refusal("out_of_stock", "%s: %d ordered, %d in stock", line.sku, line.quantity, product.stock)
  end
  local ok
  ok, err = tx:execute([[
    insert into order_lines (order_id, line, product_id, quantity, unit_price)
    values ($1, $2, $3, $4, sale_price($5, $6))]],
    order_id, index, product.id, line.quantity, product.price, order.placed_at)
  if not ok then return nil, err end
  return tx:execute("update products set stock = stock - $2 where id = $1", product.id, line.quantity)
end

-- Everything an order does, inside its transaction. `nil, err` undoes all of it.
local function place(tx, order)
  local id, err = tx:query_value([[
    insert into orders (number, user_id, status, ship_to, placed_at)
    select $1, id, $3, address, $4 from users where lower(email) = lower($2)
    returning id]], order.number, order.email, order.status, order.placed_at)
  if not id then
    if err.kind == "no_rows" then err = refusal("unknown_customer", "there is no customer %s", order.email) end
    return nil, err
  end
  for index, line in ipairs(order.lines) do
    local ok, why = add_line(tx, order, id, index, line)
    if not ok then return nil, why end
  end
  return tx:execute([[
    update orders set total = (select sum(amount) from order_lines where order_id = $1) where id = $1]], id)
end

-- What an order could leave behind, in numbers.
local function ledger(conn)
  return assert(conn:query_one [[
    select (select count(*) from orders) as orders, (select count(*) from order_lines) as lines,
           (select sum(stock) from products) as pieces]])
end

--- Places all orders of the file.
---@return table report
function M.place_all(conn, dir)
  local orders = read(dir .. "/orders.csv")
  local report = { file = "orders.csv", orders = #orders, placed = 0, lines = 0, refused = {} }
  for _, order in ipairs(orders) do
    local before = ledger(conn)
    local ok, err = conn:transaction(function(tx) return place(tx, order) end)
    if ok then
      report.placed, report.lines = report.placed + 1, report.lines + #order.lines
    else
      report.refused[#report.refused + 1] = {
        file = "orders.csv", line = order.at, value = order.number, error = err, lines = #order.lines,
        before = before, after = ledger(conn),
      }
    end
  end
  return report
end

return M
