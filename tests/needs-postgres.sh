#!/bin/sh
# needs-postgres.sh COMMAND… - for ctest: runs what needs a Postgres, or says why not (exit status 77).
if [ -z "${BUSBAR_TEST_DATABASE_URL:-}" ]; then
	echo "skipped: BUSBAR_TEST_DATABASE_URL isn't set: a superuser's URL of a Postgres with wal_level = logical and" \
		"max_prepared_transactions > 0 (test.sh starts one of its own)"
	exit 77
fi
exec "$@"
