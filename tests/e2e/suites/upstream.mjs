// Situations that Electric's own integration tests bring about and no other suite here does, under the names that they have
// there. README.md says which tests stand for the others.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Busbar } from '../lib/busbar.mjs'
import { readAll, shape } from '../lib/http.mjs'
import { Postgres } from '../lib/pg.mjs'
import { test } from '../lib/runner.mjs'
import { world } from '../lib/setup.mjs'
import { assert, equal, until } from '../lib/util.mjs'

const TABLE = 'CREATE TABLE t (id int PRIMARY KEY, v text)'
const row = (id) => `INSERT INTO t VALUES (${id}, 'v${id}')`

const says = (busbar, text) => until(() => `it says "${text}": ${busbar.tail()}`, () => busbar.said(text), 30000, 20)
const health = async (busbar) => (await busbar.health()).json().status

async function startAndEnd(busbar) {
  const { code, said } = await busbar.startAndEnd()
  equal(code, 1, 'exit status')
  return said
}

// Another instance on the same database and stream id, with storage of its own.
function another(t, w) {
  const busbar = new Busbar({ databaseUrl: w.busbar.databaseUrl, env: w.busbar.env })
  t.cleanup(() => busbar.stop())
  return busbar
}

test("insufficient-connection-resources: new shapes wait for a session, the stream doesn't", { timeout: 90000 }, async (t) => {
  const pg = await Postgres.create({ settings: { max_connections: 10, superuser_reserved_connections: 0 } })
  const w = await world(t, { pg, sql: [TABLE, row(1)], start: false })
  const sessions = [await w.session()]
  await until('all sessions are ours', async () => {
    try {
      sessions.push(await w.session())
      return false
    } catch {
      const { rows } = await sessions[0].query("SELECT count(*)::int AS n FROM pg_stat_activity WHERE application_name = 'e2e' AND backend_type = 'client backend'")
      return rows[0].n === 10 && sessions.length === 10
    }
  }, 20000, 10)
  // Its stream and its lock need none: those are walsenders'.
  await w.busbar.start()
  const none = await shape(w.busbar.url, { table: 't', offset: '-1' }, { timeout: 30000 })
  equal([none.status, none.headers['electric-reason']], [503, 'postgres-away'], none.text())
  await says(w.busbar, 'too many clients already')
  assert(none.headers['retry-after'] > 0, 'no retry-after')
  await Promise.all(sessions.map((s) => s.end()))
  await until('there is one', async () => (await shape(w.busbar.url, { table: 't', offset: '-1' })).status === 200, 30000)
  equal((await readAll(w.busbar.url, { table: 't' })).changes.length, 1, 'rows')
  equal(w.busbar.starts, 1, 'starts')
})

test('invalid-wal-level: the start ends, and says what to set', async (t) => {
  const pg = await Postgres.create({ settings: { wal_level: 'replica' } })
  const w = await world(t, { pg, sql: TABLE, start: false })
  const text = await startAndEnd(w.busbar)
  assert(/wal_level/.test(text) && /logical/.test(text), text)
})

test('invalidated-replication-slot: while it runs; all shapes start over, and it streams again', { timeout: 120000 }, async (t) => {
  const settings = { max_slot_wal_keep_size: '16MB', wal_keep_size: 0, max_wal_size: '64MB', min_wal_size: '32MB', wal_sender_timeout: '2s' }
  const pg = await Postgres.create({ version: '18', settings })
  const w = await world(t, { pg, sql: [TABLE, row(1), 'CREATE TABLE filler (v text)'] })
  const f = w.follow({ table: 't' })
  await w.agree([f])
  process.kill(w.busbar.pid, 'SIGSTOP')
  await until(
    'the slot is lost',
    async () => {
      await w.sql('INSERT INTO filler SELECT repeat(md5(g::text), 30) FROM generate_series(1, 8000) g; TRUNCATE filler')
      await w.sql('CHECKPOINT')
      return (await w.sql('SELECT wal_status FROM pg_replication_slots WHERE slot_name = $1', [w.slot])).rows[0]?.wal_status === 'lost'
    },
    60000,
  )
  await w.sql(row(2))
  process.kill(w.busbar.pid, 'SIGCONT')
  await until('its reader is told to refetch', () => f.refetches.length > 0, 60000)
  await w.agree([f], 60000)
  equal(await health(w.busbar), 'active', 'health')
  await w.sql(row(3))
  await w.agree([f])
})

test('ipv6-to-ipv4-fallback: a host that only IPv4 reaches, and IPv6 wanted', async (t) => {
  const w = await world(t, { sql: [TABLE, row(1)], env: { ELECTRIC_DATABASE_USE_IPV6: 'true' }, start: false })
  w.busbar.databaseUrl = w.busbar.databaseUrl.replace('@127.0.0.1:', '@localhost:')
  await w.busbar.start()
  equal((await readAll(w.busbar.url, { table: 't' })).changes.length, 1, 'rows')
})

test('replication-slot-self-conflict: killed while the slot is made, started again', { timeout: 90000 }, async (t) => {
  const w = await world(t, { sql: [TABLE, row(1)], start: false })
  const open = await w.session()
  await open.query(`BEGIN; ${row(2)}`)
  const making = () => w.sql(`SELECT pid FROM pg_stat_activity WHERE query LIKE 'CREATE_REPLICATION_SLOT%${w.slot}%' AND state = 'active'`)
  await w.busbar.start({ active: false })
  const orphan = await until('the slot is being made', async () => (await making()).rows[0]?.pid)
  await w.busbar.kill9()
  await w.busbar.start({ active: false })
  await until('it listens', async () => (await w.busbar.health()).status === 202)
  const waits = await until('it tells what it waits for', async () => {
    const r = await w.busbar.ready()
    return r.reason && r
  })
  t.note(waits.reason)
  assert(w.busbar.running(), 'it ended')
  await open.query('ROLLBACK')
  await w.busbar.active(40000)
  equal((await readAll(w.busbar.url, { table: 't' })).changes.length, 1, 'rows')
  equal((await making()).rows.filter((r) => r.pid === orphan).length, 0, 'the backend of the process that was killed')
})

test('secure-db-connection: a server that takes TLS only', { timeout: 60000 }, async (t) => {
  const pg = await Postgres.create()
  writeFileSync(join(pg.data, 'pg_hba.conf'), 'local all all trust\nhost all postgres 127.0.0.1/32 trust\nhostssl all all 127.0.0.1/32 trust\nhostssl replication all 127.0.0.1/32 trust\n')
  pg.reload()
  const w = await world(t, { pg, sql: [TABLE, 'CREATE ROLE tls LOGIN SUPERUSER REPLICATION'], start: false })
  w.busbar.databaseUrl = pg.url(w.db, 'tls')
  const plain = await startAndEnd(w.busbar)
  assert(plain.includes('Take sslmode=disable out of DATABASE_URL'), plain)
  w.busbar.env.ELECTRIC_DATABASE_CA_CERTIFICATE_FILE = '/dev/null'
  const both = await startAndEnd(w.busbar)
  assert(both.includes("When ELECTRIC_DATABASE_CA_CERTIFICATE_FILE is set, sslmode must be omitted"), both)
})

test('self-heal-stuck-slot-creation: a commit on an idle server is enough', { timeout: 60000 }, async (t) => {
  const pg = await Postgres.create({ version: '18' })
  const w = await world(t, { pg, sql: [TABLE], start: false })
  const open = await w.session()
  await open.query(`BEGIN; ${row(1)}`)
  await w.busbar.start({ active: false })
  await until('the slot is being made', async () => (await w.sql('SELECT 1 FROM pg_replication_slots WHERE slot_name = $1', [w.slot])).rows.length > 0)
  equal(await health(w.busbar), 'starting', 'health')
  await says(w.busbar, 'Forced a standby snapshot to unblock replication slot creation')
  await open.query('COMMIT')
  await w.busbar.active(30000)
  equal((await readAll(w.busbar.url, { table: 't' })).changes.length, 1, 'rows')
})

test('startup-delayed-by-pending-transaction: and a second instance, which takes over at once', { timeout: 90000 }, async (t) => {
  const w = await world(t, { sql: [TABLE, row(1), 'CREATE TABLE other (id int)'], start: false })
  const second = another(t, w)
  const open = await w.session()
  await open.query(`BEGIN; ${row(2)}`)
  await w.busbar.start({ active: false })
  await says(w.busbar, 'transaction')
  equal(await health(w.busbar), 'starting', 'health of the first')
  await second.start({ active: false })
  await until('the second waits for the lock', async () => (await second.health()).status === 202 && (await health(second)) === 'waiting')
  await open.query('COMMIT')
  await w.busbar.active(40000)
  equal(await health(second), 'waiting', 'health of the second')
  // The slot is there now: whoever else is open doesn't matter.
  await open.query('BEGIN; INSERT INTO other VALUES (1)')
  await w.busbar.kill9()
  await second.active(10000)
  const answer = await shape(second.url, { table: 't', offset: '-1' })
  equal(answer.status, 200, `a shape of the second (${answer.text()})`)
  equal((await readAll(second.url, { table: 't' })).changes.length, 2, 'rows')
})
