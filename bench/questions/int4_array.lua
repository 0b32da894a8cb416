-- What does an array of 100 integers cost, read by key?
-- SPDX-License-Identifier: MIT
return {
  order = 10,
  unit = "query",
  operations = 15000,
  sql = "select samples from luphant_bench.series where id = $1",
  floor = "PQexecPrepared for each key, the array's text not taken apart",
}
