-- A CSV file into a table, with a progress bar: the server reads the CSV, and this side only passes bytes on, so memory
-- stays small and quoting is nobody's problem here. Without a file, one of a million rows is made.
--
--     DATABASE_URL=postgres:///postgres lua examples/import_csv.lua [people.csv | how many rows to make]
--
-- SPDX-License-Identifier: MIT

local luphant = require "luphant"
local progress = require "luphant.progress"

local function make_file(rows)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write "id,name,email,balance\n"
  for id = 1, rows do
    file:write(('%d,"Person, number %d",person%d@example.com,%d.%02d\n'):format(id, id, id, id % 5000, id % 100))
  end
  file:close()
  return path
end

local given = arg and arg[1]
local made = not (given and io.open(given)) and make_file(tonumber(given) or 1000000)
local file = assert(io.open(made or given, "rb"))
local size = file:seek "end"
file:seek "set"

local conn = assert(luphant.connect(os.getenv "DATABASE_URL"))
assert(conn:execute "create temp table people (id int primary key, name text, email text, balance numeric(10, 2))")

local w = assert(conn:copy_in("people", {
  format = "csv", header = true,
  progress = progress.bar { total = size, unit = "bytes", label = "people" },
}))
for piece in function() return file:read(65536) end do assert(w:write(piece)) end
local rows = assert(w:finish())

print(("%d rows from %d bytes"):format(rows, size))
print("sum of the balances: " .. conn:query_value "select sum(balance) from people")

-- One line the server cannot read, and none of the file is there.
w = assert(conn:copy_in("people", { format = "csv" }))
assert(w:write "-1,Ann,ann@example.com,1.00\n-2,Bob,bob@example.com,a lot\n")
local _, err = w:finish()
print(err.kind, err.context)
print(conn:query_value "select count(*) from people where id < 0")

file:close()
if made then os.remove(made) end
conn:close()
