# SPDX-License-Identifier: BSD-2-Clause
"""The empty node that came back: the story that everwarm exists for, on real processes.

Two memcacheds, two proxies, clients that know only the proxies; one node after the other dies and
comes back empty while a load runs whose every answer is checked.
"""
import os
import shutil
import subprocess

import memcache
from pymemcache.client.base import Client
from harness import (Everwarm, Load, Memcached, Raw, Reader, differences, running, say, wait_until)

KEYS = 20000
DELETED = 2000
# health.interval: no check need have met a node that was away for less. On a busy machine
# memcached alone takes a hundred milliseconds to start.
UNNOTICED_SECONDS = 0.2
TEXT = "grüße aus Łódź, 世界 ✓".encode()

PERL = r"""
use Cache::Memcached;
my ($port, $key, $want) = @ARGV;
my $cache = Cache::Memcached->new({servers => ["127.0.0.1:$port"]});
my $got = $cache->get($key);
die "perl got " . (defined $got ? $got : "nothing") . "\n" unless defined $got && $got eq $want;
$cache->set("perl:$key", "set by perl", 300) or die "perl could not set\n";
die "perl lost its value\n" unless $cache->get("perl:$key") eq "set by perl";
$cache->delete("perl:$key") or die "perl could not delete\n";
die "perl could delete twice\n" if $cache->delete("perl:$key");
"""

PHP = r"""
$cache = new Memcached();
$cache->addServer('127.0.0.1', (int)$argv[1]);
if ($cache->get($argv[2]) !== $argv[3]) { fwrite(STDERR, "php: wrong value\n"); exit(1); }
if (!$cache->set('php:x', ['a' => 1.5], 300)) { exit(2); }
if ($cache->get('php:x') !== ['a' => 1.5]) { exit(3); }
if ($cache->get('php:n') !== false) { exit(4); }
if ($cache->getResultCode() !== Memcached::RES_NOTFOUND) { exit(4); }
if (!$cache->add('php:n', 5)) { exit(5); }
if ($cache->increment('php:n', 2) !== 7) { exit(6); }
if (!$cache->deleteMulti(['php:x', 'php:n'])) { exit(7); }
"""


def other_clients(proxy, key, want):
    """The same value through client libraries of other languages."""
    subprocess.run(["perl", "-e", PERL, str(proxy.port), key, want], check=True, timeout=20)
    if shutil.which("php"):
        subprocess.run(["php", "-r", PHP, "--", str(proxy.port), key, want], check=True, timeout=20)
    client = memcache.Client(["127.0.0.1:%d" % proxy.port])
    assert client.get(key) in (want, want.encode()), client.get(key)
    assert client.set("py:x", {"ü": [1, 2.5]}, time=300) and client.get("py:x") == {"ü": [1, 2.5]}
    assert client.delete("py:x")
    client.disconnect_all()


def step_a(nodes, proxies):
    say("a. a value lies on both nodes, with flags and expiry")
    client = Client(("127.0.0.1", proxies[0].port))
    assert client.set("grüße".encode().hex(), TEXT, expire=1000, flags=5, noreply=False)
    client.set("plain", b"simple", noreply=False)
    client.close()
    items = [node.items() for node in nodes]
    for found in items:
        flags, ttl, value = found["grüße".encode().hex().encode()]
        assert (flags, value) == (5, TEXT) and 990 <= ttl <= 1000, found
    other_clients(proxies[1], "plain", "simple")


def value_is_there(proxies):
    for proxy in proxies:
        conn = Raw(proxy.port)
        found = conn.get("grüße".encode().hex().encode())
        assert list(found.values()) == [(5, TEXT)], found
        conn.close()


def step_c(proxies):
    say("c. %d keys written and %d deleted while it is down" % (KEYS, DELETED))
    values = {}
    conns = [Raw(proxy.port) for proxy in proxies]
    for at in range(0, KEYS, 100):
        conn = conns[at // 100 % len(conns)]
        part = [b"story:%d" % i for i in range(at, at + 100)]
        for key in part:
            values[key] = b"value of %s, %d" % (key, os.getpid())
        conn.send(b"".join(b"set %s %d %d %d\r\n%s\r\n" % (
            key, int(key[6:]) % 7, 0 if int(key[6:]) % 3 else 5000, len(values[key]), values[key])
            for key in part))
        for key in part:
            assert conn.line() == b"STORED"
    gone = [b"story:%d" % i for i in range(0, KEYS, KEYS // DELETED)]
    for at in range(0, len(gone), 100):
        conns[0].send(b"".join(b"delete %s\r\n" % key for key in gone[at:at + 100]))
        for key in gone[at:at + 100]:
            assert conns[0].line() == b"DELETED"
            del values[key]
    for conn in conns:
        conn.close()
    return values, gone


def wait_complete(proxies, name, seconds=30):
    for proxy in proxies:
        wait_until("%s is complete" % name, lambda p=proxy: p.data_of(name) == "complete", seconds)


def assert_equal(load, nodes):
    with load.paused():
        found = differences(nodes[0].items(), nodes[1].items())
    assert not found, "%d differences, such as %r" % (len(found), found[:5])


def all_there(proxies, values, gone):
    keys = sorted(values)
    for proxy in proxies:
        conn = Raw(proxy.port)
        for at in range(0, len(keys), 200):
            part = keys[at:at + 200]
            found = conn.get(*part)
            assert {k: v for k, (_, v) in found.items()} == {k: values[k] for k in part}
        for at in range(0, len(gone), 200):
            assert conn.get(*gone[at:at + 200]) == {}
        conn.close()


def main():
    nodes = [Memcached().up(), Memcached().up()]
    proxies = [Everwarm(nodes).up(), Everwarm(nodes).up()]
    load = Load(proxies).start()
    reader = Reader(proxies)
    reader.start()
    with running(*nodes, *proxies, load, reader):
        step_a(nodes, proxies)

        say("b. kill -9 of node a under load")
        nodes[0].kill()
        value_is_there(proxies)
        values, gone = step_c(proxies)
        reader.values = values

        say("d. node a comes back, empty")
        nodes[0].up()
        wait_complete(proxies, "a")
        all_there(proxies, values, gone)
        assert_equal(load, nodes)
        say("   refilled")

        say("e. now kill -9 of the other one")
        nodes[1].kill()
        all_there(proxies, values, gone)
        value_is_there(proxies)
        other_clients(proxies[0], "plain", "simple")
        nodes[1].up()
        wait_complete(proxies, "b")
        assert_equal(load, nodes)

        say("f. a restart faster than any health check")
        for _ in range(5):
            before = proxies[0].node("b")["data"]["since"]
            seconds = nodes[1].restart_at_once()
            say("   nobody listened for %.1f ms" % (seconds * 1e3))
            wait_until("the restart is noticed",
                       lambda: proxies[0].node("b")["data"]["since"] != before)
            wait_complete(proxies, "b")
            all_there(proxies, values, gone)
            assert_equal(load, nodes)
            if seconds < UNNOTICED_SECONDS:
                break
        else:
            raise AssertionError("no restart was faster than a health check")
        assert reader.reads > 1000, reader.reads
        say("%d requests of the load, slowest %.0f ms; %d keys read by the reader" % (
            load.operations(), load.slowest() * 1e3, reader.reads))
        assert load.slowest() < 2.0, load.slowest()


if __name__ == "__main__":
    main()
