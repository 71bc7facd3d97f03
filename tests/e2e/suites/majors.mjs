// The core on every PostgreSQL that is supported: an official client follows a table, and a short
// history with kills.

import { Shape, ShapeStream } from '@electric-sql/client'
import { history } from '../lib/history.mjs'
import { ITEMS, Items, normal, wanted } from '../lib/items.mjs'
import { difference } from '../lib/follower.mjs'
import { VERSIONS } from '../lib/pg.mjs'
import { test } from '../lib/runner.mjs'
import { cluster, world } from '../lib/setup.mjs'
import { LONG, Random, until } from '../lib/util.mjs'

for (const version of VERSIONS) {
  test(`PostgreSQL ${version}: a client follows a table`, async (t) => {
    const w = await world(t, { version, sql: [ITEMS] })
    const pg = await cluster(version)
    const { rows } = await pg.query('postgres', 'SHOW server_version')
    t.note(rows[0].server_version)
    const items = new Items(w.sql, new Random(1))
    await items.steps(20)
    const abort = new AbortController()
    t.cleanup(() => abort.abort())
    const stream = new ShapeStream({
      url: `${w.busbar.url}/v1/shape`,
      params: { table: 'items' },
      liveSse: true,
      signal: abort.signal,
    })
    const shape = new Shape(stream)
    const converges = async () => {
      let got
      let expected
      await until(
        () => `the client has the table's rows: ${difference(got, expected)}`,
        async () => {
          expected = await wanted(w.sql)
          got = normal(shape.currentRows)
          return JSON.stringify(got) === JSON.stringify(expected)
        },
      )
    }
    await converges()
    for (let round = 0; round < 3; round++) {
      await items.steps(15)
      await converges()
    }
  })

  test(`PostgreSQL ${version}: random transactions while Busbar and Postgres crash`, { timeout: 600000 }, (t) =>
    history(t, { version, seconds: LONG ? 120 : 14, crashes: ['kill', 'kill', 'postgres'], pause: [1000, 2500] }),
  )
}
