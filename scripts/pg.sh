# shellcheck shell=bash
# pg.sh - a private Postgres: made, started, stopped. Sourced by run.sh and test.sh.
#
#   bin=$(pg_bin)                    Debian's newest, e.g. /usr/lib/postgresql/15/bin
#   data=$(pg_dir "$PWD/.run/pg")    where its data can be (see below)
#   pg_start "$bin" "$data"          initdb if new, start on a free loopback port; sets PG_PORT and PG_URL
#   (pg_psql -c 'SELECT 1')          psql in it; replaces the shell that calls it, hence the brackets
#   pg_stop "$bin" "$data"
#
# Postgres refuses to run as root, so root runs it as the user postgres. It listens on 127.0.0.1 only, with a
# random password kept beside the data, because any local user could connect. wal_level is logical.

PG_SETTINGS="
wal_level = logical
max_wal_senders = 30
max_replication_slots = 30
max_prepared_transactions = 10
max_connections = 200
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
"

pg_bin() {
	local d
	d=$(ls -d /usr/lib/postgresql/*/bin/initdb 2>/dev/null | sort -t/ -k5 -V | tail -n 1)
	[ -n "$d" ] || { echo "No PostgreSQL server under /usr/lib/postgresql" >&2; return 1; }
	echo "${d%/initdb}"
}

# Runs as the user that owns the server; from /, which that user can surely enter.
pg_as() {
	if [ "$(id -u)" -eq 0 ]; then (cd / && runuser -u postgres -- "$@"); else (cd / && "$@"); fi
}

# The wanted folder or, where the user postgres can't reach it (below /root, say), one that it can.
pg_dir() {
	local parent
	parent=$(dirname "$1")
	mkdir -p "$parent"
	if pg_as test -x "$parent"; then
		echo "$1"
	else
		echo "/var/lib/postgresql/busbar-$(printf %s "$1" | cksum | cut -d' ' -f1)"
	fi
}

port_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

free_port() {
	local port
	for _ in $(seq 100); do
		port=$((20000 + RANDOM % 12000))
		port_taken $port || { echo $port; return 0; }
	done
	return 1
}

pg_running() { pg_as "$1/pg_ctl" -D "$2" status >/dev/null 2>&1; }

pg_init() {
	local bin=$1 data=$2
	mkdir -p "$data"
	if [ "$(id -u)" -eq 0 ]; then chown postgres "$data"; fi
	chmod 700 "$data"
	rm -f "$data.password"
	(umask 077 && od -An -tx1 -N16 /dev/urandom | tr -d ' \n' >"$data.password")
	if [ "$(id -u)" -eq 0 ]; then chown postgres "$data.password"; fi
	pg_as "$bin/initdb" -D "$data" -U postgres --encoding=UTF8 --locale=C.UTF-8 --auth=scram-sha-256 \
		--pwfile="$data.password" >/dev/null || return 1
	pg_as tee -a "$data/postgresql.conf" <<<"$PG_SETTINGS" >/dev/null
}

# A server that an earlier run left behind is used as it is.
pg_start() {
	local bin=$1 data=$2
	PG_DATA=$data
	[ -f "$data/PG_VERSION" ] || pg_init "$bin" "$data" || return 1
	if pg_running "$bin" "$data"; then
		PG_PORT=$(pg_as sed -n 4p "$data/postmaster.pid")
	else
		PG_PORT=$(free_port) || return 1
		if ! pg_as "$bin/pg_ctl" -D "$data" -l "$data/log" -o "-p $PG_PORT" -w -s start >/dev/null; then
			pg_as tail -n 20 "$data/log" >&2
			return 1
		fi
	fi
	# shellcheck disable=SC2034
	PG_URL="postgresql://postgres:$(cat "$data.password")@127.0.0.1:$PG_PORT/postgres"
}

# pg_psql argument...: psql there; the password isn't among the arguments, which every user can see.
pg_psql() {
	PGPASSWORD=$(cat "$PG_DATA.password") PGOPTIONS='-c client_min_messages=warning' \
		exec psql -h 127.0.0.1 -p "$PG_PORT" -U postgres -d postgres -q -v ON_ERROR_STOP=1 "$@"
}

pg_stop() {
	if pg_running "$1" "$2"; then pg_as "$1/pg_ctl" -D "$2" -m fast -w -s stop >/dev/null 2>&1; fi
	return 0
}

pg_remove() { # stops it and deletes its data
	pg_stop "$1" "$2"
	rm -rf "$2" "$2.password"
}
