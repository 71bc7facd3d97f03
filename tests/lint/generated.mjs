// generated.mjs - a generated file and what makes it change together: tests/lint/generated.txt has the sums of both. Prints
// `generated: N passed, N failed`.

import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

process.chdir(join(dirname(fileURLToPath(import.meta.url)), '../..'))
const LIST = 'tests/lint/generated.txt'
const sumOf = (paths) => {
  const sum = createHash('sha256')
  for (const path of paths) sum.update(readFileSync(path))
  return sum.digest('hex').slice(0, 32)
}

let passed = 0
let failed = 0
for (const line of readFileSync(LIST, 'utf8').split('\n')) {
  if (/^\s*(#|$)/.test(line)) continue
  const [sum, output, ...makers] = line.split(/\s+/)
  const now = sumOf([output, ...makers])
  const head = readFileSync(output, 'utf8').slice(0, 1000)
  const silent = makers.length ? !makers.some((path) => head.includes(path)) : !/Made once/.test(head)
  if (now === sum && !silent) {
    passed++
    continue
  }
  failed++
  if (silent) console.log(`generated: ${output} doesn't say what made it`)
  if (now !== sum) console.log(`generated: ${[output, ...makers].join(' or ')} has changed: generate it anew, and put ${now} into ${LIST}`)
}
console.log(`generated: ${passed} passed, ${failed} failed`)
process.exitCode = failed ? 1 : 0
