rockspec_format = "3.0"
package = "luphant"
version = "scm-1"
source = {
  url = "git+https://github.com/luphant/luphant.git",
}
description = {
  summary = "PostgreSQL for Lua 5.4 and LuaJIT",
  detailed = [[
A C core over libpq and a Lua module on top: non-blocking inside, prepared statements cached by itself, every
PostgreSQL type both ways, structured errors, migrations and a private test server.]],
  license = "MIT",
  labels = { "database", "postgresql" },
}
supported_platforms = { "unix" }
dependencies = {
  "lua >= 5.1, < 5.5",
  "lua-cjson >= 2.1.0",
  "argparse >= 0.7.1",
  "luafilesystem >= 1.8.0",
}
-- libpq and OpenSSL are found by CMakeLists.txt: external_dependencies would not look into the directory where
-- Debian keeps libpq's headers.
build = {
  type = "cmake",
  variables = {
    CMAKE_BUILD_TYPE = "Release",
    LPH_LUA_INCLUDE_DIR = "$(LUA_INCDIR)",
    LPH_LUA_DIR = "$(LUADIR)",
    LPH_LIB_DIR = "$(LIBDIR)",
    LPH_BIN_DIR = "$(BINDIR)",
  },
}
