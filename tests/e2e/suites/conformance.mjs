// The recorded conversations of tests/conformance: three runs with different settings, each with a
// fresh database and store, as its README says.

import { spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Busbar, leaks } from '../lib/busbar.mjs'
import { play } from '../lib/recorded.mjs'
import { cluster } from '../lib/setup.mjs'
import { temporary } from '../lib/util.mjs'

const tests = resolve(fileURLToPath(import.meta.url), '../../..')
const conformance = join(tests, 'conformance')
const own = join(tests, 'conformance-own')
const DIFFERENCES = join(tests, 'conformance.differences')
// Its wire form isn't ours: ../lib/recorded.mjs compares what it means, and our own answers are in conformance-own.
const SUBQUERIES = '10-subqueries'

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
]
const RUNS = [
  { name: 'main', env: {}, files: MAIN },
  { name: 'subqueries', env: {}, files: [], own: [SUBQUERIES], played: SUBQUERIES },
  { name: 'timeouts', env: { ELECTRIC_LONG_POLL_TIMEOUT: '2000' }, files: ['11-timeouts'] },
  { name: 'secret', env: { ELECTRIC_SECRET: 'conformance secret', ELECTRIC_LOG_LEVEL: 'debug' }, insecure: false, files: ['12-secret'] },
]

// Answers of which only the frame or the moment differs (docs/differences.md has the reasons): the record is changed in
// that and replayed, so that all else is compared. What must differ altogether is in ../../conformance.differences.
//
// A stream stays open after its backlog, which ends with up-to-date: the record's text is the beginning of ours, and the
// headers tell of the request's own offset, where Electric's tell of the end of what it sends.
const open = (offset) => (step) => {
  step.until = '"up-to-date"'
  const { headers } = step.expect
  headers['electric-offset'] = offset
}
// The next transaction may have arrived already: this response ends later than the record's, or with up-to-date.
const sooner = (step) => Object.assign(step.expect.headers, { 'electric-offset': '<any>', 'electric-up-to-date': '<any>' })

const SSE = '&live=true&live_sse=true'
const AMENDED = [
  ['09-sse: a backlog is sent and the stream ends', `$b.offset&handle=$b.handle${SSE}`, open('0_inf')],
  ['09-sse: a backlog of several transactions', `$b.offset&handle=$b.handle${SSE}`, open('0_inf')],
  ['09-sse: a backlog of several transactions', `$c.offset&handle=$c.handle${SSE}`, open('<lsn1>_0')],
  ['09-sse: the older spelling of the parameter', '&live=true&experimental_live_sse=true', open('0_inf')],
  ['09-sse: the older spelling of the parameter', '&experimental_live_sse=true&live_sse=true', open('0_inf')],
  ['09-sse: the older spelling of the parameter', '&live=true&experimental_live_sse=1', open('0_inf')],
  ['09-sse: the older spelling of the parameter', '&live=true&live_sse=', open('0_inf')],
  ['09-sse: the accept header is not needed and not obeyed', SSE, open('0_inf')],
  ['09-sse: text with newlines is one data line', SSE, open('0_inf')],
  ['06-chunks: a log of several transactions read again in chunks', '$l2.offset&handle=$l2.handle&live=true', sooner],
  ['06-chunks: a log of several transactions read again in chunks', '$l3.offset&handle=$l3.handle&live=true', sooner],
  ['06-chunks: a log of several transactions read again in chunks', '$l4.offset&handle=$l4.handle&live=true', sooner],
]

// Official clients look for electric-snapshot, which Electric doesn't expose, and electric-reason is ours: one longer list,
// wherever it stands. (electric-reason itself is none of the headers that are compared.)
const EXPOSE = 'access-control-expose-headers'
function exposes(step) {
  const headers = step.expect?.headers
  if (headers?.[EXPOSE]) headers[EXPOSE] += ',electric-snapshot,electric-reason'
}

// The cases with those changes, in a folder of their own.
function amend(name, folder, used) {
  const suite = JSON.parse(readFileSync(join(conformance, 'cases', `${name}.json`), 'utf8'))
  for (const c of suite.cases)
    for (const step of c.steps) {
      exposes(step)
      for (const [i, [title, part, change]] of AMENDED.entries())
        if (title === `${suite.suite}: ${c.name}` && step.path?.endsWith(part)) {
          change(step)
          used.add(i)
        }
    }
  const file = join(folder, `${name}.json`)
  writeFileSync(file, JSON.stringify(suite))
  return file
}

const only = process.env.E2E_ONLY?.replace(/^conformance(: )?/, '')

function replay(url, databaseUrl, env, files, line) {
  const clean = {}
  for (const [k, v] of Object.entries(process.env)) if (!k.startsWith('ELECTRIC_') && !k.startsWith('PG')) clean[k] = v
  const args = ['replay.mjs', '--differences', DIFFERENCES]
  if (only) args.push('--only', only)
  args.push(...files)
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

// A daemon on a database of its own, its URL given to `body`. Gives how many cases failed besides.
async function withDaemon(suite, pg, r, database, body) {
  let failed = 0
  await pg.query('postgres', `CREATE DATABASE ${database}`)
  const busbar = new Busbar({
    databaseUrl: pg.url(database),
    env: {
      ...COMMON,
      ...r.env,
      ELECTRIC_REPLICATION_STREAM_ID: database,
      ...(r.insecure === false ? { ELECTRIC_INSECURE: undefined } : {}),
    },
  })
  try {
    await busbar.start()
    await body(busbar.url)
    if (!busbar.running()) throw new Error(`the daemon ended with ${busbar.code}`)
  } catch (e) {
    failed++
    console.log(`FAIL ${suite}: run '${r.name}'\n   ${e.message}\n   ${busbar.tail(10).replaceAll(' / ', '\n   ')}`)
  }
  await busbar.stop()
  if (leaks.length) {
    failed++
    console.log(`FAIL ${suite}: a secret stands in the log: ${leaks[0].slice(0, 200)}`)
  }
  leaks.length = 0
  return failed
}

async function one(suite, pg, r) {
  const total = { passed: 0, failed: 0 }
  const add = ({ passed, failed }) => {
    total.passed += passed
    total.failed += failed
  }
  const line = (text) => {
    if (text.startsWith('FAIL ')) console.log(`FAIL ${suite}: ${text.slice(5)}`)
    // A difference of the list that belongs to another of the runs is no news.
    else if (!text.startsWith('listed as different but not met')) console.log(text.startsWith(' ') ? text : `# ${text}`)
  }
  const database = `conformance_${r.name}`
  const lost = await withDaemon(suite, pg, r, database, async (url) => {
    let counted = false
    await replay(url, pg.url(database), { ...COMMON, ...r.env }, r.cases, (text) => {
      const m = /^(\d+) passed, (\d+) failed, (\d+) skipped$/.exec(text)
      if (!m) return line(text)
      counted = true
      add({ passed: Number(m[1]), failed: Number(m[2]) })
      console.log(`# ${r.name}: ${text}`)
    })
    if (!counted) throw new Error('the replay ended without its count')
  })
  total.failed += lost
  if (!r.played) return total
  // The tables of the record have the names of those of our own answers to it.
  const played = `${database}_played`
  const more = await withDaemon(suite, pg, r, played, async (url) => {
    const file = join(conformance, 'cases', `${r.played}.json`)
    const count = await play(file, DIFFERENCES, { url, sql: (text) => pg.query(played, text) }, only, line)
    add(count)
    console.log(`# ${r.name}, by what they mean: ${count.passed} passed, ${count.failed} failed`)
  })
  total.failed += more
  return total
}

export async function run(suite) {
  let passed = 0
  let failed = 0
  const pg = await cluster()
  const folder = temporary('cases')
  const used = new Set()
  for (const r of RUNS) r.cases = [...r.files.map((f) => amend(f, folder, used)), ...(r.own ?? []).map((f) => join(own, `${f}.json`))]
  for (const [i, [title, part]] of AMENDED.entries())
    if (!used.has(i)) {
      failed++
      console.log(`FAIL ${suite}: no step of '${title}' ends with '${part}'`)
    }
  for (const r of RUNS) {
    const count = await one(suite, pg, r)
    passed += count.passed
    failed += count.failed
  }
  console.log(`${suite}: ${passed} passed, ${failed} failed`)
  return failed
}
