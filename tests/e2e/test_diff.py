# SPDX-License-Identifier: BSD-2-Clause
"""
A node that comes back with old data. Where memcached knows `E` only what differs is moved, and the
node is not flushed; elsewhere it is flushed and filled. Either way what was deleted or changed
meanwhile stays deleted and changed.
"""
import threading

from harness import Everwarm, Memcached, Raw, differences, running, say, wait_until

KEYS = 20000


def stat(node, name):
    conn = Raw(node.port)
    conn.send(b"stats\r\n")
    found = None
    while True:
        line = conn.line()
        if line == b"END":
            break
        words = line.split(b" ", 2)
        if words[1] == name:
            found = words[2]
    conn.close()
    return int(found)


def knows_tokens(node):
    conn = Raw(node.port)
    conn.send(b"ms probe 1 E1\r\nx\r\n")
    line = conn.line()
    if line.startswith(b"HD"):
        conn.send(b"md probe\r\n")
        conn.line()
    conn.close()
    return line.startswith(b"HD")


class Writer(threading.Thread):
    """Overwrites, deletes and touches keys as long as it may; its answers must be what they are."""

    def __init__(self, port):
        super().__init__()
        self.conn = Raw(port)
        self.is_ending = False
        self.rounds = 0

    def run(self):
        while not self.is_ending:
            i = self.rounds % KEYS
            assert self.conn.set(b"key:%d" % i, b"written %d" % self.rounds) == b"STORED"
            if i % 3 == 0:
                assert self.conn.ask(b"delete key:%d\r\n" % i) == b"DELETED"
            if i % 3 == 1:
                assert self.conn.ask(b"touch key:%d %d\r\n" % (i, 1000 + i)) == b"TOUCHED"
            self.rounds += 7

    def end(self):
        self.is_ending = True
        self.join()
        self.conn.close()


def main():
    nodes = [Memcached().up(), Memcached().up()]
    is_diff = knows_tokens(nodes[0])
    proxy = Everwarm(nodes).up()
    with running(*nodes, proxy):
        conn = Raw(proxy.port)
        for i in range(KEYS):
            conn.send(b"set key:%d %d %d 8 noreply\r\nversion1\r\n" % (i, i, 0 if i % 2 else 9000))
        assert conn.set(b"last", b"1") == b"STORED"
        say("b leaves for maintenance, and keeps what it holds")
        assert proxy.request("POST", "/v1/nodes/b/maint")[0] == 200
        wait_until("b is out", lambda: proxy.data_of("b") == "out")
        for i in range(0, KEYS, 10):
            assert conn.set(b"key:%d" % i, b"version2") == b"STORED"
            assert conn.ask(b"delete key:%d\r\n" % (i + 1)) == b"DELETED"
            assert conn.set(b"new:%d" % i, b"version2") == b"STORED"
        assert conn.ask(b"ms YSBi 8 b\r\nversion2\r\n") == b"HD"  # "a b"
        assert conn.set(b"stale", b"version2") == b"STORED"
        assert conn.ask(b"md stale I\r\n") == b"HD"
        assert nodes[1].items()[b"key:1"][2] == b"version1"
        say("it comes back while clients write")
        writer = Writer(proxy.port)
        writer.start()
        try:
            assert proxy.request("POST", "/v1/nodes/b/ready")[0] == 200
            wait_until("b is complete", lambda: proxy.data_of("b") == "complete", 30)
        finally:
            writer.end()
        assert writer.rounds > 0
        # A marked item lies on its leader, and the fill's reads do not use up its recache win.
        on_a = Raw(nodes[0].port)
        assert on_a.ask(b"mg stale\r\n") in (b"HD W X", b"HD X W")
        assert on_a.ask(b"md stale\r\n") == b"HD"
        on_a.close()

        def difference():
            return differences(nodes[0].items(), nodes[1].items())
        wait_until("both are equal", lambda: not difference())
        assert nodes[1].items()[b"new:0"][2] == b"version2"
        assert nodes[1].items()[b"a b"][2] == b"version2"
        flushes = stat(nodes[1], b"cmd_flush")
        assert flushes == (0 if is_diff else 1), flushes
        say("   a %s; %d writes meanwhile" % ("diff" if is_diff else "flush and copy",
                                                writer.rounds // 7))
        conn.close()


if __name__ == "__main__":
    main()
