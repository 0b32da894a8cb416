-- pool/readtext.lua - does a statement do nothing but read, as far as its text tells?
--
-- A read here is a query that cannot wait for a row lock, leaves nothing behind and may as well run twice: SELECT,
-- VALUES, TABLE or WITH, without INTO, FOR UPDATE and data-modifying parts, in which nothing is called but functions
-- that are known and harmless. So what matters is what an opening parenthesis may mean: after words of the grammar that
-- can be no function's name it is not a call, after others only where the words before them say so (kwlist.h of
-- PostgreSQL has the classes of words). It says no rather too often: who is refused has a connection of its own.
--
-- A text does not show the functions of a view, a policy, a domain, a cast or an operator, those that overload a known
-- one, and a function of the user's that is written as a column (x.f is f(x)).
--
-- SPDX-License-Identifier: MIT

local lex = require "luphant.sqltext.lex"

local readtext = {}

local function set_of(text)
  local set = {}
  for name in text:gmatch "%S+" do set[name] = true end
  return set
end

local BEGINS = set_of "select values table with"

local REFUSED = set_of "insert update delete merge into for lock"

-- What may stand before a parenthesis: reserved words, and those that can only name a type or something built in; and
-- functions that pg_catalog has in every version.
local OPENS = set_of [[
  all and any array as between case cast distinct else except exists from group having in intersect lateral limit not
  offset on or row select some then union using values when where

  bit char character current_time current_timestamp decimal float interval localtime localtimestamp numeric time
  timestamp timestamptz varchar

  coalesce greatest grouping least nullif
  array_agg avg bit_and bit_or bool_and bool_or corr count every max min mode percentile_cont percentile_disc stddev
  stddev_pop stddev_samp string_agg sum var_pop var_samp variance
  cume_dist dense_rank first_value lag last_value lead nth_value ntile percent_rank rank row_number
  abs acos asin atan atan2 ceil ceiling cos degrees div exp floor ln log mod pi power radians random round sign sin sqrt
  tan trunc width_bucket
  ascii btrim char_length character_length chr concat concat_ws decode encode format initcap left length lower lpad
  ltrim md5 octet_length position quote_ident quote_literal regexp_match regexp_matches regexp_replace
  regexp_split_to_array regexp_split_to_table repeat replace reverse right rpad rtrim split_part starts_with strpos
  substr substring to_hex translate trim upper
  age clock_timestamp date date_part date_trunc extract isfinite justify_days justify_hours make_date make_interval
  make_timestamp make_timestamptz now statement_timestamp timezone to_char to_date to_number to_timestamp
  transaction_timestamp
  array_append array_cat array_dims array_length array_lower array_ndims array_position array_positions array_prepend
  array_remove array_to_string array_upper cardinality generate_series generate_subscripts string_to_array unnest
  array_to_json json_agg json_array_elements json_array_elements_text json_array_length json_build_array
  json_build_object json_each json_each_text json_extract_path json_extract_path_text json_object json_object_agg
  json_object_keys json_strip_nulls json_to_recordset json_typeof row_to_json to_json
  jsonb_agg jsonb_array_elements jsonb_array_elements_text jsonb_array_length jsonb_build_array jsonb_build_object
  jsonb_each jsonb_each_text jsonb_extract_path jsonb_extract_path_text jsonb_insert jsonb_object jsonb_object_agg
  jsonb_object_keys jsonb_path_exists jsonb_path_query jsonb_path_query_array jsonb_path_query_first jsonb_pretty
  jsonb_set jsonb_strip_nulls jsonb_to_recordset jsonb_typeof to_jsonb
  daterange int4range int8range isempty lower_inc numrange tsrange tstzrange upper_inc
  current_database gen_random_uuid pg_typeof version
  phraseto_tsquery plainto_tsquery setweight to_tsquery to_tsvector ts_headline ts_rank ts_rank_cd websearch_to_tsquery
]]

-- Words that could also be a function's name: not where one of these stands right before them.
local OPENS_AFTER = {
  by = set_of "group order partition", sets = set_of "grouping", varying = set_of "bit char character nchar",
  over = set_of ")", filter = set_of ")",
  join = set_of "inner left right full outer cross natural )",
}

-- Built-in functions with effects that x.f, which is f(x), could call.
local CALLED_BY_DOT = set_of [[
  brin_summarize_new_values currval gin_clean_pending_list nextval query_to_xml setseed ts_stat txid_current
]]
local PREFIXES = { "^pg_", "^lo_", "^binary_upgrade_" }

local function acts_behind_dot(name)
  if CALLED_BY_DOT[name] then return true end
  for _, prefix in ipairs(PREFIXES) do
    if name:find(prefix) then return true end
  end
  return false
end

-- Not string.lower: in some locales that makes something else of an I.
local LOWER = {}
for code = 65, 90 do LOWER[string.char(code)] = string.char(code + 32) end
local function lower(text) return (text:gsub("[A-Z]", LOWER)) end

-- Whether a parenthesis behind this token would not begin a call. `seen`: what came before it.
local function opens_after(kind, text, seen)
  if kind == "symbol" then return text ~= "." end
  if kind ~= "word" then return kind ~= "quoted" and kind ~= "string" or seen.last == "as" end
  if seen.last == "." then return false end
  if OPENS[text] then return true end
  -- What follows are names of columns.
  if seen.last == "as" or seen.last == "with" or seen.last == "recursive" then return true end
  if text == "materialized" then return seen.last == "not" and seen.before_last == "as" end
  local before = OPENS_AFTER[text]
  if not before then return false end
  -- Behind DISTINCT ON (...) there may be anything.
  if before[seen.last] then return seen.last ~= ")" or not seen.distinct_on end
  -- FROM a JOIN (, FROM a AS b JOIN (
  return text == "join" and seen.last_is_name and (seen.before_last == "from" or seen.before_last == "as")
end

-- May this token stand in a read? Tokens are in lower case, but for what is in quotes.
local function is_harmless(kind, text, seen)
  if kind == "dollar" or kind == "other" or seen.ended then return false end
  if text == "(" then return seen.opens end
  if kind == "word" then
    if seen.last == "." then return not acts_behind_dot(text) end
    return not REFUSED[text]
  elseif kind == "quoted" then -- U&"..." may be any name in disguise
    return text:sub(1, 1) == '"' and not (seen.last == "." and acts_behind_dot(lower(text:sub(2, -2))))
  elseif kind == "string" then -- whether a backslash means something in there is a setting of the session
    return not text:find("\\", 1, true)
  end
  return text ~= "." or not seen.last:find "^[)%]$]" -- (x).f, $1.f
end

local NAMES = { word = true, quoted = true }
local NO_NAMES = set_of "case lateral not"

-- Notes what the next token has to know.
local function note(kind, text, seen)
  seen.opens = opens_after(kind, text, seen)
  if text == "on" and seen.last == "distinct" then seen.distinct_on = true end
  seen.ended = text == ";"
  seen.last_is_name = NAMES[kind] == true and not OPENS[text] and not NO_NAMES[text]
  seen.before_last, seen.last = seen.last, text
end

--- Is it a read, as far as its text tells?
---@param sql string
---@return boolean
function readtext.is_read(sql)
  local at, length = 1, #sql
  local begun, seen = false, { opens = true, last = "", before_last = "", distinct_on = false }
  while at <= length do
    local kind, last, complaint = lex.next(sql, at)
    if complaint then return false end
    if kind ~= "space" and kind ~= "comment" then
      local text = sql:sub(at, last)
      if kind == "word" then text = lower(text) end
      if not is_harmless(kind, text, seen) then return false end
      if not begun and text ~= "(" then
        if kind ~= "word" or not BEGINS[text] then return false end
        begun = true
      end
      note(kind, text, seen)
    end
    at = last + 1
  end
  return begun
end

return readtext
