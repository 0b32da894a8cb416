-- core.lua - generated: what LuaLS knows about luphant.core, the C half. Never loaded by a program.
---@meta luphant.core
--
-- Made by csrc/gen/meta_core.lua from csrc/bind: edit the comments there and run the generator.
--
-- SPDX-License-Identifier: MIT
-- luacheck: ignore

---@class luphant.core
---@field NULL lightuserdata
---@field PENDING lightuserdata
---@field RAISED lightuserdata
---@field DUE lightuserdata
---@field LATE lightuserdata
---@field CHOSEN integer
---@field MARKS table<string, integer>
---@field wrappers { typed: table, json: table }
local core = {}

---@param normalize function
---@return luphant.core.batch
function core.batch(normalize) end

--- whether the calling coroutine could be suspended where it is
---@return boolean
function core.can_yield() end

--- SIGINT, SIGTERM and SIGHUP are noted from now on; each ends the program when it comes twice
function core.catch_signals() end

--- the number of the last one
---@return integer|nil
function core.caught_signal() end

---@param options table
---@return luphant.core.conn
function core.connection(options) end

---@return table
function core.conninfo_keywords() end

---@param text string
---@return table|nil
---@return nil|string
function core.conninfo_parse(text) end

---@return table
function core.features() end

--- the permission bits
---@param path string
---@return integer|nil
---@return nil|string
function core.file_mode(path) end

--- done | done, and the slot is to be closed | nothing was
---@param handle table
---@return nil|"retire"|"slowly"
function core.give_back(handle) end

---@param fd integer
---@return boolean
function core.is_terminal(fd) end

--- without surrogates and overlong forms, as the server wants it
---@param text string
---@return boolean
function core.is_utf8(text) end

--- the same table, marked as an array
---@param array table
---@return table
function core.json_array(array) end

---@param text string
---@return any|nil
---@return nil|string
---@return nil|integer
function core.json_decode(text) end

---@param value any
---@return string|nil
---@return nil|string
function core.json_encode(value) end

--- false where the build cannot do it (LPH_FAULT_ALLOC)
---@param n integer
---@param forever? boolean
---@return boolean
function core.mem_fail_at(n, forever) end

--- was an allocation refused since?
---@return boolean
function core.mem_failed() end

--- blocks the core owns
---@return integer
function core.mem_live() end

---@return luphant.core.nest|nil
function core.nest() end

--- the text is what this ngx_lua lacks
---@param subsystem "http"|"stream"
---@return luphant.core.nginx|nil
---@return nil|string
function core.nginx(subsystem) end

--- on the monotonic clock
---@return number
function core.now() end

---@param fd integer
---@param events "r"|"w"|"rw"
---@param seconds? number
---@return "r"|"w"|"rw"|nil
function core.poll(fd, events, seconds) end

--- index -> events that are ready
---@param descriptors integer[]
---@param wants string[]
---@param seconds? number
---@return table|nil
function core.poll_any(descriptors, wants, seconds) end

---@param options table
---@param seed number
---@return luphant.core.pool
function core.pool(options, seed) end

--- as it was before
function core.release_signals() end

--- where C can wait for Lua conn.release, else nil; slowly(handle, what) is what it cannot
---@param slowly function
---@return any
function core.releaser(slowly) end

---@param metatable table
function core.set_error_metatable(metatable) end

--- 64 hexadecimal digits
---@param text string
---@return string
function core.sha256(text) end

--- built-in types, also by their SQL names
---@param name string
---@return integer|nil
function core.type_oid(name) end

---@return luphant.core.typemap
function core.typemap() end

---@class luphant.core.conn: userdata
local conn = {}

--- after a failed dial: { host =, address =, port =, kind =, message = } each
---@return table[]
function conn:attempts() end

---@return integer|nil
function conn:backend_pid() end

--- see the head of lbatchrun.c
---@param batch luphant.core.batch
---@param isolated boolean
---@param style integer
---@param again? boolean
---@return true|lightuserdata|nil
---@return nil|"r"|"w"|"rw"|luphant.error
---@return nil|"stale"|"hit"|"notices"?
function conn:batch(batch, isolated, style, again) end

--- a cancel request is being sent to this session, or is through
---@param on boolean
function conn:cancelling(on) end

--- the session is as it was when it began
function conn:clear_marks() end

--- idempotent, never waits
function conn:close() end

--- see the head of lshare.c
---@param slot integer
---@return any|lightuserdata|nil
---@return nil|"r"|"w"|"rw"|luphant.error
---@return nil|"stale"|"hit"|"notices"?
function conn:collect(slot) end

---@param reason? string
---@return lightuserdata|integer|nil
---@return "r"|"w"|"rw"|nil|luphant.error
function conn:copy_end(reason) end

---@param names? string[]
---@param oids? integer[]
---@return luphant.core.copy|nil
---@return nil|string
function conn:copy_guard(names, oids) end

---@return lightuserdata|true|integer|nil
---@return "r"|"w"|"rw"|nil|luphant.error
function conn:copy_push() end

---@return integer
---@return boolean
function conn:copy_shape() end

---@param sql string
---@param inward boolean
---@return lightuserdata|true|integer|nil
---@return "r"|"w"|"rw"|"open"|"ahead"|nil|luphant.error
function conn:copy_start(sql, inward) end

--- of the call under way, on core.now()'s clock
---@return number|nil
function conn:deadline() end

---@param parameters string[]
---@param connect_timeout? number
---@param attempt_timeout? number
---@param allow_plaintext? boolean
---@return true|nil
---@return nil|luphant.error
function conn:dial(parameters, connect_timeout, attempt_timeout, allow_plaintext) end

--- the answer under way is of no interest any more
function conn:discard() end

--- may change from step to step, -1 = none
---@return integer
function conn:fd() end

--- of a listening connection: is there input that waiting would not tell of
---@return boolean
function conn:has_input() end

---@return boolean
function conn:has_notices() end

--- reads what is there, between operations. nil: the session is lost
---@return true|nil
---@return nil|luphant.error
function conn:hear() end

---@param statements? boolean
---@return true|nil
---@return nil|luphant.error
function conn:hear_begin(statements) end

--- closes the session, and the descriptor, for which nobody may wait any more
function conn:hear_end() end

--- refuses new statements while a cancel request is on its way
---@param on boolean
---@return boolean
function conn:hold(on) end

---@return boolean
---@return boolean
function conn:is_copying() end

--- is there nothing under way, nothing to be taken, and no cancel request that could still
---@return boolean
function conn:is_free() end

--- is the operation under way one that stops in the middle?
---@return boolean
function conn:is_streaming() end

--- whether run says so when there are some
---@param on boolean
function conn:keep_notices(on) end

--- what ran last, or runs, as far as the cache still knows it
---@return string|nil
function conn:last_statement() end

--- had it begun to run, as far as anybody knows?
---@param slot integer
---@return boolean
function conn:leave(slot) end

--- `occupied` slots, the others as pump tells them
---@return integer
---@return integer
---@return boolean?
function conn:load() end

--- what statements may have left in the session, bits of core.MARKS; 0 = nothing
---@return integer
function conn:marks() end

--- the oldest notice, kind by its SQLSTATE
---@return luphant.error|nil
function conn:next_notice() end

--- the oldest one
---@return string|nil
---@return string|nil
---@return integer|nil
function conn:next_notification() end

---@return number
function conn:notices_lost() end

---@param statements boolean
---@param anything boolean
function conn:observe(statements, anything) end

---@param name string
---@return string|nil
function conn:parameter_status(name) end

--- see the head of lshare.c
---@param list table[]
---@return integer
---@return integer
---@return integer
---@return integer
---@return boolean?
---@return boolean?
---@return boolean?
function conn:pump(list) end

---@param code integer
---@param sql string
---@param ... any
---@return any|lightuserdata|nil
---@return nil|"r"|"w"|"rw"|luphant.error
---@return nil|"stale"?
function conn:rerun(code, sql, ...) end

--- the slots under way that somebody waits for, in order
---@param list table[]
---@return number
function conn:riders(list) end

--- see the head of lconn.c
---@param code integer
---@param sql string
---@param ... any
---@return any|lightuserdata|nil
---@return nil|"r"|"w"|"rw"|luphant.error
---@return nil|"stale"?
function conn:run(code, sql, ...) end

---@param text string
---@return lightuserdata|table[]|nil
---@return "r"|"w"|"rw"|nil|luphant.error
---@return nil|"floats"
function conn:script(text) end

---@return integer|nil
function conn:server_version() end

--- from now on no call has a later deadline, nil = none. Answers the one before.
---@param at? number
function conn:set_ceiling(at) end

--- OID -> { decode =, encode = }
---@param codecs? table
function conn:set_codecs(codecs) end

---@param at? number
function conn:set_deadline(at) end

--- what stands in front of the next portal's statement, and its first FETCH
---@param text string
---@param string? string
function conn:set_portal(text, string) end

--- of the next stream in the form "rows", 0 = our choice
---@param rows number
function conn:set_portion(rows) end

--- the next call's time limit, nil = none, in spite of the default
---@param seconds? number
function conn:set_timeout(seconds) end

--- from now on only single statements ride on it
---@param choosy? boolean
---@return true|nil
---@return nil|luphant.error
function conn:share_begin(choosy) end

--- refused while anything is under way
---@return true|nil
---@return nil|luphant.error
function conn:share_end() end

--- ends the stream both ways, so that whoever waits for the socket wakes up; the rest is close's
function conn:shutdown() end

---@param timeout? number
---@return luphant.core.cancel|nil
---@return nil|luphant.error
function conn:start_cancel(timeout) end

---@return "closed"|"dialing"|"idle"|"busy"|"shared"|"forked"
function conn:state() end

--- of the statement cache
---@return table
function conn:statements() end

---@return "r"|"w"|"rw"|"done"|nil
---@return nil|luphant.error
---@return nil|"stale"?
function conn:step() end

---@param stream luphant.core.stream
---@param text string
---@param rows? number
---@return true|lightuserdata|nil
---@return nil|"r"|"w"|"rw"|luphant.error
function conn:stream_ask(stream, text, rows) end

--- until the stream is closed nothing else runs on the connection
---@param stream luphant.core.stream
function conn:stream_claim(stream) end

--- whoever had a stream here has lost it
function conn:stream_detach() end

--- whose stream is here is gone, though the collector has not come for it
function conn:stream_disown() end

---@param stream luphant.core.stream
---@return boolean|lightuserdata|nil
---@return nil|"r"|"w"|"rw"|luphant.error
---@return nil|"stale"?
function conn:stream_more(stream) end

---@return true|lightuserdata|nil
---@return nil|"r"|"w"|"rw"|luphant.error
---@return nil|"stale"?
function conn:stream_settle() end

---@param stream luphant.core.stream
---@return true|lightuserdata|nil
---@return nil|"r"|"w"|"rw"|luphant.error
---@return nil|"stale"?
function conn:stream_skip(stream) end

--- see the head of lshare.c
---@param code integer
---@param sql string
---@param ... any
---@return integer|lightuserdata|nil
---@return nil|"r"|"w"|"rw"|luphant.error
function conn:submit(code, sql, ...) end

---@return any|lightuserdata|nil
---@return nil|"r"|"w"|"rw"|luphant.error
function conn:take() end

--- would rows of a stream be read past libpq? (core/tap.h)
---@return boolean
function conn:taps_rows() end

--- never the password
---@return table|nil
function conn:target() end

--- false: no TLS, nil: no session
---@return table|false|nil
function conn:tls() end

--- libpq's words
---@return "idle"|"active"|"intrans"|"inerror"|"unknown"
function conn:transaction_status() end

---@param mode integer
---@return true|lightuserdata|false|nil
---@return number|"r"|"w"|"rw"|nil|luphant.error
---@return boolean?|nil
function conn:txn_begin(mode) end

--- true: the server has answered COMMIT, and the transaction has ended here,
---@return boolean
---@return boolean?
function conn:txn_committed() end

--- nobody is interested in this transaction any more, but for hooks: true
---@return true|nil
function conn:txn_end() end

--- as far as the server has told it, and its process id
---@return string|nil
---@return nil|integer
function conn:txn_id() end

--- one more savepoint
function conn:txn_nest() end

--- the innermost savepoint has done its work
function conn:txn_release() end

--- false: COMMIT was not sent
---@param code integer
---@param seconds? number
---@return true|lightuserdata|nil|false
---@return nil|"r"|"w"|"rw"|luphant.error|string
function conn:txn_run(code, seconds) end

--- for the length of the transaction, goes with BEGIN
---@param name string
---@param text string
function conn:txn_set(name, text) end

--- how it ended ("open": it has not), does the server have its BEGIN, has
---@return string
---@return boolean
---@return boolean
function conn:txn_state() end

--- of the statement that waits for types, right after run said so
---@return table
function conn:unknown_types() end

---@class luphant.core.cancel: userdata
local cancel = {}

function cancel:close() end

--- readable when it has ended
---@return integer
function cancel:fd() end

---@return boolean
function cancel:is_done() end

--- after the end
---@return true|nil
---@return nil|string
function cancel:result() end

---@class luphant.core.batch: userdata
local batch = {}

--- statements in it
---@return integer
function batch:count() end

---@param sql string
---@param ... any
---@return integer
function batch:execute(sql, ...) end

---@return integer|nil
---@return nil|string|integer
---@return nil|integer
---@return nil|boolean
---@return nil|boolean
function batch:progress() end

--- which statement of the batch it is
---@param sql string
---@param ... any
---@return integer
function batch:query(sql, ...) end

---@param sql string
---@param ... any
---@return integer
function batch:query_column(sql, ...) end

---@param sql string
---@param ... any
---@return integer
function batch:query_one(sql, ...) end

---@param sql string
---@param ... any
---@return integer
function batch:query_opt(sql, ...) end

---@param sql string
---@param ... any
---@return integer
function batch:query_value(sql, ...) end

--- what a codec of the user's raised meanwhile
---@return boolean
---@return any
function batch:raised() end

--- what each gave, and the errors of those that failed
---@return table|nil
---@return table|nil
function batch:results() end

--- nothing more can be added
function batch:seal() end

---@class luphant.core.typemap: userdata
local map = {}

--- { oid =, name =, kind =, elem =, delim =, fields = { { name =, oid = }, ... } }
---@param type table
function map:define(type) end

function map:doubt() end

--- is there one whose text form may lack digits?
---@param oid integer
---@return boolean
function map:has_float(oid) end

--- can COPY carry it in binary form, into the server or out of it?
---@param oid integer
---@param inward boolean
---@return boolean
function map:is_binary(oid, inward) end

--- nil also for a type in doubt
---@param oid integer
---@return string|nil
function map:name(oid) end

---@class luphant.core.pool: userdata
local pool = {}

--- where C can wait for Lua db.acquire, else nil; slowly(self, options [, slot, due]) is
---@param db luphant.pool
---@param slowly function
---@return any
function pool:acquirer(db, slowly) end

--- see the head of ltrip.c
---@param pass number
---@return boolean|integer|nil
---@return nil|any
---@return nil|any
---@return nil|any
function pool:arrive(pass) end

--- the box behind a slot, nil takes it away
---@param slot integer
---@param connection? luphant.core.conn
function pool:attach(slot, connection) end

---@param slot integer
---@return nil|integer|"retire"
function pool:born(slot) end

---@return "close"|"ping"|"connect"|nil
---@return integer|nil
function pool:chore() end

--- when there may be a chore
---@return number|nil
function pool:chore_at() end

--- nothing is lent from now on, and what comes back is to be closed
function pool:close() end

---@param ticket integer
---@return integer|nil
function pool:collect(ticket) end

---@return table
function pool:counts() end

--- the first waiter leaves the queue unserved
---@return integer|nil
function pool:dismiss() end

--- its connection is gone: the slot is empty and holds on to no box
---@param slot integer
function pool:drop(slot) end

---@return integer|nil
---@return boolean|"full"|nil
function pool:enqueue() end

--- whoever borrowed it is of no interest any more
---@param slot integer
function pool:forget(slot) end

--- nil: it is idle, a ticket: lent to that waiter
---@param slot integer
---@return nil|integer|"retire"|"closed"|"clean"|"glance"
function pool:give(slot) end

--- from now on give says "glance" so often, nil = never: there is nobody else who looks at chores
---@param seconds? number
function pool:glance(seconds) end

---@return integer|nil
---@return nil|number
function pool:grow() end

--- when grow is worth another call
---@return number|nil
function pool:grow_at() end

--- the tables by slot: of handles, weak, and of metatables for handles that are lent
---@param handles table
---@param metatables table
function pool:handles(handles, metatables) end

---@return table
function pool:histograms() end

--- too old, say: it will go when it comes back
---@param slot integer
---@return boolean
function pool:is_due(slot) end

--- nothing is idle, and no more may be opened
---@return boolean
function pool:is_spent() end

--- may lend and give_back do without Lua; may a loop have begun to run the caller's coroutine?
---@param on boolean
---@param undecided boolean
function pool:lane(on, undecided) end

--- the ticket is void, the slot it was given is the caller's
---@param ticket integer
---@return integer|nil
function pool:leave(ticket) end

--- the last: as take, without a handle
---@param chosen? boolean
---@return table|nil
---@return nil|integer
---@return nil|"check"|"retire"|"lost"
function pool:lend(chosen) end

---@param at number
function pool:looked(at) end

---@return integer|nil
function pool:lost() end

---@param slot integer
---@param metatable table
function pool:offer(slot, metatable) end

--- of the one it was given to and who has yet to leave with it
---@param slot integer
---@return integer|nil
function pool:promised(slot) end

--- all connections of now are over
function pool:refresh() end

--- who borrows it is found by the lines that led here
---@param slot integer
function pool:remember(slot) end

---@param options table
function pool:resize(options) end

--- after a fork: the slots are empty, the tickets void, this process is the owner
function pool:restart() end

--- see the
---@param code integer
---@param sql string
---@param ... any
---@return true|integer|false|nil
---@return any|nil|true
---@return nil|luphant.error|boolean
---@return nil|"stale"?
function pool:run(code, sql, ...) end

---@param ticket integer
---@return integer|nil
function pool:served(ticket) end

--- { source, line, ... }
---@param slot integer
---@return table[]
function pool:site(slot) end

--- the highest number of a slot
---@return integer
function pool:size() end

--- seconds in that state, age, borrowings, whether a
---@param slot integer
---@return "connecting"|"idle"|"used"|"tended"|nil
---@return number|nil
---@return number|nil
---@return integer|nil
---@return boolean|nil
function pool:slot(slot) end

--- connecting has failed
---@param slot integer
function pool:stillborn(slot) end

---@return integer|nil
---@return nil|"check"|"retire"|"lost"|"forked"
function pool:take() end

--- it is in our own hands now
---@param slot integer
function pool:tend(slot) end

--- has this borrowing been reported as a leak? With true: now it has
---@param slot integer
---@param on? boolean
---@return boolean
function pool:told(slot, on) end

--- its connection has just answered
---@param slot integer
function pool:touch(slot) end

---@param slot integer
---@return thread|false|nil
function pool:traveller(slot) end

---@param nginx? luphant.core.nginx
function pool:travels(nginx) end

---@return integer
function pool:waiting() end

---@class luphant.core.nginx: userdata
local nginx = {}

---@param pass number
---@param deadline? number
---@return integer|true|false|nil
---@return nil|number
function nginx:again(pass, deadline) end

--- a descriptor that is always ready to be written to
---@return integer
function nginx:bell() end

---@param on boolean
function nginx:brief(on) end

--- a request that ended holding something, each once
---@return number|nil
function nginx:ended() end

--- which state of its subsystem in this worker, and is it the latest?
---@return integer
---@return boolean
function nginx:generation() end

---@return number|nil
---@return number|nil
---@return boolean|nil
function nginx:guard() end

--- how many things are held for requests, those that have ended included
---@return integer
function nginx:guarded() end

--- nobody waits with it any more
---@param pass number
---@return boolean
function nginx:is_over(pass) end

--- posted when ended() has something
---@param semaphore number
function nginx:janitor(semaphore) end

---@param deadline? number
---@return true|false|integer|nil
---@return nil|number
function nginx:park(deadline) end

---@param on boolean
function nginx:ready(on) end

---@param semaphore number
function nginx:slot(semaphore) end

---@return true|nil
---@return nil|string
---@return nil|boolean
function nginx:start() end

--- are there free ones now?
---@return boolean
function nginx:sweep() end

--- is there a janitor who looks at ended()?
---@param on boolean
function nginx:tended(on) end

---@param request number
---@param serial number
function nginx:unguard(request, serial) end

---@param fd integer
---@param events "r"|"w"|"rw"
---@param deadline? number
---@return integer|false|nil
---@return nil|number
function nginx:wait(fd, events, deadline) end

---@param pass number
---@return boolean
function nginx:wake(pass) end

---@class luphant.core.nest: userdata
local nest = {}

--- readable when take has something to tell
---@return integer
function nest:fd() end

--- how many
---@param list table[]
---@return integer
function nest:take(list) end

---@param fd integer
---@param events "r"|"w"|"rw"
---@return boolean
function nest:watch(fd, events) end

---@class luphant.core.copy: userdata
local guard = {}

---@return number
---@return number
---@return boolean
function guard:counts() end

---@return string|lightuserdata|nil
---@return nil|"r"|"w"|"rw"|luphant.error
---@return nil|"unread"?
function guard:get_bytes() end

---@param most integer
---@param lists table[]
---@return integer|lightuserdata|nil
---@return nil|"r"|"w"|"rw"|luphant.error
---@return nil|"unread"?
function guard:get_columns(most, lists) end

---@param most integer
---@param style integer
---@return table[]|lightuserdata|nil
---@return nil|"r"|"w"|"rw"|luphant.error
---@return nil|"unread"?
function guard:get_rows(most, style) end

---@return boolean|lightuserdata|nil
---@return nil|"r"|"w"|"rw"|luphant.error
---@return nil|"unread"?
function guard:get_values() end

--- all rows have been taken from the server, if not from us
---@return boolean
function guard:has_ended() end

---@return boolean
function guard:is_live() end

---@param ... any
---@return boolean|nil
---@return nil|luphant.error
---@return nil|integer
function guard:put(...) end

---@param text string
---@param from integer
---@return integer
---@return boolean
function guard:put_bytes(text, from) end

---@param lists table[]
---@param from integer
---@param last integer
---@return integer|nil
---@return boolean|luphant.error
---@return nil|integer
function guard:put_columns(lists, from, last) end

---@return true
function guard:put_end() end

---@param list table[]
---@param from integer
---@return integer|nil
---@return boolean|luphant.error
---@return nil|integer
function guard:put_rows(list, from) end

---@param table table
---@param advance function
---@return any
---@return boolean
function guard:putter(table, advance) end

---@class luphant.core.stream: userdata
local stream = {}

--- what is under way is for stream_settle, or whoever cleans the connection
function stream:close() end

---@return integer
---@return integer
---@return integer
---@return boolean
function stream:portion() end

---@param advance? function
---@return any
---@return boolean
function stream:stepper(advance) end

return core
