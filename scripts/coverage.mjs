// coverage.mjs - lines that tests have run, by folder, from gcov's counters.
//
//   cmake -S . -B build-coverage -DCOVERAGE=ON && cmake --build build-coverage
//   ctest --test-dir build-coverage -L unit            and BUSBAR=$PWD/build-coverage/busbar bash tests/e2e/run.sh
//   node scripts/coverage.mjs [build-coverage] [--files]
//
// Counters add up over runs; `find build-coverage -name '*.gcda' -delete` begins anew. A process that is killed with SIGKILL
// leaves none. With gcc; GCOV names another gcov.

import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const build = resolve(process.argv.slice(2).find((a) => !a.startsWith('--')) ?? join(root, 'build-coverage'))
const gcov = process.env.GCOV ?? 'gcov'

function notesBelow(dir) {
  return readdirSync(dir, { withFileTypes: true }).flatMap((e) => {
    const path = join(dir, e.name)
    return e.isDirectory() ? notesBelow(path) : path.endsWith('.gcno') ? [path] : []
  })
}

// The libraries, the main of the daemon and of the bench, and unit tests, some of which take sources in by #include; a file
// that was compiled twice counts once.
function notes() {
  const targets = join(build, 'CMakeFiles')
  if (!existsSync(targets)) throw new Error(`${build} is no build folder`)
  const out = readdirSync(targets).filter((name) => /^(bb_.*|busbar|busbar-bench|test_.*)\.dir$/.test(name))
  return out.flatMap((name) => notesBelow(join(targets, name)))
}

// file -> line -> how often
function counts() {
  const files = new Map()
  for (const note of notes()) {
    const run = spawnSync(gcov, ['--json-format', '--stdout', note], { encoding: 'utf8', maxBuffer: 1 << 28 })
    if (run.status !== 0) throw new Error(`${gcov} ${note}: ${run.error ?? run.stderr}`)
    for (const report of run.stdout.split('\n').filter((line) => line !== '')) {
      const { files: seen, current_working_directory: cwd } = JSON.parse(report)
      for (const f of seen) {
        const name = relative(root, resolve(cwd, f.file))
        if (!/^(src|store|bench)\//.test(name)) continue
        if (!files.has(name)) files.set(name, new Map())
        const lines = files.get(name)
        for (const l of f.lines) lines.set(l.line_number, (lines.get(l.line_number) ?? 0) + l.count)
      }
    }
  }
  if (files.size === 0) throw new Error(`${build} has no counters: was it built with -DCOVERAGE=ON?`)
  return files
}

function table(files, key) {
  const sums = new Map()
  for (const [name, lines] of files) {
    for (const k of [key(name), 'all']) {
      const sum = sums.get(k) ?? { run: 0, lines: 0 }
      sum.lines += lines.size
      sum.run += [...lines.values()].filter((n) => n > 0).length
      sums.set(k, sum)
    }
  }
  const names = [...sums.keys()].filter((k) => k !== 'all').sort()
  const width = Math.max(...names.map((n) => n.length), 3)
  console.log(`${''.padEnd(width)}   lines     run       %`)
  for (const n of [...names, 'all']) {
    const { run, lines } = sums.get(n)
    const percent = ((100 * run) / lines).toFixed(1)
    console.log(`${n.padEnd(width)} ${String(lines).padStart(7)} ${String(run).padStart(7)} ${percent.padStart(7)}`)
  }
}

try {
  table(counts(), process.argv.includes('--files') ? (name) => name : dirname)
} catch (e) {
  console.error(`coverage.mjs: ${e.message}`)
  process.exit(1)
}
