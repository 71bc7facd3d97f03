// docker/nginx and docker/caddy, the files themselves, before a real daemon: what reaches it, what is cached, what browsers see.

import http from 'node:http'
import net from 'node:net'
import { spawn } from 'node:child_process'
import { readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { test } from '../lib/runner.mjs'
import { world } from '../lib/setup.mjs'
import { connections } from '../lib/http.mjs'
import { Counter, DOCKER, H2Client, Session, nginx, path, replaced, serve, tool, unless } from '../lib/nginx.mjs'
import { assert, atExit, equal, freePort, temporary, until } from '../lib/util.mjs'

export const run = unless(['nginx', 'openssl'], 'nginx')

const SECRET = 'swordfish'
const ITEMS = ['CREATE TABLE items (id int PRIMARY KEY, v text)', "INSERT INTO items VALUES (1, 'one')"]
const address = (w) => `127.0.0.1:${w.busbar.port}`

// ---- many clients, few requests

const CLIENTS = 1000
const CHANGES = 5

const percent = (sorted, p) => sorted[Math.min(sorted.length - 1, Math.floor((sorted.length * p) / 100))].toFixed(0)

// All wait at the end of one shape; rows are inserted one by one, each when all have the one before.
async function crowd(t, { counted, change = [] }) {
  const w = await world(t, { sql: ITEMS })
  const counter = counted ? await Counter.create(t, w.busbar.port) : { count: 0 } // which thousands of connections would be too much for
  const n = await nginx(t, { upstream: counter.address ?? address(w), change })
  const sessions = []
  for (let i = 0; i < CLIENTS; i += 50) // the machine's queue of connections is short
    sessions.push(...(await Promise.all(Array.from({ length: Math.min(50, CLIENTS - i) }, () => Session.open(t, n.url)))))
  const arrivals = []
  const clients = sessions.map((s) => new H2Client(s, { table: 'items' }, (m, now) => arrivals.push([m.value.id, now])))
  t.cleanup(() => clients.forEach((c) => c.stop()))
  const settled = (id) =>
    until(
      () => `all wait with row ${id}: ${clients.filter((c) => c.rows.size !== id).length} don't; ${clients.flatMap((c) => c.faults)[0]}`,
      () => clients.every((c) => c.rows.size === id && c.asked.live === 'true'),
      120000,
    )
  await settled(1)
  const session = await w.session()
  const waits = []
  const costs = []
  for (let id = 2; id <= 1 + CHANGES; id++) {
    const before = counter.count
    // From before the statement: its answer may be behind that of a client in our own queue.
    const sent = performance.now()
    await session.query(`INSERT INTO items VALUES (${id}, 'v')`)
    await settled(id)
    costs.push(counter.count - before)
    waits.push(...arrivals.filter(([row]) => row === String(id)).map(([, now]) => now - sent))
  }
  waits.sort((a, b) => a - b)
  t.note(`${CLIENTS} clients${counted ? `: requests for each change: ${costs.join(', ')}` : ''}; ms from the statement: half ${percent(waits, 50)}, 99 % ${percent(waits, 99)}, last ${percent(waits, 100)}`)
  for (const c of clients) {
    equal(c.faults, [], 'faults of a client')
    equal(Object.keys(c.statuses), ['200'], 'answers')
    equal([...c.rows.values()].map((r) => r.id).sort(), ['1', '2', '3', '4', '5', '6'], 'its rows')
  }
  return costs
}

test(`${CLIENTS} clients cost Busbar a handful of requests for each change`, { timeout: 300000 }, async (t) => {
  const costs = await crowd(t, { counted: true })
  // One for those who wait. Those who came at another time have another cursor, and so another URL, until the long poll ends.
  for (const cost of costs) assert(cost <= 10, `a change cost ${cost} requests`)
})

test(`${CLIENTS} clients whose live requests aren't cached`, { timeout: 300000 }, async (t) => {
  await crowd(t, { change: [['#"~&live=', '"~&live=']] })
})

test('those who wait out a long poll together get one answer', { timeout: 120000 }, async (t) => {
  const w = await world(t, { sql: ITEMS })
  const counter = await Counter.create(t, w.busbar.port)
  const n = await nginx(t, { upstream: counter.address })
  const sessions = await Promise.all(Array.from({ length: 20 }, () => Session.open(t, n.url)))
  const all = (params) => Promise.all(sessions.map((s) => s.get(path({ table: 'items', ...params }))))
  const [first] = await all({ offset: -1 })
  const before = counter.count
  const started = Date.now()
  const answers = await all({ offset: first.offset === '0_0' ? '0_inf' : first.offset, handle: first.handle, live: true })
  assert(Date.now() - started >= 19000, 'the long poll took its 20 s, and the lock with it')
  for (const a of answers) equal([a.status, a.headers['electric-has-data']], [200, 'false'], 'an answer')
  equal(counter.count - before, 1, 'requests')
})

// ---- what is cached, and for whom

test('the cache does as cache-control says: first answers, errors, 409s, POST', async (t) => {
  const w = await world(t, { sql: ITEMS })
  const counter = await Counter.create(t, w.busbar.port)
  const n = await nginx(t, { upstream: counter.address })
  const s = await Session.open(t, n.url)
  const ask = async (params, options) => {
    const before = counter.count
    const answer = await s.get(path({ table: 'items', ...params }), options)
    return { answer, asked: counter.count - before, status: answer.status, cache: answer.headers['x-cache'] }
  }
  const first = await ask({ offset: -1 })
  equal([first.status, first.cache, first.asked], [200, 'MISS', 1], 'the first one')
  const again = await ask({ offset: -1 })
  equal([again.status, again.cache, again.asked], [200, 'HIT', 0], 'the next one')
  equal(again.answer.text(), first.answer.text(), 'its body')
  for (const h of ['electric-handle', 'electric-offset', 'electric-schema', 'etag', 'cache-control'])
    equal(again.answer.headers[h], first.answer.headers[h], h)
  const { handle } = first.answer
  equal((await ask({ offset: -1 }, { headers: { 'if-none-match': first.answer.headers.etag } })).status, 304, 'with its etag')

  const lost = { offset: '0_0', handle: '1-1' }
  const refetch = await ask(lost)
  equal([refetch.status, refetch.answer.handle, refetch.answer.text()], [409, handle, '[{"headers":{"control":"must-refetch"}}]'], 'a 409')
  equal((await ask(lost)).status, 409, 'a 409 stays one')
  for (const wrong of [{ offset: 'x' }, { offset: -1, table: 'nothing' }]) {
    equal([(await ask(wrong)).status, (await ask(wrong)).asked], [400, 1], 'a 400 is asked for again')
  }
  const subset = { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"where":"id = 1"}' }
  for (let i = 0; i < 2; i++) {
    const r = await ask({ offset: -1 }, subset)
    equal([r.status, r.asked, r.answer.json().data.length], [200, 1, 1], 'a subset')
  }
  equal((await ask({ offset: -1 }, { method: 'OPTIONS' })).status, 204, 'a preflight')
  equal((await ask({ offset: -1 }, { method: 'HEAD' })).asked, 0, 'HEAD of what is there')
  equal((await ask({ offset: -1 }, { method: 'DELETE' })).status, 202, 'DELETE gets through')
  equal((await s.get('/v1/ready')).status, 404, 'what is for the inside')
  equal((await s.get('/v1/health')).status, 200, 'health')
})

test('an answer that waits for its shape is the same for all, whatever page they are on and whatever they accept', async (t) => {
  const w = await world(t, { sql: ['CREATE TABLE items (id int PRIMARY KEY, v text)', "INSERT INTO items SELECT g, repeat('long ', 20) FROM generate_series(1, 200) g"] })
  const counter = await Counter.create(t, w.busbar.port)
  const n = await nginx(t, { upstream: counter.address })
  const sessions = await Promise.all(Array.from({ length: 6 }, () => Session.open(t, n.url)))
  const accepts = ['gzip', 'gzip, deflate, br', 'br', 'identity', '', 'gzip;q=0.5']
  const answers = await Promise.all(
    sessions.map((s, i) => s.get(path({ table: 'items', offset: -1 }), { headers: { origin: `https://page${i}.example`, 'accept-encoding': accepts[i] } })),
  )
  equal(counter.count, 1, 'requests')
  const bodies = answers.map((a) => (a.headers['content-encoding'] === 'gzip' ? gunzipSync(a.body) : a.body).toString())
  equal(new Set(bodies).size, 1, 'different bodies')
  equal(JSON.parse(bodies[0]).length, 201, 'its messages')
  equal(answers.map((a) => a.headers['content-encoding']), ['gzip', 'gzip', undefined, undefined, undefined, 'gzip'], 'compressed')
  assert(answers[0].body.length < answers[3].body.length / 10, 'compression is worth it')
  for (const a of answers) {
    equal(a.headers['access-control-allow-origin'], '*', 'allowed')
    assert(a.headers['access-control-expose-headers'].includes('electric-offset'), 'its headers are exposed')
  }
})

test('no secret opens what was cached for another, and none is in the log', async (t) => {
  const w = await world(t, { sql: ITEMS, env: { ELECTRIC_INSECURE: undefined, ELECTRIC_SECRET: SECRET } })
  const n = await nginx(t, { upstream: address(w) })
  const s = await Session.open(t, n.url)
  const ask = (params) => s.get(path({ table: 'items', offset: -1, ...params }))
  equal((await ask({ secret: SECRET })).status, 200, 'with the secret')
  equal((await ask({ secret: SECRET })).headers['x-cache'], 'HIT', 'cached')
  for (const params of [{}, { secret: 'wrong' }, { secret: '' }, { secret: 'wrong', api_secret: SECRET }])
    for (let i = 0; i < 2; i++) {
      const r = await ask(params)
      equal([r.status, r.headers['x-cache']], [401, 'MISS'], JSON.stringify(params))
    }
  equal((await ask({ secret: SECRET })).status, 200, 'still')
  await until('the log is written', () => n.log().split('\n').length > 10)
  assert(!n.log().includes(SECRET) && !n.log().includes('wrong'), 'the log shows a secret')
})

test('requests with credentials are nobody else’s, even if something else than Busbar answers', async (t) => {
  const app = http.createServer((req, res) => {
    res.setHeader('cache-control', 'public, max-age=60')
    res.end(`of ${req.headers.authorization ?? req.headers.cookie ?? 'nobody'}`)
  })
  await new Promise((done) => app.listen(0, '127.0.0.1', done))
  t.cleanup(() => app.close())
  const n = await nginx(t, { upstream: `127.0.0.1:${app.address().port}` })
  const s = await Session.open(t, n.url)
  for (const live of ['', '&live=true']) {
    const ask = async (headers) => (await s.get(`/v1/shape?table=items&offset=-1${live}`, { headers })).text()
    for (let i = 0; i < 2; i++) {
      equal(await ask({ authorization: 'Bearer a' }), 'of Bearer a', 'a')
      equal(await ask({ authorization: 'Bearer b' }), 'of Bearer b', 'b')
      equal(await ask({ cookie: 'id=c' }), 'of id=c', 'c')
      equal(await ask({}), 'of nobody', 'nobody')
    }
  }
})

test('auth.conf: the application decides, all share the answer, and only nginx knows the secret', async (t) => {
  const w = await world(t, { sql: ITEMS, env: { ELECTRIC_INSECURE: undefined, ELECTRIC_SECRET: SECRET } })
  const asked = []
  const app = http.createServer((req, res) => {
    asked.push({ url: req.url, method: req.headers['x-original-method'], uri: req.headers['x-original-uri'], user: req.headers.authorization })
    const table = new URL(req.headers['x-original-uri'], 'http://x').searchParams.get('table')
    const allowed = req.headers['x-original-method'] === 'OPTIONS' || (['anna', 'bert'].includes(req.headers.authorization) && table === 'items')
    res.statusCode = allowed ? 204 : 403
    res.end()
  })
  await new Promise((done) => app.listen(0, '127.0.0.1', done))
  t.cleanup(() => app.close())
  const counter = await Counter.create(t, w.busbar.port)
  const n = await nginx(t, { upstream: counter.address, auth: `127.0.0.1:${app.address().port}`, secret: SECRET })
  const s = await Session.open(t, n.url)
  const ask = (authorization, params = {}, options = {}) =>
    s.get(path({ table: 'items', offset: -1, ...params }), { ...options, headers: { ...(authorization ? { authorization } : {}) } })
  equal((await ask('carl')).status, 403, 'who may not')
  equal((await ask(undefined)).status, 403, 'who says nothing')
  equal(counter.count, 0, 'requests to Busbar')
  const first = await ask('anna')
  equal([first.status, first.headers['x-cache']], [200, 'MISS'], 'the first one')
  equal((await ask('bert')).headers['x-cache'], 'HIT', 'the second one')
  equal((await ask('carl')).status, 403, 'who may not, with the answer in the cache')
  equal((await ask('anna', { secret: 'mine' })).status, 200, 'a secret of the client’s own counts for nothing')
  equal((await ask('anna', {}, { method: 'POST', body: '{"table":"others","subset":{}}' })).status, 405, 'a body')
  equal((await ask(undefined, {}, { method: 'OPTIONS' })).status, 204, 'a preflight')
  equal((await s.get('/v1/health')).status, 200, 'health')
  equal((await s.get('/stream')).status, 404, 'the way inside')
  // An event stream is asked for as well.
  equal((await ask('carl', { live: true, live_sse: true, offset: '0_inf', handle: first.handle })).status, 403, 'an event stream of one who may not')
  let events = ''
  void ask('anna', { live: true, live_sse: true, offset: '0_inf', handle: first.handle }, { on: (text) => (events += text) }).catch(() => {})
  await until('the stream of one who may', () => counter.heads.some((h) => h.includes('live_sse')))
  await w.sql("INSERT INTO items VALUES (2, 'two')")
  await until('an event', () => events.includes('two'), 5000)
  assert(asked.every((a) => a.url === '/authorize'), 'the application is asked for one thing')
  assert(!JSON.stringify(asked).includes(SECRET), 'the application was told the secret')
  const files = (dir) => readdirSync(dir, { withFileTypes: true }).flatMap((f) => (f.isDirectory() ? files(join(dir, f.name)) : [join(dir, f.name)]))
  const cached = files(join(n.dir, 'cache'))
  assert(cached.length > 0, 'nothing is cached')
  for (const f of [...cached, join(n.dir, 'access.log'), join(n.dir, 'error.log')])
    assert(!readFileSync(f, 'latin1').includes(SECRET), `the secret is in ${f}`)
})

// ---- passing on

test('event streams come as they are, each client its own', async (t) => {
  const w = await world(t, { sql: ITEMS })
  const counter = await Counter.create(t, w.busbar.port)
  const n = await nginx(t, { upstream: counter.address })
  const [one, two] = await Promise.all([Session.open(t, n.url), Session.open(t, n.url)])
  const first = await one.get(path({ table: 'items', offset: -1 }))
  const before = counter.count
  for (const name of ['live_sse', 'experimental_live_sse']) {
    const texts = ['', '']
    let head
    const already = counter.count
    for (const [i, s] of [one, two].entries())
      void s.get(path({ table: 'items', offset: '0_inf', handle: first.handle, live: true, [name]: true }), {
        headers: { 'accept-encoding': 'gzip' },
        timeout: 70000,
        on: (text, h) => {
          texts[i] += text
          head = h
        },
      }).catch(() => {})
    // Before something happens there is nothing to see of them: nginx keeps the head for the first bytes of the body.
    await until('both have begun', () => counter.count === already + 2)
    for (let i = 0; i < 3; i++) {
      const mark = `${name} ${i}`
      await w.sql(`INSERT INTO items VALUES (${name.length * 10 + i}, '${mark}')`)
      // What nginx kept back would come with the end of the stream, after a minute.
      await until(`both have ${mark}`, () => texts.every((text) => text.includes(mark)), 5000)
    }
    equal([head['content-type'], head['content-encoding']], ['text/event-stream', undefined], 'the stream')
  }
  equal(counter.count - before, 4, 'requests')
  // Who leaves is let go: nobody waits at Busbar for them.
  one.close()
  two.close()
  await until('their requests end', () => connections(w.busbar.port) <= 2, 5000)
})

test('only a GET whose connection broke is tried again', async (t) => {
  // Answers the first request of each connection, and breaks it at the second.
  const heads = []
  const server = net.createServer((c) => {
    let n = 0
    c.on('error', () => {})
    c.on('data', (d) => {
      const head = d.toString('latin1')
      if (!/^[A-Z]+ /.test(head)) return
      heads.push(head.split(' ')[0])
      if (n++ > 0) return c.destroy()
      const status = head.includes('busy') ? '503 Service Unavailable\r\nretry-after: 5' : head.includes('gone') ? '409 Conflict' : '200 OK'
      c.write(`HTTP/1.1 ${status}\r\ncontent-length: 2\r\ncache-control: no-store\r\n\r\n[]`)
    })
  })
  await new Promise((done) => server.listen(0, '127.0.0.1', done))
  t.cleanup(() => server.close())
  const n = await nginx(t, { upstream: `127.0.0.1:${server.address().port}`, change: [['worker_processes auto;', 'worker_processes 1;']] })
  const s = await Session.open(t, n.url)
  const ask = async (query, options) => {
    heads.length = 0
    const r = await s.get(`/v1/shape?${query}`, options)
    return [r.status, [...heads]]
  }
  equal(await ask('a'), [200, ['GET']], 'the first')
  equal(await ask('b'), [200, ['GET', 'GET']], 'a GET on a connection that breaks')
  equal(await ask('c', { method: 'POST', body: '{}' }), [502, ['POST']], 'a POST')
  equal(await ask('busy'), [503, ['GET']], 'a 503')
  equal((await s.get('/v1/shape?busy2')).headers['retry-after'], '5', 'its retry-after')
  await ask('d')
  equal((await ask('gone'))[0], 409, 'a 409')
})

test('heads as long as Busbar takes and gives them', async (t) => {
  const columns = Array.from({ length: 300 }, (_, i) => `a_long_name_of_a_column_${i} numeric(20, 5) NOT NULL DEFAULT 0`)
  const w = await world(t, { sql: [`CREATE TABLE wide (id int PRIMARY KEY, ${columns.join(', ')})`, 'INSERT INTO wide (id) VALUES (1)'] })
  const n = await nginx(t, { upstream: address(w) })
  const s = await Session.open(t, n.url)
  const wide = await s.get(path({ table: 'wide', offset: -1, columns: ['id', ...columns.slice(0, 180).map((c) => c.split(' ')[0])].join(',') }))
  equal(wide.status, 200, 'many columns')
  assert(wide.headers['electric-schema'].length > 14000, `a schema of ${wide.headers['electric-schema'].length} bytes`)
  const list = Array.from({ length: 1500 }, (_, i) => i).join(',')
  equal((await s.get(path({ table: 'wide', columns: 'id', offset: -1, where: `id IN (${list})` }))).status, 200, 'a long condition')
})

// ---- a page

const SHAPES = 8
const PAGE = (base, sse) => `<!doctype html><script type="module">
import { ShapeStream } from '/client.mjs'
const report = (what) => fetch('/report', { method: 'POST', body: JSON.stringify(what) })
const started = Date.now()
for (let i = 0; i < ${SHAPES}; i++) {
  const stream = new ShapeStream({ url: '${base}/v1/shape', params: { table: 't' + i }, liveSse: ${sse} })
  stream.subscribe((messages) => {
    const now = Date.now()
    for (const m of messages) if (m.value) report({ shape: i, id: Number(m.value.id), now, started })
  }, (e) => report({ fault: String(e) }))
}
</script>`

// A new browser, with a profile of its own. Gives what ends it, as the test's end does.
function browse(t, chromium, url) {
  const child = spawn(
    chromium,
    ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
      '--ignore-certificate-errors', `--user-data-dir=${temporary('chromium')}`, '--remote-debugging-port=0', url],
    { stdio: ['ignore', 'pipe', 'pipe'], detached: true },
  )
  const ended = new Promise((done) => child.on('close', done))
  const kill = () => child.exitCode === null && child.signalCode === null && process.kill(-child.pid, 'SIGKILL')
  const forget = atExit(kill)
  const close = async () => {
    kill()
    await ended
    forget()
  }
  t.cleanup(close)
  return close
}

async function page(t, sse) {
  const chromium = tool('chromium')
  if (!chromium) {
    assert(process.env.CI !== 'true', 'no chromium: test.sh installs it')
    return t.note('not run: there is no chromium')
  }
  const w = await world(t, {
    sql: Array.from({ length: SHAPES }, (_, i) => [`CREATE TABLE t${i} (id int PRIMARY KEY, v text)`, `INSERT INTO t${i} VALUES (1, 'one')`]).flat(),
  })
  const counter = await Counter.create(t, w.busbar.port)
  const n = await nginx(t, { upstream: counter.address })
  const seen = []
  const client = join(import.meta.dirname ?? new URL('.', import.meta.url).pathname, '../node_modules/@electric-sql/client/dist/index.browser.mjs')
  const server = http.createServer((req, res) => {
    if (req.method === 'POST') {
      let text = ''
      req.on('data', (d) => (text += d))
      req.on('end', () => {
        seen.push(JSON.parse(text))
        res.end()
      })
    } else if (req.url === '/client.mjs') {
      res.setHeader('content-type', 'text/javascript')
      res.end(readFileSync(client))
    } else {
      res.setHeader('content-type', 'text/html')
      res.end(PAGE(n.url, sse))
    }
  })
  await new Promise((done) => server.listen(0, '127.0.0.1', done))
  t.cleanup(() => server.close())
  const have = (id) => seen.filter((s) => s.id === id)
  const all = (id) =>
    until(() => `all shapes have row ${id}: ${JSON.stringify(seen.slice(-12))}`, () => new Set(have(id).map((s) => s.shape)).size === SHAPES, 60000)
  const first = () => Math.max(...have(1).map((s) => s.now - s.started))
  const close = browse(t, chromium, `http://127.0.0.1:${server.address().port}/`)
  await all(1)
  const born = first()
  const waiting = () => connections(w.busbar.port)
  // All eight wait at Busbar at once, and come over one connection of the browser's.
  await until(() => `${SHAPES} wait: ${waiting()}`, () => counter.heads.filter((h) => h.includes('live=true')).length >= SHAPES)
  equal(connections(n.port), 1, 'connections of the page')
  const session = await w.session()
  const waits = []
  for (let id = 2; id <= 6; id++) {
    for (let i = 0; i < SHAPES; i++) await w.sql(`INSERT INTO t${i} VALUES (${id}, 'v')`)
    await all(id)
    // One at a time, so that the time is its own.
    const sent = []
    for (let i = 0; i < SHAPES; i++) {
      sent[i] = Date.now()
      await session.query(`INSERT INTO t${i} VALUES (${id + 100}, 'v')`)
      await until('it is there', () => have(id + 100).some((s) => s.shape === i), 10000, 2)
    }
    waits.push(...have(id + 100).map((s) => s.now - sent[s.shape]))
  }
  equal(seen.filter((s) => s.fault), [], 'faults')
  equal(connections(n.port), 1, 'connections of the page, still')
  waits.sort((a, b) => a - b)
  await close()
  seen.length = 0
  browse(t, chromium, `http://127.0.0.1:${server.address().port}/`)
  await all(6)
  t.note(`first rows after ${born} ms, with the shapes there after ${first()} ms; changes, in ms from the statement: half ${percent(waits, 50)}, last ${percent(waits, 100)}`)
}

for (const sse of [false, true])
  test(`${SHAPES} shapes on a page of Chromium over one connection, ${sse ? 'event streams' : 'long polls'}`, { timeout: 300000 }, (t) => page(t, sse))

// ---- Caddy

test('Caddy: valid, HTTP/2, event streams and long polls side by side, no secret in its log', async (t) => {
  const caddy = tool('caddy')
  if (!caddy) {
    assert(process.env.CI !== 'true', 'no caddy: test.sh unpacks it')
    return t.note('not run: there is no caddy')
  }
  const w = await world(t, { sql: ITEMS, env: { ELECTRIC_INSECURE: undefined, ELECTRIC_SECRET: SECRET } })
  const counter = await Counter.create(t, w.busbar.port)
  const port = await freePort()
  const dir = temporary('caddy')
  writeFileSync(
    join(dir, 'Caddyfile'),
    `{\n\tadmin off\n\tauto_https disable_redirects\n\tskip_install_trust\n\tlocal_certs\n}\n${replaced(readFileSync(join(DOCKER, 'caddy/Caddyfile'), 'utf8'), [
      ['shapes.example.com {', `https://127.0.0.1:${port} {`],
      ['busbar:3000', counter.address],
    ])}`,
  )
  const env = { ...process.env, HOME: dir, XDG_DATA_HOME: dir, XDG_CONFIG_HOME: dir }
  const c = await serve(t, caddy, ['run', '--config', join(dir, 'Caddyfile'), '--adapter', 'caddyfile'], port, { env })
  const s = await until('a session', () => Session.open(t, `https://127.0.0.1:${port}`))
  const ask = (params, options) => s.get(path({ table: 'items', secret: SECRET, ...params }), options)
  const first = await ask({ offset: -1 })
  equal(first.status, 200, 'the first answer')
  equal((await s.get(path({ table: 'items', offset: -1, secret: 'wrong' }))).status, 401, 'another secret')
  equal((await s.get('/v1/ready')).status, 404, 'what is for the inside')
  const position = { offset: '0_inf', handle: first.handle, live: true }
  const polls = Array.from({ length: 8 }, () => ask(position))
  let events = ''
  void ask({ ...position, live_sse: true }, { on: (text) => (events += text), headers: { 'accept-encoding': 'gzip' } }).catch(() => {})
  await until('all nine wait', () => counter.heads.filter((h) => h.includes('live=true')).length === 9)
  await w.sql("INSERT INTO items SELECT g, repeat('long ', 50) FROM generate_series(2, 20) g")
  for (const a of await Promise.all(polls)) equal([a.status, a.changes().length], [200, 19], 'a poll')
  await until('the events', () => events.includes('"20"'), 5000)
  const packed = await ask({ offset: '0_inf', handle: first.handle }, { headers: { 'accept-encoding': 'gzip' } })
  equal([packed.headers['content-encoding'], JSON.parse(gunzipSync(packed.body)).length], ['gzip', 20], 'compressed')
  equal((await ask({ offset: '0_0', handle: '1-1' })).status, 409, 'a 409')
  await until('it writes a log', () => c.output.includes('/v1/shape'))
  assert(!c.output.split('\n').some((l) => l.includes('http.log.access') && l.includes(SECRET)), 'the log shows the secret')
})
