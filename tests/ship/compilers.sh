#!/bin/bash
# compilers.sh - the daemon with gcc 12 and 14, clang 14 and 19, each Release and Debug, without a warning; each runs.
#
# The older two are those of Debian 12, the newer ones Debian 13's: each pair in its release, which is a tree of
# scripts/chroot.sh unless this machine is it.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
. tests/ship/ship.sh
ship_needs_chroot
ship_database || exit 1

smoke_start() { tree_start; }

# What libpg_query's archive holds beyond the parts that NOTICE has a licence for isn't linked.
notice_is_true() { # program
	local part
	for part in libpg_query PostgreSQL snprintf protobuf-c xxHash; do
		grep -q "$part" NOTICE || { echo "NOTICE doesn't name $part"; return 1; }
	done
	if nm "$1" | grep -E ' [Tt] (pg_erand48|pg_regcomp)'; then
		echo "is linked, and NOTICE says nothing of it"
		return 1
	fi
}

compiler() { # command
	local type dir
	for type in Release Debug; do
		dir=build-ship/$1-$type
		if ok "$1 $type: builds without a warning" tree_build "$dir" -DCMAKE_C_COMPILER="$1" -DCMAKE_BUILD_TYPE=$type \
			-DBUSBAR_WERROR=ON -DBUSBAR_TESTS=OFF -DBUSBAR_BENCH=OFF; then
			TREE_DAEMON=("$dir/busbar")
			ok "$1 $type: NOTICE names what is linked in" notice_is_true "$dir/busbar"
			ok "$1 $type: is hardened" bash tests/lint/hardening.sh "$dir"
			smoke_run "$1 $type"
		fi
	done
}

ship_needs "packages of Debian 12" ship_release bookworm "${DEBIAN12_PACKAGES[@]}"
bookworm=$TREE
ship_needs "packages of Debian 13" ship_release trixie "${DEBIAN13_PACKAGES[@]}"
trixie=$TREE

TREE=$bookworm
compiler gcc-12
compiler clang-14
TREE=$trixie
compiler gcc-14
compiler clang-19
ship_done compilers
