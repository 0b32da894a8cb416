-- luphant.testing.migrations.race - two runners at once on an empty database: each migration is applied exactly once.
--
-- SPDX-License-Identifier: MIT

local scratch = require "luphant.migrate.scratch"
local shell = require "luphant.testing.shell"
local worker = require "luphant.testing.migrations.worker"

local M = {}

local TWICE = [[
select coalesce(string_agg(version || ' (' || count || ' times)', ', ' order by version), '') from (
  select version, count(*) from %s where action in ('apply', 'baseline') group by kind, version having count(*) > 1) t]]

local function start_both(self, s)
  local job = {
    dir = self.dir, ignore = self.options.ignore, values = self.options.values, schema = self.options.schema,
    count = #self.list,
  }
  local first, path = worker.command(s, job)
  local second, other = worker.command(s, job)
  local output = shell.run(("(%s) & a=$!; (%s) & b=$!; wait $a; x=$?; wait $b; echo \"codes $x $?\""):format(first,
    second))
  os.remove(path)
  os.remove(other)
  return output or ""
end

--- Runs both.
---@param self luphant.testing.migrations.Context
---@param final luphant.schema.Snapshot? what they have to make together
---@return true?
---@return luphant.error?
function M.run(self, final)
  return scratch.with(self.target, function(s)
    local output = start_both(self, s)
    if not output:find "codes 0 0$" then
      self:find("error", nil, "two runners at once: " .. output)
      return true
    end
    local twice, err = s:with(function(conn) return conn:query_value(TWICE:format(self.options.place.events)) end)
    if not twice then return nil, err end
    if twice ~= "" then self:find("error", nil, "two runners at once applied twice: " .. twice) end
    if final then self:compare(nil, final, self:snapshot(s), "two runners at once make something else than one") end
    return true
  end)
end

return M
