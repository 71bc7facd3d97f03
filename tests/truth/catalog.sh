#!/usr/bin/env bash
# catalog.sh - src/where/catalog_data.c is what scripts/where-catalog.sh writes today, of the PostgreSQL 15 that
# BUSBAR_TEST_DATABASE_URL names; of another version nothing can be said. Prints `catalog: N passed, N failed`.
set -u
cd "$(dirname "$0")/../.." || exit 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export DATABASE_URL=${BUSBAR_TEST_DATABASE_URL:?the PostgreSQL to read from}
major=$(psql -X -q -A -t -d "$DATABASE_URL" -c "SELECT current_setting('server_version_num')::int / 10000") || exit 1
if [ "$major" != 15 ]; then
	echo "skipped: src/where/catalog_data.c is PostgreSQL 15's catalog, and this is $major"
	echo "catalog: 0 passed, 0 failed"
	exit 0
fi
if bash scripts/where-catalog.sh "$work/catalog_data.c" && diff -u src/where/catalog_data.c "$work/catalog_data.c" >"$work/diff"; then
	echo "catalog: 1 passed, 0 failed"
else
	echo "catalog: src/where/catalog_data.c isn't what scripts/where-catalog.sh writes:"
	head -n 40 "$work/diff"
	echo "catalog: 0 passed, 1 failed"
	exit 1
fi
