-- db:listen under every waiter.
--
-- To see it fail: let `send` of notify/line.lua forget err ~= "r", take `announce` out of it, or let
-- lph_conn_drop_notifications (csrc/core/conn.c) drop those of a session that listens.
--
-- SPDX-License-Identifier: MIT

local suite = require "spec.contract.listen_suite"
local worlds = require "spec.contract.worlds"

for _, setting in ipairs(worlds.all) do suite(setting) end
