-- How much is added when the query waits in a coroutine, as it does in an event loop?
--
-- The same work as one_row_prepared; the waiter yields, a scheduler polls and resumes.
-- SPDX-License-Identifier: MIT
return {
  order = 2,
  unit = "query",
  operations = 10000,
  sql = "select id, name, email from luphant_bench.account where id = $1",
  floor = "PQexecPrepared for each key, each value touched",
}
