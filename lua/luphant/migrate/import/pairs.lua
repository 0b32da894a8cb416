-- luphant.migrate.import.pairs - sqlx and golang-migrate: a file for each way, or one that only goes forward.
--
--     sqlx            20230101120000_add_users.sql, or .up.sql and .down.sql; `-- no-transaction` begins the file
--     golang-migrate  000001_add_users.up.sql and .down.sql; one multi-statement query each, which is one transaction
--
-- SPDX-License-Identifier: MIT

local folder = require "luphant.migrate.import.folder"
local sqltext = require "luphant.sqltext"
local version = require "luphant.migrate.version"

local M = {}

-- A file that brings its own BEGIN and COMMIT: the runner has a transaction for it.
local function without_transaction_control(text)
  local statements = sqltext.split(text)
  local first, last = statements and statements[1], statements and statements[#statements]
  if not first or #statements < 3 then return text end
  local begins = first.sql:lower():gsub("%s+", " ")
  local ends = last.sql:lower():gsub("%s+", " ")
  local is_plain = (begins == "begin" or begins == "begin transaction" or begins == "start transaction")
    and (ends == "commit" or ends == "end" or ends == "commit transaction")
  if not is_plain then return text end
  local head, tail = text:sub(1, first.from - 1), text:sub(first.to + 1, last.from - 1)
  return head .. (tail:gsub("^%s*;%s*", ""))
end

-- A single statement that no transaction can hold was sent without one.
local function is_alone(text)
  local statements = sqltext.split(text)
  if not statements or #statements ~= 1 then return false end
  for _, word in ipairs(statements[1].words) do
    if word == "concurrently" then return true end
  end
  return statements[1].words[1] == "vacuum"
end

local function read_pair(state, file)
  local digits, name, part = file.name:match "^(%d+)_(.+)%.(%l+)%.sql$"
  if not digits then digits, name = file.name:match "^(%d+)_(.+)%.sql$" end
  if not digits or (part and part ~= "up" and part ~= "down") then return nil end
  return state:of("versioned", digits, name), part or "up"
end

local function read_sqlx(state, file)
  local migration, part = read_pair(state, file)
  if not migration then return end -- sqlx passes over what it does not know
  local text = file.text
  if text:find "^%-%- no%-transaction" then migration.transaction, text = false, text:gsub("^[^\n]*\n?", "", 1) end
  migration[part] = folder.trim(text)
end

local function read_migrate(state, file)
  local migration, part = read_pair(state, file)
  if not migration then return end
  if not file.name:find "%.%l+%.sql$" then
    return state:complain(file.path, "golang-migrate wants .up.sql and .down.sql; it has never run this one")
  end
  if is_alone(file.text) then migration.transaction = false end
  migration[part] = folder.trim(without_transaction_control(file.text))
end

local SQLX = [[
select version::text as version, 'versioned' as kind, success as fine,
       to_char(installed_on at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as at
  from %s order by version]]

M.sqlx = {
  table = "_sqlx_migrations",
  read = function(dir) return folder.read(dir, read_sqlx) end,
  history = function(q, name) return q:query(SQLX:format(name)) end,
}

-- One row: how far it has come. All up to that are there.
local function migrate_history(q, name, list)
  local row, err = q:query_opt(("select version::text as version, dirty from %s limit 1"):format(name))
  if err then return nil, err end
  local out = {}
  for _, migration in ipairs(row and list or {}) do
    if not version.before(row.version, migration.version) then
      local is_last = not version.before(migration.version, row.version)
      out[#out + 1] = { version = migration.version, kind = "versioned", fine = not (is_last and row.dirty) }
    end
  end
  return out
end

M["golang-migrate"] = {
  table = "schema_migrations",
  read = function(dir) return folder.read(dir, read_migrate) end,
  history = migrate_history,
}

return M
