#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# clang-tidy (see .clang-tidy) on the sources named, one a core at a time.
#
# usage: scripts/clang-tidy.sh SOURCE.c...
set -eu
cd "$(dirname "$0")/.."

# Without its "N warnings generated", which counts what it has not shown.
printf '%s\0' "$@" | xargs -0 -n 1 -P "$(nproc)" sh -c '
    output=$(clang-tidy --quiet "$0" -- -std=c11 -D_GNU_SOURCE= -Iinclude 2>&1) && exit 0
    printf "%s\n" "$output" | grep -v "warnings generated"
    exit 1'
echo "clang-tidy: $# files"
