-- A shop from empty tables to a report: users and products are imported from CSV files, orders are
-- placed in transactions, and what the database refuses is told in words.
--
--     ./dev demo                                        (makes a database for it)
--     DATABASE_URL=postgres:///shop lua examples/shop.lua   (after `luphant migrate up`)
--
-- The parts: shop/import.lua (rows in, refusals explained), shop/orders.lua (transactions),
-- shop/report.lua (queries), shop/csv.lua and shop/paper.lua (reading and printing).
--
-- SPDX-License-Identifier: MIT

local here = arg[0]:match "^(.*)/" or "."
package.path = here .. "/?.lua;" .. package.path

local luphant = require "luphant"
local import = require "shop.import"
local orders = require "shop.orders"
local report = require "shop.report"

local M = {}

--- Fills an empty shop and prints the report.
---@param conn table a connection
function M.run(conn)
  local data = here .. "/data"
  local files = { import.users(conn, data), import.products(conn, data) }
  report.imported(files)
  report.refused(files)

  report.sales(conn, orders.enter_sales(conn))
  report.orders(orders.place_all(conn, data))

  report.revenue(conn)
  report.exactness(conn)
  report.top_products(conn)
  report.low_stock(conn)
end

local function main()
  local conn = assert(luphant.connect(os.getenv "DATABASE_URL"))
  local rows, err = conn:query_value "select (select count(*) from users) + (select count(*) from products)"
  if not rows then
    error(("the tables of the shop are not here (%s); create them with `luphant migrate up`"):format(err.message), 0)
  end
  if rows ~= 0 then error("the shop has users or products already; this example wants empty tables", 0) end
  M.run(conn)
  conn:close()
end

-- demo.lua requires this file; started by itself it runs.
if ... == "shop" then return M end
main()
