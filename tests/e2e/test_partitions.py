# SPDX-License-Identifier: BSD-2-Clause
"""Histories (test_histories.py) under broken networks: each node is cut off from one proxy or from
all, for what they send to it, what it sends, or both; and a proxy from all nodes. What is sent then
is lost without a word. No client of a proxy that reaches another node may notice.

Environment: HISTORY_ROUNDS (8), HISTORY_SEED, SIM. Without the right to make network namespaces the
test says so and is skipped.
"""
import os
import random
import threading

import network
from harness import Everwarm, Memcached, running, say, wait_until
from history import HEAL_S, SEED, TROUBLE_S, Recorder, check_order, now_us, record, start

ROUNDS = int(os.environ.get("HISTORY_ROUNDS", "8"))
WAYS = ("to it", "from it", "both ways")
PAUSES_S = (0.15, 0.4, 1.0, 2.5)


def pairs(way, proxies, nodes):
    """(sender, receiver) of what is lost."""
    for proxy in proxies:
        for node in nodes:
            if way != "from it":
                yield proxy.host, node.host
            if way != "to it":
                yield node.host, proxy.host


def partition(dice, recorder, lost):
    pause = threading.Event()
    recorder.mark("fault", now_us())
    for sender, receiver in lost:
        network.cut(sender, receiver)
    pause.wait(dice.choice(PAUSES_S))
    for sender, receiver in lost:
        network.mend(sender, receiver)
    recorder.mark("fault", now_us())


def harm_node(dice, recorder, proxies, node, way):
    """NODE and some proxies don't hear each other."""
    some = proxies if dice.random() < 0.5 else [dice.choice(proxies)]
    say("what goes %s is lost between a node and %d proxies" % (way, len(some)))
    partition(dice, recorder, list(pairs(way, some, [node])))


def harm_proxy(dice, recorder, proxies, nodes, way):
    """A proxy is cut off from all nodes."""
    say("what goes %s is lost between a proxy and all nodes" % way)
    proxy = dice.choice(proxies)
    proxy.is_harmed = True
    recorder.mark("lapse", now_us())
    partition(dice, recorder, list(pairs(way, [proxy], nodes)))
    recorder.mark("lapse", now_us())
    wait_until("the proxy is ready", proxy.is_ready, HEAL_S)
    threading.Event().wait(TROUBLE_S)
    proxy.is_harmed = False


def harm(dice, recorder, number, proxies, nodes):
    """Each node and each way in turn; every fifth time a proxy."""
    way = WAYS[number % len(WAYS)]
    if number % 5 == 4:
        harm_proxy(dice, recorder, proxies, nodes, way)
    else:
        harm_node(dice, recorder, proxies, nodes[number // len(WAYS) % len(nodes)], way)


def main():
    if not network.begin():
        return
    say("HISTORY_SEED=%s" % SEED)
    dice = random.Random(SEED)
    hosts = [network.Host() for _ in range(5)]
    nodes = [Memcached(host=host) for host in hosts[:3]]
    # A proxy that reaches no node would say "miss"; here a miss means that nothing is there.
    proxies = [Everwarm(nodes, host=host, threads=1, health={"hold_down_max": "1s"},
                        on_no_replica="error")
               for host in hosts[3:]]
    recorder = Recorder()
    with running(*nodes, *proxies, *hosts):
        start(nodes, proxies)
        record(recorder, proxies, ROUNDS,
               lambda number: harm(dice, recorder, number, proxies, nodes))
    check_order(recorder)
    say("%d operations in order" % recorder.operations)


if __name__ == "__main__":
    main()
