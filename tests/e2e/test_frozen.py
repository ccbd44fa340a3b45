# SPDX-License-Identifier: BSD-2-Clause
"""A node that hangs (SIGSTOP): it is left within half a request's time, clients wait at most the
request deadline once, and nobody gets an error. When it goes on, it is refilled."""
import time

from harness import Everwarm, Load, Memcached, differences, running, say, wait_until

REQUEST_S = 1.5


def main():
    nodes = [Memcached().up(), Memcached().up()]
    proxies = [Everwarm(nodes).up(), Everwarm(nodes).up()]
    load = Load(proxies).start()
    with running(*nodes, *proxies, load):
        wait_until("the load runs", lambda: load.operations() > 500)
        for name, node in (("a", nodes[0]), ("b", nodes[1])):
            for client in load.clients:
                client.slowest = 0
            begin = time.monotonic()
            node.freeze()
            for proxy in proxies:
                wait_until("the frozen node is out", lambda p=proxy: p.data_of(name) == "out", 5)
            left = time.monotonic() - begin
            before = load.operations()
            wait_until("the load goes on", lambda: load.operations() > before + 500)
            say("node %s: left after %.2f s; slowest request %.2f s" % (name, left, load.slowest()))
            assert load.slowest() < REQUEST_S + 0.3, load.slowest()
            node.thaw()
            for proxy in proxies:
                wait_until("it is complete", lambda p=proxy: p.data_of(name) == "complete", 30)
            with load.paused():
                found = differences(nodes[0].items(), nodes[1].items())
            assert not found, found[:5]


if __name__ == "__main__":
    main()
