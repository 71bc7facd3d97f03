// What sends a client back to the start, and what must not: exactly the shapes that a change of
// their table touches.

import { readAll, shape } from '../lib/http.mjs'
import { test } from '../lib/runner.mjs'
import { world } from '../lib/setup.mjs'
import { assert, delay, equal, until } from '../lib/util.mjs'

const SQL = [
  'CREATE TABLE a (id int PRIMARY KEY, v text, w text)',
  "INSERT INTO a SELECT g, 'v', 'w' FROM generate_series(1, 3) g",
  'CREATE TABLE b (id int PRIMARY KEY, v text)',
  "INSERT INTO b SELECT g, 'v' FROM generate_series(1, 3) g",
]

// How long a change that no row tells of may stay unnoticed (Electric compares once a minute).
const UNTOLD_MS = 75000

async function followed(w) {
  const all = { a: [], named: [], b: [] }
  for (const mode of ['poll', 'sse']) {
    all.a.push(w.follow({ table: 'a' }, mode))
    all.named.push(w.follow({ table: 'a', columns: 'id,v' }, mode))
    all.b.push(w.follow({ table: 'b' }, mode))
  }
  await Promise.all(w.followers.map((f) => f.ready()))
  return all
}

function rotated(followers, times = 1) {
  for (const f of followers) equal(f.refetches.length, times, `times that ${f.name} was rotated`)
}

// A change of table a; `named`: whether the shape of named columns (id, v) must be rotated too
// (undefined: it may be); `untold`: the stream doesn't tell of it.
const CHANGES = [
  { name: 'TRUNCATE', sql: 'TRUNCATE a', named: true },
  {
    name: 'TRUNCATE of several tables at once, of which one has shapes',
    sql: 'CREATE TABLE c (id int); TRUNCATE c, a',
    named: true,
  },
  { name: 'ADD COLUMN', sql: 'ALTER TABLE a ADD COLUMN n int DEFAULT 5', named: undefined },
  { name: 'DROP COLUMN of one that a shape selects', sql: 'ALTER TABLE a DROP COLUMN w', named: undefined },
  { name: 'ALTER COLUMN TYPE', sql: 'ALTER TABLE a ALTER COLUMN v TYPE varchar(10)', named: true },
  {
    name: 'a change of the primary key',
    sql: 'ALTER TABLE a DROP CONSTRAINT a_pkey; ALTER TABLE a ADD PRIMARY KEY (id, v)',
    named: true,
    untold: true,
  },
]

for (const change of CHANGES) {
  test(`${change.name}: rotates the shapes it touches and no others`, { timeout: 200000 }, async (t) => {
    const w = await world(t, { sql: SQL })
    const { a, named, b } = await followed(w)
    // A row first: the stream has described the table before it changes.
    await w.sql("INSERT INTO a (id, v) VALUES (10, 'x'); INSERT INTO b VALUES (10, 'x')")
    await w.agree()
    await w.sql(change.sql)
    await w.sql("INSERT INTO a (id, v) VALUES (11, 'x'); INSERT INTO b VALUES (11, 'x')")
    // The stream doesn't tell of it: it may take until the catalog is looked at again.
    const limit = change.untold ? UNTOLD_MS : 15000
    await until('its shapes are rotated', () => a.every((f) => f.refetches.length > 0 && f.confirmedAt), limit, 50)
    await w.agree()
    rotated(a)
    rotated(b, 0)
    if (change.named) rotated(named)
    await w.sql("UPDATE a SET v = 'y'; UPDATE b SET v = 'y'")
    await w.agree()
    rotated(a)
    rotated(b, 0)
    // The next start doesn't find it once more.
    await w.busbar.term()
    await w.busbar.start()
    await w.sql("INSERT INTO a (id, v) VALUES (12, 'x'); INSERT INTO b VALUES (12, 'x')")
    await w.agree()
    rotated(a)
    rotated(b, 0)
  })
}

test('RENAME COLUMN: the shape is rotated', { timeout: 120000 }, async (t) => {
  const w = await world(t, { sql: SQL })
  const { a, b } = await followed(w)
  for (const f of w.followers.filter((f) => f.params.columns)) await f.stop()
  w.followers = w.followers.filter((f) => !f.params.columns)
  await w.sql("INSERT INTO a VALUES (10, 'x', 'y')")
  await w.agree()
  await w.sql('ALTER TABLE a RENAME COLUMN w TO renamed')
  await w.sql("INSERT INTO a VALUES (11, 'x', 'y')")
  await w.agree()
  rotated(a)
  rotated(b, 0)
})

test('a change of the table while Busbar is down', { timeout: 120000 }, async (t) => {
  const w = await world(t, { sql: SQL })
  const { a, b } = await followed(w)
  await w.busbar.term()
  await w.sql('ALTER TABLE a ADD COLUMN n int DEFAULT 5')
  await w.sql("INSERT INTO a (id, v) VALUES (11, 'x'); INSERT INTO b VALUES (11, 'x')")
  await w.busbar.start()
  await w.agree()
  rotated(a)
  rotated(b, 0)
})

test('DROP TABLE and CREATE TABLE under the same name', { timeout: 200000 }, async (t) => {
  const w = await world(t, { sql: SQL })
  const { a, b } = await followed(w)
  const old = a[0].handle
  await w.sql('DROP TABLE a')
  await w.sql('CREATE TABLE a (id int PRIMARY KEY, v text, w text)')
  await w.sql("INSERT INTO a VALUES (100, 'new', 'new')")
  // A newcomer gets the new table soon, without a row of it in the stream.
  const answer = await until(
    'a newcomer gets the new table',
    async () => {
      const r = await shape(w.busbar.url, { table: 'a', offset: '-1' })
      return r.status === 200 && r.handle !== old ? r : undefined
    },
    10000,
  )
  equal(
    answer.changes().map((c) => c.value.id),
    ['100'],
    'rows of the new table',
  )
  await w.sql("INSERT INTO a VALUES (101, 'new', 'new'); INSERT INTO b VALUES (11, 'x')")
  const started = Date.now()
  await w.agree(w.followers, UNTOLD_MS)
  t.note(`old clients were told after ${((Date.now() - started) / 1000).toFixed(1)} s`)
  for (const f of a) assert(f.refetches.length >= 1, `${f.name} was not rotated`)
  rotated(b, 0)
})

test('DROP TABLE: its clients are told, others not', { timeout: 150000 }, async (t) => {
  const w = await world(t, { sql: SQL })
  const at = await readAll(w.busbar.url, { table: 'a' })
  const b = w.follow({ table: 'b' })
  await b.ready()
  await w.sql('DROP TABLE a')
  const started = Date.now()
  // The table is gone: either word tells the client that its rows are.
  await until(
    'the old handle is refused',
    async () => {
      const r = await shape(w.busbar.url, { table: 'a', handle: at.handle, offset: at.offset })
      return r.status === 409 || r.status === 400
    },
    UNTOLD_MS,
    200,
  )
  t.note(`after ${((Date.now() - started) / 1000).toFixed(1)} s`)
  await w.sql("INSERT INTO b VALUES (11, 'x')")
  await w.agree()
  rotated([b], 0)
})

test('ALTER TABLE RENAME: the old name is not served as if nothing had happened', { timeout: 150000 }, async (t) => {
  const w = await world(t, { sql: SQL })
  const at = await readAll(w.busbar.url, { table: 'a' })
  await w.sql('ALTER TABLE a RENAME TO renamed')
  await w.sql("INSERT INTO renamed VALUES (50, 'x', 'y')")
  await until(
    'the old handle is refused',
    async () => {
      const r = await shape(w.busbar.url, { table: 'a', handle: at.handle, offset: at.offset })
      return r.status === 409 || r.status === 400
    },
    UNTOLD_MS,
    200,
  )
  const f = w.follow({ table: 'renamed' })
  await f.ready()
  await w.sql("INSERT INTO renamed VALUES (51, 'x', 'y')")
  await w.agree()
})

test('REPLICA IDENTITY taken away while running: nothing is lost or made up', { timeout: 150000 }, async (t) => {
  const w = await world(t, { sql: SQL })
  const { b } = await followed(w)
  await w.sql('ALTER TABLE a REPLICA IDENTITY DEFAULT')
  await w.sql("UPDATE a SET v = 'changed' WHERE id = 1; UPDATE b SET v = 'changed' WHERE id = 1")
  await w.sql("INSERT INTO a VALUES (60, 'x', 'y')")
  await w.agree(w.followers, UNTOLD_MS)
  rotated(b, 0)
})

test('TRUNCATE again and again under writers: every follower ends with the table', { timeout: 150000 }, async (t) => {
  const w = await world(t, { sql: SQL })
  const { b } = await followed(w)
  let writing = true
  let next = 1000
  const writers = Array.from({ length: 3 }, async () => {
    const s = await w.session()
    while (writing) {
      try {
        await s.query(`BEGIN; INSERT INTO a VALUES (${next++}, 'x', 'y'); INSERT INTO b VALUES (${next++}, 'x')`)
        await s.query("UPDATE a SET v = 'u' WHERE id % 11 = 0 AND id IN (SELECT id FROM a ORDER BY id DESC LIMIT 20)")
        await s.query('COMMIT')
      } catch (e) {
        if (e.code !== '40P01') throw e
        await s.query('ROLLBACK')
      }
    }
  })
  const s = await w.session()
  for (let i = 0; i < 20; i++) {
    await s
      .query(i % 3 ? 'TRUNCATE a' : `BEGIN; TRUNCATE a; INSERT INTO a VALUES (${-i - 1}, 'after', 'truncate'); COMMIT`)
      .catch((e) => {
        if (e.code !== '40P01') throw e
        return s.query('ROLLBACK')
      })
    await delay(120)
  }
  writing = false
  await Promise.all(writers)
  await w.agree(w.followers, 40000)
  rotated(b, 0)
})

test('ALTER TABLE again and again under writers: every follower ends with the table', { timeout: 150000 }, async (t) => {
  const w = await world(t, { sql: SQL })
  const { a, b } = await followed(w)
  let writing = true
  let next = 1000
  const writers = Array.from({ length: 3 }, async () => {
    const s = await w.session()
    while (writing)
      await s.query(
        `INSERT INTO a (id, v) VALUES (${next++}, 'x'); UPDATE a SET v = 'u' WHERE id = ${next - 30}; INSERT INTO b VALUES (${next++}, 'x')`,
      )
  })
  const s = await w.session()
  for (let i = 0; i < 12; i++) {
    await s.query(i % 2 ? 'ALTER TABLE a DROP COLUMN extra' : 'ALTER TABLE a ADD COLUMN extra float8 DEFAULT random()')
    await delay(200)
  }
  writing = false
  await Promise.all(writers)
  await w.agree(w.followers, 40000)
  for (const f of a) assert(f.refetches.length > 0, `${f.name} was never rotated`)
  rotated(b, 0)
})

// ---------------------------------------------------------------- the publication

// Changes that the stream can't tell of, for it left them out. `others`: what the bystander's table has to do with it.
const GAPS = [
  {
    name: 'operations taken and given back',
    sql: (p) => [
      `ALTER PUBLICATION ${p} SET (publish = 'insert')`,
      "UPDATE a SET v = 'unseen' WHERE id = 1",
      `ALTER PUBLICATION ${p} SET (publish = 'insert, update, delete, truncate')`,
    ],
    all: true,
    reason: /altered, and may have published less/,
  },
  {
    name: 'the entry dropped and added',
    sql: (p) => [`ALTER PUBLICATION ${p} DROP TABLE a`, "UPDATE a SET v = 'unseen'", `ALTER PUBLICATION ${p} ADD TABLE ONLY a`],
    reason: /left the publication/,
  },
  {
    name: 'a row filter',
    sql: (p) => [`ALTER PUBLICATION ${p} SET TABLE a WHERE (id > 2), b`, "UPDATE a SET v = 'unseen' WHERE id = 1"],
    reason: /row filter|left the publication/,
  },
  {
    name: 'a schema dropped and added',
    prepare: (p) => [`ALTER PUBLICATION ${p} ADD TABLES IN SCHEMA public`, `ALTER PUBLICATION ${p} DROP TABLE a, b`],
    sql: (p) => [
      `ALTER PUBLICATION ${p} DROP TABLES IN SCHEMA public`,
      "UPDATE a SET v = 'unseen'",
      `ALTER PUBLICATION ${p} ADD TABLES IN SCHEMA public`,
    ],
    all: true,
    manual: true,
    reason: /left the publication/,
  },
]

for (const down of [false, true])
  for (const gap of GAPS)
    test(`the publication, ${gap.name}${down ? ' while Busbar is down' : ''}`, { timeout: 120000 }, async (t) => {
      const w = await world(t, {
        sql: [...SQL, 'ALTER TABLE a REPLICA IDENTITY FULL', 'ALTER TABLE b REPLICA IDENTITY FULL'],
        env: gap.manual ? { ELECTRIC_MANUAL_TABLE_PUBLISHING: 'true' } : {},
        start: false,
      })
      if (gap.manual) await w.sql(`CREATE PUBLICATION ${w.publication} FOR TABLE a, b`)
      for (const s of gap.prepare?.(w.publication) ?? []) await w.sql(s)
      await w.busbar.start()
      const { a, named, b } = await followed(w)
      await w.sql("INSERT INTO a VALUES (10, 'x', 'y'); INSERT INTO b VALUES (10, 'x')")
      await w.agree()
      if (down) await w.busbar.term()
      const s = await w.session()
      for (const text of gap.sql(w.publication)) await s.query(text)
      await s.query("INSERT INTO a VALUES (11, 'x', 'y'); INSERT INTO b VALUES (11, 'x')")
      if (down) await w.busbar.start()
      await w.agree(w.followers, 20000)
      rotated([...a, ...named])
      if (!gap.all) rotated(b, 0)
      assert(gap.reason.test(w.busbar.output), `the log doesn't say why: ${w.busbar.tail(20)}`)
      // Nor once more, later or at the next start.
      await w.busbar.term()
      await w.busbar.start()
      await s.query("UPDATE a SET v = 'seen'; UPDATE b SET v = 'seen'")
      await w.agree()
      rotated([...a, ...named])
    })

for (const version of ['14', '18'])
  test(`the publication, PostgreSQL ${version}: operations taken and given back while Busbar is down`, async (t) => {
    const w = await world(t, { version, sql: SQL })
    const { a } = await followed(w)
    await w.busbar.term()
    const s = await w.session()
    for (const text of GAPS[0].sql(w.publication)) await s.query(text)
    await w.busbar.start()
    await w.agree()
    rotated(a)
  })

test('the publication: changes of it that leave nothing out rotate nothing', { timeout: 120000 }, async (t) => {
  const w = await world(t, {
    sql: [...SQL, 'CREATE TABLE c (id int PRIMARY KEY)', 'CREATE SCHEMA other', 'CREATE TABLE other.d (id int)'],
  })
  await followed(w)
  const p = w.publication
  const changes = [
    `ALTER PUBLICATION ${p} ADD TABLE c`,
    `ALTER PUBLICATION ${p} DROP TABLE c`,
    `ALTER PUBLICATION ${p} SET TABLE a, b, c`,
    `ALTER PUBLICATION ${p} SET TABLE a, b`,
    `ALTER PUBLICATION ${p} ADD TABLES IN SCHEMA other, public`,
    `ALTER PUBLICATION ${p} DROP TABLES IN SCHEMA other`,
    `ALTER PUBLICATION ${p} DROP TABLES IN SCHEMA public`,
    `COMMENT ON PUBLICATION ${p} IS 'ours'`,
  ]
  for (const [i, change] of changes.entries()) {
    await w.sql(change)
    await delay(i === 4 ? 1500 : 300) // the watch looks in between
  }
  await w.sql("UPDATE a SET v = 'seen'; UPDATE b SET v = 'seen'")
  await w.agree()
  await w.busbar.term()
  for (const change of changes) await w.sql(change)
  await w.busbar.start()
  await w.sql("UPDATE a SET v = 'again'; UPDATE b SET v = 'again'")
  await w.agree()
  w.undisturbed()
})

test('the publication: its tables are watched while somebody writes to one of them', { timeout: 90000 }, async (t) => {
  const w = await world(t, { sql: SQL })
  await shape(w.busbar.url, { table: 'a', offset: '-1' })
  const b = w.follow({ table: 'b' })
  await b.ready()
  const open = await w.session()
  await open.query("BEGIN; INSERT INTO a VALUES (10, 'v', 'w')")
  await w.sql(`ALTER PUBLICATION ${w.publication} SET (publish = 'insert, update, delete, truncate')`)
  await until('the alteration is seen', () => b.refetches.length === 1 && b.confirmedAt, 15000, 50)
  // Shapes of a must wait for the writer; whoever looks after the tables mustn't.
  await w.sql('ALTER TABLE b ALTER v TYPE text USING upper(v)')
  await until('the rewrite is seen', () => b.refetches.length === 2 && b.confirmedAt, 10000, 50)
  await open.query('COMMIT')
  const a = w.follow({ table: 'a' })
  await a.ready()
  await w.sql("UPDATE a SET v = 'seen'")
  await w.agree()
})

test('tables are watched for a small part of the time, however long a look takes', { timeout: 150000 }, async (t) => {
  const w = await world(t, { sql: SQL })
  await w.follow({ table: 'a' }).ready()
  const looks = async (waiting) =>
    (
      await w.sql(
        "SELECT extract(epoch FROM query_start)::float8 AS at, extract(epoch FROM clock_timestamp() - query_start)::float8 AS took, state FROM pg_stat_activity" +
          ` WHERE application_name = 'busbar' AND datname = current_database() AND query ~ '^WITH RECURSIVE t [(]oid' ${waiting ? "AND wait_event_type = 'Lock'" : ''} ORDER BY query_start DESC`,
      )
    ).rows[0]
  const lock = await w.session()
  let slow = { at: 0 }
  for (let i = 0; i < 2; i++) {
    await lock.query('BEGIN; LOCK TABLE pg_catalog.pg_attrdef IN ACCESS EXCLUSIVE MODE')
    let seen
    await until('a look takes its time', async () => (seen = await looks(true)) && seen.at > slow.at && seen.took > 0.3, 40000, 20)
    slow = seen
    await lock.query('ROLLBACK')
  }
  // Binding its parameters has been a new start of the query.
  await until('it has ended', async () => (slow = await looks(false)) && slow.state === 'idle', 10000, 20)
  let next
  await until('the next one', async () => (next = await looks(false)) && next.at > slow.at, 40000, 20)
  // 20 times what it took, less the 0.1 s that a look is given for the way (WATCH_FREE_MS).
  assert(next.at - slow.at > 20 * (0.3 - 0.1), `the next look came after ${next.at - slow.at} s`)
})

test('the publication: an inherited child whose entry left and came back', { timeout: 120000 }, async (t) => {
  const w = await world(t, { sql: [...SQL, 'CREATE TABLE child (PRIMARY KEY (id)) INHERITS (a)', "INSERT INTO child VALUES (20, 'v', 'w')"] })
  const { a, b } = await followed(w)
  await w.busbar.term()
  const s = await w.session()
  await s.query(`ALTER PUBLICATION ${w.publication} DROP TABLE child`)
  await s.query("UPDATE child SET v = 'unseen'")
  await s.query(`ALTER PUBLICATION ${w.publication} ADD TABLE child`)
  await w.busbar.start()
  await w.agree()
  rotated(a)
  rotated(b, 0)
})

// ---------------------------------------------------------------- DDL after which old rows read otherwise

const DEEP = [
  "CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy')",
  'CREATE TYPE pair AS (x int, m mood)',
  'CREATE DOMAIN pairs AS pair[]',
  'CREATE TYPE span AS RANGE (subtype = mood)',
  'CREATE TABLE r (id int PRIMARY KEY, v text, w text, p pair, ps pairs, sp span)',
  "INSERT INTO r SELECT g, 'v' || g, 'w', '(1,sad)', '{\"(2,ok)\"}', '[sad,happy]' FROM generate_series(1, 3) g",
]

// `touches`: columns that read otherwise; only shapes of these rotate.
const REWRITES = [
  { sql: "ALTER TABLE r ALTER v TYPE text USING upper(v)", touches: ['v'], reason: /"v" were written anew/ },
  { sql: "ALTER TYPE pair ADD ATTRIBUTE z int", touches: ['p', 'ps'], reason: /type of a selected column/ },
  { sql: "ALTER TYPE pair DROP ATTRIBUTE x", touches: ['p', 'ps'], reason: /type of a selected column/ },
  { sql: "ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'", touches: ['p', 'ps', 'sp'], reason: /type of a selected column/ },
  {
    name: 'labels of an enum that change places',
    sql: "ALTER TYPE mood RENAME VALUE 'sad' TO 'x'; ALTER TYPE mood RENAME VALUE 'ok' TO 'sad'; ALTER TYPE mood RENAME VALUE 'x' TO 'ok'",
    touches: ['p', 'ps', 'sp'],
    reason: /type of a selected column/,
  },
]

for (const down of [false, true])
  for (const { name, sql, touches, reason } of REWRITES)
    test(`old rows read otherwise: ${name ?? sql}${down ? ', while Busbar is down' : ''}`, { timeout: 90000 }, async (t) => {
      const w = await world(t, { sql: DEEP })
      const by = Object.fromEntries(['v', 'w', 'p', 'ps', 'sp'].map((c) => [c, w.follow({ table: 'r', columns: `id,${c}` })]))
      by.where = w.follow({ table: 'r', columns: 'id,w', where: "v LIKE 'v%'" })
      await Promise.all(w.followers.map((f) => f.ready()))
      if (down) await w.busbar.term()
      await w.sql(sql)
      if (down) await w.busbar.start()
      const touched = touches.map((c) => by[c])
      // Not a row tells of it.
      await until('its shapes are rotated', () => touched.every((f) => f.refetches.length > 0 && f.confirmedAt), 8000, 50)
      await w.agree()
      rotated(touched)
      if (touches.includes('v')) rotated([by.where])
      w.undisturbed(w.followers.filter((f) => !touched.includes(f) && !(f === by.where && touches.includes('v'))))
      assert(reason.test(w.busbar.output), `the log doesn't say why: ${w.busbar.tail(20)}`)
    })

test('old rows read otherwise: a rewrite of a partitioned table', { timeout: 90000 }, async (t) => {
  const w = await world(t, {
    sql: [
      'CREATE TABLE p (id int PRIMARY KEY, v text) PARTITION BY RANGE (id)',
      'CREATE TABLE p_1 PARTITION OF p FOR VALUES FROM (0) TO (100)',
      "INSERT INTO p SELECT g, 'v' FROM generate_series(1, 3) g",
    ],
  })
  const all = ['p', 'p_1'].map((table) => w.follow({ table }))
  await Promise.all(all.map((f) => f.ready()))
  await w.sql('ALTER TABLE p ALTER v TYPE text USING upper(v)')
  await until('its shapes are rotated', () => all.every((f) => f.refetches.length > 0 && f.confirmedAt), 8000, 50)
  await w.agree()
  rotated(all)
})

test("old rows read otherwise: PostgreSQL 18, a generated column's expression", { timeout: 90000 }, async (t) => {
  const w = await world(t, {
    version: '18',
    sql: [
      'CREATE TABLE r (id int PRIMARY KEY, v int, g int GENERATED ALWAYS AS (v + 1) STORED)',
      'INSERT INTO r SELECT g, g FROM generate_series(1, 3) g',
    ],
  })
  const [g, v] = ['id,g', 'id,v'].map((columns) => w.follow({ table: 'r', columns }))
  await Promise.all([g.ready(), v.ready()])
  await w.sql('ALTER TABLE r ALTER g SET EXPRESSION AS (v + 2)')
  await until('its shape is rotated', () => g.refetches.length > 0 && g.confirmedAt, 8000, 50)
  await w.agree()
  rotated([g])
  rotated([v], 0)
})

for (const version of ['14', '15', '18'])
  test(`what only moves bytes rotates nothing, PostgreSQL ${version}`, { timeout: 120000 }, async (t) => {
    const w = await world(t, { version, sql: [...DEEP, 'CREATE INDEX r_v ON r (v)'] })
    await w.sql('ALTER TABLE r ADD fast int DEFAULT 7')
    for (const columns of ['id,v,w,p,ps,sp,fast', 'id,fast']) w.follow({ table: 'r', columns })
    w.follow({ table: 'r' }, 'sse')
    await Promise.all(w.followers.map((f) => f.ready()))
    const changes = [
      'VACUUM FULL r',
      'ALTER TABLE r ALTER v SET STATISTICS 10',
      'ALTER TABLE r ALTER fast SET STATISTICS 10',
      'CLUSTER r USING r_v',
      'REINDEX TABLE r',
      'ALTER TABLE r ALTER w SET STORAGE EXTERNAL',
      'ALTER TABLE r ALTER w SET NOT NULL',
      'ALTER TABLE r SET (fillfactor = 70)',
      'VACUUM FULL r',
      'ANALYZE r',
      'VACUUM (FREEZE) r',
      "ALTER TYPE mood ADD VALUE 'new' BEFORE 'ok'",
      'ALTER TYPE pair RENAME ATTRIBUTE x TO renamed',
    ]
    const s = await w.session()
    if (version !== '14') {
      await s.query('SET allow_in_place_tablespaces = on')
      await s.query(`CREATE TABLESPACE ${w.db} LOCATION ''`)
      changes.push(`ALTER TABLE r SET TABLESPACE ${w.db}`, 'ALTER TABLE r SET TABLESPACE pg_default')
      t.cleanup(() => w.sql(`DROP TABLESPACE ${w.db}`).catch(() => {}))
    }
    for (const change of changes) {
      await s.query(change)
      // Each is looked at by itself: the watch's period, and a look.
      await delay(1300)
    }
    await s.query("UPDATE r SET v = 'seen'")
    await w.agree()
    w.undisturbed()
    // And what has such an end while nobody looks.
    await w.busbar.term()
    for (const change of ['VACUUM FULL r', 'CLUSTER r USING r_v', 'REINDEX TABLE r']) await s.query(change)
    await w.busbar.start()
    await s.query("UPDATE r SET v = 'again'")
    await w.agree()
    w.undisturbed()
  })

// ---------------------------------------------------------------- what the stream only hints at

// Looks at the followers all the time: `wrong` tells of a state that never was one of the table.
function neverSees(followers, wrong) {
  const seen = []
  const timer = setInterval(() => {
    for (const f of followers) if (f.confirmedAt && wrong(f.rows)) seen.push(`${f.name}: ${JSON.stringify([...f.rows.values()])}`)
  }, 1)
  return () => {
    clearInterval(timer)
    equal(seen.length, 0, `states that never were (${seen[0]})`)
  }
}

test('columns that swap their names: new rows never stand beside old ones read the old way', async (t) => {
  const w = await world(t, { sql: SQL })
  const { a, b } = await followed(w)
  await w.sql("INSERT INTO a VALUES (10, 'v', 'w')")
  await w.agree()
  for (let i = 0; i < 3; i++) {
    const [v, rest] = i % 2 ? ['w', 'v'] : ['v', 'w']
    const done = neverSees(
      a,
      (rows) => rows.has(`"public"."a"/"${20 + i}"`) && rows.get('"public"."a"/"1"')?.v !== rest,
    )
    await w.sql('ALTER TABLE a RENAME v TO x; ALTER TABLE a RENAME w TO v; ALTER TABLE a RENAME x TO w')
    await w.sql(`INSERT INTO a (id, v, w) VALUES (${20 + i}, '${rest}', '${v}')`)
    await w.agree()
    done()
  }
  rotated(a, 3)
  rotated(b, 0)
})

test('columns that swap their names in the transaction that writes behind it', async (t) => {
  const w = await world(t, { sql: SQL })
  const { a, b } = await followed(w)
  await w.sql("INSERT INTO a VALUES (10, 'v', 'w')")
  await w.agree()
  const done = neverSees(a, (rows) => rows.has('"public"."a"/"20"') && rows.get('"public"."a"/"1"')?.v !== 'w')
  await w.sql(
    "BEGIN; ALTER TABLE a RENAME v TO x; ALTER TABLE a RENAME w TO v; ALTER TABLE a RENAME x TO w; INSERT INTO a (id, v) VALUES (20, 'w'); COMMIT",
  )
  await w.agree()
  done()
  rotated(a)
  rotated(b, 0)
})

for (const [what, known] of [
  ['has had rows', true],
  ['never had a row', false],
])
  test(`DETACH, and the same key into a default partition that ${what}`, async (t) => {
    const w = await world(t, {
      sql: [
        'CREATE TABLE p (id int, region text, v text, PRIMARY KEY (id, region)) PARTITION BY LIST (region)',
        "CREATE TABLE p_a PARTITION OF p FOR VALUES IN ('a')",
        'CREATE TABLE p_rest PARTITION OF p DEFAULT',
        "CREATE TABLE p_b PARTITION OF p FOR VALUES IN ('b') PARTITION BY RANGE (id)",
        'CREATE TABLE p_b_1 PARTITION OF p_b FOR VALUES FROM (0) TO (100)',
        'CREATE TABLE p_b_rest PARTITION OF p_b DEFAULT',
        "INSERT INTO p VALUES (1, 'a', 'v'), (2, 'b', 'v')",
        SQL[2],
      ],
    })
    const both = ['poll', 'sse'].map((mode) => w.follow({ table: 'p' }, mode))
    const b = w.follow({ table: 'b' })
    await Promise.all(w.followers.map((f) => f.ready()))
    if (known) await w.sql("INSERT INTO p VALUES (3, 'z', 'v'), (200, 'b', 'v'); UPDATE p SET v = 'w'")
    await w.agree()
    // A strict follower refuses an insert of a key that it has.
    await w.sql('ALTER TABLE p DETACH PARTITION p_a')
    await w.sql("INSERT INTO p VALUES (1, 'a', 'again')")
    await w.agree()
    rotated(both)
    await w.sql('ALTER TABLE p_b DETACH PARTITION p_b_1')
    await w.sql("INSERT INTO p VALUES (2, 'b', 'again')")
    await w.agree()
    rotated(both, 2)
    rotated([b], 0)
  })

test('partitions are looked at once for what the server says again', { timeout: 90000 }, async (t) => {
  const w = await world(t, {
    sql: [
      'CREATE TABLE p (id int PRIMARY KEY, v text) PARTITION BY RANGE (id)',
      ...Array.from({ length: 20 }, (_, i) => `CREATE TABLE p_${i} PARTITION OF p FOR VALUES FROM (${i * 10}) TO (${i * 10 + 10})`),
      ...Array.from({ length: 10 }, (_, i) => `CREATE TABLE other_${i} (id int PRIMARY KEY)`),
    ],
  })
  w.follow({ table: 'p' })
  await w.followers[0].ready()
  let writing = true
  const writer = await w.session()
  const done = (async () => {
    for (let i = 0; writing; i++) await writer.query(`INSERT INTO p VALUES (${i % 200}, 'x') ON CONFLICT (id) DO UPDATE SET v = '${i}'`)
  })()
  // Each makes the server describe all partitions again.
  for (let i = 0; i < 10; i++) await readAll(w.busbar.url, { table: `other_${i}` })
  writing = false
  await done
  await w.agree()
  w.undisturbed()
})

test('a changed table that nobody can look at: its shapes rotate, and the stream goes on', { timeout: 90000 }, async (t) => {
  const w = await world(t, { sql: SQL })
  const { a, b } = await followed(w)
  await w.sql("INSERT INTO a VALUES (10, 'v', 'w')")
  await w.agree()
  await w.sql('ALTER TABLE a RENAME v TO x; ALTER TABLE a RENAME w TO v; ALTER TABLE a RENAME x TO w')
  const lock = await w.session()
  await lock.query('BEGIN; LOCK TABLE pg_catalog.pg_enum IN ACCESS EXCLUSIVE MODE')
  await w.sql("INSERT INTO a (id, v) VALUES (20, 'w'); INSERT INTO b VALUES (20, 'x')")
  await until('the stream goes on', () => b.every((f) => f.rows.has('"public"."b"/"20"')), 20000, 50)
  assert(/table could not be looked at: .*statement timeout|table may have changed, and could not/.test(w.busbar.output), `the log doesn't say why: ${w.busbar.tail(20)}`)
  await lock.query('ROLLBACK')
  await w.agree()
  rotated(b, 0)
})

// Busbar is a role of its own, from whom a catalog can be kept.
async function worldOfRole(t) {
  const w = await world(t, { sql: SQL, start: false })
  const role = `barred_${w.db}`
  await w.sql(`CREATE ROLE ${role} LOGIN REPLICATION; GRANT CREATE ON DATABASE ${w.db} TO ${role}`)
  await w.sql(`ALTER TABLE a OWNER TO ${role}; ALTER TABLE b OWNER TO ${role}`)
  w.busbar.databaseUrl = w.pg.url(w.db, role)
  await w.busbar.start()
  return w
}

test('a changed table whose catalog may not be read: the log says what Postgres said, and of which table', async (t) => {
  const w = await worldOfRole(t)
  await shape(w.busbar.url, { table: 'a', offset: '-1' })
  const b = w.follow({ table: 'b' })
  await b.ready()
  await w.sql("INSERT INTO a VALUES (10, 'v', 'w'); INSERT INTO b VALUES (10, 'x')")
  await w.agree()
  await w.sql('REVOKE SELECT ON pg_catalog.pg_enum FROM PUBLIC')
  await w.sql('ALTER TABLE a RENAME w TO x')
  await w.sql("INSERT INTO a VALUES (20, 'v', 'x'); INSERT INTO b VALUES (20, 'x')")
  await until('the stream goes on', () => b.rows.has('"public"."b"/"20"'), 20000, 50)
  for (const said of [/Looking at what changed of public\.a: permission denied/, /Removing shape .*could not be looked at: permission denied/, /GRANT SELECT ON pg_catalog\.pg_enum TO/])
    assert(said.test(w.busbar.output), `${said} isn't in the log: ${w.busbar.tail(20)}`)
  const refused = await shape(w.busbar.url, { table: 'a', columns: 'id', offset: '-1' })
  assert(/GRANT SELECT ON pg_catalog\.pg_enum TO/.test(refused.text()), refused.text())
  await w.sql('GRANT SELECT ON pg_catalog.pg_enum TO PUBLIC')
  const a = w.follow({ table: 'a' })
  await a.ready()
  await w.agree()
  rotated([b], 0)
})

test('a catalog that may not be read: the shapes rotate at the start, the stream goes on', { timeout: 90000 }, async (t) => {
  const w = await worldOfRole(t)
  const { a } = await followed(w)
  await w.busbar.term()
  await w.sql('REVOKE SELECT ON pg_catalog.pg_attrdef FROM PUBLIC')
  await w.busbar.start()
  const passed = (await w.sql("INSERT INTO a VALUES (10, 'v', 'w'); SELECT pg_current_wal_insert_lsn() AS lsn"))[1].rows[0].lsn
  // Another record, behind which the slot may stand.
  await w.sql("INSERT INTO a VALUES (11, 'v', 'w')")
  await until(
    'the stream goes on',
    async () => {
      const { rows } = await w.sql('SELECT confirmed_flush_lsn >= $1 AS yes FROM pg_replication_slots WHERE slot_name = $2', [passed, w.slot])
      return rows[0].yes
    },
    20000,
    50,
  )
  assert(/GRANT SELECT ON pg_catalog.pg_attrdef TO/.test(w.busbar.output), `the log doesn't say what to run: ${w.busbar.tail(20)}`)
  await w.sql('GRANT SELECT ON pg_catalog.pg_attrdef TO PUBLIC')
  await w.agree()
  rotated(a)
})

test('DELETE /v1/shape: parked clients are told, the next request makes another', async (t) => {
  const w = await world(t, { sql: SQL })
  const { a, b } = await followed(w)
  const old = a[0].handle
  const answer = await shape(w.busbar.url, { table: 'a' }, { method: 'DELETE' })
  equal(answer.status, 202, 'status')
  await until('its clients are told', () => a.every((f) => f.refetches.length === 1 && f.confirmedAt), 10000)
  assert(
    a.every((f) => f.handle !== old),
    'the old handle again',
  )
  await w.sql("INSERT INTO a VALUES (70, 'x', 'y')")
  await w.agree()
  rotated(b, 0)
})

test('ELECTRIC_MAX_SHAPES: the least used shape gives way', { timeout: 150000 }, async (t) => {
  const w = await world(t, {
    sql: [...SQL, ...[1, 2, 3, 4].map((i) => `CREATE TABLE m${i} (id int PRIMARY KEY)`)],
    env: { ELECTRIC_MAX_SHAPES: '3' },
  })
  const first = await readAll(w.busbar.url, { table: 'm1' })
  for (const i of [2, 3, 4]) await readAll(w.busbar.url, { table: `m${i}` })
  const started = Date.now()
  await until(
    'the first shape is gone',
    async () => {
      const r = await shape(w.busbar.url, { table: 'm4', offset: '-1' })
      equal(r.status, 200, 'status of the newest')
      for (const i of [2, 3]) await shape(w.busbar.url, { table: `m${i}`, offset: '-1' })
      const gone = await shape(w.busbar.url, { table: 'm2', handle: first.handle, offset: first.offset })
      equal(gone.status, 409, 'a handle of another shape')
      return Date.now() - started > 65000
    },
    90000,
    1000,
  )
  const again = await shape(w.busbar.url, { table: 'm1', offset: '-1' })
  assert(again.handle !== first.handle, 'the least used shape is still there')
})

test('a column that is no longer NOT NULL: the schema header says so, and the shape stays', async (t) => {
  const w = await world(t, { sql: ["CREATE TABLE t (id int PRIMARY KEY, v text NOT NULL)", "INSERT INTO t VALUES (1, 'a')"] })
  const f = w.follow({ table: 't' })
  const narrow = w.follow({ table: 't', columns: 'id,v', where: 'id > 0' })
  await w.agree()
  const notNull = async (of) => {
    const r = await shape(w.busbar.url, { ...of.params, handle: of.handle, offset: of.offset })
    return JSON.parse(r.headers['electric-schema']).v.not_null === true
  }
  assert((await notNull(f)) && (await notNull(narrow)), 'it was not NOT NULL')
  const stored = await shape(w.busbar.url, { table: 't', offset: '-1' })
  const again = () => shape(w.busbar.url, { table: 't', offset: '-1' }, { headers: { 'if-none-match': stored.headers.etag } })
  equal([(await again()).status, (await again()).headers['electric-schema']], [304, undefined], 'a cache asks again')
  await w.sql('ALTER TABLE t ALTER v DROP NOT NULL')
  await until('the header says so', async () => !(await notNull(f)) && !(await notNull(narrow)))
  equal([(await again()).status, JSON.parse((await again()).headers['electric-schema']).v.not_null], [304, undefined], 'a cache asks again')
  await w.sql('INSERT INTO t VALUES (2, NULL)')
  await w.agree()
  // What is stored of a shape is the table at its birth.
  await w.busbar.kill9()
  await w.busbar.start()
  assert(!(await notNull(f)) && !(await notNull(narrow)), 'the header of before came back')
  await w.sql("UPDATE t SET v = 'b'; ALTER TABLE t ALTER v SET NOT NULL")
  await until('the header says so', async () => (await notNull(f)) && (await notNull(narrow)))
  await w.agree()
  w.undisturbed()
})
