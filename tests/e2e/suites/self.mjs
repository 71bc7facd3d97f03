// Holds the strict follower itself to its word: a server that breaks a promise must be caught.
// (It would be a poor witness if it accepted everything.)

import http from 'node:http'
import { checkForSecrets, leaks, watchForSecrets } from '../lib/busbar.mjs'
import { Follower } from '../lib/follower.mjs'
import { isIn, judge, Oracle, select } from '../lib/oracle.mjs'
import { test } from '../lib/runner.mjs'
import { assert, equal, until } from '../lib/util.mjs'

const SCHEMA = '{"id":{"type":"int4","pk_index":0},"v":{"type":"text"}}'
const row = (id, v = 'x') => ({ key: `"public"."t"/"${id}"`, value: { id: String(id), v } })
const first = (id) => ({ ...row(id), headers: { operation: 'insert', relation: ['public', 't'] } })
const change = (operation, id, lsn, op, more = {}) => ({
  ...row(id),
  ...more,
  headers: { operation, relation: ['public', 't'], lsn: String(lsn), op_position: op, txids: [7], last: true, ...more.headers },
})
const upToDate = (lsn) => ({ headers: { control: 'up-to-date', global_last_seen_lsn: String(lsn) } })

// A server that gives the snapshot of rows 1 to 3 and then these messages, by long-poll or as a stream.
async function lying(t, messages, { headers = {} } = {}) {
  const server = http.createServer((req, res) => {
    const query = new URL(req.url, 'http://x').searchParams
    const base = {
      'electric-handle': '1-1',
      'content-type': 'application/json',
      ...(query.has('live') ? { 'electric-cursor': '1' } : { 'electric-schema': SCHEMA }),
    }
    if (query.get('offset') === '-1') {
      res.writeHead(200, { ...base, 'electric-offset': '0_0' })
      res.end(JSON.stringify([first(1), first(2), first(3)]))
    } else if (!query.has('live')) {
      res.writeHead(200, { ...base, 'electric-offset': '0_inf', 'electric-up-to-date': '' })
      res.end(JSON.stringify([upToDate(5)]))
    } else if (query.get('offset') !== '0_inf') {
      t.cleanup(() => res.destroy())
    } else if (query.has('live_sse')) {
      res.writeHead(200, { ...base, 'content-type': 'text/event-stream', 'electric-offset': '0_inf' })
      for (const m of [...messages, upToDate(10)]) res.write(`data: ${JSON.stringify(m)}\n\n`)
    } else {
      res.writeHead(200, { ...base, 'electric-offset': '10_8', 'electric-up-to-date': '', ...headers })
      res.end(JSON.stringify([...messages, upToDate(10)]))
    }
  })
  await new Promise((done) => server.listen(0, '127.0.0.1', done))
  t.cleanup(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${server.address().port}`
}

const CASES = [
  [
    'nothing wrong',
    [
      change('insert', 4, 10, 0, { headers: { last: undefined } }),
      change('update', 1, 10, 2, { headers: { last: undefined } }),
      change('delete', 2, 10, 4),
    ],
    undefined,
  ],
  ['a row twice', [change('insert', 3, 10, 0)], /insert of a known key/],
  ['an update of a row that is not there', [change('update', 9, 10, 0)], /update of an unknown key/],
  ['a delete of a row that is not there', [change('delete', 9, 10, 0)], /delete of an unknown key/],
  ['the same offset twice', [change('insert', 4, 10, 0), change('insert', 5, 10, 0)], /after 10_0/],
  ['an offset that goes back', [change('insert', 4, 10, 4), change('insert', 5, 10, 2)], /after 10_4/],
  ['a transaction that goes back', [change('insert', 4, 10, 4), change('insert', 5, 9, 6)], /after 10_4/],
  ['half a transaction', [change('insert', 4, 10, 0, { headers: { last: undefined } })], /inside transaction 10/],
  ['an insert without all columns', [change('insert', 4, 10, 0, { value: { id: '4' } })], /lacks the column v/],
  [
    'an old value that was never there',
    [change('update', 1, 10, 0, { old_value: { v: 'y' } })],
    /old v "y", known "x"/,
    { replica: 'full' },
  ],
  [
    'a deleted row that was another',
    [change('delete', 1, 10, 0, { value: { id: '1', v: 'y' } })],
    /delete of .*: v "y"/,
    { replica: 'full' },
  ],
]

for (const mode of ['poll', 'sse']) {
  for (const [name, messages, expected, params] of CASES) {
    test(`${mode}: ${name}`, async (t) => {
      const url = await lying(t, messages)
      const f = new Follower({ url, params: { table: 't', ...params }, mode }).start()
      t.cleanup(() => f.stop())
      await until('the changes have come', () => f.lsn === 10n && f.confirmations > 1, 5000, 5)
      if (!expected) f.check()
      else
        assert(
          f.faults.some((text) => expected.test(text)),
          `not noticed: ${f.faults.join('; ')}`,
        )
    })
  }
}

test('poll: an electric-offset below the last change', async (t) => {
  const url = await lying(t, [change('insert', 4, 10, 4)], { headers: { 'electric-offset': '10_2' } })
  const f = new Follower({ url, params: { table: 't' } }).start()
  t.cleanup(() => f.stop())
  await until('the fault is noticed', () => f.faults.some((text) => /below the last change/.test(text)), 5000, 5)
})

test('secrets and passwords in an output of the daemon are seen', () => {
  const env = { DATABASE_URL: 'postgresql://u:p%40ss-word@h/d', ELECTRIC_SECRET: 'a key' }
  const seen = (...pieces) => {
    const watch = watchForSecrets(env)
    for (const piece of pieces) watch.take(piece)
    watch.end()
    const found = leaks.splice(0)
    checkForSecrets(env, pieces.join(''))
    equal(leaks.splice(0), found, 'what is found in the whole')
    return found
  }
  const bad = ['it is p@ss-word', 'it is p%40ss-word', 'a key', 'x=a%20key', 'GET /v1/shape?secret=other HTTP/1.1', 'api_secret=x', 'postgresql://v:other@h/d']
  for (const line of [...bad, 'secret-of-all-requests', 'password-of-all-urls']) {
    equal(seen(`good\n${line}\ngood\n`), [line], 'a line')
    equal(seen('good\n', line.slice(0, 4), line.slice(4)), [line], 'the last line, in two pieces')
  }
  equal(seen('postgresql://user:password@host:5432/database\nsecret=[REDACTED]&x=1\nELECTRIC_SECRET is missing, secret= is empty\n'), [], 'good lines')
})

// ---------------------------------------------------------------- the oracle of subqueries

const GRANTED = {
  where: 'p IN (SELECT p FROM members)', kind: 'IN', inner: ['members'],
  sets: (db) => [select(db.members, () => true, (m) => [m.p])], visible: (row, [s]) => isIn([row.p], s),
}
const put = (table, id, p) => ({ table, kind: 'INSERT', row: { id, p } })
const gone = (table, id, p) => ({ table, kind: 'DELETE', old: { id, p } })
// Transactions 10 to 13: a grant with an item; an item of nobody; a revocation with another item of its project; one of afterwards.
const HISTORY = [
  [put('members', '1', 'a'), put('items', '1', 'a')],
  [put('items', '2', 'b'), put('items', '9', 'a'), gone('items', '9', 'a')],
  [put('items', '3', 'a'), gone('members', '1', 'a'), put('members', '2', 'b')],
  [put('items', '4', 'b')],
]
const until_ = (xid) => ({ xmin: BigInt(xid), xmax: BigInt(xid), xip: new Set() })
const sent = (id, p, xid) => ({ text: JSON.stringify([id, p]), xid })

// [what, lives, what is said]; the last life lasts.
const LIVES = [
  ['nothing wrong', [{ snapshot: until_(11), sent: [sent('1', 'a')] }, { snapshot: until_(13), sent: [sent('2', 'b'), sent('4', 'b', 13)] }]],
  ['nothing wrong with the last row', [{ snapshot: until_(13), sent: [sent('2', 'b'), sent('4', 'b', 13)] }]],
  ['nothing wrong with a row of a moment in a transaction', [{ snapshot: until_(11), sent: [sent('9', 'a', 11)] }, { snapshot: until_(13), sent: [] }]],
  ['nothing wrong with a snapshot that is no prefix', [{ snapshot: { xmin: 12n, xmax: 14n, xip: new Set(['12']) }, sent: [sent('1', 'a')] }, { snapshot: until_(14), sent: [] }]],
  ['a row that nobody could see', [{ snapshot: until_(13), sent: [sent('3', 'a')] }], /doesn't have/],
  ['a row that was visible under another set', [{ snapshot: until_(12), sent: [sent('2', 'b')] }, { snapshot: until_(14), sent: [] }], /doesn't have/],
  ['a row that such a snapshot lacks', [{ snapshot: { xmin: 12n, xmax: 14n, xip: new Set(['12']) }, sent: [sent('2', 'b')] }, { snapshot: until_(14), sent: [] }], /doesn't have/],
  ['a change of the transaction that took the grant', [{ snapshot: until_(12), sent: [sent('3', 'a', 12)] }, { snapshot: until_(13), sent: [] }], /with or after the one that changed/],
  ['a change of afterwards', [{ snapshot: until_(12), sent: [sent('4', 'b', 13)] }, { snapshot: until_(13), sent: [] }], /with or after the one that changed/],
  ['a row before it could be seen', [{ snapshot: until_(11), sent: [sent('1', 'b', 11)] }, { snapshot: until_(13), sent: [] }], /nobody could see/],
  ['a transaction that never was', [{ snapshot: until_(13), sent: [sent('4', 'b', 99)] }], /never was/],
  ['no rotation', [{ snapshot: until_(12), sent: [] }], /wasn't rotated/],
  ['a rotation for nothing', [{ snapshot: until_(13), sent: [] }, { snapshot: until_(14), sent: [] }], /although its set hadn't changed/],
]

for (const [what, lives, said] of LIVES)
  test(`oracle: ${what}`, () => {
    const oracle = new Oracle({ names: ['members', 'items'], outer: 'items', columns: ['id', 'p'], shapes: [GRANTED] })
    HISTORY.forEach((changes, i) => oracle.step({ xid: BigInt(10 + i), changes }))
    const mine = lives.map((life) => ({ ...life, sent: [...life.sent] }))
    let told = ''
    try {
      judge([{ name: 'f', shape: GRANTED, lives: mine, life: mine.at(-1) }], oracle, { exact: true })
    } catch (e) {
      told = e.message
    }
    assert(said ? said.test(told) : told === '', `it said: ${told}`)
  })
