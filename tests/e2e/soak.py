# SPDX-License-Identifier: BSD-2-Clause
"""Hours under load, with something going wrong every 20 seconds: `make soak`.

Recorded clients (history.py), and others that move large values and many keys at once, use two
proxies on three memcacheds, each in a network of its own where that is allowed. Every FAULT_S
seconds one random thing is done to a node or a proxy: kill -9 and a start, SIGSTOP, a flush behind
the proxies' backs, drain and ready, resync, a broken network. Each key's history is judged as soon
as the key is no longer used. At the end nothing may be left: all copies are equal, no connection is
open, no request in flight; and a proxy that lived long enough has not grown.

Environment: SOAK_SECONDS (300), HISTORY_SEED, SIM; SOAK_MEMORY=no: the memory of a sanitizer grows.
"""
import os
import random
import threading
import time

import network
from harness import Everwarm, Memcached, Raw, differences, running, say, wait_until
from history import (HEAL_S, SEED, TROUBLE_S, Client, Recorder, is_whole, judge, keep, now_us,
                     read_all, start)
from test_partitions import WAYS, pairs, partition

SECONDS = float(os.environ.get("SOAK_SECONDS", "300"))
CHECKS_MEMORY = os.environ.get("SOAK_MEMORY", "yes") != "no"
FAULT_S = 20.0
CLIENTS = 8
THREADS = 2
# Once: what an allocator keeps, and pages of its tables that a proxy touches when more waits than
# ever before. A short run can't tell less from a leak; an hour does.
GROWTH_KB = 4096
GROWTH_KB_AN_HOUR = 1024


class Mover(threading.Thread):
    """Large values and many keys; every value tells its key."""

    def __init__(self, number, proxy, is_over):
        super().__init__(daemon=True)
        self.number, self.proxy, self.is_over = number, proxy, is_over
        self.random = random.Random(number)
        self.moved = 0
        self.wrong = []

    def one(self, conn):
        keys = [b"move:%d:%d" % (self.number, self.random.randrange(50)) for _ in range(10)]
        size = self.random.choice((10, 1000, 30000, 300000))
        line = conn.set(keys[0], keys[0] + b"=" + b"x" * size)
        if line != b"STORED" and not line.startswith(b"SERVER_ERROR"):
            self.wrong.append((keys[0], line))
        for key, (_, value) in conn.get(*keys).items():
            if key not in keys or not value.startswith(key + b"="):
                self.wrong.append((key, value[:40]))
        self.moved += 1

    def run(self):
        conn = None
        while not self.is_over.is_set():
            try:
                conn = conn or Raw(self.proxy.port, host=self.proxy.host)
                self.one(conn)
            except (OSError, EOFError, ValueError):
                if conn is not None:
                    conn.close()
                conn = None
            self.is_over.wait(0.05)
        if conn is not None:
            conn.close()


class Faults:
    def __init__(self, dice, recorder, nodes, proxies):
        self.dice, self.recorder, self.nodes, self.proxies = dice, recorder, nodes, proxies
        self.pause = threading.Event()

    def any(self):
        kinds = [self.kill_node, self.stop_node, self.flush_node, self.drain, self.resync,
                 self.kill_proxy, self.stop_proxy]
        if self.nodes[0].host is not None:
            kinds += [self.part_node, self.part_node, self.part_proxy]
        kind = self.dice.choice(kinds)
        self.recorder.mark("fault", now_us())
        say(kind.__name__)
        kind()
        self.recorder.mark("fault", now_us())

    def node(self):
        return self.dice.choice(self.nodes)

    def kill_node(self):
        node = self.node()
        node.kill()
        self.pause.wait(self.dice.choice((0.0, 0.05, 0.5, 3.0)))
        node.up()

    def stop_node(self):
        node = self.node()
        node.freeze()
        self.pause.wait(self.dice.choice((0.2, 0.8, 3.0)))
        node.thaw()

    def flush_node(self):
        node = self.node()
        self.recorder.mark("flush", now_us())
        conn = Raw(node.port, host=node.host)
        assert conn.ask(b"flush_all\r\n") == b"OK"
        conn.close()

    def say_node(self, name, word):
        status, body = self.dice.choice(self.proxies).request(
            "POST", "/v1/nodes/%s/%s" % (name, word))
        assert status in (200, 202), (word, status, body)

    def drain(self):
        name = self.dice.choice("abc")
        self.say_node(name, "drain")
        self.pause.wait(self.dice.choice((0.05, 2.0)))
        self.say_node(name, "ready")

    def resync(self):
        self.say_node(self.dice.choice("abc"), "resync")

    def harm(self, proxy, what):
        proxy.is_harmed = True
        self.recorder.mark("lapse", now_us())
        what()
        self.recorder.mark("lapse", now_us())
        wait_until("the proxy is ready", proxy.is_ready, HEAL_S)
        self.pause.wait(TROUBLE_S)
        proxy.is_harmed = False

    def kill_proxy(self):
        proxy = self.dice.choice(self.proxies)

        def what():
            proxy.kill()
            self.pause.wait(self.dice.choice((0.0, 0.5, 3.0)))
            proxy.up()
            proxy.memory = []
        self.harm(proxy, what)

    def stop_proxy(self):
        proxy = self.dice.choice(self.proxies)

        def what():
            proxy.process.send_signal(19)
            self.pause.wait(self.dice.choice((0.3, 1.2, 3.0)))
            proxy.process.send_signal(18)
        self.harm(proxy, what)

    def part_node(self):
        some = self.dice.choice((self.proxies, self.proxies[:1], self.proxies[1:]))
        partition(self.dice, self.recorder,
                  list(pairs(self.dice.choice(WAYS), some, [self.node()])))

    def part_proxy(self):
        proxy = self.dice.choice(self.proxies)
        lost = list(pairs(self.dice.choice(WAYS), [proxy], self.nodes))
        for each in self.proxies:  # docs/limits.md
            each.is_harmed = True
        self.harm(proxy, lambda: partition(self.dice, self.recorder, lost))
        for each in self.proxies:
            each.is_harmed = False


def judge_old(recorder, proxies, before_s):
    """Read keys that are used no more once more, judge them, and forget them."""
    with recorder.lock:
        old = {key for key in recorder.keys if int(key.split(".")[2]) < before_s}
        taken = {key: recorder.keys.pop(key) for key in old}
    kept, recorder.keys = recorder.keys, taken
    try:
        read_all(recorder, proxies)
    finally:
        recorder.keys = kept
    with recorder.lock:
        mine, rest = [], []
        for line in recorder.lines:
            words = line.split(" ", 2)
            if words[0] in ("op", "split"):
                (mine if words[1] in old else rest).append(line)
            else:
                mine.append(line)
                rest.append(line)
        recorder.lines = rest
    code, text = judge(mine)
    say(text.strip().splitlines()[-1])
    if code != 0:
        raise AssertionError("a history has no order, see %s; HISTORY_SEED=%s\n%s" % (
            keep(mine), SEED, text[:3000]))


def memory_kb(proxy):
    with open("/proc/%d/status" % proxy.process.pid, encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))


def files(proxy):
    return len(os.listdir("/proc/%d/fd" % proxy.process.pid))


def check_memory(proxy):
    """Not grown since a quarter of its life."""
    if len(proxy.memory) < 8:
        say("too young to judge its memory")
        return
    first_s, first = proxy.memory[len(proxy.memory) // 4]
    last_s, last = proxy.memory[-1]
    hours = (last_s - first_s) / 3600
    say("%.0f s: from %d to %d KiB; at each fault: %s" % (
        last_s - first_s, first, last, " ".join(str(kb) for _, kb in proxy.memory)))
    allowed = GROWTH_KB + GROWTH_KB_AN_HOUR * hours
    assert not CHECKS_MEMORY or last - first <= allowed, proxy.memory


def is_empty(proxy):
    """Nobody is connected, nothing is under way or waits to be compared."""
    stats = proxy.stats()
    waits = stats["replication"]["settle"]["queue"] + stats["clients"]["open"]
    return waits == 0 and not any(in_flights(stats["nodes"]))


def in_flights(found):
    """All counts of that name, however deep."""
    for name, value in found.items():
        if isinstance(value, dict):
            yield from in_flights(value)
        elif name == "in_flight":
            yield value


def soak(dice, recorder, nodes, proxies):
    faults = Faults(dice, recorder, nodes, proxies)
    end = time.monotonic() + SECONDS
    next_fault = time.monotonic() + FAULT_S
    while time.monotonic() < end:
        wait_until("time passes", lambda: time.monotonic() > min(next_fault, end), FAULT_S + 5)
        wait_until("all nodes are complete", lambda: is_whole(proxies), HEAL_S)
        for proxy in proxies:
            proxy.memory.append((time.monotonic(), memory_kb(proxy)))
        assert not recorder.errors, "\n".join(recorder.errors[:20])
        judge_old(recorder, proxies, int(time.monotonic()) - 15)
        next_fault = time.monotonic() + FAULT_S
        faults.any()


def main():
    has_network = network.begin()
    say("HISTORY_SEED=%s, %.0f s" % (SEED, SECONDS))
    dice = random.Random(SEED)
    hosts = [network.Host() if has_network else None for _ in range(5)]
    nodes = [Memcached(host=host) for host in hosts[:3]]
    proxies = [Everwarm(nodes, host=host, threads=THREADS, health={"hold_down_max": "1s"})
               for host in hosts[3:]]
    recorder = Recorder()
    with running(*nodes, *proxies, *(hosts if has_network else [])):
        start(nodes, proxies)
        for proxy in proxies:
            proxy.memory = []
        wait_until("all nodes are complete", lambda: is_whole(proxies), HEAL_S)
        idle_files = [files(proxy) for proxy in proxies]
        clients = [Client(recorder, i, proxies, i % 2) for i in range(CLIENTS)]
        movers = [Mover(i, proxies[i % 2], recorder.is_over) for i in range(4)]
        for thread in clients + movers:
            thread.start()
        soak(dice, recorder, nodes, proxies)
        wait_until("all nodes are complete", lambda: is_whole(proxies), HEAL_S)
        recorder.is_over.set()
        for thread in clients + movers:
            thread.join(20)
            assert not thread.is_alive(), "a client hangs"
        recorder.is_over.clear()
        judge_old(recorder, proxies, int(time.monotonic()) + 1)
        assert not recorder.errors, "\n".join(recorder.errors[:20])
        wrong = [what for mover in movers for what in mover.wrong]
        assert not wrong, wrong[:5]
        wait_until("nothing is left", lambda: all(is_empty(p) for p in proxies), 30)
        for proxy, idle in zip(proxies, idle_files):
            # An admin connection that a reader has just closed may still be there; and each worker
            # keeps a second connection to each node for large values.
            most = idle + 1 + THREADS * len(nodes)
            wait_until("no file is left open", lambda p=proxy, m=most: files(p) <= m, 30)
            check_memory(proxy)
        wait_until("all copies are equal", lambda: not any(
            differences(nodes[0].items(), node.items()) for node in nodes[1:]), 60)
    say("%d operations, %d moves" % (recorder.operations, sum(m.moved for m in movers)))


if __name__ == "__main__":
    main()
