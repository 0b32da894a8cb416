-- luphant.testing.certificates - TLS certificates for tests, good ones and every kind of bad one.
--
-- Made with the openssl command line in a directory of the caller's choice, in well under a second (P-256
-- keys). They protect nothing: the private keys lie there unencrypted, and the bad ones are bad on purpose.
-- `openssl ca` is used instead of `openssl x509` because it alone takes start and end dates
-- and makes a revocation list.
--
-- SPDX-License-Identifier: MIT
local shell = require "luphant.testing.shell"

local certificates = {}

---@class luphant.testing.Certificate
---@field cert string path of the certificate, PEM
---@field key string path of its private key, PEM, mode 0600

---@class luphant.testing.Certificates
---@field dir string
---@field ca string path of the authority that signed all but self_signed and other_ca
---@field other_ca string path of the authority that signed other_ca_server
---@field crl string path of the revocation list of `ca`; holds `revoked` only
---@field server luphant.testing.Certificate right in every way, for localhost and 127.0.0.1
---@field wrong_host luphant.testing.Certificate for elsewhere.invalid
---@field expired luphant.testing.Certificate ended long ago
---@field not_yet luphant.testing.Certificate begins in the far future
---@field self_signed luphant.testing.Certificate signed by itself
---@field other_ca_server luphant.testing.Certificate right, but signed by other_ca
---@field revoked luphant.testing.Certificate listed in `crl`
---@field client luphant.testing.Certificate for a client whose user name is "postgres"

-- Paths are relative: the script that uses this runs in the directory. @ is the authority's name.
local CONFIG = [[
[ca]
default_ca = here
[here]
database = @.index
serial = @.serial
new_certs_dir = .
certificate = @.crt
private_key = @.key
default_md = sha256
default_days = 3650
default_crl_days = 3650
unique_subject = no
policy = any
copy_extensions = copy
[any]
commonName = supplied
[req]
distinguished_name = empty
prompt = no
[empty]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
]]

local NAMES = { "server", "wrong_host", "expired", "not_yet", "self_signed", "other_ca_server", "revoked", "client" }

local NEW_KEY = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"

local function authority_script(name, title)
  local text = ([[
: >@.index
echo 1000 >@.serial
openssl req -new -x509 %s -keyout @.key -out @.crt -days 3650 -config @.cnf -extensions authority -subj %s
]]):format(NEW_KEY, shell.quote("/CN=" .. title))
  return (text:gsub("@", name))
end

-- `names`: what follows subjectAltName; `dates`: further arguments of `openssl ca`.
local function leaf_script(name, authority, common_name, names, dates)
  return ([[
openssl req -new %s -keyout %s.key -out %s.csr -config %s.cnf -subj %s %s
openssl ca -batch -notext -config %s.cnf -in %s.csr -out %s.crt %s
]]):format(
    NEW_KEY, name, name, authority, shell.quote("/CN=" .. common_name),
    names and "-addext " .. shell.quote("subjectAltName = " .. names) or "",
    authority, name, name, dates or ""
  )
end

local HERE = "DNS:localhost, IP:127.0.0.1, IP:::1"

local function script()
  return table.concat {
    "set -e; umask 077\n",
    authority_script("ca", "luphant test authority"),
    authority_script("other_ca", "luphant other test authority"),
    leaf_script("server", "ca", "localhost", HERE),
    leaf_script("wrong_host", "ca", "elsewhere.invalid", "DNS:elsewhere.invalid"),
    leaf_script("expired", "ca", "localhost", HERE, "-startdate 20000101000000Z -enddate 20000102000000Z"),
    leaf_script("not_yet", "ca", "localhost", HERE, "-startdate 20980101000000Z -enddate 20990101000000Z"),
    leaf_script("other_ca_server", "other_ca", "localhost", HERE),
    leaf_script("revoked", "ca", "localhost", HERE),
    leaf_script("client", "ca", "postgres"),
    "openssl req -new -x509 ", NEW_KEY, " -keyout self_signed.key -out self_signed.crt -days 3650 -config ca.cnf",
    " -subj /CN=localhost -addext ", shell.quote("subjectAltName = " .. HERE), "\n",
    "openssl ca -config ca.cnf -revoke revoked.crt\n",
    "openssl ca -config ca.cnf -gencrl -out ca.crl\n",
    "chmod 644 *.crt *.crl\n",
  }
end

--- Raises unless there is a certificate of this name.
---@param name string
---@param level integer as for `error`, counted from the caller
function certificates.check_name(name, level)
  for _, known in ipairs(NAMES) do
    if name == known then
      return
    end
  end
  error(("no test certificate %q; there are: %s"):format(tostring(name), table.concat(NAMES, ", ")), level + 1)
end

--- Makes the whole set.
---@param dir string an existing directory; its other files stay
---@return luphant.testing.Certificates?
---@return string? message
function certificates.make(dir)
  if not shell.run("command -v openssl") then
    return nil, "the openssl command makes the test certificates and is not installed "
      .. "(Debian, Ubuntu: apt-get install openssl)"
  end
  for _, authority in ipairs { "ca", "other_ca" } do
    shell.write_file(("%s/%s.cnf"):format(dir, authority), (CONFIG:gsub("@", authority)))
  end
  local made, message = shell.try("making test certificates", "cd " .. shell.quote(dir) .. " || exit; " .. script())
  if not made then
    return nil, message
  end
  local set = { dir = dir, ca = dir .. "/ca.crt", other_ca = dir .. "/other_ca.crt", crl = dir .. "/ca.crl" }
  for _, name in ipairs(NAMES) do
    set[name] = { cert = ("%s/%s.crt"):format(dir, name), key = ("%s/%s.key"):format(dir, name) }
  end
  return set
end

return certificates
