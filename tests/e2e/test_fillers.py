# SPDX-License-Identifier: BSD-2-Clause
"""Two proxies, one empty node: exactly one fills. When that one is killed with -9 in the middle,
the other takes over. How long a change of view holds writes is measured with 1, 2 and 8 proxies."""
from harness import Everwarm, Memcached, Raw, differences, running, say, wait_until

KEYS = 8000


def fillers(proxies):
    return [p for p in proxies if p.stats()["fill"]["pools"]["main"]["active"]]


def replication(proxy):
    return proxy.stats()["replication"]["pools"]["main"]


def change_times(nodes, proxies):
    """Drain and undrain a node a few times; the longest hold over all proxies, in seconds."""
    for _ in range(5):
        for word in ("drain", "ready"):
            status, body = proxies[0].request("POST", "/v1/nodes/b/" + word)
            assert status == 200, body
    return max(replication(p)["view_changes"]["max_s"] for p in proxies)


def main():
    nodes = [Memcached().up(), Memcached().up()]
    slow = {"fill": {"rate": "2mb"}}
    proxies = [Everwarm(nodes, **slow).up(), Everwarm(nodes, **slow).up()]
    with running(*nodes, *proxies):
        conn = Raw(proxies[0].port)
        for at in range(0, KEYS, 100):
            conn.send(b"".join(b"set key:%d 0 0 1000\r\n%s\r\n" % (i, b"%01000d" % i)
                               for i in range(at, at + 100)))
            for _ in range(100):
                assert conn.line() == b"STORED"
        nodes[1].restart_at_once()
        first = wait_until("somebody fills", lambda: fillers(proxies))
        for _ in range(20):
            both = fillers(proxies)
            assert len(both) <= 1, "two fill at once"
        say("one fills; it is killed")
        other = [p for p in proxies if p is not first[0]][0]
        first[0].kill()
        wait_until("the other one fills", lambda: fillers([other]))
        wait_until("b is complete", lambda: other.data_of("b") == "complete", 60)
        conn.close()
        found = differences(nodes[0].items(), nodes[1].items())
        assert not found, found[:5]
        assert len(nodes[1].items()) == KEYS

    for count in (1, 2, 8):
        nodes = [Memcached().up(), Memcached().up()]
        proxies = [Everwarm(nodes, threads=1).up() for _ in range(count)]
        with running(*nodes, *proxies):
            wait_until("all see each other", lambda: all(
                replication(p)["proxies"] == count for p in proxies))
            say("%d proxies: a change of view holds writes for at most %.1f ms" % (
                count, change_times(nodes, proxies) * 1e3))


if __name__ == "__main__":
    main()
