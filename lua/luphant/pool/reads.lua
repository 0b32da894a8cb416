-- pool/reads.lua - which texts of a pool that shares reads ride on its shared connections.
--
-- A read here is a query that cannot wait for a row lock, leaves nothing behind and may as well run twice: SELECT,
-- VALUES or TABLE, whose functions are all known and harmless (a function of one's own can do anything), without INTO
-- and FOR UPDATE. Such a statement costs nobody who rides behind it more than its own time, and a cancel request that
-- hits the wrong one is made good by sending it once more. Texts that are not known to be that run on a connection of
-- their own, which is never wrong; those that turned out to be slow, or their results long, as well, for a while.
--
-- SPDX-License-Identifier: MIT

local lex = require "luphant.sqltext.lex"

local reads = {}

local LONGEST = 8192 -- bytes; longer texts do not ride anyway
local MOST = 1000    -- texts that are remembered; a program with more makes them up as it goes
local CROWD = 4      -- times as many riders as there should be
local APART = 64     -- how often a text that was not taken runs elsewhere before it is tried again

local function set_of(text)
  local set = {}
  for name in text:gmatch "%S+" do set[name] = true end
  return set
end

local BEGINS = set_of "select values table with"

-- A data-modifying WITH, SELECT INTO, FOR UPDATE / SHARE ...
local REFUSED = set_of "insert update delete merge into for lock"

-- What may stand before a parenthesis: words of the grammar, types with a length, and functions of pg_catalog that read
-- nothing but their arguments.
local OPENS = set_of [[
  all and any array as between by case cast cube distinct else except exists filter from group having ilike in intersect
  is join lateral like limit materialized not nulls offset on or over partition rollup row select sets similar some then
  union using values when where within

  bit char character decimal float interval numeric time timestamp timestamptz varchar varying

  coalesce greatest least nullif
  count sum min max avg bool_and bool_or every stddev variance array_agg string_agg
  row_number rank dense_rank percent_rank cume_dist ntile lag lead first_value last_value nth_value grouping
  abs ceil ceiling div exp floor ln log mod power round sign sqrt trunc random
  ascii btrim char_length character_length chr concat concat_ws format initcap left length lower lpad ltrim md5
  octet_length position quote_ident quote_literal regexp_match regexp_matches regexp_replace repeat replace reverse
  right rpad rtrim split_part starts_with strpos substr substring to_hex translate trim upper encode decode
  age clock_timestamp date_part date_trunc extract isfinite justify_days justify_hours make_date make_interval
  make_timestamp make_timestamptz now statement_timestamp to_char to_date to_number to_timestamp
  array_append array_cat array_length array_ndims array_position array_prepend array_remove array_to_string
  array_upper cardinality generate_series generate_subscripts string_to_array unnest
  json_agg json_array_elements json_array_elements_text json_array_length json_build_array json_build_object json_each
  json_each_text json_extract_path json_extract_path_text json_object json_object_agg json_object_keys json_typeof
  row_to_json to_json array_to_json
  jsonb_agg jsonb_array_elements jsonb_array_elements_text jsonb_array_length jsonb_build_array jsonb_build_object
  jsonb_each jsonb_each_text jsonb_extract_path jsonb_extract_path_text jsonb_object jsonb_object_agg jsonb_object_keys
  jsonb_set jsonb_typeof to_jsonb
  gen_random_uuid isempty lower_inc upper_inc
  plainto_tsquery phraseto_tsquery to_tsquery to_tsvector ts_headline ts_rank websearch_to_tsquery
]]

-- Of a token that is no space, comment or parenthesis: what an opening parenthesis behind it means.
local function opens_after(kind, word, dotted)
  if kind == "word" then return not dotted and OPENS[word] == true end
  return kind ~= "quoted" -- behind an operator, a comma, a parenthesis: an expression
end

--- Is it a read, as far as its text tells?
---@param sql string
---@return boolean
function reads.is_read(sql)
  local at, length = 1, #sql
  local begun, opens, dotted = false, true, false
  while at <= length do
    local kind, last, complaint = lex.next(sql, at)
    if complaint or kind == "dollar" or kind == "other" then return false end
    if kind ~= "space" and kind ~= "comment" then
      local text = sql:sub(at, last)
      local is_parenthesis = text == "("
      if is_parenthesis and not opens or text == ";" then return false end
      -- Whether a backslash means something in there is a setting of the session.
      if kind == "string" and text:find("\\", 1, true) then return false end
      local word = kind == "word" and text:lower()
      if not begun and not is_parenthesis then
        if not BEGINS[word] then return false end
        begun = true
      end
      if word and REFUSED[word] and not dotted then return false end
      opens = opens_after(kind, word, dotted)
      dotted = text == "."
    end
    at = last + 1
  end
  return begun
end

------------------------------------------------------------------------------------------- of a pool

---@class luphant.pool.reads
---@field texts table<string, boolean|integer>  rides; never; so many runs elsewhere before it may ride again
---@field count integer

---@param core userdata  of the pool
---@return luphant.pool.reads
function reads.new(core) return { texts = {}, count = 0, core = core } end

local function learn(self, sql)
  if type(sql) ~= "string" or #sql > LONGEST then return false end
  if self.count == MOST then self.texts, self.count = {}, 0 end
  self.texts[sql], self.count = reads.is_read(sql), self.count + 1
  return self.texts[sql]
end

--- This text was not taken: it runs elsewhere for a while.
---@param self luphant.pool.reads
---@param sql string
function reads.keep_apart(self, sql)
  if self.texts[sql] then self.texts[sql] = APART end
end

local function count_down(self, sql, left)
  self.texts[sql] = left > 1 and left - 1 or true
  return false
end

-- All have as many riders as they should. Where it would have to wait for a connection anyway it rides all the same, if
-- those before it are as quick as it takes to be many (lph_share_depth).
local function is_better_than_waiting(self, best)
  return best.depth > 1 and best.rides < CROWD * best.depth and self.core:is_spent()
end

--- May this text ride now, on one of these? There are none before two statements run at a time.
---@param self luphant.pool.reads
---@param sql any
---@param fleet luphant.share.fleet
---@return boolean
function reads.may_ride(self, sql, fleet)
  local mark = self.texts[sql]
  if mark == nil then mark = learn(self, sql) end
  if not mark then return false end
  if mark ~= true then return count_down(self, sql, mark) end
  local best = fleet.best
  if best and best.rides < best.depth and fleet.queued == 0 then return true end
  if fleet.short and (best or self.core:counts().used > 0) then fleet:grow() end
  return best ~= nil and fleet.queued == 0 and is_better_than_waiting(self, best)
end

return reads
