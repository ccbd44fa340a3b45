#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# How fast an emptied memcached is filled: starts two memcacheds on free ports, loads one with KEYS
# values of 100 bytes, fills the other from it, compares a sample, and prints the bench's JSON line.
#
# usage: scripts/bench-fill.sh [MEMCACHED [KEYS [fill_bench's options...]]]
set -eu
cd "$(dirname "$0")/.."

memcached=${1:-memcached}
keys=${2:-500000}
shift $(($# < 2 ? $# : 2))
bench=${FILL_BENCH:-build/release/bench/fill_bench}
if [ -z "${FILL_BENCH:-}" ]; then
    make --no-print-directory "$bench" >&2
fi
exec python3 - "$memcached" "$keys" "$bench" "$@" <<'PYTHON'
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import time

MEMORY_MB = 1024  # room for the default number of keys on each side
SAMPLE = 5000
BATCH = 2000
START_SECONDS_MAX = 10

memcached, keys, bench, options = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4:]


def value(i):
    return (b"%d:" % i).ljust(100, b"v")


def flags(i):
    return i % 1000


def exptime(i):
    return 0 if i % 2 == 0 else 86400


def start(folder, name):
    """A memcached on a port of its own choosing, which it writes into a file."""
    path = os.path.join(folder, name)
    env = dict(os.environ, MEMCACHED_PORT_FILENAME=path)
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    process = subprocess.Popen(
        [memcached, "-l", "127.0.0.1", "-p", "-1", "-U", "0", "-m", str(MEMORY_MB)] + user, env=env)
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with open(path) as f:
                return process, int(re.search(r"TCP INET: (\d+)", f.read()).group(1))
        except (OSError, AttributeError):
            time.sleep(0.01)
    sys.exit("bench-fill: memcached did not start")


def load(port):
    with socket.create_connection(("127.0.0.1", port)) as c:
        for first in range(0, keys, BATCH):
            c.sendall(b"".join(
                b"set key:%d %d %d 100 noreply\r\n%b\r\n" % (i, flags(i), exptime(i), value(i))
                for i in range(first, min(first + BATCH, keys))))
        c.sendall(b"mn\r\n")
        assert c.makefile("rb").readline() == b"MN\r\n"


def check(port):
    wrong = 0
    with socket.create_connection(("127.0.0.1", port)) as c:
        replies = c.makefile("rb")
        for i in random.sample(range(keys), min(SAMPLE, keys)):
            c.sendall(b"mg key:%d v f t\r\n" % i)
            head = replies.readline().split()
            if head[0] != b"VA":
                wrong += 1
                continue
            body = replies.read(int(head[1]) + 2)[:-2]
            ttl = int(head[3][1:])
            good_ttl = ttl == -1 if exptime(i) == 0 else exptime(i) - 600 < ttl <= exptime(i)
            wrong += body != value(i) or head[2] != b"f%d" % flags(i) or not good_ttl
        c.sendall(b"stats\r\n")
        stats = dict(line.split()[1:3] for line in iter(replies.readline, b"END\r\n"))
    held = int(stats[b"curr_items"])
    if wrong or held != keys:
        sys.exit("bench-fill: %d of the sample differ, %d of %d keys held" % (wrong, held, keys))


processes = []
# World-readable, for memcached gives up its rights before it writes the file.
with tempfile.TemporaryDirectory() as folder:
    os.chmod(folder, 0o777)
    try:
        donor, donor_port = start(folder, "donor")
        processes.append(donor)
        target, target_port = start(folder, "target")
        processes.append(target)
        load(donor_port)
        subprocess.run([bench, str(target_port), str(donor_port)] + options, check=True)
        check(target_port)
    finally:
        for process in processes:
            process.terminate()
            process.wait()
PYTHON
