// The official clients on shapes with a subquery: what is granted is there and what is revoked is gone in every one, whatever
// came between; none asks without end; and what they do while there is nothing to fetch in place of a rotated shape.

import * as newest from '@electric-sql/client'
import * as client10 from '@electric-sql/client-1.0'
import * as client08 from '@electric-sql/client-0.8'
import { createCollection, createLiveQueryCollection } from '@tanstack/db'
import { electricCollectionOptions } from '@tanstack/electric-db-collection'
import { counted, rendered, synced, untilTheEnd } from '../lib/clients.mjs'
import { difference } from '../lib/follower.mjs'
import { test } from '../lib/runner.mjs'
import { world } from '../lib/setup.mjs'
import { LONG, assert, delay, equal, until } from '../lib/util.mjs'

const ITEMS = 'CREATE TABLE items (id int PRIMARY KEY, project int, name text)'
const TABLES = [
  ITEMS,
  'CREATE TABLE members (user_id int, project int, role text, PRIMARY KEY (user_id, project))',
  'CREATE TABLE projects (id int PRIMARY KEY, open bool NOT NULL)',
  'INSERT INTO projects SELECT n, true FROM generate_series(1, 9) n',
  "INSERT INTO items SELECT n, n % 5, 'item ' || n FROM generate_series(1, 60) n",
  "INSERT INTO items VALUES (100, NULL, 'nowhere')",
  "INSERT INTO members VALUES (7, 1, 'owner'), (8, 1, 'owner'), (8, 2, 'owner'), (8, 3, 'guest')",
]
const WHERE = 'project IN (SELECT project FROM members WHERE user_id = $1)'
const PARAMS = { table: 'items', where: WHERE, params: ['7'] }
const VISIBLE = WHERE.replace('$1', '7')

const normal = (rows) =>
  [...rows]
    .map(({ id, project, name }) => ({ id: Number(id), project: project === null ? null : Number(project), name }))
    .sort((a, b) => a.id - b.id)
    .map((row) => JSON.stringify(row))

const visible = async (w, condition = VISIBLE) => normal((await w.sql(`SELECT * FROM items WHERE ${condition}`)).rows)

// The client warns of each 409 without a handle; a shape that rotates while it is waited for has no successor yet.
const { warn } = console
console.warn = (text, ...more) => /409 response without a shape handle/.test(text) || warn(text, ...more)

// Each starts a client and gives { rows(), seen }. `sse`: over event streams.
const stream =
  (module, more) =>
  (t, w, { sse, params = PARAMS, onError }) => {
    const { seen, options } = counted(w.busbar.url, onError)
    const s = new module.ShapeStream({ ...options, signal: untilTheEnd(t).signal, ...more(params, sse) })
    const shape = new module.Shape(s)
    return { rows: () => normal(shape.currentRows ?? shape.currentValue.values()), seen, stream: s }
  }

const shapeNewest = stream(newest, (params, sse) => ({ params, liveSse: sse }))
const shape10 = stream(client10, (params, sse) => ({ params, experimentalLiveSse: sse }))
const shape08 = stream(client08, ({ table, where, params }) => ({ table, where, params: Object.fromEntries(params.map((v, i) => [`params[${i + 1}]`, v])) }))

async function react(t, w, { sse, params = PARAMS, onError }) {
  const { seen, options } = counted(w.busbar.url, onError)
  const { last } = await rendered(t, { ...options, params, liveSse: sse })
  return { rows: () => normal(last().data), seen }
}

const tanstack =
  (syncMode) =>
  async (t, w, { sse, params = PARAMS, onError, handlers = {} }) => {
    const { seen, options } = counted(w.busbar.url, onError)
    const collection = createCollection(
      electricCollectionOptions({ id: `items-${syncMode}-${sse}`, syncMode, getKey: (row) => row.id, shapeOptions: { ...options, params, liveSse: sse }, ...handlers }),
    )
    t.cleanup(() => collection.cleanup())
    // On demand, a query is what asks for rows.
    const query = createLiveQueryCollection({ query: (q) => q.from({ item: collection }), startSync: true })
    t.cleanup(() => query.cleanup())
    await query.preload()
    // One that nobody looks at is cleared after five seconds.
    query.subscribeChanges(() => {})
    return { rows: () => normal(query.toArray), seen, collection }
  }

async function pglite(t, w, { sse, params = PARAMS, onError }) {
  const { seen, options } = counted(w.busbar.url, onError)
  const lite = await synced(t, ITEMS, { ...options, params, liveSse: sse })
  return { rows: async () => normal((await lite.query('SELECT * FROM items')).rows), seen }
}

const CLIENTS = [
  { name: 'ShapeStream and Shape', start: shapeNewest },
  { name: 'Shape of 1.0', start: shape10, pollOnly: true },
  { name: 'Shape of 0.8', start: shape08, pollOnly: true },
  { name: 'useShape', start: react },
  { name: 'TanStack DB, eager', start: tanstack('eager') },
  { name: 'TanStack DB, on demand', start: tanstack('on-demand') },
  { name: 'TanStack DB, progressive', start: tanstack('progressive') },
  { name: 'PGlite sync', start: pglite, pollOnly: true },
]

async function converges(w, what, c, ms = 20000) {
  let a
  let b
  await until(
    () => `${what}, the client has what Postgres selects: ${difference(a, b)}; ${JSON.stringify(c.seen)} ${c.seen.errors.map(String)}`,
    async () => {
      b = await visible(w)
      a = await c.rows()
      return JSON.stringify(a) === JSON.stringify(b)
    },
    ms,
    30,
  )
}

// A client that has what it wants asks once a poll, and a poll takes 20 seconds.
async function rests(c) {
  const before = c.seen.requests
  await delay(1500)
  assert(c.seen.requests - before <= 2, `${c.seen.requests - before} requests in 1.5 s of rest`)
}

const GRANT = 'INSERT INTO members VALUES (7, 2)'
const REVOKE = 'DELETE FROM members WHERE user_id = 7 AND project = 2'

const FLIPS = LONG ? 30 : 12

const STORY = [
  ['a grant', GRANT],
  ['an insert', "INSERT INTO items VALUES (200, 2, 'new')"],
  ['a row that leaves', 'UPDATE items SET project = 3 WHERE id = 2'],
  ['a row that comes', 'UPDATE items SET project = 2 WHERE id = 3'],
  ['a row that changes its key and its parent', 'UPDATE items SET id = 300, project = 1 WHERE id = 200'],
  ['a grant to somebody else', 'INSERT INTO members VALUES (9, 4)'],
  ['a membership that changes without the set', "UPDATE members SET role = 'guest' WHERE user_id = 7"],
  ['a revocation', 'DELETE FROM members WHERE user_id = 7 AND project = 1'],
  ['a grant and rows in a transaction', "BEGIN; INSERT INTO members VALUES (7, 4); UPDATE items SET name = 'seen' WHERE project IN (2, 4); DELETE FROM items WHERE id = 4; COMMIT"],
  ['a revocation and a secret in a transaction', "BEGIN; DELETE FROM members WHERE user_id = 7 AND project = 4; INSERT INTO items VALUES (400, 4, 'secret'); COMMIT"],
  ['the last revocation', 'DELETE FROM members WHERE user_id = 7'],
  ['a grant after that', 'INSERT INTO members VALUES (7, 2), (7, 1)'],
]

// Granted and revoked faster than a client fetches; rows come and go meanwhile.
async function flips(w, count, ms) {
  for (let i = 0; i < count; i++) {
    await w.sql(i % 2 ? GRANT : REVOKE)
    await w.sql(`UPDATE items SET project = ${i % 4}, name = 'flip ${i}' WHERE id = ${10 + (i % 9)}`)
    await delay(ms)
  }
}

// One over long-poll and one over event streams. pglite-sync has no event streams.
async function startBoth(t, w, client, options = {}) {
  const both = []
  for (const sse of client.pollOnly ? [false] : [false, true]) both.push(await client.start(t, w, { sse, ...options }))
  return both
}

for (const client of CLIENTS)
  test(`${client.name}: grants, revocations, flips`, { timeout: 180000 }, async (t) => {
    const w = await world(t, { sql: TABLES })
    const clients = await startBoth(t, w, client)
    const all = (what) => Promise.all(clients.map((c) => converges(w, what, c)))
    await all('at first')
    for (const [what, text] of STORY) {
      await w.sql(text)
      await all(what)
    }
    const before = clients.map(({ seen }) => ({ requests: seen.requests, refetches: seen.statuses[409] }))
    await flips(w, FLIPS, 80)
    await all('after the flips')
    for (const [i, { seen }] of clients.entries()) {
      const { requests, refetches } = before[i]
      const asked = seen.requests - requests
      t.note(`${i ? 'SSE' : 'long-poll'}: ${STORY.length} steps ${requests} requests (${refetches} 409s), ${FLIPS} flips ${asked} (${seen.statuses[409] - refetches} 409s)`)
      // A flip: the 409, the rows, the rest of them, the next poll; and what on-demand asks for its queries.
      assert(asked <= FLIPS * 8, `${asked} requests for ${FLIPS} flips`)
    }
    await Promise.all(clients.map(rests))
    await w.sql("INSERT INTO items VALUES (900, 1, 'after all')")
    await all('afterwards')
    for (const c of clients) equal(c.seen.errors.map(String), [], 'errors')
    if (clients[1]) assert(clients[1].seen.sse > 0, 'the client never asked for an event stream')
  })

// ---- while there is nothing to fetch

// What users see of a client: how many rows, how many of them of the revoked project.
async function shows(c) {
  const rows = (await c.rows()).map((r) => JSON.parse(r))
  return `${rows.length} rows, ${rows.filter((r) => r.project === 1).length} revoked`
}

// All of the newest clients in one world, by name, with projects 1 and 2, 12 rows each.
async function together(t, w, options) {
  const clients = new Map()
  for (const { name, start } of CLIENTS.filter((c) => !/ of \d/.test(c.name))) clients.set(name, await start(t, w, { sse: false, ...options }))
  await w.sql(GRANT)
  for (const [name, c] of clients) await converges(w, name, c)
  return clients
}

const answered = (c, status) => until(() => `a ${status}; ${JSON.stringify(c.seen)}`, () => c.seen.statuses[status] > 0, 40000)

// What each shows of rows that were revoked before it has others.
const CLEARED = '0 rows, 0 revoked'
const KEPT = '24 rows, 12 revoked'
const WHILE_503 = {
  'ShapeStream and Shape': CLEARED,
  useShape: KEPT,
  'TanStack DB, eager': KEPT,
  'TanStack DB, on demand': KEPT,
  'TanStack DB, progressive': KEPT,
  'PGlite sync': CLEARED,
}
const AFTER_400 = { ...WHILE_503, useShape: CLEARED }

async function showAll(clients, status) {
  await Promise.all([...clients.values()].map((c) => answered(c, status)))
  await delay(500)
  const shown = {}
  for (const [name, c] of clients) shown[name] = await shows(c)
  return shown
}

const REVOKE_1 = 'DELETE FROM members WHERE user_id = 7 AND project = 1'
const TOO_LARGE = `BEGIN; ${REVOKE_1}; INSERT INTO members SELECT 7, n FROM generate_series(1000, 252000) n; COMMIT`
const SMALL_AGAIN = 'DELETE FROM members WHERE project >= 1000'

test('a revocation, then 503: what is shown meanwhile, and all have the rows after it', { timeout: 180000 }, async (t) => {
  const w = await world(t, { sql: TABLES })
  const clients = await together(t, w)
  const lock = await w.session()
  await lock.query('BEGIN; LOCK TABLE items IN ACCESS EXCLUSIVE MODE')
  await w.sql(REVOKE_1)
  equal(await showAll(clients, 503), WHILE_503, 'what is shown')
  await lock.query('ROLLBACK')
  for (const [name, c] of clients) await converges(w, name, c, 60000)
  for (const [name, c] of clients) equal(c.seen.errors.map(String), [], `errors of ${name}`)
})

for (const retries of [true, false])
  test(`a revocation, then 400, ${retries ? 'asked again by onError' : 'without onError'}`, { timeout: 180000 }, async (t) => {
    const w = await world(t, { sql: TABLES })
    const clients = await together(t, w, { onError: retries ? () => ({}) : undefined })
    await w.sql(TOO_LARGE)
    const shown = await showAll(clients, 400)
    for (const [name, c] of clients) {
      assert(c.seen.errors.length > 0, `${name} told of no error`)
      assert(/a subquery of this condition/.test(String(c.seen.errors[0])), `${name}: ${c.seen.errors[0]}`)
    }
    t.note(JSON.stringify(shown))
    await w.sql(SMALL_AGAIN)
    if (retries) {
      for (const [name, c] of clients) await converges(w, name, c, 60000)
      return
    }
    equal(shown, AFTER_400, 'what is shown')
    // They have given up, and show that until they are started anew.
    const before = [...clients.values()].map((c) => c.seen.requests)
    await delay(3000)
    equal([...clients.values()].map((c) => c.seen.requests), before, 'requests')
    for (const [name, c] of clients) equal(await shows(c), AFTER_400[name], name)
  })

// ---- awaitTxId

// A transaction is known to have arrived by its id on a change, or by the snapshot that shows it.
test('TanStack DB: awaitTxId of what changes the set, and of what does not', { timeout: 120000 }, async (t) => {
  const w = await world(t, { sql: TABLES })
  const session = await w.session()
  const write = async (text) => {
    const [, , { rows }] = await session.query(`BEGIN; ${text}; SELECT pg_current_xact_id()::xid::text AS txid; COMMIT`)
    return Number(rows[0].txid)
  }
  for (const mode of ['eager', 'on-demand', 'progressive']) {
    await w.sql('DELETE FROM members WHERE user_id = 7; INSERT INTO members VALUES (7, 1)')
    const c = await tanstack(mode)(t, w, { sse: false })
    await converges(w, mode, c)
    const arrives = async (what, text) => {
      await c.collection.utils.awaitTxId(await write(text), 20000).catch((e) => assert(false, `${mode}, ${what}: ${e.message}`))
      // The collection has them by then; on demand, and for a query of a progressive one, they come in a moment.
      if (mode !== 'on-demand') equal(normal(c.collection.toArray), await visible(w), `${mode}: rows after ${what}`)
      await converges(w, `${mode}, ${what}`, c)
    }
    await arrives('a grant', GRANT)
    await arrives('a row', "UPDATE items SET name = name || '.' WHERE id = 1")
    await arrives('a revocation', REVOKE)
    await arrives('a grant of a project without rows', 'INSERT INTO members VALUES (7, 77)')
    await rests(c)
    // Nothing of these is in the shape, and nobody is told.
    for (const text of ["UPDATE members SET role = role || '.' WHERE user_id = 7", `INSERT INTO members VALUES (${mode.length + 100}, 2)`]) {
      const id = await write(text)
      const told = await c.collection.utils.awaitTxId(id, 1000).then(() => 'arrived', (e) => e.name)
      equal(told, 'TimeoutWaitingForTxIdError', `${mode}: ${text}`)
      // The next snapshot shows it.
      await arrives('a grant after it', GRANT)
      await c.collection.utils.awaitTxId(id, 1000)
      await arrives('a revocation after it', REVOKE)
      await rests(c)
    }
  }
})
