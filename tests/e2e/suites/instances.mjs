// Who may serve: one of several instances, one that has just started, one whose Postgres is away; and what a
// proxy in front hears of it (/v1/ready).

import net from 'node:net'
import { Busbar } from '../lib/busbar.mjs'
import { connections, get, readAll, shape, shapeUrl } from '../lib/http.mjs'
import { Postgres } from '../lib/pg.mjs'
import { Proxy } from '../lib/proxy.mjs'
import { test } from '../lib/runner.mjs'
import { world } from '../lib/setup.mjs'
import { assert, equal, until, within } from '../lib/util.mjs'

const TABLE = 'CREATE TABLE t (id int PRIMARY KEY, v text)'
const fill = (from, to) => `INSERT INTO t SELECT g, 'x' || g FROM generate_series(${from}, ${to}) g`

// As long as somebody else has the lock: whatever is asked, 503 that isn't cached, with a time to come again.
function refused(a, cache = 'no-store') {
  equal(a.status, 503, `status (${a.text().slice(0, 200)})`)
  assert(Number(a.headers['retry-after']) >= 1, `retry-after ${a.headers['retry-after']}`)
  equal(a.headers['cache-control'], cache, 'cache-control')
  assert(/instance/.test(a.json().message), `message ${a.text()}`)
}

test('a second instance with old rows of its own serves none of them', async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 3)], start: false })
  const second = new Busbar({ databaseUrl: w.busbar.databaseUrl, env: w.busbar.env })
  t.cleanup(() => second.stop())
  await second.start()
  const old = await readAll(second.url, { table: 't' })
  await second.term()
  await w.busbar.start()
  await readAll(w.busbar.url, { table: 't' })
  await w.sql('DELETE FROM t WHERE id = 2')
  equal((await w.busbar.ready()).code, 200, 'the first one is ready')
  await second.start({ active: false })
  // From its first breath on.
  const answers = []
  let first
  await until('it has been asked for a second', async () => {
    const a = await shape(second.url, { table: 't', offset: '-1' })
    first ??= performance.now()
    answers.push(a)
    answers.push(await shape(second.url, { table: 't', handle: old.handle, offset: old.offset, live: true }))
    return performance.now() - first > 1000
  })
  for (const a of answers) refused(a)
  refused(await shape(second.url, { table: 't', offset: '-1', columns: 'id' }))
  refused(await shape(second.url, { table: 't', offset: '-1' }, { method: 'DELETE' }), 'no-cache')
  const told = await second.ready()
  equal([told.code, told.status], [503, 'waiting'], `ready: ${JSON.stringify(told)}`)
  equal((await second.health()).json(), { status: 'waiting' }, 'health')
  // It takes over, and what it had is known to be out of date.
  await w.busbar.term()
  await second.active(20000)
  equal((await second.ready()).code, 200, 'ready after it took over')
  const f = w.follow({ table: 't' }, 'poll', { url: second.url })
  await w.sql(fill(10, 12))
  await w.agree([f])
})

test('the lock goes to somebody else: parked requests end, and are served again when it is ours', async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 3)] })
  const at = await readAll(w.busbar.url, { table: 't' })
  const live = { table: 't', handle: at.handle, offset: at.offset, live: true }
  const parked = Array.from({ length: 50 }, () => shape(w.busbar.url, live))
  const ahead = shape(w.busbar.url, { ...live, offset: `${BigInt(at.lsn) + 1000000000n}_0` })
  const stream = get(shapeUrl(w.busbar.url, { ...live, live_sse: true }))
  await until('the requests have arrived', () => connections(w.busbar.port) >= 52)
  const session = await w.session()
  const got = session.query('SELECT pg_advisory_lock(hashtext($1))', [w.slot])
  await w.sql('SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1', [w.slot])
  await got
  for (const a of await within('parked requests end', 5000, Promise.all(parked))) refused(a)
  refused(await within('one ahead of the stream ends', 2000, ahead))
  equal((await within('the stream ends', 2000, stream)).status, 200, 'status of the stream')
  refused(await shape(w.busbar.url, live))
  refused(await shape(w.busbar.url, { table: 't', offset: '-1' }))
  equal((await w.busbar.ready()).code, 503, 'ready')
  await session.query('SELECT pg_advisory_unlock_all()')
  await w.busbar.active()
  const f = w.follow({ table: 't' })
  await w.sql(fill(10, 12))
  await w.agree([f])
  equal(f.handle, at.handle, 'the handle: nothing was missed')
})

test('a network goes away: the former session is ended, not waited for', async (t) => {
  const pg = await Postgres.create()
  const w = await world(t, { pg, sql: [TABLE, fill(1, 3)], start: false })
  const proxy = await Proxy.create(`http://127.0.0.1:${pg.port}`)
  t.cleanup(() => proxy.close())
  w.busbar.databaseUrl = w.busbar.databaseUrl.replace(`:${pg.port}/`, `:${new URL(proxy.url).port}/`)
  await w.busbar.start()
  const f = w.follow({ table: 't' })
  await f.ready()
  await w.sql('INSERT INTO t VALUES (-1, NULL)')
  await w.agree()
  const started = performance.now()
  proxy.abandonAll()
  await until('it has noticed', async () => (await w.busbar.ready()).postgres === 'away')
  await w.busbar.active(30000)
  t.note(`active again after ${((performance.now() - started) / 1000).toFixed(1)} s`)
  await w.sql(fill(10, 12))
  await w.agree()
  w.undisturbed()
})

test('a frozen walsender is noticed, and its lock is no reason to stop serving', { timeout: 150000 }, async (t) => {
  const pg = await Postgres.create()
  const w = await world(t, { pg, sql: [TABLE, fill(1, 3)], env: { ELECTRIC_LONG_POLL_TIMEOUT: '1000' } })
  const at = await readAll(w.busbar.url, { table: 't' })
  const { rows } = await w.sql('SELECT active_pid AS pid FROM pg_replication_slots WHERE slot_name = $1', [w.slot])
  process.kill(rows[0].pid, 'SIGSTOP')
  let frozen = true
  t.cleanup(() => frozen && process.kill(rows[0].pid, 'SIGCONT'))
  const started = performance.now()
  await until('it waits for the lock', () => /former session/.test(w.busbar.outputSinceStart()), 60000)
  const noticed = (performance.now() - started) / 1000
  t.note(`noticed after ${noticed.toFixed(1)} s`)
  assert(noticed < 50, `it took ${noticed} s`)
  assert(/has been silent/.test(w.busbar.outputSinceStart()), w.busbar.tail())
  const tail = await shape(w.busbar.url, { table: 't', handle: at.handle, offset: at.offset })
  equal([tail.status, tail.upToDate], [200, true], 'the tail')
  const parked = await shape(w.busbar.url, { table: 't', handle: at.handle, offset: at.offset, live: true })
  equal([parked.status, parked.upToDate], [200, true], 'a long-poll')
  const told = await w.busbar.ready()
  equal([told.code, told.status, told.postgres], [200, 'ready', 'away'], 'ready')
  process.kill(rows[0].pid, 'SIGCONT')
  frozen = false
  await w.busbar.active()
  const f = w.follow({ table: 't' })
  await w.sql(fill(10, 12))
  await w.agree([f])
  equal(f.handle, at.handle, 'handle')
})

const ASKED_MS = 950 // BACKOFF_ASKED_MS is a second, and lines of the log are timed one after the other

test('in an outage, requests shorten the wait for the next attempt, ten of them as one does', { timeout: 120000 }, async (t) => {
  const pg = await Postgres.create()
  const w = await world(t, { pg, sql: [TABLE, fill(1, 3)] })
  const at = await readAll(w.busbar.url, { table: 't' })
  await pg.stop('immediate')
  await until('it waits long', () => /Reconnecting in 8000ms/.test(w.busbar.outputSinceStart()), 40000)
  const ask = () => shape(w.busbar.url, { table: 't', handle: at.handle, offset: at.offset })
  for (const known of await Promise.all(Array.from({ length: 10 }, ask))) equal(known.status, 200, 'status for a known shape')
  const answered = Date.now()
  await until('the next attempt', () => /Reconnecting in 10000ms/.test(w.busbar.outputSinceStart()), 6000)
  // When they were, not when we looked: lines of the log begin with the time.
  const when = (what) => {
    const line = w.busbar.outputSinceStart().split('\n').find((l) => l.includes(what))
    return Date.parse(line.split(' ')[0])
  }
  const ms = when('Reconnecting in 10000ms') - when('Reconnecting in 8000ms')
  t.note(`the next attempt after ${ms} ms`)
  assert(ms >= ASKED_MS, `the attempts are too close: ${ms} ms`)
  // Nothing is left of the ten: the next attempt comes when it would have come without them.
  await pg.start()
  await w.busbar.active(30000)
  const rest = when('Reconnection succeeded') - when('Reconnecting in 10000ms')
  t.note(`and another after ${rest} ms`)
  if (answered < when('Reconnecting in 10000ms')) assert(rest >= 9500, `ten requests made two attempts, ${rest} ms apart`)
})

test('/v1/ready: starting, made to wait for open transactions, ready, Postgres away', async (t) => {
  const pg = await Postgres.create()
  const w = await world(t, { pg, sql: [TABLE, fill(1, 3)], start: false })
  const session = await w.session()
  await session.query('BEGIN; INSERT INTO t VALUES (100, NULL)')
  await w.busbar.start({ active: false })
  const told = await until('it tells what it waits for', async () => {
    const r = await w.busbar.ready()
    return /transactions/.test(r.reason) ? r : undefined
  })
  equal([told.code, told.status], [503, 'starting'], 'while the slot is made')
  await session.query('ROLLBACK')
  await w.busbar.active(40000)
  equal(await w.busbar.ready(), { code: 200, status: 'ready' }, 'active')
  await pg.stop('immediate')
  const none = await until('it has noticed', async () => {
    const r = await w.busbar.ready()
    return r.code === 503 ? r : undefined
  })
  equal([none.status, /no shape/.test(none.reason)], ['starting', true], `away, without shapes: ${none.reason}`)
  await pg.start()
  await w.busbar.active(30000)
  await readAll(w.busbar.url, { table: 't' })
  await pg.stop('immediate')
  const away = await until('it has noticed', async () => {
    const r = await w.busbar.ready()
    return r.postgres ? r : undefined
  })
  equal([away.code, away.status, away.postgres], [200, 'ready', 'away'], 'away, with shapes')
})

test('started where nothing answers: known shapes are held a moment, then served', async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 3)] })
  const at = await readAll(w.busbar.url, { table: 't' })
  await w.busbar.term()
  const sockets = new Set()
  const silent = net.createServer((s) => sockets.add(s.on('error', () => {})))
  await new Promise((done) => silent.listen(0, '127.0.0.1', done))
  t.cleanup(() => {
    for (const s of sockets) s.destroy()
    silent.close()
  })
  const url = w.busbar.databaseUrl
  w.busbar.databaseUrl = url.replace(/:\d+\//, `:${silent.address().port}/`)
  await w.busbar.start({ active: false })
  await until('it listens', async () => (await w.busbar.health()).status === 202)
  const told = await w.busbar.ready()
  equal([told.code, told.status], [503, 'starting'], 'ready at first')
  const started = performance.now()
  const a = await shape(w.busbar.url, { table: 't', handle: at.handle, offset: at.offset })
  equal([a.status, a.upToDate], [200, true], `the answer (${a.text().slice(0, 200)})`)
  const ms = performance.now() - started
  assert(ms > 1000 && ms < 8000, `it came after ${Math.round(ms)} ms`)
  equal((await w.busbar.ready()).postgres, 'away', 'ready then')
})
