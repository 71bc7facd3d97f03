#!/usr/bin/env bash
# where-catalog.sh - writes src/where/catalog_data.c: what PostgreSQL's catalog says of built-in types, operators,
# functions and casts, as text lines that src/where/catalog.c and types.c read once.
#
#   DATABASE_URL=postgresql://… scripts/where-catalog.sh [FILE]     of a PostgreSQL 15; the output is stable, and
#                                                                  tests/truth/catalog.sh sees that it is fresh
#
# Functions: all normal ones whose arguments and results a condition could name (none of type internal, trigger and
# the like, at most WHERE_PROC_ARGS_MAX arguments), so that overloads resolve as in Postgres. A function written in SQL
# has no internal name: it goes by its own. pg_upgrade's are left out: minor releases add to them, and nobody else can call
# them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
: "${DATABASE_URL:?the PostgreSQL 15 to read from}"
out=${1:-src/where/catalog_data.c}
args_max=$(sed -nE 's/^#define WHERE_PROC_ARGS_MAX ([0-9]+).*/\1/p' src/where/catalog.h)

query() { psql -X -q -A -t -v ON_ERROR_STOP=1 -d "$DATABASE_URL" -c "$1"; }

section() { # name, comment, query of one text column
	printf '\n/* %s */\nconst char %s[] =\n' "$2" "$1"
	query "$3" | sed -e 's/[\\"]/\\&/g' -e 's/.*/\t"&\\n"/' -e '$s/$/;/'
}

major=$(query "SELECT current_setting('server_version_num')::int / 10000")
[ "$major" = 15 ] || { echo "where-catalog.sh: PostgreSQL 15 is wanted, this is $major" >&2; exit 1; }

{
	cat <<'HEAD'
/*
 * catalog_data.c - PostgreSQL 15's built-in types, operators, functions and casts (facts of its catalog).
 *
 * Written by scripts/where-catalog.sh: don't edit. Fields are separated by blanks, 0 is no oid.
 */
#include "where/catalog_data.h"
HEAD
	# Arrays of composite types are left out with their elements; int2vector and oidvector count as arrays in Postgres
	# but have a text form of their own, so here they are types without elements.
	section where_catalog_types 'oid name typtype category flags(p preferred, c collatable, - none) element array' "
		SELECT concat_ws(' ', t.oid, t.typname, t.typtype, t.typcategory,
			coalesce(nullif(CASE WHEN t.typispreferred THEN 'p' ELSE '' END
				|| CASE WHEN t.typcollation <> 0 THEN 'c' ELSE '' END, ''), '-'),
			CASE WHEN t.typsubscript = 'array_subscript_handler'::regproc AND t.typname NOT IN ('int2vector', 'oidvector')
				THEN t.typelem ELSE 0 END, t.typarray)
		FROM pg_type t LEFT JOIN pg_type e ON e.oid = t.typelem
		WHERE t.oid < 16384 AND t.typnamespace = 'pg_catalog'::regnamespace AND t.typtype IN ('b', 'p', 'r', 'm')
			AND (t.typcategory <> 'A' OR e.typtype IN ('b', 'p', 'r', 'm'))
		ORDER BY t.oid"
	section where_catalog_opers 'oid name left right result function commutator negator' "
		SELECT concat_ws(' ', oid, oprname, oprleft, oprright, oprresult, oprcode::oid, oprcom, oprnegate)
		FROM pg_operator WHERE oid < 16384 AND oprcode <> 0 ORDER BY oid"
	section where_catalog_procs \
		'oid name internal-name(= the same) result flags(volatility, s strict, r set) defaults variadic-element arguments…' "
		SELECT concat_ws(' ', p.oid, p.proname,
			CASE WHEN l.lanname <> 'internal' OR p.prosrc = p.proname THEN '=' ELSE p.prosrc END, p.prorettype,
			p.provolatile::text || CASE WHEN p.proisstrict THEN 's' ELSE '' END || CASE WHEN p.proretset THEN 'r' ELSE '' END,
			p.pronargdefaults, p.provariadic, nullif(array_to_string(p.proargtypes::oid[], ' '), ''))
		FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
		WHERE p.oid < 16384 AND p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f'
			AND p.proname NOT LIKE 'binary\\_upgrade\\_%' AND l.lanname IN ('internal', 'sql') AND p.pronargs <= $args_max
			AND NOT EXISTS (SELECT 1 FROM unnest(p.proargtypes::oid[] || p.prorettype) a WHERE a IN (
				'internal'::regtype, 'trigger'::regtype, 'event_trigger'::regtype, 'language_handler'::regtype,
				'fdw_handler'::regtype, 'index_am_handler'::regtype, 'tsm_handler'::regtype,
				'table_am_handler'::regtype, 'pg_ddl_command'::regtype))
		ORDER BY p.oid"
	section where_catalog_casts 'source target function context method' "
		SELECT concat_ws(' ', castsource::oid, casttarget::oid, castfunc, castcontext, castmethod)
		FROM pg_cast WHERE oid < 16384 AND castsource < 16384 AND casttarget < 16384
		ORDER BY castsource::oid, casttarget::oid"
} >"$out.new"
mv "$out.new" "$out"
