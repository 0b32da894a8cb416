-- Runs busted under whichever interpreter runs this file: lua5.4 spec/support/busted.lua [arguments].
-- The `busted` command itself is no help there: it has one interpreter written into its first line, and where
-- LuaRocks installed it, it is not even a Lua file.
--
-- SPDX-License-Identifier: MIT
require "busted.runner"({ standalone = false })
