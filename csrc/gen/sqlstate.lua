--- SQLSTATEs: errcodes.tsv -> csrc/core/sqlstate.inc.
--
-- The input holds one code a line: SQLSTATE, E(rror) W(arning) or S(uccess), condition name, and the major
-- version of PostgreSQL that brought it (15 = that or an earlier one). It was extracted with
--
--   awk 'length($1) == 5 && $1 ~ /^[0-9A-Z]+$/ && $4 ~ /^[a-z]/ {print $1 "\t" $2 "\t" $4 "\t15"}' \
--     "$(pg_config --sharedir)/errcodes.txt" | LC_ALL=C sort -u
--
-- plus what later versions added. For a new version, add its lines and keep the order.
-- spec/gen_spec.lua fails when the installed server knows a code that is missing here.
--
-- What a code means to a program is decided below and nowhere else: its word, its class, and whether the
-- same work may simply be run again. See emit.lua for how to run it. SPDX-License-Identifier: MIT

local emit = dofile "csrc/gen/emit.lua"

-- Where our word is not PostgreSQL's condition name: both say that the server did not let us in, and which
-- of the two it picks depends on pg_hba.conf rather than on what went wrong.
local KIND = { ["28000"] = "auth", ["28P01"] = "auth" }

-- The longest prefix that fits decides; what fits none is "query".
local CLASS = {
  ["08"] = "connection",
  ["28"] = "connection",
  ["3D"] = "connection", -- the database of the connection string does not exist
  ["53300"] = "connection", -- too many connections
  ["57P0"] = "connection", -- shutdown, crash, starting, database dropped, idle session ended
  ["23"] = "constraint",
  ["44"] = "constraint", -- WITH CHECK OPTION of a view
  ["25P03"] = "timeout", -- idle in transaction
  ["25P04"] = "timeout", -- transaction_timeout
  ["55P03"] = "timeout", -- lock_timeout and NOWAIT
  ["57014"] = "timeout", -- statement_timeout, or cancelled by someone
  ["0B"] = "transaction",
  ["25"] = "transaction",
  ["2D"] = "transaction",
  ["3B"] = "transaction",
  ["40"] = "transaction",
}

-- The whole transaction may be run again as it stands, because the server guarantees that nothing of it
-- remained: it was rolled back (40001, 40P01) or never began (no session was given). The end of a session
-- (57P01, 08006 ...) is not here: whether a COMMIT went through before it cannot be told from the code.
local RETRYABLE = { ["40001"] = true, ["40P01"] = true, ["53300"] = true, ["57P03"] = true }

local function class_of(code)
  for length = 5, 2, -1 do
    local class = CLASS[code:sub(1, length)]
    if class then return class end
  end
  return "query"
end

--- Every known code in order: code, severity, condition, since, kind, class, retryable.
local function rows()
  local list = {}
  for i, cell in ipairs(emit.tsv "csrc/gen/errcodes.tsv") do
    local code = cell[1]
    assert(#code == 5 and cell[3]:find "^[a-z_0-9]+$", "bad line for " .. code)
    assert(i == 1 or list[i - 1].code < code, "errcodes.tsv is not sorted at " .. code)
    list[i] = { code = code, severity = cell[2], condition = cell[3], since = tonumber(cell[4]),
                kind = KIND[code] or cell[3], class = class_of(code), retryable = RETRYABLE[code] or false }
  end
  return list
end

local function outputs()
  local out = {
    "/* sqlstate.inc - SQLSTATEs by code. Made by gen/sqlstate.lua from gen/errcodes.tsv; edit those.",
    " *",
    " * LPH_SQLSTATE(code, kind, class, retryable).",
    " *",
    " * SPDX-License-Identifier: MIT */",
  }
  for _, row in ipairs(rows()) do
    out[#out + 1] = ('LPH_SQLSTATE("%s", "%s", "%s", %s)'):format(row.code, row.kind, row.class,
      tostring(row.retryable))
  end
  return { ["csrc/core/sqlstate.inc"] = table.concat(out, "\n") .. "\n" }
end

emit.main("csrc/gen/sqlstate.lua", outputs, arg)
return { outputs = outputs, rows = rows }
