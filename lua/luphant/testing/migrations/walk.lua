-- luphant.testing.migrations.walk - each migration up, down and up again, with rows in the tables, and its traces
-- looked for in the catalog.
--
-- The way back is tried on a copy of the database, so that one that fails does not spoil the rest of the walk.
--
-- SPDX-License-Identifier: MIT

local fixtures = require "luphant.testing.migrations.fixtures"
local scratch = require "luphant.migrate.scratch"

local M = {}

local function fixture(self, s, migration, part)
  local ok, why = s:with(function(conn) return fixtures.run(self.fixtures, migration, part, conn) end)
  if ok then return true end
  self:find("error", migration, ("the rows of the test: %s"):format(tostring(why)))
  return false
end

-- On a copy that is dropped afterwards.
local function on_copy(s, fn)
  local copy, err = s:copy()
  if not copy then error(err, 0) end
  local fine, answer = pcall(fn, copy)
  copy:close()
  if not fine then error(answer, 0) end
end

-- A database without rows can be made again: the way there and back is gone on it, and only when that did not end where
-- it should it is made anew. Rows of the test would be lost with their tables, so then it is a copy.
local function aside(self, place, count, fn)
  if next(self.fixtures) then return on_copy(place.s, fn) end
  if fn(place.s) then return end
  place.s:close()
  local s, err = scratch.open(self.target)
  if not s then error(err, 0) end
  place.s = s
  local done
  done, err = self:up(s, count)
  if not done then error(err, 0) end
end

local function has_way_back(migration)
  return migration.down ~= nil or (migration.script ~= nil and migration.script.down ~= nil)
end

-- ---- one migration ------------------------------------------------------------------------------------------

-- These answer true when they end where they should.

local function and_up_again(self, s, i, after)
  local migration = self.list[i]
  local done, err = self:up(s, i)
  if not done then
    return self:find("error", migration, "cannot be applied again after it was taken back: " .. tostring(err))
  end
  local is_same = self:compare(migration, after, self:snapshot(s), "applied a second time it makes something else")
  return fixture(self, s, migration, "after") and is_same
end

local function back(self, place, i, before, after)
  local migration = self.list[i]
  aside(self, place, i, function(s)
    local done, err = self:down(s, i)
    if not done then return self:find("error", migration, "the way back fails: " .. tostring(err)) end
    self.downs = self.downs + 1
    local is_same = self:compare(migration, before, self:snapshot(s),
      "the way back leaves something else than was there")
    return is_same and fixture(self, s, migration, "down") and and_up_again(self, s, i, after)
  end)
end

-- A repeatable one is run again whenever its text changes: over itself.
local function again(self, place, i, after)
  local migration = self.list[i]
  aside(self, place, i, function(s)
    assert(s:with(function(conn)
      return conn:execute(("update %s set checksum = '' where kind = 'repeatable' and version = $1")
        :format(self.options.place.migrations), migration.version)
    end))
    local done, err = self:up(s, i)
    if not done then
      return self:find("error", migration, "is repeatable, but cannot be run again: " .. tostring(err))
    end
    return self:compare(migration, after, self:snapshot(s), "run a second time it makes something else")
  end)
end

local function judge_way_back(self, place, i, before, after)
  local migration = self.list[i]
  if migration.kind == "repeatable" then return again(self, place, i, after) end
  if migration.kind ~= "versioned" or migration.irreversible then return end
  if has_way_back(migration) then return back(self, place, i, before, after) end
  self:find("warning", migration, "has no way back; write migrate:down, or say irreversible where that is meant")
end

-- Answers the snapshot afterwards, or nil when nothing can follow.
local function step(self, place, i, before)
  local migration, s = self.list[i], place.s
  if not fixture(self, s, migration, "before") then return nil end
  local done, err = self:up(s, i)
  if not done then
    self:find("error", migration, "cannot be applied: " .. tostring(err))
    return nil
  end
  self:emit {
    event = "migrated", phase = self.phase, kind = migration.kind, version = migration.version, name = migration.name,
    duration_ms = done[1] and done[1].duration_ms, covered = #done == 0 or nil,
  }
  if #done == 0 then return before end
  local after = self:snapshot(s)
  if not fixture(self, s, migration, "after") then return nil end
  if self:wants(migration) then judge_way_back(self, place, i, before, after) end
  return after
end

-- ---- all of them --------------------------------------------------------------------------------------------

-- The last one that cannot be taken back, where the long way down has to end.
local function floor_of(self, count)
  for i = count, 1, -1 do
    local migration = self.list[i]
    if migration.kind ~= "repeatable" and (migration.kind == "baseline" or not has_way_back(migration)) then
      return migration.version, i
    end
  end
  return "0", 0
end

-- From the last versioned migration as far down as there is a way, and up again.
local function all_the_way(self, place, count, snapshots)
  local to, i = floor_of(self, count)
  if count - i < 2 then return end -- a single one has gone its way already
  aside(self, place, count, function(s)
    local done, err = self:down(s, count, { to = to })
    if not done then return self:find("error", nil, "the way back through all of them fails: " .. tostring(err)) end
    self:compare(nil, snapshots[i], self:snapshot(s), "the way back through all of them leaves something else")
    done, err = self:up(s, count)
    if not done then return self:find("error", nil, "the way up again fails: " .. tostring(err)) end
    return self:compare(nil, snapshots[count], self:snapshot(s), "the way up again makes something else")
  end)
end

local function count_versioned(list)
  local count = 0
  for i, migration in ipairs(list) do
    if migration.kind ~= "repeatable" then count = i end
  end
  return count
end

local function walk(self, place)
  if not fixture(self, place.s, nil, "before") then return end
  local snapshots, last = { [0] = self:snapshot(place.s) }, count_versioned(self.list)
  for i = 1, #self.list do
    snapshots[i] = step(self, place, i, snapshots[i - 1])
    if not snapshots[i] then return end
    if i == last and not self.only then all_the_way(self, place, last, snapshots) end
  end
  return snapshots[#self.list]
end

local function has_baseline(list)
  for _, migration in ipairs(list) do
    if migration.kind == "baseline" then return true end
  end
end

-- All of them at once on an empty database: the baseline has to make what those make that it stands for.
local function at_once(self, final)
  if not has_baseline(self.list) then return true end
  return scratch.with(self.target, function(s)
    if not fixture(self, s, nil, "before") then return true end
    local done, err = self:up(s, #self.list)
    if not done then
      self:find("error", nil, "all at once they cannot be applied: " .. tostring(err))
    else
      self:compare(nil, final, self:snapshot(s), "all at once they make something else than one by one")
    end
    return true
  end)
end

--- Walks. Answers the snapshot of the end, or nil when it was not reached; or nil and an error of the world.
---@param self luphant.testing.migrations.Context
---@return luphant.schema.Snapshot?
---@return luphant.error?
function M.run(self)
  self.downs = 0
  local s, err = scratch.open(self.target)
  if not s then return nil, err end
  local place = { s = s }
  local fine, final = pcall(walk, self, place)
  place.s:close()
  if not fine then error(final, 0) end
  local ok = true
  if final then ok, err = at_once(self, final) end
  if not ok then return nil, err end
  return final
end

return M
