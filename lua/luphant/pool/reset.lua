-- pool/reset.lua - what a borrower left in the session goes away before the next one comes.
--
-- What was left is known from the texts that ran (luphant.reset). Nothing left: nothing is sent. What after_connect
-- has set up would be undone as well, so that hook runs again.
--
-- SPDX-License-Identifier: MIT

local connection = require "luphant.connection"
local core = require "luphant.core"
local grow = require "luphant.pool.grow"
local undo = require "luphant.reset"

local reset = {}

local HOOK_SECONDS = 5

local function undo_all(session, mask)
  return (connection.script(session, undo.text(mask))) ~= nil
end

--- Answers whether nothing of the last borrower is left.
---@param pool luphant.pool
---@param session luphant.connection
---@param always boolean  whether or not something was left
---@return boolean
function reset.session(pool, session, always)
  local box = session.box
  local mask = box:marks()
  if pool.settings.reset == "off" then return true end
  if not undo.is_possible(mask) then return false end
  if mask == 0 and not always then return true end
  if not undo_all(session, always and "all" or mask) then return false end
  if pool.settings.after_connect and not grow.greet(pool, session, core.now() + HOOK_SECONDS) then return false end
  box:clear_marks()
  return true
end

return reset
