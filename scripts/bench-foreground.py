#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""What clients feel of a fill: their latency while a node is filled, beside that of no fill.

One everwarm, all settings its defaults, in front of two memcacheds that hold KEYS values. Clients
ask at a fixed rate (their time counts from when a request falls due, so that a stall shows). Runs
alternate: nothing else going on; and from the moment at which a node, emptied by `resync`, is being
filled. A run whose fill ended before it did is left out. Medians count, and the ratio of the two.

Exit 0: p99 at most RATIO_MAX times that without a fill, 1: more, 2: could not measure.
"""
import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

from benchlib import EVERWARM, LG, ROOT, CannotMeasure, Process, ask, free_ports, start_node

RATIO_MAX = 2.0
RESULTS = ROOT / "build/bench/foreground.json"
FIELDS = ("p50", "p99", "p999", "max")
FILL_SECONDS_MAX = 120
POLL_SECONDS = 0.02


class Pool:
    """Two memcacheds and an everwarm, each on a core that the kernel chooses."""

    def __init__(self, stack, folder, options):
        every_core = None
        self.nodes = [start_node(stack, every_core, f"{folder}/node{i}.log", 1024) for i in (0, 1)]
        self.port, self.admin = free_ports(2)
        proxy = Process([EVERWARM, "-p", self.port, "-A", f"127.0.0.1:{self.admin}",
                         "-s", f"127.0.0.1:{self.nodes[0]}", "-s", f"127.0.0.1:{self.nodes[1]}"],
                        every_core, f"{folder}/everwarm.log")
        stack.enter_context(proxy)
        proxy.wait_for(lambda: ask(self.port, b"set probe 0 0 1\r\n1\r\n") == b"STORED\r\n",
                       "a stored value")
        self.options = options

    def api(self, path, method="GET"):
        request = urllib.request.Request(f"http://127.0.0.1:{self.admin}{path}", method=method)
        with urllib.request.urlopen(request, timeout=10) as reply:
            return json.load(reply)

    def filled_node(self):
        return self.api("/v1/nodes")["nodes"][1]

    def wait_for_data(self, state):
        deadline = time.monotonic() + FILL_SECONDS_MAX
        while self.filled_node()["data"]["state"] != state:
            if time.monotonic() > deadline:
                raise CannotMeasure(f"the node does not come to be {state}")
            time.sleep(POLL_SECONDS)

    def load(self, *more):
        done = subprocess.run(
            [str(LG), "-p", str(self.port), "-c", "50", "-v", str(self.options.value), "-s", "10",
             "-k", str(self.options.keys), *more], capture_output=True, text=True, check=False)
        report = json.loads(done.stdout or '{"error": "no output"}')
        if done.returncode != 0 or "error" in report:
            raise CannotMeasure(f"the load generator says: {report.get('error')} {done.stderr}")
        return report

    def measure(self):
        return self.load("-d", "8", "-r", str(self.options.rate), "-t", str(self.options.seconds))


def measure_fill(pool):
    """A run within a fill; None when the fill was over before it."""
    pool.api(f"/v1/nodes/{pool.filled_node()['name']}/resync", "POST")
    pool.wait_for_data("filling")
    while pool.filled_node()["data"]["fill"]["items_done"] == 0:
        time.sleep(POLL_SECONDS)
    report = pool.measure()
    fill = pool.filled_node()["data"]
    is_within = fill["state"] == "filling"
    if is_within:
        report["fill_items"] = fill["fill"]["items_done"]
    pool.wait_for_data("complete")
    return report if is_within else None


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2, help="of one run")
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--value", type=int, default=100, help="bytes of a value")
    parser.add_argument("--rate", type=int, default=5000, help="requests a second")
    return parser.parse_args()


def main():
    options = parse_options()
    runs = {"quiet": [], "fill": []}
    with tempfile.TemporaryDirectory(prefix="everwarm-bench-") as folder, \
            contextlib.ExitStack() as stack:
        os.chmod(folder, 0o755)
        pool = Pool(stack, folder, options)
        pool.load("-d", "16", "-L", "-t", "120")
        for repeat in range(options.repeats):
            runs["quiet"].append(pool.measure())
            within = measure_fill(pool)
            if within is not None:
                runs["fill"].append(within)
            print(f"repeat {repeat + 1} of {options.repeats} done", file=sys.stderr, flush=True)
    if not runs["fill"]:
        raise CannotMeasure("every fill was over before its run: more --keys, or fewer --seconds")
    middle = {name: {field: statistics.median(run[field] for run in its_runs) for field in FIELDS}
              for name, its_runs in runs.items()}
    ratio = {field: middle["fill"][field] / middle["quiet"][field] for field in FIELDS}
    keys_a_second = statistics.median(run["fill_items"] for run in runs["fill"]) / options.seconds
    print(f"\nLatency at {options.rate} requests a second, us, median of {len(runs['fill'])} runs")
    print(f"{'':12}" + "".join(f"{field:>10}" for field in FIELDS))
    for name, row in (*middle.items(), ("ratio", ratio)):
        print(f"{name:12}" + "".join(f"{row[field]:>10.2f}" for field in FIELDS))
    print(f"about {keys_a_second:.0f} keys a second were filled meanwhile")
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps({"runs": runs, "median": middle, "ratio": ratio}, indent=2))
    return 1 if ratio["p99"] > RATIO_MAX else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CannotMeasure as error:
        print(f"bench-foreground: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(2)
