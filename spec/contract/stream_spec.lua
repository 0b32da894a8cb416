-- Streams and cursors under every waiter.
--
-- SPDX-License-Identifier: MIT

local suite = require "spec.contract.stream_suite"
local worlds = require "spec.contract.worlds"

for _, setting in ipairs(worlds.all) do suite(setting) end
