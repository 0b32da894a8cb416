-- cli/cmd/doctor.lua - luphant doctor [URL]: what this build, its surroundings and the server are like,
-- and what of it should worry whoever runs the application.
--
-- Looks only: nothing on the server is changed. Passwords are never shown, nor is the value of any
-- variable that may hold one.
--
-- SPDX-License-Identifier: MIT

local advice = require "luphant.cli.doctor.advice"
local facts_of = require "luphant.cli.doctor.facts"
local report = require "luphant.cli.doctor.report"
local style = require "luphant.cli.style"

local doctor = {
  summary = "Look at this build, its surroundings and a server, and say what should worry you.",
}

local OK, PROBLEMS, USAGE, NO_CONNECTION = 0, 1, 2, 3

function doctor.configure(parser)
  parser:argument("url", "Where to connect; default: DATABASE_URL, else what libpq's PG* variables say."):args("?")
  parser:flag("--json", "Write facts and findings as JSON.")
  parser:flag("--no-color", "No colour, even on a terminal (as NO_COLOR in the environment).")
  parser:option("--timeout", "Seconds the whole connect may take.", "5"):convert(function(text)
    local seconds = tonumber(text)
    if not seconds or seconds <= 0 then return nil, "--timeout must be a number of seconds above 0" end
    return seconds
  end)
  parser:epilog("Exit codes: 0 nothing wrong, 1 problems found, 2 wrong use or configuration, 3 cannot connect.")
end

local function count_problems(findings)
  local n = 0
  for _, found in ipairs(findings) do
    if found.level == "problem" then n = n + 1 end
  end
  return n
end

local function exit_code(facts, findings)
  if facts.error and facts.is_reached then return PROBLEMS end -- it takes us but answers no question
  if facts.error then return facts.error.class == "usage" and USAGE or NO_CONNECTION end
  return count_problems(findings) > 0 and PROBLEMS or OK
end

-- The error as plain data; a traceback of ours helps nobody who reads JSON.
local function plain_error(err)
  local out = {}
  for key, value in pairs(err) do
    if type(value) ~= "table" and key ~= "traceback" then out[key] = value end
  end
  out.text = tostring(err)
  return out
end

local function as_json(facts, findings)
  local core = require "luphant.core"
  local out = {}
  for key, value in pairs(facts) do out[key] = value end
  out.error = facts.error and plain_error(facts.error)
  out.environment = core.json_array(facts.environment)
  out.findings = core.json_array(findings)
  return assert(core.json_encode(out)) .. "\n"
end

function doctor.run(options, env)
  local facts = facts_of.gather(options.url, { connect_timeout = options.timeout }, env)
  local findings = advice.find(facts)
  if options.json then
    env.out:write(as_json(facts, findings))
  else
    env.out:write(report.text(facts, findings, style.new(env, options.no_color)))
  end
  return exit_code(facts, findings)
end

return doctor
