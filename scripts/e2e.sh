#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Runs every tests/e2e/test_*.py (or those named) on both versions of memcached. A test finds the
# proxy in $EVERWARM and memcached in $MEMCACHED; exit 0 is a pass.
#
# usage: scripts/e2e.sh EVERWARM [TEST.py...]     E2E_MEMCACHED: paths, instead of both versions
set -eu
cd "$(dirname "$0")/.."

everwarm=$(realpath "$1")
shift
if [ $# -eq 0 ]; then
    set -- tests/e2e/test_*.py
fi
test_seconds_max=${E2E_SECONDS:-300} # a hanging test must not hang CI
logs=build/test/e2e
mkdir -p "$logs"
scripts/memcached-trixie.sh
scripts/npm-clients.sh
make -s build/release/libmemcached_use build/release/bench/lg

debian=/usr/bin/memcached
trixie=$PWD/build/trixie/memcached
# shellcheck disable=SC2086 # a list of names
for memcached in ${E2E_MEMCACHED:-$debian "$trixie"}; do
    version=$("$memcached" -V | awk '{ print $2 }')
    for test in "$@"; do
        name=$(basename "$test" .py)
        log=$logs/$name-$version.log
        start=$SECONDS
        # Debian's python3: the client libraries are Debian's packages.
        if ! EVERWARM=$everwarm MEMCACHED=$memcached timeout -k 10 "$test_seconds_max" \
            /usr/bin/python3 "$test" >"$log" 2>&1 </dev/null; then
            tail -n 60 "$log"
            echo "e2e: $name failed on memcached $version; all of its output: $log" >&2
            exit 1
        fi
        printf '  %-32s memcached %-8s %3d s\n' "$name" "$version" $((SECONDS - start))
    done
done
