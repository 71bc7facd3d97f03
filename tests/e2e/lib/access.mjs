// What the suites of subqueries share: items of projects, who is a member of which, and how often followers were rotated.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { preload } from './busbar.mjs'
import { events, readAll, shape, shapeUrl } from './http.mjs'
import { assert, equal, temporary, until, within } from './util.mjs'

// User 1 is in projects 1 and 2, twice in 2; user 2 in 2 and 3. Items 1 to 30, five a project; two without one.
export const ACCESS = [
  'CREATE TABLE projects (id int PRIMARY KEY, owner int, name text)',
  'CREATE TABLE members (id int PRIMARY KEY, project_id int, user_id int, role text)',
  'CREATE TABLE items (id int PRIMARY KEY, project_id int, title text)',
  "INSERT INTO projects SELECT g, g % 3, 'p' || g FROM generate_series(1, 6) g",
  "INSERT INTO members VALUES (1, 1, 1, 'a'), (2, 2, 1, 'a'), (3, 2, 1, 'b'), (4, 2, 2, 'a'), (5, 3, 2, 'a')",
  "INSERT INTO items SELECT g, g % 6 + 1, 'item ' || g FROM generate_series(1, 30) g",
  "INSERT INTO items VALUES (31, NULL, 'nowhere'), (32, NULL, 'nowhere either')",
]
export const MINE = 'project_id IN (SELECT project_id FROM members WHERE user_id = 1)'
export const SHAPE = { table: 'items', where: MINE }

// Both kinds of follower, up to date.
export async function both(w, params = SHAPE) {
  const all = ['poll', 'sse'].map((mode) => w.follow(params, mode))
  await Promise.all(all.map((f) => f.ready()))
  return all
}

export function rotated(followers, times = 1) {
  for (const f of followers) equal(f.refetches.length, times, `times that ${f.name} was rotated`)
}

let next = 100000

// All that was committed before has reached the followers, who have Postgres's rows and were rotated so often: an item
// that all of them see comes behind it. `project` is one in the sets of all.
export async function settled(w, followers, times, { project = 1, table = 'items', ms = 20000 } = {}) {
  const id = next++
  await w.sql(`INSERT INTO ${table} (id, project_id, title) VALUES (${id}, ${project}, 'mark')`)
  await until(
    () => `the mark is there: ${followers.map((f) => f.state()).join('; ')}`,
    () => followers.every((f) => f.confirmedAt && [...f.rows.values()].some((row) => row.id === String(id))),
    ms,
  )
  await w.agree(followers, ms)
  if (times !== undefined) rotated(followers, times)
}

// The followers were rotated so often and have Postgres's rows, which needn't hold a mark.
export async function becomes(w, followers, times, ms = 20000) {
  await until(
    () => `rotated ${times} times: ${followers.map((f) => `${f.refetches.length} ${f.state()}`).join('; ')}`,
    () => followers.every((f) => f.refetches.length >= times && f.confirmedAt),
    ms,
  )
  await w.agree(followers, ms)
  rotated(followers, times)
}

// Statements one after the other, each with the followers that it rotates, and how often they have been by then.
export async function eachRotates(w, steps) {
  for (const [sql, followers, times] of steps) {
    await w.sql(sql)
    await becomes(w, followers, times)
  }
}

// A request with this handle at this offset gets 409, whatever its successor would get.
export const refused = (w, at, params = SHAPE, ms = 10000) =>
  until(
    `409 for ${at.handle}`,
    async () => {
      const answer = await shape(w.busbar.url, { ...params, handle: at.handle, offset: at.offset })
      assert(answer.status === 409 || answer.status === 200, `${answer.status} ${answer.text().slice(0, 300)}`)
      if (answer.status === 409) equal(answer.text(), '[{"headers":{"control":"must-refetch"}}]', 'body')
      return answer.status === 409
    },
    ms,
  )

// An answer that isn't one with rows, and whose text has these parts.
export async function refusal(w, params, status, ...parts) {
  const answer = await shape(w.busbar.url, { offset: '-1', ...SHAPE, ...params })
  equal(answer.status, status, `status of ${JSON.stringify(params)}: ${answer.text().slice(0, 300)}`)
  const text = answer.text().replaceAll('\\"', '"') // quotes as they are meant
  for (const part of parts) assert(part instanceof RegExp ? part.test(text) : text.includes(part), `${part}: ${text}`)
  return answer
}

// A long-poll and an event stream that wait at the shape's end: `ended()` gives how they ended, and how soon.
export async function parked(w, params = SHAPE) {
  const at = await readAll(w.busbar.url, params)
  const query = { ...params, handle: at.handle, offset: at.offset, live: true }
  const poll = shape(w.busbar.url, query)
  const messages = []
  const stream = await events(shapeUrl(w.busbar.url, { ...query, live_sse: true }), (e) => e.json && messages.push(e.json))
  equal(stream.response.status, 200, 'status of the stream')
  return {
    at,
    messages,
    rows: () => messages.filter((m) => m.key !== undefined),
    close: stream.close,
    ended: async (ms = 5000) => {
      const started = Date.now()
      const answer = await within('the long-poll is answered', ms, poll)
      const end = await within('the stream ends', ms, stream.done)
      return { answer, end, ms: Date.now() - started }
    },
  }
}

// It was rotated under those who wait: 409, an end, and nothing of the transaction that did it.
export async function toldNothing(waiters) {
  const { answer, end } = await waiters.ended()
  equal([answer.status, answer.text()], [409, '[{"headers":{"control":"must-refetch"}}]'], 'the long-poll')
  equal(end, 'end', 'end of the stream')
  equal(waiters.rows(), [], 'rows under the old handle')
}

// Settings under which the daemon's clocks can be set forward, and what does it. Undefined under a sanitizer.
export function clock() {
  const file = join(temporary('clock'), 'seconds')
  const env = preload(`
#include <dlfcn.h>
#include <pthread.h>
#include <sys/stat.h>
#include <time.h>
static time_t ahead(void)
{
	struct stat st;
	return stat("${file}", &st) == 0 ? (time_t)st.st_size : 0;
}
int clock_gettime(clockid_t id, struct timespec *now)
{
	static int (*real)(clockid_t, struct timespec *);
	if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	int rc = real(id, now);
	if (id != CLOCK_PROCESS_CPUTIME_ID && id != CLOCK_THREAD_CPUTIME_ID) now->tv_sec += ahead();
	return rc;
}
int pthread_cond_clockwait(pthread_cond_t *cond, pthread_mutex_t *lock, clockid_t id, const struct timespec *until)
{
	typedef int wait_fn(pthread_cond_t *, pthread_mutex_t *, clockid_t, const struct timespec *);
	static wait_fn *real;
	if (!real) real = (wait_fn *)dlsym(RTLD_NEXT, "pthread_cond_clockwait");
	struct timespec then = *until;
	then.tv_sec -= ahead();
	if (then.tv_sec < 0) then = (struct timespec){0};
	return real(cond, lock, id, &then);
}
`)
  return env && { env, forward: (seconds) => writeFileSync(file, 'x'.repeat(seconds)) }
}

export const published = async (w, table = 'members') =>
  (await w.sql('SELECT FROM pg_publication_tables WHERE pubname = $1 AND tablename = $2', [w.publication, table])).rowCount > 0

// Lines of the log that say why a shape went.
export const reasons = (w) => w.busbar.output.split('\n').filter((line) => line.includes('Removing shape'))
