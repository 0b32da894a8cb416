-- The same transaction with three round trips: how much is added to what they cost anyway?
--
-- BEGIN, UPDATE and COMMIT are statements of their own, prepared where they can be. SPDX-License-Identifier: MIT
return {
  order = 13,
  unit = "transaction",
  operations = 10000,
  sql = "update luphant_bench.account set balance = balance + 0 where id = $1",
  floor = "PQexec begin, PQexecPrepared, PQexec commit: three round trips",
}
