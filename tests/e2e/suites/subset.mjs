// Subsets of a shape by GET and POST: what they hold, how they meet the stream, what they may cost.

import http from 'node:http'
import net from 'node:net'
import { ShapeStream } from '@electric-sql/client'
import { get, raw, readAll, shape, shapeUrl } from '../lib/http.mjs'
import { Postgres, VERSIONS } from '../lib/pg.mjs'
import { test } from '../lib/runner.mjs'
import { world } from '../lib/setup.mjs'
import { assert, delay, equal, freePort, until, within } from '../lib/util.mjs'

const TABLE = 'CREATE TABLE t (id int PRIMARY KEY, v text, n int)'
const fill = (from, to, size = 20) =>
  `INSERT INTO t SELECT g, repeat('x', ${size}) || g, g * 10 FROM generate_series(${from}, ${to}) g`

const subset = (w, params, options) => shape(w.busbar.url, { table: 't', offset: '-1', ...params }, options)
const post = (w, query, body, headers = {}) =>
  get(shapeUrl(w.busbar.url, { table: 't', offset: '-1', ...query }), { method: 'POST', body: JSON.stringify(body), headers })
const ids = (answer) => answer.json().data.map((m) => Number(m.value.id))

// Queries of subsets that run in Postgres now.
const running = async (w) =>
  (
    await w.pg.query(
      'postgres',
      `SELECT FROM pg_stat_activity WHERE datname = '${w.db}' AND state <> 'idle' AND query LIKE 'COPY (SELECT%'`,
    )
  ).rowCount

for (const version of VERSIONS) {
  test(`PostgreSQL ${version}: rows, metadata and headers`, async (t) => {
    const w = await world(t, { version, sql: [TABLE, fill(1, 5), "CREATE TYPE mood AS ENUM ('sad', 'ok')", 'ALTER TABLE t ADD m mood'] })
    const a = await subset(w, { subset__where: 'n > $1', subset__params: '{"1":20}', subset__order_by: 'id DESC', subset__limit: '2' })
    equal([a.status, ids(a)], [200, [5, 4]], a.text().slice(0, 200))
    equal(
      [a.offset, a.headers['electric-snapshot'], a.headers['cache-control'], a.headers.etag],
      ['0_0', 'true', 'no-cache', undefined],
      'headers',
    )
    const { metadata, data } = a.json()
    assert(a.text().startsWith('{"metadata":{"xmin":"') && a.text().includes('}, "data": [{"key":"'), 'the form of the body')
    const [{ xmin, lsn }] = (
      await w.sql('SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS xmin, (pg_current_wal_insert_lsn() - \'0/0\')::text AS lsn')
    ).rows
    assert(BigInt(metadata.xmin) <= BigInt(xmin) && BigInt(metadata.xmax) >= BigInt(metadata.xmin), 'xmin and xmax')
    assert(BigInt(metadata.database_lsn) <= BigInt(lsn), 'database_lsn')
    assert(Number.isInteger(metadata.snapshot_mark) && metadata.snapshot_mark >= 0 && metadata.snapshot_mark < 2 ** 31, 'mark')
    assert(
      data.every((m) => m.headers.snapshot_mark === metadata.snapshot_mark && m.headers.operation === 'insert'),
      'headers of rows',
    )
    const b = await post(w, {}, { where: 'n > $1', params: { 1: 20 }, order_by: 'id', limit: 2, offset: 1 })
    equal([b.status, ids(b), b.handle], [200, [4, 5], a.handle], b.text().slice(0, 200))
    const all = await subset(w, { subset__where: '' })
    equal(ids(all).length, 5, 'rows of all')
    const head = await subset(w, { subset__where: '' }, { method: 'HEAD' })
    equal([head.status, head.headers['electric-snapshot'], head.body.length], [200, 'true', 0], 'HEAD')
  })
}

test('a value that Postgres refuses is a 400, as a bare string', async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 3)] })
  const a = await subset(w, { subset__where: 'v::int > 0' })
  equal(a.status, 400, 'status')
  equal(typeof a.json().errors.subset.where, 'string', a.text())
  equal(a.headers['electric-snapshot'], undefined, 'header')
  equal((await subset(w, { subset__where: 'n > 0' })).status, 200, 'the next')
})

test('a complaint about a value tells nothing of rows outside the shape', async (t) => {
  const w = await world(t, { sql: [TABLE, "INSERT INTO t VALUES (1, '5', 1), (2, 'hidden', 2)"] })
  // The costlier condition is evaluated last: here that is the shape's.
  const a = await subset(w, { where: 'length(lower(lower(lower(lower(lower(v)))))) < 3', subset__where: 'v::int = 5' })
  assert(!a.text().includes('hidden'), a.text())
  equal([a.status, ids(a)], [200, [1]], a.text())
  // A value that a constant of the condition merely contains is still to be guessed.
  const b = await subset(w, { where: 'length(lower(lower(lower(lower(lower(v)))))) < 3', subset__where: "v::int = 5 OR v = 'aahiddenbb'" })
  equal([b.status, ids(b)], [200, [1]], b.text())
  // Of columns that the shape leaves out, nor of its own rows.
  const c = await subset(w, { columns: 'id', where: 'n = 2', subset__where: 'v::int = 5' })
  equal(c.status, 400, c.text())
  assert(!c.text().includes('hidden'), c.text())
})

test('nor does one of what a function was given, whatever its class, in answers and in the log', async (t) => {
  const w = await world(t, { sql: [TABLE, "INSERT INTO t VALUES (1, 'anna', 65), (2, 'bob', 2147000123)"] })
  const errors = [
    await subset(w, { where: "lower(trim(v)) = 'anna'", subset__where: "chr(n) = 'A'" }),
    await subset(w, { columns: 'id', subset__where: "chr(n) = 'a'" }),
    await subset(w, { columns: 'id', subset__where: "date_part(v, '10:00'::time) = 1" }),
    await shape(w.busbar.url, { table: 't', offset: '-1', where: "chr(n) = 'a'" }),
    await shape(w.busbar.url, { table: 't', offset: '-1', where: "chr(2000000000 + n / 1000000) = 'a'" }),
  ]
  equal(errors.map((a) => a.status), [200, 400, 400, 500, 500], 'statuses')
  for (const a of errors.slice(1)) assert(!/2147000123|2000002147|anna|bob/.test(a.text()), a.text())
  assert(!/2147000123|2000002147|anna"|bob/.test(w.busbar.output), w.busbar.tail())
})

// Not only what an error says: that there is one tells of a row, too.
test('the condition of a subset fails on no row that the shape hides', async (t) => {
  const w = await world(t, { sql: [TABLE, "INSERT INTO t SELECT g, CASE WHEN g = 7 THEN 'bob' ELSE 'anna' END, g FROM generate_series(1, 200) g"] })
  // Costlier than the subset's, so that the planner has it computed last.
  const where = "lower(lower(lower(lower(v)))) = 'anna' OR (id = 5 AND lower(lower(v)) = 'zz') OR (id = 6 AND lower(lower(v)) = 'yy')"
  const ask = (subset__where) => subset(w, { where, subset__where })
  const some = await ask('1 / (CASE WHEN id = 7 THEN 0 ELSE 1 END) = 1 AND id < 10')
  equal([some.status, ids(some).sort()], [200, [1, 2, 3, 4, 5, 6, 8, 9]], some.text().slice(0, 200))
  const own = await ask('1 / (CASE WHEN id = 8 THEN 0 ELSE 1 END) = 1')
  equal(own.status, 400, own.text().slice(0, 200))
  // Constants that Postgres doesn't compute before it looks at rows decide nothing before.
  for (const more of ["1 / (id - 7) = 5 OR ('2024-01-02'::date)::text = '2024-01-02'", "1 / (id - 7) = 5 AND ('2024-01-02'::date)::text = '2024-01-03'", "NULLIF(nullif(('2024-01-02'::date)::text, '2024-01-02'), (1 / (id - 7))::text) IS NULL"]) {
    const a = await ask(more)
    equal(a.status, 200, `${more}: ${a.text().slice(0, 200)}`)
  }
  // What can't fail is asked for as it was, also of rows that are found by an index.
  equal(ids(await ask('id = 7 OR id = 8')), [8])
})

test('both conditions hold, each as a whole', async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 6)] })
  const both = { where: 'id = 1 OR id = 2 OR id = 3', subset__where: 'n = 20 OR n = 60', subset__order_by: 'id' }
  equal(ids(await subset(w, both)), [2], 'rows')
  const a = await subset(w, { where: 'id <= $1', 'params[1]': '3', subset__where: 'id >= $1', 'subset__params[1]': '2' })
  equal(ids(a).sort(), [2, 3], 'each with its own parameters')
})

test('a large subset is streamed: its rows come before the query has ended, memory stays small', async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 60000, 2000)] })
  await readAll(w.busbar.url, { table: 't', log: 'changes_only' })
  const before = w.busbar.memory().RssAnon
  let most = 0
  const watch = setInterval(() => (most = Math.max(most, w.busbar.memory().RssAnon)), 20)
  t.cleanup(() => clearInterval(watch))
  const a = await subset(w, { log: 'changes_only', subset__order_by: 'id' })
  equal(a.json().data.length, 60000, 'rows')
  if (process.env.E2E_SANITIZED !== '1')
    assert(most - before < 40000, `grew by ${most - before} kB for ${Math.round(a.body.length / 1024)} kB`)
})

test('rows that wait for slow clients stay within BUSBAR_SUBSET_MEMORY, and all come in the end', async (t) => {
  const adminPort = await freePort()
  const w = await world(t, { sql: [TABLE, fill(1, 10000, 1000)], env: { BUSBAR_SUBSET_MEMORY: '1MiB', BUSBAR_ADMIN_PORT: String(adminPort) } })
  await readAll(w.busbar.url, { table: 't', log: 'changes_only' })
  const query = new URL(shapeUrl(w.busbar.url, { table: 't', offset: '-1', log: 'changes_only', subset__where: '' }))
  const readers = []
  for (let i = 0; i < 4; i++) {
    const s = net.connect(Number(query.port), '127.0.0.1')
    t.cleanup(() => s.destroy())
    s.pause()
    s.write(`GET ${query.pathname}${query.search} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`)
    readers.push(s)
  }
  // Both within SUBSET_STALL_MAX_MS, after which the first one would be given up.
  await until('all wait for their clients', async () => (await running(w)) === 4, 5000)
  let most = 0
  const look = async () => (most = Math.max(most, (await get(`http://127.0.0.1:${adminPort}/admin/memory`)).json().parts.subset_rows))
  await until('some rows wait', async () => (await look()) > 256 << 10, 3000)
  const all = readers.map(
    (s) =>
      new Promise((done, failed) => {
        let bytes = 0
        let tail = ''
        s.on('data', (d) => {
          bytes += d.length
          tail = (tail + d.toString('latin1')).slice(-64)
          s.pause()
          setImmediate(() => s.resume())
        })
        s.on('error', failed)
        s.on('end', () => done([bytes > 10000 * 1000, tail.includes(']}')]))
        s.resume()
      }),
  )
  let ended = false
  const answers = Promise.all(all).finally(() => (ended = true))
  while (!ended) await look()
  for (const a of await answers) equal(a, [true, true], 'a whole answer')
  // A piece for each of the four may come on top: whoever has taken all gets one.
  assert(most <= (1 << 20) + 4 * 72 * 1024, `${most} bytes waited`)
  await until('none is left', async () => (await look(), (await get(`http://127.0.0.1:${adminPort}/admin/memory`)).json().parts.subset_rows === 0), 5000)
})

test('an error after the first rows cuts the connection', async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 20000, 200), "UPDATE t SET v = '1' WHERE id < 20000"] })
  // In the order of the heap the row that can't be cast comes first or last: where it comes first it is a 400.
  const a = await subset(w, { subset__where: 'v::int = 1' }).then(
    (r) => r.status,
    (e) => e.message,
  )
  assert(a === 400 || a === 'answer broken off' || a === 'aborted', `got ${a}`)
})

test('a client that goes away ends the query', async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 50000, 1000)] })
  await readAll(w.busbar.url, { table: 't', log: 'changes_only' })
  const { port } = new URL(w.busbar.url)
  const query = new URL(shapeUrl(w.busbar.url, { table: 't', offset: '-1', log: 'changes_only', subset__where: '' }))
  const s = net.connect(Number(port), '127.0.0.1')
  await new Promise((done) => s.on('connect', done))
  s.pause()
  s.write(`GET ${query.pathname}${query.search} HTTP/1.1\r\nHost: x\r\n\r\n`)
  await until('the query runs', async () => (await running(w)) > 0, 10000)
  s.destroy()
  await until('the query has ended', async () => (await running(w)) === 0, 3000)
})

test('a client that reads nothing loses its query, and keeps nobody from anything', { timeout: 120000 }, async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 50000, 1000), 'CREATE TABLE u (id int PRIMARY KEY)'] })
  await readAll(w.busbar.url, { table: 't', log: 'changes_only' })
  const { port } = new URL(w.busbar.url)
  const query = new URL(shapeUrl(w.busbar.url, { table: 't', offset: '-1', log: 'changes_only', subset__where: '' }))
  const sockets = []
  t.cleanup(() => sockets.forEach((s) => s.destroy()))
  for (let i = 0; i < 8; i++) {
    const s = net.connect(Number(port), '127.0.0.1')
    s.on('error', () => {})
    s.pause()
    s.write(`GET ${query.pathname}${query.search} HTTP/1.1\r\nHost: x\r\n\r\n`)
    sockets.push(s)
  }
  await until('all sessions are taken', async () => (await running(w)) === 4, 10000)
  await delay(300)
  equal(await running(w), 4, 'sessions')
  // Shapes can be made all the same.
  const made = await within('a new shape', 5000, shape(w.busbar.url, { table: 'u', offset: '-1' }))
  equal(made.status, 200, 'a new shape')
  // Others wait a while and are told to come again, or find a session that was taken away.
  const other = await subset(w, { subset__where: 'id = 1' }, { timeout: 20000 })
  assert(other.status === 200 || (other.status === 503 && other.headers['retry-after']), `${other.status} ${other.text()}`)
  await until('the sessions are free', async () => (await running(w)) === 0, 40000)
  equal((await subset(w, { subset__where: 'id = 1' })).status, 200, 'afterwards')
})

test('clients that read slowly keep all sessions for seconds, not for minutes, while others wait', { timeout: 120000 }, async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 60000, 1000)] })
  await readAll(w.busbar.url, { table: 't', log: 'changes_only' })
  const query = new URL(shapeUrl(w.busbar.url, { table: 't', offset: '-1', log: 'changes_only', subset__where: '' }))
  for (let i = 0; i < 4; i++) {
    const s = net.connect(Number(query.port), '127.0.0.1')
    t.cleanup(() => s.destroy())
    s.on('error', () => {})
    s.write(`GET ${query.pathname}${query.search} HTTP/1.1\r\nHost: x\r\n\r\n`)
    // Some hundred kilobytes each second: never idle for long, and not done for minutes.
    const slow = setInterval(() => s.read(300000), 1000)
    t.cleanup(() => clearInterval(slow))
  }
  await until('all sessions are taken', async () => (await running(w)) === 4, 10000)
  // Whoever is told to come again does.
  const other = await until('another one has its row', async () => {
    const a = await subset(w, { subset__where: 'id = 1' }, { timeout: 30000 })
    return a.status === 200 && a
  }, 60000)
  equal(ids(other), [1])
})

test('who asks for much waits for himself', { timeout: 120000 }, async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 100000)] })
  const query = { subset__where: "lower(upper(v)) <> 'a'", subset__order_by: 'v DESC', subset__limit: '1' }
  await subset(w, query)
  let answered = 0
  const many = Array.from({ length: 60 }, () => subset(w, query, { timeout: 60000 }).then((a) => (answered++, a.status)))
  await until('some of them have been answered', () => answered >= 2, 60000, 2)
  const before = answered
  const agent = new http.Agent({ localAddress: '127.0.0.2' })
  const other = await subset(w, query, { agent })
  const between = answered - before
  agent.destroy()
  equal(other.status, 200, other.text())
  // As many as there are sessions were running; then it was the other's turn.
  assert(between <= 10, `${between} of the crowd's were answered before the other's one`)
  const all = await Promise.all(many)
  assert(
    all.every((status) => status === 200 || status === 503),
    `answers: ${all}`,
  )
})

// A table that is locked holds each query that wants to read it.
const waitingForLocks = async (w) =>
  (
    await w.pg.query(
      'postgres',
      `SELECT FROM pg_stat_activity WHERE datname = '${w.db}' AND wait_event_type = 'Lock'`,
    )
  ).rowCount

for (const n of [1, 3]) {
  test(`BUSBAR_SUBSET_CONCURRENCY=${n} and BUSBAR_SNAPSHOT_CONCURRENCY=${n}: so many queries at once, not one more`, { timeout: 60000 }, async (t) => {
    const tables = ['t0', 't1', 't2', 't3']
    const w = await world(t, {
      sql: tables.map((name) => `CREATE TABLE ${name} (id int PRIMARY KEY); INSERT INTO ${name} VALUES (1)`),
      env: { BUSBAR_SUBSET_CONCURRENCY: n, BUSBAR_SNAPSHOT_CONCURRENCY: n },
    })
    // They are in the publication and known from here on.
    for (const table of tables) await readAll(w.busbar.url, { table })
    const locks = await w.session()
    const held = async (ask) => {
      await locks.query(`BEGIN; LOCK TABLE ${tables.join(', ')} IN ACCESS EXCLUSIVE MODE`)
      const answers = Promise.all(tables.map((table) => shape(w.busbar.url, { table, offset: '-1', ...ask }, { timeout: 20000 })))
      await until('they wait', async () => (await waitingForLocks(w)) >= n, 10000)
      await delay(300)
      const waiting = await waitingForLocks(w)
      await locks.query('COMMIT')
      return [waiting, (await answers).map((a) => a.status)]
    }
    equal(await held({ subset__where: 'id > 0' }), [n, [200, 200, 200, 200]], 'subsets that wait, and their answers')
    equal(await held({ where: 'id > 0' }), [n, [200, 200, 200, 200]], 'snapshots that wait, and their answers')
  })
}

test('a connection that broke while idle is replaced without a word', async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 3)] })
  equal((await subset(w, { subset__where: '' })).status, 200, 'before')
  await w.pg.query(
    'postgres',
    `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '${w.db}' AND query = 'COMMIT' AND state = 'idle'`,
  )
  for (let i = 0; i < 4; i++) equal((await subset(w, { subset__where: '' })).status, 200, 'after')
})

test('without Postgres a subset is a 503, with it again rows', async (t) => {
  const pg = await Postgres.create()
  const w = await world(t, { pg, sql: [TABLE, fill(1, 3)] })
  equal((await subset(w, { subset__where: '' })).status, 200, 'before')
  await pg.stop('immediate')
  await until('the outage shows', async () => (await w.busbar.health()).json().status !== 'active')
  const a = await subset(w, { subset__where: '' }, { timeout: 20000 })
  equal(a.status, 503, 'status')
  assert(a.headers['retry-after'] !== undefined, 'retry-after')
  await pg.start()
  await w.busbar.active()
  equal(ids(await subset(w, { subset__where: '' })).length, 3, 'rows')
})

test('columns that come, go and change', async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 3)] })
  const some = { columns: 'id,v', subset__order_by: 'id' }
  const a = await subset(w, some)
  equal([a.status, Object.keys(a.json().data[0].value)], [200, ['id', 'v']], 'columns')
  await w.sql('ALTER TABLE t ADD extra int DEFAULT 7')
  await until('the shape with listed columns goes on', async () => {
    const b = await subset(w, { ...some, subset__where: 'extra = 7' })
    return b.status === 200 && b.handle === a.handle && ids(b).length === 3
  })
  const tail = await readAll(w.busbar.url, { table: 't', columns: 'id,v' })
  const kept = await shape(w.busbar.url, { table: 't', ...some, offset: tail.offset, handle: tail.handle })
  equal([kept.status, kept.handle], [200, a.handle], 'with its handle')
  await w.sql('ALTER TABLE t DROP v')
  await until('it ends with its column', async () => {
    const c = await shape(w.busbar.url, { table: 't', ...some, offset: tail.offset, handle: tail.handle })
    assert(c.status !== 200, 'rows without the column')
    return c.status === 400
  })
})

test('row security that would hide rows is a 503', async (t) => {
  const role = `r${process.pid}`
  const w = await world(t, {
    sql: [TABLE, fill(1, 3), `CREATE ROLE ${role} LOGIN REPLICATION PASSWORD 'row-security-password'`, `ALTER TABLE t OWNER TO ${role}`],
    start: false,
  })
  t.cleanup(() => w.sql(`DROP OWNED BY ${role}; DROP ROLE ${role}`).catch(() => {}))
  await w.sql(`GRANT CREATE ON DATABASE ${w.db} TO ${role}`)
  w.busbar.databaseUrl = w.pg.url(w.db, role, 'row-security-password')
  await w.busbar.start()
  equal((await subset(w, { subset__where: '' })).status, 200, 'before')
  await w.sql('ALTER TABLE t ENABLE ROW LEVEL SECURITY; ALTER TABLE t FORCE ROW LEVEL SECURITY')
  const a = await subset(w, { subset__where: '' })
  equal(a.status, 503, a.text())
})

test('what is above the offset of the request is not skipped', async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 3)] })
  const from = await readAll(w.busbar.url, { table: 't', log: 'changes_only' })
  await w.sql('UPDATE t SET n = 1 WHERE id = 1')
  await until('the change is there', async () => {
    const tail = await readAll(w.busbar.url, { table: 't', log: 'changes_only' }, { from })
    return tail.changes.length === 1
  })
  const a = await shape(w.busbar.url, {
    table: 't',
    log: 'changes_only',
    offset: from.offset,
    handle: from.handle,
    subset__where: 'id = 2',
  })
  equal([a.status, a.offset], [200, from.offset], 'electric-offset')
})

// The rows a client has, merged by the rule of the official clients: a change that the snapshot shows is
// left out for the snapshot's keys, and the snapshot is forgotten once its database_lsn has been seen.
class Merger {
  rows = new Map()
  snapshots = []
  take(answer) {
    const { metadata, data } = answer.json()
    const keys = new Set(data.map((m) => m.key))
    this.snapshots.push({ ...metadata, keys })
    for (const m of data) this.rows.set(m.key, m.value)
  }
  shows(s, xid) {
    const x = BigInt(xid)
    return x < BigInt(s.xmin) || (x < BigInt(s.xmax) && !s.xip_list.includes(String(xid)))
  }
  messages(list) {
    for (const m of list) {
      if (m.headers.control === 'up-to-date') {
        const seen = BigInt(m.headers.global_last_seen_lsn)
        this.snapshots = this.snapshots.filter((s) => BigInt(s.database_lsn) > seen)
      }
      if (m.key === undefined) continue
      const xid = m.headers.txids[0]
      if (this.snapshots.some((s) => s.keys.has(m.key) && this.shows(s, xid))) continue
      if (m.headers.operation === 'delete') this.rows.delete(m.key)
      else if (m.headers.operation === 'insert' || this.rows.has(m.key))
        this.rows.set(m.key, { ...this.rows.get(m.key), ...m.value })
    }
  }
}

for (const from of ['-1', 'now']) {
  test(`subsets of a table that is being written merge with the log, from offset ${from}`, async (t) => {
    const w = await world(t, { sql: ['CREATE TABLE t (id int PRIMARY KEY, v text, n bigint)', 'INSERT INTO t SELECT g, g, 0 FROM generate_series(1, 60) g'] })
    let writing = true
    let count = 0
    const writers = [1, 2, 3, 4].map(async (seed) => {
      const session = await w.session()
      for (let i = seed; writing; i += 4) {
        const id = ((i * 7919) % 60) + 1
        await session.query(`BEGIN; UPDATE t SET n = n + 1 WHERE id = ${id}; UPDATE t SET n = n + 1 WHERE id = ${(id % 60) + 1}`).catch(() => {})
        if (i % 5 === 0) await delay(3)
        await session.query(i % 17 === 0 ? 'ROLLBACK' : 'COMMIT')
        count++
      }
    })
    const params = { table: 't', log: 'changes_only' }
    for (let round = 0; round < 8; round++) {
      const m = new Merger()
      let at = { offset: from, handle: undefined }
      // The first subset says where to begin.
      for (let part = 0; part < 4; part++) {
        const a = await shape(w.busbar.url, {
          ...params,
          ...at,
          subset__where: `id > ${part * 15} AND id <= ${part * 15 + 15}`,
          subset__order_by: 'id',
        })
        equal([a.status, a.json().data.length], [200, 15], a.text().slice(0, 200))
        m.take(a)
        at = { offset: a.offset, handle: a.handle }
        const tail = await readAll(w.busbar.url, params, { from: at })
        for (const { answer } of tail.answers) m.messages(answer.json())
        at = { offset: tail.offset, handle: tail.handle }
      }
      if (round === 7) {
        writing = false
        await Promise.all(writers)
      }
      // What the client has must be the table's rows of some moment not before its requests; at the end, of now.
      if (round === 7) {
        const rows = (await w.sql('SELECT id, n FROM t ORDER BY id')).rows.map((r) => `${r.id}:${r.n}`)
        let got
        await until(
          () => `the client has the rows: ${got} instead of ${rows}`,
          async () => {
            const tail = await readAll(w.busbar.url, params, { from: at })
            for (const { answer } of tail.answers) m.messages(answer.json())
            at = { offset: tail.offset, handle: tail.handle }
            got = [...m.rows.values()].sort((a, b) => a.id - b.id).map((r) => `${r.id}:${r.n}`)
            return JSON.stringify(got) === JSON.stringify(rows)
          },
          8000,
        )
      }
    }
    t.note(`${count} transactions`)
  })
}

test('an official client in changes_only mode asks for snapshots while rows change', async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 100)] })
  const abort = new AbortController()
  t.cleanup(() => abort.abort())
  const rows = new Map()
  const stream = new ShapeStream({
    url: `${w.busbar.url}/v1/shape`,
    params: { table: 't' },
    log: 'changes_only',
    offset: 'now',
    signal: abort.signal,
  })
  stream.subscribe((messages) => {
    for (const m of messages) {
      if (m.key === undefined) continue
      if (m.headers.operation === 'delete') rows.delete(m.key)
      else rows.set(m.key, { ...rows.get(m.key), ...m.value })
    }
  })
  for (let round = 0; round < 10; round++) {
    await w.sql(`UPDATE t SET n = n + 1 WHERE id <= ${round * 10 + 10}`)
    const got = await stream.requestSnapshot({
      where: 'id > $1 AND id <= $2',
      params: { 1: String(round * 10), 2: String(round * 10 + 10) },
      orderBy: 'id',
      limit: 10,
      method: round % 2 ? 'POST' : 'GET',
    })
    equal(got.data.length, 10, 'rows of a snapshot')
    await w.sql(`UPDATE t SET n = n + 1 WHERE id > ${round * 10}`)
  }
  const wanted = (await w.sql('SELECT id, n FROM t ORDER BY id')).rows.map((r) => `${r.id}:${r.n}`)
  let got
  await until(
    () => `the client has the rows: ${got} instead of ${wanted}`,
    () => {
      got = [...rows.values()].sort((a, b) => a.id - b.id).map((r) => `${r.id}:${r.n}`)
      return JSON.stringify(got) === JSON.stringify(wanted)
    },
  )
})
