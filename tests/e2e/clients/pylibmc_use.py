# SPDX-License-Identifier: BSD-2-Clause
"""pylibmc (libmemcached) as applications use it. Arguments: port, text or binary."""
import os
import sys

import pylibmc


def is_refused(call, *arguments):
    """Some refusals are False and some exceptions, depending on the protocol."""
    try:
        return not call(*arguments)
    except pylibmc.Error:
        return True


def main(port, protocol):
    is_binary = protocol == "binary"
    cache = pylibmc.Client(["127.0.0.1:" + port], binary=is_binary,
                           behaviors={"cas": True, "tcp_nodelay": True})
    prefix = "pylibmc-%s:" % protocol

    def key(name):
        return prefix + name

    assert cache.get(key("none")) is None
    assert cache.set(key("a"), {"ü": [1, 2.5, None]}, time=300)
    assert cache.get(key("a")) == {"ü": [1, 2.5, None]}
    assert is_refused(cache.add, key("a"), 1)
    assert is_refused(cache.replace, key("none"), 1)
    many = {"m%d" % i: "value %d, grüße" % i + "x" * i for i in range(300)}
    assert cache.set_multi(many, time=300, key_prefix=prefix) == []
    assert cache.get_multi(["gone"] + list(many), key_prefix=prefix) == many
    assert cache.delete_multi(["m0", "m1"], key_prefix=prefix)
    assert cache.get_multi(["m0", "m1", "m2"], key_prefix=prefix) == {"m2": many["m2"]}
    value, cas = cache.gets(key("m5"))
    assert value == many["m5"]
    assert cache.cas(key("m5"), "new", cas)
    assert is_refused(cache.cas, key("m5"), "newer", cas)
    assert cache.get(key("m5")) == "new"
    assert is_refused(cache.incr, key("n"))
    assert cache.set(key("n"), 10)
    assert cache.incr(key("n"), 5) == 15
    assert cache.decr(key("n"), 20) == 0
    assert cache.set(key("t"), "mid") and cache.append(key("t"), ">") and \
        cache.prepend(key("t"), "<")
    assert cache.get(key("t")) == "<mid>"
    assert cache.set(key("grüße"), "ß") and cache.get(key("grüße")) == "ß"
    assert cache.get_multi(["grüße", "none"], key_prefix=prefix) == {"grüße": "ß"}
    large = os.urandom(900000)
    assert cache.set(key("large"), large) and cache.get(key("large")) == large
    assert is_refused(cache.set, key("large"), b"x" * 1100000)
    assert cache.get(key("large")) is None, "memcached drops the old item"
    assert cache.touch(key("t"), 500) and is_refused(cache.touch, key("none"), 500)
    assert len(cache.get_stats()) == 1
    assert cache.delete(key("a")) and not cache.delete(key("a"))
    cache.disconnect_all()


if __name__ == "__main__":
    main(*sys.argv[1:])
