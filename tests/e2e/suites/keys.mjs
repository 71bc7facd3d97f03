// Keys: after every transaction a client that applies the log in order holds the rows that Postgres has, whatever
// their keys did in it; and what can't be told apart is told to begin again.

import { readAll, shape } from '../lib/http.mjs'
import { test } from '../lib/runner.mjs'
import { world } from '../lib/setup.mjs'
import { Random, assert, equal, seed as newSeed, until } from '../lib/util.mjs'

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
