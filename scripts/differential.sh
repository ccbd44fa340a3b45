#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# The differential test, tests/differential: random programs of text and binary commands, to one
# memcached 1.6.38 and to everwarm in front of one and of three nodes of both versions.
#
# usage: scripts/differential.sh EVERWARM [COMMANDS [SEED]]     (default: 200000 in all, any seed)
set -eu
cd "$(dirname "$0")/.."

EVERWARM=$(realpath "$1")
export EVERWARM
commands=$((${2:-200000} / 4))
seed=${3:-}
logs=build/test/differential
mkdir -p "$logs"
scripts/memcached-trixie.sh

reference=$PWD/build/trixie/memcached
for memcached in /usr/bin/memcached "$reference"; do
    for nodes in 1 3; do
        log=$logs/$(basename "$(dirname "$memcached")")-$nodes.log
        if ! /usr/bin/python3 tests/differential/differential.py --reference "$reference" \
            --memcached "$memcached" --nodes "$nodes" --commands "$commands" \
            ${seed:+--seed "$seed"} >"$log" 2>&1 </dev/null; then
            grep -vE '^[0-9-]+T[0-9:.]+Z ' "$log" | tail -n 60
            echo "differential: everwarm differs; all of the output: $log" >&2
            exit 1
        fi
        printf '  %-36s %s\n' "$(grep '^seed ' "$log")" "$(tail -n 1 "$log")"
    done
done
