-- The same through a portal, the next rows asked for before these are made into tables: is it cheaper?
-- SPDX-License-Identifier: MIT
return {
  order = 8.6,
  unit = "row",
  operations = 1,
  units = 200000, -- in one operation
  sql = "select id, big, title, code, active, ratio, at, price from generate_series(1, 200), luphant_bench.item",
  floor = "single-row mode, each value of each row touched",
  memory = true, -- how far it rose is told
}
