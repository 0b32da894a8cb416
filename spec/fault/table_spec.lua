-- docs/faults.md tells no lies: every test that it names exists, and it names every test of spec/fault.
--
-- To see it fail: change a word of a title there or here.
--
-- SPDX-License-Identifier: MIT

local lfs = require "lfs"

local PAGE, FOLDER = "docs/faults.md", "spec/fault"

local function text_of(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

-- Titles of the tests in spec/fault that begin with the number of a row: { [title] = path }.
local function titles()
  local found = {}
  for name in lfs.dir(FOLDER) do
    if name:find "_spec%.lua$" and name ~= "table_spec.lua" then
      local path = FOLDER .. "/" .. name
      for title in text_of(path):gmatch '%f[%w]test[%w.]*%("(F%d+ .-)",' do found[title] = path end
    end
  end
  return found
end

-- What the page names: { { row =, fault =, promise =, file = nil or a path, title = } }.
local function claims()
  local list, rows = {}, {}
  for line in io.lines(PAGE) do
    local row, fault, promise, shown = line:match "^| (F%d+) | (.-) | (.-) | (.-) |$"
    if row then
      rows[#rows + 1] = row
      assert(#fault > 10 and #promise > 3, row .. " says nothing")
      for part in (shown .. "<br>"):gmatch "(.-)<br>" do
        local link, title = part:match '^%[[%w_]+%]%(%.%./([%w_/]+%.lua)%): "(.+)"$'
        if not link then title = part:match '^"(.+)"$' end
        list[#list + 1] = { row = row, file = link, title = assert(title, row .. ": cannot be read: " .. part) }
      end
    end
  end
  return list, rows
end

local function assert_none(offences)
  assert(#offences == 0, "\n  " .. table.concat(offences, "\n  "))
end

describe("docs/faults.md", function()
  it("names tests that exist", function()
    local known, offences = titles(), {}
    local list = claims()
    assert.is_true(#list > 50)
    for _, claim in ipairs(list) do
      local there
      if claim.file then
        there = text_of(claim.file):find('"' .. claim.title .. '"', 1, true)
      else
        there = known[claim.row .. " " .. claim.title]
      end
      if not there then offences[#offences + 1] = ("%s: there is no test %q"):format(claim.row, claim.title) end
    end
    assert_none(offences)
  end)

  it("names every test of spec/fault, once", function()
    local named, offences = {}, {}
    for _, claim in ipairs((claims())) do
      local title = claim.row .. " " .. claim.title
      if not claim.file and named[title] then offences[#offences + 1] = "named twice: " .. title end
      named[title] = true
    end
    for title, path in pairs(titles()) do
      if not named[title] then offences[#offences + 1] = ("%s: not in the table: %s"):format(path, title) end
    end
    assert_none(offences)
  end)

  it("has each row once", function()
    local _, rows = claims()
    local seen, offences = {}, {}
    for _, row in ipairs(rows) do
      if seen[row] then offences[#offences + 1] = row end
      seen[row] = true
    end
    assert_none(offences)
  end)
end)
