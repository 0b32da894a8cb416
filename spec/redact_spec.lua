local redact = require "luphant.redact"

describe("redact.secret", function()
  it("replaces every occurrence, whatever signs the secret has", function()
    assert.equal("a ******** b ********", redact.secret("a p%w.(x) b p%w.(x)", "p%w.(x)"))
  end)

  it("also finds the form it has in a URL", function()
    local text = redact.secret("postgres://me:s%40cret%2F@h/db", "s@cret/")
    assert.equal("postgres://me:********@h/db", text)
  end)

  it("takes very short secrets as words only", function()
    assert.equal("a cat and ********", redact.secret("a cat and ab", "ab"))
    assert.equal("cabin", redact.secret("cabin", "ab"))
  end)

  it("leaves the text alone without a secret", function()
    assert.equal("text", redact.secret("text", nil))
    assert.equal("text", redact.secret("text", ""))
  end)
end)

describe("redact.sql", function()
  local function hides(sql)
    local shown = redact.sql(sql)
    assert.not_matches("hunter2", shown)
    return shown
  end

  it("hides the literal after PASSWORD in any case", function()
    assert.equal("alter role app password '*******' valid until 'x'",
      hides "alter role app password 'hunter2' valid until 'x'")
    hides "CREATE USER x WITH PASSWORD E'hunter2'"
    hides "create user mapping for u server s options (user 'u', Password 'hunter2')"
  end)

  it("hides passwords of connection strings inside literals", function()
    hides "select dblink_connect('host=db password=hunter2 user=x')"
    hides "create subscription s connection 'postgres://u:hunter2@db/x' publication p"
  end)

  it("keeps the length in characters, so that positions stay true", function()
    local function length(text) return select(2, text:gsub("[^\128-\191]", "")) end
    local sql = "alter role é password 'gehéim' frm"
    assert.equal(length(sql), length(redact.sql(sql)))
    assert.matches("%*%*%*%*%*%*' frm$", redact.sql(sql))
  end)

  it("leaves other statements as they are", function()
    for _, sql in ipairs {
      "select password from users where name = 'x'",
      "select 'https://example.org/a:b'",
      "select 1",
    } do assert.equal(sql, redact.sql(sql)) end
  end)
end)
