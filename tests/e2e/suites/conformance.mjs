// The recorded conversations of tests/conformance: three runs with different settings, each with a
// fresh database and store, as its README says.

import { spawn } from 'node:child_process'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Busbar } from '../lib/busbar.mjs'
import { cluster } from '../lib/setup.mjs'

const tests = resolve(fileURLToPath(import.meta.url), '../../..')
const conformance = join(tests, 'conformance')

const COMMON = {
  ELECTRIC_ENABLE_INTEGRATION_TESTING: 'true',
  ELECTRIC_SHAPE_CHUNK_BYTES_THRESHOLD: '10000',
}
const MAIN = [
  '01-basics',
  '02-validation',
  '03-types',
  '04-where',
  '05-columns-replica',
  '06-chunks',
  '07-rotation',
  '08-subset',
  '09-sse',
  // 10-subqueries waits for the issue on them.
]
const RUNS = [
  { name: 'main', env: {}, files: MAIN },
  { name: 'timeouts', env: { ELECTRIC_LONG_POLL_TIMEOUT: '2000' }, files: ['11-timeouts'] },
  { name: 'secret', env: { ELECTRIC_SECRET: 'conformance secret' }, insecure: false, files: ['12-secret'] },
]

function replay(url, databaseUrl, env, files, line) {
  const clean = {}
  for (const [k, v] of Object.entries(process.env)) if (!k.startsWith('ELECTRIC_') && !k.startsWith('PG')) clean[k] = v
  const args = ['replay.mjs', '--differences', '../conformance.differences']
  const only = process.env.E2E_ONLY?.replace(/^conformance(: )?/, '')
  if (only) args.push('--only', only)
  args.push(...files.map((f) => `cases/${f}.json`))
  const child = spawn(process.execPath, args, {
    cwd: conformance,
    env: { ...clean, ...env, ELECTRIC_URL: url, DATABASE_URL: databaseUrl },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let rest = ''
  const take = (d) => {
    const lines = (rest + d).split('\n')
    rest = lines.pop()
    for (const l of lines) line(l)
  }
  child.stdout.on('data', take)
  child.stderr.on('data', take)
  return new Promise((done) => child.on('close', done))
}

export async function run(suite) {
  let passed = 0
  let failed = 0
  const pg = await cluster()
  for (const r of RUNS) {
    const env = { ...COMMON, ...r.env }
    const database = `conformance_${r.name}`
    await pg.query('postgres', `CREATE DATABASE ${database}`)
    const busbar = new Busbar({
      databaseUrl: pg.url(database),
      env: {
        ...env,
        ELECTRIC_REPLICATION_STREAM_ID: database,
        ...(r.insecure === false ? { ELECTRIC_INSECURE: undefined } : {}),
      },
    })
    let counted = false
    try {
      await busbar.start()
      await replay(busbar.url, pg.url(database), env, r.files, (text) => {
        const m = /^(\d+) passed, (\d+) failed, (\d+) skipped$/.exec(text)
        if (m) {
          counted = true
          passed += Number(m[1])
          failed += Number(m[2])
          console.log(`# ${r.name}: ${text}`)
        } else if (text.startsWith('FAIL ')) console.log(`FAIL ${suite}: ${text.slice(5)}`)
        // A difference of the list that belongs to another of the three runs is no news.
        else if (!text.startsWith('listed as different but not met')) console.log(text.startsWith(' ') ? text : `# ${text}`)
      })
      if (!counted) throw new Error('the replay ended without its count')
      if (!busbar.running()) throw new Error(`the daemon ended with ${busbar.code}`)
    } catch (e) {
      failed++
      console.log(`FAIL ${suite}: run '${r.name}'\n   ${e.message}\n   ${busbar.tail(10).replaceAll(' / ', '\n   ')}`)
    }
    await busbar.stop()
  }
  console.log(`${suite}: ${passed} passed, ${failed} failed`)
  return failed
}
