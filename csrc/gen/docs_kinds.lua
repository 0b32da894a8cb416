--- The reference page of error kinds: kind.inc and errcodes.tsv -> docs/api/error-kinds.md.
--
-- The C table and the page have one source, so no kind can exist without an explanation. What a SQLSTATE's
-- class and retryability are is asked of sqlstate.lua, which decides it.
-- See emit.lua for how to run it. SPDX-License-Identifier: MIT

local emit = dofile "csrc/gen/emit.lua"
local sqlstate = dofile "csrc/gen/sqlstate.lua"

local INTRO = [[
# Error kinds

Every error object has a `kind`, one of the words below, and a `class`, which groups kinds by what they
are about:

| class | what it is about |
|---|---|
| `connection` | a session could not be made, or it ended |
| `query` | one statement, its parameters or its result |
| `constraint` | the data would break a rule of the schema |
| `timeout` | a time limit of the caller or of the server |
| `transaction` | the transaction as a whole |
| `pool` | getting a connection from the pool |
| `usage` | the program calls luphant wrongly; the message says what to write instead |

`retryable` is true when nothing of the failed work remained and the same work may succeed as it stands:
the statement, or the whole transaction when it failed inside one. The two tables give what the kind alone
tells. For the end of a session (`closed`, `shutdown`, and `admin_shutdown` and its like) it depends on how far
the statement got: such an error is retryable when its `sent` is `"no"`.

Kinds are compared with `==`; messages are for people, change, and are translated by the server.
]]

local CLIENT = [[

## Made by luphant

`err.sqlstate` is absent, unless the same word is also one of the server's.

| kind | class | retryable | meaning |
|---|---|---|---|
]]

local SERVER = [[

## Sent by the server

The kind is PostgreSQL's own condition name for the SQLSTATE, which is in `err.sqlstate`, with these
exceptions:

%s
A code that is not in the table, such as one of a newer server, gets the kind and class of its group's
general code (the one that ends in `000`); a code of no known group, such as one made up with
`raise ... using errcode`, gets `server_error` and class `query`. Codes with a version exist since that
PostgreSQL. Groups 00 to 02 are not errors; they appear on notices.

| SQLSTATE | kind | class | retryable | since |
|---|---|---|---|---|
]]

-- The strings of one C call, adjacent literals joined: kind, class and explanation.
local function client_kinds()
  local list = {}
  local source = emit.read("csrc/core/kind.inc"):gsub("/%*.-%*/", "")
  for entry in (source .. "LPH_CLIENT_KIND"):gmatch "(%(.-)LPH_CLIENT_KIND" do
    local kind, class, retryable, literals = entry:match '^%("([%a_]+)", "(%a+)", (%a+),%s*(".*")%)%s*$'
    assert(kind, "kind.inc: cannot read " .. entry)
    local text = literals:gsub('"%s*\n%s*"', ""):sub(2, -2):gsub("\\(.)", "%1")
    list[#list + 1] = { kind = kind, class = class, retryable = retryable == "true", text = text }
  end
  return list
end

local function yes(flag) return flag and "yes" or "" end

local function exceptions(rows)
  local out = {}
  for _, row in ipairs(rows) do
    if row.kind ~= row.condition then
      out[#out + 1] = ("- `%s` (`%s`) is `%s`\n"):format(row.code, row.condition, row.kind)
    end
  end
  return table.concat(out)
end

local function outputs()
  local rows = sqlstate.rows()
  local out = { INTRO, CLIENT }
  for _, k in ipairs(client_kinds()) do
    out[#out + 1] = ("| `%s` | `%s` | %s | %s |\n"):format(k.kind, k.class, yes(k.retryable), k.text)
  end
  out[#out + 1] = SERVER:format(exceptions(rows))
  for _, row in ipairs(rows) do
    out[#out + 1] = ("| `%s` | `%s` | `%s` | %s | %s |\n"):format(row.code, row.kind, row.class,
      yes(row.retryable), row.since > 15 and tostring(row.since) or "")
  end
  out[#out + 1] = "\n<!-- Made by csrc/gen/docs_kinds.lua; edit csrc/core/kind.inc and csrc/gen. -->\n"
  return { ["docs/api/error-kinds.md"] = table.concat(out) }
end

emit.main("csrc/gen/docs_kinds.lua", outputs, arg)
return { outputs = outputs, client_kinds = client_kinds }
