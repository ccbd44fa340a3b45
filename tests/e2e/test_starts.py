# SPDX-License-Identifier: BSD-2-Clause
"""First starts with something missing, pools of one node, and nodes that talk nonsense."""
import socket
import threading
import time

from harness import Everwarm, Memcached, Raw, running, say, wait_until


def one_of_two_is_dead():
    say("first start with one of two nodes dead")
    nodes = [Memcached().up(), Memcached()]
    proxy = Everwarm(nodes)
    with running(*nodes, proxy):
        begin = time.monotonic()
        proxy.up(5)
        say("   serves after %.2f s" % (time.monotonic() - begin))
        conn = Raw(proxy.port)
        assert conn.set(b"k", b"v") == b"STORED"
        assert conn.get(b"k") == {b"k": (0, b"v")}
        nodes[1].up()
        wait_until("b is complete", lambda: proxy.data_of("b") == "complete", 20)
        assert nodes[1].items()[b"k"][2] == b"v"
        conn.close()


def pool_of_one():
    say("a pool of one node, and its restarts")
    node = Memcached().up()
    proxy = Everwarm([node]).up()
    with running(node, proxy):
        conn = Raw(proxy.port)
        for i in range(3):
            assert conn.set(b"k", b"%d" % i) == b"STORED"
            assert conn.get(b"k") == {b"k": (0, b"%d" % i)}
            node.kill()
            assert conn.get(b"k") == {}
            assert conn.set(b"k", b"x").startswith(b"SERVER_ERROR")
            node.up()
            wait_until("it stores again", lambda: conn.set(b"k", b"y") == b"STORED")
        conn.close()


class Liar(threading.Thread):
    """Answers the greeting as memcached would, and everything else with nonsense."""

    def __init__(self, nonsense):
        super().__init__(daemon=True)
        self.nonsense = nonsense
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(64)
        self.port = self.listener.getsockname()[1]
        self.items = {}

    def run(self):
        while True:
            try:
                conn, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(conn,), daemon=True).start()

    def serve(self, conn):
        file = conn.makefile("rb")
        try:
            for line in file:
                words = line.split()
                if words[0] == b"stats":
                    conn.sendall(b"STAT pid 77\r\nSTAT uptime 10\r\nSTAT time %d\r\n"
                                 b"STAT version 1.6.18\r\nSTAT curr_items 0\r\n"
                                 b"STAT cmd_flush 0\r\nEND\r\n" % int(time.time()))
                elif words[0] == b"mn":
                    conn.sendall(b"MN\r\n")
                elif words[0] == b"mg":
                    if b"q" not in words:
                        conn.sendall(b"EN\r\n")
                elif words[0] == b"ms":
                    data = file.read(int(words[2]) + 2)
                    conn.sendall(b"HD c1\r\n" if b"c" in words or data == b"" else self.nonsense)
                else:
                    conn.sendall(self.nonsense)
        except (OSError, IndexError, ValueError):
            pass
        conn.close()

    def end(self):
        self.listener.close()


def nonsense():
    for words in (b"WHAT\r\n", b"VALUE other 0 3\r\nabc\r\nEND\r\n", b"VALUE k 0 99999999999\r\n",
                  b"VALUE k 0 -1\r\n\r\nEND\r\n", b"END\r\nEND\r\n", b"\0" * 4096,
                  b"VALUE " * 4000):
        say("a node that answers %r" % words[:24])
        liar = Liar(words)
        liar.start()
        good = Memcached().up()
        proxy = Everwarm([good, liar])
        with running(good, liar, proxy):
            proxy.up()
            conn = Raw(proxy.port)
            for i in range(40):
                key = b"k%d" % i
                begin = time.monotonic()
                found = conn.get(key)
                assert found == {}, found
                assert time.monotonic() - begin < 2
            conn.close()
            assert proxy.is_ready()


def main():
    one_of_two_is_dead()
    pool_of_one()
    nonsense()


if __name__ == "__main__":
    main()
