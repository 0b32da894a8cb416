-- luphant.migrate.import.flyway - V1__name.sql, U1__name.sql, R__name.sql, B1__name.sql, in folders however deep.
--
-- The undo script becomes the way back of its migration. Flyway puts the values of placeholders into the text as they
-- are; here that has to be said.
--
-- SPDX-License-Identifier: MIT

local folder = require "luphant.migrate.import.folder"
local version = require "luphant.migrate.version"

local KINDS = { V = "versioned", U = "versioned", B = "baseline" }

local function name_of(entry)
  local letter, number, name = entry:match "^([VUB])(%d[%d._]-)__(.+)%.sql$"
  if letter then return KINDS[letter], number:gsub("_", "."), name, letter end
  name = entry:match "^R__(.+)%.sql$"
  if name then return "repeatable", (name:gsub("[^%w_%-]+", "_")), name, "R" end
end

-- ${name} -> ${name:raw}; answers the names.
local function placeholders(state, file, migration)
  local seen = {}
  for _, name in ipairs(migration.vars or {}) do seen[name] = true end
  migration.vars = migration.vars or {}
  return (file.text:gsub("%${([^}]*)}", function(name)
    if not name:find "^[%a_][%w_]*$" then
      state:complain(file.path, ("the placeholder ${%s} has no counterpart here"):format(name))
      return nil
    end
    if not seen[name] then
      seen[name] = true
      table.insert(migration.vars, name)
    end
    return "${" .. name .. ":raw}"
  end))
end

local function read_conf(state, file)
  local kind, number, name = name_of((file.name:gsub("%.conf$", "")))
  if not kind then return end
  if file.text:find "executeInTransaction%s*=%s*false" then state:of(kind, number, name).transaction = false end
end

local function read(state, file)
  if file.name:find "%.sql%.conf$" then return read_conf(state, file) end
  if file.name:find "^[VUR][%d._]*__.*%.java$" then
    return state:complain(file.path, "is written in Java; write it anew, in SQL or Lua")
  end
  local kind, number, name, letter = name_of(file.name)
  if not kind then return end
  if not version.is(number) and kind ~= "repeatable" then
    return state:complain(file.path, ("%s is no version"):format(number))
  end
  local migration = state:of(kind, number, name)
  migration[letter == "U" and "down" or "up"] = folder.trim(placeholders(state, file, migration))
end

local HISTORY = [[
select version, kind, fine, at from (
  select distinct on (coalesce(version, script)) version as number,
         coalesce(replace(version, '_', '.'),
                  regexp_replace(regexp_replace(script, '^.*/', ''), '^R__(.*)\.sql$', '\1')) as version,
         case when version is null then 'repeatable' when type like '%%BASELINE' then 'baseline' else 'versioned' end
           as kind,
         success as fine, type,
         to_char(installed_on at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as at
    from %s where type <> 'SCHEMA' order by coalesce(version, script), installed_rank desc) t
 where type not like 'UNDO%%' and type <> 'DELETE']]

return {
  flyway = {
    table = "flyway_schema_history",
    read = function(dir) return folder.read(dir, read, true) end,
    history = function(q, name)
      local rows, err = q:query(HISTORY:format(name))
      for _, row in ipairs(rows or {}) do
        if row.kind == "repeatable" then row.version = row.version:gsub("[^%w_%-]+", "_") end
      end
      return rows, err
    end,
  },
}
