// The admin port: its paths, its JSON, its page in a browser, `busbar top`.

import { execFile, spawn } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import http from 'node:http'
import net from 'node:net'
import { BINARY, preload } from '../lib/busbar.mjs'
import { browser } from '../lib/chromium.mjs'
import { get, readAll, shape, shapeUrl } from '../lib/http.mjs'
import { test } from '../lib/runner.mjs'
import { world } from '../lib/setup.mjs'
import { assert, equal, freePort, temporary, until, within } from '../lib/util.mjs'

const doc = (name) => readFileSync(new URL(`../../../docs/${name}.md`, import.meta.url), 'utf8')
const TABLE = 'CREATE TABLE t (id int PRIMARY KEY, tenant int, v text)'
const fill = (from, to) => `INSERT INTO t SELECT g, g % 10, 'x' || g FROM generate_series(${from}, ${to}) g`

// A world with the port; `admin.get(noun)` is its JSON.
async function watched(t, { sql = [TABLE], env = {}, ...options } = {}) {
  const port = await freePort()
  const w = await world(t, { sql, env: { BUSBAR_ADMIN_PORT: String(port), ...env }, ...options })
  w.admin = `http://127.0.0.1:${port}`
  w.adminPort = port
  w.noun = async (path) => {
    const answer = await get(`${w.admin}/admin/${path}`)
    equal([answer.status, answer.headers['content-type']], [200, 'application/json'], path)
    return answer.json()
  }
  return w
}

const ask = (w, params, extra = {}) => shape(w.busbar.url, { table: 't', offset: -1, ...params, ...extra })

test('without BUSBAR_ADMIN_PORT there is no admin page, on the API’s port neither', async (t) => {
  const w = await world(t, { sql: [TABLE] })
  for (const path of ['/admin', '/admin/status', '/admin/shapes']) equal((await get(`${w.busbar.url}${path}`)).status, 404, path)
  assert(!/admin/.test(w.busbar.output), w.busbar.tail())
})

test('an address that is none, and a port that is taken, end the start with the setting’s name', async (t) => {
  const port = await freePort()
  const taken = net.createServer()
  await new Promise((done) => taken.listen(port, '127.0.0.1', done))
  t.cleanup(() => taken.close())
  for (const [env, says] of [
    [{ BUSBAR_ADMIN_PORT: String(port) }, /cannot listen on 127\.0\.0\.1, port \d+ \(BUSBAR_ADMIN_PORT\)/],
    [{ BUSBAR_ADMIN_PORT: String(port), BUSBAR_ADMIN_ADDRESS: 'everywhere' }, /BUSBAR_ADMIN_ADDRESS: must be an IP address/],
  ]) {
    const w = await world(t, { sql: [TABLE], env, start: false })
    await w.busbar.start({ active: false })
    equal(await within('it ends', 10000, w.busbar.exited), 1, 'exit status')
    assert(says.test(w.busbar.output), w.busbar.tail())
  }
})

test('the port is on loopback, answers GET and HEAD to names of this machine, and lets nobody else’s page read it', async (t) => {
  const w = await watched(t)
  const status = `${w.admin}/admin/status`
  const host = async (name) => (await get(status, { headers: name === undefined ? {} : { host: name } })).status
  for (const name of [undefined, 'localhost', `localhost:${w.adminPort}`, 'LOCALHOST:1', '127.0.0.1', `[::1]:${w.adminPort}`]) equal(await host(name), 200, `host ${name}`)
  for (const name of ['busbar.example', `rebound.example:${w.adminPort}`, 'localhost.example', '127.0.0.1.example', '10.0.0.1', 'x'.repeat(300)]) equal(await host(name), 403, `host ${name}`)
  const head = await get(status, { method: 'HEAD' })
  equal([head.status, head.text()], [200, ''], 'HEAD')
  for (const [path, method] of [['/admin/status', 'POST'], ['/admin/status', 'DELETE'], ['/admin/status', 'OPTIONS'], ['/admin/', 'GET'], ['/admin/nothing', 'GET'], ['/metrics', 'GET'], ['/v1/shape?table=t&offset=-1', 'GET']])
    equal((await get(`${w.admin}${path}`, { method })).status, 404, `${method} ${path}`)
  for (const path of ['/', '/admin', '/admin/page.css', '/admin/page.js', '/admin/status', '/admin/nothing']) {
    const { headers } = await get(`${w.admin}${path}`, { headers: { origin: 'https://elsewhere.example' } })
    equal(headers['access-control-allow-origin'], undefined, `${path}: allowed origin`)
    equal([headers['x-frame-options'], headers['x-content-type-options'], headers['cache-control']], ['DENY', 'nosniff', 'no-store'], path)
    assert(/default-src 'none'/.test(headers['content-security-policy']) && !/unsafe/.test(headers['content-security-policy']), `${path}: its policy`)
  }
})

test('one address has half of the connections; others are answered all the same', async (t) => {
  const w = await watched(t)
  const sockets = []
  t.cleanup(() => sockets.forEach((s) => s.destroy()))
  const open = () =>
    new Promise((done, failed) => {
      const s = net.connect(w.adminPort, '127.0.0.1', () => done(s))
      s.on('error', failed)
      s.closed_ = new Promise((closed) => s.on('close', closed))
      sockets.push(s)
    })
  for (let i = 0; i < 8; i++) (await open()).write('GET /admin/status HTTP/1.1\r\n') // a request that never ends
  await within('the ninth is closed', 5000, (await open().then((s) => s.closed_)))
  const elsewhere = await get(`${w.admin}/admin/status`, { localAddress: '127.0.0.2' })
  equal(elsewhere.status, 200, 'from another address')
})

test('with an address of all, any Host will do', async (t) => {
  const w = await watched(t, { env: { BUSBAR_ADMIN_ADDRESS: '0.0.0.0' } })
  equal((await get(`${w.admin}/admin/status`, { headers: { host: 'busbar.example' } })).status, 200, 'another name')
})

// The names in an answer, with those inside: of a list, of its first.
function names(v, before = '') {
  if (Array.isArray(v)) return v.length ? names(v[0], before) : []
  if (v === null || typeof v !== 'object') return []
  return Object.entries(v).flatMap(([k, inner]) => [`${before}${k}`, ...names(inner, `${before}${k}.`)])
}

test('each noun has the fields that docs/admin.md lists', async (t) => {
  const w = await watched(t)
  await w.sql(fill(1, 20))
  await readAll(w.busbar.url, { table: 't', where: 'tenant = 1', columns: 'id,tenant' })
  await w.sql('TRUNCATE t')
  await until('it has rotated', async () => (await w.noun('events')).events.some((e) => e.kind === 'rotation'))
  await readAll(w.busbar.url, { table: 't', where: 'tenant = 1', columns: 'id,tenant' })
  await until('two samples', async () => (await w.noun('lag')).samples.length > 0)
  const text = doc('admin')
  for (const noun of ['status', 'shapes', 'clients', 'events', 'memory', 'lag']) {
    const section = text.split(`## /admin/${noun}\n`)[1]?.split('\n## ')[0]
    assert(section, `docs/admin.md has no /admin/${noun}`)
    const told = [...section.matchAll(/^\| (`[^|]+) \|/gm)].flatMap((m) => [...m[1].matchAll(/`([a-z0-9_.]+)`/g)].map((n) => n[1]))
    // Of what has a field for each value of a label, the docs name the field.
    const open = new Set(['answers', 'shapes', 'routing', 'waiting', 'parts'])
    const given = names(await w.noun(noun)).filter((n) => !(noun !== 'shapes' && open.has(n.split('.')[0]) && n.includes('.')))
    const flat = given.filter((n) => !given.some((other) => other.startsWith(`${n}.`)))
    equal([...new Set(flat)].sort(), [...new Set(told)].sort(), noun)
  }
})

test('explain: what a condition costs, as docs/admin.md lists it, and refusals', async (t) => {
  const w = await watched(t, { sql: [TABLE, 'CREATE TABLE grants (who text, tenant int, PRIMARY KEY (who, tenant))'] })
  const ask = (params) => get(`${w.admin}/admin/explain?${new URLSearchParams(params)}`)
  const answer = await ask({ table: 't', where: "tenant IN (SELECT tenant FROM grants WHERE who = $1) AND v <> 'x'", 1: 'ada' })
  const said = answer.json()
  equal([answer.status, said.table, said.cost, said.index], [200, 'public.t', 'residual', ['eq(tenant)']], answer.text())
  equal(said.subqueries.map((q) => [q.table, q.cost, q.index]), [['public.grants', 'indexed', ['eq(who)']]], 'subqueries')
  equal((await ask({ table: 't', where: 'v = $1 AND tenant = $2', 1: '', 2: '3' })).status, 200, 'an empty value is one')
  // As in the URL of a shape.
  const bracketed = await ask({ table: 't', where: 'v = $1 AND tenant = $2', 'params[2]': '3', 'params[1]': 'a b' })
  equal([bracketed.status, bracketed.text()], [200, (await ask({ table: 't', where: 'v = $1 AND tenant = $2', 1: 'a b', 2: '3' })).text()], 'params[1]')
  equal((await get(`${w.admin}/admin/explain?table=t&where=tenant=$1&params[1]=3`)).status, 200, 'brackets as they are')
  const section = doc('admin').split('## /admin/explain\n')[1].split('\n## ')[0]
  const told = [...section.matchAll(/^\| (`[^|]+) \|/gm)].flatMap((m) => [...m[1].matchAll(/`([a-z0-9_.]+)`/g)].map((n) => n[1]))
  equal(names(said).filter((n) => n !== 'subqueries').sort(), told.sort(), 'fields')
  for (const [params, what] of [
    [{}, /table: it must be given/],
    [{ table: 'nope' }, /nope.* does not exist/],
    [{ table: 't', where: 'nosuch = 1' }, /unknown reference nosuch/],
    [{ table: 't', wehre: 'tenant = 1' }, /^wehre: there is no such parameter/],
    [{ table: 't', columns: 'id' }, /^columns: there is no such parameter/],
    [{ table: 't', 'params[x]': '1' }, /^params\[x\]: there is no such parameter/],
    [{ table: 't', 'params[01]': '1' }, /^params\[01\]: there is no such parameter/],
    [{ table: 't', where: 'tenant = $1', 33: '1' }, /^33: there may be 32 values/],
    [{ table: 't', where: 'tenant = $1', 'params[2]': '1' }, /^params\[1\]: it must be given/],
    [{ table: 't', where: 'tenant = $1', 1: '1', 'params[1]': '2' }, /^params\[1\]: it is given twice/],
    [[['table', 't'], ['table', 'u']], /^table: it is given twice/],
    [{ table: 't', where: 'tenant IN (SELECT x FROM elsewhere)' }, /elsewhere.* does not exist/],
  ]) {
    const refused = await ask(params)
    equal([refused.status, what.test(refused.json().error)], [400, true], refused.text())
  }
})

test('shapes: rows, bytes, readers, last read, changes, routing; in order, page by page, by table', async (t) => {
  const w = await watched(t, { sql: [TABLE, 'CREATE TABLE other (id int PRIMARY KEY, v text)', fill(1, 100)] })
  const params = [{ table: 't' }, { table: 't', where: 'tenant = 3' }, { table: 't', where: "v LIKE '%9'", replica: 'full' }, { table: 'other', columns: 'id' }]
  const read = []
  for (const p of params) read.push(await readAll(w.busbar.url, p))
  const live = shape(w.busbar.url, { table: 't', where: 'tenant = 3', handle: read[1].handle, offset: read[1].offset, live: true })
  const all = () => w.noun('shapes?sort=made&order=asc')
  await until('one waits, and all are routed', async () => {
    const { shapes } = await all()
    return shapes[1].readers === 1 && shapes.every((s) => s.routing !== null)
  })
  let { shapes, total, next } = await all()
  equal([total, next], [4, null], 'total')
  equal(shapes.map((s) => s.handle), read.map((r) => r.handle), 'handles')
  equal(shapes.map((s) => s.table), ['public.t', 'public.t', 'public.t', 'public.other'], 'tables')
  equal(shapes.map((s) => s.rows), [100, 10, 10, 0], 'rows')
  equal(shapes.map((s) => s.readers), [0, 1, 0, 0], 'readers')
  equal(shapes.map((s) => s.routing), ['all', 'indexed', 'unindexed', 'all'], 'routing')
  equal(shapes.map((s) => s.state), Array(4).fill('live'), 'state')
  equal(shapes.map((s) => s.columns), [null, null, null, ['id']], 'columns')
  equal(shapes.map((s) => s.replica), ['default', 'default', 'full', 'default'], 'replica')
  equal(shapes.map((s) => s.where === null), [true, false, false, true], 'conditions')
  assert(/"tenant".*3/.test(shapes[1].where), shapes[1].where)
  assert(shapes.every((s) => s.cost && Math.abs(Date.parse(s.made) - Date.now()) < 120000 && s.read_s_ago < 120), JSON.stringify(shapes))
  assert(shapes[0].bytes > shapes[1].bytes && shapes[1].bytes > 0, 'bytes')

  // An insert, a delete, a row that leaves the condition, one that comes.
  await w.sql(fill(103, 103))
  equal((await live).status, 200, 'it is woken')
  await w.sql('DELETE FROM t WHERE id = 13')
  await w.sql('UPDATE t SET tenant = 3 WHERE id IN (1, 2)')
  await w.sql('UPDATE t SET tenant = 4 WHERE id = 3')
  await until('its rows', async () => {
    const { shapes: [whole, of3] } = await all()
    return whole.rows === 100 && whole.changes === 5 && of3.rows === 11 && of3.changes === 5
  })
  // A rate is there from the second look on, a second after the first.
  await until('rates', async () => (await w.noun('shapes?sort=changes')).changes_over_s !== null)
  await w.sql(fill(200, 299))
  await until('a rate, and all rows', async () => {
    const { shapes: list } = await w.noun('shapes?sort=changes')
    return list[0].changes_s > 0 && list.reduce((sum, s) => sum + s.rows, 0) === 200 + 21 + 20
  })

  const order = async (query) => (await w.noun(`shapes?${query}`)).shapes.map((s) => s.handle)
  const [h0, h1, h2, h3] = read.map((r) => r.handle)
  equal(await order('sort=rows'), [h0, h1, h2, h3].sort((a, b) => byRows(b) - byRows(a)), 'by rows')
  function byRows(h) {
    return { [h0]: 200, [h1]: 21, [h2]: 20, [h3]: 0 }[h]
  }
  equal((await order('sort=readers&order=asc')).length, 4, 'by readers')
  equal(await order('table=public.other'), [h3], 'of a table')
  equal(await order('table=public.nothing'), [], 'of no table')
  for (const sort of ['made', 'bytes', 'rows', 'readers', 'changes', 'read'])
    for (const way of ['asc', 'desc']) {
      const seen = []
      for (let after = ''; after !== null;) {
        const page = await w.noun(`shapes?limit=1&sort=${sort}&order=${way}&after=${after}`)
        assert(page.shapes.length <= 1 && page.total === 4, 'a page')
        seen.push(...page.shapes.map((s) => s.handle))
        after = page.next
      }
      if (sort !== 'changes') equal(seen, await order(`sort=${sort}&order=${way}`), `pages by ${sort} ${way}`)
    }
  for (const wrong of ['limit=0', 'limit=1001', 'limit=x', 'sort=nothing', 'order=up', 'after=x', 'after=1.2x', 'table=%zz', `table=${'x'.repeat(500)}`]) {
    const answer = await get(`${w.admin}/admin/shapes?${wrong}`)
    equal(answer.status, 400, wrong)
    assert(answer.json().error.startsWith(`${wrong.split('=')[0]}: must be`), answer.text())
  }

  // After a restart bytes are known, rows aren't.
  await w.busbar.stop()
  await w.busbar.start()
  ;({ shapes } = await all())
  equal(shapes.map((s) => [s.rows, s.changes]), Array(4).fill([null, 0]), 'after a restart')
  assert(shapes[0].bytes > 0, 'bytes after a restart')
})

test('a transaction that is staged is counted, too', async (t) => {
  const w = await watched(t)
  await readAll(w.busbar.url, { table: 't' })
  await w.sql("INSERT INTO t SELECT g, g % 10, repeat('x', 400) FROM generate_series(1, 40000) g")
  await w.sql('DELETE FROM t WHERE id <= 1000')
  await until('rows', async () => {
    const { shapes: [s] } = await w.noun('shapes')
    return s.rows === 39000 && s.changes === 41000
  }, 60000)
})

test('events with their reasons, clients, memory, status', async (t) => {
  const w = await watched(t)
  await w.sql(fill(1, 20))
  const { handle, offset } = await readAll(w.busbar.url, { table: 't' })
  await w.sql('TRUNCATE t')
  await until('a 409', async () => (await ask(w, { handle, offset })).status === 409)
  const { events } = await w.noun('events')
  const rotation = events.find((e) => e.kind === 'rotation')
  equal([rotation.reason, rotation.table, rotation.shape, rotation.count], ['table-truncated', 'public.t', handle, 1], 'the rotation')
  assert(rotation.meaning.length > 5 && Math.abs(Date.parse(rotation.at) - Date.now()) < 60000, JSON.stringify(rotation))
  equal(events.at(-1).kind, 'process', 'the first')
  equal(events.map((e) => e.number), Array.from(events, (_, i) => events.length - i), 'numbers')
  equal((await w.noun(`events?after=${events[0].number}`)).events, [], 'newer ones')
  assert((await w.noun('events?kind=process')).events.every((e) => e.kind === 'process'), 'of a kind')
  for (const wrong of ['kind=rotations', 'after=-1', 'after=x']) equal((await get(`${w.admin}/admin/events?${wrong}`)).status, 400, wrong)

  const again = await readAll(w.busbar.url, { table: 't' })
  const live = [1, 2, 3].map(() => ask(w, { handle: again.handle, offset: again.offset, live: true }))
  await until('three wait', async () => (await w.noun('clients')).waiting.long_poll === 3)
  const clients = await w.noun('clients')
  assert(clients.connections >= 3 && clients.places.existing.used >= 3 && clients.places.existing.limit === 10000, JSON.stringify(clients))
  equal(clients.sent_back.map((r) => [r.reason, r.total]), [['table-truncated', 1]], 'sent back')
  equal(clients.refused, [], 'refused')
  await w.sql(fill(1, 1))
  for (const answer of await Promise.all(live)) equal(answer.status, 200, 'they are woken')
  await until('the lag', async () => (await w.noun('status')).lag.commit_to_client.p99_ms !== null)
  await until('a sample with it', async () => (await w.noun('lag')).samples.some((s) => s.client_p99_ms !== null))
  const { samples } = await w.noun('lag')
  const after = await w.noun(`lag?after=${samples[0].at_ms}`)
  equal(after.samples.slice(0, samples.length - 1), samples.slice(1), 'those after the first')

  const status = await w.noun('status')
  equal([status.status, status.ready, status.reason, status.shapes.live, status.routing.all], ['active', true, null, 1, 1], 'status')
  await until('the guard has looked', async () => (await w.noun('status')).postgres.state === 'fine')
  equal((await w.noun('status')).postgres.slot, 'reserved', 'slot')
  const memory = await w.noun('memory')
  assert(memory.resident_bytes > 1e6 && memory.own_bytes > 0 && memory.store.file_bytes > 0 && memory.open_files > 10, JSON.stringify(memory))
})

test('who is refused', async (t) => {
  const w = await watched(t, { env: { ELECTRIC_MAX_CONCURRENT_REQUESTS: '{"initial":1,"existing":1}' } })
  const { handle, offset } = await readAll(w.busbar.url, { table: 't' })
  await until('no place is taken', async () => (await w.noun('clients')).places.existing.used === 0)
  const live = ask(w, { handle, offset, live: true })
  await until('it waits', async () => (await w.noun('clients')).waiting.long_poll === 1)
  equal((await ask(w, { handle, offset, live: true })).status, 503, 'the second one')
  const { refused, places } = await w.noun('clients')
  equal(refused.map((r) => [r.total, r.lately]), [[1, 1]], 'refused')
  equal(places.existing, { used: 1, limit: 1, refused: 1 }, 'places')
  assert((await w.noun('events')).events.some((e) => e.kind === 'refusal' && e.reason === refused[0].reason), 'its event')
  await w.sql(fill(1, 1))
  await live
})

// ---- the page

const PICTURES = process.env.E2E_PICTURES // a folder to leave pictures of the page in

// Opens the page, light and dark, and looks at what its user would notice; `check` asks more of it.
async function pages(t, w, chromium, name, check) {
  for (const scheme of ['light', 'dark']) {
    const page = await chromium.open(`${w.admin}/`, { scheme })
    await page.until('it has been shown', `document.getElementById('asked').textContent.startsWith('as of')`)
    equal(await page.evaluate('document.documentElement.scrollWidth <= innerWidth'), true, `${scheme}: nothing is wider than the page`)
    equal(await page.evaluate(`getComputedStyle(document.body).backgroundColor`), scheme === 'light' ? 'rgb(246, 247, 249)' : 'rgb(20, 23, 28)', 'its ground')
    await check(page)
    if (PICTURES) {
      mkdirSync(PICTURES, { recursive: true })
      writeFileSync(`${PICTURES}/${name}-${scheme}.png`, await page.picture())
    }
    equal(page.errors, [], `${scheme}: errors`)
    const elsewhere = page.requests.filter((url) => !url.startsWith(`${w.admin}/`) && !url.startsWith('data:'))
    equal(elsewhere, [], `${scheme}: requests to elsewhere`)
    await page.close()
  }
}

test('the page without a shape', async (t) => {
  const chromium = await browser(t)
  if (!chromium) return
  const w = await watched(t)
  await pages(t, w, chromium, 'none', async (page) => {
    await page.until('no shape', `!document.getElementById('shapes-empty').hidden`)
    equal(await page.evaluate(`document.querySelector('#live .big').textContent`), 'Yes', 'live')
    equal(await page.evaluate(`document.getElementById('pager').hidden`), true, 'no pages')
    equal(await page.evaluate(`document.getElementById('plot-empty').hidden`), false, 'no lag')
  })
})

// What the page says: the four answers, their looks, the title, whether the rest is shown as old.
const SAID = `(() => {
  const of = (id, what) => document.getElementById(id).querySelector(what).textContent
  const ids = ['live', 'late', 'danger', 'refused']
  return { title: document.title, big: ids.map((id) => of(id, '.big')), looks: ids.map((id) => document.getElementById(id).className), stale: document.body.className === 'stale' }
})()`

test('the page says so when Busbar is gone, or frozen, and is as before when it answers again', async (t) => {
  const chromium = await browser(t)
  if (!chromium) return
  const w = await watched(t)
  await until('the guard has looked', async () => (await w.noun('status')).postgres.state === 'fine')
  const page = await chromium.open(`${w.admin}/`)
  const fine = () => page.until('all is fine', `(({ title, big, stale }) => title === 'Busbar: active' && big[0] === 'Yes' && big[2] === 'No' && big[3] === 'Nobody' && !stale)(${SAID})`)
  const nothing = async (what, why) => {
    await page.until(what, `document.title === 'Busbar: no answer'`)
    const said = await page.evaluate(SAID)
    equal([said.big, said.looks, said.stale], [['No answer', 'Not known', 'Not known', 'Not known'], ['danger', 'unknown', 'unknown', 'unknown'], true], what)
    const asked = await page.evaluate(`document.getElementById('asked').textContent`)
    assert(why.test(asked), asked)
    assert(/^the last answer is of \d\d:\d\d:\d\d$/.test(await page.evaluate(`document.querySelector('#danger .more').textContent`)), 'since when')
  }
  await fine()
  process.kill(w.busbar.pid, 'SIGSTOP')
  t.cleanup(() => w.busbar.child?.kill('SIGCONT'))
  await nothing('it is frozen', /^no answer: none within 5 s/)
  process.kill(w.busbar.pid, 'SIGCONT')
  await fine()
  await w.busbar.stop()
  await nothing('it is gone', /^no answer: /)
  await w.busbar.start()
  await fine()
})

test('the page of one that stands still, sleeps, or could not look; events of another day; conditions; a sample by itself', async (t) => {
  const chromium = await browser(t)
  if (!chromium) return
  const w = await watched(t)
  await until('the guard has looked', async () => (await w.noun('status')).postgres.state === 'fine')
  const status = await w.noun('status')
  const page = await chromium.open(`${w.admin}/`)
  await page.until('it has been shown', `document.getElementById('asked').textContent.startsWith('as of')`)
  // What it makes of a status: looked at before it asks for the next.
  const told = (change, postgres) =>
    page.evaluate(`(() => {
      const s = ${JSON.stringify({ ...status, ...change, postgres: { ...status.postgres, ...postgres } })}
      for (const show of [showLive, showLate, showDanger]) show(s)
      return ['live', 'late', 'danger'].map((id) => [document.getElementById(id).className, ...['.big', '.more'].map((c) => document.getElementById(id).querySelector(c).textContent)])
    })()`)
  const unseen = { state: 'unknown', wal_held_by_us_bytes: null, wal_held_by_others_bytes: null, behind_s: null }
  for (const [seconds, look, says] of [[14, '', 'Nothing to tell'], [15, 'watch', 'At least 15 s'], [59, 'watch', 'At least 59 s'], [60, 'danger', 'At least 1 min']])
    equal((await told({}, { behind_s: seconds, looked_s_ago: 2 }))[1].slice(0, 2), [look, says], `${seconds} s behind`)
  assert(/our position has stood still for 40 s$/.test((await told({}, { state: 'watch', behind_s: 40 }))[2][2]), 'Postgres')
  let [live, late, danger] = await told({ postgres_asleep: true }, { ...unseen, looked_s_ago: 100 })
  equal([live[0], live[1], late[1], danger[1]], ['fine', 'Asleep', 'Asleep', 'Not known'], 'asleep')
  assert(/the next request wakes it/.test(live[2]) && /^not looked at since (\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d$/.test(danger[2]), `${live} ${danger}`)
  ;[live, late, danger] = await told({ postgres_asleep: true }, { behind_s: 3000, looked_s_ago: 100 })
  equal([late[1], danger[1]], ['Asleep', 'No'], 'asleep, and looked at')
  assert(/seen 1 min ago$/.test(danger[2]) && !/stood still/.test(danger[2]), danger[2])
  ;[live, late, danger] = await told({ postgres_away: true }, { ...unseen, looked_s_ago: 86400 * 3 })
  equal([live[1], late[1], danger[1]], ['Known shapes only', 'Not known', 'Not known'], 'away')
  assert(/^not looked at since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/.test(danger[2]), danger[2])
  equal((await told({}, { ...unseen, looked_s_ago: null }))[2][2], 'nobody could look yet', 'never')

  const day = 86400000
  const times = await page.evaluate(`(() => {
    const at = (ms) => ({ kind: 'process', last: new Date(clock.server - ms).toISOString(), text: 'x', count: 1 })
    showEvents({ events: [at(0), at(${day})] })
    return [...document.querySelectorAll('#events tr')].map((tr) => tr.cells[0].textContent)
  })()`)
  assert(/^\d\d:\d\d:\d\d$/.test(times[0]) && /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/.test(times[1]), JSON.stringify(times))
  equal(await page.evaluate(`(clock.server += 7200000, shapeRow({ table: 't', where: null, columns: null, made: new Date(clock.server - 7200000).toISOString() }).cells[7].textContent)`), '2 h ago', 'by the server’s clock')

  for (const [sql, reads] of [
    [`(("tenant" = '3'::"int4"))`, 'tenant = 3'],
    [`(("a" = '1'::"int4") OR ("b" = '-2'::"int8"))`, '(a = 1) OR (b = -2)'],
    [`("a" = '1'::"int4") OR ("b" = '2'::"int4")`, '(a = 1) OR (b = 2)'],
    [`(("don't" = 'x "a" ''5''::int4'::"text") AND ("Up" = "it's"))`, `("don't" = 'x "a" ''5''::int4'::text) AND ("Up" = "it's")`],
    [`("a)" = '('::"text")`, `"a)" = '('::text`],
    [`(("v" = 'cut`, `((v = 'cut`],
  ])
    equal(await page.evaluate(`readable(${JSON.stringify(sql)})`), reads, sql)

  // Answers to two clicks come in another order.
  const order = await page.evaluate(`(async () => {
    const asked = []
    const real = window.fetch
    window.fetch = (path, options) => (path.startsWith('/admin/shapes') ? new Promise((done) => asked.push((total) => done(new Response(JSON.stringify({ total, shapes: [], next: null }))))) : real(path, options))
    view.after = ''
    const both = [showShapes(), showShapes()]
    asked[1](2)
    await both[1]
    asked[0](1)
    await both[0]
    window.fetch = real
    return document.getElementById('shapes-count').textContent
  })()`)
  equal(order, '2', 'the younger answer stays')

  const drawn = await page.evaluate(`(() => {
    const at = (s) => ({ at_ms: 1000000 + s * 1000, client_p99_ms: 5 })
    samples = [at(0), at(10), at(11), at(12), at(30)]
    const { d, dots } = line('client_p99_ms', 1030000, 60000)
    samples = []
    return [d, dots].map((p) => p.split('M').length - 1)
  })()`)
  equal(drawn, [3, 2], 'lines, and dots')
  equal(page.errors, [], 'errors')
})

const SHAPES = 10000

test(`the page with ${SHAPES} shapes, and what listing them takes`, { timeout: 240000 }, async (t) => {
  const w = await watched(t, { sql: [TABLE, `INSERT INTO t SELECT g, g, repeat('x', g % 50) FROM generate_series(1, ${SHAPES}) g`], env: { ELECTRIC_MAX_CONCURRENT_REQUESTS: '{"initial":1000,"existing":20000}' } })
  const agent = new http.Agent({ keepAlive: true, maxSockets: 100 })
  t.cleanup(() => agent.destroy())
  const started = Date.now()
  let next = 1
  await Promise.all(Array.from({ length: 100 }, async () => {
    while (next <= SHAPES) {
      const tenant = next++
      const answer = await ask(w, { where: `tenant = ${tenant}` }, { agent })
      equal(answer.status, 200, 'its first rows')
    }
  }))
  t.note(`${SHAPES} shapes after ${((Date.now() - started) / 1000).toFixed(1)} s`)
  const followers = [1, 2, 3].map((tenant) => w.follow({ table: 't', where: `tenant = ${tenant}` }))
  await until('they follow', () => followers.every((f) => f.live))
  const took = []
  for (let i = 0; i < 20; i++) {
    const from = performance.now()
    const { total, shapes } = await w.noun(`shapes?sort=${['bytes', 'made', 'rows', 'changes', 'read'][i % 5]}`)
    took.push(performance.now() - from)
    equal([total, shapes.length], [SHAPES, 100], 'a page')
  }
  took.sort((a, b) => a - b)
  t.note(`a listing: half ${took[10].toFixed(1)} ms, slowest ${took[19].toFixed(1)} ms`)
  const seen = new Set()
  for (let after = ''; after !== null;) {
    const page = await w.noun(`shapes?limit=1000&sort=bytes&after=${after}`)
    for (const s of page.shapes) seen.add(s.handle)
    after = page.next
  }
  equal(seen.size, SHAPES, 'shapes on all pages')
  for (let i = 1; i <= 30; i++) await w.sql(`UPDATE t SET v = v || 'y' WHERE id <= ${i}`)
  await w.agree()
  const chromium = await browser(t)
  if (!chromium) return
  await pages(t, w, chromium, 'shapes', async (page) => {
    await page.until('a page of shapes', `document.querySelectorAll('#shapes tbody tr').length === 25`)
    equal(await page.evaluate(`document.getElementById('shapes-count').textContent`), '10,000', 'how many')
    await page.evaluate(`document.getElementById('next').click()`)
    await page.until('the second page', `document.querySelector('#pager span').textContent === '26 to 50 of 10,000'`)
    await page.evaluate(`document.querySelector('th[data-sort=readers] button').click()`)
    await page.until('the readers first', `document.querySelector('#shapes tbody tr td:nth-child(4)').textContent === '1'`)
    await page.until('a line of lag', `document.querySelector('#plot .client').getAttribute('d') !== ''`)
  })
})

// ---- busbar top

// What it writes, and its exit status.
function top(args, env = {}) {
  const clean = Object.fromEntries(Object.entries(process.env).filter(([k]) => !k.startsWith('BUSBAR_')))
  return new Promise((done) =>
    execFile(BINARY, ['top', ...args], { env: { ...clean, ...env }, timeout: 30000 }, (e, stdout, stderr) => done({ code: e ? (e.code ?? e.signal) : 0, stdout, stderr })),
  )
}

test('busbar top: a look for scripts, by URL or by setting; what it says where nobody answers', async (t) => {
  const w = await watched(t, { sql: [TABLE, 'CREATE TABLE "\u001b[31mred" (id int PRIMARY KEY)', fill(1, 100)] })
  await readAll(w.busbar.url, { table: 't', where: "v <> '\u001b]0;title\u0007'" })
  await readAll(w.busbar.url, { table: 't', where: 'tenant = 3' })
  await readAll(w.busbar.url, { table: '"\u001b[31mred"' })
  for (const [args, env] of [[[w.admin, '--once'], {}], [[], { BUSBAR_ADMIN_PORT: String(w.adminPort) }], [[`localhost:${w.adminPort}`], {}], [[String(w.adminPort)], {}]]) {
    const { code, stdout, stderr } = await top(args, env)
    equal([code, stderr], [0, ''], args.join(' '))
    assert(/^Busbar \d+\.\d+\.\d+ .*\n.*live .*yes: active/.test(stdout), stdout)
    assert(/\*BYTES/.test(stdout) && /^ +10 .* indexed +public\.t .*tenant/m.test(stdout), stdout)
    assert(!/[\u0000-\u0009\u000b-\u001f\u007f]/.test(stdout), JSON.stringify(stdout))
    assert(stdout.split('\n').every((l) => [...l].length <= 160), stdout)
  }
  assert(/\*ROWS[^]*\n +100 [^]*\n +10 [^]*\n +0 /.test((await top([w.admin, '--sort=rows'])).stdout), 'by rows')
  const nobody = await top([`127.0.0.1:${await freePort()}`])
  equal([nobody.code, nobody.stdout], [1, ''], 'nobody')
  assert(/nobody answers at 127\.0\.0\.1, port \d+ \(Connection refused\): is BUSBAR_ADMIN_PORT set/.test(nobody.stderr), nobody.stderr)
  const api = await top([w.busbar.url])
  assert(api.code === 1 && /answers with 404.*BUSBAR_ADMIN_PORT/.test(api.stderr), api.stderr)
  for (const args of [[], ['--sort=nothing', w.admin], [w.admin, w.admin], ['--twice'], ['http://']]) {
    const wrong = await top(args)
    assert(wrong.code === 2 && /^busbar top: /.test(wrong.stderr) && /busbar top \[URL\]/.test(wrong.stderr), wrong.stderr)
  }
  assert(/BUSBAR_ADMIN_PORT isn't set/.test((await top([])).stderr), 'which setting')
})

// A disk that is broken while this file is there.
const broken = (file) => `
#include <dlfcn.h>
#include <errno.h>
#include <unistd.h>
int fdatasync(int fd)
{
	static int (*real)(int);
	if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
	if (access("${file}", F_OK) != 0) return real(fd);
	errno = EIO;
	return -1;
}
`

test('a stream that stands still is late, by the JSON and by busbar top, although no change arrives', { timeout: 120000 }, async (t) => {
  const file = join(temporary('broken'), 'now')
  const env = preload(broken(file))
  if (!env) return t.note('not tested under a sanitizer')
  const w = await watched(t, { env: { ...env, BUSBAR_WAL_LIMIT: '100000000000' } }) // with a limit it looks more often
  await readAll(w.busbar.url, { table: 't' })
  writeFileSync(file, '')
  await w.sql(fill(1, 10))
  const behind = async () => (await w.noun('status')).postgres.behind_s ?? 0
  await until('the store fails', async () => (await w.noun('status')).store.failing)
  await until('it is seen to stand still', async () => (await behind()) >= 15, 60000)
  const { stdout } = await top([w.admin, '--once'])
  assert(/live +no: .*\nlag +at least \d+ (s|min): /.test(stdout), stdout)
  await until('Postgres is worth a look', async () => (await w.noun('status')).postgres.state === 'watch', 60000)
  rmSync(file)
  await until('it goes on', async () => (await behind()) === 0 && (await w.noun('status')).postgres.state === 'fine', 60000)
  assert(/live +yes: active\nlag +(99 %|no change)/.test((await top([w.admin, '--once'])).stdout), 'as before')
})

test('busbar top in a terminal: keys, its width, and the screen as it was before', async (t) => {
  const w = await watched(t)
  await w.sql(fill(1, 100))
  for (let i = 0; i < 40; i++) await readAll(w.busbar.url, { table: 't', where: `tenant = ${i} AND v <> 'something that is longer than the terminal is wide'` })
  const child = spawn('script', ['-qec', `stty rows 24 cols 100; exec '${BINARY}' top ${w.admin}`, '/dev/null'], { stdio: ['pipe', 'pipe', 'inherit'] })
  const ended = new Promise((done) => child.on('close', done))
  t.cleanup(() => child.kill('SIGKILL'))
  let seen = ''
  child.stdout.on('data', (d) => (seen += d))
  const last = () => seen.split('\u001b[H').at(-1)
  await until(() => `a look: ${JSON.stringify(seen)}`, () => /\*BYTES/.test(last()) && seen.endsWith('\u001b[J'))
  const lines = last().replaceAll(/\u001b\[[0-9;]*[A-Za-z]/g, '').split('\r\n')
  equal(lines.length, 23, 'lines')
  assert(lines.every((l) => l.length <= 100) && lines.some((l) => l.length === 100), JSON.stringify(lines))
  t.note(lines.slice(0, 14).join('\n     '))
  child.stdin.write('r')
  await until(() => `another order: ${JSON.stringify(last())}`, () => /\*ROWS/.test(last()))
  await w.busbar.stop()
  await until('it says that nobody answers', () => /nobody answers/.test(last()))
  await w.busbar.start()
  await until('it goes on', () => /\*ROWS/.test(last()))
  child.stdin.write('q')
  equal(await within('it ends', 5000, ended), 0, 'exit status')
  assert(seen.startsWith('\u001b[?1049h\u001b[?25l') && seen.endsWith('\u001b[?25h\u001b[?1049l'), 'the screen')
})
