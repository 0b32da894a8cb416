-- What does borrowing a connection from a pool and giving it back cost, without any query?
--
-- Nothing is sent: the pool looks at the state of the session and keeps its books (who borrowed, where, since when).
-- The goals are absolute. SPDX-License-Identifier: MIT
return {
  order = 11,
  unit = "borrowing",
  operations = 200000,
  sql = "select 1",
  floor = "a stack of connections in C: pop one, PQstatus, PQtransactionStatus, push it",
}
