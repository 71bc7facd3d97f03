// The WAL that Postgres keeps for our slot: what holds it, what doesn't, and what is done about it (docs/invariants.md 4).

import { spawn } from 'node:child_process'
import net from 'node:net'
import { smallDisk, storeOn } from '../lib/disk.mjs'
import { connections, get, readAll, shape, shapeUrl } from '../lib/http.mjs'
import { Postgres } from '../lib/pg.mjs'
import { test } from '../lib/runner.mjs'
import { world } from '../lib/setup.mjs'
import { assert, delay, equal, pause, until } from '../lib/util.mjs'

const TABLE = 'CREATE TABLE t (id int PRIMARY KEY, v text)'
const OTHER = 'CREATE TABLE other (id int PRIMARY KEY)'
const FILLER = 'CREATE TABLE filler (v text)'
const fill = (from, to, size = 20) => `INSERT INTO t SELECT g, repeat('x', ${size}) || g FROM generate_series(${from}, ${to}) g`

const MB = 1000000
const SEGMENT = 16 << 20
const LIMIT = 100 * MB
const LOOK_MS = 1000 // between two looks of the guard, near the limit

// A server of which as little WAL as can be stays after a checkpoint.
const server = (settings = {}) =>
  Postgres.create({ settings: { max_wal_size: '64MB', min_wal_size: '32MB', checkpoint_timeout: '1h', ...settings } })

// So much WAL, of a table that nobody reads.
async function write(w, megabytes = 4) {
  await w.sql(`INSERT INTO filler SELECT repeat(md5(g::text), 30) FROM generate_series(1, ${megabytes * 1000}) g; TRUNCATE filler`)
}

// Of our slot, in bytes: behind our position, and before it. Undefined while there is none.
async function kept(w) {
  const { rows } = await w.sql(
    `SELECT (pg_current_wal_lsn() - confirmed_flush_lsn)::float8 AS ours, (confirmed_flush_lsn - restart_lsn)::float8 AS others,
     confirmed_flush_lsn - '0/0' AS at, pg_current_wal_lsn() - '0/0' AS end FROM pg_replication_slots WHERE slot_name = $1`,
    [w.slot],
  )
  return rows.length ? { ...rows[0], at: BigInt(rows[0].at ?? 0), end: BigInt(rows[0].end) } : undefined
}

const walBytes = async (w) => Number((await w.sql('SELECT sum(size)::float8 AS n FROM pg_ls_waldir()')).rows[0].n)
const ready = async (w) => (await get(`${w.busbar.url}/v1/ready`, { timeout: 2000 })).json()
const said = (w, text) => w.busbar.outputSinceStart().includes(text)

// The slot passes what is in the WAL now.
async function passes(w, what, ms = 20000) {
  const { end } = await kept(w)
  await until(`the slot has passed what was written (${what})`, async () => ((await kept(w))?.at ?? 0n) >= end, ms, 50)
}

// A daemon whose store can be filled; undefined where that can't be had.
async function onSmallDisk(t, options) {
  const disk = smallDisk(t)
  if (!disk) return undefined
  const w = await world(t, { sql: [TABLE, OTHER, FILLER, fill(1, 3)], start: false, ...options })
  storeOn(disk, w.busbar)
  await w.busbar.start()
  return {
    ...w,
    fillDisk: async () => {
      for (let i = 0; i < 40 && !/\[error\].*store/i.test(w.busbar.output); i++)
        await w.sql(fill(1000 * (i + 1), 1000 * (i + 1) + 200, 1000))
      await until('it complains about the store', () => /\[error\].*store/i.test(w.busbar.output), 20000)
    },
    makeRoom: disk.makeRoom,
  }
}

const limited = { BUSBAR_WAL_LIMIT: String(LIMIT) }

// ---------------------------------------------------------------- what holds nothing

// Stalled in its middle, each of them; the slot goes on.
function stalledReader(w, path) {
  const s = net.connect(w.busbar.port, '127.0.0.1')
  s.on('error', () => {})
  s.pause()
  s.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`)
  return s
}
const path = (w, params) => {
  const url = new URL(shapeUrl(w.busbar.url, params))
  return url.pathname + url.search
}

test('a stalled client, reader of the log, event stream and subset: none of them holds the slot', { timeout: 120000 }, async (t) => {
  const w = await world(t, { sql: [TABLE, FILLER, fill(1, 20000, 1000)] })
  const at = await readAll(w.busbar.url, { table: 't' })
  await w.sql(fill(100000, 120000, 1000)) // a log of 20 MB behind that
  await until('the log is there', async () => (await readAll(w.busbar.url, { table: 't' }, { from: at })).changes.length === 20001, 20000, 100)
  const here = { table: 't', handle: at.handle, offset: at.offset }
  const stalls = {
    'a first response': { table: 't', offset: '-1' },
    'the log': here,
    'an event stream': { ...here, live: true, live_sse: true },
    'a subset': { table: 't', offset: '-1', subset__where: '' },
  }
  const sockets = Object.values(stalls).map((params) => stalledReader(w, path(w, params)))
  t.cleanup(() => sockets.forEach((s) => s.destroy()))
  await until('all are stuck', () => connections(w.busbar.port, { unread: true }) >= sockets.length, 15000)
  for (let i = 0; i < 3; i++) {
    await w.sql(fill(200000 + i * 10, 200003 + i * 10))
    await write(w)
    await passes(w, Object.keys(stalls).join(', '))
  }
  equal(connections(w.busbar.port, { unread: true }) >= sockets.length, true, 'all are still stuck')
})

test('a stalled snapshot does not hold the slot', { timeout: 120000 }, async (t) => {
  const w = await world(t, { sql: [TABLE, FILLER, 'CREATE TABLE big (id int PRIMARY KEY, v text)', fill(1, 3)] })
  await w.sql("INSERT INTO big SELECT g, repeat('x', 300) FROM generate_series(1, 400000) g")
  await readAll(w.busbar.url, { table: 't' })
  const first = shape(w.busbar.url, { table: 'big', offset: '-1' }, { timeout: 60000 }).catch(() => {})
  const pid = await until(
    'its rows are copied',
    async () => (await w.sql("SELECT pid FROM pg_stat_activity WHERE query LIKE 'COPY%' AND state = 'active' AND application_name = 'busbar'")).rows[0]?.pid,
    20000,
    1,
  )
  const go = await pause(pid)
  t.cleanup(go)
  for (let i = 0; i < 2; i++) {
    await w.sql(fill(100 + i * 10, 103 + i * 10))
    await w.sql(`INSERT INTO big VALUES (${1000000 + i}, 'x')`)
    await write(w)
    await passes(w, 'a stalled snapshot')
  }
  go()
  await first
})

// ---------------------------------------------------------------- the limit

test('the limit: each step is told, and at its end the slot is given up and made anew', { timeout: 300000 }, async (t) => {
  const here = await onSmallDisk(t, { pg: await server(), env: limited })
  if (!here) return
  const session = await here.session()
  const w = { ...here, sql: (text, values) => session.query(text, values) }
  const followers = ['poll', 'sse'].map((mode) => w.follow({ table: 't' }, mode))
  await Promise.all(followers.map((f) => f.ready()))
  equal((await ready(w)).wal, undefined, 'before')
  await w.fillDisk()
  const steps = {}
  let peak = 0
  let between = 0 // most that was written between two looks
  const written = []
  const gone = () => said(w, 'Giving up the replication slot')
  const writeMore = async () => {
    await write(w, 2)
    await w.sql('CHECKPOINT')
    peak = Math.max(peak, await walBytes(w))
    const now = await kept(w)
    if (!now) return 0
    written.push({ ms: Date.now(), end: now.end })
    const then = written.findLast((e) => e.ms <= Date.now() - LOOK_MS) ?? written[0]
    between = Math.max(between, Number(now.end - then.end))
    return Number(now.ours)
  }
  // A step is taken at a look: no more is written until it has been.
  for (const [step, from] of [['warn', 0.5], ['refuse', 0.7], ['drop', 0.85]]) {
    while ((await writeMore()) < from * LIMIT);
    await until(`the step ${step}`, async () => (await ready(w)).wal?.step === step, 15000, 20)
    steps[step] = (await ready(w)).wal
    if (step === 'refuse') steps.refusal = await shape(w.busbar.url, { table: 'other', offset: '-1' })
  }
  while (!gone()) await writeMore()
  for (const s of ['warn', 'refuse', 'drop'])
    assert(/the store can't be written/.test(steps[s].reason), `${s}: ${steps[s].reason}`)
  for (const s of ['warn', 'refuse', 'drop']) assert(said(w, `WAL guard (${s}): `), `the log doesn't say ${s}`)
  equal(steps.refusal.status, 503, 'a new shape')
  assert(/New shapes are refused for now: .*BUSBAR_WAL_LIMIT/.test(steps.refusal.text()), steps.refusal.text())
  equal(steps.refusal.headers['retry-after'], '10', 'retry-after')
  equal(steps.refusal.headers['electric-reason'], 'limit-wal', 'electric-reason')
  await until('another slot is there', async () => (await kept(w))?.ours < LIMIT / 4, 20000, 50)
  assert(said(w, 'WAL guard (given_up): '), "the log doesn't say given_up")
  await w.sql('CHECKPOINT')
  const after = await walBytes(w)
  t.note(`pg_wal after checkpoints: at most ${(peak / MB).toFixed(0)} MB with a limit of ${LIMIT / MB} MB, ${(between / MB).toFixed(1)} MB written between two looks; ${(after / MB).toFixed(0)} MB afterwards`)
  assert(peak <= LIMIT + 2 * SEGMENT + between, `${peak} bytes of WAL`)
  assert(after < LIMIT, `${after} bytes of WAL stay`)
  w.makeRoom()
  for (const f of followers) await until(`${f.name} is told to refetch`, () => f.refetches.length > 0, 60000)
  await w.agree(followers, 60000)
  await until('nothing is said any more', async () => (await ready(w)).wal === undefined, 15000, 50)
  equal((await shape(w.busbar.url, { table: 'other', offset: '-1' })).status, 200, 'a new shape')
})

test('the limit of age: each step at its share of a minute, at little WAL', { timeout: 180000 }, async (t) => {
  const w = await onSmallDisk(t, { pg: await server(), env: { BUSBAR_WAL_LIMIT_AGE: '1min' } })
  if (!w) return
  const f = w.follow({ table: 't' })
  await f.ready()
  const started = Date.now()
  await w.fillDisk()
  const at = {}
  for (const step of ['warn', 'refuse', 'drop']) {
    await until(`the step ${step}`, () => said(w, `WAL guard (${step}): `), 70000, 50)
    at[step] = Math.round((Date.now() - started) / 1000)
  }
  assert((await kept(w)).ours < LIMIT / 10, 'much WAL was written: it is not the age')
  await until('the slot is given up', () => said(w, 'WAL guard (given_up): '), 70000, 50)
  t.note(`warned after ${at.warn} s, refused after ${at.refuse} s, dropped after ${at.drop} s, given up after ${Math.round((Date.now() - started) / 1000)} s`)
  assert(/BUSBAR_WAL_LIMIT_AGE/.test(w.busbar.outputSinceStart()), "the log doesn't name the setting")
  w.makeRoom()
  await until('its reader is told to refetch', () => f.refetches.length > 0, 60000)
  await w.agree([f], 60000)
})

// Kills it in the middle of giving the slot up; what is left is seen for what it is at the next start.
for (const where of ['before the new slot is made', 'before the end of the shapes is durable']) {
  test(`kill -9 while the slot is given up, ${where}`, { timeout: 180000 }, async (t) => {
    const w = await onSmallDisk(t, { pg: await server(), env: limited })
    if (!w) return
    const before = await readAll(w.busbar.url, { table: 't' })
    await w.fillDisk()
    while ((await kept(w)).ours < 0.8 * LIMIT) await write(w, 2)
    // A transaction that isn't old yet doesn't keep the slot from being dropped, but the new one from being made.
    const held = await w.session()
    if (where === 'before the new slot is made') {
      await until('it is near the limit', async () => (await ready(w)).wal?.step === 'refuse', 15000, 20)
      await held.query('BEGIN; INSERT INTO other VALUES (1)')
    }
    while ((await kept(w)).ours < LIMIT && !said(w, 'Giving up')) await write(w, 4)
    if (where === 'before the new slot is made') await until('the old slot is dropped', () => said(w, 'Dropped the replication slot'), 15000, 1)
    else await until('the new slot is there', () => /Giving up the replication slot[^]*Created the replication slot/.test(w.busbar.output), 15000, 1)
    await w.busbar.kill9()
    await held.query('ROLLBACK')
    w.makeRoom()
    await w.sql("UPDATE t SET v = 'changed in the gap' WHERE id = 1")
    await w.busbar.start()
    const old = await shape(w.busbar.url, { table: 't', handle: before.handle, offset: before.offset })
    equal(old.status, 409, 'the old handle')
    await w.agree([w.follow({ table: 't' })])
  })
}

test('a slot that could not be made again at once is kept, and it is said for whom', { timeout: 180000 }, async (t) => {
  const w = await onSmallDisk(t, { pg: await server(), env: limited })
  if (!w) return
  await readAll(w.busbar.url, { table: 't' })
  await w.fillDisk()
  const held = await w.session()
  const { rows } = await held.query('BEGIN; INSERT INTO other VALUES (1); SELECT pg_backend_pid() AS pid').then((r) => r.at(-1))
  const [{ pid }] = rows
  await until('it has run for a while', async () => {
    const { rows } = await w.sql("SELECT clock_timestamp() - xact_start > interval '11 s' AS old FROM pg_stat_activity WHERE pid = $1", [pid])
    return rows[0].old
  })
  while ((await kept(w)).ours < 1.05 * LIMIT) await write(w, 4)
  await until('it is said', async () => (await ready(w)).wal?.reason.includes(`process ${pid}`), 15000, 50)
  const { wal } = await ready(w)
  equal(wal.step, 'drop', 'the step')
  assert(/it isn't given up/.test(wal.reason), wal.reason)
  assert(/would be given up, but another could not be made before process \d+ \(user "postgres"/.test(w.busbar.output), w.busbar.tail())
  assert(!said(w, 'Giving up'), 'it was given up')
  await held.query('ROLLBACK')
  await until('it is given up', () => said(w, 'Created the replication slot') && said(w, 'Giving up'), 20000)
  await until('another slot is there', async () => (await kept(w))?.ours < LIMIT / 4, 20000, 50)
})

test('without a replication connection the slot is given up from beside it', { timeout: 180000 }, async (t) => {
  const pg = await server({ max_wal_senders: 1 })
  const w = await world(t, { pg, sql: [TABLE, FILLER, fill(1, 3)], env: limited })
  const f = w.follow({ table: 't' })
  await f.ready()
  // The only walsender there is becomes somebody else's.
  const args = [`${pg.url(w.db)}&replication=1`, '-c', 'IDENTIFY_SYSTEM', '-c', '\\prompt x']
  const taken = () => w.sql("SELECT 1 FROM pg_stat_activity WHERE backend_type = 'walsender' AND application_name = 'psql'").then((r) => r.rows.length > 0)
  let psql
  t.cleanup(() => psql?.kill('SIGKILL'))
  await until('the walsender is taken', async () => {
    await w.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'walsender' AND application_name LIKE 'busbar%'")
    for (let i = 0; i < 5 && !(await taken()); i++) {
      psql?.kill('SIGKILL')
      psql = spawn('psql', args, { stdio: ['pipe', 'ignore', 'ignore'] })
      await delay(100)
    }
    return taken()
  }, 30000, 50)
  const at = (await kept(w)).at
  while ((await kept(w))?.ours < LIMIT) await write(w, 4)
  await until('it is dropped', async () => (await kept(w)) === undefined, 20000, 50)
  assert(said(w, 'while there is no replication connection'), w.busbar.tail())
  // Known shapes are served meanwhile, as in any outage.
  equal((await shape(w.busbar.url, { table: 't', handle: f.handle, offset: f.offset })).status, 200, 'a known shape')
  await w.sql("UPDATE t SET v = 'changed in the gap' WHERE id = 1")
  psql.stdin.end()
  psql.kill('SIGKILL')
  await until('there is another', async () => ((await kept(w))?.at ?? 0n) > at, 30000, 50)
  await until('its reader is told to refetch', () => f.refetches.length > 0, 30000)
  await w.agree([f])
})

test('where no session is to be had, the shapes that need one go, and the stream goes on', { timeout: 180000 }, async (t) => {
  const pg = await server({ max_connections: 15, superuser_reserved_connections: 0 })
  const w = await world(t, { pg, sql: [TABLE, FILLER, fill(1, 3)], env: { ...limited, ELECTRIC_DB_POOL_SIZE: '5' } })
  await readAll(w.busbar.url, { table: 't' })
  const sql = await w.session()
  const sessions = []
  const busbars = async (type) =>
    (await sql.query("SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'busbar%' AND backend_type = $1", [type])).rows.length
  const fillUp = async () => {
    for (;;) {
      try {
        sessions.push(await w.session())
      } catch {
        return
      }
    }
  }
  await until('all sessions are ours', async () => {
    await sql.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'busbar' AND backend_type = 'client backend'")
    await fillUp()
    return (await busbars('client backend')) === 0
  }, 30000, 20)
  await sql.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'walsender'")
  const behind = async () =>
    (await sql.query('SELECT (pg_current_wal_lsn() - confirmed_flush_lsn)::float8 AS ours FROM pg_replication_slots WHERE slot_name = $1', [w.slot])).rows[0].ours
  const filler = 'INSERT INTO filler SELECT repeat(md5(g::text), 30) FROM generate_series(1, 2000) g'
  while ((await behind()) < 0.9 * LIMIT) {
    await sql.query(filler)
    await sql.query('TRUNCATE filler')
  }
  await until(() => `the shapes go: ${w.busbar.tail()}`, () => said(w, "All shapes are dropped, since the stream can't go on"), 60000, 100)
  await until('the slot moves', async () => (await behind()) < LIMIT / 4, 40000, 100)
  assert(!said(w, 'Giving up'), 'the slot was given up')
  await Promise.all(sessions.map((s) => s.end()))
  await until('shapes are made again', async () => (await shape(w.busbar.url, { table: 't', offset: '-1' })).status === 200, 30000, 200)
})

// ---------------------------------------------------------------- what others hold

test("another session's transaction is named, and nothing is done about it", { timeout: 180000 }, async (t) => {
  const w = await world(t, { pg: await server(), sql: [TABLE, OTHER, FILLER, fill(1, 3)], env: limited })
  const f = w.follow({ table: 't' })
  await f.ready()
  const held = await w.session()
  await held.query("SET application_name = 'a forgotten one'")
  const { rows } = await held.query('BEGIN; INSERT INTO other VALUES (1); SELECT pg_backend_pid() AS pid').then((r) => r.at(-1))
  const [{ pid }] = rows
  for (let i = 0; i < 60; i++) {
    await write(w, 4)
    await w.sql('CHECKPOINT')
    if ((await kept(w)).others > 1.5 * LIMIT) break
  }
  assert((await kept(w)).others > 1.5 * LIMIT, 'the transaction holds nothing')
  const r = await until('it is said', async () => {
    const now = await ready(w)
    return now.wal && now
  }, 30000, 50)
  equal(r.status, 'ready', 'ready')
  equal(r.wal.step, 'held_by_others', 'wal')
  assert(r.wal.reason.includes(`another session's transaction (process ${pid},`), r.wal.reason)
  assert(w.busbar.output.includes(`process ${pid} (user "postgres", database "${w.db}", application "a forgotten one")`), w.busbar.tail())
  assert(!/WAL guard|Giving up/.test(w.busbar.output), `a step was taken: ${w.busbar.tail()}`)
  equal((await shape(w.busbar.url, { table: 'filler', offset: '-1' })).status, 200, 'a new shape')
  await held.query('COMMIT')
  await until('it is over', async () => {
    await w.sql('CHECKPOINT')
    await w.sql('INSERT INTO filler VALUES (NULL)')
    return (await ready(w)).wal === undefined
  }, 40000, 200)
  await w.agree([f])
  w.undisturbed([f])
})

// ---------------------------------------------------------------- loud lines

test('no limit at all is said at start, and so is a setting that makes commits wait for us', { timeout: 120000 }, async (t) => {
  const pg = await server()
  const w = await world(t, { pg, sql: [TABLE] })
  const nothing = 'Nothing limits the WAL that Postgres keeps for replication slots'
  await until('it is said', () => said(w, nothing), 15000)
  assert(!said(w, 'synchronous_standby_names'), w.busbar.tail())
  await w.busbar.term()
  pg.configure({ max_slot_wal_keep_size: '200MB', synchronous_standby_names: 'FIRST 1 (*)' })
  pg.reload()
  w.busbar.env = { ...w.busbar.env, BUSBAR_WAL_LIMIT: '300MB' }
  await w.busbar.start()
  await until('the star is said', () => said(w, "synchronous_standby_names = 'FIRST 1 (*)' counts each walsender"), 15000)
  assert(said(w, 'BUSBAR_WAL_LIMIT (300 MB) should be below'), w.busbar.tail())
  assert(!said(w, nothing), w.busbar.tail())
})
