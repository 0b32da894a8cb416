-- Who answers the requests: a module of inside/, which runs in nginx, and the way it asks the database.
--
--   key       short name, for goals and the command line
--   service   module of bench/openresty/inside/
--   way       what the service is told
--   pgmoon    what it calls pgmoon: that has to be there
--   against   what others are compared with
--
-- SPDX-License-Identifier: MIT

return {
  { key = "luphant", service = "luphant", way = "as it is" },
  { key = "luphant-apart", service = "luphant", way = "apart" },
  { key = "luphant-shared", service = "luphant", way = "shared" },
  { key = "luphant-compat", service = "pgmoon", way = "parameters", pgmoon = "luphant.compat.pgmoon" },
  { key = "pgmoon", service = "pgmoon", way = "parameters", pgmoon = "pgmoon", against = true },
  { key = "pgmoon-literal", service = "pgmoon", way = "literal", pgmoon = "pgmoon", against = true },
  { key = "pgmoon-execute", service = "pgmoon", way = "execute", pgmoon = "pgmoon", against = true },
  { key = "pgmoon-ungated", service = "pgmoon", way = "ungated", pgmoon = "pgmoon" },
}
