-- luphant.migrate.order - which migration comes before which: by version, except where `requires:` says otherwise.
--
-- Pure. A migration runs as early as its version says and as late as its requirements need. Repeatable ones come after
-- all others, in the order of their names and requirements.
--
-- SPDX-License-Identifier: MIT

local version = require "luphant.migrate.version"

local M = {}

-- Baselines before the versioned one of the same number, repeatable ones at the end.
local RANK = { baseline = "a", versioned = "b" }

local function sort_key(migration)
  if migration.kind == "repeatable" then return "b" .. migration.name end
  return "a" .. version.key(migration.version) .. " " .. RANK[migration.kind or "versioned"]
end

--- How requirements name a migration: equal for all spellings.
---@param requirement string "20260731", or "R__name"
---@return string
function M.id(requirement)
  return requirement:find "^R__" and requirement or version.key(requirement)
end

--- The same of a migration or a row of the history; nil for a baseline, which nobody requires.
---@param item table
---@return string?
function M.id_of(item)
  if item.kind == "repeatable" then return "R__" .. item.version end
  if item.kind ~= "baseline" then return version.key(item.version) end
end

--- How messages name a migration.
---@param item table
---@return string
function M.label(item)
  if item.kind == "repeatable" then return "R__" .. item.version end
  return (item.kind == "baseline" and "B" or "") .. item.version
end

--- Its file, or what that was called where it is gone.
---@param item table
---@return string
function M.file_of(item)
  if item.file then return item.file end
  if item.kind == "repeatable" then return "R__" .. item.name .. ".sql" end
  return M.label(item) .. (item.kind == "baseline" and "__" or "_") .. item.name .. ".sql"
end

--- Sorts by version and name, requirements left aside.
---@param list luphant.migrate.Migration[]
function M.sort(list)
  local keys = {}
  for _, migration in ipairs(list) do keys[migration] = sort_key(migration) end
  table.sort(list, function(a, b)
    local ka, kb = keys[a], keys[b]
    if ka ~= kb then return ka < kb end
    return (a.file or "") < (b.file or "")
  end)
end

--- By id, the first of each.
---@param list table[] migrations or rows
---@return table<string, table>
function M.index(list)
  local index = {}
  for _, item in ipairs(list) do
    local id = M.id_of(item)
    if id then index[id] = index[id] or item end
  end
  return index
end

local function describe_cycle(path, from)
  local names = {}
  for i = from, #path do names[#names + 1] = M.label(path[i].item) end
  names[#names + 1] = names[1]
  return "the requirements go round in a circle: " .. table.concat(names, " requires ")
end

-- Depth first with a stack of our own: a chain of requirements may be as long as the folder.
local function visit(root, index, state, out, complain)
  local path = { { item = root, next = 1 } }
  state[root] = 1
  while #path > 0 do
    local top = path[#path]
    local wanted = top.item.requires and top.item.requires[top.next]
    if not wanted then
      state[top.item], out[#out + 1], path[#path] = "done", top.item, nil
    else
      top.next = top.next + 1
      local other = index[M.id(wanted)]
      if other and not state[other] then
        path[#path + 1] = { item = other, next = 1 }
        state[other] = #path
      elseif other and state[other] ~= "done" then
        complain(path[#path].item, describe_cycle(path, state[other]))
      end
    end
  end
end

--- The order to run in. Answers a new list; cycles are told and broken where they close.
---@param list luphant.migrate.Migration[]
---@param complain fun(migration: luphant.migrate.Migration, message: string)
---@return luphant.migrate.Migration[]
function M.resolve(list, complain)
  local sorted, out, state = {}, {}, {}
  for i, migration in ipairs(list) do sorted[i] = migration end
  M.sort(sorted)
  local index = M.index(sorted)
  for _, migration in ipairs(sorted) do
    for _, wanted in ipairs(migration.requires or {}) do
      if migration.kind ~= "repeatable" and wanted:find "^R__" then
        complain(migration, ("requires %s, but repeatable migrations run after all others"):format(wanted))
      end
    end
  end
  for _, migration in ipairs(sorted) do
    if not state[migration] then visit(migration, index, state, out, complain) end
  end
  -- A versioned one that wrongly requires a repeatable one has drawn it forward; the complaint is made.
  return out
end

return M
