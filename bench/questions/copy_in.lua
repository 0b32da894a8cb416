-- What does it cost to put a million rows into a table with COPY?
--
-- An integer, a short text and a float each, made by the caller's loop; unlogged table, one COPY. luphant sends them in
-- the binary form it chooses by itself, which the server reads with less work, so wall time can be below the floor's.
-- SPDX-License-Identifier: MIT
return {
  order = 20,
  unit = "row",
  operations = 1000000,
  whole = true, -- for everyone: the check is a sum over all that was inserted
  writes = true,
  sql = "copy luphant_bench.event (id, name, amount) from stdin",
  floor = "rows of text formatted by hand into 64 kB, PQputCopyData",
}
