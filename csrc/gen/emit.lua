--- What every generator here does: read an input, write the outputs or compare them.
--
-- A generator is a Lua file that is run by hand from the root of the repository:
--
--     lua csrc/gen/pg_type.lua            writes its outputs
--     lua csrc/gen/pg_type.lua --check    says which of them are out of date, exit code 1
--
-- Loaded with dofile it only gives `outputs()`, a table path -> text, which spec/gen_spec.lua compares
-- with what is committed. Inputs and outputs are both in the repository, so no build needs Lua, a
-- server or a network to make them. SPDX-License-Identifier: MIT

local emit = {}

--- The whole file as a string; raises when it cannot be read.
function emit.read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

--- A TSV file as a list of lists of strings. Lines starting with # and empty lines are skipped.
function emit.tsv(path)
  local rows = {}
  for line in emit.read(path):gmatch("[^\n]+") do
    if not line:find("^#") then
      local row = {}
      for cell in (line .. "\t"):gmatch("([^\t]*)\t") do row[#row + 1] = cell end
      rows[#rows + 1] = row
    end
  end
  return rows
end

local function differs(path, text)
  local file = io.open(path, "rb")
  if not file then return true end
  local old = file:read("*a")
  file:close()
  return old ~= text
end

--- Runs a generator as a command when its file is the script being run; otherwise does nothing.
function emit.main(script, outputs, arguments)
  if not (arguments and arguments[0] and arguments[0]:sub(-#script) == script) then return end
  local stale = false
  for path, text in pairs(outputs()) do
    if differs(path, text) then
      if arguments[1] == "--check" then
        stale = true
        io.stderr:write(path, " is not what ", script, " makes of its input; run it again\n")
      else
        local file = assert(io.open(path, "wb"))
        assert(file:write(text))
        assert(file:close())
        print("wrote " .. path)
      end
    end
  end
  if stale then os.exit(1) end
end

return emit
