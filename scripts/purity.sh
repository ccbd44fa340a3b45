#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# The pure libraries may need nothing from outside but what is listed here: no clock, no socket, no
# malloc, no lock can be reached. They are to be built without sanitizer, FORTIFY and stack
# protector, which bring symbols of their own.
#
# usage: scripts/purity.sh LIBRARY.a...
set -eu

# Compilers put some of these in by themselves (bcmp: clang, for memcmp() == 0). __popcountdi2 is
# the compiler's own arithmetic, where the processor may lack the instruction. The two of OpenSSL
# turn base64 into bytes and back, from memory to memory, and know nothing else.
allowed='memcpy memmove memset memcmp bcmp memchr strlen invariant_failed __popcountdi2
    EVP_DecodeBlock EVP_EncodeBlock'
allowed=$(tr '\n' ' ' <<<"$allowed")

defined=$(nm -g --defined-only "$@" 2>/dev/null | awk 'NF == 3 { printf "%s ", $3 }')
wrong=0
for library in "$@"; do
    while read -r symbol object; do
        echo "$(basename "$library")($object): needs $symbol" >&2
        wrong=$((wrong + 1))
    done < <(nm -u "$library" 2>/dev/null | awk -v known="$allowed $defined" '
        BEGIN { n = split(known, names, " "); for (i = 1; i <= n; i++) { is_known[names[i]] = 1 } }
        /:$/ { object = substr($1, 1, length($1) - 1) }
        $1 == "U" && !($2 in is_known) { print $2, object }')
done
if [ "$wrong" -ne 0 ]; then
    echo "purity: $wrong symbols that pure code must not need" >&2
    exit 1
fi
echo "purity: $# libraries need nothing from outside"
