// Runs all suites, each in a process of its own, in three lanes: much of the time is spent waiting for
// timeouts that are part of a test. Ends with the failed tests and `e2e: N passed, N failed`.
// Arguments: names of suites, all if there is none.

import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = dirname(fileURLToPath(import.meta.url))

// The longest first, so that the lanes end together.
const SUITES = [
  'self', 'clients', 'rotation', 'keys', 'http', 'restarts', 'joining', 'conformance', 'majors', 'words', 'history', 'where', 'idle',
  'crowd', 'nginx', 'reasons', 'deploy', 'subquery', 'inner', 'instances', 'subset', 'clients_subquery', 'sets', 'upstream', 'metrics', 'guard', 'doctor', 'limits', 'admin',
]
const LANES = 3
const SUITE_MS = process.env.E2E_LONG === '1' ? 2 * 3600 * 1000 : 15 * 60 * 1000

const wanted = process.argv.slice(2)
const children = new Set()
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'])
  process.on(signal, () => {
    for (const c of children) c.kill('SIGTERM')
    process.exitCode = 130
  })

const total = { passed: 0, failed: 0 }
const failures = []

function suite(name) {
  return new Promise((done) => {
    const started = Date.now()
    const child = spawn(process.execPath, ['suite.mjs', name], { cwd: here, stdio: ['ignore', 'pipe', 'pipe'] })
    children.add(child)
    let counted = false
    let failing = false
    const timer = setTimeout(() => {
      failures.push(`${name}: the suite took longer than ${SUITE_MS / 60000} minutes`)
      total.failed++
      child.kill('SIGTERM')
    }, SUITE_MS)
    const line = (text) => {
      const m = new RegExp(`^${name}: (\\d+) passed, (\\d+) failed$`).exec(text)
      if (m) {
        counted = true
        total.passed += Number(m[1])
        total.failed += Number(m[2])
        console.log(`${text} in ${Math.round((Date.now() - started) / 1000)} s`)
        return
      }
      // A failure's reason is indented below it.
      if (text.startsWith('FAIL ')) failures.push(text.slice(5))
      else if (failing && text.startsWith('   ')) failures[failures.length - 1] += `\n${text}`
      failing = text.startsWith('FAIL ') || (failing && text.startsWith('   '))
      console.log(text)
    }
    createInterface({ input: child.stdout }).on('line', line)
    createInterface({ input: child.stderr }).on('line', (text) => console.log(`# ${name}: ${text}`))
    child.on('close', (code) => {
      clearTimeout(timer)
      children.delete(child)
      if (!counted) {
        total.failed++
        failures.push(`${name}: the suite ended with ${code} before its count`)
      }
      done()
    })
  })
}

const started = Date.now()
const queue = SUITES.filter((name) => wanted.length === 0 || wanted.includes(name))
await Promise.all(
  Array.from({ length: LANES }, async () => {
    while (queue.length) await suite(queue.shift())
  }),
)
if (failures.length) console.log(`\nfailed:\n${failures.map((f) => `  ${f}`).join('\n')}`)
console.log(`\n${Math.round((Date.now() - started) / 1000)} s in all`)
console.log(`e2e: ${total.passed} passed, ${total.failed} failed`)
process.exit(total.failed ? 1 : 0)
