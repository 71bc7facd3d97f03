// The files of docker/ that no daemon reads: by their schemas, against each other, and against what the daemon says of itself.

import { execFileSync, spawnSync } from 'node:child_process'
import { copyFileSync, cpSync, existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parse, parseAllDocuments } from 'yaml'
import { BINARY } from '../lib/busbar.mjs'
import { get } from '../lib/http.mjs'
import { DOCKER, tool } from '../lib/nginx.mjs'
import { test } from '../lib/runner.mjs'
import { world } from '../lib/setup.mjs'
import { assert, equal, freePort, temporary, until } from '../lib/util.mjs'

const here = dirname(fileURLToPath(import.meta.url))
const read = (name) => readFileSync(join(DOCKER, name), 'utf8')
const yaml = (name) => parse(read(name), { uniqueKeys: true })

// Settings and their defaults, as --help has them.
const help = execFileSync(BINARY, ['--help'], { encoding: 'utf8' })
const settings = new Map([...help.matchAll(/^ {2}([A-Z_]+) \(\w+(?:, default (.*))?\)$/gm)].map((m) => [m[1], m[2]]))
const seconds = (text) => (/^\d+$/.test(text) ? Number(text) / 1000 : Number(/^(\d+)s$/.exec(text)[1]))

// promtool, or an error in CI: elsewhere a note says that it is missing.
function promtool(t) {
  const found = tool('promtool')
  assert(found || process.env.CI !== 'true', 'no promtool: test.sh unpacks it')
  if (!found) t.note('not run: there is no promtool')
  return found
}

function ran(command, args, options) {
  const r = spawnSync(command, args, { encoding: 'utf8', ...options })
  assert(r.status === 0, `${command} ${args.join(' ')}: ${r.stdout}${r.stderr}${r.error ?? ''}`)
  return r.stdout
}

// ---- Kubernetes

const KINDS = {
  'apps/v1 Deployment': ['kubernetes-models/apps/v1', 'Deployment'],
  'v1 PersistentVolumeClaim': ['kubernetes-models/v1', 'PersistentVolumeClaim'],
  'v1 Service': ['kubernetes-models/v1', 'Service'],
  'networking.k8s.io/v1 NetworkPolicy': ['kubernetes-models/networking.k8s.io/v1', 'NetworkPolicy'],
}

// Fields that the schema's validator never looked at are misspelt, or in the wrong place: the API server would drop them.
function unread(value, path, found) {
  if (value === null || typeof value !== 'object') return value
  const seen = new Set()
  const inner = new Map()
  found.push(() => Object.keys(value).filter((k) => !seen.has(k) && !Array.isArray(value)).map((k) => `${path}/${k}`))
  return new Proxy(value, {
    get(target, key) {
      if (typeof key === 'symbol' || !Object.hasOwn(target, key)) return target[key]
      seen.add(key)
      if (!inner.has(key)) inner.set(key, unread(target[key], `${path}/${key}`, found))
      return inner.get(key)
    },
  })
}

async function validate(object) {
  const [module, name] = KINDS[`${object.apiVersion} ${object.kind}`] ?? []
  assert(module, `no schema for ${object.apiVersion} ${object.kind}`)
  const { [name]: Kind } = await import(module)
  new Kind(object).validate()
  const found = []
  Kind.prototype.validate.call(unread(object, object.kind, found))
  equal(found.flatMap((f) => f()), [], `fields of ${object.kind} that its schema doesn't have`)
}

async function objects() {
  const kustomization = yaml('kubernetes/kustomization.yaml')
  const files = readdirSync(join(DOCKER, 'kubernetes')).filter((f) => f !== 'kustomization.yaml')
  equal([...kustomization.resources].sort(), files.sort(), 'resources of the kustomization')
  const all = files.flatMap((f) => parseAllDocuments(read(`kubernetes/${f}`), { uniqueKeys: true }).map((d) => d.toJS()))
  return Object.fromEntries(all.map((o) => [o.kind, o]))
}

test('Kubernetes: by its schema, and with itself', async (t) => {
  const o = await objects()
  for (const object of Object.values(o)) await validate(object)
  const misspelt = structuredClone(o.Deployment)
  misspelt.spec.template.spec.containers[0].readinessprobe = {}
  const refused = await validate(misspelt).then(() => '', (e) => e.message)
  assert(refused.includes('readinessprobe'), `a misspelt field is found: ${refused}`)

  const { template, selector, strategy, replicas } = o.Deployment.spec
  const pod = template.spec
  const [container] = pod.containers
  // A second pod beside the first could never become ready.
  equal([replicas, strategy], [1, { type: 'Recreate' }], 'how it rolls')
  const labels = Object.entries(template.metadata.labels)
  for (const [what, wanted] of [
    ['the deployment', selector.matchLabels],
    ['the service', o.Service.spec.selector],
    ['the policy', o.NetworkPolicy.spec.podSelector.matchLabels],
  ])
    for (const [k, v] of Object.entries(wanted)) assert(labels.some(([l, w]) => l === k && w === v), `${what} selects other pods`)
  equal(pod.volumes[0].persistentVolumeClaim.claimName, o.PersistentVolumeClaim.metadata.name, 'the claim')
  equal(container.volumeMounts[0].name, pod.volumes[0].name, 'the volume')
  equal(pod.enableServiceLinks, false, 'links to services')

  const ports = Object.fromEntries(container.ports.map((p) => [p.name, p.containerPort]))
  const env = Object.fromEntries(container.env.map((e) => [e.name, e.value]))
  for (const name of Object.keys(env)) assert(settings.has(name), `there is no setting ${name}`)
  equal(String(ports.http), settings.get('ELECTRIC_PORT'), 'the port')
  equal(String(ports.metrics), env.ELECTRIC_PROMETHEUS_PORT, 'the port of metrics')
  equal(template.metadata.annotations['prometheus.io/port'], env.ELECTRIC_PROMETHEUS_PORT, 'the port for Prometheus')
  equal(container.volumeMounts[0].mountPath, env.ELECTRIC_STORAGE_DIR, 'where the data is')
  for (const p of o.Service.spec.ports) assert(ports[p.targetPort], `the service's port ${p.targetPort}`)
  for (const p of o.NetworkPolicy.spec.ingress.flatMap((i) => i.ports)) assert(ports[p.port], `the policy's port ${p.port}`)

  // The probes ask for what is there, and the one that restarts isn't the one that knows whether there is something to serve.
  const w = await world(t, {})
  const probes = { startupProbe: '/v1/health', livenessProbe: '/v1/health', readinessProbe: '/v1/ready' }
  for (const [name, path] of Object.entries(probes)) {
    equal([container[name].httpGet.path, container[name].httpGet.port], [path, 'http'], name)
    await until(`${path} is 200`, async () => (await get(`${w.busbar.url}${path}`)).status === 200)
  }
  assert(container.startupProbe.failureThreshold * container.startupProbe.periodSeconds >= 600, 'a large store gets time to open')
})

test('Kubernetes: kubectl puts it together', async (t) => {
  const kubectl = tool('kubectl')
  if (!kubectl) return t.note('not run: there is no kubectl')
  const out = ran(kubectl, ['kustomize', join(DOCKER, 'kubernetes')])
  equal(parseAllDocuments(out).map((d) => d.toJS().kind).sort(), Object.keys(await objects()).sort(), 'kinds')
})

// ---- the image

test('the entry point hands on each command that --help names', () => {
  const dir = temporary('entrypoint')
  copyFileSync(join(DOCKER, 'entrypoint'), join(dir, 'entrypoint'))
  writeFileSync(join(dir, 'busbar'), '#!/bin/sh\nprintf "%s\\n" "$*" "${ELECTRIC_PORT-unset}"\n', { mode: 0o755 })
  const enter = (args, env = {}) => spawnSync('sh', [join(dir, 'entrypoint'), ...args], { encoding: 'utf8', env: { PATH: process.env.PATH, ...env } })
  const commands = [...help.matchAll(/^ {2}busbar ([a-z-]+)/gm)].map((m) => m[1])
  assert(commands.includes('--check-config'), 'commands in --help')
  for (const command of new Set(commands)) equal(enter([command, '--x']).stdout, `${command} --x\nunset\n`, command)
  equal(enter([]).stdout, '\nunset\n', 'nothing')
  equal(enter(['start']).stdout, '\nunset\n', 'start')
  equal(enter(['version']).stdout, '--version\nunset\n', 'version')
  equal(enter(['start'], { ELECTRIC_PORT: '' }).stdout, '\nunset\n', 'an empty port')
  equal(enter(['start'], { ELECTRIC_PORT: '3001' }).stdout, '\n3001\n', 'a port')
  equal(enter(['remote']).status, 64, 'what there is not')
})

// ---- compose

test('compose files: services, volumes, files and settings that exist', () => {
  for (const name of ['compose.yaml', 'compose.stack.yaml']) {
    const c = yaml(name)
    const volumes = Object.keys(c.volumes ?? {})
    const used = new Set()
    for (const [service, s] of Object.entries(c.services)) {
      for (const v of s.volumes ?? []) {
        const [from] = v.split(':')
        if (from.startsWith('.')) assert(existsSync(join(DOCKER, from)), `${name}: ${service} mounts ${from}`)
        else assert(volumes.includes(from) && used.add(from), `${name}: ${service} has no volume ${from}`)
      }
      for (const d of Array.isArray(s.depends_on) ? s.depends_on : Object.keys(s.depends_on ?? {})) assert(c.services[d], `${name}: ${d}`)
    }
    equal([...used].sort(), volumes.sort(), `${name}: volumes`)
    const { environment } = c.services.busbar
    for (const setting of Object.keys(environment)) assert(settings.has(setting), `${name}: there is no setting ${setting}`)
    const targets = name === 'compose.stack.yaml' ? yaml('prometheus/prometheus.yml').scrape_configs[0].static_configs[0].targets : []
    for (const target of targets) equal(target, `busbar:${environment.ELECTRIC_PROMETHEUS_PORT}`, 'what Prometheus scrapes')
  }
  const provider = yaml('grafana/provisioning/dashboards/busbar.yaml').providers[0]
  const mounts = yaml('compose.stack.yaml').services.grafana.volumes
  assert(mounts.includes(`./grafana/busbar.json:${provider.options.path}/busbar.json:ro`), 'the dashboard is where Grafana looks')
})

// ---- proxies

test('proxies wait longer than Busbar, and keep connections for less', () => {
  const nginx = read('nginx/nginx.conf')
  const value = (name) => seconds(new RegExp(`^ *${name} (\\S+);`, 'm').exec(nginx)[1])
  const poll = seconds(settings.get('ELECTRIC_LONG_POLL_TIMEOUT'))
  const idle = seconds(settings.get('ELECTRIC_TCP_READ_TIMEOUT'))
  for (const name of ['proxy_cache_lock_timeout', 'proxy_cache_lock_age', 'proxy_read_timeout']) assert(value(name) >= poll + 5, `${name} is ${value(name)} s`)
  assert(value('keepalive_timeout') < idle, 'nginx keeps idle connections for less than Busbar')
  const caddy = read('caddy/Caddyfile')
  assert(seconds(/keepalive (\S+)/.exec(caddy)[1]) < idle, 'so does Caddy')
  assert(seconds(/response_header_timeout (\S+)/.exec(caddy)[1]) >= poll + 5, 'Caddy waits for the head')
  for (const file of [nginx, caddy]) assert(file.includes(`busbar:${settings.get('ELECTRIC_PORT')}`), 'the port')
})

// ---- alerts and the dashboard

const rules = yaml('prometheus/alerts.yml').groups.flatMap((g) => g.rules)
const dashboard = JSON.parse(read('grafana/busbar.json'))
const targets = dashboard.panels.flatMap((p) => (p.targets ?? []).map((q) => [p.title, q.expr]))

test('alerts: their rules, when they fire, and what operations.md says of each', (t) => {
  const docs = readFileSync(join(DOCKER, '..', 'docs/operations.md'), 'utf8')
  const told = [...docs.matchAll(/^\| \*\*(\w+)\*\*( \(page\))? \|/gm)]
  equal(told.map((m) => m[1]).sort(), rules.map((r) => r.alert).sort(), 'alerts')
  for (const [, name, page] of told) {
    const { severity } = rules.find((r) => r.alert === name).labels
    if (!severity.includes('{{')) equal(severity, page ? 'page' : 'ticket', name)
  }
  const program = promtool(t)
  if (!program) return
  ran(program, ['check', 'rules', join(DOCKER, 'prometheus/alerts.yml')])
  ran(program, ['test', 'rules', 'alerts_test.yml'], { cwd: join(DOCKER, 'prometheus') })
  // The rules by their place in the image.
  const dir = temporary('prometheus')
  cpSync(join(DOCKER, 'prometheus'), dir, { recursive: true })
  ran(program, ['check', 'config', join(dir, 'prometheus.yml')])
})

test('the dashboard: by its schema, panels that do not overlap, queries that can be read', (t) => {
  const dir = temporary('dashboard')
  const modules = join(here, '../node_modules')
  // Of its enums, TypeScript takes names only.
  const literal = read('grafana/busbar.json')
    .replaceAll(/"mode": "absolute"/g, '"mode": ThresholdsMode.Absolute')
    .replaceAll(/"type": "value"/g, '"type": MappingType.ValueToText')
  writeFileSync(join(dir, 'check.ts'), `import { MappingType, ThresholdsMode, type Dashboard } from '@grafana/schema'\nexport const dashboard: Dashboard = ${literal}`)
  writeFileSync(
    join(dir, 'tsconfig.json'),
    JSON.stringify({
      compilerOptions: { noEmit: true, skipLibCheck: true, strict: true, module: 'nodenext', target: 'es2022', types: [], paths: { '@grafana/schema': [join(modules, '@grafana/schema/dist/types/index.d.ts')] } },
      files: ['check.ts'],
    }),
  )
  ran(process.execPath, [join(modules, 'typescript/bin/tsc'), '-p', dir])

  const ids = dashboard.panels.map((p) => p.id)
  equal(new Set(ids).size, ids.length, 'numbers of panels')
  const taken = new Map()
  for (const { title, gridPos: g } of dashboard.panels) {
    assert(g.x >= 0 && g.x + g.w <= 24, `${title} is too wide`)
    for (let x = g.x; x < g.x + g.w; x++)
      for (let y = g.y; y < g.y + g.h; y++) {
        assert(!taken.has(`${x} ${y}`), `${title} overlaps ${taken.get(`${x} ${y}`)}`)
        taken.set(`${x} ${y}`, title)
      }
  }
  const program = promtool(t)
  if (!program) return
  const group = { name: 'dashboard', rules: targets.map(([, expr], i) => ({ record: `panel:${i}`, expr: expr.replaceAll('$__rate_interval', '1m') })) }
  writeFileSync(join(dir, 'rules.yml'), JSON.stringify({ groups: [group] }))
  ran(program, ['check', 'rules', join(dir, 'rules.yml')])
})

// What an expression asks of which metric: [name, [label, operator, value]…].
function selectors(expr) {
  return [...expr.matchAll(/\b((?:busbar|electric|process)_\w+)(?:\{([^}]*)\})?/g)].map(([, name, labels]) => [
    name,
    ...[...(labels ?? '').matchAll(/(\w+)(=~|!=|!~|=)"([^"]*)"/g)].map((m) => m.slice(1)),
  ])
}

// Those that stand for a limit are absent while there is none.
const ABSENT = new Set(['busbar_wal_limit_bytes', 'busbar_wal_limit_age_seconds', 'busbar_store_limit_bytes', 'busbar_store_used_bytes'])

class Metrics {
  constructor(text) {
    this.have = new Map() // name: the labels of each of its lines
    for (const [, name, labels] of text.matchAll(/^([a-z]\w*)(?:\{([^}]*)\})? \S+$/gm)) {
      if (!this.have.has(name)) this.have.set(name, [])
      this.have.get(name).push(Object.fromEntries([...(labels ?? '').matchAll(/(\w+)="([^"]*)"/g)].map((m) => [m[1], m[2]])))
    }
    this.types = new Map([...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map((m) => [m[1], m[2]]))
  }
  has(name, label, value) {
    return (this.have.get(name) ?? []).some((l) => (value === undefined ? label in l : l[label] === value))
  }
  // What an expression asks for in vain.
  problems(expr) {
    const found = []
    const asked = selectors(expr)
    for (const [name, ...labels] of asked) {
      if (!this.have.has(name) && ABSENT.has(name)) continue
      if (!this.have.has(name)) found.push(`no ${name}`)
      else
        for (const [label, operator, value] of labels.filter(([label]) => label !== 'instance'))
          if (!this.has(name, label, operator === '=' ? value : undefined)) found.push(`${name} has no ${label}="${value}"`)
    }
    // A rate is of what rises.
    for (const [, name] of expr.matchAll(/(?:rate|increase)\((\w+)/g)) {
      const type = this.types.get(name) ?? this.types.get(name.replace(/_bucket$/, ''))
      if (type !== 'counter' && type !== 'histogram') found.push(`a rate of ${name}, a ${type}`)
    }
    for (const [, by] of expr.matchAll(/by \(([^)]*)\)/g))
      for (const label of by.split(',').map((l) => l.trim()))
        if (label !== 'instance' && !asked.some(([name]) => this.has(name, label))) found.push(`no label ${label}`)
    return found
  }
}

// What promtool says of the exposition, but for what we do on purpose: Electric's counters end in no `_total`, nor do ours, and its times are in ms.
// "held by us" aren't microseconds.
function unusual(program, text) {
  const { status, stdout, stderr } = spawnSync(program, ['check', 'metrics'], { input: text, encoding: 'utf8' })
  const lines = `${stdout}${stderr}`.split('\n').filter((l) => l && !l.includes('counter metrics should have "_total" suffix') && !/^(electric_|busbar_wal_held_by_us_bytes .*abbreviated)/.test(l))
  return status === 0 || status === 3 ? lines : [...lines, `promtool ends with ${status}`]
}

test('alerts and the dashboard ask for metrics that /metrics has, by labels that it has', async (t) => {
  const port = await freePort()
  const w = await world(t, { sql: 'CREATE TABLE items (id int PRIMARY KEY)', env: { ELECTRIC_PROMETHEUS_PORT: String(port) } })
  // What is measured only when something happens.
  const handle = (await get(`${w.busbar.url}/v1/shape?table=items&offset=-1`)).handle
  const live = get(`${w.busbar.url}/v1/shape?table=items&offset=0_inf&handle=${handle}&live=true`)
  await w.sql('INSERT INTO items VALUES (1)')
  equal((await live).status, 200, 'a change')
  const program = promtool(t)
  const asked = [...rules.map((r) => [r.alert, r.expr]), ...targets]
  let wrong = []
  // Some are known after a look at Postgres, seconds later.
  await until(
    () => `nothing is missing:\n${wrong.join('\n')}`,
    async () => {
      const text = (await get(`http://127.0.0.1:${port}/metrics`)).text()
      const metrics = new Metrics(text)
      wrong = asked.flatMap(([where, expr]) => metrics.problems(expr).map((problem) => `${where}: ${problem}`))
      if (program) wrong.push(...unusual(program, text))
      return wrong.length === 0
    },
    20000,
    500,
  )
})
