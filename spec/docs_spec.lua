-- The documentation is true: its examples run, its links lead somewhere, and its reference has an entry for
-- every public function and option and for nothing else.
--
-- To see it fail: rename a method of lua/luphant/connection.lua, change a default in settings.lua, or write
-- `error "x"` into an example.
--
-- SPDX-License-Identifier: MIT

local env = require "spec.support.env"
local lfs = require "lfs"
local luphant = require "luphant"
local settings = require "luphant.settings"
local shell = require "luphant.testing.shell"

local DATABASE = "luphant_docs_spec"

-- ---- reading ----------------------------------------------------------------------------------------

local function lines_of(path)
  local list = {}
  for line in io.lines(path) do list[#list + 1] = line end
  return list
end

local function exists(path) return lfs.attributes(path) ~= nil end

local function pages_in(dir, list)
  for name in lfs.dir(dir) do
    if name:find "%.md$" then list[#list + 1] = dir .. "/" .. name end
  end
  return list
end

-- Pages whose examples are run, and all pages of ours.
local example_pages = pages_in("docs/api", pages_in("docs/guide", { "README.md" }))
local all_pages = pages_in("docs", { "CONTRIBUTING.md", "CHANGELOG.md" })
for _, page in ipairs(example_pages) do all_pages[#all_pages + 1] = page end
table.sort(example_pages)
table.sort(all_pages)

-- Code blocks of a page: { line = of the fence, info = what stands behind it, text = }.
local function blocks_of(page)
  local found, open = {}, nil
  for number, line in ipairs(lines_of(page)) do
    local fence = line:match "^```(.*)$"
    if fence and open then
      found[#found + 1], open = open, nil
    elseif fence then
      open = { line = number, info = fence, text = {} }
    elseif open then
      open.text[#open.text + 1] = line
    end
  end
  assert(not open, page .. ": a code block has no end")
  return found
end

local function assert_none(offences)
  assert(#offences == 0, "\n  " .. table.concat(offences, "\n  "))
end

-- ---- examples ---------------------------------------------------------------------------------------

describe("the examples of", function()
  local base, conn, url

  lazy_setup(function()
    base = assert(luphant.connect(env.url()))
    assert(base:execute("drop database if exists " .. DATABASE .. " with (force)"))
    assert(base:execute("create database " .. DATABASE))
    url = env.url():gsub("(//[^/]*/)[^?]*", "%1" .. DATABASE)
    conn = assert(luphant.connect(url))
    url = url .. "&options=-csearch_path%3Ddocs"
  end)

  lazy_teardown(function()
    if conn then conn:close() end
    assert(base:execute("drop database " .. DATABASE .. " with (force)"))
    base:close()
  end)

  local function run(page, block)
    assert(conn:script [[
      set client_min_messages = warning;
      drop schema if exists docs cascade;
      drop schema if exists luphant cascade;
      create schema docs]])
    local command = ("LUA_PATH=%s LUA_CPATH=%s DATABASE_URL=%s %s spec/support/run_block.lua %s %d"):format(
      shell.quote(package.path), shell.quote(package.cpath), shell.quote(url), env.lua(), page, block.line)
    local pipe = assert(io.popen(command .. " 2>&1; echo \"exit $?\""))
    local output = pipe:read "*a"
    pipe:close()
    local text, status = output:match "^(.*)exit (%d+)\n$"
    assert(status == "0", text)
  end

  for _, page in ipairs(example_pages) do
    for _, block in ipairs(blocks_of(page)) do
      if block.info == "lua" then
        it(("%s, line %d, run"):format(page, block.line), function() run(page, block) end)
      end
    end
  end

  it("every page that are not run say why", function()
    local offences, run_count = {}, 0
    for _, page in ipairs(example_pages) do
      for _, block in ipairs(blocks_of(page)) do
        local language = block.info:match "^%S*"
        if block.info == "lua" then
          run_count = run_count + 1
        elseif language == "lua" and not block.info:match "^lua no%-run: %S+ %S+" then
          offences[#offences + 1] = ("%s:%d: write ```lua no-run: and a reason"):format(page, block.line)
        elseif language == "" then
          offences[#offences + 1] = ("%s:%d: name the language (text, sh, sql, lua)"):format(page, block.line)
        end
      end
    end
    assert_none(offences)
    assert.is_true(run_count > 30)
  end)
end)

describe("README.md", function()
  local text = table.concat(lines_of "README.md", "\n") .. "\n"

  it("has fewer than 150 lines", function()
    assert.is_true(#lines_of "README.md" < 150, #lines_of "README.md" .. " lines")
  end)

  it("shows examples/hello.lua as it is", function()
    local hello = table.concat(lines_of "examples/hello.lua", "\n")
    local body = hello:match "SPDX%-License%-Identifier: MIT\n\n(.*)$"
    assert.is_truthy(text:find("```lua\n" .. body .. "\n```", 1, true))
  end)

  it("shows lines the demo really prints", function()
    local shown = text:match "```text\n(.-)```"
    local pipe = assert(io.popen(("env -u DATABASE_URL LUA_PATH=%s LUA_CPATH=%s %s examples/demo.lua 2>&1"):format(
      shell.quote(package.path), shell.quote(package.cpath), env.lua())))
    local output = pipe:read "*a"
    pipe:close()
    local count = 0
    for line in shown:gmatch "[^\n]+" do
      if not line:find "^%s*%.%.%.$" then
        count = count + 1
        assert(output:find("\n" .. line .. "\n", 1, true), ("the demo does not print: %s"):format(line))
      end
    end
    assert.is_true(count > 10)
  end)
end)

-- ---- links ------------------------------------------------------------------------------------------

-- GitHub's way from a heading to its anchor.
local function anchor_of(heading)
  return (heading:lower():gsub("[^%w%s_\128-\255-]", ""):gsub("%s", "-"))
end

local function anchors_of(page)
  local found, in_code = {}, false
  for _, line in ipairs(lines_of(page)) do
    if line:find "^```" then in_code = not in_code end
    local heading = not in_code and line:match "^#+%s+(.-)%s*$"
    if heading then found[anchor_of(heading)] = true end
  end
  return found
end

describe("links", function()
  it("between our pages lead somewhere", function()
    local offences, seen = {}, 0
    for _, page in ipairs(all_pages) do
      local dir, in_code = page:match "^(.*)/" or ".", false
      for number, line in ipairs(lines_of(page)) do
        if line:find "^```" then in_code = not in_code end
        for target in (in_code and "" or line):gmatch "%]%(([^)%s]+)%)" do
          local path, anchor = target:match "^([^#]*)#?(.*)$"
          if not target:find "^%a+:" then
            seen = seen + 1
            local file = path == "" and page or (dir .. "/" .. path)
            local there = exists(file)
            if there and anchor ~= "" then there = anchors_of(file)[anchor] end
            if not there then offences[#offences + 1] = ("%s:%d: %s is not there"):format(page, number, target) end
          end
        end
      end
    end
    assert_none(offences)
    assert.is_true(seen > 40)
  end)

  it("reach every page from README.md", function()
    local reached, todo = {}, { "README.md" }
    while #todo > 0 do
      local page = table.remove(todo)
      if not reached[page] and exists(page) then
        reached[page] = true
        local dir = page:match "^(.*/)" or ""
        for _, line in ipairs(page:find "%.md$" and lines_of(page) or {}) do
          for target in line:gmatch "%]%(([^)%s#]+%.md)" do
            local path = dir .. target
            while path:find "[^/]+/%.%./" do path = path:gsub("[^/]+/%.%./", "", 1) end
            todo[#todo + 1] = path
          end
        end
      end
    end
    local offences = {}
    for _, page in ipairs(all_pages) do
      if not reached[page] then offences[#offences + 1] = page .. ": no way from README.md leads here" end
    end
    assert_none(offences)
  end)
end)

-- ---- coverage ---------------------------------------------------------------------------------------

-- Method tables are local to their modules: taken from a public function's upvalues. Nothing is opened that way.
local function upvalue(fn, wanted)
  for i = 1, 200 do
    local name, value = debug.getupvalue(fn, i)
    if name == nil then break end
    if name == wanted then return value end
  end
  error("there is no upvalue " .. wanted)
end

local connection, errors = require "luphant.connection", require "luphant.errors"
local statement = require "luphant.statement"
local server, proxy = require "luphant.testing.server", require "luphant.testing.proxy"
local nginx = require "luphant.testing.nginx"

-- Page -> how its entries begin -> the table whose functions they are.
local REFERENCE = {
  ["luphant.md"] = { ["luphant."] = luphant },
  ["connection.md"] = { ["conn:"] = connection.methods },
  ["pool.md"] = { ["db:"] = require("luphant.pool").methods },
  ["transaction.md"] = { ["tx:"] = require("luphant.transaction.methods").methods },
  ["listen.md"] = {
    ["listener:"] = require("luphant.notify.listener").methods, ["db:"] = require("luphant.notify").methods,
  },
  ["statement.md"] = { ["statement:"] = upvalue(statement.new, "metatable").__index },
  ["copy.md"] = {
    ["writer:"] = upvalue(require("luphant.copy.writer").open, "metatable").__index,
    ["reader:"] = upvalue(require("luphant.copy.reader").open, "metatable").__index,
  },
  ["progress.md"] = {
    ["progress."] = require "luphant.progress",
    ["bar:"] = upvalue(require("luphant.progress").bar, "metatable").__index,
  },
  ["stream.md"] = {
    ["q:"] = { stream = connection.methods.stream, cursor = connection.methods.cursor },
    ["stream:"] = require("luphant.stream").methods,
    ["cursor:"] = upvalue(require("luphant.cursor").open, "metatable").__index,
  },
  ["errors.md"] = { ["errors."] = errors, ["err:"] = upvalue(errors.metatable.__index, "methods") },
  ["wait.md"] = { ["wait."] = require "luphant.wait" },
  ["compat-pgmoon.md"] = {
    ["pgmoon."] = require "luphant.compat.pgmoon", ["pg:"] = require("luphant.compat.pgmoon").Postgres,
  },
  ["schema.md"] = { ["schema."] = require "luphant.schema" },
  ["migrate.md"] = { ["migrate."] = require "luphant.migrate", ["db:"] = require("luphant.migrate.script").own },
  ["migrate-lint.md"] = { ["lint."] = require "luphant.migrate.lint" },
  ["testing-server.md"] = { ["server."] = server, [":"] = upvalue(server.start, "Server") },
  ["testing-migrations.md"] = { ["migrations."] = require "luphant.testing.migrations" },
  ["testing-nginx.md"] = { ["nginx."] = nginx, [":"] = upvalue(nginx.start, "Nginx") },
  ["testing-proxy.md"] = { ["proxy."] = proxy, ["proxy:"] = upvalue(proxy.start, "proxy") },
}

-- Pages that describe something else than one module's functions.
local NO_REFERENCE = {
  ["error-kinds.md"] = "generated; spec/gen_spec.lua looks after it",
  ["hooks.md"] = "events; db:on and conn:on are on the pages of their objects",
  ["values.md"] = "types, not functions",
}

-- Functions that users do not call by name.
local NOT_PUBLIC = {
  ["conn:values_iterator"] = "what conn:values is made of",
  ["statement:values_iterator"] = "the same",
  ["tx:values_iterator"] = "the same",
  ["errors.add_method"] = "for rooms of ours",
  ["db:values_iterator"] = "the same",
}

-- Entries of a page: calls in backticks, in a heading or in the first cell of a table row.
local function entries_of(page)
  local found, in_code = {}, false
  for _, line in ipairs(lines_of("docs/api/" .. page)) do
    if line:find "^```" then in_code = not in_code end
    local place = not in_code and (line:match "^#+%s+(.*)$" or line:match "^|([^|]*)|")
    for call in (place or ""):gmatch "([%w_.]*[.:]?[%a_][%w_]*)%(" do found[call] = true end
  end
  return found
end

describe("the reference", function()
  it("has a page for everything, and knows what each page is about", function()
    for name in lfs.dir "docs/api" do
      if name:find "%.md$" then
        assert.is_truthy(REFERENCE[name] or NO_REFERENCE[name], name .. " is not in the map of spec/docs_spec.lua")
      end
    end
  end)

  for page, subjects in pairs(REFERENCE) do
    it(page .. " has an entry for every public function, and no other", function()
      local offences, entries, known = {}, entries_of(page), {}
      for prefix, functions in pairs(subjects) do
        for name, value in pairs(functions) do
          local call = prefix .. name
          local is_public = type(value) == "function" and not name:find "^_"
          if is_public then known[call] = true end
          if is_public and not entries[call] and not NOT_PUBLIC[call] then
            offences[#offences + 1] = ("docs/api/%s: %s has no entry"):format(page, call)
          end
        end
      end
      for call in pairs(entries) do
        if not known[call] then offences[#offences + 1] = ("docs/api/%s: there is no %s"):format(page, call) end
      end
      assert_none(offences)
      assert.is_truthy(next(known))
    end)
  end

  -- Rows | `name` | default | ... | of the tables under headings that end in "used" or are "Essentials".
  local function option_rows()
    local rows, in_options = {}, false
    for _, line in ipairs(lines_of "docs/api/luphant.md") do
      local heading = line:match "^#+%s+(.*)$"
      if heading then in_options = heading:find "^Essentials" or heading:find "used$" end
      local name, default = line:match "^|%s*`([%w_]+)`%s*|([^|]*)|"
      if in_options and name then rows[name] = default:match "`([^`]*)`" or "" end
    end
    return rows
  end

  it("luphant.md has every option of settings.lua, with its default", function()
    local offences, rows = {}, option_rows()
    for name, rule in pairs(settings.connection) do
      local default = rule.default
      if type(default) == "string" then default = '"' .. default .. '"' end
      if default == nil then default = "" end
      if not rows[name] then
        offences[#offences + 1] = name .. " is missing"
      elseif rows[name] ~= tostring(default) then
        offences[#offences + 1] = ("%s: the default is %s, not %s"):format(name, tostring(default), rows[name])
      end
    end
    assert_none(offences)
  end)

  it("pool.md has every option of a pool, with its default", function()
    local offences, rows = {}, {}
    for _, line in ipairs(lines_of "docs/api/pool.md") do
      local name, default = line:match "^|%s*`([%w_]+)`%s*|([^|]*)|[^|]+|"
      if name then rows[name] = default:match "`([^`]*)`" or "" end
    end
    for name, rule in pairs(require "luphant.pool.rules") do
      local default = rule.default
      if type(default) == "string" then default = '"' .. default .. '"' end
      if not settings.connection[name] and rows[name] ~= tostring(default == nil and "" or default) then
        offences[#offences + 1] = ("%s: the default is %s, not %s"):format(
          name, tostring(default), tostring(rows[name]))
      end
    end
    assert_none(offences)
  end)

  it("luphant.md has no option that does not exist", function()
    local known = { url = true, password = true, password_file = true }
    for _, option in ipairs(require("luphant.core").conninfo_keywords()) do known[option.keyword] = true end
    for name in pairs(option_rows()) do
      assert.is_true(known[name] or settings.connection[name] ~= nil, "there is no option " .. name)
    end
  end)
end)
