#!/usr/bin/env bash
# Runs the end-to-end tests: installs what they need from npm, then all suites (or those named).
#   BUSBAR=path     the daemon, build/busbar if unset
#   TRUTH=path      the truth test's program, which makes random conditions; build/truth if unset
#   E2E_ONLY=text   only tests whose `suite: name` holds the text
#   E2E_SEED=n      the seed of the randomised tests
#   E2E_LONG=1      longer histories
#   E2E_KEEP=1      keep the temporary files
#   E2E_SANITIZED=1 the daemon was built with a sanitizer: bounds on its memory aren't checked
# Arguments: names of suites, all if there is none. README.md says more.
set -euo pipefail
cd "$(dirname "$0")"

BUSBAR=${BUSBAR:-$(cd ../.. && pwd)/build/busbar}
TRUTH=${TRUTH:-$(cd ../.. && pwd)/build/truth}
export BUSBAR TRUTH
if [ ! -x "$BUSBAR" ]; then
	echo "no daemon at $BUSBAR: build it, or name it in BUSBAR" >&2
	exit 2
fi
command -v psql >/dev/null || { echo "psql is not on PATH: install postgresql-client" >&2; exit 2; }

# Nothing is fetched again while the lock file is the one that was installed.
install() {
	if ! cmp -s "$1/package-lock.json" "$1/node_modules/.lock-installed"; then
		(cd "$1" && npm ci --no-progress --loglevel=error)
		cp "$1/package-lock.json" "$1/node_modules/.lock-installed"
	fi
}
install .
install postgres

# Thousands of clients at once, on both sides of the loopback.
ulimit -n "$(ulimit -Hn)" || true

exec node run.mjs "$@"
