-- Objects of the C core are told from everything else, and from each other, also after they have been finalized.
--
-- To see it fail: let is_marked in csrc/bind/lbox.c answer true for a userdata of any class (the first two tests), or
-- lbox_self look at the mark alone (the last one).
--
-- SPDX-License-Identifier: MIT

local core = require "luphant.core"

local function new_pool() return core.pool({ max = 2, min = 0 }, 1) end

describe("an object of the core", function()
  it("does not take another's methods", function()
    local pool, map = new_pool(), core.typemap()
    local ok, why = pcall(pool.size, map)
    assert.is_false(ok)
    assert.truthy(tostring(why):find("luphant.core.pool expected as argument #1, got userdata", 1, true), why)
    assert.equal(pool:size(), pool.size(pool))
  end)

  it("is no file, table, number or address", function()
    local pool = new_pool()
    for _, stranger in ipairs { io.stdout, {}, 7, "pool", core.PENDING, print } do
      local ok, why = pcall(pool.size, stranger)
      assert.is_false(ok)
      assert.truthy(tostring(why):find("luphant.core.pool expected as argument #1, got ", 1, true), why)
    end
    assert.is_false((pcall(pool.size)))
  end)

  it("is the same object when it has been finalized, which may happen twice", function()
    local pool = new_pool()
    local finalize = debug.getmetatable(pool).__gc -- luacheck: ignore
    finalize(pool)
    finalize(pool)
    local ok, why = pcall(pool.size, pool)
    assert.is_false(ok)
    assert.truthy(tostring(why):find("the pool is gone", 1, true), why)
  end)
end)
