-- inside/answer.lua - bodies of answers, the same whoever asked the database; and what the locations call.
--
-- The timed locations answer with little of what was read, so that it is not JSON or the network that is measured; the
-- locations under /check/ with all of it. Numbers are told in one form: pgmoon makes numeric a Lua number, luphant the
-- exact digits.
--
-- SPDX-License-Identifier: MIT

local ngx = require "ngx"

local answer = {}

local PERSONS, ITEMS, WINDOW = 100000, 1000, 200

local random = math.random

local function number(value) return ("%.15g"):format(tonumber(value)) end

local function item_line(row)
  return table.concat({ number(row.id), number(row.big), row.title, row.code, tostring(row.active), number(row.ratio),
    row.at, number(row.price) }, "|")
end

local function print_person(row)
  ngx.print(row.id, "|", row.name, "|", row.email, "|", number(row.balance), "|", tostring(row.active), "\n")
end

local function asked_id() return tonumber(ngx.var.arg_id) end

--- What the locations of nginx call, for a service with `person(id)`, `items(first, last)` and `nap(seconds)`.
---@param service table
---@return table
function answer.locations(service)
  local locations = {}
  function locations.one()
    local row = service.person(random(PERSONS))
    ngx.print(row.id, " ", row.name, "\n")
  end
  function locations.rows()
    local first = random(ITEMS - WINDOW + 1)
    local rows = service.items(first, first + WINDOW - 1)
    ngx.print(#rows, " ", rows[1].title, " ", rows[WINDOW].title, "\n")
  end
  function locations.slow()
    service.nap(0.05)
    ngx.print("slept\n")
  end
  function locations.check_one() print_person(service.person(asked_id())) end
  function locations.check_rows()
    local lines, first = {}, asked_id()
    for i, row in ipairs(service.items(first, first + WINDOW - 1)) do lines[i] = item_line(row) end
    ngx.print(table.concat(lines, "\n"), "\n")
  end
  return locations
end

return answer
