-- Every waiter against the contract of luphant.wait.
--
-- SPDX-License-Identifier: MIT

local suite = require "spec.contract.waiter_suite"
local worlds = require "spec.contract.worlds"

for _, setting in ipairs(worlds.all) do suite(setting) end
