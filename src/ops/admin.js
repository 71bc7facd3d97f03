// The admin page: asks this port's JSON again and again and shows it. Texts of others are only ever set as text.
'use strict'

const EVERY_MS = 2000 // what is small
const SLOW_EVERY = 3 // times that: shapes, events, memory
const PAGE = 25
const EVENTS = 50
const ANSWER_MS = 5000 // a frozen process takes connections all the same

const $ = (id) => document.getElementById(id)
const text = (s) => document.createTextNode(s)

function element(name, properties = {}, ...inside) {
	const e = Object.assign(document.createElement(name), properties)
	e.append(...inside)
	return e
}

async function ask(path) {
	const answer = await fetch(path, { cache: 'no-store', signal: AbortSignal.timeout(ANSWER_MS) })
	if (!answer.ok) throw new Error(`${answer.status} for ${path}`)
	return answer.json()
}

// ---- figures

function bytes(n) {
	if (n === null || n === undefined) return '–'
	const units = ['B', 'KB', 'MB', 'GB', 'TB']
	let i = 0
	while (n >= 1000 && i < units.length - 1) {
		n /= 1024
		i++
	}
	return `${i === 0 || n >= 99.95 ? Math.round(n) : n.toFixed(1)} ${units[i]}`
}
const number = (n) => (n === null || n === undefined ? '–' : Math.round(n).toLocaleString('en'))
function rate(n) {
	if (n === null || n === undefined) return '–'
	return n === 0 ? '0' : n < 10 ? n.toFixed(1) : number(n)
}
function milliseconds(ms) {
	if (ms === null || ms === undefined) return '–'
	return ms < 10 ? `${ms.toFixed(1)} ms` : ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`
}
function span(s) {
	if (s < 60) return `${Math.round(s)} s`
	if (s < 3600) return `${Math.floor(s / 60)} min`
	return s < 172800 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86400)} d`
}
// All times are the server's, whose clock may differ from the browser's.
const clock = { server: NaN, here: 0 }
const serverNow = () => clock.server + performance.now() - clock.here
const time = (t) => new Date(t).toLocaleTimeString('en-GB')
const date = (t) => new Date(t).toLocaleDateString('sv-SE') // year, month, day
const timeOrDate = (t) => (date(t) === date(serverNow()) ? time(t) : `${date(t)} ${time(t)}`)
const ago = (s) => (s < 1 ? 'now' : `${span(s)} ago`)
const plural = (n, one, many = `${one}s`) => `${number(n)} ${n === 1 ? one : many}`

function answer(id, state, big, more) {
	const a = $(id)
	a.className = state
	a.querySelector('.big').textContent = big
	a.querySelector('.more').textContent = more
}

// ---- the four questions

const BEHIND_WATCH_S = 15 // so long behind: more than what passes between two reports of ours to Postgres, with nothing to do
const BEHIND_DANGER_S = 60

const behind = (s) => (s.postgres_asleep ? 0 : (s.postgres.behind_s ?? 0))
const lastLook = ({ looked_s_ago: s }) => (s === null ? 'nobody could look yet' : `not looked at since ${timeOrDate(serverNow() - s * 1000)}`)

function showLive(s) {
	const up = `for ${span((Date.parse(s.now) - Date.parse(s.started)) / 1000)}`
	const why = s.reason_text ? `: ${s.reason_text}` : ''
	if (s.ready && s.postgres_asleep) answer('live', 'fine', 'Asleep', `all connections to Postgres are closed; the next request wakes it; running ${up}`)
	else if (s.ready && !s.postgres_away) answer('live', 'fine', s.status === 'active' ? 'Yes' : s.status, `active, running ${up}`)
	else if (s.ready) answer('live', 'watch', 'Known shapes only', `Postgres is away${why}`)
	else answer('live', 'danger', 'No', `${s.status}${why}`)
}

// Only changes that have arrived are counted in the percentiles: what stands still shows as none, or as those before.
function showLate(s) {
	const { over_s: over, commit_to_client: client, commit_to_log: log } = s.lag
	const seen = client.p99_ms ?? log.p99_ms
	const still = behind(s)
	if (still >= BEHIND_WATCH_S) answer('late', still < BEHIND_DANGER_S ? 'watch' : 'danger', `At least ${span(still)}`, `so long Postgres has had WAL for us, and we have confirmed none of it (seen ${ago(s.postgres.looked_s_ago)})`)
	else if (s.postgres_asleep) answer('late', '', 'Asleep', 'what has changed meanwhile is read when the next request wakes it')
	else if (!s.ready || s.postgres_away) answer('late', 'watch', 'Not known', 'what has changed in Postgres cannot be told now')
	else if (seen === null) answer('late', '', 'Nothing to tell', `no change in the last ${span(over)}`)
	else {
		const half = client.p99_ms !== null ? client.p50_ms : log.p50_ms
		const where = client.p99_ms !== null ? 'to waiting clients' : 'to the logs; nobody waits'
		answer('late', seen < 1000 ? 'fine' : seen < 5000 ? 'watch' : 'danger', milliseconds(seen), `99 % of changes, half ${milliseconds(half)}, ${where}, in ${span(over)}`)
	}
}

function showDanger(s) {
	const p = s.postgres
	const big = { fine: 'No', watch: 'Look at it', danger: 'Yes', unknown: 'Not known' }[p.state]
	const held = p.wal_held_by_us_bytes === null ? lastLook(p) : `${bytes(p.wal_held_by_us_bytes)} of WAL kept for us, ${bytes(p.wal_held_by_others_bytes)} for others`
	const limit = p.wal_limit_bytes === null ? '' : `; limit ${bytes(p.wal_limit_bytes)}`
	const still = behind(s) < BEHIND_WATCH_S ? '' : `; our position has stood still for ${span(p.behind_s)}`
	const then = s.postgres_asleep && p.wal_held_by_us_bytes !== null ? `; seen ${ago(p.looked_s_ago)}` : ''
	answer('danger', p.state === 'unknown' ? '' : p.state, big, p.text ?? `${held}${limit}${still}${then}`)
}

function showRefused(c) {
	const now = c.refused.filter((r) => r.lately > 0)
	const n = now.reduce((sum, r) => sum + r.lately, 0)
	const all = c.refused.reduce((sum, r) => sum + r.total, 0)
	if (n > 0) answer('refused', 'watch', plural(n, 'request'), `in ${span(c.lately_s)}: ${now.map((r) => `${r.reason} ${number(r.lately)}`).join(', ')}`)
	else answer('refused', 'fine', 'Nobody', all > 0 ? `${plural(all, 'request')} since the start` : 'since Busbar started')
}

// ---- the plot: time by the logarithm of milliseconds

const SVG = 'http://www.w3.org/2000/svg'
const LINES = [['log', 'log_p99_ms'], ['half', 'client_p50_ms'], ['client', 'client_p99_ms']]
const TICKS = [[1, '1 ms'], [10, '10 ms'], [100, '100 ms'], [1000, '1 s'], [10000, '10 s']]
const SPAN_MS = 600000 // at most, and at least:
const SPAN_LEAST_MS = 60000
const JOINED_MS = 3500 // samples that are nearer are a line
const LEFT = 60 // of a thousand, for the labels
let samples = []

const plotY = (ms) => 210 - (200 * Math.log10(Math.min(Math.max(ms, 0.4), 60000) / 0.4)) / Math.log10(60000 / 0.4)

function path(name, d) {
	const p = document.createElementNS(SVG, 'path')
	p.setAttribute('class', name)
	p.setAttribute('d', d)
	return p
}

function line(key, end, whole) {
	let d = ''
	let dots = ''
	let last = 0
	let alone = '' // the place of one that none is joined to so far
	for (const s of samples) {
		if (s[key] === null) continue
		const x = LEFT + ((1000 - LEFT) * (s.at_ms - (end - whole))) / whole
		if (x < LEFT) continue
		const at = `${x.toFixed(1)} ${plotY(s[key]).toFixed(1)}h.1`
		const joined = s.at_ms - last <= JOINED_MS
		if (!joined) dots += alone
		alone = joined ? '' : `M${at}`
		d += `${joined ? 'L' : 'M'}${at}`
		last = s.at_ms
	}
	return { d, dots: dots + alone }
}

async function plot() {
	const { samples: more } = await ask(`/admin/lag?after=${samples.at(-1)?.at_ms ?? 0}`)
	samples = [...samples, ...more].slice(-600)
	const end = samples.at(-1)?.at_ms ?? serverNow()
	const whole = Math.min(Math.max(end - (samples[0]?.at_ms ?? end), SPAN_LEAST_MS), SPAN_MS)
	const lines = LINES.map(([name, key]) => ({ name, ...line(key, end, whole) }))
	$('plot-times').firstElementChild.textContent = ago(whole / 1000)
	$('plot').querySelector('svg').replaceChildren(
		...TICKS.map(([ms]) => path('grid', `M${LEFT} ${plotY(ms).toFixed(1)}H1000`)),
		...lines.map(({ name, d }) => path(name, d)),
		...lines.map(({ name, dots }) => path(`${name} dots`, dots)),
	)
	if ($('plot-labels').childElementCount === 0) for (const [ms, label] of TICKS) {
		const l = element('span', { textContent: label })
		l.style.top = `${plotY(ms)}px`
		$('plot-labels').append(l)
	}
	$('plot-empty').hidden = lines.some(({ d }) => d !== '')
}

// ---- shapes

const view = { sort: 'bytes', order: 'desc', after: '', seen: 0, next: null }
let listings = 0

// As people write conditions: without needless quotes, types of whole numbers, and parentheses around all of it.
const QUOTED = /("(?:[^"]|"")*"|'(?:[^']|'')*')/ // what is at odd places of a text that is split by it

function isEnclosed(parts) {
	let depth = 0
	const outside = parts.map((part, i) => (i % 2 ? 'x' : part)).join('').trim()
	for (let i = 0; i < outside.length; i++) {
		if (outside[i] === '(') depth++
		if (outside[i] === ')') depth--
		if (depth === 0) return i > 0 && i === outside.length - 1
	}
	return false
}

function readable(sql) {
	const parts = sql.split(QUOTED)
	while (isEnclosed(parts)) {
		parts[0] = parts[0].replace('(', '')
		parts[parts.length - 1] = parts.at(-1).replace(/\)\s*$/, '')
	}
	for (let i = 1; i < parts.length; i += 2) {
		if (/^'-?\d+'$/.test(parts[i]) && parts[i + 1] === '::' && /^"int[248]"$/.test(parts[i + 2] ?? '')) {
			parts[i] = parts[i].slice(1, -1)
			parts[i + 1] = parts[i + 2] = ''
		}
		if (/^"[a-z_][a-z0-9_]*"$/.test(parts[i])) parts[i] = parts[i].slice(1, -1)
	}
	return parts.join('')
}

function shapeRow(s) {
	const what = element('td', { className: 'text', title: s.handle }, element('b', { textContent: s.table.replace(/^public\./, '') }))
	if (s.where !== null) what.append(' ', element('code', { textContent: `${readable(s.where)}${s.where_cut ? ' …' : ''}` }))
	const marks = []
	if (s.columns) marks.push(`columns ${s.columns.join(', ')}`)
	if (s.replica !== 'default') marks.push(`replica=${s.replica}`)
	if (s.log !== 'full') marks.push(`log=${s.log}`)
	if (s.state !== 'live') marks.push(s.state)
	if (marks.length) what.append(element('div', { className: 'quiet', textContent: marks.join('; ') }))
	const cell = (t, title = '') => element('td', { textContent: t, title })
	return element('tr', {}, what, cell(number(s.rows)), cell(bytes(s.bytes), `log: ${bytes(s.log_bytes)}`), cell(number(s.readers)), cell(ago(s.read_s_ago)),
		cell(rate(s.changes_s), `${plural(s.changes, 'change')} since the start`), element('td', { className: 'text', textContent: s.routing ?? '–', title: s.cost ?? '' }), cell(s.made ? ago((serverNow() - Date.parse(s.made)) / 1000) : '–'))
}

async function showShapes() {
	const mine = ++listings
	const a = await ask(`/admin/shapes?limit=${PAGE}&sort=${view.sort}&order=${view.order}&after=${encodeURIComponent(view.after)}`)
	if (mine !== listings) return // a younger one is asked for, which this must not replace
	if (a.shapes.length === 0 && view.after !== '') {
		Object.assign(view, { after: '', seen: 0 })
		return showShapes()
	}
	view.next = a.next
	$('shapes').tBodies[0].replaceChildren(...a.shapes.map(shapeRow))
	$('shapes').hidden = a.total === 0
	$('shapes-empty').hidden = a.total > 0
	$('shapes-count').textContent = a.total === 0 ? '' : number(a.total)
	for (const th of document.querySelectorAll('#shapes th[data-sort]')) {
		if (th.dataset.sort === view.sort) th.setAttribute('aria-sort', view.order === 'asc' ? 'ascending' : 'descending')
		else th.removeAttribute('aria-sort')
	}
	$('pager').hidden = a.next === null && view.after === ''
	$('first').disabled = view.after === ''
	$('next').disabled = a.next === null
	$('pager').querySelector('span').textContent = `${number(view.seen + 1)} to ${number(view.seen + a.shapes.length)} of ${number(a.total)}`
}

function showKinds(s) {
	const r = s.routing
	const parts = [[r.all, 'without a condition'], [r.indexed, 'by an index'], [r.residual, 'by an index and the rest'], [r.unindexed, 'by the condition alone']]
	const routed = parts.filter(([n]) => n > 0).map(([n, t]) => `${number(n)} ${t}`).join(', ')
	const cost = s.steps_per_change === null ? '' : `; conditions cost ${rate(s.steps_per_change)} steps a change`
	$('shapes-kinds').textContent = `${routed ? `Routed: ${routed}` : ''}${routed ? cost : ''}`
	$('shapes-kinds').hidden = !routed
}

// ---- clients, memory, events

const row = (name, value, className = '', title = '') => element('tr', { className, title }, element('td', { textContent: name }), element('td', { textContent: value }))

function showClients(c, s) {
	const place = (p) => `${number(p.used)} of ${number(p.limit)}`
	$('clients').tBodies[0].replaceChildren(
		row('connections', number(c.connections)),
		row('wait for a change', number(c.waiting.long_poll + c.waiting.sse), '', `${number(c.waiting.long_poll)} long polls, ${number(c.waiting.sse)} event streams`),
		row('… as event streams', number(c.waiting.sse)),
		row('wait for a snapshot, a look-up, a start', number(c.waiting.parked)),
		row('places, without a handle', place(c.places.initial)),
		row('places, with a handle', place(c.places.existing)),
		row('requests a second', rate(s.per_second.requests)),
		row('changes a second', rate(s.per_second.changes)),
	)
	const reasons = [...c.refused.map((r) => ['refused', r]), ...c.sent_back.map((r) => ['sent back', r])]
	$('reasons').tBodies[0].replaceChildren(...reasons.map(([what, r]) => row(`${r.reason} (${what})`, number(r.total), '', r.meaning)))
	$('reasons-empty').hidden = reasons.length > 0
}

const PARTS = { store_cache: 'mapped pages of the store', subquery_sets: 'what subqueries select', journal: 'newest entries of logs', writer_queue: 'on its way to the store', request_bodies: 'bodies of requests', event_streams: 'event streams', subset_rows: 'rows of subsets' }

function showMemory(m) {
	const parts = Object.entries(m.parts).map(([name, n]) => row(PARTS[name] ?? name, bytes(n), 'part'))
	$('memory').tBodies[0].replaceChildren(
		row('resident', bytes(m.resident_bytes), 'total'),
		...parts,
		row('not counted by part', bytes(m.uncounted_bytes), 'part'),
		row('the store’s file', bytes(m.store.file_bytes), 'total'),
		...(m.store.limit_bytes === null ? [] : [row('in use, of its limit', `${bytes(m.store.used_bytes)} of ${bytes(m.store.limit_bytes)}`, 'part')]),
		row('free on its disk', bytes(m.store.free_bytes), 'part'),
		row('open files', number(m.open_files)),
	)
}

function showEvents({ events }) {
	$('events').tBodies[0].replaceChildren(...events.slice(0, EVENTS).map((e) => {
		const what = element('td')
		if (e.table) what.append(element('b', { textContent: `${e.table} ` }))
		what.append(text(e.text))
		if (e.count > 1) what.append(element('span', { className: 'quiet', textContent: ` (${plural(e.count, 'time')})` }))
		return element('tr', {}, element('td', { textContent: timeOrDate(e.last), title: e.last }),
			element('td', { textContent: e.reason ? `${e.kind}: ${e.reason}` : e.kind, title: e.meaning ?? '' }), what)
	}))
	$('events-empty').hidden = events.length > 0
}

// ---- round and round

let turn = 0
async function look() {
	const slow = turn++ % SLOW_EVERY === 0
	const [status, clients] = await Promise.all([ask('/admin/status'), ask('/admin/clients')])
	Object.assign(clock, { server: Date.parse(status.now), here: performance.now() })
	$('version').textContent = `${status.version} (${status.commit})`
	document.title = `Busbar: ${!status.ready ? 'not ready' : status.postgres_asleep ? 'asleep' : status.postgres_away ? 'Postgres is away' : status.status}`
	showLive(status)
	showLate(status)
	showDanger(status)
	showRefused(clients)
	showKinds(status)
	showClients(clients, status)
	await plot()
	if (slow) {
		showMemory(await ask('/admin/memory'))
		showEvents(await ask('/admin/events'))
		await showShapes()
	}
}

// Nothing that the page shows is known to be so any more.
function showNothing(e) {
	const why = e.name === 'TimeoutError' ? `none within ${ANSWER_MS / 1000} s` : e.message
	const then = Number.isNaN(clock.server) ? '' : `the last answer is of ${timeOrDate(clock.server)}`
	$('asked').textContent = `no answer: ${why}`
	$('asked').className = 'bad'
	document.title = 'Busbar: no answer'
	document.body.className = 'stale'
	answer('live', 'danger', 'No answer', why)
	for (const id of ['late', 'danger', 'refused']) answer(id, 'unknown', 'Not known', then)
}

let wake = () => {}
async function forever() {
	for (;;) {
		if (!document.hidden) {
			try {
				await look()
				$('asked').textContent = `as of ${time(clock.server)}`
				$('asked').className = 'quiet'
				document.body.className = ''
			} catch (e) {
				showNothing(e)
			}
		}
		await new Promise((done) => {
			wake = done
			setTimeout(done, EVERY_MS)
		})
	}
}
document.addEventListener('visibilitychange', () => {
	if (document.hidden) document.title = 'Busbar' // nobody asks, so it says nothing
	else wake()
})

const again = () => showShapes().catch(() => {})
for (const th of document.querySelectorAll('#shapes th[data-sort]'))
	th.querySelector('button').addEventListener('click', () => {
		const same = view.sort === th.dataset.sort
		Object.assign(view, { sort: th.dataset.sort, order: same && view.order === 'desc' ? 'asc' : 'desc', after: '', seen: 0 })
		again()
	})
$('first').addEventListener('click', () => {
	Object.assign(view, { after: '', seen: 0 })
	again()
})
$('next').addEventListener('click', () => {
	if (view.next === null) return // not answered yet
	Object.assign(view, { after: view.next, seen: view.seen + PAGE, next: null })
	again()
})
forever()
