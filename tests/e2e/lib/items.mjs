// A table with common types, random changes to it, and its rows as a client shows them.

export const ITEMS = `CREATE TABLE items (
	id int4 PRIMARY KEY,
	name text NOT NULL,
	n int8,
	f float8,
	ok bool,
	j jsonb,
	a int4[],
	note text
)`

const COLUMNS = 'id, name, n, f, ok, j, a, note'

export class Items {
  // `query(sql, values)` runs a statement; `fill` is the length of a row's text.
  constructor(query, random, { fill = 40 } = {}) {
    this.query = query
    this.random = random
    this.fill = fill
    this.ids = []
    this.next = 1
  }

  value() {
    const r = this.random
    return [
      r.text(this.fill),
      r.chance(0.1) ? null : String(BigInt(r.int(0, 2 ** 31)) * 1000003n),
      r.chance(0.1) ? null : r.int(-1000, 1000) / 8,
      r.chance(0.1) ? null : r.chance(0.5),
      r.chance(0.1) ? null : JSON.stringify({ k: r.int(0, 9), list: [r.text(3), null, true] }),
      r.chance(0.1) ? null : `{${r.int(0, 9)},NULL,${r.int(0, 9)}}`,
      r.chance(0.3) ? null : `line\n"quoted" \\ ${r.text(4)} ü€`,
    ]
  }

  async insert(count = 1) {
    for (let i = 0; i < count; i++) {
      const id = this.next++
      await this.query(`INSERT INTO items (${COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`, [id, ...this.value()])
      this.ids.push(id)
    }
  }

  async update() {
    const id = this.random.pick(this.ids)
    const [name, n, f, ok, j, a, note] = this.value()
    switch (this.random.int(0, 3)) {
      case 0:
        return this.query('UPDATE items SET name = $2 WHERE id = $1', [id, name])
      case 1:
        return this.query('UPDATE items SET n = $2, ok = $3, j = $4 WHERE id = $1', [id, n, ok, j])
      case 2:
        return this.query('UPDATE items SET f = $2, a = $3, note = $4 WHERE id = $1', [id, f, a, note])
      default:
        return this.query('UPDATE items SET name = $2, n = NULL, note = NULL WHERE id % 7 = $1 % 7', [id, name])
    }
  }

  async delete() {
    const [id] = this.ids.splice(this.random.int(0, this.ids.length - 1), 1)
    await this.query('DELETE FROM items WHERE id = $1', [id])
  }

  async changeKey() {
    const at = this.random.int(0, this.ids.length - 1)
    const to = this.next++
    await this.query('UPDATE items SET id = $2, name = $3 WHERE id = $1', [this.ids[at], to, this.random.text(this.fill)])
    this.ids[at] = to
  }

  // One random step; the table never gets empty.
  async step() {
    const r = this.random.float()
    if (this.ids.length < 5 || r < 0.4) await this.insert(this.random.int(1, 3))
    else if (r < 0.7) await this.update()
    else if (r < 0.85) await this.delete()
    else await this.changeKey()
  }

  async steps(count) {
    for (let i = 0; i < count; i++) await this.step()
  }
}

function plain(value) {
  if (value === null || value === undefined) return null
  if (typeof value === 'object')
    return JSON.stringify(value, (_, v) =>
      typeof v === 'bigint'
        ? String(v)
        : v && typeof v === 'object' && !Array.isArray(v)
          ? Object.fromEntries(Object.entries(v).sort())
          : v,
    )
  return String(value)
}

// Rows in one form, sorted by key.
export function normal(rows) {
  return [...rows]
    .map((row) => Object.fromEntries(COLUMNS.split(', ').map((c) => [c, plain(row[c])])))
    .sort((x, y) => Number(x.id) - Number(y.id))
    .map((row) => JSON.stringify(row))
}

export async function wanted(query) {
  return normal((await query(`SELECT ${COLUMNS} FROM items`)).rows)
}
