// run.mjs [text…] - breaks the rules of docs/invariants.md one by one, in a copy of the tree, and sees that a unit test
// notices: that the tests guard what they say they guard. Not part of test.sh: it builds a program for each. Only those
// whose rule, file or test holds a text, if there is one. Prints `mutants: N killed, N alive`.

import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { mutants } from './list.mjs'

const root = join(dirname(fileURLToPath(import.meta.url)), '../..')
const TEST_MS = 300000
const wanted = process.argv.slice(2)
const chosen = mutants.filter(
  (m) => (!m.database || process.env.BUSBAR_TEST_DATABASE_URL) && (wanted.length === 0 || wanted.some((t) => `${m.rule} ${m.file} ${m.test}`.includes(t))),
)
const copy = mkdtempSync(join(tmpdir(), 'busbar-mutants-'))
process.on('exit', () => rmSync(copy, { recursive: true, force: true }))
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(130))

function run(command, args, options = {}) {
  const r = spawnSync(command, args, { cwd: copy, encoding: 'utf8', maxBuffer: 1 << 28, ...options })
  return { ok: r.status === 0, text: `${r.stdout}${r.stderr}` }
}

function must(what, r) {
  if (r.ok) return
  console.log(`${what}:\n${r.text.slice(-3000)}`)
  process.exit(1)
}

// What is committed, and what isn't yet.
must('copy', run('sh', ['-c', `cd "${root}" && git ls-files -z --cached --others --exclude-standard | tar -c --null -T - | tar -x -C "${copy}"`]))
must('cmake', run('cmake', ['-S', '.', '-B', 'build']))
const build = (test) => run('cmake', ['--build', 'build', '-j', String(cpus().length), '--target', test])
const test = (name) => run(`build/${name}`, [], { timeout: TEST_MS, env: { ...process.env, ASAN_OPTIONS: 'disable_coredump=1' } })
for (const name of new Set(chosen.map((m) => m.test))) {
  must(`building ${name}`, build(name))
  must(`${name}, with nothing broken`, test(name))
}
let killed = 0
for (const m of chosen) {
  const path = join(copy, m.file)
  const whole = readFileSync(path, 'utf8')
  if (whole.split(m.from).length !== 2) {
    console.log(`GONE  ${m.rule} ${m.what}: ${m.file} doesn't have its text, once`)
    continue
  }
  writeFileSync(path, whole.replace(m.from, () => m.to))
  const built = build(m.test)
  const outcome = !built.ok ? 'UNBUILT' : test(m.test).ok ? 'ALIVE' : 'ok'
  if (outcome === 'ok') killed++
  if (outcome === 'UNBUILT') console.log(built.text.slice(-1500))
  console.log(`${outcome.padEnd(5)} ${m.rule} ${m.what}: ${m.test}`)
  writeFileSync(path, whole)
}
console.log(`mutants: ${killed} killed, ${chosen.length - killed} alive`)
process.exitCode = killed === chosen.length ? 0 : 1
