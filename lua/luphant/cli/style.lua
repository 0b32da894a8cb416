-- cli/style.lua - colour for terminals, and none for files, pipes and those who asked for none.
--
-- SPDX-License-Identifier: MIT

local style = {}

local CODES = { red = "31", green = "32", yellow = "33", bold = "1", dim = "2" }

--- A table of functions text -> text: red, green, yellow, bold, dim.
---@param env luphant.cli.env
---@param never? boolean  the command line says no
---@return table<string, fun(text: string): string>
function style.new(env, never)
  local no_color = env.getenv("NO_COLOR") -- no-color.org: set and not empty
  local is_on = not never and not (no_color and no_color ~= "") and env.getenv("TERM") ~= "dumb"
    and env.is_terminal()
  local out = {}
  for name, code in pairs(CODES) do
    out[name] = function(text)
      return is_on and ("\27[%sm%s\27[0m"):format(code, text) or text
    end
  end
  return out
end

--- `text` in lines of at most `width` columns, those after the first behind `indent`.
---@param text string
---@param width integer
---@param indent string
---@return string
function style.wrap(text, width, indent)
  local lines, line = {}, ""
  for word in text:gmatch("%S+") do
    if line ~= "" and #line + 1 + #word > width then
      lines[#lines + 1], line = line, ""
    end
    line = line == "" and word or line .. " " .. word
  end
  lines[#lines + 1] = line
  return table.concat(lines, "\n" .. indent)
end

return style
