// rooms.mjs BUILD - which room calls which, read from the built objects: an include that nobody uses proves nothing, and a
// declaration written by hand needs no include. The rules are in tests/lint/rooms.txt; see there.
//
// Each object of the daemon is a file, each file is in the room of its folder. A file calls another if it has an
// undefined symbol that the other defines (a function passed as a value counts). Prints `rooms: N passed, N failed`.

import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { objectsBelow, symbolsOf } from './lib/objects.mjs'

const build = process.argv[2] ?? 'build'
const verbose = process.argv.includes('--print')
const rules = readRules(join(dirname(fileURLToPath(import.meta.url)), 'rooms.txt'))
const files = readObjects(build)
let passed = 0
let failed = 0

function readRules(path) {
  const out = { rooms: new Map(), libraries: [], circles: [], owners: [] }
  for (const line of readFileSync(path, 'utf8').split('\n')) {
    const [kind, ...words] = line.replace(/#.*/, '').trim().split(/\s+/)
    if (!kind) continue
    const colon = words.indexOf(':')
    const [left, right] = colon < 0 ? [words, []] : [words.slice(0, colon), words.slice(colon + 1)]
    if (kind === 'room') out.rooms.set(left[0], new Set(right))
    else if (kind === 'library') out.libraries.push({ name: left[0], symbols: new RegExp(left[1]), homes: new Set(right) })
    else if (kind === 'circle') out.circles.push({ room: left[0], files: right })
    else if (kind === 'owner') out.owners.push({ text: left[0], homes: right })
    else throw new Error(`${path}: ${kind} is no rule`)
  }
  return out
}

// Of the libraries of the daemon and its main: bb_*.dir without the bench's, busbar.dir.
function readObjects(dir) {
  const sources = new Map() // by object
  for (const target of readdirSync(join(dir, 'CMakeFiles'))) {
    if (!/^(bb_.*|busbar)\.dir$/.test(target) || target === 'bb_bench.dir') continue
    const top = join(dir, 'CMakeFiles', target)
    for (const object of objectsBelow(top)) {
      const source = object.slice(top.length + 1, -2)
      if (!/^(src|store)\//.test(source) || !existsSync(source)) continue // generated: the version; of a file that is gone
      sources.set(object, source)
    }
  }
  if (sources.size === 0) throw new Error(`${dir} holds no objects: build first`)
  const out = new Map()
  for (const [object, symbols] of symbolsOf([...sources.keys()])) {
    const source = sources.get(object)
    const names = (is) => symbols.filter(({ type }) => is.test(type)).map(({ symbol }) => symbol)
    out.set(source, { source, room: dirname(source), defines: names(/[A-TV-Z]/), needs: names(/U/) })
  }
  return out
}

function check(what, bad) {
  if (bad.length === 0) {
    passed++
    return
  }
  failed++
  console.log(`rooms: ${what}:\n${bad.map((line) => `  ${line}`).join('\n')}`)
}

const home = new Map()
for (const file of files.values()) for (const symbol of file.defines) home.set(symbol, file)
const edges = new Map() // source -> Map(source -> symbols)
for (const file of files.values()) {
  const to = new Map()
  for (const symbol of file.needs) {
    const other = home.get(symbol)
    if (!other || other === file) continue
    if (!to.has(other.source)) to.set(other.source, [])
    to.get(other.source).push(symbol)
  }
  edges.set(file.source, to)
}

// Strongly connected parts of more than one node (Tarjan).
function circlesOf(nodes, next) {
  const index = new Map()
  const low = new Map()
  const stack = []
  const out = []
  const visit = (v) => {
    index.set(v, index.size)
    low.set(v, index.get(v))
    stack.push(v)
    for (const w of next(v)) {
      if (!index.has(w)) {
        visit(w)
        low.set(v, Math.min(low.get(v), low.get(w)))
      } else if (stack.includes(w)) low.set(v, Math.min(low.get(v), index.get(w)))
    }
    if (low.get(v) !== index.get(v)) return
    const part = stack.splice(stack.indexOf(v))
    if (part.length > 1) out.push(part.sort())
  }
  for (const v of nodes) if (!index.has(v)) visit(v)
  return out
}

check(
  'a folder that no rule names',
  [...new Set([...files.values()].map((f) => f.room))].filter((room) => !rules.rooms.has(room)),
)
check(
  'rules go in a circle',
  circlesOf([...rules.rooms.keys()], (room) => [...rules.rooms.get(room)]).map((c) => c.join(' ')),
)
const wrong = []
for (const [source, to] of edges) {
  const from = files.get(source).room
  for (const [target, symbols] of to) {
    const room = files.get(target).room
    if (room !== from && !rules.rooms.get(from)?.has(room)) wrong.push(`${source} calls ${target}: ${symbols.join(' ')}`)
  }
}
check('a room calls one that it may not', wrong)

for (const library of rules.libraries) {
  const bad = []
  for (const file of files.values()) {
    if (library.homes.has(file.room) || library.homes.has(file.source)) continue
    const used = file.needs.filter((symbol) => !home.has(symbol) && library.symbols.test(symbol))
    if (used.length) bad.push(`${file.source}: ${used.join(' ')}`)
  }
  check(`${library.name} outside its home`, bad)
}

// What is one owner's is touched by its files alone: by the text, as fields have no symbols.
for (const owner of rules.owners) {
  const bad = []
  for (const { source } of files.values()) {
    if (!source.startsWith('src/shapes/') || owner.homes.some((home) => source === home || source.startsWith(`${home}/`))) continue
    readFileSync(source, 'utf8').split('\n').forEach((line, i) => line.includes(owner.text) && bad.push(`${source}:${i + 1}: ${line.trim()}`))
  }
  check(`${owner.text} outside its owner`, bad)
}

// Circles of files inside a room: exactly those that are listed, so that the list only shrinks.
for (const room of rules.rooms.keys()) {
  const inside = [...files.values()].filter((f) => f.room === room).map((f) => f.source)
  const short = (source) => source.slice(room.length + 1).replace(/\.c$/, '')
  const found = circlesOf(inside, (s) => [...edges.get(s).keys()].filter((t) => files.get(t).room === room)).map((c) => c.map(short).join(' '))
  const listed = rules.circles.filter((c) => c.room === room).map((c) => [...c.files].sort().join(' '))
  check(`files of ${room} call each other in a circle`, found.filter((c) => !listed.includes(c)))
  check(`circles of ${room} that are listed and gone: shorten the list`, listed.filter((c) => !found.includes(c)))
}

if (verbose) {
  for (const [source, to] of [...edges].sort()) for (const [target, symbols] of to) console.log(`${source} -> ${target}: ${symbols.join(' ')}`)
}
console.log(`rooms: ${passed} passed, ${failed} failed`)
process.exitCode = failed ? 1 : 0
