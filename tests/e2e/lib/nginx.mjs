// docker/nginx/nginx.conf before a daemon: as it stands, but for its port and folders. And clients over HTTP/2.

import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import http2 from 'node:http2'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import net from 'node:net'
import { Response } from './http.mjs'
import { assert, atExit, freePort, temporary, until, within } from './util.mjs'

export const DOCKER = resolve(dirname(fileURLToPath(import.meta.url)), '../../../docker')
const TOOLS = resolve(DOCKER, '../.run/tools')
const STOP_MS = 10000

// A program of Debian's, as installed or as `test.sh` has unpacked it.
export function tool(name) {
  const places = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', `${TOOLS}/usr/sbin`, `${TOOLS}/usr/bin`]
  return places.map((place) => join(place, name)).find(existsSync)
}

// What `run` of a suite does where a program isn't there: says so. In CI that is a failure.
export function unless(names, suite) {
  const missing = names.filter((name) => !tool(name))
  if (missing.length === 0) return undefined
  return () => {
    const failed = process.env.CI === 'true' ? 1 : 0
    console.log(`# ${suite}: skipped, since ${missing.join(' and ')} can't be found: \`bash test.sh\` unpacks them`)
    console.log(`${suite}: 0 passed, ${failed} failed`)
    return failed
  }
}

// Text with each of the pairs replaced, all of which must be there: the file is tested as it stands, and nothing is left
// that would name a place of the machine's.
export function replaced(text, pairs) {
  for (const [from, to] of pairs) {
    assert(text.includes(from), `docker's file has no "${from}"`)
    text = text.replaceAll(from, to)
  }
  return text
}

// A program that serves until the test's end; its output goes to `output`.
export async function serve(t, command, args, port, options = {}) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options })
  const self = { child, output: '' }
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (d) => (self.output += d))
  let over
  const ended = new Promise((done) =>
    child.on('close', (code) => {
      over = code
      done()
    }),
  )
  const forget = atExit(() => child.kill('SIGKILL'))
  t.cleanup(async () => {
    child.kill('SIGTERM')
    await within(`${command} ends`, STOP_MS, ended).catch(() => child.kill('SIGKILL'))
    forget()
  })
  await until(
    () => `${command} listens: ${self.output}`,
    () => {
      if (over !== undefined) throw new Error(`it ended with ${over}`)
      return new Promise((done, failed) => {
        const s = net.connect(port, '127.0.0.1', () => {
          s.destroy()
          done(true)
        })
        s.on('error', failed)
      })
    },
  )
  return self
}

// Options: upstream (host:port), auth (host:port of the application, with Busbar's secret), change (pairs of text).
export async function nginx(t, { upstream, auth, secret = '', change = [] }) {
  const dir = temporary('nginx')
  chmodSync(dir, 0o755) // its workers have another user
  const port = await freePort()
  mkdirSync(join(dir, 'conf.d'))
  execFileSync(join(DOCKER, 'nginx/make-certificate.sh'), [join(dir, 'tls')])
  writeFileSync(
    join(dir, 'nginx.conf'),
    replaced(readFileSync(join(DOCKER, 'nginx/nginx.conf'), 'utf8'), [
      ['listen 443 ssl http2;', `listen 127.0.0.1:${port} ssl http2;`],
      ['listen [::]:443 ssl http2;', ''],
      ['server busbar:3000;', `server ${upstream};`],
      ['/var/log/nginx/', `${dir}/`],
      ['/run/nginx.pid', `${dir}/pid`],
      ['/var/cache/nginx/busbar', `${dir}/cache`],
      ['/etc/nginx/tls/', `${dir}/tls/`],
      ['/etc/nginx/busbar.d/', `${dir}/conf.d/`],
      ['http {\n', `http {\n    client_body_temp_path ${dir}/body;\n    proxy_temp_path ${dir}/proxy;\n    fastcgi_temp_path ${dir}/f;\n    uwsgi_temp_path ${dir}/u;\n    scgi_temp_path ${dir}/s;\n`],
      ...change,
    ]),
  )
  if (auth) {
    writeFileSync(
      join(dir, 'conf.d/auth.conf'),
      replaced(readFileSync(join(DOCKER, 'nginx/auth.conf'), 'utf8'), [
        ['http://app:8080', `http://${auth}`],
        ['/etc/nginx/busbar-secret.conf', `${dir}/secret.conf`],
      ]),
    )
    writeFileSync(join(dir, 'secret.conf'), `set $busbar_secret "${secret}";\n`, { mode: 0o600 })
  }
  const args = ['-c', join(dir, 'nginx.conf'), '-p', dir, '-e', join(dir, 'error.log'), '-g', 'daemon off;']
  const check = spawnSync(tool('nginx'), ['-t', ...args.slice(0, 6)], { encoding: 'utf8' })
  assert(check.status === 0, `nginx refuses its configuration: ${check.stderr}`)
  const self = await serve(t, tool('nginx'), args, port)
  return Object.assign(self, {
    dir,
    port,
    url: `https://127.0.0.1:${port}`,
    log: () => readFileSync(join(dir, 'access.log'), 'utf8'),
    errors: () => readFileSync(join(dir, 'error.log'), 'utf8'),
  })
}

// Passes bytes on, and keeps the heads of the requests: what reaches the daemon. Nobody who uses it pipelines.
export class Counter {
  static async create(t, port) {
    const self = new Counter()
    self.heads = []
    self.server = net.createServer((client) => {
      const upstream = net.connect(port, '127.0.0.1')
      client.on('data', (d) => {
        const text = d.toString('latin1')
        if (/^[A-Z]+ \S+ HTTP\/1\.1\r\n/.test(text)) self.heads.push(text)
        upstream.write(d)
      })
      upstream.on('data', (d) => client.write(d))
      for (const [one, other] of [[client, upstream], [upstream, client]]) {
        one.on('error', () => other.destroy())
        one.on('close', () => other.destroy())
      }
    })
    await new Promise((done) => self.server.listen(0, '127.0.0.1', done))
    t.cleanup(() => self.server.close())
    self.address = `127.0.0.1:${self.server.address().port}`
    return self
  }
  get count() {
    return this.heads.length
  }
}

// A browser's connection: all requests are streams of it.
export class Session {
  static async open(t, url) {
    const self = new Session()
    self.session = http2.connect(url, { rejectUnauthorized: false })
    self.session.on('error', () => {})
    await within('an HTTP/2 connection', 10000, new Promise((done, failed) => self.session.once('connect', done).once('error', failed)))
    t.cleanup(() => self.session.destroy())
    return self
  }
  // `on(text, headers)`: called with each piece of the body as it comes.
  get(path, { method = 'GET', headers = {}, body, timeout = 60000, on } = {}) {
    return within(
      `${method} ${path}`,
      timeout,
      new Promise((done, failed) => {
        const stream = this.session.request({ ':method': method, ':path': path, ...headers }, { endStream: body === undefined })
        const parts = []
        let head
        stream.on('response', (h) => (head = h))
        stream.on('data', (d) => {
          parts.push(d)
          if (on) on(d.toString('utf8'), head)
        })
        stream.on('error', failed)
        stream.on('end', () => (head ? done(new Response(head[':status'], head, Buffer.concat(parts))) : failed(new Error('no answer'))))
        if (body !== undefined) stream.end(body)
      }),
    )
  }
  close() {
    this.session.destroy()
  }
}

export const path = (params) =>
  `/v1/shape?${Object.entries(params)
    .filter(([, v]) => v !== undefined)
    .map(([k, v]) => `${encodeURIComponent(k)}=${encodeURIComponent(v)}`)
    .join('&')}`

// Follows a shape over a session, as the official clients do: to the end, then waiting. `on(change, now)` for each row.
export class H2Client {
  constructor(session, params, on) {
    this.session = session
    this.params = params
    this.on = on
    this.rows = new Map()
    this.faults = []
    this.statuses = {}
    this.begin()
    this.running = this.run().catch((e) => {
      if (!this.stopped) this.faults.push(e.message)
    })
  }
  begin() {
    this.position = { offset: '-1' }
    this.live = false
    this.rows.clear()
  }
  async run() {
    while (!this.stopped) {
      const live = this.live ? { live: 'true', cursor: this.cursor } : {}
      this.asked = { ...this.params, ...this.position, ...live }
      const answer = await this.session.get(path(this.asked))
      this.statuses[answer.status] = (this.statuses[answer.status] ?? 0) + 1
      if (answer.status === 409) {
        this.begin()
        continue
      }
      if (answer.status !== 200) throw new Error(`${answer.status} ${answer.text().slice(0, 200)}`)
      const now = performance.now()
      for (const m of answer.changes()) {
        if (m.headers.operation === 'delete') this.rows.delete(m.key)
        else this.rows.set(m.key, { ...this.rows.get(m.key), ...m.value })
        this.on?.(m, now)
      }
      this.position = { offset: answer.offset, handle: answer.handle }
      this.cursor = answer.headers['electric-cursor'] ?? this.cursor
      this.live = this.live || answer.upToDate
    }
  }
  stop() {
    this.stopped = true
  }
}
