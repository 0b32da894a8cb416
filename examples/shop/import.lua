-- Rows of the CSV files -> rows of the database. A row the database refuses is put aside with its
-- line and the reason; all others get in.
--
-- What is right is not decided here. The constraints of the tables decide, and luphant's error
-- objects say which one objected. Here they only get words that a shopkeeper understands.
--
-- SPDX-License-Identifier: MIT

local csv = require "shop.csv"
local paper = require "shop.paper"

local M = {}

-- Names of constraints -> words for people.
local BY_CONSTRAINT = {
  users_email_key = "this e-mail address is registered already",
  users_name_not_blank = "the name is empty",
  users_name_length = "the name has more than 60 characters",
  email_address_format = "this is no e-mail address",
  email_address_length = "the e-mail address has more than 254 characters",
  users_address_country = "the country is no two-letter code",
  products_sku_key = "there is a product with this SKU already",
  products_sku_format = "the SKU is not of the form ABC-1234",
  products_name_not_blank = "the name is empty",
  products_name_length = "the name has more than 80 characters",
  products_price_positive = "the price must be above zero",
  products_stock_not_negative = "there is not enough in stock",
  orders_number_key = "there is an order with this number already",
  orders_number_format = "the order number is malformed",
  order_lines_quantity_positive = "the quantity must be at least 1",
  order_lines_product_once = "the product stands in the order twice",
}

-- Kinds of errors that no constraint of ours made.
local BY_KIND = {
  string_data_right_truncation = "a text is too long for its column",
  datetime_field_overflow = "there is no such date",
  invalid_datetime_format = "the date is malformed",
  numeric_value_out_of_range = "a number is too big",
}

-- A parameter that does not fit its type never leaves luphant; `err.param` is its number. Its message goes
-- 'parameter $4 (boolean): why; advice for the programmer'.
local function explain_parameter(err, fields, row)
  local name, why = fields[err.param], err.message:match ": ([^;]*)"
  return ('%s "%s": %s'):format(name, paper.clip(row[name], 20), why)
end

--- Why the database, or luphant before asking it, refused something.
---@param err table
---@param fields? string[] columns of the file that are the parameters $1, $2, ...
---@param row? table<string, string>
---@return string
function M.explain(err, fields, row)
  if err.kind == "parameter" and fields then return explain_parameter(err, fields, row) end
  if err.kind == "not_null_violation" then return err.column .. " is missing" end
  if err.kind == "invalid_text_representation" then -- the server names the type, and for enums the value
    local value = err.message:match 'for enum [%w_]+: (".-")'
    if value then return value .. " is none of the known values" end
    return "malformed " .. (err.message:match "for type (%w+)" or "value")
  end
  return BY_CONSTRAINT[err.constraint] or BY_KIND[err.kind] or err.message
end

-- Text as it stands in the file -> parameter. What does not look right is passed on as it is: the
-- type check of luphant or the server will say so, and better than we could.
local function number(text) return tonumber(text) or text end
local function flag(text)
  if text == "yes" then return true elseif text == "no" then return false end
  return text
end
local function optional(text)
  if text ~= "" then return text end
  return nil
end
local function list(text)
  local items = {}
  for item in text:gmatch "[^|]+" do items[#items + 1] = item end
  return items
end

local USER_FIELDS = { "name", "email", "address", "newsletter", "joined_at" }
local function insert_user(q, row)
  return q:execute([[
    insert into users (name, email, address, newsletter, joined_at) values ($1, $2, $3, $4, $5)]],
    row.name, optional(row.email),
    { street = row.street, city = row.city, postcode = row.postcode, country = row.country },
    flag(row.newsletter), row.joined_at)
end

local PRODUCT_FIELDS = { "sku", "name", "category", "price", "stock", "tags", "attributes" }
local function insert_product(q, row)
  return q:execute([[
    insert into products (sku, name, category, price, stock, tags, attributes)
    values ($1, $2, $3, $4, $5, $6, $7)]],
    row.sku, row.name, row.category, row.price, number(row.stock), list(row.tags), row.attributes)
end

-- A record with the names of its columns; nil and an error when there are too few or too many.
local function named(header, record)
  if #record ~= #header then
    return nil, {
      kind = "wrong_columns", message = ("the row has %d columns, the header %d"):format(#record, #header),
    }
  end
  local row = {}
  for i, name in ipairs(header) do row[name] = record[i] end
  return row
end

-- Runs `add(row)` for each record and counts. The column `shown` names a refused row in the report.
local function import(dir, file, shown, fields, add)
  local header, records = csv.read(dir .. "/" .. file)
  local report = { file = file, rows = #records, imported = 0, refused = {} }
  for _, record in ipairs(records) do
    local row, err = named(header, record)
    local ok
    if row then ok, err = add(row) end
    if ok then
      report.imported = report.imported + 1
    else
      local value = row and row[shown] ~= "" and row[shown] or record[1]
      report.refused[#report.refused + 1] = {
        file = file, line = record.line, value = value, why = M.explain(err, fields, row),
      }
    end
  end
  return report
end

--- All users in one transaction. Each row has its own savepoint: a refused one is undone alone.
---@return table report
function M.users(conn, dir)
  return assert(conn:transaction(function(tx)
    return import(dir, "users.csv", "email", USER_FIELDS, function(row)
      return tx:transaction(function(savepoint) return insert_user(savepoint, row) end)
    end)
  end))
end

--- Products one statement at a time, each its own transaction: a refused one needs no undoing.
---@return table report
function M.products(conn, dir)
  return import(dir, "products.csv", "sku", PRODUCT_FIELDS, function(row)
    return insert_product(conn, row)
  end)
end

return M
