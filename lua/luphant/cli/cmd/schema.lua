-- luphant schema - what is in a database: as a file, as text, compared with another.
--
-- Translates arguments into calls of luphant.schema. A side of a comparison is a file that `snapshot` wrote, or a
-- database (a URL). Exit codes beside those of main.lua: 4 there are differences, other than in the order of columns.
--
-- SPDX-License-Identifier: MIT

local core = require "luphant.core"
local luphant = require "luphant"
local schema = require "luphant.schema"

local M = { summary = "Take a snapshot of a schema, show it, compare two" }

local OK, FAILED, USAGE, NO_CONNECTION, DIFFERENT = 0, 1, 2, 3, 4

--- Adds the arguments of this command to its parser (argparse).
function M.configure(parser)
  parser:argument("action", "What to do: write a snapshot as JSON, show one as text or as its hash, compare two.")
    :choices { "snapshot", "text", "hash", "diff" }
  parser:argument("source", "Snapshot files or URLs of databases; diff: what was, and what is (default: the database).")
    :args "0-2"
  parser:option("-d --database", "URL of the database (default: DATABASE_URL, then PG* variables).")
  parser:option("--schema", "Only this schema, or those that match (*, ?); may be repeated."):count "*"
  parser:option("--except", "Not this schema, or those that match (default: luphant); may be repeated."):count "*"
  parser:flag("--no-owners", "Leave owners out.")
  parser:flag("--no-grants", "Leave privileges out.")
  parser:flag("--no-comments", "Leave comments out.")
  parser:flag("--json", "diff: print one JSON object instead of lines.")
  parser:epilog("Exit codes: 0 fine, no differences; 1 failed; 2 wrong use; 3 no connection; 4 differences.")
end

local function options_of(args)
  return {
    schemas = #args.schema > 0 and args.schema or nil, except = #args.except > 0 and args.except or nil,
    owners = not args.no_owners, grants = not args.no_grants, comments = not args.no_comments,
  }
end

local function from_database(url, args)
  local conn, err = luphant.connect(url)
  if not conn then return nil, err, err.class == "usage" and USAGE or NO_CONNECTION end
  local snapshot
  snapshot, err = schema.snapshot(conn, options_of(args))
  conn:close()
  return snapshot, err, FAILED
end

local function from_file(path)
  local file, why = io.open(path, "rb")
  if not file then return nil, why, USAGE end
  local text = file:read "*a"
  file:close()
  local snapshot, err = schema.from_json(text or "")
  return snapshot, err and path .. ": " .. err.message, FAILED
end

local function is_database(source)
  return source:find "^postgres%a*://" or source:find "^%s*[%a_]+%s*="
end

-- A snapshot, or nil, what went wrong and the exit code for it. No source is the database of the options.
local function load(source, args, env)
  if source == nil then return from_database(args.database or env.getenv "DATABASE_URL", args) end
  if is_database(source) then return from_database(source, args) end
  return from_file(source)
end

local SHOW = { snapshot = schema.to_json, text = schema.text, hash = function(s) return schema.hash(s) .. "\n" end }

local function show(args, env)
  local snapshot, err, code = load(args.source[1], args, env)
  if not snapshot then return nil, err, code end
  env.out:write(SHOW[args.action](snapshot))
  return OK
end

local function is_different(differences)
  for _, difference in ipairs(differences) do
    if not difference.warning then return true end
  end
  return false
end

local function compare(args, env)
  local from, err, code = load(args.source[1], args, env)
  if not from then return nil, err, code end
  local to
  to, err, code = load(args.source[2], args, env)
  if not to then return nil, err, code end
  local differences = schema.diff(from, to)
  local different = is_different(differences)
  if args.json then
    env.out:write(assert(core.json_encode {
      different = different, differences = core.json_array(differences), from = schema.hash(from), to = schema.hash(to),
    }), "\n")
  else
    env.out:write(schema.diff_text(differences))
  end
  return different and DIFFERENT or OK
end

local function misuse(args)
  local count = #args.source
  if args.action == "diff" and count == 0 then return "diff: compare with what? Name a snapshot file or a URL" end
  if args.action ~= "diff" and count > 1 then return args.action .. ": takes one file or URL" end
  if args.json and args.action ~= "diff" then return "--json belongs to diff" end
end

local function fail(args, env, err, code)
  if args.json then
    local known = type(err) == "table"
    env.out:write(assert(core.json_encode {
      error = { kind = known and err.kind or "usage", message = known and err.message or err },
    }), "\n")
  else
    env.err:write("luphant schema: ", tostring(err), "\n")
  end
  return code
end

--- Runs the command.
---@param args table what the parser made of the command line
---@param env luphant.cli.env
---@return integer exit_code
function M.run(args, env)
  local why = misuse(args)
  if why then
    env.err:write("luphant schema: ", why, "\n")
    return USAGE
  end
  local run = args.action == "diff" and compare or show
  local code, err, failure = run(args, env)
  if code then return code end
  return fail(args, env, err, failure)
end

return M
