local main = require "luphant.cli.main"

-- A file to write to that remembers.
local function sink()
  local file = { text = "" }
  function file:write(...)
    for i = 1, select("#", ...) do self.text = self.text .. tostring((select(i, ...))) end
    return self
  end
  return file
end

local function run(...)
  local env = {
    out = sink(), err = sink(), getenv = function() end, is_terminal = function() return false end,
  }
  local code = main.run({ ... }, env)
  return code, env.out.text, env.err.text
end

describe("the luphant command", function()
  it("shows its commands when asked for help", function()
    for _, words in ipairs { { "help" }, { "--help" }, { "-h" } } do
      local code, out, err = run(words[1])
      assert.equal(0, code)
      assert.matches("Usage: luphant <command>", out)
      assert.matches("\n  doctor +%u", out)
      assert.matches("\n  migrate +%u", out)
      assert.equal("", err)
    end
  end)

  it("shows the same on standard error, as wrong use, without any word", function()
    local code, out, err = run()
    assert.equal(2, code)
    assert.equal("", out)
    assert.matches("Usage: luphant <command>", err)
  end)

  it("names the commands there are for one there is not", function()
    for _, words in ipairs { { "docter" }, { "help", "docter" } } do
      local code, out, err = run(words[1], words[2])
      assert.equal(2, code)
      assert.equal("", out)
      assert.matches('luphant: unknown command "docter" %(did you mean "doctor"%?%); the commands are: .*doctor', err)
    end
  end)

  it("refuses options in front of the command", function()
    local code, _, err = run("--json", "doctor")
    assert.equal(2, code)
    assert.matches('unknown option "%-%-json"', err)
  end)

  it("shows a command's help without running it", function()
    for _, words in ipairs { { "help", "doctor" }, { "doctor", "--help" }, { "doctor", "x", "-h" } } do
      local code, out = run(words[1], words[2], words[3])
      assert.equal(0, code)
      assert.matches("Usage: luphant doctor", out)
      assert.matches("%-%-json", out)
      assert.matches("Exit codes: 0 ", out)
    end
  end)

  it("shows the help of every command it lists", function()
    local _, overview = run "help"
    local seen = 0
    for name in overview:gmatch("\n  (%l+) +%u") do
      if name ~= "help" then
        seen = seen + 1
        assert.matches("Usage: luphant " .. name, select(2, run("help", name)))
      end
    end
    assert.is_true(seen >= 2)
  end)

  it("answers wrong arguments of a command with its usage, and never leaves the process", function()
    for _, word in ipairs { "--jsn", "--timeout=soon", "--timeout=-1" } do
      local code, out, err = run("doctor", word)
      assert.equal(2, code)
      assert.equal("", out)
      assert.matches("^luphant: doctor: ", err)
      assert.matches("Usage: luphant doctor", err)
    end
    assert.equal(2, (run("doctor", "postgres://a", "postgres://b")))
  end)

  it("answers 130 to Ctrl-C, wherever Lua happens to run, and tells other errors with their place", function()
    -- The interpreter answers SIGINT with a hook that raises this.
    local function with_hook(message)
      debug.sethook(function()
        if not debug.getinfo(2, "S").source:find("cli/migrate/lint.lua", 1, true) then return end
        debug.sethook()
        error(message, 0)
      end, "l")
      local ok, code, _, err = pcall(run, "migrate", "lint", "--dir", "migrations")
      debug.sethook()
      return ok, code, err
    end
    assert.same({ true, 130, "luphant: interrupted\n" }, { with_hook "interrupted!" })
    local ok, message = with_hook "something else"
    assert.is_false(ok)
    assert.matches("^something else\nstack traceback:", message)
  end)

  it("shows its version", function()
    local code, out = run("--version")
    assert.equal(0, code)
    assert.matches("^luphant %S+ %(Lua%S* %d.-, libpq %d+%.%d+%)\n$", out)
  end)
end)
