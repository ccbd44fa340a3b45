#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Runs fuzz targets, two at a time, from the committed inputs in tests/fuzz/corpus and those that
# earlier runs found (build/fuzz/found). An input that breaks a promise is left in build/fuzz/broken
# and its output shown; it becomes a unit test.
#
# usage: scripts/fuzz.sh run SECONDS TARGET...     fuzz each for that long
#        scripts/fuzz.sh coverage TARGET...        which lines and branches the inputs reach
set -eu
cd "$(dirname "$0")/.."

jobs_max=2
input_bytes_max=65536
memory_mb_max=2048
one_input_seconds_max=20

found_of() {
    echo "build/fuzz/found/${1##*/}"
}

# run_one SECONDS TARGET
run_one() {
    local seconds=$1 target=$2 name=${2##*/} found log dictionary=()
    found=$(found_of "$target")
    log=build/fuzz/$name.log
    mkdir -p "$found" "build/fuzz/broken/$name"
    if [ -e "tests/fuzz/$name.dict" ]; then
        dictionary=("-dict=tests/fuzz/$name.dict")
    fi
    if ! "$target" -max_total_time="$seconds" -max_len="$input_bytes_max" -len_control=50 \
        -rss_limit_mb="$memory_mb_max" -timeout="$one_input_seconds_max" -print_final_stats=1 \
        -artifact_prefix="build/fuzz/broken/$name/" "${dictionary[@]}" \
        "$found" "tests/fuzz/corpus/$name" >"$log" 2>&1 </dev/null; then
        tail -n 40 "$log"
        echo "fuzz: $name broke a promise; all of its output: $log" >&2
        return 1
    fi
    printf '  %-20s %s runs\n' "$name" "$(awk '/number_of_executed_units/ { print $2 }' "$log")"
}

run() {
    local seconds=$1 target failed=0 running=0
    shift
    for target in "$@"; do
        if [ "$running" -ge "$jobs_max" ]; then
            wait -n || failed=1
            running=$((running - 1))
        fi
        run_one "$seconds" "$target" &
        running=$((running + 1))
    done
    while [ "$running" -gt 0 ]; do
        wait -n || failed=1
        running=$((running - 1))
    done
    return "$failed"
}

# What the inputs reach of the sources that read what others wrote.
coverage() {
    local target name profiles=() objects=()
    mkdir -p build/coverage/profiles
    for target in "$@"; do
        name=${target##*/}
        profiles+=("build/coverage/profiles/$name")
        objects+=(-object "$target")
        mkdir -p "$(found_of "$target")"
        LLVM_PROFILE_FILE=build/coverage/profiles/$name "$target" -runs=0 \
            "$(found_of "$target")" "tests/fuzz/corpus/$name" >"build/coverage/$name.log" 2>&1
    done
    llvm-profdata merge -o build/coverage/merged "${profiles[@]}"
    llvm-cov report "${objects[@]:1}" -instr-profile=build/coverage/merged \
        -show-functions=0 src/mc src/core/view.c src/core/heartbeat.c src/core/text.c \
        src/core/session.c src/config admin/uri.c admin/route.c
}

mode=$1
shift
"$mode" "$@"
