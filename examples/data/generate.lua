-- Writes users.csv, products.csv and orders.csv, the input files of the shop example.
--
--     lua examples/data/generate.lua [DIR]          (default: the folder this file is in)
--
-- The numbers come from a generator of our own with a fixed seed, so every Lua on every machine
-- writes the same bytes. Some rows are wrong on purpose; where, and in which way, is listed beside
-- the good ones below. Stock is booked here as well: exactly one order asks for more than there is.
--
-- SPDX-License-Identifier: MIT

-- Park and Miller's minimal standard generator: every product stays below 2^53, so it is exact in
-- doubles and in integers alike.
local state = 20240229
local function random(n)
  state = state * 16807 % 2147483647
  return state % n + 1
end
local function pick(list) return list[random(#list)] end

local function field(value)
  if value:find '[",\r\n]' then return '"' .. value:gsub('"', '""') .. '"' end
  return value
end

local function write(path, header, rows)
  local out = assert(io.open(path, "wb"))
  out:write(table.concat(header, ","), "\r\n") -- RFC 4180 says CRLF
  for _, row in ipairs(rows) do
    local cells = {}
    for i, value in ipairs(row) do cells[i] = field(value) end
    out:write(table.concat(cells, ","), "\r\n")
  end
  assert(out:close())
end

local FIRST_MONTH, MONTHS = 1, 6
local DAYS = { 31, 29, 31, 30, 31, 30 } -- of the first half of 2024
local function moment(year, month, day)
  return ("%04d-%02d-%02dT%02d:%02d:%02dZ"):format(year, month, day, random(24) - 1, random(60) - 1, random(60) - 1)
end

-- ---------------------------------------------------------------------------------------- users --

local PEOPLE = {
  { country = "DE", cities = { "Köln|506##", "München|803##", "Görlitz|028##" },
    streets = { "Lindenstraße %d", "Am Grünen Weg %d", "Schloßallee %d" },
    first = { "Jörg", "Käthe", "Anna", "Günter", "Sönke", "Marie" },
    last = { "Müller", "Weiß", "Schröder", "Lohmann", "Fürst" } },
  { country = "FR", cities = { "Orléans|450##", "Besançon|250##", "Nîmes|300##" },
    streets = { "%d, rue de l'Église", "%d bis, allée des Érables", "%d, quai d'Orléans" },
    first = { "Zoé", "François", "Hélène", "Noël", "Maëlle" },
    last = { "Lefèvre", "Garçon", "D'Aubigné", "Bélanger", "Moreau" } },
  { country = "PL", cities = { "Łódź|90-0##", "Kraków|30-0##", "Gdańsk|80-2##" },
    streets = { "ul. Święty Marcin %d", "ul. Długa %d", "al. Jerozolimskie %d" },
    first = { "Łukasz", "Małgorzata", "Wojciech", "Żaneta" },
    last = { "Wiśniewska", "Kowalczyk", "Dąbrowski", "Żuraw" } },
  { country = "JP", cities = { "東京|100-00##", "大阪|530-00##", "京都|600-80##" },
    streets = { "銀座%d丁目", "梅田%d丁目", "烏丸通%d" },
    first = { "花子", "健太", "美咲", "翔" }, last = { "田中", "山本", "佐藤", "鈴木" }, family_first = true },
  { country = "GR", cities = { "Αθήνα|104 ##", "Πάτρα|262 ##", "Χανιά|731 ##" },
    streets = { "Οδός Ερμού %d", "Λεωφόρος Αλεξάνδρας %d" },
    first = { "Ελένη", "Γιώργος", "Σοφία", "Νίκος" }, last = { "Παπαδόπουλος", "Ιωάννου", "Βλάχου" } },
  { country = "TR", cities = { "İstanbul|340##", "İzmir|350##", "Eskişehir|260##" },
    streets = { "İstiklal Caddesi %d", "Çınar Sokak %d" },
    first = { "Ayşe", "Çağlar", "İpek", "Oğuz" }, last = { "Yılmaz", "Şahin", "Güneş" } },
  { country = "IN", cities = { "मुंबई|4000##", "जयपुर|3020##", "Kochi|6820##" },
    streets = { "%d, M.G. Road", "%d, Nehru Marg" },
    first = { "प्रिया", "Arjun", "Lakshmi", "राहुल" }, last = { "शर्मा", "Iyer", "Menon", "वर्मा" } },
  { country = "US", cities = { "Portland|972##", "San José|951##", "Coeur d'Alene|838##" },
    streets = { "%d Main St, Apt 4", "%d Ocean Ave", "%d Elm St, Suite 12" },
    first = { "William \"Bill\"", "Siobhán", "Renée", "Jack", "Dolores" },
    last = { "O'Neil", "Smith, Jr.", "García", "Nguyễn", "Baker" } },
}

local function digits(pattern)
  return (pattern:gsub("#", function() return tostring(random(10) - 1) end))
end

local function user(n)
  local origin = pick(PEOPLE)
  local first, last = pick(origin.first), pick(origin.last)
  local city, postcode = pick(origin.cities):match "^(.-)|(.*)$"
  local street = pick(origin.streets):format(random(180))
  if random(9) == 1 then street = street .. "\nc/o " .. pick(origin.last) end -- a second line
  return {
    origin.family_first and last .. " " .. first or first .. " " .. last,
    ("customer%03d@%s"):format(n, pick { "example.org", "example.com", "mail.example.net" }),
    street, city, digits(postcode), origin.country,
    pick { "yes", "no", "no" },
    moment(2023, random(12), random(28)),
  }
end

-- Row number in the file -> what is done to the row that was going to stand there.
local BAD_USERS = {
  [31] = function(row) row[2] = "customer007@example.org" end, -- made sure of below
  [58] = function(row) row[2] = "CUSTOMER011@Example.org" end, -- the same, but for case
  [77] = function(row) row[1] = ("Maximiliane-Sophie-Adelheid "):rep(3) .. "von und zu Hohenfels" end,
  [103] = function(row) row[1] = "" end,
  [140] = function(row) row[2] = "kontakt(at)example.org" end,
  [166] = function(row) row[2] = "" end,
  [189] = function(row) row[5] = nil; row[6] = nil; row[7] = nil; row[8] = nil end,
  [204] = function(row) row[8] = "2023-02-30T10:00:00Z" end,
  [231] = function(row) row[6] = "Germany" end,
  [252] = function(row) row[7] = "perhaps" end,
  [270] = function(row) row[1] = "J\252rgen M\252ller" end, -- Latin-1, as spreadsheets export it
}

local function users()
  local rows, emails = {}, {}
  for n = 1, 310 do
    local row = user(n)
    if n == 7 or n == 11 then row[2] = ("customer%03d@example.org"):format(n) end
    if BAD_USERS[n] then BAD_USERS[n](row) else emails[#emails + 1] = row[2] end
    rows[n] = row
  end
  return rows, emails
end

-- ------------------------------------------------------------------------------------- products --

local GOODS = {
  { category = "book", prefix = "BOK", low = 890, high = 4200,
    tags = { "hardcover", "gift", "bestseller", "signed" },
    names = { "A Field Guide to %s", "The Little Book of %s", "%s for Patient People", "Notes on %s" },
    of = { "Elephants", "Index Scans", "Bread", "Lighthouses", "Cafés", "Winter Gardens", "Fjords",
      "Moon Phases" },
    attributes = function()
      return ('{"pages": %d, "language": "%s"}'):format(80 + random(500), pick { "en", "de", "fr" })
    end },
  { category = "coffee", prefix = "COF", low = 690, high = 2490, tags = { "organic", "fair-trade", "decaf", "gift" },
    names = { "%s, whole bean", "%s, ground", "%s, espresso roast", "%s, filter roast" },
    of = { "Yirgacheffe", "Huehuetenango", "Nariño", "Sidamo", "São Paulo", "Kilimanjaro", "Tarrazú", "Java" },
    attributes = function()
      return ('{"weight_g": %d, "roast": %d}'):format(pick { 250, 500, 1000 }, random(5))
    end },
  { category = "kitchen", prefix = "KIT", low = 450, high = 18900,
    tags = { "steel", "ceramic", "dishwasher-safe", "gift" },
    names = { "%s, small", "%s, large", "%s \"Nordlicht\"", "%s, set of 4" },
    of = { "Crème brûlée dish", "Pour-over stand", "Bread knife", "Mixing bowl", "Fondue fork", "Tea strainer",
      "Smørrebrød board", "Pepper mill" },
    attributes = function()
      return ('{"weight_g": %d, "material": "%s"}'):format(40 * random(60), pick { "steel", "oak", "stoneware" })
    end },
  { category = "stationery", prefix = "STA", low = 95, high = 3900, tags = { "recycled", "office", "school" },
    names = { "%s, A5", "%s, blue-black", "%s, box of 12", "%s, 0.5 mm" },
    of = { "Notebook", "Fountain pen", "Pencil", "Ink", "Index cards", "Washi 和紙", "Ruler", "Envelope" },
    attributes = function()
      return ('{"weight_g": %d, "refillable": %s}'):format(5 * random(80), pick { "true", "false" })
    end },
  { category = "toy", prefix = "TOY", low = 550, high = 7990, tags = { "wood", "ages 3+", "ages 8+", "gift" },
    names = { "%s, wooden", "%s, mini", "%s for two", "%s \"Żółw\"" },
    of = { "Elephant", "Marble run", "Kite", "Puzzle", "Spinning top", "Railway", "Domino", "Kendama けん玉" },
    attributes = function()
      return ('{"players": [1, %d], "parts": %d}'):format(1 + random(5), random(200))
    end },
}

local function tags_of(goods)
  local tags = {}
  for _, tag in ipairs(goods.tags) do
    if random(3) == 1 then tags[#tags + 1] = tag end
  end
  return table.concat(tags, "|")
end

local BAD_PRODUCTS = {
  [14] = function(row) row[1] = "BOK-1003" end,
  [33] = function(row) row[4] = "12,50" end,
  [48] = function(row) row[4] = "-3.00" end,
  [66] = function(row) row[5] = "99999999999" end,
  [81] = function(row) row[2] = "" end,
  [97] = function(row) row[2] = row[2] .. (" - now with an even longer description"):rep(3) end,
  [112] = function(row) row[3] = "gadget" end,
  [125] = function(row) row[7] = '{"weight_g": 250,' end,
  [139] = function(row) row[5] = "a few" end,
  [150] = function(row) row[8] = "left over" end,
  [155] = function(row) row[1] = "toy 17" end,
}

local function products()
  local rows, shelf, n = {}, {}, 0
  for _, goods in ipairs(GOODS) do
    for i, of in ipairs(goods.of) do
      for j, name in ipairs(goods.names) do
        n = n + 1
        local cents = goods.low + random(goods.high - goods.low)
        local sku = ("%s-%04d"):format(goods.prefix, 1000 + (i - 1) * #goods.names + j)
        local row = {
          sku, name:format(of), goods.category, ("%d.%02d"):format((cents - cents % 100) / 100, cents % 100),
          tostring(random(6) == 1 and 3 + random(9) or 20 + random(60)), tags_of(goods), goods.attributes(),
        }
        if BAD_PRODUCTS[n] then
          BAD_PRODUCTS[n](row)
        else
          shelf[#shelf + 1] = { sku = sku, stock = tonumber(row[5]) }
        end
        rows[n] = row
      end
    end
  end
  return rows, shelf
end

-- --------------------------------------------------------------------------------------- orders --

-- The order that fails: its first line could be served, its second asks for more than is left.
local TOO_MUCH = 233

local function lines_of(shelf)
  local lines, used = {}, {}
  for _ = 1, random(4) do
    local product = pick(shelf)
    local quantity = math.min(pick { 1, 1, 1, 2, 2, 3, 5 }, product.stock)
    if quantity > 0 and not used[product] then
      used[product] = true
      lines[#lines + 1] = { product = product, quantity = quantity }
    end
  end
  return lines
end

local function too_much(shelf)
  local lines, scarce = {}, nil
  for _, product in ipairs(shelf) do
    if product.stock >= 30 and not lines[1] then lines[1] = { product = product, quantity = 2 } end
    if product.stock > 0 and product.stock < 5 then scarce = product end
  end
  lines[2] = { product = scarce, quantity = scarce.stock + 7 }
  return lines
end

local BAD_ORDERS = {
  [61] = function(order) order.email = "nobody@example.org" end,
  [118] = function(order) order.lines[1].sku = "KIT-9999" end,
  [174] = function(order) order.lines[1].quantity = 0 end,
  [290] = function(order) order.number = "A1012" end,
  [351] = function(order) order.status = "lost" end,
}

local function order_at(n, count, emails, shelf)
  local month = FIRST_MONTH + math.floor((n - 1) * MONTHS / count)
  local per_month = count / MONTHS
  local day = math.floor(((n - 1) % per_month) / per_month * DAYS[month]) + 1
  local order = {
    number = ("A%04d"):format(1000 + n), email = pick(emails), placed_at = moment(2024, month, day),
    status = pick { "shipped", "shipped", "shipped", "paid", "placed" },
    lines = n == TOO_MUCH and too_much(shelf) or lines_of(shelf),
  }
  local break_it = BAD_ORDERS[n]
  for _, line in ipairs(order.lines) do
    line.sku = line.product.sku
    if not break_it and n ~= TOO_MUCH then line.product.stock = line.product.stock - line.quantity end
  end
  if break_it then break_it(order) end
  return order
end

local function orders(emails, shelf)
  local rows, count = {}, 420
  for n = 1, count do
    local order = order_at(n, count, emails, shelf)
    for _, line in ipairs(order.lines) do
      rows[#rows + 1] = {
        order.number, order.email, order.placed_at, order.status, line.sku, tostring(line.quantity),
      }
    end
  end
  return rows
end

local dir = arg[1] or arg[0]:match "^(.*)/" or "."
local user_rows, emails = users()
local product_rows, shelf = products()
write(dir .. "/users.csv",
  { "name", "email", "street", "city", "postcode", "country", "newsletter", "joined_at" }, user_rows)
write(dir .. "/products.csv",
  { "sku", "name", "category", "price", "stock", "tags", "attributes" }, product_rows)
write(dir .. "/orders.csv",
  { "number", "email", "placed_at", "status", "sku", "quantity" }, orders(emails, shelf))
