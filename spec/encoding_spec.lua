-- Texts are UTF-8 in both directions. What happens when a statement changes client_encoding, openly or not: no text
-- that comes behind it is ever given.
--
-- To see it fail: let lph_conn_speaks_utf8 (csrc/core/conn.h) answer true.
--
-- SPDX-License-Identifier: MIT

local env = require "spec.support.env"
local luphant = require "luphant"
local probe = require "spec.support.probe"

local SET = "set client_encoding = 'LATIN1'"
local CALL = "select encoding_spec_change()"

describe("client_encoding", function()
  local conn

  setup(function()
    local admin = assert(luphant.connect(env.url()))
    assert(admin:script [[
      create or replace function encoding_spec_change() returns text language sql as
        $$ select set_config('client_encoding', 'LATIN1', false) $$;
      create or replace function encoding_spec_trigger() returns trigger language plpgsql as
        $$ begin perform encoding_spec_change(); return new; end $$;
      drop table if exists encoding_spec;
      create table encoding_spec (t text);
      create trigger change before insert on encoding_spec for each row execute function encoding_spec_trigger()]])
    admin:close()
  end)

  teardown(function()
    local admin = assert(luphant.connect(env.url()))
    assert(admin:script [[drop table encoding_spec;
      drop function encoding_spec_trigger; drop function encoding_spec_change]])
    admin:close()
  end)

  before_each(function() conn = assert(luphant.connect(env.url())) end)
  after_each(function() conn:close() end)

  local function refused(result, err)
    assert.is_nil(result)
    assert.equal("encoding", err.kind)
    assert.equal("yes", err.sent)
    assert.truthy(err.message:find("changed to LATIN1", 1, true))
  end

  local function refused_and_closed(...)
    refused(...)
    assert.equal("closed", conn.box:state())
    local _, err = conn:query_value "select 'ä'"
    assert.equal("closed", err.kind)
  end

  it("that is set to what it is changes nothing", function()
    assert(conn:execute "set client_encoding = 'UTF8'")
    assert(conn:script "set client_encoding = 'unicode'; reset client_encoding")
    assert.equal("ä", conn:query_value "select 'ä'")
    probe.usable(conn)
  end)

  it("whose change was undone with the statement changes nothing", function()
    local _, err = conn:script(SET .. "; select 1 / 0")
    assert.equal("division_by_zero", err.kind)
    assert.equal("ä", conn:query_value "select 'ä'")
  end)

  for name, run in pairs {
    ["a statement"] = function() return conn:execute(SET) end,
    ["a function"] = function() return conn:query(CALL) end,
    ["a script"] = function() return conn:script(SET .. "; select 'ä'") end,
    ["a batch"] = function() return conn:batch { "select 1", SET, "select 'ä'" } end,
    ["a transaction's setting"] = function()
      return conn:transaction(function(tx) return tx:query "select 'ä'" end, { set = { client_encoding = "LATIN1" } })
    end,
    ["a statement in a transaction"] = function()
      return conn:transaction(function(tx) return tx:execute "set local client_encoding = 'LATIN1'" end)
    end,
    ["COPY out"] = function()
      local reader = assert(conn:copy_out "copy (select 'ä', encoding_spec_change()) to stdout")
      local bytes, err = reader:read()
      if bytes then bytes, err = reader:read() end
      return bytes, err
    end,
    ["COPY in"] = function()
      local writer = assert(conn:copy_in "encoding_spec")
      assert(writer:row "ä")
      return writer:finish()
    end,
  } do
    it("that is changed by " .. name .. " ends the session, and the statement says so", function()
      refused_and_closed(run())
    end)
  end

  it("that changes in the middle of an isolated batch keeps the answers before, and gives none behind", function()
    local results, err = conn:batch({ "select 'ä' as t", CALL, "select 'ä' as t" }, { isolated = true })
    refused_and_closed(results, err)
    assert.equal("ä", err.results[1][1].t)
    assert.is_nil(err.results[3])
  end)

  for _, via in ipairs { "rows", "portal" } do
    it("that is changed by the statement of a stream ends its loop with an error, via " .. via, function()
      local ok, err = pcall(function()
        for _ in conn:stream { "select n, encoding_spec_change() from generate_series(1, 2000) n", via = via } do end
      end)
      assert.is_false(ok)
      refused_and_closed(nil, err)
    end)
  end

  it("that changes between two portions of a stream costs the rest of it", function()
    local seen, told = 0, nil
    local ok = pcall(conn.transaction, conn, function(tx)
      for _ in tx:stream { "select n from generate_series(1, 2000) n", via = "portal" } do
        seen = seen + 1
        if seen == 100 then _, told = tx:execute(SET) end
      end
    end)
    assert.is_false(ok)
    refused(nil, told)
    assert.is_true(seen < 2000)
    assert.equal("closed", conn.box:state())
  end)

  it("that is changed on a connection of a pool never reaches another borrower", function()
    for _, options in ipairs { {}, { share = true } } do
      options.max_connections = 1
      local db = assert(luphant.open(env.url(), options))
      refused(db:execute(SET))
      assert.equal("ä", db:query_value "select 'ä'")
      refused(db:query(CALL))
      assert.equal("ä", db:query_value "select 'ä'")
      db:close()
    end
  end)
end)
