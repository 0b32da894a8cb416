-- The goals, against pgmoon in the same round: at least so many times its requests a second, at most this share of its
-- worker CPU for a request. Question and number of client connections, then whom it is compared with.
--
-- `pgmoon` is how it is used; `pgmoon-execute` is the best a handler can do with it by hand. `pgmoon-literal` lies
-- between the two; it is shown, and not judged.
--
-- SPDX-License-Identifier: MIT

local one = { pgmoon = { requests = 1.95, cpu = 0.50 }, ["pgmoon-execute"] = { requests = 1.40 } }
local rows = { pgmoon = { requests = 2.20 } }

return {
  one = { [16] = one, [64] = one },
  rows = { [16] = rows, [64] = rows },
  -- Not against pgmoon: what /one has left of its requests with /slow beside it.
  beside = 0.95,
  -- Who is to reach them.
  who = { "luphant", "luphant-shared" },
}
