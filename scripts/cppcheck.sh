#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# cppcheck on our own sources; what it cannot see into (outside headers) is not reported, but the
# list macros of sys/queue.h, without which it cannot parse their users.
set -eu
cd "$(dirname "$0")/.."

folders=$(find src admin -name '*.c' -printf '%h\n' | sort -u)
# shellcheck disable=SC2086 # a list of folders
cppcheck --quiet --std=c11 --language=c -Iinclude -D__linux__ --enable=warning,portability \
    --include="/usr/include/$(gcc -print-multiarch)/sys/queue.h" \
    --inline-suppr --error-exitcode=1 --suppress=missingInclude -j "$(nproc)" $folders
echo "cppcheck: nothing"
