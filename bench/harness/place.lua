-- place.lua - where a run happens: the machine, the server, the data, who is pinned to which core.
--
-- SPDX-License-Identifier: MIT

local luphant = require "luphant"

local place = {}

--- What a shell command prints, without the last line feed; nil when it fails or prints nothing.
---@param command string
---@return string|nil
function place.output(command)
  local pipe = assert(io.popen(command .. " 2>/dev/null"))
  local text = pipe:read "*a":gsub("%s+$", "")
  pipe:close()
  return text ~= "" and text or nil
end

--- A word for the shell.
function place.quote(text)
  return "'" .. tostring(text):gsub("'", "'\\''") .. "'"
end

local function read_file(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read "*a"
  file:close()
  return text
end

--- { cpu =, cores =, system =, client =, server = }: the last two are the cores they are pinned to, nil where that
--- cannot be. `apart`: a core each instead of one for both.
function place.machine(apart)
  local cores = tonumber(place.output "getconf _NPROCESSORS_ONLN") or 1
  local cpu = (read_file "/proc/cpuinfo" or ""):match "model name%s*:%s*([^\n]+)" or place.output "uname -m"
  local pins = cores >= 2 and place.output "command -v taskset" ~= nil
  return {
    cpu = cpu, cores = cores, system = place.output "uname -sr",
    client = pins and 1 or nil, server = pins and (apart and 0 or 1) or nil,
  }
end

local SETTINGS = {
  fsync = false, synchronous_commit = false, full_page_writes = false, shared_buffers = "256MB", autovacuum = false,
  jit = false,
}

-- Our own server, pinned when that is possible; what its main process forks stays where it is.
local function private_server(machine)
  local server = assert(require("luphant.testing.server").start { settings = SETTINGS })
  local pid = (read_file(server.data_dir .. "/postmaster.pid") or ""):match "^%d+"
  local pinned = machine.server and pid and place.output(("taskset -a -c -p %d %s"):format(machine.server, pid))
  return server, pinned ~= nil
end

local EXISTS = "the schema luphant_bench exists already in this database. If an earlier run was cut off, drop it:"
  .. " drop schema luphant_bench cascade"

--- The server to measure against and a connection to it: DATABASE_URL's, or one of our own.
--- Answers { url =, conn =, version =, private =, pinned =, close = }.
function place.open(machine)
  local url, server, pinned = os.getenv "DATABASE_URL", nil, false
  if not url then
    server, pinned = private_server(machine)
    url = server:url()
  end
  local conn = assert(luphant.connect(url))
  local here = { url = url, conn = conn, private = server ~= nil, pinned = pinned }
  here.version = assert(conn:query_value "show server_version")
  if conn:query_value "select to_regnamespace('luphant_bench') is not null" then error(EXISTS, 0) end
  function here.close()
    assert(conn:execute "drop schema if exists luphant_bench cascade")
    conn:close()
    if server then server:stop() end
  end
  local ok, err = conn:script(assert(read_file "bench/data.sql", "run this from the root of the repository"))
  if not ok then
    here.close()
    error(err, 0)
  end
  return here
end

--- Compiles the floor. Answers the program's path, or nil and why not.
function place.build_floor()
  local path = os.tmpname()
  local flags = place.output "pkg-config --cflags --libs libpq"
    or ("-I%s -L%s -lpq"):format(place.output "pg_config --includedir" or ".", place.output "pg_config --libdir" or ".")
  local why = place.output(("cc -O2 -o %s bench/floor.c %s 2>&1 || echo failed"):format(place.quote(path), flags))
  if why and why:find "failed$" then
    os.remove(path)
    return nil, why
  end
  return path
end

-- Where the headers of each Lua are, as pkg-config knows them.
local PACKAGES = { ["lua5.4"] = "lua5.4 lua-5.4 lua54", luajit = "luajit luajit2" }

--- Compiles what the benchmark's own event loop needs, for each Lua whose headers are there. Answers the folder to look
--- in: <folder>/<lua>/bench/loops/bare_core.so
---@return string
function place.build_loops()
  local folder = place.output "mktemp -d"
  for lua, names in pairs(PACKAGES) do
    local into = ("%s/%s/bench/loops"):format(folder, lua)
    for name in names:gmatch "%S+" do
      local flags = place.output("pkg-config --cflags " .. name)
      if flags and not place.output("ls " .. into) then
        place.output(("mkdir -p %s && cc -O2 -shared -fPIC %s -o %s/bare_core.so bench/loops/bare.c"):format(
          place.quote(into), flags, place.quote(into)))
      end
    end
  end
  return folder
end

return place
