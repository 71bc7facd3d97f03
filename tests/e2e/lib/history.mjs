// A random history: writers run transactions of every kind while strict followers read, and the
// daemon and Postgres are killed under them. At the end every follower holds its table.

import { Postgres } from './pg.mjs'
import { world } from './setup.mjs'
import { Random, assert, delay, seed as newSeed, until } from './util.mjs'

const SQL = [
  'CREATE TABLE h_plain (id int PRIMARY KEY, a text, n int, b bool)',
  'CREATE TABLE h_comp (x int, y text, v text, PRIMARY KEY (y, x))',
  'CREATE TABLE h_nokey (u text, v int, w text)',
  'CREATE TABLE h_toast (id int PRIMARY KEY, big text, n int)',
  'ALTER TABLE h_toast ALTER COLUMN big SET STORAGE EXTERNAL',
  'CREATE TABLE h_other (id serial PRIMARY KEY, t text)',
]

const KEYS = 150
const BULK_FROM = 100000
const WRITERS = 3
const LATE_FOLLOWERS = 10

// What a shape may be of; `columns` as a client sends them.
const SHAPES = [
  { table: 'h_plain' },
  { table: 'h_plain', replica: 'full' },
  { table: 'h_plain', columns: 'id,n' },
  { table: 'h_plain', columns: 'id,a', replica: 'full' },
  { table: 'h_plain', columns: 'b,id' },
  { table: 'h_comp' },
  { table: 'h_comp', replica: 'full' },
  { table: 'h_comp', columns: 'x,y' },
  { table: 'h_nokey' },
  { table: 'h_nokey', replica: 'full' },
  { table: 'h_toast' },
  { table: 'h_toast', replica: 'full' },
  { table: 'h_toast', columns: 'id,n' },
]
const FIRST = [0, 1, 2, 5, 8, 10, 11]

// How soon after a shape was made a crash may still cost it its handle: its first snapshot, or the
// stream's passing of what the snapshot saw, was interrupted.
const YOUNG_MS = 3000

function statements(random) {
  const r = random
  const key = () => r.int(1, KEYS)
  const id = () => (r.chance(0.95) ? key() : BULK_FROM + r.int(0, 2000))
  const text = () => (r.chance(0.1) ? null : r.chance(0.1) ? `${r.text(5)}\n\t"\\/ü` : r.text(r.int(1, 60)))
  const y = () => r.pick(['a', 'b/c', 'd.e', '"q"', 'ü', ''])
  const ops = [
    () => [
      'INSERT INTO h_plain VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING',
      [key(), text(), r.int(0, 99), r.pick([true, false, null])],
    ],
    () => [
      'INSERT INTO h_plain VALUES ($1, $2, $3) ON CONFLICT (id) DO UPDATE SET a = excluded.a',
      [key(), text(), r.int(0, 99)],
    ],
    () => ['UPDATE h_plain SET a = $2 WHERE id = $1', [id(), text()]],
    () => ['UPDATE h_plain SET n = n + 1, b = NOT b WHERE id = $1', [id()]],
    () => ['UPDATE h_plain SET n = n WHERE id = $1', [id()]],
    () => ['UPDATE h_plain SET n = $2 WHERE id % 17 = $1', [r.int(0, 16), r.int(0, 99)]],
    () => ['DELETE FROM h_plain WHERE id = $1', [id()]],
    () => ['UPDATE h_plain SET id = $2 WHERE id = $1 AND NOT EXISTS (SELECT FROM h_plain WHERE id = $2)', [key(), key()]],
    () => ['INSERT INTO h_comp VALUES ($1, $2, $3) ON CONFLICT DO NOTHING', [r.int(1, 30), y(), text()]],
    () => ['UPDATE h_comp SET v = $3 WHERE x = $1 AND y = $2', [r.int(1, 30), y(), text()]],
    () => [
      'UPDATE h_comp SET x = $3 WHERE x = $1 AND y = $2 AND NOT EXISTS (SELECT FROM h_comp WHERE x = $3 AND y = $2)',
      [r.int(1, 30), y(), r.int(1, 30)],
    ],
    () => ['DELETE FROM h_comp WHERE x = $1 AND y = $2', [r.int(1, 30), y()]],
    // Without a key, rows are told apart by their contents: these never repeat.
    () => ['INSERT INTO h_nokey VALUES (gen_random_uuid()::text, $1, $2)', [r.int(0, 20), text()]],
    () => ['UPDATE h_nokey SET w = $2 WHERE v = $1', [r.int(0, 20), text()]],
    () => ['DELETE FROM h_nokey WHERE v = $1', [r.int(0, 20)]],
    () => ['INSERT INTO h_toast VALUES ($1, $2, 0) ON CONFLICT DO NOTHING', [r.int(1, 40), r.text(r.int(10, 9000))]],
    () => ['UPDATE h_toast SET n = n + 1 WHERE id = $1', [r.int(1, 40)]],
    () => ['UPDATE h_toast SET big = $2 WHERE id = $1', [r.int(1, 40), r.text(r.int(10, 9000))]],
    () => [
      'UPDATE h_toast SET id = $2 WHERE id = $1 AND NOT EXISTS (SELECT FROM h_toast WHERE id = $2)',
      [r.int(1, 40), r.int(1, 40)],
    ],
    () => ['DELETE FROM h_toast WHERE id = $1', [r.int(1, 40)]],
    () => ['INSERT INTO h_other (t) VALUES ($1)', [r.text(20)]],
  ]
  const bulk = [
    () => [
      'INSERT INTO h_plain SELECT g, repeat($1, 20), 0 FROM generate_series($2::int, $2::int + 400) g ON CONFLICT DO NOTHING',
      [r.text(4), BULK_FROM + r.int(0, 1500)],
    ],
    () => ['UPDATE h_plain SET a = $1 WHERE id >= $2', [r.text(10), BULK_FROM]],
    () => ['DELETE FROM h_plain WHERE id >= $1', [BULK_FROM + r.int(0, 1000)]],
    () => [
      'UPDATE h_plain SET id = id + 5000 WHERE id BETWEEN $1 AND $1 + 300 AND NOT EXISTS (SELECT FROM h_plain p WHERE p.id = h_plain.id + 5000)',
      [BULK_FROM],
    ],
    () => ['DELETE FROM h_plain WHERE id >= $1', [BULK_FROM + 3000]],
  ]
  return () => (r.chance(0.03) ? r.pick(bulk)() : r.pick(ops)())
}

export class Writer {
  constructor(w, random, next = statements(random)) {
    this.w = w
    this.random = random
    this.next = next
    this.counts = { committed: 0, rolledBack: 0, failed: 0, statements: 0, lost: 0 }
  }

  start() {
    this.running = this.run()
    return this
  }

  async stop() {
    this.stopping = true
    await this.running
  }

  async run() {
    while (!this.stopping) {
      let client
      try {
        client = await this.w.pg.connect(this.w.db)
        await client.query("SET lock_timeout = '2s'; SET deadlock_timeout = '50ms'; SET statement_timeout = '20s'")
        while (!this.stopping) {
          await this.transaction(client)
          await delay(this.random.int(0, 8))
        }
      } catch {
        this.counts.lost++
        await delay(50)
      } finally {
        await client?.end().catch(() => {})
      }
    }
  }

  async transaction(client) {
    try {
      await client.query('BEGIN')
      await this.body(client, 0)
      const end = this.random.chance(0.12) ? 'ROLLBACK' : 'COMMIT'
      await client.query(end)
      this.counts[end === 'COMMIT' ? 'committed' : 'rolledBack']++
    } catch (e) {
      // With a code it is a statement's error (a deadlock, a taken key); without, the connection's.
      if (!e.code || !/^[0-9A-Z]{5}$/.test(e.code) || e.code.startsWith('57P') || e.code.startsWith('08')) throw e
      this.counts.failed++
      await client.query('ROLLBACK')
    }
  }

  async body(client, depth) {
    const r = this.random
    for (let i = r.int(1, 8); i > 0; i--) {
      if (depth < 3 && r.chance(0.15)) {
        const name = `s${depth}`
        await client.query(`SAVEPOINT ${name}`)
        await this.body(client, depth + 1)
        await client.query(r.chance(0.4) ? `ROLLBACK TO ${name}` : `RELEASE ${name}`)
      } else {
        this.counts.statements++
        await client.query(...this.next())
      }
    }
  }
}

// Whether a 409 was Postgres' or the crash's doing rather than a broken promise.
function excused(refetch, crashes) {
  if (!refetch.confirmedAt) return crashes.length > 0
  const made = Number(refetch.handle.split('-')[1]) / 1000
  return crashes.some((at) => at >= made - 1000 && at <= made + YOUNG_MS)
}

// Options: version, seconds, crashes (kinds that happen: 'kill', 'term', 'postgres'), pause (their
// distance in milliseconds, low and high), env.
export async function history(
  t,
  { version, seconds = 60, crashes = ['kill', 'kill', 'term', 'postgres'], pause = [2500, 7000], env = {} } = {},
) {
  const seed = newSeed()
  t.note(`seed ${seed}`)
  const random = new Random(seed)
  const pg = await Postgres.create({ version })
  const w = await world(t, {
    pg,
    sql: SQL,
    env: { ELECTRIC_SHAPE_CHUNK_BYTES_THRESHOLD: '30000', ELECTRIC_LONG_POLL_TIMEOUT: '3000', ...env },
  })
  const writers = Array.from({ length: WRITERS }, (_, i) => new Writer(w, new Random(seed + 1 + i)).start())
  t.cleanup(() => Promise.all(writers.map((x) => x.stop())))

  // The tables join while writers are at work.
  for (const i of FIRST) for (const mode of ['poll', 'sse']) w.follow(SHAPES[i], mode)
  await Promise.all(w.followers.map((f) => f.ready(60000)))

  const events = []
  const counts = {}
  const crash = async (kind) => {
    counts[kind] = (counts[kind] ?? 0) + 1
    events.push(Date.now())
    if (kind === 'kill') {
      await w.busbar.kill9()
      await delay(random.int(0, 500))
      events.push(Date.now())
      await w.busbar.start({ active: false })
    } else if (kind === 'term') {
      await w.busbar.term()
      await w.busbar.start({ active: false })
    } else {
      await pg.stop('immediate')
      events.push(Date.now())
      if (random.chance(0.3)) {
        await w.busbar.kill9()
        await pg.start()
        await w.busbar.start({ active: false })
      } else {
        await delay(random.int(0, 800))
        await pg.start()
      }
    }
    await w.busbar.active(60000)
    events.push(Date.now())
  }

  const end = Date.now() + seconds * 1000
  let late = 0
  while (Date.now() < end) {
    await delay(random.int(pause[0], pause[1]))
    if (late < LATE_FOLLOWERS) {
      late++
      w.follow(random.pick(SHAPES), random.pick(['poll', 'sse']))
      // Sometimes the crash comes while the new shape is being made.
      await delay(random.pick([0, 5, 50, 500]))
    }
    if (crashes.length) await crash(random.pick(crashes))
    if (!w.busbar.running()) throw new Error(`the daemon ended with ${w.busbar.code}`)
  }

  await Promise.all(writers.map((x) => x.stop()))
  const sum = (list, name) => list.reduce((a, x) => a + x[name], 0)
  const did = writers.map((x) => x.counts)
  t.note(
    `${sum(did, 'committed')} transactions committed, ${sum(did, 'rolledBack')} rolled back, ${sum(did, 'failed')} failed, ${sum(did, 'lost')} connections lost; crashes ${JSON.stringify(counts)}`,
  )
  const refetches = w.followers.flatMap((f) => f.refetches.map((r) => ({ ...r, name: f.name })))
  t.note(
    `${w.followers.length} followers applied ${sum(w.followers, 'applied')} changes, ${sum(w.followers, 'repeats')} repeats, ${sum(w.followers, 'retries')} retries, ${refetches.length} refetches`,
  )
  await w.agree(w.followers, 60000)
  const bad = w.followers.flatMap((f) =>
    f.refetches.filter((r) => !excused(r, events)).map((r) => `${f.name}: ${JSON.stringify(r)}`),
  )
  assert(bad.length === 0, `told to refetch without need:\n${bad.slice(0, 5).join('\n')}\ncrashes at ${events.join(' ')}`)
  assert(sum(did, 'committed') > seconds, 'the writers hardly wrote')

  // A newcomer reads the same from the beginning, and whole.
  for (const shape of SHAPES) w.follow(shape, 'poll', { name: `newcomer ${JSON.stringify(shape)}` })
  await until('the newcomers are there', () => w.followers.every((f) => f.confirmedAt), 30000)
  await w.agree(w.followers, 30000)
  return w
}
