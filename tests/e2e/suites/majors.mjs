// The core on every PostgreSQL that is supported: an official client follows a table, and a short
// history with kills.

import { Shape, ShapeStream } from '@electric-sql/client'
import { preload } from '../lib/busbar.mjs'
import { history } from '../lib/history.mjs'
import { ITEMS, Items, normal, wanted } from '../lib/items.mjs'
import { readAll } from '../lib/http.mjs'
import { difference } from '../lib/follower.mjs'
import { prometheus, scrape } from '../lib/metrics.mjs'
import { VERSIONS } from '../lib/pg.mjs'
import { test } from '../lib/runner.mjs'
import { cluster, world } from '../lib/setup.mjs'
import { assert, equal, LONG, Random, until } from '../lib/util.mjs'

for (const version of VERSIONS) {
  test(`PostgreSQL ${version}: a client follows a table, guard and heartbeat beside it`, async (t) => {
    const p = await prometheus()
    const w = await world(t, { version, sql: [ITEMS], env: { ...p.env, BUSBAR_WAL_LIMIT: '1GB', BUSBAR_HEARTBEAT_INTERVAL: '1s' } })
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
    // What looks at the server beside all that understands it too.
    await until('the guard has looked, and a heartbeat came', async () => {
      const m = await scrape(p.url)
      return m.value('busbar_wal_limit_bytes') === 1e9 && m.value('busbar_slot_state', { state: 'reserved' }) === 1 && m.value('busbar_heartbeat_seconds_count') > 0
    })
    assert(!/WAL guard|cannot look/i.test(w.busbar.output), w.busbar.output)
  })

  test(`PostgreSQL ${version}: random transactions while Busbar and Postgres crash`, { timeout: 600000 }, (t) =>
    history(t, { version, seconds: LONG ? 120 : 14, crashes: ['kill', 'kill', 'postgres'], pause: [1000, 2500] }),
  )
}

// PostgreSQL 18 that calls itself 19.
test('a version newer than those that were tested: a line says so once, and it is served', async (t) => {
  const env = preload(`
#include <dlfcn.h>
#include <string.h>
typedef struct pg_result PGresult;
char *PQfname(const PGresult *res, int field);
char *PQgetvalue(const PGresult *res, int row, int field)
{
	char *(*real)(const PGresult *, int, int) = (char *(*)(const PGresult *, int, int))dlsym(RTLD_NEXT, "PQgetvalue");
	static char later[] = "190001";
	char *value = real(res, row, field);
	return strlen(value) == 6 && strncmp(value, "18", 2) == 0 && strcmp(PQfname(res, field), "current_setting") == 0 ? later : value;
}
`)
  if (!env) return
  const w = await world(t, { version: '18', sql: [ITEMS, "INSERT INTO items (id, name) VALUES (1, 'x')"], env })
  equal((await readAll(w.busbar.url, { table: 'items' })).changes.length, 1, 'rows')
  await w.sql('SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1', [w.slot])
  await until('it has come back', () => w.busbar.output.split('Postgres server version = 190001').length > 2)
  await w.busbar.active()
  const lines = w.busbar.output.split('\n').filter((l) => l.includes('has been tested with'))
  assert(lines.length === 1 && /\[warning\] PostgreSQL 19 is newer than what Busbar has been tested with, 14 to 18/.test(lines[0]), `${lines}`)
  const other = await world(t, { version: '18', sql: [ITEMS] })
  assert(!other.busbar.output.includes('has been tested with'), other.busbar.tail())
})
