-- lint rule row-security-lock: policies, rules and row security.
--
-- SPDX-License-Identifier: MIT

local function on_action(action, _, _, report) report({}, action) end
local function on_statement(_, _, report) report() end

return {
  name = "row-security-lock", severity = "note", group = "locks", exempts_new = true,
  claims = { mode = "AccessExclusiveLock" },
  title = "Row security, policies, rules, replica identity",
  message = "locks {table} for everybody for a moment, and changes what its queries mean",
  why = [[ACCESS EXCLUSIVE is short, but it waits for running queries, and everybody waits behind it. The runner's
lock_timeout gives up and tries again before that hurts.]],
  advice = "Policies first, ENABLE ROW LEVEL SECURITY last: without a policy nobody but the owner sees a row.",
  bad = "create policy orders_open on orders using (status = 'open');",
  actions = { row_security = on_action, change_rule = on_action, replica_identity = on_action },
  statements = {
    ["create policy"] = on_statement, ["alter policy"] = on_statement, ["drop policy"] = on_statement,
    ["create rule"] = on_statement, ["drop rule"] = on_statement,
  },
}
