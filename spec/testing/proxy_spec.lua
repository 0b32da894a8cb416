-- The connection one can cut, between plain sockets: what it promises must hold before anything is proved with it.
--
-- SPDX-License-Identifier: MIT

local liar = require "spec.support.liar"
local proxy = require "luphant.testing.proxy"
local shell = require "luphant.testing.shell"
local socket = require "socket"

local now = socket.gettime

describe("a proxy", function()
  local listener, gate, clients, servers

  before_each(function()
    listener = assert(socket.bind("127.0.0.1", 0))
    listener:settimeout(2)
    local _, port = listener:getsockname()
    gate = assert(proxy.start { target_port = tonumber(port) })
    clients, servers = {}, {}
  end)

  after_each(function()
    gate:stop()
    for _, each in ipairs(clients) do each:close() end
    for _, each in ipairs(servers) do each:close() end
    listener:close()
  end)

  -- Both ends of a connection through the proxy. Reading gives up after two seconds.
  local function connect()
    local client = assert(socket.connect(gate.host, gate.port))
    local server = assert(listener:accept())
    client:settimeout(2)
    server:settimeout(2)
    clients[#clients + 1], servers[#servers + 1] = client, server
    return client, server
  end

  -- Everything until the end of the stream.
  local function drain(s)
    local data, err, partial = s:receive "*a"
    return data or partial, err
  end

  local function hears_nothing(s, seconds)
    s:settimeout(seconds)
    local data, err, partial = s:receive(1)
    s:settimeout(2)
    return data == nil and err == "timeout" and partial == ""
  end

  it("forwards both ways, in order and whole", function()
    local client, server = connect()
    assert(client:send "question")
    assert.equal("question", server:receive(8))
    local much = {}
    for i = 1, 40000 do much[i] = ("%010d"):format(i) end
    much = table.concat(much)
    local sent = 0
    server:settimeout(0)
    local got = {}
    while sent < #much do -- both at once: more than all buffers hold
      local last, _, partial = server:send(much, sent + 1)
      sent = last or partial or sent
      client:settimeout(0)
      local data, _, piece = client:receive(100000)
      got[#got + 1] = data or piece
    end
    server:close()
    client:settimeout(2)
    got[#got + 1] = drain(client)
    assert.is_true(table.concat(got) == much)
  end)

  it("passes the end of a stream on and keeps the other direction open", function()
    local client, server = connect()
    assert(client:send "last words")
    client:shutdown "send"
    assert.equal("last words", drain(server))
    assert(server:send "heard")
    server:close()
    assert.equal("heard", drain(client))
  end)

  it("counts bytes, connections and round trips", function()
    local client, server = connect()
    for _ = 1, 3 do
      client:send "ask"
      client:send "more"
      assert(server:receive(7))
      server:send "answer"
      assert(client:receive(6))
    end
    local stats = gate:stats { reset = true }
    assert.same({ 1, 1, 21, 18, 3 },
      { stats.accepted, stats.open, stats.from_client, stats.from_server, stats.round_trips })
    stats = gate:stats()
    assert.same({ 0, 1, 0, 0, 0 },
      { stats.accepted, stats.open, stats.from_client, stats.from_server, stats.round_trips })
  end)

  it("stalls one direction or both, and delivers what it held back", function()
    local client, server = connect()
    gate:stall { from = "server" }
    client:send "there"
    assert.equal("there", server:receive(5))
    server:send "back"
    assert.is_true(hears_nothing(client, 0.15))
    gate:resume()
    assert.equal("back", client:receive(4))
    gate:stall()
    client:send "x"
    server:send "y"
    assert.is_true(hears_nothing(client, 0.1) and hears_nothing(server, 0.1))
    gate:pass()
    assert.same({ "y", "x" }, { client:receive(1), (server:receive(1)) })
  end)

  it("cuts after exactly so many bytes, on connections that are open and on later ones", function()
    for _, bytes in ipairs { 0, 1, 5, 9 } do
      local client, server = connect()
      server:send "before"
      assert.equal("before", client:receive(6))
      gate:cut_after { from = "server", bytes = bytes }
      server:send "0123456789"
      local data, err = drain(client)
      assert.same({ ("0123456789"):sub(1, bytes), true }, { data, err == nil or err == "closed" })
      client, server = connect() -- counted from its first byte
      server:send "0123456789"
      assert.equal(("0123456789"):sub(1, bytes), (drain(client)))
      gate:pass()
    end
    assert.equal(8, gate:stats().cut)
  end)

  it("cuts in the other direction, and the other side gets what was let through", function()
    local client, server = connect()
    gate:cut_after { from = "client", bytes = 4 }
    client:send "commit"
    assert.equal("comm", (drain(server)))
    assert.equal("", (drain(client)))
  end)

  it("cuts once when asked to", function()
    gate:cut_after { from = "server", bytes = 2, once = true }
    local client, server = connect()
    server:send "gone"
    assert.equal("go", (drain(client)))
    client, server = connect()
    server:send "whole"
    assert.equal("whole", client:receive(5))
  end)

  -- A start-up packet, and messages whose size says nothing about where the reads and writes of a network end.
  local STARTUP = liar.int32(20) .. liar.int32(196608) .. "user\0app\0\0\0\0"
  local SSL_REQUEST = liar.int32(8) .. liar.int32(80877103)
  local MESSAGES = { liar.ready(), liar.complete "SELECT 1", liar.message("1"), liar.message("d", ("x"):rep(20000)),
    liar.ready() }

  -- What came of `data`, sent in pieces of `size` bytes.
  local function passes(from, to, data, size)
    for at = 1, #data, size do from:send(data:sub(at, at + size - 1)) end
    return (drain(to))
  end

  it("cuts between messages and inside of them, however they are torn", function()
    for _, size in ipairs { 3, 7000, 100000 } do
      for _, split in ipairs { false, size > 3 } do
        if split then gate:split() end
        local before = ""
        for messages = 0, 3 do
          for _, bytes in ipairs { 0, 1, 4, 5 } do
            local _, server = connect()
            gate:cut_after { from = "server", messages = messages, bytes = bytes }
            local data = passes(server, clients[#clients], table.concat(MESSAGES), size)
            local rest = table.concat(MESSAGES, "", messages + 1)
            assert.equal(before .. rest:sub(1, bytes), data)
            gate:cut_after { from = "server", bytes = 1e9 }
          end
          before = before .. (MESSAGES[messages + 1] or "")
        end
        gate:pass()
      end
    end
  end)

  it("cuts after a message of the client, the start-up packet being one", function()
    for messages, expected in pairs { [0] = "", SSL_REQUEST, SSL_REQUEST .. STARTUP,
      SSL_REQUEST .. STARTUP .. liar.message("S") } do
      gate:cut_after { from = "client", messages = messages }
      local client, server = connect()
      if messages > 0 then
        client:send(SSL_REQUEST)
        if messages > 1 then
          assert.equal(SSL_REQUEST, server:receive(#SSL_REQUEST))
          server:send "N"
          assert.equal("N", client:receive(1))
          client:send(STARTUP .. liar.message("S") .. liar.message("X"))
          expected = expected:sub(#SSL_REQUEST + 1)
        end
      end
      assert.equal(expected, (drain(server)))
      gate:pass()
    end
  end)

  it("counts messages in plain text, and stops where they are encrypted", function()
    local function count(answer)
      local client, server = connect()
      gate:stats { reset = true }
      client:send(SSL_REQUEST)
      assert.equal(SSL_REQUEST, server:receive(#SSL_REQUEST))
      server:send(answer)
      assert.equal(answer, client:receive(#answer))
      client:send(STARTUP .. liar.message("S"))
      assert.equal(liar.message("S"), server:receive(#STARTUP + 5):sub(-5))
      server:send(liar.ready() .. liar.ready() .. "Z\0") -- the third has only begun
      assert.equal(14, #client:receive(14))
      local stats = gate:stats()
      return { stats.messages_from_client, stats.messages_from_server }
    end
    assert.same({ 3, 3 }, count "N")
    assert.same({ 1, 0 }, count "S")
    assert.same({ 3, 3 }, count(liar.message("E", "\0"))) -- an old server's way to say no
  end)

  it("ends one direction and keeps the other", function()
    for _, from in ipairs { "client", "server" } do
      local client, server = connect()
      local speaker, listener_of = client, server
      if from == "server" then speaker, listener_of = server, client end
      speaker:send "before"
      assert.equal("before", listener_of:receive(6))
      gate:half_close { from = from }
      assert.equal("", (drain(listener_of)))
      speaker:send "into the void"
      listener_of:send "still heard"
      assert.equal("still heard", speaker:receive(11))
      client:close()
      server:close()
    end
    assert.equal(2, gate:stats().cut)
  end)

  it("ends one direction after exactly so many bytes", function()
    gate:cut_after { from = "server", bytes = 4, half = true }
    local client, server = connect()
    server:send "0123456789"
    assert.equal("0123", (drain(client)))
    client:send "still heard"
    assert.equal("still heard", server:receive(11))
  end)

  it("forgets a connection: silence, then RST at the first word", function()
    local client, server = connect()
    client:send "hello"
    assert.equal("hello", server:receive(5))
    gate:forget()
    assert.equal("", (drain(server)))
    assert.is_true(hears_nothing(client, 0.1))
    assert.is_truthy(client:send "x")
    socket.sleep(0.05)
    local _, err = client:send "y" -- only a connection that was reset takes no bytes
    assert.equal("closed", err)
    client, server = connect()
    client:send "new"
    assert.equal("new", server:receive(3))
    assert.same({ 1, 1 }, { gate:stats().cut, gate:stats().open })
  end)

  it("delays by chance, in order", function()
    local client, server = connect()
    gate:delay { seconds = 0.02, jitter = 0.1, from = "server" }
    local shortest, longest = math.huge, 0
    for i = 1, 30 do
      local at = now()
      server:send(("%02d"):format(i))
      assert.equal(("%02d"):format(i), client:receive(2))
      shortest, longest = math.min(shortest, now() - at), math.max(longest, now() - at)
    end
    assert.is_true(shortest >= 0.02)
    assert.is_true(longest >= 0.07) -- all thirty in the first half: once in a thousand million runs
    for i = 10, 99 do server:send(tostring(i)) end
    for i = 10, 99 do assert.equal(tostring(i), client:receive(2)) end
  end)

  it("resets where a cut alone would end the stream politely", function()
    local client, server = connect()
    server:send "ab"
    assert.equal("ab", client:receive(2))
    gate:cut { reset = true }
    socket.sleep(0.05)
    -- A connection that was reset takes no bytes; one that was ended still does.
    local _, err = client:send "x"
    assert.equal("closed", err)
    client = connect()
    gate:cut()
    assert.is_truthy(client:send "x")
  end)

  it("delays, limits and splits", function()
    local client, server = connect()
    gate:delay { seconds = 0.2, from = "server" }
    local at = now()
    server:send "late"
    assert.equal("late", client:receive(4))
    assert.is_true(now() - at >= 0.19)
    gate:pass()

    gate:limit { bytes_per_second = 1000, from = "server" }
    at = now()
    server:send(("x"):rep(400))
    assert.equal(400, #client:receive(400))
    assert.is_true(now() - at >= 0.25 and now() - at < 1.5)
    gate:pass()

    gate:split()
    server:send(("0123456789"):rep(100))
    assert.equal(("0123456789"):rep(100), client:receive(1000))
  end)

  it("refuses connections, keeps the open ones, and comes back at the same place", function()
    local client, server = connect()
    gate:refuse()
    local _, err = socket.connect(gate.host, gate.port)
    assert.equal("connection refused", err)
    client:send "still"
    assert.equal("still", server:receive(5))
    gate:accept()
    assert(connect())
  end)

  it("closes the client when the target refuses", function()
    listener:close()
    local client = assert(socket.connect(gate.host, gate.port))
    client:settimeout(2)
    assert.equal("", (drain(client)))
    client:close()
  end)

  it("goes between Unix sockets as well", function()
    local dir = assert(shell.run "mktemp -d")
    local unix = require "socket.unix"
    local target = unix.stream()
    assert(target:bind(dir .. "/target"))
    assert(target:listen(4))
    target:settimeout(2)
    local between = assert(proxy.start { target_socket = dir .. "/target", listen_socket = dir .. "/.s.PGSQL.7" })
    assert.same({ dir, 7 }, { between.host, between.port })
    local client = unix.stream()
    assert(client:connect(dir .. "/.s.PGSQL.7"))
    local server = assert(target:accept())
    client:send "over"
    assert.equal("over", server:receive(4))
    for _, each in ipairs { client, server, target } do each:close() end
    between:stop()
    assert.is_nil(io.open(dir .. "/.s.PGSQL.7")) -- the socket's file is gone
    assert(shell.run("rm -r " .. shell.quote(dir)))
  end)

  it("says what is wrong with a call", function()
    for _, call in ipairs {
      function() proxy.start() end,
      function() proxy.start {} end,
      function() proxy.start { target_port = 1, tarket = 2 } end,
      function() proxy.start { target_port = "many" } end,
      function() gate:stall { from = "middle" } end,
      function() gate:cut_after { bytes = 1 } end,
      function() gate:cut_after { from = "server" } end,
      function() gate:cut_after { from = "server", messages = "one" } end,
      function() gate:cut_after { from = "server", messages = 1, bytes = -1 } end,
      function() gate:half_close() end,
      function() gate:delay { seconds = 1, jitter = "some" } end,
      function() gate:delay { seconds = -1 } end,
      function() gate:limit { bytes_per_second = 0 } end,
    } do
      local ok, message = pcall(call)
      assert.is_false(ok)
      assert.matches("proxy_spec.lua", message, 1, true) -- blamed on the caller
    end
    local none, message = proxy.start { target_port = 1, listen_port = gate.port }
    assert.is_nil(none)
    assert.matches("in use", message, 1, true)
  end)

  it("ends when it is stopped, once and for all", function()
    local client = connect()
    gate:stop()
    gate:stop()
    assert.equal("", (drain(client)))
    assert.has_error(function() gate:pass() end)
    assert.is_nil((socket.connect(gate.host, gate.port)))
  end)

  it("ends when whoever started it was killed", function()
    local env = require "spec.support.env"
    local code = ([[package.path, package.cpath = %q, %q
      local gate = assert(require("luphant.testing.proxy").start { target_port = 1 })
      io.write(gate.port, "\n") io.flush()
      os.execute "kill -9 $PPID"]]):format(package.path, package.cpath)
    local port = tonumber((io.popen(shell.line { env.lua(), "-e", code } .. " 2>/dev/null"):read "*l"))
    local limit = now() + 5
    local there
    repeat
      there = socket.connect("127.0.0.1", port)
      if there then there:close() end
      socket.sleep(0.05)
    until not there or now() > limit
    assert.is_nil(there)
  end)
end)
