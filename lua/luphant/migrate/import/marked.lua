-- luphant.migrate.import.marked - dbmate and goose: both ways in one file, behind lines of comment.
--
--     dbmate   -- migrate:up [transaction:false]     -- migrate:down [transaction:false]
--     goose    -- +goose Up    -- +goose Down    -- +goose StatementBegin/End    -- +goose NO TRANSACTION
--
-- SPDX-License-Identifier: MIT

local folder = require "luphant.migrate.import.folder"

local M = {}

local function lines_of(text) return (text .. "\n"):gmatch "([^\n]*)\n" end

local function finish(migration, parts)
  for _, part in ipairs { "up", "down" } do
    migration[part] = parts[part] and folder.trim(table.concat(parts[part], "\n"))
  end
end

-- ---- dbmate -------------------------------------------------------------------------------------------------

local function dbmate_option(state, file, migration, word, part)
  if word == "transaction:false" then
    if part == "up" then migration.transaction = false else migration.down_transaction = false end
  elseif word ~= "transaction:true" then
    state:complain(file.path, ("migrate:%s has an option dbmate does not know: %s"):format(part, word))
  end
end

local function read_dbmate(state, file)
  local digits, name = file.name:match "^(%d+)_?(.*)%.sql$"
  if not digits then return end
  local migration, parts, at = state:of("versioned", digits, name ~= "" and name or "unnamed"), {}, nil
  migration.down_transaction = true
  for line in lines_of(file.text) do
    local part, options = line:match "^%-%-%s*migrate:(%l+)%s*(.-)%s*$"
    if part == "up" or part == "down" then
      at, parts[part] = part, {}
      for word in options:gmatch "%S+" do dbmate_option(state, file, migration, word, part) end
    elseif at then
      table.insert(parts[at], line)
    end
  end
  if not parts.up then state:complain(file.path, "has no line -- migrate:up") end
  finish(migration, parts)
end

M.dbmate = {
  table = "schema_migrations",
  read = function(dir) return folder.read(dir, read_dbmate) end,
  history = function(q, name)
    return q:query(("select version::text as version, 'versioned' as kind, true as fine from %s"):format(name))
  end,
}

-- ---- goose --------------------------------------------------------------------------------------------------

local GOOSE = {
  up = function(here) here.at = "up"; here.parts.up = here.parts.up or {} end,
  down = function(here) here.at = "down"; here.parts.down = here.parts.down or {} end,
  statementbegin = function() end, statementend = function() end,
  ["no transaction"] = function(here) here.migration.transaction = false; here.migration.down_transaction = false end,
}

local function goose_line(state, file, here, line)
  local word = line:match "^%-%-%s*%+goose%s+(.-)%s*$"
  local act = word and GOOSE[word:lower()]
  if act then
    act(here)
  elseif word then
    state:complain(file.path, ("+goose %s has no counterpart here"):format(word),
      "write the value in, or declare it with vars:")
  elseif here.at then
    table.insert(here.parts[here.at], line)
  end
end

local function read_goose(state, file)
  if file.name:find "^%d+_.*%.go$" then
    return state:complain(file.path, "is written in Go; write it anew, in SQL or Lua")
  end
  local digits, name = file.name:match "^(%d+)_(.+)%.sql$"
  if not digits then return end
  local here = { migration = state:of("versioned", digits, name), parts = {} }
  for line in lines_of(file.text) do goose_line(state, file, here, line) end
  if not here.parts.up then state:complain(file.path, "has no line -- +goose Up") end
  finish(here.migration, here.parts)
end

-- The last row of a version counts.
local GOOSE_HISTORY = [[
select version, kind, fine, at from (
  select distinct on (version_id) version_id::text as version, 'versioned' as kind, true as fine, is_applied,
         to_char(tstamp, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as at
    from %s where version_id > 0 order by version_id, id desc) t
 where is_applied]]

M.goose = {
  table = "goose_db_version",
  read = function(dir) return folder.read(dir, read_goose) end,
  history = function(q, name) return q:query(GOOSE_HISTORY:format(name)) end,
}

return M
