// The server as a server: bad requests, slow and vanishing clients, thousands that wait, event
// streams over many chunks. What each answer says is held by the conformance record.

import { spawn } from 'node:child_process'
import http from 'node:http'
import net from 'node:net'
import { preload } from '../lib/busbar.mjs'
import { connections, events, get, raw, readAll, shape, shapeUrl } from '../lib/http.mjs'
import { test } from '../lib/runner.mjs'
import { world } from '../lib/setup.mjs'
import { assert, delay, equal, Random, seed, until, within } from '../lib/util.mjs'

const TABLE = 'CREATE TABLE t (id int PRIMARY KEY, v text)'
const fill = (from, to, size = 20) => `INSERT INTO t SELECT g, repeat('x', ${size}) || g FROM generate_series(${from}, ${to}) g`

const status = (text) => Number(/^HTTP\/1\.[01] (\d{3})/.exec(text)?.[1])

const GET = 'GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n'
const post = (headers, body = '') => `POST /v1/shape?table=t&offset=-1 HTTP/1.1\r\nHost: x\r\n${headers}\r\n${body}`

// What each is answered with; then the connection ends.
const REFUSED = {
  'two lengths': [400, post('Content-Length: 2\r\nContent-Length: 3\r\n', '{}')],
  'a list of lengths': [400, post('Content-Length: 2, 2\r\n', '{}')],
  'a length with a sign': [400, post('Content-Length: +2\r\n', '{}')],
  'a negative length': [400, post('Content-Length: -1\r\n')],
  'no length': [400, post('Content-Length: \r\n')],
  'a length with a blank behind it': [400, post('Content-Length: 2 \r\n', '{}')],
  'a length beyond 64 bits': [413, post('Content-Length: 18446744073709551618\r\n', '{}')],
  'Content-Length and Transfer-Encoding': [400, post('Content-Length: 2\r\nTransfer-Encoding: chunked\r\n', '2\r\n{}\r\n0\r\n\r\n')],
  'Transfer-Encoding and Content-Length': [400, post('Transfer-Encoding: chunked\r\nContent-Length: 7\r\n', '0\r\n\r\n')],
  'chunked twice': [400, post('Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n', '0\r\n\r\n')],
  'chunked, chunked': [501, post('Transfer-Encoding: chunked, chunked\r\n', '0\r\n\r\n')],
  'another coding': [501, post('Transfer-Encoding: gzip\r\n')],
  identity: [501, post('Transfer-Encoding: identity\r\n')],
  'a coding with a blank behind it': [501, post('Transfer-Encoding: chunked \r\n', '0\r\n\r\n')],
  'a coding in HTTP/1.0': [400, 'POST /v1/shape HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
  'a blank before a colon': [400, post('Content-Length : 2\r\n', '{}')],
  'a tab before a colon': [400, post('Transfer-Encoding\t: chunked\r\n', '0\r\n\r\n')],
  'a folded line': [400, 'GET /v1/health HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n'],
  'a folded line that comes first': [400, 'GET /v1/health HTTP/1.1\r\n X: a\r\nHost: x\r\n\r\n'],
  'a line without a colon': [400, 'GET /v1/health HTTP/1.1\r\nHost: x\r\nnonsense\r\n\r\n'],
  'two hosts': [400, 'GET /v1/health HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n'],
  'no host': [400, 'GET /v1/health HTTP/1.1\r\n\r\n'],
  'NUL in a value': [400, 'GET /v1/health HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n'],
  'NUL in a name': [400, 'GET /v1/health HTTP/1.1\r\nHost: x\r\nX\0: ab\r\n\r\n'],
  'CR alone in a value': [400, 'GET /v1/health HTTP/1.1\r\nHost: x\r\nX: a\rContent-Length: 5\r\n\r\n'],
  'LF alone in a value': [400, 'GET /v1/health HTTP/1.1\r\nHost: x\r\nX: a\nContent-Length: 5\r\n\r\n'],
  'a blank in the target': [400, 'GET /v1/health a HTTP/1.1\r\nHost: x\r\n\r\n'],
  'two blanks in the request line': [400, 'GET  /v1/health HTTP/1.1\r\nHost: x\r\n\r\n'],
  'a blank at its end': [400, 'GET /v1/health HTTP/1.1 \r\nHost: x\r\n\r\n'],
  'HTTP/0.9': [400, 'GET /v1/health\r\n\r\n'],
  'HTTP/2': [505, 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
  'a TLS greeting': [400, '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'],
  '60 KB of headers': [431, `GET / HTTP/1.1\r\nHost: x\r\n${`X-Header: ${'a'.repeat(200)}\r\n`.repeat(300)}\r\n`],
  'a thousand headers': [431, `GET / HTTP/1.1\r\nHost: x\r\n${'a:b\r\n'.repeat(1000)}\r\n`],
  'a thousand cookies': [431, `GET / HTTP/1.1\r\nHost: x\r\nCookie: ${'a=b;'.repeat(1000)}\r\n\r\n`],
  'a long request line': [414, `GET /${'a'.repeat(20000)} HTTP/1.1\r\nHost: x\r\n\r\n`],
}

test('requests that could be read in two ways are refused', { timeout: 60000 }, async (t) => {
  const w = await world(t)
  // One answer with one head, then the end.
  const refused = async (name, want, bytes, { before = 0, pieces } = {}) => {
    const s = net.connect(w.busbar.port, '127.0.0.1')
    s.on('error', () => {})
    const got = raw(w.busbar.url, undefined, { socket: s, timeout: 4000 })
    if (before) {
      s.write(GET)
      await until('the first answer', () => s.bytesRead > 0)
    }
    for (const piece of pieces ?? [bytes]) {
      s.write(Buffer.from(piece, 'latin1'))
      if (pieces) await delay(20)
    }
    const { text, closed } = await got
    const answers = text.split(/(?=HTTP\/1\.[01] \d{3})/)
    equal(answers.map(status), [...Array(before).fill(200), want], `${name}: ${JSON.stringify(text.slice(-300))}`)
    equal(answers.at(-1).split(/^content-length:/im).length, 2, `lengths in the answer to ${name}: ${text}`)
    assert(/^connection: close/im.test(answers.at(-1)), `${name}: it doesn't say that it closes`)
    assert(closed, `${name}: still open`)
  }
  await Promise.all(
    Object.entries(REFUSED).flatMap(([name, [want, bytes]]) => [
      refused(name, want, bytes),
      refused(`${name}, as a second request`, want, bytes, { before: 1 }),
      refused(`${name}, in two pieces`, want, bytes, { pieces: [bytes.slice(0, 9), bytes.slice(9)] }),
    ]),
  )
})

test('what is unusual and clear is taken', async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 3)] })
  const send = async (bytes) => (await raw(w.busbar.url, bytes, { done: (text) => text.includes('\r\n\r\n') })).text
  const want = async (code, name, bytes) => equal(status(await send(bytes)), code, name)
  await want(200, 'an empty line before it', `\r\n${GET}`)
  await want(200, 'many of them', `\r\n\n\r\n${GET}`)
  await want(200, 'more of them than are looked at together', `${'\r\n'.repeat(25000)}${GET}`)
  await want(200, 'HTTP/1.0 without Host', 'GET /v1/health HTTP/1.0\r\n\r\n')
  await want(200, 'the absolute form, with another Host', 'GET http://y/v1/health HTTP/1.1\r\nHost: x\r\n\r\n')
  await want(200, 'lines that end with LF, as typed by hand', 'GET /v1/health HTTP/1.1\nHost: x\n\n')
  await want(200, 'the same length twice', post('Content-Length: 2\r\nContent-Length: 2\r\n', '{}'))
  await want(200, 'a chunked body', post('Transfer-Encoding: Chunked\r\n', '1\r\n{\r\n1\r\n}\r\n0\r\nX: y\r\n\r\n'))
  // libmicrohttpd 1.0.1 knows no chunk extensions; nor does anybody send them.
  await want(/libmicrohttpd 1\./.test(w.busbar.output) ? 400 : 200, 'a chunk extension',
    post('Transfer-Encoding: chunked\r\n', '1\r\n{\r\n1;x=y\r\n}\r\n0\r\n\r\n'))
  await want(200, '20 KB of headers', `GET /v1/health HTTP/1.1\r\nHost: x\r\nX: ${'a'.repeat(20000)}\r\n\r\n`)
  const s = net.connect(w.busbar.port, '127.0.0.1')
  s.write('\r\n')
  await delay(50)
  s.write('\r')
  await delay(50)
  const r = await raw(w.busbar.url, `\n${GET}`, { socket: s, done: (text) => text.includes('\r\n\r\n') })
  equal(status(r.text), 200, 'empty lines in pieces')
  // Every chunk of a body that is none ends in one answer.
  for (const chunk of ['x\r\n', '-1\r\n', '1\r\nabc', 'ffffffffffffffffff\r\n']) {
    const bad = await raw(w.busbar.url, post('Transfer-Encoding: chunked\r\n', chunk), { timeout: 3000 })
    assert(bad.closed && bad.text.split(/^content-length:/im).length <= 2, `a chunk ${JSON.stringify(chunk)}: ${bad.text}`)
  }
})

test('half a head is answered with 408, also on a connection that was used', { timeout: 40000 }, async (t) => {
  const w = await world(t)
  const late = async (name, first, answers) => {
    const s = net.connect(w.busbar.port, '127.0.0.1')
    s.on('error', () => {})
    const got = raw(w.busbar.url, undefined, { socket: s, timeout: 20000 })
    if (first) {
      s.write(first)
      await until('the first answer', () => s.bytesRead > 0)
    }
    s.write('GET /v1/hea')
    const { text, closed } = await got
    equal(text.split(/(?=HTTP\/1\.[01] \d{3})/).map(status), answers, `${name}: ${text}`)
    assert(closed, `${name}: still open`)
  }
  await Promise.all([late('the first request', '', [408]), late('the second', GET, [200, 408])])
})

test('nothing is read that was not looked at', async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 3)] })
  const smuggled = 'GET /v1/smuggled HTTP/1.1\r\nHost: x\r\nX: a\rContent-Length: 5\r\n\r\n'
  const one = async (bytes, more, pause = 0) => {
    const s = net.connect(w.busbar.port, '127.0.0.1')
    s.on('error', () => {})
    const got = raw(w.busbar.url, undefined, { socket: s, timeout: 3000 })
    s.write(bytes)
    if (more && pause) await delay(pause)
    if (more) s.write(more)
    return got
  }
  for (const [name, first, more, pause] of [
    ['behind another', GET + smuggled],
    ['behind another, cut in the head', GET + smuggled.slice(0, 40), smuggled.slice(40), 30],
    ['behind a body', post('Content-Length: 2\r\n', `{}${smuggled}`)],
    ['behind a body that comes later', post('Content-Length: 2\r\n'), `{}${smuggled}`, 30],
    ['behind a chunked body', post('Transfer-Encoding: chunked\r\n', `2\r\n{}\r\n0\r\n\r\n${smuggled}`)],
    ['behind a chunked body that comes later', post('Transfer-Encoding: chunked\r\n'), `2\r\n{}\r\n0\r\n\r\n${smuggled}`, 30],
  ]) {
    const r = await one(first, more, pause)
    equal([...r.text.matchAll(/HTTP\/1\.1 (\d+)/g)].map((m) => m[1]), ['200'], `answers ${name}: ${r.text.slice(0, 2000)}`)
    assert(/^connection: close/im.test(r.text), `${name}: it doesn't say that it closes`)
    assert(r.closed, `${name}: still open`)
  }
  // A body that says how long it is doesn't end the connection.
  const c = await oneSocket(w.busbar.port)
  t.cleanup(() => c.socket.destroy())
  for (let i = 0; i < 3; i++) {
    equal((await c.ask(post('Content-Length: 2\r\n', '{}'))).status, 200, 'a body')
    equal((await c.ask(post('Content-Length: 2\r\n'), '{}')).status, 200, 'a body in pieces')
    equal((await c.ask(GET.slice(0, 20), GET.slice(20))).status, 200, 'a head in pieces')
    equal((await c.ask(GET)).status, 200, 'none')
  }
})

test('request lines of nearly 10,000 bytes are accepted, longer ones answered with 414', async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 3)] })
  const path = (length) => {
    const start = '/v1/shape?table=t&offset=-1&x='
    return start + 'a'.repeat(length - start.length)
  }
  const fits = await get(`${w.busbar.url}${path(9900)}`)
  equal([fits.status, fits.changes().length], [200, 3], '9,900 bytes')
  const parked = get(`${w.busbar.url}${path(9000).replace('offset=-1', `offset=0_inf&handle=${fits.handle}&live=true`)}`)
  await delay(300)
  await w.sql(fill(10, 10))
  equal((await parked).changes().length, 1, 'rows for a parked request of 9,000 bytes')
  for (const length of [10100, 20000, 100000]) {
    const r = await raw(w.busbar.url, `GET ${path(length)} HTTP/1.1\r\nHost: x\r\n\r\n`, {
      done: (text) => text.includes('\r\n\r\n'),
    })
    equal(status(r.text), 414, `${length} bytes`)
  }
  const many = Array.from({ length: 300 }, (_, i) => `X-Header-${i}: ${'a'.repeat(200)}\r\n`).join('')
  const r = await raw(w.busbar.url, `GET /v1/health HTTP/1.1\r\nHost: x\r\n${many}\r\n`, {
    done: (text) => text.includes('\r\n\r\n'),
  })
  equal(status(r.text), 431, '60 KB of headers')
})

test('bodies: 8 MB are read, more is 413', { timeout: 60000 }, async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 3)] })
  const post = (body) =>
    get(`${w.busbar.url}/v1/shape?table=t&offset=-1`, {
      method: 'POST',
      body,
      headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) },
    })
  const big = await post(JSON.stringify({ x: 'a'.repeat(7900000) }))
  equal(big.status, 200, 'status for 7.9 MB')
  const bigger = await post(JSON.stringify({ x: 'a'.repeat(8100000) })).catch((e) => e)
  if (!bigger.status) throw new Error(`instead of an answer to 8.1 MB: ${bigger.message}`)
  equal([bigger.status, bigger.text()], [413, '{"error":"Request body too large"}'], 'answer to 8.1 MB')
})

test('BUSBAR_BODY_MEMORY: bodies beyond it are refused with the reason, until others are done', async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 3)], env: { BUSBAR_BODY_MEMORY: '16MiB' } })
  const begin = () => {
    const s = net.connect(w.busbar.port, '127.0.0.1')
    s.on('error', () => {})
    t.cleanup(() => s.destroy())
    s.write(post('Content-Type: application/json\r\nContent-Length: 7000000\r\n', `{"x":"${'a'.repeat(6990000)}`))
    return s
  }
  const [first, second] = [begin(), begin()]
  const whole = JSON.stringify({ x: 'a'.repeat(7000000) })
  const ask = () => get(`${w.busbar.url}/v1/shape?table=t&offset=-1`, { method: 'POST', body: whole, headers: { 'content-type': 'application/json', 'content-length': whole.length } })
  const refused = await until('the third is refused', async () => {
    const a = await ask()
    return a.status === 503 && a
  })
  equal([refused.headers['electric-reason'], refused.headers['retry-after']], ['limit-bodies', '5'], refused.text())
  equal((await shape(w.busbar.url, { table: 't', offset: '-1' })).status, 200, 'a request without a body')
  first.destroy()
  second.destroy()
  await until('there is room again', async () => (await ask()).status === 200)
})

test('slow bodies take no place of those who ask for new shapes', async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 3)], env: { ELECTRIC_MAX_CONCURRENT_REQUESTS: '{"initial":5,"existing":5}' } })
  const sockets = Array.from({ length: 20 }, () => {
    const s = net.connect(w.busbar.port, '127.0.0.1')
    s.on('error', () => {})
    s.write(post('Content-Length: 1000\r\n', '{'))
    return s
  })
  t.cleanup(() => sockets.forEach((s) => s.destroy()))
  await until('they have arrived', () => connections(w.busbar.port) >= 20)
  for (let i = 0; i < 5; i++) await w.busbar.health()
  for (let i = 0; i < 3; i++)
    equal((await shape(w.busbar.url, { table: 't', offset: '-1', where: `id > ${i}` })).status, 200, 'a new shape')
  const rest = sockets.slice(0, 5).map((s) => raw(w.busbar.url, `${' '.repeat(998)}}`, { socket: s, done: (text) => text.includes('\r\n\r\n') }))
  equal((await Promise.all(rest)).map((r) => status(r.text)), Array(5).fill(200), 'the bodies')
})

test('clients that send a byte a second are cut', { timeout: 150000 }, async (t) => {
  const w = await world(t)
  const slow = (bytes) =>
    new Promise((resolve) => {
      const s = net.connect(w.busbar.port, '127.0.0.1')
      const started = Date.now()
      let at = 0
      const timer = setInterval(() => (s.writable ? s.write(bytes[at++ % bytes.length]) : undefined), 1000)
      const end = () => {
        clearInterval(timer)
        clearTimeout(limit)
        s.destroy()
        resolve(Date.now() - started)
      }
      const limit = setTimeout(end, 100000)
      s.on('error', end)
      s.on('close', end)
      s.on('end', end)
    })
  const line = `GET /v1/shape?x=${'a'.repeat(5000)}`
  const head = `GET /v1/health HTTP/1.1\r\nHost: x\r\nX: ${'a'.repeat(5000)}`
  const took = await Promise.all([slow(line), slow(head)])
  t.note(`cut after ${took.map((ms) => (ms / 1000).toFixed(1)).join(' and ')} s`)
  assert(
    took.every((ms) => ms < 90000),
    'still connected after 90 s',
  )
})

test('a client that does not read its answer is cut, and nobody waits for it', { timeout: 150000 }, async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 100000, 200)] })
  const at = await readAll(w.busbar.url, { table: 't' })
  const before = w.busbar.memory().RssAnon
  const sockets = Array.from({ length: 10 }, () => {
    const s = net.connect(w.busbar.port, '127.0.0.1')
    s.on('error', () => {})
    s.pause()
    s.write(`GET /v1/shape?table=t&offset=-1 HTTP/1.1\r\nHost: x\r\n\r\n`)
    return s
  })
  t.cleanup(() => sockets.forEach((s) => s.destroy()))
  await until('the answers are stuck', async () => connections(w.busbar.port, { unread: true }) >= 10, 10000)
  const started = Date.now()
  await w.sql(fill(200000, 200000))
  const r = await shape(w.busbar.url, { table: 't', handle: at.handle, offset: at.offset, live: true })
  assert(Date.now() - started < 3000, 'others had to wait')
  equal(r.status, 200, 'status for others')
  t.note(`RssAnon rose by ${Math.round((w.busbar.memory().RssAnon - before) / 1024)} MB for 10 stuck answers of 10 MB`)
  await until('they are cut', () => connections(w.busbar.port, { unread: true }) === 0, 90000, 500)
  t.note(`cut after ${((Date.now() - started) / 1000).toFixed(1)} s`)
})

test('hanging up while parked frees the place', async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 3)], env: { ELECTRIC_MAX_CONCURRENT_REQUESTS: '{"initial":5,"existing":5}' } })
  const at = await readAll(w.busbar.url, { table: 't' })
  const params = { table: 't', handle: at.handle, offset: at.offset, live: true }
  for (const how of ['reset', 'close', 'half-close']) {
    const path = new URL(shapeUrl(w.busbar.url, params))
    const sockets = Array.from({ length: 5 }, () => {
      const s = net.connect({ port: w.busbar.port, host: '127.0.0.1', allowHalfOpen: true })
      s.on('error', () => {})
      s.write(`GET ${path.pathname}${path.search} HTTP/1.1\r\nHost: x\r\n\r\n`)
      return s
    })
    // Asking too early would take the place of one that is on its way.
    await until('the requests have arrived', () => connections(w.busbar.port) >= 5)
    for (let i = 0; i < 5; i++) await w.busbar.health()
    const refused = await until(
      'all places are taken',
      async () => {
        const r = await shape(w.busbar.url, { ...params, live: undefined })
        return r.status === 503 ? r : undefined
      },
      5000,
    )
    equal(
      refused.json(),
      {
        code: 'concurrent_request_limit_exceeded',
        message: 'Concurrent existing request limit exceeded (limit: 5), please retry',
      },
      'the refusal',
    )
    assert(Number(refused.headers['retry-after']) >= 6, 'retry-after')
    for (const s of sockets) how === 'reset' ? s.resetAndDestroy() : how === 'close' ? s.destroy() : s.end()
    const started = Date.now()
    await until(
      `the places are free after a ${how}`,
      async () => (await shape(w.busbar.url, { ...params, live: undefined })).status === 200,
      3000,
      5,
    )
    t.note(`${how}: free after ${Date.now() - started} ms`)
    for (const s of sockets) s.destroy()
  }
})

test('2,000 parked long-polls on one shape all get the same answer', { timeout: 120000 }, async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 3)] })
  let at = await readAll(w.busbar.url, { table: 't' })
  for (let round = 0; round < 3; round++) {
    const url = shapeUrl(w.busbar.url, { table: 't', handle: at.handle, offset: at.offset, live: true })
    const parked = Array.from({ length: 2000 }, () => get(url))
    await until('the requests have arrived', () => connections(w.busbar.port) >= 2000, 20000)
    const idle = w.busbar.memory().RssAnon
    const started = Date.now()
    await w.sql(fill(100 + round, 100 + round))
    const answers = await within('all are answered', 15000, Promise.all(parked))
    t.note(`all answered within ${Date.now() - started} ms; RssAnon ${Math.round(idle / 1024)} MB with 2,000 waiting`)
    for (const a of answers) {
      if (a.status !== 200 || !a.body.equals(answers[0].body))
        throw new Error(`another answer: ${a.status} ${a.text().slice(0, 200)}`)
    }
    equal(
      answers[0].changes().map((c) => c.value.id),
      [String(100 + round)],
      'the new row',
    )
    at = { handle: at.handle, offset: answers[0].offset }
  }
})

test('500 event streams on one shape all get the same', { timeout: 60000 }, async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 3)] })
  const at = await readAll(w.busbar.url, { table: 't' })
  const got = Array.from({ length: 500 }, () => [])
  const streams = await Promise.all(
    got.map((list) =>
      events(shapeUrl(w.busbar.url, { table: 't', handle: at.handle, offset: at.offset, live: true, live_sse: true }), (e) =>
        list.push(e),
      ),
    ),
  )
  t.cleanup(() => streams.forEach((s) => s.close()))
  for (let i = 0; i < 5; i++) await w.sql(fill(100 + i, 100 + i))
  const rows = (list) => list.filter((e) => e.json?.key).map((e) => e.json.value.id)
  await until('all rows have come', () => got.every((list) => rows(list).length >= 5))
  for (const list of got) equal(rows(list), ['100', '101', '102', '103', '104'], 'rows of a stream')
})

test('an event stream gives a backlog of many chunks, up-to-date, and stays open', async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 3)], env: { ELECTRIC_SHAPE_CHUNK_BYTES_THRESHOLD: '10000' } })
  const at = await readAll(w.busbar.url, { table: 't' })
  for (let i = 0; i < 80; i++) await w.sql(fill(100 + i, 100 + i, 600))
  await w.sql(fill(1000, 1100, 600))
  await until('the rows are out', async () => (await readAll(w.busbar.url, { table: 't' }, { from: at })).changes.length === 181)
  const got = []
  const stream = await events(
    shapeUrl(w.busbar.url, { table: 't', handle: at.handle, offset: at.offset, live: true, live_sse: true }),
    (e) => got.push(e),
  )
  t.cleanup(() => stream.close())
  let ended
  stream.done.then((how) => (ended = how))
  const rows = () => got.filter((e) => e.json?.key).map((e) => Number(e.json.value.id))
  await until('the backlog has come', () => got.at(-1)?.json?.headers.control === 'up-to-date' && rows().length >= 181)
  const expected = [...Array.from({ length: 80 }, (_, i) => 100 + i), ...Array.from({ length: 101 }, (_, i) => 1000 + i)]
  equal(rows(), expected, 'rows of the backlog')
  // A cut inside the backlog must not have moved the client on.
  equal(stream.response.offset, at.offset, 'electric-offset of the stream')
  // Live changes go on over the same connection, across ends of chunks.
  for (let i = 0; i < 60; i++) await w.sql(fill(2000 + i, 2000 + i, 600))
  await until(`the live rows have come (the stream: ${ended ?? 'open'})`, () => rows().length === 241)
  equal(
    rows().slice(181),
    Array.from({ length: 60 }, (_, i) => 2000 + i),
    'live rows',
  )
  equal(ended, undefined, 'how the stream ended')
  equal(got.at(-1).json.headers.control, 'up-to-date', 'the last event')
})

// Clients that ask and read nothing, with small windows, so that the kernel doesn't take all.
function unread(t, port, url, count) {
  const script = `use Socket; $SIG{PIPE} = 'IGNORE'; my @all;
    for (1 .. ${count}) { socket(my $s, PF_INET, SOCK_STREAM, 0) or die; setsockopt($s, SOL_SOCKET, SO_RCVBUF, 4096) or die;
      connect($s, sockaddr_in($ARGV[0], inet_aton("127.0.0.1"))) or die; syswrite($s, "GET $ARGV[1] HTTP/1.1\r\nHost: x\r\n\r\n") or die; push @all, $s; }
    sleep 100;`
  const crowd = spawn('perl', ['-e', script, String(port), url.pathname + url.search])
  t.cleanup(() => crowd.kill())
}

test('event streams that nobody reads keep a position, not rows', { timeout: 120000 }, async (t) => {
  const FIRST = 100
  const MORE = 400
  const w = await world(t, { sql: [TABLE, fill(1, 3)], env: { ELECTRIC_TCP_SEND_TIMEOUT: '200s' } })
  const at = await readAll(w.busbar.url, { table: 't' })
  const backlog = (from) => w.sql(fill(from, from + 999, 2000))
  for (let i = 1; i <= 10; i++) await backlog(1000 * i)
  await until('the rows are out', async () => (await readAll(w.busbar.url, { table: 't' }, { from: at })).changes.length === 10000)
  const url = new URL(shapeUrl(w.busbar.url, { table: 't', handle: at.handle, offset: at.offset, live: true, live_sse: true }))
  const stuck = (count) => until(`${count} streams are stuck`, () => connections(w.busbar.port, { unread: true }) >= count, 40000)
  const readers = []
  for (let i = 0; i < 2; i++) {
    const r = { ids: [] }
    r.stream = await events(url, (e) => e.json?.key ? r.ids.push(Number(e.json.value.id)) : (r.last = e.json), { paused: true })
    t.cleanup(() => r.stream.close())
    readers.push(r)
  }
  // What one more costs is the difference between two crowds: whatever else takes or gives back memory does it at the first.
  unread(t, w.busbar.port, url, FIRST)
  await stuck(FIRST)
  const seen = []
  await until('memory stands still', () => {
    seen.push(w.busbar.memory().RssAnon)
    return seen.length > 6 && Math.max(...seen.slice(-6)) - Math.min(...seen.slice(-6)) < 256
  }, 20000, 300)
  unread(t, w.busbar.port, url, MORE)
  await stuck(FIRST + MORE)
  const each = () => (w.busbar.memory().RssAnon - seen.at(-1)) / MORE
  if (!process.env.E2E_SANITIZED) await until(() => `they keep little: ${Math.round(each())} KB each`, () => each() < 32, 15000, 100)
  t.note(`${Math.round(each())} KB for an event stream that nobody reads`)
  // Who begins to read misses nothing and gets nothing twice, although the log is folded meanwhile.
  for (let i = 11; i <= 20; i++) await backlog(1000 * i)
  const [one, other] = readers
  one.stream.resume()
  await until(() => `it has read all: ${one.ids.length} rows`, () => one.ids.length >= 20000 && one.last?.headers.control === 'up-to-date', 40000)
  equal(one.ids.length, 20000, 'rows')
  assert(one.ids.every((id, i) => id === i + 1000), 'in order, each once')
  // Where the shape has gone meanwhile, the stream ends.
  await w.sql('TRUNCATE t')
  await until('the shape has gone', async () => (await get(shapeUrl(w.busbar.url, { table: 't', handle: at.handle, offset: at.offset }))).status === 409)
  other.stream.resume()
  const how = await within('the stream ends', 20000, other.stream.done)
  t.note(`after a rotation it gave ${other.ids.length} rows more and then: ${how}`)
  assert(other.ids.length < 20000 && other.ids.every((id, i) => id === i + 1000), 'in order, each once')
})

test('what huge rows took of memory is given back within seconds', { timeout: 240000 }, async (t) => {
  const columns = '(id int PRIMARY KEY, v text, a int, b int)'
  const w = await world(t, { sql: [`CREATE TABLE one ${columns}`, `CREATE TABLE five ${columns}`, 'INSERT INTO one VALUES (1)'] })
  const one = { table: 'one' }
  const five = ['id,v', 'id,v,a', 'id,v,b', 'id,v,a,b', undefined].map((columns) => ({ table: 'five', columns }))
  const at = new Map()
  for (const params of [one, ...five]) at.set(params, await readAll(w.busbar.url, params))
  const before = w.busbar.memory().RssAnon
  const rise = () => Math.round((w.busbar.memory().RssAnon - before) / 1024)
  const huge = (table, id, mb) => w.sql(`INSERT INTO ${table} VALUES (${id}, repeat('x', ${mb} * 1000000))`)
  const sizes = async (params, from) => (await readAll(w.busbar.url, params, { from, timeout: 60000 })).changes.map((c) => c.value.v?.length)
  const arrive = async (params, expected) => {
    let got
    await until(() => `the rows are there: ${got}`, async () => (got = await sizes(params, at.get(params))).length === expected.length, 90000, 100)
    equal(got, expected, 'sizes of the rows')
  }
  // What libpq's connection of the stream has grown to for the largest row stays: it can't be asked for it.
  const LARGEST = 80
  const givenBack = async (what) => {
    const started = Date.now()
    let most = 0
    if (process.env.E2E_SANITIZED) return
    await until(() => `${what} gives memory back: ${rise()} MB are left`, () => (most = Math.max(most, rise())) && rise() < LARGEST + 24, 10000, 50)
    t.note(`${what}: ${most} MB more than before when it was read, ${rise()} MB after ${Date.now() - started} ms`)
  }
  await huge('one', 2, 80)
  await arrive(one, [80e6])
  await givenBack('a row of 80 MB in one shape')
  await huge('five', 3, 20)
  await huge('five', 4, 40)
  for (const params of five) await arrive(params, [20e6, 40e6])
  await givenBack('rows of 20 and 40 MB in five shapes')
  equal(await sizes({ table: 'five', where: 'id > 1' }), [20e6, 40e6], 'rows of a new shape')
  await givenBack('a first snapshot of these two')
})

test('an event stream ends after a minute, with keep-alives before', { timeout: 90000 }, async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 3)] })
  const at = await readAll(w.busbar.url, { table: 't' })
  const got = []
  const started = Date.now()
  const stream = await events(
    shapeUrl(w.busbar.url, { table: 't', handle: at.handle, offset: at.offset, live: true, live_sse: true }),
    (e) => got.push(e),
  )
  t.cleanup(() => stream.close())
  const how = await within('the stream ends', 75000, stream.done)
  const seconds = (Date.now() - started) / 1000
  equal(how, 'end', 'how it ended')
  equal(
    got.map((e) => e.comment),
    [': keep-alive', ': keep-alive'],
    'events',
  )
  assert(seconds > 57 && seconds < 63, `it ended after ${seconds} s`)
})

test('a connection serves many requests, pipelined ones in order', async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 3)] })
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
  t.cleanup(() => agent.destroy())
  for (let i = 0; i < 200; i++)
    equal((await shape(w.busbar.url, { table: 't', offset: '-1' }, { agent })).changes().length, 3, 'rows')
  const one = 'GET /v1/shape?table=t&offset=-1 HTTP/1.1\r\nHost: x\r\n\r\n'
  const health = 'GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n'
  const r = await raw(w.busbar.url, one + health + one, {
    timeout: 3000,
    done: (text) => text.split('HTTP/1.1 200').length === 4 && text.split('snapshot-end').length === 3,
  })
  const order = [...r.text.matchAll(/snapshot-end|"status":"active"/g)].map((m) => m[0])
  equal(order, ['snapshot-end', '"status":"active"', 'snapshot-end'], 'answers in order')
})

test('whole chunks of large snapshots say their length, with rows of any size', { timeout: 60000 }, async (t) => {
  const w = await world(t, {
    sql: [
      'CREATE TABLE w ("k/1" text PRIMARY KEY, "Ünï" text, flag bool, n int)',
      `INSERT INTO w SELECT 'k/' || g, CASE WHEN g % 7 <> 0 THEN
         repeat('é"\\x' || g, CASE WHEN g = 5000 THEN 300000 WHEN g % 1000 = 0 THEN 30000 ELSE 20 END) END,
         g % 2 = 0, nullif(g % 3, 0) FROM generate_series(1, 12000) g`,
    ],
    env: { ELECTRIC_SHAPE_CHUNK_BYTES_THRESHOLD: '2000000' },
  })
  await readAll(w.busbar.url, { table: 'w' })
  const all = await readAll(w.busbar.url, { table: 'w' })
  const { rows } = await w.sql('SELECT "k/1", "Ünï", flag, n FROM w')
  const value = (r) => JSON.stringify([r['k/1'], r['Ünï'], r.flag, r.n])
  const text = (v) => (v === null ? null : String(v))
  equal(
    all.changes.map((c) => value(c.value)).sort(),
    rows.map((r) => value({ ...r, flag: text(r.flag), n: text(r.n) })).sort(),
    'rows',
  )
  const large = all.answers.filter(({ answer }) => answer.body.length > 300000)
  assert(large.length >= 4, `${large.length} large answers`)
  for (const { url, answer } of large) {
    equal(Number(answer.headers['content-length']), answer.body.length, `length of ${url}`)
    const head = await get(url, { method: 'HEAD' })
    equal([Number(head.headers['content-length']), head.body.length], [answer.body.length, 0], `HEAD of ${url}`)
  }
  // More at a time than there are large blocks, and some that go away in the middle.
  const { url, answer } = large[0]
  const gone = Array.from({ length: 10 }, () =>
    raw(w.busbar.url, `GET ${new URL(url).pathname}${new URL(url).search} HTTP/1.1\r\nHost: x\r\n\r\n`, { done: (got) => got.length > 100000 }),
  )
  const same = await Promise.all(Array.from({ length: 40 }, () => get(url)))
  assert(
    same.every((r) => r.body.equals(answer.body)),
    'the same bytes for all',
  )
  await Promise.all(gone)
})

// One socket, kept; ask() sends bytes, or pieces of them, and gives one response: { status, head, body }.
async function oneSocket(port) {
  const socket = net.connect(port, '127.0.0.1')
  socket.setNoDelay(true)
  socket.on('error', () => {})
  let text = ''
  let ended = false
  let notify = () => {}
  socket.on('data', (d) => {
    text += d.toString('latin1')
    notify()
  })
  socket.on('end', () => {
    ended = true
    notify()
  })
  await new Promise((resolve) => socket.once('connect', resolve))
  const take = () => {
    const at = text.indexOf('\r\n\r\n')
    if (at < 0) return undefined
    const head = text.slice(0, at)
    const length = /content-length: (\d+)/i.exec(head)
    let end = at + 4
    if (head.startsWith('HTTP/1.1 304')) end = at + 4
    else if (length) end += Number(length[1])
    else if (/transfer-encoding: chunked/i.test(head)) {
      end = text.indexOf('\r\n0\r\n\r\n', at)
      if (end < 0) return undefined
      end += 7
    }
    if (text.length < end) return undefined
    const body = text.slice(at + 4, end)
    text = text.slice(end)
    return { status: Number(head.slice(9, 12)), head, body }
  }
  const answer = () =>
    within(
      'an answer',
      8000,
      new Promise((resolve, reject) => {
        notify = () => {
          const r = take()
          if (!r && !ended) return
          notify = () => {}
          if (r) resolve(r)
          else reject(new Error(`the connection ended: ${text.slice(0, 100)}`))
        }
        notify()
      }),
    )
  const ask = async (...pieces) => {
    for (const [i, piece] of pieces.entries()) {
      if (i > 0) await delay(60)
      socket.write(piece)
    }
    return answer()
  }
  return { socket, ask, answer, ended: () => ended }
}

test('one connection carries small live requests, large ones and bodies in any order', { timeout: 60000 }, async (t) => {
  // A connection with a small live request is given little memory, and moves when it asks for more.
  const w = await world(t, { sql: [TABLE, fill(1, 3)], env: { ELECTRIC_LONG_POLL_TIMEOUT: '1000' } })
  const at = await readAll(w.busbar.url, { table: 't' })
  const c = await oneSocket(w.busbar.port)
  t.cleanup(() => c.socket.destroy())
  const request = (query, more = '') => `GET /v1/shape?table=t${query} HTTP/1.1\r\nHost: x\r\n${more}\r\n`
  let offset = at.offset
  let id = 100
  const live = () => request(`&handle=${at.handle}&offset=${offset}&live=true`)
  const body = '{"replica":"default"}'
  const kinds = {
    live: async () => {
      const row = ++id
      const answer = c.ask(live())
      await delay(20)
      await w.sql(`INSERT INTO t VALUES (${row}, 'x')`)
      const r = await answer
      equal(r.status, 200)
      assert(r.body.includes(`"id":"${row}"`), `row ${row} in ${r.body}`)
      offset = /electric-offset: (\S+)/i.exec(r.head)[1]
    },
    timeout: async () => equal((await c.ask(live())).status, 200),
    snapshot: async () => equal((await c.ask(request('&offset=-1'))).status, 200),
    long: async () => equal((await c.ask(request(`&offset=-1&where=${encodeURIComponent(`v <> '${'x'.repeat(9000)}'`)}`))).status, 200),
    headers: async () => equal((await c.ask(request('&offset=-1', `Cookie: ${'y'.repeat(6000)}\r\n`))).status, 200),
    longLive: async () => equal((await c.ask(request(`&handle=${at.handle}&offset=0_0&live=true`, `Cookie: ${'y'.repeat(4000)}\r\n`))).status, 200),
    bad: async () => equal((await c.ask(request('&offset=nonsense&live=true'))).status, 400),
    health: async () => equal((await c.ask('GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n')).status, 200),
  }
  const random = new Random(seed())
  for (let i = 0; i < 30; i++) {
    const kind = random.pick(Object.keys(kinds).filter((k) => k !== 'timeout' || i % 10 === 0))
    await kinds[kind]().catch((e) => {
      throw new Error(`request ${i}, ${kind}: ${e.message}`)
    })
  }
  // In pieces: from here on nobody can tell what comes next before it is read, and all is served all the same.
  for (const cut of [1, 10, -3]) {
    const row = ++id
    const text = live()
    const answer = c.ask(text.slice(0, cut), text.slice(cut))
    await delay(100)
    await w.sql(`INSERT INTO t VALUES (${row}, 'x')`)
    const r = await answer
    assert(r.body.includes(`"id":"${row}"`), `row ${row} in ${r.body}`)
    offset = /electric-offset: (\S+)/i.exec(r.head)[1]
    await kinds.long()
    await kinds.headers()
  }
  const post = await c.ask(`POST /v1/shape?table=t&offset=-1 HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n`, body)
  equal(post.status, 200, post.body)
  await kinds.live()
  await kinds.long()
  assert(!c.ended(), 'still open')
})

test('a pipelined request behind a small live one is answered, or the connection says that it closes', async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 3)] })
  const at = await readAll(w.busbar.url, { table: 't' })
  const live = `GET /v1/shape?table=t&handle=${at.handle}&offset=${at.offset}&live=true HTTP/1.1\r\nHost: x\r\n\r\n`
  const long = `GET /v1/shape?table=t&offset=-1 HTTP/1.1\r\nHost: x\r\nCookie: ${'y'.repeat(6000)}\r\n\r\n`
  for (const later of [false, true]) {
    const c = await oneSocket(w.busbar.port)
    t.cleanup(() => c.socket.destroy())
    const first = later ? c.ask(live, long) : c.ask(live + long)
    await delay(150)
    await w.sql(`INSERT INTO t VALUES (${later ? 51 : 50}, 'x')`)
    const r = await first
    equal(r.status, 200)
    if (!/^connection: close/im.test(r.head)) equal((await c.answer()).status, 200)
  }
})

test('a burst of new connections is served to the last', { timeout: 60000 }, async (t) => {
  // Bursts of a multiple of 128 made a loop of the library's own stall.
  const w = await world(t, { sql: [TABLE, fill(1, 3)] })
  const at = await readAll(w.busbar.url, { table: 't' })
  for (const size of [128, 256, 384, 1000]) {
    const answers = await within(
      `${size} at once`,
      10000,
      Promise.all(Array.from({ length: size }, () => shape(w.busbar.url, { table: 't', handle: at.handle, offset: at.offset }))),
    )
    assert(
      answers.every((a) => a.status === 200),
      `a burst of ${size}: ${answers.find((a) => a.status !== 200)?.status}`,
    )
  }
})

test('a cache that asks again with the etag gets 304', async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 3)] })
  const first = await shape(w.busbar.url, { table: 't', offset: '-1' })
  const again = (etag) => shape(w.busbar.url, { table: 't', offset: '-1' }, { headers: { 'if-none-match': etag } })
  for (const etag of [first.headers.etag, `W/${first.headers.etag}`, `"x", W/${first.headers.etag}`]) {
    const r = await again(etag)
    equal([r.status, r.body.length, r.headers.etag], [304, 0, first.headers.etag], `the answer to ${etag}`)
    equal([r.headers['content-length'], r.headers['transfer-encoding']], [undefined, undefined], 'its length')
  }
  equal((await again('W/"x"')).status, 200, 'another etag')
  // The connection goes on, and so do requests that have come behind.
  const c = await oneSocket(w.busbar.port)
  t.cleanup(() => c.socket.destroy())
  const asking = `GET /v1/shape?table=t&offset=-1 HTTP/1.1\r\nHost: x\r\nIf-None-Match: ${first.headers.etag}\r\n\r\n`
  for (let i = 0; i < 5; i++) {
    const r = await c.ask(asking)
    equal([r.status, r.body], [304, ''], 'on one connection')
    assert(/^date: \w{3}, \d\d \w{3} 20\d\d \d\d:\d\d:\d\d GMT\r?$/im.test(r.head), r.head)
    assert(/^x-request-id: \S{20}/im.test(r.head), r.head)
    equal((await c.ask(GET)).status, 200, 'what follows')
  }
  const piped = await raw(w.busbar.url, asking + asking, { timeout: 2000 })
  const answers = piped.text.split('HTTP/1.1 304').length - 1
  assert(answers === 2 || /^connection: close/im.test(piped.text), piped.text)
  assert(!/content-length/i.test(piped.text), piped.text)
})

test('another version of libmicrohttpd: connections stay awake, the log says so, and all is served', { timeout: 60000 }, async (t) => {
  const known = await world(t, { sql: [TABLE] })
  const line = (w) => w.busbar.output.split('\n').filter((l) => l.includes('libmicrohttpd'))
  assert(line(known).length === 1 && /libmicrohttpd (0\.9\.75|1\.0\.1): connections sleep/.test(line(known)[0]), `${line(known)}`)
  // The library that is there, under the name of one that nobody has looked at (1.x is told from it, and handled otherwise).
  const other = line(known)[0].includes('libmicrohttpd 1.') ? '1.0.99' : '0.9.99'
  const env = preload(`const char *MHD_get_version(void) { return "${other}"; }\n`)
  if (!env) return
  const w = await world(t, { sql: [TABLE, fill(1, 300)], env })
  assert(line(w).length === 1 && line(w)[0].includes(`[warning] libmicrohttpd ${other} isn't one of `) &&
    /0\.9\.75, 1\.0\.1\): connections stay awake/.test(line(w)[0]), `${line(w)}`)
  const all = ['poll', 'sse', 'poll', 'sse'].map((mode) => w.follow({ table: 't' }, mode))
  await Promise.all(all.map((f) => f.ready()))
  for (let i = 0; i < 5; i++) {
    await w.sql(`INSERT INTO t VALUES (${1000 + i}, 'new'); DELETE FROM t WHERE id = ${10 + i}`)
    await w.agree()
  }
  const c = await oneSocket(w.busbar.port)
  t.cleanup(() => c.socket.destroy())
  const { headers } = await shape(w.busbar.url, { table: 't', offset: '-1' })
  for (let i = 0; i < 3; i++) equal((await c.ask(GET)).status, 200, 'on a connection that stays')
  const body = JSON.stringify({ where: 'id < 5' })
  equal((await c.ask(post(`Content-Length: ${body.length}\r\n`, body))).status, 200, 'a body')
  // A client can't be taken away from the library, which would give a 304 a length.
  const r = await c.ask(`GET /v1/shape?table=t&offset=-1 HTTP/1.1\r\nHost: x\r\nIf-None-Match: ${headers.etag}\r\n\r\n`)
  assert(r.status === 304 && /^connection: close\r?$/im.test(r.head) && !/content-length/i.test(r.head), r.head)
})

test('headers that the official clients look for are exposed', async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 3)] })
  const r = await shape(w.busbar.url, { table: 't', offset: '-1' }, { headers: { origin: 'https://a.example' } })
  const exposed = r.headers['access-control-expose-headers'].split(',')
  for (const name of ['electric-handle', 'electric-offset', 'electric-schema', 'electric-up-to-date', 'electric-cursor', 'electric-snapshot'])
    assert(exposed.includes(name), `${name} is not exposed: ${exposed}`)
})

test('a slow reader is not cut, whatever its pace', { timeout: 150000 }, async (t) => {
  // 1,200 bytes a second through a window of some kilobytes, which the kernel opens in steps.
  const w = await world(t, { sql: [TABLE, fill(1, 100000, 200)], env: { ELECTRIC_TCP_SEND_TIMEOUT: '10s' } })
  await readAll(w.busbar.url, { table: 't' })
  const client = spawn('perl', [
    '-e',
    `use Socket; socket(S, PF_INET, SOCK_STREAM, 0) or die; setsockopt(S, SOL_SOCKET, SO_RCVBUF, 2048) or die;
     connect(S, sockaddr_in($ARGV[0], inet_aton("127.0.0.1"))) or die;
     syswrite(S, "GET /v1/shape?table=t&offset=-1 HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n") or die;
     for (my $i = 0; $i < 112; $i++) { my $n = sysread(S, my $b, 300); die "cut after $i reads: $!" unless $n; select(undef, undef, undef, 0.25); }
     print "still open";`,
    String(w.busbar.port),
  ])
  t.cleanup(() => client.kill())
  let said = ''
  client.stdout.on('data', (d) => (said += d))
  client.stderr.on('data', (d) => (said += d))
  await within('the client ends', 45000, new Promise((done) => client.on('close', done)))
  equal(said, 'still open', 'after 28 s')
})

test('a snapshot that stalls holds up nobody else', { timeout: 60000 }, async (t) => {
  // The snapshot's own connection goes through a gate that shuts in the middle of the rows.
  const w = await world(t, { sql: [TABLE, fill(1, 3000, 100)], start: false })
  const target = new URL(w.busbar.databaseUrl)
  let passed = 0
  let shut = true
  const waiting = []
  const gate = net.createServer((client) => {
    const upstream = net.connect(Number(target.port), target.hostname)
    client.on('data', (d) => upstream.write(d))
    upstream.on('data', (d) => {
      passed += d.length
      client.write(d)
      if (!shut || passed < 60000) return
      upstream.pause()
      waiting.push(upstream)
    })
    for (const s of [client, upstream]) s.on('error', () => {}).on('close', () => (client.destroy(), upstream.destroy()))
  })
  await new Promise((done) => gate.listen(0, '127.0.0.1', done))
  t.cleanup(() => gate.close())
  const pooled = new URL(w.busbar.databaseUrl)
  pooled.hostname = '127.0.0.1'
  pooled.port = String(gate.address().port)
  w.busbar.env.ELECTRIC_POOLED_DATABASE_URL = String(pooled)
  await w.busbar.start()
  const answer = shape(w.busbar.url, { table: 't', offset: '-1' }, { timeout: 30000 })
  await until('the gate to shut', () => waiting.length > 0)
  for (let i = 0; i < 8; i++) {
    const started = Date.now()
    equal((await get(`${w.busbar.url}/v1/health`)).status, 200, 'health')
    assert(Date.now() - started < 1000, `health took ${Date.now() - started} ms while a snapshot stalled`)
  }
  shut = false
  for (const s of waiting) s.resume()
  const a = await answer
  equal(a.status, 200, 'status')
  equal(a.changes().length, 3000, 'rows')
})
