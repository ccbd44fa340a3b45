# SPDX-License-Identifier: BSD-2-Clause
"""A slow key delays only who asks for it: while one client stores and reads a value that needs a
second for its way to the nodes or back, another one of the same worker is answered at once."""
import contextlib
import threading
import time

from harness import Everwarm, Memcached, Raw, Relay, running, say, wait_until

KIB = 1 << 10
LINE_BYTES_A_SECOND = 4 << 20
VALUE_BYTES = 4 << 20
SLOW_SECONDS_MIN = 0.6  # of a value's way; less would show nothing
TRICKLE_BYTES = 16 * KIB
LARGE_BYTES = 64 * KIB  # from here on a value goes by a connection of its own


class ThinLine(Relay):
    """A way whose every connection carries so much, and no more."""

    def __init__(self, port):
        self.carried = {}  # by the end that the bytes went to
        self.to_node = set()
        self.is_over = threading.Event()  # never set: what waits for it waits as long as it says
        super().__init__(port)

    def pump(self, source, sink):
        line = self
        with contextlib.suppress(OSError):  # it has ended already
            if sink.getpeername()[1] == self.target:
                self.to_node.add(sink)

        class Paced:
            """SINK, as quick as the line."""
            free_at = 0.0

            def sendall(self, data):
                for i in range(0, len(data), TRICKLE_BYTES):
                    piece = data[i:i + TRICKLE_BYTES]
                    now = time.monotonic()
                    self.free_at = max(now, self.free_at) + len(piece) / LINE_BYTES_A_SECOND
                    line.is_over.wait(self.free_at - now)
                    sink.sendall(piece)
                    line.carried[sink] = line.carried.get(sink, 0) + len(piece)

            def shutdown(self, how):
                sink.shutdown(how)

        super().pump(source, Paced())

    def laden(self):
        """How many connections have carried what is large to the node."""
        return sum(1 for end in list(self.to_node) if self.carried.get(end, 0) > LARGE_BYTES)

    def total(self):
        return sum(list(self.carried.values()))


class Small(threading.Thread):
    """Asks for small things all the time."""

    def __init__(self, proxy):
        super().__init__(daemon=True)
        self.conn = Raw(proxy.port)
        self.is_over = threading.Event()
        self.slowest = 0.0
        self.count = 0
        self.fault = None

    def run(self):
        try:
            while not self.is_over.wait(0.001):
                key = b"small%d" % (self.count % 8)
                begin = time.monotonic()
                answer = self.conn.set(key, b"x"), self.conn.get(key)
                assert answer == (b"STORED", {key: (0, b"x")}), answer
                self.slowest = max(self.slowest, time.monotonic() - begin)
                self.count += 1
        except Exception as error:
            self.fault = repr(error)

    def end(self):
        self.is_over.set()
        self.join(20)
        assert self.fault is None, self.fault


def slow(what, conn, request, answer, proxy, unforeseen=None):
    """REQUEST needs long, and nobody else. UNFORESEEN: the lines that may carry its answer."""
    small = Small(proxy)
    begin = time.monotonic()
    if unforeseen is None:
        small.start()
        wait_until("the other client is served", lambda: small.count > 3)
        begin = time.monotonic()
        conn.send(request)
    else:
        # What goes to the node before it shows how large its answer is waits behind that.
        before = sum(line.total() for line in unforeseen)
        conn.send(request)
        wait_until("the answer begins",
                   lambda: sum(line.total() for line in unforeseen) > before + LARGE_BYTES)
        small.start()
    result = answer()
    took = time.monotonic() - begin
    small.end()
    say("%-34s %.2f s; beside it %d pairs of small requests, the slowest %.0f ms" %
        (what, took, small.count, small.slowest * 1000))
    assert took > SLOW_SECONDS_MIN, took
    assert small.slowest < took / 2, (what, small.slowest, took)
    return result


def main():
    nodes = [Memcached(["-I", "8m"]).up() for _ in range(2)]
    lines = [ThinLine(node.port) for node in nodes]
    proxy = Everwarm(lines, threads=1, limits={"item": "8mb"}, timeouts={"request": "4s"})
    with running(*nodes, proxy.up()):
        conn = Raw(proxy.port, timeout=30.0)
        large = b"v" * (LARGE_BYTES + KIB)
        wait_until("large values have a connection of their own", lambda:
                   conn.set(b"first", large) == b"STORED" and
                   all(line.laden() >= 2 for line in lines))
        value = bytes(range(256)) * (VALUE_BYTES // 256)
        store = b"set k 0 0 %d\r\n%s\r\n" % (len(value), value)
        assert slow("set", conn, store, conn.line, proxy) == b"STORED"
        found = slow("get of what was set", conn, b"get k\r\n", conn.values, proxy)
        assert found == {b"k": (0, value)}
        append = b"append k 0 0 1\r\n!\r\n"
        assert slow("append", conn, append, conn.line, proxy) == b"STORED"
        # Nobody told the proxy of this one. (While it compares the copies of the last write, both
        # connections to a node would be busy: docs/limits.md.)
        wait_until("no written key waits to be compared",
                   lambda: proxy.stats()["replication"]["settle"]["queue"] == 0, 30)
        for node in nodes:
            direct = Raw(node.port)
            assert direct.set(b"unseen", value) == b"STORED"
            direct.close()
        found = slow("get of what was never seen", conn, b"get unseen\r\n", conn.values, proxy,
                     unforeseen=lines)
        assert found == {b"unseen": (0, value)}
        found = slow("get of it and others", conn, b"get a unseen b\r\n", conn.values, proxy)
        assert found == {b"unseen": (0, value)}
        conn.close()
    for line in lines:
        line.end()


if __name__ == "__main__":
    main()
