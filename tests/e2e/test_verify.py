# SPDX-License-Identifier: BSD-2-Clause
"""Copies are made to differ behind everwarm's back in each way there is, while a checked load runs.
A verify finds each, a repair mends them, the next verify is clean. A node alone; a cancel; and the
copies that a first start finds different."""
from harness import Everwarm, Load, Memcached, Raw, differences, running, say, wait_until

KEYS = 1000
KINDS = ("missing", "version", "expiry", "extra")


def task_of(proxy, path):
    """The task, once it is over."""
    status, task = proxy.request("POST", path)
    assert status == 202, (status, task)
    return wait_until("the task is over", lambda: over(proxy, task["id"]), 60)


def over(proxy, number):
    status, task = proxy.request("GET", "/v1/tasks/%d" % number)
    assert status == 200, task
    return task if task["state"] in ("done", "failed", "cancelled") else None


def found(task):
    return {kind: task["figures"][kind] for kind in KINDS}


def latest(proxy):
    return proxy.request("GET", "/v1/verify")[1]["pools"]["main"]["latest"]


def is_first_one_over(proxy):
    """The verify of a first start has been, and reads look no further on a miss."""
    pool = proxy.stats()["replication"]["pools"]["main"]
    return not pool["young"] and latest(proxy) is not None


def plant(node, first):
    """Each kind of difference, five times, on one node alone, with keys from FIRST on."""
    conn = Raw(node.port)
    for i in range(first, first + 5):
        assert conn.ask(b"delete key:%d\r\n" % i) == b"DELETED"
        conn.send(b"set key:%d 0 0 5\r\nother\r\n" % (10 + i))
        assert conn.line() == b"STORED"
        assert conn.ask(b"touch key:%d 500\r\n" % (20 + i)) == b"TOUCHED"
        conn.send(b"set extra:%d 0 0 5\r\nextra\r\n" % i)
        assert conn.line() == b"STORED"
    conn.close()


def assert_planted(task):
    """What leads on the spoiled node is the truth there, so what it is called differs by leader."""
    counts = found(task)
    assert counts["expiry"] == 5 and counts["version"] == 5, counts
    assert counts["missing"] + counts["extra"] == 10, counts
    assert min(counts["missing"], counts["extra"]) > 0, counts


def store(proxy):
    conn = Raw(proxy.port)
    for i in range(KEYS):
        conn.send(b"set key:%d 7 %d 100\r\n%0100d\r\n" % (i, 0 if i % 2 else 3000, i))
        assert conn.line() == b"STORED"
    conn.close()


def both(nodes):
    return differences(nodes[0].items(), nodes[1].items())


def verifies(nodes, proxy):
    wait_until("the first one is over", lambda: is_first_one_over(proxy), 30)
    store(proxy)
    load = Load([proxy]).start()
    clean = task_of(proxy, "/v1/verify")
    assert clean["state"] == "done" and not any(found(clean).values()), clean
    assert clean["progress"]["done"] >= KEYS, clean
    plant(nodes[1], 0)
    looked = task_of(proxy, "/v1/verify")
    assert_planted(looked)
    assert looked["figures"]["mended"] == 0, looked
    examples = latest(proxy)["examples"]
    assert {e["kind"] for e in examples} <= set(KINDS) and len(examples) == 16, examples
    assert all(e["key"].startswith(("key:", "extra:")) for e in examples), examples
    mended = task_of(proxy, "/v1/verify?repair=true")
    assert_planted(mended)
    assert mended["figures"]["mended"] == 20, mended
    clean = task_of(proxy, "/v1/verify")
    assert not any(found(clean).values()), clean
    with load.paused():
        assert not both(nodes), both(nodes)[:5]
    metrics = proxy.request("GET", "/metrics")[1]
    assert "everwarm_repairs_total 20\n" in metrics and "everwarm_divergences_total 40\n" in metrics
    say("20 differences found and mended beside %d operations" % load.operations())
    plant(nodes[0], 100)
    mended = task_of(proxy, "/v1/nodes/b/verify?repair=true")
    assert_planted(mended)
    load.end()
    assert not both(nodes), both(nodes)[:5]


def refuses(proxy):
    assert proxy.request("POST", "/v1/verify?repair=maybe")[0] == 400
    assert proxy.request("POST", "/v1/verify?pool=nobody")[0] == 404
    assert proxy.request("POST", "/v1/nodes/nobody/verify")[0] == 404


def main():
    nodes = [Memcached().up(), Memcached().up()]
    proxy = Everwarm(nodes).up()
    with running(*nodes, proxy):
        verifies(nodes, proxy)
        refuses(proxy)
        proxy.end()
        plant(nodes[0], 200)
        # A start that finds no view takes nodes on trust; one that finds it does not.
        for node in nodes:
            conn = Raw(node.port)
            assert conn.ask(b"delete _everwarm:1:main:view\r\n") == b"DELETED"
            conn.close()
        other = Everwarm(nodes).up()
        with running(other):
            wait_until("the first one is over", lambda: is_first_one_over(other), 30)
            assert latest(other)["why"] == "due" and latest(other)["mended"] == 20, latest(other)
            assert not both(nodes), both(nodes)[:5]
        say("what a first start found different is equal")


if __name__ == "__main__":
    main()
