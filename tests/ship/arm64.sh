#!/bin/bash
# arm64.sh - cross-built for arm64 against Debian 12's libraries for it, without a warning, and run by an emulator.
#
# The libraries are a tree of packages that are only unpacked (scripts/chroot.sh -a arm64). qemu-aarch64 gets it as the
# place of the shared libraries, so nothing needs to be registered with the kernel.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
. tests/ship/ship.sh
ship_needs_chroot
ship_database || exit 1

DIR=build-ship/arm64
PACKAGES=(libc6-dev libpq-dev libssl-dev libmicrohttpd-dev liblmdb-dev libxxhash-dev libjansson-dev libpg-query-dev tzdata)

sysroot() { sysroot=$(chroot_make -a arm64 bookworm "${PACKAGES[@]}"); }

# Headers and libraries of the tree alone, programs of this machine alone.
cross_build() {
	PKG_CONFIG_LIBDIR=$sysroot/usr/lib/aarch64-linux-gnu/pkgconfig:$sysroot/usr/share/pkgconfig \
		PKG_CONFIG_SYSROOT_DIR=$sysroot \
		cmake -S . -B $DIR -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
		-DCMAKE_C_COMPILER=aarch64-linux-gnu-gcc -DCMAKE_LIBRARY_ARCHITECTURE=aarch64-linux-gnu \
		-DCMAKE_SYSROOT="$sysroot" -DCMAKE_FIND_ROOT_PATH="$sysroot" -DCMAKE_FIND_ROOT_PATH_MODE_PROGRAM=NEVER \
		-DCMAKE_FIND_ROOT_PATH_MODE_LIBRARY=ONLY -DCMAKE_FIND_ROOT_PATH_MODE_INCLUDE=ONLY \
		-DBUSBAR_WERROR=ON -DBUSBAR_TESTS=OFF -DBUSBAR_BENCH=OFF &&
		cmake --build $DIR -j "$(nproc)"
}

smoke_start() {
	local folder
	folder=$(mktemp -d "$work/data-XXXXXX")
	# LD_LIBRARY_PATH: without ldconfig's cache the loader looks in a few folders only.
	env "${SMOKE_ENV[@]}" ELECTRIC_STORAGE_DIR="$folder" "$QEMU" -L "$sysroot" $DIR/busbar >"$work/daemon" 2>&1 &
	smoke_pid=$! smoke_signal=$!
}

is_arm64() { # ELF's field e_machine
	is "$(od -An -tu2 -j18 -N2 $DIR/busbar | tr -d ' ')" 183
}

ship_needs "packages" apt_install "${BUILD_PACKAGES[@]}" gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user
ship_needs "libraries for arm64" sysroot
if ok "builds without a warning" cross_build && ok "is of arm64" is_arm64; then
	ok "is hardened" bash tests/lint/hardening.sh $DIR
	QEMU=$(command -v qemu-aarch64 || command -v qemu-aarch64-static)
	smoke_run arm64
fi
ship_done arm64
