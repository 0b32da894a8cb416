-- transaction/ending.lua - how a transaction ends, and the truth about how it did.
--
-- The core decides what became of it (core/txn.h): only the tag COMMIT is a commit. Here the pieces around that are
-- put in order: resources are closed, COMMIT or ROLLBACK sent, the levels taken off, the hooks run.
--
-- SPDX-License-Identifier: MIT

local core = require "luphant.core"
local drive = require "luphant.drive"
local errors = require "luphant.errors"
local hooks = require "luphant.transaction.hooks"

local PENDING = core.PENDING
local OPEN, ID, UNDO, COMMIT, ROLLBACK = 0, 1, 2, 3, 4 -- txn_run of the core

-- deliver_notices(conn), complete(...), query_code and settle(conn) are connection.lua's.
local ending = {}

-- An error that leaves the step loop (a waiter's, or no memory) leaves an operation nobody will end.
local function check_finished(box, ok, ...)
  if ok then return ... end
  box:close()
  error((...), 0)
end

--- Runs one of the transaction's own commands to its end.
local function run(conn, box, code, seconds)
  local result, err = box:txn_run(code, seconds)
  if result == PENDING and err == "ahead" then
    local _, why = ending.settle(conn) -- rows that could not be had do not stand in the way
    result, err = box:txn_run(code, seconds)
    if result == PENDING and err == "ahead" then return nil, why end
  end
  if result == PENDING then
    local ok
    ok, err = check_finished(box, pcall(drive.finish, conn, err))
    result = nil
    if ok then result, err = box:take() end
  end
  if conn.settings.on_notice and box:has_notices() then ending.deliver_notices(conn) end
  return result, err
end

--- Begins the transaction on the server without waiting for a statement.
---@param conn luphant.connection
---@return true|nil
---@return luphant.error|nil
function ending.open(conn)
  return run(conn, conn.box, OPEN)
end

--- Asks for the transaction's id, unless it is known.
function ending.ask_id(tx)
  return run(tx.conn, tx.box, ID)
end

------------------------------------------------------------------------------------- resources

-- What is still open in the level - streams, cursors - ends before it does, the youngest first.
local function close_resources(tx)
  local list = tx.open_resources
  if not list then return end
  tx.open_resources = nil
  for i = #list, 1, -1 do hooks.contained(tx.conn, "close of a resource", list[i].close, list[i]) end
end

---------------------------------------------------------------------------------------- levels

-- A lent connection that was given back belongs to somebody else, and so does what its box says.
local function is_ours(tx) return tx.conn.box == tx.box end
ending.is_ours = is_ours

local function is_open(tx)
  if not is_ours(tx) then return false end
  local state = tx.box:state()
  return state == "idle" or state == "busy"
end
ending.is_open = is_open

-- Takes the level off. `failure`: why it did not commit, for a function that does not know yet; `reason`: why it was
-- rolled back.
local function leave(tx, state, failure, reason)
  tx.state, tx.blocked = state, "ended"
  if failure ~= nil then tx.failure = failure end
  local conn, parent, listened = tx.conn, tx.parent, true
  if conn.tx == tx then conn.tx = parent end
  if parent then
    parent.blocked = nil
  elseif is_ours(tx) then
    listened = tx.box:txn_end()
    if tx.has_ceiling then tx.box:set_ceiling(tx.ceiling_before) end
    if tx.hooks then tx.last_id = tx.box:txn_id() end -- they may ask
  end
  local observers = listened and conn.settings.observers
  if observers then observers:transaction_ended(tx, state, failure, reason) end
end

-- Every level above fails with this one.
local function doom(tx, err)
  while tx do
    tx.first_error = tx.first_error or err
    tx = tx.parent
  end
end

local function strayed()
  return errors.new("tx_state",
    "the transaction was ended by a statement inside it (BEGIN, COMMIT or ROLLBACK); leave that to transaction()")
end

--- Why the level cannot be committed.
function ending.failure_of(tx)
  if tx.first_error then return tx.first_error end
  if not is_open(tx) then
    return errors.new("closed", "the connection was closed inside the transaction, which ended with it")
  end
  return errors.new("tx_state", "the transaction failed before it could be committed", { sqlstate = "25P02" })
end

-- A rollback is given as long as the draining of a cancelled statement: where nothing has a time limit, as long as
-- it takes. If it does not work out the session ends, and the server rolls back.
local function undo(tx)
  local conn, box = tx.conn, tx.box
  if not is_open(tx) then return end
  local is_limited = tx.root.has_ceiling or conn.settings.timeout
  local limit = is_limited and conn.settings.cancel_grace or nil
  if not run(conn, box, tx.parent and UNDO or ROLLBACK, limit) then box:close() end
end

local UNRESOLVABLE = "its id is not known: nothing was written in it, or COMMIT went with its first statement"
  .. " (resolve = true waits for the id)"

local function commit_unknown(tx, cause)
  local id, pid = tx.box:txn_id()
  return errors.new("commit_unknown",
    "the connection was lost while COMMIT was under way: the transaction may or may not have been committed", {
      sent = "maybe", cause = cause, xid = id, backend_pid = pid, connection = "closed",
      hint = not id and UNRESOLVABLE or nil,
    })
end

--- After COMMIT was tried: what the core knows about it now. Answers true, or nil and the error, or false when
--- COMMIT did not leave. `err`: what the attempt was answered.
local function conclude(tx, err)
  local committed, listened = tx.box:txn_committed()
  if committed then
    if listened or tx.hooks or tx.has_ceiling or tx.conn.tx ~= tx then -- the rest of `leave` has nothing to do
      leave(tx, "committed")
      if tx.hooks then hooks.after(tx, "after_commit") end
    else
      tx.state, tx.blocked, tx.conn.tx = "committed", "ended", nil
    end
    return true
  end
  local outcome = tx.box:txn_state()
  if outcome == "open" then return false, err end
  if outcome == "unknown" then
    err = commit_unknown(tx, err)
    leave(tx, "unknown", err)
    hooks.after(tx, "after_unknown", err)
    return nil, err
  end
  err = err or ending.failure_of(tx)
  if err.query == nil and errors.is_error(err) then err.query = "commit" end
  leave(tx, "rolled back", err)
  hooks.after(tx, "after_rollback", err)
  return nil, err
end

--- Rolls the level back, and runs its hooks for that. `reason` goes to them.
---@param tx luphant.transaction
---@param reason any
---@param traceback? string
function ending.roll_back(tx, reason, traceback)
  local outcome, _, has_strayed = "rolled back", nil, nil
  if is_ours(tx) then outcome, _, has_strayed = tx.box:txn_state() end
  if not tx.parent and (outcome == "committed" or outcome == "unknown") then
    conclude(tx, reason) -- COMMIT went with a statement that raised (a codec did)
    return
  end
  close_resources(tx)
  undo(tx)
  local parent = tx.parent
  if parent and (has_strayed or not is_open(tx) or tx.box:transaction_status() == "inerror") then
    doom(parent, has_strayed and strayed() or errors.is_error(reason) and reason or ending.failure_of(tx))
  end
  local unknown = has_strayed and not parent
  leave(tx, unknown and "unknown" or "rolled back", nil, reason)
  hooks.after(tx, unknown and "after_unknown" or "after_rollback", reason, traceback)
end

---------------------------------------------------------------------------------------- COMMIT

local function send_commit(tx)
  local conn, box = tx.conn, tx.box
  local done, err = run(conn, box, COMMIT)
  if done == false and err == "id" then
    done, err = run(conn, box, ID)
    if done then done, err = run(conn, box, COMMIT) end
  end
  if done ~= false then return conclude(tx, err) end
  return false, err == "strayed" and strayed() or ending.failure_of(tx)
end

-- May the level be committed? nil, or why not.
local function obstacle(tx)
  if tx.first_error then return tx.first_error end
  if not is_ours(tx) then return ending.failure_of(tx) end
  if not tx.hooks then return nil end
  if not is_open(tx) then return ending.failure_of(tx) end
  local why = hooks.before_commit(tx)
  if why ~= nil then return why end
  return tx.first_error
end

--- Commits the outermost level: true, or nil and why not; it has ended either way. Raises what a before_commit
--- hook raises, and then it has not.
function ending.commit(tx)
  local why = obstacle(tx)
  if why == nil then
    close_resources(tx)
    local ok, err = send_commit(tx)
    if ok ~= false then return ok, err end
    why = err
  end
  ending.roll_back(tx, why)
  tx.failure = why
  return nil, why
end

--- A savepoint that did its work: the server hears of it with the next statement.
function ending.release(tx)
  local why = tx.first_error or not is_open(tx) and ending.failure_of(tx) or nil
  if not why then
    local _, _, has_strayed = tx.box:txn_state()
    why = has_strayed and strayed() or tx.box:transaction_status() == "inerror" and ending.failure_of(tx) or nil
  end
  if why then
    ending.roll_back(tx, why)
    tx.failure = why
    return nil, why
  end
  close_resources(tx)
  hooks.hand_over(tx, tx.parent)
  tx.box:txn_release()
  leave(tx, "released")
  return true
end

-- After the last statement: what became of it and of COMMIT. Rows, or nil and an error.
local function after_last(tx, rows, err)
  local done, reason = conclude(tx, err)
  if done then return rows, err end
  if done == nil then return nil, reason end
  if rows == nil then return nil, err end
  done, reason = send_commit(tx) -- it did not ride: the id was not known, or the statement was COPY
  if done then return rows end
  if done == false then doom(tx, reason) end
  return nil, reason
end

local function run_last(conn, sql, ...)
  local code = ending.query_code + conn.style
  local rows, err, more = conn.box:run(code, sql, ...)
  if err == nil and more == nil then return rows end
  return ending.complete(conn, code, rows, err, more, sql, ...)
end

-- Where something is to be done first, or COMMIT must not ride.
local function commit_with_care(tx, sql, ...)
  local why = obstacle(tx)
  if why ~= nil then
    doom(tx, errors.is_error(why) and why or errors.new("tx_state", "a before_commit hook refused", { cause = why }))
    return nil, why
  end
  close_resources(tx)
  if tx.plan.must_resolve and tx.box:txn_id() == nil then return after_last(tx, tx.conn:query(sql, ...)) end
  return after_last(tx, run_last(tx.conn, sql, ...))
end

--- The last statement, and COMMIT in the same flight. Rows as from conn:query, or nil and an error; the transaction
--- has ended when the statement worked. The usual case hands its arguments on only once.
function ending.commit_with(tx, sql, ...)
  local conn = tx.conn
  if tx.hooks or tx.first_error or tx.open_resources or tx.plan.must_resolve or conn.box ~= tx.box then
    return commit_with_care(tx, sql, ...)
  end
  local code = ending.query_code + conn.style
  local rows, err, more = conn.box:run(code, sql, ...)
  if err ~= nil or more ~= nil then return after_last(tx, ending.complete(conn, code, rows, err, more, sql, ...)) end
  return after_last(tx, rows)
end

return ending
