-- service.lua - the handlers: users, orders, health, metrics. One pool in each worker of nginx.
--
-- SPDX-License-Identifier: MIT

local cjson = require "cjson"
local luphant = require "luphant"
local ngx = require "ngx"
local reply = require "api.reply"

local service = {}

local MAX_PAGE = 100

-- Here, and not in a handler: it stays from request to request. Workers times max_connections is what the server sees.
local db = assert(luphant.open(os.getenv "DATABASE_URL", {
  max_connections = 8, acquire_timeout = 2, timeout = 5, application_name = "luphant-example",
}))

-- What clients may do wrong, by the name of the constraint that finds it.
local REFUSALS = {
  email_address_format = "this is no e-mail address",
  email_address_length = "the e-mail address is too long",
  users_name_not_blank = "the name is empty",
  users_name_length = "the name has more than 60 characters",
  order_lines_quantity_positive = "quantity must be above zero",
  order_lines_product_once = "a product stands in an order once",
  products_stock_not_negative = "not enough in stock",
}

-- Answers for an error of a statement: the client's fault, or ours.
local function answer(err)
  if err.kind == "unique_violation" and err.constraint ~= "order_lines_product_once" then
    return reply.refuse(409, "there is one already", { constraint = err.constraint })
  end
  local message = err.constraint and REFUSALS[err.constraint]
  if message then return reply.refuse(422, message, { constraint = err.constraint }) end
  if err.kind == "refused_order" then return reply.refuse(422, err.message) end
  reply.fail(err)
end

---------------------------------------------------------------------------------------------- users

local function create_user()
  local body = reply.body()
  if not body then return end
  if type(body.name) ~= "string" or type(body.email) ~= "string" then
    return reply.refuse(422, "name and email must be strings")
  end
  local id, err = db:query_value("insert into users (name, email) values ($1, $2) returning id", body.name, body.email)
  if not id then return answer(err) end
  ngx.header.Location = "/users?after=" .. (id - 1) .. "&limit=1"
  reply.send(201, { id = id })
end

-- Keyset paging: the next page begins behind the last id of this one, which costs the same on every page.
local function list_users()
  local given = ngx.req.get_uri_args()
  local after, limit = tonumber(given.after or 0), tonumber(given.limit or 20)
  local is_good = after and limit and after % 1 == 0 and limit % 1 == 0 and limit >= 1 and limit <= MAX_PAGE
  if not is_good then return reply.refuse(422, "after and limit must be integers, limit from 1 to " .. MAX_PAGE) end
  local rows, err = db:query("select id, name, email from users where id > $1 order by id limit $2", after, limit + 1)
  if not rows then return answer(err) end
  local following
  if #rows > limit then
    rows[#rows] = nil
    following = rows[#rows].id
  end
  -- cjson cannot know that an empty table is a list.
  reply.text(200, ('{"users":%s,"next":%s}'):format(#rows > 0 and cjson.encode(rows) or "[]", following or "null"))
end

function service.users() reply.by_method { GET = list_users, POST = create_user } end

--------------------------------------------------------------------------------------------- orders

local function refusal(...) return { kind = "refused_order", message = (...):format(select(2, ...)) } end

local function add_line(tx, order, number, line)
  local product, err = tx:query_opt([[
    update products set stock = stock - $2 where sku = $1 returning id, price]], line.sku, line.quantity)
  if err then return nil, err end
  if not product then return nil, refusal("there is no product %s", line.sku) end
  return tx:execute([[
    insert into order_lines (order_id, line, product_id, quantity, unit_price) values ($1, $2, $3, $4, $5)]],
    order, number, product.id, line.quantity, product.price)
end

-- All of it or nothing: what returns nil, err undoes the order and what was taken from the stock.
local function place(tx, body)
  local id, err = tx:query_value([[
    insert into orders (number, user_id, ship_to) select $1, id, row('', '', '', null)::postal_address from users
     where id = $2 returning id]], body.number, body.user_id)
  if not id then
    if err.kind == "no_rows" then err = refusal("there is no user %d", body.user_id) end
    return nil, err
  end
  for number, line in ipairs(body.lines) do
    local ok, why = add_line(tx, id, number, line)
    if not ok then return nil, why end
  end
  return tx:query_one([[
    update orders set total = (select sum(amount) from order_lines where order_id = $1) where id = $1
    returning id, total]], id)
end

local function is_count(value) return type(value) == "number" and value % 1 == 0 and math.abs(value) < 1e9 end

local function is_order(body)
  if type(body.number) ~= "string" or not is_count(body.user_id) or type(body.lines) ~= "table" then return false end
  for _, line in ipairs(body.lines) do
    if type(line) ~= "table" or type(line.sku) ~= "string" or not is_count(line.quantity) then return false end
  end
  return #body.lines > 0
end

local function create_order()
  local body = reply.body()
  if not body then return end
  if not is_order(body) then return reply.refuse(422, "expected { number, user_id, lines: [{ sku, quantity }] }") end
  local order, err = db:transaction(function(tx) return place(tx, body) end, { retry = 3 })
  if not order then return answer(err) end
  reply.send(201, order)
end

function service.orders() reply.by_method { POST = create_order } end

------------------------------------------------------------------------------------ health, metrics

function service.health()
  local health = db:health(1)
  reply.send(health.ok and 200 or 503, { ok = health.ok, seconds = health.seconds, kind = health.kind })
end

--- The pool of the worker that answers, in the text format of Prometheus.
function service.metrics()
  local counts, worker = db:health(1), ngx.worker.pid()
  for _, name in ipairs { "total", "idle", "used", "waiting" } do
    ngx.say(("luphant_pool_connections{state=%q,worker=\"%d\"} %d"):format(name, worker, counts[name]))
  end
  ngx.say(("luphant_database_up{worker=\"%d\"} %d"):format(worker, counts.ok and 1 or 0))
end

return service
