// What a test needs and this machine lacks.

import { assert } from './util.mjs'

// A test says so and ends; in CI, whose machine has everything that test.sh installs, it fails: else it would be green for ever
// without having tested anything. Returns undefined, for who looks for it.
export function cannot(t, why) {
  assert(process.env.CI !== 'true', `can't be tested: ${why}`)
  t.note(`not tested: ${why}`)
  return undefined
}
