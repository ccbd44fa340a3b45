#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Runs the simulator over seeds 1..SEEDS, a chunk of them at a time. After each chunk build/sim-long
# says how far it came, so that it may be stopped at any moment and goes on there the next time. If
# the sources of the simulator are others by then it begins anew.
#
# A failed seed is told of at once, with how to replay it, and the rest goes on; the end is a
# failure then, also of a later run that goes on.
#
# usage: scripts/sim-long.sh SIM [SEEDS]     (default: 1000000)
#   SIM_SECONDS=n  no chunk begins after so long; exits 0 unless a seed failed
#   SIM_CHUNK=n    seeds of a chunk (default: 5000): what a stop at worst loses
set -eu
cd "$(dirname "$0")/.."

sim=$1
seeds=${2:-1000000}
seconds=${SIM_SECONDS:-0}
chunk=${SIM_CHUNK:-5000}
jobs=$(($(nproc) < 64 ? $(nproc) : 64))
for number in "$seeds" "$seconds" "$chunk"; do
    if ! [[ $number =~ ^(0|[1-9][0-9]{0,9})$ ]]; then
        echo "sim-long: not a number: $number" >&2
        exit 2
    fi
done
if [ "$chunk" -eq 0 ]; then
    echo "sim-long: SIM_CHUNK is 0" >&2
    exit 2
fi

folder=build/sim-long
state=$folder/state # "sources HASH", "next SEED", and "failed SEED" for each
mkdir -p "$folder"

# Not the program: a rebuild of the same sources goes on.
hash_sources() {
    find {include/everwarm,src}/{base,mc,core} tests/sim tests/unit -name '*.[ch]' \
        ! -name 'test_*' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c 1-16
}

sources=$(hash_sources)
next=1
failed=()
if [ -e "$state" ]; then
    while read -r word value; do
        case $word in
        sources) known=$value ;;
        next) next=$value ;;
        failed) failed+=("$value") ;;
        esac
    done <"$state"
    if [ "${known:-}" != "$sources" ]; then
        echo "sim-long: the sources have changed since seed $next: begins anew"
        next=1
        failed=()
    elif [ "$next" -gt 1 ]; then
        echo "sim-long: goes on at seed $next"
    fi
fi
first=$next

save() {
    {
        echo "sources $sources"
        echo "next $next"
        printf 'failed %s\n' "${failed[@]}"
    } | grep -v '^failed $' >"$state.new"
    mv "$state.new" "$state"
}

running=
# stopped SIGNAL CODE
stopped() {
    if [ -n "$running" ]; then
        kill "$running" 2>/dev/null || true # and it ends its processes
        wait "$running" 2>/dev/null || true
    fi
    echo "sim-long: stopped by $1; the next run goes on at seed $next"
    exit "$2"
}
trap 'stopped SIGINT 130' INT
trap 'stopped SIGTERM 143' TERM
trap 'stopped SIGHUP 129' HUP

progress() {
    local left=$((seeds - next + 1)) time_left
    time_left=$((SECONDS * left / (next - first)))
    printf 'sim-long: %d of %d seeds, %d failed' $((next - 1)) "$seeds" "${#failed[@]}"
    if [ "$left" -gt 0 ]; then
        printf ', %d h %02d min left' $((time_left / 3600)) $((time_left / 60 % 60))
    fi
    echo
}

# run_chunk COUNT: seeds from $next on. Failures are lines "seed N...".
run_chunk() {
    local log=$folder/chunk.log status=0 seed
    "$sim" --seeds "$1" --start "$next" --jobs "$jobs" >"$log" 2>&1 </dev/null &
    running=$!
    wait "$running" || status=$?
    running=
    if [ "$status" -ne 0 ]; then
        cat "$log"
        if ! grep -q '^seed ' "$log"; then
            echo "sim-long: the simulator ended with $status; the next run begins at $next" >&2
            exit 1
        fi
        while read -r seed; do
            failed+=("$seed")
        done < <(sed -n 's/^seed \([0-9]*\).*/\1/p' "$log" | sort -nu)
    fi
    next=$((next + $1))
    save
    progress
}

while [ "$next" -le "$seeds" ]; do
    if [ "$seconds" -gt 0 ] && [ "$SECONDS" -ge "$seconds" ]; then
        echo "sim-long: $((seeds - next + 1)) seeds are left: the next run goes on at seed $next"
        break
    fi
    left=$((seeds - next + 1))
    run_chunk $((chunk < left ? chunk : left))
done
if [ "${#failed[@]}" -gt 0 ]; then
    for seed in "${failed[@]:0:10}"; do
        echo "sim-long: seed $seed failed; replay: make sim SEED=$seed, or $sim --seed $seed -v"
    done
    exit 1
fi
if [ "$next" -gt "$seeds" ]; then
    echo "sim-long: all $seeds seeds passed"
fi
