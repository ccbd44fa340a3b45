# SPDX-License-Identifier: BSD-2-Clause
"""pymemcache as applications use it. Argument: port."""
import os
import sys

from pymemcache.client.base import PooledClient
from pymemcache.exceptions import MemcacheServerError
from pymemcache.serde import pickle_serde


def main(port):
    cache = PooledClient(("127.0.0.1", int(port)), serde=pickle_serde, key_prefix=b"py:",
                         default_noreply=False, timeout=10, allow_unicode_keys=True)
    assert cache.version().startswith(b"1.6.")
    assert cache.get("none") is None
    assert cache.set("grüße", {"ü": [1, 2.5, None]}, expire=300)
    assert cache.get("grüße") == {"ü": [1, 2.5, None]}
    assert not cache.add("grüße", 1) and not cache.replace("none", 1)
    many = {"m%d" % i: "value %d, grüße" % i + "x" * i for i in range(300)}
    assert cache.set_many(many, expire=300) == []
    assert cache.get_many(["gone"] + list(many)) == many
    assert cache.delete_many(["m0", "m1"])
    value, cas = cache.gets("m5")
    assert value == many["m5"]
    assert cache.cas("m5", "new", cas) is True
    assert cache.cas("m5", "newer", cas) is False
    assert cache.cas("none", "newer", cas) is None
    assert cache.incr("n", 1) is None
    assert cache.set("n", 10) and cache.incr("n", 5) == 15 and cache.decr("n", 20) == 0
    assert cache.set("t", b"mid") and cache.append("t", b">") and cache.prepend("t", b"<")
    assert cache.get("t") == b"<mid>"
    large = os.urandom(900000)
    assert cache.set("large", large) and cache.get("large") == large
    try:
        cache.set("large", b"x" * 1100000)
        raise AssertionError("larger than an item may be")
    except MemcacheServerError:
        pass
    assert cache.get("large") is None
    assert cache.touch("t", 500) and not cache.touch("none", 500)
    for i in range(100):
        cache.set("q%d" % i, i, noreply=True)
    assert cache.get("q99") == 99
    assert b"pid" in cache.stats()
    assert cache.delete("grüße") and not cache.delete("grüße")
    cache.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
