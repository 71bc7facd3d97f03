#!/bin/bash
# test.sh - installs what the tests need, builds everything and runs all tests.
#
#   bash test.sh [stage...]      lint unit asan tsan fuzz truth e2e and what ships (image debian13 compilers arm64
#                                deb) if none is named; there are e2e-asan and e2e-tsan too
#
# The stages that test what ships need mount namespaces and Debian's mirror; without these, a line says so and the stage
# isn't counted. With CI=true it counts as failed.
#
# For Debian 12 and 13, as root or with sudo. Every test program ends with a line "name: N passed, N failed", of tests;
# they are added up in the last line, "N passed, N failed". A program that ends without its line counts as one failure,
# a fuzzer's run and the comparison with Postgres as one test each.
#   FUZZ_SECONDS=10   how long each fuzzer runs
#   TRUTH_SECONDS=60  how long random conditions are compared with Postgres; TRUTH_SEED=N repeats a run
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")" || exit 1
ROOT=$PWD
. scripts/apt.sh
. scripts/pg.sh

FUZZ_SECONDS=${FUZZ_SECONDS:-10}
TRUTH_SECONDS=${TRUTH_SECONDS:-60}
UNIT_TIMEOUT_S=600  # for one program; sanitizers make them slow
E2E_TIMEOUT_S=3600  # CI ends after 90 minutes
SHIP_TIMEOUT_S=1800 # one of these stages, packages from the network included
SHIP_CANT_RUN=77    # their exit status where the machine can't
LANES=$(nproc)      # programs that run side by side
# They use the private Postgres, where one's open transactions would hold up the other's slot: one at a time.
DATABASE_TESTS=" $(grep -lF 'getenv("BUSBAR_TEST_DATABASE_URL")' tests/unit/test_*.c | xargs -n 1 basename -s .c | tr '\n' ' ')"
passed=0 failed=0 bin="" data="" child="" failures=()
declare -A pool_name=() pool_out=()
pool_n=0 database_test=""
SHIP_STAGES=(image debian13 compilers arm64 deb)
stages=${*:-lint unit asan tsan fuzz truth e2e ${SHIP_STAGES[*]}}
work=$(mktemp -d)

cleanup() {
	trap - EXIT
	trap '' INT TERM
	[ -n "$child" ] && kill "$child" 2>/dev/null && wait "$child"
	[ ${#pool_name[@]} -gt 0 ] && kill "${!pool_name[@]}" 2>/dev/null && wait "${!pool_name[@]}"
	[ -n "$bin" ] && pg_remove "$bin" "$data"
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

wants() { case " $stages " in *" $1 "*) return 0 ;; *) return 1 ;; esac; }
wants_any() { local s; for s in "$@"; do if wants "$s"; then return 0; fi; done; return 1; }
say() { printf '\n==> %s (after %d min)\n' "$*" $((SECONDS / 60)); }
die() { echo "test.sh: $*" >&2; echo "$passed passed, $((failed + 1)) failed"; exit 1; }

count() { # name exit-status: adds up the last "name: N passed, N failed" line of $work/out
	local line p=0 f=0
	line=$(grep -E '^[^ :]+: [0-9]+ passed, [0-9]+ failed' "$work/out" | tail -n 1)
	if [ -n "$line" ]; then
		p=$(sed -E 's/.*: ([0-9]+) passed.*/\1/' <<<"$line")
		f=$(sed -E 's/.* ([0-9]+) failed.*/\1/' <<<"$line")
	fi
	if [ "$2" -eq $SHIP_CANT_RUN ] && [ -z "$line" ] && [ "${CI:-}" != true ]; then
		echo "$1: skipped"
		return
	fi
	if [ "$2" -ne 0 ] && [ "$f" -eq 0 ] || [ -z "$line" ]; then
		echo "$1: ended with status $2${line:+ after its last line}"
		f=$((f + 1))
	fi
	# Its numbers are comparisons of an expression on a row.
	if [ "$1" = truth ]; then p=$((f == 0)) f=$((f > 0)); fi
	passed=$((passed + p)) failed=$((failed + f))
	[ "$f" -eq 0 ] || { failures+=("$1 ($f)"); excerpt "$1" >>"$work/failures"; }
}

# What failed is said once more at the end, briefly: the end is what is left of a long log.
excerpt() { # name
	echo "failed: $1"
	grep -E -A 2 '^FAIL |FAILED|^difference|^[a-z]+: seed |SUMMARY: |^(FAIL|error):|ended with status' "$work/out" | grep -v '^--$' | cut -c 1-300 | awk '!seen[$0]++' | head -n 12 |
		sed 's/^/  /'
}

# In the background, so that a signal to us ends it at once.
run() { # name timeout-seconds command...
	local name=$1 seconds=$2 status reader
	shift 2
	: >"$work/out"
	timeout -k 10 "$seconds" "$@" </dev/null >"$work/out" 2>&1 &
	child=$!
	tail -n +1 -s 0.1 -f --pid=$child "$work/out" &
	reader=$!
	wait $child
	status=$?
	child=
	wait $reader
	count "$name" $status
}

# Side by side with others, as many as there are lanes; what it prints comes out whole when it has ended.
pool_run() { # name timeout-seconds command...
	local name=$1 seconds=$2 out=$work/pool.$((++pool_n))
	shift 2
	while [ ${#pool_name[@]} -ge "$LANES" ]; do pool_reap; done
	timeout -k 10 "$seconds" "$@" </dev/null >"$out" 2>&1 &
	pool_name[$!]=$name pool_out[$!]=$out
}

pool_reap() { # waits for one
	local pid status
	wait -n -p pid "${!pool_name[@]}"
	status=$?
	mv "${pool_out[$pid]}" "$work/out"
	cat "$work/out"
	count "${pool_name[$pid]}" $status
	unset "pool_name[$pid]" "pool_out[$pid]"
	[ "$pid" = "$database_test" ] && database_test=""
	return 0
}

pool_end() { while [ ${#pool_name[@]} -gt 0 ]; do pool_reap; done; }

fail_stage() { # name: what could not even be built
	echo "$1: 0 passed, 1 failed" | tee "$work/out"
	count "$1" 1
}

build() { # folder cmake-arguments... [-- targets...]
	local dir=$1 args=() targets=()
	shift
	while [ $# -gt 0 ] && [ "$1" != -- ]; do args+=("$1"); shift; done
	[ $# -gt 0 ] && shift && targets=(--target "$@")
	cmake -S . -B "$dir" -DBUSBAR_WERROR=ON "${args[@]}" >"$work/cmake" 2>&1 || { cat "$work/cmake"; return 1; }
	cmake --build "$dir" -j "$(nproc)" "${targets[@]}"
}

names() { # glob -> names of the sources without folder and ending
	local f
	for f in $1; do [ -e "$f" ] && basename "$f" .c; done
}

packages() {
	local list=("${BUILD_PACKAGES[@]}") wish=(clang libclang-rt-dev)
	command -v curl >/dev/null || list+=(curl)
	command -v xz >/dev/null || list+=(xz-utils)
	{ command -v psql && pg_bin; } >/dev/null 2>&1 || list+=(postgresql)
	[ "$(node --version 2>/dev/null | sed -E 's/^v([0-9]+).*/\1/')" -ge 18 ] 2>/dev/null || list+=(nodejs npm)
	if wants_any e2e e2e-asan e2e-tsan; then
		command -v openssl >/dev/null || list+=(openssl)
		wish+=(chromium gdb)
	fi
	apt_install "${list[@]}" -- "${wish[@]}" || return 1
	# Programs of these only, no services: for the tests of what docker/ has.
	if wants_any e2e e2e-asan e2e-tsan; then
		apt_unpack .run/tools nginx caddy prometheus || echo "going on without all of nginx, caddy and prometheus" >&2
	fi
}

start_database() {
	bin=$(pg_bin) || return 1
	data=$(pg_dir "$ROOT/.run/pg-test")
	pg_remove "$bin" "$data"
	pg_start "$bin" "$data" || return 1
	export BUSBAR_TEST_DATABASE_URL=$PG_URL
}

unit() { # folder [prefix command...]
	local dir=$1 t
	shift
	for t in "${unit_tests[@]}"; do
		if [[ $DATABASE_TESTS == *" $t "* ]]; then
			while [ -n "$database_test" ]; do pool_reap; done
			pool_run "$t in $dir" $UNIT_TIMEOUT_S "$@" "$dir/$t"
			database_test=$!
		else
			pool_run "$t in $dir" $UNIT_TIMEOUT_S "$@" "$dir/$t"
		fi
	done
	pool_end
}

sanitized() { # address|thread folder: unit tests
	local prefix=()
	say "unit tests, $1 sanitizer"
	build "$2" -DSANITIZE="$1" -- "${unit_tests[@]}" || { fail_stage "$2"; return; }
	# Newer kernels place mappings where the TSan of Debian 12's gcc wants none; not every container allows this.
	[ "$1" = thread ] && setarch "$(uname -m)" -R true 2>/dev/null && prefix=(setarch "$(uname -m)" -R)
	unit "$2" "${prefix[@]}"
}

e2e() { # path of the daemon
	[ -f tests/e2e/run.sh ] || return 0
	say "end to end, $1"
	BUSBAR=$1 run e2e $E2E_TIMEOUT_S bash tests/e2e/run.sh
}

e2e_sanitized() { # address|thread folder
	build "$2" -DSANITIZE="$1" -- busbar || { fail_stage "$2"; return; }
	E2E_SANITIZED=1 e2e "$ROOT/$2/busbar"
}

# One fuzzer, as a program that ends with a line of a test's.
fuzz_one() { # name
	local name=$1 dir=build-fuzz/corpus/$1 seeds=() status
	mkdir -p "$dir"
	[ -d "tests/fuzz/corpus/${name#fuzz_}" ] && seeds=("tests/fuzz/corpus/${name#fuzz_}")
	"build-fuzz/$name" -max_total_time="$FUZZ_SECONDS" -rss_limit_mb=2048 -artifact_prefix="build-fuzz/$name-" "$dir" \
		"${seeds[@]}" >"$work/$name" 2>&1
	status=$?
	tail -n $((status == 0 ? 1 : 40)) "$work/$name"
	echo "$name: $((status == 0)) passed, $((status != 0)) failed"
	return $status
}

fuzz() {
	local f
	[ ${#fuzzers[@]} -gt 0 ] || return 0
	echo 'int LLVMFuzzerTestOneInput(const char *d, unsigned long n); int LLVMFuzzerTestOneInput(const char *d,' \
		'unsigned long n) { (void)d; (void)n; return 0; }' >"$work/probe.c"
	if ! clang -fsanitize=fuzzer,address,undefined "$work/probe.c" -o "$work/probe" >/dev/null 2>&1; then
		echo "fuzzers skipped: they need clang with its runtime library (packages clang and libclang-rt-dev)"
		return 0
	fi
	say "building fuzzers"
	build build-fuzz -DFUZZ=ON -DCMAKE_C_COMPILER=clang -- "${fuzzers[@]}" || { fail_stage build-fuzz; return; }
	say "fuzzers, $FUZZ_SECONDS s each"
	export -f fuzz_one
	export FUZZ_SECONDS work
	for f in "${fuzzers[@]}"; do pool_run "$f" $((FUZZ_SECONDS + 120)) bash -c "fuzz_one $f"; done
	pool_end
}

# As root, because trees of other releases are made and entered. What that leaves in build-*/ is root's.
ship() { # stage
	local as=()
	say "what ships: $1"
	if [ "$(id -u)" -ne 0 ] && command -v sudo >/dev/null; then
		as=(sudo "--preserve-env=BUSBAR_TEST_DATABASE_URL,CHROOTS")
	fi
	run "$1" $SHIP_TIMEOUT_S "${as[@]}" bash "tests/ship/$1.sh"
}

mapfile -t unit_tests < <(names "tests/unit/test_*.c")
mapfile -t fuzzers < <(names "tests/fuzz/fuzz_*.c")

packages || die "packages could not be installed"
say "building"
build build || die "the build failed"
if wants lint; then
	for lint in tests/lint/*.sh; do run "${lint#tests/}" 120 bash "$lint" build; done
	for lint in tests/lint/*.mjs; do run "${lint#tests/}" 120 node "$lint" build; done
fi
if wants_any unit asan tsan truth "${SHIP_STAGES[@]}"; then
	start_database || die "no private Postgres for the tests"
fi
if wants unit; then
	say "unit tests"
	unit build
fi
if wants asan; then sanitized address build-asan; fi
if wants tsan; then sanitized thread build-tsan; fi
if wants fuzz; then fuzz; fi
if wants truth; then
	say "truth, $TRUTH_SECONDS s"
	run catalog 120 bash tests/truth/catalog.sh
	run truth $((TRUTH_SECONDS + 120)) build/truth --seconds "$TRUTH_SECONDS" ${TRUTH_SEED:+--seed "$TRUTH_SEED"}
fi
if wants e2e; then e2e "${BUSBAR:-$ROOT/build/busbar}"; fi
for stage in "${SHIP_STAGES[@]}"; do
	if wants $stage; then ship $stage; fi
done
if wants e2e-asan; then e2e_sanitized address build-asan; fi
if wants e2e-tsan; then e2e_sanitized thread build-tsan; fi

echo
[ ! -e "$work/failures" ] || cat "$work/failures"
[ ${#failures[@]} -eq 0 ] || printf 'failed: %s\n' "${failures[@]}"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
