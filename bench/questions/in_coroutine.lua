-- How much is added when the query waits in a coroutine, as it does in an event loop?
--
-- The same work as one_row_prepared; the waiter yields, a scheduler polls and resumes.
-- SPDX-License-Identifier: MIT
return {
  order = 2,
  unit = "query",
  operations = 20000,
  sql = "select balance from luphant_bench.account where id = $1",
  floor = "PQexecPrepared for each key, each value touched",
}
