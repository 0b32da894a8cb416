-- luphant.migrate.template - what stands in a new migration before anybody has written anything.
--
-- Sections are left empty, and an empty one is an error of the loader: a migration that was never written must not be
-- applied as one that does nothing.
--
-- SPDX-License-Identifier: MIT

local M = {}

local function head(title, prefix) return ("%s %s\n\n"):format(prefix, (title:gsub("%s*\n%s*", " "))) end

local function marker(name, options)
  local mode = options.transaction == false and " transaction:false" or ""
  return ("-- migrate:%s%s\n"):format(name, mode)
end

--- One file with both ways; a repeatable one has no way back.
function M.sql(title, options)
  local text = head(title, "--") .. marker("up", options) .. "\n"
  if options.repeatable then return text end
  return text .. "\n" .. marker("down", options) .. "\n"
end

function M.pair_up(title, options) return head(title, "--") .. marker("up", options) .. "\n" end

function M.pair_down(title, options) return head(title, "--") .. marker("down", options) .. "\n" end

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
