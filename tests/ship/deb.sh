#!/bin/bash
# deb.sh - the package that cpack makes. On Debian 12: what is in it, that it installs with what it depends on into a tree that
# has nothing but apt, starts, serves and stops with no more of the system than its unit allows, and is removed. On Debian 13
# that it installs, starts, serves and stops.
#
# Builds and trees are those of compilers.sh, debian13.sh and image.sh where they have run. systemd isn't running in a tree:
# its unit is checked by systemd-analyze, and its filter of system calls against what strace sees.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
. tests/ship/ship.sh
ship_needs_chroot
ship_database || exit 1

OUT=$ROOT/build-ship/deb
ENV_FILE=/etc/busbar/busbar.env
EXPOSURE_MAX=20 # tenths; of systemd-analyze security, which gives a unit that says nothing 96

# pack release folder: leaves the path of the package in DEB
pack() {
	rm -rf "$OUT/$1"
	in_tree cpack --config "$2/CPackConfig.cmake" -B "$OUT/$1" || return 1
	DEB=$(echo "$OUT/$1"/*.deb)
	[ -e "$DEB" ]
}

holds() { # file…: they are in the unpacked package
	local f
	for f in "$@"; do [ -s "$unpacked/$f" ] || { echo "the package lacks $f"; return 1; }; done
}

# TREE becomes a copy of the least tree of a release.
fresh_tree() {
	local base
	base=$(chroot_make "$1" apt) || return 1
	TREE=$ROOT/build-ship/deb-$1
	rm -rf --one-file-system "$TREE"
	cp -a "$base" "$TREE" && in_tree apt-get update -q
}

tree_apt() { in_tree env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends "$@" </dev/null; }

# ---- what the unit allows, and what the daemon does

allowed_calls() { # group of systemd's…: the names of its calls
	local group line
	for group in "$@"; do
		in_tree systemd-analyze syscall-filter "$group" | sed -n 's/^    \([@a-z0-9_-]*\)$/\1/p' | while read -r line; do
			case $line in @*) allowed_calls "$line" ;; *) echo "$line" ;; esac
		done
	done
}

# The groups that the unit allows without those that it then forbids.
unit_calls() {
	local allow forbid
	read -ra allow < <(sed -n 's/^SystemCallFilter=@/@/p' packaging/busbar.service)
	read -ra forbid < <(sed -n 's/^SystemCallFilter=~//p' packaging/busbar.service)
	comm -23 <(allowed_calls "${allow[@]}" | sort -u) <(allowed_calls "${forbid[@]}" | sort -u)
}

# The first call of the trace starts the program, and is systemd's own.
calls_are_allowed() {
	local used bad
	used=$(sed -nE '2,$s/^[0-9]+ +([a-z0-9_]+)\(.*/\1/p' "$work/trace" | sort -u)
	has "$used" '^epoll_wait$' || return 1
	bad=$(comm -23 <(echo "$used") <(unit_calls))
	is "$bad" ""
}

memory_is_allowed() { ! grep -E '(mmap|mprotect|pkey_mprotect)\(.*PROT_WRITE\|PROT_EXEC' "$work/trace"; }

families_are_allowed() {
	local families
	families=$(sed -n 's/^RestrictAddressFamilies=//p' packaging/busbar.service | tr ' ' '|')
	! grep -E 'socket\(AF_' "$work/trace" | grep -vE "socket\(($families),"
}

smoke_start() { tree_start; }

# ---- the package of Debian 12

contents() {
	unpacked=$work/unpacked
	rm -rf "$unpacked"
	dpkg-deb -x "$DEB" "$unpacked"
	holds usr/bin/busbar usr/bin/busbar-bench usr/lib/systemd/system/busbar.service usr/share/busbar/busbar.env \
		usr/share/doc/busbar/{LICENSE,NOTICE,CHANGELOG.md,copyright} usr/share/man/man1/busbar{,-bench}.1 || return 1
	is "$(find "$unpacked" -type f ! -path '*/bin/*' -perm /111)" "" &&
		is "$(find "$unpacked" ! -user root -o ! -group root)" ""
}

manuals() {
	local page
	for page in busbar busbar-bench; do
		mandoc -T lint "$unpacked/usr/share/man/man1/$page.1" || return 1
		man --warnings -l "$unpacked/usr/share/man/man1/$page.1" 2>&1 >"$work/page" | grep . && return 1
		has "$(cat "$work/page")" "$page" || return 1
	done
}

settings_are_private() { is "$(stat -c '%a %U' "$TREE$ENV_FILE")" "600 root"; }

settings_stay() { # whatever installs it again
	echo 'ELECTRIC_PORT=4321' >>"$TREE$ENV_FILE"
	in_tree dpkg -i "$DEB" && has "$(cat "$TREE$ENV_FILE")" '^ELECTRIC_PORT=4321$'
}

unit_is_right() { in_tree systemd-analyze verify --man=no /usr/lib/systemd/system/busbar.service 2>&1 | { ! grep .; }; }

unit_is_tight() {
	in_tree systemd-analyze security --offline=true --threshold=$EXPOSURE_MAX /usr/lib/systemd/system/busbar.service
}

removed() {
	tree_apt remove busbar || return 1
	[ ! -e "$TREE/usr/bin/busbar" ] && [ -e "$TREE$ENV_FILE" ]
}

purged() {
	mkdir -p "$TREE/var/lib/private/busbar"
	ln -sf private/busbar "$TREE/var/lib/busbar"
	tree_apt purge busbar || return 1
	is "$(cd "$TREE" && find etc usr var/lib -name '*busbar*' ! -path '*/apt/*')" ""
}

debian12() {
	ok "deb12: installs with what it depends on" tree_apt install "$DEB" || return
	ok "deb12: the programs start" in_tree sh -c 'busbar --version && busbar-bench --version' || return
	ok "deb12: settings are root's" settings_are_private
	ship_needs "systemd and strace" tree_apt install systemd strace
	# -D: the daemon is our child, strace is beside it.
	TREE_DAEMON=(strace -D -f -qq -o "$work/trace" /usr/bin/busbar)
	smoke_run deb12
	ok "deb12: its unit allows each system call that it makes" calls_are_allowed
	ok "deb12: no memory that can be written and executed" memory_is_allowed
	ok "deb12: its unit allows each kind of socket" families_are_allowed
	ok "deb12: systemd understands the unit" unit_is_right
	ok "deb12: the unit leaves it little" unit_is_tight
	ok "deb12: settings stay when it is installed again" settings_stay
	ok "deb12: is removed, settings stay" removed
	ok "deb12: is purged" purged
}

debian13() {
	ok "deb13: installs with what it depends on" tree_apt install "$DEB" || return
	TREE_DAEMON=(/usr/bin/busbar)
	smoke_run deb13
}

ship_needs "packages" apt_install mandoc man-db groff-base
ship_needs "packages of Debian 12" ship_release bookworm "${DEBIAN12_PACKAGES[@]}"
dir=build-ship/gcc-12-Release
if ok "deb12: builds" tree_build $dir -DCMAKE_C_COMPILER=gcc-12 -DCMAKE_BUILD_TYPE=Release -DBUSBAR_WERROR=ON \
	-DBUSBAR_TESTS=OFF -DBUSBAR_BENCH=ON && ok "deb12: cpack" pack 12 $dir && ok "deb12: what is in it" contents; then
	ok "deb12: manuals" manuals
	ship_needs "tree of Debian 12" fresh_tree bookworm
	debian12
	rm -rf --one-file-system "$TREE"
fi

ship_needs "packages of Debian 13" ship_release trixie "${DEBIAN13_PACKAGES[@]}"
if ok "deb13: builds" tree_build build-debian13 -DBUSBAR_WERROR=ON && ok "deb13: cpack" pack 13 build-debian13; then
	ship_needs "tree of Debian 13" fresh_tree trixie
	debian13
	rm -rf --one-file-system "$TREE"
fi
ship_done deb
