-- kinds.lua - the words in `err.kind` that luphant itself makes, and the class of every kind.
--
-- This is the one list of client-side kinds: documentation and specs read it. Kinds of the server
-- are the condition names of PostgreSQL's errcodes.txt and live in the core's generated table;
-- their class follows from the SQLSTATE here. Data and one function, nothing else.
--
-- SPDX-License-Identifier: MIT

local kinds = {}

local LIST = {
  connection = {
    auth = "the server refused the role or its password",
    closed = "the connection is closed (by close(), or after an earlier failure)",
    connect = "no connection came about (refused, no such host, server starting, ...)",
    connection_lost = "the connection broke while it was in use",
    fork = "the connection belongs to the parent process",
    password_source = "the password function or password_file gave no usable password",
    protocol = "the server sent what the protocol does not allow",
    tls = "TLS could not be negotiated",
    tls_verify = "the server's certificate does not prove that it is the right server",
  },
  timeout = {
    connect_timeout = "no connection within connect_timeout",
    query_timeout = "the client's deadline passed; the statement was cancelled",
  },
  query = {
    cancelled = "the statement was cancelled by conn:cancel()",
    no_rows = "exactly one row was asked for and none came",
    out_of_memory = "the client had no memory for it",
    params = "a parameter does not fit the type the server expects; nothing was sent",
    result_too_large = "the result passed max_result_bytes and was dropped",
    too_many_rows = "at most one row was asked for and more came",
    type = "a value from the server is not what its type promises",
  },
  transaction = {
    commit_unknown = "the connection broke during COMMIT: it may or may not have happened",
    rolled_back = "COMMIT was answered by ROLLBACK: a statement in the transaction had failed",
  },
  pool = {
    pool_closed = "the pool is closed or closing",
    pool_timeout = "no connection became free within acquire_timeout",
  },
  usage = {
    busy = "the connection is in the middle of another operation",
    config = "the connection settings cannot work",
    unsupported = "this build of luphant or its libpq cannot do it",
    usage = "a call that cannot mean anything",
  },
}

local class_by_kind = {}
for class, words in pairs(LIST) do
  for kind in pairs(words) do class_by_kind[kind] = class end
end

-- First two characters of the SQLSTATE -> class; "query" for all others.
local CLASS_BY_STATE = {
  ["08"] = "connection", -- connection exception
  ["28"] = "connection", -- invalid authorization specification
  ["23"] = "constraint", -- integrity constraint violation
  ["25"] = "transaction", -- invalid transaction state
  ["2D"] = "transaction", -- invalid transaction termination
  ["3B"] = "transaction", -- savepoint exception
  ["40"] = "transaction", -- transaction rollback: serialization failure, deadlock
}

-- Where the first two characters do not tell.
local CLASS_BY_SQLSTATE = {
  ["25P03"] = "timeout", -- idle_in_transaction_session_timeout
  ["25P04"] = "timeout", -- transaction_timeout
  ["40002"] = "constraint", -- transaction integrity constraint violation
  ["53300"] = "connection", -- too many connections
  ["55P03"] = "timeout", -- lock not available (lock_timeout, NOWAIT)
  ["57014"] = "timeout", -- query canceled (statement_timeout)
  ["57P01"] = "connection", -- admin shutdown
  ["57P02"] = "connection", -- crash shutdown
  ["57P03"] = "connection", -- cannot connect now
  ["57P04"] = "connection", -- database dropped
  ["57P05"] = "connection", -- idle session timeout
}

--- The class of an error. The kind of the Lua side wins over the SQLSTATE: a 57014 that our own
--- deadline caused is a query_timeout, a 28P01 is `auth`.
---@param kind string|nil
---@param sqlstate string|nil
---@return string
function kinds.class_of(kind, sqlstate)
  local class = class_by_kind[kind]
  if class then return class end
  if not sqlstate then return "query" end
  return CLASS_BY_SQLSTATE[sqlstate] or CLASS_BY_STATE[sqlstate:sub(1, 2)] or "query"
end

--- All client-side kinds, alphabetically.
---@return { kind: string, class: string, meaning: string }[]
function kinds.list()
  local out = {}
  for class, words in pairs(LIST) do
    for kind, meaning in pairs(words) do
      out[#out + 1] = { kind = kind, class = class, meaning = meaning }
    end
  end
  table.sort(out, function(a, b) return a.kind < b.kind end)
  return out
end

return kinds
