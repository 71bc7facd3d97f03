// The tables that a subquery names are tables of the shape: what is done to one of them, while it has no shape of its own,
// does to the shape what it does to shapes of that table. And what survives: restarts, crashes, moves of Postgres.

import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { ACCESS, becomes, both, clock, eachRotates, MINE, parked, published, reasons, refusal, refused, rotated, settled, SHAPE, toldNothing } from '../lib/access.mjs'
import { cannot } from '../lib/cannot.mjs'
import { commitsEnd, commitsHang } from '../lib/commits.mjs'
import { readAll, shape } from '../lib/http.mjs'
import { Postgres } from '../lib/pg.mjs'
import { test } from '../lib/runner.mjs'
import { world } from '../lib/setup.mjs'
import { assert, delay, equal, temporary, until, within } from '../lib/util.mjs'

const MANUAL = { ELECTRIC_MANUAL_TABLE_PUBLISHING: 'true' }
const NESTED = { table: 'items', where: 'project_id IN (SELECT project_id FROM members WHERE user_id IN (SELECT owner FROM projects WHERE id = 1))' }
const FULL = (...tables) => tables.map((name) => `ALTER TABLE ${name} REPLICA IDENTITY FULL`).join('; ')

// What the stream doesn't tell of: the watch looks every second.
const WATCH_MS = 10000
// Ten minutes without a shape, and what is looked at in between.
const LINGER_S = 660

const identity = async (w, table) => (await w.sql('SELECT relreplident AS i FROM pg_class WHERE oid = $1::regclass', [table])).rows[0].i

// A bystander that no change of members or of its like concerns.
async function beside(w) {
  const f = w.follow({ table: 'items', where: "title <> ''" })
  await f.ready()
  return f
}

// ---------------------------------------------------------------- publication

test('publication: inner tables are published and REPLICA IDENTITY FULL, nested ones too', async (t) => {
  const w = await world(t, { sql: ACCESS })
  await both(w, NESTED)
  for (const table of ['items', 'members', 'projects']) equal([table, await published(w, table), await identity(w, table)], [table, true, 'f'])
})

test('publication: an inner table stays as long as a shape names it, and its changes still rotate', { timeout: 150000 }, async (t) => {
  const time = clock()
  if (!time) return t.note('a sanitizer: not tested')
  const w = await world(t, { sql: ACCESS, env: time.env })
  const all = await both(w, NESTED)
  await w.sql('UPDATE projects SET owner = 1 WHERE id = 1')
  await w.agree()
  const of = all.map((f) => f.refetches.length)
  time.forward(LINGER_S)
  // Long enough for whoever looks after the publication; others join and go meanwhile. Eleven minutes that pass at once are no
  // silence of the server's.
  await readAll(w.busbar.url, { table: 'projects', columns: 'id' })
  await delay(4000)
  time.forward(2 * LINGER_S)
  await delay(4000)
  for (const table of ['items', 'members', 'projects']) equal([table, await published(w, table)], [table, true])
  await w.sql('INSERT INTO members VALUES (50, 5, 1)')
  await until('rotated', () => all.every((f, i) => f.refetches.length > of[i] && f.confirmedAt))
  await w.agree()
  await w.sql('UPDATE projects SET owner = 2 WHERE id = 1')
  await until('rotated again', () => all.every((f, i) => f.refetches.length > of[i] + 1 && f.confirmedAt))
  await w.agree()
  equal(w.busbar.said('Reconnecting in'), false, 'the stream took the time for a silence')
})

test('publication: an inner table leaves ten minutes after the last shape that names it', { timeout: 150000 }, async (t) => {
  const time = clock()
  if (!time) return t.note('a sanitizer: not tested')
  const w = await world(t, { sql: ACCESS, env: time.env })
  const plain = w.follow({ table: 'items' })
  await plain.ready()
  await readAll(w.busbar.url, SHAPE)
  equal((await shape(w.busbar.url, SHAPE, { method: 'DELETE' })).status, 202, 'status of DELETE')
  await delay(1500)
  equal(await published(w), true, 'members right afterwards')
  time.forward(LINGER_S)
  await until('members leaves', async () => !(await published(w)), 30000, 200)
  equal(await published(w, 'items'), true, 'items')
  // And comes back.
  const mine = w.follow(SHAPE)
  await mine.ready()
  await w.sql('INSERT INTO members VALUES (50, 5, 1)')
  await becomes(w, [mine], 1)
  rotated([plain], 0)
})

test('publication: an inner table dropped from it and added, with changes in between', { timeout: 120000 }, async (t) => {
  const w = await world(t, { sql: ACCESS })
  const [mine, other] = [await both(w), await beside(w)]
  await settled(w, mine, 0)
  const s = await w.session()
  await s.query(`ALTER PUBLICATION ${w.publication} DROP TABLE members`)
  await s.query('INSERT INTO members VALUES (50, 5, 1)')
  await s.query(`ALTER PUBLICATION ${w.publication} ADD TABLE members`)
  await until('rotated', () => mine.every((f) => f.refetches.length > 0 && f.confirmedAt), 20000)
  await settled(w, mine)
  await s.query('DELETE FROM members WHERE id = 50')
  await until('a change counts again', () => mine.every((f) => f.refetches.length > 1 && f.confirmedAt), 20000)
  await settled(w, mine)
  rotated([other], 0)
})

test('publication: operations taken from it and given back', { timeout: 120000 }, async (t) => {
  const w = await world(t, { sql: ACCESS })
  const mine = await both(w)
  await settled(w, mine, 0)
  const s = await w.session()
  await s.query(`ALTER PUBLICATION ${w.publication} SET (publish = 'insert')`)
  await s.query('DELETE FROM members WHERE user_id = 1 AND project_id = 2')
  await s.query(`ALTER PUBLICATION ${w.publication} SET (publish = 'insert, update, delete, truncate')`)
  await until('rotated', () => mine.every((f) => f.refetches.length > 0 && f.confirmedAt), 20000)
  await settled(w, mine)
})

// ---------------------------------------------------------------- TRUNCATE and DDL

for (const sql of ['TRUNCATE members', 'TRUNCATE projects, members', 'BEGIN; TRUNCATE members; INSERT INTO members VALUES (1, 1, 1); COMMIT'])
  test(`${sql}: the shape is rotated, the bystander not`, async (t) => {
    const w = await world(t, { sql: ACCESS })
    const [mine, other] = [await both(w), await beside(w)]
    await settled(w, mine, 0)
    const waiters = await parked(w)
    await w.sql(sql)
    await toldNothing(waiters)
    await becomes(w, mine, 1)
    await w.sql('INSERT INTO members VALUES (70, 4, 1)')
    await becomes(w, mine, 2)
    rotated([other], 0)
  })

test('TRUNCATE of the outer table', async (t) => {
  const w = await world(t, { sql: ACCESS })
  const mine = await both(w)
  await w.sql("TRUNCATE items; INSERT INTO items VALUES (1, 1, 'a'), (2, 5, 'b')")
  await becomes(w, mine, 1)
})

// The condition can't hold any more: the old handle's clients are told, whoever asks anew gets a 400.
for (const [sql, said] of [
  ['ALTER TABLE members DROP COLUMN user_id', /user_id/],
  ['ALTER TABLE members DROP COLUMN project_id', /project_id/],
  ['ALTER TABLE members RENAME COLUMN user_id TO who', /user_id/],
  ['ALTER TABLE members ALTER project_id TYPE text', /operator|type/i],
  ['ALTER TABLE members RENAME TO staff', /members/],
  ['DROP TABLE members', /members/],
  ['ALTER TABLE members SET SCHEMA elsewhere', /members/],
])
  test(`${sql}: 409 for the old handle, then 400`, { timeout: 120000 }, async (t) => {
    const w = await world(t, { sql: [...ACCESS, 'CREATE SCHEMA elsewhere'] })
    const other = await beside(w)
    const at = await readAll(w.busbar.url, SHAPE)
    const poll = shape(w.busbar.url, { ...SHAPE, handle: at.handle, offset: at.offset, live: true })
    await w.sql(sql)
    // Somebody who writes makes the server describe the table anew; nobody need.
    await refused(w, at, SHAPE, WATCH_MS)
    equal((await poll).status, 409, 'the long-poll')
    await refusal(w, {}, 400, said)
    await w.sql("INSERT INTO items VALUES (500, 1, 'x')")
    await w.agree([other])
    rotated([other], 0)
  })

test('ALTER of the type of a used column, of which the condition still holds', async (t) => {
  const w = await world(t, { sql: ACCESS })
  const mine = await both(w)
  for (const [i, sql] of ['ALTER TABLE members ALTER project_id TYPE bigint', 'ALTER TABLE members ALTER user_id TYPE numeric USING user_id + 1'].entries()) {
    const of = mine.map((f) => f.refetches.length)
    await w.sql(sql)
    await until(`${sql}: rotated`, () => mine.every((f, k) => f.refetches.length > of[k] && f.confirmedAt), WATCH_MS)
    await w.agree()
    await w.sql(`INSERT INTO members VALUES (${50 + i}, ${4 + i}, 1)`)
    await w.agree()
  }
})

test('ALTER of a column that the condition does not name: right rows, rotated at most once each', { timeout: 120000 }, async (t) => {
  const w = await world(t, { sql: ACCESS })
  const mine = await both(w)
  const steps = ['ALTER TABLE members ADD extra int DEFAULT 5', 'ALTER TABLE members ALTER role TYPE varchar(40)', 'ALTER TABLE members RENAME role TO part', 'ALTER TABLE members DROP part']
  for (const [i, sql] of steps.entries()) {
    await w.sql(sql)
    await w.sql(`INSERT INTO members (id, project_id, user_id) VALUES (${50 + i}, 1, 1)`)
    await settled(w, mine)
    for (const f of mine) assert(f.refetches.length <= i + 1, `${sql}: ${f.refetches.length} refetches`)
  }
  const of = mine[0].refetches.length
  await w.sql('INSERT INTO members (id, project_id, user_id) VALUES (70, 6, 1)')
  await until('a change of the set counts', () => mine.every((f) => f.refetches.length > of))
  await settled(w, mine)
})

test('DROP and CREATE of an inner table under its name', { timeout: 120000 }, async (t) => {
  const w = await world(t, { sql: ACCESS })
  const mine = await both(w)
  await settled(w, mine, 0)
  await w.sql(`BEGIN; DROP TABLE members; ${ACCESS[1]}; INSERT INTO members VALUES (1, 1, 1), (2, 6, 1); COMMIT`)
  await until('rotated', () => mine.every((f) => f.refetches.length > 0 && f.confirmedAt), WATCH_MS)
  await w.agree()
  const of = mine[0].refetches.length
  await w.sql('INSERT INTO members VALUES (3, 5, 1)')
  await until('the new table counts', () => mine.every((f) => f.refetches.length > of && f.confirmedAt))
  await settled(w, mine)
})

test('two inner tables that swap their names', { timeout: 120000 }, async (t) => {
  const w = await world(t, { sql: [...ACCESS, 'CREATE TABLE others (LIKE members INCLUDING ALL)', 'INSERT INTO others VALUES (1, 1, 1), (2, 4, 1)'] })
  const mine = await both(w)
  await settled(w, mine, 0)
  await w.sql('BEGIN; ALTER TABLE members RENAME TO x; ALTER TABLE others RENAME TO members; ALTER TABLE x RENAME TO others; COMMIT')
  await until('rotated', () => mine.every((f) => f.refetches.length > 0 && f.confirmedAt), WATCH_MS)
  await w.agree()
})

test('an enum of the inner condition whose labels change, a rewrite of a used column', { timeout: 120000 }, async (t) => {
  const w = await world(t, {
    sql: [
      "CREATE TYPE role AS ENUM ('reader', 'writer')", 'CREATE TABLE members (id int PRIMARY KEY, project_id int, user_id int, role role)',
      "INSERT INTO members VALUES (1, 1, 1, 'reader'), (2, 2, 1, 'writer')", ACCESS[2], ACCESS[5],
    ],
  })
  const where = "project_id IN (SELECT project_id FROM members WHERE user_id = 1 AND role = 'writer')"
  const all = await both(w, { table: 'items', where })
  await w.sql("ALTER TYPE role RENAME VALUE 'reader' TO 'x'; ALTER TYPE role RENAME VALUE 'writer' TO 'reader'; ALTER TYPE role RENAME VALUE 'x' TO 'writer'")
  await until('rotated', () => all.every((f) => f.refetches.length > 0 && f.confirmedAt), WATCH_MS)
  await w.agree()
  const of = all[0].refetches.length
  await w.sql('ALTER TABLE members ALTER project_id TYPE int USING 3 - project_id')
  await until('rotated again', () => all.every((f) => f.refetches.length > of && f.confirmedAt), WATCH_MS)
  await w.agree()
})

test('what only moves bytes of the inner table rotates nothing', async (t) => {
  const w = await world(t, { sql: [...ACCESS, 'CREATE INDEX by_user ON members (user_id)'] })
  const mine = await both(w)
  for (const sql of ['VACUUM FULL members', 'ALTER TABLE members ALTER role SET STATISTICS 10', 'CLUSTER members USING by_user', 'ANALYZE members', 'DROP INDEX by_user']) {
    await w.sql(sql)
    await delay(1300) // a look of the watch
  }
  await w.sql('UPDATE members SET role = $$q$$')
  await settled(w, mine, 0)
})

// ---------------------------------------------------------------- partitions, inheritance, no key, TOAST

const PARTED = [
  ACCESS[2], ACCESS[5],
  'CREATE TABLE members (project_id int, user_id int, role text) PARTITION BY LIST (user_id)',
  'CREATE TABLE members_1 PARTITION OF members FOR VALUES IN (1)', 'CREATE TABLE members_2 PARTITION OF members FOR VALUES IN (2) PARTITION BY RANGE (project_id)',
  'CREATE TABLE members_2a PARTITION OF members_2 FOR VALUES FROM (0) TO (4)', 'CREATE TABLE members_2b PARTITION OF members_2 DEFAULT',
  'INSERT INTO members VALUES (1, 1), (2, 1), (1, 2), (5, 2)',
]

test('a partitioned inner table: grants in any leaf, rows that move between leaves', async (t) => {
  const w = await world(t, { sql: PARTED })
  const mine = await both(w)
  const hers = await both(w, { ...SHAPE, where: MINE.replace('= 1', '= 2') })
  for (const leaf of ['members_1', 'members_2a', 'members_2b']) equal([leaf, await identity(w, leaf)], [leaf, 'f'])
  await eachRotates(w, [
    ['INSERT INTO members VALUES (4, 1)', mine, 1],
    ['UPDATE members SET project_id = 2 WHERE project_id = 5', hers, 1],
    // From the one's leaf into the other's.
    ['UPDATE members SET user_id = 2 WHERE user_id = 1 AND project_id = 4', [...mine, ...hers], 2],
    ['DELETE FROM members_2b', hers, 3],
  ])
  rotated(mine, 2)
  await settled(w, [...mine, ...hers])
})

test('an inner leaf by its own name', async (t) => {
  const w = await world(t, { sql: PARTED })
  const all = await both(w, { table: 'items', where: 'project_id IN (SELECT project_id FROM members_2)' })
  await w.sql('INSERT INTO members VALUES (6, 1)')
  await settled(w, all, 0)
  await w.sql('INSERT INTO members VALUES (6, 2)')
  await becomes(w, all, 1)
})

test('a partition of the inner table: created and filled, attached with rows, detached', { timeout: 150000 }, async (t) => {
  const w = await world(t, {
    sql: [
      ACCESS[2], ACCESS[5], 'CREATE TABLE members (project_id int, user_id int) PARTITION BY RANGE (project_id)', 'CREATE TABLE members_a PARTITION OF members FOR VALUES FROM (0) TO (3)',
      'INSERT INTO members VALUES (1, 1)', 'CREATE TABLE loose (project_id int, user_id int)', 'INSERT INTO loose VALUES (4, 1), (4, 2)',
    ],
  })
  const mine = await both(w)
  await settled(w, mine, 0)
  let most = 0
  const step = async (sql, must) => {
    const of = mine[0].refetches.length
    await w.sql(sql)
    if (must) await until(`${sql}: rotated`, () => mine.every((f) => f.refetches.length > of && f.confirmedAt), 30000)
    await settled(w, mine)
    most = mine[0].refetches.length - of
  }
  // An empty partition that comes needn't rotate.
  await step('CREATE TABLE members_c PARTITION OF members FOR VALUES FROM (5) TO (7)')
  await step('INSERT INTO members VALUES (5, 1)', true)
  await step('BEGIN; CREATE TABLE members_d PARTITION OF members FOR VALUES FROM (7) TO (9); INSERT INTO members VALUES (7, 1); COMMIT', true)
  await step('ALTER TABLE members ATTACH PARTITION loose FOR VALUES FROM (3) TO (5)', true)
  await step('DELETE FROM loose WHERE user_id = 1', true)
  await step('ALTER TABLE members DETACH PARTITION members_c', true)
  // What isn't part of it any more doesn't count.
  await step('INSERT INTO members_c VALUES (6, 1)')
  equal(most, 0, 'rotations by a detached table')
})

test('children of an inner table count as Postgres counts them', { timeout: 120000 }, async (t) => {
  const w = await world(t, { sql: [...ACCESS, 'CREATE TABLE guests (until date) INHERITS (members)', "INSERT INTO guests VALUES (60, 4, 1, 'g', '2030-01-01')"] })
  const mine = await both(w)
  await w.agree()
  await w.sql("INSERT INTO guests VALUES (61, 5, 1, 'g', '2030-01-01')")
  await w.agree()
  await w.sql('DELETE FROM guests WHERE id = 60')
  await w.agree()
  await w.sql("CREATE TABLE more (x int) INHERITS (members); INSERT INTO more VALUES (70, 6, 1, 'm', 1)")
  await until('a new child is seen', () => mine.every((f) => f.rows.size > 0 && f.confirmedAt), 20000)
  await w.agree(mine, 30000)
})

test('an inner table without a key, with rows that are the same', async (t) => {
  const w = await world(t, { sql: [ACCESS[2], ACCESS[5], 'CREATE TABLE members (project_id int, user_id int)', 'INSERT INTO members VALUES (1, 1), (1, 1), (2, 1), (2, 1), (2, 2)'] })
  const mine = await both(w)
  await w.sql('DELETE FROM members WHERE ctid = (SELECT min(ctid) FROM members WHERE project_id = 2 AND user_id = 1)')
  await settled(w, mine, 0)
  await eachRotates(w, [
    ['DELETE FROM members WHERE project_id = 2 AND user_id = 1', mine, 1],
    ['UPDATE members SET project_id = 5 WHERE user_id = 1', mine, 2],
  ])
})

test('an outer table without a key', async (t) => {
  const w = await world(t, { sql: [ACCESS[1], ACCESS[4], 'CREATE TABLE items (project_id int, title text)', "INSERT INTO items SELECT g % 6, 'i' || g FROM generate_series(1, 20) g"] })
  const mine = await both(w)
  await w.sql("UPDATE items SET project_id = 1 WHERE title = 'i3'; INSERT INTO items VALUES (5, 'new')")
  await w.sql('INSERT INTO members VALUES (50, 5, 1)')
  await becomes(w, mine, 1)
  await w.sql("DELETE FROM items WHERE title IN ('i5', 'i1')")
  await w.agree()
  rotated(mine, 1)
})

test('TOASTed inner values that an UPDATE leaves alone', async (t) => {
  const big = (c) => `(SELECT string_agg(md5(g::text || '${c}'), '') FROM generate_series(1, 400) g)`
  const w = await world(t, {
    sql: [
      'CREATE TABLE members (id int PRIMARY KEY, project_id int, user_id int, big text)', 'ALTER TABLE members ALTER big SET STORAGE EXTERNAL', ACCESS[2], ACCESS[5],
      `INSERT INTO members VALUES (1, 1, 1, ${big('a')}), (2, 2, 1, ${big('b')}), (3, 3, 2, ${big('c')})`, 'ALTER TABLE items ADD code text', `UPDATE items SET code = ${big('b')} WHERE project_id = 2`,
    ],
  })
  const long = await both(w, { table: 'items', columns: 'id,project_id', where: 'project_id IN (SELECT project_id FROM members WHERE length(big) > 5000 AND user_id = 1)' })
  const codes = await both(w, { table: 'items', columns: 'id,project_id', where: 'project_id = 1 OR code IN (SELECT big FROM members WHERE user_id < 5)' })
  await w.agree()
  assert(codes[0].rows.size === 10, `${codes[0].rows.size} rows`)
  await w.sql('UPDATE members SET id = id + 10')
  await settled(w, w.followers, 0)
  // Its big value stands in the old row only.
  await eachRotates(w, [
    ['UPDATE members SET project_id = 4 WHERE user_id = 1 AND project_id = 2', long, 1],
    ['UPDATE members SET user_id = 9 WHERE project_id = 4', long, 2],
  ])
  await becomes(w, codes, 1)
  await eachRotates(w, [["UPDATE members SET big = 'short' WHERE project_id = 1", long, 3]])
})

test('generated columns in the inner condition', async (t) => {
  const sql = ['CREATE TABLE members (id int PRIMARY KEY, project_id int, user_id int, twice int GENERATED ALWAYS AS (user_id * 2) STORED)', 'INSERT INTO members VALUES (1, 1, 1), (2, 2, 2)', ACCESS[2], ACCESS[5]]
  const where = 'project_id IN (SELECT project_id FROM members WHERE twice = 2)'
  const old = await world(t, { sql })
  await refusal(old, { where }, 400, 'generated', 'twice')
  await refusal(old, { where: 'project_id IN (SELECT twice FROM members)' }, 400, 'generated', 'twice')
  const w = await world(t, { version: '18', sql })
  const all = await both(w, { table: 'items', where })
  await eachRotates(w, [
    ['UPDATE members SET user_id = 1 WHERE id = 2', all, 1],
    ['UPDATE members SET user_id = 3 WHERE id = 1', all, 2],
  ])
})

// ---------------------------------------------------------------- manual publishing, rights

test('manual publishing: an inner table that is missing, or not FULL, is named', async (t) => {
  const w = await world(t, { sql: [...ACCESS, FULL('items')], env: MANUAL, start: false })
  await w.sql(`CREATE PUBLICATION ${w.publication} FOR TABLE items`)
  await w.busbar.start()
  await refusal(w, {}, 503, /public\.members/, /publication/)
  await w.sql(`ALTER PUBLICATION ${w.publication} ADD TABLE members`)
  const says = async (pattern) => until(`it says ${pattern}`, async () => pattern.test((await shape(w.busbar.url, { ...SHAPE, offset: '-1' })).text()), 15000, 200)
  await says(/members.*(replica identity|REPLICA IDENTITY)/)
  equal(await identity(w, 'members'), 'd', 'replica identity')
  await w.sql(FULL('members'))
  const mine = await both(w)
  await w.sql('INSERT INTO members VALUES (50, 5, 1)')
  await becomes(w, mine, 1)
  // Taken away, its changes are told no more: the shape can't stay.
  const at = await readAll(w.busbar.url, SHAPE)
  for (const f of mine) await f.stop()
  await w.sql(`ALTER PUBLICATION ${w.publication} DROP TABLE members`)
  await refused(w, at, SHAPE, WATCH_MS)
})

for (const [what, list, said] of [
  ['a row filter', 'items, members WHERE (user_id > 0)', /filter/i],
  ['a column list that leaves out a used column', 'items, members (id, project_id)', /column/i],
])
  test(`manual publishing: ${what} on the inner table`, async (t) => {
    const w = await world(t, { sql: [...ACCESS, FULL('items', 'members')], env: MANUAL, start: false })
    await w.sql(`CREATE PUBLICATION ${w.publication} FOR TABLE ${list}`)
    await w.busbar.start()
    const answer = await shape(w.busbar.url, { ...SHAPE, offset: '-1' })
    assert(answer.status === 503 || answer.status === 400, `${answer.status} ${answer.text()}`)
    assert(/members/.test(answer.text()) && said.test(answer.text()), answer.text())
    await w.sql(`ALTER PUBLICATION ${w.publication} SET TABLE items, members`)
    const mine = await both(w)
    await w.sql('INSERT INTO members VALUES (50, 5, 1)')
    await becomes(w, mine, 1)
  })

test('manual publishing: a row filter that comes later rotates the shape', { timeout: 90000 }, async (t) => {
  const w = await world(t, { sql: [...ACCESS, FULL('items', 'members')], env: MANUAL, start: false })
  await w.sql(`CREATE PUBLICATION ${w.publication} FOR TABLE items, members`)
  await w.busbar.start()
  const at = await readAll(w.busbar.url, SHAPE)
  await w.sql(`ALTER PUBLICATION ${w.publication} SET TABLE items, members WHERE (user_id > 1)`)
  await w.sql('DELETE FROM members WHERE user_id = 1')
  await refused(w, at, SHAPE, WATCH_MS)
  const answer = await shape(w.busbar.url, { ...SHAPE, offset: '-1' })
  assert([400, 503].includes(answer.status) && /filter/i.test(answer.text()) && /members/.test(answer.text()), `${answer.status} ${answer.text()}`)
})

async function roleWorld(t, env, prepare, statements) {
  const w = await world(t, { sql: ACCESS, env, start: false })
  const role = `inner_${w.db}`
  await w.sql(`CREATE ROLE ${role} LOGIN REPLICATION; GRANT CREATE ON DATABASE ${w.db} TO ${role}`)
  for (const text of prepare(w, role)) await w.sql(text)
  w.busbar.databaseUrl = w.pg.url(w.db, role)
  await w.busbar.start()
  await statements(w, role)
}

test('row-level security on the inner table: 503 that names the policy and the table', (t) =>
  roleWorld(
    t, {},
    (w, role) => [
      `ALTER TABLE items OWNER TO ${role}; ALTER TABLE members OWNER TO ${role}`, 'ALTER TABLE members ENABLE ROW LEVEL SECURITY; ALTER TABLE members FORCE ROW LEVEL SECURITY',
      'CREATE POLICY only_readers ON members USING (role = $$a$$)',
    ],
    async (w) => {
      await refusal(w, {}, 503, 'only_readers', 'members')
      await w.sql('ALTER TABLE members NO FORCE ROW LEVEL SECURITY; ALTER TABLE members DISABLE ROW LEVEL SECURITY')
      const mine = await both(w)
      await settled(w, mine, 0)
    },
  ))

test('row-level security that comes later hides nothing from a set unnoticed', { timeout: 90000 }, (t) =>
  roleWorld(
    t, {},
    (w, role) => [`ALTER TABLE items OWNER TO ${role}; ALTER TABLE members OWNER TO ${role}`],
    async (w) => {
      const mine = await both(w)
      await settled(w, mine, 0)
      await w.sql('CREATE POLICY only_readers ON members USING (false); ALTER TABLE members ENABLE ROW LEVEL SECURITY; ALTER TABLE members FORCE ROW LEVEL SECURITY')
      await delay(1500) // a look of the watch
      await w.sql('DELETE FROM members WHERE user_id = 1 AND project_id = 2')
      // Clients are told; who asks anew gets the 503 until somebody mends it.
      await until('told', () => mine.every((f) => f.refetches.length > 0), WATCH_MS)
      await refusal(w, {}, 503, 'only_readers')
      await w.sql('ALTER TABLE members NO FORCE ROW LEVEL SECURITY; ALTER TABLE members DISABLE ROW LEVEL SECURITY')
      await settled(w, mine)
    },
  ))

test('a role that may read some columns of the inner table', (t) =>
  roleWorld(
    t, MANUAL,
    (w, role) => [FULL('items', 'members', 'projects'), `CREATE PUBLICATION ${w.publication} FOR TABLE items, members, projects`, `GRANT SELECT ON items TO ${role}; GRANT SELECT (project_id) ON members TO ${role}`],
    async (w, role) => {
      await refusal(w, {}, 400, 'user_id', `ON "public"."members" TO "${role}"`)
      await refusal(w, { where: 'project_id IN (SELECT id FROM projects)' }, 503, `"public"."projects" TO "${role}"`)
      await w.sql(`GRANT SELECT (user_id) ON members TO ${role}`)
      await until('the right is noticed', async () => (await shape(w.busbar.url, { ...SHAPE, offset: '-1' })).status === 200, 3000)
      const mine = await both(w)
      await w.sql('INSERT INTO members VALUES (50, 5, 1)')
      await becomes(w, mine, 1)
    },
  ))

test('an inner table of somebody else: 503 that says so, and the outer one is served', (t) =>
  roleWorld(
    t, {},
    (w, role) => [`ALTER TABLE items OWNER TO ${role}; GRANT SELECT ON members TO ${role}`],
    async (w) => {
      await refusal(w, {}, 503, /owner of table members/)
      equal((await shape(w.busbar.url, { table: 'items', offset: '-1' })).status, 200, 'the outer table')
    },
  ))

// ---------------------------------------------------------------- restarts

const DOWN = {
  SIGTERM: async (w, meanwhile) => {
    await w.busbar.term()
    await meanwhile()
    await w.busbar.start()
  },
  'kill -9': async (w, meanwhile) => {
    await w.busbar.kill9()
    await meanwhile()
    await w.busbar.start()
  },
  'a crash of Postgres': async (w, meanwhile) => {
    await w.pg.crash()
    await meanwhile()
    await w.busbar.active(60000)
  },
  'both killed': async (w, meanwhile) => {
    await w.busbar.kill9()
    await w.pg.crash()
    await meanwhile()
    await w.busbar.start()
  },
  'a promotion': async (w, meanwhile) => {
    await promote(w)
    await meanwhile()
    await w.busbar.active(60000)
  },
  'a promotion while it is down': async (w, meanwhile) => {
    await w.busbar.term()
    await promote(w)
    await meanwhile()
    await w.busbar.start()
  },
}
const OWN_POSTGRES = /Postgres|both|promotion/

// The server goes on on a new timeline; `copy`: with the files of before, so that it lacks what came since.
async function promote(w, copy) {
  await w.pg.stop()
  if (copy) w.pg.restore(copy)
  w.pg.promoteAtStart()
  await w.pg.start()
  await until('recovery has ended', async () => !(await w.sql('SELECT pg_is_in_recovery() AS r')).rows[0].r)
}

for (const [how, down] of Object.entries(DOWN))
  test(`${how}: a shape whose set stayed keeps its handle and offsets`, { timeout: 120000 }, async (t) => {
    const pg = OWN_POSTGRES.test(how) ? await Postgres.create() : undefined
    const w = await world(t, { pg, sql: ACCESS })
    const mine = await both(w)
    const nested = await both(w, NESTED)
    await w.sql('UPDATE projects SET owner = 1 WHERE id = 1')
    await w.agree()
    await settled(w, [...mine, ...nested])
    const of = nested[0].refetches.length
    const before = await readAll(w.busbar.url, SHAPE)
    for (let i = 0; i < 2; i++) {
      await down(w, () => w.sql(`INSERT INTO items VALUES (${900 + i}, 1, 'while it was down'); INSERT INTO members VALUES (${900 + i}, 5, 77), (${950 + i}, 1, 1); UPDATE members SET role = 'q' WHERE id = 1`))
      const after = await readAll(w.busbar.url, SHAPE, { from: before })
      equal(after.handle, before.handle, 'handle')
      await settled(w, mine, 0)
      await settled(w, nested)
    }
    equal(nested.map((f) => f.refetches.length), [of, of], 'rotations of the nested one')
    await w.sql('INSERT INTO members VALUES (990, 6, 1)')
    await becomes(w, mine, 1)
  })

for (const [how, down] of Object.entries(DOWN))
  test(`${how}: a shape whose set changed meanwhile rotates, and its successor is right`, { timeout: 120000 }, async (t) => {
    const pg = OWN_POSTGRES.test(how) ? await Postgres.create() : undefined
    const w = await world(t, { pg, sql: ACCESS })
    const mine = await both(w)
    const hers = await both(w, { ...SHAPE, where: MINE.replace('= 1', '= 2') })
    await settled(w, mine, 0)
    await settled(w, hers, 0, { project: 3 })
    const at = await readAll(w.busbar.url, SHAPE)
    await down(w, () => w.sql("BEGIN; INSERT INTO members VALUES (50, 5, 1); INSERT INTO items VALUES (900, 5, 'granted'); DELETE FROM members WHERE id = 1; INSERT INTO items VALUES (901, 1, 'secret'); COMMIT"))
    await becomes(w, mine, 1)
    await refused(w, at)
    rotated(hers, 0)
    await settled(w, mine, 1, { project: 5 })
  })

for (const alive of [true, false])
  test(`promoted to a timeline that lacks the change of a set, Busbar ${alive ? 'running' : 'down'} meanwhile: rotated, and right`, { timeout: 120000 }, async (t) => {
    const pg = await Postgres.create()
    const w = await world(t, { pg, sql: ACCESS })
    const mine = await both(w)
    await settled(w, mine, 0)
    await w.busbar.term()
    await pg.stop()
    const copy = pg.save()
    await pg.start()
    await w.busbar.start()
    await w.sql("BEGIN; DELETE FROM members WHERE project_id = 2; INSERT INTO members VALUES (50, 5, 1); INSERT INTO items VALUES (900, 5, 'granted'); COMMIT")
    await becomes(w, mine, 1)
    await settled(w, mine, 1)
    const at = await readAll(w.busbar.url, SHAPE)
    if (!alive) await w.busbar.term()
    await promote(w, copy)
    // It grows past where the old one was.
    await w.sql("INSERT INTO items SELECT g, 1, repeat('x', 200) FROM generate_series(2000, 2400) g")
    if (alive) await w.busbar.active(60000)
    else await w.busbar.start()
    await refused(w, at)
    await settled(w, mine)
    for (const f of mine) assert(f.refetches.length >= 2, `${f.name}: ${f.refetches.length} refetches`)
    equal(mine.map((f) => [...f.rows.values()].filter((row) => row.project_id === '5').length), [0, 0], 'rows of the project that was never granted')
  })

test('after a restart: one of two equal values goes, which rotates at most once a shape; later ones count', { timeout: 120000 }, async (t) => {
  const w = await world(t, { sql: [...ACCESS, 'INSERT INTO members SELECT 200 + g, 1 + g % 2, 1 FROM generate_series(1, 20) g'] })
  const mine = await both(w)
  await settled(w, mine, 0)
  await w.busbar.kill9()
  await w.busbar.start()
  for (let i = 1; i <= 6; i++) {
    await w.sql(`DELETE FROM members WHERE id = ${200 + i}`)
    await settled(w, mine)
    for (const f of mine) assert(f.refetches.length <= 1, `${f.name}: ${f.refetches.length} refetches`)
  }
  t.note(`${mine[0].refetches.length} rotations`)
  const of = mine[0].refetches.length
  await w.sql('DELETE FROM members WHERE project_id = 2')
  await until('a revocation counts', () => mine.every((f) => f.refetches.length > of && f.confirmedAt))
  await settled(w, mine)
})

test('kill -9 right after each grant and revocation: always the rows that Postgres has', { timeout: 150000 }, async (t) => {
  const w = await world(t, { sql: ACCESS })
  const mine = await both(w)
  for (let i = 0; i < 8; i++) {
    await w.sql(i % 2 ? "DELETE FROM members WHERE id = 50; INSERT INTO items VALUES (9000, 5, 'x') ON CONFLICT (id) DO UPDATE SET title = items.title || 'y'" : 'INSERT INTO members VALUES (50, 5, 1)')
    await delay([0, 5, 20, 100][i % 4])
    await w.busbar.kill9()
    await w.busbar.start()
    await settled(w, mine)
  }
})

test('kill -9 while a subquery shape is born', { timeout: 120000 }, async (t) => {
  const w = await world(t, { sql: [...ACCESS, "INSERT INTO items SELECT g, g % 6 + 1, repeat('x', 300) FROM generate_series(1000, 20000) g"] })
  for (let i = 0; i < 6; i++) {
    const f = w.follow({ ...SHAPE, columns: i % 2 ? 'id,project_id' : undefined, replica: i % 4 > 1 ? 'full' : undefined }, i % 2 ? 'poll' : 'sse')
    await delay([1, 10, 30, 80, 200, 400][i])
    await w.busbar.kill9()
    await w.sql(i % 2 ? 'DELETE FROM members WHERE id = 50' : 'INSERT INTO members VALUES (50, 5, 1)')
    await w.busbar.start()
    await f.ready(30000)
  }
  await settled(w, w.followers)
  assert(reasons(w).length < 60, `${reasons(w).length} rotations`)
})

// ---------------------------------------------------------------- births

for (const prepared of [false, true])
  test(`born beside ${prepared ? 'a prepared transaction' : 'a writer'} that revoked before the inner table joined, and commits behind it`, { timeout: 90000 }, async (t) => {
    const w = await world(t, { sql: ACCESS })
    const early = await w.session()
    await early.query("BEGIN; DELETE FROM members WHERE project_id = 2; INSERT INTO members VALUES (50, 5, 1); INSERT INTO items VALUES (900, 2, 'secret')")
    if (prepared) {
      await early.query(`PREPARE TRANSACTION 'i_${w.db}'`)
      t.cleanup(() => w.sql(`ROLLBACK PREPARED 'i_${w.db}'`).catch(() => {}))
    }
    const mine = ['poll', 'sse'].map((mode) => w.follow(SHAPE, mode))
    await delay(700)
    await early.query(prepared ? `COMMIT PREPARED 'i_${w.db}'` : 'COMMIT')
    await Promise.all(mine.map((f) => f.ready(30000)))
    await settled(w, mine)
    for (const f of mine) assert(f.refetches.length <= 1, `${f.name}: ${f.refetches.length} refetches`)
    const of = mine[0].refetches.length
    await w.sql('DELETE FROM members WHERE id = 50')
    await becomes(w, mine, of + 1)
  })

test('born in the middle of a streamed transaction on both tables: all of it counts', { timeout: 120000 }, async (t) => {
  const w = await world(t, { sql: ACCESS })
  await both(w, NESTED) // the tables are published
  const session = await w.session()
  await session.query('BEGIN; INSERT INTO members SELECT g, 6, 50 FROM generate_series(1000, 9000) g; DELETE FROM members WHERE id = 1')
  await session.query("INSERT INTO items SELECT g, 2, repeat('x', 100) FROM generate_series(1000, 4000) g")
  const late = ['poll', 'sse'].map((mode) => w.follow({ ...SHAPE, columns: 'id,project_id' }, mode))
  const still = w.follow({ table: 'items', columns: 'id,project_id', where: MINE.replace('= 1', '= 2') })
  await Promise.all([...late, still].map((f) => f.ready()))
  await session.query("INSERT INTO members VALUES (60, 5, 1); INSERT INTO items VALUES (900, 1, 'secret'), (901, 5, 'granted'); COMMIT")
  await becomes(w, late, 1, 40000)
  await w.agree([still], 40000)
  rotated([still], 0)
})

test('born while a commit was streamed and still counts as running: its set is the one of after it', { timeout: 120000 }, async (t) => {
  const pg = await Postgres.create()
  const w = await world(t, { pg, sql: [...ACCESS, 'CREATE TABLE probe (i int)'] })
  const mine = await both(w)
  await settled(w, mine, 0)
  const writer = await w.session()
  await commitsHang(w, writer)
  const hanging = writer.query("BEGIN; DELETE FROM members WHERE project_id = 2; INSERT INTO members VALUES (50, 5, 1); INSERT INTO items VALUES (900, 2, 'secret'), (901, 5, 'granted'); COMMIT")
  await until('the stream has passed it', () => mine.every((f) => f.refetches.length === 1), 20000)
  const others = [w.follow({ ...SHAPE, replica: 'full' }), w.follow({ table: 'items', where: 'project_id NOT IN (SELECT project_id FROM members WHERE user_id = 1)' }, 'sse')]
  const seen = []
  const watch = setInterval(() => {
    for (const f of [...mine, others[0]]) if ([...f.rows.values()].some((row) => row.title === 'secret')) seen.push(f.name)
  }, 2)
  t.cleanup(() => clearInterval(watch))
  await delay(1000)
  await commitsEnd(w)
  await within('the writer', 10000, hanging)
  await Promise.all(w.followers.map((f) => f.ready(40000)))
  await settled(w, [...mine, others[0]])
  await w.agree()
  equal(seen, [], 'who saw a secret')
  rotated(others, 0)
  rotated(mine, 1)
})

// pg_receivewal is the standby; it stands still most of the time, so that each commit waits for it.
test('born beside steady writers whose commits wait for a slow standby', { timeout: 120000 }, async (t) => {
  const tool = '/usr/lib/postgresql/15/bin/pg_receivewal'
  if (!existsSync(tool)) return cannot(t, `there is no ${tool}`)
  const pg = await Postgres.create()
  const w = await world(t, { pg, sql: ACCESS })
  const standby = spawn(tool, ['-D', temporary('wal'), '--synchronous', '-d', `${pg.url('postgres')}&application_name=slow`], { stdio: 'ignore' })
  t.cleanup(() => standby.kill('SIGKILL'))
  await w.sql("ALTER SYSTEM SET synchronous_standby_names = 'slow'")
  await w.sql('SELECT pg_reload_conf()')
  await until('the standby is there', async () => (await w.sql("SELECT FROM pg_stat_replication WHERE sync_state = 'sync'")).rowCount > 0)
  const naps = setInterval(() => {
    standby.kill('SIGCONT')
    setTimeout(() => standby.kill('SIGSTOP'), 5)
  }, 55)
  t.cleanup(() => clearInterval(naps))
  let [writing, written] = [true, 0]
  const writers = Array.from({ length: 12 }, async (_, k) => {
    const s = await w.session()
    for (let i = 0; writing; i++, written++) {
      const id = 1000 * (k + 1) + (i % 50)
      await s.query(`BEGIN; INSERT INTO members VALUES (${id}, ${(i % 6) + 1}, ${20 + k}) ON CONFLICT (id) DO UPDATE SET project_id = excluded.project_id; INSERT INTO items VALUES (${id}, ${(i % 6) + 1}, 'w') ON CONFLICT (id) DO UPDATE SET project_id = excluded.project_id; COMMIT`)
    }
  })
  const slow = []
  for (let user = 1; user <= 5; user++) {
    const started = Date.now()
    await w.follow({ table: 'items', where: MINE.replace('= 1', `= ${user}`) }, user % 2 ? 'poll' : 'sse').ready(15000)
    slow.push(Date.now() - started)
  }
  writing = false
  await Promise.all(writers)
  clearInterval(naps)
  standby.kill('SIGCONT')
  await w.agree(w.followers, 20000)
  w.undisturbed()
  t.note(`${written} commits; births took ${slow.join(', ')} ms`)
})
