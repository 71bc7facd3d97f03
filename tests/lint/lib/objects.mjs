// objects.mjs - the objects of a build and their external symbols, for the lints that look at those.

import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'

const AT_ONCE = 200 // objects for one nm: a process for each takes longer than reading them

export function objectsBelow(dir) {
  return readdirSync(dir, { withFileTypes: true }).flatMap((e) => {
    const path = join(dir, e.name)
    return e.isDirectory() ? objectsBelow(path) : path.endsWith('.c.o') ? [path] : []
  })
}

// Map: object -> [{ type, symbol }], type as nm has it: U for what is needed.
export function symbolsOf(objects) {
  const out = new Map(objects.map((object) => [object, []]))
  for (let i = 0; i < objects.length; i += AT_ONCE) {
    const some = objects.slice(i, i + AT_ONCE)
    const nm = spawnSync('nm', ['-A', '-g', ...some], { encoding: 'utf8', maxBuffer: 1 << 28 })
    if (nm.status !== 0) throw new Error(`nm: ${nm.stderr}`)
    for (const [, object, type, symbol] of nm.stdout.matchAll(/^(.+):[0-9a-f ]{16} ([A-Za-z]) (\S+)$/gm))
      out.get(object).push({ type, symbol })
  }
  return out
}
