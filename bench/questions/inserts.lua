-- What do inserts cost that are made one by one inside a transaction?
--
-- Three parameters each: an integer, a short text, a float.
-- SPDX-License-Identifier: MIT
return {
  order = 9,
  unit = "statement",
  operations = 20000,
  writes = true,
  whole = true, -- for everyone: the check is a sum over all that was inserted
  sql = "insert into luphant_bench.event (id, name, amount) values ($1, $2, $3)",
  floor = "PQexecPrepared for each row, three parameters formatted into a buffer",
}
