-- What do rows cost that go into a table in bulk, from tables that are made on the way?
--
-- One array for each column and 1000 rows in a statement; luphant by insert_many, from an iterator.
-- SPDX-License-Identifier: MIT
return {
  order = 9.2,
  unit = "row",
  operations = 100000,
  whole = true,
  sql = "insert into luphant_bench.event (id, name, amount)"
    .. " select * from unnest($1::int4[], $2::text[], $3::float8[])",
  floor = "PQexecPrepared with three array texts for every 1000 rows, written into buffers",
}
