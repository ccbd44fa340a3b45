#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Compiles every header alone: none may need another to be included first.
#
# usage: scripts/headers.sh COMPILER...
set -eu
cd "$(dirname "$0")/.."

mapfile -t headers < <(find include src admin tests -name '*.h' | sort)
wrong=0
for compiler in "$@"; do
    for header in "${headers[@]}"; do
        if ! "$compiler" -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -Iinclude -Isrc -Itests \
            -fsyntax-only -x c - <<<"#include \"$PWD/$header\""; then
            echo "headers: $header does not compile alone with $compiler" >&2
            wrong=1
        fi
    done
done
if [ "$wrong" -eq 0 ]; then
    echo "headers: ${#headers[@]} compile alone with: $*"
fi
exit "$wrong"
