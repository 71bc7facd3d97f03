#!/usr/bin/env bash
# version.sh - src/version.cmake: the commit that --version names is the one that is built, without compiling for nothing.
# Prints `version: N passed, N failed`.
set -u
cd "$(dirname "$0")/../.." || exit 2
root=$PWD passed=0 failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
repo=$work/repo out=$work/version.c

git_() { git -C "$repo" -c user.name=test -c user.email=test@localhost -c commit.gpgsign=false "$@"; }
write() { cmake -DSOURCE_DIR="$repo" -DOUT="$out" -DCOMMIT="${1-}" -P "$root/src/version.cmake" >/dev/null 2>&1; }
said() { sed -n 's/.*busbar_commit.*"\(.*\)".*/\1/p' "$out"; }
commit() { echo "$1" >"$repo/file" && git_ add file && git_ commit -q -m "$1"; }

is() { # text, got, expected
	if [ "$2" = "$3" ]; then
		passed=$((passed + 1))
	else
		printf 'version: %s: "%s", expected "%s"\n' "$1" "$2" "$3"
		failed=$((failed + 1))
	fi
}

mkdir "$repo"
write
is "no repository" "$(said)" unknown
git init -q "$repo"
write
is "a repository without a commit" "$(said)" unknown
commit one
git_ tag v1
write
is "the commit, not the tag" "$(said)" "$(git_ rev-parse --short=12 HEAD)"
touch -d '2000-01-01' "$out"
write
is "the same commit leaves the file alone" "$(date -r "$out" +%Y)" 2000
commit two
write
is "the next commit" "$(said)" "$(git_ rev-parse --short=12 HEAD)"
echo three >"$repo/file"
write
is "a changed tree" "$(said)" "$(git_ rev-parse --short=12 HEAD)-dirty"
git_ worktree add -q "$work/tree" HEAD
repo=$work/tree write
is "a work tree" "$(said)" "$(git_ rev-parse --short=12 HEAD)"
mkdir "$repo/inside"
repo=$repo/inside write
is "a copy within another repository" "$(said)" unknown
write 0123abc
is "the builder's word" "$(said)" 0123abc
write 'x"; int y = "'
is "what isn't a commit is refused" "$?" 1
echo "version: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
