-- How dear is one row by its key, with a statement that was prepared once?
--
-- The usual short query. The server does most of it; what is left is the client's own overhead.
-- SPDX-License-Identifier: MIT
return {
  order = 1,
  unit = "query",
  operations = 10000,
  sql = "select id, name, email from luphant_bench.account where id = $1",
  floor = "PQexecPrepared for each key, each value touched",
}
