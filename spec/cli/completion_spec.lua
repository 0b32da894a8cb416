-- Shell completion: the scripts are sourced by the shells they are for, and asked as a person who presses Tab does.

local cli = require "spec.support.cli"
local shell = require "luphant.testing.shell"

local function has(program) return shell.run("command -v " .. program) ~= nil end

describe("luphant completion", function()
  local function script(name)
    local code, out = cli.run({}, "completion", name)
    assert.equal(0, code)
    local path = os.tmpname()
    shell.write_file(path, out)
    return path, out
  end

  -- What bash offers behind a line.
  local function offers(line)
    local path = script "bash"
    local driver = os.tmpname()
    shell.write_file(driver, ([[
source %s
COMP_WORDS=(%s)
COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
COMP_LINE="${COMP_WORDS[*]}" COMP_POINT=${#COMP_LINE}
_luphant
printf '%%s\n' "${COMPREPLY[@]}"
]]):format(path, line))
    local out = assert(shell.run("bash " .. driver))
    os.remove(path)
    os.remove(driver)
    local set = {}
    for word in out:gmatch "%S+" do set[word] = true end
    return set
  end

  it("teaches bash the commands, the verbs and their own options", function()
    local commands = offers "luphant ''"
    assert.same({ true, true, true }, { commands.migrate, commands.schema, commands.completion })
    local verbs = offers "luphant migrate ''"
    assert.same({ true, true, true, true }, { verbs.up, verbs.new, verbs.db, verbs.lint })
    local options = offers "luphant migrate new --"
    assert.is_true(options["--pair"])
    assert.is_nil(options["--plan-hash"])
    assert.is_true(offers("luphant migrate up --")["--plan-hash"])
  end)

  it("writes scripts for zsh and fish that they can read", function()
    for name, check in pairs { zsh = "zsh -n", fish = "fish --no-execute" } do
      local path, text = script(name)
      assert.truthy(text:find("resolve", 1, true))
      assert.truthy(text:find("no-transaction", 1, true))
      if has(name) then assert(shell.run(check .. " " .. path)) end
      os.remove(path)
    end
  end)

  it("knows no other shell", function()
    assert.equal(2, (cli.run({}, "completion", "tcsh")))
  end)
end)
