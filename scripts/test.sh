#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# The stages of `make test` and `make ci`, in order, until one fails.
#
# usage: scripts/test.sh test|ci
set -u
cd "$(dirname "$0")/.."

passed=0

# stage NAME COMMAND...
stage() {
    local name=$1 start=$SECONDS
    shift
    echo "== $name"
    if "$@" </dev/null; then
        passed=$((passed + 1))
        echo "== $name: passed, $((SECONDS - start)) s"
    else
        echo "== $name: FAILED, $((SECONDS - start)) s"
        echo "$passed passed, 1 failed"
        exit 1
    fi
}

build() {
    make --no-print-directory -j"$(nproc)" WERROR=1 "$@"
}

everything() {
    stage build build -s all
    stage checks build -s checks
    stage unit build -s unit
    stage conformance build -s conformance
    stage differential build -s differential
    stage hostile build -s hostile STREAMS=100000
    stage simulator build -s sim SEEDS=10000
    stage mutants build -s mutants-quick
    stage fuzz build -s fuzz FUZZ_SECONDS=20
    stage end-to-end build -s e2e
}

more() {
    stage clang build -s clang
    stage format build -s format-check
    stage clang-tidy build -s clang-tidy
    stage cppcheck build -s cppcheck
    stage unit-release build -s unit-release
    stage unit-tsan build -s unit-tsan
    stage build-sanitized build -s build/asan/everwarm build/tsan/everwarm \
        build/asan/everwarmctl build/tsan/everwarmctl
    # What sanitizers see hardly hangs on memcached: one version each.
    stage end-to-end-asan env E2E_MEMCACHED="$PWD/build/trixie/memcached" \
        scripts/e2e.sh build/asan/everwarm
    # ThreadSanitizer hashes too slowly for the largest values: their copies would be given up.
    stage end-to-end-tsan env E2E_MEMCACHED=/usr/bin/memcached E2E_LARGEST_MIB=16 \
        scripts/e2e.sh build/tsan/everwarm
}

case ${1:-} in
test) everything ;;
ci)
    everything
    more
    ;;
*)
    echo "usage: scripts/test.sh test|ci" >&2
    exit 2
    ;;
esac
echo "$passed passed, 0 failed"
