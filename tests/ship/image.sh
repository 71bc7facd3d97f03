#!/bin/bash
# image.sh - docker/Dockerfile, built by buildah as it stands, and what comes of it run the way a container runs it.
#
# No registry is asked: the base image is a tree of Debian that mmdebstrap makes, under the name that the Dockerfile asks
# for. The image is then mounted, and its own entry point, command, environment, working folder and health check are
# carried out in it (buildah's chroot isolation has no process 1 of its own; `unshare --pid` has). Images lie in
# build-ship/images while this runs, and are mounted for this program's eyes only: a mount ends with it, however it ends.
set -uo pipefail
if [ "${1-}" != inside ] && unshare --mount true 2>/dev/null; then
	exec unshare --mount --propagation private bash "${BASH_SOURCE[0]}" inside
fi
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
. tests/ship/ship.sh
ship_needs_chroot
ship_database || exit 1

STORE=$ROOT/build-ship/images
BASE=docker.io/library/debian:bookworm-slim # what the short name in the Dockerfile stands for
COMMIT=0123456789ab

bud() { buildah --root "$STORE" --runroot "$work/run" --storage-driver "$DRIVER" "$@"; }

# vfs copies the whole tree for each layer; overlay isn't to be had on every file system.
choose_driver() {
	DRIVER=overlay
	bud images >/dev/null 2>&1 && return
	DRIVER=vfs
	rm -rf --one-file-system "$STORE"
	bud images >/dev/null
}

base_image() {
	local tree container
	tree=$(chroot_make bookworm apt) || return 1
	container=$(bud from scratch) || return 1
	bud add --quiet "$container" "$tree" / >/dev/null || return 1
	bud config --cmd bash "$container" || return 1
	bud commit --quiet --rm "$container" "$BASE" || return 1
}

build_image() {
	bud bud --isolation chroot --pull-never --format docker --ignorefile docker/Dockerfile.dockerignore \
		--build-arg BUSBAR_COMMIT=$COMMIT -f docker/Dockerfile -t busbar .
}

config() { # field of the image's configuration, as lines
	bud inspect --type image --format "{{range .Docker.Config.$1}}{{println .}}{{end}}" busbar | sed '/^$/d'
}

# Mounts the image, writable, and reads what a container of it would be.
open_image() {
	container=$(bud from --pull-never busbar) && root=$(bud mount "$container") || return 1
	mapfile -t image_env < <(config Env)
	mapfile -t image_command < <(config Entrypoint; config Cmd)
	mapfile -t image_health < <(config Healthcheck.Test)
	image_dir=$(bud inspect --type image --format '{{.Docker.Config.WorkingDir}}' busbar)
	[ -n "$root" ] && [ ${#image_command[@]} -gt 0 ] && [ ${#image_health[@]} -gt 0 ] && [ -n "$image_dir" ]
}

# As process 1 of a namespace of its own, with the image's environment and what the array RUN_ENV adds; by the user
# RUN_USER. Its number in our namespace goes to the file PID_FILE. NETWORK: empty for ours, "own" for a new one, a number
# for that of this process.
image_exec() { # command…
	local enter=()
	case ${NETWORK:-} in
	"") ;;
	own) enter=(unshare --net) ;;
	*) enter=(nsenter --target "$NETWORK" --net) ;;
	esac
	exec "${enter[@]}" unshare --mount --pid --fork --kill-child --propagation private bash -c '
		set -e
		root=$1 user=$2 dir=$3 network=$4
		shift 4
		[ "$network" != own ] || ip link set lo up
		read -r pid _ </proc/self/stat
		echo "$pid" >"$0"
		mount -t proc proc "$root/proc"
		mount --rbind /dev "$root/dev"
		for f in /etc/resolv.conf /etc/hosts; do
			[ ! -e $f ] || { [ -e "$root$f" ] || : >"$root$f"; mount --bind $f "$root$f"; }
		done
		exec chroot --userspec="$user" "$root" /usr/bin/env -i -C "$dir" "$@"
	' "${PID_FILE:-/dev/null}" "$root" "$RUN_USER" "$image_dir" "${NETWORK:-}" "${image_env[@]}" "${RUN_ENV[@]}" "$@"
}

image_run() { (image_exec "$@"); }

health() { # variable=value…: the image's health check, carried out inside
	[ "${image_health[0]}" = CMD-SHELL ] || { echo "the health check is ${image_health[*]}"; return 1; }
	RUN_ENV=("$@")
	image_run /bin/sh -c "${image_health[1]}"
}

smoke_start() {
	RUN_ENV=("${SMOKE_ENV[@]}")
	rm -f "$work/pid"
	PID_FILE=$work/pid image_exec "${image_command[@]}" >"$work/daemon" 2>&1 &
	smoke_pid=$!
	until [ -s "$work/pid" ] || [ ! -d "/proc/$smoke_pid" ]; do sleep 0.05; done
	smoke_signal=$(cat "$work/pid")
}

smoke_more() {
	ok "$1: it is process 1" is "$(awk '/^NSpid:/ {print $NF}' "/proc/$smoke_signal/status")" 1
	ok "$1: the data is in /app/persistent" [ -n "$(ls "$root/app/persistent")" ]
	ok "$1: the health check" health ELECTRIC_PORT="$SMOKE_PORT"
	ok "$1: the health check with a proxy set" health ELECTRIC_PORT="$SMOKE_PORT" http_proxy=http://127.0.0.1:1
	ok "$1: the health check fails where nothing listens" not health ELECTRIC_PORT="$(free_port)"
}

not() { ! "$@"; }

entrypoint() { # expected status, expected text, argument…
	local status=$1 text=$2 out
	shift 2
	RUN_ENV=()
	out=$(image_run "${image_command[0]}" "$@" 2>&1)
	is "$?" "$status" && has "$out" "$text"
}

# The daemon and its health check with these settings, in a network of their own, where port 3000 is surely free and no
# Postgres answers: the check passes while Busbar waits for one.
alone() { # variable=value…
	local end=$((SECONDS + SMOKE_WAIT_S)) status
	rm -f "$work/pid"
	RUN_ENV=(DATABASE_URL=postgresql://u@127.0.0.1/x ELECTRIC_INSECURE=true "$@")
	PID_FILE=$work/pid NETWORK=own image_exec "${image_command[@]}" >"$work/daemon" 2>&1 &
	smoke_pid=$!
	until [ -s "$work/pid" ] && NETWORK=$(cat "$work/pid") health "$@" >"$work/health" 2>&1; do
		if [ $SECONDS -ge $end ] || ! kill -0 $smoke_pid; then
			cat "$work/health" "$work/daemon"
			kill -9 $smoke_pid
			smoke_pid=
			return 1
		fi
		sleep 0.1
	done
	kill -TERM "$(cat "$work/pid")"
	wait $smoke_pid
	status=$?
	smoke_pid=
	is $status 0
}

close_image() {
	[ -z "${container:-}" ] || bud rm "$container" >/dev/null
	rm -rf --one-file-system "$STORE"
}

ship_needs "packages" apt_install buildah mmdebstrap curl iproute2
mkdir -p "${STORE%/*}"
rm -rf --one-file-system "$STORE"
choose_driver
RUN_USER=0:0 RUN_ENV=() container=""
ship_needs "base image" base_image
if ok "docker/Dockerfile builds" build_image && ok "the image opens" open_image; then
	ok "entry point: version" entrypoint 0 "(commit $COMMIT)" version
	ok "entry point: options" entrypoint 0 DATABASE_URL --help
	ok "entry point: what Electric's release script knows beyond is refused" entrypoint 64 'unknown command "remote"' remote
	ok "no ELECTRIC_PORT: 3000" alone
	ok "an empty ELECTRIC_PORT: 3000" alone ELECTRIC_PORT=
	ok "ELECTRIC_LISTEN_ON_IPV6" alone ELECTRIC_LISTEN_ON_IPV6=true ELECTRIC_PORT=3001
	ok "LICENSE is in it" cmp LICENSE "$root/app/LICENSE"
	ok "NOTICE is in it" cmp NOTICE "$root/app/NOTICE"
	ok "label: the commit" has "$(bud inspect --type image --format '{{.Docker.Config.Labels}}' busbar)" "revision:$COMMIT"
	smoke_run image
	RUN_USER=1234:1234
	rm -rf "$root"/app/persistent/*
	smoke_run "image as another user"
fi
close_image
ship_done image
