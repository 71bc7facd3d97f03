// citations.mjs - what the code refers to is in the repository: documents that comments name exist, with the sections that
// they name, and so do the functions and tests that docs/invariants.md names. Prints `citations: N passed, N failed`.

import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

process.chdir(join(dirname(fileURLToPath(import.meta.url)), '../..'))
const INVARIANTS = 'docs/invariants.md'
let passed = 0
let failed = 0

function check(what, bad) {
  if (bad.length === 0) {
    passed++
    return
  }
  failed++
  console.log(`citations: ${what}:\n${bad.map((line) => `  ${line}`).join('\n')}`)
}

// ---- files

function filesBelow(dir) {
  return readdirSync(dir, { withFileTypes: true }).flatMap((e) => {
    const path = join(dir, e.name)
    if (!e.isDirectory()) return [path]
    return /^(build.*|node_modules|\..*)$/.test(e.name) ? [] : filesBelow(path)
  })
}

const all = filesBelow('.').sort()
const documents = all.filter((path) => path.endsWith('.md'))
const sources = all.filter((path) => /\.(c|h|mjs|sh|cmake)$|(^|\/)(CMakeLists\.txt|rooms\.txt|Dockerfile)$/.test(path))
const text = new Map([...documents, ...sources].map((path) => [path, readFileSync(path, 'utf8')]))
const sections = new Map(
  documents.map((path) => [path, new Set([...text.get(path).matchAll(/^##+ (\d+(?:\.\d+)*) /gm)].map((m) => m[1]))]),
)

// ---- documents and their sections

// As a comment says it: from the top, from its own folder, or by a name that only one has.
function find(name, from) {
  for (const path of [name, join(dirname(from), name)]) if (sections.has(path)) return path
  const same = documents.filter((path) => basename(path) === name)
  return same.length === 1 ? same[0] : undefined
}

const unknown = []
const missing = []
const outside = []
for (const [path, whole] of text) {
  // A comment goes on in the next line, behind its own sign.
  const flat = whole.replace(/\n[ \t]*(?:\/?\*+(?!\/)|\/\/+|#+)?[ \t]*/g, (m) => ` ${'\0'.repeat(m.length - 1)}`)
  const cites = /(\b[Rr]eference[ \0]+)?([\w./-]*\w\.md)\b((?:(?:,|[ \0]and|[ \0]to)?[ \0]+\d+(?:\.\d+)*\b)*)/g
  for (const m of flat.matchAll(cites)) {
    const line = `${path}:${whole.slice(0, m.index).split('\n').length}`
    const document = find(m[2].replace(/^\.\//, ''), path)
    if (m[1] && sources.includes(path)) outside.push(`${line}: ${m[1].replaceAll('\0', '')}${m[2]}`)
    if (!document) unknown.push(`${line}: ${m[2]}`)
    // Prose has numbers behind a name that are no sections; a comment hasn't.
    const numbers = sources.includes(path) || /^docs\//.test(m[2]) ? (m[3].match(/\d+(?:\.\d+)*/g) ?? []) : []
    for (const n of document ? numbers : []) if (!sections.get(document).has(n)) missing.push(`${line}: ${m[2]} ${n}`)
  }
}
check('a document that is not in the repository', unknown)
check('notes from outside, cited as such', outside)
check('a section that its document lacks', missing)
for (const path of ['docs/protocol.md', INVARIANTS]) {
  const numbers = [...text.get(path).matchAll(/^##+ (\S+)/gm)].map((m) => m[1])
  check(
    `headings of ${path} that have no number, or the number of another`,
    numbers.filter((n, i) => !sections.get(path).has(n) || numbers.indexOf(n) !== i),
  )
}

// ---- docs/invariants.md: rules, functions, tests

const escaped = (s) => s.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')

// `test_x: name` is a function of tests/unit/test_x.c; `suite: title` a test of tests/e2e/suites/suite.mjs, in the words of
// the source, with what it puts in.
function hasTest(span) {
  const [, suite, name] = span.match(/^(\w+): (.+)$/s) ?? []
  if (!suite) return existsSync(span)
  if (suite.startsWith('test_')) return new RegExp(`\\b${escaped(name)}\\(`).test(text.get(`tests/unit/${suite}.c`) ?? '')
  return new RegExp(`(['"\`])${escaped(name)}\\1`).test(text.get(`tests/e2e/suites/${suite}.mjs`) ?? '')
}

function hasFunction(span) {
  const [, path, name] = span.match(/^([\w/.]+): (\w+)\(\)$/) ?? []
  return path !== undefined && new RegExp(`\\b${name}\\(`).test(text.get(path) ?? '')
}

const spans = (paragraph) => [...paragraph.matchAll(/`([^`]+)`/g)].map((m) => m[1])
const incomplete = []
const functions = []
const tests = []
for (const rule of text.get(INVARIANTS).split(/^### /m).slice(1)) {
  const number = rule.match(/^\S+/)[0]
  const part = (name) => rule.split('\n\n').find((p) => p.startsWith(`*${name}*:`))
  for (const name of ['Without it', 'Where', 'Test']) if (!part(name)) incomplete.push(`${number} has no ${name}`)
  const where = spans(part('Where') ?? '')
  if (where.length === 0) incomplete.push(`${number} names no function`)
  if (spans(part('Test') ?? '').length === 0 && !/no test/.test(part('Test') ?? '')) incomplete.push(`${number} names no test`)
  functions.push(...where.filter((s) => !hasFunction(s)).map((s) => `${number}: ${s}`))
  tests.push(...spans(part('Test') ?? '').filter((s) => /[:/]/.test(s) && !hasTest(s)).map((s) => `${number}: ${s}`))
}
check(`${INVARIANTS}: a rule that isn't whole`, incomplete)
check(`${INVARIANTS}: a function that isn't there`, functions)
check(`${INVARIANTS}: a test that isn't there`, tests)

console.log(`citations: ${passed} passed, ${failed} failed`)
process.exitCode = failed ? 1 : 0
