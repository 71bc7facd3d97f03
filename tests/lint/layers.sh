#!/usr/bin/env bash
# layers.sh - the include arrows of ARCHITECTURE.md, checked: which folder may include which, and that
# each outside library has its home. Prints `lint: N passed, N failed`.
set -u
cd "$(dirname "$0")/../.." || exit 2
passed=0 failed=0

check() { # folder, allowed prefixes (egrep)
	local bad
	bad=$(grep -nE '^#include "' "$1"/*.[ch] | grep -vE "#include \"($2)[/\"]")
	if [ -n "$bad" ]; then
		printf 'lint: %s includes what it may not:\n%s\n' "$1" "$bad"
		failed=$((failed + 1))
	else
		passed=$((passed + 1))
	fi
}

library() { # header, allowed folders (egrep)
	local bad
	# src/lock_order_libraries.c stands in front of the libraries, in debug builds only.
	bad=$(grep -rnE "#include <$1>" src store | grep -vE "^($2)/|^src/lock_order_libraries\.c:")
	if [ -n "$bad" ]; then
		printf 'lint: %s outside its home:\n%s\n' "$1" "$bad"
		failed=$((failed + 1))
	else
		passed=$((passed + 1))
	fi
}

check src/base 'base'
check src/pg 'base|pg'
check src/pg/table 'base|pg/table'
check src/wal 'base|pg|wal'
check src/where 'base|where|pg/table/table\.h'
check store 'base|store'
check src/shapes 'base|pg|wal|where|store|shapes'
# Of the rooms' headers: whose calls they may make is rooms.mjs's. core embeds each owner's part of a shape.
check src/shapes/core 'base|pg|wal|where|store|shapes/(core|routing|shapes\.h|ingest/shape_in\.h|logs)'
check src/shapes/routing 'base|pg|wal/change\.h|where|shapes/(core|routing|shapes\.h)'
check src/shapes/logs 'base|pg|wal|where|store|shapes/(core|routing|logs|shapes\.h)'
check src/shapes/ingest 'base|pg|wal|where|store|shapes/(core|routing|logs|ingest|shapes\.h)'
check src/shapes/prep 'base|pg|wal|where|store|shapes/(core|routing|logs|prep|shapes\.h)'
check src/ops 'base|pg|where|shapes/((shapes|stats|list)\.h|core/(def|wait)\.h|routing/filter_tell\.h)|ops'
check src/http 'base|shapes|pg/table/table\.h|where/where\.h|http'
library 'libpq-fe\.h' 'src/pg|src/wal'
library 'openssl/' 'src/pg'
library 'pg_query\.h' 'src/where'
library 'lmdb\.h' 'store'
library 'microhttpd\.h' 'src/http'

# Banned: unbounded or locale-dependent calls, and calls that aren't thread-safe.
bad=$(grep -nE '\b(strcpy|strcat|sprintf|vsprintf|strtok|gmtime|localtime|atoi|gets)\(' $(find src store -name '*.c'))
if [ -n "$bad" ]; then
	printf 'lint: banned calls:\n%s\n' "$bad"
	failed=$((failed + 1))
else
	passed=$((passed + 1))
fi

# No path of a developer's machine and no registry host in what we ship.
bad=$(git grep -nE '(^|[^A-Za-z0-9_.])/(work|farm|root)/|registry\.npmjs|deb\.debian\.org' -- . ':!docker' ':!tests/lint' ':!tests/conformance' 2>/dev/null)
if [ -n "$bad" ]; then
	printf 'lint: paths or hosts that do not belong in the project:\n%s\n' "$bad"
	failed=$((failed + 1))
else
	passed=$((passed + 1))
fi
echo "lint: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
