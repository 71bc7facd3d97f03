// The official clients, started as their users start them. What they ask, and what they are answered, is counted.

import { PGlite } from '@electric-sql/pglite'
import { electricSync } from '@electric-sql/pglite-sync'
import { useShape } from '@electric-sql/react'
import { setMaxListeners } from 'node:events'
import { createElement } from 'react'
import { create } from 'react-test-renderer'
import { until } from './util.mjs'

const BACKOFF = { initialDelay: 10, maxDelay: 100, multiplier: 1.5 }

// Options of a stream of any of them, and what is seen of it: { requests, sse, statuses }, and `errors`, which a printed `seen` leaves
// out. `onError` says what becomes of one.
export function counted(url, onError) {
  const seen = Object.defineProperty({ requests: 0, sse: 0, statuses: {} }, 'errors', { value: [] })
  const options = {
    url: `${url}/v1/shape`,
    backoffOptions: BACKOFF,
    fetchClient: async (input, init) => {
      seen.requests++
      if (/live_sse=true/.test(String(input))) seen.sse++
      const answer = await fetch(input, init)
      seen.statuses[answer.status] = (seen.statuses[answer.status] ?? 0) + 1
      return answer
    },
    onError: (e) => {
      seen.errors.push(e)
      return onError?.(e)
    },
  }
  return { seen, options }
}

// A signal that ends with the test. The old clients add one listener a request.
export function untilTheEnd(t) {
  const abort = new AbortController()
  setMaxListeners(0, abort.signal)
  t.cleanup(() => abort.abort())
  return abort
}

// A component with useShape: `last()` is what the hook gave last, `root` what is shown.
export async function rendered(t, options) {
  let last
  function View() {
    last = useShape(options)
    return createElement('span', null, String(last.data.length))
  }
  // React says on the error stream that this renderer is going away.
  const { error } = console
  console.error = () => {}
  t.cleanup(() => (console.error = error))
  const root = create(createElement(View))
  t.cleanup(() => root.unmount())
  await until('the first sync', () => last && !last.isLoading)
  return { last: () => last, root }
}

// A PGlite whose table `items`, made by `table`, is the shape's.
export async function synced(t, table, shape) {
  const lite = await PGlite.create({ extensions: { electric: electricSync() } })
  t.cleanup(() => lite.close())
  await lite.exec(table)
  const sync = await lite.electric.syncShapeToTable({ shape, table: 'items', primaryKey: ['id'], shapeKey: 'items' })
  t.cleanup(() => sync.unsubscribe())
  return lite
}
