-- A query as a CSV file, in constant memory: the server writes the CSV, a spreadsheet can open it. Then the same rows
-- as Lua values, for whoever wants to look at each.
--
--     DATABASE_URL=postgres:///postgres lua examples/export_csv.lua [out.csv]
--
-- SPDX-License-Identifier: MIT

local luphant = require "luphant"
local progress = require "luphant.progress"

local QUERY = [[
  select n as id, 'Person ' || n as name, date '1970-01-01' + n % 20000 as born, n / 100.0 as balance
  from generate_series(1, 200000) n]]

local db = assert(luphant.open(os.getenv "DATABASE_URL"))
local path = arg and arg[1] or os.tmpname()
local file = assert(io.open(path, "wb"))

local bytes = 0
local r = assert(db:copy_out(QUERY, {
  format = "csv", header = true, progress = progress.bar { total = 200000, label = "export" },
}))
for piece in r:chunks() do -- some 64 kB each, whole lines
  assert(file:write(piece))
  bytes = bytes + #piece
end
file:close()
print(("%d bytes"):format(bytes))

for line in io.lines(path) do
  print(line)
  if line:find "^2," then break end
end

local oldest
for id, _, born in assert(db:copy_out(QUERY)):values() do
  if not oldest or born < oldest.born then oldest = { id = id, born = born } end
end
print(("the oldest is %d, born %s"):format(oldest.id, oldest.born))

if not (arg and arg[1]) then os.remove(path) end
db:close()
