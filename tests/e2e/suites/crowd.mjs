// A crowd: many shapes that rotate at once, and all their clients coming back together.

import net from 'node:net'
import { test } from '../lib/runner.mjs'
import { world } from '../lib/setup.mjs'
import { assert, equal, until } from '../lib/util.mjs'

const SHAPES = 10000
const POOL = 20

// A client of one shape over one kept connection: reads to the tail, waits there, does what it is told. 409: from the
// beginning; 503: again after the time that it says. Anything else is a fault.
class Client {
  constructor(port, where, log) {
    this.where = encodeURIComponent(where)
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
    this.socket.on('error', (e) => this.log.faults.push(e.message))
    this.socket.on('end', () => {
      this.ended = true
      if (this.waiting || this.stopped) return
      // It had been idle for a minute, and ended as the request was on its way: that is asked again.
      if (this.text === '' && this.rested) this.ask()
      else this.log.faults.push('the connection ended in a request')
    })
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

test(`${SHAPES} shapes rotate at once, and their clients come back`, { timeout: 700000 }, async (t) => {
  const w = await world(t, {
    sql: ['CREATE TABLE t (id int PRIMARY KEY, v text)', `INSERT INTO t SELECT g, 'a' || g FROM generate_series(1, ${SHAPES}) g`],
    env: { ELECTRIC_DB_POOL_SIZE: String(POOL) },
  })
  const log = new Log()
  const clients = Array.from({ length: SHAPES }, (_, i) => new Client(w.busbar.port, `id = ${i + 1}`, log))
  t.cleanup(() => clients.forEach((c) => c.stop()))
  const session = await w.session()
  let most = 0
  const arrive = async (prefix, ms) => {
    const started = Date.now()
    await until(
      () => `all have their row: ${clients.filter((c) => !c.upToDate).length} don't; ${log.text()}`,
      async () => {
        if (log.faults.length > 0) throw new Error(log.faults.slice(0, 5).join(' / '))
        // Its pool, and the replication connection and the one that holds the lock.
        const { rows } = await session.query(`SELECT count(*)::int n FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type IN ('client backend', 'walsender')`)
        most = Math.max(most, rows[0].n)
        return clients.every((c) => c.upToDate && c.rows.size === 1 && [...c.rows.values()][0].v.startsWith(prefix))
      },
      ms,
      250,
    )
    t.note(`all after ${((Date.now() - started) / 1000).toFixed(1)} s: ${log.text()}`)
    clients.forEach((c, i) => equal([...c.rows.values()], [{ id: String(i + 1), v: `${prefix}${i + 1}` }], `rows of client ${i + 1}`))
    log.reset()
  }
  await arrive('a', 300000)
  await w.sql(`BEGIN; TRUNCATE t; INSERT INTO t SELECT g, 'b' || g FROM generate_series(1, ${SHAPES}) g; COMMIT`)
  await arrive('b', 300000)
  t.note(`at most ${most} sessions`)
  assert(most <= POOL + 2, `${most} sessions of Postgres, the pool is ${POOL}`)
})
