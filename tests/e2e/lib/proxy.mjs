// A TCP proxy that breaks connections: after a random number of bytes of the answer, or all at
// once, or by not accepting any.

import net from 'node:net'

export class Proxy {
  // `random` gives the cuts; `low` and `high` bound the bytes that pass before one, which are counted
  // from the time `spare` milliseconds after the connection's start.
  static async create(target, { random, low = 1, high = 6000, spare = 0 } = {}) {
    const self = new Proxy()
    const { hostname, port } = new URL(target)
    self.sockets = new Set()
    self.abandoned = new Set()
    self.cutting = false
    self.refusing = false
    self.cuts = 0
    self.connections = 0
    self.server = net.createServer((client) => {
      if (self.refusing) return client.resetAndDestroy()
      self.connections++
      const upstream = net.connect(Number(port), hostname)
      const from = Date.now() + spare
      let left = Infinity
      let abandoned = false
      const end = (error) => {
        client.destroy()
        if (abandoned && !error) return
        upstream.destroy()
        self.sockets.delete(client)
      }
      self.sockets.add(client)
      client.abandon = () => {
        abandoned = true
        self.abandoned.add(upstream)
        upstream.pause()
        client.destroy()
        self.sockets.delete(client)
      }
      client.on('data', (d) => upstream.write(d))
      upstream.on('data', (d) => {
        if (!self.cutting || Date.now() < from) left = Infinity
        else if (left === Infinity) left = random.int(low, high)
        if (d.length < left) {
          left -= d.length
          client.write(d)
          return
        }
        self.cuts++
        client.write(d.subarray(0, left), () => {
          if (random.chance(0.5)) client.resetAndDestroy()
          end()
        })
        upstream.destroy()
      })
      for (const s of [client, upstream]) {
        s.on('error', end)
        s.on('end', () => end())
        s.on('close', () => end())
      }
    })
    await new Promise((done) => self.server.listen(0, '127.0.0.1', done))
    self.url = `http://127.0.0.1:${self.server.address().port}`
    return self
  }

  // Breaks all that is open.
  cutAll() {
    for (const s of this.sockets) s.destroy()
    this.sockets.clear()
  }

  // Clients find their connections broken, the server isn't told: as when a network goes away.
  abandonAll() {
    for (const s of [...this.sockets]) s.abandon()
  }

  refuse(on) {
    this.refusing = on
    if (on) this.cutAll()
  }

  async close() {
    this.cutAll()
    for (const s of this.abandoned) s.destroy()
    await new Promise((done) => this.server.close(done))
  }
}
