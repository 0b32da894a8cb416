-- lint rule enum-value-without-position: the order of labels left to chance.
--
-- SPDX-License-Identifier: MIT

return {
  name = "enum-value-without-position", severity = "note", group = "compatibility",
  title = "ADD VALUE without BEFORE or AFTER",
  message = "puts {value} at the end of {name}, which is its place in every ORDER BY from now on",
  why = [[Labels have an order, comparisons and sorting use it, and it can never be changed. Say where the new one
belongs, also when that is the end.]],
  safe = "alter type {name} add value {value} after '<the last one>';",
  example = { ["<the last one>"] = "happy" },
  bad = "alter type mood add value 'angry';",
  statements = {
    ["alter type"] = function(ddl, _, report)
      local action = ddl.actions[1]
      if action and action.kind == "add_value" and not action.has_position then
        report({ value = action.value }, action)
      end
    end,
  },
}
