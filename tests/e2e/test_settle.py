# SPDX-License-Identifier: BSD-2-Clause
"""What two writers at once leave different on several nodes is mended on all of them when it has
been seen twice, not on one after the other: until then a change of leader could lose a write."""
import time

from harness import Everwarm, Memcached, Raw, running, say, wait_until

REQUEST_S = 1.5


def main():
    nodes = {name: Memcached().up() for name in "abc"}
    # The copies are made to differ before the first comparison, also on a busy machine.
    proxy = Everwarm(list(nodes.values()), threads=2, settle={"delay": "2s"},
                     verify={"background": False},
                     timeouts={"request": "%dms" % (REQUEST_S * 1000)}).up()
    with running(*nodes.values(), proxy):
        wait_until("the copies of a first start are compared",
                   lambda: proxy.request("GET", "/v1/nodes")[1]["epoch"] >= 2)
        leader = proxy.request("GET", "/v1/route?key=k")[1]["leader"]
        others = [Raw(nodes[name].port) for name in "abc" if name != leader]
        conn = Raw(proxy.port)
        assert conn.set(b"k", b"right") == b"STORED"
        for other in others:
            assert other.set(b"k", b"wrong") == b"STORED"
        mended = {}

        def are_mended():
            for other in others:
                if other.get(b"k")[b"k"][1] == b"right":
                    mended.setdefault(other, time.monotonic())
            return len(mended) == len(others)

        wait_until("both are mended", are_mended)
        apart_s = abs(mended[others[0]] - mended[others[1]])
        say("mended %.3f s apart" % apart_s)
        assert apart_s < REQUEST_S / 2, apart_s
        for each in others + [conn]:
            each.close()


if __name__ == "__main__":
    main()
