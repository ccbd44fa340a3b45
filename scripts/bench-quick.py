#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""CPU per request of everwarm beside other proxies, in one run on one machine.

Each contender stands in front of two memcacheds of its own. It is pinned to core 0 and given 40 %
of it by a cgroup quota, everything else runs on core 1, so that the proxy is what is short: one
that is not saturated wakes up more often and looks dearer. Contenders alternate, in shuffled
order; medians count. A run in which the host took away more than 5 % of a core, or in which the
proxy was not saturated after all, is left out, and made again while there is time. Where no cgroup
can be made, the quota is left out, and the output says so.

CPU is the first field of /proc/PID/task/*/schedstat, summed, over the replies that the load
generator has checked. Exit 0: everwarm is within the limits, 1: it is not, 2: could not measure.
"""
import argparse
import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

from benchlib import EVERWARM, LG, ROOT, CannotMeasure, Process, ask, free_ports, start_node

NULLMUX = ROOT / "build/release/bench/nullmux"
TRIXIE_MEMCACHED = ROOT / "build/trixie/memcached"
RESULTS = ROOT / "build/bench/quick.json"

PROXY_CORE, LOAD_CORE = 0, 1
QUOTA_PERCENT = 40
PERIOD_US = 10_000
STEAL_PERCENT_MAX = 5
RUNS_WANTED_MIN = 3        # undisturbed ones; with fewer, all count, and the output says so
BUSY_PERCENT_MIN = 85      # of the quota; below it the proxy was not saturated
AGAIN_SECONDS_MAX = 200    # since the start; no disturbed run is made again after it
KEY_BYTES = 20

# The workloads of the design's table (connections, requests in flight of each, value bytes, keys
# per get, percent of sets), and what everwarm may cost of the null proxy. The last is wider than
# the others at depth 1: the null proxy sends a get of 20 keys whole to one node, we split it
# between the leaders, which is two requests and two replies.
WORKLOADS = {
    "100b-d1": {"what": "100 B, depth 1", "c": 50, "d": 1, "v": 100, "m": 1, "s": 10,
                "null_max": 1.3},
    "100b-d16": {"what": "100 B, 16 in flight", "c": 50, "d": 16, "v": 100, "m": 1, "s": 10,
                 "null_max": 1.6},
    "4k-d1": {"what": "4 KiB, depth 1", "c": 50, "d": 1, "v": 4096, "m": 1, "s": 10,
              "null_max": 1.3},
    "4k-d16": {"what": "4 KiB, 16 in flight", "c": 50, "d": 16, "v": 4096, "m": 1, "s": 10,
               "null_max": 1.6},
    "get20": {"what": "get of 20 keys", "c": 8, "d": 1, "v": 100, "m": 20, "s": 10,
              "null_max": 1.7},
}
NUTCRACKER_MAX = 1.0  # cheaper than nutcracker, everywhere


class Quota:
    """A cgroup with QUOTA_PERCENT of a core, version 1 or 2; or none, and why."""

    def __init__(self):
        self.path = None
        self.why_not = None
        name = f"everwarm-bench-{os.getpid()}"
        quota_us = PERIOD_US * QUOTA_PERCENT // 100
        top = pathlib.Path("/sys/fs/cgroup")
        try:
            if (top / "cpu/cpu.cfs_quota_us").exists() or (top / "cpu/cgroup.procs").exists():
                self.path = top / "cpu" / name
                self.path.mkdir()
                (self.path / "cpu.cfs_period_us").write_text(str(PERIOD_US))
                (self.path / "cpu.cfs_quota_us").write_text(str(quota_us))
            else:
                self.path = top / name
                self.path.mkdir()
                if not (self.path / "cpu.max").exists():
                    (top / "cgroup.subtree_control").write_text("+cpu")
                (self.path / "cpu.max").write_text(f"{quota_us} {PERIOD_US}")
        except OSError as error:
            self.why_not = str(error)
            self.__exit__()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.path is not None:
            with contextlib.suppress(OSError):
                self.path.rmdir()
            self.path = None

    def add(self, process):
        if self.path is not None:
            (self.path / "cgroup.procs").write_text(str(process.pid))


def start_proxy(arguments, port, quota, log):
    """The proxy, when it stores what it is given."""
    proxy = Process(arguments, PROXY_CORE, log)
    try:
        quota.add(proxy)
        probe = b"set probe 0 0 1\r\n1\r\n"
        proxy.wait_for(lambda: ask(port, probe) == b"STORED\r\n", "a stored value")
    except BaseException:
        proxy.__exit__()
        raise
    return proxy


class Contender:
    """A proxy in front of two nodes of its own."""
    copies = 2
    is_optional = False

    def __init__(self, stack, folder, quota):
        self.stack = stack
        self.folder = folder
        self.quota = quota
        self.nodes = [start_node(stack, LOAD_CORE, f"{folder}/{self.name}-node{i}.log")
                      for i in (0, 1)]
        self.port, self.other_port = free_ports(2)
        self.process = None
        self.loaded = set()

    @property
    def log(self):
        return f"{self.folder}/{self.name}.log"

    def prepare(self, _workload):
        """Stands ready for the workload; called before each run."""
        if self.process is None:
            self.process = self.stack.enter_context(
                start_proxy(self.arguments(), self.port, self.quota, self.log))

    def check_copies(self):
        """A proxy that has lost a node would look cheap."""
        if ask(self.port, b"set probe 0 0 4\r\nboth\r\n") != b"STORED\r\n":
            raise CannotMeasure(f"{self.name} does not store after its run")
        held = sum(b"both" in ask(node, b"get probe\r\n", b"END\r\n") for node in self.nodes)
        if held != self.copies:
            raise CannotMeasure(f"{self.name}: {held} nodes hold the value, not {self.copies}")


class Everwarm(Contender):
    name = "everwarm"
    program = EVERWARM

    def arguments(self):
        return [EVERWARM, "-t", 1, "-p", self.port, "-A", f"127.0.0.1:{self.other_port}",
                "-s", f"127.0.0.1:{self.nodes[0]}", "-s", f"127.0.0.1:{self.nodes[1]}"]


class Nutcracker(Contender):
    name = "nutcracker"
    program = "nutcracker"
    copies = 1

    def arguments(self):
        config = pathlib.Path(self.folder, "nutcracker.yml")
        servers = "".join(f"    - 127.0.0.1:{node}:1\n" for node in self.nodes)
        config.write_text(f"pool:\n  listen: 127.0.0.1:{self.port}\n  hash: fnv1a_64\n"
                          f"  distribution: ketama\n  servers:\n{servers}")
        return [shutil.which("nutcracker") or "/usr/sbin/nutcracker", "-v", 0, "-c", config,
                "-a", "127.0.0.1", "-s", self.other_port]


class Null(Contender):
    """The null proxy knows the lengths of one workload, so it is started anew for each run."""
    name = "null"
    program = NULLMUX

    def prepare(self, workload):
        if self.process is not None:
            self.process.__exit__()
        self.process = None
        self.port, = free_ports(1)
        value, keys = workload["v"], workload["m"]
        set_request = KEY_BYTES + len(f"set  0 0 {value}\r\n\r\n") + value
        arguments = [NULLMUX, self.port, 2, *self.nodes, 5 + (KEY_BYTES + 1) * keys,
                     keys * (len(f"VALUE  0 {value}\r\n\r\n") + KEY_BYTES + value) + 5, set_request]
        self.process = Process(arguments, PROXY_CORE, self.log)
        self.stack.callback(self.process.__exit__)
        self.quota.add(self.process)
        # It answers sets of one length only.
        key = b"probe".ljust(KEY_BYTES, b"-")
        self.probe = b"set %s 0 0 %d\r\n%s\r\n" % (key, value, b"x" * value)
        self.key = key
        self.process.wait_for(lambda: ask(self.port, self.probe) == b"STORED\r\n", "a stored value")

    def check_copies(self):
        held = sum(b"xxx" in ask(node, b"get %s\r\n" % self.key, b"END\r\n") for node in self.nodes)
        if held != 2:
            raise CannotMeasure(f"null: {held} nodes hold the value, not 2")


class MemcachedProxy(Contender):
    """memcached's own proxy: writes to both and waits for both, reads the first with failover."""
    name = "mc-proxy"
    is_optional = True  # under load it now and then answers SERVER_ERROR: that run is left out
    program = TRIXIE_MEMCACHED

    def arguments(self):
        config = pathlib.Path(self.folder, "routes.lua")
        config.write_text(f'''pools{{
    a = {{ backends = {{ "127.0.0.1:{self.nodes[0]}" }} }},
    b = {{ backends = {{ "127.0.0.1:{self.nodes[1]}" }} }},
}}
local both = route_allsync{{ children = {{ "a", "b" }} }}
local first = route_failover{{ children = {{ "a", "b" }}, stats = false, miss = false }}
routes{{
    cmap = {{ get = first, gets = first, mg = first }},
    default = both,
}}
''')
        return [TRIXIE_MEMCACHED, "-u", "nobody", "-l", "127.0.0.1", "-p", self.port, "-U", 0,
                "-t", 1, "-o", f"proxy_config=routelib,proxy_arg={config}"]


CONTENDERS = {one.name: one for one in (Null, Nutcracker, Everwarm, MemcachedProxy)}


def load(contender, workload, *more):
    """Runs the load generator; returns what it reports. Values of each size have their own keys."""
    arguments = [LG, "-p", contender.port, "-c", workload["c"], "-d", workload["d"],
                 "-v", workload["v"], "-m", workload["m"], "-s", workload["s"],
                 "-P", "a" if workload["v"] == 100 else "b", *more]
    cores = {LOAD_CORE} if LOAD_CORE < len(os.sched_getaffinity(0)) else os.sched_getaffinity(0)
    done = subprocess.run([str(argument) for argument in arguments], capture_output=True, text=True,
                          timeout=120, check=False,
                          preexec_fn=lambda: os.sched_setaffinity(0, cores))
    report = json.loads(done.stdout or '{"error": "no output"}')
    if done.returncode != 0 or "error" in report:
        raise CannotMeasure(f"{contender.name}, {workload['what']}: the load generator says: "
                            f"{report.get('error')} {done.stderr}\n{contender.process.tail()}")
    return report


def stolen_ns():
    steal = int(pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[8])
    return steal * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def measure(contender, workload, seconds):
    """One run: {"us", "rps", "p99", "busy", "steal"}."""
    contender.prepare(workload)
    if workload["v"] not in contender.loaded:
        load(contender, workload, "-L")
        contender.loaded.add(workload["v"])
    stolen, cpu, start = stolen_ns(), contender.process.cpu_ns(), time.monotonic_ns()
    report = load(contender, workload, "-t", seconds)
    wall = time.monotonic_ns() - start
    cpu = contender.process.cpu_ns() - cpu
    contender.check_copies()
    share = QUOTA_PERCENT / 100 if contender.quota.path is not None else 1
    return {"us": cpu / 1000 / report["reqs"], "rps": report["rps"], "p99": report["p99"],
            "busy": 100 * cpu / wall / share, "steal": 100 * (stolen_ns() - stolen) / wall}


def undisturbed(runs):
    return [run for run in runs
            if run["steal"] <= STEAL_PERCENT_MAX and run["busy"] >= BUSY_PERCENT_MIN]


def measure_all(contenders, workloads, options):
    """{workload: {contender: [run, ...]}}, in an order shuffled anew for each repeat."""
    start = time.monotonic()
    runs = {name: {one.name: [] for one in contenders} for name in workloads}

    def measure_round(cells):
        for name, one in cells:
            try:
                runs[name][one.name].append(measure(one, workloads[name], options.seconds))
            except CannotMeasure as error:
                if not one.is_optional:
                    raise
                print(f"a run is left out: {error}", file=sys.stderr)

    for repeat in range(options.repeats):
        measure_round([(name, one) for name in random.sample(list(workloads), len(workloads))
                       for one in random.sample(contenders, len(contenders))])
        print(f"repeat {repeat + 1} of {options.repeats} done", file=sys.stderr, flush=True)
    while time.monotonic() - start < AGAIN_SECONDS_MAX:
        cells = [(name, one) for name in workloads for one in contenders
                 if len(undisturbed(runs[name][one.name])) < min(RUNS_WANTED_MIN, options.repeats)]
        if not cells:
            break
        measure_round([random.choice(cells)])
    return runs


def medians(runs):
    counted = undisturbed(runs)
    is_disturbed = len(counted) < min(RUNS_WANTED_MIN, len(runs))
    if is_disturbed:
        counted = runs
    middle = {field: round(statistics.median(run[field] for run in counted), 3)
              for field in ("us", "rps", "p99", "busy", "steal")}
    return middle | {"runs": len(counted), "left_out": len(runs) - len(counted),
                     "is_disturbed": is_disturbed,
                     "us_all": sorted(round(run["us"], 3) for run in counted)}


def summary(runs, workloads):
    """{workload: {"what", "contenders": {name: medians}, "verdict": "PASS"/"FAIL", "why": []}}"""
    result = {}
    for name, by_contender in runs.items():
        row = {one: medians(its_runs) for one, its_runs in by_contender.items() if its_runs}
        ours = row.get("everwarm")
        limits = {"null": workloads[name]["null_max"], "nutcracker": NUTCRACKER_MAX}
        why = []
        for other in row.keys() - {"everwarm"} if ours else ():
            ratio = ours["us"] / row[other]["us"]
            ours[f"to_{other}"] = round(ratio, 3)
            if ratio > limits.get(other, ratio):
                why.append(f"{ratio:.2f} x {other}, at most {limits[other]:.2f}")
        result[name] = {"what": workloads[name]["what"], "contenders": row, "why": why,
                        "verdict": "FAIL" if why else "PASS" if row.keys() >= {"everwarm", *limits}
                        else None}
    return result


def show(result, quota, names):
    print(f"\nCPU of the proxy per request, us, median; "
          f"{'saturated at %d %% of a core' % QUOTA_PERCENT if quota.path else 'NO QUOTA'}")
    others = [name for name in names if name != "everwarm"]
    ratios = [f"/{name}" for name in others] if "everwarm" in names else []
    print(f"{'':22}" + "".join(f"{name:>12}" for name in names + ratios))
    for row in result.values():
        by_name = row["contenders"]
        cells = [f"{by_name[name]['us']:.2f}" if name in by_name else "-" for name in names]
        if ratios:
            cells += [f"{by_name['everwarm'].get(f'to_{name}', 0):.2f}" for name in others]
        line = f"{row['what']:22}" + "".join(f"{cell:>12}" for cell in cells)
        if row["verdict"]:
            line += f"  {row['verdict']} {'; '.join(row['why'])}"
        print(line)
    cells = [f"{name} at {row['what']}" for row in result.values()
             for name, one in row["contenders"].items() if one["is_disturbed"]]
    if cells:
        print(f"note: disturbed by the machine's other load or its host, so of less worth: "
              f"{'; '.join(cells)}")
    if not quota.path:
        print(f"note: no cgroup quota ({quota.why_not}): cheap proxies look dearer than they are")


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5, help="of one run")
    parser.add_argument("--only", help="workloads, comma separated: " + " ".join(WORKLOADS))
    parser.add_argument("--contenders", default="null,nutcracker,everwarm,mc-proxy",
                        help="default: %(default)s (mc-proxy if it has been fetched)")
    options = parser.parse_args()
    options.only = options.only.split(",") if options.only else list(WORKLOADS)
    options.contenders = options.contenders.split(",")
    for name in options.only:
        if name not in WORKLOADS:
            parser.error(f"no workload {name}; there are: {' '.join(WORKLOADS)}")
    for name in options.contenders:
        if name not in CONTENDERS:
            parser.error(f"no contender {name}; there are: {' '.join(CONTENDERS)}")
    if not TRIXIE_MEMCACHED.exists() and "mc-proxy" in options.contenders:
        options.contenders.remove("mc-proxy")
    return options


def main():
    options = parse_options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
    for name in options.contenders:
        if not shutil.which(CONTENDERS[name].program, path=os.environ["PATH"] + ":/usr/sbin"):
            raise CannotMeasure(f"{CONTENDERS[name].program} is not there (make deps; make)")
    workloads = {name: WORKLOADS[name] for name in options.only}
    # In this order: the processes end before their cgroup and their folder go.
    with tempfile.TemporaryDirectory(prefix="everwarm-bench-") as folder, Quota() as quota, \
            contextlib.ExitStack() as stack:
        os.chmod(folder, 0o755)  # memcached reads its routes as another user
        contenders = [CONTENDERS[name](stack, folder, quota) for name in options.contenders]
        runs = measure_all(contenders, workloads, options)
        result = summary(runs, workloads)
        show(result, quota, options.contenders)
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        RESULTS.write_text(json.dumps({"quota": quota.path is not None, "repeats": options.repeats,
                                       "seconds": options.seconds, "workloads": result}, indent=2))
    return 1 if any(row["verdict"] == "FAIL" for row in result.values()) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CannotMeasure as error:
        print(f"bench-quick: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(2)
