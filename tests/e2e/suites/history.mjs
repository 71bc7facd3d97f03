// Random histories under crashes. E2E_SEED repeats one (as far as timing allows).

import { history } from '../lib/history.mjs'
import { test } from '../lib/runner.mjs'
import { LONG } from '../lib/util.mjs'

const MINUTE = 60
const LIMIT_MS = (LONG ? 40 : 5) * MINUTE * 1000

test('random transactions without crashes', { timeout: LIMIT_MS }, (t) =>
  history(t, { seconds: LONG ? 2 * MINUTE : 12, crashes: [] }),
)

test('random transactions while Busbar and Postgres crash', { timeout: LIMIT_MS }, (t) =>
  history(t, { seconds: LONG ? 15 * MINUTE : 70 }),
)

test('Busbar killed again and again', { timeout: LIMIT_MS }, (t) =>
  history(t, { seconds: LONG ? 5 * MINUTE : 15, crashes: ['kill'], pause: [100, 800] }),
)
