// symbols.mjs BUILD - what is external is needed elsewhere: a symbol of the daemon or the bench that no other of their objects
// uses is static, or dead. Those that only tests use are listed in tests/lint/symbols.txt with a reason; the list only
// shrinks. Prints `symbols: N passed, N failed`.

import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

process.chdir(join(dirname(fileURLToPath(import.meta.url)), '../..'))
const build = process.argv[2] ?? 'build'
const LIST = 'tests/lint/symbols.txt'

const objectsBelow = (dir) =>
  readdirSync(dir, { withFileTypes: true }).flatMap((e) => {
    const path = join(dir, e.name)
    return e.isDirectory() ? objectsBelow(path) : path.endsWith('.c.o') ? [path] : []
  })

const defined = new Map() // symbol -> source
const used = new Set()
const ofTests = new Set()
for (const target of readdirSync(join(build, 'CMakeFiles'))) {
  if (!target.endsWith('.dir')) continue
  const top = join(build, 'CMakeFiles', target)
  for (const object of objectsBelow(top)) {
    const source = object.slice(top.length + 1, -2)
    if (!existsSync(source) && !source.startsWith('generated/')) continue // of a file that is gone
    const test = source.startsWith('tests/')
    const nm = spawnSync('nm', [object], { encoding: 'utf8', maxBuffer: 1 << 26 })
    if (nm.status !== 0) throw new Error(`nm ${object}: ${nm.stderr}`)
    for (const [, type, symbol] of nm.stdout.matchAll(/^[0-9a-f ]{16} ([A-Za-z]) (\S+)$/gm)) {
      if (type === 'U') (test ? ofTests : used).add(symbol)
      else if (/[A-Z]/.test(type) && !test && /^(src|store|bench)\//.test(source)) defined.set(symbol, source)
    }
  }
}
if (!defined.has('main')) throw new Error(`${build} holds no objects of the daemon: build first`)
used.add('main')

const listed = new Set()
const bad = []
for (const line of readFileSync(LIST, 'utf8').split('\n')) {
  if (/^\s*(#|$)/.test(line)) continue
  const [, symbol, reason] = line.match(/^(\w+)(?: +(\S.*))?$/) ?? []
  if (!reason) bad.push(`${LIST}: "${line}" is not "symbol reason"`)
  else listed.add(symbol)
}
for (const [symbol, source] of [...defined].sort((a, b) => (a[1] + a[0] < b[1] + b[0] ? -1 : 1))) {
  if (used.has(symbol) || listed.has(symbol)) continue
  bad.push(`${source}: ${symbol} is used by ${ofTests.has(symbol) ? 'tests only' : 'nobody else: static, or gone'}`)
}
for (const symbol of listed) {
  if (!defined.has(symbol)) bad.push(`${LIST}: ${symbol} is gone: take it off the list`)
  else if (used.has(symbol)) bad.push(`${LIST}: ${symbol} is used: take it off the list`)
}
for (const line of bad) console.log(`symbols: ${line}`)
console.log(`symbols: ${bad.length ? 0 : 1} passed, ${bad.length ? 1 : 0} failed (${defined.size} symbols)`)
process.exitCode = bad.length ? 1 : 0
