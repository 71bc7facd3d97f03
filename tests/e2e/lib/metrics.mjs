// Metrics as Prometheus reads them, and no more leniently.

import { get } from './http.mjs'
import { freePort } from './util.mjs'

// Settings with which a daemon has a port for Prometheus; `url` is where it is.
export async function prometheus() {
  const port = await freePort()
  return { env: { ELECTRIC_PROMETHEUS_PORT: String(port) }, url: `http://127.0.0.1:${port}/metrics` }
}

const SAMPLE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-z_]+="[^"\\\n]*"(?:,(?!\}))?)*)\})? (-?\d+(?:\.\d+)?(?:e[+-]?\d+)?|\+Inf)$/

// The text format 0.0.4: families in order, each with HELP and TYPE before its samples. Throws at what isn't so.
export function parse(text) {
  const families = new Map()
  let family
  if (!text.endsWith('\n')) throw new Error('the last line has no end')
  for (const line of text.slice(0, -1).split('\n')) {
    const help = /^# HELP ([a-zA-Z0-9_:]+) (\S.*)$/.exec(line)
    const type = /^# TYPE ([a-zA-Z0-9_:]+) (counter|gauge|histogram)$/.exec(line)
    if (help) {
      if (families.has(help[1])) throw new Error(`${help[1]} comes twice`)
      families.set(help[1], (family = { name: help[1], help: help[2], samples: [] }))
    } else if (type) {
      if (family?.name !== type[1] || family.type) throw new Error(`out of place: ${line}`)
      family.type = type[2]
    } else {
      const m = SAMPLE.exec(line)
      if (!m) throw new Error(`no sample: ${line}`)
      const [, name, labels, value] = m
      const of = family.type === 'histogram' ? name.replace(/_(bucket|sum|count)$/, '') : name
      if (of !== family.name) throw new Error(`${line} below ${family.name}`)
      family.samples.push({ name, labels: Object.fromEntries([...(labels ?? '').matchAll(/([a-z_]+)="([^"]*)"/g)].map((l) => [l[1], l[2]])), value: Number(value) })
    }
  }
  for (const f of families.values()) check(f)
  return new Metrics(families)
}

function check(f) {
  if (!f.type || f.samples.length === 0) throw new Error(`${f.name} has no samples or no type`)
  const seen = new Set()
  for (const s of f.samples) {
    const key = `${s.name} ${JSON.stringify(s.labels)}`
    if (seen.has(key)) throw new Error(`twice: ${key}`)
    seen.add(key)
    if (f.type === 'counter' && !(s.value >= 0)) throw new Error(`${key} is ${s.value}`)
  }
  if (f.type !== 'histogram') return
  const buckets = f.samples.filter((s) => s.name.endsWith('_bucket'))
  const count = f.samples.find((s) => s.name.endsWith('_count')).value
  for (let i = 1; i < buckets.length; i++)
    if (buckets[i].value < buckets[i - 1].value || !(le(buckets[i]) > le(buckets[i - 1]))) throw new Error(`${f.name}: buckets fall`)
  if (le(buckets.at(-1)) !== Infinity || buckets.at(-1).value !== count) throw new Error(`${f.name}: the last bucket isn't the count`)
}

const le = (s) => (s.labels.le === '+Inf' ? Infinity : Number(s.labels.le))

class Metrics {
  constructor(families) {
    this.families = families
  }
  // One value; undefined if it isn't there. `count` and `sum` of histograms by their own names.
  value(name, labels = {}) {
    const family = this.families.get(name) ?? this.families.get(name.replace(/_(bucket|sum|count)$/, ''))
    return family?.samples.find((s) => s.name === name && Object.entries(labels).every(([k, v]) => s.labels[k] === v))?.value
  }
  // The values that its label has.
  labels(name, label) {
    return this.families.get(name)?.samples.map((s) => s.labels[label])
  }
}

export async function scrape(url) {
  const answer = await get(url)
  if (answer.status !== 200) throw new Error(`${answer.status} for ${url}`)
  return parse(answer.text())
}
