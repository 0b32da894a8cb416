-- And when their queries ride together on the 4 connections?
--
-- As tasks_16, but with `share = true`: the queries of different tasks are under way on the same connection at the same
-- time. The floor makes a round trip for each.
-- SPDX-License-Identifier: MIT
return {
  order = 15,
  unit = "query",
  operations = 20000,
  sql = "select balance from luphant_bench.account where id = $1",
  floor = "PQexecPrepared for each key, each value touched, one after the other on one connection",
}
