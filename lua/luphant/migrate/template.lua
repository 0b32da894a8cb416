-- luphant.migrate.template - what stands in a new migration before anybody has written anything.
--
-- Sections are left empty, and an empty one is an error of the loader: a migration that was never written must not be
-- applied as one that does nothing. A draft fills them.
--
-- SPDX-License-Identifier: MIT

local M = {}

local function head(title, prefix) return ("%s %s\n\n"):format(prefix, (title:gsub("%s*\n%s*", " "))) end

local function marker(name, options)
  local mode = options.transaction == false and " transaction:false" or ""
  return ("-- migrate:%s%s\n"):format(name, mode)
end

local WARNING = [[
-- A draft, made of a difference: read it. It knows no rows and no locks, and what was renamed it drops and adds.
]]

-- What a draft says about itself, and the statements of one part.
local function drafted(options)
  if not options.draft then return "", "", "" end
  local lines = { WARNING }
  for _, text in ipairs(options.draft.left) do
    for line in (text .. "\n"):gmatch "([^\n]*)\n" do
      if line ~= "" then lines[#lines + 1] = "-- left to you: " .. line .. "\n" end
    end
  end
  return table.concat(lines) .. "\n", options.draft.up, options.draft.down
end

--- One file with both ways; a repeatable one has no way back.
function M.sql(title, options)
  local note, up, down = drafted(options)
  local text = head(title, "--") .. note .. marker("up", options) .. up .. "\n"
  if options.repeatable then return text end
  return text .. (up == "" and "\n" or "") .. marker("down", options) .. (down ~= "" and down or "\n")
end

function M.pair_up(title, options)
  local note, up = drafted(options)
  return head(title, "--") .. note .. marker("up", options) .. (up ~= "" and up or "\n")
end

function M.pair_down(title, options)
  local note, _, down = drafted(options)
  return head(title, "--") .. note .. marker("down", options) .. (down ~= "" and down or "\n")
end

function M.lua(title, options)
  local lines = { "return {" }
  if options.transaction == false then lines[#lines + 1] = "  transaction = false," end
  lines[#lines + 1] = "  up = function(db)\n    error \"write the way forward\"\n  end,"
  if not options.repeatable then
    lines[#lines + 1] = "  down = function(db)\n    error \"write the way back\"\n  end,"
  end
  return head(title, "--") .. table.concat(lines, "\n") .. "\n}\n"
end

return M
