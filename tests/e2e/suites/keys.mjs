// Keys: after every transaction a client that applies the log in order holds the rows that Postgres has, whatever
// their keys did in it; and what can't be told apart is told to begin again.

import { readAll, shape } from '../lib/http.mjs'
import { Proxy } from '../lib/proxy.mjs'
import { test } from '../lib/runner.mjs'
import { world } from '../lib/setup.mjs'
import { Random, assert, equal, pause, seed as newSeed, until } from '../lib/util.mjs'

// Followers of a table: every mode and replica mode, and each of `more` parameters.
async function followed(w, table, more = []) {
  const list = []
  for (const params of [{}, { replica: 'full' }, ...more])
    for (const mode of ['poll', 'sse']) list.push(w.follow({ table, ...params }, mode))
  await Promise.all(list.map((f) => f.ready()))
  return list
}

function rotated(followers, times) {
  for (const f of followers) equal(f.refetches.length, times, `times that ${f.name} was rotated`)
}

// ---- replica identity ----

for (const [what, sql] of [
  ['another unique index', 'ALTER TABLE rb REPLICA IDENTITY USING INDEX rb_u_key'],
  [
    'a primary key of other columns',
    'ALTER TABLE rb REPLICA IDENTITY DEFAULT; ALTER TABLE rb DROP CONSTRAINT rb_pkey; ALTER TABLE rb ADD PRIMARY KEY (u)',
  ],
])
  test(`replica identity by ${what}: an update of the key isn't taken for one of another row`, async (t) => {
    const w = await world(t, {
      sql: [
        'CREATE TABLE rb (id int PRIMARY KEY, u int NOT NULL UNIQUE, v text)',
        "INSERT INTO rb SELECT g, g, 'v' FROM generate_series(1, 3) g",
      ],
    })
    const followers = await followed(w, 'rb')
    // In one transaction, before anybody can look at the catalog.
    await w.sql(`BEGIN; ${sql}; UPDATE rb SET id = 100 WHERE id = 1; COMMIT`)
    await w.sql("INSERT INTO rb VALUES (4, 4, 'w')")
    await w.agree()
    for (const f of followers) assert(f.refetches.length > 0, `${f.name} was not rotated`)
  })

// ---- keys that are unique at the end of a transaction only ----

const POS = [
  'CREATE TABLE pos (list int, position int, title text, n int DEFAULT 0, PRIMARY KEY (list, position) DEFERRABLE)',
  "INSERT INTO pos SELECT 1, g, 't' || g FROM generate_series(1, 5) g",
  'CREATE TABLE other (id int PRIMARY KEY, v text)',
]
const POS_SHAPES = [{ columns: 'list,position,title' }, { where: 'n < 2' }, { where: "title <> 't3'", replica: 'full' }]
const deferred = (...statements) => ['BEGIN', 'SET CONSTRAINTS ALL DEFERRED', ...statements, 'COMMIT'].join('; ')

const IN_ONE_TRANSACTION = [
  {
    name: "a list moved down and an insert at its head (the issue's example)",
    sql: deferred('UPDATE pos SET position = position + 1', "INSERT INTO pos VALUES (1, 1, 'first')"),
  },
  { name: 'moved in one statement, not deferred', sql: 'UPDATE pos SET position = position + 1' },
  {
    name: 'swapped keys',
    sql: deferred('UPDATE pos SET position = CASE position WHEN 1 THEN 2 ELSE 1 END WHERE position IN (1, 2)'),
  },
  { name: 'an insert before the delete', sql: deferred("INSERT INTO pos VALUES (1, 2, 'new')", "DELETE FROM pos WHERE title = 't2'") },
  {
    name: 'an insert, an update of either row, a delete',
    sql: deferred(
      "INSERT INTO pos VALUES (1, 3, 'new')",
      "UPDATE pos SET title = 'again', n = 3 WHERE title = 'new'",
      "UPDATE pos SET n = 9 WHERE title = 't3'",
      "DELETE FROM pos WHERE title = 't3'",
    ),
  },
  { name: 'a key that comes and goes', sql: deferred("INSERT INTO pos VALUES (1, 77, 'x')", 'DELETE FROM pos WHERE position = 77') },
  {
    name: 'all back to where it was',
    sql: deferred('UPDATE pos SET position = position + 1', 'UPDATE pos SET position = position - 1'),
  },
  {
    name: 'several tables',
    sql: deferred(
      "INSERT INTO other VALUES (1, 'a')",
      'UPDATE pos SET position = 6 - position',
      "UPDATE other SET v = 'b'",
      'UPDATE pos SET n = n + 1 WHERE position < 3',
      "INSERT INTO other VALUES (2, 'a')",
    ),
  },
  {
    name: 'savepoints',
    sql: deferred(
      'SAVEPOINT a',
      'UPDATE pos SET position = position + 1',
      'SAVEPOINT b',
      'UPDATE pos SET position = position + 10',
      'ROLLBACK TO b',
      "INSERT INTO pos VALUES (1, 1, 'kept')",
      'SAVEPOINT c',
      'DELETE FROM pos',
      'ROLLBACK TO c',
    ),
  },
  {
    name: 'values that TOAST leaves out',
    before: "UPDATE pos SET title = (SELECT string_agg(md5((g * position)::text), '') FROM generate_series(1, 200) g)",
    sql: deferred('UPDATE pos SET position = position + 1', 'UPDATE pos SET n = 1 WHERE position = 4'),
  },
]

test('a deferrable primary key: transactions that give keys to other rows', { timeout: 180000 }, async (t) => {
  const w = await world(t, { sql: POS })
  const followers = await followed(w, 'pos', POS_SHAPES)
  w.follow({ table: 'other' })
  for (const { name, before, sql } of IN_ONE_TRANSACTION) {
    if (before) await w.sql(before)
    await w.sql(sql)
    await w.agree().catch((e) => {
      throw new Error(`${name}: ${e.message}`)
    })
    await w.sql("BEGIN; DELETE FROM pos; DELETE FROM other; INSERT INTO pos SELECT 1, g, 't' || g FROM generate_series(1, 5) g; COMMIT")
  }
  await w.agree()
  w.undisturbed()
  // One whose keys weren't left after they had been taken has the lines it always had.
  const [f] = followers
  const at = f.offset
  await w.sql("BEGIN; UPDATE pos SET position = 8 WHERE position = 5; INSERT INTO pos VALUES (1, 5, 'x'); COMMIT")
  await w.agree()
  const lines = (await shape(w.busbar.url, { table: 'pos', handle: f.handle, offset: at })).json().filter((m) => m.key)
  equal(lines.map((m) => `${m.headers.operation} ${m.value.position} ${m.headers.op_position}`).join(', '), 'delete 5 0, insert 8 1, insert 5 2', 'lines')
  equal(lines[0].headers.key_change_to, lines[1].key, 'key_change_to')
  // The same bytes once they come from the store, and in a replay after a crash.
  const all = (await readAll(w.busbar.url, { table: 'pos' })).changes.map((m) => JSON.stringify(m))
  await w.busbar.kill9()
  await w.busbar.start()
  const again = (await readAll(w.busbar.url, { table: 'pos' })).changes.map((m) => JSON.stringify(m))
  equal(again.join('\n'), all.join('\n'), 'the log after a crash')
  await w.sql(deferred('UPDATE pos SET position = position + 1', "INSERT INTO pos VALUES (1, 1, 'first')"))
  await w.agree()
  w.undisturbed()
})

test('a deferrable primary key of a partitioned table: moves between partitions', async (t) => {
  const w = await world(t, {
    sql: [
      'CREATE TABLE pp (id int, v text, x int DEFAULT 0, PRIMARY KEY (id) DEFERRABLE INITIALLY DEFERRED) PARTITION BY RANGE (id)',
      'CREATE TABLE pp_a PARTITION OF pp FOR VALUES FROM (0) TO (10)',
      // Another order of the columns.
      'CREATE TABLE pp_b (x int DEFAULT 0, gone int, v text, id int NOT NULL)',
      'ALTER TABLE pp_b DROP COLUMN gone',
      'ALTER TABLE pp ATTACH PARTITION pp_b FOR VALUES FROM (10) TO (100)',
      "INSERT INTO pp SELECT g, 'v' || g FROM generate_series(5, 14) g",
    ],
  })
  await followed(w, 'pp', [{ where: "v <> 'v7'" }])
  w.follow({ table: 'pp_a' })
  w.follow({ table: 'pp_b' })
  await w.agree()
  await w.sql('UPDATE pp SET id = id + 1')
  await w.agree()
  await w.sql("BEGIN; INSERT INTO pp VALUES (9, 'in'), (12, 'in'); DELETE FROM pp WHERE id IN (9, 12) AND v <> 'in'; UPDATE pp SET id = 21 - id; COMMIT")
  await w.agree()
  w.undisturbed()
})

test('a deferrable primary key: too much for memory', { timeout: 240000 }, async (t) => {
  const w = await world(t, { sql: [...POS, "INSERT INTO other VALUES (1, 'a')"] })
  const followers = [w.follow({ table: 'pos' }), w.follow({ table: 'pos', replica: 'full' }, 'sse'), w.follow({ table: 'pos', where: 'n < 2' })]
  await Promise.all(followers.map((f) => f.ready()))
  const other = w.follow({ table: 'other' })
  // Without a conflict nothing is lost, whatever the size.
  await w.sql("INSERT INTO pos SELECT 2, g, repeat('x', 20000) FROM generate_series(1, 500) g")
  await w.agree(w.followers, 60000)
  w.undisturbed()
  // The conflict shows when rows are staged already.
  await w.sql(
    deferred(
      "INSERT INTO pos SELECT 3, g, repeat('x', 20000) FROM generate_series(1, 500) g",
      'UPDATE pos SET position = -position WHERE list = 3 AND position = 5',
      "UPDATE other SET v = 'b'",
    ),
  )
  await w.agree(w.followers, 60000)
  rotated(followers, 1)
  // The conflict comes first, and then too much.
  await w.sql(deferred('UPDATE pos SET position = position + 1 WHERE list = 1', "UPDATE pos SET title = repeat('y', 20000) WHERE list > 1"))
  await w.agree(w.followers, 60000)
  rotated(followers, 2)
  rotated([other], 0)
})

test('a table that becomes deferrable, or loses what kept its rows apart, rotates', async (t) => {
  const w = await world(t, { sql: ['CREATE TABLE a (id int PRIMARY KEY, v text)', 'CREATE TABLE b (id int NOT NULL UNIQUE, v text)'] })
  const a = w.follow({ table: 'a' })
  const b = w.follow({ table: 'b' })
  await w.sql("INSERT INTO a VALUES (1, 'x'); INSERT INTO b VALUES (1, 'x')")
  await w.agree()
  await w.sql('ALTER TABLE a DROP CONSTRAINT a_pkey; ALTER TABLE a ADD PRIMARY KEY (id) DEFERRABLE')
  await w.sql('ALTER TABLE b DROP CONSTRAINT b_id_key')
  await until('both were rotated', () => a.refetches.length === 1 && b.refetches.length === 1 && a.live && b.live, 10000)
  await w.sql("INSERT INTO a VALUES (2, 'x'); INSERT INTO b VALUES (2, 'x')")
  await w.agree()
  await w.sql('ALTER TABLE a DROP CONSTRAINT a_pkey; ALTER TABLE a ADD PRIMARY KEY (id)')
  await w.sql("INSERT INTO a VALUES (3, 'x')")
  await w.agree()
  rotated([a, b], 1)
})

test('a deferrable primary key: random transactions', { timeout: 300000 }, async (t) => {
  const seed = newSeed()
  const r = new Random(seed)
  t.note(`seed ${seed}`)
  const w = await world(t, { sql: POS })
  const followers = await followed(w, 'pos', POS_SHAPES)
  const writer = await w.session()
  const key = () => `(${r.int(1, 2)}, ${r.int(1, 9)})`
  const statements = [
    () => `UPDATE pos SET position = position + ${r.pick([-2, -1, 1, 2])} WHERE list = ${r.int(1, 2)}`,
    () => `UPDATE pos SET list = 3 - list WHERE position > ${r.int(1, 9)}`,
    () => `UPDATE pos SET (list, position) = ${key()} WHERE (list, position) = ${key()}`,
    () => `INSERT INTO pos VALUES (${r.int(1, 2)}, ${r.int(1, 9)}, '${r.pick(['t3', 'a', 'b'])}', ${r.int(0, 3)})`,
    () => `INSERT INTO pos VALUES (${r.int(1, 2)}, ${r.int(1, 9)}, '${r.pick(['t3', 'a', 'b'])}', ${r.int(0, 3)})`,
    () => `DELETE FROM pos WHERE (list, position) = ${key()}`,
    () => `DELETE FROM pos WHERE ctid IN (SELECT ctid FROM pos LIMIT 1)`,
    () => `UPDATE pos SET n = n + 1 WHERE (list, position) = ${key()}`,
    () => `UPDATE pos SET title = '${r.pick(['t3', 'a', 'b'])}' WHERE (list, position) = ${key()}`,
    // What is there twice is made right at the end.
    () => `DELETE FROM pos p USING pos q WHERE p.list = q.list AND p.position = q.position AND p.ctid < q.ctid`,
  ]
  let done = 0
  for (let i = 0; i < 1500; i++) {
    try {
      await writer.query('BEGIN; SET CONSTRAINTS ALL DEFERRED')
      for (let k = r.int(1, 8); k > 0; k--) await writer.query(r.pick(statements)())
      if (r.chance(0.8)) await writer.query(statements.at(-1)())
      await writer.query('COMMIT')
      done++
    } catch (e) {
      if (e.code !== '23505') throw e
      await writer.query('ROLLBACK')
    }
    if (i % 500 === 400) {
      await w.busbar.kill9()
      await w.busbar.start()
    }
  }
  t.note(`${done} of 1500 transactions committed`)
  await w.agree(followers, 60000)
  w.undisturbed()
})

// ---- rows that may be equal ----

const LOGGED = ['CREATE TABLE log (a text, b int)', "INSERT INTO log VALUES ('x', 1), ('x', 1), ('x', 1), ('y', 2), (NULL, NULL), (NULL, NULL)"]
const LOG_SHAPES = [{ where: "a = 'x'" }, { where: 'b < 2', replica: 'full' }]
// One of the rows that are equal.
const one = (condition) => `ctid IN (SELECT ctid FROM log WHERE ${condition} LIMIT 1)`

test('a table without a key: equal rows are as many as in Postgres', { timeout: 180000 }, async (t) => {
  const w = await world(t, { sql: LOGGED })
  const followers = await followed(w, 'log', LOG_SHAPES)
  await w.agree()
  const steps = [
    "INSERT INTO log VALUES ('x', 1)",
    `DELETE FROM log WHERE ${one("a = 'x'")}`,
    `UPDATE log SET b = 5 WHERE ${one("a = 'x'")}`,
    `DELETE FROM log WHERE ${one('a IS NULL')}`,
    `BEGIN; INSERT INTO log VALUES ('x', 1), ('z', 0), ('z', 0); UPDATE log SET b = 1 WHERE ${one("a = 'x' AND b = 5")};
     UPDATE log SET a = 'x', b = 1 WHERE a = 'z'; DELETE FROM log WHERE ${one("a = 'x'")}; COMMIT`,
    `BEGIN; SAVEPOINT s; INSERT INTO log VALUES ('x', 1); ROLLBACK TO s; INSERT INTO log SELECT * FROM log; COMMIT`,
    "UPDATE log SET b = b + 1 WHERE a = 'x'",
    "UPDATE log SET a = 'x', b = 1",
    `DELETE FROM log WHERE ${one('true')}`,
  ]
  for (const sql of steps) {
    await w.sql(sql)
    await w.agree().catch((e) => {
      throw new Error(`${sql}: ${e.message}`)
    })
  }
  // The lines of a change of the second of two equal rows name its keys.
  await w.sql("DELETE FROM log; INSERT INTO log VALUES ('p', 1), ('p', 1), ('q', 1)")
  await w.agree()
  const at = { handle: followers[0].handle, offset: followers[0].offset }
  await w.sql(`UPDATE log SET a = 'q' WHERE ${one("a = 'p'")}`)
  await w.agree()
  const [gone, come] = (await shape(w.busbar.url, { table: 'log', ...at })).changes()
  const key = (a, n) => `"public"."log"/"${a}"/"1"${n}`
  equal([gone.key, gone.headers.key_change_to], [key('p', '/2'), key('q', '/2')], 'the row that went')
  equal([come.key, come.headers.key_change_from, come.headers.operation], [key('q', '/2'), key('p', '/2'), 'insert'], 'the row that came')
  // The counts outlive the process, and a crash.
  for (const end of ['term', 'kill9']) {
    await w.busbar[end]()
    await w.busbar.start()
    assert(/Counted \d+ rows of 4 shapes/.test(w.busbar.outputSinceStart()), 'no word of the counting')
    await w.sql(`DELETE FROM log WHERE ${one("a = 'q'")}; INSERT INTO log VALUES ('p', 1), ('p', 1)`)
    await w.agree()
    await w.sql(`DELETE FROM log WHERE ${one("a = 'p'")}`)
    await w.agree()
  }
  w.undisturbed()
  const again = w.follow({ table: 'log' }, 'poll', { name: 'a newcomer' })
  await w.agree([again])
})

test('a table without a key: its first rows are copied while it is written to', { timeout: 240000 }, async (t) => {
  const w = await world(t, {
    sql: [
      'CREATE TABLE log (a text, b int)',
      // Enough for packed pieces; each row eight times.
      "INSERT INTO log SELECT repeat('x/', 40) || g % 2500, g % 2500 FROM generate_series(1, 20000) g",
      'CREATE TABLE bystander (id int PRIMARY KEY)',
    ],
  })
  const bystander = w.follow({ table: 'bystander' })
  let writing = true
  const writers = Array.from({ length: 2 }, async (_, n) => {
    const s = await w.session()
    for (let i = n; writing; i += 7) {
      await s.query(`DELETE FROM log WHERE ${one(`b = ${i % 2500}`)}`)
      await s.query(`INSERT INTO log SELECT * FROM log WHERE b = ${(i * 3) % 2500} LIMIT 1`)
      await s.query(`UPDATE log SET b = b + 1 WHERE ${one(`b = ${(i * 5) % 2500}`)}`)
    }
  })
  // One after the other, so that each begins while the writers are at it.
  for (const params of [{}, { where: 'b < 1000' }, { replica: 'full' }, { where: 'b % 3 = 0' }]) {
    const f = w.follow({ table: 'log', ...params }, 'poll')
    await f.ready()
  }
  writing = false
  await Promise.all(writers)
  await w.agree(w.followers, 60000)
  w.undisturbed([bystander])
  await w.busbar.kill9()
  await w.busbar.start()
  await w.sql(`DELETE FROM log WHERE ${one('b < 1000')}; INSERT INTO log SELECT * FROM log WHERE b = 1001`)
  await w.agree(w.followers, 60000)
  w.undisturbed([bystander])  // What those rows waited with isn't a commit of its own in the list that the server's history is compared with.
  assert(!/it is forgotten/.test(w.busbar.output), `the list of commits was lost: ${w.busbar.tail()}`)
})

test('a table without a key: a large transaction comes to it last, while its first rows are counted', { timeout: 120000 }, async (t) => {
  const w = await world(t, {
    sql: [
      'CREATE TABLE log (a text, b int)',
      "INSERT INTO log SELECT repeat('x', 200), g FROM generate_series(1, 300000) g",
      'CREATE TABLE other (id int PRIMARY KEY, v text)',
    ],
  })
  const other = w.follow({ table: 'other' })
  await other.ready()
  w.follow({ table: 'log' })
  const backend = await until(
    'its rows are being copied',
    async () => (await w.sql("SELECT pid FROM pg_stat_activity WHERE query LIKE 'COPY%' AND state = 'active' AND datname = current_database()")).rows[0],
    30000,
    1,
  )
  const go = await pause(backend.pid)
  t.cleanup(go)
  // Most of it is staged before the first of our rows comes.
  await w.sql(`BEGIN; INSERT INTO other SELECT g, repeat('y', 10000) FROM generate_series(1, 1200) g;
    DELETE FROM log WHERE b = 1; INSERT INTO log VALUES ('new', 0); COMMIT`)
  await w.agree([other])
  go()
  await w.agree(w.followers, 60000)
  w.undisturbed([other])
})

test('a table without a key: a large transaction is lost with the connection, and comes again', { timeout: 240000 }, async (t) => {
  const seed = newSeed()
  t.note(`seed ${seed}`)
  const w = await world(t, { sql: LOGGED, start: false })
  const url = new URL(w.busbar.databaseUrl)
  // All of it is some 24 MB; beyond 8 it is staged.
  const proxy = await Proxy.create(`http://${url.host}`, { random: new Random(seed), low: 12e6, high: 18e6 })
  t.cleanup(() => proxy.close())
  url.host = new URL(proxy.url).host
  w.busbar.databaseUrl = url.href
  await w.busbar.start()
  const followers = [w.follow({ table: 'log' }), w.follow({ table: 'log', where: 'b = 1' })]
  await w.agree()
  proxy.cutting = true
  const sql = `BEGIN; INSERT INTO log SELECT repeat('y', 20000), 1 FROM generate_series(1, 600);
    DELETE FROM log WHERE ctid IN (SELECT ctid FROM log WHERE b = 1 ORDER BY ctid LIMIT 300);
    INSERT INTO log SELECT repeat('z', 20000), g % 2 FROM generate_series(1, 300) g; COMMIT`
  await w.sql(sql)
  await until('the connection was cut', () => proxy.cuts > 0, 20000)
  proxy.cutting = false
  await w.agree(w.followers, 60000)
  w.undisturbed()
  // Nothing was counted twice: of n equal rows the last is the n-th, also to who reads it from the log.
  for (const f of followers) {
    const numbers = new Map()
    for (const k of f.rows.keys()) {
      const [, key, n] = /^(.*["_])(?:\/(\d+))?$/.exec(k)
      numbers.set(key, [...(numbers.get(key) ?? []), Number(n ?? 1)])
    }
    for (const [key, list] of numbers) equal(Math.max(...list), list.length, `the highest number of ${key.slice(0, 30)} in ${f.name}`)
  }
  await w.busbar.kill9()
  await w.busbar.start()
  await w.sql(`DELETE FROM log WHERE ctid IN (SELECT ctid FROM log ORDER BY ctid DESC LIMIT 400)`)
  await w.agree(followers, 60000)
  w.undisturbed()
})

test('a table without a key: subsets, and log=changes_only', async (t) => {
  const w = await world(t, { sql: LOGGED })
  const a = await shape(w.busbar.url, { table: 'log', offset: '-1', subset__where: "a = 'x'" })
  const keys = a.json().data.map((m) => m.key)
  equal([...keys].sort(), ['"public"."log"/"x"/"1"', '"public"."log"/"x"/"1"/2', '"public"."log"/"x"/"1"/3'], 'keys')
  // Its log counts rows that it doesn't show.
  const begin = await shape(w.busbar.url, { table: 'log', offset: '-1', log: 'changes_only' })
  equal(begin.status, 200, begin.text().slice(0, 200))
  await w.sql(`DELETE FROM log WHERE ${one("a = 'x'")}`)
  const next = await until('the delete', async () => {
    const r = await shape(w.busbar.url, { table: 'log', offset: begin.offset, handle: begin.handle, log: 'changes_only' })
    return r.changes().length > 0 && r.changes()
  })
  equal([next[0].key, next[0].headers.operation], ['"public"."log"/"x"/"1"/3', 'delete'], 'the change')
  await w.busbar.term()
  await w.busbar.start()
  await until('it begins again', async () => {
    const r = await shape(w.busbar.url, { table: 'log', offset: begin.offset, handle: begin.handle, log: 'changes_only' })
    return r.status === 409
  })
})

test('a table without a key: partitions and random transactions, with crashes', { timeout: 300000 }, async (t) => {
  const seed = newSeed()
  const r = new Random(seed)
  t.note(`seed ${seed}`)
  const w = await world(t, {
    sql: [
      'CREATE TABLE log (a text, b int) PARTITION BY RANGE (b)',
      'CREATE TABLE log_1 PARTITION OF log FOR VALUES FROM (0) TO (3)',
      'CREATE TABLE log_2 PARTITION OF log FOR VALUES FROM (3) TO (6)',
      'CREATE TABLE log_3 PARTITION OF log DEFAULT',
    ],
  })
  await followed(w, 'log', [{ where: "a = 'x'" }, { where: 'b < 4', replica: 'full' }])
  w.follow({ table: 'log_2' })
  await w.agree()
  const writer = await w.session()
  const a = () => `'${r.pick(['x', 'y', 'z/', '"'])}'`
  // A table's ctids are of its partitions: with the partition they are one row's.
  const row = () => `(tableoid, ctid) IN (SELECT tableoid, ctid FROM log WHERE b >= ${r.int(0, 7)} LIMIT ${r.int(1, 3)})`
  const statements = [
    () => `INSERT INTO log VALUES (${a()}, ${r.int(0, 7)})`,
    () => `INSERT INTO log SELECT ${a()}, ${r.int(0, 7)} FROM generate_series(1, ${r.int(1, 4)})`,
    () => `DELETE FROM log WHERE ${row()}`,
    () => `UPDATE log SET b = ${r.int(0, 7)} WHERE ${row()}`,
    () => `UPDATE log SET a = ${a()} WHERE ${row()}`,
    () => `UPDATE log SET a = a WHERE ${row()}`,
    () => `DELETE FROM log WHERE b = ${r.int(0, 7)} AND a = ${a()}`,
  ]
  for (let i = 0; i < 900; i++) {
    await writer.query('BEGIN')
    for (let k = r.int(1, 6); k > 0; k--) await writer.query(r.pick(statements)())
    await writer.query(r.chance(0.9) ? 'COMMIT' : 'ROLLBACK')
    if (i % 300 === 200) {
      await w.busbar[r.chance(0.7) ? 'kill9' : 'term']()
      await w.busbar.start()
    }
  }
  await w.agree(w.followers, 60000)
  w.undisturbed()
})

// ---- inheritance ----

test('parent and children may have the same keys', { timeout: 180000 }, async (t) => {
  const w = await world(t, {
    sql: [
      'CREATE TABLE p (id int PRIMARY KEY, v text)',
      'CREATE TABLE c (more int, PRIMARY KEY (id)) INHERITS (p)',
      'CREATE TABLE "Sub/c" (v text, id int NOT NULL UNIQUE)',
      'ALTER TABLE "Sub/c" INHERIT p',
      "INSERT INTO p VALUES (1, 'p'), (2, 'p'); INSERT INTO c VALUES (1, 'c', 7), (3, 'c', 7)",
      `INSERT INTO "Sub/c" SELECT repeat('s', 2000), g FROM generate_series(1, 900) g`,
    ],
  })
  const followers = await followed(w, 'p', [{ where: 'id < 3' }, { where: "v = 'c'", replica: 'full' }])
  w.follow({ table: 'c', columns: 'id,v' })
  await w.agree()
  equal([...followers[4].rows.keys()].sort().slice(0, 3), ['"public"."Sub//c"/"1"', '"public"."Sub//c"/"2"', '"public"."c"/"1"'], 'keys')
  for (const sql of [
    "UPDATE p SET v = 'c' WHERE id = 1",
    'DELETE FROM ONLY p WHERE id = 1',
    'BEGIN; INSERT INTO c VALUES (2, \'c\'); DELETE FROM "Sub/c" WHERE id < 4; UPDATE p SET id = id + 10000; COMMIT',
    "BEGIN; WITH gone AS (DELETE FROM ONLY p RETURNING *) INSERT INTO c SELECT id + 500, v FROM gone; COMMIT",
  ]) {
    await w.sql(sql)
    await w.agree().catch((e) => {
      throw new Error(`${sql}: ${e.message}`)
    })
  }
  const data = (await shape(w.busbar.url, { table: 'p', offset: '-1', subset__order_by: 'id', subset__where: 'id < 10005' })).json().data
  assert(new Set(data.map((m) => m.key.split('/"')[0])).size >= 2, `keys of a subset: ${data.map((m) => m.key)}`)
  assert(data.every((m) => followers[0].rows.has(m.key)), 'a subset has other keys')
  await w.busbar.kill9()
  await w.busbar.start()
  await w.sql("UPDATE p SET v = 'after' WHERE id % 10 = 3")
  await w.agree()
  w.undisturbed()
  // Another name, other keys.
  await w.sql('ALTER TABLE c RENAME TO d')
  await w.sql("INSERT INTO d VALUES (77, 'c')")
  await w.agree(followers)
  for (const f of followers) assert(f.refetches.length > 0, `${f.name} was not rotated by a child's other name`)
})

test('a child that may repeat its own keys is refused, in words that mend it', async (t) => {
  const w = await world(t, { sql: ['CREATE TABLE p (id int PRIMARY KEY, v text)', "INSERT INTO p VALUES (1, 'p')"] })
  const at = await readAll(w.busbar.url, { table: 'p' })
  await w.sql("CREATE TABLE c () INHERITS (p); INSERT INTO c VALUES (1, 'c'), (1, 'c')")
  await until('the shape is gone', async () => (await shape(w.busbar.url, { table: 'p', handle: at.handle, offset: at.offset })).status !== 200)
  const refused = await until('the table is refused', async () => {
    const r = await shape(w.busbar.url, { table: 'p', offset: '-1' })
    return r.status === 400 && r
  })
  equal(
    refused.json().errors.table,
    ['its child public.c may have several rows with the same primary key; give it one of its own: ALTER TABLE public.c ADD PRIMARY KEY ("id")'],
    'text',
  )
  await w.sql('TRUNCATE c')
  await w.sql('ALTER TABLE public.c ADD PRIMARY KEY (id)')
  await w.sql("INSERT INTO c VALUES (1, 'c')")
  const f = await until('it is taken', async () => (await shape(w.busbar.url, { table: 'p', offset: '-1' })).status === 200 && w.follow({ table: 'p' }))
  await w.agree()
  // What keeps a child's keys apart may go again.
  await w.sql('ALTER TABLE c DROP CONSTRAINT c_pkey')
  await until('the shape is gone', async () => (await shape(w.busbar.url, { table: 'p', handle: f.handle, offset: f.offset })).status !== 200)
  await f.stop()
})

test('children of a table without a key, and of one with a deferrable key', { timeout: 120000 }, async (t) => {
  const w = await world(t, {
    sql: [
      'CREATE TABLE n (a text)',
      'CREATE TABLE n_1 () INHERITS (n)',
      "INSERT INTO n VALUES ('x'), ('x'); INSERT INTO n_1 VALUES ('x'), ('x'), ('y')",
      'CREATE TABLE d (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, v text)',
      'CREATE TABLE d_1 (PRIMARY KEY (id)) INHERITS (d)',
      "INSERT INTO d SELECT g, 'd' FROM generate_series(1, 5) g; INSERT INTO d_1 SELECT g, 'd1' FROM generate_series(1, 5) g",
    ],
  })
  await followed(w, 'n')
  await followed(w, 'd', [{ where: 'id > 2' }])
  await w.agree()
  await w.sql("BEGIN; DELETE FROM n_1 WHERE ctid IN (SELECT ctid FROM n_1 WHERE a = 'x' LIMIT 1); INSERT INTO n VALUES ('y'), ('x'); UPDATE n SET a = 'y' WHERE a = 'x'; COMMIT")
  await w.sql("BEGIN; UPDATE ONLY d SET id = id + 1; UPDATE d_1 SET v = 'moved'; UPDATE d_1 SET id = 9 WHERE id = 5; COMMIT")
  await w.agree()
  await w.busbar.kill9()
  await w.busbar.start()
  await w.sql("DELETE FROM n WHERE (tableoid, ctid) IN (SELECT tableoid, ctid FROM n LIMIT 2); UPDATE ONLY d SET id = 8 - id")
  await w.agree()
  w.undisturbed()
})
