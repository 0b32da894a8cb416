-- luphant.migrate.lint.fix - writes the remedies of findings into the files they are about.
--
-- One remedy for a section at a time: what is left is found by linting again. A file that our loader would not take
-- afterwards is put back as it was. Line ends and a byte order mark stay those of the file.
--
-- SPDX-License-Identifier: MIT

local encoding = require "luphant.migrate.encoding"
local errors = require "luphant.errors"
local parse = require "luphant.migrate.parse"

local M = {}

-- The byte on which a line begins.
local function line_start(text, line)
  local at = 1
  for _ = 2, line do
    local stop = text:find("\n", at, true)
    if not stop then return nil end
    at = stop + 1
  end
  return at
end

local function with_option(text, section, option)
  if section.line <= 1 then return ("-- migrate:up %s\n"):format(option) .. text end
  local at = line_start(text, section.line - 1)
  local head, line, rest = text:sub(1, at - 1), text:match("^([^\n]*)(.*)$", at)
  return head .. line:gsub("%s+$", "") .. " " .. option .. rest
end

--- The text with a remedy in it; nil where the text is not the one that was linted.
---@param text string normalised
---@param remedy luphant.migrate.lint.Remedy
---@return string?
function M.apply(text, remedy)
  local section = remedy.section
  local start = line_start(text, section.line)
  if not start or text:sub(start, start + #section.text - 1) ~= section.text then return nil end
  local edits = {}
  for i, edit in ipairs(remedy.edits) do edits[i] = edit end
  table.sort(edits, function(a, b) return a.from > b.from end)
  for _, edit in ipairs(edits) do
    local at = start + edit.from - 1
    text = text:sub(1, at - 1) .. edit.text .. text:sub(start + edit.to)
  end
  return remedy.option and with_option(text, section, remedy.option) or text
end

local function read(path)
  local handle, why = io.open(path, "rb")
  if not handle then return nil, errors.new("migration_file", why) end
  local text = handle:read "*a"
  handle:close()
  return text
end

local function write(path, text)
  local handle, why = io.open(path, "wb")
  if not handle then return nil, errors.new("migration_file", why) end
  handle:write(text)
  handle:close()
  return true
end

-- As the file was: with its byte order mark and its line ends.
local function denormalise(text, original)
  if original:find("\r\n", 1, true) then text = text:gsub("\n", "\r\n") end
  return (original:match "^\239\187\191" or "") .. text
end

local function is_taken(text, path)
  local part = path:match "%.(%l+)%.sql$"
  local _, problems = parse(text, path, (part == "up" or part == "down") and part or nil)
  return #problems == 0
end

local function fix_file(path, remedy)
  local original, err = read(path)
  if not original then return nil, err end
  local text = M.apply(encoding.normalise(original), remedy)
  if not text or not is_taken(text, path) then return false end
  return write(path, denormalise(text, original))
end

--- Mends the first finding of each section that has a remedy. Answers those that were mended.
---@param report luphant.migrate.lint.Report
---@return luphant.migrate.lint.Finding[]?
---@return luphant.error? err a file cannot be written
function M.run(report)
  local out, seen = {}, {}
  for _, finding in ipairs(report.findings) do
    local remedy = finding.remedy
    -- One for a file and pass: behind an edit the places of the others have moved.
    if remedy and not seen[remedy.section.file] then
      local done, err = fix_file(remedy.section.file, remedy)
      if done == nil then return nil, err end
      if done then
        seen[remedy.section.file] = true
        out[#out + 1] = finding
      end
    end
  end
  return out
end

return M
