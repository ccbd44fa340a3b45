#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""What clients of the data port feel of an attack on the admin port.

One everwarm, all settings its defaults, in front of two memcacheds. Clients ask at a fixed rate
(their time counts from when a request falls due, so that a stall shows). Runs alternate:

  quiet      nobody attacks
  elsewhere  the same attack on another everwarm, which serves nobody: what the attackers and the
             answers to them take of this machine, where elsewhere means another machine
  attack     64 clients that ask for pages, figures and nonsense as fast as they are answered,
             each on a new connection; 16 that watch events and never read; 8 whose bodies drip

The ratio of the last two is what sharing a process costs: locks, memory, threads. Meanwhile
/livez is asked a few times a second. Medians count.

Exit 0: p99 at most RATIO_MAX times that of the attack elsewhere, and /livez in LIVEZ_MS_MAX;
1: not so, 2: could not measure.
"""
import argparse
import contextlib
import json
import multiprocessing
import os
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from benchlib import EVERWARM, LG, ROOT, CannotMeasure, Process, ask, free_ports, start_node

RATIO_MAX = 1.1
LIVEZ_MS_MAX = 100
FLOODERS, WATCHERS, DRIPS = 64, 16, 8
CLIENTS = 50
RESULTS = ROOT / "build/bench/admin.json"
FIELDS = ("p50", "p99", "p999", "max")
MODES = ("quiet", "elsewhere", "attack")
HEAD = b"Host: localhost\r\nConnection: close\r\n"
ASKED = [b"GET /livez HTTP/1.1\r\n" + HEAD + b"\r\n",
         b"GET /stats HTTP/1.1\r\n" + HEAD + b"\r\n",
         b"GET /metrics HTTP/1.1\r\n" + HEAD + b"\r\n",
         b"GET / HTTP/1.1\r\n" + HEAD + b"\r\n",
         b"GET /v1/clients HTTP/1.1\r\n" + HEAD + b"\r\n",
         b"BREW /" + b"x" * 2000 + b" HTTP/1.1\r\n\r\n"]
WATCH = b"GET /v1/events?since=0 HTTP/1.1\r\nHost: localhost\r\n\r\n"
DRIP = (b"POST /v1/nodes/a/drain HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{")


def flood(port, is_over, answered):
    """FLOODERS clients in one process; how many answers they got is in ANSWERED at the end."""
    poll = selectors.DefaultSelector()
    count = 0

    def begin():
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(("127.0.0.1", port))
        poll.register(client, selectors.EVENT_WRITE)

    for _ in range(FLOODERS):
        begin()
    asked = 0
    while not is_over.is_set():
        for key, events in poll.select(0.1):
            client = key.fileobj
            try:
                if events & selectors.EVENT_WRITE:
                    client.send(ASKED[asked % len(ASKED)])
                    asked += 1
                    poll.modify(client, selectors.EVENT_READ)
                    continue
                if client.recv(1 << 18):
                    continue
                count += 1
            except OSError:
                pass
            poll.unregister(client)
            client.close()
            begin()
    answered.value = count


def hold(port):
    """Connections that are never read, or whose request never ends."""
    held = []
    for text in [WATCH] * WATCHERS + [DRIP] * DRIPS:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        client.sendall(text)
        held.append(client)
    return held


class Attack:
    """An attack on PORT while its block lasts."""

    def __init__(self, port):
        self.port = port
        self.is_over = multiprocessing.Event()
        self.answered = multiprocessing.Value("Q", 0)

    def __enter__(self):
        self.held = hold(self.port)
        self.process = multiprocessing.Process(
            target=flood, args=(self.port, self.is_over, self.answered), daemon=True)
        self.process.start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        self.process.join(30)
        for client in self.held:
            client.close()


def ask_livez(port, is_over, took):
    """Now and then, as a balancer would; seconds in TOOK, None for no answer."""
    while not is_over.wait(0.2):
        begin = time.monotonic()
        answer = ask(port, ASKED[0], b"\n")
        took.append(time.monotonic() - begin if b" 200 " in answer else None)


class Pool:
    """Two memcacheds and an everwarm, wherever the kernel puts them; and an idle everwarm."""

    def __init__(self, stack, folder, options):
        nodes = [start_node(stack, None, f"{folder}/node{i}.log", 512) for i in (0, 1)]
        self.options = options
        self.port, self.admin = self.start_proxy(stack, folder, "measured", nodes)
        port, self.other = self.start_proxy(
            stack, folder, "other", [start_node(stack, None, f"{folder}/other{i}.log", 64)
                                     for i in (0, 1)])
        for _ in range(CLIENTS):  # so that its answers are as long
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))

    def start_proxy(self, stack, folder, name, nodes):
        port, admin = free_ports(2)
        servers = [word for node in nodes for word in ("-s", f"127.0.0.1:{node}")]
        proxy = stack.enter_context(Process(
            [EVERWARM, "-p", port, "-A", f"127.0.0.1:{admin}", *servers], None,
            f"{folder}/{name}.log"))
        proxy.wait_for(lambda: ask(port, b"set probe 0 0 1\r\n1\r\n") == b"STORED\r\n",
                       "a stored value")
        return port, admin

    def load(self, *more):
        done = subprocess.run(
            [str(LG), "-p", str(self.port), "-c", str(CLIENTS), "-v", "100", "-s", "10",
             "-k", "10000", *more], capture_output=True, text=True, check=False)
        report = json.loads(done.stdout or '{"error": "no output"}')
        if done.returncode != 0 or "error" in report:
            raise CannotMeasure(f"the load generator says: {report.get('error')} {done.stderr}")
        return report

    def measure(self, mode):
        is_over, took, answers = threading.Event(), [], 0
        with contextlib.ExitStack() as stack:
            if mode != "quiet":
                port = self.admin if mode == "attack" else self.other
                attack = stack.enter_context(Attack(port))
            watcher = threading.Thread(target=ask_livez, args=(self.admin, is_over, took))
            watcher.start()
            report = self.load("-d", "8", "-r", str(self.options.rate),
                               "-t", str(self.options.seconds))
            is_over.set()
            watcher.join()
        if mode != "quiet":
            answers = attack.answered.value
        report["livez_ms"] = max((1e3 * t if t is not None else 1e6) for t in took)
        report["answers"] = answers / self.options.seconds
        return report


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3, help="of one run")
    parser.add_argument("--rate", type=int, default=5000, help="requests a second")
    return parser.parse_args()


def main():
    options = parse_options()
    runs = {mode: [] for mode in MODES}
    with tempfile.TemporaryDirectory(prefix="everwarm-bench-") as folder, \
            contextlib.ExitStack() as stack:
        os.chmod(folder, 0o755)
        pool = Pool(stack, folder, options)
        pool.load("-d", "16", "-L", "-t", "60")
        for repeat in range(options.repeats):
            for mode in MODES:
                runs[mode].append(pool.measure(mode))
            print(f"repeat {repeat + 1} of {options.repeats} done", file=sys.stderr, flush=True)
    fields = (*FIELDS, "livez_ms", "answers")
    middle = {mode: {field: statistics.median(run[field] for run in runs[mode])
                     for field in fields}
              for mode in MODES}
    ratio = {field: middle["attack"][field] / middle["elsewhere"][field] for field in FIELDS}
    print(f"\nLatency at {options.rate} requests a second, us, median of {options.repeats} runs")
    print(f"{'':16}" + "".join(f"{field:>10}" for field in fields))
    for mode, row in middle.items():
        print(f"{mode:16}" + "".join(f"{row[field]:>10.1f}" for field in fields))
    print(f"{'attack/elsewhere':16}" + "".join(f"{ratio[field]:>10.2f}" for field in FIELDS))
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps({"runs": runs, "median": middle, "ratio": ratio}, indent=2))
    is_good = ratio["p99"] <= RATIO_MAX and middle["attack"]["livez_ms"] <= LIVEZ_MS_MAX
    return 0 if is_good else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CannotMeasure as reason:
        print(f"could not measure: {reason}", file=sys.stderr)
        sys.exit(2)
