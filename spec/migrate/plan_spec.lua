-- Plans, from files and rows to steps or problems. No file is read and no database asked.

local make = require "spec.support.migrations"
local order = require "luphant.migrate.order"
local plan = require "luphant.migrate.plan"

local function resolved(files) return order.resolve(make.files(files), error) end

local function label(item)
  local prefix = item.kind == "baseline" and "B" or item.kind == "repeatable" and "R__" or ""
  return prefix .. item.version
end

local ACTIONS = { apply = "", ["repeat"] = "", baseline = "", revert = "-", forget = "forget ", resume = "resume " }

local function describe_plan(found, problems)
  if not found then
    local out = {}
    for i, problem in ipairs(problems) do
      out[i] = (problem.file and problem.file:gsub("^m/", ""):gsub("%.sql$", "") .. ": " or "") .. problem.message
    end
    return "! " .. table.concat(out, "\n! ")
  end
  local out = {}
  for i, step in ipairs(found.steps) do
    out[i] = ACTIONS[step.action] .. label(step) .. (step.first and "@" .. step.first or "")
      .. (step.out_of_order and "!" or "") .. (step.transaction and "" or "*")
  end
  for _, waiting in ipairs(found.waiting) do
    out[#out + 1] = ("(%s %s)"):format(label(waiting.entry), waiting.reason)
  end
  return table.concat(out, " ")
end

local function forward(files, rows, options)
  return describe_plan(plan.make(resolved(files), make.rows(rows), options))
end

local function back(files, rows, options)
  return describe_plan(plan.revert(resolved(files), make.rows(rows), options))
end

local function run(cases, plan_it)
  for _, case in ipairs(cases) do
    it(case[1], function() assert.equal(case[5], plan_it(case[2], case[3], case[4])) end)
  end
end

local EDITED = "was edited after it had been applied; put the old text back and write a new migration"
local LATE = "comes before migrations that are applied already; give it a higher number"

describe("the way forward", function()
  run({
    { "is nothing when there is nothing", {}, {}, nil, "" },
    { "is nothing when all is applied", { "1", "2" }, { "1", "2" }, nil, "" },
    { "is what is pending, in order", { "10", "9", "1" }, { "1" }, nil, "9 10" },
    { "is in the order of requirements", { "1 requires=3", "2", "3" }, {}, nil, "3 1 2" },
    { "ends with the repeatable ones", { "R__b", "R__a", "R__c v2", "R__d", "1" }, { "R__c", "R__d" }, nil,
      "1 R__a R__b R__c" },
    { "passes over what was skipped", { "1", "2" }, { "1 skipped" }, nil, "2" },
    { "takes what was taken back again", { "1", "2" }, { "1", "2 reverted" }, nil, "2" },
    { "marks what runs without a transaction", { "1 transaction=false" }, {}, nil, "1*" },
    { "begins with a baseline where the database is new", { "1", "B2", "2", "3" }, {}, nil, "B2 3" },
    { "knows nothing of a baseline elsewhere", { "1", "B2", "2", "3" }, { "1" }, nil, "2 3" },
    { "goes on behind a baseline whose files are gone", { "B2", "3" }, { "1", "2" }, nil, "3" },
  }, forward)
end)

describe("the way forward is refused, with all reasons at once,", function()
  run({
    { "for edited, vanished and late files", { "1", "2 edited" }, { "2", "3" }, nil,
      "! 1: " .. LATE .. "\n! 2: " .. EDITED .. "\n! 3_n3: is applied in this database, but the file is gone" },
    { "for edited comments, in other words", { make.file "1 sql=select /* x */ 1" }, { make.row("1",
      make.file "1 sql=select 1") },
      nil, "! 1: was edited after it had been applied, but only in comments or blanks" },
    { "for what stopped half-way", { "1", "2", "3" }, { "1 failed done=2 total=5", "2 running done=0 total=1" }, nil,
      "! 1: failed at statement 3 of 5\n! 2: was interrupted at statement 1 of 1; the process is gone" },
    { "while somebody runs it", { "1" }, { "1 running" }, { lock_is_held = true },
      "! 1: is being run by somebody just now" },
    { "for what stopped half-way and is gone, also when files may be", { "2" }, { "1 failed" },
      { ignore_missing = true },
      "! 1_n1: stopped half-way in this database, and the file is gone" },
    { "for requirements that are nowhere", { "1", "2 requires=7,1" }, {}, nil,
      "! 2: requires 7, which is neither here nor in the database" },
    { "for an old text that comes back", { "R__v v1" }, { "R__v applied text=v2 earlier=v1" }, nil,
      "! R__v: has the text of an earlier run again" },
    { "for what cannot run in a transaction", { "1 sql=vacuum", "2 sql=create index concurrently i on t (a)" }, {}, nil,
      "! 1: VACUUM cannot run in a transaction\n! 2: CREATE INDEX CONCURRENTLY cannot run in a transaction" },
    { "for what may not run at all", { "1 sql=commit", "2 transaction=false sql=discard all" }, {}, nil,
      "! 1: COMMIT: the runner begins and ends transactions itself\n"
      .. "! 2: DISCARD ALL gives up the lock that keeps two runners apart" },
    { "for missing values", { "1 vars=a,b sql=select ${a}, ${b}" }, {}, { values = { a = "x" } },
      "! 1: needs a value for ${b}" },
    { "in the middle of what a baseline stands for", { "B3 replaces=1,2,3", "4" }, { "1" }, nil,
      "! B3: stands for 2, 3, which this database never had, and the files are gone" },
    { "the same without a list", { "B3", "4" }, { "1" }, nil,
      "! B3: stands for 3, which this database never had, and the files are gone" },
    { "for what lies below a baseline and not on its list", { "B3 replaces=1,3", "2", "4" }, {}, nil, "! 2: " .. LATE },
  }, forward)

  it("not for statements that are applied already", function()
    local file = make.file "1 sql=vacuum"
    assert.equal("2", forward({ file, "2" }, { make.row("1", file) }))
  end)
end)

describe("leave is given", function()
  run({
    { "to run late", { "1", "2", "3" }, { "2" }, { allow_out_of_order = true }, "1! 3" },
    { "to miss files", { "2" }, { "1" }, { ignore_missing = true }, "2" },
    { "to miss files of repeatable ones, always", { "1" }, { "R__gone" }, nil, "1" },
    { "to go back to an old text", { "R__v v1", "R__w v1" },
      { "R__v applied text=v2 earlier=v1", "R__w" }, { rerun = { "R__v" } }, "R__v" },
    { "to require what is applied and gone", { "2 requires=1" }, { "1" }, { ignore_missing = true }, "2" },
    { "to require what a baseline stands for", { "B1", "2 requires=1", "1" }, {}, nil, "B1 2" },
  }, forward)
end)

describe("a target", function()
  run({
    { "is a number of migrations", { "1", "2", "3" }, { "1" }, { count = 1 }, "2" },
    { "may be more than there are", { "1" }, {}, { count = 9 }, "1" },
    { "of a number keeps repeatable ones for later", { "1", "2", "R__v" }, {}, { count = 1 },
      "1 (R__v runs when no versioned migration is left)" },
    { "that reaches the end takes them along", { "1", "2", "R__v" }, {}, { count = 2 }, "1 2 R__v" },
    { "is a version, in any spelling", { "0001", "0002", "0003" }, {}, { to = "2" }, "0001 0002" },
    { "keeps repeatable ones for later", { "1", "2", "R__v" }, {}, { to = "1" },
      "1 (R__v runs when no versioned migration is left)" },
    { "that is the last takes them along", { "1", "2", "R__v" }, {}, { to = "2" }, "1 2 R__v" },
    { "that is reached takes them along, too", { "1", "R__v" }, { "1" }, { to = "1" }, "R__v" },
    { "brings along what it requires", { "1 requires=3", "2", "3", "4" }, {}, { to = "1" }, "3 1" },
    { "has to be known", { "20260101" }, {}, { to = "20260110" },
      '! there is no migration 20260110 (did you mean "20260101"?)' },
    { "has to be a version", { "1" }, {}, { to = "users" }, "! there is no migration users" },
    { "that lies behind is no target", { "1", "2" }, { "1", "2" }, { to = "1" },
      "! 1 is behind: 2 is applied already" },
    { "may be where one is", { "1", "2" }, { "1" }, { to = "1" }, "" },
    { "may be a baseline", { "B2", "3" }, {}, { to = "2" }, "B2" },
    { "does not excuse problems beyond it", { "1", "2 sql=vacuum" }, {}, { to = "1" },
      "! 2: VACUUM cannot run in a transaction" },
  }, forward)
end)

describe("one alone", function()
  run({
    { "runs whatever lies before it, marked", { "1", "2", "3" }, { "3" }, { only = { "2" } }, "2!" },
    { "leaves the rest of the folder alone", { "1 edited", "2", "3 sql=vacuum", "R__v" }, { "1", "9" },
      { only = { "2" } }, "2!" },
    { "may be several, in their order", { "1", "2", "3" }, {}, { only = { "3", "01" } }, "1 3" },
    { "may be repeatable", { "1", "R__v" }, {}, { only = { "R__v" } }, "R__v" },
    { "may be of the contract phase", { "1", "2 phase=contract" }, { "1" }, { only = { "2" } }, "2" },
    { "needs its requirements", { "1", "2 requires=1" }, {}, { only = { "2" } },
      "! 2: requires 1, which is not applied" },
    { "takes them along when they are named", { "1", "2 requires=1" }, {}, { only = { "2", "1" } }, "1 2" },
    { "is judged itself", { "1 sql=vacuum" }, {}, { only = { "1" } }, "! 1: VACUUM cannot run in a transaction" },
    { "needs its values", { "1 vars=a sql=select ${a}" }, {}, { only = { "1" } }, "! 1: needs a value for ${a}" },
    { "cannot be applied already", { "1", "2" }, { "1", "2 skipped" }, { only = { "1", "2" } },
      "! 1: is applied already; there is nothing to run\n! 2: is skipped already; there is nothing to run" },
    { "cannot be edited or stopped", { "1 edited", "2" }, { "1", "2 failed" }, { only = { "1", "2" } },
      "! 1: " .. EDITED .. "\n! 2: failed" },
    { "cannot go back to an old text unasked", { "R__v v1" }, { "R__v applied text=v2 earlier=v1" },
      { only = { "R__v" } },
      "! R__v: has the text of an earlier run again" },
    { "has to be there", { "1" }, {}, { only = { "2", "R__x" } },
      '! there is no migration 2 (did you mean "1"?)\n! there is no migration R__x' },
  }, forward)
end)

describe("phases", function()
  local files = { "1", "2 phase=contract", "3", "4 requires=2", "R__v" }
  run({
    { "expand first, and wait for the rest", files, {}, nil,
      "1 3 R__v (2 waits for the contract phase) (4 requires 2)" },
    { "contract later", files, { "1", "3", "R__v" }, { phase = "contract" }, "2 (4 belongs to the expand phase)" },
    { "and go on", files, { "1", make.row("2", make.file "2 phase=contract"), "3", "R__v" }, nil, "4" },
    { "may all run at once", files, {}, { phase = "all" }, "1 2 3 4 R__v" },
    { "contract nothing while something before it is left", { "1", "2 phase=contract", "3" }, {},
      { phase = "contract" },
      "! 2: comes behind 1, which belongs to the expand phase and is not applied" },
    { "contract while something behind it is left", { "1", "2 phase=contract", "3" }, { "1" }, { phase = "contract" },
      "2 (3 belongs to the expand phase)" },
    { "keep repeatable ones for the end of all", { "1 phase=contract", "2", "R__v" }, {}, { phase = "contract" },
      "1 (2 belongs to the expand phase) (R__v runs when no versioned migration is left)" },
    { "are never out of order", { "1 phase=contract", "2" }, { "2" }, { phase = "contract" }, "1" },
    { "are ordinary in a count", files, {}, { count = 1 },
      "1 (2 waits for the contract phase) (4 requires 2) (R__v runs when no versioned migration is left)" },
  }, forward)
end)

describe("the way back", function()
  local files = { "1 down=drop_a", "2 down=drop_b", "3 down=drop_c" }
  local rows = { "1 applied down=drop_a run=x at=1", "2 applied down=drop_b run=x at=2",
    "3 applied down=drop_c run=y at=3" }
  run({
    { "is the last", files, rows, nil, "-3" },
    { "is the last few, newest first", files, rows, { count = 2 }, "-3 -2" },
    { "ends with the first", files, rows, { count = 9 }, "-3 -2 -1" },
    { "goes down to a version, which stays", files, rows, { to = "1" }, "-3 -2" },
    { "goes down to nothing", files, rows, { to = "0" }, "-3 -2 -1" },
    { "may be where one is", files, rows, { to = "3" }, "" },
    { "undoes the last run", files, rows, { run = true }, "-3" },
    { "undoes a run", files, rows, { run = "x" }, "-2 -1" },
    { "knows when a run left nothing", files, rows, { run = "z" }, "! no applied migration belongs to that run" },
    { "is nothing when nothing is applied", files, {}, nil, "" },
    { "needs no file", {}, rows, { count = 2 }, "-3 -2" },
    { "has to be recorded", files, { "1", "2 applied down=drop_b" }, { count = 2 },
      "! 1: was applied without a migrate:down section; write a new migration instead" },
    { "of a skipped one is to forget it", files, { "1 applied down=drop_a", "2 skipped" }, { count = 2 },
      "forget 2 -1" },
    { "goes to what is applied only", files, { "1 applied down=drop_a", "3 applied down=drop_c" }, { to = "2" },
      "! 2: is not applied, so there is no going back to it" },
    { "goes to what is known only", files, rows, { to = "7" }, '! there is no migration 7 (did you mean "1"?)' },
    { "stops at a baseline", {}, { "B1", "2 applied down=x" }, { count = 2 },
      "! B1__base: is a baseline; there is no way back beyond it" },
    { "leaves repeatable ones", { "R__v" }, { "1 applied down=x", "R__v" }, { count = 5 }, "-1" },
    { "of what stopped half-way is asked for", files, { "1 failed down=x" }, nil,
      "! 1: stopped half-way; its way back may not fit what is there" },
    { "of what stopped half-way runs when asked for", files, { "1 failed down=x" }, { partial = true }, "-1" },
    { "leaves what others require", { "1 requires=2 down=x", "2 down=x" }, { "1 applied down=x", "2 applied down=x" },
      { to = "1" }, "! 2: is required by 1, which stays" },
    { "takes both", { "1 requires=2 down=x", "2 down=x" }, { "1 applied down=x", "2 applied down=x" }, { count = 2 },
      "-1 -2" },
    { "is judged", files, { "1 applied down=vacuum" }, nil, "! 1: line 1: VACUUM cannot run in a transaction" },
  }, back)

  it("runs what was recorded, with its options", function()
    local row = make.row "1 applied"
    row.down_sql = "-- migrate:down transaction:false lock_timeout:3s\ndrop index concurrently i;"
    local step = plan.revert({}, { row }).steps[1]
    assert.is_false(step.transaction)
    assert.equal(3, step.section.options.lock_timeout)
    assert.equal("drop index concurrently i", step.section.statements[1].sql)
  end)

  it("has the lines of the file where that is the same", function()
    local file = make.file "1 down=drop_a"
    local row = make.row("1", file)
    row.down_sql = file.down.text
    assert.equal(4, plan.revert({ file }, { row }).steps[1].section.line)
    row.down_sql = "drop other;"
    assert.equal(1, plan.revert({ file }, { row }).steps[1].section.line)
  end)

  it("may be in Lua while the file is the one that was applied", function()
    local file = make.file "1"
    local row = make.row("1", file)
    file.language, file.script, file.up = "lua", { up = print, down = print }, nil
    assert.equal("-1", describe_plan(plan.revert({ file }, { row })))
    row.checksum = ("0"):rep(64)
    assert.truthy(describe_plan(plan.revert({ file }, { row })):find("without a migrate:down", 1, true))
  end)
end)

describe("going on", function()
  local SQL = "1 transaction=false sql=select 1; create table if not exists t (a int); select 3"
  local function go_on(row, options, text)
    local file = make.file(SQL)
    return describe_plan(plan.resume({ make.file(text or SQL) }, { make.row(row, file) }, "1", options))
  end

  it("begins with the statement that failed", function()
    assert.equal("resume 1@3*", go_on "1 failed started=3 done=2 total=3")
    assert.equal("resume 1@1*", go_on "1 failed")
  end)

  it("begins with the one that was not begun", function()
    assert.equal("resume 1@3*", go_on "1 running started=2 done=2 total=3")
  end)

  it("asks about one in doubt, unless it says IF", function()
    assert.equal("! 1: statement 3 (line 2) was begun, and nobody knows whether it ended",
      go_on "1 running started=3 done=2 total=3")
    assert.equal("resume 1@2*", go_on "1 running started=2 done=1 total=3")
    assert.equal("resume 1@3*", go_on("1 running started=3 done=2 total=3", { assume_not_run = true }))
    assert.equal("resume 1@3*", go_on("1 running started=3 done=2 total=3", { from = 3 }))
    assert.equal("resume 1@4*", go_on("1 running started=3 done=2 total=3", { from = 4 }))
    assert.equal("! 1: has 3 statements; --from 5 is none of them", go_on("1 running", { from = 5 }))
    assert.equal("! 1: has 3 statements; --from 0 is none of them", go_on("1 running", { from = 0 }))
  end)

  it("wants the same text, or a number", function()
    local edited = SQL .. "; select 4"
    assert.equal("! 1: was edited since it stopped, so statements cannot be counted",
      go_on("1 failed started=3 done=2 total=3", nil, edited))
    assert.equal("resume 1@3*", go_on("1 failed started=3 done=2 total=3", { from = 3 }, edited))
    assert.equal("! 1: DISCARD ALL gives up the lock that keeps two runners apart",
      go_on("1 failed started=3 done=2 total=3", { from = 3 },
        "1 transaction=false sql=discard all; select 1; select 2"))
  end)

  it("is for what stopped half-way only", function()
    assert.equal("! 1: is applied, not stopped half-way", go_on "1")
    assert.equal("! 1_n1: cannot go on: the file is gone",
      describe_plan(plan.resume({}, { make.row "1 failed" }, "1")))
    assert.equal("! there is no migration 2 (did you mean \"1\"?)",
      describe_plan(plan.resume({ make.file "1" }, {}, "2")))
  end)
end)

describe("the hash of a plan", function()
  local function hash(files, rows, options)
    return assert(plan.make(resolved(files), make.rows(rows), options)).hash
  end
  local files = { "1", "2 vars=a sql=select ${a}", "3" }
  local base = hash(files, { "1" }, { values = { a = "x" } })

  it("is the same for the same", function()
    assert.equal(64, #base)
    assert.equal(base, hash(files, { "1" }, { values = { a = "x", unused = "y" } }))
    assert.equal(hash({ "9" }, { "1", "2" }, { ignore_missing = true }), hash({ "9" }, { "2", "1" },
      { ignore_missing = true }))
  end)

  it("changes with everything that decides what runs", function()
    local others = {
      text = hash({ "1", "2 vars=a sql=select ${a}", "3 edited" }, { "1" }, { values = { a = "x" } }),
      value = hash(files, { "1" }, { values = { a = "z" } }),
      steps = hash(files, { "1" }, { values = { a = "x" }, count = 1 }),
      files = hash({ "1", "2 vars=a sql=select ${a}", "3", "4" }, { "1" }, { values = { a = "x" } }),
      history = hash(files, { "1 skipped" }, { values = { a = "x" } }),
      catalog = hash(files, { "1" }, { values = { a = "x" }, catalog_hash = "c" }),
      transaction = hash({ "1", "2 vars=a sql=select ${a}", "3 transaction=false" }, { "1" }, { values = { a = "x" } }),
    }
    local seen = { [base] = "base" }
    for name, other in pairs(others) do
      assert.is_nil(seen[other], name)
      seen[other] = name
    end
  end)

  it("of the way back changes with what was recorded", function()
    local function back_hash(down) return plan.revert({}, { make.row("1 applied down=" .. down) }).hash end
    assert.equal(back_hash "x", back_hash "x")
    assert.not_equal(back_hash "x", back_hash "y")
  end)
end)

-- A folder that grows, run again and again with whatever options, forward and back.
describe("any history whatever", function()
  local function dice(seed)
    local number = seed
    return function(count)
      number = (number * 16807) % 2147483647
      return number % count + 1
    end
  end

  local function grow(files, roll, next_version)
    local text = ("%d down=x"):format(next_version)
    if next_version > 1 and roll(3) == 1 then text = text .. " requires=" .. roll(next_version - 1) end
    if roll(4) == 1 then text = text .. " phase=contract" end
    if roll(6) == 1 then
      files[#files + 1] = make.file(("R__r%d v%d"):format(next_version, roll(3)))
    end
    files[#files + 1] = make.file(text)
  end

  -- What a runner would do, with the checks it would make.
  local function run_steps(rows, steps)
    for _, step in ipairs(steps) do
      local id = order.id_of(step)
      if step.action == "revert" then
        assert(rows[id], "not there to be taken back")
        rows[id] = nil
      else
        assert(step.action == "repeat" or not rows[id], "applied twice")
        for _, wanted in ipairs(step.migration.requires) do
          assert(rows[order.id(wanted)], "runs before what it requires")
        end
        rows[id] = make.row(label(step), step.migration)
        rows[id].down_sql = "x"
      end
    end
  end

  local function values(rows)
    local out = {}
    for _, row in pairs(rows) do out[#out + 1] = row end
    return out
  end

  it("is planned so that each runs once, behind its requirements, and all in the end", function()
    local roll, plans = dice(99), 0
    for _ = 1, 60 do
      local files, rows, count = {}, {}, 0
      for _ = 1, 12 do
        for _ = 1, roll(3) do
          count = count + 1
          grow(files, roll, count)
        end
        local list = order.resolve(files, error)
        local options = ({ nil, { count = roll(3) }, { phase = "contract" }, { phase = "all" },
          { to = tostring(roll(count)) } })[roll(5)]
        local go = roll(4) == 1 and plan.revert or plan.make
        local found = go(list, values(rows), go == plan.revert and { count = roll(2) } or options)
        if found then
          plans = plans + 1
          assert.equal(found.hash, go(list, values(rows),
            go == plan.revert and { count = #found.steps } or options).hash)
          run_steps(rows, found.steps)
        end
      end
      local list = order.resolve(files, error)
      local rest = assert(plan.make(list, values(rows), { phase = "all", allow_out_of_order = true }))
      assert.same({}, rest.waiting)
      run_steps(rows, rest.steps)
      for _, entry in ipairs(plan.compare(list, values(rows))) do assert.equal("applied", entry.state) end
      run_steps(rows, assert(plan.revert(list, values(rows), { to = "0" })).steps)
      for id in pairs(rows) do assert.truthy(id:find "^R__") end
    end
    assert.is_true(plans > 200, plans)
  end)
end)

describe("planning", function()
  it("a thousand migrations takes no time", function()
    local files, rows = {}, {}
    for i = 1, 1000 do
      files[i] = make.file(("%04d requires=%s"):format(i, i > 1 and i - 1 or "0001"))
      if i == 1 then files[i] = make.file "0001" end
      if i <= 990 then rows[i] = make.row(("%04d"):format(i), files[i]) end
    end
    local began = os.clock()
    assert.equal(10, #assert(plan.make(files, rows)).steps)
    assert.is_true(os.clock() - began < 3)
  end)
end)
