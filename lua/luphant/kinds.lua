-- kinds.lua - the words that err.kind can hold when the client itself made the error.
--
-- Made by csrc/gen/lua_kinds.lua from csrc/core/kind.inc: edit that and run the generator.
--
-- SPDX-License-Identifier: MIT

return {
  { kind = "config", class = "usage", retryable = false,
    meaning = "The connection settings contradict each other, name something that does not exist, or "
      .. "cannot be read: a bad URL, a missing service, a password file that others may read. "
      .. "Nothing was dialled." },
  { kind = "dns", class = "connection", retryable = true,
    meaning = "The host name could not be resolved." },
  { kind = "refused", class = "connection", retryable = true,
    meaning = "Nothing listens at that address: wrong port or socket path, or the server is not running." },
  { kind = "unreachable", class = "connection", retryable = true,
    meaning = "There is no way to the host: no route, network down, or the connection broke while it was "
      .. "made." },
  { kind = "target_session", class = "connection", retryable = true,
    meaning = "A server answered, but none that was tried is of the kind `target_session_attrs` asks for "
      .. "(primary, standby, read-write, read-only)." },
  { kind = "connect_timeout", class = "connection", retryable = true,
    meaning = "`connect_timeout` passed before the session was ready, whatever it was waiting for: the "
      .. "address, the network, TLS, or the server's answer to the password." },
  { kind = "tls", class = "connection", retryable = false,
    meaning = "TLS could not be agreed on: the server offers none where `sslmode` demands it, or the "
      .. "handshake failed." },
  { kind = "tls_verify", class = "connection", retryable = false,
    meaning = "The server's certificate was not accepted: unknown authority, wrong host name, expired or "
      .. "revoked." },
  { kind = "auth", class = "connection", retryable = false,
    meaning = "The server refused the user or the password, or there was no password to give." },
  { kind = "auth_method", class = "connection", retryable = false,
    meaning = "The server asked for a weaker proof than the settings allow. No password was sent." },
  { kind = "resource", class = "connection", retryable = true,
    meaning = "The operating system refused what a connection needs: no more descriptors or threads." },
  { kind = "closed", class = "connection", retryable = false,
    meaning = "The session is gone: closed by this program, by the server or by the network. Retryable "
      .. "when `err.sent` is \"no\"." },
  { kind = "protocol", class = "connection", retryable = false,
    meaning = "What came back is not an answer in PostgreSQL's protocol. The connection was closed." },
  { kind = "encoding", class = "usage", retryable = false,
    meaning = "A statement has changed `client_encoding`. All texts are taken for UTF-8, in both "
      .. "directions, so the connection was closed before any other could be mistaken." },
  { kind = "forked", class = "usage", retryable = false,
    meaning = "The connection belongs to the parent process. Connect again after fork." },
  { kind = "busy", class = "usage", retryable = false,
    meaning = "The connection is in the middle of another statement, such as one of another coroutine or "
      .. "a result that is still being read." },
  { kind = "query_timeout", class = "timeout", retryable = false,
    meaning = "The caller's deadline passed. The statement was cancelled; the connection is usable "
      .. "again, or closed where the server did not confirm in time." },
  { kind = "cancelled", class = "query", retryable = false,
    meaning = "A cancel request could not be delivered, or was not answered in time. A statement that "
      .. "was stopped by one fails with the server's `query_canceled`." },
  { kind = "parameter", class = "query", retryable = false,
    meaning = "A value cannot be sent as the type the server expects: wrong Lua type, out of range, a "
      .. "NUL byte or bad UTF-8 in a text, or too many parameters. Nothing was sent." },
  { kind = "decode", class = "query", retryable = false,
    meaning = "The server sent bytes that are not a value of the column's type." },
  { kind = "result_too_big", class = "query", retryable = false,
    meaning = "The result outgrew `max_result_bytes` and was given up. The connection is usable, unless "
      .. "a single row was so big that reading the rest of it away would have filled memory: then "
      .. "it is closed, and `err.connection` says so." },
  { kind = "no_rows", class = "query", retryable = false,
    meaning = "Exactly one row was asked for and there is none." },
  { kind = "too_many_rows", class = "query", retryable = false,
    meaning = "One row was asked for and there are more." },
  { kind = "out_of_memory", class = "query", retryable = false,
    meaning = "An allocation failed in this program or in the server." },
  { kind = "not_run", class = "query", retryable = true,
    meaning = "A statement of a batch that ended before it was sent: another statement failed, the batch "
      .. "was cancelled, or the session was lost." },
  { kind = "tx_state", class = "transaction", retryable = false,
    meaning = "The transaction was ended, or failed, outside the verbs that `transaction` looks after." },
  { kind = "tx_closed", class = "transaction", retryable = false,
    meaning = "The session of the transaction is gone, and the transaction with it. Nothing was sent; "
      .. "`err.cause` is how the session ended." },
  { kind = "commit_unknown", class = "transaction", retryable = false,
    meaning = "The connection was lost during COMMIT: the transaction may or may not have been "
      .. "committed. `err:resolve(conn)` asks the server." },
  { kind = "commit_unresolved", class = "transaction", retryable = false,
    meaning = "What became of a transaction cannot be told: its id is not known, because nothing was "
      .. "written in it or COMMIT went with its first statement, or the server has forgotten how it "
      .. "ended." },
  { kind = "pool_timeout", class = "pool", retryable = true,
    meaning = "No connection became free within acquire_timeout. The message says who holds them and "
      .. "what the last attempt to connect came to; `err.pool` has the figures." },
  { kind = "pool_exhausted", class = "pool", retryable = false,
    meaning = "All connections are lent, and nobody else runs who could give one back (a plain script)." },
  { kind = "pool_self_deadlock", class = "pool", retryable = false,
    meaning = "This task waits for a connection while it holds the pool's connections itself. Use the "
      .. "one it has, or allow more." },
  { kind = "pool_overflow", class = "pool", retryable = true,
    meaning = "More tasks than max_waiting wait for a connection already." },
  { kind = "pool_closed", class = "pool", retryable = false,
    meaning = "The pool has been closed with db:close()." },
  { kind = "usage", class = "usage", retryable = false,
    meaning = "The call itself is wrong; the message says what to write instead." },
  { kind = "migration_invalid", class = "usage", retryable = false,
    meaning = "The folder of migrations is not in order; `err.problems` lists what is wrong. Nothing was "
      .. "run." },
  { kind = "migration_failed", class = "query", retryable = false,
    meaning = "A migration or its verification failed and was rolled back; `err.cause` says why." },
  { kind = "migration_locked", class = "timeout", retryable = true,
    meaning = "Another runner held the lock of the migrations for too long." },
  { kind = "migration_lock_lost", class = "connection", retryable = true,
    meaning = "The session that runs migrations does not hold their lock any more; nothing more was run." },
  { kind = "migration_pooler", class = "usage", retryable = false,
    meaning = "A pooler that changes server sessions stands in between. Give migrations the server's own "
      .. "address." },
  { kind = "migration_interrupted", class = "transaction", retryable = true,
    meaning = "Somebody asked the run to stop; what was applied before stays." },
  { kind = "migration_behind", class = "usage", retryable = false,
    meaning = "The database lacks migrations that this program needs; `err.pending` lists them." },
  { kind = "migration_tenants", class = "query", retryable = false,
    meaning = "Migrating some tenants failed; `err.tenants` has a report for each that was tried." },
  { kind = "migration_backup", class = "usage", retryable = false,
    meaning = "The backup before a run could not be taken or proved; nothing was run." },
  { kind = "migration_file", class = "usage", retryable = false,
    meaning = "A file of migrations could not be written or read, or would take the place of another." },
  { kind = "migration_refused", class = "usage", retryable = false,
    meaning = "The database is not as this needs it: it is not empty, or has a history already. Nothing "
      .. "was done." },
  { kind = "migration_protected", class = "usage", retryable = false,
    meaning = "The environment is protected, and nobody has said that this is meant all the same." },
  { kind = "migration_program", class = "usage", retryable = false,
    meaning = "A program of PostgreSQL (pg_dump) is not installed, or failed; the message is its own." },
  { kind = "migration_moved", class = "usage", retryable = false,
    meaning = "What would run is not what was reviewed: files or history have changed since the plan was "
      .. "made." },
  { kind = "migration_hazard", class = "usage", retryable = false,
    meaning = "The linter calls something that would run an error, and nobody has allowed it; nothing "
      .. "was run." },
  { kind = "schema_invalid", class = "usage", retryable = false,
    meaning = "The text is no snapshot of a schema, or one of a format this version does not read." },
  { kind = "schema_changed", class = "query", retryable = true,
    meaning = "Another session changed the schema while it was read, each time it was tried." },
  { kind = "schema_unsupported", class = "usage", retryable = false,
    meaning = "The server is too old for a snapshot of its schema." },
}
