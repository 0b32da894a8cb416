-- luphant.migrate.lint.volatility - does an expression give the same value for every row?
--
-- A default that does is stored once in the catalog; one that does not is computed row by row, which means writing the
-- whole table again. The names are PostgreSQL's own; of functions nobody knows the answer is "unknown".
--
-- SPDX-License-Identifier: MIT

local reader_of = require "luphant.migrate.ddl.reader"

local M = {}

local function set(text)
  local out = {}
  for word in text:gmatch "%S+" do out[word] = true end
  return out
end

local VOLATILE = set [[
  clock_timestamp timeofday random random_normal setseed gen_random_uuid gen_random_bytes gen_salt uuidv4 uuidv7
  uuid_generate_v1 uuid_generate_v1mc uuid_generate_v4 nextval currval setval lastval pg_sleep
  pg_notify set_config pg_advisory_lock]]

local STEADY = set [[
  now transaction_timestamp statement_timestamp current_timestamp localtimestamp current_time localtime current_date
  date_trunc date_part extract make_date make_interval make_timestamp make_timestamptz to_timestamp to_date to_char
  age coalesce nullif greatest least lower upper initcap btrim ltrim rtrim trim substring substr replace concat
  concat_ws format left right repeat lpad rpad length char_length octet_length md5 sha256 encode decode abs round ceil
  floor trunc power sqrt mod array array_fill jsonb_build_object jsonb_build_array json_build_object to_jsonb to_json
  row cast current_setting current_user session_user quote_literal quote_ident int4range int8range numrange tsrange
  tstzrange daterange int4 int8 numeric text varchar bit timestamp timestamptz interval time date uuid_nil uuid_ns_dns
  txid_current pg_current_xact_id position overlay point inet cidr]]

local function name_before(reader, i)
  local token = reader.tokens[i]
  return token.word or (token.kind == "quoted" and token.text:gsub('"', ""))
end

--- What the functions in an expression are: "volatile", "unknown" or "steady", and the function that made it so.
---@param expression string
---@param known? table
---@return "volatile"|"unknown"|"steady" volatility
---@return string? name
function M.of(expression, known)
  local reader, answer, culprit = reader_of.new(expression), "steady", nil
  for i = 1, reader.last - 1 do
    local name = reader.tokens[i + 1].text == "(" and name_before(reader, i)
    if name then
      local fact = known and known:function_volatility(name)
      if fact == "v" or (not fact and VOLATILE[name]) then return "volatile", name end
      if not fact and not STEADY[name] then answer, culprit = "unknown", name end
    end
  end
  return answer, culprit
end

return M
