// Random memberships: tables, shapes of all kinds on them as SQL and as the oracle's model sees them, and who writes.

import { Writer } from './history.mjs'
import { and, eq, isIn, not, or, same, select } from './oracle.mjs'

const USERS = 4
const PROJECTS = 7

export const NAMES = ['users', 'projects', 'members', 'items']

export const SQL = [
  'CREATE TABLE users (id int PRIMARY KEY, team int)',
  'CREATE TABLE projects (id int PRIMARY KEY, owner int, code numeric, tag char(6))',
  'CREATE TABLE members (id int PRIMARY KEY, project_id int, user_id int, code numeric, tag char(8), role varchar(20))',
  'CREATE TABLE items (id int PRIMARY KEY, project_id int, user_id int, code numeric, tag char(6), parent int, title text)',
  ...NAMES.map((name) => `ALTER TABLE ${name} REPLICA IDENTITY FULL`),
]
export const FILL = [
  `INSERT INTO users SELECT g, g % 3 FROM generate_series(1, ${USERS}) g`,
  `INSERT INTO projects SELECT g, g % ${USERS} + 1, g % 3, 't' || g % 3 FROM generate_series(1, ${PROJECTS}) g`,
  `INSERT INTO members SELECT g, g % ${PROJECTS} + 1, g % ${USERS} + 1, g % 4, 't' || g % 4, 'a' FROM generate_series(1, 14) g`,
  `INSERT INTO items SELECT g, g % ${PROJECTS} + 1, g % ${USERS} + 1, g % 5, 't' || g % 5, g % 9, 'first' FROM generate_series(1, 60) g`,
]
export const COLUMNS = ['id', 'project_id', 'user_id', 'code', 'tag', 'parent', 'title']
const { numeric, char } = same

// ---------------------------------------------------------------- shapes, in SQL and as the model sees them

const ofUser = (k) => (m) => eq(m.user_id, k)
const projectsOf = (k) => (db) => select(db.members, ofUser(k), (m) => [m.project_id])
const IN = (k) => `project_id IN (SELECT project_id FROM members WHERE user_id = ${k})`

export const TEMPLATES = [
  (k) => ({ kind: 'IN', where: IN(k), inner: ['members'], sets: (db) => [projectsOf(k)(db)], visible: (r, [s]) => isIn([r.project_id], s) }),
  (k) => ({ kind: 'NOT IN', where: `project_id NOT IN (SELECT project_id FROM members WHERE user_id = ${k})`, inner: ['members'], sets: (db) => [projectsOf(k)(db)], visible: (r, [s]) => not(isIn([r.project_id], s)) }),
  (k) => ({
    kind: 'both polarities',
    where: `(${IN(k)} AND code < 3) OR (user_id = ${k} AND NOT ${IN(k)})`,
    inner: ['members'],
    sets: (db) => [projectsOf(k)(db)],
    visible: (r, [s]) => or(and(isIn([r.project_id], s), r.code === null ? null : Number(r.code) < 3), and(eq(r.user_id, k), not(isIn([r.project_id], s)))),
  }),
  (k) => ({
    kind: 'nested',
    where: `project_id IN (SELECT id FROM projects WHERE owner IN (SELECT id FROM users WHERE team = ${k % 3}))`,
    inner: ['projects', 'users'],
    sets: (db) => {
      const users = select(db.users, (u) => eq(u.team, k % 3), (u) => [u.id])
      return [select(db.projects, (p) => isIn([p.owner], users), (p) => [p.id]), users]
    },
    visible: (r, [s]) => isIn([r.project_id], s),
  }),
  (k) => ({
    kind: 'nested, negated',
    where: `NOT (project_id IN (SELECT project_id FROM members WHERE user_id NOT IN (SELECT owner FROM projects WHERE code = ${k})))`,
    inner: ['members', 'projects'],
    sets: (db) => {
      const owners = select(db.projects, (p) => eq(numeric(p.code), k), (p) => [p.owner])
      return [select(db.members, (m) => not(isIn([m.user_id], owners)), (m) => [m.project_id]), owners]
    },
    visible: (r, [s]) => not(isIn([r.project_id], s)),
  }),
  (k) => ({
    kind: 'composite',
    where: `(user_id, project_id) IN (SELECT user_id, project_id FROM members WHERE code = ${k})`,
    inner: ['members'],
    sets: (db) => [select(db.members, (m) => eq(numeric(m.code), k), (m) => [m.user_id, m.project_id])],
    visible: (r, [s]) => isIn([r.user_id, r.project_id], s),
  }),
  (k) => ({
    kind: 'two subqueries',
    where: `${IN(k)} AND NOT code IN (SELECT code FROM projects WHERE owner = ${k})`,
    inner: ['members', 'projects'],
    sets: (db) => [projectsOf(k)(db), select(db.projects, (p) => eq(p.owner, k), (p) => [numeric(p.code)])],
    visible: (r, [s, codes]) => and(isIn([r.project_id], s), not(isIn([numeric(r.code)], codes))),
  }),
  (k) => ({ kind: 'numeric', where: `code = ANY (SELECT code FROM members WHERE user_id = ${k})`, inner: ['members'], sets: (db) => [select(db.members, ofUser(k), (m) => [numeric(m.code)])], visible: (r, [s]) => isIn([numeric(r.code)], s) }),
  (k) => ({ kind: 'char(n)', where: `tag <> ALL (SELECT tag FROM members WHERE user_id = ${k})`, inner: ['members'], sets: (db) => [select(db.members, ofUser(k), (m) => [char(m.tag)])], visible: (r, [s]) => not(isIn([char(r.tag)], s)) }),
  (k) => ({ kind: 'self', where: `id IN (SELECT parent FROM items WHERE user_id = ${k})`, inner: ['items'], sets: (db) => [select(db.items, ofUser(k), (i) => [i.parent])], visible: (r, [s]) => isIn([r.id], s) }),
  (k) => ({
    kind: 'EXISTS',
    where: `EXISTS (SELECT 1 FROM members m WHERE m.project_id = items.project_id AND m.user_id = ${k})`,
    inner: ['members'],
    exists: [true],
    sets: (db) => [projectsOf(k)(db)],
    visible: (r, [s]) => isIn([r.project_id], s) === true,
  }),
  (k) => ({
    kind: 'NOT EXISTS',
    where: `NOT EXISTS (SELECT 1 FROM members m WHERE m.project_id = items.project_id AND m.user_id = items.user_id AND m.code = ${k})`,
    inner: ['members'],
    exists: [true],
    sets: (db) => [select(db.members, (m) => eq(numeric(m.code), k), (m) => [m.project_id, m.user_id])],
    visible: (r, [s]) => isIn([r.project_id, r.user_id], s) !== true,
  }),
  (k) => ({ kind: 'EXISTS without correlation', where: `user_id = ${k} AND EXISTS (SELECT 1 FROM members WHERE user_id = ${k})`, inner: ['members'], sets: (db) => [select(db.members, ofUser(k), () => ['there'])], visible: (r, [s]) => and(eq(r.user_id, k), s.length > 0) }),
]

// ---------------------------------------------------------------- who writes

function statements(r) {
  const user = () => (r.chance(0.1) ? null : r.int(1, USERS))
  const project = () => (r.chance(0.08) ? null : r.int(1, PROJECTS))
  const code = () => r.pick([null, '0', '1', '1.0', '1.00', '2', '2.000', '3', '3.0'])
  const tag = () => r.pick([null, 't0', 't1', 't2 ', 't3'])
  const member = () => r.int(1, 24)
  const item = () => r.int(1, 90)
  const outer = [
    () => ['INSERT INTO items VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING', [item(), project(), user(), code(), tag(), item(), r.text(5)]],
    () => ['UPDATE items SET project_id = $2 WHERE id = $1', [item(), project()]],
    () => ['UPDATE items SET title = $2, code = $3 WHERE id = $1', [item(), r.text(8), code()]],
    () => ['UPDATE items SET user_id = $2, tag = $3 WHERE id = $1', [item(), user(), tag()]],
    () => ['UPDATE items SET title = $2 WHERE id % 13 = $1', [r.int(0, 12), r.text(4)]],
    () => ['UPDATE items SET id = $2 WHERE id = $1 AND NOT EXISTS (SELECT FROM items WHERE id = $2)', [item(), item()]],
    () => ['DELETE FROM items WHERE id = $1', [item()]],
  ]
  const inner = [
    () => ['INSERT INTO members VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING', [member(), project(), user(), code(), tag(), 'a']],
    () => ['DELETE FROM members WHERE id = $1', [member()]],
    () => ['UPDATE members SET project_id = $2 WHERE id = $1', [member(), project()]],
    () => ['UPDATE members SET user_id = $2 WHERE id = $1', [member(), user()]],
    () => ['UPDATE members SET code = code * 1.0, tag = rtrim(tag) WHERE id = $1', [member()]],
    () => ['UPDATE members SET code = $2, tag = $3 WHERE id = $1', [member(), code(), tag()]],
    () => ['UPDATE members SET role = $2 WHERE id % 5 = $1', [r.int(0, 4), r.text(6)]],
    () => ['UPDATE items SET parent = $2 WHERE id = $1', [item(), item()]],
    () => ['UPDATE projects SET owner = $2, code = $3 WHERE id = $1', [r.int(1, PROJECTS), user(), code()]],
    () => ['UPDATE users SET team = $2 WHERE id = $1', [r.int(1, USERS), r.int(0, 3)]],
    () => ['DELETE FROM projects WHERE id = $1', [r.int(1, PROJECTS)]],
    () => ['INSERT INTO projects VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING', [r.int(1, PROJECTS), user(), code(), tag()]],
  ]
  return { outer: () => r.pick(outer)(), inner: () => r.pick(inner)() }
}

export class SetsWriter extends Writer {
  // `moves`: how often a statement is one on an inner table. `owes`: what the first transactions are, by name.
  constructor(w, random, moves, owes = []) {
    super(w, random, statements(random))
    this.moves = moves
    this.owes = [...owes]
    this.undone = 0
  }

  async body(client, depth) {
    const r = this.random
    const owed = depth === 0 && this.owes.shift()
    if (owed) return this[owed](client)
    if (depth === 0 && r.chance(0.12)) return r.pick([this.flip, this.back, this.grant, this.perhapsHuge]).call(this, client)
    for (let i = r.int(1, 5); i > 0; i--) {
      if (depth < 2 && r.chance(0.12)) {
        await client.query(`SAVEPOINT s${depth}`)
        await this.body(client, depth + 1)
        const undo = r.chance(0.5)
        if (undo) this.undone++
        await client.query(`${undo ? 'ROLLBACK TO' : 'RELEASE'} s${depth}`)
      } else await client.query(...(r.chance(this.moves) ? this.next.inner() : this.next.outer()))
    }
  }

  // 0, 1, 0, or a count that goes up and down.
  async flip(client) {
    const r = this.random
    const id = r.int(30, 40)
    await client.query('INSERT INTO members VALUES ($1, $2, $3, 1, $4) ON CONFLICT DO NOTHING', [id, r.int(1, PROJECTS), r.int(1, USERS), 't1'])
    await client.query(...this.next.outer())
    await client.query('DELETE FROM members WHERE id = $1', [id])
  }

  // There and back.
  async back(client) {
    const r = this.random
    const { rows } = await client.query('SELECT id, project_id FROM members WHERE id >= $1 ORDER BY id LIMIT 1 FOR UPDATE', [r.int(1, 12)])
    if (rows.length === 0) return
    await client.query('UPDATE members SET project_id = $2 WHERE id = $1', [rows[0].id, r.int(1, PROJECTS)])
    await client.query(...this.next.outer())
    await client.query('UPDATE members SET project_id = $2 WHERE id = $1', [rows[0].id, rows[0].project_id])
  }

  // A membership and the rows of its project.
  async grant(client) {
    const r = this.random
    const project = r.int(1, PROJECTS)
    const steps = [
      ['UPDATE items SET title = $2 WHERE project_id = $1', [project, r.text(6)]],
      r.chance(0.5) ? ['DELETE FROM members WHERE project_id = $1 AND user_id = $2', [project, r.int(1, USERS)]] : ['INSERT INTO members VALUES ($1, $2, $3, 1, $4) ON CONFLICT DO NOTHING', [r.int(1, 24), project, r.int(1, USERS), 't1']],
      ['INSERT INTO items VALUES ($1, $2, $3, 1, $4, 1, $5) ON CONFLICT (id) DO UPDATE SET title = excluded.title, project_id = excluded.project_id', [r.int(1, 90), project, r.int(1, USERS), 't1', 'granted']],
    ]
    while (steps.length) await client.query(...steps.splice(r.int(0, steps.length - 1), 1)[0])
  }

  perhapsHuge(client) {
    return this.random.chance(0.3) ? this.huge(client) : client.query(...this.next.outer())
  }

  // Of a size that the server streams before it is committed.
  async huge(client) {
    const r = this.random
    await client.query("INSERT INTO items SELECT g, 1, 1, 1, 't1', 1, repeat($1, 20) FROM generate_series(1000, 1300) g", [r.text(6)])
    await client.query(...this.next.inner())
    await client.query("UPDATE items SET title = 'y' WHERE id >= 1000")
    if (r.chance(0.5)) await client.query(...this.next.inner())
    await client.query('DELETE FROM items WHERE id >= 1000')
  }
}
