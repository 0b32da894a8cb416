-- How dear is one row by its key, with a statement that was prepared once?
--
-- One integer comes back, as in pgbench's select-only script: what is left is the client's overhead per call.
-- SPDX-License-Identifier: MIT
return {
  order = 1,
  unit = "query",
  operations = 20000,
  sql = "select balance from luphant_bench.account where id = $1",
  floor = "PQexecPrepared for each key, each value touched",
}
