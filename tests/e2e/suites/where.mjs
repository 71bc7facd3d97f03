// Conditions, end to end: the rows that a follower holds are those that Postgres selects, whatever
// happens to the table; what can't be evaluated is told; nothing of a client's text reaches Postgres.

import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { BINARY, checkForSecrets } from '../lib/busbar.mjs'
import { shape } from '../lib/http.mjs'
import { test } from '../lib/runner.mjs'
import { world } from '../lib/setup.mjs'
import { assert, equal, Random, seed, until, within } from '../lib/util.mjs'

const TABLE = [
  "CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy')",
  'CREATE DOMAIN positive AS int CHECK (VALUE > 0)',
  `CREATE TABLE w (id int PRIMARY KEY, i2 int2, i4 int4, i8 int8, n numeric, n2 numeric(10,2), f4 float4, f8 float8,
     t text, v varchar(20), c char(6), b bool, d date, tm time, ts timestamp, tz timestamptz, iv interval, u uuid,
     a int[], ta text[], m mood, p positive, j json, jb jsonb, by bytea, ip inet)`,
]

// Values of each column, edges among them; NULL comes by itself.
const VALUES = {
  i2: ['0', '1', '-1', '32767', '-32768'],
  i4: ['0', '1', '2', '5', '-5', '2147483647'], // not the one that abs() fails on: Postgres would refuse the snapshot
  i8: ['0', '1', '5', '9000000000', '9223372036854775807'],
  n: ['0', '5', '5.0', '5.00', '1.5', '12345678901234567890.1', '12345678901234567890.2', 'NaN', 'Infinity'],
  n2: ['0', '1.50', '5', '-1.25'],
  f4: ['0', '0.1', '1.5', 'NaN', 'Infinity', '-0'],
  f8: ['0', '0.1', '1.5', '5', 'NaN', '-Infinity', '-0'],
  t: ['', 'abc', 'ABC', 'a%c', 'a\\c', 'a\nc', 'ünïcode', 'ÜNÏCODE', '5', 'it\'s'],
  v: ['', 'abc', 'abd', 'x'],
  c: ['', 'abc', 'abc   ', 'abcdef'],
  b: ['true', 'false'],
  d: ['2024-01-01', '2024-02-29', '0044-03-15 BC', 'infinity', '-infinity'],
  tm: ['00:00', '12:30', '23:59:59.999999', '24:00'],
  ts: ['2024-01-01', '2024-02-29 12:30:15.5', 'infinity', '0044-03-15 12:00 BC'],
  tz: ['2024-01-01+00', '2024-02-29 12:30:15.5+02', '-infinity'],
  iv: ['1 month', '30 days', '720 hours', '-1 day', '1 year 2 mons 3 days 04:05:06.7'],
  u: ['00000000-0000-0000-0000-000000000000', 'a81bc81b-dead-4e5d-abff-90865d1e13b1'],
  a: ['{}', '{1,2,3}', '{3,2,1}', '{NULL,1}', '{{1,2},{3,4}}', '[0:1]={7,8}'],
  ta: ['{}', '{x,y}', '{x,NULL}', '{"a b","it\'s"}'],
  m: ['sad', 'ok', 'happy'],
  p: ['1', '7'],
  j: ['{"a": "b"}', '[1]', 'null'],
  jb: ['{"a": "b", "n": 1}', '[1, 2]', '{"a": {"b": [1]}}', 'null', '5'],
  by: ['\\x00', '\\x01ff', '\\x'],
  ip: ['10.0.0.1', '1.2.3.4', '::1'],
}

// The lines of DIFFERENCES.md on filters first: here we agree with Postgres, where Electric doesn't.
const CONDITIONS = [
  'n = 5', 'f8 = 5', 'n IN (1, 5)', 'i4 = 5.0', 'i4::float8 = 5.0', 'f4 = 0.1', 'f4 = f8',
  'n = 12345678901234567890.1', 'f8 > 1.0', "d > '2024-01-01'", 'j IS NOT NULL', 'by IS NOT NULL', 'p IS NOT NULL',
  '(b AND i4 > 0) IS NULL', '(b OR i4 > 0) IS NULL', "i4 <> ALL('{}')", "(i4 = ANY('{NULL,1}')) IS NULL",
  "c = 'abc'", "b::text = 'true'", "ts::text = '2024-01-01 00:00:00'", "n2::text = '1.50'", 'i4::bool',
  "tz + interval '1 day' > '2024-01-01'", "iv = interval '1 month'", "a[2:] = '{2,3}'", "a[:1] = '{1}'", "a[:] = '{1,2,3}'",
  "t LIKE 'a\\%c'", "t LIKE 'a%c'", "t LIKE 'a_c'", "t LIKE '_n_code'", "t ILIKE 'ünïcode'",
  "tm <> '12:30:00'", "d <> '2024-01-01'", "ts IS DISTINCT FROM '2024-01-01'", 'b > false', "iv < '1 year'", "a < '{3}'",
  "m > 'sad'", '-iv < iv', 'iv / 2 < iv', '(i4, t) < (1, \'b\')', 'd < tz', "m = 'ok'", "m IN ('ok', 'happy')", 'p = 7', 'p::int4 > 1',
  "tm = '12:30'", "ts = '2024-01-01'", "tz = '2024-01-01'", "b = 'yes'", "i4 = ' 1'", "u = 'a81bc81bdead4e5dabff90865d1e13b1'",
  "f8 = 'NaN'", "f8 = 'Infinity'", "v || '!' = 'abc!'", "i4 || t = '5abc'", 'concat(i4, t) = \'1abc\'', "i4 = 5::int2",
  'n2 > 1e0', 'f8 < .5', 'i8 = 9000000000', '(i4, t) = (1, \'abc\')', "c || 'x' = 'abcx'", "a::text = '{1,2,3}'",
  'd + 1 > \'2024-01-01\'',
  // The rest of the language.
  "jb->>'a' = 'b'", "j->>'a' = 'b'", `jb @> '{"a": "b"}'`, "jb ? 'n'", "jb ?| '{x,n}'", "jb ?& '{a,n}'", "jb #>> '{a,b,0}' = '1'",
  "jb = '[1, 2]'", "by = '\\x01ff'", 'length(by) > 0', "t ~ '^a.c$'", "t ~* 'ABC'", "t !~ 'b'", "t SIMILAR TO '(a|b)%'",
  "t LIKE 'a!%c' ESCAPE '!'", "CASE WHEN i4 > 0 THEN t = 'abc' ELSE b END", 'nullif(i4, 1) IS NULL', 'i4 % 2 = 1', 'i4 << 1 = 10',
  "date_trunc('month', ts) = '2024-02-01'", 'extract(day from d) = 29', 'length(t) = 3', "substring(t from 1 for 1) = 'a'",
  'abs(i4) = 5', 'round(n2, 1) = 1.5', "w.i4 = 1 OR public.w.t = 'abc'", 'i4 BETWEEN SYMMETRIC 5 AND -5', 'i4 NOT BETWEEN 0 AND 5',
  "a @> '{1,2}'", "a && '{3,9}'", '1 = ANY(a)', '3 < ALL(a)', "'x' = ANY(ta)", 'a[1] = i4', 'cardinality(a) = 3', "ta || 'z'::text @> '{z}'",
  'greatest(i4, i2, 3) = 5', 'coalesce(b, i4 = 1)', "u > '00000000-0000-0000-0000-000000000000'", 'i4 IS NOT DISTINCT FROM i2',
  "upper(v) = 'ABC'", "lower(t) = 'ünïcode'", "tz AT TIME ZONE 'America/Denver' < '2024-01-01'", "iv > '10 days'", "t < 'b' AND v >= 'abc'",
  'NOT b', 'b IS NOT TRUE', 'b IS UNKNOWN', 'true', 'false', 'i4 IN (1, 2, NULL)', 'i4 NOT IN (1, 2)', "t IN ('abc', 'ABC') OR i4 = 5",
]

const PARAMS = [
  { where: 'i4 = $1', 'params[1]': '5' },
  { where: 't = $1 AND i4 > $2', 'params[1]': "it's", 'params[2]': '0' },
  { where: 'i4 = ANY($1)', 'params[1]': '{1,5}' },
  { where: 'd >= $1 AND d < $2', 'params[1]': '2024-01-01', 'params[2]': '2025-01-01' },
  { where: 'm = $1', 'params[1]': 'happy' },
  { where: 'a @> $1', 'params[1]': '{1}' },
]

class Rows {
  constructor(query, random) {
    this.query = query
    this.random = random
    this.next = 1
    this.ids = []
  }
  value(column) {
    return this.random.chance(0.15) ? null : this.random.pick(VALUES[column])
  }
  async insert() {
    const columns = Object.keys(VALUES)
    const id = this.next++
    const list = columns.map((_, i) => `$${i + 2}`).join(', ')
    await this.query(`INSERT INTO w (id, ${columns.join(', ')}) VALUES ($1, ${list})`, [id, ...columns.map((c) => this.value(c))])
    this.ids.push(id)
  }
  async change() {
    const id = this.random.pick(this.ids)
    const action = this.random.int(0, 9)
    if (action === 0) return this.insert()
    if (action === 1) {
      this.ids = this.ids.filter((x) => x !== id)
      return this.query('DELETE FROM w WHERE id = $1', [id])
    }
    if (action === 2) {
      const to = this.next++
      this.ids = this.ids.map((x) => (x === id ? to : x))
      return this.query('UPDATE w SET id = $2 WHERE id = $1', [id, to])
    }
    const columns = Object.keys(VALUES).filter(() => this.random.chance(0.3))
    if (columns.length === 0) return
    const sets = columns.map((c, i) => `${c} = $${i + 2}`).join(', ')
    await this.query(`UPDATE w SET ${sets} WHERE id = $1`, [id, ...columns.map((c) => this.value(c))])
  }
}

test('each follower holds the rows that Postgres selects, through random changes, a restart and kill -9', { timeout: 300000 }, async (t) => {
  const w = await world(t, { sql: TABLE, env: { ELECTRIC_LOG_LEVEL: 'info' } })
  const chosen = seed()
  console.log(`where: E2E_SEED=${chosen}`)
  const random = new Random(chosen)
  const session = await w.session()
  const rows = new Rows((text, values) => session.query(text, values), random)
  for (let i = 0; i < 60; i++) await rows.insert()
  const all = [...CONDITIONS.map((where) => ({ where })), ...PARAMS]
  all.forEach((condition, i) => w.follow({ table: 'w', columns: 'id,i4', ...condition, ...(i % 3 === 0 ? { replica: 'full' } : {}) }))
  await w.agree(w.followers, 90000) // all of these shapes are born at once
  for (let round = 0; round < 6; round++) {
    for (let k = 0; k < 25; k++) {
      await session.query('BEGIN')
      for (let n = random.int(1, 4); n > 0; n--) await rows.change()
      await session.query(random.chance(0.1) ? 'ROLLBACK' : 'COMMIT')
      rows.ids = (await session.query('SELECT id FROM w')).rows.map((r) => r.id)
    }
    if (round === 2) {
      await w.busbar.kill9()
      await w.busbar.start()
    }
    if (round === 4) {
      await w.busbar.term()
      await w.busbar.start()
    }
    await w.agree()
  }
  w.undisturbed()
})

// The truth test's generator (tests/truth) makes the table, its rows and the conditions.
test('random conditions over random changes: the rows that Postgres selects', { timeout: 300000 }, async (t) => {
  const w = await world(t, { start: false })
  const chosen = seed()
  console.log(`where: E2E_SEED=${chosen} (random conditions)`)
  const random = new Random(chosen)
  const made = await promisify(execFile)(process.env.TRUTH, ['--url', w.pg.url(w.db), '--seed', String(chosen), '--conditions', '120'], { maxBuffer: 1 << 24 })
  const conditions = made.stdout.trim().split('\n').map((line) => JSON.parse(line))
  const session = await w.session()
  for (const [name, value] of Object.entries({ bytea_output: 'hex', DateStyle: 'ISO, DMY', TimeZone: 'UTC', extra_float_digits: 1, IntervalStyle: 'iso_8601' }))
    await session.query(`SELECT set_config('${name}', '${value}', false)`)
  await session.query('CREATE TABLE truth.pool AS SELECT * FROM truth.t')
  const columns = (await session.query("SELECT string_agg(quote_ident(attname), ', ') AS list FROM pg_attribute WHERE attrelid = 'truth.t'::regclass AND attnum > 1")).rows[0].list
  const ids = (await session.query('SELECT id FROM truth.t')).rows.map((r) => r.id)
  await w.busbar.start()
  const followers = conditions.map((where) => w.follow({ table: 'truth.t', columns: 'id', where, replica: random.pick(['default', 'full']) }))
  const expected = (where) => async () =>
    (await session.query(`SELECT id::text AS id FROM truth.t WHERE (${where})`)).rows.map((row) => JSON.stringify(row)).sort()
  const agree = async () => {
    for (const f of followers) await f.converges(expected(f.params.where), 60000)
    for (const f of followers) f.check()
  }
  await agree()
  let next = 1000000
  for (let round = 0; round < 3; round++) {
    for (let n = 0; n < 40; n++) {
      const id = random.pick(ids)
      const action = random.int(0, 5)
      // Whole rows only: the conditions are known not to fail on these.
      if (action === 0) await session.query(`INSERT INTO truth.t SELECT ${++next}, ${columns} FROM truth.pool WHERE id = $1`, [random.pick(ids)])
      else if (action === 1) await session.query('DELETE FROM truth.t WHERE id = (SELECT id FROM truth.t WHERE id >= $1 ORDER BY id LIMIT 1)', [id])
      else if (action === 2) await session.query(`UPDATE truth.t SET id = ${++next} WHERE id = (SELECT id FROM truth.t ORDER BY id LIMIT 1)`)
      else await session.query(`UPDATE truth.t SET (${columns}) = (SELECT ${columns} FROM truth.pool p WHERE p.id = $1) WHERE id = (SELECT id FROM truth.t WHERE id >= $2 ORDER BY id LIMIT 1)`, [random.pick(ids), id])
    }
    if (round === 1) {
      await w.busbar.kill9()
      await w.busbar.start()
    }
    await agree()
  }
  w.undisturbed()
})

test('a row that comes in is an insert, one that goes is a delete, in both replica modes', async (t) => {
  const w = await world(t, { sql: ['CREATE TABLE s (id int PRIMARY KEY, n int, v text)', "INSERT INTO s VALUES (1, 1, 'a'), (2, 2, 'b')"] })
  for (const replica of ['default', 'full']) {
    const params = { table: 's', where: 'n > 1', replica }
    const first = await shape(w.busbar.url, { ...params, offset: '-1' })
    let { handle, offset } = first
    const next = async (sql) => {
      await w.sql(sql)
      const answer = await shape(w.busbar.url, { ...params, handle, offset, live: true })
      offset = answer.offset
      return answer.json().filter((m) => m.key).map(({ key, value, old_value: old, headers: h }) => [h.operation, key, value, old])
    }
    equal(await next("UPDATE s SET n = 5, v = 'c' WHERE id = 1"), [['insert', '"public"."s"/"1"', { id: '1', n: '5', v: 'c' }, undefined]])
    const whole = { id: '1', n: '5', v: 'c' }
    equal(await next('UPDATE s SET n = 0 WHERE id = 1'), [['delete', '"public"."s"/"1"', replica === 'full' ? whole : { id: '1' }, undefined]])
    equal(await next('UPDATE s SET n = 9, id = 7 WHERE id = 1'), [['insert', '"public"."s"/"7"', { id: '7', n: '9', v: 'c' }, undefined]])
    equal(await next('UPDATE s SET n = 0, id = 1 WHERE id = 7'), [
      ['delete', '"public"."s"/"7"', replica === 'full' ? { id: '7', n: '9', v: 'c' } : { id: '7' }, undefined],
    ])
    await w.sql("UPDATE s SET v = 'a', n = 1 WHERE id = 1")
  }
})

test('a condition that fails on a row: the row is outside, and the log says so', async (t) => {
  const w = await world(t, { sql: ['CREATE TABLE s (id int PRIMARY KEY, v text)', "INSERT INTO s VALUES (1, '5')"] })
  const f = w.follow({ table: 's', where: 'v::int4 > 1' })
  await f.ready()
  await w.sql("INSERT INTO s VALUES (2, 'x'), (3, '7')")
  await until('the good row is there', () => f.contents().length === 2)
  assert(w.busbar.output.includes('cannot be evaluated for a changed row'), 'a line in the log')
  await w.sql("UPDATE s SET v = 'y' WHERE id = 1")
  await until('a row that fails after a change is gone', () => f.contents().length === 1)
  await w.sql("DELETE FROM s WHERE v !~ '^[0-9]'")
  await w.agree()
  w.undisturbed()
})

test('a part that fails beside one that decides hides no row, in the log as in the snapshot', async (t) => {
  const w = await world(t, { sql: ['CREATE TABLE s (id int PRIMARY KEY, n int, z int, t text)', "INSERT INTO s VALUES (1, 5, 0, 'x'), (2, 5, 0, 'y')"] })
  const followers = ["(n <> 10 / z AND NULL) OR t = 'x'", "n NOT IN (10/z, NULL) OR t='x'", "(10/z BETWEEN NULL AND 1) OR t='x'"].map((where) =>
    w.follow({ table: 's', where }),
  )
  for (const f of followers) await f.ready()
  for (const f of followers) equal(f.contents().map((row) => JSON.parse(row).id), ['1'])
  await w.sql("INSERT INTO s VALUES (3, 5, 0, 'x'), (4, 5, 0, 'y'), (5, 5, NULL, 'x')")
  await w.sql("UPDATE s SET t = 'x' WHERE id = 2")
  await w.agree()
  for (const f of followers) equal(f.contents().map((row) => JSON.parse(row).id).sort(), ['1', '2', '3', '5'])
  w.undisturbed()
})

test('constants that take too much work are refused, and nobody waits for them', async (t) => {
  const w = await world(t, { sql: ['CREATE TABLE s (id int PRIMARY KEY, t text)'] })
  const answers = Promise.all(
    Array.from({ length: 32 }, (_, i) => shape(w.busbar.url, { table: 's', offset: '-1', where: `md5(repeat('ab', ${49000000 + i})) = 'x'` })),
  )
  await within('health answers', 2000, fetch(`${w.busbar.url}/v1/health`))
  for (const answer of await within('all are answered', 5000, answers)) {
    equal(answer.status, 400)
    assert(answer.text().includes('too costly'), answer.text())
  }
})

test('a condition that takes too much work for the old row only, in the last shape of its columns: it rotates', { timeout: 90000 }, async (t) => {
  const w = await world(t, { sql: ['CREATE TABLE s (id int PRIMARY KEY, kind text, body text)', "INSERT INTO s VALUES (1, 'b', repeat('x', 40000))"] })
  const f = w.follow({ table: 's', columns: 'id' })
  await f.ready()
  // The row of before needs more than the budget, the new one is found by its kind: a line of it is written meanwhile.
  const at = await shape(w.busbar.url, { table: 's', where: "kind = 'a' OR md5(repeat(body, 3000)) = 'x'", offset: '-1' })
  equal(at.status, 200, at.text())
  await w.sql("UPDATE s SET kind = 'a' WHERE id = 1")
  await until('it has rotated', async () => [409, 503].includes((await shape(w.busbar.url, { table: 's', where: "kind = 'a' OR md5(repeat(body, 3000)) = 'x'", handle: at.headers['electric-handle'], offset: at.headers['electric-offset'] })).status))
  await w.sql("INSERT INTO s VALUES (2, 'a', 'y')")
  await w.agree()
  w.undisturbed([f])
})

test('a condition that takes too much work for a row: its shapes rotate, all others go on', { timeout: 90000 }, async (t) => {
  const w = await world(t, { sql: ['CREATE TABLE s (id int PRIMARY KEY, t text)'] })
  const costly = { table: 's', where: "md5(repeat(t, 3000000)) = 'x'" }
  const others = [{ table: 's' }, { table: 's', where: "t LIKE '%b%'" }, { table: 's', where: "md5(t) <> 'x'" }].map((params) => w.follow(params))
  const first = await shape(w.busbar.url, { ...costly, offset: '-1' })
  const columns = await shape(w.busbar.url, { ...costly, columns: 'id', offset: '-1' })
  equal([first.status, columns.status], [200, 200])
  for (const f of others) await f.ready()
  for (let i = 0; i < 20; i++) await w.sql(`INSERT INTO s VALUES (${i}, 'abcdefghij')`)
  await w.agree()
  for (const [known, params] of [[first, costly], [columns, { ...costly, columns: 'id' }]]) {
    await until('it is rotated', async () => (await shape(w.busbar.url, { ...params, offset: known.offset, handle: known.handle })).status !== 200)
    const again = await shape(w.busbar.url, { ...params, offset: '-1' })
    equal(again.status, 503)
    assert(again.text().includes('too costly'), again.text())
    assert(Number(again.headers['retry-after']) >= 5, again.headers['retry-after'])
  }
  assert(w.busbar.output.includes('takes too much work for a changed row'), 'a line in the log')
  w.undisturbed()
})

for (const [what, change] of [
  ['an enum gets a label', "ALTER TYPE mood ADD VALUE 'fine' BEFORE 'happy'"],
  ['an enum label is renamed', "ALTER TYPE mood RENAME VALUE 'ok' TO 'okay'"],
  ['the column of a condition gets another type', 'ALTER TABLE s ALTER COLUMN n TYPE int8'],
  ['the column of a condition is dropped', 'ALTER TABLE s DROP COLUMN n'],
]) {
  test(`${what}: shapes whose condition looks at it are rotated`, { timeout: 60000 }, async (t) => {
    const w = await world(t, {
      sql: ["CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy')", 'CREATE TABLE s (id int PRIMARY KEY, m mood, n int)', "INSERT INTO s VALUES (1, 'ok', 1), (2, 'sad', 2)"],
    })
    const params = { table: 's', columns: 'id', where: "m > 'sad' OR n = 1" }
    const first = await shape(w.busbar.url, { ...params, offset: '-1' })
    equal(first.status, 200)
    await w.sql(change)
    await w.sql("INSERT INTO s (id, m) VALUES (3, 'happy')")
    await until('it is rotated', async () => (await shape(w.busbar.url, { ...params, offset: first.offset, handle: first.handle })).status !== 200, 20000)
  })
}

test('nothing of a text reaches Postgres but values', async (t) => {
  const w = await world(t, { sql: ['CREATE TABLE s (id int PRIMARY KEY, "we""ird" text)', 'CREATE TABLE canary (id int)', `INSERT INTO s VALUES (1, 'a')`] })
  const bad = ["'; DROP TABLE canary; --", "\\'; DROP TABLE canary; --", "$$; DROP TABLE canary; $$", "') OR true --", '\\', "''", "E'\\047", '\u2019); DROP TABLE canary', '/*', "x'::text) OR (true"]
  for (const text of bad) {
    const literal = `'${text.replaceAll("'", "''")}'`
    for (const params of [
      { where: '"we""ird" = $1', 'params[1]': text },
      { where: '"we""ird" IN ($1, $2)', 'params[1]': text, 'params[2]': 'b' },
      { where: `"we""ird" = ${literal}` },
      { where: '"we""ird" LIKE $1', 'params[1]': text.replaceAll('\\', '\\\\') },
    ]) {
      const answer = await shape(w.busbar.url, { table: 's', offset: '-1', ...params })
      equal(answer.status, 200, JSON.stringify(params))
      equal(answer.json().filter((m) => m.key).length, 0, JSON.stringify(params))
    }
    for (const where of [text, `id = 1 ${text}`, `"we""ird" = ${text}`]) {
      const answer = await shape(w.busbar.url, { table: 's', offset: '-1', where })
      assert(answer.status === 400 || answer.status === 200, `${answer.status} for ${where}`)
    }
  }
  const file = await shape(w.busbar.url, { table: 's', offset: '-1', where: "pg_read_file('/etc/passwd') = 'x'" })
  equal(file.status, 400)
  equal((await w.sql('SELECT count(*)::int AS n FROM canary')).rows[0].n, 0)
})

test('texts under a collation that cannot be reproduced: equality yes, order no, COLLATE "C" helps', async (t) => {
  const w = await world(t, {
    sql: ['CREATE TABLE s (id int PRIMARY KEY, v text COLLATE "de-x-icu", c text)', "INSERT INTO s VALUES (1, 'a', 'a'), (2, 'b', 'B'), (3, 'ä', 'ä')"],
  })
  const refused = await shape(w.busbar.url, { table: 's', offset: '-1', where: "v < 'b'" })
  equal(refused.status, 400)
  assert(refused.text().includes('COLLATE'), refused.text())
  w.follow({ table: 's', where: "v = 'ä'" })
  w.follow({ table: 's', where: `v COLLATE "C" < 'b'` })
  w.follow({ table: 's', where: "c < 'b'" })
  await w.agree()
  await w.sql("UPDATE s SET v = v || '', c = c || 'x'; INSERT INTO s VALUES (4, 'ab', 'ab'), (5, 'ä', 'c')")
  await w.agree()
  w.undisturbed()
})

test('a label of an enum is renamed: shapes that show it are rotated, for a new one they are not', { timeout: 60000 }, async (t) => {
  const w = await world(t, { sql: ["CREATE TYPE mood AS ENUM ('sad', 'ok')", 'CREATE TABLE s (id int PRIMARY KEY, m mood, ms mood[])', "INSERT INTO s VALUES (1, 'ok', '{ok,sad}')"] })
  for (const columns of ['id', 'id,m', 'id,ms']) w.follow({ table: 's', columns })
  await w.agree()
  await w.sql("ALTER TYPE mood ADD VALUE 'fine'")
  await w.sql("INSERT INTO s VALUES (2, 'fine', '{fine}')")
  await w.agree()
  w.undisturbed()
  await w.sql("ALTER TYPE mood RENAME VALUE 'ok' TO 'okay'")
  await w.agree()
  equal(w.followers.map((f) => f.refetches.length), [0, 1, 1])
})

for (const [what, change] of [
  ['is dropped and made again', 'ALTER TABLE s DROP COLUMN n; ALTER TABLE s ADD COLUMN n int DEFAULT 5'],
  ['changes its name with another', 'ALTER TABLE s RENAME n TO x; ALTER TABLE s RENAME o TO n; ALTER TABLE s RENAME x TO o'],
]) {
  test(`a column that ${what}: its shapes are rotated, though the stream is silent`, { timeout: 60000 }, async (t) => {
    const w = await world(t, { sql: ['CREATE TABLE s (id int PRIMARY KEY, n int, o int)', 'INSERT INTO s VALUES (1, 1, 5), (2, 2, 1), (3, 5, 2)'] })
    for (const params of [{ columns: 'id', where: 'n = 5' }, { columns: 'id,n' }, { columns: 'id', where: 'id > 1' }]) w.follow({ table: 's', ...params })
    await w.agree()
    await w.sql(change)
    await w.agree()
    equal(w.followers.map((f) => f.refetches.length), [1, 1, 0])
  })
}

test('a selected column is rewritten by a new precision: its shapes are rotated, for a wider one they are not', { timeout: 60000 }, async (t) => {
  // Tables of their own: what becomes of which column isn't told where one statement, or two in a second, rewrite the table.
  const w = await world(t, {
    sql: [
      'CREATE TABLE s (id int PRIMARY KEY, n numeric(10,2), v varchar(10))',
      "INSERT INTO s VALUES (1, 1.25, 'a')",
      'CREATE TABLE r (id int PRIMARY KEY, c timestamp(3))',
      "INSERT INTO r VALUES (1, '2024-01-01 00:00:00.6')",
    ],
  })
  for (const column of ['n', 'v']) w.follow({ table: 's', columns: `id,${column}` })
  w.follow({ table: 'r', columns: 'id,c' })
  await w.agree()
  await w.sql('ALTER TABLE s ALTER n TYPE numeric(12,2), ALTER v TYPE varchar(20); ALTER TABLE r ALTER c TYPE timestamp(0)')
  await w.agree()
  await w.sql('ALTER TABLE s ALTER n TYPE numeric, ALTER v TYPE varchar')
  await w.agree()
  equal(w.followers.map((f) => f.refetches.length), [0, 0, 1])
  await w.sql('ALTER TABLE s ALTER n TYPE numeric(12,1)')
  await w.agree()
  equal(w.followers[0].refetches.length, 1)
})

test('shapes that share a snapshot: a condition that fails on a row fails its own shape only', { timeout: 60000 }, async (t) => {
  const w = await world(t, {
    env: { ELECTRIC_DB_POOL_SIZE: '5' },
    sql: ['CREATE TABLE s (id int PRIMARY KEY, n int)', 'INSERT INTO s SELECT i, i % 10 FROM generate_series(1, 100) i'],
  })
  const conditions = Array.from({ length: 30 }, (_, i) => (i % 4 === 2 ? `${i} / n >= 0` : `n = ${i % 10} AND id > ${i}`))
  const answers = await Promise.all(conditions.map((where) => shape(w.busbar.url, { table: 's', offset: '-1', where })))
  for (const [i, where] of conditions.entries()) {
    const { status } = answers[i]
    assert(i % 4 === 2 ? status >= 400 : status === 200, `${status} for ${where}: ${answers[i].text().slice(0, 200)}`)
  }
  for (const [i, where] of conditions.entries()) if (i % 4 !== 2) w.follow({ table: 's', where })
  await w.agree()
  await w.sql('UPDATE s SET n = (n + 1) % 10')
  await w.agree()
  w.undisturbed()
})

test('a generated column in a condition, which the stream lacks, is refused', async (t) => {
  const w = await world(t, { sql: 'CREATE TABLE s (id int PRIMARY KEY, n int, g int GENERATED ALWAYS AS (n * 2) STORED)' })
  const refused = await shape(w.busbar.url, { table: 's', offset: '-1', columns: 'id,n', where: 'g = 4' })
  equal(refused.status, 400)
  assert(refused.text().includes('generated'), refused.text())
  equal((await shape(w.busbar.url, { table: 's', offset: '-1', columns: 'id,n', where: 'n = 4' })).status, 200)
})

test('rows of children with columns of their own, and in another order', async (t) => {
  const w = await world(t, {
    sql: [
      'CREATE TABLE s (id int PRIMARY KEY, n int, v text)',
      'CREATE TABLE extra (more text, PRIMARY KEY (id)) INHERITS (s)',
      'CREATE TABLE turned (v text, more int, n int, id int PRIMARY KEY)',
      'ALTER TABLE turned INHERIT s',
      "INSERT INTO s VALUES (1, 1, 'a'); INSERT INTO extra VALUES (2, 2, 'b', 'x'); INSERT INTO turned VALUES ('c', 9, 3, 3)",
    ],
  })
  for (const where of [undefined, 'n > 1', "v = 'b'"]) w.follow({ table: 's', ...(where ? { where } : {}) })
  await w.agree()
  await w.sql("BEGIN; INSERT INTO extra VALUES (4, 0, 'b', 'y'); UPDATE s SET n = n + 1, v = 'b' WHERE id <> 2; INSERT INTO turned VALUES ('b', 1, 5, 5); UPDATE s SET n = 0 WHERE id = 3; COMMIT")
  await w.agree()
  await w.sql("DELETE FROM s WHERE id IN (3, 4); UPDATE s SET id = id + 10")
  await w.agree()
  w.undisturbed()
})

test('a transaction too large for memory: rows come in, change their key, and leave, several times each', { timeout: 120000 }, async (t) => {
  const w = await world(t, {
    sql: ['CREATE TABLE s (id int PRIMARY KEY, n int, pad text)', "INSERT INTO s SELECT i, i % 7, repeat('x', 300) FROM generate_series(1, 20000) i"],
  })
  for (const where of ['n = 3', 'n IN (1, 2)', 'id % 2 = 0 AND n < 5', 'n > 100']) w.follow({ table: 's', where, replica: where === 'n = 3' ? 'full' : 'default' })
  await w.agree()
  const session = await w.session()
  await session.query('BEGIN')
  for (const sql of ['UPDATE s SET n = (n + 1) % 7', 'UPDATE s SET id = id + 100000 WHERE n < 4', 'UPDATE s SET n = n + 100 WHERE n = 3', 'UPDATE s SET n = n % 7', 'DELETE FROM s WHERE id % 5 = 0'])
    await session.query(sql)
  await session.query('COMMIT')
  await w.agree(w.followers, 60000)
  w.undisturbed()
})

// What `busbar explain` says, beside a daemon that runs or without one.
async function explain(w, args) {
  const env = { PATH: process.env.PATH, DATABASE_URL: w.busbar.databaseUrl }
  const r = await promisify(execFile)(BINARY, ['explain', ...args], { env }).catch((e) => e)
  checkForSecrets(env, `${r.stdout}${r.stderr}`)
  return { status: r.code ?? 0, stdout: r.stdout, stderr: r.stderr }
}

test('busbar explain: what a condition costs, by the tables of the database', async (t) => {
  const w = await world(t, {
    sql: [
      "CREATE TYPE state AS ENUM ('new', 'done')",
      'CREATE TABLE "Items" (id int PRIMARY KEY, owner int, state state, title varchar(20))',
      'CREATE TABLE members (who text, item int, PRIMARY KEY (who, item))',
    ],
    start: false,
  })
  const said = async (where, ...more) => {
    const r = await explain(w, ['--table', '"Items"', '--where', where, '--json', ...more])
    equal([r.status, r.stderr], [0, ''], where)
    return JSON.parse(r.stdout)
  }
  const cheap = await said("owner = 1 AND state = 'new'")
  equal([cheap.table, cheap.cost, cheap.index, cheap.evaluated, cheap.advice], ['public.Items', 'indexed', ['eq(owner, state)'], [], []], 'cheap')
  const dear = await said("title LIKE '%x'")
  equal([dear.cost, dear.index, dear.evaluated.length, dear.advice.length], ['unindexed', [], 1, 1], 'dear')
  const sub = await said('id IN (SELECT item FROM members WHERE who = $1)', '--param', '1=ada')
  equal([sub.cost, sub.subqueries.length, sub.subqueries[0].table, sub.subqueries[0].index], ['indexed', 1, 'public.members', ['eq(who)']], 'subquery')
  const text = await explain(w, ['--table', 'members'])
  assert(text.status === 0 && /cost: +all/.test(text.stdout), text.stdout)
  // Nothing is left behind, and nothing was altered.
  const { rows } = await w.sql('SELECT (SELECT count(*) FROM pg_publication WHERE pubname = $1)::int + (SELECT count(*) FROM pg_replication_slots WHERE slot_name = $2)::int AS n', [
    w.publication,
    w.slot,
  ])
  equal(rows[0].n, 0, 'publication and slot')
})

test('busbar explain: refusals are those of a request, with a status', async (t) => {
  const w = await world(t, { sql: ['CREATE TABLE s (id int PRIMARY KEY)'], start: false })
  for (const [args, status, what] of [
    [['--table', 's', '--where', 'nosuch = 1'], 1, /unknown reference nosuch/],
    [['--table', 's', '--where', 'id IN (SELECT x FROM elsewhere)'], 1, /"elsewhere" does not exist/],
    [['--table', 'nope'], 1, /"nope" does not exist/],
    [['--table', 's', '--param', 'x=1'], 2, /busbar explain --table/],
    [['--where', 'true'], 2, /busbar explain --table/],
  ]) {
    const r = await explain(w, args)
    equal([r.status, what.test(r.stderr), r.stdout], [status, true, ''], `${args.join(' ')}: ${r.stderr}`)
  }
})
