# SPDX-License-Identifier: BSD-2-Clause
"""Slow readers and slow writers (S14): closed, counted, bounded in memory, no trouble to others.

`limits.client_stall` is short here; what it means at each length is tests/unit/test_shell_slow.c's.
"""
import json
import re
import select
import socket
import threading
import time

from harness import Everwarm, Memcached, Raw, running, say, wait_until

READERS = 40
WRITERS = 1000
LEAVERS = 100
ITEM = 1 << 20
MEMORY = 64 << 20
STALL_S = 0.8
SANITIZED_BYTES = 1 << 40  # so much virtual memory has only a sanitizer's shadow


def metric(proxy, name, labels):
    text = proxy.request("GET", "/metrics")[1]
    return float(re.search(r"^everwarm_%s\{%s\} (\S+)$" % (name, re.escape(labels)), text,
                           re.M).group(1))


def closed_as_slow(proxy):
    return metric(proxy, "client_closes_total", 'reason="slow"')


class Good(threading.Thread):
    """A client that means well, and how long its requests take."""

    def __init__(self, proxy):
        super().__init__(daemon=True)
        self.proxy = proxy
        self.is_over = threading.Event()
        self.took = []
        self.refused = 0
        self.fault = None

    def run(self):
        try:
            conn = Raw(self.proxy.port)
            while not self.is_over.is_set():
                begin = time.monotonic()
                answer = conn.ask(b"get small\r\n")
                if answer == b"VALUE small 0 1":
                    assert conn.line() == b"v" and conn.line() == b"END"
                else:
                    # Memory is out, or what others asked for has taken the time (docs/limits.md).
                    assert answer in (b"END", b"SERVER_ERROR out of memory"), answer
                    self.refused += 1
                self.took.append(time.monotonic() - begin)
                self.is_over.wait(0.002)
            conn.close()
        except Exception as error:
            self.fault = error

    def end(self):
        self.is_over.set()
        self.join(20)
        assert self.fault is None, repr(self.fault)
        say("   a good client asked %d times, refused %d" % (len(self.took), self.refused))
        took = sorted(self.took)
        return took[len(took) // 2] * 1e6, took[len(took) * 99 // 100] * 1e6


def measured(proxy, what):
    """Do WHAT while a good client asks; its median and 99th percentile in microseconds."""
    good = Good(proxy)
    good.start()
    what()
    wait_until("there are samples", lambda: good.fault or len(good.took) > 300, 30)
    return good.end()


def resident(proxy):
    stats = proxy.stats()
    if stats["memory"]["virtual_bytes"] > SANITIZED_BYTES:
        return 0
    return stats["memory"]["resident_bytes"]


def connect(proxy, receive=None):
    conn = socket.socket()
    if receive:
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    conn.connect(("127.0.0.1", proxy.port))
    return conn


def is_ended(conn):
    """Whether the other side has closed; nothing is read."""
    poll = select.poll()
    poll.register(conn, select.POLLRDHUP)
    return any(what & (select.POLLRDHUP | select.POLLHUP | select.POLLERR)
               for _, what in poll.poll(0))


def ask_and_never_read(proxy, count, times):
    conns = []
    for _ in range(count):
        conn = connect(proxy, 4096)
        conn.sendall(b"get big\r\n" * times)
        conns.append(conn)
    return conns


def few_that_never_read(proxy):
    say("4 clients ask for 8 MB each and never read: all are closed")
    before = closed_as_slow(proxy)
    conns = ask_and_never_read(proxy, 4, 8)
    wait_until("all are closed", lambda: all(is_ended(conn) for conn in conns), 30)
    wait_until("all are counted", lambda: closed_as_slow(proxy) == before + len(conns))
    for conn in conns:
        conn.close()


def many_that_never_read(proxy):
    say("%d clients ask for 8 MB each and never read" % READERS)
    before = closed_as_slow(proxy)
    peak = [resident(proxy)]
    conns = []

    def nothing_is_owed():
        peak.append(resident(proxy))
        status, answer = proxy.request("GET", "/v1/clients?limit=1000")
        return status == 200 and not any(
            client["owed_bytes"] or client["in_flight"] for client in answer["clients"]
            if client["sent_bytes"] > ITEM or client["blocked"])

    def attack():
        conns.extend(ask_and_never_read(proxy, READERS, 8))
        # Where memory is out some are answered with errors, which are short: they stay.
        wait_until("none is owed anything", nothing_is_owed, 60)

    median, slowest = measured(proxy, attack)
    closed = closed_as_slow(proxy) - before
    wait_until("all are counted",
               lambda: sum(is_ended(conn) for conn in conns) == closed_as_slow(proxy) - before)
    for conn in conns:
        conn.close()
    grown = max(peak) - peak[0]
    say("   %d closed as slow; memory grew by %d MiB of %d; others: p50 %.0f us, p99 %.0f us"
        % (closed, grown >> 20, MEMORY >> 20, median, slowest))
    assert closed >= READERS / 4
    assert grown <= MEMORY * 1.1 + (16 << 20), "memory is not bounded"


def reader_that_is_slow_but_reads(proxy):
    say("a client that reads slowly, for many stalls, gets all")
    before = closed_as_slow(proxy)
    conn = connect(proxy, 65536)
    conn.sendall(b"get big\r\n" * 12)
    wanted = 12 * (len(b"VALUE big 0 %d\r\n\r\nEND\r\n" % ITEM) + ITEM)
    begin = time.monotonic()
    got = 0
    pause = threading.Event()
    while got < wanted:
        piece = conn.recv(65536)
        assert piece, "closed after %d bytes" % got
        got += len(piece)
        pause.wait(65536 * 5 * STALL_S / wanted)
    conn.close()
    assert time.monotonic() - begin > 3 * STALL_S
    assert closed_as_slow(proxy) == before


def clients_that_leave(proxy):
    say("clients that say quit, or nothing more, behind their request get all of its answer first")
    before = closed_as_slow(proxy)
    ask = b"get big\r\n" * 4
    answer = (b"VALUE big 0 %d\r\n" % ITEM + b"b" * ITEM + b"\r\nEND\r\n") * 4
    for number in range(LEAVERS):
        conn = connect(proxy)
        if number % 2 == 0:
            conn.sendall(ask + b"quit\r\n")
        else:
            conn.sendall(ask)
            conn.shutdown(socket.SHUT_WR)
        got = bytearray()
        while piece := conn.recv(1 << 20):
            got += piece
        conn.close()
        assert got == answer, "%d bytes of %d" % (len(got), len(answer))
    assert closed_as_slow(proxy) == before


DRIPS = [
    b"get aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    b"set k 0 0 1000000\r\nvvvv",
    b"set k 0 0 99999999\r\nvvvv",  # too large: what is swallowed counts too
    b"\x80\x01\x00\x01\x08\x00\x00\x00",
    b"\x80\x01\x00\x01\x08\x00\x00\x00\x00\x0f\x00\x00" + b"\0" * 20 + b"k",
]


def writers_that_drip(proxy):
    say("%d clients send a byte now and then, in a line or in a value" % WRITERS)
    before = closed_as_slow(proxy)
    start = resident(proxy)
    left = []

    def attack():
        for i in range(WRITERS):
            conn = connect(proxy)
            conn.sendall(DRIPS[i % len(DRIPS)])
            left.append(conn)
        grown = resident(proxy) - start
        assert grown < 64 << 20, "what is declared was taken: %d MiB" % (grown >> 20)

        def drip():
            for conn in list(left):
                if is_ended(conn):
                    conn.close()
                    left.remove(conn)
                else:
                    try:
                        conn.sendall(b"x")
                    except OSError:
                        pass
            return not left
        wait_until("all are closed", drip, 60)

    median, slowest = measured(proxy, attack)
    wait_until("all are counted", lambda: closed_as_slow(proxy) == before + WRITERS)
    say("   closed as slow; others: p50 %.0f us, p99 %.0f us" % (median, slowest))


def clients_that_are_none_of_it(proxy):
    say("idle clients stay, and one whose requests come byte by byte; so does a thin line")
    before = closed_as_slow(proxy)
    idle = [connect(proxy) for _ in range(50)]
    asked = Raw(proxy.port)
    assert asked.get(b"small")
    value = Raw(proxy.port)
    value.send(b"set thin 0 0 %d\r\n" % ITEM)
    byte_by_byte = Raw(proxy.port)
    begin = time.monotonic()
    sent = 0
    pause = threading.Event()
    while sent < ITEM:
        for byte in b"get small\r\n":
            byte_by_byte.send(bytes([byte]))
            pause.wait(0.005)
        assert byte_by_byte.values() == {b"small": (0, b"v")}
        piece = min(ITEM // 50, ITEM - sent)
        value.send(b"t" * piece)
        sent += piece
    assert time.monotonic() - begin > 2 * STALL_S
    assert value.ask(b"\r\n") == b"STORED"
    assert asked.get(b"small") and not any(is_ended(conn) for conn in idle)
    assert closed_as_slow(proxy) == before
    for conn in idle + [asked, value, byte_by_byte]:
        conn.close()


def put_stall_in_effect(proxy, stall):
    changes = {"limits": dict(proxy.config["limits"], client_stall=stall)}
    with open(proxy.file.name, "w") as file:
        json.dump(dict(proxy.config, **changes), file)
    status, answer = proxy.request("POST", "/v1/config/reload")
    assert status == 200 and answer["changes"][0]["applied"], answer


def stall_is_live(proxy):
    say("limits.client_stall changes while it runs")
    conn = connect(proxy)
    conn.sendall(b"get ")
    put_stall_in_effect(proxy, "10m")
    end = time.monotonic() + 3 * STALL_S
    wait_until("it would have been closed", lambda: time.monotonic() > end)
    assert not is_ended(conn)
    put_stall_in_effect(proxy, "100ms")
    wait_until("it is closed", lambda: is_ended(conn), 5)
    conn.close()


def main():
    nodes = [Memcached(["-I", "2m"]).up(), Memcached(["-I", "2m"]).up()]
    proxy = Everwarm(nodes, limits={"memory": "%db" % MEMORY, "client_output": "2mb",
                                    "client_stall": "%dms" % (STALL_S * 1000)},
                     max_clients=4000)
    with running(*nodes, proxy):
        proxy.up()
        conn = Raw(proxy.port)
        assert conn.set(b"small", b"v") == b"STORED"
        assert conn.set(b"big", b"b" * ITEM) == b"STORED"
        conn.close()
        median, slowest = measured(proxy, lambda: None)
        say("calm: p50 %.0f us, p99 %.0f us" % (median, slowest))
        few_that_never_read(proxy)
        many_that_never_read(proxy)
        reader_that_is_slow_but_reads(proxy)
        clients_that_leave(proxy)
        writers_that_drip(proxy)
        clients_that_are_none_of_it(proxy)
        stall_is_live(proxy)
        assert proxy.process.poll() is None


if __name__ == "__main__":
    main()
