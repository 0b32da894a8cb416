std = "min" -- what Lua 5.1, 5.4 and LuaJIT have in common
max_line_length = 120
exclude_files = { "build", "build.luarocks" }
files["spec"] = { std = "+busted" }
files[".busted"] = { read_globals = { "jit" } }
