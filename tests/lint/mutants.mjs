// mutants.mjs - each mutant of tests/mutants/list.mjs still fits: the text that it replaces is in its file, once. They are too
// slow to be run by test.sh, and one that no longer fits guards nothing. Prints `mutants: N passed, N failed`.

import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { mutants } from '../mutants/list.mjs'

process.chdir(join(dirname(fileURLToPath(import.meta.url)), '../..'))
let passed = 0
let failed = 0
for (const m of mutants) {
  const times = readFileSync(m.file, 'utf8').split(m.from).length - 1
  if (times === 1) {
    passed++
    continue
  }
  failed++
  console.log(`mutants: ${m.rule}, ${m.what}: its text is ${times} times in ${m.file}: ${JSON.stringify(m.from)}`)
}
console.log(`mutants: ${passed} passed, ${failed} failed`)
process.exitCode = failed ? 1 : 0
