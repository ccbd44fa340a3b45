# SPDX-License-Identifier: BSD-2-Clause
"""Nodes that give no dump (memcached's -X): one that comes back is warmed by what is read, and
enters by itself or by an operator's word. All the while each answer is what it must be: no false
miss, no error, no delete undone; and when the other node is lost, what was read meanwhile is
there."""
import os
import signal
import subprocess

from harness import (EVERWARM, Everwarm, Load, Memcached, Raw, Reader, running, say,
                     wait_until)

KEYS = 300


def warm(proxy, name):
    return proxy.node(name)["data"]["warm"]


def is_one_view(proxies, name, state):
    return all(proxy.data_of(name) == state for proxy in proxies)


def wait_for(proxies, name, state):
    wait_until("%s is %s" % (name, state), lambda: is_one_view(proxies, name, state), 30)


def metric(proxy, name):
    _, text = proxy.request("GET", "/metrics")
    return [line for line in text.splitlines() if line.startswith(name)]


def ctl(proxy, *words):
    tool = os.path.join(os.path.dirname(EVERWARM), "everwarmctl")
    return subprocess.run([tool, "-H", "127.0.0.1:%d" % proxy.admin, *words], check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def enters_after(proxies, seconds):
    """0: nothing enters by itself, so that there is time to look, however slow the machine is."""
    for proxy in proxies:
        done = ctl(proxy, "config", "set", "fill.warm_for=%ds" % seconds)
        assert done.returncode == 0, done.stdout


def is_there(node, keys):
    conn = Raw(node.port)
    found = conn.get(*keys)
    conn.close()
    return len(found)


def one_comes_back_and_enters(nodes, proxies, reader):
    say("b is killed, and comes back empty")
    nodes[1].kill()
    wait_for(proxies, "b", "out")
    nodes[1].up()
    wait_for(proxies, "b", "warming")
    assert not proxies[0].node("b")["serving"]["reads"]
    assert proxies[0].node("b")["serving"]["writes"]
    told = metric(proxies[0], 'everwarm_node_data_state{node="b",state="warming"}')
    assert told and told[0].endswith(" 1"), told
    say("   it is lost once more while it is warming")
    nodes[1].restart_at_once()
    wait_for(proxies, "b", "out")
    wait_for(proxies, "b", "warming")
    wait_until("what is read is stored", lambda: is_there(nodes[1], sorted(reader.values)) == KEYS)
    enters_after(proxies, 2)
    wait_until("its hit rate is its twins'", lambda: any(
        (warm(proxy, "b") or {"good_since": 1})["good_since"] for proxy in proxies))
    wait_for(proxies, "b", "complete")
    enters_after(proxies, 0)
    say("   it has entered by itself")


def other_is_lost(nodes, proxies):
    say("a is lost; all that was read is on b")
    nodes[0].kill()
    wait_for(proxies, "a", "out")
    nodes[0].up()
    wait_for(proxies, "a", "warming")
    assert is_one_view(proxies, "b", "complete")


def operator_takes_it(nodes, proxies, reader):
    status, body = proxies[0].request("POST", "/v1/nodes/b/maint")
    assert status == 409 and "ready?force=true" in body["fix"], (status, body)
    wait_until("what is read is stored", lambda: is_there(nodes[0], sorted(reader.values)) == KEYS)
    status, body = proxies[1].request("POST", "/v1/nodes/a/ready")
    assert status == 200 and not body["changed"], body
    assert is_one_view(proxies, "a", "warming")
    table = ctl(proxies[0], "nodes").stdout
    assert "warming" in table and "%" in table, table
    done = ctl(proxies[0], "ready", "a", "--force")
    assert done.returncode == 0, done.stdout
    wait_for(proxies, "a", "complete")
    say("   a has entered by an operator's word")


def proxy_dies(nodes, proxies):
    say("a proxy is killed while b is warming: b begins anew")
    nodes[1].kill()
    wait_for(proxies, "b", "out")
    nodes[1].up()
    wait_for(proxies, "b", "warming")
    before = nodes[1].process.pid
    flushes = flushed(nodes[1])
    third = Everwarm(nodes, **CONFIG).up()
    with running(third):
        third.process.send_signal(signal.SIGKILL)
        third.process.wait()
        wait_until("b is flushed again", lambda: flushed(nodes[1]) > flushes, 30)
    wait_for(proxies, "b", "warming")
    assert nodes[1].process.pid == before


def flushed(node):
    conn = Raw(node.port)
    conn.send(b"stats\r\n")
    stats = dict(iter(lambda: tuple(conn.line().split(b" ")[1:3]), ()))
    conn.close()
    return int(stats[b"cmd_flush"])


CONFIG = {"fill": {"warm_for": "0s"}, "health": {"hold_down_max": "1s"}}


def main():
    nodes = [Memcached(["-X"]).up(), Memcached(["-X"]).up()]
    proxies = [Everwarm(nodes, **CONFIG).up(), Everwarm(nodes, **CONFIG).up()]
    reader = Reader(proxies)
    load = Load(proxies, connections=8)
    with running(*nodes, *proxies):
        conn = Raw(proxies[0].port)
        values = {b"still:%d" % i: b"%d" % i * 40 for i in range(KEYS)}
        for key, value in values.items():
            assert conn.set(key, value) == b"STORED"
        conn.close()
        reader.values = values
        reader.start()
        load.start()
        one_comes_back_and_enters(nodes, proxies, reader)
        other_is_lost(nodes, proxies)
        operator_takes_it(nodes, proxies, reader)
        proxy_dies(nodes, proxies)
        reader.end()
        load.end()
        say("%d reads of still keys, %d of moving ones; stored on b by the first proxy: %s" % (
            reader.reads, load.operations(), metric(proxies[0], "everwarm_node_warm_stored")))


if __name__ == "__main__":
    main()
