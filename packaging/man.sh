#!/bin/sh
# man.sh PROGRAM VERSION DATE OUT - the manual page of a program: what it says to --help, then packaging/NAME.1.more.
set -eu
name=$(basename "$1")
here=$(dirname "$0")
help=$("$1" --help)
{
	printf '%s\n' "$help" | awk -v name="$name" -v version="$2" -v date="$3" -f "$here/man.awk"
	cat "$here/$name.1.more"
} >"$4.new"
mv "$4.new" "$4"
