// What keeps the store from filling a disk: BUSBAR_STORE_LIMIT, BUSBAR_STORE_MIN_FREE, BUSBAR_SHAPE_EXPIRY,
// BUSBAR_SHAPE_GROWTH_LIMIT, and `busbar compact` (docs/operations.md).

import { execFile } from 'node:child_process'
import { existsSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { BINARY, preload } from '../lib/busbar.mjs'
import { readAll, shape } from '../lib/http.mjs'
import { test } from '../lib/runner.mjs'
import { world } from '../lib/setup.mjs'
import { assert, equal, temporary, until } from '../lib/util.mjs'

const MIB = 1 << 20
const LIMIT = 64 * MIB
// What the file may take beyond the limit: what is written between two looks, and pages that are free only for the next commit
// but one. Named in docs/operations.md.
const SLACK = 64 * MIB
// A shape that was read so lately is in use (prep/keeper.c).
const IN_USE_MS = 30000

// 4 MB for each tenant: 125 rows of 32 KB.
const ROWS = 125
const TENANTS = (n) => [
  'CREATE TABLE d (id int PRIMARY KEY, tenant int NOT NULL, v text NOT NULL)',
  `INSERT INTO d SELECT i, i / ${ROWS}, repeat(md5(i::text), 1000) FROM generate_series(0, ${n * ROWS - 1}) i`,
]
// A row of each tenant.
const ONE = `id % ${ROWS} = 5`
const tenant = (i) => ({ table: 'd', where: `tenant = ${i}` })

const fileOf = (w) => join(w.busbar.storage, 'busbar/data.mdb')

// Looks at the file's size until it is told to stop; gives the largest.
function watchFile(t, w) {
  let max = 0
  const look = () => {
    if (existsSync(fileOf(w))) max = Math.max(max, statSync(fileOf(w)).size)
  }
  const timer = setInterval(look, 20)
  t.cleanup(() => clearInterval(timer))
  return () => {
    look()
    return max
  }
}

function below(t, max) {
  t.note(`the file took ${Math.round(max / MIB)} MiB of ${LIMIT / MIB}`)
  assert(max <= LIMIT + SLACK, `the file took ${Math.round(max / MIB)} MiB`)
}

const refused = (e) => e.answer?.status === 503

test('the least recently read shapes give way: the file stays below the limit, clients follow', { timeout: 240000 }, async (t) => {
  const w = await world(t, { sql: TENANTS(32), env: { BUSBAR_STORE_LIMIT: '64MiB' } })
  const max = watchFile(t, w)
  const followed = [w.follow(tenant(0)), w.follow(tenant(1), 'sse')]
  await w.agree()
  const handles = {}
  const refusals = []
  for (let i = 2; i < 32; i++) {
    await until(
      `tenant ${i} is served`,
      async () => {
        try {
          handles[i] = (await readAll(w.busbar.url, tenant(i))).handle
          return true
        } catch (e) {
          if (!refused(e)) throw e
          refusals.push(e.answer)
          return false
        }
      },
      IN_USE_MS + 30000,
      250,
    )
    await w.sql(`UPDATE d SET v = 'now ${i}' WHERE tenant < 2 AND ${ONE}`)
  }
  // What was read a moment ago wasn't taken away for what came: that had to wait, and was told so.
  assert(refusals.length > 0, 'nothing was refused')
  for (const r of refusals) {
    assert(/BUSBAR_STORE_LIMIT/.test(r.json().message), r.text())
    // A definition that is held back counts its seconds down.
    assert(/^([1-9]|10)$/.test(r.headers['retry-after']), `retry-after ${r.headers['retry-after']}`)
  }
  const asked = (i) => shape(w.busbar.url, { ...tenant(i), handle: handles[i], offset: '0_0' })
  equal((await asked(31)).status, 200, 'the newest')
  assert([409, 503].includes((await asked(2)).status), 'the one that was read the longest ago is still there')
  assert(w.busbar.output.includes('the store has reached BUSBAR_STORE_LIMIT, and nobody is reading it'), 'the log gives no reason')
  await w.agree(followed)
  w.undisturbed(followed)
  below(t, max())
})

test('all shapes are in use: new ones are refused with the reason, until one goes', { timeout: 120000 }, async (t) => {
  const w = await world(t, { sql: TENANTS(20), env: { BUSBAR_STORE_LIMIT: '64MiB' } })
  const max = watchFile(t, w)
  let answer
  for (let i = 0; i < 20 && answer?.status !== 503; i++) {
    // The last one may be given up after its first rows, or amid them: then the answer is broken off, as it must not look whole,
    // and the client asks again.
    const read = () => readAll(w.busbar.url, tenant(i)).then(() => undefined, (e) => (refused(e) ? e.answer : /broken off/.test(e.message) ? read() : Promise.reject(e)))
    answer = await read()
    if (!answer) await w.agree([w.follow(tenant(i))])
  }
  equal(answer?.status, 503, 'the answer when the store is full')
  const said = await until('it says that nothing is left', async () => {
    const r = await shape(w.busbar.url, { ...tenant(19), offset: '-1' })
    return r.status === 503 && /all shapes in it are being read/.test(r.json().message) && r
  })
  assert(/BUSBAR_STORE_LIMIT/.test(said.json().message), said.text())
  equal([said.headers['retry-after'], said.headers['electric-reason']], ['10', 'limit-store'], 'retry-after, reason')
  // Whoever has one goes on with it, and what exists can be asked for.
  equal((await shape(w.busbar.url, { ...tenant(0), offset: '-1' })).status, 200, 'a shape that is there')
  await w.sql(`UPDATE d SET v = 'x' WHERE ${ONE}`)
  await w.agree()
  w.undisturbed()
  // The last one may have gone past the limit as it was made: one that leaves isn't always enough.
  const leave = async () => {
    const leaves = w.followers.shift()
    await leaves.stop()
    equal((await shape(w.busbar.url, { ...leaves.params, handle: leaves.handle }, { method: 'DELETE' })).status, 202, 'the deletion')
  }
  await leave()
  await until('there is room for another', async () => {
    const a = await shape(w.busbar.url, { ...tenant(19), offset: '-1' })
    if (a.status === 503 && /all shapes in it are being read/.test(a.json().message) && w.followers.length > 12) await leave()
    return a.status === 200
  })
  await w.agree()
  w.undisturbed()
  below(t, max())
})

test('one hot shape alone: it starts over, the slot goes on', { timeout: 180000 }, async (t) => {
  const w = await world(t, { sql: TENANTS(1), env: { BUSBAR_STORE_LIMIT: '64MiB' } })
  const max = watchFile(t, w)
  const f = w.follow(tenant(0))
  await w.agree()
  // As fast as they are read: how much is written between two looks is the disk's pace otherwise.
  for (let i = 0; i < 40; i++) {
    await w.sql(`UPDATE d SET v = repeat(md5((id + ${i})::text), 1000)`)
    if (i % 2) await w.agree([f], 60000)
  }
  assert(f.refetches.length > 0, 'it never started over')
  assert(w.busbar.output.includes("this one's log is the largest"), 'the log gives no reason')
  below(t, max())
})

test('a transaction larger than the store: its shape starts over, the slot goes on', { timeout: 180000 }, async (t) => {
  const w = await world(t, { sql: [...TENANTS(1), 'CREATE TABLE small (id int PRIMARY KEY)'], env: { BUSBAR_STORE_LIMIT: '64MiB' } })
  const max = watchFile(t, w)
  const f = w.follow(tenant(0))
  const s = w.follow({ table: 'small' })
  await w.agree()
  await w.sql(`DO $$ BEGIN FOR i IN 1..40 LOOP UPDATE d SET v = repeat(md5((id + i)::text), 1000); END LOOP; INSERT INTO small VALUES (1); END $$`)
  await w.agree([f, s], 90000)
  assert(f.refetches.length > 0, 'it never started over')
  await w.sql('INSERT INTO small VALUES (2)')
  await w.agree()
  below(t, max())
})

test('a shape that is larger than the store: 503 with the reason, and not over and over', { timeout: 120000 }, async (t) => {
  // Just larger: its last rows are all in the WRITER's queue before the store is measured to be full.
  const w = await world(t, { sql: TENANTS(17), env: { BUSBAR_STORE_LIMIT: '64MiB' } })
  const max = watchFile(t, w)
  const f = w.follow(tenant(0))
  await w.agree()
  const r = await until('it is given up', async () => {
    const a = await readAll(w.busbar.url, { table: 'd' }).catch((e) => e.answer)
    return a?.status === 503 && a
  })
  assert(/(don't|did not) fit into the store/.test(r.json().message) && /BUSBAR_STORE_LIMIT/.test(r.json().message), r.text())
  const again = await shape(w.busbar.url, { table: 'd', offset: '-1' })
  equal(again.status, 503, 'asked again')
  assert(/did not fit/.test(again.json().message) && Number(again.headers['retry-after']) > 1, again.text())
  await until('its rows are gone', async () => (await shape(w.busbar.url, { ...tenant(1), offset: '-1' })).status === 200)
  await w.sql("UPDATE d SET v = 'y' WHERE id = 3")
  await w.agree()
  w.undisturbed()
  below(t, max())
})

// A file system as large, and of the kind, as the test says.
const STATFS = `
#include <stdio.h>
#include <stdlib.h>
#include <sys/vfs.h>
#include <sys/syscall.h>
#include <unistd.h>
int statfs(const char *path, struct statfs *s)
{
	unsigned long long free_bytes, type;
	int rc = (int)syscall(SYS_statfs, path, s);
	FILE *f = fopen(getenv("FAKE_STATFS"), "r");
	if (rc == 0 && f != NULL && fscanf(f, "%llu %llu", &free_bytes, &type) == 2) {
		s->f_bavail = free_bytes / s->f_bsize;
		if (type != 0)
			s->f_type = type;
	}
	if (f != NULL)
		fclose(f);
	return rc;
}`

function fakeDisk() {
  const env = preload(STATFS)
  if (!env) return undefined
  const file = join(temporary('disk'), 'statfs')
  const set = (free, type = 0) => writeFileSync(file, `${free} ${type}\n`)
  return { env: { ...env, FAKE_STATFS: file }, set }
}

test('the disk has less free space than BUSBAR_STORE_MIN_FREE: as at a limit, until it has more', { timeout: 120000 }, async (t) => {
  const disk = fakeDisk()
  if (!disk) return t.note('not with a preloaded library')
  disk.set(1024 ** 4)
  const w = await world(t, { sql: TENANTS(20), env: { BUSBAR_STORE_MIN_FREE: '1GiB', ...disk.env } })
  for (let i = 0; i < 17; i++) await readAll(w.busbar.url, tenant(i))
  disk.set(MIB)
  const r = await until('it is refused', async () => {
    const a = await shape(w.busbar.url, { ...tenant(18), offset: '-1' })
    if (a.status === 200) await shape(w.busbar.url, { ...tenant(18), handle: a.handle }, { method: 'DELETE' })
    return a.status === 503 && a
  })
  assert(/BUSBAR_STORE_MIN_FREE/.test(r.json().message), r.text())
  disk.set(1024 ** 4)
  await until('it is made', async () => (await shape(w.busbar.url, { ...tenant(19), offset: '-1' })).status === 200)
})

test('BUSBAR_STORAGE=ephemeral: no file system is refused', async (t) => {
  const disk = fakeDisk()
  if (!disk) return t.note('not with a preloaded library')
  disk.set(1024 ** 4, 0x6969)
  const w = await world(t, { sql: TENANTS(1), env: disk.env, start: false })
  await w.busbar.start({ active: false })
  await w.busbar.exited
  assert(/network filesystem.*BUSBAR_STORAGE=ephemeral/.test(w.busbar.output), w.busbar.tail())
  w.busbar.env.BUSBAR_STORAGE = 'ephemeral'
  await w.busbar.start()
  w.follow(tenant(0))
  await w.agree()
})

test('BUSBAR_SHAPE_EXPIRY: what nobody reads goes, what a client is parked on stays', { timeout: 60000 }, async (t) => {
  // Small: a client that is busy for longer than that isn't reading.
  const sql = ['CREATE TABLE d (id int PRIMARY KEY, tenant int NOT NULL, v text)', "INSERT INTO d SELECT i, i / 10, 'a' FROM generate_series(0, 29) i"]
  const w = await world(t, { sql, env: { BUSBAR_SHAPE_EXPIRY: '4s' } })
  const parked = [w.follow(tenant(0)), w.follow(tenant(1), 'sse')]
  await w.agree()
  const { handle } = await readAll(w.busbar.url, tenant(2))
  const gone = (h) => w.busbar.output.includes(`Removing shape ${h} of public.d: nobody has read it for BUSBAR_SHAPE_EXPIRY`)
  await until('it has gone', () => gone(handle), 20000)
  assert(!gone(parked[0].handle) && !gone(parked[1].handle), 'one that is read has gone')
  equal((await shape(w.busbar.url, { ...tenant(2), handle, offset: '0_inf' })).status, 409, 'its handle')
  await w.sql("UPDATE d SET v = 'z' WHERE id % 10 = 5")
  await w.agree()
  w.undisturbed()
  // When it was read last isn't kept: after a start all count as read then.
  const last = await readAll(w.busbar.url, tenant(2))
  for (const f of parked) await f.stop()
  await w.busbar.kill9()
  await w.busbar.start()
  assert(w.busbar.outputSinceStart().includes('Found 3 existing valid shapes') && !gone(last.handle), 'it went at the start')
  // The log names one and counts the others.
  const expired = () =>
    [...w.busbar.outputSinceStart().matchAll(/Remov(?:ing shape|ed (\d+) more shapes).*BUSBAR_SHAPE_EXPIRY/g)].reduce((n, m) => n + Number(m[1] ?? 1), 0)
  await until('all have gone', () => expired() === 3, 20000)
})

test('BUSBAR_SHAPE_GROWTH_LIMIT: a shape whose log has grown starts over, one at a time', { timeout: 150000 }, async (t) => {
  const w = await world(t, {
    sql: ['CREATE TABLE g (id int PRIMARY KEY, v text)', 'CREATE TABLE h (id int PRIMARY KEY, v text)', "INSERT INTO g SELECT i, 'a' FROM generate_series(1, 100) i", "INSERT INTO h SELECT i, 'a' FROM generate_series(1, 100) i"],
    env: { BUSBAR_SHAPE_GROWTH_LIMIT: '5' },
  })
  const f = [w.follow({ table: 'g' }), w.follow({ table: 'h' })]
  // Of changes only there are no rows that the log could be compared with.
  const only = w.follow({ table: 'g', log: 'changes_only', replica: 'full' })
  await w.agree(f)
  const first = await readAll(w.busbar.url, { table: 'g' })
  for (let i = 0; i < 12; i++) {
    await w.sql(`UPDATE g SET v = repeat('${i}', 1000)`)
    await w.sql(`UPDATE h SET v = repeat('${i}', 1000)`)
  }
  await until('both have started over', () => f.every((x) => x.refetches.length > 0), 40000)
  await w.agree(f)
  equal(only.refetches.length, 0, 'refetches of changes only')
  const removed = w.busbar.output.split('\n').filter((l) => l.includes('BUSBAR_SHAPE_GROWTH_LIMIT=5 times'))
  equal(removed.length, 2, 'how many started over')
  const at = removed.map((l) => Date.parse(`2000-01-01T${/\d\d:\d\d:\d\d\.\d\d\d/.exec(l)[0]}Z`))
  assert((at[1] - at[0] + 86400000) % 86400000 > 2000, `they went together: ${removed}`)
  const old = await shape(w.busbar.url, { table: 'g', handle: first.handle, offset: first.offset })
  equal([old.status, old.headers['electric-reason']], [409, 'log-grown'], 'who comes with the old handle')
  // A client that comes now gets the rows, and no history.
  const now = await readAll(w.busbar.url, { table: 'g' })
  assert(now.handle !== first.handle && now.changes.length === 100, `${now.changes.length} rows`)
})

// Gives { code, output }; code is the signal's name if it was killed.
function compact(w, { killAfter } = {}) {
  return new Promise((done) => {
    const env = { ...process.env, DATABASE_URL: w.busbar.databaseUrl, ELECTRIC_INSECURE: 'true', ELECTRIC_STORAGE_DIR: w.busbar.storage, ...w.busbar.env }
    const child = execFile(BINARY, ['compact'], { env }, (error, stdout, stderr) => {
      done({ code: error ? (error.signal ?? error.code) : 0, output: stdout + stderr })
    })
    if (killAfter !== undefined) setTimeout(() => child.kill('SIGKILL'), killAfter)
  })
}

test('busbar compact: the file is smaller, and handles and offsets stay, whenever it is killed', { timeout: 180000 }, async (t) => {
  const w = await world(t, { sql: TENANTS(24) })
  const f = [0, 1, 2].map((i) => w.follow(tenant(i), i === 1 ? 'sse' : 'poll'))
  await w.agree()
  const others = []
  for (let i = 4; i < 24; i++) others.push([i, (await readAll(w.busbar.url, tenant(i))).handle])
  for (let i = 0; i < 5; i++) await w.sql(`UPDATE d SET v = v || '${i}' WHERE tenant < 3 AND id % 5 = 0`)
  for (const [i, handle] of others) await shape(w.busbar.url, { ...tenant(i), handle }, { method: 'DELETE' })
  await w.agree()
  const before = await readAll(w.busbar.url, tenant(0))
  const answers = before.answers.map((a) => a.answer.text())
  const running = await compact(w)
  assert(running.code === 1 && running.output.includes('in use by another Busbar process'), running.output)
  await w.agree()
  await w.busbar.term()
  await w.sql(`UPDATE d SET v = 'while it was stopped' WHERE ${ONE}`)
  const size = statSync(fileOf(w)).size
  let killed = 0
  for (const killAfter of [5, 15, 30, 60, 90]) {
    const r = await compact(w, { killAfter })
    killed += r.code === 'SIGKILL'
    assert(r.code === 'SIGKILL' || r.code === 0, r.output)
  }
  assert(killed > 0, 'none was killed')
  const done = await compact(w)
  equal(done.code, 0, done.output)
  const small = statSync(fileOf(w)).size
  assert(small < size * 0.7, `${size} bytes became ${small}`)
  assert(!existsSync(join(w.busbar.storage, 'busbar/compact')), 'something is left of it')
  await w.busbar.start()
  await w.agree()
  w.undisturbed()
  const after = await readAll(w.busbar.url, tenant(0))
  equal(after.handle, before.handle, 'the handle')
  equal(after.answers[0].answer.text(), answers[0], 'the first chunk')
  await w.sql(`UPDATE d SET v = 'afterwards' WHERE ${ONE}`)
  await w.agree()
  await w.busbar.kill9()
  await w.busbar.start()
  await w.agree()
  w.undisturbed()
  for (const x of f) x.check()
})
