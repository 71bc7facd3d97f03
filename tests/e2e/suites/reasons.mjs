// Each 409 and 503 says why, in electric-reason: each code that can be caused from outside, seen by a client that waits, and by
// one that comes later with the handle of a shape that has ended; and each is in the ring of events with its table and its cause.
// (Those of damaged and full disks: restarts, unit tests.)

import { Busbar } from '../lib/busbar.mjs'
import { get, readAll, shape, shapeUrl } from '../lib/http.mjs'
import { prometheus, scrape } from '../lib/metrics.mjs'
import { Proxy } from '../lib/proxy.mjs'
import { test } from '../lib/runner.mjs'
import * as setup from '../lib/setup.mjs'
import { assert, equal, freePort, until } from '../lib/util.mjs'

// A world with the admin port.
async function world(t, { env = {}, ...options } = {}) {
  const port = await freePort()
  const w = await setup.world(t, { env: { BUSBAR_ADMIN_PORT: String(port), ...env }, ...options })
  w.admin = `http://127.0.0.1:${port}`
  return w
}

// The newest event of a kind with this reason: whose it is; a refusal's text says more than the code means.
async function remembers(w, kind, code, { table, shape = undefined, text }) {
  const { events } = (await get(`${w.admin}/admin/events?kind=${kind}`)).json()
  const e = events.find((e) => e.reason === code && e.table === table)
  assert(e, `no event of ${code} with ${table}: ${JSON.stringify(events)}`)
  if (shape !== undefined) equal(e.shape, shape, `${code}: shape of the event`)
  assert(text.test(e.text), `${code}: the event says: ${e.text}`)
  assert(kind !== 'refusal' || e.text !== e.meaning, `${code}: the event says no more than its code: ${e.text}`)
  return e
}

const reason = (a) => a.headers['electric-reason']

function says(a, status, code, what) {
  equal([a.status, reason(a)], [status, code], `${what}: status and reason (${a.text().slice(0, 200)})`)
  const exposed = a.headers['access-control-expose-headers'].split(',')
  assert(exposed.includes('electric-reason'), `not exposed: ${exposed}`)
}

// A shape whose client waits; `ends` makes it end.
async function endsWith(w, code, params, ends, what = code, ms = 90000) {
  const at = await readAll(w.busbar.url, params)
  const query = { ...params, handle: at.handle, offset: at.offset }
  const waiting = get(shapeUrl(w.busbar.url, { ...query, live: true }), { timeout: ms })
  waiting.catch(() => {})
  // It waits: there is nothing new, and it isn't answered at once.
  await ends()
  let told = await waiting
  for (const until = Date.now() + ms; told.status === 200 && Date.now() < until; )
    told = await get(shapeUrl(w.busbar.url, { ...query, offset: told.offset, live: true }), { timeout: ms })
  says(told, 409, code, `${what}, to a client that waits`)
  return { query, told }
}

// And to one that comes with that handle when the shape is gone.
async function remembered(w, code, query, what = code) {
  const later = await shape(w.busbar.url, query)
  says(later, 409, code, `${what}, to a client that comes later`)
  assert(later.handle !== query.handle, 'the old handle')
}

const T = (name) => `CREATE TABLE ${name} (id int PRIMARY KEY, v text); INSERT INTO ${name} VALUES (1, 'x'), (2, 'y')`
const MINE = 'v IN (SELECT v FROM m WHERE id = 1)'

// `later`: what the same request gets afterwards, if that is no 409 with the same code.
const ENDS = [
  { code: 'table-truncated', sql: 'TRUNCATE $t' },
  { code: 'schema-changed', sql: "ALTER TABLE $t ALTER v TYPE varchar(10); INSERT INTO $t VALUES (3, 'z')" },
  { code: 'schema-changed', what: 'a column is dropped', sql: "ALTER TABLE $t DROP v; INSERT INTO $t VALUES (3)" },
  { code: 'key-changed', sql: "ALTER TABLE $t DROP CONSTRAINT $t_pkey; ALTER TABLE $t ADD PRIMARY KEY (id, v); INSERT INTO $t VALUES (3, 'z')" },
  { code: 'table-rewritten', sql: 'ALTER TABLE $t ALTER v TYPE text USING upper(v)' },
  { code: 'table-gone', sql: 'DROP TABLE $t', later: 400 },
  { code: 'replica-identity', params: { where: "v <> 'q'" }, sql: "ALTER TABLE $t REPLICA IDENTITY DEFAULT; UPDATE $t SET v = 'z' WHERE id = 1" },
  { code: 'publication-changed', sql: 'ALTER PUBLICATION $p DROP TABLE $t' },
  {
    code: 'partition-changed',
    table: (t) =>
      `CREATE TABLE ${t} (id int PRIMARY KEY, v text) PARTITION BY RANGE (id); CREATE TABLE ${t}_1 PARTITION OF ${t} FOR VALUES FROM (1) TO (10);
       INSERT INTO ${t} VALUES (1, 'x'); CREATE TABLE ${t}_2 (id int PRIMARY KEY, v text); INSERT INTO ${t}_2 VALUES (11, 'x')`,
    sql: "ALTER TABLE $t ATTACH PARTITION $t_2 FOR VALUES FROM (10) TO (20); INSERT INTO $t VALUES (12, 'y')",
  },
  {
    code: 'set-changed',
    table: (t) => `${T(t)}; CREATE TABLE m (id int, v text, PRIMARY KEY (id, v)); INSERT INTO m VALUES (1, 'x')`,
    params: { where: MINE },
    sql: "INSERT INTO m VALUES (1, 'y')",
  },
  {
    code: 'condition-unusable',
    table: (t) => `${T(t)}; CREATE TABLE d (id int PRIMARY KEY, n int); INSERT INTO d VALUES (1, 1)`,
    params: { where: 'id IN (SELECT id FROM d WHERE 10 / n = 10)' },
    sql: 'INSERT INTO d VALUES (2, 0)',
  },
  {
    code: 'condition-costly',
    params: { where: "md5(repeat(v, 3000000)) = 'x'" },
    sql: "INSERT INTO $t VALUES (3, 'abcdefghij')",
    later: 503,
  },
]

test('why a shape ended: to the client that waits, and to one that comes later', { timeout: 600000 }, async (t) => {
  const tables = ENDS.map((e, i) => (e.table ?? T)(`t${i}`))
  const w = await world(t, { sql: tables, env: { ELECTRIC_TWEAKS_PUBLICATION_REFRESH_PERIOD: '2s', ELECTRIC_TWEAKS_SCHEMA_RECONCILER_PERIOD: '2s' } })
  for (const [i, e] of ENDS.entries()) {
    const what = e.what ?? e.code
    const sql = e.sql.replaceAll('$t', `t${i}`).replaceAll('$p', w.publication)
    const { query } = await endsWith(w, e.code, { table: `t${i}`, ...e.params }, () => w.sql(sql), what)
    await remembers(w, 'rotation', e.code, { table: `public.t${i}`, shape: query.handle, text: /./ })
    if (!e.later) {
      await remembered(w, e.code, query, what)
      continue
    }
    const later = await shape(w.busbar.url, query)
    equal(later.status, e.later, `${what}: status afterwards (${later.text()})`)
    equal(reason(later), e.later === 503 ? e.code : undefined, `${what}: reason afterwards`)
  }
  // The log has the codes too.
  for (const { code } of ENDS) assert(new RegExp(`Removing shape .*\\[${code}\\]`).test(w.busbar.output), `no line with ${code}`)
})

test('deleted, other-definition, unknown-handle', async (t) => {
  const p = await prometheus()
  const w = await world(t, { sql: [T('t')], env: p.env })
  const { query } = await endsWith(w, 'deleted', { table: 't' }, async () => {
    equal((await get(shapeUrl(w.busbar.url, { table: 't' }), { method: 'DELETE' })).status, 202, 'DELETE')
  })
  await remembered(w, 'deleted', query)
  const at = await readAll(w.busbar.url, { table: 't' })
  says(await shape(w.busbar.url, { table: 't', columns: 'id', handle: at.handle, offset: at.offset }), 409, 'other-definition', 'another shape')
  const nobody = '1-1700000000000000'
  says(await shape(w.busbar.url, { table: 't', handle: nobody, offset: at.offset }), 409, 'unknown-handle', 'nobody')
  await remembers(w, 'refetch', 'other-definition', { table: 'public.t', shape: at.handle, text: /another definition/ })
  await remembers(w, 'refetch', 'unknown-handle', { table: 'public.t', shape: nobody, text: /no shape with this handle/ })
  // A herd is one event; what isn't of our making isn't shown.
  await Promise.all(Array.from({ length: 50 }, () => shape(w.busbar.url, { table: 't', handle: nobody, offset: at.offset })))
  equal((await remembers(w, 'refetch', 'unknown-handle', { table: 'public.t', shape: nobody, text: /./ })).count, 51, 'all of them')
  says(await shape(w.busbar.url, { table: 't', handle: 'my secret', offset: at.offset }), 409, 'unknown-handle', 'a text')
  assert(!/secret/.test((await get(`${w.admin}/admin/events`)).text()), 'it is shown')
  const m = await scrape(p.url)
  equal(['unknown-handle', 'other-definition', 'deleted', 'set-changed'].map((reason) => m.value('busbar_refetches', { reason })), [52, 1, 2, 0], 'counted')
  // What is remembered is in memory.
  await w.busbar.term()
  await w.busbar.start()
  says(await shape(w.busbar.url, query), 409, 'unknown-handle', 'after a restart')
  equal(reason(await shape(w.busbar.url, { table: 't', handle: at.handle, offset: at.offset })), undefined, 'of a 200')
})

test('limit-shapes, limit-transaction', { timeout: 180000 }, async (t) => {
  const env = {
    ELECTRIC_MAX_SHAPES: '1',
    ELECTRIC_EXPERIMENTAL_MAX_TXN_SIZE: '20000',
    ELECTRIC_LONG_POLL_TIMEOUT: '120000',
    ELECTRIC_TWEAKS_SCHEMA_RECONCILER_PERIOD: '2s',
  }
  const w = await world(t, { sql: [T('t'), T('u')], env })
  const big = "INSERT INTO t SELECT g, repeat('x', 1000) FROM generate_series(100, 200) g"
  const { query } = await endsWith(w, 'limit-transaction', { table: 't' }, () => w.sql(big))
  await remembered(w, 'limit-transaction', query)
  await remembers(w, 'rotation', 'limit-transaction', { table: 'public.t', shape: query.handle, text: /transaction/ })
  // The one that was read longer ago goes, when somebody looks.
  await endsWith(w, 'limit-shapes', { table: 'u' }, () =>
    until('it is looked at', async () => {
      await readAll(w.busbar.url, { table: 't' })
      return /Removing shape .*\[limit-shapes\]/.test(w.busbar.output)
    }, 90000, 500), 'limit-shapes', 120000)
})

test('slot-lost, database-changed, set-unsure: what a restart finds', { timeout: 120000 }, async (t) => {
  const w = await world(t, { sql: [T('t'), 'CREATE TABLE m (n int PRIMARY KEY, id int, v text)', "INSERT INTO m VALUES (1, 1, 'x'), (2, 1, 'x')"] })
  const old = async (params = { table: 't' }) => {
    const at = await readAll(w.busbar.url, params)
    await w.busbar.term()
    return { ...params, handle: at.handle, offset: at.offset }
  }
  let query = await old()
  await w.sql('SELECT pg_drop_replication_slot($1)', [w.slot])
  await w.busbar.start()
  says(await shape(w.busbar.url, query), 409, 'slot-lost', 'the slot is gone')
  await remembers(w, 'rotation', 'slot-lost', { table: 'public.t', shape: query.handle, text: /replication slot is new: changes since/ })
  query = await old()
  await w.sql("INSERT INTO t VALUES (3, 'z')")
  await w.sql('SELECT pg_replication_slot_advance($1, pg_current_wal_lsn())', [w.slot])
  await w.busbar.start()
  says(await shape(w.busbar.url, query), 409, 'database-changed', 'somebody else read from the slot')
  await remembers(w, 'rotation', 'database-changed', { table: 'public.t', shape: query.handle, text: /somebody else has read from it/ })
  // How often the subquery has a value isn't stored.
  query = await old({ table: 't', where: MINE })
  await w.busbar.start()
  await w.sql('DELETE FROM m WHERE n = 2')
  const told = await until('it is told', async () => {
    const a = await shape(w.busbar.url, query)
    return a.status === 409 ? a : undefined
  })
  says(told, 409, 'set-unsure', 'a count is not known')
  await remembers(w, 'rotation', 'set-unsure', { table: 'public.t', shape: query.handle, text: /./ })
})

// ---------------------------------------------------------------- refusals

test('limit-initial, limit-existing, postgres-slow', { timeout: 120000 }, async (t) => {
  const w = await world(t, { sql: [T('t'), T('u')], env: { ELECTRIC_MAX_CONCURRENT_REQUESTS: '{"initial":1,"existing":1}' } })
  const lock = await w.session()
  await lock.query('BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE')
  const first = get(shapeUrl(w.busbar.url, { table: 't', offset: '-1' }), { timeout: 60000 })
  const refused = await until('the second is refused', async () => {
    const a = await shape(w.busbar.url, { table: 'u', offset: '-1' })
    return a.status === 503 ? a : undefined
  })
  says(refused, 503, 'limit-initial', 'a second one without a handle')
  await remembers(w, 'refusal', 'limit-initial', { table: 'public.u', text: /initial request limit exceeded \(limit: 1\)/ })
  says(await first, 503, 'postgres-slow', 'behind a lock')
  await remembers(w, 'refusal', 'postgres-slow', { table: 'public.t', text: /lock/ })
  await lock.query('ROLLBACK')
  const at = await until('it is made', async () => {
    const a = await shape(w.busbar.url, { table: 't', offset: '-1' })
    return a.status === 200 ? a : undefined
  }, 60000)
  const rest = await readAll(w.busbar.url, { table: 't' })
  equal(rest.handle, at.handle, 'handle')
  const query = { table: 't', handle: rest.handle, offset: rest.offset, live: true }
  const parked = get(shapeUrl(w.busbar.url, query))
  const existing = await until('the other is refused', async () => {
    const a = await Promise.race([shape(w.busbar.url, query), new Promise((r) => setTimeout(r, 500))])
    return a?.status === 503 ? a : undefined
  })
  says(existing, 503, 'limit-existing', 'a second one with a handle')
  await remembers(w, 'refusal', 'limit-existing', { table: 'public.t', shape: rest.handle, text: /existing request limit exceeded \(limit: 1\)/ })
  await w.sql("INSERT INTO t VALUES (5, 'x')")
  equal((await parked).status, 200, 'the first one')
})

test('lock-held, to requests and to a proxy', async (t) => {
  const w = await world(t, { sql: [T('t')] })
  const port = String(await freePort())
  const second = new Busbar({ databaseUrl: w.busbar.databaseUrl, env: { ...w.busbar.env, BUSBAR_ADMIN_PORT: port } })
  t.cleanup(() => second.stop())
  await second.start({ active: false })
  const a = await until('it knows', async () => {
    const got = await shape(second.url, { table: 't', offset: '-1' })
    return got.status === 503 && reason(got) === 'lock-held' ? got : undefined
  })
  says(a, 503, 'lock-held', 'a request')
  await remembers({ admin: `http://127.0.0.1:${port}` }, 'refusal', 'lock-held', { table: 'public.t', text: /Another instance holds the lock/ })
  says(await get(`${second.url}/v1/ready`), 503, 'lock-held', '/v1/ready')
  equal(reason(await get(`${w.busbar.url}/v1/ready`)), undefined, 'of the one that has it')
})

test('slot-waits, to requests and to a proxy', { timeout: 90000 }, async (t) => {
  const w = await world(t, { sql: [T('t')], start: false })
  const open = await w.session()
  await open.query('BEGIN; SELECT txid_current()')
  await w.busbar.start({ active: false })
  const ready = await until('it waits for the slot', async () => {
    const a = await get(`${w.busbar.url}/v1/ready`).catch(() => undefined)
    return a && reason(a) === 'slot-waits' ? a : undefined
  }, 30000)
  says(ready, 503, 'slot-waits', '/v1/ready')
  says(await shape(w.busbar.url, { table: 't', offset: '-1' }), 503, 'slot-waits', 'a request')
  await remembers(w, 'refusal', 'slot-waits', { table: 'public.t', text: /pending transactions/ })
  await open.query('COMMIT')
  await w.busbar.active()
})

test('postgres-away: what needs it; known shapes are served', { timeout: 90000 }, async (t) => {
  const w = await world(t, { sql: [T('t'), T('u')], start: false })
  const proxy = await Proxy.create(`http://127.0.0.1:${w.pg.port}`)
  t.cleanup(() => proxy.close())
  w.busbar.databaseUrl = w.busbar.databaseUrl.replace(`:${w.pg.port}/`, `:${new URL(proxy.url).port}/`)
  await w.busbar.start()
  const at = await readAll(w.busbar.url, { table: 't' })
  proxy.refuse(true)
  const a = await shape(w.busbar.url, { table: 'u', offset: '-1' })
  says(a, 503, 'postgres-away', 'a new shape')
  await remembers(w, 'refusal', 'postgres-away', { table: 'public.u', text: /connect|closed|refused/i })
  equal((await shape(w.busbar.url, { table: 't', handle: at.handle, offset: at.offset })).status, 200, 'a known one')
})

test('postgres-refuses: a policy hides rows from us', async (t) => {
  const role = `why_${process.pid}`
  const w = await world(t, { sql: [T('t')], start: false })
  await w.sql(`CREATE ROLE ${role} LOGIN REPLICATION; GRANT CREATE ON DATABASE ${w.db} TO ${role}; ALTER TABLE t OWNER TO ${role}`)
  await w.sql('ALTER TABLE t ENABLE ROW LEVEL SECURITY; ALTER TABLE t FORCE ROW LEVEL SECURITY; CREATE POLICY small ON t USING (id < 2)')
  w.busbar.databaseUrl = w.pg.url(w.db, role)
  await w.busbar.start()
  says(await shape(w.busbar.url, { table: 't', offset: '-1' }), 503, 'postgres-refuses', 'row-level security')
  await remembers(w, 'refusal', 'postgres-refuses', { table: 'public.t', text: /row-level security|BYPASSRLS/i })
})
