// What operators see: Prometheus's port and what it says, StatsD, the heartbeat.

import { spawnSync } from 'node:child_process'
import dgram from 'node:dgram'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { preload } from '../lib/busbar.mjs'
import { events, get, readAll, shape, shapeUrl } from '../lib/http.mjs'
import { parse, prometheus, scrape } from '../lib/metrics.mjs'
import { Postgres } from '../lib/pg.mjs'
import { test } from '../lib/runner.mjs'
import { world } from '../lib/setup.mjs'
import { assert, equal, until, within } from '../lib/util.mjs'

const doc = (name) => readFileSync(new URL(`../../../docs/${name}.md`, import.meta.url), 'utf8')
const TABLE = 'CREATE TABLE t (id int PRIMARY KEY, v text)'
const fill = (from, to) => `INSERT INTO t SELECT g, 'x' || g FROM generate_series(${from}, ${to}) g`

// Ports on which a process listens.
function listening(pid) {
  const inodes = new Set()
  for (const fd of readdirSync(`/proc/${pid}/fd`)) {
    try {
      inodes.add(/^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1])
    } catch {
      // closed meanwhile
    }
  }
  const lines = ['/proc/net/tcp', '/proc/net/tcp6'].flatMap((f) => readFileSync(f, 'utf8').split('\n').slice(1))
  const fields = lines.map((l) => l.trim().split(/\s+/)).filter((f) => f[3] === '0A' && inodes.has(f[9]))
  return fields.map((f) => parseInt(f[1].split(':')[1], 16))
}

// A live request of this shape, parked: a promise of its answer.
function parked(w, at, params = { table: 't' }) {
  const answer = shape(w.busbar.url, { ...params, handle: at.handle, offset: at.offset, live: true })
  answer.catch(() => {})
  return answer
}

test('without ELECTRIC_PROMETHEUS_PORT no port is opened but the API\'s', async (t) => {
  const w = await world(t, { sql: [TABLE] })
  equal(listening(w.busbar.pid), [w.busbar.port], 'ports')
  equal((await get(`${w.busbar.url}/metrics`)).status, 404, '/metrics of the API')
})

test('the port has /metrics for everybody, and nothing else', async (t) => {
  const p = await prometheus()
  const w = await world(t, { sql: [TABLE], env: { ...p.env, ELECTRIC_INSECURE: undefined, ELECTRIC_SECRET: 'not-for-scrapers' } })
  const base = p.url.replace('/metrics', '')
  const answer = await get(p.url)
  equal(answer.status, 200, 'status')
  equal(answer.headers['content-type'], 'text/plain; version=0.0.4; charset=utf-8', 'content-type')
  parse(answer.text())
  const head = await get(p.url, { method: 'HEAD' })
  equal([head.status, head.text()], [200, ''], 'HEAD')
  equal((await get(`${p.url}?x=1`)).status, 200, 'a query is let by')
  for (const [path, method] of [['/', 'GET'], ['/metrics/', 'GET'], ['/v1/shape?table=t&offset=-1', 'GET'], ['/v1/health', 'GET'], ['/metrics', 'POST'], ['/metrics', 'DELETE']]) {
    const a = await get(`${base}${path}`, { method, body: method === 'POST' ? 'x'.repeat(100000) : undefined })
    equal([a.status, a.text()], [404, 'Not found'], `${method} ${path}`)
  }
  equal(listening(w.busbar.pid).length, 2, 'ports')
})

test('a port that is taken ends the start with its setting\'s name', async (t) => {
  const p = await prometheus()
  await world(t, { sql: [TABLE], env: p.env })
  const w = await world(t, { sql: [TABLE], env: p.env, start: false })
  await w.busbar.start({ active: false })
  equal(await within('it ends', 10000, w.busbar.exited), 1, 'exit status')
  assert(/cannot listen on port \d+ \(ELECTRIC_PROMETHEUS_PORT\)/.test(w.busbar.output), w.busbar.tail())
})

// What dashboards and alerts rely on: name, type, and the values of its label.
const PROMISED = {
  electric_shapes_total_shapes_count: ['gauge'],
  electric_shapes_active_shapes_count: ['gauge'],
  electric_postgres_replication_transaction_received_receive_lag: ['histogram'],
  electric_plug_serve_shape_requests_count: ['counter', 'status', '200', '204', '304', '400', '401', '404', '405', '409', '413', '500', '503', 'other'],
  electric_admission_control_acquire_current: ['gauge', 'kind', 'initial', 'existing'],
  electric_admission_control_reject_count: ['counter', 'kind', 'initial', 'existing'],
  busbar_build_info: ['gauge'],
  busbar_up_status: ['gauge', 'status', 'starting', 'waiting', 'active'],
  busbar_asleep: ['gauge'],
  busbar_commit_to_log_seconds: ['histogram'],
  busbar_log_to_socket_seconds: ['histogram'],
  busbar_commit_to_client_seconds: ['histogram'],
  busbar_heartbeat_seconds: ['histogram'],
  busbar_clock_skew_seconds: ['gauge'],
  busbar_clock_skew_error_seconds: ['gauge'],
  busbar_shapes: ['gauge', 'state', 'creating', 'snapshotting', 'live', 'leaving'],
  busbar_shapes_by_index: ['gauge', 'kind', 'all', 'indexed', 'residual', 'unindexed'],
  busbar_subquery_sets_bytes: ['gauge'],
  busbar_waiters: ['gauge', 'kind', 'long_poll', 'sse', 'parked'],
  busbar_evaluations: ['counter', 'kind', 'lookup', 'condition', 'subquery', 'failed'],
  busbar_evaluation_steps: ['counter', 'kind', 'conditions', 'subqueries'],
  busbar_store_failing: ['gauge'],
  busbar_store_bytes: ['gauge'],
  busbar_store_free_bytes: ['gauge'],
  busbar_wal_standing_still_seconds: ['gauge'],
  busbar_wal_limit_age_seconds: ['gauge'],
  busbar_wal_guard_step: ['gauge'],
  busbar_rotations: ['counter', 'reason'],
  busbar_refusals: ['counter', 'reason'],
  busbar_refetches: ['counter', 'reason'],
  busbar_memory_bytes: ['gauge', 'part', 'store_cache', 'subquery_sets', 'journal', 'writer_queue', 'request_bodies', 'event_streams', 'subset_rows'],
  busbar_connections: ['gauge'],
  busbar_transactions: ['counter'],
  busbar_changes: ['counter'],
  busbar_log_entries: ['counter'],
  busbar_log_lines_dropped: ['counter'],
  process_resident_memory_bytes: ['gauge'],
  process_open_fds: ['gauge'],
  process_start_time_seconds: ['gauge'],
}

test('every metric that is promised is there from the start, with its type and a closed list of labels', async (t) => {
  const p = await prometheus()
  const w = await world(t, { sql: [TABLE], env: { ...p.env, BUSBAR_WAL_LIMIT_AGE: '1h' } })
  await until('the clock of Postgres has been read', async () => (await scrape(p.url)).value('busbar_clock_skew_seconds') !== undefined)
  await until('the guard has looked', async () => (await scrape(p.url)).value('busbar_wal_standing_still_seconds') !== undefined, 60000)
  const m = await scrape(p.url)
  for (const [name, [type, label, ...values]] of Object.entries(PROMISED)) {
    const f = m.families.get(name)
    assert(f, `${name} is missing`)
    equal(f.type, type, name)
    if (values.length) equal(m.labels(name, label), values, `labels of ${name}`)
  }
  for (const [name, f] of m.families) {
    assert(/^(electric|busbar|process)_/.test(name), name)
    for (const s of f.samples) {
      const labels = Object.keys(s.labels).filter((k) => k !== 'le')
      assert(labels.length <= 1 || name === 'busbar_build_info', `labels of ${name}`)
    }
  }
  assert(m.value('busbar_store_bytes') > 8192 && m.value('busbar_store_free_bytes') > 1e6, 'store')
  // The codes of docs/protocol.md, all of them and no other.
  const codes = [...doc('protocol').split('\n## 11')[1].matchAll(/^\| `([a-z-]+)` \|/gm)].map((c) => c[1]).sort()
  for (const name of ['busbar_rotations', 'busbar_refusals', 'busbar_refetches']) equal(m.labels(name, 'reason').sort(), codes, name)
  const told = doc('operations')
  for (const name of m.families.keys()) assert(told.includes(`\`${name}`), `docs/operations.md doesn't know ${name}`)
  const info = m.families.get('busbar_build_info').samples[0]
  assert(/^\d+\.\d+\.\d+$/.test(info.labels.version) && info.labels.commit && info.value === 1, JSON.stringify(info))
  const started = m.value('process_start_time_seconds')
  assert(Math.abs(started - Date.now() / 1000) < 60, `started at ${started}`)
  assert(m.value('process_resident_memory_bytes') > 1e6 && m.value('process_open_fds') > 5, 'process')
  equal(m.value('busbar_up_status', { status: 'active' }), 1, 'active')
  equal(w.busbar.running(), true, 'it runs')
})

// promtool wants other names than Electric's: these complaints are about nothing else.
const LINT = [/counter metrics should have "_total" suffix/, /non-histogram and non-summary metrics should not have "_count" suffix/]

test('promtool finds nothing wrong with the format', async (t) => {
  if (spawnSync('promtool', ['--version']).error) return t.note('promtool isn\'t here (apt-get install prometheus): the format is checked by our own parser only')
  const p = await prometheus()
  await world(t, { sql: [TABLE], env: p.env })
  const text = (await get(p.url)).text()
  const r = spawnSync('promtool', ['check', 'metrics'], { input: text, encoding: 'utf8' })
  const complaints = `${r.stdout}${r.stderr}`.split('\n').filter((l) => l && !LINT.some((x) => x.test(l)))
  equal(complaints, [], 'complaints')
})

test('a change moves what it should: transactions, rows, logs, lags', async (t) => {
  const p = await prometheus()
  const w = await world(t, { sql: [TABLE, fill(1, 10)], env: p.env })
  const at = await readAll(w.busbar.url, { table: 't' })
  const before = await scrape(p.url)
  const waiting = parked(w, at)
  const stream = []
  const sse = await events(shapeUrl(w.busbar.url, { table: 't', handle: at.handle, offset: at.offset, live: true, live_sse: true }), (e) => stream.push(e))
  t.cleanup(() => sse.close())
  await until('both wait', async () => {
    const m = await scrape(p.url)
    return m.value('busbar_waiters', { kind: 'long_poll' }) === 1 && m.value('busbar_waiters', { kind: 'sse' }) === 1
  })
  const idle = await scrape(p.url)
  equal(idle.value('electric_admission_control_acquire_current', { kind: 'existing' }), 2, 'places taken')
  assert(idle.value('busbar_connections') >= 2, 'connections')
  await w.sql(fill(11, 13))
  equal((await waiting).changes().length, 3, 'rows of the long poll')
  await until('the stream has them', () => stream.filter((e) => e.json?.key).length === 3)
  const m = await scrape(p.url)
  const moved = (name, labels) => m.value(name, labels) - before.value(name, labels)
  equal(moved('busbar_transactions'), 1, 'transactions')
  equal(moved('busbar_changes'), 3, 'changes')
  equal(moved('busbar_log_entries'), 3, 'entries')
  for (const [name, n] of [['busbar_commit_to_log_seconds', 1], ['busbar_log_to_socket_seconds', 2], ['busbar_commit_to_client_seconds', 2], ['electric_postgres_replication_transaction_received_receive_lag', 1]])
    equal(moved(`${name}_count`), n, `${name}_count`)
  const sum = (name) => moved(`${name}_sum`)
  assert(sum('busbar_commit_to_log_seconds') > 0 && sum('busbar_commit_to_log_seconds') < 5, 'commit to log')
  const inMs = sum('electric_postgres_replication_transaction_received_receive_lag')
  assert(inMs > 0 && inMs / 1000 <= sum('busbar_commit_to_log_seconds') + 1e-5, `received after ${inMs} ms`)
  assert(sum('busbar_commit_to_client_seconds') >= sum('busbar_log_to_socket_seconds'), 'the whole is more than a part')
  equal(m.value('busbar_waiters', { kind: 'long_poll' }), 0, 'nobody waits by long poll')
  sse.close()
  await until('the stream is gone', async () => {
    const after = await scrape(p.url)
    return after.value('busbar_waiters', { kind: 'sse' }) === 0 && after.value('electric_admission_control_acquire_current', { kind: 'existing' }) === 0
  })
})

test('shapes are counted by state and by how they are found, requests by status', async (t) => {
  const p = await prometheus()
  const w = await world(t, { sql: [TABLE, fill(1, 10), 'CREATE TABLE u (id int PRIMARY KEY, t_id int)', 'INSERT INTO u VALUES (1, 1)'], env: p.env })
  const all = { table: 't' }
  const shapes = [all, { table: 't', where: 'id = 5' }, { table: 't', where: "id = 5 AND v LIKE '%5'" }, { table: 't', where: "v LIKE '%7%'" },
    { table: 't', where: 'id IN (SELECT t_id FROM u)' }]
  for (const s of shapes) await readAll(w.busbar.url, s)
  const live = async (n) => until(`${n} are live`, async () => (await scrape(p.url)).value('busbar_shapes', { state: 'live' }) === n)
  await live(5)
  let m = await scrape(p.url)
  equal([m.value('electric_shapes_total_shapes_count'), m.value('electric_shapes_active_shapes_count')], [5, 5], 'Electric\'s')
  equal(m.labels('busbar_shapes_by_index', 'kind').map((kind) => m.value('busbar_shapes_by_index', { kind })), [1, 2, 1, 1], 'by index')
  assert(m.value('busbar_subquery_sets_bytes') > 0, 'sets')
  const evaluated = (kind) => m.value('busbar_evaluations', { kind })
  const before = evaluated('condition')
  await w.sql(fill(15, 15))
  await until('it was looked up', async () => {
    m = await scrape(p.url)
    return evaluated('lookup') > 0
  })
  assert(evaluated('condition') > before, 'conditions evaluated')
  await w.sql('INSERT INTO u VALUES (2, 2)')
  await until('the subquery was looked at', async () => {
    m = await scrape(p.url)
    return evaluated('subquery') > 0
  })
  assert(m.value('busbar_evaluation_steps', { kind: 'conditions' }) > 0, 'steps')
  const status = (code) => m.value('electric_plug_serve_shape_requests_count', { status: code })
  const ok = status('200')
  assert(ok >= 10, `200: ${ok}`)
  await shape(w.busbar.url, { table: 't' })
  await shape(w.busbar.url, { table: 't', offset: '5_5', handle: 'none' })
  m = await scrape(p.url)
  equal([status('400'), status('409') > 0], [1, true], 'statuses')
  await get(`${w.busbar.url}/v1/health`)
  equal((await scrape(p.url)).value('electric_plug_serve_shape_requests_count', { status: '200' }), ok, 'health isn\'t a shape')
  const truncated = m.value('busbar_rotations', { reason: 'table-truncated' })
  await w.sql('TRUNCATE t')
  await until('they are gone', async () => (await scrape(p.url)).value('electric_shapes_total_shapes_count') === 0)
  await until('durably', async () => (await scrape(p.url)).value('busbar_shapes', { state: 'leaving' }) === 0)
  m = await scrape(p.url)
  equal(m.labels('busbar_shapes_by_index', 'kind').map((kind) => m.value('busbar_shapes_by_index', { kind })), [0, 0, 0, 0], 'by index')
  equal(m.value('busbar_subquery_sets_bytes'), 0, 'sets')
  equal(m.value('busbar_rotations', { reason: 'table-truncated' }) - truncated, 4, 'rotated by TRUNCATE')
  equal(m.value('busbar_rotations', { reason: 'set-changed' }), 1, 'rotated before, by its subquery')
})

test('shapes of an earlier process are counted from the start', async (t) => {
  const p = await prometheus()
  const w = await world(t, { sql: [TABLE, fill(1, 10)], env: p.env })
  await readAll(w.busbar.url, { table: 't' })
  await readAll(w.busbar.url, { table: 't', where: 'id = 1' })
  await w.busbar.kill9()
  await w.busbar.start()
  const m = await scrape(p.url)
  equal([m.value('busbar_shapes', { state: 'live' }), m.value('busbar_shapes_by_index', { kind: 'indexed' })], [2, 1], 'shapes')
})

test('who isn\'t let in is counted by kind', async (t) => {
  const p = await prometheus()
  const w = await world(t, { sql: [TABLE, fill(1, 10)], env: p.env })
  const at = await readAll(w.busbar.url, { table: 't' })
  await w.busbar.stop()
  // From now on: a place is free a moment after the answer has arrived, so one reader who asks again at once may meet himself.
  w.busbar.env.ELECTRIC_MAX_CONCURRENT_REQUESTS = '{"initial":10,"existing":1}'
  await w.busbar.start()
  const waiting = parked(w, at)
  await until('it waits', async () => (await scrape(p.url)).value('busbar_waiters', { kind: 'long_poll' }) === 1)
  equal((await shape(w.busbar.url, { table: 't', handle: at.handle, offset: at.offset, live: true })).status, 503, 'the second')
  const m = await scrape(p.url)
  const rejected = (kind) => m.value('electric_admission_control_reject_count', { kind })
  equal([rejected('existing'), rejected('initial')], [1, 0], 'rejected')
  equal(m.value('busbar_refusals', { reason: 'limit-existing' }), 1, 'refusals')
  equal(m.value('electric_plug_serve_shape_requests_count', { status: '503' }), 1, '503')
  await w.sql(fill(20, 20))
  await waiting
})

test('a thousand clients that wait are seen, and all that they are sent; a scrape meanwhile is quick', async (t) => {
  const p = await prometheus()
  const w = await world(t, { sql: [TABLE, fill(1, 10)], env: p.env })
  const at = await readAll(w.busbar.url, { table: 't' })
  const answers = Promise.all(Array.from({ length: 1000 }, () => parked(w, at)))
  answers.catch(() => {})
  let m
  await until('all wait', async () => {
    m = await scrape(p.url)
    return m.value('busbar_waiters', { kind: 'long_poll' }) === 1000
  })
  assert(m.value('busbar_connections') >= 1000, `connections ${m.value('busbar_connections')}`)
  const took = []
  for (let i = 0; i < 20; i++) {
    const from = performance.now()
    await get(p.url)
    took.push(performance.now() - from)
  }
  took.sort((a, b) => a - b)
  t.note(`a scrape took ${took[0].toFixed(1)} to ${took[10].toFixed(1)} ms, at most ${took[19].toFixed(1)} ms`)
  assert(took[0] < 100, `a scrape took ${took[0]} ms`)
  await w.sql(fill(11, 11))
  for (const a of await answers) equal(a.status, 200, 'status')
  m = await scrape(p.url)
  equal(m.value('busbar_commit_to_client_seconds_count'), 1000, 'commit to client')
  equal(m.value('busbar_log_to_socket_seconds_count'), 1000, 'log to socket')
  equal(m.labels('busbar_waiters', 'kind').map((kind) => m.value('busbar_waiters', { kind })), [0, 0, 0], 'nobody waits')
  await until('all have gone', async () => (await scrape(p.url)).value('busbar_connections') === 0)
})

test('the clock of Postgres is told apart from ours', async (t) => {
  const env = preload(`#include <time.h>
#include <dlfcn.h>
int clock_gettime(clockid_t id, struct timespec *t)
{
	static int (*real)(clockid_t, struct timespec *);
	if (real == 0) real = dlsym(RTLD_NEXT, "clock_gettime");
	int r = real(id, t);
	if (id == CLOCK_REALTIME) t->tv_sec += 20;
	return r;
}`)
  if (!env) return
  const p = await prometheus()
  const w = await world(t, { sql: [TABLE, fill(1, 10)], env: { ...p.env, ...env } })
  await until('the clock has been read', async () => (await scrape(p.url)).value('busbar_clock_skew_seconds') !== undefined)
  let m = await scrape(p.url)
  const skew = m.value('busbar_clock_skew_seconds')
  const error = m.value('busbar_clock_skew_error_seconds')
  assert(Math.abs(skew + 20) <= error + 0.001 && error < 1, `skew ${skew} ± ${error}`)
  await readAll(w.busbar.url, { table: 't' })
  await w.sql(fill(11, 11))
  await until('the lag shows it', async () => {
    m = await scrape(p.url)
    return m.value('busbar_commit_to_log_seconds_sum') > 19
  })
})

test('that Postgres is away shows', async (t) => {
  const pg = await Postgres.create()
  const p = await prometheus()
  await world(t, { pg, sql: [TABLE], env: p.env })
  await pg.stop('fast')
  await until('it shows', async () => (await scrape(p.url)).value('busbar_up_status', { status: 'active' }) === 0)
  const m = await scrape(p.url)
  equal(m.labels('busbar_up_status', 'status').map((status) => m.value('busbar_up_status', { status })).reduce((a, b) => a + b), 1, 'one state')
  await pg.start()
  await until('it is back', async () => (await scrape(p.url)).value('busbar_up_status', { status: 'active' }) === 1)
})

// Somebody who takes StatsD's datagrams: all of them, and their lines by name and tags.
async function statsd(t, port = 0) {
  const socket = dgram.createSocket('udp4')
  const datagrams = []
  socket.on('message', (m) => datagrams.push(m))
  await new Promise((done) => socket.bind(port, '127.0.0.1', done))
  const close = () => new Promise((done) => socket.close(done))
  let open = true
  t.cleanup(() => open && close())
  return {
    datagrams,
    port: socket.address().port,
    close: () => ((open = false), close()),
    lines: () => datagrams.flatMap((d) => d.toString('utf8').split('\n')),
    // What counts of this name and tags add up to; gauges: the last.
    total: (name, tag = '') =>
      datagrams.flatMap((d) => d.toString('utf8').split('\n'))
        .filter((l) => l.startsWith(`${name}:`) && l.includes(tag))
        .reduce((sum, l) => {
          const [, value, type] = /^[^:]+:(-?[\d.]+)\|(\w)/.exec(l)
          return type === 'g' ? Number(value) : sum + Number(value)
        }, 0),
  }
}

const LINE = /^[a-z_.]+:-?\d+(\.\d+)?\|[cgh](\|@0\.\d+)?\|#instance_id:(\S+?)(,[a-z]+:[a-z0-9_-]+)?$/

test('StatsD is sent the same: counts once, tags, datagrams of a size', async (t) => {
  const to = await statsd(t)
  const w = await world(t, { sql: [TABLE, fill(1, 10)], env: { ELECTRIC_STATSD_HOST: `127.0.0.1:${to.port}`, ELECTRIC_INSTANCE_ID: 'pod 7|x', ELECTRIC_SYSTEM_METRICS_POLL_INTERVAL: '1s' } })
  const at = await readAll(w.busbar.url, { table: 't' })
  const waiting = parked(w, at)
  await until('it waits', () => to.total('busbar.waiters', 'kind:long_poll') === 1)
  await w.sql(fill(11, 13))
  await waiting
  await until('the rows are counted', () => to.total('busbar.changes') === 3)
  await until('the lag is told', () => to.lines().some((l) => l.startsWith('busbar.commit_to_client_seconds:')))
  await until('nobody waits', () => to.total('busbar.waiters', 'kind:long_poll') === 0)
  const n = to.datagrams.length
  await until('more rounds', () => to.datagrams.length > n + 10)
  equal(to.total('busbar.changes'), 3, 'counted once')
  equal(to.total('electric.shapes.total_shapes.count'), 1, 'shapes')
  for (const l of to.lines()) {
    const m = LINE.exec(l)
    assert(m && m[3] === 'pod_7_x', `line ${l}`)
  }
  for (const d of to.datagrams) assert(d.length < 1432, `a datagram of ${d.length} bytes`)
  assert(Math.max(...to.datagrams.map((d) => d.length)) > 1000, 'datagrams are filled')
  assert(to.lines().some((l) => l.startsWith('electric.plug.serve_shape.requests.count:') && l.endsWith(',status:200')), 'labels are tags')
})

test('StatsD that goes and comes back is found again; each instance has an id', async (t) => {
  const to = await statsd(t)
  const w = await world(t, { sql: [TABLE], env: { ELECTRIC_STATSD_HOST: `localhost:${to.port}`, ELECTRIC_SYSTEM_METRICS_POLL_INTERVAL: '1s' } })
  await until('it is sent something', () => to.datagrams.length > 0)
  const id = LINE.exec(to.lines()[0])[3]
  assert(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(id), `id ${id}`)
  await to.close()
  await readAll(w.busbar.url, { table: 't' })
  const later = await statsd(t, to.port)
  await until('it is sent something again', () => later.datagrams.length > 0)
  equal(LINE.exec(later.lines()[0])[3], id, 'the same instance')
})

test('a StatsD host that can\'t be found costs nothing but a line in the log', async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 10)], env: { ELECTRIC_STATSD_HOST: 'statsd.invalid', ELECTRIC_SYSTEM_METRICS_POLL_INTERVAL: '1s' } })
  equal((await readAll(w.busbar.url, { table: 't' })).changes.length, 10, 'rows')
  await until('the log says so', () => /StatsD at statsd\.invalid \(ELECTRIC_STATSD_HOST\) can't be found/.test(w.busbar.output), 60000)
  assert((await w.busbar.term()) < 5000, 'it ends in time')
  const bad = await world(t, { sql: [TABLE], env: { ELECTRIC_STATSD_HOST: 'host:port' }, start: false })
  await bad.busbar.start({ active: false })
  equal(await within('it ends', 10000, bad.busbar.exited), 1, 'exit status')
  assert(bad.busbar.output.includes('ELECTRIC_STATSD_HOST: "host:port" is not a host, or host:port'), bad.busbar.tail())
})

test('a heartbeat goes through Postgres and back, without shapes too; those of others aren\'t ours', async (t) => {
  const p = await prometheus()
  const w = await world(t, { sql: [TABLE, fill(1, 10)], env: { ...p.env, BUSBAR_HEARTBEAT_INTERVAL: '1s' } })
  const beats = async () => (await scrape(p.url)).value('busbar_heartbeat_seconds_count')
  await until('it beats', async () => (await beats()) >= 2)
  const m = await scrape(p.url)
  const mean = m.value('busbar_heartbeat_seconds_sum') / m.value('busbar_heartbeat_seconds_count')
  assert(mean > 0.0001 && mean < 3, `it takes ${mean} s`)
  // Messages of another, and one of an earlier process of ours, inside a transaction with rows and alone.
  const before = { n: await beats(), at: performance.now() }
  const at = await readAll(w.busbar.url, { table: 't' })
  const waiting = parked(w, at)
  await w.sql("SELECT pg_logical_emit_message(false, 'busbar_heartbeat', '0000000000000001 5'), pg_logical_emit_message(true, 'x', repeat('y', 100000))")
  await w.sql("BEGIN; INSERT INTO t VALUES (11, 'a'); SELECT pg_logical_emit_message(true, 'busbar_heartbeat', 'no'); INSERT INTO t VALUES (12, 'b'); COMMIT")
  equal((await waiting).changes().map((c) => c.value.id), ['11', '12'], 'rows around a message')
  const n = (await beats()) - before.n
  assert(n <= (performance.now() - before.at) / 1000 + 1.5, `${n} beats`)
  const none = await world(t, { sql: [TABLE], env: { BUSBAR_HEARTBEAT_INTERVAL: '500ms' }, start: false })
  await none.busbar.start({ active: false })
  equal(await within('it ends', 10000, none.busbar.exited), 1, 'exit status')
  assert(none.busbar.output.includes('BUSBAR_HEARTBEAT_INTERVAL: must be at least 1s'), none.busbar.tail())
})
