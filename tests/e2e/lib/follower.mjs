// A strict client: follows a shape as the protocol says and holds the server to every promise.
//
// It notes as a fault (`faults`):
// - a change whose offset is not above the one before it;
// - an insert of a key it has, an update or delete of one it hasn't;
// - a transaction of which up-to-date comes before the change marked `last`;
// - with replica=full: old values that are not those it holds;
// - a column outside the schema, a handle that changes under it, an offset header that goes back;
// - an answer other than 200, 409 and 5xx.
//
// A 409 is followed by starting anew, and noted in `refetches` for the test to judge. Broken
// connections and 5xx answers are tried again from the last confirmed offset.
//
// The event-stream variant applies what it got at each up-to-date and then goes on at
// `<global_last_seen_lsn>_0`, as the official client does; changes that the server repeats for
// that reason, after a new connection, are counted (`repeats`) and must be those it had.

import http from 'node:http'
import { events, Response, shapeUrl } from './http.mjs'
import { delay, until } from './util.mjs'

const RETRY_MS = 40
const LIVE_MS = 45000
const MAX_FAULTS = 20

export function parseOffset(text) {
  const m = /^(\d+)_(\d+|inf)$/.exec(text)
  return m ? { tx: BigInt(m[1]), op: m[2] === 'inf' ? Infinity : Number(m[2]) } : { tx: -1n, op: 0 }
}

export function compareOffsets(a, b) {
  if (a.tx !== b.tx) return a.tx < b.tx ? -1 : 1
  return a.op === b.op ? 0 : a.op < b.op ? -1 : 1
}

export class Follower {
  // Options: url (of the server), params (table, columns, replica …), mode 'poll' or 'sse', name.
  constructor({ url, params, mode = 'poll', name }) {
    this.url = url
    this.params = params
    this.mode = mode
    this.name =
      name ?? `${mode} ${params.table}${params.replica === 'full' ? ' full' : ''}${params.columns ? ` (${params.columns})` : ''}${params.where ? ` where ${params.where}` : ''}`
    this.faults = []
    this.refetches = []
    this.refusals = []
    this.retries = 0
    this.repeats = 0
    this.applied = 0
    this.requests = 0
    this.statuses = {}
    this.reset()
  }

  reset() {
    this.rows = new Map()
    this.handle = undefined
    this.offset = '-1'
    this.last = { tx: -1n, op: 0 }
    this.open = undefined
    this.live = false
    this.confirmedAt = undefined
    this.cursor = undefined
    this.schema = undefined
    this.lsn = undefined
  }

  start() {
    this.stopping = new AbortController()
    this.agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
    this.running = this.run().catch((e) => this.fault(`the follower broke: ${e.stack}`))
    return this
  }

  async stop() {
    this.stopping.abort()
    this.close?.()
    this.agent.destroy()
    await this.running
  }

  fault(text) {
    if (this.faults.length < MAX_FAULTS) this.faults.push(`${this.name}: ${text} (handle ${this.handle}, offset ${this.offset})`)
    this.broken = true
  }

  async run() {
    while (!this.stopping.signal.aborted && this.faults.length < MAX_FAULTS) {
      try {
        if (this.live && this.mode === 'sse') await this.stream()
        else await this.poll()
      } catch (e) {
        if (this.stopping.signal.aborted) return
        this.retries++
        this.lastError = e.message
        await delay(RETRY_MS)
      }
    }
  }

  request(url) {
    this.requests++
    return new Promise((resolve, reject) => {
      const req = http.request(url, { agent: this.agent, signal: this.stopping.signal }, (res) => {
        const parts = []
        res.on('data', (d) => parts.push(d))
        res.on('end', () => {
          if (res.complete) resolve(new Response(res.statusCode, res.headers, Buffer.concat(parts)))
          else reject(new Error('answer broken off'))
        })
        res.on('aborted', () => reject(new Error('answer broken off')))
        res.on('error', reject)
      })
      const timer = setTimeout(() => req.destroy(new Error('no answer in time')), LIVE_MS)
      req.on('close', () => clearTimeout(timer))
      req.on('error', reject)
      req.end()
    })
  }

  async poll() {
    const asked = { offset: this.offset, handle: this.handle }
    const url = shapeUrl(this.url, {
      ...this.params,
      ...asked,
      live: this.live || undefined,
      cursor: this.live ? this.cursor : undefined,
    })
    const answer = await this.request(url)
    if (!(await this.accept(answer, url))) return
    let messages
    try {
      messages = answer.json()
    } catch (e) {
      this.fault(`a body that is no JSON: ${e.message}`)
      return
    }
    this.takeHeaders(answer)
    const before = parseOffset(asked.offset)
    for (const m of messages) this.take(m, false)
    const now = parseOffset(answer.offset ?? 'none')
    if (answer.offset === undefined) this.fault('no electric-offset header')
    else if (compareOffsets(now, before) < 0) this.fault(`electric-offset went back from ${asked.offset} to ${answer.offset}`)
    else if (compareOffsets(now, this.last) < 0) this.fault(`electric-offset ${answer.offset} is below the last change`)
    this.offset = answer.offset ?? this.offset
    if (answer.upToDate) this.confirm()
    else this.live = false
  }

  async stream() {
    const url = shapeUrl(this.url, {
      ...this.params,
      offset: this.offset,
      handle: this.handle,
      live: true,
      live_sse: true,
      cursor: this.cursor,
    })
    this.requests++
    let pending = []
    let confirmed = this.last
    const on = ({ json }) => {
      if (!json) return
      pending.push(json)
      if (json.headers.control !== 'up-to-date') return
      // Nothing counts before its up-to-date: a cut in between starts again from the old offset.
      for (const m of pending) this.take(m, true, confirmed)
      pending = []
      this.confirm()
      this.offset = `${json.headers.global_last_seen_lsn}_0`
    }
    const stream = await events(url, on)
    this.close = stream.close
    if (this.stopping.signal.aborted) return stream.close()
    if (!(await this.accept(stream.response, url))) return
    this.takeHeaders(stream.response)
    const end = await stream.done
    this.close = undefined
    if (end !== 'end') throw new Error(end)
  }

  // Whether the answer carries messages; does what others ask for.
  async accept(answer, url) {
    this.statuses[answer.status] = (this.statuses[answer.status] ?? 0) + 1
    if (answer.status === 200) return true
    if (answer.status === 409) {
      // One that asks from the beginning loses nothing: the table was changed under its first request.
      const list = this.offset === '-1' ? this.refusals : this.refetches
      list.push({
        at: Date.now(),
        handle: this.handle,
        offset: this.offset,
        confirmedAt: this.confirmedAt,
        newHandle: answer.handle,
        body: answer.text().slice(0, 200),
      })
      if (answer.text() !== '[{"headers":{"control":"must-refetch"}}]')
        this.fault(`409 with the body ${answer.text().slice(0, 200)}`)
      const { handle } = this
      this.reset()
      this.old = handle
      return false
    }
    if (answer.status >= 500) {
      this.lastError = `${answer.status} ${answer.text().slice(0, 900)}`
      this.retries++
      await delay(RETRY_MS)
      return false
    }
    this.fault(`${answer.status} ${answer.text().slice(0, 300)} for ${url}`)
    await delay(RETRY_MS)
    return false
  }

  takeHeaders(answer) {
    const { handle } = answer
    if (!handle) this.fault('no electric-handle header')
    else if (this.handle && handle !== this.handle) this.fault(`the handle became ${handle}`)
    else if (!this.handle && handle === this.old) this.fault(`the rotated handle ${handle} came again`)
    this.handle ??= handle
    this.cursor = answer.headers['electric-cursor'] ?? this.cursor
    const schema = answer.headers['electric-schema']
    if (schema) this.schema = JSON.parse(schema)
  }

  confirm() {
    if (this.open) this.fault(`up-to-date inside transaction ${this.open}`)
    this.live = true
    this.confirmedAt ??= Date.now()
    this.confirmations = (this.confirmations ?? 0) + 1
  }

  take(m, mayRepeat, confirmed) {
    const { headers: h, key, value, old_value: old } = m
    if (h.control) {
      if (h.control === 'up-to-date') this.lsn = BigInt(h.global_last_seen_lsn)
      return
    }
    if (h.lsn !== undefined) {
      const at = { tx: BigInt(h.lsn), op: h.op_position }
      if (mayRepeat && compareOffsets(at, confirmed) <= 0) {
        this.repeats++
        return
      }
      if (compareOffsets(at, this.last) <= 0)
        this.fault(`${h.operation} of ${key} at ${h.lsn}_${h.op_position} after ${this.last.tx}_${this.last.op}`)
      if (this.open && this.open !== h.lsn) this.fault(`transaction ${this.open} has no change marked last`)
      this.last = at
      this.open = h.last ? undefined : h.lsn
    } else if (h.operation !== 'insert' || this.last.tx >= 0n) {
      this.fault(`a ${h.operation} of ${key} without an lsn`)
    }
    this.applied++
    this.apply(h, key, value, old)
  }

  apply(h, key, value, old) {
    const known = this.rows.get(key)
    const full = this.params.replica === 'full'
    switch (h.operation) {
      case 'insert':
        if (known)
          this.fault(
            `insert of a known key ${key}: ${JSON.stringify(value)?.slice(0, 200)}, was ${JSON.stringify(known)?.slice(0, 200)}`,
          )
        this.columns(key, value, true)
        this.rows.set(key, { ...value })
        return
      case 'update':
        if (!known) return this.fault(`update of an unknown key ${key}`)
        this.columns(key, value, full)
        if (full) {
          for (const [column, was] of Object.entries(old ?? {}))
            if (!same(known[column], was))
              this.fault(`update of ${key}: old ${column} ${short(was)}, known ${short(known[column])}`)
        }
        Object.assign(known, value)
        return
      case 'delete':
        if (!known) return this.fault(`delete of an unknown key ${key}`)
        if (full) {
          for (const [column, was] of Object.entries(value))
            if (!same(known[column], was)) this.fault(`delete of ${key}: ${column} ${short(was)}, known ${short(known[column])}`)
        }
        this.rows.delete(key)
        return
      default:
        this.fault(`operation ${h.operation}`)
    }
  }

  columns(key, value, all) {
    if (!this.schema) return
    for (const c of Object.keys(value)) if (!(c in this.schema)) this.fault(`${key} has the column ${c}, the schema hasn't`)
    if (all) for (const c of Object.keys(this.schema)) if (!(c in value)) this.fault(`${key} lacks the column ${c}`)
  }

  // Waits until the follower is up to date for the first time (or again after a refetch).
  ready(ms = 20000) {
    return until(
      () => `${this.name} is up to date: ${this.state()}`,
      () => this.confirmedAt !== undefined,
      ms,
    )
  }

  state() {
    return `${this.rows.size} rows, handle ${this.handle}, offset ${this.offset}, ${this.retries} retries, last error ${this.lastError?.slice(0, 300)}, statuses ${JSON.stringify(this.statuses)}${this.faults.length ? `, faults: ${this.faults.join('; ')}` : ''}`
  }

  // The rows as sorted text, booleans in one form, to compare with a table's.
  contents() {
    return [...this.rows.values()].map((row) => canonical(row, this.schema)).sort()
  }

  // Waits until the rows are those that `expected()` gives; on failure says which differ.
  async converges(expected, ms = 30000) {
    let wanted
    let got
    await until(
      () => `${this.name} has the table's rows: ${difference(got, wanted)}; ${this.state()}`,
      async () => {
        wanted = await expected()
        got = this.contents()
        return wanted.length === got.length && wanted.every((row, i) => row === got[i])
      },
      ms,
      60,
    )
  }

  // Throws if a promise was broken.
  check() {
    if (this.faults.length) throw new Error(this.faults.join('\n   '))
  }
}

function short(value) {
  const text = JSON.stringify(value)
  return text && text.length > 60 ? `${text.slice(0, 60)}… (${text.length})` : text
}

// Booleans are `true` in a snapshot and `t` in a change.
function plain(value) {
  return value === 't' ? 'true' : value === 'f' ? 'false' : value
}

function same(a, b) {
  return plain(a) === plain(b)
}

function canonical(row, schema) {
  const out = {}
  for (const name of Object.keys(row).sort()) out[name] = schema?.[name]?.type === 'bool' ? plain(row[name]) : row[name]
  return JSON.stringify(out)
}

// The rows of a table in the form of contents(). `columns` are names, as in the shape.
// `where`: only those for which this condition holds, as the database sees it.
export async function tableRows(query, table, columns, where) {
  const names =
    columns ??
    (
      await query(`SELECT attname FROM pg_attribute WHERE attrelid = '${table}'::regclass AND attnum > 0 AND NOT attisdropped`)
    ).rows.map((r) => r.attname)
  const list = [...names].sort().map((n) => `"${n}"::text AS "${n}"`)
  const { rows } = await query(`SELECT ${list.join(', ')} FROM ${table}${where ? ` WHERE ${where}` : ''}`)
  return rows.map((row) => JSON.stringify(row)).sort()
}

// Says how two sorted lists of rows differ, in a line.
export function difference(got = [], wanted = []) {
  const a = new Set(got)
  const b = new Set(wanted)
  const more = got.filter((r) => !b.has(r))
  const less = wanted.filter((r) => !a.has(r))
  const cut = (row, from) =>
    `${from > 30 ? `${row.slice(0, 12)}…` : row.slice(0, from)}${row.slice(Math.max(from - 18, 0), from + 60)}`
  const show = (list, others) =>
    list
      .slice(0, 3)
      .map((row, i) => {
        const other = others[i] ?? ''
        let at = 0
        while (at < row.length && row[at] === other[at]) at++
        return cut(row, at)
      })
      .join(' ')
  return `${got.length} rows of ${wanted.length}; ${less.length} missing ${show(less, more)}; ${more.length} too many ${show(more, less)}`
}
