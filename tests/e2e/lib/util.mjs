// Small helpers shared by the library and the suites: waiting, random numbers, temporary
// directories, and the one list of things to stop when the process ends.

import { createServer } from 'node:net'
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, chmodSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export const LONG = process.env.E2E_LONG === '1'

export const delay = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

// Asks `condition` until it gives something true and returns that; throws at the deadline with
// `what` and the last error, so that a failed wait says what was awaited.
export async function until(what, condition, ms = 15000, every = 25) {
  const end = Date.now() + ms
  let last
  for (;;) {
    try {
      const got = await condition()
      if (got) return got
      last = undefined
    } catch (e) {
      last = e
    }
    if (Date.now() >= end) {
      const text = typeof what === 'function' ? await what() : what
      throw new Error(`not within ${ms} ms: ${text}${last ? ` (${last.message})` : ''}`)
    }
    await delay(every)
  }
}

// Gives the promise's value or throws at the deadline.
export function within(what, ms, promise) {
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${ms} ms: ${what}`)), ms)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

// Stops a process, and comes back when it does stand: the signal only asks for it. Gives what lets it go on.
export async function pause(pid) {
  process.kill(pid, 'SIGSTOP')
  let stands = true
  const go = () => {
    if (stands) process.kill(pid, 'SIGCONT')
    stands = false
  }
  const state = (task) => readFileSync(`/proc/${pid}/task/${task}/stat`, 'utf8').replace(/^.*\) /s, '')[0]
  await until(`process ${pid} stands still`, () => readdirSync(`/proc/${pid}/task`).every((task) => 'TtZ'.includes(state(task))), 10000, 2)
  return go
}

export class Random {
  constructor(seed) {
    this.state = seed >>> 0
  }
  // mulberry32: 32 bits of state are plenty for a test and easy to print.
  float() {
    this.state = (this.state + 0x6d2b79f5) >>> 0
    let t = this.state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
  int(low, high) {
    return low + Math.floor(this.float() * (high - low + 1))
  }
  chance(p) {
    return this.float() < p
  }
  pick(list) {
    return list[this.int(0, list.length - 1)]
  }
  text(length) {
    let out = ''
    while (out.length < length) out += this.int(0, 0x7fffffff).toString(36)
    return out.slice(0, length)
  }
}

// The seed of a randomised test: E2E_SEED, or a new one. Print it.
export function seed() {
  return process.env.E2E_SEED ? Number(process.env.E2E_SEED) : Math.floor(Math.random() * 0xffffffff)
}

// Ports below those that the system gives to outgoing connections: a crowd of clients takes thousands of those, and then
// who was to listen on one, for the first time or again after a restart, finds it taken. Reserved until this process ends, as
// other suites run beside it.
const [PORT_FIRST, PORT_LAST] = [10000, 19999]
const reserved = join(tmpdir(), `busbar-ports-${process.getuid()}`)

function isAlive(pid) {
  try {
    return process.kill(pid, 0)
  } catch (e) {
    return e.code === 'EPERM'
  }
}

function reserve(port) {
  const file = join(reserved, String(port))
  mkdirSync(reserved, { recursive: true })
  try {
    writeFileSync(file, String(process.pid), { flag: 'wx' })
  } catch (e) {
    if (e.code !== 'EEXIST') throw e
    if (!isAlive(Number(readFileSync(file, 'utf8')))) rmSync(file, { force: true }) // free the next time it is drawn
    return false
  }
  atExit(() => rmSync(file, { force: true }))
  return true
}

const isFree = (port) =>
  new Promise((resolve) => {
    const server = createServer()
    server.on('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })

export async function freePort() {
  for (;;) {
    const port = PORT_FIRST + Math.floor(Math.random() * (PORT_LAST - PORT_FIRST + 1))
    if (reserve(port) && (await isFree(port))) return port
  }
}

// What must not outlive this process. Entries are synchronous: they run in the exit handler.
const leftovers = new Set()

export function atExit(action) {
  leftovers.add(action)
  return () => leftovers.delete(action)
}

process.on('exit', () => {
  for (const action of [...leftovers].reverse()) {
    try {
      action()
    } catch {
      // The rest must still be stopped.
    }
  }
})
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(130))

let root
export function temporary(name) {
  if (!root) {
    root = mkdtempSync(join(process.env.E2E_TMP ?? tmpdir(), 'busbar-e2e-'))
    chmodSync(root, 0o755)
    if (process.env.E2E_KEEP === '1') console.log(`# files are kept in ${root}`)
    else atExit(() => rmSync(root, { recursive: true, force: true }))
  }
  return mkdtempSync(join(root, `${name}-`))
}

export function assert(condition, message) {
  if (!condition) throw new Error(message)
}

export function equal(got, expected, what) {
  const a = JSON.stringify(got)
  const b = JSON.stringify(expected)
  if (a !== b) throw new Error(`${what}: got ${a?.slice(0, 600)}, expected ${b?.slice(0, 600)}`)
}
