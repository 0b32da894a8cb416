-- The goals: client CPU, and wall time where it is the point, as ratios to the floor of the same question.
--
-- Contender and question are named as in contenders.lua and questions/. A goal is at or below what prototypes
-- of the same technique reached; README.md says how ratios are made.
-- SPDX-License-Identifier: MIT

local function both(cpu_54, cpu_jit, wall)
  return {
    ["luphant-5.4"] = { cpu = cpu_54, wall = wall },
    ["luphant-jit"] = { cpu = cpu_jit, wall = wall },
  }
end

local goals = {
  one_row_prepared = both(1.12, 1.12),
  in_coroutine = both(1.20, 1.20),
  same_text = both(1.05, 1.05, 0.55),
  rows_named = both(3.0, 2.3),
  rows_columns = both(2.3, 1.8),
  values_iterator = both(1.85, 2.3),
  inserts = both(1.15, 1.10),
  inserts_batched = both(1.80, 1.45),
  int4_array = both(1.6, 1.6),
  tasks_16 = both(1.5, 1.3, 1.13),
  tasks_16_shared = both(0.93, 0.89, 0.75),
}
goals.copy_in = both(4.3, 3.1, 0.72)
goals.copy_out_raw = both(1.10, 1.10)
goals.copy_out_columns = both(2.5, 2.5, 0.65)
for _, key in ipairs { "luphant-5.4", "luphant-jit" } do
  goals.stream_200000 = goals.stream_200000 or {}
  goals.stream_200000[key] = { cpu = 2.2, wall = 1.3, memory_kb = 1024 }
end
goals.stream_200000_rows = goals.stream_200000
goals.transaction = both(0.45, 0.45, 0.60)
goals.transaction_three_trips = both(1.10, 1.10)
-- Not a ratio: microseconds of client CPU.
goals.acquire_release = { ["luphant-5.4"] = { cpu_us = 0.14 }, ["luphant-jit"] = { cpu_us = 0.035 } }
goals.rows_named["luphant-jit-untrimmed"] = { cpu = 1.9 }

return goals
