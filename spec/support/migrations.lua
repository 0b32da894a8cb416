-- Migrations and rows of the history for the specs of the planner, made of a few words each.
--
--     file "0007 requires=1,2 phase=contract sql=select 1"     file "R__views v2"
--     row "0007 failed done=2 total=5"
--
-- SPDX-License-Identifier: MIT

local digest = require "luphant.migrate.digest"
local encoding = require "luphant.migrate.encoding"
local parse = require "luphant.migrate.parse"

local M = {}

local function split(text)
  local words, fields, sql = {}, {}, nil
  text = text:gsub("%s*sql=(.*)$", function(rest) sql = rest; return "" end)
  for word in text:gmatch "%S+" do
    local name, value = word:match "^(%w+)=(.*)$"
    if name then fields[name] = value else words[#words + 1] = word end
  end
  return words, fields, sql
end

local function identity(word)
  if word:find "^R__" then return "repeatable", word:sub(4), word:sub(4) end
  if word:find "^B" then return "baseline", word:sub(2), "base" end
  return "versioned", word, "n" .. word
end

local OPTIONS = { "requires", "phase", "transaction", "replaces", "vars" }

--- A migration: its version (or R__name, B<version>), then a word for its text (default "v1") and options.
function M.file(text)
  local words, fields, sql = split(text)
  local kind, version, name = identity(words[1])
  local marker = { "-- migrate:up" }
  for _, option in ipairs(OPTIONS) do
    if fields[option] then marker[#marker + 1] = option .. ":" .. fields[option] end
  end
  sql = sql or ("select '%s %s'"):format(words[1], words[2] or "v1")
  local body = table.concat(marker, " ") .. "\n" .. sql .. ";\n"
  if fields.down then body = body .. "-- migrate:down\n" .. fields.down:gsub("_", " ") .. ";\n" end
  local found, problems = parse(encoding.normalise(body), "m/" .. words[1] .. ".sql")
  assert(#problems == 0, problems[1] and problems[1].message)
  local options = found.up.options
  local migration = {
    kind = kind, version = version, name = name, language = "sql", file = "m/" .. words[1] .. ".sql", body = body,
    up = found.up, down = found.down, options = options, requires = options.requires or {}, replaces = options.replaces,
    phase = options.phase or "expand", vars = options.vars or {}, transaction = options.transaction ~= false,
    checksum = digest.checksum(body),
  }
  migration.statement_hash = digest.statements(migration)
  return migration
end

--- A row: the version, then a state (default "applied") and fields. Its checksum is that of the same word for `file`
--- given as text=..., or of `of`.
function M.row(text, of)
  local words, fields = split(text)
  local kind, version, name = identity(words[1])
  local migration = of or M.file(words[1] .. " " .. (fields.text or "v1"))
  return {
    kind = kind, version = version, name = name, state = words[2] or "applied", checksum = migration.checksum,
    statement_hash = migration.statement_hash, down_sql = fields.down and fields.down:gsub("_", " ") or nil,
    statements_total = tonumber(fields.total), statements_done = tonumber(fields.done),
    statements_started = tonumber(fields.started), run_id = fields.run, applied_at = fields.at,
    earlier = fields.earlier and { M.file(words[1] .. " " .. fields.earlier).checksum } or nil,
  }
end

local function all(make, list)
  local out = {}
  for i, item in ipairs(list) do out[i] = type(item) == "string" and make(item) or item end
  return out
end

function M.files(list) return all(M.file, list) end
function M.rows(list) return all(M.row, list) end

return M
