-- luphant.migrate.amend - changes of the history without running anything, for when the history is not the truth.
--
-- Each wants a reason, takes the lock, and leaves an event: what was set right by hand can be read later.
--
-- SPDX-License-Identifier: MIT

local execute = require "luphant.migrate.execute"
local failure = require "luphant.migrate.failure"
local history = require "luphant.migrate.history"
local imprint = require "luphant.migrate.imprint"
local order = require "luphant.migrate.order"
local parts = require "luphant.migrate.parts"
local record = require "luphant.migrate.record"
local run = require "luphant.migrate.run"
local state = require "luphant.migrate.state"
local tables = require "luphant.migrate.tables"
local version = require "luphant.migrate.version"

local M = {}

local function refuse(entry, message, hint)
  return nil, failure.invalid {
    { file = entry and order.file_of(entry) or nil, message = message, hint = hint },
  }
end

local function find(entries, text)
  local is_id = text:find "^R__" or version.is(text)
  for _, entry in ipairs(entries) do
    if is_id and order.id_of(entry) == order.id(text) then return entry end
  end
  return refuse(nil, ("there is no migration %s"):format(text))
end

--- One change of the history: everything of it, with its event, or nothing.
function M.change(s, entry, action, fn, detail, more)
  local ok, err = s.conn:transaction(function(tx)
    local done, why = fn(tx)
    if not done then return nil, why end
    return history.tell(tx, s.place, {
      run_id = s.run_id, action = action, kind = entry.kind, version = entry.version, name = entry.name,
      reason = s.options.reason, detail = detail,
    })
  end)
  if not ok then return nil, err end
  local event = execute.event(entry, { event = action, reason = s.options.reason })
  for name, value in pairs(more or {}) do event[name] = value end
  s.emit(event)
  return event
end

--- `fn(s, entries, rows)` under the lock, with the tables there.
function M.under_lock(target, dir, options, level, fn)
  local list, err = run.load(dir, options)
  if not list then return nil, err end
  return run.with_session(target, options, level + 1, function(s)
    local ok, why = s:lock()
    if ok then ok, why = tables.ensure(s.conn, s.place) end
    if not ok then return nil, why end
    local rows
    rows, why = history.read(s.conn, s.place)
    if not rows then return nil, why end
    return fn(s, state.compare(list, rows), rows)
  end)
end

local function write_row(s, tx, entry, wanted)
  local step = { kind = entry.kind, version = entry.version, name = entry.name, migration = entry.migration }
  local total = parts.count { section = entry.migration.up }
  local row, why = record.row(s, step, {
    state = wanted, total = entry.migration.up and total, started = entry.migration.up and total,
    done = entry.migration.up and total,
  })
  if not row then return nil, failure.failed({ step = step, part = "down" }, { message = why }) end
  row.out_of_order = entry.out_of_order
  return history.write(tx, s.place, row)
end

-- ---- resolve ------------------------------------------------------------------------------------------------

local RESOLVABLE = { failed = true, interrupted = true }

--- Says what is true of a migration that stopped half-way, or was done by hand: "applied" or "rolled_back".
---@return table?
---@return luphant.error?
function M.resolve(target, dir, which, as, options, level)
  return M.under_lock(target, dir, options, level + 1, function(s, entries)
    local entry, err = find(entries, which)
    if not entry then return nil, err end
    local detail = { state = entry.state, resolved = as }
    if as == "rolled_back" then
      if not RESOLVABLE[entry.state] then
        return refuse(entry, ("is %s; only what stopped half-way can be told to be rolled back"):format(entry.state))
      end
      return M.change(s, entry, "resolve", function(tx)
        return history.set_state(tx, s.place, entry, "reverted", s.run_id)
      end, detail)
    end
    if not entry.migration then return refuse(entry, "cannot be told to be applied: its file is gone") end
    if not RESOLVABLE[entry.state] and entry.state ~= "pending" and entry.state ~= "skipped" then
      return refuse(entry, ("is %s already"):format(entry.state))
    end
    return M.change(s, entry, "resolve", function(tx) return write_row(s, tx, entry, "applied") end, detail)
  end)
end

--- Passes a pending migration over: it is never run, and others go on.
---@return table?
---@return luphant.error?
function M.skip(target, dir, which, options, level)
  return M.under_lock(target, dir, options, level + 1, function(s, entries)
    local entry, err = find(entries, which)
    if not entry then return nil, err end
    if entry.state ~= "pending" or entry.kind ~= "versioned" then
      return refuse(entry, ("is %s; only a pending versioned migration can be skipped"):format(entry.state))
    end
    return M.change(s, entry, "skip", function(tx) return write_row(s, tx, entry, "skipped") end)
  end)
end

-- ---- baseline -----------------------------------------------------------------------------------------------

--- Refuses a baseline where a history has begun.
---@param rows luphant.migrate.Applied[]
---@return true?
---@return luphant.error?
function M.check_no_history(rows)
  for _, row in ipairs(rows) do
    if row.state ~= "reverted" then
      return refuse(nil, "this database has a history already; a baseline is the beginning of one",
        "`resolve --applied` records single migrations")
    end
  end
  return true
end

--- Declares a database that had no history to stand at a version: all up to it count as applied.
---@return table?
---@return luphant.error?
function M.baseline(target, dir, at, options, level)
  return M.under_lock(target, dir, options, level + 1, function(s, entries, rows)
    local ok, err = M.check_no_history(rows)
    if not ok then return nil, err end
    local last
    for _, entry in ipairs(entries) do
      if entry.kind == "versioned" and not version.before(at, entry.version) then last = entry end
    end
    if not last then return refuse(nil, ("no migration has the version %s or a lower one"):format(at)) end
    local entry = { kind = "baseline", version = at, name = "baseline" }
    local event
    event, err = M.change(s, entry, "baseline", function(tx)
      return history.write(tx, s.place, {
        state = "applied", kind = "baseline", version = at, name = "baseline", checksum = "", run_id = s.run_id,
        tool_version = record.TOOL, app_version = s.options.app_version,
      })
    end)
    if event then imprint.keep(s) end
    return event, err
  end)
end

return M
