#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Runs each unit test program, as many at once as there are processors; prints its summary, or all
# of its output when it fails, which starts no more of them.
#
# usage: scripts/unit.sh PROGRAM...
set -eu
cd "$(dirname "$0")/.."

# A hanging test must not hang CI. Check itself ends a single test after 4 s; sanitizers need more.
export CK_DEFAULT_TIMEOUT=60
export program_seconds_max=300

run() {
    local program=$1 output start=$SECONDS
    if ! output=$(timeout "$program_seconds_max" "$program" 2>&1 </dev/null); then
        printf '%s\nunit: %s failed\n' "$output" "$program" >&2
        exit 255 # xargs stops
    fi
    printf '  %-28s %s, %d s\n' "${program##*/}" \
        "$(grep -E '^[0-9]+%: ' <<<"$output" | tail -n 1)" $((SECONDS - start))
}
export -f run

printf '%s\0' "$@" | xargs -0 -n 1 -P "$(nproc)" bash -c 'set -u; run "$1"' run
echo "unit: $# programs passed"
