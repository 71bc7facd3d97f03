// What nearly every test begins with: a database of its own, a daemon on it, followers of its tables.

import { Busbar } from './busbar.mjs'
import { Follower, tableRows } from './follower.mjs'
import { Postgres } from './pg.mjs'

const clusters = new Map()
let count = 0

// One Postgres of a version for all tests of a process that don't stop it.
export function cluster(version = '15') {
  if (!clusters.has(version)) clusters.set(version, Postgres.create({ version }))
  return clusters.get(version)
}

const ENV = {
  ELECTRIC_ENABLE_INTEGRATION_TESTING: 'true',
}

// Options: pg (a server of the test's own; it is stopped at the end), version, env, sql (statements
// that set up the tables), start: false (no daemon yet), user and password for the daemon.
export async function world(t, { pg, version, env = {}, sql = [], start = true, user, password, database } = {}) {
  const number = ++count // before anything is awaited: worlds may be made side by side
  const server = pg ?? (await cluster(version))
  if (pg) t.cleanup(() => pg.stop('immediate'))
  const name = database ?? `t${process.pid}_${number}`
  if (!database) await server.query('postgres', `CREATE DATABASE ${name}`)
  const stream = `s${process.pid}_${number}`
  const busbar = new Busbar({
    databaseUrl: server.url(name, user, password),
    env: { ...ENV, ELECTRIC_REPLICATION_STREAM_ID: stream, ...env },
  })
  t.onFailure(() => `the daemon's last lines:\n${busbar.tail(Number(process.env.E2E_TAIL ?? 12)).replaceAll(' / ', '\n')}`)
  const w = {
    pg: server,
    db: name,
    slot: `electric_slot_${stream}`,
    publication: `electric_publication_${stream}`,
    busbar,
    followers: [],
    sql: (text, values) => server.query(name, text, values),
    session: async () => {
      const client = await server.connect(name)
      t.cleanup(() => client.end().catch(() => {}))
      return client
    },
    follow(params, mode = 'poll', { url = busbar.url, name: label } = {}) {
      const follower = new Follower({ url, params, mode, name: label }).start()
      w.followers.push(follower)
      t.cleanup(() => follower.stop())
      return follower
    },
    rows: (table, columns, where) => () => tableRows(w.sql, table, columns, where),
    // Every follower, or those given, ends with its table's rows and saw nothing wrong.
    async agree(followers = w.followers, ms = 30000) {
      await Promise.all(followers.map((f) => f.converges(w.rows(f.params.table, f.params.columns?.split(','), withParams(f.params)), ms)))
      for (const f of followers) f.check()
    },
    // No follower was sent back to the start.
    undisturbed(followers = w.followers) {
      for (const f of followers)
        if (f.refetches.length) throw new Error(`${f.name} was told to refetch: ${JSON.stringify(f.refetches.slice(0, 2))}`)
    },
  }
  t.cleanup(async () => {
    await busbar.stop()
    if (!pg) await dropSlot(server, w.slot)
  })
  for (const text of [].concat(sql)) await w.sql(text)
  if (start) await busbar.start()
  return w
}

// A follower's condition with its parameters written in, as literals of unknown type.
function withParams({ where, ...params }) {
  return where?.replace(/\$(\d+)/g, (_, n) => `'${params[`params[${n}]`].replaceAll("'", "''")}'`)
}

// A slot that is left pins WAL and counts against the server's limit.
async function dropSlot(server, slot) {
  for (let i = 0; i < 50; i++) {
    const { rows } = await server.query('postgres', 'SELECT active, active_pid FROM pg_replication_slots WHERE slot_name = $1', [
      slot,
    ])
    if (rows.length === 0) return
    if (!rows[0].active) {
      await server.query('postgres', 'SELECT pg_drop_replication_slot($1)', [slot])
      return
    }
    await server.query('postgres', 'SELECT pg_terminate_backend($1)', [rows[0].active_pid])
    await new Promise((r) => setTimeout(r, 100))
  }
}
