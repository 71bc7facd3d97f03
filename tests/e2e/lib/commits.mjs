// Commits that wait for a standby: flushed and streamed, and still running for every snapshot.

import { until } from './util.mjs'

// From here on a commit is flushed and decoded, and not visible to others: it waits for a standby that never
// comes, unless its session has `synchronous_commit = local`. `writer` obeys it already.
export async function commitsHang(w, writer) {
  await w.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
  await w.sql('SELECT pg_reload_conf()')
  await until(
    'the setting is there',
    async () => (await writer.query('SHOW synchronous_standby_names')).rows[0].synchronous_standby_names === 'nobody',
  )
  await commitsWait(w)
}

// Commits that hang end, and others don't any more.
export async function commitsEnd(w) {
  const session = await w.pg.connect(w.db)
  await session.query('SET synchronous_commit = local')
  await session.query('ALTER SYSTEM RESET synchronous_standby_names')
  await session.query('SELECT pg_reload_conf()')
  await session.end()
}

// A session sees the new setting before commits obey it: that takes the checkpointer's own look at the
// configuration. So commits to a table nobody follows, until one waits.
async function commitsWait(w) {
  const probe = await w.session()
  const { pid } = (await probe.query('SELECT pg_backend_pid() AS pid')).rows[0]
  await until('commits wait for the standby', async () => {
    let done = false
    const commit = probe.query('INSERT INTO probe VALUES (1)').finally(() => (done = true))
    for (;;) {
      if (done) return false
      const { rows } = await w.sql('SELECT wait_event FROM pg_stat_activity WHERE pid = $1', [pid])
      if (rows[0]?.wait_event !== 'SyncRep') continue
      await w.sql('SELECT pg_cancel_backend($1)', [pid])
      await commit
      return true
    }
  })
}
