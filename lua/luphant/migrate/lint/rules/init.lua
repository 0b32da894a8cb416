-- luphant.migrate.lint.rules - the rules, in the order in which the guide tells of them.
--
-- A rule is a table: name, severity, group, title, message, why, advice or safe (what to write instead), and functions
-- that look: `statements` by verb and object ("*" for all), `actions` of ALTER TABLE by kind, `section` once all
-- statements have been read, `file` for each file. `bad` is an example, which the specs lint and run; `claims` is
-- what trace has to see there; `remedy` mends the statement for --fix. `exempts_new`: not for tables that the same
-- migration made.
--
-- SPDX-License-Identifier: MIT

local NAMES = {
  "index-without-concurrently",
  "drop-index-without-concurrently",
  "reindex-without-concurrently",
  "concurrently-in-transaction",
  "concurrently-with-lock-timeout",
  "invalid-index-in-the-way",
  "volatile-default",
  "add-serial-column",
  "add-identity-column",
  "add-stored-generated-column",
  "add-constrained-domain-column",
  "add-not-null-column-without-default",
  "set-not-null",
  "check-without-not-valid",
  "foreign-key-without-not-valid",
  "inline-foreign-key",
  "foreign-key-in-create-table",
  "validate-in-same-transaction",
  "unique-without-index",
  "primary-key-over-nullable-column",
  "exclusion-constraint",
  "change-column-type",
  "several-alters-of-one-table",
  "second-table-under-lock",
  "long-work-under-lock",
  "data-change-under-lock",
  "verify-under-lock",
  "vacuum-full-or-cluster",
  "move-storage",
  "refresh-without-concurrently",
  "attach-partition",
  "detach-partition-without-concurrently",
  "create-partition-of",
  "trigger-lock",
  "row-security-lock",
  "short-exclusive-lock",
  "domain-constraint",
  "create-domain-with-constraint",
  "replace-view",
  "drop-table-with-foreign-keys",
  "drop-column",
  "drop-object",
  "rename",
  "drop-not-null",
  "constraint-before-code",
  "enum-value-in-same-transaction",
  "enum-value-without-position",
  "unique-on-existing-data",
  "truncate",
  "change-without-where",
  "backfill-in-one-statement",
  "foreign-key-without-index",
  "duplicate-index",
  "unused-index",
  "lock-timeout",
  "statement-timeout",
  "transaction-control",
  "odd-character",
  "setting-leaks",
  "not-rerunnable",
  "unqualified-name",
  "identifier-too-long",
  "discouraged-type",
  "needs-privileges",
  "hidden-ddl",
  "no-way-back",
  "down-drops-more",
  "no-primary-key",
  "out-of-order",
  "edited-after-release",
  "seen-by-trace",
  "fails-in-trace",
  "unneeded-allow",
}

local M = { list = {}, by_name = {}, names = NAMES }

for i, name in ipairs(NAMES) do
  local rule = require("luphant.migrate.lint.rules." .. name:gsub("%-", "_"))
  M.list[i], M.by_name[name] = rule, rule
end

return M
