// What Busbar says: refusals and their order, texts that tell what to do, settings, the log.

import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { chmodSync, chownSync, copyFileSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Busbar, BINARY, checkForSecrets } from '../lib/busbar.mjs'
import { get, readAll, shape } from '../lib/http.mjs'
import { Postgres } from '../lib/pg.mjs'
import { test } from '../lib/runner.mjs'
import { cluster, world } from '../lib/setup.mjs'
import { assert, delay, equal, freePort, temporary, until, within } from '../lib/util.mjs'

const TABLE = 'CREATE TABLE t (id int PRIMARY KEY, v text)'

test('refusals come in the order of Electric: names with the casts, subsets last', async (t) => {
  const w = await world(t, { sql: [TABLE] })
  const ask = async (query, options) => {
    const r = await get(`${w.busbar.url}/v1/shape?${query}`, options)
    const { errors } = r.json()
    return [r.status, Object.fromEntries(Object.entries(errors ?? {}).sort())]
  }
  const star = ['Invalid unquoted identifier contains special characters: *']
  equal(await ask('table=t&offset=abc&columns=*'), [400, { columns: star }], 'a bad offset and a bad name')
  equal(await ask('table=t&columns=*'), [400, { columns: star, offset: ["can't be blank"] }], 'no offset and a bad name')
  equal(
    await ask('table=t&offset=-1&replica=FULL&columns=*&queryable_columns=*'),
    [400, { columns: star, queryable_columns: star, replica: ['is invalid'] }],
    'replica and names',
  )
  equal(
    await ask('offset=-1&table=nope&columns[]='),
    [400, { columns: ['Invalid zero-length identifier'] }],
    'an empty name and no such table',
  )
  const nope = 'Table "public"."nope" does not exist. If the table name contains capitals or special characters you must quote it.'
  equal(await ask('table=nope&offset=-1&subset=x'), [400, { table: [nope] }], 'a subset that is none, and no such table')
  equal(await ask('table=t&offset=-1&subset=x'), [400, { subset: ['is invalid'] }], 'a subset that is none')
  const body = { method: 'POST', body: JSON.stringify({ columns: ['id', 1] }) }
  equal(
    await ask('table=nope&offset=-1', body),
    [
      400,
      {
        columns: [
          "expected :columns option to match at least one given type, but didn't match any. Here are the reasons why it didn't" +
            ' match each of the allowed types:\n\n  * invalid value for :columns option: expected nil, got: ["id", 1]\n  * invalid' +
            ' list in :columns option: invalid value for list element at position 1: expected string, got: 1',
        ],
      },
    ],
    'a number among the names',
  )
  equal(
    await ask('live=banana', { method: 'DELETE' }),
    [400, { handle: ["can't be blank when shape definition is missing"], live: ['is invalid'] }],
    'DELETE with a bad cast and no table',
  )
})

test('refusals name functions and parameters as Electric does', async (t) => {
  const w = await world(t, { sql: [TABLE, "INSERT INTO t VALUES (1, 'a')"] })
  const ask = async (params) => {
    const r = await shape(w.busbar.url, { table: 't', offset: '-1', ...params })
    return r.status === 200 ? r.json().filter((m) => m.value).length : (r.json().errors?.subset ?? r.json().errors)
  }
  equal(await ask({ where: '"Foo"(id) = 1' }), { where: ['At location 0: unknown or unsupported function "Foo"/1'] }, 'a name with a capital')
  equal(await ask({ where: 'v = $1', 'params[1]': 'a' }), 1, 'rows with params[1]')
  equal(await ask({ where: 'v = $1', 'params[1]': '' }), 0, 'rows with an empty params[1]')
  const absent = { where: ['At location 4: parameter $1 was not provided'] }
  equal(await ask({ where: 'v = $1', 'params[01]': 'a' }), absent, 'params[01]')
  equal(await ask({ subset__where: 'v = $1', 'subset__params[01]': 'a' }), absent, 'subset__params[01]')
})

test("a character that the database's encoding lacks is refused with a 400", async (t) => {
  const server = await cluster()
  const database = `latin_${process.pid}`
  await server.query('postgres', `CREATE DATABASE ${database} ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'`)
  const w = await world(t, { database, sql: [TABLE, "INSERT INTO t VALUES (1, 'é'), (2, 'b')"] })
  const ask = (params) => shape(w.busbar.url, { table: 't', offset: '-1', ...params })
  const lacks = /^the database's encoding lacks a character of this condition, .*"LATIN1"/
  for (const params of [
    { where: "v = '€'" },
    { where: "v = '日本'" },
    { where: "v <> '€'", log: 'changes_only' },
    { where: 'v = $1', 'params[1]': '€' },
    { where: "v IN ('é', '€')", columns: 'id' },
  ]) {
    const r = await ask(params)
    equal(r.status, 400, `${JSON.stringify(params)} (${r.text()})`)
    assert(lacks.test(r.json().errors?.where?.[0]), r.text())
  }
  equal((await w.sql('SELECT relreplident FROM pg_class WHERE relname = $1', ['t'])).rows, [{ relreplident: 'd' }], 'the table is left alone')
  for (const params of [
    { subset__where: "v = '€'" },
    { subset__where: 'v = $1', subset__params: '{"1":"日本"}' },
    { subset__where: "v = '€'", where: "v = 'é'", columns: 'id' },
  ]) {
    const r = await ask(params)
    equal(r.status, 400, `${JSON.stringify(params)} (${r.text()})`)
    assert(lacks.test(r.json().errors?.subset?.where?.[0]), r.text())
  }
  const named = await ask({ table: '"€"' })
  equal([named.status, named.json().errors?.table?.[0]?.slice(0, 34)], [400, 'Table "public"."€" does not exist.'], 'a table')
  // What is asked at the same time has its rows, and what the encoding has is as good as ever.
  const [bad, good] = await Promise.all([ask({ where: "v = 'ž' OR id = 7" }), ask({ where: "v = 'é' OR id = 7" })])
  equal([bad.status, good.status], [400, 200], 'asked together')
  const f = w.follow({ table: 't', where: "v = 'é'" })
  await f.ready()
  await w.sql("INSERT INTO t VALUES (3, 'é'), (4, 'c')")
  await w.agree()
  equal(linesWith(w.busbar, 'could not be made'), [], 'lines about shapes that could not be made')
})

test('a system table is refused with a 400', async (t) => {
  const w = await world(t, { sql: [TABLE] })
  for (const table of ['pg_catalog.pg_class', 'information_schema.sql_features']) {
    const [schema, name] = table.split('.')
    const r = await get(`${w.busbar.url}/v1/shape?table=${table}&offset=-1`)
    equal(
      [r.status, r.json().errors?.table],
      [400, [`Table "${schema}"."${name}" is a system table: Postgres does not replicate its changes`]],
      table,
    )
  }
})

test('a log that nobody reads stops neither requests nor the end', { timeout: 60000 }, async (t) => {
  const w = await world(t, { sql: [TABLE], start: false })
  const port = await freePort()
  const env = { PATH: process.env.PATH, DATABASE_URL: w.busbar.databaseUrl, ELECTRIC_INSECURE: 'true', ELECTRIC_PORT: String(port) }
  Object.assign(env, { ELECTRIC_STORAGE_DIR: temporary('store'), ELECTRIC_LOG_LEVEL: 'debug' })
  // A pipe of which nobody takes anything: no listener on it, so nothing reads.
  const child = spawn(BINARY, [], { env, stdio: ['ignore', 'pipe', 'ignore'] })
  t.cleanup(() => child.kill('SIGKILL'))
  const ended = new Promise((done) => child.on('exit', done))
  const url = `http://127.0.0.1:${port}`
  await until('it is active', async () => (await get(`${url}/v1/health`, { timeout: 2000 })).json().status === 'active', 20000)
  // Each request is a line of nearly 4 KB; a pipe holds 64 KB, the ring 256 KB.
  const path = `${url}/v1/shape?table=nope&offset=-1&where=${'x'.repeat(3500)}`
  for (let i = 0; i < 200; i++) equal((await get(path, { timeout: 5000 })).status, 400, `request ${i}`)
  child.kill('SIGTERM')
  equal(await within('it ends after SIGTERM', 10000, ended), 0, 'exit status')
})

// ---------------------------------------------------------------- what to do

// A start that ends by itself: its exit status and what it said.
const linesWith = (busbar, text) => busbar.output.split('\n').filter((l) => l.includes(text))

test('a start that lacks a right says which SQL gives it', async (t) => {
  const role = `plain_${process.pid}`
  const w = await world(t, { sql: [TABLE, 'INSERT INTO t VALUES (1)'], start: false })
  await w.sql(`CREATE ROLE ${role} LOGIN`)
  w.busbar.databaseUrl = w.pg.url(w.db, role)
  const first = await w.busbar.startAndEnd()
  equal(first.code, 1, 'exit status without REPLICATION')
  const alter = `ALTER ROLE "${role}" REPLICATION`
  assert(first.said.includes(`run ${alter} as a superuser`), first.said)
  assert(first.said.includes(`GRANT rds_replication TO "${role}"`), first.said)
  await w.sql(alter)
  const second = await w.busbar.startAndEnd()
  equal(second.code, 1, 'exit status without a publication')
  const grant = `GRANT CREATE ON DATABASE "${w.db}" TO "${role}"`
  assert(second.said.includes(grant) && second.said.includes(`CREATE PUBLICATION "${w.publication}"`), second.said)
  await w.sql(grant)
  await w.busbar.start()
  await w.busbar.term()
  await w.sql(`ALTER PUBLICATION ${w.publication} SET (publish = 'insert')`)
  const third = await w.busbar.startAndEnd()
  const set = `ALTER PUBLICATION "${w.publication}" SET (publish = 'insert, update, delete, truncate')`
  assert(third.code === 1 && third.said.includes(set), third.said)
  await w.sql(set)
  await w.busbar.start()
})

test('a table that lacks a right says which SQL gives it', async (t) => {
  const role = `bare_${process.pid}`
  const w = await world(t, { start: false, env: { ELECTRIC_MANUAL_TABLE_PUBLISHING: 'true' } })
  await w.sql('CREATE SCHEMA "my s"; CREATE TABLE "my s".t (id int PRIMARY KEY); INSERT INTO "my s".t VALUES (1)')
  await w.sql(`CREATE ROLE ${role} LOGIN REPLICATION; CREATE PUBLICATION ${w.publication}`)
  w.busbar.databaseUrl = w.pg.url(w.db, role)
  await w.busbar.start()
  // Each refusal has the statement that mends it; when all have been run there are rows.
  const denied = await shape(w.busbar.url, { table: '"my s".t', offset: '-1' })
  equal([denied.status, denied.headers['retry-after'], denied.headers['electric-reason']], [503, '10', 'postgres-refuses'], denied.text())
  const grant = `GRANT SELECT ON "my s"."t" TO "${role}";`
  equal(denied.json().message, `Unable to create initial snapshot: permission denied for table t. Run, as the owner: GRANT USAGE ON SCHEMA "my s" TO "${role}"; ${grant}`, 'without SELECT')
  await w.sql(grant)
  const wanted = [
    `ALTER PUBLICATION "${w.publication}" ADD TABLE "my s"."t"`,
    'ALTER TABLE "my s"."t" REPLICA IDENTITY FULL',
    `GRANT USAGE ON SCHEMA "my s" TO "${role}"`,
  ]
  for (const sql of wanted) {
    await until(
      `a refusal with ${sql}`,
      async () => {
        const r = await shape(w.busbar.url, { table: '"my s".t', offset: '-1' })
        equal(r.status, 503, r.text())
        return r.json().message.includes(sql)
      },
      20000,
      200,
    )
    await w.sql(sql)
  }
  await until('rows', async () => (await shape(w.busbar.url, { table: '"my s".t', offset: '-1' })).status === 200, 20000, 200)
})

test('a role that is read-only by default works', async (t) => {
  const role = `readonly_${process.pid}`
  const w = await world(t, { sql: [TABLE, 'INSERT INTO t VALUES (1)'], start: false })
  await w.sql(`CREATE ROLE ${role} SUPERUSER LOGIN; ALTER ROLE ${role} SET default_transaction_read_only = on`)
  w.busbar.databaseUrl = w.pg.url(w.db, role)
  await w.busbar.start()
  equal((await readAll(w.busbar.url, { table: 't' })).changes.length, 1, 'rows')
})

// A server of the test's own on which this role needs its password.
async function lockedServer(t) {
  const pg = await Postgres.create()
  t.cleanup(() => pg.stop('immediate'))
  const hba = join(pg.data, 'pg_hba.conf')
  writeFileSync(hba, `host all locked all scram-sha-256\n${readFileSync(hba, 'utf8')}`)
  pg.reload()
  await pg.query('postgres', "CREATE ROLE locked SUPERUSER LOGIN PASSWORD 'right-password'; CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
  await until('the password is asked for', async () => {
    const { rows } = await pg.query('postgres', "SELECT count(*)::int AS n FROM pg_hba_file_rules WHERE 'locked' = ANY (user_name)")
    return rows[0].n === 1
  })
  return pg
}

test('a wrong, a missing and a pooled password each end the start with their cause', async (t) => {
  const pg = await lockedServer(t)
  const right = pg.url('postgres', 'locked', 'right-password')
  const cases = [
    [{ databaseUrl: pg.url('postgres', 'locked', 'wrong-password') }, /is the user's password in the URL the right one/],
    [{ databaseUrl: pg.url('postgres', 'locked', null) }, /asks for the password of user "locked", and the URL has none/],
    [{ databaseUrl: right, env: { ELECTRIC_POOLED_DATABASE_URL: pg.url('postgres', 'locked', 'wrong-password') } }, /ELECTRIC_POOLED_DATABASE_URL: .*the right one/],
    [{ databaseUrl: right, env: { ELECTRIC_POOLED_DATABASE_URL: pg.url('no_such', 'locked', 'right-password') } }, /ELECTRIC_POOLED_DATABASE_URL: database "no_such"/],
  ]
  for (const [options, expected] of cases) {
    const busbar = new Busbar(options)
    t.cleanup(() => busbar.stop())
    const { code, said } = await busbar.startAndEnd()
    assert(code === 1 && expected.test(said), `ended with ${code}: ${said}`)
  }
})

test('certificates: unknown issuer, expired, another host, an issuer that is no CA, each is told', { timeout: 120000 }, async (t) => {
  const dir = temporary('certificates')
  const file = (name) => join(dir, name)
  const openssl = (...args) => execFileSync('openssl', args, { cwd: dir, stdio: ['ignore', 'ignore', 'pipe'] })
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  for (const ca of ['ca', 'other']) openssl('req', '-x509', ...key, '-keyout', `${ca}.key`, '-out', `${ca}.pem`, '-days', '30', '-subj', `/CN=${ca} of the test`)
  const issue = (name, host, by, days, extensions = `subjectAltName=DNS:${host}`) => {
    openssl('req', ...key, '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', `/CN=${host}`)
    writeFileSync(file(`${name}.ext`), extensions)
    openssl('x509', '-req', '-in', `${name}.csr`, '-CA', `${by}.pem`, '-CAkey', `${by}.key`, '-out', `${name}.pem`, '-days', days, '-extfile', `${name}.ext`)
  }
  issue('good', 'localhost', 'ca', '30')
  issue('expired', 'localhost', 'ca', '-1')
  issue('elsewhere', 'db.example', 'ca', '30')
  issue('unknown', 'localhost', 'other', '30')
  issue('middle', 'middle of the test', 'ca', '30', 'basicConstraints=CA:FALSE')
  issue('below', 'localhost', 'middle', '30')
  writeFileSync(file('below.pem'), readFileSync(file('below.pem'), 'utf8') + readFileSync(file('middle.pem'), 'utf8'))

  const pg = await Postgres.create()
  t.cleanup(() => pg.stop('immediate'))
  const serve = async (name) => {
    await pg.stop()
    const { uid, gid } = statSync(pg.data)
    for (const [from, to] of [[`${name}.pem`, 'server.crt'], [`${name}.key`, 'server.key']]) {
      copyFileSync(file(from), join(pg.data, to))
      chownSync(join(pg.data, to), uid, gid)
      chmodSync(join(pg.data, to), 0o600)
    }
    await pg.start()
  }
  pg.configure({ ssl: 'on' })
  const cases = [
    ['unknown', /Unknown CA: .*ca\.pem holds no certificate of \/CN=other of the test, which has issued \/CN=localhost/],
    ['expired', /the certificate of \/CN=localhost has expired, on /],
    ['elsewhere', /server certificate for "db\.example" does not match host name "localhost"/],
    ['below', /the certificate of \/CN=middle of the test has issued another and isn't one of a CA/],
    ['good', undefined],
  ]
  for (const [name, expected] of cases) {
    await serve(name)
    const busbar = new Busbar({
      databaseUrl: `postgresql://postgres@localhost:${pg.port}/postgres`,
      env: { ELECTRIC_DATABASE_CA_CERTIFICATE_FILE: file('ca.pem') },
    })
    t.cleanup(() => busbar.stop())
    if (expected) {
      const { code, said } = await busbar.startAndEnd()
      assert(code === 1 && expected.test(said) && said.includes('SSL connection failed to verify server certificate: '), `${name}: ended with ${code}: ${said}`)
    } else {
      await busbar.start()
      await busbar.term()
    }
  }
})

test('a password that is changed and a database made anew end nothing', { timeout: 120000 }, async (t) => {
  const pg = await lockedServer(t)
  await pg.query('postgres', 'CREATE DATABASE app')
  const table = 'CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)'
  await pg.query('app', table)
  const busbar = new Busbar({ databaseUrl: pg.url('app', 'locked', 'right-password') })
  t.cleanup(() => busbar.stop())
  await busbar.start()
  const before = await readAll(busbar.url, { table: 't' })
  const cut = () => pg.query('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'locked'")
  await pg.query('postgres', "ALTER ROLE locked PASSWORD 'another-password'")
  await cut()
  await until('it says why', () => linesWith(busbar, 'password authentication failed').length > 0)
  equal((await shape(busbar.url, { table: 't', offset: '-1' })).status, 200, 'status of a shape that is there')
  await pg.query('postgres', "ALTER ROLE locked PASSWORD 'right-password'")
  await busbar.active(30000)
  equal((await shape(busbar.url, { table: 't', offset: before.offset, handle: before.handle })).status, 200, 'the shape goes on')

  await pg.query('postgres', 'ALTER ROLE locked NOLOGIN')
  await cut()
  await until('the slot is free', async () => {
    const { rows } = await pg.query('postgres', 'SELECT active FROM pg_replication_slots')
    return rows.length === 1 && !rows[0].active
  })
  await pg.query('postgres', 'SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots')
  await pg.query('postgres', 'DROP DATABASE app WITH (FORCE)')
  await pg.query('postgres', 'ALTER ROLE locked LOGIN')
  await until('it says that the database is gone', () => linesWith(busbar, 'database "app" does not exist').length > 0)
  assert(busbar.running(), busbar.tail())
  await pg.query('postgres', 'CREATE DATABASE app')
  await pg.query('app', `${table}; INSERT INTO t VALUES (2)`)
  await busbar.active(30000)
  const gone = await shape(busbar.url, { table: 't', offset: before.offset, handle: before.handle })
  equal(gone.status, 409, 'status of the shape of the old database')
  equal((await readAll(busbar.url, { table: 't' })).changes.length, 2, 'rows of the new database')
})

test('names that are not read get a line, at start and in --check-config', () => {
  const run = (args, env) => {
    const r = spawnSync(BINARY, args, { env: { PATH: process.env.PATH, ...env }, encoding: 'utf8', timeout: 10000 })
    return { code: r.status, said: checkForSecrets(env, `${r.stdout}${r.stderr}`) }
  }
  const env = { DATABASE_URL: 'postgresql://u@127.0.0.1:1/x', AUTH_MODE: 'insecure', LOG_LEVEL: 'debug', ELECTRIC_WRITE_TO_PG_MODE: 'x', ELECTRIC_SECRETT: 'hidden-value' }
  const lines = [
    /^.*AUTH_MODE is not read: ELECTRIC_INSECURE has taken its place$/m,
    /^.*LOG_LEVEL is not read: ELECTRIC_LOG_LEVEL has taken its place$/m,
    /^.*ELECTRIC_WRITE_TO_PG_MODE is not read/m,
    /^.*ELECTRIC_SECRETT is not known. Is ELECTRIC_SECRET meant\?$/m,
  ]
  for (const args of [[], ['--check-config']]) {
    const refused = run(args, env)
    assert(refused.code === 1 && /You must set ELECTRIC_SECRET .* AUTH_MODE/.test(refused.said), refused.said)
    for (const line of lines) assert(line.test(refused.said), `no ${line} in ${refused.said}`)
    assert(!refused.said.includes('hidden-value'), refused.said)
  }
  const good = run(['--check-config'], { ...env, ELECTRIC_INSECURE: 'true' })
  assert(good.code === 0 && lines.every((l) => l.test(good.said)), good.said)
})

// ---------------------------------------------------------------- the log

test('why a shape cannot be made is said once for each reason', async (t) => {
  const w = await world(t, { sql: [TABLE], env: { ELECTRIC_MANUAL_TABLE_PUBLISHING: 'true' }, start: false })
  await w.sql(`CREATE PUBLICATION ${w.publication}`)
  await w.busbar.start()
  const began = Date.now()
  for (let i = 0; i < 6 || Date.now() - began < 3000; i++) {
    const r = await shape(w.busbar.url, { table: 't', offset: '-1', where: `id = ${i % 2}` })
    equal(r.status, 503, r.text())
    await delay(100)
  }
  equal(linesWith(w.busbar, 'could not be made').length, 2, 'lines for two shapes')
})

test('shapes that go by one cause are counted', async (t) => {
  const w = await world(t, { sql: [TABLE, 'INSERT INTO t VALUES (1)'] })
  for (let i = 0; i < 30; i++) equal((await shape(w.busbar.url, { table: 't', offset: '-1', where: `id > ${i}` })).status, 200)
  await w.sql('TRUNCATE t')
  await until('the count', () => linesWith(w.busbar, 'Removed 29 more shapes of public.t').length === 1)
  equal(linesWith(w.busbar, 'Removing shape').length, 1, 'shapes that are named')
})

test('lines of the log: date and time, level, text; or JSON with fields', async (t) => {
  const name = 'a\n00:00:00.000 [error] made up'
  const sql = [`CREATE TABLE "${name}" (id int PRIMARY KEY)`]
  const w = await world(t, { sql })
  const table = `"${name}"`
  const leave = async () => {
    equal((await shape(w.busbar.url, { table, offset: '-1' })).status, 200, 'status')
    await w.sql(`TRUNCATE "${name}"`)
    await until('it is told', () => w.busbar.outputSinceStart().includes('Removing shape'))
    await w.busbar.term()
    const lines = w.busbar.outputSinceStart().split('\n')
    equal(lines.pop(), '', 'what follows the last line')
    return lines
  }
  const now = Date.now()
  const near = (text) => Math.abs(Date.parse(text) - now) < 120000
  for (const line of await leave()) {
    const m = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) \[(info|notice|warning|error)\] \S/.exec(line)
    assert(m && near(m[1]), line)
  }
  w.busbar.env = { ...w.busbar.env, BUSBAR_LOG_FORMAT: 'json' }
  await w.busbar.start()
  const lines = (await leave()).map((line) => JSON.parse(line))
  for (const line of lines) assert(near(line.time) && /^(info|notice|warning|error)$/.test(line.level) && line.message.length > 0, JSON.stringify(line))
  const gone = lines.find((line) => line.message.startsWith('Removing shape'))
  equal([gone.table, gone.reason, gone.level], [`public.${name}`, 'table-truncated', 'info'], 'fields')
  assert(/^\d+-\d+$/.test(gone.shape) && gone.message.includes(gone.shape), JSON.stringify(gone))
})

test('SIGHUP reads the settings file: level, limits, two secrets; a bad file changes nothing', async (t) => {
  const file = join(temporary('settings'), 'busbar.settings')
  const write = (...lines) => writeFileSync(file, `${lines.join('\n')}\n`)
  write('# at start', 'ELECTRIC_CACHE_MAX_AGE=7')
  const env = { ELECTRIC_INSECURE: undefined, ELECTRIC_SECRET: 'secret-number-one', BUSBAR_SETTINGS_FILE: file }
  const w = await world(t, { sql: [TABLE, 'INSERT INTO t VALUES (1)'], env })
  const status = async (secret) => (await shape(w.busbar.url, { table: 't', offset: '-1', secret })).status
  let hups = 0
  const hup = async (said) => {
    w.busbar.child.kill('SIGHUP')
    await until(`a line: ${said}`, () => linesWith(w.busbar, `SIGHUP: ${said}`).length + linesWith(w.busbar, `SIGHUP changes nothing: ${said}`).length > 0)
    hups++
  }
  const at = await readAll(w.busbar.url, { table: 't', secret: 'secret-number-one' })
  const caches = async (secret = 'secret-number-one') =>
    (await shape(w.busbar.url, { table: 't', handle: at.handle, offset: at.offset, secret })).headers['cache-control']
  equal(await caches(), 'public, max-age=7, stale-while-revalidate=300', 'cache-control')
  await hup(`the settings in ${file} are those that hold already`)
  // The level, a limit, and a second secret.
  write('ELECTRIC_LOG_LEVEL=debug', 'ELECTRIC_CACHE_STALE_AGE=9', 'ELECTRIC_SECRET=secret-number-two', 'BUSBAR_SECRET_PREVIOUS=secret-number-one')
  await hup('ELECTRIC_LOG_LEVEL is debug now, was info')
  equal(await caches(), 'public, max-age=60, stale-while-revalidate=9', 'cache-control')
  equal([await status('secret-number-one'), await status('secret-number-two'), await status('secret-number-three')], [200, 200, 401], 'secrets')
  await until('requests are shown', () => /\[debug\] GET/.test(w.busbar.output))
  await until('that the old one is used', () => linesWith(w.busbar, 'Requests come with BUSBAR_SECRET_PREVIOUS').length === 1)
  // Nothing of a bad one holds, its good lines neither.
  write('ELECTRIC_SECRET=secret-number-three', 'ELECTRIC_CACHE_STALE_AGE=soon')
  await hup(`${file}, line 2: ELECTRIC_CACHE_STALE_AGE: "soon" is not an integer`)
  equal([await status('secret-number-one'), await status('secret-number-two'), await status('secret-number-three')], [200, 200, 401], 'secrets')
  // Without the old one.
  write('ELECTRIC_SECRET=secret-number-two', 'BUSBAR_LOG_FORMAT=json')
  await hup('BUSBAR_SECRET_PREVIOUS is not accepted any more')
  equal([await status('secret-number-one'), await status('secret-number-two')], [401, 200], 'secrets')
  await until('lines are JSON', () => w.busbar.output.split('\n').some((line) => line.startsWith('{"time":') && line.includes('BUSBAR_LOG_FORMAT is json now')))
  for (const line of w.busbar.output.split('\n')) assert(!/secret-number/.test(line), `a secret is shown: ${line}`)
  // A limit of requests, and back to the environment's by an empty file.
  write('ELECTRIC_SECRET=secret-number-two', 'ELECTRIC_MAX_CONCURRENT_REQUESTS={"initial":1,"existing":1}')
  await hup('ELECTRIC_MAX_CONCURRENT_REQUESTS, existing is 1 now, was 10000')
  const live = { table: 't', handle: at.handle, offset: at.offset, secret: 'secret-number-two', live: true }
  const both = [shape(w.busbar.url, live), shape(w.busbar.url, live)] // whoever comes first waits
  equal((await Promise.race(both)).status, 503, 'the one that is refused')
  await w.sql('INSERT INTO t VALUES (2)')
  equal((await Promise.all(both)).map((a) => a.status).sort(), [200, 503], 'both')
  write('')
  await hup('ELECTRIC_MAX_CONCURRENT_REQUESTS, existing is 10000 now, was 1')
  equal([await status('secret-number-one'), await status('secret-number-two')], [200, 401], 'secrets')
  assert(hups === 6, hups)
})

test('a settings file that is wrong at start: it ends with the line', async (t) => {
  const file = join(temporary('settings'), 'busbar.settings')
  writeFileSync(file, '\nELECTRIC_PORT=3000\n')
  const w = await world(t, { sql: [TABLE], env: { BUSBAR_SETTINGS_FILE: file }, start: false })
  await w.busbar.start({ active: false })
  equal(await within('it ends', 10000, w.busbar.exited), 1, 'exit status')
  assert(linesWith(w.busbar, `${file}, line 2: ELECTRIC_PORT is no setting that can change`).length === 1, w.busbar.tail())
})

test('the value of a row stands in no log line, nor in an answer to who does not see it', async (t) => {
  const w = await world(t, { sql: ['CREATE TABLE t (id int PRIMARY KEY, hidden text)', "INSERT INTO t VALUES (1, 'value-of-a-row')"] })
  const failing = 'hidden::int = 1'
  const a = await shape(w.busbar.url, { table: 't', offset: '-1', columns: 'id', subset__where: failing })
  equal(a.status, 400, a.text())
  assert(!a.text().includes('value-of-a-row'), a.text())
  const b = await shape(w.busbar.url, { table: 't', offset: '-1', where: failing })
  equal(b.status, 500, b.text())
  assert(!b.text().includes('value-of-a-row'), b.text())
  // What the client sent itself comes back, and so does what it may see anyway.
  const own = await shape(w.busbar.url, { table: 't', offset: '-1', columns: 'id', subset__where: "coalesce(nullif(hidden, hidden), 'no-number')::int = 1" })
  assert(own.status === 400 && own.text().includes('no-number'), own.text())
  const all = await shape(w.busbar.url, { table: 't', offset: '-1', subset__where: failing })
  assert(all.status === 400 && all.text().includes('value-of-a-row'), all.text())
  // A changed row for which the condition fails.
  await w.sql('CREATE TABLE u (id int PRIMARY KEY, hidden text)')
  await readAll(w.busbar.url, { table: 'u', where: failing })
  await w.sql("INSERT INTO u VALUES (1, 'value-of-a-row')")
  await until('the failing row is told', () => linesWith(w.busbar, 'cannot be evaluated for a changed row').length === 1)
  equal(linesWith(w.busbar, 'value-of-a-row'), [], 'lines with the value')
})

// ---------------------------------------------------------------- the process

test('signals: those that mean nothing here end nothing, SIGQUIT stops as SIGTERM does', async (t) => {
  const w = await world(t, { sql: [TABLE] })
  for (const signal of ['SIGUSR1', 'SIGUSR2', 'SIGHUP']) w.busbar.child.kill(signal)
  await until('SIGHUP is answered', () => linesWith(w.busbar, 'SIGHUP changes nothing').length === 1)
  equal((await w.busbar.health()).status, 200, 'health')
  w.busbar.child.kill('SIGQUIT')
  equal(await within('it ends', 10000, w.busbar.exited), 0, 'exit status')
})

test('a storage directory that is deleted is told', async (t) => {
  const w = await world(t, { sql: [TABLE] })
  rmSync(w.busbar.storage, { recursive: true })
  await until('a line', () => linesWith(w.busbar, 'were deleted while in use').length === 1)
})

test('a process that is ending is waited for', async (t) => {
  const w = await world(t, { sql: [TABLE] })
  const next = new Busbar({ databaseUrl: w.busbar.databaseUrl, env: w.busbar.env, storage: w.busbar.storage })
  t.cleanup(() => next.stop())
  await next.start({ active: false })
  await until('it waits', () => linesWith(next, 'which may be ending: waiting').length === 1)
  await w.busbar.term()
  await next.active()
})

test('little address space: the start says what the store may hold, or that there is too little', async (t) => {
  const w = await world(t, { sql: [TABLE], start: false })
  const env = { PATH: process.env.PATH, DATABASE_URL: w.busbar.databaseUrl, ELECTRIC_INSECURE: 'true', ELECTRIC_PORT: '0' }
  env.ELECTRIC_STORAGE_DIR = temporary('store')
  const child = spawn('bash', ['-c', `ulimit -v 1000000; exec ${BINARY}`], { env, stdio: ['ignore', 'pipe', 'pipe'] })
  let said = ''
  child.stdout.on('data', (d) => (said += d))
  child.stderr.on('data', (d) => (said += d))
  equal(await within('it ends', 10000, new Promise((done) => child.on('close', done))), 1, 'exit status')
  checkForSecrets(env, said)
  assert(/no address space .* raise the limit \(ulimit -v/.test(said), said)
})
