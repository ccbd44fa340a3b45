# SPDX-License-Identifier: BSD-2-Clause
"""Client libraries as their users use them, each through everwarms in front of two memcacheds: what
they store lies on both, and everyday calls answer as memcached itself would.

Each script in clients/ also runs against one memcached alone, so that what it expects is
memcached's behaviour and not ours.
"""
import os
import pathlib
import subprocess
import tempfile

from harness import Everwarm, Memcached, Raw, differences, running, say

HERE = pathlib.Path(__file__).resolve().parent
CLIENTS = HERE / "clients"
NODE_MODULES = HERE.parents[1] / "build/npm/node_modules"  # scripts/npm-clients.sh
LIBMEMCACHED = str(HERE.parents[1] / "build/release/libmemcached_use")  # clients/, in C
ONE_CLIENT_SECONDS_MAX = 30

USES = [
    ["/usr/bin/python3", "pymemcache_use.py", "{port}"],
    ["/usr/bin/python3", "python_memcached_use.py", "{port}"],
    ["/usr/bin/python3", "pylibmc_use.py", "{port}", "text"],
    ["/usr/bin/python3", "pylibmc_ketama.py", "{ports}"],
    ["php", "libmemcached.php", "{port}", "text"],
    ["perl", "cache_memcached.pl", "Cache::Memcached", "{port}"],
    ["perl", "cache_memcached.pl", "Cache::Memcached::Fast", "{port}"],
    ["node", "memcached_use.js", "{port}"],
    [LIBMEMCACHED, "{port}", "text"],
    [LIBMEMCACHED, "{port}", "binary"],
    ["/usr/bin/python3", "pylibmc_use.py", "{port}", "binary"],
    ["php", "libmemcached.php", "{port}", "binary"],
    ["ruby", "dalli_use.rb", "{port}"],
    ["node", "memjs_use.js", "{port}"],
]


def run(*words, **options):
    environment = dict(os.environ, NODE_PATH=str(NODE_MODULES))
    return subprocess.run(words, check=True, timeout=ONE_CLIENT_SECONDS_MAX, env=environment,
                          **options)


def use(words, port, ports):
    """WORDS: the program, the script in clients/ where it runs one, and arguments."""
    program, *rest = [word.format(port=port, ports=ports) for word in words]
    if (CLIENTS / rest[0]).exists():
        rest[0] = str(CLIENTS / rest[0])
    run(program, *rest)


def tools(port, *flags):
    """libmemcached's own programs: a file in, the same file out."""
    servers = "--servers=127.0.0.1:%d" % port
    run("memcping", servers)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "everwarm-file"
        path.write_bytes("grüße\n".encode() * 5000)
        run("memccp", servers, *flags, str(path))
        run("memcexist", servers, *flags, path.name)
        out = run("memccat", servers, *flags, path.name, stdout=subprocess.PIPE).stdout
        assert out.rstrip(b"\n") == path.read_bytes().rstrip(b"\n"), len(out)
        run("memctouch", servers, *flags, "--expire=500", path.name)
        run("memcrm", servers, *flags, path.name)
    conn = Raw(port)
    assert conn.get(b"everwarm-file") == {}
    conn.close()


def main():
    direct = [Memcached().up(), Memcached().up()]
    nodes = [Memcached().up(), Memcached().up()]
    proxies = [Everwarm(nodes).up(), Everwarm(nodes).up()]
    with running(*direct, *nodes, *proxies):
        for words in USES:
            say(" ".join([pathlib.Path(words[0]).name] + words[1:]).replace("{port}", "").strip())
            for servers in (direct, proxies):
                use(words, servers[0].port, ",".join(str(server.port) for server in servers))
        for flags in ([], ["--binary"]):
            say("libmemcached's tools", *flags)
            tools(direct[0].port, *flags)
            tools(proxies[0].port, *flags)
        a, b = [node.items() for node in nodes]
        found = differences(a, b)
        assert not found, "%d differences, such as %r" % (len(found), found[:3])
        assert len(a) > 1000, len(a)


if __name__ == "__main__":
    main()
