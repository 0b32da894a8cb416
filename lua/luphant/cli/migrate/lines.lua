-- cli/migrate/lines.lua - what a person reads while migrations run, and of their state.
--
-- What was done goes to standard output, everything about how it went to standard error.
--
-- SPDX-License-Identifier: MIT

local locks = require "luphant.migrate.lint.locks"
local order = require "luphant.migrate.order"

local lines = {}

local function name_of(item)
  return order.label(item) .. "_" .. item.name .. (item.tenant and " in " .. item.tenant or "")
end

local function who(list)
  local names = {}
  for i, blocker in ipairs(list) do
    local name = (blocker.application_name or "") ~= "" and (' "%s"'):format(blocker.application_name) or ""
    names[i] = ("server process %d%s"):format(blocker.pid, name)
  end
  return table.concat(names, ", ")
end

-- Who has the lock, from where, for how long, and with what it is busy.
local function holder_of(holder)
  local query = holder.state == "active" and holder.query and ": " .. holder.query:gsub("%s+", " "):sub(1, 80) or ""
  return ("%s%s, for %d s%s"):format(who { holder }, holder.address and " from " .. holder.address or "",
    math.floor(holder.seconds), query)
end

local function done(word)
  return function(out, _, event)
    local took = event.duration_ms and ("  (%d ms)"):format(event.duration_ms) or ""
    out:write(("%-8s  %s%s\n"):format(word, name_of(event), took))
  end
end

local function percent(progress)
  local total, part = progress.tuples_total, progress.tuples_done
  if not total or total == 0 then total, part = progress.blocks_total, progress.blocks_done end
  return total and total > 0 and (" %d %%"):format(part / total * 100) or ""
end

local WHERE = { up = "migrate:up", down = "migrate:down", other = "options, check, verify" }

local function change(out, item)
  local number = item.statement and (" statement %d"):format(item.statement) or ""
  local line = item.line and (" (line %d)"):format(item.line) or ""
  out:write(("          %s%s%s: %s\n"):format(WHERE[item.part], number, line, item.what))
  for text in ((item.sql or "") .. "\n"):gmatch "([^\n]*)\n" do
    if text ~= "" then out:write("            ", text, "\n") end
  end
end

local function edited(out, _, event)
  out:write(("edited    %s%s\n"):format(name_of(event), event.only_comments and "  only comments and blanks" or ""))
  for _, item in ipairs(event.changes) do change(out, item) end
end

local WRITE = {
  edited = edited,
  applied = done "applied", reverted = done "reverted", resolve = done "resolved", skip = done "skipped",
  repair = done "repaired",
  baseline = function(out, err, event)
    if event.written then out:write(("written   %s\n"):format(event.written)) end
    done "baseline"(out, err, event)
  end,
  backup = function(out, _, event)
    local size = event.bytes and ("%d bytes%s"):format(event.bytes, event.restored and ", restored" or "")
    out:write(("backup    %s  (%s)\n"):format(event.file, size or "by a command"))
  end,
  start = function(_, err, event)
    if event.backup then
      err:write(("note      before %s there was a backup: %s\n"):format(name_of(event), event.backup))
    end
    for _, kept in ipairs(event.kept or {}) do
      err:write(("note      of what %s destroyed, %d rows of %s are kept\n"):format(name_of(event), kept.rows,
        kept.relation))
    end
  end,
  preserved = function(_, err, event)
    for _, kept in ipairs(event.relations) do
      err:write(("kept      %s statement %d: %d rows of %s\n"):format(name_of(event), event.statement, kept.rows,
        kept.relation))
    end
  end,
  lock_wait = function(_, err, event)
    err:write(("waiting   another run of migrations is under way%s%s\n"):format(
      event.tenant and " in " .. event.tenant or "", event.holder and " (" .. holder_of(event.holder) .. ")" or ""))
  end,
  retry = function(_, err, event)
    err:write(("retrying  %s in %.1f s: %s\n"):format(name_of(event), event.pause, event.message))
  end,
  progress = function(_, err, event)
    local progress = event.progress and (": %s%s"):format(event.progress.phase, percent(event.progress)) or ""
    local blocked = event.blocked_by and #event.blocked_by > 0 and "; blocked by " .. who(event.blocked_by) or ""
    local which = event.statement and (" statement %d of %d"):format(event.statement, event.total or 0) or ""
    err:write(("running   %s%s for %d s%s%s\n"):format(name_of(event), which, math.floor(event.seconds), progress,
      blocked))
  end,
  batch = function(_, err, event)
    local about = event.rows_estimate > event.rows and (" of about %d"):format(event.rows_estimate) or ""
    err:write(("batch     %s: %d%s rows of %s, %d changed\n"):format(name_of(event), event.rows, about, event.table,
      event.affected))
  end,
  warning = function(_, err, event)
    err:write(("warning   %s%s\n"):format(event.version and name_of(event) .. " " or "", event.message))
  end,
  summary = function(out, _, event)
    local where = event.tenant and " in " .. event.tenant or ""
    for _, item in ipairs(event.failed and event.not_run or {}) do
      out:write(("not run   %s%s\n"):format(name_of(item), where))
    end
  end,
  created = function(out, _, event)
    out:write(("created   %s%s\n"):format(event.tenant, event.template and "  as a copy of " .. event.template or ""))
  end,
  tenant = function(_, err, event)
    if event.failed then err:write(("failed    %s: %s\n"):format(event.tenant, event.message)) end
  end,
  tenants = function(out, _, event)
    out:write(("tenants   %d done, %d failed, %d not run%s\n"):format(event.done, #event.failed, #event.not_run,
      #event.not_run > 0 and ": " .. table.concat(event.not_run, ", ") or ""))
  end,
  recovered = function(_, err, event)
    err:write(("connected again; %s was %s\n"):format(name_of(event),
      event.was_committed and "committed" or "rolled back"))
  end,
}

-- Told at once, whatever else is told later: somebody waits, and wants to know for what.
local AT_ONCE = { lock_wait = true, retry = true, progress = true, tenants = true }

-- Keeps what is written, and writes it in its order to where it belongs.
local function keeper(env)
  local kept = {}
  local function stream(name)
    return { write = function(_, ...) kept[#kept + 1] = { env[name], table.concat { ... } } end }
  end
  return stream "out", stream "err", function()
    for _, item in ipairs(kept) do item[1]:write(item[2]) end
  end
end

-- What is told whatever was asked for, and what only who asked for more is told.
local TROUBLE = { warning = true, recovered = true, tenant = true }
local DETAIL = {
  statement = function(_, err, event)
    if not event.sql then return end
    err:write(("statement %s %s %d of %d (line %d): %s\n"):format(name_of(event), event.part, event.statement,
      event.total, event.line, event.sql:gsub("%s+", " "):sub(1, 100)))
  end,
  statement_done = function(_, err, event)
    err:write(("          done%s  (%d ms)\n"):format(event.affected and (", %d rows"):format(event.affected) or "",
      event.duration_ms))
  end,
  notice = function(_, err, event)
    err:write(("%-8s  %s\n"):format((event.severity or "notice"):lower(), event.message))
  end,
  hook = function(_, err, event)
    local which = event.version and " of " .. name_of(event) or ""
    err:write(("hook      %s%s  (%d ms)\n"):format(event.hook, which, event.duration_ms))
  end,
  lock_acquired = function(_, err, event)
    err:write(("locked    after %.1f s\n"):format(event.waited))
  end,
}

---@class (exact) luphant.cli.migrate.Lines
---@field together? boolean lines of a tenant stand together, and are written when it is done: several run at once
---@field quiet? boolean
---@field verbose? boolean

--- A listener that writes lines.
---@param env luphant.cli.env
---@param how? luphant.cli.migrate.Lines
---@return fun(event: table)
function lines.listener(env, how)
  how = how or {}
  local keepers = {}
  return function(event)
    local write, tenant = WRITE[event.event] or (how.verbose and DETAIL[event.event]), event.tenant
    if how.quiet and not TROUBLE[event.event] then write = nil end
    if not how.together or not tenant or AT_ONCE[event.event] then return write and write(env.out, env.err, event) end
    local kept = keepers[tenant] or { keeper(env) }
    keepers[tenant] = kept
    if write then write(kept[1], kept[2], event) end
    if event.event == "tenant" then
      kept[3]()
      keepers[tenant] = nil
    end
  end
end

--- What one of many tenants lacks.
---@param env luphant.cli.env
---@param report luphant.migrate.TenantReport
function lines.tenant(env, report)
  for _, item in ipairs(report.pending) do
    env.out:write(("%-8s  %s in %s\n"):format(item.state, name_of(item), report.tenant))
  end
  if #report.pending == 0 then env.out:write(("current   %s\n"):format(report.tenant)) end
end

--- The state of all migrations.
---@param env luphant.cli.env
---@param entries luphant.migrate.Entry[]
function lines.status(env, entries)
  for _, entry in ipairs(entries) do
    local notes = entry.applied and "  " .. entry.applied.applied_at or ""
    if entry.state == "pending" and entry.deferred then notes = "  waits for the contract phase" end
    if entry.out_of_order then notes = notes .. "  out of order" end
    if entry.only_comments then notes = notes .. "  only comments and blanks" end
    env.out:write(("%-8s  %s%s\n"):format(entry.state, name_of(entry), notes))
  end
  if #entries == 0 then env.out:write "no migrations\n" end
end

-- What a statement did, as a comment behind it.
local function observed(item)
  local out = { ("%d ms"):format(item.duration_ms) }
  for _, lock in ipairs(item.locks) do
    out[#out + 1] = ("%s on %s"):format(locks.sql_name(lock.mode), lock.relation)
  end
  for _, field in ipairs { "rewritten", "scanned", "built" } do
    if #item[field] > 0 then out[#out + 1] = field .. ": " .. table.concat(item[field], ", ") end
  end
  return "-- " .. table.concat(out, "; ") .. "\n"
end

local function rows(count) return ("about %d row%s"):format(count, count == 1 and "" or "s") end

-- What its text says that it does.
local function expected(effect)
  local out = {}
  for _, lock in ipairs(effect.locks) do
    local work = lock.work and ", " .. lock.work .. (lock.rows_estimate and " of " .. rows(lock.rows_estimate) or "")
    out[#out + 1] = ("%s on %s%s"):format(locks.sql_name(lock.mode), lock.relation, work or "")
  end
  if #effect.hazards > 0 then out[#out + 1] = "hazards: " .. table.concat(effect.hazards, ", ") end
  return #out > 0 and "-- " .. table.concat(out, "; ") .. "\n" or ""
end

local function statements(env, step, effects, traced)
  if traced and traced.skipped then env.out:write("-- not run: ", traced.skipped, "\n") end
  for i, effect in ipairs(effects) do
    env.out:write("\n", effect.statement.sql, ";\n")
    local item = traced and traced.statements[i]
    env.out:write(item and observed(item) or expected(effect))
  end
  if step.migration and step.migration.script then env.out:write "-- in Lua: what it sends is known when it runs\n" end
  env.out:write "\n"
end

--- What would run.
---@param env luphant.cli.env
---@param plan luphant.migrate.Plan
---@param effects? table<integer, luphant.cli.migrate.Effect[]> with the statements, and what they do
function lines.plan(env, plan, effects)
  for i, step in ipairs(plan.steps) do
    env.out:write(("%-8s  %s%s\n"):format(step.action, name_of(step), step.transaction and "" or "  no transaction"))
    if effects then statements(env, step, effects[i], plan.traced and plan.traced[i]) end
  end
  for _, waiting in ipairs(plan.waiting) do
    env.out:write(("%-8s  %s  %s\n"):format("waits", name_of(waiting.entry), waiting.reason))
  end
  for _, hook in ipairs(#plan.steps > 0 and plan.hooks or {}) do
    env.out:write(("%-8s  %s  %s\n"):format("hook", hook.name, hook.file))
  end
  env.out:write(#plan.steps == 0 and "nothing to do\n" or "plan hash " .. plan.hash .. "\n")
end

--- What was ever done.
---@param env luphant.cli.env
---@param events table[]
function lines.history(env, events)
  for _, event in ipairs(events) do
    local name = event.version and name_of { kind = event.kind, version = event.version, name = event.name or "" } or ""
    env.out:write(("%s  %-8s  %s  by %s%s\n"):format(event.at, event.action, name, event.actor,
      event.reason and "  " .. event.reason or ""))
  end
  if #events == 0 then env.out:write "no history\n" end
end

return lines
