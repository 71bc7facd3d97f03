// The daemon under test: started with an environment of its own, watched, killed, started again on
// the same storage.

import { execFileSync, spawn } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { get, SECRET } from './http.mjs'
import { PASSWORD } from './pg.mjs'
import { atExit, freePort, temporary, until, within } from './util.mjs'

const REPO = resolve(dirname(fileURLToPath(import.meta.url)), '../../..')
export const BINARY = resolve(process.env.BUSBAR ?? `${REPO}/build/busbar`)

// Lines of any daemon that show what they must not: the runner fails the test in which they came.
export const leaks = []

// What a daemon was given and may never say.
function secretsOf(env) {
  const secrets = [PASSWORD, SECRET]
  for (const k of ['DATABASE_URL', 'ELECTRIC_POOLED_DATABASE_URL', 'ELECTRIC_QUERY_DATABASE_URL']) {
    const password = /^[^:]*:\/\/[^:@/]*:([^@]*)@/.exec(env[k] ?? '')?.[1]
    if (password) secrets.push(password, decodeURIComponent(password))
  }
  if (env.ELECTRIC_SECRET) secrets.push(env.ELECTRIC_SECRET, encodeURIComponent(env.ELECTRIC_SECRET))
  return [...new Set(secrets)]
}

const leaky = (secrets) => (line) =>
  secrets.some((s) => line.includes(s)) ||
  /\b(api_)?secret=(?!\[REDACTED\])[^\s&]/i.test(line) ||
  /:\/\/(?!user:password@host)[^:@/\s]*:[^@/\s]+@/.test(line)

// Looks at one output of a daemon with this environment, as it comes; `end()` is for a last line that nothing ends.
export function watchForSecrets(env) {
  const shows = leaky(secretsOf(env))
  let rest = ''
  const take = (text) => {
    const lines = (rest + text).split('\n')
    rest = lines.pop()
    leaks.push(...lines.filter(shows))
  }
  return { take, end: () => take('\n') }
}

// The same for all that a daemon has said.
export function checkForSecrets(env, text) {
  leaks.push(...text.split('\n').filter(leaky(secretsOf(env))))
  return text
}

// Settings with which the daemon's libraries answer otherwise: `source` (in C) has functions that take the place of
// theirs. Undefined under a sanitizer, whose library must be the first that is loaded.
export function preload(source) {
  if (process.env.E2E_SANITIZED === '1') return undefined
  const dir = temporary('preload')
  writeFileSync(join(dir, 'preload.c'), `#define _GNU_SOURCE\n${source}`)
  execFileSync('cc', ['-shared', '-fPIC', '-o', 'preload.so', 'preload.c', '-ldl'], { cwd: dir })
  return { LD_PRELOAD: join(dir, 'preload.so') }
}

const ACTIVE_MS = 20000
const STOP_MS = 10000

// Nothing of the caller's own settings may reach the daemon.
function cleanEnvironment() {
  const env = {}
  for (const [k, v] of Object.entries(process.env)) {
    if (!k.startsWith('ELECTRIC_') && !k.startsWith('PG') && k !== 'DATABASE_URL') env[k] = v
  }
  return env
}

export class Busbar {
  // Options: databaseUrl, env (over the defaults; undefined unsets), storage.
  constructor({ databaseUrl, env = {}, storage }) {
    this.databaseUrl = databaseUrl
    this.env = env
    this.storage = storage ?? temporary('store')
    this.output = ''
    this.starts = 0
  }

  async start({ active = true } = {}) {
    if (!existsSync(BINARY)) throw new Error(`no daemon at ${BINARY}: build it, or name it in BUSBAR`)
    this.port ??= await freePort()
    this.url = `http://127.0.0.1:${this.port}`
    const env = {
      ...cleanEnvironment(),
      DATABASE_URL: this.databaseUrl,
      ELECTRIC_INSECURE: 'true',
      ELECTRIC_PORT: String(this.port),
      ELECTRIC_STORAGE_DIR: this.storage,
      ELECTRIC_LOG_LEVEL: 'info',
      ...this.env,
    }
    for (const k of Object.keys(env)) if (env[k] === undefined) delete env[k]
    const child = spawn(BINARY, [], { env, stdio: ['ignore', 'pipe', 'pipe'] })
    this.child = child
    this.code = undefined
    this.starts++
    this.mark = this.output.length
    const watches = [child.stdout, child.stderr].map((stream) => {
      const watch = watchForSecrets(env)
      stream.on('data', (d) => {
        this.output += d
        watch.take(String(d))
      })
      return watch
    })
    this.exited = new Promise((done) => {
      child.on('error', (e) => {
        this.output += `${e.message}\n`
        this.code = -1
        done(-1)
      })
      child.on('close', (code, signal) => {
        for (const watch of watches) watch.end()
        this.code = code ?? signal
        done(this.code)
      })
    })
    this.forget = atExit(() => child.kill('SIGKILL'))
    if (active) await this.active()
    return this
  }

  async health() {
    return get(`${this.url}/v1/health`, { timeout: 2000 })
  }

  async active(ms = ACTIVE_MS) {
    await until(
      () => `the daemon is active: ${this.tail()}`,
      async () => {
        if (this.code !== undefined) return true
        const r = await this.health()
        return r.status === 200 && r.json().status === 'active'
      },
      ms,
      10,
    )
    if (this.code !== undefined) throw new Error(`the daemon ended with ${this.code}: ${this.tail()}`)
  }

  // The last lines of its output, for messages.
  tail(lines = 8) {
    return this.output.trimEnd().split('\n').slice(-lines).join(' / ')
  }

  // What it has written since its last start.
  outputSinceStart() {
    return this.output.slice(this.mark)
  }

  said(text) {
    return this.outputSinceStart().includes(text)
  }

  // { code, status, … } of /v1/ready.
  async ready() {
    const a = await get(`${this.url}/v1/ready`, { timeout: 5000 })
    return { code: a.status, ...a.json() }
  }

  // A start that is to end by itself: { code, said }.
  async startAndEnd() {
    await this.start({ active: false })
    const code = await within(() => `it ends: ${this.tail()}`, 20000, this.exited)
    return { code, said: this.outputSinceStart() }
  }

  get pid() {
    return this.child.pid
  }

  running() {
    return this.child !== undefined && this.code === undefined
  }

  async kill9() {
    this.child.kill('SIGKILL')
    await this.exited
    this.forget()
  }

  // Ends it as an operator would; gives the milliseconds it took.
  async term() {
    const started = performance.now()
    this.child.kill('SIGTERM')
    await within('the daemon ends after SIGTERM', STOP_MS, this.exited)
    this.forget()
    return performance.now() - started
  }

  // Whatever state it is in.
  async stop() {
    if (!this.child || this.code !== undefined) return
    try {
      await this.term()
    } catch {
      await this.kill9()
    }
  }

  // Kilobytes by name from /proc: VmRSS, RssAnon, RssFile.
  memory() {
    const text = readFileSync(`/proc/${this.pid}/status`, 'utf8')
    const value = (name) => Number(text.match(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm'))?.[1])
    return { VmRSS: value('VmRSS'), RssAnon: value('RssAnon') }
  }
}
