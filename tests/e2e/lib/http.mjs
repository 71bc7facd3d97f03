// Plain HTTP without a client's comforts: no retries, no redirects, nothing added but what is said.

import http from 'node:http'
import { readFileSync } from 'node:fs'
import net from 'node:net'

export class Response {
  constructor(status, headers, body) {
    this.status = status
    this.headers = headers
    this.body = body
  }
  text() {
    return this.body.toString('utf8')
  }
  json() {
    return JSON.parse(this.text())
  }
  get handle() {
    return this.headers['electric-handle']
  }
  get offset() {
    return this.headers['electric-offset']
  }
  get upToDate() {
    return this.headers['electric-up-to-date'] !== undefined
  }
  // The messages that carry rows.
  changes() {
    const messages = this.json()
    return Array.isArray(messages) ? messages.filter((m) => m.key !== undefined) : []
  }
}

// One request, its whole answer. Options: method, headers, body, agent, timeout, signal, localAddress.
export function get(url, { method = 'GET', headers = {}, body, agent = false, timeout = 30000, signal, localAddress } = {}) {
  return new Promise((resolve, reject) => {
    const req = http.request(url, { method, headers, agent, signal, localAddress }, (res) => {
      const parts = []
      res.on('data', (d) => parts.push(d))
      res.on('end', () => resolve(new Response(res.statusCode, res.headers, Buffer.concat(parts))))
      res.on('aborted', () => reject(new Error('answer broken off')))
      res.on('error', reject)
    })
    const timer = setTimeout(() => req.destroy(new Error(`no complete answer in ${timeout} ms: ${url}`)), timeout)
    req.on('close', () => clearTimeout(timer))
    req.on('error', reject)
    if (body !== undefined) req.write(body)
    req.end()
  })
}

// Requests carry it although most daemons ask for none: no line of theirs may show it.
export const SECRET = 'secret-of-all-requests'

export function shapeUrl(base, params) {
  const query = Object.entries({ secret: SECRET, ...params })
    .filter(([, v]) => v !== undefined)
    .map(([k, v]) => `${encodeURIComponent(k)}=${encodeURIComponent(v)}`)
  return `${base}/v1/shape?${query.join('&')}`
}

export const shape = (base, params, options) => get(shapeUrl(base, params), options)

// Follows a shape from the beginning to up-to-date by plain requests. Gives every answer with its
// URL, the last handle and offset, and all messages with rows. An answer other than 200 is thrown.
export async function readAll(base, params, { from, timeout = 30000 } = {}) {
  const answers = []
  const changes = []
  let { offset, handle } = from ?? { offset: '-1', handle: undefined }
  for (;;) {
    const url = shapeUrl(base, { ...params, offset, handle })
    const answer = await get(url, { timeout })
    if (answer.status !== 200)
      throw Object.assign(new Error(`${answer.status} ${answer.text().slice(0, 300)} for ${url}`), { answer })
    answers.push({ url, answer })
    for (const change of answer.changes()) changes.push(change)
    handle = answer.handle
    offset = answer.offset
    if (answer.upToDate) return { answers, changes, handle, offset, lsn: lastSeen(answer) }
  }
}

export function lastSeen(answer) {
  return answer.json().findLast((m) => m.headers.control === 'up-to-date')?.headers.global_last_seen_lsn
}

// Sends bytes as they are over a connection of its own, and gives what came back until the server
// closed, `done(text)` was true, or the time was over ({ text, closed, ms }).
export function raw(base, bytes, { timeout = 5000, done = () => false, socket } = {}) {
  const { hostname, port } = new URL(base)
  const started = Date.now()
  return new Promise((resolve) => {
    const s = socket ?? net.connect(Number(port), hostname)
    let text = ''
    let over = false
    const finish = (closed) => {
      if (over) return
      over = true
      clearTimeout(timer)
      s.destroy()
      resolve({ text, closed, ms: Date.now() - started })
    }
    const timer = setTimeout(() => finish(false), timeout)
    s.on('data', (d) => {
      text += d.toString('latin1')
      if (done(text)) finish(false)
    })
    s.on('end', () => finish(true))
    s.on('error', () => finish(true))
    s.on('close', () => finish(true))
    if (bytes) s.write(bytes)
  })
}

// An event stream: calls `on(event)` for each event ({ json } or { comment }), and gives
// { response, done, close, resume }. `done` ends with 'end' when the server ends it, or with an error's text. `paused`:
// nothing is read before resume().
export function events(url, on, { headers = {}, paused = false } = {}) {
  return new Promise((resolve, reject) => {
    let finished
    const done = new Promise((r) => (finished = r))
    const req = http.request(url, { headers, agent: false }, (res) => {
      if (!String(res.headers['content-type']).startsWith('text/event-stream')) {
        const parts = []
        res.on('data', (d) => parts.push(d))
        res.on('end', () =>
          resolve({
            response: new Response(res.statusCode, res.headers, Buffer.concat(parts)),
            done: Promise.resolve('no stream'),
            close() {},
          }),
        )
        res.on('error', reject)
        return
      }
      // Split as bytes, decode whole events: a character may be cut between two reads.
      let pending = Buffer.alloc(0)
      if (paused) res.pause()
      res.on('data', (d) => {
        pending = pending.length ? Buffer.concat([pending, d]) : d
        let end
        while ((end = pending.indexOf('\n\n')) >= 0) {
          const text = pending.subarray(0, end).toString('utf8')
          pending = pending.subarray(end + 2)
          if (text.startsWith('data: ')) on({ json: JSON.parse(text.slice(6)) })
          else on({ comment: text })
        }
      })
      res.on('end', () => finished(res.complete ? 'end' : 'broken off'))
      res.on('aborted', () => finished('broken off'))
      res.on('error', (e) => finished(e.message))
      resolve({
        response: new Response(res.statusCode, res.headers, Buffer.alloc(0)),
        done,
        close: () => req.destroy(),
        resume: () => res.resume(),
      })
    })
    req.on('error', (e) => {
      finished(e.message)
      reject(e)
    })
    req.end()
  })
}

// Established connections of a local port, counted on the server's side, also those it hasn't accepted; with
// `unread`, those that have something in their send queue, with `arrived`, in their receive queue.
export function connections(port, { unread = false, arrived = false } = {}) {
  const hex = port.toString(16).toUpperCase().padStart(4, '0')
  const line = new RegExp(`^\\s*\\d+: [0-9A-F]+:${hex} [0-9A-F]+:[0-9A-F]{4} 01 ${unread ? '(?!00000000:)' : ''}${arrived ? '[0-9A-F]{8}:(?!00000000)' : ''}`)
  const table = ['/proc/net/tcp', '/proc/net/tcp6'].flatMap((f) => readFileSync(f, 'utf8').split('\n'))
  return table.filter((l) => line.test(l)).length
}
