-- How dear are 200,000 rows of 8 mixed columns, as tables, that are never all in memory?
-- SPDX-License-Identifier: MIT
return {
  order = 8.5,
  unit = "row",
  operations = 1,
  units = 200000, -- in one operation
  sql = "select id, big, title, code, active, ratio, at, price from generate_series(1, 200), luphant_bench.item",
  floor = "single-row mode, each value of each row touched",
  memory = true, -- how far it rose is told
}
