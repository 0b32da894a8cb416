-- What does it cost to pass the same SQL text each time, preparing nothing by hand?
--
-- The floor sends text and parameters each time (PQexecParams), which is what programs without prepared
-- statements do. luphant's statement cache makes one preparation of it.
-- SPDX-License-Identifier: MIT
return {
  order = 3,
  unit = "query",
  operations = 20000,
  sql = "select balance from luphant_bench.account where id = $1",
  floor = "PQexecParams with the SQL text for each key, each value touched",
}
