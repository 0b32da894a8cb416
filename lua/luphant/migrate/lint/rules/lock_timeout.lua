-- lint rule lock-timeout: a lock that is waited for without end.
--
-- SPDX-License-Identifier: MIT

local LONGEST = 10 -- seconds; everybody who needs the table waits as long

local UNITS = { us = 1e-6, ms = 1e-3, s = 1, min = 60, h = 3600, d = 86400, [""] = 1e-3 }

local function seconds(value)
  local number, unit = value:gsub("'", ""):match "^%s*(%d+%.?%d*)%s*(%a*)%s*$"
  return number and UNITS[unit] and tonumber(number) * UNITS[unit]
end

return {
  name = "lock-timeout", severity = "error", group = "hygiene", also_down = true,
  title = "lock_timeout switched off, or long",
  message = "waits for locks {long}",
  why = [[A statement that waits for a strong lock makes everybody wait who comes after it: the queue stands behind
one long query. The runner waits two seconds, gives way, and tries again; leave that to it.]],
  advice = "Take it out; for a table that is always busy, retry longer (--lock-retry-for) rather than wait longer.",
  bad = "set local lock_timeout = 0;\nalter table orders add column weight integer;",
  good = { "set local lock_timeout = '5s';\nalter table orders add column weight integer;" },
  statements = {
    set = function(ddl, ctx, report)
      if ddl.setting ~= "lock_timeout" then return end
      local time = seconds(ddl.value)
      -- CONCURRENTLY is better off without one, and has a rule that says so.
      if not ctx.in_transaction and time == 0 then return end
      if time == 0 then report { long = "without end" } end
      if time and time > LONGEST then report { long = ("for %g seconds"):format(time) } end
    end,
  },
  section = function(ctx, report)
    local time, first = ctx.section.options.lock_timeout, ctx.items[1]
    if not time or not first or (time == 0 and not ctx.in_transaction) then return end
    if time == 0 then report({ long = "without end" }, first) end
    if time > LONGEST then report({ long = ("for %g seconds"):format(time) }, first) end
  end,
}
