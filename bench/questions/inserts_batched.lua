-- What do inserts cost that go out together, in one batch?
--
-- The same statement and values as in `inserts`, all of them before one Sync.
-- SPDX-License-Identifier: MIT
return {
  order = 9.1,
  unit = "statement",
  operations = 100000,
  whole = true,
  sql = "insert into luphant_bench.event (id, name, amount) values ($1, $2, $3)",
  floor = "pipeline mode: PQsendQueryPrepared for each row, answers taken every 256, one Sync",
}
