// What shapes with subqueries may show, told by a second slot: transactions in the order of their commits on a small model of
// the tables. A shape here is { where, inner: tables its sets are of, sets(tables): lists of rows of values, visible(row, sets) }.

// A condition is true, false or null, as in Postgres.
export const not = (a) => (a === null ? null : !a)
export const and = (...list) => (list.includes(false) ? false : list.includes(null) ? null : true)
export const or = (...list) => not(and(...list.map(not)))

// One text for all values that `=` calls the same.
export const same = {
  int: (v) => v,
  numeric: (v) => (v === null ? null : v.includes('.') ? v.replace(/\.?0+$/, '') : v),
  char: (v) => (v === null ? null : v.replace(/ +$/, '')),
}
const equals = (a, b) => (a === null || b === null ? null : a === b)

// `values IN (rows)`: plain loops, for this is where the time goes.
export function isIn(values, rows) {
  let unknown = false
  for (const row of rows) {
    let all = true
    for (let i = 0; i < row.length && all !== false; i++)
      if (values[i] === null || row[i] === null) all = null
      else if (values[i] !== row[i]) all = false
    if (all) return true
    if (all === null) unknown = true
  }
  return unknown ? null : false
}

// Rows of a table for which the condition is true, as lists of values.
export const select = (table, condition, values) => [...table.values()].filter((row) => condition(row) === true).map(values)
export const eq = (a, b) => equals(a, b === null ? null : String(b))

const key = (rows) => rows.map((row) => JSON.stringify(row)).sort().join('|')
function distinct(rows) {
  const seen = new Set()
  return rows.filter((row) => !seen.has(JSON.stringify(row)) && seen.add(JSON.stringify(row)))
}

// The fields of a tuple as test_decoding writes it.
function tuple(text) {
  const row = {}
  for (const [, name, value] of text.matchAll(/(\w+)\[[^\]]*\]:(null|'(?:[^']|'')*'|[^ ]+)/g))
    row[name] = value === 'null' ? null : value[0] === "'" ? value.slice(1, -1).replaceAll("''", "'") : value
  return row
}

function parse(data) {
  const m = /^table \w+\.(\w+)(?:, \w+\.\w+)*: (INSERT|UPDATE|DELETE|TRUNCATE): (.*)$/s.exec(data)
  if (!m) throw new Error(`a change that isn't understood: ${data.slice(0, 200)}`)
  const [, table, kind, rest] = m
  if (kind === 'TRUNCATE') return { tables: data.slice(6, data.indexOf(': TRUNCATE')).split(', ').map((name) => name.split('.')[1]), kind }
  if (kind === 'INSERT') return { table, kind, row: tuple(rest) }
  if (kind === 'DELETE') return { table, kind, old: tuple(rest) }
  const [old, row] = rest.split(' new-tuple: ')
  return { table, kind, old: tuple(old), row: tuple(row) }
}

class Model {
  constructor(names) {
    this.tables = Object.fromEntries(names.map((name) => [name, new Map()]))
  }
  apply({ table, tables, kind, old, row }) {
    if (kind === 'TRUNCATE') {
      for (const name of tables) this.tables[name]?.clear()
      return
    }
    const rows = this.tables[table]
    if (!rows) return
    if (old && !rows.delete(old.id)) throw new Error(`the model lacks ${table} ${old.id}`)
    if (row) rows.set(row.id, row)
  }
}

const BATCH = 20000

export class Oracle {
  // `query` runs a statement, `columns` are those that a version of an outer row consists of.
  constructor({ query, slot, names, outer, columns, shapes }) {
    Object.assign(this, { query, slot, names, outer, columns, shapes })
    this.model = new Model(names)
    this.log = []
    this.byXid = new Map()
    this.seen = 0n
    this.counts = {}
    this.states = new Map(shapes.map((s) => [s.where, { spans: new Map(), seen: new Set(), told: new Map(), changes: [], ...this.look(s, this.model) }]))
  }

  async create() {
    await this.query(`SELECT pg_create_logical_replication_slot('${this.slot}', 'test_decoding')`)
  }

  count(what, n = 1) {
    this.counts[what] = (this.counts[what] ?? 0) + n
  }

  version(row) {
    return JSON.stringify(this.columns.map((c) => row[c] ?? null))
  }

  // What the subqueries select; of an EXISTS a NULL matches nothing, and isn't in the set.
  look(shape, model) {
    const sets = shape.sets(model.tables).map((rows, i) => distinct(shape.exists?.[i] ? rows.filter((row) => !row.includes(null)) : rows))
    return { sets, key: sets.map(key).join(' / ') }
  }

  // Takes in all that has been committed.
  async pull() {
    for (;;) {
      const { rows } = await this.query(`SELECT (lsn - '0/0')::text AS lsn, xid::text AS xid, data FROM pg_logical_slot_peek_changes('${this.slot}', NULL, ${BATCH})`)
      let open
      for (const { lsn, xid, data } of rows) {
        if (data.startsWith('BEGIN')) open = { xid: BigInt(xid), changes: [] }
        else if (!data.startsWith('COMMIT')) open.changes.push(parse(data))
        // What a crash has made the slot tell again is known.
        else if (BigInt(lsn) > this.seen) {
          this.seen = BigInt(lsn)
          this.step(open)
        }
      }
      if (rows.length) await this.query(`SELECT pg_replication_slot_advance('${this.slot}', '0/0'::pg_lsn + ${rows.at(-1).lsn})`)
      if (rows.length < BATCH) return
    }
  }

  step(tx) {
    const index = this.log.push(tx) - 1
    if (this.log.length > 1 && tx.xid < this.log[index - 1].xid) this.count('commits in another order than they began')
    this.byXid.set(String(tx.xid), index)
    const touched = new Set(tx.changes.flatMap((c) => c.tables ?? [c.table]))
    const between = this.between(tx, touched)
    const rows = tx.changes.filter((c) => c.table === this.outer)
    const net = this.net(rows)
    for (const shape of this.shapes) {
      const state = this.states.get(shape.where)
      const change = shape.inner.some((name) => touched.has(name)) && this.judge(shape, state, index, between)
      // Of a transaction that changes the set nothing is told.
      const told = change ? [] : rows.filter((c) => c.row && shape.visible(c.row, state.sets) === true).map((c) => c.text)
      if (told.length) state.told.set(index, new Set(told))
      if (change || rows.some((c) => c.kind === 'TRUNCATE')) this.resee(shape, state, index)
      else this.see(shape, state, index, net)
    }
    this.situations(tx, touched)
  }

  // What the changes of a transaction come to: versions that went, and rows that came by their versions.
  net(changes) {
    const came = new Map()
    const went = []
    for (const c of changes) {
      const old = c.old && this.version(c.old)
      if (old && !came.delete(old)) went.push(old)
      if (c.row) came.set((c.text = this.version(c.row)), c.row)
    }
    return { came, went }
  }

  // Notes from and to which transaction a version is seen: of the rows that changed, or of all.
  see(shape, state, index, { came, went }) {
    for (const text of went) this.end(state, text, index)
    for (const [text, row] of came) if (shape.visible(row, state.sets) === true) this.begin(state, text, index)
  }

  resee(shape, state, index) {
    const now = new Set(this.visible(shape))
    for (const text of state.seen) if (!now.has(text)) this.end(state, text, index)
    for (const text of now) this.begin(state, text, index)
  }

  begin(state, text, index) {
    if (state.seen.has(text)) return
    state.seen.add(text)
    const list = state.spans.get(text)
    if (list) list.push({ from: index })
    else state.spans.set(text, [{ from: index }])
  }

  end(state, text, index) {
    if (state.seen.delete(text)) state.spans.get(text).at(-1).to = index
  }

  // Applies the changes; for small transactions also gives the sets that there were in between, by shape.
  between(tx, touched) {
    const inner = this.shapes.filter((s) => s.inner.some((name) => touched.has(name)))
    const looks = new Map(inner.map((s) => [s.where, new Set()]))
    const small = tx.changes.length > 1 && tx.changes.length <= 12
    for (const change of tx.changes) {
      this.model.apply(change)
      if (small) for (const s of inner) looks.get(s.where).add(this.look(s, this.model).key)
    }
    return looks
  }

  // Looks at the sets anew: true if they changed.
  judge(shape, state, index, between) {
    const now = this.look(shape, this.model)
    const before = state.key
    const was = new Set(state.sets.flat().map((row) => JSON.stringify(row)))
    Object.assign(state, now)
    if (now.key === before) {
      if ([...(between.get(shape.where) ?? [])].some((key) => key !== before)) this.count('a set changed and changed back in a transaction')
      else this.count('the set of no change')
      return false
    }
    state.changes.push(index)
    this.count(`a set changed: ${shape.kind}`)
    const is = new Set(now.sets.flat().map((row) => JSON.stringify(row)))
    const gained = [...is].some((v) => !was.has(v))
    const lost = [...was].some((v) => !is.has(v))
    this.count(gained && lost ? 'moved' : gained ? 'granted' : 'revoked')
    if (now.sets.some((rows) => rows.length === 0)) this.count('an empty set')
    if (now.sets.flat(2).includes(null)) this.count('a NULL in a set')
    if (this.log[index].changes.some((c) => c.table === this.outer)) this.count('a set and outer rows changed in one transaction')
    return true
  }

  situations(tx, touched) {
    if (tx.changes.length > 500) this.count('a huge transaction')
    const keys = tx.changes.filter((c) => c.kind !== 'TRUNCATE').map((c) => `${c.table} ${(c.row ?? c.old).id}`)
    if (new Set(keys).size < keys.length) this.count('several changes of one row')
    if (tx.changes.some((c) => c.kind === 'UPDATE' && c.table !== this.outer && c.old.code && c.old.code !== c.row.code && same.numeric(c.old.code) === same.numeric(c.row.code)))
      this.count('another text of an equal value')
    if (tx.changes.some((c) => c.kind === 'TRUNCATE')) this.count(touched.has(this.outer) ? 'TRUNCATE of the outer table' : 'TRUNCATE of an inner table')
  }

  // The versions that can be seen now, to be held against Postgres's own.
  visible(shape) {
    const { sets } = this.states.get(shape.where)
    return [...this.model.tables[this.outer].values()].filter((row) => shape.visible(row, sets) === true).map((row) => this.version(row)).sort()
  }

  // The first transaction that the snapshot doesn't show and that changed the set.
  firstAfter(where, snapshot) {
    return this.states.get(where).changes.find((index) => !shows(snapshot, this.log[index].xid))
  }

  // How many transactions a snapshot shows, if these are the first ones; else undefined: then what it shows is asked of a model.
  prefix(snapshot) {
    const last = this.log.findLastIndex((tx) => shows(snapshot, tx.xid))
    return this.log.slice(0, last + 1).every((tx) => shows(snapshot, tx.xid)) ? last + 1 : undefined
  }

  // What a shape has in a snapshot: a function of a version.
  seenIn(shape, snapshot) {
    const n = this.prefix(snapshot)
    const { spans } = this.states.get(shape.where)
    if (n !== undefined) return (text) => (spans.get(text) ?? []).some(({ from, to }) => from < n && (to === undefined || to >= n))
    this.count('snapshots that are no prefix of the commits')
    const model = new Model(this.names)
    for (const tx of this.log) if (shows(snapshot, tx.xid)) for (const change of tx.changes) model.apply(change)
    const { sets } = this.look(shape, model)
    const seen = new Set([...model.tables[this.outer].values()].filter((row) => shape.visible(row, sets) === true).map((row) => this.version(row)))
    return (text) => seen.has(text)
  }
}

export const shows = ({ xmin, xmax, xip }, xid) => xid < xmin || (xid < xmax && !xip.has(String(xid)))

const named = ({ xmin, xmax, xip }) => `${xmin}:${xmax}:${[...xip]}`

// What is wrong with one answer's rows and the changes behind it (`life`), of which `first` is the transaction that changed the set.
function* faultsOf(oracle, shape, life, first) {
  const { told } = oracle.states.get(shape.where)
  const seen = life.snapshot ? oracle.seenIn(shape, life.snapshot) : () => true
  for (const { text, xid } of life.sent.splice(0)) {
    const index = oracle.byXid.get(String(xid))
    if (xid === undefined) {
      if (!seen(text)) yield `a row that its snapshot ${named(life.snapshot)} doesn't have: ${text}`
    } else if (index === undefined) yield `a change of a transaction that never was, ${xid}`
    else if (first !== undefined && index >= first) yield `a change of transaction ${xid}, which comes with or after the one that changed the set, ${oracle.log[first].xid}`
    else if (text !== undefined && !told.get(index)?.has(text)) yield `a row that nobody could see: ${text}, transaction ${xid}`
  }
}

// Holds what followers were sent, and their rotations, against the oracle, which has taken in all that was committed; throws.
// A follower has a shape and lives, one for each answer from the beginning: { handle, snapshot, sent: [{ text, xid }] }; the last one
// lasts. `exact`: none ends without a change of the set.
export function judge(followers, oracle, { exact, reasons = () => '' }) {
  const bad = []
  for (const f of followers) {
    for (const life of f.lives) {
      const over = life !== f.life
      const first = life.snapshot && oracle.firstAfter(f.shape.where, life.snapshot)
      for (const fault of faultsOf(oracle, f.shape, life, first)) bad.push(`${f.name} (${life.handle}): ${fault}`)
      if (!over && first !== undefined) bad.push(`${f.name}: ${life.handle} wasn't rotated although transaction ${oracle.log[first].xid} changed its set`)
      if (!over || !life.snapshot) continue
      oracle.count('rotations seen')
      if (first !== undefined) continue
      oracle.count('rotations without a change')
      if (exact) bad.push(`${f.name}: ${life.handle} was rotated although its set hadn't changed since the snapshot ${named(life.snapshot)}; ${reasons(life.handle)}`)
    }
    f.lives = [f.life]
  }
  if (bad.length) throw new Error(`${bad.length} faults:\n${bad.slice(0, 6).join('\n')}`)
}
