-- The same in the form `via = "rows"`, one result of libpq for each row (64 rows with libpq 17): what does that cost?
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
