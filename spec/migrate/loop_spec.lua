-- Migrations in event loops: others run while a statement does. For every waiter.

local ground = require "spec.support.migration_ground"
local luphant = require "luphant"
local migrate = require "luphant.migrate"
local worlds = require "spec.contract.worlds"

for _, setting in ipairs(worlds.all) do
  describe("migrations under " .. setting.name, function()
    local g

    before_each(function() g = ground.open() end)
    after_each(function() g.close() end)

    it("are applied, and where others can run they do", function()
      if setting.missing then
        pending(setting.missing)
        return
      end
      g.put("0001_a.sql", "create table a (n int);\nselect pg_sleep(0.5);\n")
      g.put("0002_i.sql", "-- migrate:up transaction:false\ncreate index concurrently on a (n);\n")
      local world = setting.start()
      local turns, finished, done, err = 0, false, nil, nil
      world.run(function()
        if world.spawn then
          world.spawn(function()
            while not finished do
              world.pause(0.05)
              turns = turns + 1
            end
          end)
        end
        local conn = assert(luphant.connect(g.url, { waiter = world.waiter }))
        done, err = migrate.up(conn, g.dir)
        conn:close()
        finished = true
      end)
      assert.equal(2, done and #done, tostring(err))
      if setting.has_others then assert.truthy(turns >= 5, turns .. " turns") end
    end)

    it("of several tenants run at the same time", function()
      if setting.missing then
        pending(setting.missing)
        return
      end
      assert(g.conn:script "create table public.here (who text)")
      g.put("0001_meet.sql", [[
-- migrate:up transaction:false
insert into public.here values (current_schema());
do $$ begin
  for i in 1..400 loop
    if (select count(*) from public.here) >= 2 then return; end if;
    perform pg_sleep(0.02);
  end loop;
  raise 'nobody else came';
end $$;
]])
      local world = setting.start()
      local reports, err
      world.run(function()
        local conn = assert(luphant.connect(g.url, { waiter = world.waiter }))
        reports, err = migrate.tenants(conn, g.dir, { tenants = { "t1", "t2", "t3" }, create = true, jobs = 2 })
        conn:close()
      end)
      assert.equal(3, reports and #reports, tostring(err))
    end)
  end)
end
