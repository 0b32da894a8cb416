-- A program for a network namespace of its own, whose loopback it takes down and up again: what a connection says when
-- packets vanish, and after how long. Arguments: folder of the server's socket, its port. Prints
--   sent <kind> <seconds>     a statement without deadline while nothing comes through
--   idle <kind> <seconds>     the first statement after the loss, on a connection that was idle meanwhile
--
-- SPDX-License-Identifier: MIT

local luphant = require "luphant"
local proxy = require "luphant.testing.proxy"
local socket = require "socket"

local folder, port = arg[1], arg[2]

local function loopback(state) assert(os.execute("ip link set lo " .. state)) end

local gate = assert(proxy.start { target_socket = ("%s/.s.PGSQL.%s"):format(folder, port) })

local function connect(options)
  options.host, options.port, options.user, options.dbname = gate.host, gate.port, "postgres", "postgres"
  options.sslmode, options.application_name = "disable", "ordeal"
  local conn = assert(luphant.connect(options))
  assert(conn:query_value "select 1" == 1)
  return conn
end

local function report(word, conn)
  local from = socket.gettime()
  local value, err = conn:query_value "select 1"
  assert(value == nil, "an answer without a network")
  print(("%s %s %.2f"):format(word, err.kind, socket.gettime() - from))
end

local sender = connect { tcp_user_timeout = 1000 }
local idler = connect { tcp_user_timeout = 1500, keepalives_idle = 1, keepalives_interval = 1, keepalives_count = 1 }
loopback "down"
report("sent", sender)
socket.sleep(1.7)
loopback "up"
report("idle", idler)
sender:close()
idler:close()
gate:stop()
