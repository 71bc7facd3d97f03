// Subqueries in conditions: which are understood, that a follower has the rows that Postgres selects, and when a shape is
// rotated: with each change of its sets, and only then. Tests called `upstream: …` are scenarios of the tests of
// ElectricSQL; what those say of tags and moves is here that the rows are there, or aren't.

import { ACCESS, becomes, both, MINE, parked, reasons, refusal, refused, rotated, settled, SHAPE, toldNothing } from '../lib/access.mjs'
import { difference, tableRows } from '../lib/follower.mjs'
import { events, get, readAll, shape, shapeUrl } from '../lib/http.mjs'
import { Postgres } from '../lib/pg.mjs'
import { test } from '../lib/runner.mjs'
import { world } from '../lib/setup.mjs'
import { LONG, assert, delay, equal, pause, Random, seed, until } from '../lib/util.mjs'

// ---------------------------------------------------------------- the language

const COLUMNS = 'i2 int2, i4 int4, i8 int8, n numeric, f8 float8, t text, v varchar(10), c char(6), u uuid, b bool, d date, ts timestamptz, m mood'
const LANGUAGE = [
  "CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy')",
  `CREATE TABLE o (id int PRIMARY KEY, parent int, ${COLUMNS})`,
  `CREATE TABLE s (id int PRIMARY KEY, k int, ${COLUMNS})`,
  `CREATE TABLE "Odd name" (id int PRIMARY KEY, "K" int, "the ""x""" int)`,
  'INSERT INTO "Odd name" VALUES (1, 1, 1), (2, 2, 2)',
  'CREATE SCHEMA other',
  'CREATE TABLE other.s (id int PRIMARY KEY, i4 int)',
  'INSERT INTO other.s VALUES (1, 1), (2, 3)',
]

// Few values of each, so that they meet, with several texts of equal ones.
const VALUES = {
  i2: ['0', '1', '2', '5'], i4: ['0', '1', '2', '5'], i8: ['0', '1', '5', '9000000000'],
  n: ['0', '1', '1.0', '1.00', '5', '5.000', '2.5'], f8: ['0', '1', '5', '2.5', '-0'],
  t: ['', 'a', 'A', 'abc', 'abc   '], v: ['', 'a', 'abc', 'abc   '], c: ['', 'a', 'abc'],
  u: ['00000000-0000-0000-0000-000000000000', 'a81bc81b-dead-4e5d-abff-90865d1e13b1'],
  b: ['true', 'false'], d: ['2024-01-01', '2024-02-29'], ts: ['2024-01-01+00', '2024-02-29 12:30+00', '2024-02-29+00'],
  m: ['sad', 'ok', 'happy'],
}

const FORMS = {
  IN: [
    'i4 IN (SELECT i4 FROM s)', 'i4 IN (SELECT i4 FROM s WHERE k = 1)', 'i4 NOT IN (SELECT i4 FROM s WHERE k = 1)',
    'NOT (i4 IN (SELECT i4 FROM s WHERE k = 1))', 'NOT NOT i4 IN (SELECT i4 FROM s WHERE k = 2)',
    'i4 IN (SELECT i4 FROM s WHERE k = 99)', 'i4 NOT IN (SELECT i4 FROM s WHERE k = 99)',
    'i4 IN (SELECT i4 FROM s WHERE i4 IS NOT NULL)', 'i4 NOT IN (SELECT i4 FROM s WHERE i4 IS NOT NULL AND k < 3)',
    '(i4 IN (SELECT i4 FROM s WHERE k = 1)) IS NULL', '(i4 IN (SELECT i4 FROM s WHERE k = 1)) IS NOT TRUE',
    'i4 IN (SELECT DISTINCT i4 FROM s WHERE k = 1)', 'i4 IN (SELECT id FROM s)', 'i4 IN (SELECT k FROM s WHERE i4 = 5)',
  ],
  'ANY and ALL': [
    'i4 = ANY (SELECT i4 FROM s WHERE k = 1)', 'i4 = SOME (SELECT i4 FROM s WHERE k = 1)', 'i4 <> ALL (SELECT i4 FROM s WHERE k = 1)',
    'NOT (i4 = ANY (SELECT i4 FROM s WHERE k = 2))', 'NOT (i4 <> ALL (SELECT i4 FROM s WHERE k = 2))',
    'i4 = ANY (SELECT DISTINCT i4 FROM s)', '(i4, t) = ANY (SELECT i4, t FROM s)', 'i4 <> ALL (SELECT i4 FROM s WHERE k = 99)',
  ],
  'rows, in the order written': [
    '(i4, t) IN (SELECT i4, t FROM s)', '(t, i4) IN (SELECT t, i4 FROM s)', '(t, i4) NOT IN (SELECT t, i4 FROM s WHERE k = 1)',
    'ROW(i4, i2) IN (SELECT i4, i2 FROM s)', '(i4, i2) IN (SELECT i2, i4 FROM s WHERE k < 3)', '(i4, i4) IN (SELECT i2, i4 FROM s)',
    '(i4, i2, b) IN (SELECT i4, i2, b FROM s)', '(i4, n) IN (SELECT i2, f8 FROM s)', '(i2, i4) NOT IN (SELECT i4, k FROM s WHERE k IS NOT NULL)',
  ],
  nested: [
    'i4 IN (SELECT i4 FROM s WHERE k IN (SELECT i4 FROM other.s))',
    'i4 IN (SELECT i4 FROM s WHERE k NOT IN (SELECT i4 FROM other.s WHERE id > 1))',
    'i4 NOT IN (SELECT i4 FROM s WHERE i4 IS NOT NULL AND k IN (SELECT k FROM s WHERE b))',
    'i4 IN (SELECT i4 FROM s WHERE k IN (SELECT k FROM s WHERE i2 IN (SELECT i2 FROM s WHERE i8 IN (SELECT id FROM "Odd name"))))',
    'i4 IN (SELECT i4 FROM s WHERE EXISTS (SELECT 1 FROM other.s x WHERE x.i4 = s.k))',
    'EXISTS (SELECT 1 FROM s WHERE s.i4 = o.i4 AND s.k IN (SELECT id FROM other.s))',
    'EXISTS (SELECT 1 FROM s WHERE s.i4 = o.i4 AND EXISTS (SELECT 1 FROM other.s x WHERE x.id = s.k))',
  ],
  'several, under AND, OR and NOT': [
    'i4 IN (SELECT i4 FROM s WHERE k = 1) AND b', 'i4 IN (SELECT i4 FROM s WHERE k = 1) OR b',
    'i4 IN (SELECT i4 FROM s WHERE k = 1) AND t IN (SELECT t FROM s WHERE k = 2)',
    'i4 IN (SELECT i4 FROM s WHERE k = 1) OR t IN (SELECT t FROM s WHERE k = 2)',
    'NOT (i4 IN (SELECT i4 FROM s WHERE k = 1) OR t IN (SELECT t FROM s WHERE k = 2))',
    'NOT (i4 IN (SELECT i4 FROM s WHERE k = 1) AND NOT t IN (SELECT t FROM s WHERE k = 2 AND t IS NOT NULL))',
    'i4 IN (SELECT i4 FROM s WHERE k = 1) AND i4 NOT IN (SELECT i4 FROM s WHERE k = 2 AND i4 IS NOT NULL)',
    "(i4 IN (SELECT i4 FROM s WHERE k = 1) AND b) OR (t = 'abc' AND NOT i4 IN (SELECT i4 FROM s WHERE k = 1))",
    'i4 IN (SELECT i4 FROM s WHERE k = 1) OR i2 IN (SELECT i4 FROM s WHERE k = 1)',
    'CASE WHEN b THEN i4 IN (SELECT i4 FROM s WHERE k = 1) ELSE i4 IN (SELECT i4 FROM s WHERE k = 2) END',
    'i4 IN (1, 2) AND i4 IN (SELECT i4 FROM s) AND t IS NOT NULL', 'i4 BETWEEN 1 AND 5 AND NOT EXISTS (SELECT 1 FROM s WHERE s.i4 = o.i4 AND s.k = 3)',
    'coalesce(i4, 0) > 0 AND i4 IN (SELECT i4 FROM s)',
  ],
  EXISTS: [
    'EXISTS (SELECT 1 FROM s WHERE s.i4 = o.i4)', 'EXISTS (SELECT FROM s WHERE s.i4 = o.i4 AND s.k = 1)',
    'EXISTS (SELECT * FROM s WHERE o.i4 = s.i4 AND s.t = o.t)', 'NOT EXISTS (SELECT 1 FROM s WHERE s.i4 = o.i4 AND s.k = 1)',
    'NOT EXISTS (SELECT 1 FROM s WHERE s.i4 = o.i4 AND s.t = o.t AND s.k < 3)', 'EXISTS (SELECT 1 FROM s x WHERE x.i4 = o.i4 AND x.b)',
    'EXISTS (SELECT 1 FROM s WHERE k = 1)', 'EXISTS (SELECT 1 FROM s WHERE k = 99)', 'NOT EXISTS (SELECT 1 FROM s WHERE k = 99)',
    'EXISTS (SELECT 1 FROM s)', 'EXISTS (SELECT 1 FROM s WHERE i4 = parent)', 'EXISTS (SELECT 1 FROM s WHERE s.id = o.id AND s.i4 > 0) OR b',
    'EXISTS (SELECT DISTINCT i4 FROM s WHERE s.i4 = o.i4)', 'EXISTS (SELECT k, i4 FROM s WHERE s.n = o.i4)',
  ],
  'names and aliases': [
    'o.i4 IN (SELECT s.i4 FROM s WHERE s.k = 1)', 'public.o.i4 IN (SELECT public.s.i4 FROM public.s WHERE public.s.k = 1)',
    'i4 IN (SELECT x.i4 FROM s x WHERE x.k = 1)', 'i4 IN (SELECT x.i4 AS y FROM s AS x WHERE k = 1)', 'i4 IN (SELECT i4 FROM other.s)',
    'i4 IN (SELECT i4 AS t FROM public.s)', 'i4 IN (SELECT "the ""x""" FROM "Odd name" WHERE "K" > 0)', 'I4 in (select I4 from S where K = 1)',
    'i4 IN (SELECT o.k FROM s o WHERE o.b)',
  ],
  'the outer table inside': [
    'id IN (SELECT parent FROM o)', 'parent IN (SELECT id FROM o WHERE b)', 'parent IN (SELECT x.id FROM o x WHERE x.i4 > 0)',
    'id NOT IN (SELECT parent FROM o WHERE parent IS NOT NULL)', 'EXISTS (SELECT 1 FROM o x WHERE x.parent = o.id)',
    'NOT EXISTS (SELECT 1 FROM o x WHERE x.parent = o.id AND x.b)', 'parent IN (SELECT id FROM o WHERE parent IN (SELECT id FROM o WHERE i4 = 1))',
    'i4 IN (SELECT i4 FROM o WHERE i4 IN (SELECT i4 FROM s WHERE k = 1))',
  ],
  'types that Postgres compares': [
    ...['i2', 'i4', 'i8', 'n', 'f8'].flatMap((x) => ['i2', 'i4', 'i8', 'n', 'f8'].map((y) => `${x} IN (SELECT ${y} FROM s WHERE k = 1)`)),
    ...['t', 'v', 'c'].flatMap((x) => ['t', 'v', 'c'].map((y) => `${x} IN (SELECT ${y} FROM s WHERE k < 3)`)),
    ...['u', 'b', 'd', 'ts', 'm'].map((x) => `${x} IN (SELECT ${x} FROM s WHERE k = 1)`),
    ...['u', 'n', 't', 'c', 'm'].map((x) => `${x} NOT IN (SELECT ${x} FROM s WHERE k = 1 AND ${x} IS NOT NULL)`),
    'd IN (SELECT ts FROM s)', 'ts IN (SELECT d FROM s WHERE k = 1)', 'EXISTS (SELECT 1 FROM s WHERE s.n = o.i4 AND s.c = o.c)',
  ],
  'conditions inside': [
    "i4 IN (SELECT i4 FROM s WHERE t LIKE 'a%' AND b)", 'i4 IN (SELECT i4 FROM s WHERE n BETWEEN 1 AND 5 OR t IS NULL)',
    "i4 IN (SELECT i4 FROM s WHERE m = 'ok')", "i4 IN (SELECT i4 FROM s WHERE lower(t) = 'a' OR u IS NULL)", 'i4 IN (SELECT i4 FROM s WHERE k IN (1, 3))',
    'i4 IN (SELECT i4 FROM s WHERE true)', 'i4 IN (SELECT i4 FROM s WHERE false)', "i4 IN (SELECT i4 FROM s WHERE CASE WHEN b THEN k = 1 ELSE t = 'a' END)",
    'i4 IN (SELECT i4 FROM s WHERE i2 = i4)', "i4 IN (SELECT i4 FROM s WHERE d > '2024-01-15')",
  ],
}
const PARAMS = [
  { where: 'i4 IN (SELECT i4 FROM s WHERE k = $1)', 'params[1]': '1' },
  { where: 't = $2 OR i4 IN (SELECT i4 FROM s WHERE k = $1)', 'params[1]': '2', 'params[2]': "it's" },
  { where: 'EXISTS (SELECT 1 FROM s WHERE s.i4 = o.i4 AND s.t = $1)', 'params[1]': 'a' },
  { where: 'i4 IN (SELECT i4 FROM s WHERE k = ANY($1))', 'params[1]': '{1,2}' },
]
// Beyond what is promised: right rows, or a 400 that says what isn't understood.
const MAYBE = [
  'i4 + 1 IN (SELECT i4 FROM s)', 'i4 IN (SELECT i4 + 1 FROM s)', 'lower(t) IN (SELECT t FROM s)', 'i4 > ANY (SELECT i4 FROM s WHERE k = 1)',
  'i4 = ALL (SELECT i4 FROM s WHERE k = 1)', 'i4 <> ANY (SELECT i4 FROM s WHERE k = 1)', 'i4 IN (SELECT i4 FROM s ORDER BY i4)', '5 IN (SELECT i4 FROM s)',
  'EXISTS (SELECT 1 FROM s WHERE s.i4 > o.i4)', 'i4 IN (SELECT i4 FROM s WHERE s.k = o.parent)', 'i4 IN (VALUES (1), (2))', 'i4 IN (SELECT 1)',
  '(SELECT true)', 'i4 = (SELECT i4 FROM s WHERE id = 1)', 'i4 = ANY (ARRAY(SELECT i4 FROM s))', 'i4 IN (SELECT ALL i4 FROM s)', 'i4 IN (TABLE other.s)',
  "a.i4 IN (SELECT i4 FROM s)", 'EXISTS (SELECT 1 FROM s WHERE s.i4 IS NOT DISTINCT FROM o.i4)', 'EXISTS (SELECT 1 FROM s WHERE s.i4 = o.i4 + 1)',
]

const value = (random, column) => (random.chance(0.15) ? null : random.pick(VALUES[column]))
const names = Object.keys(VALUES)

async function put(session, random, table, id) {
  const extra = random.chance(0.1) ? null : table === 'o' ? random.int(1, 30) : random.int(1, 4)
  const sets = [table === 'o' ? 'parent' : 'k', ...names]
  const list = sets.map((_, i) => `$${i + 2}`).join(', ')
  const update = sets.map((c) => `${c} = excluded.${c}`).join(', ')
  await session.query(`INSERT INTO ${table} (id, ${sets.join(', ')}) VALUES ($1, ${list}) ON CONFLICT (id) DO UPDATE SET ${update}`, [
    id, extra, ...names.map((c) => value(random, c)),
  ])
}

async function languageWorld(t, random) {
  const w = await world(t, { sql: LANGUAGE })
  const session = await w.session()
  for (let id = 1; id <= 40; id++) await put(session, random, 'o', id)
  for (let id = 1; id <= 15; id++) await put(session, random, 's', id)
  return { w, session }
}

const literal = ({ where, ...params }) => where.replace(/\$(\d+)/g, (_, n) => `'${params[`params[${n}]`].replaceAll("'", "''")}'`)

// What the shape's rows are and ought to be; undefined if they are the same.
async function wrong(w, params) {
  let got
  try {
    got = (await readAll(w.busbar.url, { table: 'o', columns: 'id,i4', ...params })).changes.map((c) => JSON.stringify(c.value)).sort()
  } catch (e) {
    return { status: e.answer?.status, text: `${params.where}: ${e.answer ? `${e.answer.status} ${e.answer.text().slice(0, 250)}` : e.message}` }
  }
  const wanted = await tableRows(w.sql, 'o', ['id', 'i4'], literal(params))
  if (JSON.stringify(got) !== JSON.stringify(wanted)) return { text: `${params.where}: ${difference(got, wanted)}` }
}

function none(bad, all) {
  if (bad.length) throw new Error(`${bad.length} of ${all}:\n${bad.join('\n')}`)
}

for (const [what, list] of Object.entries({ ...FORMS, parameters: PARAMS }))
  test(`understood, ${what}: the first rows are those that Postgres selects`, async (t) => {
    const chosen = seed()
    const { w } = await languageWorld(t, new Random(chosen))
    t.note(`seed ${chosen}`)
    const bad = []
    for (const form of list) bad.push((await wrong(w, typeof form === 'string' ? { where: form } : form))?.text)
    none(bad.filter(Boolean), list.length)
  })

test('neither promised nor wrong: right rows, or a 400 that tells of it', async (t) => {
  const { w } = await languageWorld(t, new Random(1))
  const bad = []
  for (const where of MAYBE) {
    const found = await wrong(w, { where })
    if (found && found.status !== 400) bad.push(found.text)
    t.note(`${where}: ${found ? found.text.slice(where.length + 2, where.length + 160) : 'understood'}`)
  }
  none(bad, MAYBE.length)
})

test('each form through random changes of both tables: the rows that Postgres selects', { timeout: 300000 }, async (t) => {
  const chosen = seed()
  t.note(`seed ${chosen}`)
  const random = new Random(chosen)
  const { w, session } = await languageWorld(t, random)
  const all = [...Object.values(FORMS).flat().map((where) => ({ where })), ...PARAMS]
  all.forEach((form, i) => w.follow({ table: 'o', columns: 'id,i4', ...form, replica: i % 3 === 0 ? 'full' : undefined }, i % 4 === 1 ? 'sse' : 'poll'))
  await w.agree(w.followers, 90000)
  for (let round = 0; round < (LONG ? 8 : 4); round++) {
    for (let n = 0; n < 4; n++) {
      await session.query('BEGIN')
      for (let i = random.int(1, 5); i > 0; i--) {
        const table = random.chance(0.3) ? 's' : 'o'
        const id = random.int(1, table === 'o' ? 45 : 20)
        if (random.chance(0.2)) await session.query(`DELETE FROM ${table} WHERE id = $1`, [id])
        else if (random.chance(0.3)) await session.query(`UPDATE ${table} SET ${table === 'o' ? 'parent' : 'k'} = $2 WHERE id = $1`, [id, random.int(1, 4)])
        else await put(session, random, table, id)
      }
      await session.query(random.chance(0.15) ? 'ROLLBACK' : 'COMMIT')
    }
    await w.agree(w.followers, 60000)
  }
  t.note(`${w.followers.reduce((n, f) => n + f.refetches.length, 0)} refetches of ${w.followers.length} followers`)
})

const REFUSED = [
  ['i4 IN (SELECT i4 FROM s LIMIT 1)', /LIMIT/i], ['i4 IN (SELECT i4 FROM s OFFSET 1)', /OFFSET|LIMIT/i],
  ['i4 IN (SELECT i4 FROM s GROUP BY i4)', /GROUP BY/i], ['i4 IN (SELECT i4 FROM s GROUP BY i4 HAVING count(*) > 1)', /GROUP BY|HAVING/i],
  ['i4 IN (SELECT max(i4) FROM s)', /max|aggregate/i], ['i4 IN (SELECT i4 FROM s UNION SELECT k FROM s)', /UNION|set operation/i],
  ['i4 IN (SELECT s.i4 FROM s JOIN other.s x ON x.i4 = s.i4)', /join|one table|single table/i], ['i4 IN (SELECT s.i4 FROM s, other.s x)', /join|one table|single table|several tables/i],
  ['i4 IN (SELECT i4 FROM (SELECT i4 FROM s) x)', /table/i], ['i4 IN (WITH x AS (SELECT i4 FROM s) SELECT i4 FROM x)', /WITH/i],
  ['i4 IN (SELECT i4 FROM s FOR UPDATE)', /FOR UPDATE|lock/i], ['i4 IN (SELECT DISTINCT ON (k) i4 FROM s)', /DISTINCT ON/i],
  ['i4 IN (SELECT row_number() OVER () FROM s)', /window|OVER|row_number|aggregat/i],
  ['i4 IN (SELECT i4 FROM s WHERE EXISTS (SELECT 1 FROM other.s x WHERE x.i4 = o.i4))', /o\.i4|correlat|enclos|outer|levels?/i],
  ['EXISTS (SELECT 1 FROM s WHERE s.k = 1 AND EXISTS (SELECT 1 FROM other.s x WHERE x.i4 = o.i4 AND x.id = s.id))', /o\.i4|correlat|enclos|outer|levels?/i],
  ['i4 IN (SELECT i4 FROM nope)', /nope/], ['i4 IN (SELECT i4 FROM other.nope)', /nope/], ['i4 IN (SELECT i4 FROM missing.s)', /missing/],
  ['i4 IN (SELECT nope FROM s)', /nope/], ['i4 IN (SELECT i4 FROM s WHERE nope = 1)', /nope/], ['nope IN (SELECT i4 FROM s)', /nope/],
  ['i4 IN (SELECT i4 FROM a_view)', /view/i], ['i4 IN (SELECT i4 FROM a_matview)', /view/i], ['i4 IN (SELECT i4 FROM unlogged)', /unlogged/i],
  ['i4 IN (SELECT relpages FROM pg_class)', /pg_class|catalog|system/i], ['i4 IN (SELECT relpages FROM pg_catalog.pg_class)', /pg_class|catalog|system/i],
  ['t IN (SELECT table_name FROM information_schema.tables)', /information_schema|view|catalog|system/i], ['i4 IN (SELECT last_value FROM a_sequence)', /sequence/i],
  ['i4 IN (SELECT i4 FROM generate_series(1, 5) i4)', /table|function/i], ['i4 IN (SELECT i4, k FROM s)', /returns row/i], ['(i4, t) IN (SELECT i4 FROM s)', /returns int4/i],
  ['i4 IN (SELECT t FROM s)', /operator|type/i], ['i4 IN (SELECT i4 FROM s WHERE ts > now())', /now/], ['i4 IN (SELECT i4 FROM s WHERE random() > 0.5)', /random/],
  ['i4 IN (SELECT ctid FROM s)', /ctid/], ['i4 IN (SELECT i4 FROM s', /syntax/i], ['i4 IN (SELECT i4 FROM s; DROP TABLE s)', /./],
]

test('refused: 400, and the text names it', async (t) => {
  const w = await world(t, {
    sql: [
      ...LANGUAGE, 'CREATE VIEW a_view AS SELECT * FROM s', 'CREATE MATERIALIZED VIEW a_matview AS SELECT * FROM s', 'CREATE UNLOGGED TABLE unlogged (i4 int)',
      'CREATE SEQUENCE a_sequence',
    ],
  })
  const bad = []
  for (const [where, names] of REFUSED) {
    const a = await shape(w.busbar.url, { table: 'o', offset: '-1', where })
    // That a table can't be published is found out when it joins, as for the shape's own.
    if (a.status !== (where.includes('unlogged') ? 503 : 400) || !names.test(a.text())) bad.push(`${where}: ${a.status} ${a.text().slice(0, 250)}`)
  }
  none(bad, REFUSED.length)
  // Who asks for what is refused alters no table, neither one inside nor the shape's own.
  const left = await w.sql("SELECT relname FROM pg_class WHERE relkind = 'r' AND relreplident = 'f'")
  equal(left.rows.map((r) => r.relname).sort(), [], 'tables made REPLICA IDENTITY FULL')
  equal((await w.sql('SELECT tablename FROM pg_publication_tables WHERE pubname = $1', [w.publication])).rows, [], 'published tables')
})

test('a subset takes no subquery of its own', async (t) => {
  const w = await world(t, { sql: ACCESS })
  const a = await shape(w.busbar.url, { ...SHAPE, offset: '-1', subset__where: 'project_id IN (SELECT id FROM projects)' })
  equal(a.status, 400, a.text())
  assert(/subquer/i.test(a.text()), a.text())
})

test('one condition, written in several ways, is one shape', async (t) => {
  const w = await world(t, { sql: ACCESS })
  const handles = new Set()
  for (const where of [MINE, 'project_id in ( select project_id from public.members where user_id=1 )', 'items.project_id IN (SELECT m.project_id FROM members m WHERE m.user_id = 1)'])
    handles.add((await shape(w.busbar.url, { table: 'items', where, offset: '-1' })).handle)
  equal(handles.size, 1, 'handles')
  const of2 = await shape(w.busbar.url, { table: 'items', where: MINE.replace('= 1', '= 2'), offset: '-1' })
  assert(!handles.has(of2.handle), "another user's shape is the same")
})

// ---------------------------------------------------------------- what rotates, and what doesn't

// [what, SQL]: the set of user 1 changes.
const CHANGES = [
  ['granted, by INSERT', 'INSERT INTO members VALUES (50, 5, 1)'],
  ['granted, by an UPDATE of the user', 'UPDATE members SET user_id = 1 WHERE id = 5'],
  ['revoked, by DELETE', 'DELETE FROM members WHERE id IN (2, 3)'],
  ['revoked, by an UPDATE of the user', 'UPDATE members SET user_id = 9 WHERE id IN (2, 3)'],
  ['revoked by NULL', 'UPDATE members SET user_id = NULL WHERE id IN (2, 3)'],
  ['moved to another project', 'UPDATE members SET project_id = 6 WHERE id IN (2, 3)'],
  ['moved, with another key', 'UPDATE members SET id = id + 100, project_id = 6 WHERE id IN (2, 3)'],
  ['NULL joins the set', 'INSERT INTO members VALUES (50, NULL, 1)'],
  ['one of several changes counts', 'BEGIN; INSERT INTO members VALUES (50, 4, 1), (51, 5, 1); DELETE FROM members WHERE id = 50; COMMIT'],
  ['swapped for another value', 'BEGIN; DELETE FROM members WHERE id IN (2, 3); INSERT INTO members VALUES (50, 6, 1); COMMIT'],
  ['granted to a project without items', 'INSERT INTO members VALUES (50, 77, 1)'],
  ['in a savepoint that is kept', 'BEGIN; SAVEPOINT a; INSERT INTO members VALUES (50, 5, 1); RELEASE a; COMMIT'],
]

for (const [what, sql] of CHANGES)
  test(`rotates once: ${what}`, async (t) => {
    const w = await world(t, { sql: ACCESS })
    const mine = await both(w)
    const other = w.follow({ table: 'items', where: 'project_id IN (SELECT id FROM projects WHERE owner = 1)' })
    const plain = w.follow({ table: 'items' })
    await Promise.all(w.followers.map((f) => f.ready()))
    await settled(w, mine, 0)
    await w.sql(sql)
    await becomes(w, mine, 1)
    await settled(w, mine, 1)
    await w.agree()
    rotated([other, plain], 0)
    assert(reasons(w).length >= 1, `no line says why: ${w.busbar.tail(20)}`)
  })

const IDLE = [
  ["another user's row", 'INSERT INTO members VALUES (50, 5, 3); UPDATE members SET project_id = 1 WHERE id = 50; DELETE FROM members WHERE id = 50'],
  ['a value that is there already', 'INSERT INTO members VALUES (50, 1, 1), (51, 2, 1)'],
  ['one of two equal values goes', 'DELETE FROM members WHERE id = 2'],
  ['another column', "UPDATE members SET role = 'z'"],
  ['nothing at all', 'UPDATE members SET project_id = project_id, user_id = user_id'],
  ['another key', 'UPDATE members SET id = id + 1000'],
  ['0, 1, 0 in one transaction', 'BEGIN; INSERT INTO members VALUES (50, 5, 1); DELETE FROM members WHERE id = 50; COMMIT'],
  ['1, 0, 1 in one transaction', 'BEGIN; DELETE FROM members WHERE id = 1; INSERT INTO members VALUES (50, 1, 1); COMMIT'],
  ['1, 2, 1', 'BEGIN; INSERT INTO members VALUES (50, 1, 1); DELETE FROM members WHERE id = 1; COMMIT'],
  ['1, 2, 1 in two transactions', 'BEGIN; INSERT INTO members VALUES (50, 1, 1); COMMIT; BEGIN; DELETE FROM members WHERE id = 1; COMMIT'],
  ['there and back', 'BEGIN; UPDATE members SET project_id = 6 WHERE id = 1; UPDATE members SET project_id = 1 WHERE id = 1; COMMIT'],
  ['two rows exchange their values', 'UPDATE members SET project_id = 3 - project_id WHERE id IN (1, 2)'],
  ['rolled back', 'BEGIN; INSERT INTO members VALUES (50, 5, 1); ROLLBACK'],
  ['a savepoint that is rolled back', "BEGIN; SAVEPOINT a; INSERT INTO members VALUES (50, 5, 1); DELETE FROM members WHERE id = 1; ROLLBACK TO a; UPDATE items SET title = 'x'; COMMIT"],
  ['an inner row comes and goes outside the condition', 'INSERT INTO members VALUES (50, 5, NULL); UPDATE members SET project_id = 6 WHERE id = 50'],
]

for (const [what, sql] of IDLE)
  test(`rotates nothing: ${what}`, async (t) => {
    const w = await world(t, { sql: ACCESS })
    const mine = await both(w)
    await settled(w, mine, 0)
    const session = await w.session()
    // One statement a message: `a; b` in one would be one transaction.
    for (const statement of sql.split('; ')) await session.query(statement)
    await settled(w, mine, 0)
    // It still counts: what is there goes, all of it, and comes again.
    await w.sql('DELETE FROM members WHERE user_id = 1 AND project_id = 2')
    await becomes(w, mine, 1)
    await w.sql('INSERT INTO members VALUES (900, 2, 1)')
    await becomes(w, mine, 2)
    await settled(w, mine, 2)
  })

const TOGETHER = {
  'a grant and the rows of the project': "INSERT INTO members VALUES (50, 5, 1); INSERT INTO items VALUES (500, 5, 'new'), (501, 1, 'also new'); UPDATE items SET title = 'x' WHERE project_id = 1",
  'the rows first, then the grant': "INSERT INTO items VALUES (500, 5, 'new'), (501, 1, 'also new'); DELETE FROM items WHERE id = 6; INSERT INTO members VALUES (50, 5, 1)",
  'a revocation and a secret': "DELETE FROM members WHERE project_id = 2; INSERT INTO items VALUES (500, 2, 'secret'); UPDATE items SET title = 'secret' WHERE project_id IN (1, 2)",
  'a secret and then the revocation': "INSERT INTO items VALUES (500, 2, 'secret'); UPDATE items SET title = 'secret'; DELETE FROM members WHERE project_id = 2",
}

for (const [what, sql] of Object.entries(TOGETHER))
  for (const size of ['', ', in a transaction that is streamed'])
    test(`in one transaction, ${what}${size}: nothing of it under the old handle, all who wait are told`, async (t) => {
      const w = await world(t, { sql: ACCESS })
      const mine = await both(w)
      await settled(w, mine, 0)
      const waiters = await parked(w)
      const bulk = size ? "INSERT INTO items SELECT g, 1, repeat('y', 100) FROM generate_series(10000, 14000) g;" : ''
      await w.sql(`BEGIN; ${bulk} ${sql}; ${bulk.replace(/10000, 14000/, '20000, 24000')} COMMIT`)
      await toldNothing(waiters)
      await becomes(w, mine, 1)
      // Nor afterwards, from its history.
      for (const offset of ['0_0', '0_inf', waiters.at.offset])
        equal((await shape(w.busbar.url, { ...SHAPE, handle: waiters.at.handle, offset })).status, 409, `status at ${offset}`)
    })

test('one transaction before and one behind the grant: the one before comes under the old handle or the new, none twice', async (t) => {
  const w = await world(t, { sql: ACCESS })
  const mine = await both(w)
  const session = await w.session()
  for (let i = 0; i < 15; i++) {
    await session.query(`INSERT INTO items VALUES (${1000 + i}, 1, 'before')`)
    await session.query(i % 2 ? 'DELETE FROM members WHERE id = 50' : 'INSERT INTO members VALUES (50, 5, 1)')
    await session.query(`INSERT INTO items VALUES (${2000 + i}, 5, 'behind')`)
  }
  await settled(w, mine)
  for (const f of mine) assert(f.refetches.length >= 1 && f.refetches.length <= 15, `${f.name}: ${f.refetches.length} refetches`)
})

test('a long-poll gets its 409 and an event stream its end as soon as the set changes', async (t) => {
  const w = await world(t, { sql: ACCESS })
  const slow = []
  for (let i = 0; i < 6; i++) {
    const waiters = await parked(w)
    await delay(100) // let them park
    await w.sql(i % 2 ? 'DELETE FROM members WHERE id = 50' : 'INSERT INTO members VALUES (50, 5, 1)')
    const { answer, end, ms } = await waiters.ended()
    equal([answer.status, end], [409, 'end'], 'how they end')
    equal(waiters.rows(), [], 'rows')
    slow.push(ms)
  }
  t.note(`after ${slow.join(', ')} ms`)
})

// Its end is what an event stream tells; the next request is one again.
for (const [status, what, rotate, after] of [
  [503, 'the shape`s table is locked', (w) => w.sql('DELETE FROM members WHERE project_id = 2'), 'ROLLBACK'],
  [400, 'a table inside is gone', (w) => w.sql('DROP TABLE members'), `ROLLBACK; ${ACCESS[1]}; ${ACCESS[4]}`],
])
  test(`over SSE, ${what}: the 409 comes first, then the ${status}`, { timeout: 90000 }, async (t) => {
    const w = await world(t, { sql: ACCESS })
    const waiters = await parked(w)
    const { handle, offset } = waiters.at
    const lock = await w.session()
    await lock.query(`BEGIN; ${status === 503 ? 'LOCK TABLE items IN ACCESS EXCLUSIVE MODE' : ''}`)
    await rotate(w)
    await toldNothing(waiters)
    for (let i = 0; i < 2; i++) {
      const stream = await events(shapeUrl(w.busbar.url, { ...SHAPE, handle, offset, live: true, live_sse: true }), () => {})
      equal(stream.response.status, 409, 'status for the old handle over SSE')
      stream.close()
    }
    const fresh = await shape(w.busbar.url, { ...SHAPE, offset: '-1' })
    equal(fresh.status, status, fresh.text().slice(0, 300))
    await lock.query(after)
    let now
    await until('it is served again', async () => (now = await shape(w.busbar.url, { ...SHAPE, offset: '-1' })).status === 200, 20000)
    assert(now.handle && now.handle !== handle, 'the old handle again')
    const rows = await readAll(w.busbar.url, SHAPE)
    const stream = await events(shapeUrl(w.busbar.url, { ...SHAPE, handle: rows.handle, offset: rows.offset, live: true, live_sse: true }), () => {})
    equal(stream.response.status, 200, 'status of the new stream')
    stream.close()
  })

// How soon a shape is made depends on the machine: one that is busy has some whose waiters aren't told.
test('who waits when the set changes is told the new handle, if there is one soon', { timeout: 120000 }, async (t) => {
  const w = await world(t, { sql: ACCESS })
  let named = 0
  for (let user = 11; user < 40 && named < 2; user++) {
    const mine = { ...SHAPE, where: MINE.replace('= 1', `= ${user}`) }
    const waiters = await parked(w, mine)
    await delay(100) // let them park
    await w.sql(`INSERT INTO members VALUES (${user}, 5, ${user})`)
    const { answer, ms } = await waiters.ended()
    equal(answer.status, 409, 'status')
    assert(answer.handle !== waiters.at.handle, 'its own handle')
    const now = await readAll(w.busbar.url, mine)
    if (answer.handle !== undefined) equal(answer.handle, now.handle, 'the handle')
    named += answer.handle !== undefined
    t.note(`after ${ms} ms${answer.handle === undefined ? ', without' : ''}`)
  }
  equal(named, 2, 'answers with a handle')
})

test('the 409 names the new handle once there is one, and a request for the rotated one never gets rows', async (t) => {
  const w = await world(t, { sql: ACCESS })
  const old = await readAll(w.busbar.url, SHAPE)
  await w.sql('INSERT INTO members VALUES (50, 5, 1)')
  await refused(w, old)
  const fresh = await readAll(w.busbar.url, SHAPE)
  assert(fresh.handle !== old.handle, 'the old handle again')
  const again = await shape(w.busbar.url, { ...SHAPE, handle: old.handle, offset: old.offset })
  equal([again.status, again.handle], [409, fresh.handle], 'the answer')
})

// ---------------------------------------------------------------- upstream's scenarios

const FAMILY = [
  'CREATE TABLE parent (id text PRIMARY KEY, active bool NOT NULL DEFAULT true)',
  'CREATE TABLE child (id text PRIMARY KEY, parent_id text NOT NULL REFERENCES parent (id) ON DELETE CASCADE, value text NOT NULL)',
  "INSERT INTO parent VALUES ('p1', true), ('p2', true), ('p3', false)",
  "INSERT INTO child VALUES ('c1', 'p1', 'v'), ('c2', 'p1', 'v'), ('c3', 'p3', 'v')",
]
const ACTIVE = { table: 'child', where: 'parent_id IN (SELECT id FROM parent WHERE active = true)' }

test('upstream: a parent is deactivated, or deleted with its children: no child of it stays', async (t) => {
  for (const sql of ["UPDATE parent SET active = false WHERE id = 'p1'", "DELETE FROM parent WHERE id = 'p1'"]) {
    const w = await world(t, { sql: FAMILY })
    const all = await both(w, ACTIVE)
    await w.sql(sql)
    await becomes(w, all, 1)
    equal(all.map((f) => f.rows.size), [0, 0], 'rows')
    await w.busbar.stop()
  }
})

test('upstream: a child of a deactivated parent comes back with another parent, without a refetch', async (t) => {
  const w = await world(t, { sql: FAMILY })
  const all = await both(w, ACTIVE)
  await w.sql("UPDATE parent SET active = false WHERE id = 'p1'")
  await becomes(w, all, 1)
  await w.sql("UPDATE child SET parent_id = 'p2' WHERE id = 'c1'")
  await until('it is there', () => all.every((f) => f.rows.size === 1))
  await becomes(w, all, 1)
})

test('upstream: a child that goes from one active parent to another is an update', async (t) => {
  const w = await world(t, { sql: FAMILY })
  const all = await both(w, ACTIVE)
  await w.sql("UPDATE child SET parent_id = 'p2' WHERE id = 'c1'")
  await until('it is changed', () => all.every((f) => [...f.rows.values()].some((row) => row.parent_id === 'p2')))
  await becomes(w, all, 0)
})

test('upstream: the inner row, the outer row and its parent change in one transaction', async (t) => {
  const w = await world(t, { sql: FAMILY })
  const all = await both(w, ACTIVE)
  await w.sql("BEGIN; UPDATE parent SET active = true WHERE id = 'p3'; UPDATE child SET parent_id = 'p3', value = 'w' WHERE id = 'c1'; UPDATE parent SET active = false WHERE id = 'p1'; COMMIT")
  await becomes(w, all, 1)
})

const PREMIUM = [
  'CREATE TABLE organizations (id text PRIMARY KEY)',
  'CREATE TABLE organization_tags (org_id text, tag text, PRIMARY KEY (org_id, tag))',
  'CREATE TABLE teams (id text PRIMARY KEY, org_id text)',
  'CREATE TABLE projects (id text PRIMARY KEY, team_id text)',
  'CREATE TABLE tasks (id text PRIMARY KEY, project_id text, title text)',
  "INSERT INTO organizations VALUES ('a'), ('b'), ('c'), ('d')",
  "INSERT INTO organization_tags VALUES ('a', 'premium'), ('b', 'premium'), ('c', 'premium')",
  "INSERT INTO teams VALUES ('ta', 'a'), ('tb', 'b'), ('tc', 'c'), ('td', 'd')",
  "INSERT INTO projects VALUES ('pa', 'ta'), ('pb', 'tb'), ('pc', 'tc'), ('pd', 'td')",
  "INSERT INTO tasks VALUES ('1', 'pa', 't'), ('2', 'pb', 't'), ('3', 'pc', 't'), ('4', 'pd', 't')",
]
const TASKS = {
  table: 'tasks',
  where:
    "project_id IN (SELECT id FROM projects WHERE team_id IN (SELECT id FROM teams WHERE org_id IN (SELECT id FROM organizations WHERE id IN (SELECT org_id FROM organization_tags WHERE tag = 'premium'))))",
}

test('upstream: a team moves between premium organizations, then the old one is premium no more: its tasks stay', async (t) => {
  const w = await world(t, { sql: PREMIUM })
  const all = await both(w, TASKS)
  await w.sql("UPDATE teams SET org_id = 'b' WHERE id = 'tc'")
  await settled(w, all, 0, { table: 'tasks', project: "'pa'" })
  // A set far inside has changed: that may send clients back, and mustn't take a row from them.
  await w.sql("DELETE FROM organization_tags WHERE org_id = 'c'")
  await settled(w, all, undefined, { table: 'tasks', project: "'pa'" })
  for (const f of all) assert([...f.rows.values()].some((row) => row.id === '3'), `${f.name} lost a task`)
  await w.sql("DELETE FROM organization_tags WHERE org_id = 'b'")
  await settled(w, all, undefined, { table: 'tasks', project: "'pa'" })
  for (const f of all) equal([...f.rows.values()].map((row) => row.id).filter((id) => id.length === 1), ['1'], 'tasks')
})

test('upstream: a change of any of four nested tables', async (t) => {
  const w = await world(t, { sql: PREMIUM })
  const all = await both(w, TASKS)
  const steps = [
    "INSERT INTO organization_tags VALUES ('d', 'premium')", "UPDATE teams SET org_id = 'nobody' WHERE id = 'ta'", "UPDATE projects SET team_id = 'tb' WHERE id = 'pa'",
    "DELETE FROM organizations WHERE id = 'd'", "UPDATE organization_tags SET tag = 'free' WHERE org_id = 'b'", "INSERT INTO teams VALUES ('te', 'c'); INSERT INTO projects VALUES ('pe', 'te'); INSERT INTO tasks VALUES ('5', 'pe', 't')",
  ]
  for (const [i, sql] of steps.entries()) {
    await w.sql(sql)
    await until(`step ${i}`, () => all.every((f) => f.refetches.length > i && f.confirmedAt))
    await w.agree()
  }
})

test('upstream: OR, AND and NOT of two subqueries, each of which changes', { timeout: 120000 }, async (t) => {
  const w = await world(t, { sql: ACCESS })
  const A = MINE
  const B = 'project_id IN (SELECT id FROM projects WHERE owner = 1)'
  for (const where of [`${A} OR ${B}`, `${A} AND ${B}`, `NOT (${A} OR ${B})`, `NOT (${A} AND ${B})`, `${A} AND NOT ${B}`, `NOT ${A} OR title LIKE 'item 1%'`]) await both(w, { table: 'items', where })
  const steps = [
    'INSERT INTO members VALUES (50, 4, 1)', 'UPDATE projects SET owner = 1 WHERE id = 2', 'DELETE FROM members WHERE project_id = 2', 'UPDATE projects SET owner = 0 WHERE owner = 1',
    "BEGIN; INSERT INTO members VALUES (60, 6, 1); UPDATE projects SET owner = 1 WHERE id = 6; INSERT INTO items VALUES (600, 6, 'x'); COMMIT",
  ]
  for (const sql of steps) {
    await w.sql(sql)
    await w.agree()
  }
})

// ---------------------------------------------------------------- NULLs and options

test('NULL: a set without values, one with NULL, and a NULL on the left', async (t) => {
  const w = await world(t, { sql: [...ACCESS, 'CREATE TABLE marks (id int PRIMARY KEY)'] })
  const of3 = 'SELECT project_id FROM members WHERE user_id = 3'
  const all = []
  for (const where of [
    `project_id IN (${of3})`, `project_id NOT IN (${of3})`, `NOT project_id IN (${of3})`, `(project_id IN (${of3})) IS NULL`, `(id, project_id) NOT IN (SELECT id, project_id FROM members WHERE user_id = 3)`,
    'EXISTS (SELECT 1 FROM members m WHERE m.project_id = items.project_id AND m.user_id = 3)', 'NOT EXISTS (SELECT 1 FROM members m WHERE m.project_id = items.project_id AND m.user_id = 3)',
  ])
    all.push(...(await both(w, { table: 'items', where })))
  await w.agree()
  const rows = (i) => all[i * 2].rows.size
  equal([rows(0), rows(1), rows(6)], [0, 32, 32], 'rows with an empty set')
  const steps = [
    'INSERT INTO members VALUES (50, NULL, 3)', 'INSERT INTO members VALUES (51, 1, 3)', 'INSERT INTO items VALUES (40, NULL, $$x$$), (41, 1, $$x$$), (42, 2, $$x$$)', 'UPDATE items SET project_id = NULL WHERE id = 41',
    'DELETE FROM members WHERE id = 50', 'UPDATE items SET project_id = 2 WHERE id = 40', 'UPDATE members SET project_id = NULL WHERE id = 51', 'DELETE FROM members WHERE id = 51',
  ]
  for (const sql of steps) {
    await w.sql(sql)
    await w.agree()
  }
  equal([rows(0), rows(6)], [0, 35], 'rows in the end')
  // A NULL that comes or goes is nothing to EXISTS.
  rotated(all.slice(10), 2)
})

test('replica=full, columns, small chunks', { timeout: 120000 }, async (t) => {
  const w = await world(t, { sql: [...ACCESS, "INSERT INTO items SELECT g, g % 6 + 1, repeat('x', 200) || g FROM generate_series(1000, 1600) g"], env: { ELECTRIC_SHAPE_CHUNK_BYTES_THRESHOLD: '10000' } })
  const kinds = [{ replica: 'full' }, { columns: 'id,project_id' }, { columns: 'id' }, { columns: 'id,title', replica: 'full' }, {}]
  for (const more of kinds) await both(w, { ...SHAPE, ...more })
  await w.agree()
  for (let i = 0; i < 3; i++) {
    await w.sql(`UPDATE items SET title = repeat('z', 200) || id || '-${i}' WHERE id % 7 = ${i}; UPDATE items SET project_id = ${i + 1} WHERE id % 50 = ${i}; DELETE FROM items WHERE id % 97 = ${i}`)
    await w.agree()
    await w.sql(i % 2 ? 'DELETE FROM members WHERE id = 50' : 'INSERT INTO members VALUES (50, 5, 1)')
    await becomes(w, w.followers, i + 1)
  }
  await w.agree()
  rotated(w.followers, 3)
})

test('log=changes_only: no first rows; changes come, and a change of the set is a refetch', async (t) => {
  const w = await world(t, { sql: ACCESS })
  const params = { ...SHAPE, log: 'changes_only' }
  let at = await readAll(w.busbar.url, params)
  equal(at.changes, [], 'first rows')
  await w.sql("INSERT INTO items VALUES (500, 1, 'seen'), (501, 5, 'unseen')")
  const live = await shape(w.busbar.url, { ...params, handle: at.handle, offset: at.offset, live: true })
  equal(live.changes().map((c) => c.value.id), ['500'], 'changes')
  await w.sql("BEGIN; INSERT INTO members VALUES (50, 5, 1); INSERT INTO items VALUES (502, 5, 'with the grant'); COMMIT")
  await refused(w, at, params)
  at = await readAll(w.busbar.url, params)
  equal(at.changes, [], 'first rows of the successor')
  await w.sql("INSERT INTO items VALUES (503, 5, 'behind the grant')")
  const more = await shape(w.busbar.url, { ...params, handle: at.handle, offset: at.offset, live: true })
  equal(more.changes().map((c) => c.value.id), ['503'], 'changes')
})

test('composite keys outside and inside, a key of the inner table that changes', async (t) => {
  const w = await world(t, {
    sql: [
      'CREATE TABLE items (a int, b text, project_id int, title text, PRIMARY KEY (b, a))', "INSERT INTO items SELECT g, 'b' || g % 3, g % 4, 'i' FROM generate_series(1, 20) g",
      'CREATE TABLE members (project_id int, user_id int, PRIMARY KEY (user_id, project_id))', 'INSERT INTO members VALUES (1, 1), (2, 1), (3, 2)',
    ],
  })
  const all = await both(w)
  await w.sql('UPDATE members SET project_id = 3 WHERE user_id = 1 AND project_id = 2')
  await becomes(w, all, 1)
  await w.sql('UPDATE items SET a = a + 100, project_id = 1 WHERE project_id = 0')
  await w.sql('BEGIN; UPDATE members SET user_id = 5 WHERE project_id = 1; UPDATE members SET user_id = 1 WHERE user_id = 5; COMMIT')
  await w.sql("INSERT INTO items VALUES (500, 'x', 1, 'mark')")
  await until('the mark', () => all.every((f) => [...f.rows.values()].some((row) => row.a === '500')))
  await becomes(w, all, 1)
})

test('values that are equal and written otherwise: numeric, char(n)', async (t) => {
  const w = await world(t, {
    sql: [
      'CREATE TABLE items (id int PRIMARY KEY, n numeric, c char(4))', "INSERT INTO items VALUES (1, 1.0, 'a'), (2, 2, 'b'), (3, 1, 'c')",
      'CREATE TABLE sets (id int PRIMARY KEY, n numeric, c char(8), v varchar(8))', "INSERT INTO sets VALUES (1, 1.00, 'a', 'a'), (2, 5, 'b', 'b')",
    ],
  })
  const numbers = await both(w, { table: 'items', columns: 'id,n', where: 'n IN (SELECT n FROM sets)' })
  const texts = await both(w, { table: 'items', columns: 'id,n', where: 'c IN (SELECT c FROM sets)' })
  await w.agree()
  equal(numbers[0].rows.size, 2, 'rows')
  // Another text of the same value comes, and the first one goes: the set is the same.
  await w.sql("INSERT INTO sets VALUES (3, 1, 'a  ', 'x')")
  await w.sql('DELETE FROM sets WHERE id = 1')
  await w.sql('UPDATE sets SET n = n + 0.000')
  await w.sql("INSERT INTO items VALUES (10, 1.0000, 'a')")
  await until('the mark', () => w.followers.every((f) => [...f.rows.values()].some((row) => row.id === '10')))
  await becomes(w, [...numbers, ...texts], 0)
  await w.sql("UPDATE sets SET n = 2, c = 'b' WHERE id = 3")
  await becomes(w, [...numbers, ...texts], 1)
})

// ---------------------------------------------------------------- subsets

test('a subset shows no row that was written after its grant had been revoked', { timeout: 120000 }, async (t) => {
  const w = await world(t, { sql: ACCESS })
  const mine = await both(w)
  const session = await w.session()
  let asking = true
  const seen = { 200: 0, 409: 0, 503: 0 }
  const shown = []
  const askers = Array.from({ length: 3 }, async (_, i) => {
    while (asking) {
      const base = { ...SHAPE, offset: 'now' }
      const a = i
        ? await shape(w.busbar.url, { ...base, subset__where: 'id > 0' })
        : await get(shapeUrl(w.busbar.url, base), { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ where: 'id > 0' }) })
      seen[a.status] = (seen[a.status] ?? 0) + 1
      if (a.status === 200 && a.text().includes('secret')) shown.push(a.text().slice(0, 300))
      assert([200, 409, 503].includes(a.status), `${a.status} ${a.text()}`)
    }
  })
  const end = Date.now() + 40000
  for (let i = 0; (i < 25 || seen[200] < 30) && Date.now() < end; i++) {
    await session.query('DELETE FROM members WHERE user_id = 1 AND project_id = 2')
    await session.query("INSERT INTO items VALUES (900, 2, 'secret')")
    await delay(i % 4 ? 15 : 300)
    await session.query('DELETE FROM items WHERE id = 900')
    await session.query('INSERT INTO members VALUES (2, 2, 1)')
    await delay(i % 4 ? 15 : 300)
  }
  asking = false
  await Promise.all(askers)
  equal(shown, [], 'secrets that were shown')
  assert(seen[200] > 10, `hardly any answer: ${JSON.stringify(seen)}`)
  t.note(`answers ${JSON.stringify(seen)}`)
  await settled(w, mine)
})

test('a subset whose grant is revoked while the stream stands still: not one row of afterwards', { timeout: 90000 }, async (t) => {
  const w = await world(t, { sql: ACCESS })
  const mine = await both(w)
  await settled(w, mine, 0)
  const at = await readAll(w.busbar.url, SHAPE)
  const sender = await until('the walsender', async () => (await w.sql('SELECT active_pid AS pid FROM pg_replication_slots WHERE slot_name = $1', [w.slot])).rows[0]?.pid)
  const go = await pause(sender)
  t.cleanup(go)
  await w.sql('DELETE FROM members WHERE user_id = 1 AND project_id = 2')
  await w.sql("INSERT INTO items VALUES (900, 2, 'secret')")
  const asked = shape(w.busbar.url, { ...SHAPE, handle: at.handle, offset: 'now', subset__where: 'id > 0' }, { timeout: 40000 })
  const early = await Promise.race([asked, delay(1500)])
  assert(!early || !early.text().includes('secret'), early?.text())
  assert(!early || early.status !== 200, `rows before the stream has passed: ${early?.text().slice(0, 200)}`)
  go()
  const answer = await asked
  assert(!answer.text().includes('secret'), answer.text())
  equal(answer.status, early ? early.status : 409, answer.text().slice(0, 200))
  await becomes(w, mine, 1)
})

test('who asks for a wrong subset with the handle of before a change of the set is told that first', async (t) => {
  const w = await world(t, { sql: ACCESS })
  const at = await readAll(w.busbar.url, SHAPE)
  const ask = (more) => shape(w.busbar.url, { ...SHAPE, handle: at.handle, offset: at.offset, ...more })
  const wrong = [{ subset__order_by: 'gone_column', subset__limit: '1' }, { subset__limit: '0', subset__where: 'id > 0' }, { subset__where: 'id > ' }, { subset__where: 'gone_column = 1' }]
  for (const more of wrong) equal((await ask(more)).status, 400, JSON.stringify(more))
  await w.sql('DELETE FROM members WHERE user_id = 1 AND project_id = 2')
  await until('the old handle is told', async () => (await ask({})).status === 409)
  for (const more of wrong) equal((await ask(more)).status, 409, JSON.stringify(more))
})

// Its records reach the server's disk with the next commit, and the stream has nothing before.
test('a subset beside a transaction that has written and waits, on a server that writes nothing else', { timeout: 60000 }, async (t) => {
  const pg = await Postgres.create({ settings: { autovacuum: 'off' } })
  const w = await world(t, { pg, sql: ACCESS })
  const at = await readAll(w.busbar.url, SHAPE)
  const idle = await w.session()
  await idle.query("BEGIN; INSERT INTO items VALUES (900, 2, 'not yet')")
  const lsns = (await w.sql('SELECT pg_current_wal_flush_lsn() < pg_current_wal_insert_lsn() AS ahead')).rows[0]
  equal(lsns.ahead, true, 'the WAL is ahead of the disk')
  const a = await shape(w.busbar.url, { ...SHAPE, handle: at.handle, offset: 'now', subset__where: 'id < 10' }, { timeout: 30000 })
  equal([a.status, a.text().includes('not yet')], [200, false], a.text().slice(0, 300))
  await idle.query('COMMIT')
})

test('a subset of a shape whose set stays: its rows, with the shape`s handle', async (t) => {
  const w = await world(t, { sql: ACCESS })
  const at = await readAll(w.busbar.url, SHAPE)
  const a = await shape(w.busbar.url, { ...SHAPE, handle: at.handle, offset: 'now', subset__where: 'id < 10', subset__order_by: 'id' })
  const ids = (await w.sql(`SELECT id FROM items WHERE ${MINE} AND id < 10 ORDER BY id`)).rows.map((r) => String(r.id))
  equal([a.status, a.handle, a.json().data?.map((m) => m.value.id)], [200, at.handle, ids], a.text().slice(0, 300))
})

test('a subset on a server that writes nothing, after a restart', { timeout: 60000 }, async (t) => {
  const pg = await Postgres.create({ settings: { autovacuum: 'off' } })
  const w = await world(t, { pg, sql: ACCESS })
  const at = await readAll(w.busbar.url, SHAPE)
  const confirmed = async () => (await w.sql('SELECT confirmed_flush_lsn = pg_current_wal_insert_lsn() AS all FROM pg_replication_slots WHERE slot_name = $1', [w.slot])).rows[0].all
  await until('the slot is at the end of the WAL', confirmed, 40000)
  await w.busbar.term()
  await w.busbar.start()
  assert(await confirmed(), 'something was written')
  const a = await shape(w.busbar.url, { ...SHAPE, handle: at.handle, offset: 'now', subset__where: 'id < 10' }, { timeout: 30000 })
  equal([a.status, a.handle], [200, at.handle], a.text().slice(0, 300))
})

// ---------------------------------------------------------------- under load

test('shapes born while the inner and the outer table are written without pause', { timeout: 150000 }, async (t) => {
  const w = await world(t, { sql: ACCESS })
  let writing = true
  let written = 0
  const random = new Random(5)
  const writers = Array.from({ length: 3 }, async (_, k) => {
    const s = await w.session()
    for (let i = 0; writing; i++) {
      const id = 1000 * (k + 1) + (i % 40)
      // Users 11 and above are nobody's: most of it touches no shape's set.
      const user = random.chance(0.02) ? random.int(1, 8) : random.int(11, 60)
      await s.query(`BEGIN; INSERT INTO members VALUES (${id}, ${random.int(1, 6)}, ${user}) ON CONFLICT (id) DO UPDATE SET user_id = excluded.user_id, project_id = excluded.project_id`)
      await s.query(`INSERT INTO items VALUES (${id}, ${random.int(1, 6)}, 'w${i}') ON CONFLICT (id) DO UPDATE SET project_id = excluded.project_id, title = excluded.title; COMMIT`)
      written++
    }
  })
  const slow = []
  for (let user = 1; user <= 8; user++)
    for (const where of [`project_id IN (SELECT project_id FROM members WHERE user_id = ${user})`, `project_id NOT IN (SELECT project_id FROM members WHERE user_id = ${user})`]) {
      const started = Date.now()
      const f = w.follow({ table: 'items', where }, user % 2 ? 'poll' : 'sse')
      await f.ready(15000)
      slow.push(Date.now() - started)
    }
  writing = false
  await Promise.all(writers)
  await w.agree(w.followers, 30000)
  t.note(`${written} transactions; births took at most ${Math.max(...slow)} ms; ${w.followers.reduce((n, f) => n + f.refetches.length, 0)} refetches`)
})

test('200 shapes of as many users: one transaction changes the sets of 50, and only these rotate', { timeout: 150000 }, async (t) => {
  const w = await world(t, {
    sql: [
      ACCESS[1], ACCESS[2], 'INSERT INTO members SELECT g, g, g FROM generate_series(1, 200) g', "INSERT INTO items SELECT g, g, 'i' FROM generate_series(1, 260) g",
    ],
  })
  for (let user = 1; user <= 200; user++) w.follow({ table: 'items', where: 'project_id IN (SELECT project_id FROM members WHERE user_id = $1)', 'params[1]': String(user) })
  await Promise.all(w.followers.map((f) => f.ready(60000)))
  await w.sql('BEGIN; INSERT INTO members SELECT 1000 + g, 200 + g, g * 4 FROM generate_series(1, 50) g; UPDATE items SET title = $$new$$; COMMIT')
  const [touched, others] = [w.followers.filter((_, i) => (i + 1) % 4 === 0), w.followers.filter((_, i) => (i + 1) % 4 !== 0)]
  await becomes(w, touched, 1, 60000)
  await w.agree(w.followers, 60000)
  rotated(others, 0)
  equal(w.followers.map((f) => f.rows.size), w.followers.map((_, i) => ((i + 1) % 4 === 0 ? 2 : 1)), 'rows')
})

test('a set that flips faster than anybody fetches: at worst a 503 to come again soon, and right as soon as it is calm', { timeout: 120000 }, async (t) => {
  const w = await world(t, { sql: [...ACCESS, "INSERT INTO items SELECT g, g % 6 + 1, repeat('x', 300) FROM generate_series(1000, 8000) g"] })
  const mine = await both(w)
  const calm = await both(w, { ...SHAPE, where: MINE.replace('= 1', '= 2') })
  let flipping = true
  const session = await w.session()
  const flips = (async () => {
    for (let i = 0; flipping; i++) await session.query(i % 2 ? 'DELETE FROM members WHERE id = 50' : 'INSERT INTO members VALUES (50, 5, 1)')
  })()
  const seen = {}
  const end = Date.now() + 8000
  while (Date.now() < end) {
    // An answer under way is cut when its shape goes.
    const a = await shape(w.busbar.url, { ...SHAPE, offset: '-1' }).catch((e) => ({ status: e.message }))
    seen[a.status] = (seen[a.status] ?? 0) + 1
    if (a.status === 'answer broken off') continue
    assert([200, 409, 503].includes(a.status), `${a.status} ${a.text()}`)
    if (a.status === 503) assert(Number(a.headers['retry-after']) >= 1 && Number(a.headers['retry-after']) <= 10, `retry-after ${a.headers['retry-after']}: ${a.text()}`)
    await delay(20)
  }
  flipping = false
  await flips
  const started = Date.now()
  await w.agree(mine, 5000)
  t.note(`answers ${JSON.stringify(seen)}, ${mine.map((f) => f.refetches.length)} refetches, right after ${Date.now() - started} ms`)
  await w.agree(calm)
  rotated(calm, 0)
  await settled(w, mine)
})

// ---------------------------------------------------------------- who may look where

test('BUSBAR_SUBQUERY_TABLES: another table answers as one that is not there, and is left alone', async (t) => {
  const w = await world(t, { sql: [...ACCESS, 'CREATE SCHEMA auth', 'CREATE TABLE auth.users (id int PRIMARY KEY)'], env: { BUSBAR_SUBQUERY_TABLES: 'public.members, auth.*' } })
  const ask = (from) => shape(w.busbar.url, { table: 'items', offset: '-1', where: `project_id IN (SELECT id FROM ${from})` })
  const [hidden, missing] = [await ask('projects'), await ask('nothing1')]
  equal([hidden.status, missing.status], [400, 400], hidden.text())
  equal(hidden.text().replaceAll('projects', 'T'), missing.text().replaceAll('nothing1', 'T'), 'the texts')
  equal((await w.sql("SELECT relreplident AS i FROM pg_class WHERE relname = 'projects'")).rows[0].i, 'd', 'replica identity of projects')
  equal((await ask('auth.users')).status, 200, 'a schema`s table')
  const mine = await both(w)
  await w.sql('INSERT INTO members VALUES (50, 5, 1)')
  await becomes(w, mine, 1)
  // The outer table may be any.
  equal((await shape(w.busbar.url, { table: 'projects', offset: '-1' })).status, 200, 'the outer table')
})
