-- env - where the specs find their server.
--
-- `./dev test` starts one server for a whole run and says where it is in LUPHANT_TEST_URL. A spec run by
-- hand (busted spec/some_spec.lua) gets a server of its own, started when first asked for and gone with
-- the process. Specs that break the server start one for themselves with luphant.testing.server.
--
-- SPDX-License-Identifier: MIT
local env = {}

local own -- started by us because nobody gave us one

local function own_server()
  if not own then
    own = assert(require("luphant.testing.server").start())
  end
  return own
end

--- URL of the shared server's database, superuser, over the Unix socket.
---@return string
function env.url()
  return os.getenv("LUPHANT_TEST_URL") or own_server():url()
end

--- Directory of PostgreSQL's programs (psql, pg_ctl, ...) that belong to the shared server.
---@return string
function env.bin_dir()
  return os.getenv("LUPHANT_TEST_BIN") or own_server().bin_dir
end

--- The interpreter that runs this spec, for specs that need a process of their own.
---@return string "lua5.4" or "luajit", or its path
function env.lua()
  return os.getenv("LUPHANT_TEST_LUA") or (rawget(_G, "jit") and "luajit" or "lua5.4")
end

return env
