#!/bin/bash
# debian13.sh - everything that CMake builds, with Debian 13's compiler and libraries and without a warning, and the daemon
# runs. In a tree of scripts/chroot.sh, unless this machine is Debian 13.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
. tests/ship/ship.sh
ship_needs_chroot
ship_database || exit 1

smoke_start() { tree_start; }

ship_needs "packages of Debian 13" ship_release trixie "${DEBIAN13_PACKAGES[@]}"
if ok "builds without a warning" tree_build build-debian13 -DBUSBAR_WERROR=ON; then
	TREE_DAEMON=(build-debian13/busbar)
	smoke_run debian13
fi
ship_done debian13
