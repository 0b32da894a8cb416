-- load.lua - what a load does: wrk for some seconds, and the worker's CPU time meanwhile.
--
-- SPDX-License-Identifier: MIT

local shell = require "luphant.testing.shell"

local load = {}

local ticks = tonumber(shell.run "getconf CLK_TCK") or 100

--- User and system time of a process so far, all its threads, in seconds.
---@param pid integer
---@return number
function load.cpu(pid)
  local text = assert(shell.read_file(("/proc/%d/stat"):format(pid)), "this system has no /proc/<pid>/stat")
  local user, system = text:match "%) %S+ %S+ %S+ %S+ %S+ %S+ %S+ %S+ %S+ %S+ %S+ (%d+) (%d+)"
  return (tonumber(user) + tonumber(system)) / ticks
end

local UNITS = { us = 1e-6, ms = 1e-3, s = 1, m = 60 }

local function seconds_of(text)
  local value, unit = text:match "^([%d.]+)(%a+)$"
  return tonumber(value) * UNITS[unit]
end

-- What wrk prints: { requests =, rate =, p50 =, p99 = }, times in seconds; nil and why it does not count.
local function read(text)
  local rate, requests = text:match "Requests/sec:%s*([%d.]+)", text:match "(%d+) requests in"
  if not rate then return nil, text end
  local bad = text:match "Non%-2xx[^\n]*" or text:match "Socket errors[^\n]*"
  if bad then return nil, bad end
  return {
    requests = tonumber(requests), rate = tonumber(rate),
    p50 = seconds_of(text:match "\n%s*50%%%s+(%S+)"), p99 = seconds_of(text:match "\n%s*99%%%s+(%S+)"),
  }
end

local function command(url, connections, seconds)
  return ("wrk -t1 -c%d -d%ds --latency %s"):format(connections, seconds, shell.quote(url))
end

--- Runs wrk against a server's path. Answers rate, p50, p99 and cpu (of the worker, seconds a request).
---@param web luphant.testing.Nginx
---@param path string
---@param connections integer
---@param seconds integer
---@return table|nil
---@return string|nil why
function load.run(web, path, connections, seconds)
  local worker = web:workers()[1]
  local before = load.cpu(worker)
  local text, failure = shell.run(command(web:url(path), connections, seconds))
  if not text then return nil, failure end
  local result, why = read(text)
  if not result then return nil, why end
  result.cpu = (load.cpu(worker) - before) / result.requests
  return result
end

--- The same with another load on another path, which lasts longer.
---@return table|nil
---@return string|nil why
function load.run_beside(web, path, beside, connections, seconds)
  local pipe = assert(io.popen(command(web:url(beside), connections, seconds + 1) .. " 2>&1"))
  shell.run "sleep 0.3"
  local result, why = load.run(web, path, connections, seconds)
  local other, failure = read(pipe:read "*a")
  pipe:close()
  if not other then return nil, beside .. ": " .. tostring(failure) end
  return result, why
end

local function middle(list, field)
  local values = {}
  for i, result in ipairs(list) do values[i] = result[field] end
  table.sort(values)
  return (values[math.ceil(#values / 2)] + values[math.floor(#values / 2) + 1]) / 2
end

--- Several loads of the same length as one.
---@param list table[]  what run has answered
---@return table
function load.together(list)
  local requests, rate, cpu = 0, 0, 0
  for _, result in ipairs(list) do
    requests, rate, cpu = requests + result.requests, rate + result.rate, cpu + result.cpu * result.requests
  end
  return {
    requests = requests, rate = rate / #list, cpu = cpu / requests, p50 = middle(list, "p50"),
    p99 = middle(list, "p99"),
  }
end

return load
