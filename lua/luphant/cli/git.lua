-- cli/git.lua - what a branch or commit has in a folder, and what was changed since.
--
-- Asks the git command. Compared is with the point where the two branches parted, so that what others did meanwhile is
-- not taken for ours; work that is not committed counts.
--
-- SPDX-License-Identifier: MIT

local shell = require "luphant.testing.shell"

local M = {}

-- The output of git in `dir`, or nil and what it complains about.
local function git(dir, ...)
  local words = { "git", "-C", shell.quote(dir) }
  for _, word in ipairs { ... } do words[#words + 1] = shell.quote(word) end
  local pipe = assert(io.popen(table.concat(words, " ") .. " 2>&1; printf '\\n%s' $?"))
  local text = pipe:read "*a"
  pipe:close()
  local output, status = text:match "^(.*)\n(%d+)$"
  if status ~= "0" then return nil, (output:gsub("%s+$", ""):gsub("\n", "; ")) end
  return output
end

local function names(text, dir)
  local list = {}
  for name in text:gmatch "([^%z]+)%z" do list[#list + 1] = dir .. "/" .. name end
  return list
end

-- name-status -z: a letter, NUL, a name, NUL, ...
local function statuses(text, dir)
  local added, edited = {}, {}
  for letter, name in text:gmatch "(%a)%z([^%z]+)%z" do
    local list = letter == "A" and added or letter == "M" and edited
    if list then list[#list + 1] = dir .. "/" .. name end
  end
  return added, edited
end

---@class (exact) luphant.cli.git.Changes
---@field files string[] what the branch has
---@field added string[]
---@field edited string[]

--- What is new or changed in `dir` against `ref`.
---@param dir string
---@param ref string
---@return luphant.cli.git.Changes?
---@return string? why
function M.changes(dir, ref)
  if ref:find "^%-" then return nil, ("%s is no name of a branch"):format(ref) end
  local listed, why = git(dir, "ls-tree", "-r", "-z", "--name-only", ref, "--", ".")
  if not listed then return nil, why end
  local parted
  parted, why = git(dir, "merge-base", ref, "HEAD")
  if not parted then return nil, why ~= "" and why or ("HEAD and %s have no common history"):format(ref) end
  local changed
  changed, why = git(dir, "diff", "--no-renames", "--no-ext-diff", "--relative", "--name-status", "-z",
    parted:match "%x+", "--", ".")
  if not changed then return nil, why end
  local untracked
  untracked, why = git(dir, "ls-files", "--others", "--exclude-standard", "-z", "--", ".")
  if not untracked then return nil, why end
  local added, edited = statuses(changed, dir)
  for _, path in ipairs(names(untracked, dir)) do added[#added + 1] = path end
  return { files = names(listed, dir), added = added, edited = edited }
end

return M
