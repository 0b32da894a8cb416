-- Who is measured: a program that speaks the contract of peers/meter.lua, and what it needs.
--
--   key        short name, for goals and the command line
--   programs   interpreters to try in this order; the first that can run the script takes part
--   script     under bench/
--   lua        "lua5.4" or "luajit": gets the module paths of that build
--   env        more environment
--   questions  only these (a variant that would tell nothing elsewhere)
--   share      part of the operations: enough for the slow ones, whose figures are larger
--
-- SPDX-License-Identifier: MIT

local rows = { rows_named = true, rows_array = true, rows_columns = true, values_iterator = true }
local tasks = { tasks_16 = true, tasks_16_shared = true, tasks_64 = true, tasks_64_shared = true }
local pythons = { "python3", "/usr/bin/python3" } -- the second has what the distribution installs

return {
  { key = "luphant-5.4", programs = { "lua5.4" }, script = "peers/luphant.lua", lua = "lua5.4" },
  { key = "luphant-jit", programs = { "luajit" }, script = "peers/luphant.lua", lua = "luajit" },
  {
    -- glibc gives the heap's end back to the kernel after each large result and takes it again; LuaJIT, whose own
    -- heap is elsewhere, feels it. The floor has this switched off as well.
    key = "luphant-jit-untrimmed", programs = { "luajit" }, script = "peers/luphant.lua", lua = "luajit",
    env = { MALLOC_TRIM_THRESHOLD_ = "268435456" }, questions = rows,
  },
  -- Questions about many tasks in real event loops; luphant-5.4 and luphant-jit run in the least a loop can be.
  {
    key = "luphant-5.4-cqueues", programs = { "lua5.4" }, script = "peers/luphant.lua", lua = "lua5.4",
    env = { LUPHANT_BENCH_LOOP = "cqueues" }, questions = tasks,
  },
  {
    key = "luphant-jit-cqueues", programs = { "luajit" }, script = "peers/luphant.lua", lua = "luajit",
    env = { LUPHANT_BENCH_LOOP = "cqueues" }, questions = tasks,
  },
  {
    key = "luphant-5.4-luv", programs = { "lua5.4" }, script = "peers/luphant.lua", lua = "lua5.4",
    env = { LUPHANT_BENCH_LOOP = "luv" }, questions = tasks,
  },
  {
    key = "luphant-jit-luv", programs = { "luajit" }, script = "peers/luphant.lua", lua = "luajit",
    env = { LUPHANT_BENCH_LOOP = "luv" }, questions = tasks,
  },
  { key = "luasql-5.4", programs = { "lua5.4" }, script = "peers/luasql.lua", lua = "lua5.4" },
  { key = "luasql-jit", programs = { "luajit" }, script = "peers/luasql.lua", lua = "luajit" },
  { key = "luadbi-5.4", programs = { "lua5.4" }, script = "peers/luadbi.lua", lua = "lua5.4" },
  { key = "psycopg2", programs = pythons, script = "peers/py_psycopg2.py", share = 0.5 },
  { key = "psycopg", programs = pythons, script = "peers/py_psycopg.py", share = 0.3 },
  { key = "asyncpg", programs = pythons, script = "peers/py_asyncpg.py", share = 0.3 },
  { key = "node-pg", programs = { "node" }, script = "peers/node_pg.js", share = 0.3 },
}
