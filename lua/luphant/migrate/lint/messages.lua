-- luphant.migrate.lint.messages - from a rule and the names in a statement to what people read.
--
-- A finding says what the statement does, why that hurts, and what to write instead - with the names of the statement
-- in it, so that it can be copied. Texts are in the rules; {table}, {column} and the like are filled in here.
--
-- SPDX-License-Identifier: MIT

local M = {}

M.LEVELS = { "note", "warning", "error" }
M.RANK = { off = 0, note = 1, warning = 2, error = 3 }

--- Fills {name} from `fields`; one that nobody gave stays, which the specs look for.
---@param template string
---@param fields table<string, any>
---@return string
function M.fill(template, fields)
  return (template:gsub("{([%a_]+)}", function(name)
    local value = fields[name]
    return value ~= nil and tostring(value) or nil
  end))
end

local function trimmed(text) return (text:gsub("^%s+", ""):gsub("%s+$", "")) end

-- One way out may take several migrations; each is a text of its own.
local function rewrite_of(rule, fields)
  local safe = fields.safe or rule.safe
  if not safe then return nil end
  if type(safe) == "string" then safe = { safe } end
  if #safe == 0 then return nil end
  local out = {}
  for i, text in ipairs(safe) do out[i] = trimmed(M.fill(text, fields)) end
  return out
end

---@class (exact) luphant.migrate.lint.Finding
---@field rule string
---@field severity "note"|"warning"|"error"
---@field file string
---@field line? integer
---@field column? integer
---@field message string what the statement does
---@field why string
---@field advice? string what to do, where no SQL says it
---@field safe? string[] migrations to write instead
---@field sql? string the statement
---@field excerpt? string the line and a caret
---@field rows? number about how many the table has, with facts
---@field seen? string[] what trace saw
---@field verdict? "agrees"|"disagrees" what trace says to the locks and the work the rule claims
---@field overruled? string why trace took it back
---@field allowed? string the reason of a migrate:allow
---@field remedy? luphant.migrate.lint.Remedy what lint --fix would write
---@field claims? table what trace may prove wrong

--- The words of a finding.
---@param rule table
---@param fields table
---@return luphant.migrate.lint.Finding
function M.finding(rule, fields)
  local advice = fields.advice or rule.advice
  return {
    rule = rule.name, severity = fields.severity or rule.severity,
    message = M.fill(fields.message or rule.message, fields), why = M.fill(rule.why, fields):gsub("%s+", " "),
    advice = advice and trimmed(M.fill(advice, fields)), safe = rewrite_of(rule, fields),
  }
end

--- The migrations of a safe way as one text.
---@param safe string[]
---@return string
function M.join(safe)
  return table.concat(safe, "\n\n-- and then, in a migration of its own:\n")
end

return M
