// The recorded conversations about subqueries (../../conformance/cases/10-subqueries.json) played against the daemon, and
// compared by what they mean: Electric tells what moves in and out by tags and events, Busbar by a 409 and the rows anew.
//
// An Electric client is modelled on the recorded answers alone; ours are two strict followers of the same shape. After each
// step both hold the same rows, and those that Postgres selects; ours was sent back to the start where Electric sent an event,
// and nowhere else. Of requests that follow no shape (refusals, subsets, DELETE) the answer itself is compared.
// What must differ is in ../../conformance.differences; there an entry that is no longer true is a failure too.

import { readFileSync } from 'node:fs'
import { difference, Follower, tableRows } from './follower.mjs'
import { get } from './http.mjs'
import { until } from './util.mjs'

// What a client of Electric holds: rows by key, each with its tags (one a disjunct, a slot for each position of the
// condition) and which positions are true of it.
export class TaggedClient {
  constructor() {
    this.rows = new Map()
    this.events = 0
  }

  take(messages) {
    for (const m of messages) {
      if (m.headers.control === 'must-refetch') this.rows.clear()
      else if (m.headers.event) this.move(m.headers)
      else if (m.key !== undefined) this.change(m)
    }
  }

  change({ key, value, headers: { operation, tags, active_conditions: active } }) {
    if (operation === 'delete') this.rows.delete(key)
    else this.rows.set(key, { value: { ...this.rows.get(key)?.value, ...value }, tags: tags.map((t) => t.split('/')), active: [...active] })
  }

  move({ event, patterns }) {
    this.events++
    for (const { pos, value } of patterns)
      for (const [key, row] of this.rows) {
        if (!row.tags.some((slots) => slots[pos] === value)) continue
        row.active[pos] = event === 'move-in'
        if (!row.tags.some((slots) => slots.every((slot, i) => slot === '' || row.active[i]))) this.rows.delete(key)
      }
  }

  contents() {
    return [...this.rows.values()].map(({ value }) => JSON.stringify(value, Object.keys(value).sort())).sort()
  }
}

// A followed request's query without what says where its client stands.
function shapeOf(path) {
  const all = [...new URL(path, 'http://server').searchParams]
  return Object.fromEntries(all.filter(([k]) => !['offset', 'handle', 'live', 'cursor'].includes(k)))
}

// Its condition with the parameters written in.
function conditionOf(params) {
  return params.where.replace(/\$(\d+)/g, (_, n) => `'${params[`params[${n}]`].replaceAll("'", "''")}'`)
}

export function readDifferences(file, suite) {
  const lines = readFileSync(file, 'utf8').split('\n')
  return lines
    .filter((l) => l.startsWith(`${suite}: `))
    .map((line) => {
      const [name, part, reason] = line.split(' | ')
      return { name, part, reason, line, met: false }
    })
}

// Plays one case. `world`: url, sql(text) in the daemon's database, differs(path) gives the entry of the list for it.
class Play {
  constructor(world, recorded) {
    Object.assign(this, world)
    this.recorded = recorded
    this.clients = new Map() // by the shape's parameters
    this.problems = []
    this.checks = 0
  }

  problem(path, text) {
    this.problems.push(`${decodeURIComponent(path)}\n      ${text}`)
  }

  async run() {
    for (const text of this.recorded.sql) await this.sql(text)
    try {
      for (const step of this.recorded.steps) await this.step(step)
    } finally {
      for (const c of this.clients.values()) await Promise.all(c.ours.map((f) => f.stop()))
    }
    for (const c of this.clients.values()) for (const f of c.ours) this.problems.push(...f.faults)
  }

  async step(step) {
    if (step.sql) for (const text of [].concat(step.sql)) await this.sql(text)
    else if (step.expect.status === 409) await this.refetch(step)
    else if (step.method || step.expect.status !== 200 || step.path.includes('subset__')) await this.answer(step)
    else await this.follow(step)
  }

  client(path) {
    const params = shapeOf(path)
    const id = JSON.stringify(params)
    if (!this.clients.has(id)) {
      const ours = ['poll', 'sse'].map((mode) => new Follower({ url: this.url, params, mode }).start())
      this.clients.set(id, { params, ours, electric: new TaggedClient(), sent: [0, 0] })
    }
    return this.clients.get(id)
  }

  selected({ table, columns, where, ...params }) {
    return tableRows(this.sql, table, columns?.split(','), conditionOf({ where, ...params }))
  }

  // A request that carries a shape on.
  async follow(step) {
    const c = this.client(step.path)
    const events = c.electric.events
    c.electric.take(step.expect.body)
    const electric = c.electric.contents()
    const postgres = await this.selected(c.params)
    for (const [i, f] of c.ours.entries()) {
      await f.converges(() => postgres, 15000).catch((e) => this.problem(step.path, e.message))
      const sent = f.refetches.length - c.sent[i]
      c.sent[i] = f.refetches.length
      if (c.electric.events === events ? sent > 0 : sent === 0)
        this.problem(step.path, `${sent} answers with 409 where Electric sent ${c.electric.events - events} events`)
    }
    c.at = { handle: c.ours[0].handle, offset: c.ours[0].offset }
    this.compare(step, JSON.stringify(electric) === JSON.stringify(postgres), () => `Electric's client: ${difference(electric, postgres)}`)
  }

  // One that loses the shape: its answer is compared, then ours starts anew and gets what Postgres selects.
  async refetch(step) {
    const c = this.client(step.path)
    const path = step.path.replace(/\$\w+\.handle/, c.at.handle).replace(/\$\w+\.offset/, c.at.offset)
    await this.compareAnswer(step, await get(this.url + path))
    c.electric.take(step.expect.body)
    const postgres = await this.selected(c.params)
    for (const f of c.ours) {
      await until(() => `${f.name} is sent back: ${f.state()}`, () => f.refetches.length > 0, 15000)
      await f.converges(() => postgres, 15000).catch((e) => this.problem(step.path, e.message))
    }
  }

  // One that stands for itself.
  async answer(step) {
    const answer = await get(this.url + step.path, { method: step.method })
    await this.compareAnswer(step, answer)
    // A form that only we take gives what Postgres selects.
    if (answer.status !== 200 || step.expect.status === 200) return
    const params = shapeOf(step.path)
    const got = answer.changes().map(({ value }) => JSON.stringify(value)).sort()
    const postgres = await this.selected(params)
    if (JSON.stringify(got) !== JSON.stringify(postgres)) this.problem(step.path, difference(got, postgres))
  }

  async compareAnswer(step, answer) {
    const { status, body } = step.expect
    const got = answer.text() === '' ? '' : answer.json()
    const same = answer.status === status && JSON.stringify(plain(got)) === JSON.stringify(plain(body))
    this.compare(step, same, () => `want ${status} ${JSON.stringify(plain(body))}\n      got ${answer.status} ${JSON.stringify(plain(got)).slice(0, 400)}`)
  }

  compare({ path }, same, text) {
    this.checks++
    const entry = this.differs(path)
    if (entry) entry.met ||= !same
    else if (!same) this.problem(path, text())
  }
}

// An answer without what a plain shape has not (tags) and what belongs to one server (the subset's snapshot), keys sorted.
function plain(value) {
  if (Array.isArray(value)) return value.map(plain)
  if (!value || typeof value !== 'object') return value
  const left = ['tags', 'active_conditions', 'snapshot_mark', 'metadata']
  return Object.fromEntries(Object.keys(value).filter((k) => !left.includes(k)).sort().map((k) => [k, plain(value[k])]))
}

// Plays the suite in `file`; `world`: url, sql. `line` takes lines to print, as the replayer's. Gives { passed, failed }.
export async function play(file, differencesFile, world, only, line) {
  const suite = JSON.parse(readFileSync(file, 'utf8'))
  const list = readDifferences(differencesFile, suite.suite)
  const count = { passed: 0, failed: 0 }
  const fail = (what, problems) => {
    count.failed++
    line(`FAIL ${what}`)
    for (const p of problems) line(`   ${p}`)
  }
  for (const c of suite.cases) {
    const name = `${suite.suite}: ${c.name}`
    if (only && !name.includes(only)) continue
    const differs = (path) => list.find((d) => d.name === name && (d.part === '*' || path.includes(d.part)))
    const p = new Play({ ...world, differs }, c)
    await p.run().catch((e) => p.problems.push(e.message))
    if (p.checks === 0) p.problems.push('nothing was compared')
    for (const d of list) if (d.name === name && !d.met) p.problems.push(`listed as different, and isn't: ${d.line}`)
    if (p.problems.length) fail(name, p.problems)
    else count.passed++
  }
  if (!only)
    for (const d of list)
      if (!suite.cases.some((c) => d.name === `${suite.suite}: ${c.name}`)) fail(`no such case: ${d.line}`, [])
  const met = list.filter((d) => d.met).length
  if (met) line(`${met} answers differ on purpose`)
  return count
}
