// symbols.mjs BUILD - what is external is needed elsewhere: a symbol of the daemon or the bench that no other of their objects
// uses is static, or dead. Those that only tests use are listed in tests/lint/symbols.txt with a reason; the list only
// shrinks. Prints `symbols: N passed, N failed`.

import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { objectsBelow, symbolsOf } from './lib/objects.mjs'

process.chdir(join(dirname(fileURLToPath(import.meta.url)), '../..'))
const build = process.argv[2] ?? 'build'
const LIST = 'tests/lint/symbols.txt'

const defined = new Map() // symbol -> source
const used = new Set()
const ofTests = new Set()
const sources = new Map() // by object
for (const target of readdirSync(join(build, 'CMakeFiles'))) {
  if (!target.endsWith('.dir')) continue
  const top = join(build, 'CMakeFiles', target)
  for (const object of objectsBelow(top)) {
    const source = object.slice(top.length + 1, -2)
    if (existsSync(source) || source.startsWith('generated/')) sources.set(object, source) // else of a file that is gone
  }
}
for (const [object, symbols] of symbolsOf([...sources.keys()])) {
  const source = sources.get(object)
  const test = source.startsWith('tests/')
  for (const { type, symbol } of symbols) {
    if (type === 'U') (test ? ofTests : used).add(symbol)
    else if (/[A-Z]/.test(type) && !test && /^(src|store|bench)\//.test(source)) defined.set(symbol, source)
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
