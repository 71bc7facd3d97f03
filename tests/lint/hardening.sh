#!/usr/bin/env bash
# hardening.sh BUILD-FOLDER - what CMakeLists.txt asks of compiler and linker is in the daemon: PIE, all of RELRO, no stack that
# can be executed; in our own objects the stack protector, and FORTIFY unless the build is of type Debug. (The program alone
# can't tell: it holds libpg_query, which Debian builds with both.) For any architecture.
# Prints `hardening: N passed, N failed`.
set -u
build=$1 passed=0 failed=0
export LC_ALL=C
header=$(readelf -hW "$build/busbar") && segments=$(readelf -lW "$build/busbar") && dynamic=$(readelf -dW "$build/busbar") || exit 2

has() { # text, where, pattern (egrep)
	if grep -qE "$3" <<<"$2"; then
		passed=$((passed + 1))
	else
		printf 'hardening: %s: %s\n' "$build" "$1"
		failed=$((failed + 1))
	fi
}

has "no position-independent executable" "$header" '^ *Type: +DYN '
has "no flag PIE" "$dynamic" '\(FLAGS_1\).*\bPIE\b'
has "no RELRO" "$segments" '^ *GNU_RELRO '
has "symbols aren't bound at start, so RELRO covers a part only" "$dynamic" '\(FLAGS(_1)?\).*\b(BIND_)?NOW\b'
has "the stack can be executed" "$segments" '^ *GNU_STACK .* RW +0x'
fortified=""
for library in "$build"/libbb_*.a; do
	[ "${library##*/}" != libbb_bench.a ] || continue
	symbols=$(readelf -sW "$library" 2>/dev/null | awk '$7 == "UND" && $8 ~ /_chk|__stack_chk/ { print $8 }' | sort -u)
	has "${library##*/}: no stack protector" "$symbols" '^__stack_chk_(fail|guard)$'
	fortified+=$(grep -E '^__[a-z]+_chk$' <<<"$symbols")
done
grep -q '^CMAKE_BUILD_TYPE:.*=Debug$' "$build/CMakeCache.txt" || has "no FORTIFY" "$fortified" _chk
echo "hardening: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
