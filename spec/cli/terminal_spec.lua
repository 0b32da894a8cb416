-- What a terminal is given: messages of others must not steer it.
--
-- SPDX-License-Identifier: MIT

local env = require "spec.support.env"
local shell = require "luphant.testing.shell"
local terminal = require "luphant.cli.terminal"

describe("luphant.cli.terminal", function()
  it("leaves text and colours alone", function()
    for _, text in ipairs { "", "plain", "tab\tand\nlines\n", "Grüße, 日本", "\27[31mred\27[0m \27[1;33mbold\27[m",
      "\rstarts again" } do
      assert.equal(text, terminal.harmless(text))
    end
  end)

  it("shows what would move the cursor, hide lines or rename the window", function()
    assert.equal("a\\x1B[2Jb", terminal.harmless "a\27[2Jb")
    assert.equal("\\x1B]0;title\\x07", terminal.harmless "\27]0;title\7")
    assert.equal("50%\\x0Dfine\\x08\\x7F\\x00", terminal.harmless "50%\rfine\8\127\0")
    assert.equal("\\x1B\\x1B[3\27[31mred", terminal.harmless "\27\27[3\27[31mred")
  end)

  -- script(1) gives the command a terminal of its own.
  it("stands between the command and a terminal, and not before a pipe", function()
    if not shell.run "command -v script" then return pending "script(1) is not installed" end
    local command = shell.line { env.lua(), "-e", ("package.path, package.cpath = %q, %q"):format(package.path,
      package.cpath), "bin/luphant", "no\27[2Jsuch" } .. " 2>&1"
    local seen = shell.run("script -qec " .. shell.quote(command) .. " /dev/null </dev/null; true")
    assert.is_truthy(seen:find("no\\x1B[2Jsuch", 1, true), seen)
    local piped = shell.run(command .. " | cat")
    assert.is_truthy(piped:find("no\27[2Jsuch", 1, true), piped)
  end)
end)
