# SPDX-License-Identifier: BSD-2-Clause
"""Nodes come into a pool and leave it while it runs: no client request fails, nothing is missed.

All of it happens under a load that knows what each answer must be, and a reader of keys that nobody
writes any more, through all proxies.
"""
import json
import os
import signal
import urllib.error
import urllib.request

from harness import Everwarm, Load, Memcached, Raw, Reader, differences, running, say, wait_until
from test_ctl import PARTIAL, REFUSED, at, ctl

KEYS = 3000


def names(proxy):
    return sorted(node["name"] for node in proxy.request("GET", "/v1/nodes")[1]["nodes"])


def serves(proxy, name):
    node = proxy.node(name)
    return "data" in node and node["data"]["state"] == "complete" and node["serving"]["reads"]


def requests_of(proxy, name):
    return proxy.node(name)["traffic"]["requests"]


def gets_of(node):
    conn = Raw(node.port)
    conn.send(b"stats\r\n")
    found = {}
    while True:
        line = conn.line()
        if line == b"END":
            conn.close()
            return int(found[b"cmd_get"])
        _, name, value = line.split(b" ", 2)
        found[name] = value


def post(proxy, path, body):
    """(status, parsed body)"""
    request = urllib.request.Request(
        "http://127.0.0.1:%d%s" % (proxy.admin, path), method="POST",
        data=json.dumps(body).encode(), headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:
            return reply.status, json.loads(reply.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def address(node):
    return "127.0.0.1:%d" % node.port


def hear(proxy, word, name):
    """Until the stream of events has told WORD of the node."""
    url = "http://127.0.0.1:%d/v1/events?since=0" % proxy.admin
    with urllib.request.urlopen(url, timeout=10) as reply:
        event = None
        while True:
            key, _, value = reply.readline().decode().rstrip("\n").partition(": ")
            event = value if key == "event" else event
            if key == "data" and event == word and json.loads(value).get("node") == name:
                return json.loads(value)


def grow_and_shrink(a, b, c, p, q):
    say("c is added at one proxy")
    before = p.stats()["replication"]["pools"]["main"]["factor_wanted"]
    out, _ = ctl(*at(p), "--wait", "60s", "add", "c", address(c))
    assert "Not in any configuration file" in out, out
    wait_until("c serves through both", lambda: serves(p, "c") and serves(q, "c"), 30)
    assert names(p) == names(q) == ["a", "b", "c"]
    assert p.stats()["replication"]["pools"]["main"]["factor_wanted"] == before + 1
    for proxy in (p, q):
        seen = requests_of(proxy, "c")
        wait_until("c is asked", lambda at=proxy, n=seen: requests_of(at, "c") > n + 100)
    assert q.node("c")["address"] == address(c)
    out, _ = ctl(*at(q), "add", "c", address(c))
    say("a is killed")
    a.kill()
    wait_until("a is out", lambda: all(x.data_of("a") == "out" for x in (p, q)))
    say("b is removed at the other proxy")
    ctl(*at(q), "--wait", "20s", "remove", "b")
    wait_until("b is gone", lambda: names(p) == names(q) == ["a", "c"])
    wait_until("nobody asks b", lambda: gets_of(b) == gets_of(b))
    quiet = gets_of(b)
    seen = requests_of(p, "c")
    wait_until("c is asked more", lambda: requests_of(p, "c") > seen + 2000)
    assert gets_of(b) == quiet
    out, err = ctl(*at(p), "remove", "c", code=REFUSED)
    assert "409" in err, err
    for proxy in (p, q):
        assert hear(proxy, "node-added", "c")["why"] == address(c)
        assert hear(proxy, "node-removed", "b")["why"] == address(b)


def old_configuration(b, c, p, q, late):
    say("a proxy starts with the old configuration")
    late.up()
    assert names(late) == ["a", "c"], names(late)
    assert serves(late, "c")
    assert late.node("c")["address"] == address(c)


def by_reload(a, c, d, p, q):
    say("a file that is wrong changes nothing")
    kept = p.config["nodes"]
    p.config["nodes"] = [{"name": "d", "address": address(d)}, {"name": "d", "address": "x"}]
    write(p)
    status, problem = p.request("POST", "/v1/config/reload")
    assert status == 422 and problem["type"] == "/problems/bad-config", (status, problem)
    p.process.send_signal(signal.SIGHUP)
    wait_until("it was refused twice", lambda: refused(p) == 2)
    assert names(p) == names(q) == ["a", "c"]
    say("d comes and a goes by SIGHUP")
    a.up()
    wait_until("a is back", lambda: serves(p, "a") and serves(q, "a"), 30)
    p.config["nodes"] = [{"name": "c", "address": address(c)}, {"name": "d", "address": address(d)}]
    write(p)
    p.process.send_signal(signal.SIGHUP)
    wait_until("they did", lambda: names(p) == names(q) == ["c", "d"], 20)
    wait_until("d serves through both", lambda: serves(p, "d") and serves(q, "d"), 30)
    status, done = p.request("POST", "/v1/config/reload")
    assert (status, done["changes"], done["refused"]) == (200, [], None), done
    assert kept != p.config["nodes"]
    say("a node that is not there is refused, and asked for again by the next reload")
    p.config["nodes"].append({"name": "e", "address": "127.0.0.1:1"})
    write(p)
    for _ in range(2):
        status, done = p.request("POST", "/v1/config/reload")
        assert status == 200 and not done["restart_needed"], done
        assert "node e was not added: it does not answer" in done["refused"], done
        assert done["changes"] == [{"key": "nodes[e]", "from": None, "to": "127.0.0.1:1",
                                    "applied": False}], done
    p.config["nodes"].pop()
    write(p)
    assert p.request("POST", "/v1/config/reload")[1]["changes"] == []


def refused(proxy):
    with urllib.request.urlopen("http://127.0.0.1:%d/metrics" % proxy.admin, timeout=10) as reply:
        for line in reply.read().decode().splitlines():
            if line.startswith('everwarm_config_reloads_total{result="failed"}'):
                return float(line.split(" ")[1])
    raise AssertionError("no such metric")


def write(proxy):
    """As an editor does."""
    with open(proxy.file.name, "w", encoding="utf-8") as file:
        json.dump(proxy.config, file)


def refusals(a, d, p, foreign):
    say("what is refused, and why")
    cases = [
        ({"name": "x", "address": "127.0.0.1:1"}, 409, "node-silent"),
        ({"name": "x", "address": address(d)}, 409, "node-exists"),
        ({"name": "x", "address": address(foreign)}, 409, "other-pool"),
        ({"name": "x y", "address": address(a)}, 422, "bad-member"),
        ({"name": "x", "address": "127.0.0.1:0"}, 422, "bad-member"),
        ({"name": "x", "address": "no.such.host.invalid"}, 422, "bad-member"),
        ({"name": "x"}, 422, "bad-member"),
        ({"address": address(a)}, 422, "bad-member"),
        ({"name": "x", "address": address(a), "weight": 2}, 422, "bad-member"),
        ({"name": "x", "address": address(a), "pool": "other"}, 404, "no-such-pool"),
    ]
    for body, status, slug in cases:
        got = post(p, "/v1/nodes", body)
        assert got[0] == status and got[1]["type"] == "/problems/" + slug, (body, got)
        assert got[1]["fix"], got
    assert p.request("DELETE", "/v1/nodes/nobody")[0] == 404
    assert p.request("DELETE", "/v1/nodes/c")[1]["type"] == "/problems/pool-size"
    assert names(p) == ["c", "d"]


def persistent(a, p, q):
    say("what the file can't take is said")
    _, err = ctl(*at(q), "--persist", "add", "f", address(a), code=PARTIAL)
    assert "is the address of node \"a\" too" in err, err
    ctl(*at(p), "remove", "f")
    wait_until("f is gone", lambda: names(p) == names(q) == ["c", "d"])
    say("into the file, whose form stays")
    q.config["nodes"] = p.config["nodes"]
    with open(q.file.name, "w", encoding="utf-8") as file:
        nodes = ",\n".join("    " + json.dumps(node) for node in q.config["nodes"])
        rest = json.dumps({k: v for k, v in q.config.items() if k != "nodes"})[1:]
        file.write('# ours\n{"nodes": [\n%s // the old ones\n  ],\n%s\n' % (nodes, rest))
    os.chmod(q.file.name, 0o640)
    changes = q.request("POST", "/v1/config/reload")[1]["changes"]
    assert sorted(c["key"] for c in changes) == ["nodes[a]", "nodes[b]", "nodes[c]", "nodes[d]"]
    assert all(change["applied"] for change in changes), changes
    ctl(*at(q), "--persist", "--wait", "60s", "add", "f", address(a))
    with open(q.file.name, encoding="utf-8") as file:
        text = file.read()
    assert text.startswith("# ours\n") and "// the old ones" in text, text
    assert '    {"name": "f", "address": "%s"}' % address(a) in text, text
    assert os.stat(q.file.name).st_mode & 0o777 == 0o640
    assert q.request("POST", "/v1/config/reload")[1]["changes"] == []
    wait_until("f serves through both", lambda: serves(p, "f") and serves(q, "f"), 30)
    assert names(p) == ["c", "d", "f"]
    ctl(*at(q), "--persist", "remove", "f")
    with open(q.file.name, encoding="utf-8") as file:
        text = file.read()
    assert '"f"' not in text and "// the old ones" in text, text
    wait_until("f is gone", lambda: names(p) == names(q) == ["c", "d"])


def main():
    a, b, c, d, foreign, twin = [Memcached().up() for _ in range(6)]
    p, q, late, other = (Everwarm([a, b]), Everwarm([a, b]), Everwarm([a, b]),
                         Everwarm([foreign, twin]))
    with running(a, b, c, d, foreign, twin, other, p, q, late):
        other.up()
        p.up()
        q.up()
        reader = Reader([p, q])
        conn = Raw(p.port)
        values = {b"still:%d" % i: b"value %d" % i for i in range(KEYS)}
        for key, value in values.items():
            assert conn.set(key, value) == b"STORED"
        conn.close()
        reader.values = values
        reader.start()
        load = Load([p, q]).start()
        with running(load, reader):
            grow_and_shrink(a, b, c, p, q)
            old_configuration(b, c, p, q, late)
            by_reload(a, c, d, p, q)
            refusals(a, d, p, foreign)
            persistent(a, p, q)
            with load.paused():
                wait_until("the copies are equal", lambda: not differences(c.items(), d.items()))
                found = c.items()
                assert all(found[key][2] == value for key, value in values.items())
        say("%d operations, the slowest %.0f ms; %d reads" %
            (load.operations(), 1000 * load.slowest(), reader.reads))
        assert load.slowest() < 2.5


if __name__ == "__main__":
    main()
