-- lint rule move-storage: the whole table copied to another place or form.
--
-- SPDX-License-Identifier: MIT

local WHAT = { set_logged = "SET LOGGED", set_unlogged = "SET UNLOGGED", set_tablespace = "SET TABLESPACE",
  set_access_method = "SET ACCESS METHOD" }

local function check(action, _, _, report) report({ what = WHAT[action.kind] }, action) end

return {
  name = "move-storage", severity = "error", group = "locks", exempts_new = true,
  claims = { mode = "AccessExclusiveLock", work = "rewrite" },
  title = "SET LOGGED, UNLOGGED, TABLESPACE, ACCESS METHOD",
  message = "{what} copies all of {table} while it is locked for everybody",
  why = [[The whole table is written anew, under ACCESS EXCLUSIVE, and with SET LOGGED into the write-ahead log as
well.]],
  advice = "In a maintenance window; or a new table of the wanted kind, filled in batches, and a change of names.",
  bad = "alter table orders set unlogged;",
  actions = { set_logged = check, set_unlogged = check, set_tablespace = check, set_access_method = check },
}
