--- The client's error kinds for the Lua side: kind.inc -> lua/luphant/kinds.lua.
--
-- The core and the Lua side make errors from one vocabulary, so that neither can invent a word.
-- See emit.lua for how to run it. SPDX-License-Identifier: MIT

local emit = dofile "csrc/gen/emit.lua"
local docs = dofile "csrc/gen/docs_kinds.lua"

local HEAD = [[
-- kinds.lua - the words that err.kind can hold when the client itself made the error.
--
-- Made by csrc/gen/lua_kinds.lua from csrc/core/kind.inc: edit that and run the generator.
--
-- SPDX-License-Identifier: MIT

return {
]]

-- A string literal over several lines, joined by `..`.
local function wrapped(text)
  local lines = { "" }
  for word in text:gmatch("%S+%s*") do
    if #lines[#lines] + #word > 90 then lines[#lines + 1] = "" end
    lines[#lines] = lines[#lines] .. word
  end
  for i, line in ipairs(lines) do lines[i] = ("%q"):format(line) end
  return table.concat(lines, "\n      .. ")
end

local function outputs()
  local out = { HEAD }
  for _, k in ipairs(docs.client_kinds()) do
    out[#out + 1] = ("  { kind = %q, class = %q, retryable = %s,\n    meaning = %s },\n")
      :format(k.kind, k.class, tostring(k.retryable), wrapped(k.text))
  end
  out[#out + 1] = "}\n"
  return { ["lua/luphant/kinds.lua"] = table.concat(out) }
end

emit.main("csrc/gen/lua_kinds.lua", outputs, arg)
return { outputs = outputs }
