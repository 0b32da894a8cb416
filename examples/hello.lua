-- The shortest tour: connect, ask, and see an error as data.
--
--     DATABASE_URL=postgres:///postgres lua examples/hello.lua
--
-- SPDX-License-Identifier: MIT

local luphant = require "luphant"

local conn = assert(luphant.connect(os.getenv "DATABASE_URL"))

assert(conn:execute "create temp table animals (name text primary key, weight numeric, tags text[])")

local insert = "insert into animals values ($1, $2, $3)"
assert(conn:execute(insert, "elephant", "5400.25", { "grey", "trunk" })) -- numeric: exact, as a string
assert(conn:execute(insert, "fairy penguin", 1.2, nil)) -- nil is NULL

for _, animal in ipairs(assert(conn:query "select * from animals where weight > 1000")) do
  print(animal.name, animal.weight, table.concat(animal.tags, "+"))
end

local ok, err = conn:execute("insert into animals (name) values ($1)", "elephant")
if not ok then print(err.kind, err.constraint) end -- unique_violation  animals_pkey

conn:close()
