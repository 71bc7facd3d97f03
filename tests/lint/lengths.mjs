// lengths.mjs - no function above 80 lines, no file above 800, but for those that tests/lint/lengths.txt lists with a reason.
// The list only shrinks: an entry that nothing needs any more must go, and none may grow beyond the length it has there.
// Prints `lengths: N passed, N failed`.

import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

process.chdir(join(dirname(fileURLToPath(import.meta.url)), '../..'))
const FUNCTION_MAX = 80
const FILE_MAX = 800
const LIST = 'tests/lint/lengths.txt'
const FOLDERS = ['src', 'store', 'bench', 'scripts'] // a test is as long as its cases are many

const filesBelow = (dir) =>
  readdirSync(dir, { withFileTypes: true }).flatMap((e) => {
    const path = join(dir, e.name)
    if (!e.isDirectory()) return /\.(c|h|mjs|sh)$/.test(path) ? [path] : []
    return /^(node_modules|\..*)$/.test(e.name) ? [] : filesBelow(path)
  })

// A function begins at the margin and ends with a brace at the margin: in C after a line with the opening brace alone, in
// JavaScript in the line that says `function`. Its lines are those from the first of its head to the last brace.
function* functionsOf(path, lines) {
  const js = path.endsWith('.mjs')
  for (let i = 0; i < lines.length; i++) {
    if (js ? !/^(export )?(async )?function/.test(lines[i]) || lines[i].endsWith('}') : lines[i] !== '{') continue
    let head = i
    if (!js) while (head > 0 && /^[^#/}]/.test(lines[head - 1]) && !lines[head - 1].endsWith(' */')) head--
    let end = i + 1
    while (end < lines.length && !/^}/.test(lines[end])) end++
    const name = lines.slice(head, i + 1).join(' ').match(js ? /function\*? (\w+)/ : /(\w+)\(/)?.[1]
    if (name) yield { name, lines: end - head + 1 }
    i = end
  }
}

const allowed = new Map() // "file" or "file: function" -> { most, line }
const bad = []
readFileSync(LIST, 'utf8')
  .split('\n')
  .forEach((line, i) => {
    if (/^\s*(#|$)/.test(line)) return
    const m = line.match(/^(\S+?)(?:: (\w+))? (\d+) +(\S.*)$/)
    if (!m) bad.push(`${LIST}:${i + 1}: no entry of the form "file[: function] lines reason"`)
    else allowed.set(m[2] ? `${m[1]}: ${m[2]}` : m[1], { most: Number(m[3]), line: `${LIST}:${i + 1}` })
  })

let checked = 0
function length(what, lines, max) {
  checked++
  const entry = allowed.get(what)
  if (entry) entry.used = lines > max
  if (lines > Math.max(max, entry?.most ?? 0)) bad.push(`${what} has ${lines} lines, ${entry ? `listed with ${entry.most}` : `at most ${max}`}`)
}

for (const path of FOLDERS.filter((dir) => existsSync(dir)).flatMap(filesBelow)) {
  const lines = readFileSync(path, 'utf8').split('\n')
  length(path, lines.length - 1, FILE_MAX)
  if (!path.endsWith('.sh')) for (const f of functionsOf(path, lines)) length(`${path}: ${f.name}`, f.lines, FUNCTION_MAX)
}
for (const [what, { used, line }] of allowed) if (!used) bad.push(`${line}: ${what} is short enough, or gone: take it off the list`)
for (const line of bad) console.log(`lengths: ${line}`)
console.log(`lengths: ${bad.length ? 0 : 1} passed, ${bad.length ? 1 : 0} failed (${checked} files and functions)`)
process.exitCode = bad.length ? 1 : 0
