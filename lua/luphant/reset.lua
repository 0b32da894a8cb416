-- reset.lua - puts a session back to how it was when it began.
--
-- The core notes, for each text that runs, what it may leave behind (csrc/core/marks.h): settings, role, LISTEN,
-- advisory locks, temporary tables, cursors, statements of PREPARE. Here each kind has the statement that undoes
-- it, and a mask of marks becomes one text: one round trip when something was left, none when nothing was.
--
-- DISCARD ALL would do all of it, but takes the statements with it that luphant has prepared. Settings of the
-- connection itself (application_name, options, statement_timeout) are what RESET goes back to. Not undone: the
-- values that sequences have given (currval, lastval), and whatever is "lasting"; such a session ends.
--
-- Before the text is run no transaction may be open: roll back first.
--
-- SPDX-License-Identifier: MIT

local core = require "luphant.core"

local MARKS = core.MARKS

local reset = {}

-- Only what SQL's PREPARE has made: ours come by the protocol.
local FORGET_PREPARED = [[do $luphant$
declare prepared text;
begin
  for prepared in select s.name from pg_catalog.pg_prepared_statements s where s.from_sql loop
    execute pg_catalog.format('deallocate %I', prepared);
  end loop;
end $luphant$]]

-- In this order: first the rights of the user who began the session, for what follows.
local STEPS = {
  { mark = "role", sql = "reset session authorization; reset role" },
  { mark = "settings", sql = "reset all" },
  { mark = "cursors", sql = "close all" },
  { mark = "listen", sql = "unlisten *" },
  { mark = "locks", sql = "select pg_catalog.pg_advisory_unlock_all()" },
  { mark = "temp", sql = "discard temp" },
  { mark = "prepared", sql = FORGET_PREPARED },
}

local function has(mask, mark)
  local bit = MARKS[mark]
  return mask % (2 * bit) >= bit
end

--- Can statements undo what the marks stand for? If not, the session has to end.
---@param mask integer  box:marks()
---@return boolean
function reset.is_possible(mask)
  return not has(mask, "lasting")
end

--- The statements that undo what was left, as one text for conn:script; nil when there is nothing to undo.
---@param mask integer|"all"
---@return string|nil
function reset.text(mask)
  local texts = {}
  for _, step in ipairs(STEPS) do
    if mask == "all" or has(mask, step.mark) then texts[#texts + 1] = step.sql end
  end
  if #texts == 0 then return nil end
  return table.concat(texts, "; ")
end

--- Undoes what was left in the session of `conn`, in one round trip, or none. What is lasting stays: ask
--- reset.is_possible before.
---@param conn luphant.connection
---@return true|nil
---@return luphant.error|nil
function reset.run(conn)
  local box = conn.box
  local text = reset.text(box:marks())
  if text then
    local results, err = conn:script(text)
    if not results then return nil, err end
    box:clear_marks() -- the text has left marks of its own
  end
  return true
end

--- What the marks say, in words: { "settings", "temp" }.
---@param mask integer
---@return string[]
function reset.words(mask)
  local words = {}
  for _, step in ipairs(STEPS) do
    if has(mask, step.mark) then words[#words + 1] = step.mark end
  end
  if has(mask, "lasting") then words[#words + 1] = "lasting" end
  return words
end

return reset
