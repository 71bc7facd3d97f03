// Runs one suite in this process: `node suite.mjs NAME`. Its last line is `NAME: N passed, N failed`.

import { run } from './lib/runner.mjs'

const name = process.argv[2]
const suite = await import(`./suites/${name}.mjs`)
const failed = await (suite.run ?? run)(name)
process.exit(failed ? 1 : 0)
