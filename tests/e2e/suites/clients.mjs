// The official clients, each as its users run it: it follows a table through inserts, updates,
// deletes and key changes and must end with exactly its rows. Also with connections that break at
// random bytes, and with backlogs of many chunks.

import * as newest from '@electric-sql/client'
import * as client10 from '@electric-sql/client-1.0'
import * as client08 from '@electric-sql/client-0.8'
import { createCollection } from '@tanstack/db'
import { electricCollectionOptions } from '@tanstack/electric-db-collection'
import { counted, rendered, synced, untilTheEnd } from '../lib/clients.mjs'
import { ITEMS, Items, normal, wanted } from '../lib/items.mjs'
import { difference } from '../lib/follower.mjs'
import { Proxy } from '../lib/proxy.mjs'
import { test } from '../lib/runner.mjs'
import { world } from '../lib/setup.mjs'
import { Random, assert, delay, equal, seed, until } from '../lib/util.mjs'

const CHUNK = '10000'

// The ways a version is asked for its stream.
const CLIENTS = [
  { name: '0.8 long-poll', module: client08, options: () => ({ table: 'items' }) },
  { name: '1.0 long-poll', module: client10, options: () => ({ params: { table: 'items' } }) },
  {
    name: '1.0 SSE',
    module: client10,
    sse: true,
    page: true,
    options: () => ({ params: { table: 'items' }, experimentalLiveSse: true }),
  },
  { name: 'newest long-poll', module: newest, options: () => ({ params: { table: 'items' } }) },
  { name: 'newest SSE', module: newest, sse: true, options: () => ({ params: { table: 'items' }, liveSse: true }) },
  {
    name: 'newest SSE, replica=full',
    module: newest,
    sse: true,
    options: () => ({ params: { table: 'items', replica: 'full' }, liveSse: true }),
  },
]

// The event streams of 1.0 expect to run in a page.
function pretendPage(t) {
  globalThis.window = globalThis
  globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} }
  t.cleanup(async () => {
    // Its last reader looks at the page once more.
    await delay(50)
    delete globalThis.window
    delete globalThis.document
  })
}

// A client's stream and shape. Counts what it asked for and what it was refused.
function follow(t, client, url, more = {}) {
  if (client.page) pretendPage(t)
  const abort = untilTheEnd(t)
  const { seen, options } = counted(url, () => ({}))
  const stream = new client.module.ShapeStream({ ...options, signal: abort.signal, ...client.options(), ...more })
  const shape = new client.module.Shape(stream)
  return { stream, shape, seen, rows: () => normal(shape.currentRows ?? shape.currentValue.values()), stop: () => abort.abort() }
}

// Waits until `rows()` are the table's.
async function converges(w, what, rows, ms = 30000) {
  let a
  let b
  await until(
    () => `${what} has the table's rows: ${difference(a, b)}`,
    async () => {
      b = await wanted(w.sql)
      a = await rows()
      return a.length === b.length && a.every((row, i) => row === b[i])
    },
    ms,
    50,
  )
}

function prepare(t, env) {
  return world(t, { sql: [ITEMS], env })
}

for (const client of CLIENTS) {
  test(`${client.name}: follows a table`, async (t) => {
    const w = await prepare(t)
    const items = new Items(w.sql, new Random(1))
    await items.steps(20)
    const f = follow(t, client, w.busbar.url)
    await converges(w, 'the first sync', f.rows)
    for (let round = 0; round < 4; round++) {
      await items.steps(15)
      await converges(w, `round ${round}`, f.rows)
    }
    equal(f.seen.statuses[409] ?? 0, 0, 'answers with 409')
    equal(f.seen.errors.map(String), [], 'errors')
    if (client.sse) assert(f.seen.sse > 0, 'the client never asked for an event stream')
  })

  test(`${client.name}: backlogs of many chunks`, async (t) => {
    const w = await prepare(t, { ELECTRIC_SHAPE_CHUNK_BYTES_THRESHOLD: CHUNK })
    const items = new Items(w.sql, new Random(2), { fill: 500 })
    await items.insert(200)
    const proxy = await Proxy.create(w.busbar.url, { random: new Random(2) })
    t.cleanup(() => proxy.close())
    const f = follow(t, client, proxy.url)
    await converges(w, 'the snapshot', f.rows)
    for (let round = 0; round < 2; round++) {
      // While it is cut off, more comes together than one answer holds.
      proxy.refuse(true)
      await items.steps(150)
      proxy.refuse(false)
      await converges(w, `backlog ${round}`, f.rows)
      await items.steps(3)
      await converges(w, `after backlog ${round}`, f.rows)
    }
    // One that resumes where another stopped.
    const { lastOffset, shapeHandle } = f.stream
    f.stop()
    await items.steps(100)
    if (lastOffset && shapeHandle) {
      const got = []
      const more = follow(t, client, w.busbar.url, { offset: lastOffset, handle: shapeHandle })
      more.stream.subscribe((messages) => got.push(...messages))
      await until('the resumed stream is up to date', () => got.some((m) => m.headers.control === 'up-to-date'))
      equal(
        got.some((m) => m.headers.control === 'must-refetch'),
        false,
        'must-refetch after resuming',
      )
    }
    equal(f.seen.statuses[409] ?? 0, 0, 'answers with 409')
    if (client.sse) assert(f.seen.sse > 0, 'the client never asked for an event stream')
  })

  test(`${client.name}: connections cut at random bytes`, async (t) => {
    const s = seed()
    t.note(`seed ${s}`)
    const w = await prepare(t, { ELECTRIC_SHAPE_CHUNK_BYTES_THRESHOLD: CHUNK, ELECTRIC_LONG_POLL_TIMEOUT: '2000' })
    const items = new Items(w.sql, new Random(s), { fill: 300 })
    await items.insert(60)
    // Three streams that last less than a second make a client fall back to long-polling.
    const cuts = client.sse ? { high: 4000, spare: 1050 } : { high: 15000 }
    const proxy = await Proxy.create(w.busbar.url, { random: new Random(s + 1), ...cuts })
    t.cleanup(() => proxy.close())
    proxy.cutting = true
    const f = follow(t, client, proxy.url)
    const end = Date.now() + 6000
    while (Date.now() < end) await items.step()
    proxy.cutting = false
    proxy.cutAll()
    await converges(w, 'after the cuts', f.rows)
    equal(f.seen.statuses[409] ?? 0, 0, 'answers with 409')
    t.note(`${proxy.cuts} cuts, ${f.seen.requests} requests, ${f.seen.sse} of them for event streams, ${items.next} keys`)
    assert(proxy.cuts >= (client.sse ? 3 : 10), `only ${proxy.cuts} cuts`)
    if (client.sse) assert(f.seen.sse >= 3, `only ${f.seen.sse} event streams`)
  })
}

test('TanStack DB: an electric collection', async (t) => {
  const w = await prepare(t)
  const items = new Items(w.sql, new Random(3))
  await items.steps(20)
  const collection = createCollection(
    electricCollectionOptions({
      id: 'items',
      getKey: (row) => row.id,
      shapeOptions: { url: `${w.busbar.url}/v1/shape`, params: { table: 'items' } },
      onInsert: async ({ transaction }) => {
        const { id, name } = transaction.mutations[0].modified
        const { rows } = await w.sql(
          'INSERT INTO items (id, name) VALUES ($1, $2) RETURNING pg_current_xact_id()::xid::text AS txid',
          [id, name],
        )
        return { txid: Number(rows[0].txid), timeout: 10000 }
      },
    }),
  )
  t.cleanup(() => collection.cleanup())
  await collection.preload()
  const rows = () => normal(collection.toArray)
  await converges(w, 'the collection', rows)
  for (let round = 0; round < 3; round++) {
    await items.steps(15)
    await converges(w, `round ${round}`, rows)
  }
  // An optimistic insert is settled by the transaction's id in the stream.
  const mine = collection.insert({ id: 100000, name: 'optimistic' })
  await mine.isPersisted.promise
  await converges(w, 'after the optimistic insert', rows)
})

test('pglite-sync: a table in PGlite', async (t) => {
  const w = await prepare(t)
  const items = new Items(w.sql, new Random(4))
  await items.steps(20)
  const lite = await synced(t, ITEMS, { url: `${w.busbar.url}/v1/shape`, params: { table: 'items' } })
  const rows = () => wanted((text) => lite.query(text))
  await converges(w, 'PGlite', rows)
  for (let round = 0; round < 3; round++) {
    await items.steps(15)
    await converges(w, `round ${round}`, rows)
  }
})

test('react: useShape', async (t) => {
  const w = await prepare(t)
  const items = new Items(w.sql, new Random(5))
  await items.steps(20)
  const { last, root } = await rendered(t, { url: `${w.busbar.url}/v1/shape`, params: { table: 'items' } })
  const rows = () => normal(last().data)
  await converges(w, 'useShape', rows)
  for (let round = 0; round < 3; round++) {
    await items.steps(15)
    await converges(w, `round ${round}`, rows)
  }
  equal(root.toJSON().children, [String(last().data.length)], 'what is shown')
})
