-- luphant.migrate.lint.referee - what trace saw, held against what the rules say.
--
-- Trace wins: a claim of a rewrite, a scan or an index build that did not happen is taken back, and what happened
-- without any rule saying so is told.
--
-- SPDX-License-Identifier: MIT

local locks_of = require "luphant.migrate.lint.locks"

local M = {}

--- Observations by file and by the line on which a statement begins.
---@param traced luphant.migrate.lint.Traced[]
---@return table<string, table>
function M.index(traced)
  local files = {}
  for _, item in ipairs(traced or {}) do
    local lines = {}
    for _, entry in ipairs(item.statements) do lines[entry.statement.line .. ":" .. entry.statement.column] = entry end
    files[item.file] = { lines = lines, failed = item.failed, skipped = item.skipped, statements = item.statements }
  end
  return files
end

--- What was seen of a statement, or nil.
---@param file? table one of index()
---@param statement luphant.sqltext.Statement
function M.entry(file, statement)
  return file and file.lines[statement.line .. ":" .. statement.column]
end

local WORK = { rewrite = "rewritten", scan = "scanned", build = "built" }

--- Did the work that a rule claims not happen?
---@param claims? { mode: string, work: string? }
---@param entry? table
---@return boolean
function M.refutes(claims, entry)
  if not claims or not claims.work or not entry or not entry.seen then return false end
  return #entry.seen[WORK[claims.work]] == 0
end

local function modes_of(list)
  local modes = {}
  for _, lock in ipairs(list) do modes[lock.mode] = true end
  return modes
end

--- What trace says to a claim of which it could have proved the contrary: "agrees", "disagrees", or nil where nothing
--- was seen that could tell.
---@param claims? { mode: string, work: string? }
---@param entry? table
---@return "agrees"|"disagrees"|nil
function M.verdict(claims, entry)
  if not claims or not entry or not entry.seen or entry.assumed then return nil end
  if claims.work and #entry.seen[WORK[claims.work]] == 0 then return "disagrees" end
  local is_there = modes_of(entry.seen.locks)[claims.mode] or modes_of(entry.seen.held)[claims.mode]
  return is_there and "agrees" or "disagrees"
end

local NOUNS = { rewrite = "nothing was written anew", scan = "no table was read as a whole",
  build = "no index was built" }

--- Why a finding was taken back.
---@param claims { mode: string, work: string? }
---@return string
function M.reason(claims) return NOUNS[claims.work] end

local function strongest(list)
  local best = {}
  for _, lock in ipairs(list) do
    local old = best[lock.relation]
    if not old or locks_of.LEVEL[lock.mode] > locks_of.LEVEL[old] then best[lock.relation] = lock.mode end
  end
  return best
end

local function names(map)
  local list = {}
  for name in pairs(map) do list[#list + 1] = name end
  table.sort(list)
  return list
end

--- The two witnesses of a rewrite, the event trigger and the files, against each other: what the trigger told and the
--- files do not show. (VACUUM FULL and CLUSTER write files without the trigger; that is how they are.)
---@param seen luphant.migrate.lint.Observation
---@return string?
function M.disagreement(seen)
  local is_rewritten, only = {}, {}
  for _, name in ipairs(seen.rewritten) do is_rewritten[name] = true end
  for _, name in ipairs(seen.noted or {}) do
    if not is_rewritten[name] then only[#only + 1] = name end
  end
  if #only == 0 then return nil end
  return ("the event trigger tells of a rewrite that no file shows: %s"):format(table.concat(only, ", "))
end

--- Lines for people.
---@param entry table
---@return string[]
function M.describe(entry)
  local seen, out = entry.seen, {}
  if not seen then return out end
  local best = strongest(seen.locks)
  for _, relation in ipairs(names(best)) do
    if locks_of.LEVEL[best[relation]] > 1 then
      local how = entry.assumed and " (known, not observed)" or ""
      out[#out + 1] = ("%s on %s%s"):format(locks_of.sql_name(best[relation]), relation, how)
    end
  end
  for _, field in ipairs { "rewritten", "scanned", "built" } do
    if #seen[field] > 0 then out[#out + 1] = ("%s: %s"):format(field, table.concat(seen[field], ", ")) end
  end
  out[#out + 1] = M.disagreement(seen)
  return out
end

-- Work on a table that is strongly locked, by this statement or an earlier one: "writes orders again".
local PHRASES = { rewritten = "writes %s again", scanned = "reads all of %s", built = "builds the index %s" }

--- What happened that is worth telling: strong locks, and work under them.
---@param entry table
---@return { work: string[], locks: { relation: string, mode: string }[] }
function M.events(entry)
  local seen, out = entry.seen, { work = {}, locks = {} }
  local held, taken = strongest(seen.held), strongest(seen.locks)
  local is_strong = false
  for _, mode in pairs(held) do is_strong = is_strong or locks_of.is_strong(mode) end
  for _, field in ipairs { "rewritten", "scanned", "built" } do
    for _, name in ipairs(is_strong and seen[field] or {}) do out.work[#out.work + 1] = PHRASES[field]:format(name) end
  end
  for _, relation in ipairs(names(taken)) do
    if locks_of.is_strong(taken[relation]) then
      out.locks[#out.locks + 1] = { relation = relation, mode = taken[relation] }
    end
  end
  return out
end

return M
