// A headless Chromium that is driven over a pipe, and tells of a page what its user's console would: errors, requests, a picture.

import { spawn } from 'node:child_process'
import { cannot } from './cannot.mjs'
import { tool } from './nginx.mjs'
import { atExit, temporary, until, within } from './util.mjs'

const FLAGS = [
  '--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync',
  '--disable-dev-shm-usage', '--hide-scrollbars', '--remote-debugging-pipe',
]
const CALL_MS = 60000

// Undefined where there is none, which in CI is a failure. Ends with the test.
export async function browser(t) {
  const chromium = tool('chromium')
  if (!chromium) return cannot(t, 'there is no chromium: test.sh installs it')
  const child = spawn(chromium, [...FLAGS, `--user-data-dir=${temporary('chromium')}`, 'about:blank'], { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'], detached: true })
  const ended = new Promise((done) => child.on('close', done))
  const kill = () => child.exitCode === null && child.signalCode === null && process.kill(-child.pid, 'SIGKILL')
  const forget = atExit(kill)
  t.cleanup(async () => {
    kill()
    await ended
    forget()
  })
  return new Browser(child)
}

class Browser {
  constructor(child) {
    this.child = child
    this.calls = new Map()
    this.pages = new Map()
    this.id = 0
    let text = ''
    child.stdio[4].on('data', (d) => {
      text += d
      const parts = text.split('\0')
      text = parts.pop()
      for (const part of parts) this.take(JSON.parse(part))
    })
    child.stdio[3].on('error', () => {})
  }
  take(m) {
    const call = this.calls.get(m.id)
    if (call) {
      this.calls.delete(m.id)
      if (m.error) call.fail(new Error(`${call.method}: ${m.error.message}`))
      else call.done(m.result)
    } else {
      this.pages.get(m.sessionId)?.saw(m.method, m.params)
    }
  }
  call(method, params = {}, sessionId) {
    const id = ++this.id
    const answer = new Promise((done, fail) => this.calls.set(id, { done, fail, method }))
    this.child.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId })}\0`)
    return within(`${method} of chromium`, CALL_MS, answer)
  }
  // A page of this address. Options: scheme ('light' or 'dark'), width, height.
  async open(url, { scheme = 'light', width = 1280, height = 900 } = {}) {
    const { targetId } = await this.call('Target.createTarget', { url: 'about:blank' })
    const { sessionId } = await this.call('Target.attachToTarget', { targetId, flatten: true })
    const page = new Page(this, sessionId)
    this.pages.set(sessionId, page)
    for (const domain of ['Page', 'Runtime', 'Log', 'Network']) await page.call(`${domain}.enable`)
    await page.call('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: 1, mobile: false })
    await page.call('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: scheme }] })
    await page.call('Page.navigate', { url })
    return page
  }
}

class Page {
  constructor(owner, session) {
    this.owner = owner
    this.session = session
    this.errors = [] // of the console, exceptions, requests that failed
    this.requests = [] // their addresses
  }
  call(method, params) {
    return this.owner.call(method, params, this.session)
  }
  saw(method, p) {
    if (method === 'Runtime.exceptionThrown') this.errors.push(p.exceptionDetails.exception?.description ?? p.exceptionDetails.text)
    if (method === 'Runtime.consoleAPICalled' && ['error', 'warning', 'assert'].includes(p.type)) this.errors.push(p.args.map((a) => a.value ?? a.description).join(' '))
    if (method === 'Log.entryAdded' && ['error', 'warning'].includes(p.entry.level)) this.errors.push(`${p.entry.text} ${p.entry.url ?? ''}`)
    if (method === 'Network.requestWillBeSent') this.requests.push(p.request.url)
  }
  async evaluate(expression) {
    const { result, exceptionDetails } = await this.call('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true })
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text)
    return result.value
  }
  until(what, expression, ms = 30000) {
    return until(() => `${what}; ${this.errors.slice(0, 3).join(' / ')}`, () => this.evaluate(expression), ms, 100)
  }
  // All of it, as PNG.
  async picture() {
    const { cssContentSize: size } = await this.call('Page.getLayoutMetrics')
    const { data } = await this.call('Page.captureScreenshot', {
      captureBeyondViewport: true,
      clip: { x: 0, y: 0, width: size.width, height: Math.min(size.height, 4000), scale: 1 },
    })
    return Buffer.from(data, 'base64')
  }
  close() {
    return this.call('Page.close')
  }
}
