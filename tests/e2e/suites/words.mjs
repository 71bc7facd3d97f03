// What Busbar says: refusals and their order, texts that tell what to do, settings, the log.

import { spawn } from 'node:child_process'
import { BINARY } from '../lib/busbar.mjs'
import { get } from '../lib/http.mjs'
import { test } from '../lib/runner.mjs'
import { world } from '../lib/setup.mjs'
import { equal, freePort, temporary, until, within } from '../lib/util.mjs'

const TABLE = 'CREATE TABLE t (id int PRIMARY KEY, v text)'

test('refusals come in the order of Electric: names with the casts, subsets last', async (t) => {
  const w = await world(t, { sql: [TABLE] })
  const ask = async (query, options) => {
    const r = await get(`${w.busbar.url}/v1/shape?${query}`, options)
    const { errors } = r.json()
    return [r.status, Object.fromEntries(Object.entries(errors ?? {}).sort())]
  }
  const star = ['Invalid unquoted identifier contains special characters: *']
  equal(await ask('table=t&offset=abc&columns=*'), [400, { columns: star }], 'a bad offset and a bad name')
  equal(await ask('table=t&columns=*'), [400, { columns: star, offset: ["can't be blank"] }], 'no offset and a bad name')
  equal(
    await ask('table=t&offset=-1&replica=FULL&columns=*&queryable_columns=*'),
    [400, { columns: star, queryable_columns: star, replica: ['is invalid'] }],
    'replica and names',
  )
  equal(
    await ask('offset=-1&table=nope&columns[]='),
    [400, { columns: ['Invalid zero-length identifier'] }],
    'an empty name and no such table',
  )
  const nope = 'Table "public"."nope" does not exist. If the table name contains capitals or special characters you must quote it.'
  equal(await ask('table=nope&offset=-1&subset=x'), [400, { table: [nope] }], 'a subset that is none, and no such table')
  equal(await ask('table=t&offset=-1&subset=x'), [400, { subset: ['is invalid'] }], 'a subset that is none')
  const body = { method: 'POST', body: JSON.stringify({ columns: ['id', 1] }) }
  equal(
    await ask('table=nope&offset=-1', body),
    [
      400,
      {
        columns: [
          "expected :columns option to match at least one given type, but didn't match any. Here are the reasons why it didn't" +
            ' match each of the allowed types:\n\n  * invalid value for :columns option: expected nil, got: ["id", 1]\n  * invalid' +
            ' list in :columns option: invalid value for list element at position 1: expected string, got: 1',
        ],
      },
    ],
    'a number among the names',
  )
  equal(
    await ask('live=banana', { method: 'DELETE' }),
    [400, { handle: ["can't be blank when shape definition is missing"], live: ['is invalid'] }],
    'DELETE with a bad cast and no table',
  )
})

test('a system table is refused with a 400', async (t) => {
  const w = await world(t, { sql: [TABLE] })
  for (const table of ['pg_catalog.pg_class', 'information_schema.sql_features']) {
    const [schema, name] = table.split('.')
    const r = await get(`${w.busbar.url}/v1/shape?table=${table}&offset=-1`)
    equal(
      [r.status, r.json().errors?.table],
      [400, [`Table "${schema}"."${name}" is a system table: Postgres does not replicate its changes`]],
      table,
    )
  }
})

test('a log that nobody reads stops neither requests nor the end', { timeout: 60000 }, async (t) => {
  const w = await world(t, { sql: [TABLE], start: false })
  const port = await freePort()
  const env = { PATH: process.env.PATH, DATABASE_URL: w.busbar.databaseUrl, ELECTRIC_INSECURE: 'true', ELECTRIC_PORT: String(port) }
  Object.assign(env, { ELECTRIC_STORAGE_DIR: temporary('store'), ELECTRIC_LOG_LEVEL: 'debug' })
  // A pipe of which nobody takes anything: no listener on it, so nothing reads.
  const child = spawn(BINARY, [], { env, stdio: ['ignore', 'pipe', 'ignore'] })
  t.cleanup(() => child.kill('SIGKILL'))
  const ended = new Promise((done) => child.on('exit', done))
  const url = `http://127.0.0.1:${port}`
  await until('it is active', async () => (await get(`${url}/v1/health`, { timeout: 2000 })).json().status === 'active', 20000)
  // Each request is a line of nearly 4 KB; a pipe holds 64 KB, the ring 256 KB.
  const path = `${url}/v1/shape?table=nope&offset=-1&where=${'x'.repeat(3500)}`
  for (let i = 0; i < 200; i++) equal((await get(path, { timeout: 5000 })).status, 400, `request ${i}`)
  child.kill('SIGTERM')
  equal(await within('it ends after SIGTERM', 10000, ended), 0, 'exit status')
})
