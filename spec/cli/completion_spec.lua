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

  -- What fish offers behind a line: words, each with what it is for.
  local function offers_of_fish(line)
    local path = script "fish"
    local out = assert(shell.run(("HOME=%s fish --no-config -c 'source %s; complete -C \"%s\"'"):format(
      path .. ".none", path, line)))
    os.remove(path)
    local set = {}
    for word, why in (out .. "\n"):gmatch "([^\t\n]+)\t?([^\n]*)\n" do set[word] = why end
    return set
  end

  -- zsh completes on a terminal only, so it gets one of its own, and Tab is pressed there.
  local ZSH = [=[
zmodload zsh/zpty
zpty -b child "TERM=dumb zsh -f -i"
wait_for() {
  local all= text
  for i in {1..500}; do
    while zpty -r -t child text; do all+=$text; done
    [[ $all == *$1* ]] && break
    sleep 0.02
  done
  print -r -- "$all"
}
zpty -w child 'PS1= PS2= fpath=(%DIR% $fpath) LISTMAX=10000 COLUMNS=200 LINES=1000'
zpty -w child 'autoload -Uz compinit; compinit -u -d %DIR%/dump'
zpty -w child "say-done() { print -r -- D''ONE }; zle -N say-done; bindkey '^Xd' say-done; print RE''ADY"
wait_for READY >/dev/null
zpty -w -n child "%LINE%"$'\t\x18d'
wait_for DONE
zpty -d child
]=]

  local function offers_of_zsh(line)
    local dir = os.tmpname()
    os.remove(dir)
    assert(shell.run("mkdir " .. dir))
    local _, text = script "zsh"
    shell.write_file(dir .. "/_luphant", text)
    local values = { ["%DIR%"] = dir, ["%LINE%"] = line }
    shell.write_file(dir .. "/driver", (ZSH:gsub("%%%u+%%", values)))
    local out = assert(shell.run("zsh -f " .. dir .. "/driver 2>&1"))
    assert(shell.run("rm -r " .. dir))
    local set = {}
    for word in out:gmatch "[%w%-_]+" do set[word] = true end
    return set, out
  end

  it("teaches fish the same", function()
    if not has "fish" then return pending "fish is not installed" end
    local verbs = offers_of_fish "luphant migrate "
    assert.truthy(verbs.up:find("Apply what is pending", 1, true))
    assert.is_string(verbs.baseline)
    local options = offers_of_fish "luphant migrate new --"
    assert.truthy(options["--pair"] and not options["--plan-hash"])
    assert.is_string(offers_of_fish("luphant migrate up --")["--plan-hash"])
  end)

  it("teaches zsh the same", function()
    if not has "zsh" then return pending "zsh is not installed" end
    local verbs, out = offers_of_zsh "luphant migrate "
    assert(verbs.baseline and verbs.resolve and verbs.up, out)
    local options
    options, out = offers_of_zsh "luphant migrate new --"
    assert(options["--pair"] and not options["--plan-hash"], out)
    options, out = offers_of_zsh "luphant migrate up --"
    assert(options["--plan-hash"], out)
  end)

  it("knows no other shell", function()
    assert.equal(2, (cli.run({}, "completion", "tcsh")))
  end)
end)
