-- What does it cost to read a million rows of COPY as bytes, in pieces of whole lines?
-- SPDX-License-Identifier: MIT
return {
  order = 21,
  unit = "row",
  operations = 1000000, -- rows
  needs = [[create unlogged table if not exists luphant_bench.copied as
    select i as id, 'event number ' || i % 1000 as name, i + 0.25::float8 as amount
    from generate_series(1, 1000000) i]],
  sql = "select id, name, amount from luphant_bench.copied limit %d",
  floor = "PQgetCopyData, the length of each line added up",
}
