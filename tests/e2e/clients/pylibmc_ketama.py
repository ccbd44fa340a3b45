# SPDX-License-Identifier: BSD-2-Clause
"""pylibmc (libmemcached) over several servers by its ketama ring, as applications that once used
more than one memcached still do. Argument: ports, parted by commas."""
import sys

import pylibmc

RINGS = ({"ketama": True}, {"ketama_weighted": True}, {"distribution": "consistent", "hash": "md5"},
         {"ketama": True, "remove_failed": 1, "retry_timeout": 1, "dead_timeout": 1})


def use(ports, behaviors, is_binary, prefix):
    servers = ["127.0.0.1:" + port for port in ports]
    cache = pylibmc.Client(servers, binary=is_binary,
                           behaviors=dict(behaviors, cas=True, tcp_nodelay=True))
    many = {"m%d" % i: "grüße %d " % i + "x" * i for i in range(300)}
    assert cache.set_multi(many, time=300, key_prefix=prefix) == []
    assert cache.get_multi(["gone"] + list(many), key_prefix=prefix) == many
    # Each server has a share of the keys, as the library's own figures say.
    shares = [int(stats["cmd_set"]) for _, stats in cache.get_stats()]
    assert len(shares) == len(ports) and min(shares) > 0, shares
    value, cas = cache.gets(prefix + "m7")
    assert value == many["m7"] and cache.cas(prefix + "m7", "new", cas)
    assert cache.set(prefix + "n", 10) and cache.incr(prefix + "n", 5) == 15
    large = b"large" * 180000
    assert cache.set(prefix + "large", large) and cache.get(prefix + "large") == large
    assert cache.delete_multi(["m%d" % i for i in range(100)], key_prefix=prefix)
    assert len(cache.get_multi(list(many), key_prefix=prefix)) == 200
    cache.disconnect_all()


def main(ports):
    for number, behaviors in enumerate(RINGS):
        for is_binary in (False, True):
            use(ports.split(","), behaviors, is_binary, "ketama-%d-%d:" % (number, is_binary))


if __name__ == "__main__":
    main(*sys.argv[1:])
