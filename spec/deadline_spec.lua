local deadline = require "luphant.deadline"

describe("deadline", function()
  local time, clock

  before_each(function()
    time = 100
    clock = deadline.clock(function() return time end)
  end)

  it("turns seconds into a point on the given clock and back into what is left", function()
    local at = clock.after(5)
    assert.equal(105, at)
    time = 102
    assert.equal(3, clock.left(at))
    assert.is_false(clock.is_past(at))
  end)

  it("is past at the very moment, and what is left is never negative", function()
    local at = clock.after(5)
    time = 105
    assert.is_true(clock.is_past(at))
    assert.equal(0, clock.left(at))
    time = 200
    assert.equal(0, clock.left(at))
  end)

  it("takes nil and infinity for no limit", function()
    assert.is_nil(clock.after(nil))
    assert.is_nil(clock.after(1 / 0))
    assert.is_nil(clock.left(nil))
    assert.is_false(clock.is_past(nil))
  end)

  it("is past at once for zero and less", function()
    assert.is_true(clock.is_past(clock.after(0)))
    assert.is_true(clock.is_past(clock.after(-1)))
  end)

  it("finds the sooner of two, either of which may be missing", function()
    assert.equal(1, deadline.sooner(1, 2))
    assert.equal(1, deadline.sooner(2, 1))
    assert.equal(2, deadline.sooner(nil, 2))
    assert.equal(2, deadline.sooner(2, nil))
    assert.is_nil(deadline.sooner(nil, nil))
  end)
end)
