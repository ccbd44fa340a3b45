# SPDX-License-Identifier: BSD-2-Clause
"""python-memcached as applications use it. Argument: port."""
import os
import sys

import memcache


def main(port):
    cache = memcache.Client(["127.0.0.1:" + port], cache_cas=True, socket_timeout=10)
    assert cache.get("pm:none") is None
    assert cache.set("pm:a", {"ü": [1, 2.5, None]}, time=300)
    assert cache.get("pm:a") == {"ü": [1, 2.5, None]}
    assert not cache.add("pm:a", 1) and not cache.replace("pm:none", 1)
    many = {"m%d" % i: "value %d, grüße" % i + "x" * i for i in range(300)}
    assert cache.set_multi(many, time=300, key_prefix="pm:") == []
    assert cache.get_multi(["gone"] + list(many), key_prefix="pm:") == many
    assert cache.delete_multi(["m0", "m1"], key_prefix="pm:")
    assert cache.gets("pm:m5") == many["m5"]
    assert cache.cas("pm:m5", "new")
    assert cache.get("pm:m5") == "new"
    assert cache.incr("pm:n") is None
    assert cache.set("pm:n", 10) and cache.incr("pm:n", 5) == 15 and cache.decr("pm:n", 20) == 0
    assert cache.set("pm:t", "mid") and cache.append("pm:t", ">") and cache.prepend("pm:t", "<")
    assert cache.get("pm:t") == "<mid>"
    assert cache.set("pm:grüße", "ß") and cache.get("pm:grüße") == "ß"
    assert cache.get_multi(["grüße", "none"], key_prefix="pm:") == {"grüße": "ß"}
    large = os.urandom(900000)
    assert cache.set("pm:large", large) and cache.get("pm:large") == large
    assert cache.touch("pm:t", 500)
    assert len(cache.get_stats()) == 1
    assert cache.delete("pm:a")
    cache.disconnect_all()


if __name__ == "__main__":
    main(*sys.argv[1:])
