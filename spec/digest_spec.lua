-- core.sha256 against the vectors of FIPS 180-4 and against the server.

local core = require "luphant.core"
local env = require "spec.support.env"
local luphant = require "luphant"

describe("core.sha256", function()
  it("answers the digests of the standard", function()
    assert.equal("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", core.sha256 "")
    assert.equal("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", core.sha256 "abc")
    assert.equal("248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
      core.sha256 "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")
    assert.equal("cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0", core.sha256(("a"):rep(1000000)))
  end)

  it("says what the server says, of all bytes and lengths", function()
    local conn = assert(luphant.connect(env.url()))
    local bytes = {}
    for i = 1, 256 do bytes[i] = string.char((i * 7) % 256) end
    local text = table.concat(bytes)
    for length = 0, 256, 16 do
      local part = text:sub(1, length)
      assert.equal(assert(conn:query_value("select encode(sha256($1::bytea), 'hex')", part)), core.sha256(part))
    end
    conn:close()
  end)

  it("wants a string", function()
    assert.has_error(function() core.sha256() end)
    assert.has_error(function() core.sha256 {} end)
  end)
end)
