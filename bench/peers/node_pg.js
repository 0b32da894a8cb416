// node-postgres (the JavaScript client); int8 and numeric stay strings, as it gives them.
// SPDX-License-Identifier: MIT
'use strict'

function leave (why) {
  console.error(why)
  process.exit(3)
}

let pg
try {
  pg = require('pg')
} catch (e) {
  leave('node-postgres (pg) is not installed for Node; NODE_PATH may say where it is')
}

const [question, operations, url, sql] = process.argv.slice(2)
if (question === '--probe') {
  const version = require('pg/package.json').version
  console.log(`node-postgres ${version}, Node ${process.versions.node}`)
  process.exit(0)
}

const key = (i, keys) => i * 7919 % keys + 1

// A Unix socket's directory stands in the query part of our URLs, which pg does not read from there.
function connection () {
  const parsed = new URL(url.replace('@/', '@placeholder/'))
  const host = parsed.searchParams.get('host') || parsed.hostname
  return new pg.Client({
    host, port: Number(parsed.searchParams.get('port') || parsed.port || 5432),
    user: decodeURIComponent(parsed.username), password: decodeURIComponent(parsed.password) || undefined,
    database: decodeURIComponent(parsed.pathname.slice(1))
  })
}

function checkItems (rows) {
  let id = 0, big = 0, lengths = 0, active = 0, ratio = 0, price = 0
  for (const r of rows) {
    const [rid, rbig, title, code, isActive, rratio, , rprice] = Array.isArray(r) ? r : Object.values(r)
    id += rid
    big += Number(rbig)
    lengths += title.length + code.length
    active += isActive === true
    ratio += rratio
    price += Number(rprice)
  }
  return `${id}/${big}/${lengths}/${active}/${ratio.toFixed(3)}/${price.toFixed(2)}`
}

function byKey (client, keys, name) {
  const ask = async (id) => (await client.query({ name, text: sql, values: [id] })).rows[0]
  const run = async (n) => {
    let units = 0
    for (let i = 1; i <= n; i++) if (await ask(key(i, keys))) units++
    return units
  }
  return { ask, run }
}

async function sumOver (ask, value) {
  let sum = 0
  for (let id = 1; id <= 100; id++) sum += value(await ask(id))
  return sum
}

function work (client) {
  switch (question) {
    case 'one_row_prepared':
    case 'in_coroutine':
    case 'small_row':
    case 'same_text': {
      const { ask, run } = byKey(client, 10000, question === 'same_text' ? undefined : 's')
      return { run, check: () => sumOver(ask, (r) => r.balance ?? r.id + r.name.length + r.email.length) }
    }
    case 'int4_array': {
      const { ask, run } = byKey(client, 1000, 's')
      return { run, check: () => sumOver(ask, (r) => r.samples.reduce((a, b) => a + b, 0)) }
    }
    case 'rows_named':
    case 'rows_array': {
      const query = { name: 's', text: sql, rowMode: question === 'rows_array' ? 'array' : undefined }
      const rows = async () => (await client.query(query)).rows
      const run = async (n) => {
        let units = 0
        for (let i = 0; i < n; i++) units += (await rows()).length
        return units
      }
      return { run, check: async () => checkItems(await rows()) }
    }
    case 'inserts':
      return {
        run: async (n) => {
          await client.query('begin')
          for (let i = 1; i <= n; i++) {
            await client.query({ name: 's', text: sql, values: [i, `event number ${i % 1000}`, i + 0.25] })
          }
          await client.query('commit')
          return n
        }
      }
    case 'inserts_bulk':
      return {
        run: async (n) => {
          await client.query('begin')
          for (let first = 1; first <= n; first += 1000) {
            const columns = [[], [], []]
            for (let i = first; i < first + 1000 && i <= n; i++) {
              columns[0].push(i)
              columns[1].push(`event number ${i % 1000}`)
              columns[2].push(i + 0.25)
            }
            await client.query({ name: 's', text: sql, values: columns })
          }
          await client.query('commit')
          return n
        }
      }
    default: return leave('does not do this')
  }
}

async function main () {
  const client = connection()
  await client.connect()
  const n = Number(operations)
  const { run, check } = work(client)
  if (!question.startsWith('inserts')) await run(Math.floor(n / 10) + 1)
  const wall = process.hrtime.bigint()
  const cpu = process.cpuUsage()
  const units = await run(n)
  const spent = process.cpuUsage(cpu)
  const seconds = Number(process.hrtime.bigint() - wall) / 1e9
  const value = check ? await check() : '-'
  console.log(`${((spent.user + spent.system) / 1e6).toFixed(9)} ${seconds.toFixed(9)} ${units} ${value}`)
  await client.end()
}

main().catch((e) => {
  console.error(String(e))
  process.exit(1)
})
