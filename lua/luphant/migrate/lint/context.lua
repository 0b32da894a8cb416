-- luphant.migrate.lint.context - what a rule is given: one migration, one section, one statement, and the questions it
-- may ask about them.
--
-- SPDX-License-Identifier: MIT

local locks = require "luphant.migrate.lint.locks"

local Context = {}
Context.__index = Context

local M = {}

---@class (exact) luphant.migrate.lint.Item
---@field statement luphant.sqltext.Statement
---@field ddl luphant.migrate.Ddl
---@field index integer

---@class (exact) luphant.migrate.lint.Context
---@field migration luphant.migrate.Migration
---@field section luphant.migrate.Section
---@field part "up"|"down"
---@field in_transaction boolean
---@field items luphant.migrate.lint.Item[] all statements of the section
---@field item luphant.migrate.lint.Item the one being looked at
---@field known table what is known of the schema before it
---@field held table[] strong locks on relations in use, taken before it in the same transaction
---@field base? table what the branch compared with has
---@field found table[] what has been reported about this file: { finding, statement }
---@field traced? table what trace saw, see referee

--- A context for one section.
function M.new(migration, section, part, shared)
  local options = section.options
  local in_transaction = part == "up" and migration.transaction or (part == "down" and options.transaction ~= false)
  return setmetatable({
    migration = migration, section = section, part = part, in_transaction = in_transaction, items = shared.items,
    known = shared.known, base = shared.base, held = {},
  }, Context)
end

--- Was the relation made by this very migration? Then nobody else uses it yet.
---@param name luphant.migrate.ddl.Name?
---@return boolean
function Context:is_new(name)
  local relation = self.known:relation(name)
  return relation ~= nil and relation.born == self.migration
end

--- The table that a statement is about, through its index when it names only that.
---@param ddl luphant.migrate.Ddl
---@return luphant.migrate.ddl.Name?
function Context:target(ddl)
  if ddl.table then return ddl.table end
  if ddl.object == "index" then
    local _, relation = self.known:index(ddl.name)
    return relation and { name = relation.name, schema = relation.schema, text = relation.name, from = 1 }
  end
  return ddl.object and ddl.object:find "view$" and ddl.name or nil
end

--- Locks of a statement on relations that others use.
---@param ddl luphant.migrate.Ddl
---@return luphant.migrate.lint.Lock[]
function Context:live_locks(ddl)
  local list = {}
  for _, lock in ipairs(locks.of(ddl, self.known)) do
    if lock.relation and not self:is_new(lock.relation) then list[#list + 1] = lock end
  end
  return list
end

--- Remembers what the current statement holds until the transaction ends.
function Context:hold()
  if not self.in_transaction then return end
  for _, lock in ipairs(self:live_locks(self.item.ddl)) do
    if locks.is_strong(lock.mode) then
      self.held[#self.held + 1] = { lock = lock, item = self.item }
    end
  end
end

--- The statements behind the current one.
function Context:later()
  local list = {}
  for i = self.item.index + 1, #self.items do list[#list + 1] = self.items[i] end
  return list
end

return M
