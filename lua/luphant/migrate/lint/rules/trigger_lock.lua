-- lint rule trigger-lock: a trigger made, dropped or switched.
--
-- SPDX-License-Identifier: MIT

local function on_action(action, _, _, report) report({}, action) end
local function on_statement(_, _, report) report() end

return {
  name = "trigger-lock", severity = "note", group = "locks", exempts_new = true,
  claims = { mode = "ShareRowExclusiveLock" },
  title = "CREATE, DROP, ENABLE or DISABLE TRIGGER",
  message = "makes writers of {table} wait for a moment",
  why = [[SHARE ROW EXCLUSIVE (for DROP: ACCESS EXCLUSIVE) is short, but it waits for running transactions, and
writers wait behind it. The runner's lock_timeout gives up and tries again before that hurts. What a new trigger
does to every write of programs that run now is another question.]],
  advice = "Nothing, when the migration does nothing else: the runner's lock_timeout looks after it.",
  bad = "create trigger orders_touch before update on orders for each row "
    .. "execute function suppress_redundant_updates_trigger();",
  actions = { enable_trigger = on_action, disable_trigger = on_action },
  statements = { ["create trigger"] = on_statement, ["drop trigger"] = on_statement },
}
