#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# clang-format on all C of ours: in place, or with --check only looking.
set -eu
cd "$(dirname "$0")/.."

mode=-i
if [ "${1:-}" = --check ]; then
    mode='--dry-run -Werror'
fi
# shellcheck disable=SC2086 # two words
find include src admin tests -name '*.[ch]' -print0 | xargs -0 clang-format $mode
