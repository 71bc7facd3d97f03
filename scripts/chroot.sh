#!/bin/bash
# chroot.sh - Debian trees of other releases and architectures: made once by mmdebstrap, entered by chroot. Sourced, or
# called as
#
#   bash scripts/chroot.sh make trixie gcc libc6-dev …        makes the tree unless it is there, prints its folder
#   bash scripts/chroot.sh run FOLDER command argument…       runs the command in it, in the working folder of the caller
#
#   root=$(chroot_make trixie "${BUILD_PACKAGES[@]}")         the same as functions (after scripts/apt.sh)
#   chroot_run "$root" cmake -S . -B build-trixie
#   chroot_exec "$root" build-trixie/busbar &                 $! is the daemon itself: signals reach it
#
# Both need root, the first Debian too. The repository and /tmp are at the same paths inside as outside, so that what is
# built inside (in a build folder of its own) can be named outside, and tests that run outside can have a daemon that runs
# inside, through a script of one line, `exec bash scripts/chroot.sh run FOLDER build-trixie/busbar "$@"`. /proc, /sys and
# /dev are there, the network is the host's. All mounts, mmdebstrap's too, belong to the command's own mount namespace and end
# with it: a tree never has anything of the host's mounted in it that `rm -rf` could reach.
#
# Packages come from where the host's apt gets its own. Trees lie in build-chroot/ (CHROOTS=FOLDER: elsewhere), under a
# name made of release, architecture and package list, and are made anew when they are older than CHROOT_DAYS.

CHROOT_REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CHROOTS=${CHROOTS:-$CHROOT_REPO/build-chroot}
CHROOT_DAYS=14
CHROOT_KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

# Says why not.
chroot_can() {
	if [ "$(id -u)" -ne 0 ]; then echo "needs root"; return 1; fi
	if ! command -v apt-get >/dev/null || [ ! -e /etc/debian_version ]; then echo "needs Debian"; return 1; fi
	if ! unshare --mount true 2>/dev/null; then echo "needs mount namespaces, which this container forbids"; return 1; fi
}

# What the host's apt says of proxies, retries and the age of lists, for the apt inside.
chroot_apt_settings() {
	apt-config dump | grep -E '^Acquire::(https?::|Retries|Check-)' | grep -vE '^Acquire::https?( |::User-Agent)'
	echo 'Acquire::Languages "none";'
}

# chroot_sources release -> lines for its sources.list: the places that the host's apt uses, with the release's name in
# them. Nothing where the host has none of Debian's: then mmdebstrap's own default holds.
chroot_sources() {
	local host
	host=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
	[ -n "$host" ] || return 0
	# shellcheck disable=SC2016
	apt-get indextargets 'Identifier: Packages' 'Origin: Debian' --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' |
		sort -u | while read -r uri release component; do
		case $release/$component in
		"$host"/main | "$host"-updates/main | "$host"-security/main)
			echo "deb [signed-by=$CHROOT_KEYRING] $uri $1${release#"$host"} $component"
			;;
		esac
	done
}

# chroot_mmdebstrap release target option…: mmdebstrap with the host's sources and settings.
chroot_mmdebstrap() {
	local release=$1 target=$2 settings sources rc
	shift 2
	settings=$(mktemp)
	sources=$(mktemp)
	chroot_apt_settings >"$settings"
	chroot_sources "$release" >"$sources"
	set -- "$@" "$release" "$target"
	[ ! -s "$sources" ] || set -- "$@" - # lines from standard input
	# A tree that is lost with the machine's power is made anew: no syncing. Without manuals and translations, like
	# Debian's slim images.
	unshare --mount --propagation private mmdebstrap --quiet --mode=root --aptopt="$settings" --dpkgopt=force-unsafe-io \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
		--dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*/*' "$@" <"$sources"
	rc=$?
	rm -f "$settings" "$sources"
	return $rc
}

# chroot_make [-a architecture] release package… -> the folder of its tree. A foreign architecture's packages are only
# unpacked, not configured: a tree to compile against.
chroot_make() {
	local arch release name dir variant=minbase packages
	arch=$(dpkg --print-architecture)
	if [ "$1" = -a ]; then
		[ "$2" = "$arch" ] || variant=extract
		arch=$2
		shift 2
	fi
	release=$1
	shift
	packages=$(printf '%s\n' "$@" | LC_ALL=C sort -u | paste -sd,)
	name=$release-$arch-$(cksum <<<"$packages" | cut -d' ' -f1)
	dir=$CHROOTS/$name
	mkdir -p "$CHROOTS" || return 1
	(
		flock 9
		[ -z "$(find "$dir" -maxdepth 0 -mtime -$CHROOT_DAYS 2>/dev/null)" ] || exit 0
		apt_install mmdebstrap debian-archive-keyring >&2 || exit 1
		echo "==> making a tree of $release ($arch): $packages" >&2
		rm -rf --one-file-system "$dir" "$dir.new"
		chroot_mmdebstrap "$release" "$dir.new" --variant=$variant --architectures="$arch" --include="$packages" >&2 ||
			{ rm -rf --one-file-system "$dir.new"; exit 1; }
		touch "$dir.new" && mv "$dir.new" "$dir"
	) 9>"$CHROOTS/$name.lock" || return 1
	echo "$dir"
}

# chroot_exec folder command argument…: replaces the shell that calls it, so that $! is the command's own process.
chroot_exec() {
	local root=$1
	shift
	exec unshare --mount --propagation private bash -c '
		set -e
		root=$1 repo=$2 cwd=$PWD
		shift 2
		mount -t proc proc "$root/proc"
		mount --rbind /sys "$root/sys"
		mount --rbind /dev "$root/dev"
		for f in /etc/resolv.conf /etc/hosts; do
			[ ! -e $f ] || { [ -e "$root$f" ] || : >"$root$f"; mount --bind $f "$root$f"; }
		done
		for d in "$repo" /tmp; do
			mkdir -p "$root$d"
			mount --bind "$d" "$root$d"
		done
		exec chroot "$root" /bin/sh -c "cd \"\$0\" 2>/dev/null || cd /; exec \"\$@\"" "$cwd" "$@"
	' chroot_exec "$root" "$CHROOT_REPO" "$@"
}

chroot_run() { (chroot_exec "$@"); }

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
	. "$CHROOT_REPO/scripts/apt.sh"
	case ${1:-} in
	make) shift && chroot_can >&2 && chroot_make "$@" ;;
	run) shift && chroot_exec "$@" ;;
	*) sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
	esac
fi
