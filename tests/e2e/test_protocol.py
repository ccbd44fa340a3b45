# SPDX-License-Identifier: BSD-2-Clause
"""What one exchange of the conformance table can't show: multigets of 10,000 keys over many nodes,
flushes in the future, what exporters for Prometheus read, and clients that speak something else."""
import contextlib
import os
import random
import re
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.request

from harness import Everwarm, Memcached, Raw, free_port, running, say, wait_until

NODES = 8
KEYS = 10000


def key(i):
    """Up to 250 bytes."""
    return (b"%d:" % i).ljust(10 + i % 241, b"k")


def multigets(proxy):
    say("%d keys over %d nodes: all there, in their order, repeats too" % (KEYS, NODES))
    conn = Raw(proxy.port, timeout=60)
    for first in range(0, KEYS, 500):
        part = range(first, first + 500)
        conn.send(b"".join(b"set %s %d 0 %d\r\n%d\r\n" % (key(i), i, len(b"%d" % i), i)
                           for i in part))
        for _ in part:
            assert conn.line() == b"STORED"
    order = list(range(KEYS))
    random.Random(1).shuffle(order)
    order[1::100] = order[0::100]  # some twice
    keys = [key(i) if i % 7 else b"missing%d" % i for i in order]
    for command, words in ((b"get", 4), (b"gets", 5), (b"gat 0", 4), (b"gats 0", 5)):
        conn.send(command + b" " + b" ".join(keys) + b"\r\n")
        for i in order:
            if i % 7:
                head = conn.line().split(b" ")
                size = b"%d" % len(b"%d" % i)
                assert head[:4] == [b"VALUE", key(i), b"%d" % i, size], (command, i, head)
                assert len(head) == words and conn.line() == b"%d" % i
        assert conn.line() == b"END"
    for name in "abcdefgh"[:NODES]:
        assert proxy.node(name)["traffic"]["requests"] > KEYS / 20, name
    conn.close()


def stays(conn, name):
    """Is it there, and for more than a second, in which memcached tells times apart?"""
    end = time.monotonic() + 1.2
    while conn.get(name) and time.monotonic() < end:
        threading.Event().wait(0.02)
    return time.monotonic() >= end


def later_flush(port):
    """A flush in four seconds' time takes what was there before, and not what comes well after."""
    conn = Raw(port)
    assert conn.set(b"before", b"1") == b"STORED"
    assert conn.ask(b"flush_all 4\r\n") == b"OK"
    assert conn.get(b"before")
    wait_until("the flush", lambda: not conn.get(b"before"), 8)
    wait_until("it is over", lambda: conn.set(b"after", b"2") == b"STORED" and
               stays(conn, b"after"), 8)
    conn.send(b"flush_all 4 noreply\r\nget after\r\n")
    assert list(conn.values()) == [b"after"]
    wait_until("the second flush", lambda: not conn.get(b"after"), 8)
    conn.close()


def flushes(proxy, direct):
    say("a flush in some seconds' time, as memcached does it")
    later_flush(direct.port)
    later_flush(proxy.port)


def exported(proxy):
    """The exporter says `up` when each line is one that it can read, and its numbers are some."""
    say("what an exporter for Prometheus reads")
    conn = Raw(proxy.port)
    names = {}
    for question in (b"stats", b"stats slabs", b"stats items", b"stats settings"):
        line = conn.ask(question + b"\r\n")
        while line != b"END":
            words = line.split(b" ")
            assert words[0] == b"STAT" and len(words) in (3, 4), line
            assert b":" not in words[1], line
            if len(words) == 3:
                names[words[1].decode()] = words[2].decode()
            line = conn.line()
    conn.close()
    wanted = ["uptime", "time", "cmd_set", "cmd_flush", "cas_badval", "bytes_read", "bytes_written",
              "curr_connections", "total_connections", "maxconns"]
    wanted += ["%s_%s" % (command, end) for end in ("hits", "misses")
               for command in ("get", "delete", "incr", "decr", "cas", "touch")]
    for name in wanted:
        assert float(names[name]) >= 0, name
    # It counts sets as what is left when those with a condition are taken off.
    assert int(names["cmd_set"]) >= sum(int(names["cas_" + end])
                                        for end in ("hits", "misses", "badval"))


# Each is answered by one line, or a block and END; its counters must grow as in a memcached.
COUNTED = [
    b"ma made N0\r\n", b"ma made N0\r\n", b"ma down N0 J9 MD\r\n", b"ma down N0 J9 MD\r\n",
    b"ma made\r\n", b"ma no\r\n", b"ma no MD\r\n", b"ma made C1\r\n", b"ma made N0 T30\r\n",
    b"set word 0 0 1\r\nx\r\n", b"ma word\r\n", b"incr word 1\r\n", b"incr word x\r\n",
    b"incr made 1\r\n", b"decr made 1\r\n", b"incr no 1\r\n", b"decr no 1\r\n",
    b"mg made\r\n", b"mg no\r\n", b"mg new N30\r\n", b"mg made T30\r\n", b"mg no T30\r\n",
    b"mg new2 N30 T30\r\n", b"mg made R99 t\r\n", b"me made\r\n", b"me no\r\n",
    b"ms made 1\r\n5\r\n", b"ms made 1 ME\r\nx\r\n", b"ms no 1 MR\r\nx\r\n",
    b"ms made 1 MA\r\n1\r\n", b"ms no 1 MP\r\nx\r\n", b"ms no 1 C9\r\nx\r\n",
    b"ms made 1 C1\r\nx\r\n",
    b"ms made 1 MX\r\nx\r\n", b"md no\r\n", b"md made C1\r\n", b"md made I\r\n", b"md made\r\n",
    b"add word 0 0 1\r\nx\r\n", b"append word 0 0 1\r\nx\r\n", b"append no 0 0 1\r\nx\r\n",
    b"cas no 0 0 1 1\r\nx\r\n", b"cas word 0 0 1 1\r\nx\r\n", b"get word no word\r\n",
    b"gat 0 word no\r\n", b"touch word 0\r\n", b"touch no 0\r\n",
    b"delete word\r\n", b"delete no\r\n",
]
COUNTERS = ["cmd_get", "cmd_set", "cmd_touch", "cmd_meta", "cas_badval"] + [
    "%s_%s" % (command, end) for end in ("hits", "misses")
    for command in ("get", "delete", "incr", "decr", "cas", "touch")]


def counters(conn):
    conn.send(b"stats\r\n")
    found = {}
    while (line := conn.line()) != b"END":
        _, name, value = line.decode().split(" ", 2)
        found[name] = value
    return {name: int(found[name]) for name in COUNTERS}


def grown(conn, command):
    before = counters(conn)
    conn.send(command + b"mn\r\n")
    while conn.line() != b"MN":
        pass
    return {name: value - before[name] for name, value in counters(conn).items()
            if value != before[name]}


def counted(proxy, direct):
    say("stats count what a memcached counts")
    ours, theirs = Raw(proxy.port), Raw(direct.port)
    for command in COUNTED:
        wanted, got = grown(theirs, command), grown(ours, command)
        assert got == wanted, "%r: memcached counts %r, everwarm %r" % (command, wanted, got)
    ours.close()
    theirs.close()


COLLECTD = """
BaseDir "{folder}"
PIDFile "{folder}/pid"
Interval 0.2
TypesDB "/usr/share/collectd/types.db"
LoadPlugin memcached
LoadPlugin write_prometheus
<Plugin memcached>
  <Instance "everwarm">
    Address "127.0.0.1"
    Port "{port}"
  </Instance>
</Plugin>
<Plugin write_prometheus>
  Host "127.0.0.1"
  Port "{page}"
</Plugin>
"""
# What is asked, how often, and what must have become of collectd's counters.
COLLECTED = [
    (b"set e 0 0 1\r\n1\r\n", 1, {("memcached_command_total", "set"): 1}),
    (b"incr e 1\r\n", 2, {("memcached_ops_total", "incr_hits"): 2}),
    (b"decr e 1\r\n", 3, {("memcached_ops_total", "decr_hits"): 3}),
    (b"incr no 1\r\n", 4, {("memcached_ops_total", "incr_misses"): 4}),
    (b"decr no 1\r\n", 5, {("memcached_ops_total", "decr_misses"): 5}),
    (b"touch e 0\r\n", 6, {("memcached_command_total", "touch"): 6}),
    (b"mg e\r\n", 7, {("memcached_ops_total", "hits"): 7}),
    (b"mg no\r\n", 8, {("memcached_ops_total", "misses"): 8,
                       ("memcached_command_total", "get"): 7 + 8}),
    (b"delete e\r\n", 9, {("memcached_ops_total", "delete_hits"): 1}),
    (b"delete no\r\n", 10, {("memcached_ops_total", "delete_misses"): 8 + 10}),
    (b"me no\r\n", 11, {("memcached_command_total", "meta"): 11}),
    # The first one creates it, which memcached does not count.
    (b"ma made N0\r\n", 12, {("memcached_ops_total", "incr_hits"): 2 + 11}),
    (b"flush_all\r\n", 1, {("memcached_command_total", "flush"): 1}),
]
SERIES = re.compile(r'collectd_memcached_(\w+)\{memcached="everwarm",type="(\w+)",.*\} (\S+)')


def series(page):
    """{(metric, type): value} of what collectd shows."""
    try:
        with urllib.request.urlopen("http://127.0.0.1:%d/metrics" % page, timeout=5) as reply:
            text = reply.read().decode()
    except OSError:
        return {}
    found = {}
    for line in text.splitlines():
        match = SERIES.match(line)
        if match:
            found[match.group(1), match.group(2)] = float(match.group(3))
    return found


def collected(proxy):
    """An exporter that knows nothing of everwarm: it asks the data port of a PROXY that nobody else
    uses as it would a memcached, and shows Prometheus what it counts."""
    say("collectd as an exporter for Prometheus, pointed at the data port")
    page = free_port()
    conn = Raw(proxy.port)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "collectd.conf")
        with open(path, "w", encoding="ascii") as file:
            file.write(COLLECTD.format(folder=folder, port=proxy.port, page=page))
        collectd = subprocess.Popen(["/usr/sbin/collectd", "-f", "-C", path],
                                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wanted = {name: count for _, _, counters in COLLECTED
                      for name, count in counters.items()}
            wait_until("collectd shows that nothing was asked yet",
                       lambda: dict.fromkeys(wanted, 0).items() <= series(page).items())
            for command, times, _ in COLLECTED:
                for _ in range(times):
                    conn.ask(command)
            wait_until("it shows what was asked",
                       lambda: wanted.items() <= series(page).items())
        finally:
            collectd.terminate()
            collectd.wait(20)
    conn.close()


def foreign_count(proxy):
    conn = Raw(proxy.port)
    conn.send(b"stats proxy\r\n")
    found = 0
    line = conn.line()
    while line != b"END":
        if line.startswith(b"STAT foreign_protocols "):
            found = int(line.split(b" ")[2])
        line = conn.line()
    conn.close()
    return found


def is_hung_up(proxy, data):
    conn = Raw(proxy.port)
    try:
        conn.send(data)
        rest = conn.file.read()
    except ConnectionResetError:
        rest = b""
    conn.close()
    return rest == b""


def foreigners(proxy, log):
    say("S11: HTTP and TLS on the data port: closed, counted, and told once a while")
    before = foreign_count(proxy)
    hello = ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), hello, server_hostname="localhost")
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    body = b"set hacked 0 0 1\r\nx\r\n"
    foreign = [hello.read(),
               b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
               b"POST /x HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body,
               b"PUT /x HTTP/1.0\r\n\r\n" + body,
               b"DELETE /x HTTP/1.1\r\n\r\n" + body,
               b"HEAD / HTTP/1.1\r\n\r\n" + body]
    for data in foreign * 20:
        assert is_hung_up(proxy, data), data
    conn = Raw(proxy.port)
    assert conn.get(b"hacked") == {}
    conn.close()
    wait_until("all are counted", lambda: foreign_count(proxy) == before + 20 * len(foreign))
    lines = [line for line in open(log.name, encoding="utf-8") if "foreign-protocol" in line]
    assert 1 <= len(lines) <= 10, lines


def empty_lines(proxy):
    say("S8: a million empty lines are a million errors, and take no memory")
    conn = Raw(proxy.port, timeout=60)
    before = proxy.stats()["memory"]["used_bytes"]
    for _ in range(100):
        conn.send(b"\r\n" * 10000)
        assert conn.file.read(7 * 10000) == b"ERROR\r\n" * 10000
    assert conn.ask(b"version\r\n").startswith(b"VERSION 1.6.")
    conn.close()
    wait_until("memory is free", lambda: proxy.stats()["memory"]["used_bytes"] <= before + 65536)


def no_datagrams(proxy):
    say("S13: there is no UDP socket that could amplify anything")
    folder = "/proc/%d/fd" % proxy.process.pid
    own = set()
    for fd in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            own.add(os.readlink(os.path.join(folder, fd)))
    for table in ("/proc/net/udp", "/proc/net/udp6"):
        for line in open(table, encoding="ascii").readlines()[1:]:
            assert "socket:[%s]" % line.split()[9] not in own, line


def main():
    direct = Memcached().up()
    nodes = [Memcached().up() for _ in range(NODES)]
    # Parts of a long multiget that pass the deadline are misses: not on this machine, busy or not.
    proxy = Everwarm(nodes, timeouts={"request": "20s"})
    with tempfile.NamedTemporaryFile("w", suffix=".log") as log:
        errors = os.dup(2)
        os.dup2(log.fileno(), 2)  # the proxy inherits it
        proxy.start()
        os.dup2(errors, 2)
        with running(direct, *nodes, proxy):
            wait_until("everwarm is ready", proxy.is_ready)
            multigets(proxy)
            flushes(proxy, direct)
            exported(proxy)
            another = Everwarm(nodes)
            with running(another):
                collected(another.up())
            node = Memcached()
            lone = Everwarm([node], threads=1)
            with running(node, lone):
                node.up()
                counted(lone.up(), direct)
            empty_lines(proxy)
            no_datagrams(proxy)
            foreigners(proxy, log)


if __name__ == "__main__":
    main()
