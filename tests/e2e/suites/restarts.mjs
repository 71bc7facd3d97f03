// What survives: clean stops, kills, crashes and moves of Postgres, full disks; and how Postgres is
// protected meanwhile. (docs/invariants.md 2 and 4)

import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { join } from 'node:path'
import { BINARY, Busbar, checkForSecrets } from '../lib/busbar.mjs'
import { cannot } from '../lib/cannot.mjs'
import { smallDisk, storeOn } from '../lib/disk.mjs'
import { compareOffsets, parseOffset } from '../lib/follower.mjs'
import { connections, get, lastSeen, raw, readAll, shape, shapeUrl } from '../lib/http.mjs'
import { Postgres } from '../lib/pg.mjs'
import { test } from '../lib/runner.mjs'
import { world } from '../lib/setup.mjs'
import { LONG, assert, equal, pause, temporary, until, within } from '../lib/util.mjs'

const TABLE = 'CREATE TABLE t (id int PRIMARY KEY, v text)'
const fill = (from, to, size = 20) => `INSERT INTO t SELECT g, repeat('x', ${size}) || g FROM generate_series(${from}, ${to}) g`
const GIVEN_UP_MS = 40000 // WRITER_ROOM_MAX_MS is 15 s
const HOLDING = `SELECT query FROM pg_stat_activity WHERE application_name LIKE 'busbar%' AND datname = current_database()
  AND backend_type = 'client backend' AND backend_xmin IS NOT NULL`
const SEGMENTS_BEYOND_MARK = 20 // of 16 MiB; MARK_STEP_BYTES is 256 MiB
const CHUNK = { ELECTRIC_SHAPE_CHUNK_BYTES_THRESHOLD: '10000' }

const flushed = async (w) => {
  const { rows } = await w.sql(
    "SELECT coalesce(confirmed_flush_lsn, '0/0') - '0/0' AS at FROM pg_replication_slots WHERE slot_name = $1",
    [w.slot],
  )
  return rows.length ? BigInt(rows[0].at) : undefined
}
const walEnd = async (w) => BigInt((await w.sql("SELECT pg_current_wal_insert_lsn() - '0/0' AS at")).rows[0].at)

// Reads a shape and waits until the stream has passed its snapshot: before that, a restart of Postgres
// may cost it its handle (docs/invariants.md 6.5).
async function settled(w) {
  const first = await readAll(w.busbar.url, { table: 't' })
  await w.sql('INSERT INTO t VALUES (-1, NULL)')
  return until('the stream has passed the snapshot', async () => {
    const at = await readAll(w.busbar.url, { table: 't' }, { from: first })
    return at.changes.length ? at : undefined
  })
}

for (const how of ['SIGTERM', 'kill -9']) {
  test(`${how}: the same handle, offsets, and bytes of completed chunks afterwards`, async (t) => {
    const w = await world(t, { sql: [TABLE, fill(1, 60, 400)], env: CHUNK })
    const first = await readAll(w.busbar.url, { table: 't' })
    for (let i = 0; i < 60; i++) await w.sql(fill(100 + i, 100 + i, 400))
    // Several transactions at once and one of many rows.
    await w.sql(fill(1000, 1100, 400))
    let before
    await until('all rows are out', async () => {
      before = await readAll(w.busbar.url, { table: 't' })
      return before.changes.length === 221
    })
    equal(before.handle, first.handle, 'handle')
    assert(before.answers.length > 8, `only ${before.answers.length} chunks`)
    if (how === 'SIGTERM') await w.busbar.term()
    else await w.busbar.kill9()
    await w.busbar.start()
    for (const { url, answer } of before.answers) {
      const again = await get(url)
      equal(again.status, 200, `status of ${url}`)
      equal(again.handle, answer.handle, `handle of ${url}`)
      equal(again.offset, answer.offset, `offset of ${url}`)
      equal(again.headers.etag, answer.headers.etag, `etag of ${url}`)
      // The last answer isn't a completed chunk: it carries up-to-date.
      if (!answer.upToDate) assert(again.body.equals(answer.body), `other bytes from ${url}`)
      else equal(again.changes(), answer.changes(), `changes of ${url}`)
    }
    await w.sql(fill(5000, 5000))
    const more = await shape(w.busbar.url, { table: 't', handle: before.handle, offset: before.offset, live: true })
    equal(more.status, 200, 'status')
    equal(
      more.changes().map((c) => c.value.id),
      ['5000'],
      'what is new',
    )
  })
}

test('kill -9 right after a new shape: the shape is there again', async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 5)] })
  for (let i = 0; i < 5; i++) {
    // A column list of its own makes a shape of its own.
    const params = i % 2 ? { table: 't', columns: 'id,v' } : { table: 't', replica: i % 4 ? 'full' : undefined }
    const answer = await shape(w.busbar.url, { ...params, offset: '-1' })
    equal(answer.status, 200, 'status')
    await w.busbar.kill9()
    await w.busbar.start()
    const again = await shape(w.busbar.url, { ...params, handle: answer.handle, offset: '0_0' })
    // The crash may have interrupted its snapshot: then it is told so, with another handle.
    assert(again.status === 200 || (again.status === 409 && again.handle !== answer.handle), `${again.status} ${again.text()}`)
    const f = w.follow(params)
    await f.ready()
  }
  await w.sql(fill(10, 12))
  await w.agree()
})

test('kill -9 right after delivery: a client ahead of the disk goes on at its offset', async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 3)] })
  let at = await readAll(w.busbar.url, { table: 't' })
  for (let i = 10; i < 22; i++) {
    const parked = shape(w.busbar.url, { table: 't', handle: at.handle, offset: at.offset, live: true })
    await w.sql(fill(i, i))
    const answer = await parked
    equal(
      answer.changes().map((c) => c.value.id),
      [String(i)],
      'the new row',
    )
    await w.busbar.kill9()
    const lsn = lastSeen(answer)
    await w.busbar.start({ active: false })
    // Its own offset, and the one an event stream's client makes of the last position.
    for (const offset of [answer.offset, `${lsn}_0`]) {
      let again
      await until('an answer after the restart', async () => {
        again = await shape(w.busbar.url, { table: 't', handle: at.handle, offset })
        return again.status < 500
      })
      equal([again.status, again.handle], [200, at.handle], `answer to ${offset}: ${again.text().slice(0, 200)}`)
      assert(
        compareOffsets(parseOffset(again.offset), parseOffset(offset)) >= 0,
        `electric-offset ${again.offset} is below ${offset}`,
      )
      equal(again.changes(), [], `changes after ${offset}`)
      assert(BigInt(lastSeen(again)) >= BigInt(lsn), `last seen ${lastSeen(again)} is below ${lsn}`)
    }
    at = { handle: answer.handle, offset: answer.offset }
  }
})

test('the position last seen is a safe place to go on', { timeout: 120000 }, async (t) => {
  // The end of a commit, and a keepalive's position, may be the very place of the next commit: what
  // is there must not be passed over.
  const w = await world(t, {
    sql: [TABLE, 'CREATE TABLE other (id int)', fill(1, 3)],
    env: { ELECTRIC_LONG_POLL_TIMEOUT: '150' },
  })
  const f = w.follow({ table: 't' }, 'sse')
  let at = await readAll(w.busbar.url, { table: 't' })
  const session = await w.session()
  for (let i = 0; i < 60; i++) {
    let lsn = at.lsn
    if (i % 3 === 0) lsn = lastSeen(await shape(w.busbar.url, { table: 't', handle: at.handle, offset: at.offset, live: true }))
    if (i % 3 === 1) await session.query('INSERT INTO other VALUES (1)')
    if (i % 5 === 4) lsn = lastSeen(await shape(w.busbar.url, { table: 't', handle: at.handle, offset: at.offset }))
    await session.query(fill(100 + i, 100 + i))
    const got = []
    let offset = `${lsn}_0`
    await until(
      `row ${100 + i} after ${lsn}_0`,
      async () => {
        const r = await readAll(w.busbar.url, { table: 't' }, { from: { handle: at.handle, offset } })
        got.push(...r.changes)
        offset = r.offset
        at = r
        return got.some((c) => c.value.id === String(100 + i))
      },
      5000,
    )
  }
  await w.agree([f])
  w.undisturbed()
})

test('SIGTERM with 500 parked long-polls: all answered, over within a second', async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 3)] })
  const at = await readAll(w.busbar.url, { table: 't' })
  const url = shapeUrl(w.busbar.url, { table: 't', handle: at.handle, offset: at.offset, live: true })
  const streams = shapeUrl(w.busbar.url, { table: 't', handle: at.handle, offset: at.offset, live: true, live_sse: true })
  const parked = Array.from({ length: 500 }, () => get(url).catch((e) => e.message))
  const open = Array.from({ length: 20 }, () => get(streams).catch((e) => e.message))
  await until('the requests have arrived', () => connections(w.busbar.port) >= 520)
  for (let i = 0; i < 3; i++) equal((await w.busbar.health()).status, 200, 'health')
  const ms = await w.busbar.term()
  equal(w.busbar.code, 0, 'exit code')
  const answers = await Promise.all(parked)
  const bad = answers.filter((a) => a.status !== 200 || !a.upToDate || a.json().at(-1).headers.control !== 'up-to-date')
  assert(bad.length === 0, `${bad.length} of 500 not answered as at their timeout, the first: ${bad[0]?.status ?? bad[0]}`)
  assert(
    answers.every((a) => a.offset === at.offset),
    'another offset',
  )
  await within('the streams end', 2000, Promise.all(open))
  t.note(`${Math.round(ms)} ms`)
  assert(ms < 1000, `it took ${Math.round(ms)} ms`)
})

test('SIGTERM: requests that had arrived are answered, unread and unaccepted ones too', async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 3)] })
  const at = await readAll(w.busbar.url, { table: 't' })
  const request = (params) =>
    `GET ${shapeUrl('', { table: 't', handle: at.handle, offset: at.offset, ...params })} HTTP/1.1\r\nHost: x\r\n\r\n`
  const live = request({ live: true })
  const kept = await Promise.all(Array.from({ length: 30 }, () => keptSocket(w.busbar.port, request({}))))
  const go = await pause(w.busbar.pid)
  const answers = [
    ...kept.map((socket) => raw(w.busbar.url, live, { socket })),
    ...Array.from({ length: 200 }, () => raw(w.busbar.url, live)),
  ]
  await until('all requests have arrived', () => connections(w.busbar.port, { arrived: true }) >= answers.length)
  w.busbar.child.kill('SIGTERM')
  go()
  const bad = (await Promise.all(answers)).filter(
    (a) => !a.text.startsWith('HTTP/1.1 200') || !a.text.includes('"up-to-date"') || !/connection: close/i.test(a.text),
  )
  assert(bad.length === 0, `${bad.length} of ${answers.length} not answered, the first: ${JSON.stringify(bad[0])}`)
  await within('the daemon ends', 2000, w.busbar.exited)
})

// A connection that has carried one request and is kept.
async function keptSocket(port, request) {
  const socket = net.connect(port, '127.0.0.1')
  socket.write(request)
  let text = ''
  const taken = await new Promise((resolve, reject) => {
    const on = (d) => {
      text += d.toString('latin1')
      if (text.endsWith(']')) resolve(on)
    }
    socket.on('data', on)
    socket.on('error', reject)
  })
  socket.off('data', taken)
  return socket
}

test('Postgres away: known shapes are served, parked requests time out as always, then it heals', async (t) => {
  const pg = await Postgres.create()
  const w = await world(t, { pg, sql: [TABLE, fill(1, 3)], env: { ELECTRIC_LONG_POLL_TIMEOUT: '2500' } })
  const at = await settled(w)
  const live = { table: 't', handle: at.handle, offset: at.offset, live: true }
  const parked = Array.from({ length: 10 }, () => shape(w.busbar.url, live))
  await until('the requests have arrived', () => connections(w.busbar.port) >= 10)
  await pg.stop('immediate')
  for (const a of await Promise.all(parked)) equal([a.status, a.upToDate, a.offset], [200, true, at.offset], 'a parked request')
  // Meanwhile, whatever a client of a known shape may ask.
  const snapshot = await shape(w.busbar.url, { table: 't', offset: '-1' })
  equal(
    [snapshot.status, snapshot.handle, snapshot.changes().length],
    [200, at.handle, 3],
    `the snapshot (${snapshot.text().slice(0, 200)})`,
  )
  const tail = await shape(w.busbar.url, { table: 't', handle: at.handle, offset: at.offset })
  equal([tail.status, tail.upToDate], [200, true], 'the tail')
  const again = await shape(w.busbar.url, live)
  equal([again.status, again.upToDate], [200, true], 'a new long-poll')
  const ahead = await shape(w.busbar.url, { ...live, offset: `${BigInt(at.lsn) + 1000000n}_0` })
  assert(ahead.status !== 400, `400 for an offset ahead while Postgres is away: ${ahead.text()}`)
  const unknown = await shape(w.busbar.url, { table: 'unknown', offset: '-1' })
  equal(unknown.status, 503, 'status of an unknown shape')
  assert(unknown.headers['retry-after'], 'no retry-after')
  await pg.start()
  await w.busbar.active(30000)
  await w.sql(fill(10, 10))
  const more = await until('the new row', async () => {
    const a = await shape(w.busbar.url, live)
    return a.changes().length ? a : undefined
  })
  equal(
    more.changes().map((c) => c.value.id),
    ['10'],
    'the new row',
  )
})

test('started while Postgres is away: known shapes are served, then it heals', async (t) => {
  const pg = await Postgres.create()
  const w = await world(t, { pg, sql: [TABLE, fill(1, 3)], env: { ELECTRIC_LONG_POLL_TIMEOUT: '1500' } })
  const at = await settled(w)
  await w.busbar.term()
  await pg.stop()
  await w.busbar.start({ active: false })
  await until('it listens', async () => (await w.busbar.health()).status === 202)
  const snapshot = await shape(w.busbar.url, { table: 't', offset: '-1' })
  equal(
    [snapshot.status, snapshot.handle, snapshot.changes().length],
    [200, at.handle, 3],
    `the snapshot (${snapshot.text().slice(0, 200)})`,
  )
  const parked = await shape(w.busbar.url, { table: 't', handle: at.handle, offset: at.offset, live: true })
  equal([parked.status, parked.upToDate], [200, true], 'a long-poll')
  await pg.start()
  await w.busbar.active(30000)
  const f = w.follow({ table: 't' })
  await w.sql(fill(10, 10))
  await w.agree()
  w.undisturbed()
  equal(f.handle, at.handle, 'handle')
})

test('an idle publication: the slot moves while other tables and databases are busy', { timeout: 120000 }, async (t) => {
  const w = await world(t, { sql: [TABLE, 'CREATE TABLE busy (id int, v text)', fill(1, 3)] })
  await readAll(w.busbar.url, { table: 't' })
  for (const database of [w.db, 'postgres']) {
    if (database === 'postgres') await w.pg.query(database, `CREATE TABLE busy_${w.db} (id int, v text)`)
    await w.pg.query(
      database,
      `INSERT INTO ${database === w.db ? 'busy' : `busy_${w.db}`} SELECT g, repeat(md5(g::text), 10) FROM generate_series(1, 50000) g`,
    )
    const end = await walEnd(w)
    const started = Date.now()
    await until('the slot has passed what was written', async () => (await flushed(w)) >= end, 30000, 100)
    t.note(`${database === w.db ? 'same' : 'another'} database: ${((Date.now() - started) / 1000).toFixed(1)} s`)
  }
  // Nor does what nobody reads hold it: a shape without clients.
  await w.sql(fill(100, 5000))
  const end = await walEnd(w)
  await until('the slot has passed the rows', async () => (await flushed(w)) >= end, 30000, 100)
})

test('the slot never passes what is durable', async (t) => {
  // What was acknowledged must be in the store: after a kill -9 it is there without Postgres.
  const pg = await Postgres.create()
  const w = await world(t, { pg, sql: [TABLE], env: { ELECTRIC_LONG_POLL_TIMEOUT: '500' } })
  const at = await settled(w)
  for (let round = 0; round < 4; round++) {
    const ids = Array.from({ length: 50 }, (_, i) => round * 100 + i)
    const before = await flushed(w)
    for (const id of ids) await w.sql(fill(id, id))
    // At once, or when some of it has been acknowledged.
    if (round % 2) await until('something is acknowledged', async () => (await flushed(w)) > before, 15000, 5)
    await w.busbar.kill9()
    const acknowledged = await flushed(w)
    await pg.stop()
    await w.busbar.start({ active: false })
    await until('it listens', async () => (await w.busbar.health()).status < 500)
    const have = await readAll(w.busbar.url, { table: 't' })
    equal(have.handle, at.handle, 'handle')
    await pg.start()
    const { rows } = await w.sql('SELECT id::text FROM t')
    await w.busbar.active(30000)
    await until('all rows', async () => (await readAll(w.busbar.url, { table: 't' })).changes.length === rows.length)
    const all = (await readAll(w.busbar.url, { table: 't' })).changes
    const missing = all.slice(have.changes.length).filter((c) => BigInt(c.headers.lsn) < acknowledged)
    equal(
      missing.map((c) => c.headers.lsn),
      [],
      'acknowledged, but not in the store',
    )
  }
})

test('the slot was dropped while Busbar was down: all shapes are rotated, and it says so', async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 3)] })
  const at = await readAll(w.busbar.url, { table: 't' })
  await w.busbar.term()
  await w.sql('SELECT pg_drop_replication_slot($1)', [w.slot])
  await w.sql('DELETE FROM t WHERE id = 2')
  await w.busbar.start()
  const old = await shape(w.busbar.url, { table: 't', handle: at.handle, offset: at.offset })
  equal(old.status, 409, 'status for the old handle')
  assert(/slot/i.test(w.busbar.outputSinceStart()), `nothing said about the slot: ${w.busbar.tail()}`)
  const f = w.follow({ table: 't' })
  await f.ready()
  await w.sql(fill(10, 12))
  await w.agree()
})

test('the slot was moved on by somebody else: all shapes are rotated', async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 3)] })
  const at = await readAll(w.busbar.url, { table: 't' })
  await w.busbar.term()
  await w.sql('DELETE FROM t WHERE id = 2')
  await w.sql('SELECT pg_replication_slot_advance($1, pg_current_wal_lsn())', [w.slot])
  await w.busbar.start()
  const old = await shape(w.busbar.url, { table: 't', handle: at.handle, offset: at.offset })
  equal(old.status, 409, 'status for the old handle')
  w.follow({ table: 't' })
  await w.sql(fill(10, 12))
  await w.agree()
})

// Electric's scenario recreation-of-replication-slot.
test('recreation of the replication slot: the publication is dropped while Busbar runs, and a row is written', { timeout: 90000 }, async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 3)] })
  const f = w.follow({ table: 't' })
  await f.ready()
  const at = await readAll(w.busbar.url, { table: 't' })
  const query = { table: 't', handle: at.handle, offset: at.offset }
  const waiting = get(shapeUrl(w.busbar.url, { ...query, live: true }), { timeout: 60000 })
  await w.sql(`DROP PUBLICATION ${w.publication}`)
  await w.sql(fill(10, 12))
  const told = await waiting
  const later = await shape(w.busbar.url, query)
  for (const a of [told, later]) {
    equal([a.status, a.headers['electric-reason']], [409, 'publication-changed'], 'status and reason')
    equal(a.json(), [{ headers: { control: 'must-refetch' } }], 'body')
  }
  const log = w.busbar.output
  assert(/Removing shape .*the publication was dropped while Busbar was running, so the replication slot was made anew.*\[publication-changed\]/.test(log), w.busbar.tail())
  assert(/The publication \S+ was dropped, .* the replication slot \S+ anew/.test(log), w.busbar.tail())
  assert(!/slot-lost|has a gap|Database ID or timeline changed/.test(log), w.busbar.tail())
  await w.sql(fill(20, 22))
  await w.agree()
  equal((await readAll(w.busbar.url, { table: 't' })).changes.length, 9, 'rows of the new shape')
})

test('the publication was dropped while Busbar was down: nothing is lost', async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 3)] })
  const f = w.follow({ table: 't' })
  await f.ready()
  await w.busbar.term()
  await w.sql(`DROP PUBLICATION ${w.publication}`)
  await w.sql('DELETE FROM t WHERE id = 2')
  await w.busbar.start()
  await w.sql(fill(10, 12))
  await w.agree()
  assert(/Removing shape .*the publication was dropped, so the replication slot.*\[publication-changed\]/.test(w.busbar.output), w.busbar.tail())
})

test('a slot behind the store is normal: nothing comes twice', async (t) => {
  // The slot's position is only now and then on Postgres' disk, so a crash of Postgres moves it back.
  const pg = await Postgres.create()
  const w = await world(t, { pg, sql: [TABLE, fill(1, 3)] })
  for (const mode of ['poll', 'sse']) w.follow({ table: 't' }, mode)
  await Promise.all(w.followers.map((f) => f.ready()))
  await w.sql('INSERT INTO t VALUES (-1, NULL)')
  await w.agree()
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < 30; i++) await w.sql(fill(100 * round + 10 + i, 100 * round + 10 + i))
    await w.agree()
    const before = await flushed(w)
    await w.busbar.term()
    await pg.crash()
    const after = await flushed(w)
    t.note(`acknowledged ${before}, after the crash ${after}`)
    await w.busbar.start()
  }
  await w.sql(fill(1000, 1000))
  await w.agree()
  w.undisturbed()
})

test('a server restored from the past: all shapes are rotated, and it says so', async (t) => {
  const pg = await Postgres.create()
  const w = await world(t, { pg, sql: [TABLE, fill(1, 3)] })
  const at = await settled(w)
  await w.busbar.term()
  await pg.stop()
  const copy = pg.save()
  await pg.start()
  await w.busbar.start()
  await w.sql(fill(10, 5000, 100))
  await until('the rows are out', async () => (await readAll(w.busbar.url, { table: 't' }, { from: at })).changes.length > 0)
  await w.busbar.term()
  await pg.stop()
  pg.restore(copy)
  await pg.start()
  await w.busbar.start()
  const old = await shape(w.busbar.url, { table: 't', handle: at.handle, offset: at.offset })
  equal(old.status, 409, 'status for the old handle')
  assert(/past|behind|restored|below|older/i.test(w.busbar.outputSinceStart()), `nothing said about it: ${w.busbar.tail()}`)
  w.follow({ table: 't' })
  await w.sql(fill(20, 22))
  await w.agree()
})

// The lost history had rows of ours, or only positions that we had acknowledged; the copy is of a server that was shut
// down, or of the files as they were at some moment.
for (const [what, lost, alive] of [
  ['rows of ours', fill(10, 30), false],
  ['rows of ours, Busbar running meanwhile', fill(10, 30), true],
  ['nothing of ours', `INSERT INTO other SELECT g, repeat('x', 100) FROM generate_series(1, 3000) g`, false],
]) {
  for (const version of what === 'rows of ours' ? ['14', '15', '17'] : ['15']) {
    test(`a copy restored on the same timeline, grown past our position, ${what} lost (PostgreSQL ${version}): rotated`, async (t) => {
      const pg = await Postgres.create({ version })
      const w = await world(t, { pg, sql: [TABLE, 'CREATE TABLE other (id int, v text)', fill(1, 3)] })
      const f = w.follow({ table: 't' })
      await f.ready()
      await w.sql('INSERT INTO t VALUES (-1, NULL)')
      await w.agree()
      await w.busbar.term()
      await pg.stop()
      const copy = pg.save()
      await pg.start()
      await w.busbar.start()
      await w.sql(lost)
      await w.agree()
      const end = await walEnd(w)
      await until('all of it is acknowledged', async () => (await flushed(w)) >= end)
      // While it stands it can't come back before the new history has grown past its position.
      let go
      if (alive) t.cleanup((go = await pause(w.busbar.pid)))
      else await w.busbar.term()
      await pg.stop('immediate')
      pg.restore(copy)
      await pg.start()
      // Before Busbar comes: rows at positions that it has passed, and then more than it ever saw.
      const session = await pg.connect(w.db)
      await session.query('INSERT INTO t VALUES (1000, $$new$$)')
      await session.query('DELETE FROM t WHERE id = 2')
      await session.query(`INSERT INTO other SELECT g, repeat('y', 100) FROM generate_series(1, 20000) g`)
      await session.end()
      if (!alive) await w.busbar.start()
      else {
        go()
        await w.busbar.active(30000)
      }
      await w.sql(fill(2000, 2010))
      await w.agree()
      assert(f.refetches.length > 0, 'the shape was not rotated')
      assert(/restored from a copy/.test(w.busbar.output), `nothing said about it: ${w.busbar.tail()}`)
      // And that was it. (Nothing is left that a crash may cost a shape: docs/invariants.md 6.5.)
      const refetches = f.refetches.length
      const now = await walEnd(w)
      await until('all of it is durable', async () => (await flushed(w)) >= now)
      await w.busbar.kill9()
      await pg.crash()
      await w.busbar.start()
      await w.sql(fill(3000, 3010))
      await w.agree()
      equal(f.refetches.length, refetches, 'rotations after the next start')
    })
  }
}

for (const version of ['14', '17']) {
  test(`crashes of Postgres and of Busbar move the slot back, and rotate nothing (PostgreSQL ${version})`, async (t) => {
    const pg = await Postgres.create({ version })
    const w = await world(t, { pg, sql: [TABLE, 'CREATE TABLE other (id int, v text)', fill(1, 3)] })
    for (const mode of ['poll', 'sse']) w.follow({ table: 't' }, mode)
    await Promise.all(w.followers.map((f) => f.ready()))
    await w.sql('INSERT INTO t VALUES (-1, NULL)')
    await w.agree()
    let compared = 0
    for (let round = 0; round < 4; round++) {
      const id = 100 * round + 10
      for (let i = 0; i < 20; i++) await w.sql(i % 3 ? fill(id + i, id + i) : 'INSERT INTO other VALUES (1, $$x$$)')
      if (round === 1) await w.sql(`BEGIN; SAVEPOINT s; ${fill(id + 30, id + 40)}; ROLLBACK TO s; ${fill(id + 50, id + 52)}; COMMIT`)
      if (round === 2) {
        await w.sql(`BEGIN; ${fill(id + 60, id + 61)}; PREPARE TRANSACTION 'p${version}'`)
        await w.sql(`COMMIT PREPARED 'p${version}'`)
      }
      await w.agree()
      if (round % 2) await w.busbar.kill9()
      const before = await flushed(w)
      await pg.crash()
      t.note(`acknowledged ${before}, after the crash ${await flushed(w)}`)
      if (round % 2) await w.busbar.start()
      else await w.busbar.active(30000)
      await w.sql(fill(id + 70, id + 71))
      await w.agree()
      compared = Number(/(\d+) transactions are compared/.exec(w.busbar.output.slice(w.busbar.output.lastIndexOf('server sends from')))?.[1] ?? 0)
      assert(compared > 10, `only ${compared} transactions were compared: ${w.busbar.tail()}`)
    }
    w.undisturbed()
  })
}

test('another server under the same address: all shapes are rotated', async (t) => {
  const pg = await Postgres.create()
  const w = await world(t, { pg, sql: [TABLE, fill(1, 3)] })
  const at = await readAll(w.busbar.url, { table: 't' })
  await w.busbar.term()
  const other = await Postgres.create()
  t.cleanup(() => other.stop('immediate'))
  await other.query('postgres', `CREATE DATABASE ${w.db}`)
  await other.query(w.db, TABLE)
  await other.query(w.db, fill(7, 8))
  w.busbar.databaseUrl = other.url(w.db)
  await w.busbar.start()
  const old = await shape(w.busbar.url, { table: 't', handle: at.handle, offset: at.offset })
  equal(old.status, 409, 'status for the old handle')
  const now = await readAll(w.busbar.url, { table: 't' })
  equal(
    now.changes.map((c) => c.value.id),
    ['7', '8'],
    'rows',
  )
})

// Waits for the end of recovery, and makes sure that it was what the test is about.
async function promoted(w) {
  await until('recovery has ended', async () => !(await w.sql('SELECT pg_is_in_recovery() AS r')).rows[0].r)
  const { rows } = await w.sql('SELECT pg_walfile_name(pg_current_wal_insert_lsn()) AS file')
  equal(rows[0].file.slice(0, 8), '00000002', 'timeline')
}

for (const alive of [false, true]) {
  test(`promoted to a new timeline, nothing lost, Busbar ${alive ? 'running' : 'down'} meanwhile: shapes survive`, async (t) => {
    const pg = await Postgres.create()
    const w = await world(t, { pg, sql: [TABLE, fill(1, 3)] })
    for (const mode of ['poll', 'sse']) w.follow({ table: 't' }, mode)
    await Promise.all(w.followers.map((f) => f.ready()))
    await w.sql('INSERT INTO t VALUES (-1, NULL)')
    await w.agree()
    await w.sql(fill(10, 30))
    await w.agree()
    const { handle } = w.followers[0]
    if (!alive) await w.busbar.term()
    await pg.stop()
    pg.promoteAtStart()
    await pg.start()
    await promoted(w)
    if (!alive) await w.busbar.start()
    else await w.busbar.active(30000)
    await w.sql(fill(100, 120))
    await w.agree()
    w.undisturbed()
    equal(w.followers[0].handle, handle, 'handle')
    // And the next start finds nothing to complain about.
    await w.busbar.kill9()
    await w.busbar.start()
    await w.sql(fill(200, 220))
    await w.agree()
    w.undisturbed()
  })

  test(`promoted to a timeline that lacks what was delivered, Busbar ${alive ? 'running' : 'down'} meanwhile: shapes are rotated`, async (t) => {
    const pg = await Postgres.create()
    const w = await world(t, { pg, sql: [TABLE, fill(1, 3)] })
    const f = w.follow({ table: 't' })
    await f.ready()
    await w.sql('INSERT INTO t VALUES (-1, NULL)')
    await w.agree()
    await w.busbar.term()
    await pg.stop()
    const copy = pg.save()
    await pg.start()
    await w.busbar.start()
    await w.sql(fill(10, 30))
    await w.agree()
    if (!alive) await w.busbar.term()
    await pg.stop()
    pg.restore(copy)
    pg.promoteAtStart()
    await pg.start()
    await promoted(w)
    // The new history grows past the old one's end: by position alone nothing would be noticed.
    await w.sql(fill(1000, 1400, 200))
    if (!alive) await w.busbar.start()
    else await w.busbar.active(30000)
    await w.sql(fill(2000, 2010))
    await w.agree()
    assert(f.refetches.length > 0, 'the shape was not rotated')
  })
}

test('the last 256 MiB of all positions there are', async (t) => {
  const pg = await Postgres.create()
  const w = await world(t, { pg, sql: [TABLE, fill(1, 3)], start: false })
  await pg.stop()
  if (!pg.resetWal('00000001FFFFFFFF000000F8')) return cannot(t, 'there is no pg_resetwal')
  await pg.start()
  await w.busbar.start()
  for (const mode of ['poll', 'sse']) w.follow({ table: 't' }, mode)
  await Promise.all(w.followers.map((f) => f.ready()))
  await w.sql(fill(10, 12))
  await w.agree()
  await w.sql('UPDATE t SET v = $$new$$ WHERE id < 3')
  await w.agree()
  await w.busbar.kill9()
  await w.busbar.start()
  await w.sql(fill(20, 22))
  await w.agree()
  w.undisturbed()
  assert((await walEnd(w)) > 2n ** 64n - 2n ** 28n, 'the WAL is elsewhere')
})

test('a big transaction appears at once, in bounded memory', { timeout: 240000 }, async (t) => {
  const count = LONG ? 3000000 : 500000
  const w = await world(t, { sql: [TABLE, fill(1, 1)] })
  const at = await readAll(w.busbar.url, { table: 't' })
  let most = 0
  let whole = 0
  const watch = setInterval(() => {
    if (!w.busbar.running()) return
    const { RssAnon, VmRSS } = w.busbar.memory()
    most = Math.max(most, RssAnon)
    whole = Math.max(whole, VmRSS)
  }, 50)
  t.cleanup(() => clearInterval(watch))
  const session = await w.session()
  await session.query('BEGIN')
  await session.query(`INSERT INTO t SELECT g, repeat('x', 60) || g FROM generate_series(10, ${count + 9}) g`)
  const during = await shape(w.busbar.url, { table: 't', handle: at.handle, offset: at.offset })
  equal(during.changes(), [], 'changes before the commit')
  const started = Date.now()
  await session.query('COMMIT')
  // From the first sight of it, plain requests lead to its end without an up-to-date in between.
  let { offset } = at
  let seen = 0
  let last = false
  for (;;) {
    const a = await shape(
      w.busbar.url,
      { table: 't', handle: at.handle, offset, live: seen ? undefined : true },
      { timeout: 120000 },
    )
    equal(a.status, 200, 'status')
    const changes = a.changes()
    for (const c of changes) {
      seen++
      if (Number(c.value.id) !== seen + 9) throw new Error(`row ${c.value.id} at place ${seen}`)
    }
    last = changes.at(-1)?.headers.last ?? last
    offset = a.offset
    if (a.upToDate && seen) break
  }
  t.note(
    `${count} rows delivered ${((Date.now() - started) / 1000).toFixed(1)} s after the commit; RssAnon at most ${Math.round(most / 1024)} MB, VmRSS ${Math.round(whole / 1024)} MB`,
  )
  equal([seen, last], [count, true], 'rows, and last')
  // A sanitizer's own memory is another matter.
  if (!process.env.E2E_SANITIZED) assert(most < 300 * 1024, `RssAnon rose to ${Math.round(most / 1024)} MB`)
  // One that is rolled back was never there.
  await session.query('BEGIN')
  await session.query('DELETE FROM t')
  await session.query('ROLLBACK')
  await session.query('INSERT INTO t VALUES (0, NULL)')
  const next = await shape(w.busbar.url, { table: 't', handle: at.handle, offset, live: true })
  equal(
    next.changes().map((c) => c.value.id),
    ['0'],
    'after the rolled back one',
  )
})

const sent = async (w) => {
  const { rows } = await w.sql('SELECT s.sent_lsn - $$0/0$$ AS at FROM pg_replication_slots r JOIN pg_stat_replication s ON s.pid = r.active_pid WHERE slot_name = $1', [w.slot])
  return rows.length ? BigInt(rows[0].at) : 0n
}

test('kill -9 inside a big transaction: it comes once', { timeout: 180000 }, async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 1)] })
  for (const mode of ['poll', 'sse']) w.follow({ table: 't' }, mode)
  await Promise.all(w.followers.map((f) => f.ready()))
  const session = await w.session()
  for (let round = 0; round < 3; round++) {
    const from = 100000 * (round + 1)
    await session.query('BEGIN')
    await session.query(fill(from, from + 20000, 60))
    await session.query('SAVEPOINT s')
    await session.query(fill(from + 30000, from + 35000, 60))
    await session.query('ROLLBACK TO s')
    if (round !== 1) await session.query('UPDATE t SET v = v || $$!$$ WHERE id % 3 = 0')
    await w.busbar.kill9()
    await w.busbar.start()
    if (round === 2) {
      await session.query(fill(from + 40000, from + 45000, 60))
      const before = await sent(w)
      await session.query('COMMIT')
      // The walsender has begun to send it.
      await until('some of it is sent', async () => (await sent(w)) > before, 15000, 5)
      await w.busbar.kill9()
      await w.busbar.start()
    } else await session.query('COMMIT')
  }
  await w.agree(w.followers, 60000)
  w.undisturbed()
})

test(
  'subtransactions that Postgres streamed and then rolled back leave no trace, and no other offsets',
  { timeout: 120000 },
  async (t) => {
    const w = await world(t, { sql: [TABLE] })
    const at = await readAll(w.busbar.url, { table: 't' })
    const session = await w.session()
    await session.query('BEGIN')
    await session.query(fill(1, 2000, 100))
    await session.query('SAVEPOINT a')
    await session.query(fill(3000, 6000, 100))
    await session.query('SAVEPOINT b')
    await session.query(fill(7000, 9000, 100))
    await session.query('ROLLBACK TO a')
    await session.query(fill(10000, 10010, 100))
    await session.query('COMMIT')
    const all = await until('the rows', async () => {
      const r = await readAll(w.busbar.url, { table: 't' }, { from: at })
      return r.changes.length ? r : undefined
    })
    equal(all.changes.length, 2011, 'rows')
    // As a server that got it at commit would number them: by two, without gaps.
    const wrong = all.changes.find((c, i) => c.headers.op_position !== 2 * i)
    assert(!wrong, `position ${wrong?.headers.op_position} of ${wrong?.key}`)
  },
)

test('ELECTRIC_STORAGE=MEMORY: works, keeps nothing', async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 3)], env: { ELECTRIC_STORAGE: 'MEMORY' } })
  const f = w.follow({ table: 't' })
  await f.ready()
  await w.sql(fill(10, 20))
  await w.agree()
  const { handle } = f
  await w.busbar.term()
  equal(readdirSync(w.busbar.storage), [], 'files left in the storage directory')
  await w.busbar.start()
  await w.sql(fill(30, 40))
  await w.agree()
  assert(f.handle !== handle, 'the same handle again')
})

test('a second process on the same storage directory is refused', async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 3)] })
  const f = w.follow({ table: 't' })
  await f.ready()
  const second = new Busbar({ databaseUrl: w.busbar.databaseUrl, env: w.busbar.env, storage: w.busbar.storage })
  t.cleanup(() => second.stop())
  await second.start({ active: false })
  await within('the second process ends', 15000, second.exited)
  assert(second.code !== 0, 'it ended with 0')
  assert(second.output.includes(w.busbar.storage), `its output doesn't name the directory: ${second.tail()}`)
  await w.sql(fill(10, 20))
  await w.agree()
  w.undisturbed()
})

test('a second process with storage of its own waits for the lock and takes over', async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 3)] })
  await readAll(w.busbar.url, { table: 't' })
  const second = new Busbar({ databaseUrl: w.busbar.databaseUrl, env: w.busbar.env })
  t.cleanup(() => second.stop())
  await second.start({ active: false })
  await until('the second one waits', async () => (await second.health()).json().status === 'waiting')
  await w.busbar.term()
  await second.active(20000)
  const f = w.follow({ table: 't' }, 'poll', { url: second.url })
  await w.sql(fill(10, 20))
  await w.agree([f])
})

test('files that Electric left in the storage directory are left alone', async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 3)], start: false })
  const dir = join(w.busbar.storage, 'single_stack')
  mkdirSync(dir)
  writeFileSync(join(dir, 'log'), 'x')
  await w.busbar.start()
  await readAll(w.busbar.url, { table: 't' })
  await w.busbar.term()
  equal(readdirSync(dir), ['log'], 'files')
})

// Whoever restarts what isn't healthy makes no room by that; whoever sends requests sends them elsewhere.
async function tellsOfTheStore(w) {
  const health = await w.busbar.health()
  equal(health.status, 202, `/v1/health (${health.text()})`)
  assert(/^store: .*space/i.test(health.json().reason), `/v1/health: ${health.text()}`)
  const ready = await get(`${w.busbar.url}/v1/ready`)
  equal([ready.status, ready.headers['electric-reason'], ready.json().status], [503, 'store-failing', 'store_failing'], `/v1/ready (${ready.text()})`)
  assert(/space/i.test(ready.json().reason), `/v1/ready: ${ready.text()}`)
}

test('a full disk is an outage that heals, nothing is lost', { timeout: 120000 }, async (t) => {
  const disk = smallDisk(t)
  if (!disk) return
  const w = await world(t, { sql: [TABLE, fill(1, 3)], start: false })
  storeOn(disk, w.busbar)
  await w.busbar.start()
  for (const mode of ['poll', 'sse']) w.follow({ table: 't' }, mode)
  await Promise.all(w.followers.map((f) => f.ready()))
  const mark = w.busbar.output.length
  for (let i = 0; i < 40; i++) await w.sql(fill(1000 * (i + 1), 1000 * (i + 1) + 200, 1000))
  await until(
    () => `it complains about the store: ${w.busbar.tail()}`,
    () => /\[error\].*store/i.test(w.busbar.output.slice(mark)),
    20000,
  )
  assert(w.busbar.running(), `the daemon ended with ${w.busbar.code}`)
  const fresh = await shape(w.busbar.url, { table: 't', where: 'id < 3', offset: '-1' }, { timeout: 60000 })
  equal([fresh.status, fresh.headers['electric-reason']], [503, 'store-failing'], `a new shape (${fresh.text()})`)
  await tellsOfTheStore(w)
  const held = await flushed(w)
  assert(held < (await walEnd(w)), 'the slot was acknowledged to the end')
  disk.makeRoom()
  await until('the slot moves again', async () => (await flushed(w)) > held, 40000, 200)
  await until('it is healthy and ready again', async () => (await w.busbar.health()).status === 200 && (await w.busbar.ready()).code === 200, 40000)
  equal((await w.busbar.health()).json(), { status: 'active' }, 'health')
  await w.agree(w.followers, 40000)
  w.undisturbed()
  await w.busbar.kill9()
  await w.busbar.start()
  await w.sql(fill(100000, 100010))
  await w.agree()
  w.undisturbed()
  const said = w.busbar.output
    .slice(mark)
    .split('\n')
    .find((l) => /\[error\].*store/i.test(l))
  assert(/space|full/i.test(said), `the message doesn't say that the disk is full: ${said}`)
})

// The rows of a table of 30 MB that have no room wait in memory, and the copy with them; a subset's go to its client, but not before
// the mark is written that covers them.
test('a full disk while a snapshot is copied, and a subset asked for: both are given up, nothing is held in Postgres', { timeout: 240000 }, async (t) => {
  const disk = smallDisk(t)
  if (!disk) return
  const w = await world(t, { sql: [TABLE, 'CREATE TABLE small (id int PRIMARY KEY)', 'INSERT INTO small VALUES (1)'], start: false })
  await w.sql("INSERT INTO t SELECT g, (SELECT string_agg(md5(g::text || i::text), '') FROM generate_series(1, 32) i) FROM generate_series(1, 30000) g")
  storeOn(disk, w.busbar)
  await w.busbar.start()
  const known = await readAll(w.busbar.url, { table: 'small' })
  // The first rows of it may be sent before: then the rest is asked for.
  const end = Date.now() + GIVEN_UP_MS
  const holding = async () => (await w.sql(HOLDING)).rows
  const old = `${HOLDING} AND xact_start < now() - interval '3 s'`
  const held = until('the copy keeps its snapshot', async () => (await w.sql(old)).rowCount > 0, GIVEN_UP_MS)
  let at = { offset: '-1' }
  let answer
  await until(
    () => `the snapshot is given up: ${answer?.status} ${answer?.text().slice(0, 300)}`,
    async () => {
      answer = await shape(w.busbar.url, { table: 't', ...at }, { timeout: GIVEN_UP_MS })
      if (answer.status === 200) at = { handle: answer.handle, offset: answer.offset }
      if (answer.status === 409) at = { offset: '-1' }
      return answer.status === 503
    },
    GIVEN_UP_MS,
    100,
  )
  equal(answer.headers['electric-reason'], 'store-failing', `electric-reason (${answer.text()})`)
  assert(/public\.t could not be made: The storage can't be written: .*space/.test(w.busbar.output), `not said: ${w.busbar.tail()}`)
  await held
  await until(async () => `no session of ours has a snapshot: ${JSON.stringify(await holding())}`, async () => (await holding()).length === 0, Math.max(end - Date.now(), 5000), 100)
  await tellsOfTheStore(w)
  for (let i = 0; i < SEGMENTS_BEYOND_MARK; i++) {
    await w.sql("SELECT pg_logical_emit_message(false, 'a', 'b')")
    await w.sql('SELECT pg_switch_wal()')
  }
  const part = await shape(w.busbar.url, { table: 'small', offset: '-1', subset__where: 'id = 1' }, { timeout: GIVEN_UP_MS })
  equal([part.status, part.headers['electric-reason']], [503, 'store-failing'], `a subset (${part.text()})`)
  await until(async () => `nothing holds a snapshot after the subset: ${JSON.stringify(await holding())}`, async () => (await holding()).length === 0, 5000, 100)
  equal((await shape(w.busbar.url, { table: 'small', handle: known.handle, offset: known.offset })).status, 200, 'a known shape')
  disk.makeRoom()
  await until('it is healthy again', async () => (await w.busbar.health()).status === 200, 40000)
  equal((await shape(w.busbar.url, { table: 'small', offset: '-1', subset__where: 'id = 1' })).status, 200, 'a subset')
  const whole = await readAll(w.busbar.url, { table: 't' })
  equal(whole.changes.length, 30000, 'rows')
  w.follow({ table: 't' })
  await w.sql('DELETE FROM t WHERE id % 100 = 0')
  await w.agree()
})

test('wal_sender_timeout: a small one is kept under load', { timeout: 120000 }, async (t) => {
  const pg = await Postgres.create({ settings: { wal_sender_timeout: '2s' } })
  const w = await world(t, { pg, sql: [TABLE] })
  const f = w.follow({ table: 't' })
  await f.ready()
  for (let i = 0; i < 4; i++) await w.sql(fill(i * 100000, i * 100000 + 60000, 40))
  await w.agree([f], 60000)
  // Twice the timeout later the same walsender hears from us.
  const walsender = "SELECT pid, reply_time FROM pg_stat_replication WHERE application_name LIKE 'busbar%'"
  const { pid, reply_time: then } = (await w.sql(walsender)).rows[0]
  await until('it is heard of', async () => (await w.sql(walsender)).rows.some((r) => r.pid === pid && r.reply_time - then > 4000), 20000, 200)
  assert(!/terminating walsender process due to replication timeout/.test(pg.log()), 'Postgres ended the stream for a timeout')
})

// ---------------------------------------------------------------- start-up

function startAndEnd(env) {
  const clean = {
    PATH: process.env.PATH,
    HOME: process.env.HOME,
    ELECTRIC_STORAGE_DIR: temporary('store'),
    ELECTRIC_PORT: '0',
    ...env,
  }
  const r = spawnSync(BINARY, [], { env: clean, encoding: 'utf8', timeout: 10000 })
  return { code: r.status, output: checkForSecrets(clean, `${r.stdout}${r.stderr}`) }
}

test('bad configuration stops the start with a line that says what to change', async () => {
  const url = 'postgresql://u:verysecret@127.0.0.1:1/x'
  const cases = [
    [{ ELECTRIC_INSECURE: 'true' }, /DATABASE_URL/],
    [{ DATABASE_URL: url }, /ELECTRIC_SECRET/],
    [{ DATABASE_URL: url, ELECTRIC_SECRET: 'verysecret', ELECTRIC_INSECURE: 'true' }, /ELECTRIC_SECRET and ELECTRIC_INSECURE/],
    [{ DATABASE_URL: 'mysql://u@h/x', ELECTRIC_INSECURE: 'true' }, /invalid URL scheme/],
    [{ DATABASE_URL: url, ELECTRIC_INSECURE: 'true', ELECTRIC_STORAGE: 'TAPE' }, /storage must be one of/],
    [{ DATABASE_URL: `${url}?sslmode=verify-full`, ELECTRIC_INSECURE: 'true' }, /unsupported "sslmode" value/],
    [{ DATABASE_URL: url, ELECTRIC_INSECURE: 'true', ELECTRIC_MAX_CONCURRENT_REQUESTS: '{' }, /ELECTRIC_MAX_CONCURRENT_REQUESTS/],
    [{ DATABASE_URL: url, ELECTRIC_INSECURE: 'true', ELECTRIC_REPLICATION_STREAM_ID: 'a-b' }, /ELECTRIC_REPLICATION_STREAM_ID/],
    [{ DATABASE_URL: url, ELECTRIC_INSECURE: 'true', ELECTRIC_PORT: 'http' }, /ELECTRIC_PORT/],
  ]
  const wrong = []
  for (const [env, expected] of cases) {
    const { code, output } = startAndEnd(env)
    if (code === 0 || code === null || !expected.test(output))
      wrong.push(`${JSON.stringify(env)}: ended with ${code}: ${output.trim().slice(0, 200)}`)
    if (output.includes('verysecret')) wrong.push(`${JSON.stringify(env)}: the output shows a secret`)
  }
  assert(wrong.length === 0, wrong.join('\n'))
})

test('a database in SQL_ASCII is refused', async (t) => {
  const pg = await Postgres.create()
  t.cleanup(() => pg.stop('immediate'))
  await pg.query('postgres', "CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
  const busbar = new Busbar({ databaseUrl: pg.url('ascii') })
  t.cleanup(() => busbar.stop())
  await busbar.start({ active: false })
  await until(
    () => `it says so: ${busbar.tail()}`,
    () => /SQL_ASCII/.test(busbar.output),
    15000,
  )
  const health = busbar.running() ? await busbar.health().catch(() => undefined) : undefined
  assert(health?.status !== 200, 'it became active')
})

test('no secret and no password in the output', async (t) => {
  const w = await world(t, {
    sql: [TABLE, fill(1, 3)],
    user: 'postgres',
    password: 'pass-that-is-hidden',
    env: { ELECTRIC_SECRET: 'key-that-is-hidden', ELECTRIC_INSECURE: undefined, ELECTRIC_LOG_LEVEL: 'debug' },
  })
  const refused = await shape(w.busbar.url, { table: 't', offset: '-1', secret: 'key-that-is-wrong' })
  equal(refused.status, 401, 'status with a wrong secret')
  const a = await shape(w.busbar.url, { table: 't', offset: '-1', secret: 'key-that-is-hidden' })
  equal(a.status, 200, 'status with the secret')
  await shape(w.busbar.url, { table: 'nothing', offset: '-1', secret: 'key-that-is-hidden' })
  await w.busbar.term()
  assert(!/that-is-/.test(w.busbar.output), `the output has: ${w.busbar.output.split('\n').find((l) => /that-is-/.test(l))}`)
})

test('--help, --version, --check-config', async () => {
  const run = (arg, env = {}) => {
    const r = spawnSync(BINARY, [arg], { env: { PATH: process.env.PATH, ...env }, encoding: 'utf8', timeout: 5000 })
    checkForSecrets(env, `${r.stdout}${r.stderr}`)
    return r
  }
  const help = run('--help')
  equal(help.status, 0, '--help ends with')
  assert(/DATABASE_URL/.test(help.stdout), '--help names no DATABASE_URL')
  equal(run('--version').status, 0, '--version ends with')
  assert(/^busbar \d+\.\d+\.\d+ \(commit [\w.+-]+\)\n$/.test(run('--version').stdout), '--version names no version and commit')
  const good = run('--check-config', { DATABASE_URL: 'postgresql://u@127.0.0.1/x', ELECTRIC_INSECURE: 'true' })
  equal(good.status, 0, `--check-config ends with (${good.stderr})`)
  assert(run('--check-config', { ELECTRIC_INSECURE: 'true' }).status !== 0, '--check-config without DATABASE_URL ends with 0')
  const ports = run('--check-config', { DATABASE_URL: 'postgresql://u@127.0.0.1/x', ELECTRIC_INSECURE: 'true', BUSBAR_ADMIN_PORT: '3000' })
  assert(ports.status !== 0 && /BUSBAR_ADMIN_PORT: must be another port than ELECTRIC_PORT, which is 3000 too/.test(ports.stdout + ports.stderr), `two ports that are one: ${ports.stdout}`)
})
