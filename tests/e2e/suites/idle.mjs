// ELECTRIC_REPLICATION_IDLE_TIMEOUT: all connections to Postgres are closed when nothing happens, and the next request opens them.
// The shortest time that can be set is 30 s, so all daemons fall asleep side by side.

import { execFileSync } from 'node:child_process'
import { BINARY, Busbar } from '../lib/busbar.mjs'
import { get, readAll, shape } from '../lib/http.mjs'
import { prometheus, scrape } from '../lib/metrics.mjs'
import { Postgres } from '../lib/pg.mjs'
import { test } from '../lib/runner.mjs'
import { world } from '../lib/setup.mjs'
import { assert, delay, equal, freePort, until, within } from '../lib/util.mjs'

const TABLE = 'CREATE TABLE t (id int PRIMARY KEY, v text)'
const OTHER = 'CREATE TABLE other (id int PRIMARY KEY, v text)'
const fill = (from, to) => `INSERT INTO t SELECT g, 'x' || g FROM generate_series(${from}, ${to}) g`

const TIMEOUT_S = 30
const ASLEEP_MS = 75000 // it is when nothing else is to do, and this machine may be busy
const LONGER = { timeout: 240000 }
const env = { ELECTRIC_REPLICATION_IDLE_TIMEOUT: `${TIMEOUT_S}s`, ELECTRIC_LONG_POLL_TIMEOUT: '2000' }

const connected = async (w) =>
  (await w.sql(`SELECT count(*)::int AS n FROM pg_stat_activity WHERE datname = $1 AND application_name LIKE 'busbar%'`, [w.db])).rows[0].n
const slotActive = async (w) => (await w.sql('SELECT active FROM pg_replication_slots WHERE slot_name = $1', [w.slot])).rows[0].active
const isAsleep = async (busbar) => (await busbar.ready()).postgres === 'asleep'

const asleep = (w) => until('all connections are closed', async () => (await connected(w)) === 0 && !(await slotActive(w)), ASLEEP_MS, 100)

const ids = (answer) => answer.changes().map((m) => Number(m.value.id))

// ---------------------------------------------------------------- each asleep in its own way

async function life(t) {
  const p = await prometheus()
  const admin = String(await freePort())
  const w = await world(t, { sql: [TABLE, OTHER, fill(1, 3)], env: { ...env, ...p.env, BUSBAR_ADMIN_PORT: admin, ELECTRIC_LONG_POLL_TIMEOUT: '45000' } })
  const operators = async () => ({
    status: (await get(`http://127.0.0.1:${admin}/admin/status`)).json(),
    metric: (await scrape(p.url)).value('busbar_asleep'),
    top: execFileSync(BINARY, ['top', '--once', admin], { encoding: 'utf8' }),
  })
  const awake = await operators()
  equal([awake.status.postgres_asleep, awake.metric], [false, 0], 'as operators see it')
  assert(/live +yes: active/.test(awake.top), awake.top)
  const at = await readAll(w.busbar.url, { table: 't' })
  const here = { table: 't', handle: at.handle, offset: at.offset }
  let ended = false
  const parked = shape(w.busbar.url, { ...here, live: true }, { timeout: 90000 }).then((a) => ((ended = true), a))
  await asleep(w)
  assert(w.busbar.said(`Closing all database connections after the replication stream has been idle for ${TIMEOUT_S} seconds`), 'it says so')
  equal((await w.busbar.health()).json(), { status: 'active' }, 'health')
  equal(await w.busbar.ready(), { code: 200, status: 'ready', postgres: 'asleep' }, 'ready')
  assert(!ended, 'who waits for a change does not keep it awake')
  const sleeps = await operators()
  equal([sleeps.status.postgres_asleep, sleeps.metric], [true, 1], 'as operators see it, asleep')
  assert(/live +asleep: the next request wakes it/.test(sleeps.top) && /lag +asleep/.test(sleeps.top) && !/nobody could look yet/.test(sleeps.top), sleeps.top)
  await w.sql(fill(4, 5))
  const none = await within('the long-poll ends', 60000, parked)
  equal([none.status, none.upToDate, none.offset, ids(none)], [200, true, at.offset, []], 'what it was told')
  equal([await connected(w), await isAsleep(w.busbar)], [0, true], 'that did not wake it')
  // The request itself has what was committed before.
  const asked = performance.now()
  const next = await shape(w.busbar.url, { ...here, live: true })
  t.note(`the request that woke it took ${Math.round(performance.now() - asked)} ms`)
  equal([next.status, next.handle, ids(next)], [200, at.handle, [4, 5]], 'the next request')
  equal((await readAll(w.busbar.url, { table: 't' })).handle, at.handle, 'handle')
  assert(w.busbar.said('Opening the database connections again'), 'it says so')
  equal(await w.busbar.ready(), { code: 200, status: 'ready' }, 'ready, awake')
  const f = w.follow({ table: 't' })
  await w.sql('DELETE FROM t WHERE id = 4')
  await w.agree([f])
}

async function newShape(t) {
  const w = await world(t, { sql: [TABLE, OTHER, fill(1, 3)], env })
  const at = await readAll(w.busbar.url, { table: 't' })
  const part = await shape(w.busbar.url, { table: 't', offset: '-1', subset__where: 'id = 1' }) // over a session of its own
  equal(part.status, 200, 'a subset')
  await asleep(w)
  await w.sql("INSERT INTO other VALUES (7, 'x')")
  const made = await shape(w.busbar.url, { table: 'other', offset: '-1' })
  equal([made.status, ids(made)], [200, [7]], 'a new shape')
  // Known rows, by one request that doesn't wait for more.
  await asleep(w)
  await w.sql(fill(4, 6))
  const known = await shape(w.busbar.url, { table: 't', handle: at.handle, offset: at.offset })
  equal([known.status, ids(known)], [200, [4, 5, 6]], 'a known shape')
}

async function killed(t) {
  const w = await world(t, { sql: [TABLE, fill(1, 3)], env })
  const at = await readAll(w.busbar.url, { table: 't' })
  await asleep(w)
  await w.sql(fill(4, 5))
  await w.busbar.kill9()
  await w.busbar.start()
  const next = await shape(w.busbar.url, { table: 't', handle: at.handle, offset: at.offset, live: true })
  equal([next.status, next.handle, ids(next)], [200, at.handle, [4, 5]], 'after kill -9')
}

async function restarted(t) {
  const pg = await Postgres.create()
  const w = await world(t, { pg, sql: [TABLE, fill(1, 3)], env })
  const at = await readAll(w.busbar.url, { table: 't' })
  const here = { table: 't', handle: at.handle, offset: at.offset }
  await asleep(w)
  await w.sql(fill(4, 5))
  await pg.stop('immediate')
  await pg.start()
  const next = await shape(w.busbar.url, { ...here, live: true })
  equal([next.status, next.handle, ids(next)], [200, at.handle, [4, 5]], 'after a restart of Postgres')
  // Gone when it is woken: as in any outage.
  await asleep(w)
  await pg.stop('fast')
  const stale = await shape(w.busbar.url, { table: 't', handle: at.handle, offset: next.offset })
  equal([stale.status, stale.upToDate, ids(stale)], [200, true, []], 'while Postgres is away')
  equal((await w.busbar.ready()).postgres, 'away', 'ready')
  await pg.start()
  await w.busbar.active(30000)
  await w.sql(fill(6, 6))
  const last = await shape(w.busbar.url, { table: 't', handle: at.handle, offset: next.offset, live: true })
  equal([last.status, ids(last)], [200, [6]], 'when it is back')
}

async function taken(t) {
  const w = await world(t, { sql: [TABLE, fill(1, 3)], env })
  const f = w.follow({ table: 't' })
  await f.ready()
  await f.stop()
  const at = await readAll(w.busbar.url, { table: 't' })
  const second = new Busbar({ databaseUrl: w.busbar.databaseUrl, env: { ...w.busbar.env, ELECTRIC_REPLICATION_IDLE_TIMEOUT: undefined } })
  t.cleanup(() => second.stop())
  await until('the first one is asleep', () => isAsleep(w.busbar), ASLEEP_MS, 100)
  await second.start()
  await readAll(second.url, { table: 't' })
  await w.sql(fill(4, 5))
  equal([(await w.busbar.health()).json(), (await w.busbar.ready()).code], [{ status: 'active' }, 200], 'it does not know yet')
  const refused = await shape(w.busbar.url, { table: 't', handle: at.handle, offset: at.offset })
  equal([refused.status, refused.headers['electric-reason']], [503, 'lock-held'], `the first one, woken (${refused.text()})`)
  equal((await w.busbar.ready()).code, 503, 'ready')
  await readAll(second.url, { table: 't' })
  await second.term()
  await w.busbar.active(20000)
  const after = w.follow({ table: 't' })
  await w.sql('DELETE FROM t WHERE id = 1')
  await w.agree([after])
}

// Requests and changes keep it awake.
async function busy(t) {
  const w = await world(t, { sql: [TABLE, fill(1, 3)], env })
  const f = w.follow({ table: 't' })
  await f.ready()
  const c = await world(t, { sql: [TABLE, fill(1, 3)], env })
  await readAll(c.busbar.url, { table: 't' })
  for (let i = 0; i < 10; i++) {
    await delay((TIMEOUT_S * 1000 + 15000) / 10) // the time itself is what is tested
    await c.sql(fill(10 + i, 10 + i))
  }
  for (const b of [w.busbar, c.busbar]) assert(!b.said('Closing all database connections'), b.tail())
}

// The WAL that is kept meanwhile is looked at, and read before a limit of ours is near.
async function guarded(t) {
  const w = await world(t, { sql: [TABLE, OTHER, fill(1, 3)], env: { ...env, BUSBAR_WAL_LIMIT_AGE: '1min' } })
  const at = await readAll(w.busbar.url, { table: 't' })
  await asleep(w)
  await w.sql("INSERT INTO other SELECT g, repeat('x', 1000) FROM generate_series(1, 1000) g")
  await w.sql(fill(4, 5))
  const { rows } = await w.sql('SELECT pg_current_wal_lsn() AS at')
  await until(
    'the slot has passed what was written',
    async () => (await w.sql('SELECT confirmed_flush_lsn >= $2::pg_lsn AS yes FROM pg_replication_slots WHERE slot_name = $1', [w.slot, rows[0].at])).rows[0].yes,
    90000,
    200,
  )
  assert(w.busbar.said('Postgres keeps WAL that is to be read'), w.busbar.tail())
  const next = await readAll(w.busbar.url, { table: 't' }, { from: at })
  equal(next.changes.map((m) => Number(m.value.id)), [4, 5], 'rows')
}

const SLEEPERS = { life, newShape, killed, restarted, taken, busy, guarded }
const own = (name, promise) =>
  promise.catch((e) => {
    throw new Error(`${name}: ${e.message}`)
  })

test(`asleep and woken: ${Object.keys(SLEEPERS).join(', ')}`, LONGER, async (t) => {
  const results = await Promise.allSettled(Object.entries(SLEEPERS).map(([name, run]) => own(name, run(t))))
  const wrong = results.filter((r) => r.status === 'rejected').map((r) => r.reason.message)
  if (wrong.length) throw new Error(wrong.join('\n'))
})
