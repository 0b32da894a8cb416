-- What csrc/gen makes: committed outputs are what the committed inputs give, the inputs know everything
-- that the installed PostgreSQL knows, and no C file invents a word of its own.
--
-- Runs from the root of the repository, as the generators do. No database.

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

local function lines_of(command)
  local list = {}
  local pipe = assert(io.popen(command, "r"))
  for line in pipe:lines() do list[#list + 1] = line end
  pipe:close()
  return list
end

describe("the generators", function()
  for _, name in ipairs { "pg_type", "sqlstate", "docs_kinds", "docs_lint", "lua_kinds", "meta_core" } do
    it(name .. " gives the bytes that are committed", function()
      local outputs = dofile("csrc/gen/" .. name .. ".lua").outputs()
      assert.is_truthy(next(outputs))
      for path, text in pairs(outputs) do
        -- Not assert.equal: its report would be both files.
        assert.is_true(read(path) == text, path .. " is out of date; run lua csrc/gen/" .. name .. ".lua")
      end
    end)
  end

  it("refuse a type that nobody gave a kind", function()
    local source = read("csrc/gen/pg_type.lua"):gsub("jsonpath", "jsonpat")
    local chunk = assert(load(source))
    local ok, message = pcall(function() return chunk().outputs() end)
    assert.is_false(ok)
    assert.is_truthy(message:find("choose a kind for the type jsonpath", 1, true))
  end)
end)

-- The generator reads C with patterns: what it found is compared with what the built module has.
describe("the description of luphant.core", function()
  local text = read "lua/luphant/meta/core.lua"
  local core = require "luphant.core"

  local function described(prefix)
    local found = {}
    for name in text:gmatch("\nfunction " .. prefix .. "[.:]([%w_]+)%(") do found[name] = "function" end
    return found
  end

  local function functions_in(object)
    local found = {}
    for name, value in pairs(object) do
      if type(value) == "function" then found[name] = "function" end
    end
    return found
  end

  it("has every function of the module, and no other", function()
    assert.same(functions_in(core), described "core")
  end)

  it("has every other field of the module", function()
    for name, value in pairs(core) do
      assert.is_true(type(value) == "function" or text:find("\n---@field " .. name .. " ", 1, true) ~= nil, name)
    end
  end)

  it("has every method of connections, type maps and pools, and no other", function()
    assert.same(functions_in(debug.getmetatable(core.connection {}).__index), described "conn")
    assert.same(functions_in(debug.getmetatable(core.typemap()).__index), described "map")
    assert.same(functions_in(debug.getmetatable(core.pool { max_connections = 1 }).__index), described "pool")
  end)

  it("is refused when a function has no signature, and when a signature has no function", function()
    local source = read("csrc/gen/meta_core.lua"):gsub("emit%.read%(path%)",
      '(emit.read(path):gsub("core%%.poll%%(", "core.pond("))')
    local chunk = assert((loadstring or load)(source)) -- luacheck: ignore
    local ok, message = pcall(function() return chunk().outputs() end)
    assert.is_false(ok)
    assert.is_truthy(message:find("core.poll has no comment with its signature", 1, true), message)
    assert.is_truthy(message:find("core.pond is described but does not exist", 1, true), message)
  end)
end)

describe("SQLSTATEs", function()
  local rows = dofile("csrc/gen/sqlstate.lua").rows()
  local by_code = {}
  for _, row in ipairs(rows) do by_code[row.code] = row end

  it("are all known that an installed PostgreSQL knows", function()
    local files = lines_of("ls /usr/share/postgresql/*/errcodes.txt $(pg_config --sharedir 2>/dev/null)/errcodes.txt "
      .. "2>/dev/null")
    if #files == 0 then
      pending("no errcodes.txt on this machine")
      return
    end
    for _, path in ipairs(files) do
      local count = 0
      for line in io.lines(path) do
        local code, severity, condition = line:match "^(%w%w%w%w%w)%s+([EWS])%s+ERRCODE_%S+%s+([%l%d_]+)%s*$"
        if code then
          count = count + 1
          assert.is_truthy(by_code[code], code .. " of " .. path .. " is missing in errcodes.tsv")
          assert.equal(condition, by_code[code].condition)
          assert.equal(severity, by_code[code].severity)
        end
      end
      assert.is_true(count > 200, path .. " was not understood")
    end
  end)

  it("never mean two classes by one word", function()
    local class_of = {}
    for _, k in ipairs(dofile("csrc/gen/docs_kinds.lua").client_kinds()) do class_of[k.kind] = k.class end
    for _, row in ipairs(rows) do
      assert.equal(row.class, class_of[row.kind] or row.class, row.kind)
      class_of[row.kind] = row.class
    end
  end)
end)

describe("kinds", function()
  it("that C sources set are all in kind.inc", function()
    local known = { server_error = true } -- the word for a SQLSTATE of no known group
    for _, k in ipairs(dofile("csrc/gen/docs_kinds.lua").client_kinds()) do known[k.kind] = true end
    local found = 0
    for _, path in ipairs(lines_of "ls csrc/core/*.c csrc/core/*.h csrc/bind/*.c 2>/dev/null") do
      for kind in read(path):gmatch 'lph_error_set%([^,"]+,%s*"([%a_]+)"' do
        found = found + 1
        assert.is_true(known[kind] or false, path .. " sets the kind " .. kind .. ", which kind.inc lacks")
      end
    end
    assert.is_true(found > 0)
  end)
end)
