#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# The table of protocol exchanges, tests/conformance: first against real memcached, which proves the
# table, then through everwarm in front of one and of three of them, whole and cut at every byte;
# all of it for both versions of memcached. Everything started here is ended here, by pid.
#
# usage: scripts/conformance.sh EVERWARM
set -eu
cd "$(dirname "$0")/.."

everwarm=$(realpath "$1")
tables=$(find tests/conformance -name '*.txt' | sort)
start_seconds_max=10
logs=build/test/conformance
mkdir -p "$logs"
scripts/memcached-trixie.sh

pids=()
end_all() {
    for pid in "${pids[@]}"; do
        kill "$pid" 2>/dev/null || true
    done
    for pid in "${pids[@]}"; do
        wait "$pid" 2>/dev/null || true
    done
    pids=()
}
trap end_all EXIT

free_port() {
    python3 -c 'import socket
s = socket.socket()
s.bind(("127.0.0.1", 0))
print(s.getsockname()[1])'
}

# wait_for PID COMMAND...: until the command succeeds, while the process lives
wait_for() {
    local pid=$1 end=$((SECONDS + start_seconds_max))
    shift
    until "$@"; do
        if ! kill -0 "$pid" 2>/dev/null || [ "$SECONDS" -ge "$end" ]; then
            return 1
        fi
        sleep 0.05
    done
}

# stores PORT: a set is answered with STORED
stores() {
    local answer
    answer=$(exec 2>/dev/null && exec 3<>"/dev/tcp/127.0.0.1/$1" &&
        printf 'set ready 0 1 1\r\n1\r\n' >&3 && IFS= read -r -t 1 line <&3 && echo "$line") || true
    [ "${answer%$'\r'}" = STORED ]
}

# start_memcached PROGRAM: sets node_port
start_memcached() {
    node_port=$(free_port)
    "$1" -u nobody -l 127.0.0.1 -p "$node_port" -U 0 -m 64 >>"$logs/memcached.log" 2>&1 &
    pids+=($!)
    wait_for $! stores "$node_port"
}

# start_everwarm NODE_PORT...: sets proxy_port. The table is about words: on a busy machine no lease
# may end and no deadline pass, so both are longer than usual; a flush right after the start waits
# for one lease.
start_everwarm() {
    local nodes= port
    for port in "$@"; do
        nodes="$nodes${nodes:+, }{\"name\": \"n$port\", \"address\": \"127.0.0.1:$port\"}"
    done
    proxy_port=$(free_port)
    cat >"$logs/everwarm.json" <<END
{"listen": ["127.0.0.1:$proxy_port"], "admin": {"listen": "127.0.0.1:$(free_port)"}, "threads": 2,
 "nodes": [$nodes], "health": {"lease": "2s"}, "timeouts": {"request": "4s"}}
END
    "$everwarm" -c "$logs/everwarm.json" >"$log" 2>&1 &
    pids+=($!)
    wait_for $! stores "$proxy_port"
}

# run_tables NAME PORT SPLIT LABEL...: labels choose the words that differ with the server. everwarm
# speaks as 1.6.38 whatever its nodes are, but for what they can not do: proxy-VERSION.
run_tables() {
    local name=$1 port=$2 split=$3 label labels=()
    shift 3
    for label in "$@"; do
        labels+=(--label "$label")
    done
    for table in $tables; do
        if ! /usr/bin/python3 tests/conformance/run.py --target "127.0.0.1:$port" \
            --split "$split" "${labels[@]}" "$table" >"$logs/run.log" 2>&1; then
            tail -n 40 "$logs/run.log"
            echo "conformance: $table failed on $name, split $split" >&2
            exit 1
        fi
        printf '  %-24s split %-6s %s\n' "$name" "$split" "$(tail -n 1 "$logs/run.log")"
    done
}

for memcached in /usr/bin/memcached "$PWD/build/trixie/memcached"; do
    version=$("$memcached" -V | awk '{ print $2 }')
    for copies in 0 1 3; do
        start_memcached "$memcached"
        nodes=("$node_port")
        if [ "$copies" -eq 0 ]; then
            run_tables "memcached $version" "$node_port" none "$version"
        else
            while [ "${#nodes[@]}" -lt "$copies" ]; do
                start_memcached "$memcached"
                nodes+=("$node_port")
            done
            log=$logs/everwarm-$version-$copies.log
            if ! start_everwarm "${nodes[@]}"; then
                cat "$log"
                echo "conformance: everwarm does not serve after $start_seconds_max s" >&2
                exit 1
            fi
            run_tables "everwarm, $copies x $version" "$proxy_port" none proxy "proxy-$version"
            run_tables "everwarm, $copies x $version" "$proxy_port" every proxy "proxy-$version"
            proxy=${pids[-1]}
            unset 'pids[-1]'
            kill "$proxy"
            status=0
            wait "$proxy" || status=$?
            if [ "$status" -ne 0 ] || grep -qE 'Sanitizer|runtime error' "$log"; then
                tail -n 60 "$log"
                echo "conformance: everwarm ended with status $status" >&2
                exit 1
            fi
        fi
        end_all
    done
done
