#!/usr/bin/env bash
# run.sh - what ../../run.sh asks of CMake: a build that no warning stops, also in the folder that test.sh has built in.
# Prints `run.sh: N passed, N failed`.
set -u
cd "$(dirname "$0")/../.." || exit 2
passed=0 failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree=$work/tree
mkdir -p "$tree/build" "$work/bin"
cp -r CMakeLists.txt run.sh scripts src store "$tree"

is() { # text, got, expected
	if [ "$2" = "$3" ]; then
		passed=$((passed + 1))
	else
		printf 'run.sh: %s: "%s", expected "%s"\n' "$1" "$2" "$3"
		failed=$((failed + 1))
	fi
}

# CMake itself, but nothing is compiled, and the daemon that would be started ends at once.
cat >"$work/bin/cmake" <<END
#!/bin/sh
[ "\$1" != --build ] || { echo "\$*" >"$work/built"; exit 0; }
exec $(command -v cmake) "\$@"
END
printf '#!/bin/sh\nexit 7\n' >"$tree/build/busbar"
chmod +x "$work/bin/cmake" "$tree/build/busbar"
warnings() { sed -n 's/^BUSBAR_WERROR:BOOL=//p' "$tree/build/CMakeCache.txt"; }

cmake -S "$tree" -B "$tree/build" -DBUSBAR_WERROR=ON >"$work/out" 2>&1 || cat "$work/out"
is "as test.sh leaves it" "$(warnings)" ON
PATH=$work/bin:$PATH DATABASE_URL=postgresql://u@127.0.0.1:1/x bash "$tree/run.sh" >"$work/out" 2>&1
is "it ends as the daemon does" $? 7
is "it builds the daemon, and the bench that README uses" "$(sed -E 's/.*--target (.*) -j .*/\1/' "$work/built")" \
	"busbar busbar-bench"
is "warnings are no errors" "$(warnings)" OFF
[ "$failed" -eq 0 ] || cat "$work/out"
echo "run.sh: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
