-- What does an array of 100 integers cost, read by key?
-- SPDX-License-Identifier: MIT
return {
  order = 9,
  unit = "query",
  operations = 10000,
  sql = "select id, samples from luphant_bench.series where id = $1",
  floor = "PQexecPrepared for each key, the array's text not taken apart",
}
