// Keys: after every transaction a client that applies the log in order holds the rows that Postgres has, whatever
// their keys did in it; and what can't be told apart is told to begin again.

import { test } from '../lib/runner.mjs'
import { world } from '../lib/setup.mjs'
import { assert, equal } from '../lib/util.mjs'

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
