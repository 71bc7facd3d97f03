// `busbar doctor` with real databases that are broken, each in its own way: it says so, the SQL that it prints (or --fix) mends it,
// the second look is clean, and Busbar starts there. Each check's other outcomes: tests/unit/test_doctor.c.

import { spawn } from 'node:child_process'
import net from 'node:net'
import { BINARY, checkForSecrets } from '../lib/busbar.mjs'
import { readAll } from '../lib/http.mjs'
import { Postgres } from '../lib/pg.mjs'
import { test } from '../lib/runner.mjs'
import { cluster, world } from '../lib/setup.mjs'
import { assert, equal, until, within } from '../lib/util.mjs'

const VERSIONS = ['14', '15', '18']
const DOCTOR_MS = 60000
// Many looks, each a process and some connections; or much that is written.
const LONGER = { timeout: 240000 }

// What it says, with the environment that the daemon of `w` has.
async function run(env, args, input = '') {
  const all = { PATH: process.env.PATH, ELECTRIC_SECRET: 'secret-of-the-doctor', ...env }
  const child = spawn(BINARY, ['doctor', ...args], { env: all, stdio: ['pipe', 'pipe', 'pipe'] })
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (d) => (stdout += d))
  child.stderr.on('data', (d) => (stderr += d))
  child.stdin.on('error', () => {})
  child.stdin.end(input)
  const status = await within('the doctor ends', DOCTOR_MS, new Promise((done) => child.on('close', done)))
  checkForSecrets(all, stdout + stderr)
  return { status, stdout, stderr }
}

async function look(env, args = []) {
  const r = await run(env, ['--json', ...args])
  let said
  try {
    said = JSON.parse(r.stdout)
  } catch {
    throw new Error(`no JSON: ${r.stdout} ${r.stderr}`)
  }
  equal(r.status, said.status === 'error' ? 1 : 0, 'exit status')
  said.of = (code) => said.checks.find((c) => c.code === code)
  // Codes of errors and warnings, but for the one that an ordinary server has.
  said.wrong = said.checks.filter((c) => ['error', 'warning'].includes(c.level) && c.code !== 'wal-retention').map((c) => c.code)
  return said
}

const told = (said) => JSON.stringify(said.checks.filter((c) => c.level !== 'ok').map((c) => [c.code, c.level, c.what]))

function found(said, code, level, what) {
  const check = said.of(code)
  assert(check?.level === level && what.test(check.what), `${code}: ${JSON.stringify(check)}; ${told(said)}`)
  return check
}

// The statements for a Postgres of one's own.
const statements = (check) => check.mend.filter((m) => m.sql && m.on.includes('postgres'))

// A database, a role for Busbar that owns it, and its environment. No daemon yet.
async function database(t, { version, pg, role = 'LOGIN REPLICATION', env = {}, sql = [], own = true } = {}) {
  const w = await world(t, { version, pg, start: false })
  const name = `app_${w.slot.replace('electric_slot_', '')}`
  await w.sql(`CREATE ROLE ${name} ${role}`)
  if (own) await w.sql(`ALTER DATABASE ${w.db} OWNER TO ${name}; GRANT ALL ON SCHEMA public TO ${name}; CREATE TABLE items (id int PRIMARY KEY, name text);
    INSERT INTO items VALUES (1, 'a'); ALTER TABLE items OWNER TO ${name}`)
  for (const text of sql) await w.sql(text.replace(/(?<![A-Z])(APP|PUB|DB)(?![A-Z])/g, (_, word) => ({ APP: name, PUB: w.publication, DB: w.db })[word]))
  w.busbar.databaseUrl = w.pg.url(w.db, name)
  Object.assign(w.busbar.env, env)
  w.app = name
  w.doctor = { DATABASE_URL: w.busbar.databaseUrl, ELECTRIC_REPLICATION_STREAM_ID: w.busbar.env.ELECTRIC_REPLICATION_STREAM_ID, ...env }
  t.cleanup(async () => {
    await w.busbar.stop()
    if (!pg) await w.pg.query('postgres', `ALTER DATABASE ${w.db} OWNER TO postgres`)
  })
  return w
}

async function serves(w, table = 'items', rows = 1) {
  await w.busbar.start()
  const r = await readAll(w.busbar.url, { table })
  equal(r.changes.length, rows, 'rows')
  await w.busbar.stop()
}

for (const version of VERSIONS) {
  test(`PostgreSQL ${version}: nothing is wrong, and nothing is disturbed`, async (t) => {
    const w = await database(t, { version })
    const state = () =>
      w.sql(`SELECT (SELECT count(*) FROM pg_publication) AS publications, (SELECT count(*) FROM pg_replication_slots) AS slots,
        (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory') AS locks, (SELECT txid_current_if_assigned() IS NULL) AS none`)
    const before = (await state()).rows[0]
    const first = await look(w.doctor)
    equal(first.wrong.join(), '', `what is wrong: ${told(first)}`)
    found(first, 'slot', 'ok', /none yet/)
    equal(JSON.stringify((await state()).rows[0]), JSON.stringify(before), 'the server afterwards')
    await w.busbar.start()
    await readAll(w.busbar.url, { table: 'items' })
    const lines = w.busbar.output
    const second = await look(w.doctor)
    equal(second.wrong.join(), '', `what is wrong beside a Busbar: ${told(second)}`)
    found(second, 'advisory-lock', 'ok', /a Busbar runs/)
    found(second, 'slot', 'ok', /in use/)
    found(second, 'replica-identity', 'ok', /all published tables/)
    equal(w.busbar.output.slice(lines.length), '', 'what the daemon said meanwhile')
    await w.busbar.stop()
  })

  test(`PostgreSQL ${version}: --fix mends what the role may, and Busbar starts`, LONGER, async (t) => {
    const filter = version === '14' ? '' : "ALTER PUBLICATION PUB SET TABLE items, g, part, filtered WHERE (id > 5), listed (id);"
    const w = await database(t, {
      version,
      env: { ELECTRIC_MANUAL_TABLE_PUBLISHING: 'true' },
      sql: [
        `SET ROLE APP; CREATE TABLE g (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) STORED);
         CREATE TABLE part (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE "part""1" PARTITION OF part FOR VALUES FROM (0) TO (9);
         CREATE TABLE filtered (id int PRIMARY KEY); CREATE TABLE listed (id int PRIMARY KEY, x int);
         CREATE PUBLICATION PUB FOR TABLE items, g, part WITH (publish = 'insert, delete', publish_via_partition_root = true); ${filter}`,
        "ALTER ROLE APP SET statement_timeout = '500ms'; ALTER ROLE APP IN DATABASE DB SET idle_session_timeout = '10min'; ALTER ROLE APP SET wal_sender_timeout = '1s'",
      ],
    })
    const first = await look(w.doctor)
    const expected = ['role-timeouts', 'publication-operations', 'publication-via-root', 'replica-identity', 'wal-sender-timeout']
    if (version !== '14') expected.push('publication-filters')
    if (version === '18') expected.push('generated-columns')
    equal(first.wrong.sort().join(), expected.sort().join(), 'what is wrong')
    found(first, 'publication-operations', 'error', /leaves out update truncate$/)
    if (version !== '14') found(first, 'publication-filters', 'error', /"public"\."filtered", "public"\."listed"/)
    equal(first.applied.length, 0, 'statements that ran without --fix')

    // Nobody agrees: nothing is altered.
    const asked = await run(w.doctor, ['--fix'], 'n\n')
    equal(asked.status, 1, 'exit status')
    assert(/Run this\? \[y\/N\] left as it is/.test(asked.stdout) && !/\bdone\b/.test(asked.stdout), asked.stdout)
    equal((await look(w.doctor)).wrong.length, expected.length, 'what is wrong, still')

    const second = await look(w.doctor, ['--fix', '--yes'])
    assert(second.applied.length >= expected.length && second.applied.every((a) => a.error === null), JSON.stringify(second.applied))
    equal(second.wrong.join(), '', `what is wrong after --fix: ${told(second)}`)
    await w.sql('INSERT INTO g VALUES (1), (2); INSERT INTO part VALUES (3)')
    await serves(w)
    await serves(w, 'part')
    equal((await look(w.doctor)).wrong.join(), '', 'what is wrong after Busbar has run')
  })
}

// ---- what others have to mend: the statements that are printed are run as the superuser ----

async function mendsAs(t, w, code, { count } = {}) {
  const first = await look(w.doctor)
  const list = statements(first.of(code))
  assert(list.length > 0 && (!count || list.length === count), `${code}: ${JSON.stringify(first.of(code))}`)
  assert(list.every((m) => m.fix !== 'yes'), `${code} would be run by --yes: ${JSON.stringify(list)}`)
  const session = await w.session()
  for (const m of list) await session.query(m.sql)
  if (list.some((m) => m.restart)) {
    await w.pg.stop()
    await w.pg.start()
  }
  const second = await look(w.doctor)
  equal(second.of(code).level, 'ok', `${code} after its SQL: ${told(second)}`)
  return second
}

test('the role lacks REPLICATION: the SQL mends it, and the way on RDS is told', async (t) => {
  const w = await database(t, { role: 'LOGIN' })
  found(await look(w.doctor), 'role-replication', 'error', /lacks the REPLICATION attribute/)
  await w.busbar.start({ active: false })
  equal(await w.busbar.exited, 1, 'the daemon ends with')
  assert(/\[emergency\] User does not have the REPLICATION attribute.*run `busbar doctor`/.test(w.busbar.output), w.busbar.output)
  const second = await mendsAs(t, w, 'role-replication')
  equal(second.wrong.join(), '', `what is wrong: ${told(second)}`)
  await serves(w)
})

test('a managed service is recognised, and its way is shown', async (t) => {
  const pg = await Postgres.create({ settings: { wal_level: 'replica' } })
  const w = await database(t, { pg, role: 'LOGIN', sql: ['CREATE ROLE rds_superuser; CREATE ROLE rds_replication'] })
  const { stdout, status } = await run(w.doctor, [])
  equal(status, 1, 'exit status')
  assert(/^Amazon RDS or Aurora, PostgreSQL 15/.test(stdout), stdout)
  assert(/set rds\.logical_replication to 1/.test(stdout) && !/ALTER SYSTEM|cloudsql/.test(stdout), stdout)
  assert(stdout.includes(`GRANT rds_replication TO "${w.app}";`), stdout)
})

test('wal_level is replica: the SQL and a restart mend it', async (t) => {
  const pg = await Postgres.create({ settings: { wal_level: 'replica' } })
  const w = await database(t, { pg })
  await w.busbar.start({ active: false })
  equal(await w.busbar.exited, 1, 'the daemon ends with')
  assert(/\[emergency\] Busbar requires wal_level >= logical.*`busbar doctor`/.test(w.busbar.output), w.busbar.output)
  found(await look(w.doctor), 'wal-level', 'error', /wal_level is replica/)
  // A superuser is asked; --yes doesn't decide it. The file has it then, and Postgres waits for its restart.
  const admin = { ...w.doctor, DATABASE_URL: pg.url(w.db) }
  assert((await look(admin, ['--fix', '--yes'])).applied.every((a) => a.code !== 'wal-level'), 'run by --yes')
  const answered = await run(admin, ['--fix'], 'y\ny\nn\nn\nn\nn\n')
  assert(/wal-level: ALTER SYSTEM SET wal_level = 'logical';\nRun this\? \[y\/N\] done; it takes effect when/.test(answered.stdout), answered.stdout)
  await until('the file was read', async () => /waits for a restart/.test((await look(w.doctor)).of('wal-level').what))
  await pg.stop()
  await pg.start()
  equal((await look(w.doctor)).wrong.join(), '', 'what is wrong')
  await serves(w)
})

test('no slot and no walsender is free', async (t) => {
  const pg = await Postgres.create({ settings: { max_replication_slots: 1, max_wal_senders: 0 } })
  const w = await database(t, { pg })
  await pg.query('postgres', "SELECT pg_create_physical_replication_slot('unused')")
  const first = await look(w.doctor)
  equal(first.wrong.join(), 'replication-slots,wal-senders', `what is wrong: ${told(first)}`)
  found(first, 'replication-connection', 'ok', /not tried/)
  assert(first.of('replication-slots').mend.some((m) => m.sql === "SELECT pg_drop_replication_slot('unused');"), told(first))
  await mendsAs(t, w, 'wal-senders')
  await pg.query('postgres', "SELECT pg_drop_replication_slot('unused')")
  equal((await look(w.doctor)).wrong.join(), '', 'what is wrong')
  await serves(w)
})

test('no publication, and the role may not create one', async (t) => {
  const w = await database(t, { sql: ['ALTER DATABASE DB OWNER TO postgres'] })
  found(await look(w.doctor), 'publication', 'error', /may not create it/)
  await mendsAs(t, w, 'publication')
  equal((await look(w.doctor)).wrong.join(), '', 'what is wrong')
  await serves(w)
})

test("somebody else's publication and tables, policies, a schema: each by its SQL", LONGER, async (t) => {
  const w = await database(t, {
    sql: [
      `ALTER TABLE items OWNER TO postgres; CREATE PUBLICATION PUB FOR TABLE items; CREATE SCHEMA s; CREATE TABLE s.hidden (id int PRIMARY KEY);
       ALTER PUBLICATION PUB ADD TABLE s.hidden; GRANT SELECT ON s.hidden TO APP; CREATE TABLE secured (id int PRIMARY KEY); ALTER PUBLICATION PUB ADD TABLE secured;
       GRANT SELECT ON secured TO APP; ALTER TABLE secured ENABLE ROW LEVEL SECURITY; CREATE POLICY few ON secured USING (id < 5)`,
      'CREATE TABLE loose (id int PRIMARY KEY); GRANT SELECT ON loose TO APP',
    ],
  })
  const first = await look(w.doctor)
  equal(first.wrong.sort().join(), 'publication-rights,replica-identity,row-security,table-ownership,table-select', `what is wrong: ${told(first)}`)
  found(first, 'table-select', 'error', /"public"\."items", "s"\."hidden"/)
  found(first, 'row-security', 'error', /"public"\."secured"/)
  await mendsAs(t, w, 'publication-rights')
  await mendsAs(t, w, 'table-select', { count: 2 })
  await mendsAs(t, w, 'row-security')
  await mendsAs(t, w, 'table-ownership')
  const last = await look(w.doctor)
  if (last.of('replica-identity').level !== 'ok') await mendsAs(t, w, 'replica-identity')
  equal((await look(w.doctor)).wrong.join(), '', `what is wrong: ${told(await look(w.doctor))}`)
  await serves(w)
})

test('connections: a limit of the role', async (t) => {
  const w = await database(t, { role: 'LOGIN REPLICATION CONNECTION LIMIT 3' })
  found(await look(w.doctor), 'connections', 'error', /can have 3/)
  await mendsAs(t, w, 'connections')
})

test('* in synchronous_standby_names is told loudly', async (t) => {
  const pg = await Postgres.create()
  const w = await database(t, { pg })
  pg.configure({ synchronous_standby_names: '*', max_slot_wal_keep_size: '10GB' })
  pg.reload()
  await until('it is noticed', async () => (await look(w.doctor)).of('synchronous-standbys').level === 'error')
  equal((await look(w.doctor)).of('wal-retention').level, 'ok', 'with a limit')
})

// ---- transactions and slots ----

test('a prepared transaction and an open one hold the slot back, then nobody reads it, then it is lost', LONGER, async (t) => {
  const pg = await Postgres.create({ settings: { max_slot_wal_keep_size: '64MB', wal_keep_size: 0, max_wal_size: '64MB', min_wal_size: '32MB' } })
  const w = await database(t, { pg, sql: ['GRANT pg_read_all_stats TO APP; CREATE TABLE big (t text); ALTER TABLE big ALTER t SET STORAGE EXTERNAL'] })
  const session = await w.session()
  await session.query("SET application_name = 'forgetful'; BEGIN; INSERT INTO items VALUES (7, 'x')")
  const { rows } = await session.query('SELECT pg_backend_pid() AS pid')
  // Told as soon as it isn't a passing one: its age is what is looked at.
  const young = await look(w.doctor)
  equal(young.of('long-transactions').level, 'ok', told(young))
  await session.query('COMMIT')
  await w.busbar.start()
  await session.query("BEGIN; INSERT INTO items VALUES (9, 'x'); PREPARE TRANSACTION 'for''gotten'")
  await session.query("BEGIN; INSERT INTO items VALUES (8, 'x')")
  await w.sql("INSERT INTO big SELECT repeat(md5(i::text), 100) FROM generate_series(1, 12000) i")
  await until('Busbar has read it', async () => {
    const said = await look(w.doctor)
    return said.of('slot-held-by-others').level === 'warning' && said.of('slot-held-by-us').level === 'ok'
  })
  const first = found(await look(w.doctor), 'slot-held-by-others', 'warning', /the prepared transaction 'for''gotten' of user "postgres"/)
  equal(statements(first)[0].sql, "ROLLBACK PREPARED 'for''gotten';", 'what ends it')
  await w.sql(statements(first)[0].sql)
  const said = await look(w.doctor)
  const check = found(said, 'slot-held-by-others', 'warning', new RegExp(`process ${rows[0].pid} \\(user "postgres", application "forgetful", .*idle in transaction`))
  equal(statements(check)[0].sql, `SELECT pg_terminate_backend(${rows[0].pid});`, 'what ends it')
  await session.query('COMMIT')
  await w.busbar.stop()

  // Nobody reads the slot now: what is written waits for Busbar; and in the end the slot is lost.
  await w.sql("INSERT INTO big SELECT repeat(md5(i::text), 100) FROM generate_series(1, 12000) i")
  const waits = found(await look(w.doctor), 'slot-held-by-us', 'warning', /wait for Busbar, which doesn't run/)
  assert(statements(waits).every((m) => m.fix === 'never'), JSON.stringify(waits))
  await w.sql("INSERT INTO big SELECT repeat(md5(i::text), 100) FROM generate_series(1, 50000) i")
  await w.sql('CHECKPOINT')
  await until('the slot is lost', async () => /given up the slot/.test((await look(w.doctor)).of('slot').what))
  await serves(w, 'items', 3)
})

test("other consumers' slots, and one of ours that is another database's", async (t) => {
  const pg = await Postgres.create({ settings: { max_slot_wal_keep_size: '64MB' } })
  const w = await database(t, { pg, sql: ['CREATE TABLE big (t text); ALTER TABLE big ALTER t SET STORAGE EXTERNAL'] })
  await pg.query('postgres', "SELECT pg_create_logical_replication_slot('cdc', 'pgoutput')")
  await w.sql("INSERT INTO big SELECT repeat(md5(i::text), 100) FROM generate_series(1, 12000) i")
  const other = found(await look(w.doctor), 'other-slots', 'warning', /the slot "cdc" \(nobody reads it\) retains/)
  equal(statements(other)[0].fix, 'never', 'what --fix may do with it')
  await pg.query('postgres', "SELECT pg_drop_replication_slot('cdc'); SELECT pg_create_logical_replication_slot($$" + w.slot + "$$, 'pgoutput')")
  found(await look(w.doctor), 'slot', 'error', /belongs to something else \(plugin "pgoutput", database "postgres"\)/)
})

test('another program holds the lock', async (t) => {
  const w = await database(t)
  const session = await w.session()
  await session.query(`SET application_name = 'electric'; SELECT pg_advisory_lock(hashtext('${w.slot}'))`)
  found(await look(w.doctor), 'advisory-lock', 'warning', /application "electric", user "postgres"\) holds the lock/)
})

// ---- the way there ----

test('connecting: each cause is told, with what it needs', async (t) => {
  const pg = await Postgres.create()
  const w = await database(t, { pg })
  const at = (url) => look({ ...w.doctor, DATABASE_URL: url })
  found(await at(pg.url('nowhere')), 'connect', 'error', /database "nowhere" does not exist/)
  equal(statements((await at(pg.url('nowhere'))).of('connect'))[0].sql, 'CREATE DATABASE "nowhere" OWNER "postgres";', 'SQL')
  found(await at(pg.url(w.db, 'nobody')), 'connect', 'error', /role "nobody" does not exist/)
  found(await at('postgresql://u:another-password@127.0.0.1:1/d?sslmode=disable'), 'connect', 'error', /connection refused/)
  found(await at('postgresql://u:another-password@does-not-exist.invalid/d'), 'connect', 'error', /does-not-exist\.invalid/)
  found(await at(pg.url(w.db).replace('sslmode=disable', 'sslmode=require')), 'connect', 'error', /SSL/)
  await pg.query('postgres', `ALTER ROLE ${w.app} NOLOGIN`)
  const barred = await look(w.doctor)
  equal(statements(barred.of('connect'))[0].sql, `ALTER ROLE "${w.app}" LOGIN;`, 'SQL')
  equal(barred.checks.map((c) => c.code).join(), 'configuration,connect,pooler', 'checks without a connection')
})

test('settings: without a secret the database is looked at all the same; what is wrong is said; usage', async (t) => {
  const w = await database(t)
  const said = await look({ ...w.doctor, ELECTRIC_SECRET: undefined })
  found(said, 'configuration', 'error', /You must set ELECTRIC_SECRET/)
  found(said, 'wal-level', 'ok', /logical/)
  found(await look({ DATABASE_URL: 'mysql://x' }), 'configuration', 'error', /DATABASE_URL: invalid URL scheme/)
  found(await look({ ...w.doctor, ELECTRIC_PRT: '1' }), 'configuration', 'advice', /ELECTRIC_PRT/)
  for (const args of [['--nonsense'], ['--yes'], ['--json', '--fix'], ['x']]) equal((await run(w.doctor, args)).status, 2, args.join(' '))
  equal((await run(w.doctor, ['--help'])).status, 0, '--help')
})

// A pooler as PgBouncer is one: its sessions are other processes than it says, and it knows no replication.
async function pooler(t, pg) {
  const message = (type, ...parts) => {
    const body = Buffer.concat(parts)
    const head = Buffer.alloc(5)
    head.write(type)
    head.writeInt32BE(body.length + 4, 1)
    return Buffer.concat([head, body])
  }
  const statements = []
  const server = net.createServer((client) => {
    client.on('error', () => {})
    client.once('data', (startup) => {
      if (startup.includes('replication\0')) {
        client.end(message('E', Buffer.from('SFATAL\0C08P01\0Munsupported startup parameter: replication\0\0')))
        return
      }
      const behind = net.connect(pg.port, '127.0.0.1', () => behind.write(startup))
      behind.on('error', () => {})
      let greeted = Buffer.alloc(0)
      const greet = (d) => {
        greeted = Buffer.concat([greeted, d])
        for (let at = 0; at + 5 <= greeted.length; ) {
          const length = greeted.readInt32BE(at + 1)
          if (String.fromCharCode(greeted[at]) === 'K') greeted.writeInt32BE(1, at + 5)
          if (String.fromCharCode(greeted[at]) === 'Z') {
            behind.off('data', greet)
            client.write(greeted)
            behind.pipe(client)
            return
          }
          at += 1 + length
        }
      }
      behind.on('data', greet)
      client.on('data', (d) => statements.push(d.toString('latin1')))
      client.pipe(behind)
    })
  })
  await new Promise((done) => server.listen(0, '127.0.0.1', done))
  t.cleanup(() => server.close())
  return { port: server.address().port, statements }
}

test('a pooler in DATABASE_URL is found by asking, and its sessions are left as they are', async (t) => {
  const w = await database(t)
  const p = await pooler(t, w.pg)
  const through = w.doctor.DATABASE_URL.replace(`:${w.pg.port}/`, `:${p.port}/`)
  const said = await look({ ...w.doctor, DATABASE_URL: through })
  found(said, 'pooler', 'error', /leads to a connection pooler/)
  found(said, 'replication-connection', 'error', /pooler/)
  const sets = p.statements.join('\n').match(/\bSET (?!LOCAL)[^;]*/g)
  equal(sets, null, 'settings that stay in the session of a pooler')
  // --fix stays away from it, too.
  await w.sql(`CREATE PUBLICATION ${w.publication} WITH (publish = 'insert'); ALTER PUBLICATION ${w.publication} OWNER TO ${w.app}`)
  const fixed = await look({ ...w.doctor, DATABASE_URL: through }, ['--fix', '--yes'])
  assert(fixed.applied.length > 0 && fixed.applied.every((a) => /a pooler stands in between/.test(a.error)), JSON.stringify(fixed.applied))
  // As the pooled URL it is where it belongs.
  const pooled = await look({ ...w.doctor, ELECTRIC_POOLED_DATABASE_URL: through })
  found(pooled, 'pooled-url', 'ok', /same primary, through a pooler/)
})

test('the pooled URL: another server, another database, none', async (t) => {
  const other = await Postgres.create({ version: '18' })
  t.cleanup(() => other.stop('immediate'))
  const w = await database(t)
  const at = (url) => look({ ...w.doctor, ELECTRIC_POOLED_DATABASE_URL: url })
  found(await at(other.url('postgres')), 'pooled-url', 'error', /another server \(system identifier/)
  found(await at(w.pg.url('postgres')), 'pooled-url', 'error', /leads to database "postgres"/)
  found(await at('postgresql://u:another-password@127.0.0.1:1/d?sslmode=disable'), 'pooled-url', 'error', /connection refused/)
})

test('the pooled URL: a role of its own, which may not read', LONGER, async (t) => {
  const w = await database(t, {
    sql: [
      `CREATE ROLE reader_APP LOGIN; ALTER ROLE reader_APP SET idle_session_timeout = 60000;
       CREATE PUBLICATION PUB FOR TABLE items; ALTER PUBLICATION PUB OWNER TO APP`,
    ],
  })
  w.doctor.ELECTRIC_POOLED_DATABASE_URL = w.busbar.env.ELECTRIC_POOLED_DATABASE_URL = w.pg.url(w.db, `reader_${w.app}`)
  const said = await look(w.doctor)
  found(said, 'table-select', 'error', new RegExp(`"reader_${w.app}" may not read "public"."items"`))
  found(said, 'role-timeouts', 'warning', /idle_session_timeout is 60000 ms for role "reader_/)
  await mendsAs(t, w, 'table-select')
  await mendsAs(t, w, 'role-timeouts')
  await serves(w)
})

test('an old minor, whose fault is known', async (t) => {
  const w = await database(t, { version: '15.12' })
  found(await look(w.doctor), 'server-version', 'warning', /15\.12 has a fault that 15\.13 mends/)
})
