# shellcheck shell=bash
# apt.sh - Debian packages, installed only if missing. Sourced by run.sh and test.sh.
#
# The first look is dpkg's, so a second run is fast and needs no network.

apt_missing() { # package... -> those that aren't installed, a line each
	local p
	for p in "$@"; do
		dpkg-query -W -f='${Status}\n' "$p" 2>/dev/null | grep -q '^install ok installed$' || echo "$p"
	done
}

as_root() {
	if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# apt_install package... [-- package...]: the second list is taken only where the release has it.
apt_install() {
	local need=() wish=() missing=() optional=() p in_wish=
	for p in "$@"; do
		if [ "$p" = -- ]; then in_wish=yes; elif [ -z "$in_wish" ]; then need+=("$p"); else wish+=("$p"); fi
	done
	if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
		echo "This isn't a Debian system: see that what these packages hold is installed: ${need[*]}" >&2
		return 0
	fi
	mapfile -t missing < <(apt_missing "${need[@]}")
	mapfile -t optional < <(apt_missing "${wish[@]}")
	[ $((${#missing[@]} + ${#optional[@]})) -gt 0 ] || return 0
	if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
		[ ${#missing[@]} -gt 0 ] || return 0
		echo "Neither root nor sudo, and these packages are missing: ${missing[*]}" >&2
		return 1
	fi
	if [ ${#missing[@]} -gt 0 ]; then
		echo "==> installing packages: ${missing[*]}"
		as_root apt-get update -q || echo "apt-get update failed, trying with the lists that are there" >&2
	fi
	[ ${#missing[@]} -eq 0 ] || apt_get_install "${missing[@]}" || return 1
	missing=()
	for p in "${optional[@]}"; do
		if apt-cache show "$p" >/dev/null 2>&1; then missing+=("$p"); fi
	done
	[ ${#missing[@]} -eq 0 ] || apt_get_install "${missing[@]}" || echo "going on without ${missing[*]}" >&2
	return 0
}

# Installing postgresql would make a cluster of the system's and start it on port 5432, which nobody asked for.
apt_get_install() {
	local conf=/etc/postgresql-common/createcluster.d/busbar.conf rc=0
	if ! command -v pg_createcluster >/dev/null; then
		as_root mkdir -p "${conf%/*}"
		echo 'create_main_cluster = false' | as_root tee $conf >/dev/null
	fi
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@" </dev/null || rc=$?
	as_root rm -f $conf
	return $rc
}

# apt_unpack folder package...: the files of packages, below the folder. Nothing is installed, as their services would be started, now and with
# the machine. What they need besides must be there. Needs no root where apt has its lists.
apt_unpack() {
	local dir=$1 p work
	shift
	command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
	for p in "$@"; do
		[ ! -e "$dir/.$p" ] || continue
		echo "==> unpacking $p below $dir"
		work=$(mktemp -d) || return 1
		# Without root, apt's own user may not enter the folder; that is only a warning.
		if ! apt_download "$work" "$p" || ! mkdir -p "$dir" || ! dpkg-deb -x "$work/$p"_*.deb "$dir"; then
			rm -rf "$work"
			return 1
		fi
		touch "$dir/.$p"
		rm -rf "$work"
	done
}

apt_download() { # folder package
	(cd "$1" && apt-get download -q "$2") </dev/null && return
	as_root apt-get update -q </dev/null
	(cd "$1" && apt-get download -q "$2") </dev/null
}

# Lists for those who source this.
# shellcheck disable=SC2034
{
	BUILD_PACKAGES=(gcc libc6-dev make cmake pkg-config libpq-dev libssl-dev libmicrohttpd-dev liblmdb-dev libxxhash-dev libjansson-dev libpg-query-dev tzdata)
}
