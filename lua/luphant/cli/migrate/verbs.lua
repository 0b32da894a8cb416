-- cli/migrate/verbs.lua - the verbs of `luphant migrate` that are commands of their own, one file of verb/ each.
--
-- SPDX-License-Identifier: MIT

return { "new", "check", "test", "drift", "squash", "dump", "load", "seed", "import", "db", "environment" }
