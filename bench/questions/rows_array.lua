-- How dear are 1,000 rows of 8 mixed columns as positional tables?
-- SPDX-License-Identifier: MIT
return {
  order = 6,
  unit = "row",
  operations = 150,
  units = 1000, -- in one operation
  sql = "select id, big, title, code, active, ratio, at, price from luphant_bench.item order by id",
  floor = "PQexecPrepared, each value of each row touched",
}
