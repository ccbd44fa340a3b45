# SPDX-License-Identifier: BSD-2-Clause
"""20 proxies on 8 nodes: what they ask of the nodes while nothing happens is what the arithmetic of
tests/unit/test_control.c says, and a change of view is over soon."""
import time

from harness import Everwarm, Memcached, Raw, running, say, wait_until

PROXIES = 20
NODES = 8
INTERVAL_S = 0.2
IDS = 256


def counts(node):
    conn = Raw(node.port)
    conn.send(b"stats\r\n")
    found = {}
    while True:
        line = conn.line()
        if line == b"END":
            conn.close()
            return found
        word, name, value = line.split(b" ", 2)
        assert word == b"STAT", line
        found[name] = value


def measure(nodes, seconds):
    """For each node: (reads and writes, bytes both ways) a second. Its own stats are not counted,
    as memcached does not."""
    def take():
        return [(int(c[b"cmd_get"]) + int(c[b"cmd_set"]), int(c[b"bytes_read"]) +
                 int(c[b"bytes_written"])) for c in map(counts, nodes)]
    begin, before = time.monotonic(), take()
    wait_until("time passes", lambda: time.monotonic() > begin + seconds, seconds + 5)
    after, took = take(), time.monotonic() - begin
    return [((a - b) / took, (x - y) / took) for (a, x), (b, y) in zip(after, before)]


def expected(is_lowest):
    """Of a round: the look at the view and the heartbeat; eight looks more at the lowest node; and
    all heartbeats of one node a second."""
    rounds = 1 / INTERVAL_S
    return PROXIES * (2 * rounds + (8 * rounds if is_lowest else 0) + IDS / NODES)


def changes(proxies):
    return [p.stats()["replication"]["pools"]["main"]["view_changes"] for p in proxies]


def main():
    nodes = [Memcached() for _ in range(NODES)]
    # A round's time is 100 ms; 28 processes share the machine.
    proxies = [Everwarm(nodes, threads=1) for _ in range(PROXIES)]
    with running(*nodes, *proxies):
        for node in nodes:
            node.up()
        for proxy in proxies:
            proxy.start()
        for proxy in proxies:
            wait_until("everwarm is ready", proxy.is_ready, 60)
        wait_until("all see each other", lambda: all(
            p.stats()["replication"]["pools"]["main"]["proxies"] == PROXIES for p in proxies), 60)
        for number, (commands, size) in enumerate(measure(nodes, 10)):
            want = expected(number == 0)
            say("node %d: %.0f reads and writes a second, expected %.0f; %.0f kB/s" % (
                number, commands, want, size / 1e3))
            # In ten seconds the turns do not even out; on a busy machine heartbeats come late,
            # and are asked for once more.
            assert 0.5 * want < commands < 2.5 * want, (number, commands, want)
        longest = 0
        for word in ("drain", "ready", "drain", "ready"):
            before = changes(proxies)
            status, body = proxies[0].request("POST", "/v1/nodes/b/" + word)
            assert status == 200, body
            wait_until("all act on it", lambda b=before: all(
                now["count"] > then["count"] for now, then in zip(changes(proxies), b)))
            longest = max(longest, *(c["last_s"] for c in changes(proxies)))
        say("a change of view holds writes for at most %.0f ms" % (longest * 1e3))
        assert longest < 1.0, longest


if __name__ == "__main__":
    main()
