-- conninfo/explain.lua - why libpq would not take a connection string, said without its secrets.
--
-- libpq's parser alone decides what a string means. Its messages, however, quote the string, and
-- with it the password. This file looks at the shape of a refused string (is it a URL, which
-- keywords does it use) to say what is wrong in our own words, and otherwise passes on libpq's
-- message with everything quoted cut out. It never passes on a value.
--
-- SPDX-License-Identifier: MIT

local args = require "luphant.args"

local explain = {}

local PERCENT = "write special characters in a URL as %XX (%40 for @, %3F for ?, %2F for /, %25 for %)"

-- What people who come from elsewhere write, and the libpq keyword they mean.
local SYNONYMS = {
  database = "dbname", db = "dbname", username = "user", role = "user", pass = "password",
  passwd = "password", pwd = "password", hostname = "host", server = "host", address = "hostaddr",
  ssl = "sslmode", ssl_mode = "sslmode", tls = "sslmode", ca = "sslrootcert",
  search_path = "options",
}

-- Keywords that only newer libpq versions know, with the major version that brought them.
local NEWER = {
  require_auth = 16, sslcertmode = 16, gssdelegation = 16, load_balance_hosts = 16,
  sslnegotiation = 17, min_protocol_version = 18, max_protocol_version = 18, sslkeylogfile = 18,
  scram_client_key = 18, scram_server_key = 18, servicefile = 18, oauth_issuer = 18,
  oauth_client_id = 18, oauth_client_secret = 18, oauth_scope = 18,
}

---@param text string
---@return boolean
function explain.is_url(text)
  return text:find("^postgres://") ~= nil or text:find("^postgresql://") ~= nil
end

--- What to add to `unknown ...: "name"`: the name that was meant, or why there is none.
---@param name string
---@param known string[]
---@return string
function explain.suggest(name, known)
  if NEWER[name] then return (" (it needs libpq %d or newer, this build has an older one)"):format(NEWER[name]) end
  local meant = SYNONYMS[name:lower()]
  for _, word in ipairs(known) do
    if word == meant then return (' (did you mean "%s"?)'):format(meant) end
  end
  return args.did_you_mean(name, known)
end

--- Why a URL that libpq takes surely means something else: with "/" in the password libpq sees the
--- password's end as the database's name, and would show it around as such.
---@param text string
---@return string|nil
function explain.misread(text)
  local authority, path = text:match("^%a+://([^/?]*)/([^?]*)")
  if explain.is_url(text) and path and path:find("@", 1, true) and not authority:find("@", 1, true) then
    return 'the URL has a "/" in front of its "@": ' .. PERCENT
  end
end

local function url_keys(text)
  local keys = {}
  for pair in (text:match("%?(.*)$") or ""):gmatch("[^&]+") do
    local key = pair:match("^([^=]*)")
    keys[#keys + 1] = key:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end)
  end
  return keys
end

-- The end of a value that begins at `at`: quoted, or up to a space; backslash keeps the next byte.
local function value_end(text, at)
  local is_quoted = text:sub(at, at) == "'"
  if is_quoted then at = at + 1 end
  while at <= #text do
    local c = text:sub(at, at)
    if c == "\\" then
      at = at + 1
    elseif is_quoted and c == "'" then
      return at + 1
    elseif not is_quoted and c:find("%s") then
      return at
    end
    at = at + 1
  end
  return at
end

local function keyword_keys(text)
  local keys, at = {}, 1
  while true do
    local from, to, key = text:find("^%s*([^%s=]+)%s*=%s*", at)
    if not from then return keys end
    keys[#keys + 1] = key
    at = value_end(text, to + 1)
  end
end

local function find_unknown(keys, known)
  local is_known = { ssl = true } -- libpq takes ssl=true in URLs, for JDBC's sake
  for _, word in ipairs(known) do is_known[word] = true end
  for i, key in ipairs(keys) do
    if not is_known[key] then return key, keys[i - 1] end
  end
end

-- A key that is no word could be a piece of a password that was not escaped: it is not repeated.
local function name_it(what, key, before, known, own)
  if own[key] then
    return ('"%s" is an option of luphant, not of libpq: give it in the options table, not in the %s')
      :format(key, what)
  end
  local hint = explain.suggest(key, known)
  local follows_secret = before == "password" or before == "sslpassword"
  if not key:find("^[%a_][%w_]*$") or (follows_secret and hint == "") then
    return ("the %s has a keyword that libpq does not know"):format(what)
      .. (follows_secret and " after the password; a value with spaces stands in single quotes" or "")
  end
  return ('unknown keyword "%s" in the %s%s'):format(key, what, hint)
end

-- libpq's words without what they quote; a separator may stay: `missing "="`. Other languages quote
-- with other signs, so a translated message is not taken at all.
local function sanitised(message)
  local text = (message or "libpq gives no reason"):gsub("%s+$", "")
  local from = 1
  while true do
    local open, close, piece = text:find('"([^"]*)"', from)
    if not open then break end
    if not piece:find("^[=:/%]]$") then -- the piece may hold quotes itself: cut up to the last one
      text = text:sub(1, open) .. "..." .. text:sub(text:find('"[^"]*$'))
      break
    end
    from = close + 1
  end
  return text:find("[\128-\255]") and "libpq cannot read it" or text
end

local function url_problem(text, message, known, own)
  local authority = text:match("^%a+://([^/?]*)")
  local query = text:match("%?(.*)$")
  if query and query:find("@", 1, true) and not authority:find("@", 1, true) then
    return 'the URL has a "?" or "/" in front of its "@": ' .. PERCENT
  end
  local key = find_unknown(url_keys(text), known)
  if key then return name_it("URL", key, nil, known, own) end
  return sanitised(message) .. "; " .. PERCENT
end

local function other_problem(text, message, known, own)
  local scheme = text:match("^([%a][%w+.-]*)://")
  if scheme or text:find("^jdbc:") then
    return ('a connection URL begins with postgres:// or postgresql://, not with "%s"')
      :format(scheme and scheme .. "://" or "jdbc:")
  end
  if not text:find("=", 1, true) then
    return 'expected a URL (postgres://...) or keywords (host=... dbname=...);'
      .. ' a database name alone is written dbname=NAME'
  end
  local key, before = find_unknown(keyword_keys(text), known)
  if key then return name_it("connection string", key, before, known, own) end
  return sanitised(message) .. "; a value with spaces stands in single quotes"
end

--- Why `text` was refused, in one sentence without any of its values.
---@param text string     what the user gave
---@param message string|nil  libpq's message
---@param known string[]  libpq's keywords
---@param own table       luphant's options (by name)
---@return string
function explain.refusal(text, message, known, own)
  local problem = explain.is_url(text) and url_problem or other_problem
  return problem(text, message, known, own)
end

return explain
