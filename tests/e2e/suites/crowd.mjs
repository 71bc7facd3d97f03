// A crowd: many shapes that rotate at once, or are gone after a deploy, and all their clients coming back together.

import { rmSync } from 'node:fs'
import net from 'node:net'
import { test } from '../lib/runner.mjs'
import { world } from '../lib/setup.mjs'
import { assert, equal, until } from '../lib/util.mjs'

const SHAPES = 10000
const POOL = 20
// After a deploy: so many clients, of so many shapes.
const CLIENTS = 10000
const DEPLOYED = 2000
const RECONNECT_MS = 1000
const REFUSED_MOST = 3

// A client of one shape over one kept connection: reads to the tail, waits there, does what it is told. 409: from the
// beginning; 503: again after the time that it says. Anything else is a fault.
class Client {
  constructor(port, id, log) {
    this.id = id
    this.where = encodeURIComponent(`id = ${id}`)
    this.log = log
    this.rows = new Map()
    this.port = port
    this.begin()
    this.connect()
  }
  begin() {
    this.rows.clear()
    this.handle = undefined
    this.offset = '-1'
    this.upToDate = false
  }
  connect() {
    this.text = ''
    this.socket = net.connect(this.port, '127.0.0.1', () => this.ask())
    this.socket.setEncoding('latin1')
    this.socket.on('data', (d) => {
      this.text += d
      this.take()
    })
    this.socket.on('error', (e) => (this.log.deploying ? this.again() : this.log.faults.push(e.message)))
    this.socket.on('end', () => {
      this.ended = true
      if (this.log.deploying && !this.waiting) return this.again()
      if (this.waiting || this.stopped) return
      // It had been idle for a minute, and ended as the request was on its way: that is asked again.
      if (this.text === '' && this.rested) this.ask()
      else this.log.faults.push('the connection ended in a request')
    })
  }
  // The server is away.
  again() {
    if (this.waiting || this.stopped) return
    this.waiting = this.ended = true
    setTimeout(() => this.ask(), RECONNECT_MS * (0.5 + Math.random()))
  }
  ask() {
    this.waiting = false
    if (this.stopped) return
    if (this.ended) { // idle for too long
      this.ended = false
      this.connect()
      return
    }
    const live = this.upToDate ? '&live=true' : ''
    const handle = this.handle ? `&handle=${this.handle}` : ''
    this.socket.write(`GET /v1/shape?table=t&where=${this.where}&offset=${this.offset}${handle}${live} HTTP/1.1\r\nHost: x\r\n\r\n`)
  }
  take() {
    const end = this.text.indexOf('\r\n\r\n')
    if (end < 0) return
    const head = this.text.slice(0, end)
    const header = (name) => new RegExp(`^${name}: (.*)$`, 'im').exec(head)?.[1].trim()
    const length = header('content-length')
    let body
    if (length !== undefined) {
      if (this.text.length < end + 4 + Number(length)) return
      body = this.text.slice(end + 4, end + 4 + Number(length))
      this.text = this.text.slice(end + 4 + Number(length))
    } else {
      const last = this.text.indexOf('\r\n0\r\n\r\n', end)
      if (last < 0) return
      body = this.text.slice(end + 4, last + 2).replace(/(^|\r\n)[0-9a-f]+\r\n/g, '')
      this.text = this.text.slice(last + 7)
    }
    this.answer(Number(head.slice(9, 12)), header, body)
  }
  answer(status, header, body) {
    this.log.count(status)
    this.rested = false
    if (status === 200) {
      for (const m of JSON.parse(body)) {
        if (m.headers.operation === 'delete') this.rows.delete(m.key)
        else if (m.headers.operation) this.rows.set(m.key, { ...this.rows.get(m.key), ...m.value })
      }
      this.handle = header('electric-handle')
      this.offset = header('electric-offset')
      this.upToDate = header('electric-up-to-date') !== undefined
      this.refused = 0
    } else if (status === 409) {
      this.begin()
      const handle = header('electric-handle')
      if (handle) this.handle = handle
    } else if (status === 503 && Number(header('retry-after')) > 0) {
      const s = Number(header('retry-after'))
      this.log.waits.push(s)
      this.refused = (this.refused ?? 0) + 1
      this.log.refusedMost = Math.max(this.log.refusedMost, this.refused)
      this.waiting = true
      this.rested = s > 50
      setTimeout(() => this.ask(), s * 1000)
      return
    } else {
      this.log.faults.push(`${status} ${body.slice(0, 200)}`)
      return
    }
    this.ask()
  }
  stop() {
    this.stopped = true
    this.socket.destroy()
  }
}

class Log {
  constructor() {
    this.reset()
    this.faults = []
    this.deploying = false
  }
  reset() {
    this.answers = {}
    this.waits = []
    this.refusedMost = 0
  }
  count(status) {
    this.answers[status] = (this.answers[status] ?? 0) + 1
  }
  text() {
    const w = this.waits
    return `${JSON.stringify(this.answers)}; retry-after ${w.length ? `${Math.min(...w)} to ${w.reduce((a, b) => Math.max(a, b))}` : '-'} s, at most ${this.refusedMost} times in a row`
  }
}

// What all clients hold is awaited; how many sessions Postgres has meanwhile is counted.
async function crowd(t, w, clients, log) {
  t.cleanup(() => clients.forEach((c) => c.stop()))
  const session = await w.session()
  const self = { most: 0 }
  self.arrive = async (prefix, ms) => {
    const started = Date.now()
    await until(
      () => `all have their row: ${clients.filter((c) => !c.upToDate).length} don't; ${log.text()}`,
      async () => {
        if (log.faults.length > 0) throw new Error(log.faults.slice(0, 5).join(' / '))
        // Its pool, and the replication connection and the one that holds the lock.
        const { rows } = await session.query(`SELECT count(*)::int n FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type IN ('client backend', 'walsender')`)
        self.most = Math.max(self.most, rows[0].n)
        return clients.every((c) => c.upToDate && c.rows.size === 1 && [...c.rows.values()][0].v.startsWith(prefix))
      },
      ms,
      250,
    )
    t.note(`all after ${((Date.now() - started) / 1000).toFixed(1)} s: ${log.text()}`)
    for (const c of clients) equal([...c.rows.values()], [{ id: String(c.id), v: `${prefix}${c.id}` }], `rows of a client of ${c.id}`)
  }
  self.bounded = () => {
    t.note(`at most ${self.most} sessions`)
    assert(self.most <= POOL + 2, `${self.most} sessions of Postgres, the pool is ${POOL}`)
  }
  return self
}

const table = (n) => ['CREATE TABLE t (id int PRIMARY KEY, v text)', `INSERT INTO t SELECT g, 'a' || g FROM generate_series(1, ${n}) g`]

test(`${SHAPES} shapes rotate at once, and their clients come back`, { timeout: 700000 }, async (t) => {
  const w = await world(t, { sql: table(SHAPES), env: { ELECTRIC_DB_POOL_SIZE: String(POOL) } })
  const log = new Log()
  const clients = Array.from({ length: SHAPES }, (_, i) => new Client(w.busbar.port, i + 1, log))
  const all = await crowd(t, w, clients, log)
  await all.arrive('a', 300000)
  log.reset()
  await w.sql(`BEGIN; TRUNCATE t; INSERT INTO t SELECT g, 'b' || g FROM generate_series(1, ${SHAPES}) g; COMMIT`)
  await all.arrive('b', 300000)
  all.bounded()
})

test(`a deploy without its store: ${CLIENTS} clients of ${DEPLOYED} shapes come back at once`, { timeout: 400000 }, async (t) => {
  const w = await world(t, { sql: table(DEPLOYED), env: { ELECTRIC_DB_POOL_SIZE: String(POOL) } })
  const log = new Log()
  const clients = Array.from({ length: CLIENTS }, (_, i) => new Client(w.busbar.port, (i % DEPLOYED) + 1, log))
  const all = await crowd(t, w, clients, log)
  await all.arrive('a', 200000)
  log.deploying = true
  await w.busbar.stop()
  rmSync(w.busbar.storage, { recursive: true })
  await w.sql(`UPDATE t SET v = 'b' || id`)
  log.reset()
  await w.busbar.start()
  await all.arrive('b', 200000)
  all.bounded()
  // Whoever was told when to come back had a place then, or soon.
  assert(log.refusedMost <= REFUSED_MOST, `a client was sent away ${log.refusedMost} times in a row`)
})
