# shellcheck shell=bash
# ship.sh - what the programs in this folder share: counting, a Postgres, and the smoke test of a daemon, wherever that
# runs (here, in a Debian tree, in an image, under an emulator). Sourced; the caller has gone to the top of the repository.
#
# A program ends with ship_done, whose last line is "NAME: N passed, N failed"; with CANT_RUN if this machine can't run
# it. BUSBAR_TEST_DATABASE_URL names the Postgres (logical replication, superuser); without it one is started.

ROOT=$PWD
. scripts/apt.sh
. scripts/pg.sh
. scripts/chroot.sh

CANT_RUN=77           # exit status; test.sh knows it
# What is built with and packed with there; lists that several programs share, so that one tree serves them.
# shellcheck disable=SC2034
{
	DEBIAN12_PACKAGES=("${BUILD_PACKAGES[@]}" gcc-12 clang-14 dpkg-dev file)
	DEBIAN13_PACKAGES=("${BUILD_PACKAGES[@]}" gcc-14 clang-19 dpkg-dev file)
}
SMOKE_WAIT_S=30       # for a daemon to become active; an emulator is slow
passed=0 failed=0 smoke_pid="" own_bin="" own_data=""
work=$(mktemp -d)

ship_cleanup() {
	trap - EXIT
	trap '' INT TERM
	[ -z "$smoke_pid" ] || kill -9 "$smoke_pid" 2>/dev/null
	[ -z "$own_bin" ] || pg_remove "$own_bin" "$own_data"
	rm -rf --one-file-system "$work"
}
trap ship_cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

ship_needs_chroot() {
	local why
	why=$(chroot_can) || { echo "This machine can't run it: $why."; exit $CANT_RUN; }
}

# ship_needs text command…: what comes before the tests, packages and trees.
ship_needs() {
	local text=$1
	shift
	"$@" >"$work/needs" 2>&1 && return
	tail -n 20 "$work/needs"
	echo "This machine can't run it: no $text (no network to Debian's mirror?)."
	exit $CANT_RUN
}

# ok text command…: one check; what the command says is shown if it fails
ok() {
	local text=$1
	shift
	if "$@" >"$work/ok" 2>&1; then
		passed=$((passed + 1))
	else
		echo "FAILED: $text"
		tail -n 40 "$work/ok"
		failed=$((failed + 1))
		return 1
	fi
}

is() { [ "$1" = "$2" ] || { echo "is \"$1\", expected \"$2\""; return 1; }; }
has() { grep -q -- "$2" <<<"$1" || { echo "\"$2\" isn't in: $1"; return 1; }; }

ship_done() { # name
	echo "$1: $passed passed, $failed failed"
	[ "$failed" -eq 0 ]
	exit
}

# Sets SHIP_PG, the URL without the database's name, and what psql needs of it.
ship_database() {
	local url=${BUSBAR_TEST_DATABASE_URL:-}
	if [ -z "$url" ]; then
		{ command -v psql && pg_bin; } >/dev/null 2>&1 || apt_install postgresql || return 1
		own_bin=$(pg_bin) && own_data=$(pg_dir "$ROOT/.run/pg-$(basename "$0" .sh)") || return 1
		pg_remove "$own_bin" "$own_data"
		pg_start "$own_bin" "$own_data" || return 1
		url=$PG_URL
	fi
	SHIP_PG=${url%/*}
	if ! [[ $SHIP_PG =~ ^postgresql://([^:]+):([^@]+)@([^:]+):([0-9]+)$ ]]; then
		echo "BUSBAR_TEST_DATABASE_URL isn't postgresql://user:password@host:port/database" >&2
		return 1
	fi
	export PGUSER=${BASH_REMATCH[1]} PGPASSWORD=${BASH_REMATCH[2]} PGHOST=${BASH_REMATCH[3]} PGPORT=${BASH_REMATCH[4]}
}

sql() { psql -X -q -A -t -v ON_ERROR_STOP=1 -d "$1" -c "$2"; }

# smoke_env name: a database of that name, and in the array SMOKE_ENV what the daemon's environment must be.
smoke_env() {
	SMOKE_NAME=$1
	SMOKE_PORT=$(free_port) || return 1
	smoke_forget
	sql postgres "CREATE DATABASE $1" || return 1
	SMOKE_ENV=(DATABASE_URL="$SHIP_PG/$1" ELECTRIC_INSECURE=true ELECTRIC_PORT="$SMOKE_PORT"
		ELECTRIC_REPLICATION_STREAM_ID="$1")
}

smoke_forget() {
	sql postgres "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
		WHERE slot_name = 'electric_slot_$SMOKE_NAME'" >/dev/null
	sql postgres "DROP DATABASE IF EXISTS $SMOKE_NAME WITH (FORCE)" 2>/dev/null
}

smoke_get() { curl -sS --max-time 30 --noproxy '*' -G "$@" "http://127.0.0.1:$SMOKE_PORT/v1/shape"; }
smoke_health() { curl -sS --max-time 5 --noproxy '*' "http://127.0.0.1:$SMOKE_PORT/v1/health"; }

smoke_wait_active() { # pid
	local end=$((SECONDS + SMOKE_WAIT_S))
	until smoke_health 2>/dev/null | grep -q '"active"'; do
		kill -0 "$1" 2>/dev/null || { echo "the daemon ended"; return 1; }
		[ $SECONDS -lt $end ] || { echo "not active after $SMOKE_WAIT_S s: $(smoke_health)"; return 1; }
		sleep 0.1
	done
}

header() { tr -d '\r' <"$work/headers" | awk -v h="$1:" 'tolower($1) == h {print $2}'; }

# The first sync of a shape with a condition, and a change that a waiting client gets.
smoke_shape() {
	local body handle offset reader
	sql "$SMOKE_NAME" "CREATE TABLE items (id int PRIMARY KEY, name text);
		INSERT INTO items SELECT n, 'item ' || n FROM generate_series(1, 100) n" || return 1
	body=$(smoke_get -D "$work/headers" -d table=items -d offset=-1 --data-urlencode 'where=id % 2 = 0') || return 1
	is "$(grep -o '"operation":"insert"' <<<"$body" | wc -l)" 50 || { echo "$body"; return 1; }
	handle=$(header electric-handle) offset=$(header electric-offset)
	# Live requests only begin where the log ends.
	body=$(smoke_get -D "$work/headers" -d table=items -d handle="$handle" -d offset="$offset" \
		--data-urlencode 'where=id % 2 = 0') || return 1
	has "$body" '"up-to-date"' || return 1
	offset=$(header electric-offset)
	smoke_get -d table=items -d handle="$handle" -d offset="$offset" -d live=true --data-urlencode 'where=id % 2 = 0' \
		>"$work/live" &
	reader=$!
	sql "$SMOKE_NAME" "INSERT INTO items VALUES (101, 'not this'), (102, 'this: äöü €')" || return 1
	wait $reader || return 1
	has "$(cat "$work/live")" '"this: äöü €"' && ! grep -q 'not this' "$work/live"
}

# smoke_run name: all of it with the daemon that the function smoke_start starts. That gets SMOKE_ENV, runs the daemon in
# the background with its output in $work/daemon, and sets smoke_pid, our child, and smoke_signal, whom to send SIGTERM.
# While it is active the function smoke_more, if there is one, is called.
smoke_run() {
	local name=$1 status=""
	echo "smoke: $name"
	ok "$name: a database of its own" smoke_env "ship_${name//[^a-z0-9]/_}" || return
	smoke_start
	if ok "$name: active" smoke_wait_active "$smoke_pid"; then
		ok "$name: a shape and a change" smoke_shape
		! declare -F smoke_more >/dev/null || smoke_more "$name"
		kill -TERM "$smoke_signal"
	fi
	smoke_end || kill -9 "$smoke_signal"
	wait "$smoke_pid"
	status=$?
	smoke_pid=""
	ok "$name: SIGTERM ends it with status 0" is "$status" 0 || tail -n 30 "$work/daemon"
	smoke_forget
}

smoke_end() { # the daemon ends by itself within SMOKE_WAIT_S
	local end=$((SECONDS + SMOKE_WAIT_S))
	while [ -d "/proc/$smoke_pid" ] && ! grep -q '^State:.*zombie' "/proc/$smoke_pid/status" 2>/dev/null; do
		[ $SECONDS -lt $end ] || { echo "still running after $SMOKE_WAIT_S s" >&2; return 1; }
		sleep 0.05
	done
}

# A release of Debian: this machine itself if it is that one, else a tree. `in_tree` then works there.
ship_release() { # release package…
	TREE=""
	if [ "$(. /etc/os-release && echo "${VERSION_CODENAME:-}")" = "$1" ]; then
		shift
		apt_install "$@"
	else
		TREE=$(chroot_make "$@")
	fi
}

in_tree() { if [ -n "$TREE" ]; then chroot_run "$TREE" "$@"; else "$@"; fi; }

tree_build() { # folder cmake-arguments… [-- targets…]
	local dir=$1 args=() targets=()
	shift
	while [ $# -gt 0 ] && [ "$1" != -- ]; do args+=("$1"); shift; done
	[ $# -gt 0 ] && shift && targets=(--target "$@")
	in_tree cmake -S . -B "$dir" "${args[@]}" && in_tree cmake --build "$dir" -j "$(nproc)" "${targets[@]}"
}

# smoke_start of a daemon in the tree: TREE_DAEMON is its command.
tree_start() {
	local folder
	folder=$(mktemp -d "$work/data-XXXXXX")
	(
		export "${SMOKE_ENV[@]}" ELECTRIC_STORAGE_DIR="$folder"
		if [ -n "$TREE" ]; then chroot_exec "$TREE" "${TREE_DAEMON[@]}"; else exec "${TREE_DAEMON[@]}"; fi
	) >"$work/daemon" 2>&1 &
	smoke_pid=$! smoke_signal=$!
}
