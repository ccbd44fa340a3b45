#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Runs each unit test program; prints its summary, or all of its output when it fails.
#
# usage: scripts/unit.sh PROGRAM...
set -eu
cd "$(dirname "$0")/.."

# A hanging test must not hang CI. Check itself ends a single test after 4 s; sanitizers need more.
export CK_DEFAULT_TIMEOUT=60
program_seconds_max=300

for program in "$@"; do
    if ! output=$(timeout "$program_seconds_max" "$program" 2>&1 </dev/null); then
        printf '%s\n' "$output"
        echo "unit: $program failed" >&2
        exit 1
    fi
    printf '  %-28s %s\n' "${program##*/}" "$(grep -E '^[0-9]+%: ' <<<"$output" | tail -n 1)"
done
echo "unit: $# programs passed"
