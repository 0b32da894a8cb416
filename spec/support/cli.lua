-- spec.support.cli: the luphant command in the process of a spec.
--
--   local cli = require "spec.support.cli"
--   local code, out, err = cli.run({ DATABASE_URL = url }, "migrate", "status")
--   cli.run({}, { answers = { "yes" } }, "migrate", "db", "drop")     -- a person who answers
--
-- SPDX-License-Identifier: MIT

local core = require "luphant.core"
local main = require "luphant.cli.main"

local M = {}

local function sink()
  local file = { text = "" }
  function file:write(...)
    for i = 1, select("#", ...) do self.text = self.text .. tostring((select(i, ...))) end
    return self
  end
  return file
end

--- Answers the exit code, standard output, standard error and the questions that were asked.
function M.run(variables, person, ...)
  local words = { ... }
  if type(person) == "string" then
    table.insert(words, 1, person)
    person = {}
  end
  local questions = {}
  local env = {
    out = sink(), err = sink(), is_terminal = function() return false end,
    getenv = function(name) return variables[name] end,
    ask = function(question)
      questions[#questions + 1] = question
      return person.answers and person.answers[#questions]
    end,
  }
  local code = main.run(words, env)
  return code, env.out.text, env.err.text, questions
end

--- What was written with --json: a list of documents.
function M.documents(text)
  local list = {}
  for line in text:gmatch "[^\n]+" do list[#list + 1] = assert(core.json_decode(line)) end
  return list
end

return M
