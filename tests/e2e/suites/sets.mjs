// Random histories of memberships: strict followers of shapes with subqueries hold what Postgres selects at every pause, no
// row is sent that could not be seen at some commit, and each change of a set rotates its shape once. lib/oracle.mjs knows.
//   E2E_SEED=n       repeats a history, as far as timing allows
//   SETS_SECONDS=n   a long run; SETS_KINDS=quiet,rough: only histories of these kinds

import { difference, Follower } from '../lib/follower.mjs'
import { COLUMNS, FILL, NAMES, SetsWriter, SQL, TEMPLATES } from '../lib/memberships.mjs'
import { judge, Oracle } from '../lib/oracle.mjs'
import { Postgres } from '../lib/pg.mjs'
import { test } from '../lib/runner.mjs'
import { world } from '../lib/setup.mjs'
import { LONG, Random, assert, delay, seed as newSeed, until } from '../lib/util.mjs'

const SECONDS = Number(process.env.SETS_SECONDS ?? (LONG ? 3600 : 60))
const WORLD_MS = 40000 // then another database: the model remembers all that happened
const MORE_MS = 120000
const AGREE_MS = process.env.E2E_SANITIZED === '1' ? 30000 : 5000
const RECOVERY_MS = 20000 // what a server may take to be back after it was killed
const WRITERS = 3

// ---------------------------------------------------------------- who reads

// Keeps what was sent since it was last asked, and which snapshot each handle's rows are of.
class Watched extends Follower {
  reset() {
    super.reset()
    this.life = { sent: [] }
    this.lives = [...(this.lives ?? []), this.life]
  }
  take(m, ...rest) {
    const { headers: h } = m
    if (h.control === 'snapshot-end') this.life.snapshot = { xmin: BigInt(h.xmin), xmax: BigInt(h.xmax), xip: new Set(h.xip_list.map(String)) }
    super.take(m, ...rest)
  }
  apply(h, key, value, old) {
    super.apply(h, key, value, old)
    this.life.handle = this.handle
    const row = this.rows.get(key)
    if (h.operation !== 'delete' && row) this.life.sent.push({ text: JSON.stringify(COLUMNS.map((c) => row[c] ?? null)), xid: h.txids?.[0] })
    else if (h.txids) this.life.sent.push({ xid: h.txids[0] })
  }
}

function follow(w, shape, mode, t, more) {
  const f = new Watched({ url: w.busbar.url, params: { table: 'items', where: shape.where, columns: COLUMNS.join(','), ...more }, mode }).start()
  f.shape = shape
  w.followers.push(f)
  t.cleanup(() => f.stop())
  return f
}

// ---------------------------------------------------------------- what must hold at a pause

// The oracle itself sees what Postgres selects.
async function sane(oracle, query) {
  await oracle.pull()
  for (const shape of oracle.shapes) {
    const { rows } = await query(`SELECT ${COLUMNS.join(', ')} FROM items WHERE ${shape.where}`)
    const wanted = rows.map((row) => JSON.stringify(COLUMNS.map((c) => (row[c] === null ? null : String(row[c]))))).sort()
    const got = oracle.visible(shape)
    assert(JSON.stringify(got) === JSON.stringify(wanted), `the oracle is wrong about ${shape.where}: ${difference(got, wanted)}`)
  }
}

async function agree(w, oracle, session, committed, ms) {
  const wanted = new Map()
  for (const { shape } of w.followers) {
    if (wanted.has(shape.where)) continue
    const { rows } = await session.query(`SELECT ${COLUMNS.join(', ')} FROM items WHERE ${shape.where}`)
    const texts = (row) => Object.fromEntries([...COLUMNS].sort().map((c) => [c, row[c] === null ? null : String(row[c])]))
    wanted.set(shape.where, rows.map((row) => JSON.stringify(texts(row))).sort())
  }
  const differs = (f) => f.confirmedAt === undefined || JSON.stringify(f.contents()) !== JSON.stringify(wanted.get(f.shape.where))
  let left = []
  const all = () => (left = w.followers.filter(differs)).length === 0
  const told = () => left.map((f) => `${f.name}: ${difference(f.contents(), wanted.get(f.shape.where))}; ${f.state()}`).slice(0, 3).join('\n')
  await until(told, all, Math.max(ms - (Date.now() - committed), 10), 20)
  const took = Date.now() - committed
  await sane(oracle, session.query)
  // A shape may have had the right rows before it was told that its set had changed.
  const behind = (f) => f.life.snapshot === undefined || oracle.firstAfter(f.shape.where, f.life.snapshot) !== undefined
  await until(
    () => `all shapes whose set changed are rotated: ${left.map((f) => `${f.name}, ${f.life.handle}`).join('; ')}; ${told()}`,
    () => all() && (left = w.followers.filter(behind)).length === 0,
    AGREE_MS,
    20,
  )
  for (const f of w.followers) f.check()
  return took
}

// ---------------------------------------------------------------- histories

const MISHAPS = {
  'kill -9': async (w) => {
    await w.busbar.kill9()
    await w.busbar.start({ active: false })
  },
  'a clean restart': async (w) => {
    await w.busbar.term()
    await w.busbar.start({ active: false })
  },
  'Postgres crashed': async (w) => {
    await w.pg.crash()
  },
  'both killed': async (w) => {
    await w.busbar.kill9()
    await w.pg.crash()
    await w.busbar.start({ active: false })
  },
  'TRUNCATE of the inner table': (w) => w.sql('TRUNCATE members'),
  'TRUNCATE of the outer table': (w) => w.sql('TRUNCATE items'),
  'ALTER of the inner table': (w, random) => w.sql(`ALTER TABLE members ALTER role TYPE varchar(${random.int(20, 90)}), ADD IF NOT EXISTS x${random.int(1, 4)} int DEFAULT 7`),
  'ALTER of the outer table': (w, random) => w.sql(`ALTER TABLE items ALTER title TYPE ${random.pick(['text', 'varchar(300)', 'varchar(200)'])}, ADD IF NOT EXISTS x${random.int(1, 4)} int DEFAULT 7`),
  'ALTER of a used column': (w, random) => w.sql(`ALTER TABLE members ALTER project_id TYPE ${random.pick(['int', 'bigint'])}`),
}

// Commits are flushed and streamed, and count as running for a while: they wait for a standby that never comes.
async function hang(w, random, meanwhile) {
  await w.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
  await w.sql('SELECT pg_reload_conf()')
  await delay(random.int(100, 500))
  await meanwhile()
  await delay(random.int(100, 500))
  await w.sql('ALTER SYSTEM RESET synchronous_standby_names')
  await w.sql('SELECT pg_reload_conf()')
}

async function retried(action, tries = 5) {
  for (;;) {
    try {
      return await action()
    } catch (e) {
      if (--tries === 0) throw e
      await delay(200)
    }
  }
}

const HUNG = 'commits that hung while shapes were born'

// One database: rounds of writing, each with a pause at its end, until `enough` of them.
async function run(t, chosen, kind, enough, total) {
  const random = new Random(chosen)
  const pg = await Postgres.create()
  const moves = random.pick([0.03, 0.1, 0.3])
  const w = await world(t, { pg, sql: SQL, env: { ELECTRIC_SHAPE_CHUNK_BYTES_THRESHOLD: '10000', ELECTRIC_LONG_POLL_TIMEOUT: '3000' } })
  const shapes = TEMPLATES.flatMap((make) => [1, 2, 3].map(make)).filter((s, i, all) => all.findIndex((x) => x.where === s.where) === i)
  let session = await w.session()
  const query = (text, values) => retried(async () => {
    try {
      return await session.query(text, values)
    } catch (e) {
      session = await w.session()
      throw e
    }
  })
  const oracle = new Oracle({ query, slot: `oracle_${w.db}`, names: NAMES, outer: 'items', columns: COLUMNS, shapes })
  await oracle.create()
  for (const text of FILL) await query(text)
  const count = (what, n = 1) => (total[what] = (total[what] ?? 0) + n)
  const reasons = (handle) => w.busbar.output.split('\n').filter((line) => line.includes(handle)).join(' / ') || 'no line of the log names it'
  const born = () => follow(w, random.pick(shapes), random.pick(['poll', 'sse']), t, random.chance(0.3) ? { replica: 'full' } : {})
  for (let i = 0; i < 14; i++) born()
  let worst = 0
  try {
    for (let round = 0; !enough(oracle.counts); round++) {
      const writers = Array.from({ length: WRITERS }, (_, i) => new SetsWriter(w, new Random(random.int(0, 2 ** 31)), moves, round + i === 0 ? ['huge', 'flip', 'grant'] : []).start())
      t.cleanup(() => Promise.all(writers.map((x) => x.stop())))
      for (let i = random.int(0, 3); i > 0 && w.followers.length < 40; i--) {
        await delay(random.int(0, 100))
        born()
        count('a shape born while others write')
      }
      await delay(random.int(40, 400))
      // In the first round in any case: on a slow machine there are few.
      if (random.chance(0.3) || !total[HUNG]) {
        await hang(w, random, born)
        count(HUNG)
      }
      const mishap = kind === 'rough' && random.chance(0.6)
      if (mishap) {
        const what = random.pick(Object.keys(MISHAPS))
        await retried(() => MISHAPS[what](w, random))
        count(what)
        await delay(random.int(0, 600))
      }
      await Promise.all(writers.map((x) => x.stop()))
      await w.busbar.active(30000) // a server that is down sends nothing
      const committed = Date.now()
      for (const x of writers) {
        count('transactions', x.counts.committed)
        count('savepoints undone', x.undone)
      }
      worst = Math.max(worst, await agree(w, oracle, { query }, committed, AGREE_MS + (mishap ? RECOVERY_MS : 0)))
      judge(w.followers, oracle, { exact: kind === 'quiet', reasons })
      count('histories')
      // Some go, so that others come.
      while (w.followers.length > 30) await w.followers.splice(random.int(0, w.followers.length - 1), 1)[0].stop()
    }
  } finally {
    for (const [what, n] of Object.entries(oracle.counts)) count(what, n)
    for (const [, more, why] of w.busbar.output.matchAll(/Remov(?:ing shape \S+|ed (\d+) more shapes) of public\.items: (.*)/g)) count(`reason: ${why.slice(0, 110)}`, Number(more ?? 1))
    total['slowest pause, ms'] = Math.max(total['slowest pause, ms'] ?? 0, worst)
  }
  for (const f of w.followers.splice(0)) await f.stop()
  await w.busbar.stop()
  await pg.stop('immediate')
}

const MUST = {
  all: [
    ...TEMPLATES.map((make) => `a set changed: ${make(1).kind}`), 'granted', 'revoked', 'moved', 'a set changed and changed back in a transaction', 'the set of no change', 'an empty set', 'a NULL in a set',
    'a set and outer rows changed in one transaction', 'several changes of one row', 'another text of an equal value', 'a huge transaction', 'savepoints undone', 'commits in another order than they began',
    'a shape born while others write', 'rotations seen', HUNG,
  ],
  quiet: [],
  rough: LONG || SECONDS > 300 ? Object.keys(MISHAPS) : [],
}

for (const kind of (process.env.SETS_KINDS ?? 'quiet,rough').split(','))
  test(`random memberships, ${kind === 'quiet' ? 'nothing but writers: each change of a set rotates once, nothing else does' : 'with crashes, TRUNCATE and ALTER'}`, { timeout: (SECONDS + 240) * 1000 }, async (t) => {
    const first = newSeed()
    console.log(`sets: E2E_SEED=${first} (${kind})`)
    const total = {}
    const end = Date.now() + (SECONDS * 1000) / 2
    // A slow machine does little in the time: then it goes on until each situation has come, or has had its chance.
    const missing = (counts) => [...MUST.all, ...MUST[kind]].filter((what) => !total[what] && !counts[what])
    const latest = end + MORE_MS
    try {
      for (let i = 0; i === 0 || Date.now() < end - 5000 || (Date.now() < latest && missing({}).length > 0); i++) {
        const seed = (first + i * 1000003) >>> 0
        const turn = Date.now() + WORLD_MS
        const over = (counts) => Date.now() > end && (Date.now() > latest || missing(counts).length === 0)
        try {
          await run(t, seed, kind, (counts) => Date.now() > turn || over(counts), total)
        } catch (e) {
          e.message = `E2E_SEED=${seed} SETS_KINDS=${kind}: ${e.message}`
          throw e
        }
      }
    } finally {
      for (const [what, n] of Object.entries(total).sort()) t.note(`${what}: ${n}`)
    }
    for (const what of [...MUST.all, ...MUST[kind]]) assert(total[what] > 0, `never happened: ${what}`)
  })
