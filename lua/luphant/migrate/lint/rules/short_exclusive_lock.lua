-- lint rule short-exclusive-lock: short changes under the strongest lock.
--
-- SPDX-License-Identifier: MIT

local function check(action, _, _, report) report({}, action) end

return {
  name = "short-exclusive-lock", severity = "note", group = "locks", exempts_new = true,
  claims = { mode = "AccessExclusiveLock" },
  title = "Short changes that lock for everybody",
  message = "locks {table} for everybody for a moment",
  why = [[ACCESS EXCLUSIVE is held for an instant, but to get it the statement waits for the longest query on the
table, and everybody who comes later waits behind it. The runner's lock_timeout gives up and tries again before that
hurts.]],
  advice = "Keep the migration short, and its lock_timeout as it is.",
  bad = "alter table orders alter column status set default 'open';",
  actions = {
    alter_constraint = check, change_identity = check, change_owner = check, drop_constraint = check,
    drop_default = check, drop_expression = check, drop_identity = check, inherit = check, no_inherit = check,
    of_type = check,
    set_compression = check, set_default = check, set_storage = check, add_identity = check,
  },
}
