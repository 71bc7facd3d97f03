// How a table's snapshot and the stream meet: the rules of docs/invariants.md 6, and what else a table may be.

import { spawn, spawnSync } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { cannot } from '../lib/cannot.mjs'
import { commitsEnd, commitsHang } from '../lib/commits.mjs'
import { readAll, shape } from '../lib/http.mjs'
import { Postgres } from '../lib/pg.mjs'
import { test } from '../lib/runner.mjs'
import { world } from '../lib/setup.mjs'
import { assert, equal, pause, temporary, until, within } from '../lib/util.mjs'

const TABLE = 'CREATE TABLE t (id int PRIMARY KEY, v text)'
const FULL = 'ALTER TABLE t REPLICA IDENTITY FULL'
const fill = (from, to, size = 20) => `INSERT INTO t SELECT g, repeat('x', ${size}) || g FROM generate_series(${from}, ${to}) g`

const MANUAL = { ELECTRIC_MANUAL_TABLE_PUBLISHING: 'true' }

const published = async (w, table = 't') =>
  (await w.sql('SELECT FROM pg_publication_tables WHERE pubname = $1 AND tablename = $2', [w.publication, table])).rowCount > 0

// It joins: a writer doesn't keep the publication waiting, once the table is REPLICA IDENTITY FULL.
const joining = (w) => until('the table is published', () => published(w))

// Busbar has got as far as it can while others are in the way: it waits for a lock of theirs, or looks at who they are,
// or whether its snapshot shows them, again and again; or it needn't wait, and has answered. An idle session shows the
// query it had last, which may have been of another test's time.
const BUSY = "application_name = 'busbar' AND datname = current_database() AND backend_type = 'client backend'"
const held = async (w, followers) => {
  const { now } = (await w.sql('SELECT clock_timestamp()::text AS now')).rows[0]
  const looks = "query ~ 'pg_locks|pg_current_snapshot' AND query_start > since"
  // Such a look is a session's last query for a millisecond, then the next one is: so the server itself looks all the time.
  const session = await w.pg.connect(w.db)
  await session.query('SET synchronous_commit = local') // some tests have commits wait for a standby
  await session.query(`
    CREATE FUNCTION pg_temp.waits(since timestamptz) RETURNS bool LANGUAGE plpgsql AS $$
    BEGIN
      FOR i IN 1..200 LOOP
        PERFORM pg_stat_clear_snapshot();
        IF EXISTS (SELECT FROM pg_stat_activity WHERE ${BUSY} AND (${looks} OR wait_event_type = 'Lock')) THEN RETURN true; END IF;
        PERFORM pg_sleep(0.0005);
      END LOOP;
      RETURN false;
    END $$`)
  await until('Busbar waits, or has answered', async () => {
    if (followers.every((f) => f.confirmedAt || f.lastError)) return true
    return (await session.query('SELECT pg_temp.waits($1)', [now])).rows[0].waits
  })
  await session.end()
}

// Somebody waits for a lock on the table.
const queued = (w) =>
  until('a lock is waited for', async () => (await w.sql("SELECT FROM pg_locks WHERE relation = 't'::regclass AND NOT granted")).rowCount > 0)

// Both kinds of follower on a table, started and, unless told otherwise, up to date.
async function followed(w, params = { table: 't' }) {
  const followers = ['poll', 'sse'].map((mode) => w.follow(params, mode))
  await Promise.all(followers.map((f) => f.ready()))
  return followers
}

test('many clients that ask for a new shape at once cause one', async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 2000)] })
  const answers = await Promise.all(Array.from({ length: 40 }, () => shape(w.busbar.url, { table: 't', offset: '-1' })))
  equal([...new Set(answers.map((a) => a.status))], [200], 'statuses')
  equal(new Set(answers.map((a) => a.handle)).size, 1, 'handles')
  assert(
    answers.every((a) => a.body.equals(answers[0].body)),
    'bodies differ',
  )
  equal(answers[0].changes().length, 2000, 'rows')
})

test('several new shapes of one table at once, while it is written', async (t) => {
  const w = await world(t, { sql: ['CREATE TABLE t (id int PRIMARY KEY, a text, b text, c text)'] })
  const writer = await w.session()
  let writing = true
  const done = (async () => {
    for (let i = 0; writing; i++)
      await writer.query(
        `INSERT INTO t VALUES (${i}, 'a', 'b', 'c')${i % 3 ? '' : `; UPDATE t SET a = a || '!' WHERE id = ${i}`}`,
      )
  })()
  for (const columns of [undefined, 'id,a', 'id,b', 'id,c', 'id,a,b', 'id,a,c', 'id,b,c'])
    for (const replica of [undefined, 'full']) w.follow({ table: 't', columns, replica })
  await Promise.all(w.followers.map((f) => f.ready()))
  writing = false
  await done
  await w.agree()
  w.undisturbed()
})

// ---------------------------------------------------------------- rule 1: writers in flight

for (const manual of [false, true]) {
  const mode = manual ? 'manual publishing' : 'automatic publishing'
  const joined = async (t, options = {}) => {
    const w = await world(t, { sql: [TABLE, FULL], env: manual ? MANUAL : {}, start: false, ...options })
    if (manual) await w.sql(`CREATE PUBLICATION ${w.publication}`)
    await w.busbar.start()
    return w
  }
  const publish = async (w) => {
    if (manual) await w.sql(`ALTER PUBLICATION ${w.publication} ADD TABLE t`)
  }

  test(`rule 1, ${mode}: a writer in flight while the table joins`, async (t) => {
    const w = await joined(t)
    const early = await w.session()
    await early.query('BEGIN')
    await early.query(fill(1, 3))
    await publish(w)
    const followers = ['poll', 'sse'].map((m) => w.follow({ table: 't' }, m))
    await joining(w)
    // Only if nobody waits for an exclusive lock is the table open to others.
    const free = (await w.sql("SELECT FROM pg_locks WHERE relation = 't'::regclass AND NOT granted")).rowCount === 0
    if (free) await w.sql(fill(10, 12))
    // The request may be held for the writer, or not: either way its rows must come.
    await held(w, followers)
    await early.query(fill(4, 5))
    await early.query('COMMIT')
    await w.sql(fill(20, 22))
    await Promise.all(followers.map((f) => f.ready(30000)))
    await w.agree()
    w.undisturbed()
  })

  test(`rule 1, ${mode}: a prepared transaction in flight while the table joins`, async (t) => {
    const w = await joined(t)
    const early = await w.session()
    await early.query('BEGIN')
    await early.query(fill(1, 3))
    await early.query(`PREPARE TRANSACTION 'p_${w.db}'`)
    t.cleanup(() => w.sql(`ROLLBACK PREPARED 'p_${w.db}'`).catch(() => {}))
    await publish(w)
    w.follow({ table: 't' })
    await joining(w)
    await held(w, w.followers)
    await w.sql(`COMMIT PREPARED 'p_${w.db}'`)
    await w.sql(fill(20, 22))
    await w.followers[0].ready(30000)
    await w.agree()
    w.undisturbed()
  })
}

test('rule 1: who wrote to other tables holds up nobody, prepared or not', { timeout: 90000 }, async (t) => {
  const w = await world(t, { sql: [TABLE, FULL, fill(1, 3), 'CREATE TABLE other (id int)'] })
  const [open, prepared] = [await w.session(), await w.session()]
  await open.query('BEGIN; INSERT INTO other VALUES (1)')
  await prepared.query('BEGIN; INSERT INTO other VALUES (2)')
  await prepared.query(`PREPARE TRANSACTION 'o_${w.db}'`)
  t.cleanup(() => w.sql(`ROLLBACK PREPARED 'o_${w.db}'`).catch(() => {}))
  const started = Date.now()
  const answer = await shape(w.busbar.url, { table: 't', offset: '-1' }, { timeout: 60000 })
  equal(answer.status, 200, `status (${answer.text().slice(0, 200)})`)
  t.note(`answered after ${Date.now() - started} ms`)
  const f = w.follow({ table: 't' })
  await f.ready()
  // They go on to this table, behind the publication's change.
  await open.query(`${fill(10, 12)}; COMMIT`)
  await w.sql(`COMMIT PREPARED 'o_${w.db}'`)
  await w.agree()
  w.undisturbed()
})

test('rule 1: a commit that hangs for a standby, of who wrote before the table joined', { timeout: 120000 }, async (t) => {
  const pg = await Postgres.create()
  const w = await world(t, { pg, sql: [TABLE, FULL, fill(1, 3), 'CREATE TABLE probe (i int)'], env: MANUAL, start: false })
  await w.sql(`CREATE PUBLICATION ${w.publication}`)
  await w.busbar.start()
  const [writer, local] = [await w.session(), await w.session()]
  await local.query('SET synchronous_commit = local')
  const { pid } = (await writer.query('SELECT pg_backend_pid() AS pid')).rows[0]
  await commitsHang(w, writer)
  const hanging = writer.query(fill(10, 12))
  await until(
    'its commit waits',
    async () => (await local.query('SELECT wait_event FROM pg_stat_activity WHERE pid = $1', [pid])).rows[0].wait_event === 'SyncRep',
  )
  await local.query(`ALTER PUBLICATION ${w.publication} ADD TABLE t`)
  const f = w.follow({ table: 't' })
  await held(w, [f])
  assert(!f.confirmedAt, 'the snapshot was taken without it')
  await commitsEnd(w)
  await within('the writer', 10000, hanging)
  await f.ready(40000)
  await local.query(fill(20, 22))
  await w.agree()
  w.undisturbed()
})

// A debugger holds the backend there.
test('rule 1: a commit that is visible already and still has its locks, of who wrote before the table joined', { timeout: 120000 }, async (t) => {
  if (spawnSync('gdb', ['--version']).status !== 0) return cannot(t, 'there is no gdb: test.sh installs it')
  const w = await world(t, { sql: [TABLE, FULL] })
  const early = await w.session()
  const { pid } = (await early.query('SELECT pg_backend_pid() AS pid')).rows[0]
  await early.query('BEGIN')
  await early.query(fill(1, 3))
  const dir = temporary('held')
  const [held_, go] = [join(dir, 'held'), join(dir, 'go')]
  const script = ['set breakpoint pending off', 'break AtEOXact_Inval', `shell touch ${join(dir, 'there')}`, 'continue', `shell touch ${held_}; while [ ! -e ${go} ]; do sleep 0.05; done`, 'detach']
  const gdb = spawn('gdb', ['-nx', '-batch', '-p', String(pid), ...script.flatMap((c) => ['-ex', c])], { stdio: 'ignore' })
  t.cleanup(() => writeFileSync(go, ''))
  const ended = new Promise((resolve) => gdb.on('exit', resolve))
  let over = false
  ended.then(() => (over = true))
  await until('gdb is there', () => over || existsSync(join(dir, 'there')), 20000)
  const commit = early.query('COMMIT')
  await until('the commit is held up, or gdb may not hold it', () => over || existsSync(held_), 20000)
  if (over) return cannot(t, 'gdb may not attach to a backend')
  equal((await w.sql('SELECT count(*)::int AS n FROM t')).rows[0].n, 3, 'visible rows')
  equal((await w.sql("SELECT FROM pg_locks WHERE pid = $1 AND relation = 't'::regclass", [pid])).rowCount > 0, true, 'its lock')
  const f = w.follow({ table: 't' })
  await joining(w)
  await held(w, [f])
  writeFileSync(go, '')
  await commit
  await ended
  await f.ready(30000)
  await w.sql(fill(20, 22))
  await w.agree()
  w.undisturbed()
})

test('rule 1: a partition of a partition, made and filled by who still runs while the root joins', async (t) => {
  const w = await world(t, {
    sql: [
      'CREATE TABLE p (id int, k int, PRIMARY KEY (id, k)) PARTITION BY LIST (k)',
      'CREATE TABLE p_1 PARTITION OF p FOR VALUES IN (1) PARTITION BY RANGE (id)',
      'CREATE TABLE p_11 PARTITION OF p_1 FOR VALUES FROM (0) TO (10)',
      ...['p', 'p_1', 'p_11'].map((name) => `ALTER TABLE ${name} REPLICA IDENTITY FULL`),
    ],
  })
  const early = await w.session()
  await early.query('BEGIN; CREATE TABLE p_12 PARTITION OF p_1 FOR VALUES FROM (10) TO (20); INSERT INTO p_12 VALUES (11, 1)')
  const f = w.follow({ table: 'p' })
  await held(w, [f])
  await early.query('INSERT INTO p_12 VALUES (12, 1); COMMIT')
  await f.ready(30000)
  await w.sql('INSERT INTO p VALUES (1, 1), (13, 1)')
  await w.agree()
})

for (const version of ['15', '15.12'])
  test(`rule 1, PostgreSQL ${version}: a writer that got its xid elsewhere and writes to the table after it joined`, async (t) => {
    const w = await world(t, { version, sql: [TABLE, FULL, 'CREATE TABLE other (id int)'] })
    const early = await w.session()
    await early.query('BEGIN')
    await early.query('INSERT INTO other VALUES (1)')
    const f = w.follow({ table: 't' })
    await joining(w)
    await held(w, [f])
    await early.query(fill(1, 3))
    await early.query('COMMIT')
    await f.ready(30000)
    await w.sql(fill(20, 22))
    await w.agree()
    w.undisturbed()
  })

test('rule 1: a writer that never ends: 503 that names its process, and no harm after', { timeout: 120000 }, async (t) => {
  const w = await world(t, { sql: [TABLE, FULL, fill(1, 3)] })
  const early = await w.session()
  const { rows } = await early.query('SELECT pg_backend_pid() AS pid')
  await early.query('BEGIN')
  await early.query(fill(10, 12))
  const started = Date.now()
  const answer = await shape(w.busbar.url, { table: 't', offset: '-1' }, { timeout: 90000 })
  t.note(`answered ${answer.status} after ${((Date.now() - started) / 1000).toFixed(1)} s: ${answer.text().slice(0, 200)}`)
  equal(answer.status, 503, 'status')
  assert(answer.text().includes(String(rows[0].pid)), `the message doesn't name process ${rows[0].pid}: ${answer.text()}`)
  assert(answer.headers['retry-after'], 'no retry-after')
  await early.query('COMMIT')
  const f = w.follow({ table: 't' })
  await f.ready()
  await w.sql(fill(20, 22))
  await w.agree()
})

test('rule 1: without REPLICA IDENTITY FULL, a reader and a writer in the way', async (t) => {
  // The identity needs an exclusive lock, which queues behind these, and all others behind it.
  const w = await world(t, { sql: [TABLE, fill(1, 3)] })
  const writer = await w.session()
  await writer.query('BEGIN')
  await writer.query(fill(10, 12))
  w.follow({ table: 't' })
  await queued(w)
  // Users must not be shut out meanwhile for long.
  const started = Date.now()
  await within('another writer gets through', 15000, w.sql(fill(30, 31)))
  t.note(`another writer waited ${Date.now() - started} ms`)
  await writer.query('COMMIT')
  await w.followers[0].ready(40000)
  await w.sql(fill(20, 22))
  await w.agree()
})

// Between its join, where nobody is to be waited for, and its snapshot, which waits for a lock on the parent alone.
test('rule 1: the publication leaves out a change and gets it back while a snapshot is waited for', { timeout: 60000 }, async (t) => {
  const w = await world(t, {
    sql: [
      'CREATE TABLE p (id int PRIMARY KEY, v text) PARTITION BY RANGE (id)',
      'CREATE TABLE p_1 PARTITION OF p FOR VALUES FROM (0) TO (100)',
      "INSERT INTO p SELECT g, 'v' FROM generate_series(1, 3) g",
    ],
  })
  await shape(w.busbar.url, { table: 'p', offset: '-1' })
  const [lock, writer] = [await w.session(), await w.session()]
  await lock.query('BEGIN; LOCK TABLE ONLY p IN ACCESS EXCLUSIVE MODE')
  const f = w.follow({ table: 'p', columns: 'id' })
  await until('its snapshot waits', async () => (await w.sql("SELECT FROM pg_locks WHERE relation = 'p'::regclass AND NOT granted")).rowCount > 0)
  await w.sql(`ALTER PUBLICATION ${w.publication} SET (publish = 'insert')`)
  await writer.query('BEGIN; DELETE FROM p_1 WHERE id = 1')
  await w.sql(`ALTER PUBLICATION ${w.publication} SET (publish = 'insert, update, delete, truncate')`)
  await lock.query('ROLLBACK')
  await held(w, [f])
  await writer.query('COMMIT')
  await f.ready(30000)
  await w.sql('INSERT INTO p VALUES (10)')
  await w.agree()
})

test('the table leaves the publication by another hand: its shape is rotated, not silent', { timeout: 150000 }, async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 3)] })
  const [f] = await followed(w)
  await w.sql(`ALTER PUBLICATION ${w.publication} DROP TABLE t`)
  await w.sql(fill(10, 12))
  await w.agree(w.followers, 100000)
  assert(f.refetches.length > 0, 'the shape was not rotated')
})

// ---------------------------------------------------------------- rule 2: stale caches of old minors

for (const manual of [false, true]) {
  test(`rule 2, PostgreSQL 15.12, ${manual ? 'manual' : 'automatic'} publishing: rows after a writer in flight`, async (t) => {
    const w = await world(t, {
      version: '15.12',
      sql: [TABLE, FULL, 'CREATE TABLE u (id int PRIMARY KEY)'],
      env: manual ? MANUAL : {},
      start: false,
    })
    if (manual) await w.sql(`CREATE PUBLICATION ${w.publication} FOR TABLE u`)
    if (manual) await w.sql('ALTER TABLE u REPLICA IDENTITY FULL')
    await w.busbar.start()
    // Automatic: it repairs this by itself. Manual: it may refuse, saying what to run; that must do.
    const ready = async (f) => {
      const refusal = () => (manual ? /"message":"(.*BEGIN; .*COMMIT;)/.exec(f.lastError ?? '') : undefined)
      await until(
        () => `an outcome: ${f.state()}`,
        () => f.confirmedAt || refusal(),
        60000,
      )
      if (f.confirmedAt) return
      const message = JSON.parse(`"${refusal()[1]}"`)
      t.note(message)
      await w.sql(/BEGIN; .*COMMIT;/.exec(message)[0])
      await f.ready(30000)
    }
    // The stream runs and has decoded something.
    const u = w.follow({ table: 'u' })
    await ready(u)
    await w.sql('INSERT INTO u VALUES (1)')
    await w.agree([u])
    const early = await w.session()
    await early.query('BEGIN')
    await early.query(fill(1, 3))
    if (manual) await w.sql(`ALTER PUBLICATION ${w.publication} ADD TABLE t`)
    const f = w.follow({ table: 't' })
    if (!manual) await joining(w)
    await held(w, [f])
    await early.query(fill(4, 5))
    await early.query('COMMIT')
    await ready(f)
    await w.sql(fill(10, 12))
    await w.sql('UPDATE t SET v = $$changed$$ WHERE id < 12')
    await w.agree(w.followers, 15000)
  })
}

// ---------------------------------------------------------------- rule 3: streamed, but still running

async function streamedWhileRunning(t, restart) {
  const pg = await Postgres.create()
  const w = await world(t, { pg, sql: [TABLE, fill(1, 3), 'CREATE TABLE probe (i int)'] })
  const [a] = await followed(w)
  const writer = await w.session()
  await commitsHang(w, writer)
  const hanging = writer.query(fill(10, 12))
  await until(`the stream has passed it: ${a.state()}`, () => a.rows.size === 6)
  equal((await w.sql('SELECT count(*)::int AS n FROM t')).rows[0].n, 3, 'visible rows while the commit waits')
  if (restart) {
    await w.busbar.kill9()
    await w.busbar.start()
  }
  const late = ['poll', 'sse'].map((m) => w.follow({ table: 't', replica: 'full' }, m))
  // Whether the request is held or answered and corrected: in the end the rows are there.
  await held(w, late)
  await commitsEnd(w)
  await within('the writer', 10000, hanging)
  await Promise.all(late.map((f) => f.ready(40000)))
  await w.sql(fill(20, 22))
  await w.agree()
  w.undisturbed(late)
}

test('rule 3: a transaction that was streamed while the snapshot calls it running', { timeout: 120000 }, (t) =>
  streamedWhileRunning(t, false),
)

// Only the earlier process has passed it: its memory of that is gone.
test('rule 3: the same, and Busbar was killed in between', { timeout: 120000 }, (t) => streamedWhileRunning(t, true))

// ---------------------------------------------------------------- rule 4: in the middle of a transaction

test('rule 4: a shape made in the middle of a streamed transaction gets all of it', { timeout: 120000 }, async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 3)] })
  await followed(w)
  const session = await w.session()
  await session.query('BEGIN')
  await session.query(fill(10, 10000, 60))
  const late = [w.follow({ table: 't', columns: 'id,v' }), w.follow({ table: 't', replica: 'full' }, 'sse')]
  await Promise.all(late.map((f) => f.ready()))
  await session.query(fill(20000, 30000, 60))
  await session.query("UPDATE t SET v = 'u' WHERE id % 5 = 0")
  await session.query('COMMIT')
  await w.agree(w.followers, 60000)
  w.undisturbed()
})

test('rule 4: a table that joins in the middle of a big transaction of another', { timeout: 120000 }, async (t) => {
  const w = await world(t, { sql: [TABLE, FULL, 'CREATE TABLE u (id int PRIMARY KEY, v text)', 'INSERT INTO u VALUES (0)'] })
  await followed(w, { table: 'u' })
  const session = await w.session()
  await session.query('BEGIN')
  await session.query("INSERT INTO u SELECT g, repeat('y', 50) FROM generate_series(1, 10000) g")
  const f = w.follow({ table: 't' })
  await joining(w)
  await held(w, [f])
  await session.query(fill(1, 1000))
  await session.query('COMMIT')
  await f.ready(30000)
  await w.sql(fill(2000, 2010))
  await w.agree(w.followers, 60000)
  w.undisturbed()
})

// ---------------------------------------------------------------- rule 5: a snapshot ahead of the WAL's disk

test('rule 5: commits that the snapshot saw and a crash of Postgres lost', { timeout: 180000 }, async (t) => {
  const pg = await Postgres.create({
    settings: { wal_writer_delay: '10s', wal_writer_flush_after: '1GB', checkpoint_timeout: '1h', bgwriter_lru_maxpages: 0 },
  })
  const w = await world(t, {
    pg,
    sql: [
      'CREATE TABLE t (id int PRIMARY KEY, a text, b text, c text)',
      "INSERT INTO t SELECT g, 'a', 'b', 'c' FROM generate_series(1, 5) g",
    ],
    env: { ELECTRIC_LONG_POLL_TIMEOUT: '3000' },
  })
  await followed(w)
  // What is flushed, and past the first shape's snapshot: that shape must survive all this.
  await w.sql("INSERT INTO t VALUES (50, 'first', 'first', 'first')")
  await w.agree()
  let lost = 0
  const shapes = [
    { columns: 'id,a' },
    { columns: 'id,b' },
    { columns: 'id,c' },
    { columns: 'id,a,b' },
    { columns: 'id,a,c' },
    { columns: 'id,b,c' },
  ]
  for (let i = 0; i < shapes.length; i++) {
    const id = 100 + i
    const session = await pg.connect(w.db)
    await session.query('SET synchronous_commit = off')
    await session.query(`INSERT INTO t VALUES (${id}, 'lost', 'lost', 'lost')`)
    await session.query(`UPDATE t SET a = 'lost${i}' WHERE id = 1`)
    const params = { table: 't', ...shapes[i] }
    // Its snapshot sees the row; then Postgres crashes before it was flushed.
    const answer = await until(
      'the snapshot',
      async () => {
        const r = await shape(w.busbar.url, { ...params, offset: '-1' })
        return r.status === 200 ? r : undefined
      },
      5000,
    )
    await pg.stop('immediate')
    const saw = answer.changes().some((c) => c.value.id === String(id))
    w.follow(params, i % 2 ? 'poll' : 'sse')
    await pg.start()
    await session.end().catch(() => {})
    await w.busbar.active(30000)
    const there = (await w.sql('SELECT FROM t WHERE id = $1', [id])).rowCount > 0
    if (saw && !there) {
      lost++
      const old = await shape(w.busbar.url, { ...params, handle: answer.handle, offset: answer.offset })
      equal([old.status, old.headers['electric-reason']], [409, 'postgres-crashed'], `who has the handle of that snapshot (${old.text()})`)
    }
    // The lost transaction's id and place are used again.
    await w.sql(`INSERT INTO t VALUES (${200 + i}, 'kept', 'kept', 'kept')`)
    if (i % 2) await w.sql(`INSERT INTO t VALUES (${id}, 'again', 'again', 'again') ON CONFLICT DO NOTHING`)
  }
  await w.agree(w.followers, 60000)
  t.note(`${lost} of ${shapes.length} snapshots had seen what was lost`)
  assert(lost > 0, 'the crash never lost what a snapshot had seen: nothing was tested')
  // The shapes that had passed everything before stay what they were.
  w.undisturbed(w.followers.slice(0, 2))
})

// ---------------------------------------------------------------- rule 6: rewriting ALTER

test('rule 6: a snapshot behind an ALTER TABLE that rewrites', async (t) => {
  const w = await world(t, { sql: [TABLE, FULL, fill(1, 5)] })
  const session = await w.session()
  await session.query('BEGIN')
  await session.query('ALTER TABLE t ADD COLUMN r float8 DEFAULT random()')
  const f = w.follow({ table: 't' })
  await queued(w)
  await session.query('COMMIT')
  await f.ready(60000)
  equal(f.rows.size, 5, 'rows')
  await w.sql(fill(10, 12))
  await w.agree()
})

test('rule 6: a snapshot behind a TRUNCATE', async (t) => {
  const w = await world(t, { sql: [TABLE, FULL, fill(1, 5)] })
  await followed(w, { table: 't', columns: 'id,v' })
  const session = await w.session()
  await session.query('BEGIN')
  await session.query('TRUNCATE t')
  await session.query(fill(50, 52))
  const f = w.follow({ table: 't' })
  await queued(w)
  await session.query('COMMIT')
  await f.ready(60000)
  await w.sql(fill(10, 12))
  await w.agree()
})

// ---------------------------------------------------------------- rule 7: old news doesn't rotate

// Stops the walsender's process, so that the stream lags.
async function lag(w) {
  const { rows } = await w.sql('SELECT active_pid FROM pg_replication_slots WHERE slot_name = $1', [w.slot])
  const pid = rows[0].active_pid
  assert(pid, 'nobody reads the slot')
  return pause(pid)
}

for (const [what, change] of [
  ['TRUNCATE', 'TRUNCATE t'],
  ['ALTER TABLE', 'ALTER TABLE t ADD COLUMN n int DEFAULT 7'],
]) {
  test(`rule 7: a ${what} that the snapshot holds doesn't rotate the new shape`, async (t) => {
    const w = await world(t, { sql: [TABLE, fill(1, 3)] })
    const [old] = await followed(w)
    const go = await lag(w)
    t.cleanup(go)
    await w.sql(change)
    await w.sql(fill(10, 12))
    const late = ['poll', 'sse'].map((m) => w.follow({ table: 't', replica: 'full' }, m))
    await Promise.all(late.map((f) => f.ready()))
    const { handle } = late[0]
    go()
    await w.sql(fill(20, 22))
    await w.agree(w.followers, 30000)
    assert(old.refetches.length > 0, 'the old shape was not rotated')
    w.undisturbed(late)
    // Nor when the stream is repeated.
    await w.busbar.kill9()
    await w.busbar.start()
    await w.sql(fill(30, 32))
    await w.agree()
    w.undisturbed(late)
    equal(late[0].handle, handle, 'handle')
  })
}

// ---------------------------------------------------------------- rule 8: partitions

const PARTITIONED = [
  'CREATE TABLE p (id int, region text, v text, PRIMARY KEY (id, region)) PARTITION BY LIST (region)',
  "CREATE TABLE p_a PARTITION OF p FOR VALUES IN ('a')",
  "CREATE TABLE p_b PARTITION OF p FOR VALUES IN ('b') PARTITION BY RANGE (id)",
  'CREATE TABLE p_b1 PARTITION OF p_b FOR VALUES FROM (0) TO (100)',
]
const put = (id, region) => `INSERT INTO p VALUES (${id}, '${region}', 'v${id}')`

test('rule 8: a partitioned table, its leaves at all levels, keys of the root', async (t) => {
  const w = await world(t, { sql: [...PARTITIONED, put(1, 'a'), put(2, 'b')] })
  const followers = await followed(w, { table: 'p' })
  await w.sql(put(3, 'a'))
  await w.sql(put(4, 'b'))
  await w.sql("UPDATE p SET v = 'changed' WHERE id IN (1, 2, 3, 4)")
  await w.sql("UPDATE p SET region = 'a' WHERE id = 4")
  await w.sql('DELETE FROM p WHERE id = 3')
  await w.agree()
  for (const f of followers) for (const key of f.rows.keys()) assert(key.startsWith('"public"."p"/'), `key ${key}`)
  w.undisturbed()
})

test('rule 8: CREATE TABLE … PARTITION OF rotates nothing, and its rows come', async (t) => {
  const w = await world(t, { sql: [...PARTITIONED, put(1, 'a')] })
  await followed(w, { table: 'p' })
  const writer = await w.session()
  await writer.query("CREATE TABLE p_c PARTITION OF p FOR VALUES IN ('c')")
  await writer.query(put(10, 'c'))
  await writer.query('CREATE TABLE p_b2 PARTITION OF p_b FOR VALUES FROM (100) TO (200)')
  await writer.query(put(110, 'b'))
  await w.agree()
  w.undisturbed()
  await w.busbar.kill9()
  await w.busbar.start()
  await writer.query("UPDATE p SET v = 'changed' WHERE id IN (10, 110)")
  await w.agree()
  w.undisturbed()
})

test('rule 8: created and filled in one transaction', async (t) => {
  const w = await world(t, { sql: [...PARTITIONED, put(1, 'a')] })
  await followed(w, { table: 'p' })
  await w.sql(`BEGIN; CREATE TABLE p_c PARTITION OF p FOR VALUES IN ('c'); ${put(10, 'c')}; COMMIT`)
  await w.sql(put(11, 'c'))
  await w.agree()
})

// The stream brings it before others see it: then the catalog doesn't know the partition yet.
for (const long of [false, true])
  test(`rule 8: the same, streamed while it still counts as running, for ${long ? 'long' : 'a moment'}`, async (t) => {
    const pg = await Postgres.create()
    const w = await world(t, { pg, sql: [...PARTITIONED, put(1, 'a'), TABLE, 'CREATE TABLE probe (i int)'] })
    const followers = await followed(w, { table: 'p' })
    const [other] = await followed(w)
    const [writer, local] = [await w.session(), await w.session()]
    const { pid } = (await writer.query('SELECT pg_backend_pid() AS pid')).rows[0]
    await local.query('SET synchronous_commit = local')
    await commitsHang(w, writer)
    const hanging = writer.query(
      `BEGIN; CREATE TABLE p_c PARTITION OF p FOR VALUES IN ('c'); ${put(10, 'c')}; COMMIT`,
    )
    await until(
      'its commit waits',
      async () => (await local.query('SELECT wait_event FROM pg_stat_activity WHERE pid = $1', [pid])).rows[0].wait_event === 'SyncRep',
    )
    const { lsn } = (await local.query('SELECT pg_current_wal_flush_lsn() AS lsn')).rows[0]
    await until(
      'it was sent',
      async () => (await local.query('SELECT FROM pg_stat_replication WHERE sent_lsn >= $1', [lsn])).rowCount > 0,
    )
    if (long) {
      // Others don't wait for it for ever, not even if it is us whom it waits for.
      await local.query(fill(1, 1))
      await until(`the stream has passed it: ${other.state()}`, () => other.rows.size === 1)
    }
    await local.query('SELECT pg_cancel_backend($1)', [pid])
    await within('the writer', 10000, hanging)
    await commitsEnd(w)
    await local.query(put(11, 'c'))
    await w.agree()
    w.undisturbed(long ? [other] : followers)
  })

test('rule 8: partitions that come one after the other, while they are noticed', { timeout: 120000 }, async (t) => {
  const w = await world(t, {
    sql: ['CREATE TABLE q (id int, v text) PARTITION BY LIST (id)', 'CREATE TABLE q_0 PARTITION OF q FOR VALUES IN (0)'],
  })
  await followed(w, { table: 'q' })
  const writer = await w.session()
  for (let i = 1; i <= 300; i++) {
    await writer.query(`CREATE TABLE q_${i} PARTITION OF q FOR VALUES IN (${i})`)
    // The stream describes the partition with its first row only.
    await writer.query(`INSERT INTO q VALUES (${i}, 'first')`)
    if (i > 1) await writer.query(`INSERT INTO q VALUES (${i - 1}, 'second')`)
  }
  await w.agree()
  w.undisturbed()
})

test('rule 8: a table gets its first child, and another', { timeout: 120000 }, async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 3)] })
  await followed(w)
  for (const [child, id] of [
    ['c', 10],
    ['d', 20],
  ]) {
    await w.sql(`CREATE TABLE ${child} (PRIMARY KEY (id)) INHERITS (t)`)
    await w.sql(`INSERT INTO ${child} VALUES (${id}, 'early')`)
    await w.agree()
    await w.sql(`INSERT INTO ${child} VALUES (${id + 1}, 'late')`)
    await w.agree()
  }
})

test('rule 8: a new leaf without a key can be updated soon', { timeout: 120000 }, async (t) => {
  const w = await world(t, {
    sql: [
      'CREATE TABLE q (id int, v text) PARTITION BY RANGE (id)',
      'CREATE TABLE q_1 PARTITION OF q FOR VALUES FROM (0) TO (100)',
      "INSERT INTO q VALUES (1, 'x')",
    ],
  })
  await followed(w, { table: 'q' })
  const writer = await w.session()
  await writer.query('CREATE TABLE q_2 PARTITION OF q FOR VALUES FROM (100) TO (200)')
  await writer.query("INSERT INTO q VALUES (101, 'x')")
  const started = Date.now()
  await until(
    'an UPDATE of the new leaf works',
    async () => {
      await writer.query("UPDATE q SET v = 'changed' WHERE id = 101")
      return true
    },
    20000,
    50,
  )
  t.note(`an UPDATE worked after ${Date.now() - started} ms`)
  await writer.query('DELETE FROM q WHERE id = 1')
  await w.agree()
  w.undisturbed()
})

test('rule 8: ATTACH of a partition with rows rotates, DETACH rotates', { timeout: 240000 }, async (t) => {
  const w = await world(t, { sql: [...PARTITIONED, put(1, 'a'), 'CREATE TABLE other (id int PRIMARY KEY)'] })
  const followers = await followed(w, { table: 'p' })
  const [bystander] = await followed(w, { table: 'other' })
  await w.sql(
    "CREATE TABLE p_d (id int, region text NOT NULL, v text, PRIMARY KEY (id, region)); INSERT INTO p_d VALUES (50, 'd', 'old')",
  )
  await w.sql("ALTER TABLE p ATTACH PARTITION p_d FOR VALUES IN ('d')")
  await w.sql(put(51, 'd'))
  let started = Date.now()
  await w.agree(w.followers, 90000)
  t.note(`ATTACH: ${((Date.now() - started) / 1000).toFixed(1)} s`)
  for (const f of followers) assert(f.refetches.length > 0, `${f.name} was not rotated by ATTACH`)
  const before = followers.map((f) => f.refetches.length)
  await w.sql('ALTER TABLE p DETACH PARTITION p_d')
  await w.sql(put(2, 'a'))
  started = Date.now()
  await w.agree(w.followers, 90000)
  t.note(`DETACH: ${((Date.now() - started) / 1000).toFixed(1)} s`)
  followers.forEach((f, i) => assert(f.refetches.length > before[i], `${f.name} was not rotated by DETACH`))
  w.undisturbed([bystander])
})

test('rule 8: a shape of a leaf beside one of its root', async (t) => {
  const w = await world(t, { sql: [...PARTITIONED, put(1, 'a'), put(2, 'b')] })
  await followed(w, { table: 'p' })
  await followed(w, { table: 'p_a' })
  await w.sql(put(3, 'a'))
  await w.sql("UPDATE p SET v = 'changed'")
  await w.sql("UPDATE p SET region = 'b' WHERE id = 3")
  await w.sql("UPDATE p SET region = 'a' WHERE id = 2")
  await w.agree()
  w.undisturbed()
})

test('rule 8: publish_via_partition_root: 503 with what mends it, for root and leaf, before and after', { timeout: 90000 }, async (t) => {
  const w = await world(t, { sql: [...PARTITIONED, put(1, 'a'), TABLE, fill(1, 3)] })
  const [root] = await followed(w, { table: 'p' })
  const via = (on) => w.sql(`ALTER PUBLICATION ${w.publication} SET (publish_via_partition_root = ${on})`)
  await via(true)
  // The stream would not tell of this.
  await w.sql('TRUNCATE p_a')
  for (const table of ['p', 'p_a']) {
    const refused = await until(
      'it is refused',
      async () => {
        const a = await shape(w.busbar.url, { table, offset: '-1' })
        return a.status === 503 ? a.json().message : undefined
      },
      15000,
      100,
    )
    assert(refused.includes(`ALTER PUBLICATION "${w.publication}" SET (publish_via_partition_root = false);`), refused)
  }
  // Nothing against a table that is no partition.
  equal((await shape(w.busbar.url, { table: 't', offset: '-1' })).status, 200, 'status of another table')
  await via(false)
  await w.sql(put(2, 'b'))
  await w.agree(w.followers, 40000)
  assert(root.refetches.length > 0, 'the shape was not rotated')
})

// ---------------------------------------------------------------- row-level security, rights, manual mode

test('row-level security: 503 that names the policy', async (t) => {
  const role = `rls_${process.pid}`
  const w = await world(t, { sql: [TABLE, fill(1, 3)], start: false })
  await w.sql(`CREATE ROLE ${role} LOGIN REPLICATION`)
  await w.sql(`GRANT CREATE ON DATABASE ${w.db} TO ${role}; ALTER TABLE t OWNER TO ${role}`)
  await w.sql('ALTER TABLE t ENABLE ROW LEVEL SECURITY; ALTER TABLE t FORCE ROW LEVEL SECURITY')
  await w.sql('CREATE POLICY only_small ON t USING (id < 2)')
  w.busbar.databaseUrl = w.pg.url(w.db, role)
  await w.busbar.start()
  const answer = await shape(w.busbar.url, { table: 't', offset: '-1' })
  equal(answer.status, 503, `status (${answer.text().slice(0, 200)})`)
  assert(answer.text().includes('only_small'), `the message doesn't name the policy: ${answer.text()}`)
  await w.sql('ALTER TABLE t NO FORCE ROW LEVEL SECURITY; ALTER TABLE t DISABLE ROW LEVEL SECURITY')
  const f = w.follow({ table: 't' })
  await f.ready()
  await w.sql(fill(10, 12))
  await w.agree()
})

test('row-level security, and a role that may read some columns: what would help is said, not more rights', async (t) => {
  const role = `rlscols_${process.pid}`
  const w = await world(t, { sql: [TABLE, fill(1, 3), 'ALTER TABLE t REPLICA IDENTITY FULL'], env: MANUAL, start: false })
  await w.sql(`CREATE PUBLICATION ${w.publication} FOR TABLE t; CREATE ROLE ${role} LOGIN REPLICATION; GRANT SELECT (id) ON t TO ${role}`)
  await w.sql('ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY only_small ON t USING (id < 2)')
  w.busbar.databaseUrl = w.pg.url(w.db, role)
  await w.busbar.start()
  const answer = await shape(w.busbar.url, { table: 't', columns: 'id', offset: '-1' })
  equal(answer.status, 503, answer.text())
  assert(answer.json().message.includes(`ALTER ROLE "${role}" BYPASSRLS`) && !answer.text().includes('GRANT'), answer.text())
  await w.sql(`ALTER ROLE ${role} BYPASSRLS`)
  await until('there is a shape', async () => (await shape(w.busbar.url, { table: 't', columns: 'id', offset: '-1' })).status === 200)
})

test('an unlogged table: 503 with the statement that makes it one that can be published', async (t) => {
  const w = await world(t, { sql: ['CREATE UNLOGGED TABLE "an Unlogged" (id int PRIMARY KEY)'] })
  const ask = () => shape(w.busbar.url, { table: '"an Unlogged"', offset: '-1' })
  const answer = await ask()
  equal(answer.status, 503, answer.text())
  await w.sql(/since it is unlogged.*Run, as the owner: (ALTER TABLE .* SET LOGGED)/.exec(answer.json().message)[1])
  await until('there is a shape', async () => (await ask()).status === 200)
})

test('a table of somebody else: 503 that says so, and the stream goes on', async (t) => {
  const role = `poor_${process.pid}`
  const w = await world(t, { sql: [TABLE, fill(1, 3), 'CREATE TABLE mine (id int PRIMARY KEY)'], start: false })
  await w.sql(`CREATE ROLE ${role} LOGIN REPLICATION`)
  await w.sql(`GRANT CREATE ON DATABASE ${w.db} TO ${role}; ALTER TABLE mine OWNER TO ${role}; GRANT SELECT ON t TO ${role}`)
  w.busbar.databaseUrl = w.pg.url(w.db, role)
  await w.busbar.start()
  const answer = await shape(w.busbar.url, { table: 't', offset: '-1' })
  equal(answer.status, 503, `status (${answer.text().slice(0, 200)})`)
  assert(/must be owner of table t/.test(answer.text()), answer.text())
  const f = w.follow({ table: 'mine' })
  await f.ready()
  await w.sql('INSERT INTO mine VALUES (1)')
  await w.agree()
})

test('a role that may read some columns of a table: shapes of these, and a 400 that names the others', async (t) => {
  const role = `columns_${process.pid}`
  const w = await world(t, {
    sql: [
      'CREATE TABLE t (id int PRIMARY KEY, v text, secret text) PARTITION BY RANGE (id)',
      'CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (1000)',
      'ALTER TABLE t REPLICA IDENTITY FULL; ALTER TABLE t_1 REPLICA IDENTITY FULL',
      "INSERT INTO t SELECT g, 'v' || g, 'hidden' FROM generate_series(1, 3) g",
      'CREATE TABLE other (id int PRIMARY KEY)',
    ],
    env: MANUAL,
    start: false,
  })
  await w.sql(`CREATE PUBLICATION ${w.publication} FOR TABLE t`)
  await w.sql(`CREATE ROLE ${role} LOGIN REPLICATION; GRANT SELECT (id, v) ON t TO ${role}`)
  w.busbar.databaseUrl = w.pg.url(w.db, role)
  await w.busbar.start()
  for (const [params, field] of [
    [{}, 'columns'],
    [{ columns: 'id,secret' }, 'columns'],
    [{ columns: 'id,v', where: "secret = 'hidden'" }, 'where'],
  ]) {
    const refused = await shape(w.busbar.url, { table: 't', offset: '-1', ...params })
    equal(refused.status, 400, `status (${refused.text().slice(0, 200)})`)
    const text = refused.json().errors[field]?.[0] ?? ''
    assert(/: secret\. /.test(text) && text.includes(`GRANT SELECT ("secret") ON "public"."t" TO "${role}";`), refused.text())
  }
  // A subset looks at columns of its own.
  for (const [params, field] of [
    [{ subset__where: "secret = 'hidden'" }, 'where'],
    [{ subset__order_by: 'id, secret DESC', subset__limit: 1 }, 'order_by'],
  ]) {
    const refused = await shape(w.busbar.url, { table: 't', offset: 'now', columns: 'id,v', ...params })
    equal(refused.status, 400, `status (${refused.text().slice(0, 200)})`)
    const text = refused.json().errors.subset[field]?.[0] ?? ''
    assert(/: secret\. /.test(text) && text.includes(`GRANT SELECT ("secret") ON "public"."t" TO "${role}";`), refused.text())
  }
  const all = ['poll', 'sse'].map((mode) => w.follow({ table: 't', columns: 'id,v' }, mode))
  all.push(w.follow({ table: 't', columns: 'id,v', where: "v <> 'v2'" }))
  await Promise.all(all.map((f) => f.ready()))
  await w.sql("INSERT INTO t VALUES (10, 'x', 'hidden'); UPDATE t SET v = 'y' WHERE id = 1; UPDATE t SET secret = 'more'")
  await w.agree()
  const subset = await shape(w.busbar.url, { table: 't', columns: 'id,v', offset: 'now', 'subset[where]': 'id > 2' })
  equal(subset.status, 200, `a subset (${subset.text().slice(0, 200)})`)
  // A right that comes is noticed. What the catalog said is believed for 200 ms.
  await w.sql(`GRANT SELECT ON t TO ${role}`)
  await until('the right is noticed', async () => (await shape(w.busbar.url, { table: 't', offset: '-1' })).status === 200, 2000)
  const f = w.follow({ table: 't' })
  await f.ready()
  await w.agree()
  w.undisturbed()
})

test('a role that may read some columns of a table with children: 400 that says what to grant', async (t) => {
  const w = await world(t, {
    sql: [
      'CREATE TABLE parent (id int PRIMARY KEY, v text, secret text)',
      'CREATE TABLE kid (PRIMARY KEY (id)) INHERITS (parent)',
      'ALTER TABLE parent REPLICA IDENTITY FULL; ALTER TABLE kid REPLICA IDENTITY FULL',
      "INSERT INTO parent VALUES (1, 'a', 'hidden'); INSERT INTO kid VALUES (1, 'b', 'hidden')",
    ],
    env: MANUAL,
    start: false,
  })
  const role = `kids_${w.db}`
  await w.sql(`CREATE PUBLICATION ${w.publication} FOR TABLE parent`)
  await w.sql(`CREATE ROLE ${role} LOGIN REPLICATION; GRANT SELECT (id, v) ON parent TO ${role}`)
  w.busbar.databaseUrl = w.pg.url(w.db, role)
  await w.busbar.start()
  const refused = await shape(w.busbar.url, { table: 'parent', columns: 'id,v', offset: '-1' })
  equal(refused.status, 400, `status (${refused.text().slice(0, 200)})`)
  const said = /GRANT SELECT .*/.exec(refused.json().errors.table[0])[0]
  await w.sql(said)
  // What the catalog said is believed for 200 ms.
  const granted = async () => (await shape(w.busbar.url, { table: 'parent', columns: 'id,v', offset: '-1' })).status === 200
  await until('the right is noticed', granted, 2000)
  const f = w.follow({ table: 'parent', columns: 'id,v' })
  await f.ready()
  await w.sql("UPDATE kid SET v = 'c'; UPDATE parent SET v = 'd' WHERE secret = 'hidden'")
  equal(f.rows.size, 2, 'rows')
  f.check()
})

test('manual publishing: what is missing is said, nothing is altered', async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 3)], env: MANUAL, start: false })
  await w.sql(`CREATE PUBLICATION ${w.publication}`)
  await w.busbar.start()
  const first = await shape(w.busbar.url, { table: 't', offset: '-1' })
  equal(first.status, 503, `status (${first.text().slice(0, 200)})`)
  assert(/"public\.t" is missing from the publication/.test(first.json().message), first.text())
  assert(!(await published(w)), 'the table was published')
  await w.sql(`ALTER PUBLICATION ${w.publication} ADD TABLE t`)
  // Its word may be kept for the time that retry-after says.
  await until(
    'it asks for the replica identity',
    async () => {
      const second = await shape(w.busbar.url, { table: 't', offset: '-1' })
      equal(second.status, 503, `status (${second.text().slice(0, 200)})`)
      return /replica identity set to FULL/.test(second.json().message)
    },
    15000,
    200,
  )
  equal((await w.sql("SELECT relreplident FROM pg_class WHERE relname = 't'")).rows[0].relreplident, 'd', 'replica identity')
  await w.sql(FULL)
  const f = w.follow({ table: 't' })
  await f.ready()
  await w.sql(fill(10, 12))
  await w.agree()
})

test("the user's session settings don't disturb", async (t) => {
  // Set for the role, they reach every session of ours too.
  const role = `odd_${process.pid}`
  const w = await world(t, {
    sql: ['CREATE TABLE t (id int PRIMARY KEY, at timestamptz, f float8, i interval, b bytea)'],
    start: false,
  })
  await w.sql(`CREATE ROLE ${role} SUPERUSER LOGIN`)
  for (const s of [
    "statement_timeout = '1s'",
    "idle_in_transaction_session_timeout = '500ms'",
    "lock_timeout = '10ms'",
    "search_path = 'pg_temp'",
    "DateStyle = 'German'",
    "TimeZone = 'Asia/Tokyo'",
    "IntervalStyle = 'sql_standard'",
    "bytea_output = 'escape'",
    'extra_float_digits = 0',
    "client_encoding = 'LATIN1'",
    'default_transaction_isolation = serializable',
  ])
    await w.sql(`ALTER ROLE ${role} SET ${s}`)
  const row = (id) => `INSERT INTO t VALUES (${id}, '2024-05-06 07:08:09.5+02', 0.1::float4, '1 day 02:03:04', '\\x00ff61')`
  await w.sql(row(1))
  w.busbar.databaseUrl = w.pg.url(w.db, role)
  await w.busbar.start()
  const at = await readAll(w.busbar.url, { table: 't' })
  await w.sql(row(2))
  const live = await shape(w.busbar.url, { table: 't', handle: at.handle, offset: at.offset, live: true })
  const wanted = { at: '2024-05-06 05:08:09.5+00', b: '\\x00ff61', f: '0.10000000149011612', i: 'P1DT2H3M4S' }
  for (const [value, id] of [
    [at.changes[0].value, '1'],
    [live.changes()[0].value, '2'],
  ]) {
    const { id: got, ...rest } = value
    equal([got, Object.fromEntries(Object.entries(rest).sort())], [id, wanted], 'row')
  }
})

test('a table far bigger than a chunk is read while it is copied, in bounded memory', { timeout: 180000 }, async (t) => {
  const w = await world(t, { sql: [TABLE, fill(1, 400000, 150)] })
  let most = 0
  const watch = setInterval(() => w.busbar.running() && (most = Math.max(most, w.busbar.memory().RssAnon)), 50)
  t.cleanup(() => clearInterval(watch))
  const started = Date.now()
  let first
  let count = 0
  let offset = '-1'
  let handle
  const ids = new Set()
  for (;;) {
    const a = await shape(w.busbar.url, { table: 't', offset, handle }, { timeout: 60000 })
    equal(a.status, 200, 'status')
    first ??= Date.now() - started
    for (const c of a.changes()) {
      count++
      ids.add(c.value.id)
    }
    ;({ offset, handle } = a)
    if (a.upToDate) break
  }
  t.note(
    `first chunk after ${first} ms, all ${count} rows after ${Date.now() - started} ms; RssAnon at most ${Math.round(most / 1024)} MB`,
  )
  equal([count, ids.size], [400000, 400000], 'rows')
  // A sanitizer's own memory is another matter.
  if (!process.env.E2E_SANITIZED) assert(most < 300 * 1024, `RssAnon rose to ${Math.round(most / 1024)} MB`)
})

test('quoted, mixed-case and odd names', async (t) => {
  const w = await world(t, {
    sql: [
      'CREATE SCHEMA "My Schema"',
      'CREATE TABLE "My Schema"."Ünï.Co/de""d" ("Id" int PRIMARY KEY, "a b" text, "select" text, "q""q" text)',
      `INSERT INTO "My Schema"."Ünï.Co/de""d" VALUES (1, 'x', 'y', 'z')`,
    ],
  })
  const table = '"My Schema"."Ünï.Co/de""d"'
  const followers = await followed(w, { table })
  await w.sql(`INSERT INTO ${table} VALUES (2, 'x', 'y', 'z')`)
  await w.sql(`UPDATE ${table} SET "a b" = 'changed'`)
  await w.sql(`UPDATE ${table} SET "Id" = 3 WHERE "Id" = 1`)
  await until(
    () => `two rows: ${followers[0].state()}`,
    () => followers.every((f) => f.rows.size === 2 && [...f.rows.values()].some((r) => r.Id === '3')),
  )
  for (const f of followers) f.check()
  w.undisturbed()
})

// ---------------------------------------------------------------- joining breaks nobody's statements

// What the table's users do all day.
const writes = async (w, table) => {
  await w.sql(`UPDATE ${table} SET n = n + 1`)
  await w.sql(`DELETE FROM ${table} WHERE id = 2`)
  await w.sql(`INSERT INTO ${table} (id, n) VALUES (2, 5)`)
}

const refusal = async (w, params, ...parts) => {
  const answer = await shape(w.busbar.url, { offset: '-1', ...params })
  assert(answer.status === 503 || answer.status === 400, `${answer.status} ${answer.text()}`)
  for (const part of parts) assert(answer.text().includes(part), `${part}: ${answer.text()}`)
  return answer
}

test('PostgreSQL 18: a virtual generated column can be neither asked for nor looked at, and its table is left alone', async (t) => {
  const w = await world(t, {
    version: '18',
    sql: ['CREATE TABLE t (id int PRIMARY KEY, n int, g int GENERATED ALWAYS AS (n * 2) VIRTUAL)', 'INSERT INTO t (id, n) VALUES (1, 1), (2, 2)'],
  })
  for (const params of [{}, { columns: 'id,g' }, { columns: 'id,n', where: 'g = 4' }])
    equal((await refusal(w, { table: 't', ...params }, 'generated')).status, 400, JSON.stringify(params))
  await refusal(w, { table: 't', columns: 'id,n' }, 'virtual generated column', 'STORED', 'publish_generated_columns = stored')
  await writes(w, 't')
  equal((await w.sql("SELECT relreplident FROM pg_class WHERE relname = 't'")).rows[0].relreplident, 'd')
  equal(await published(w), false)
})

test('PostgreSQL 18: a stored generated column that the publication leaves out: the table is left alone', async (t) => {
  const w = await world(t, {
    version: '18',
    sql: [
      'CREATE TABLE t (id int PRIMARY KEY, n int, g int GENERATED ALWAYS AS (n * 2) STORED)',
      'CREATE TABLE p (id int PRIMARY KEY, n int, g int GENERATED ALWAYS AS (n * 2) STORED) PARTITION BY RANGE (id)',
      'CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (100)',
      'INSERT INTO t (id, n) VALUES (1, 1), (2, 2); INSERT INTO p (id, n) VALUES (1, 1), (2, 2)',
    ],
  })
  await w.sql(`ALTER PUBLICATION ${w.publication} SET (publish_generated_columns = none)`)
  for (const table of ['t', 'p']) {
    await refusal(w, { table, columns: 'id,n' }, 'generated column', `ALTER PUBLICATION`, 'SET (publish_generated_columns = stored)')
    await writes(w, table)
  }
  await w.sql(`ALTER PUBLICATION ${w.publication} SET (publish_generated_columns = stored)`)
  for (const table of ['t', 'p']) {
    await until('there is a shape', async () => (await shape(w.busbar.url, { table, columns: 'id,n', offset: '-1' })).status === 200)
    await writes(w, table)
  }
})

for (const version of ['15', '18'])
  test(`PostgreSQL ${version}: a table in somebody's publication with a column list is left alone`, async (t) => {
    const w = await world(t, {
      version,
      sql: ['CREATE TABLE t (id int PRIMARY KEY, n int, v text)', 'INSERT INTO t (id, n) VALUES (1, 1), (2, 2)', 'CREATE PUBLICATION theirs FOR TABLE t (id, n)'],
    })
    const refused = await refusal(w, { table: 't' }, 'theirs', 'column list')
    await writes(w, 't')
    await w.sql(/BEGIN; .*COMMIT/.exec(refused.json().message)[0])
    await until('there is a shape', async () => (await shape(w.busbar.url, { table: 't', offset: '-1' })).status === 200)
    await writes(w, 't')
  })

// What comes later breaks the users' statements as well, and only Busbar knows why the identity is FULL.
test('PostgreSQL 18: a generated column that comes after the shape: the log says what breaks and what mends it', async (t) => {
  const w = await world(t, { version: '18', sql: ['CREATE TABLE t (id int PRIMARY KEY, n int)', 'INSERT INTO t VALUES (1, 1), (2, 2)'] })
  const f = w.follow({ table: 't', columns: 'id,n' })
  await f.ready()
  const mark = w.busbar.output.length
  await w.sql('ALTER TABLE t ADD g int GENERATED ALWAYS AS (n * 2) VIRTUAL')
  const error = await w.sql('UPDATE t SET n = 3').then(() => 'none', (e) => `${e.message}: ${e.detail}`)
  assert(/generated column/.test(error), `what Postgres says: ${error}`)
  const told = /Table public\.t: publication "[^"]+" doesn't publish its virtual generated column "g", so Postgres refuses every UPDATE and DELETE of table "public\.t"/
  await until('the log tells', () => told.test(w.busbar.output.slice(mark)), 30000)
  await w.sql('ALTER TABLE t DROP COLUMN g')
  await writes(w, 't')
  await w.agree()
})

for (const version of ['15', '18'])
  test(`PostgreSQL ${version}: somebody's publication with a column list that comes after the shape: the log says so`, async (t) => {
    const w = await world(t, { version, sql: ['CREATE TABLE t (id int PRIMARY KEY, n int, v text)', 'INSERT INTO t (id, n) VALUES (1, 1), (2, 2)'] })
    const f = w.follow({ table: 't' })
    await f.ready()
    const mark = w.busbar.output.length
    await w.sql('CREATE PUBLICATION theirs FOR TABLE t (id, n)')
    await w.sql('ALTER TABLE t ADD x int') // an operator's migration, so that it is looked at now
    const told = /Table public\.t: publication "theirs" publishes it with a column list, so Postgres refuses .*To mend that, run, as the owner: (BEGIN; .*COMMIT)/
    await until('the log tells', () => told.test(w.busbar.output.slice(mark)), 30000)
    await w.sql(told.exec(w.busbar.output.slice(mark))[1])
    await writes(w, 't')
    await w.agree()
  })

test('PostgreSQL 18: a publication without generated columns: 503 that says what to run, and that is enough', async (t) => {
  const w = await world(t, {
    version: '18',
    sql: ['CREATE TABLE t (id int PRIMARY KEY, n int, g int GENERATED ALWAYS AS (n * 2) STORED)', 'INSERT INTO t (id, n) VALUES (1, 1), (2, 2)'],
    start: false,
  })
  await w.sql(`CREATE PUBLICATION ${w.publication}`)
  await w.busbar.start()
  const refused = await refusal(w, { table: 't' }, 'does not publish generated columns')
  await w.sql(/ALTER PUBLICATION .*[)]/.exec(refused.json().message)[0])
  const f = w.follow({ table: 't' })
  await f.ready()
  await writes(w, 't')
  await w.agree()
})

test("PostgreSQL 18: a table with a generated column that somebody's publication leaves out is left alone", async (t) => {
  const w = await world(t, {
    version: '18',
    sql: [
      'CREATE SCHEMA other',
      'CREATE TABLE other.t (id int PRIMARY KEY, n int, g int GENERATED ALWAYS AS (n * 2) STORED)',
      'INSERT INTO other.t (id, n) VALUES (1, 1), (2, 2)',
      'CREATE PUBLICATION theirs FOR TABLES IN SCHEMA other',
    ],
  })
  await refusal(w, { table: 'other.t' }, 'theirs', 'generated column')
  await writes(w, 'other.t')
  await w.sql('ALTER PUBLICATION theirs SET (publish_generated_columns = stored)')
  await until('there is a shape', async () => (await shape(w.busbar.url, { table: 'other.t', offset: '-1' })).status === 200)
  await writes(w, 'other.t')
})
