#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Compare the simulator's model memcached with a real one: random programs, equal replies.

Usage: model_check.py SIM [PROGRAMS [SEED [MEMCACHED]]]. Seconds left may differ by one.
"""

import os
import random
import re
import socket
import subprocess
import sys
import tempfile

KEYS = ["a", "b", "kk", "long-%s" % ("x" * 200)]
END = b"MN\r\n"


class Real:
    def __init__(self, folder, program):
        path = os.path.join(folder, "socket")
        # Background threads hold items now and then, which shows in where decr leaves blanks.
        self.process = subprocess.Popen(
            [program, "-u", "root", "-s", path, "-t", "1", "-o",
             "no_lru_crawler,no_lru_maintainer"])
        self.socket = socket.socket(socket.AF_UNIX)
        for _ in range(10 ** 6):
            try:
                self.socket.connect(path)
                return
            except OSError:
                if self.process.poll() is not None:
                    raise SystemExit("memcached did not start")
        raise SystemExit("memcached does not listen")

    def ask(self, text):
        self.socket.sendall(text + b"mn\r\n")
        answer = b""
        while not answer.endswith(END):
            more = self.socket.recv(65536)
            if not more:
                return answer + b"<closed>"
            answer += more
        return answer

    def close(self):
        self.process.terminate()
        self.process.wait()


class Model:
    def __init__(self, sim):
        self.process = subprocess.Popen(
            [sim, "--model"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)

    def ask(self, text):
        self.process.stdin.write(text + b"mn\r\n")
        answer = b""
        while not answer.endswith(END):
            more = self.process.stdout.read(65536)
            if not more:
                return answer + b"<closed>"
            answer += more
        return answer

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def value(r):
    return r.choice(["", "5", "99", "100", "1 ", " 7", "9007199254740993", "x", "12ab",
                     "-3", "v" * r.randrange(30), "a\r\nb"])


def ttl(r):
    return r.choice([0, 0, 0, 1000, 5000, -1, 2592000, 2592001, 4000000000 - 2 ** 31])


def flags(r, choices, count):
    words = []
    for flag in r.sample(choices, r.randrange(count + 1)):
        words.append(flag(r) if callable(flag) else flag)
    return "".join(" " + w for w in words)


def command(r, known):
    key = r.choice(KEYS)
    noreply = r.choice(["", "", "", " noreply"])
    number = r.choice(known) if known and r.random() < 0.6 else r.randrange(30)
    kind = r.randrange(16)
    if kind == 0:
        return "%s %s" % (r.choice(["get", "gets"]), " ".join(r.choices(KEYS, k=r.randrange(1, 5))))
    if kind == 1:
        return "%s %d %s" % (r.choice(["gat", "gats"]), ttl(r), " ".join(r.choices(KEYS, k=2)))
    if kind in (2, 3):
        v = value(r)
        word = r.choice(["set", "set", "add", "replace", "append", "prepend"])
        return "%s %s %d %d %d%s\r\n%s" % (word, key, r.randrange(2 ** 32), ttl(r), len(v),
                                           noreply, v)
    if kind == 4:
        v = value(r)
        return "cas %s %d %d %d %d%s\r\n%s" % (key, r.randrange(9), ttl(r), len(v), number,
                                               noreply, v)
    if kind == 5:
        return "delete %s%s" % (key, noreply)
    if kind == 6:
        delta = r.choice([0, 1, 7, 95, 2 ** 62])
        return "%s %s %d%s" % (r.choice(["incr", "decr"]), key, delta, noreply)
    if kind == 7:
        return "touch %s %d%s" % (key, ttl(r), noreply)
    if kind in (8, 9):
        return "mg %s%s" % (key, flags(r, ["v", "f", "t", "c", "k", "s", "u", "q", "Oab",
                                           lambda r: "T%d" % ttl(r)], 8))
    if kind in (10, 11):
        v = value(r)
        c = "C%d" % number
        return "ms %s %d%s\r\n%s" % (
            key, len(v), flags(r, ["q", "k", "c", "Ozz", c, c, "MS", "ME", "MA", "MP", "MR",
                                   lambda r: "F%d" % r.randrange(2 ** 32),
                                   lambda r: "T%d" % ttl(r)], 6), v)
    if kind == 12:
        return "md %s%s" % (key, flags(r, ["q", "k", "O1", "C%d" % number], 4))
    if kind == 13:
        return "ma %s%s" % (key, flags(r, ["q", "v", "t", "c", "k", "O1", "C%d" % number, "MI",
                                           "MD", "D5", "D90"], 6))
    if kind == 14:
        return r.choice(["version", "mg %s E1" % key, "ms %s 1 E5\r\nx" % key, "nonsense",
                         "mg %s v v" % key, "ms %s 1 MX\r\nx" % key,
                         "flush_all" + noreply])
    return "mg %s c" % key


def same(a, b):
    pattern = re.compile(rb" t(\d+)")
    times = list(zip(pattern.findall(a), pattern.findall(b)))
    return (pattern.sub(b" t", a) == pattern.sub(b" t", b)
            and all(abs(int(x) - int(y)) <= 1 for x, y in times))


def main():
    sim = sys.argv[1]
    programs = int(sys.argv[2]) if len(sys.argv) > 2 else 200
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    memcached = sys.argv[4] if len(sys.argv) > 4 else "memcached"
    count = 0
    for number in range(seed, seed + programs):
        r = random.Random(number)
        with tempfile.TemporaryDirectory() as folder:
            real, model, known, log = Real(folder, memcached), Model(sim), [], []
            for _ in range(300):
                text = command(r, known).encode() + b"\r\n"
                log.append(text)
                want, got = real.ask(text), model.ask(text)
                known += [int(c) for c in re.findall(rb" c?(\d+)\r\n", want)]
                known = [c for c in known if c < 2 ** 63][-8:]
                count += 1
                if not same(want, got):
                    print("program %d:" % number)
                    for line in log[-12:]:
                        print("   ", line)
                    print("real  %r\nmodel %r" % (want, got))
                    real.close()
                    model.close()
                    return 1
            real.close()
            model.close()
    print("%d commands in %d programs: equal replies" % (count, programs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
