-- handler - how busted reports here: a line for each file, failures at once and in full, reasons of skipped
-- tests, and counts for the script that adds several runs up.
--
-- Errors outside of a test (a file that does not load, a failing setup) count as failed. LUPHANT_TEST_COUNTS
-- names a file for the script that adds up: "passed failed skipped", written at the very end. Until then the
-- file holds the name of the test that runs, so that a run that crashed or hung tells where.
--
-- LUPHANT_TEST_CLAIMS names a directory that several runs share: each takes the next file that no other has taken,
-- LUPHANT_TEST_BATCH of them at most. LUPHANT_TEST_FAILED names a file that gets a line for each file with failures:
-- its name and "passed failed skipped".
--
-- SPDX-License-Identifier: MIT
local busted = require "busted"
local lfs = require "lfs"
local pretty = require "pl.pretty"

-- busted makes every file load its modules anew. luv opened twice in one state ends in a crash (the loop of the
-- first goes with the garbage, the second goes on using it); what is loaded here stays.
pcall(require, "luv")

local write = function(...)
  io.stdout:write(...)
  io.stdout:flush()
end

local function text_of(message)
  if type(message) == "string" then
    return message
  end
  local mt = type(message) == "table" and getmetatable(message)
  if mt and type(mt) == "table" and mt.__tostring then
    return tostring(message)
  end
  return message == nil and "(no message)" or pretty.write(message)
end

local function indented(text)
  return "    " .. text:gsub("%s+$", ""):gsub("\n", "\n    ") .. "\n"
end

local claims, left = os.getenv("LUPHANT_TEST_CLAIMS"), tonumber(os.getenv("LUPHANT_TEST_BATCH") or "") or math.huge

-- Making a directory is what only one can succeed in.
local function is_ours(file)
  if not claims then return true end
  if left == 0 or not lfs.mkdir(claims .. "/" .. file.name:gsub("[^%w]", "_")) then return false end
  left = left - 1
  return true
end

-- For the script that runs such files again. One write: several runs share the list.
local function append_failed(...)
  local path = os.getenv "LUPHANT_TEST_FAILED"
  if not path then return end
  local list = assert(io.open(path, "a"))
  list:write(("%s %d %d %d\n"):format(...))
  list:close()
end

return function(options)
  local handler = require "busted.outputHandlers.base"()
  local before = { passed = 0, skipped = 0, failed = 0 }

  local note_path = os.getenv("LUPHANT_TEST_COUNTS")
  local function note(text)
    if note_path then
      local file = assert(io.open(note_path, "w"))
      file:write(text, "\n")
      file:close()
    end
  end

  local function counts()
    return {
      passed = handler.successesCount,
      failed = handler.failuresCount + handler.errorsCount,
      skipped = handler.pendingsCount,
    }
  end

  local function tell_failure(report)
    local trace = report.trace or {}
    write("\nFAILED  ", report.name, "\n")
    if trace.short_src then
      write("    at ", trace.short_src, ":", tostring(trace.currentline), "\n")
    end
    write(indented(text_of(report.message)))
    if trace.traceback and (options.verbose or report.isError) then
      write(indented((trace.traceback:gsub("^\n", ""))))
    end
    write("\n")
  end

  function handler.testStart(element)
    note("in " .. handler.getFullName(element))
    return nil, true
  end

  function handler.testEnd(_, _, status)
    if status == "pending" then
      local report = handler.pendings[#handler.pendings]
      -- The place that busted puts before the reason is its own.
      local reason = text_of(report.message):gsub("^[^%s:]+:%d+: ", "")
      write("skipped ", report.name, ": ", reason, "\n")
    elseif status == "failure" then
      tell_failure(handler.failures[#handler.failures])
    elseif status == "error" then
      tell_failure(handler.errors[#handler.errors])
    end
    return nil, true
  end

  -- Ctrl-C is an error like any other to busted, which would go on with the next test. Closing the state stops
  -- the servers that specs have started.
  function handler.interrupted(_, _, message)
    if type(message) == "string" and message:find("interrupted!$") then
      write("\ninterrupted\n")
      os.exit(130, true)
    end
    return nil, true
  end

  function handler.error(element)
    if element.descriptor ~= "it" then
      tell_failure(handler.errors[#handler.errors])
    end
    return nil, true
  end

  function handler.fileStart(file)
    before = counts()
    if not is_ours(file) then
      file.is_elsewhere = true
      setmetatable(file.run, { __call = function() end }) -- busted looks for fields in it
    end
    return nil, true
  end

  function handler.fileEnd(file)
    if file.is_elsewhere then return nil, true end
    local now = counts()
    write(("%-44s %4d passed"):format(file.name, now.passed - before.passed))
    for _, kind in ipairs { "failed", "skipped" } do
      if now[kind] > before[kind] then
        write((", %d %s"):format(now[kind] - before[kind], kind))
      end
    end
    write((", %.1f s\n"):format(file.duration or 0))
    if now.failed > before.failed then
      append_failed(file.name, now.passed - before.passed, now.failed - before.failed, now.skipped - before.skipped)
    end
    return nil, true
  end

  -- busted keeps every block to the end, and with it all that its functions refer to: a heap of so many megabytes that
  -- a collection takes longer than some time limits.
  local PARTS = { "env", "setup", "teardown", "lazy_setup", "lazy_teardown", "strict_setup", "strict_teardown",
    "before_each", "after_each", "finally" }
  local function nothing() end
  function handler.forget(element)
    for _, part in ipairs(PARTS) do element[part] = nil end
    if element.descriptor == "file" then
      setmetatable(element.run, { __call = nothing }) -- busted looks for fields in it
    else
      element.run = nothing
    end
    return nil, true
  end

  function handler.suiteEnd()
    local all = counts()
    note(("%d %d %d"):format(all.passed, all.failed, all.skipped))
    write(("%d passed, %d failed, %d skipped in %.1f s\n"):format(
      all.passed, all.failed, all.skipped, handler.getDuration()))
    return nil, true
  end

  busted.subscribe({ "file", "start" }, handler.fileStart)
  busted.subscribe({ "file", "end" }, handler.fileEnd)
  busted.subscribe({ "test", "start" }, handler.testStart)
  busted.subscribe({ "test", "end" }, handler.testEnd, { predicate = handler.cancelOnPending })
  busted.subscribe({ "error" }, handler.interrupted, { priority = 1 })
  busted.subscribe({ "failure" }, handler.error)
  busted.subscribe({ "error" }, handler.error)
  busted.subscribe({ "test", "end" }, handler.forget)
  busted.subscribe({ "describe", "end" }, handler.forget)
  busted.subscribe({ "file", "end" }, handler.forget)
  busted.subscribe({ "suite", "end" }, handler.suiteEnd)
  return handler
end
