-- What does a query cost when 16 tasks ask over 4 connections?
--
-- Tasks of an event loop ask one after the other, each by key; each query borrows a connection of the pool for itself,
-- and waits for one when all are in use. The floor asks alone, on one connection.
-- SPDX-License-Identifier: MIT
return {
  order = 14,
  unit = "query",
  operations = 20000,
  sql = "select balance from luphant_bench.account where id = $1",
  floor = "PQexecPrepared for each key, each value touched, one after the other on one connection",
}
