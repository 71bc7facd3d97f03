// A private Postgres: initdb into a temporary directory, a port and socket of its own, started and
// stopped as the tests need it, also the hard way. Postgres refuses to run as root; it then runs as
// the user `postgres`.

import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { appendFileSync, chmodSync, chownSync, cpSync, existsSync, openSync, closeSync, readFileSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { atExit, freePort, temporary, until } from './util.mjs'

const E2E = dirname(dirname(fileURLToPath(import.meta.url)))
const DEBIAN_VERSION = '15'

const START_MS = 60000
const STOP_MS = 30000

export const VERSIONS = ['14', '15', '16', '17', '18']

const asRoot = process.getuid() === 0
const owner = asRoot
  ? {
      uid: Number(execFileSync('id', ['-u', 'postgres'])),
      gid: Number(execFileSync('id', ['-g', 'postgres'])),
    }
  : {}

function own(path) {
  if (asRoot) chownSync(path, owner.uid, owner.gid)
}

const copies = new Map()

// Where initdb and postgres of a version are: Debian's for its own version, npm's for the others.
// A clone may lie where the user postgres can't read; the binaries are then copied out of it.
function binaries(version) {
  if (version === DEBIAN_VERSION) {
    const debian = `/usr/lib/postgresql/${version}/bin`
    if (existsSync(debian)) return debian
  }
  const native = join(E2E, 'postgres', 'node_modules', `postgres-${version}`, 'native')
  if (!existsSync(native)) throw new Error(`no PostgreSQL ${version}: run 'npm ci' in tests/e2e/postgres`)
  if (copies.has(version)) return copies.get(version)
  let bin = join(native, 'bin')
  for (const name of ['initdb', 'postgres', 'pg_ctl']) {
    if (asRoot) chmodSync(join(bin, name), 0o755)
  }
  const links = JSON.parse(readFileSync(join(native, 'pg-symlinks.json'), 'utf8'))
  if (links.length > 0 && !existsSync(join(native, '..', links[0].target)))
    execFileSync(process.execPath, ['scripts/hydrate-symlinks.js'], { cwd: join(native, '..') })
  if (spawnSync(join(bin, 'postgres'), ['--version'], owner).status !== 0) {
    const copy = join(temporary(`postgres-${version}`), 'native')
    chmodSync(dirname(copy), 0o755)
    cpSync(native, copy, { recursive: true, verbatimSymlinks: true })
    bin = join(copy, 'bin')
  }
  copies.set(version, bin)
  return bin
}

const templates = new Map()

// initdb takes a second or more: it runs once a version, and its result is copied.
function template(version) {
  if (templates.has(version)) return templates.get(version)
  const dir = temporary(`template-${version}`)
  own(dir)
  const args = ['-D', join(dir, 'data'), '-U', 'postgres', '-E', 'UTF8', '-A', 'trust', '--no-sync']
  const bin = binaries(version)
  let r = spawnSync(join(bin, 'initdb'), [...args, '--locale=C.UTF-8'], { ...owner, encoding: 'utf8', cwd: '/' })
  if (r.status !== 0) r = spawnSync(join(bin, 'initdb'), [...args, '--locale=C'], { ...owner, encoding: 'utf8', cwd: '/' })
  if (r.status !== 0) throw new Error(`initdb of PostgreSQL ${version}: ${r.error?.message ?? r.stderr}`)
  templates.set(version, join(dir, 'data'))
  return templates.get(version)
}

const SETTINGS = {
  wal_level: 'logical',
  max_wal_senders: 60,
  max_replication_slots: 60,
  max_connections: 200,
  max_prepared_transactions: 20,
  // The machine doesn't lose power in a test, and a killed server finds its writes in the page cache.
  fsync: 'off',
  // Small, so that transactions of a test's size are streamed while they run where that is asked for.
  logical_decoding_work_mem: '64kB',
  max_wal_size: '512MB',
  log_min_messages: 'warning',
}

// In the URLs of all daemons, although most servers ask for none: no line may show it. A null leaves it out.
export const PASSWORD = 'password-of-all-urls'

export class Postgres {
  // Options: version, settings (over SETTINGS).
  static async create({ version = DEBIAN_VERSION, settings = {} } = {}) {
    const self = new Postgres()
    self.version = version
    self.dir = temporary(`pg${version}`)
    own(self.dir)
    self.data = join(self.dir, 'data')
    self.logFile = join(self.dir, 'log')
    self.port = await freePort()
    execFileSync('cp', ['-a', template(version), self.data])
    self.configure({
      ...SETTINGS,
      ...settings,
      port: self.port,
      unix_socket_directories: self.dir,
      listen_addresses: '127.0.0.1',
    })
    await self.start()
    return self
  }

  // Takes effect at the next start, or reload().
  configure(settings) {
    const lines = Object.entries(settings).map(([k, v]) => `${k} = '${v}'\n`)
    appendFileSync(join(this.data, 'postgresql.conf'), lines.join(''))
  }

  reload() {
    this.child.kill('SIGHUP')
  }

  async start() {
    const log = openSync(this.logFile, 'a')
    const child = spawn(join(binaries(this.version), 'postgres'), ['-D', this.data], {
      ...owner,
      cwd: '/',
      stdio: ['ignore', log, log],
    })
    closeSync(log)
    this.child = child
    this.exited = new Promise((resolve) => child.on('exit', resolve))
    this.forget = atExit(() => child.kill('SIGQUIT'))
    child.on('exit', () => (this.gone = child))
    await until(
      () => `PostgreSQL ${this.version} starts: ${this.log().split('\n').slice(-6).join(' / ')}`,
      async () => {
        if (this.gone === child) throw new Error('the server ended')
        const c = new pg.Client(this.config('postgres'))
        c.on('error', () => {})
        await c.connect()
        await c.end()
        return true
      },
      START_MS,
      50,
    )
  }

  // 'fast' writes a checkpoint, 'immediate' leaves the server as a crash would.
  async stop(mode = 'fast') {
    if (!this.child) return
    const { child } = this
    this.child = undefined
    child.kill(mode === 'immediate' ? 'SIGQUIT' : 'SIGINT')
    const timer = setTimeout(() => child.kill('SIGQUIT'), STOP_MS)
    await this.exited
    clearTimeout(timer)
    this.forget()
  }

  async crash() {
    await this.stop('immediate')
    await this.start()
  }

  log() {
    return existsSync(this.logFile) ? readFileSync(this.logFile, 'utf8') : ''
  }

  url(database, user = 'postgres', password = PASSWORD) {
    return `postgresql://${user}${password ? `:${password}` : ''}@127.0.0.1:${this.port}/${database}?sslmode=disable`
  }

  config(database) {
    return {
      host: '127.0.0.1',
      port: this.port,
      user: 'postgres',
      database,
      application_name: 'e2e',
      connectionTimeoutMillis: 10000,
    }
  }

  // A session of its own; the caller ends it.
  async connect(database) {
    const client = new pg.Client(this.config(database))
    client.on('error', () => {})
    await client.connect()
    return client
  }

  // One statement list in a session of its own.
  async query(database, sql, values) {
    const client = await this.connect(database)
    try {
      return await client.query(sql, values)
    } finally {
      await client.end().catch(() => {})
    }
  }

  // A copy of the data directory, to be restored later. The server must be stopped.
  save() {
    if (this.child) throw new Error('stop the server before its files are copied')
    const copy = join(temporary('saved'), 'data')
    execFileSync('cp', ['-a', this.data, copy])
    return copy
  }

  restore(copy) {
    if (this.child) throw new Error('stop the server before its files are restored')
    rmSync(this.data, { recursive: true })
    execFileSync('cp', ['-a', copy, this.data])
  }

  // The next start writes its WAL from this file on, e.g. 00000001FFFFFFFF000000F8. False: this version's tools are
  // not here. The server must be stopped, cleanly.
  resetWal(file) {
    if (this.child) throw new Error('stop the server before its WAL is reset')
    const tool = join(binaries(this.version), 'pg_resetwal')
    if (!existsSync(tool)) return false
    execFileSync(tool, ['-l', file, '-D', this.data], { ...owner, cwd: '/' })
    return true
  }

  // The next start ends recovery on a new timeline, as a promotion does.
  promoteAtStart() {
    this.configure({ restore_command: 'false' })
    const signal = join(this.data, 'recovery.signal')
    appendFileSync(signal, '')
    own(signal)
  }
}
