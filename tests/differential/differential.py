#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Random programs of classic and meta commands, to one memcached 1.6.38 and to everwarm in front of
one and of three nodes, of both versions of memcached: the answers must be the same bytes, and the
nodes' copies equal afterwards.

usage: differential.py [--commands N] [--seed S] [--nodes K] [--memcached PROGRAM]
                       --reference PROGRAM

A program is a few pipelines over a few keys. Its commands may name a CAS that an earlier pipeline
was shown; each side is sent its own. A difference is shrunk to a small program before it is shown;
the same seed makes the same programs. $EVERWARM is the proxy, as for the end-to-end tests.
"""
import argparse
import base64
import pathlib
import random
import re
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
import harness

PIPELINES_MAX = 6
COMMANDS_MAX = 40
KEYS = 5
# memcached counts in place, unless an answer on its way still holds the item. Only in place it
# leaves spaces behind a number that becomes shorter, and the item as stale as it was: all that
# depends on time, on both sides. So keys whose numbers go down begin with this one, whose length
# then does not change, and the others only grow.
NUMBER = 5000000000000000000
ANSWER_SECONDS_MAX = 20.0
SHRINK_SECONDS_MAX = 60.0
# Far enough from each other that a second more or less changes none into another.
EXPIRIES = (0, 0, 0, -1, 100, 1000, 100000)
TTL_SLACK_S = 60

CAS_COUNTED_MAX = 1 << 40

CAS_NAME = re.compile(rb"\{(\d+)\}")


class Command:
    """TEXT has {N} for the N-th CAS that was shown before this pipeline. IS_LAST: nothing may
    follow it in its pipeline, because it takes the win of a stale item and gives it back (see
    docs/protocol.md)."""

    def __init__(self, text, is_last=False):
        self.text = text
        self.is_last = is_last


class Generator:
    def __init__(self, rng, is_old):
        self.rng = rng
        self.is_old = is_old  # the nodes are 1.6.18
        self.prefix = b""
        self.shown = 0  # CAS values that may have been shown so far
        self.stale = set()  # keys that may be marked stale
        self.marked = set()  # keys that may lie on their leader alone

    def chance(self, percent):
        return self.rng.random() * 100 < percent

    def keys(self):
        return [self.prefix + b"k%d" % number for number in range(KEYS)]

    def key(self):
        return self.rng.choice(self.keys())

    @staticmethod
    def counts_down(key):
        return key[-1] in b"01"

    def value(self, key, is_added=False):
        """IS_ADDED: it goes before or behind another value."""
        kind = self.rng.randrange(10)
        if is_added and kind < 9:
            return self.rng.choice((b"", b"x", b"yz\xff", b"Q" * 2030))
        if kind < 4 and self.counts_down(key):
            return b"%d" % (NUMBER + self.rng.randrange(100))
        if kind < 4:
            return b"%d" % self.rng.choice((0, 1, 9, 10, 99, 999999999, 9999999999999999))
        if kind < 5:
            return b""
        if kind < 9:
            # Not of white space alone: memcached looks for its number in the memory behind it.
            return b"a" + bytes(self.rng.choice(b"ab\r\n\0 X\xff")
                                for _ in range(self.rng.randrange(40)))
        return b"v" * self.rng.choice((1000, 2030, 8190, 16384, 70000))

    def cas(self):
        if self.shown and self.chance(85):
            return b"{%d}" % self.rng.randrange(self.shown)
        return self.rng.choice((b"0", b"1", b"18446744073709551615"))

    def expiry(self):
        return b"%d" % self.rng.choice(EXPIRIES)

    def number(self):
        return b"%d" % self.rng.choice((0, 1, 5, 100))

    def noreply(self):
        return b" noreply" if self.chance(15) else b""

    # -- classic --

    def store(self):
        key = self.key()
        word = self.rng.choice((b"set", b"set", b"set", b"add", b"replace", b"append", b"prepend",
                                b"cas", b"cas"))
        value = self.value(key, word in (b"append", b"prepend"))
        cas = b" " + self.cas() if word == b"cas" else b""
        if word == b"set":
            self.stale.discard(key)
        return Command(b"%s %s %d %s %d%s%s\r\n%s\r\n" % (
            word, key, self.rng.choice((0, 7, 4294967295)), self.expiry(), len(value), cas,
            self.noreply(), value))

    def get(self):
        words = [self.rng.choice((b"get", b"gets"))]
        if self.chance(20):
            words = [self.rng.choice((b"gat", b"gats")), self.expiry()]
        if words[0].endswith(b"s"):
            self.pending += 1
        keys = [self.key() for _ in range(self.rng.randrange(1, 7))]
        return Command(b" ".join(words + keys) + b"\r\n")

    def many(self):
        """A multiget of up to 10,000 keys, many of them again and again."""
        count = self.rng.choice((100, 300, 1000, 10000))
        keys = self.keys() + [self.prefix + b"absent"]
        return Command(b"get " + b" ".join(self.rng.choices(keys, [1] * KEYS + [40], k=count)) +
                       b"\r\n")

    def delete(self):
        return Command(b"delete %s%s\r\n" % (self.key(), self.noreply()))

    def fresh_key(self):
        """Not one that may be marked: a count that is not in place unmarks it."""
        keys = [key for key in self.keys() if key not in self.stale | self.marked]
        return self.rng.choice(keys) if keys else self.prefix + b"other"

    def delta(self):
        key = self.fresh_key()
        word = self.rng.choice((b"incr", b"decr")) if self.counts_down(key) else b"incr"
        return Command(b"%s %s %s%s\r\n" % (word, key, self.number(), self.noreply()))

    def touch(self):
        return Command(b"touch %s %s%s\r\n" % (self.key(), self.expiry(), self.noreply()))

    # -- meta --

    def meta(self, word, key, behind, flags, is_base64):
        """FLAGS and some of those that every command takes, in any order."""
        if self.chance(20):
            flags = flags + [b"q"]
        if self.chance(25):
            flags = flags + [b"O%d" % self.rng.randrange(1000)]
        if self.chance(30) and not (is_base64 and word == b"mg"):
            flags = flags + [b"k"]
        if is_base64:
            key = base64.b64encode(key)
            flags = flags + [b"b"]
        flags = list(dict.fromkeys(flags))
        self.rng.shuffle(flags)
        return b" ".join([word, key] + behind + flags) + b"\r\n"

    def some(self, letters, percent=25):
        return [bytes((letter,)) for letter in letters if self.chance(percent)]

    def mg(self):
        key = self.key()
        flags = self.some(b"vfsthlcu")
        if self.chance(10):
            flags.append(b"N" + self.expiry())
            self.marked.add(key)
        if self.chance(10):
            flags.append(b"T" + self.expiry())
        if self.chance(10):
            flags.append(b"R" + self.rng.choice((b"30", b"500", b"5000", b"-1")))
            self.marked.add(key)
        self.pending += b"c" in flags
        return Command(self.meta(b"mg", key, [], flags, self.chance(10)))

    def ms(self):
        key = self.key()
        flags = self.some(b"cs")
        mode = self.rng.choice((b"", b"", b"", b"", b"S", b"E", b"R", b"A", b"P"))
        is_added = mode in (b"A", b"P")
        if is_added and self.is_old and key in self.stale:
            return self.mistake()  # giving a win back without E changes the CAS
        is_last = is_added and key in self.stale
        value = self.value(key, is_added)
        if mode:
            flags.append(b"M" + mode)
        if self.chance(30):
            is_mark = self.chance(30)
            # Which of two keys' CAS is older is not to be known; 1 is older than all.
            flags.append(b"C" + (b"1" if is_mark else self.cas()))
            if is_mark:
                flags.append(b"I")
                self.stale.add(key)
                self.marked.add(key)
        elif mode in (b"", b"S"):
            self.stale.discard(key)
        if self.chance(30):
            flags.append(b"F%d" % self.rng.choice((0, 3, 4294967295)))
        if self.chance(30):
            flags.append(b"T" + self.expiry())
        if self.chance(20) and not self.is_old:
            flags.append(b"N" + self.expiry())
        self.pending += b"c" in flags
        return Command(self.meta(b"ms", key, [b"%d" % len(value)], flags, self.chance(10)) +
                       value + b"\r\n", is_last)

    def md(self):
        key = self.key()
        flags = []
        if self.chance(25):
            flags.append(b"C" + self.cas())
        if self.chance(35):
            flags.append(b"I")
            self.stale.add(key)
            self.marked.add(key)
        if self.chance(30):
            flags.append(b"T" + self.expiry())
        # Not x: it keeps the item's CAS, and ours gives it a new one.
        return Command(self.meta(b"md", key, [], flags, self.chance(10)))

    def ma(self):
        key = self.fresh_key()
        # Not c and T: where memcached can't count in place, they speak of the old item.
        flags = self.some(b"vt")
        if self.chance(30):
            flags.append(b"N" + self.expiry())
            flags.append(b"J%d" % (NUMBER if self.counts_down(key) else 7))
        if self.chance(40):
            flags.append(b"D" + self.number())
        if self.chance(40):
            flags.append(b"M" + self.rng.choice((b"I", b"D", b"+", b"-") if self.counts_down(key)
                                                else (b"I", b"+")))
        if self.chance(20):
            flags.append(b"C" + self.cas())
        return Command(self.meta(b"ma", key, [], flags, self.chance(10)))

    def me(self):
        return Command(b"me %s\r\n" % self.key())

    # -- mistakes --

    def mistake(self):
        key = self.key()
        texts = (b"mg", b"mg %s z", b"mg %s v v", b"ms %s", b"ms %s x", b"md %s Cx", b"ma %s MX",
                 b"get", b"incr %s x", b"touch %s", b"delete %s 1", b"nonsense %s", b"", b" ",
                 b"mg %s O" + b"o" * 40, b"cas %s 0 0 1", b"verbosity", b"mg %s " + b"v " * 30,
                 b"me", b"mn %s", b"MG %s", b"gat", b"gat x %s", b"gets\t%s", b"m %s")
        text = self.rng.choice(texts)
        return Command((text % key if b"%s" in text else text) + self.rng.choice((b"\r\n", b"\n")))

    def bad_data(self):
        return Command(self.rng.choice((b"set %s 0 0 2\r\nabcd\r\n", b"ms %s 3 q\r\nab\r\nmn\r\n",
                                        b"set %s 0 0 3 noreply\r\nabcde\r\n",
                                        b"ms %s 2 z\r\nab\r\n",
                                        b"add %s 0 0 -1\r\nx\r\n")) % self.key())

    def program(self, prefix):
        """A list of pipelines."""
        self.prefix = prefix
        self.shown = 0
        self.stale, self.marked = set(), set()
        kinds = ((self.store, 22), (self.get, 18), (self.delete, 4), (self.delta, 7),
                 (self.touch, 4), (self.mg, 16), (self.ms, 14), (self.md, 6), (self.ma, 8),
                 (self.me, 1), (self.mistake, 3), (self.bad_data, 1))
        if self.chance(2):
            kinds += ((self.many, 10),)
        makers = [maker for maker, _ in kinds]
        weights = [weight for _, weight in kinds]
        pipelines = []
        for _ in range(self.rng.randrange(1, PIPELINES_MAX + 1)):
            self.pending = 0
            pipeline = []
            for maker in self.rng.choices(makers, weights, k=self.rng.randrange(1, COMMANDS_MAX)):
                pipeline.append(maker())
                if pipeline[-1].is_last:
                    break
            pipelines.append(pipeline)
            self.shown += self.pending
        return pipelines


# -- answers -------------------------------------------------------------------


class Answers:
    """One side's answers to one program, made comparable: times become classes, and a CAS only
    shows whether there is one. What it is worth is seen when a later pipeline uses it; two keys may
    have the same one, since what a node counts by itself is not told apart from another's."""

    def __init__(self):
        self.shown = []

    def number(self, cas):
        if cas == b"0":
            return b"0"
        self.shown.append(cas)
        return b"#"

    @staticmethod
    def ttl(text):
        ttl = int(text)
        if ttl == -1:
            return b"never"
        if ttl > 2 ** 31:
            return b"past"
        for expiry in sorted(set(EXPIRIES)):
            if expiry - TTL_SLACK_S <= ttl <= expiry + 2:
                return b"%d" % expiry
        return text

    def word(self, word):
        letter = word[:1]
        if letter == b"c" and word[1:].isdigit():
            return b"c" + self.number(word[1:])
        if letter == b"t" and word[1:].lstrip(b"-").isdigit():
            return b"t" + self.ttl(word[1:])
        if letter in (b"l", b"h") and word[1:].isdigit():
            return letter  # h of an item that was counted depends on time in the same way
        return word

    def line(self, line):
        words = line.split(b" ")
        if words[0] == b"VALUE" and len(words) == 5:
            words[4] = self.number(words[4])
        elif words[0] in (b"HD", b"VA", b"NS", b"EX", b"NF", b"EN"):
            words = [self.word(word) for word in words]
            if b"b" in words:
                # Whether an item remembers that its key came in base64 depends on how it was
                # counted.
                at = words.index(b"b")
                words[at - 1:at + 1] = [b"k" + base64.b64decode(words[at - 1][1:])]
        elif words[0] == b"ME":
            # Not the key: how it is spelled depends on time, as above.
            words = words[:1] + [word.split(b"=")[0] for word in words[2:]]
        else:
            return line
        return b" ".join(words)

    def lines(self, data):
        """The parts of DATA: lines, and data blocks whole."""
        parts, at = [], 0
        while at < len(data):
            end = data.index(b"\n", at) + 1
            line = data[at:end]
            size = 0
            if line.startswith(b"VALUE "):
                size = int(line.split(b" ")[3]) + 2
            elif line.startswith(b"VA "):
                size = int(line.split(b" ")[1]) + 2
            parts.append(self.line(line[:-2]))
            if size:
                parts.append(data[end:end + size])
            at = end + size
        return parts


class Side:
    def __init__(self, port):
        self.port = port
        self.raw = harness.Raw(port, ANSWER_SECONDS_MAX)
        self.syncs = 0

    def begin(self):
        self.answers = Answers()

    def run(self, pipeline, usable=()):
        """The comparable answers to a pipeline; USABLE: of each CAS that was shown, whether."""
        shown = self.answers.shown

        def own(match):
            index = int(match.group(1))
            return shown[index] if index < len(usable) and usable[index] else b"1"

        text = b"".join(CAS_NAME.sub(own, command.text) for command in pipeline)
        self.syncs += 1
        sync = b"EN Osync%d\r\n" % self.syncs
        self.raw.send(text + b"mg nothing Osync%d\r\n" % self.syncs)
        data = bytearray()
        while not data.endswith(sync):
            more = self.raw.socket.recv(1 << 20)
            if not more:
                raise EOFError("closed after %r" % bytes(data[-200:]))
            data += more
        return self.answers.lines(bytes(data))[:-1]

    def end(self):
        self.raw.close()


class Pair:
    """The reference and everwarm, and what they answer differently."""

    def __init__(self, reference, proxy, nodes):
        self.ports = (reference.port, proxy.port)
        self.nodes = nodes
        self.sides = [Side(port) for port in self.ports]

    def difference(self, pipelines):
        """None, or (pipeline number, expected, got)."""
        for side in self.sides:
            side.begin()
        for number, pipeline in enumerate(pipelines):
            # One that a node counted by itself may be another key's too.
            usable = [int(cas) > CAS_COUNTED_MAX for cas in self.sides[1].answers.shown]
            try:
                expected, got = [side.run(pipeline, usable) for side in self.sides]
            except (OSError, EOFError, ValueError) as error:
                for side in self.sides:
                    side.end()
                self.sides = [Side(port) for port in self.ports]
                return number, ["an answer"], [repr(error)]
            if expected != got:
                return number, expected, got
        return None

    def copies(self, prefix, marked):
        """What the nodes' copies of a program's keys differ in; a key that may be marked lies on
        one node alone."""
        found = []
        for number in range(KEYS):
            key = prefix + b"k%d" % number
            seen = []
            for node in self.nodes:
                side = Side(node.port)
                side.begin()
                seen.append(tuple(side.run([Command(b"mg %s v f t u\r\n" % key)])))
                side.end()
            there = {copy for copy in seen if copy != (b"EN",)}
            is_alone = len(there) == 1 and seen.count((b"EN",)) == len(seen) - 1
            if len(set(seen)) > 1 and not (key in marked and is_alone):
                found.append((key, seen))
        return found

    def end(self):
        for side in self.sides:
            side.end()


# -- shrinking -----------------------------------------------------------------


def renamed(pipelines, old, new):
    def text(command):
        out = command.text.replace(old, new)
        for number in range(KEYS):
            before, after = (base64.b64encode(p + b"k%d" % number) for p in (old, new))
            out = out.replace(before, after)
        return out
    return [[Command(text(command), command.is_last) for command in pipeline]
            for pipeline in pipelines]


def shrink(pair, pipelines, prefix, fresh):
    """A program with as few commands as possible that is still answered differently."""
    end = time.monotonic() + SHRINK_SECONDS_MAX

    def differs(candidate):
        new = fresh()
        return pair.difference(renamed(candidate, prefix, new)) is not None

    size = max(1, sum(map(len, pipelines)) // 2)
    while size > 0 and time.monotonic() < end:
        flat = [(p, c) for p, pipeline in enumerate(pipelines) for c in range(len(pipeline))]
        is_smaller = False
        for at in range(0, len(flat), size):
            gone = set(flat[at:at + size])
            candidate = [[command for c, command in enumerate(pipeline) if (p, c) not in gone]
                         for p, pipeline in enumerate(pipelines)]
            if differs(candidate):
                pipelines = candidate
                is_smaller = True
                break
        if not is_smaller:
            size //= 2
    return pipelines


def show(pipelines, difference):
    number, expected, got = difference
    for index, pipeline in enumerate(pipelines):
        for command in pipeline:
            print("  %d > %r" % (index, command.text if len(command.text) < 300
                                 else command.text[:300] + b"..."))
    for index, (a, b) in enumerate(zip(expected + [None] * len(got), got + [None] * len(expected))):
        if a != b:
            print("  in pipeline %d, part %d of the answers:" % (number, index))
            print("    memcached: %r" % (a if a is None or len(a) < 300 else a[:300]))
            print("    everwarm:  %r" % (b if b is None or len(b) < 300 else b[:300]))
            return


# -- the run -------------------------------------------------------------------


def run(pair, options, is_old):
    rng = random.Random(options.seed)
    generator = Generator(rng, is_old)
    serial = 0
    prefixes = iter(range(1 << 30))

    def fresh():
        return b"d%06d-" % next(prefixes)

    while serial < options.commands:
        prefix = fresh()
        pipelines = generator.program(prefix)
        serial += sum(map(len, pipelines))
        difference = pair.difference(pipelines)
        if difference is not None:
            small = renamed(shrink(pair, pipelines, prefix, fresh), prefix, fresh())
            show(small, pair.difference(small) or difference)
            return serial, False
        wrong = pair.copies(prefix, generator.marked) if rng.random() < 0.2 else []
        if wrong:
            show(pipelines, (0, [], []))
            for key, seen in wrong:
                print("  copies of %r: %r" % (key, seen))
            return serial, False
    return serial, True


def epoch(proxy):
    raw = harness.Raw(proxy.port)
    line = raw.ask(b"stats proxy\r\n")
    raw.close()
    return int(line.removeprefix(b"STAT view_epoch "))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--commands", type=int, default=100000)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--memcached", default="/usr/bin/memcached")
    parser.add_argument("--reference", required=True, help="memcached 1.6.38")
    options = parser.parse_args()
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(1 << 32)
    harness.MEMCACHED = options.reference
    reference = harness.Memcached()
    nodes = [harness.Memcached() for _ in range(options.nodes)]
    begin = time.monotonic()
    with harness.running(reference, *nodes):
        reference.up()
        harness.MEMCACHED = options.memcached
        for node in nodes:
            node.up()
        proxy = harness.Everwarm(nodes, timeouts={"request": "8s"}, health={"lease": "4s"})
        with harness.running(proxy):
            proxy.up(30)
            if options.nodes > 1:
                # A new pool's copies are compared first, and what looks at a stale item takes its
                # win: the view that ends it is the second.
                harness.wait_until("copies were compared", lambda: epoch(proxy) > 1, 30)
            pair = Pair(reference, proxy, nodes)
            version = harness.Raw(nodes[0].port).ask(b"version\r\n").split(b" ")[1].decode()
            print("seed %d, %d x memcached %s" % (options.seed, options.nodes, version), flush=True)
            count, is_same = run(pair, options, version == "1.6.18")
            pair.end()
    print("%d commands in %.0f s: %s" % (count, time.monotonic() - begin,
                                         "the same answers" if is_same else "DIFFERENT"))
    return 0 if is_same else 1


if __name__ == "__main__":
    sys.exit(main())
