local args = require "luphant.args"

describe("args.nearest", function()
  local known = { "max_connections", "min_connections", "connect_timeout", "host", "hostaddr", "port" }

  it("finds the name behind a missing, extra, wrong or swapped letter", function()
    assert.equal("max_connections", args.nearest("max_conections", known))
    assert.equal("max_connections", args.nearest("max_connectionss", known))
    assert.equal("host", args.nearest("hist", known))
    assert.equal("host", args.nearest("hots", known))
  end)

  it("counts a swap of neighbours as one edit, not two", function()
    -- Two edits would be too far for a word of four letters.
    assert.equal("port", args.nearest("prot", { "port" }))
    assert.is_nil(args.nearest("rpto", { "port" }))
  end)

  it("ignores case and takes - for _", function()
    assert.equal("connect_timeout", args.nearest("Connect-Timeout", known))
  end)

  it("finds the name that begins alike", function()
    assert.equal("statement_cache_size", args.nearest("statement_cache", { "statement_cache_size", "host" }))
  end)

  it("has no idea rather than a wild one", function()
    assert.is_nil(args.nearest("colour", known))
    assert.is_nil(args.nearest("x", known))
    assert.is_nil(args.nearest(("x"):rep(10000), known))
    assert.is_nil(args.nearest("", known))
  end)

  it("answers the same for ties whatever the order of the list", function()
    assert.equal("bat", args.nearest("zat", { "cat", "bat" }))
    assert.equal("bat", args.nearest("zat", { "bat", "cat" }))
  end)
end)

describe("args.validate", function()
  local rules = {
    size = { type = "number", integer = true, min = 1, max = 10, default = 5 },
    wait = { type = "number", above = 0, default = 2, none = true },
    mode = { one_of = { "session", "transaction" }, default = "session" },
    hook = { type = { "function", "table" } },
    even = { type = "number", check = function(n) if n % 2 == 1 then return "must be even" end end },
    token = { type = "string", secret = true },
  }

  local function refusal(options)
    local checked, message = args.validate(options, rules)
    assert.is_nil(checked)
    return message
  end

  it("fills in defaults and leaves the given table alone", function()
    local given = { size = 3 }
    local checked = assert(args.validate(given, rules))
    assert.same({ size = 3, wait = 2, mode = "session" }, checked)
    assert.same({ size = 3 }, given)
    assert.same({ size = 5, wait = 2, mode = "session" }, args.validate(nil, rules))
  end)

  it("names the nearest known option for an unknown one", function()
    assert.equal('unknown option "sise" (did you mean "size"?)', refusal { sise = 1 })
    assert.equal('unknown option "colour"', refusal { colour = 1 })
    assert.equal("options have names, but one was given at [1]", refusal { "size" })
  end)

  it("checks types and says what it got", function()
    assert.equal('option "size" must be an integer, got "3"', refusal { size = "3" })
    assert.equal('option "hook" must be a function or a table, got true', refusal { hook = true })
    assert.equal('option "wait" must be a number, or false for none, got "soon"', refusal { wait = "soon" })
  end)

  it("checks ranges, with NaN and infinity outside of every one", function()
    assert.equal('option "size" must be at least 1, got 0', refusal { size = 0 })
    assert.equal('option "size" must be at most 10, got 11', refusal { size = 11 })
    assert.equal('option "size" must be an integer, got 1.5', refusal { size = 1.5 })
    assert.equal('option "wait" must be above 0, got 0', refusal { wait = 0 })
    assert.equal('option "wait" must be a number, not NaN', refusal { wait = 0 / 0 })
    assert.matches("must be an integer", refusal { size = 1 / 0 })
  end)

  it("checks words against a list and suggests one", function()
    assert.equal('option "mode" must be "session" or "transaction", got "transation"'
      .. ' (did you mean "transaction"?)', refusal { mode = "transation" })
    assert.equal('option "mode" must be "session" or "transaction", got 7', refusal { mode = 7 })
    assert.equal('option "mode" must be "session" or "transaction", got a table', refusal { mode = {} })
  end)

  it("lets false stand for none over a default, where the rule says so", function()
    assert.is_nil(assert(args.validate({ wait = false }, rules)).wait)
    assert.matches("must be an integer, got false", refusal { size = false })
  end)

  it("asks the rule's own check", function()
    assert.equal('option "even" must be even', refusal { even = 3 })
    assert.equal(4, assert(args.validate({ even = 4 }, rules)).even)
  end)

  it("never shows the value of a secret option", function()
    local checked, message = args.validate({ token = 12345 }, rules)
    assert.is_nil(checked)
    assert.not_matches("12345", message)
  end)

  it("refuses options that are no table", function()
    assert.equal('options must be a table, got "x"', refusal "x")
    assert.equal("options must be a table, got false", refusal(false))
  end)
end)

describe("args that raise", function()
  -- The line numbers below are found at run time: each function tells where it stands itself.
  local function here() return debug.getinfo(2, "l").currentline end

  it("blames the caller of the function that checks its options", function()
    local function open(options) return (args.check(options, { size = { type = "number" } })) end
    local line = here() + 1
    local ok, message = pcall(function() open { sizes = 1 } end)
    assert.is_false(ok)
    assert.matches(("args_spec.lua:%d: unknown option"):format(line), message, 1, true)
  end)

  it("blames the caller of the function that checks its arguments", function()
    local function query(sql) return (args.argument(sql, "string", 1, "query")) end
    local line = here() + 1
    local ok, message = pcall(function() query(nil) end)
    assert.is_false(ok)
    assert.matches(("args_spec.lua:%d: bad argument #1 to 'query' (string expected, got nil)"):format(line),
      message, 1, true)
    assert.equal("select 1", query("select 1"))
  end)

  it("takes one of several types", function()
    local function query(sql) return (args.argument(sql, { "string", "table" }, 1, "query")) end
    assert.same({}, query {})
    local ok, message = pcall(query, 5)
    assert.is_false(ok)
    assert.matches("%(string or table expected, got number%)", message)
  end)
end)
