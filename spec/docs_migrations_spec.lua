-- The guide of migrations shows what really happens: each of its transcripts is run, and compared word by word.
--
-- To see it fail: change a message of luphant.migrate, or a line of a transcript.
--
-- SPDX-License-Identifier: MIT

local transcript = require "spec.support.transcript"

local PAGE = "docs/guide/migrations.md"

-- Under a sanitizer programs take so long that a statement of seconds may be over before the next one looks.
local IS_SLOW = (tonumber(os.getenv "LUPHANT_TEST_SLOW_FACTOR" or "1") or 1) > 2

local function counts_on_time(section)
  for _, command in ipairs(section.commands) do
    if command.text:find("&%s*$") or command.expected[1] == "^C" then return true end
  end
  return false
end

describe("the guide of migrations", function()
  local sections = transcript.read(PAGE)
  local is_update = os.getenv "LUPHANT_UPDATE_PAGES"

  for _, section in ipairs(sections) do
    if not (IS_SLOW and counts_on_time(section)) then
      it(("under %q shows what the commands print"):format(section.title), function()
        transcript.run(section)
        for _, command in ipairs(section.commands) do
          assert(command.output, ("%s:%d: %s: was not reached"):format(PAGE, command.line, command.text))
          local expected = table.concat(command.expected, "\n"):gsub("^%^C\n?", "")
          if not is_update then
            assert.equal(transcript.settled(expected), command.output,
              ("%s:%d: %s"):format(PAGE, command.line, command.text))
          end
        end
      end)
    end
  end

  if is_update then
    it("is written anew", function() transcript.update(PAGE, sections) end)
  end

  it("tells of every exit code", function()
    local text = assert(io.open(PAGE)):read "*a"
    for _, code in ipairs { 0, 1, 2, 3, 4, 5, 6, 7, 130 } do
      assert.truthy(text:find(("| %d |"):format(code), 1, true), "no row for " .. code)
      local shown = ("\n$ echo $?\n%d\n"):format(code)
      if code > 0 then assert.truthy(text:find(shown, 1, true), "nothing shows " .. code) end
    end
  end)
end)
