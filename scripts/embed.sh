#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Writes C that holds the files named, as struct page_file has them.
#
# usage: scripts/embed.sh FILE...   > web.c
set -eu
cd "$(dirname "$0")/.."

type_of() {
    case $1 in
    *.html) echo 'text/html; charset=utf-8' ;;
    *.css) echo 'text/css; charset=utf-8' ;;
    *.js) echo 'text/javascript; charset=utf-8' ;;
    *.svg) echo 'image/svg+xml' ;;
    *)
        echo "embed: no type is known for $1" >&2
        return 1
        ;;
    esac
}

echo '/* Made by scripts/embed.sh. */'
echo '#include "../../admin/page.h"'
number=0
table=
for file in "$@"; do
    type=$(type_of "$file")
    digest=$(sha256sum "$file")
    echo "static const unsigned char bytes_$number[] = {"
    od -An -v -tu1 "$file" | sed 's/ *\([0-9]\+\)/\1,/g'
    echo '};'
    table="$table    {\"${file##*/}\", \"$type\", \"\\\"${digest:0:16}\\\"\","
    table="$table sizeof(bytes_$number), bytes_$number},"$'\n'
    number=$((number + 1))
done
echo 'const struct page_file page_files[] = {'
printf '%s' "$table"
echo '    {NULL, NULL, NULL, 0, NULL},'
echo '};'
