-- lint rule unneeded-allow: a comment that allows nothing.
--
-- SPDX-License-Identifier: MIT

return {
  name = "unneeded-allow", severity = "error", group = "hygiene",
  title = "A migrate:allow that is not in order",
  message = "migrate:allow {what}",
  why = [[A comment that allows something has to name a rule, give a reason, and be needed: else nobody knows after
a year which of them may go.]],
  advice = "-- migrate:allow rule-name: why this is fine here",
  bad = "-- migrate:up\n-- migrate:allow drop-column: nothing is dropped here\n"
    .. "alter table orders add column weight integer;",
}
