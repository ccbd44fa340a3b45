# SPDX-License-Identifier: BSD-2-Clause
"""S12: no client ever sees what another asked for, nor an answer to another of its own requests,
though nodes are frozen past every deadline, killed and started, connections are cut in the middle
of answers, and clients leave in the middle of their pipelines.

Every value says which key it belongs to, who wrote it, and as his how manieth. Each answer of a
pipeline is compared with its request. REPLIES=n: how many answers are looked at; a long run takes
a million and more.
"""
import os
import random
import socket
import threading
import time

from harness import Everwarm, Memcached, Raw, running, say, wait_until

REPLIES = int(os.environ.get("REPLIES", "100000"))
CLIENTS = 12
KEYS = 40
PIPELINE = 30
SECONDS_MAX = 200 if REPLIES <= 100000 else 3600
# Of a value in four parts by ':' the last is filler.
SIZES = (0, 10, 200, 3000, 40000)
ERRORS = (b"SERVER_ERROR ",)


class Mismatch(Exception):
    pass


class Client(threading.Thread):
    """Pipelines of reads and writes; all keys are everybody's."""

    def __init__(self, test, number):
        super().__init__(daemon=True)
        self.test = test
        self.number = number
        self.random = random.Random(number)
        self.sequence = 0
        self.replies = 0
        self.errors = 0
        self.lost = 0
        self.faults = []

    def key(self):
        return b"x%d" % self.random.randrange(KEYS)

    def value(self, key):
        self.sequence += 1
        return b"%s:%d:%d:" % (key, self.number, self.sequence) + \
            b"v" * self.random.choice(SIZES)

    def request(self):
        """(its text, what reads its answer)"""
        dice = self.random.randrange(10)
        key = self.key()
        if dice < 5:
            return b"get %s\r\n" % key, lambda conn: self.read_get(conn, [key])
        if dice < 7:
            keys = [self.key() for _ in range(5)]
            return b"get %s\r\n" % b" ".join(keys), lambda conn: self.read_get(conn, keys)
        if dice < 8:
            opaque = b"O%d-%d" % (self.number, self.random.randrange(1 << 30))
            return b"mg %s v k %s\r\n" % (key, opaque), \
                lambda conn: self.read_meta(conn, key, opaque)
        value = self.value(key)
        return b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value), self.read_set

    def check_value(self, key, value):
        parts = value.split(b":")
        if len(parts) != 4 or parts[0] != key or parts[3].strip(b"v"):
            raise Mismatch("%r was answered with %r" % (key, value[:60]))

    def read_get(self, conn, keys):
        at = 0
        while True:
            line = conn.line()
            if line == b"END":
                return
            if line.startswith(ERRORS):
                self.errors += 1
                return
            words = line.split(b" ")
            if words[0] != b"VALUE" or words[1] not in keys[at:]:
                raise Mismatch("%r was answered with %r" % (keys, line))
            at = keys.index(words[1], at) + 1
            self.check_value(words[1], conn.file.read(int(words[3]) + 2)[:-2])

    def read_meta(self, conn, key, opaque):
        line = conn.line()
        if line.startswith(ERRORS):
            self.errors += 1
            return
        words = line.split(b" ")
        if words[0] == b"EN":
            if words[1:] not in ([b"k" + key, opaque], []):
                raise Mismatch("mg %r %r was answered with %r" % (key, opaque, line))
            return
        if words[0] != b"VA" or words[2:] != [b"k" + key, opaque]:
            raise Mismatch("mg %r %r was answered with %r" % (key, opaque, line))
        self.check_value(key, conn.file.read(int(words[1]) + 2)[:-2])

    def read_set(self, conn):
        line = conn.line()
        if line.startswith(ERRORS):
            self.errors += 1
        elif line != b"STORED":
            raise Mismatch("a set was answered with %r" % line)

    def pipeline(self, conn):
        requests = [self.request() for _ in range(self.random.randrange(1, PIPELINE))]
        conn.send(b"".join(text for text, _ in requests))
        if self.random.randrange(60) == 0:
            return False  # nobody waits for the answers
        for _, read in requests:
            read(conn)
            self.replies += 1
        return True

    def run(self):
        conn = None
        while not self.test.is_over.is_set():
            try:
                conn = conn or Raw(self.test.port, timeout=20)
                if not self.pipeline(conn):
                    conn.close()
                    conn = None
            except (EOFError, socket.timeout, ConnectionError):
                self.lost += 1  # everwarm closed it: allowed while it has no lease
                conn = None
            except Exception as error:
                self.faults.append(repr(error))
                return


class Test:
    def __init__(self, port):
        self.port = port
        self.is_over = threading.Event()
        self.clients = [Client(self, number) for number in range(CLIENTS)]

    def replies(self):
        return sum(client.replies for client in self.clients)

    def faults(self):
        return [fault for client in self.clients for fault in client.faults]

    def end(self):
        self.is_over.set()
        for client in self.clients:
            client.join(30)
            assert not client.is_alive(), "a client hangs"
        assert not self.faults(), self.faults()[:5]


def wait_for_replies(test, count):
    end = time.monotonic() + 30
    before = test.replies()
    while test.replies() < before + count and not test.faults() and time.monotonic() < end:
        test.is_over.wait(0.02)


def disturb(test, nodes, proxy):
    """One fault after the other, one node at a time, so that a complete one is left."""
    dice = random.Random(5)
    begin = time.monotonic()
    counts = {"freeze": 0, "hiccup": 0, "kill": 0}
    while test.replies() < REPLIES and not test.faults():
        assert time.monotonic() - begin < SECONDS_MAX, "%d replies" % test.replies()
        node = dice.choice(nodes)
        what = dice.choice(("freeze", "hiccup", "hiccup", "kill"))
        counts[what] += 1
        if what == "kill":
            node.restart_at_once()
        else:
            node.freeze()
            # Past half of a request's time the node is given up; a shorter stop only makes it late.
            threading.Event().wait(1.5 if what == "freeze" else dice.random() * 0.8)
            node.thaw()
        wait_for_replies(test, 500)
        wait_until("all are complete", lambda: all(
            proxy.data_of(name) == "complete" for name in "abc"[:len(nodes)]), 60)
    return counts


def main():
    nodes = [Memcached().up() for _ in range(3)]
    # A frozen node is to be noticed by the requests that it does not answer, before the checks.
    proxy = Everwarm(nodes, health={"interval": "300ms", "timeout": "150ms", "fall": 8},
                     timeouts={"request": "2300ms"})
    with running(*nodes, proxy.up()):
        test = Test(proxy.port)
        for client in test.clients:
            client.start()
        with running(test):
            counts = disturb(test, nodes, proxy)
        timeouts = sum(proxy.node(name)["traffic"]["errors"]["timeout"] for name in "abc")
        assert timeouts > 0, "no request passed its time: nothing was tried"
        say("%d replies, %d errors, %d connections lost; %s; %d links timed out" % (
            test.replies(), sum(c.errors for c in test.clients),
            sum(c.lost for c in test.clients), counts, timeouts))
        assert test.replies() >= REPLIES


if __name__ == "__main__":
    main()
