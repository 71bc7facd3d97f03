#!/bin/bash
# run.sh - installs what is needed, builds Busbar and runs it until Ctrl-C.
#
#   DATABASE_URL=postgresql://… ELECTRIC_SECRET=… bash run.sh     against your database
#   bash run.sh                                                  against a Postgres of its own with sample data
#
# For Debian 12 and 13, as root or with sudo. All settings are environment variables: docs/configuration.md.
# What it makes stays in build/ and .run/.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")" || exit 1
ROOT=$PWD
. scripts/apt.sh
. scripts/pg.sh

busbar_pid="" mover_pid="" bin="" data=""

stop() {
	trap - EXIT
	trap '' INT TERM
	[ -n "$busbar_pid" ] && kill "$busbar_pid" 2>/dev/null && wait "$busbar_pid" 2>/dev/null
	[ -n "$mover_pid" ] && kill "$mover_pid" 2>/dev/null && wait "$mover_pid" 2>/dev/null
	[ -n "$bin" ] && pg_stop "$bin" "$data"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

fail() { echo "run.sh: $*" >&2; exit 1; }

build() {
	local packages=("${BUILD_PACKAGES[@]}")
	command -v curl >/dev/null || packages+=(curl)
	[ -n "${DATABASE_URL:-}" ] || { command -v psql && pg_bin; } >/dev/null 2>&1 || packages+=(postgresql)
	apt_install "${packages[@]}" || fail "packages could not be installed"
	echo "==> building"
	# test.sh builds in the same folder, and there a warning is an error: CMake would remember that.
	cmake -S . -B build -DBUSBAR_WERROR=OFF >build.log 2>&1 || { cat build.log >&2; rm -f build.log; fail "cmake failed"; }
	rm -f build.log
	cmake --build build --target busbar busbar-bench -j "$(nproc)" || fail "the build failed"
}

sample_data() {
	(pg_psql) <<'SQL'
CREATE TABLE IF NOT EXISTS items (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	name text NOT NULL,
	quantity integer NOT NULL,
	price numeric(10,2) NOT NULL,
	in_stock boolean NOT NULL DEFAULT true,
	updated_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO items (name, quantity, price)
SELECT 'item ' || n, n % 50, (n * 37 % 10000) / 100.0 FROM generate_series(1, 1000) n
WHERE NOT EXISTS (SELECT 1 FROM items);
SQL
}

# Each second: a new row for the oldest one, and three that change.
move_rows() {
	pg_psql -o /dev/null <<'SQL'
WITH oldest AS (SELECT min(id) AS id FROM items),
gone AS (DELETE FROM items WHERE id = (SELECT id FROM oldest)),
changed AS (
	UPDATE items SET quantity = floor(random() * 50), in_stock = random() > 0.2, updated_at = now()
	WHERE id IN (SELECT i.id FROM items i, oldest o WHERE i.id > o.id ORDER BY random() LIMIT 3)
)
INSERT INTO items (name, quantity, price)
SELECT 'item of ' || to_char(now(), 'HH24:MI:SS'), floor(random() * 50), round((random() * 100)::numeric, 2)
\watch 1
SQL
}

start_database() {
	local port=${ELECTRIC_PORT:-3000}
	if port_taken "$port"; then fail "port $port is taken: set ELECTRIC_PORT to another"; fi
	bin=$(pg_bin) || exit 1
	data=$(pg_dir "$ROOT/.run/pg")
	echo "==> starting a private Postgres ($("$bin/postgres" --version | awk '{print $3}')) in $data"
	pg_start "$bin" "$data" || fail "Postgres didn't start"
	sample_data || fail "the sample table could not be made"
	move_rows &
	mover_pid=$!
	export DATABASE_URL="$PG_URL"
	export ELECTRIC_STORAGE_DIR="${ELECTRIC_STORAGE_DIR:-$ROOT/.run/data}"
	# Only this machine's sample data is at stake.
	[ -n "${ELECTRIC_SECRET+set}" ] || export ELECTRIC_INSECURE="${ELECTRIC_INSECURE:-true}"
}

# Until it is active; fails if Busbar ends before.
wait_active() {
	local url=$1
	for _ in $(seq 600); do
		curl -fsS "$url/v1/health" 2>/dev/null | grep -q '"active"' && return 0
		kill -0 "$busbar_pid" 2>/dev/null || return 1
		sleep 0.1
	done
	fail "Busbar isn't active after a minute"
}

# A first request makes the shape, so that the commands can name its handle.
show_commands() {
	local url=$1 headers handle offset secret=""
	[ -z "${ELECTRIC_SECRET:-}" ] || secret="&secret=\$ELECTRIC_SECRET"
	headers=$(curl -fsS -G -D - -o /dev/null "$url/v1/shape" -d table=items -d offset=now \
		${ELECTRIC_SECRET:+--data-urlencode "secret=$ELECTRIC_SECRET"}) || return 0
	handle=$(tr -d '\r' <<<"$headers" | awk 'tolower($1) == "electric-handle:" {print $2}')
	offset=$(tr -d '\r' <<<"$headers" | awk 'tolower($1) == "electric-offset:" {print $2}')
	cat <<TEXT

Busbar is active. A table "items" with 1,000 rows changes each second. In another terminal:

  the rows:
    curl -i "$url/v1/shape?table=items&offset=-1$secret"

  its changes as they happen:
    curl -N "$url/v1/shape?table=items&handle=$handle&offset=$offset&live=true&live_sse=true$secret"

  the database:
    psql "$DATABASE_URL"

Ctrl-C stops all of it.

TEXT
}

build
sample=""
[ -n "${DATABASE_URL:-}" ] || sample=yes
[ -z "$sample" ] || start_database
export ELECTRIC_STORAGE_DIR="${ELECTRIC_STORAGE_DIR:-$ROOT/.run/persistent}"
mkdir -p "$(dirname "$ELECTRIC_STORAGE_DIR")"
build/busbar &
busbar_pid=$!
if [ -n "$sample" ] && wait_active "http://localhost:${ELECTRIC_PORT:-3000}"; then
	show_commands "http://localhost:${ELECTRIC_PORT:-3000}"
fi
wait "$busbar_pid"
status=$?
busbar_pid=
exit $status
