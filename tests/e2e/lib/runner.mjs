// Runs the tests of one suite, one after the other (`suite.mjs` starts it).
// E2E_ONLY runs those whose `suite: name` holds the text. Ends with a line `NAME: N passed, N failed`.

import { leaks } from './busbar.mjs'
import { delay } from './util.mjs'

const tests = []

export function test(name, options, body) {
  if (typeof options === 'function') [options, body] = [{}, options]
  tests.push({ name, body, timeout: options.timeout ?? 90000, long: options.long ?? false })
}

const CLEANUP_MS = 30000

class Context {
  constructor(name) {
    this.name = name
    this.actions = []
    this.notes = []
  }
  cleanup(action) {
    this.actions.push(action)
  }
  // A line printed below the test's result.
  note(text) {
    this.notes.push(text)
  }
  // What to print if the test fails, asked for at that time.
  onFailure(tell) {
    this.tell = tell
  }
  async finish() {
    for (const action of this.actions.reverse()) {
      try {
        await Promise.race([action(), delay(CLEANUP_MS)])
      } catch (e) {
        this.note(`cleaning up: ${e.message}`)
      }
    }
  }
}

// A promise nobody waits for must fail the test that left it, not end the run.
let stray
process.on('unhandledRejection', (e) => {
  if (stray) stray(e)
  else console.log(`# after a test: ${e?.message ?? e}`)
})
process.on('uncaughtException', (e) => {
  if (stray) stray(e)
  else console.log(`# after a test: ${e?.stack ?? e}`)
})

export async function run(suite) {
  const only = process.env.E2E_ONLY
  let passed = 0
  const failures = []
  for (const t of tests) {
    const name = `${suite}: ${t.name}`
    if (only && !name.includes(only)) continue
    if (t.long && process.env.E2E_LONG !== '1') continue
    const context = new Context(name)
    const started = Date.now()
    let problem
    let timer
    try {
      const late = new Promise((_, reject) => {
        stray = reject
        timer = setTimeout(() => reject(new Error(`took longer than ${t.timeout} ms`)), t.timeout)
      })
      await Promise.race([t.body(context), late])
    } catch (e) {
      problem = e
    }
    clearTimeout(timer)
    stray = undefined
    let told = ''
    if (problem && context.tell) {
      try {
        told = context.tell()
      } catch (e) {
        told = e.message
      }
    }
    await context.finish()
    if (leaks.length && !problem) problem = new Error(`a secret stands in the log: ${leaks[0].slice(0, 200)}`)
    leaks.length = 0
    const seconds = ((Date.now() - started) / 1000).toFixed(1)
    if (problem) {
      const reason = process.env.E2E_VERBOSE === '1' ? problem.stack : problem.message
      failures.push(name)
      console.log(`FAIL ${name} (${seconds} s)\n   ${String(reason).replaceAll('\n', '\n   ')}`)
      if (told) console.log(`   ${told.replaceAll('\n', '\n   ')}`)
    } else {
      passed++
      console.log(`ok   ${name} (${seconds} s)`)
    }
    for (const n of context.notes) console.log(`     ${n}`)
  }
  console.log(`${suite}: ${passed} passed, ${failures.length} failed`)
  return failures.length
}
