-- luphant.testing.watchdog - a process that outlives us and removes a test server's directory.
--
-- It is a shell in a session of its own (a Ctrl-C or a signal to our process group passes it by) that
-- holds the reading end of a pipe from us. When the pipe ends - we closed it, or died of anything, SIGKILL
-- included - it stops every server below the directory and removes it. Because a daemon we started may
-- have inherited the pipe and keep it open after our death, it also looks for our process every two
-- seconds. It touches nothing but that directory and the processes named in its postmaster.pid files.
--
-- SPDX-License-Identifier: MIT
local shell = require "luphant.testing.shell"

local quote = shell.quote

local watchdog = {}

-- $1 directory. nginx always goes at once (INT). How to stop PostgreSQL is read from the file "stop" in it. Signals:
-- INT = fast, TERM = smart, QUIT = immediate; after 10 seconds QUIT, after 20 KILL. Without the file the owner died
-- while it made the directory, and a command of it (mkdir, initdb, pg_basebackup) may still be running: rm may fail
-- then, and the directory come back, so it is looked for until it has been away for two seconds.
local SWEEP = [[
linger=0
case $(cat "$1/stop" 2>/dev/null) in
fast) signal=INT ;;
smart) signal=TERM ;;
immediate) signal=QUIT ;;
*) signal=QUIT linger=20 ;;
esac
turn=0 away=0
while [ "$turn" -lt 300 ]; do
  [ "$turn" -ne 100 ] || signal=QUIT
  [ "$turn" -ne 200 ] || signal=KILL
  alive=
  for file in "$1"/*/postmaster.pid; do
    pid=
    { read -r pid <"$file"; } 2>/dev/null
    if [ "$pid" ] && kill -s "$signal" "$pid" 2>/dev/null; then alive=1; fi
  done
  for file in "$1"/*/nginx.pid; do
    pid=
    { read -r pid <"$file"; } 2>/dev/null
    if [ "$pid" ] && kill -s INT "$pid" 2>/dev/null; then alive=1; fi
  done
  [ "$alive" ] || rm -rf "$1"
  if [ -d "$1" ]; then away=0; else away=$((away + 1)); fi
  [ "$away" -le "$linger" ] || break
  turn=$((turn + 1))
  sleep 0.1 2>/dev/null || sleep 1
done
]]

local WATCH = [[
owner=$PPID
exec 3<&0 </dev/null >/dev/null 2>&1
cd /
lives() { # a killed process that its parent has not waited for still answers signals
  kill -s 0 "$1" && case $(cat "/proc/$1/stat") in *") Z "*) false ;; esac
}
(while lives "$owner"; do sleep 2; done) 3<&- &
looker=$!
(while read -r _ <&3; do :; done; kill -s KILL "$looker") &
reader=$!
exec 3<&-
trap : HUP INT TERM
wait "$looker"
kill -s KILL "$looker" "$reader"
]]

--- Starts to watch over `dir`.
---@param dir string
---@return userdata handle keep it: when it is collected, the directory goes
function watchdog.start(dir)
  local arguments = shell.line { "sh", "-c", WATCH .. SWEEP, "luphant-watchdog", dir }
  return assert(io.popen("if command -v setsid >/dev/null; then exec setsid " .. arguments
    .. "; else exec " .. arguments .. "; fi", "w"))
end

local function note(dir, mode)
  shell.run(("test ! -d %s || echo %s >%s"):format(quote(dir), quote(mode), quote(dir .. "/stop")))
end

--- Says that the making of `dir` is over: no command of ours will write there any more when we are killed.
---@param dir string
function watchdog.settle(dir)
  note(dir, "immediate")
end

--- Stops what runs in `dir` and removes it; comes back when that is done.
---@param handle userdata
---@param dir string
---@param mode "smart"|"fast"|"immediate"
function watchdog.finish(handle, dir, mode)
  note(dir, mode)
  handle:close() -- waits for the watchdog's end
  -- Only when somebody killed the watchdog is there anything left to do.
  local words = shell.line { "sh", "-c", SWEEP, "luphant-sweep", dir }
  shell.run(("test ! -d %s || %s"):format(quote(dir), words))
end

return watchdog
