-- How dear is one row of three columns, two of them strings, by its key, prepared?
--
-- As one_row_prepared, but what comes back has to be built: a table of three fields and two strings.
-- SPDX-License-Identifier: MIT
return {
  order = 4,
  unit = "query",
  operations = 20000,
  sql = "select id, name, email from luphant_bench.account where id = $1",
  floor = "PQexecPrepared for each key, each value touched",
}
