-- reply.lua - requests and answers as JSON. What went wrong on our side is logged, and answered with the request's id
-- only.
--
-- SPDX-License-Identifier: MIT

local cjson = require "cjson.safe"
local ngx = require "ngx"

local reply = {}

--- Answers with a status and a text.
function reply.text(status, text)
  ngx.status = status
  ngx.say(text)
end

--- Answers with a status and a table.
function reply.send(status, body) reply.text(status, cjson.encode(body)) end

function reply.refuse(status, message, more)
  local body = more or {}
  body.error = message
  reply.send(status, body)
end

--- 500 (503 when the database cannot be had): all about it in the log, nothing of it in the answer.
function reply.fail(err)
  ngx.log(ngx.ERR, "request ", ngx.var.request_id, " failed: ", tostring(err))
  local is_away = type(err) == "table" and (err.class == "connection" or err.class == "pool")
  reply.refuse(is_away and 503 or 500, is_away and "try again later" or "internal error",
    { request_id = ngx.var.request_id })
end

--- The request's body, when it is a JSON object; else it has been refused.
function reply.body()
  ngx.req.read_body()
  local body = cjson.decode(ngx.req.get_body_data() or "")
  if type(body) == "table" then return body end
  reply.refuse(422, "the body must be a JSON object")
end

--- Calls the function for the request's method.
function reply.by_method(methods)
  local handler = methods[ngx.req.get_method()]
  if not handler then return reply.refuse(405, "method not allowed") end
  local ok, why = pcall(handler)
  if not ok then reply.fail(why) end
end

return reply
