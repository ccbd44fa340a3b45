#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Random programs of classic, meta and binary commands, to one memcached 1.6.38 and to everwarm in
front of one and of three nodes, of both versions of memcached: the answers must be the same bytes,
and the nodes' copies equal afterwards.

usage: differential.py [--commands N] [--seed S] [--nodes K] [--memcached PROGRAM]
                       --reference PROGRAM

A program is a few pipelines over a few keys; some speak text, some the binary protocol, and some
programs both, over two connections. Its commands may name a CAS that an earlier pipeline was shown;
each side is sent its own. A difference is shrunk to a small program before it is shown; the same
seed makes the same programs. $EVERWARM is the proxy, as for the end-to-end tests.
"""
import argparse
import contextlib
import pathlib
import random
import struct
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
import binary
import harness
import program
import text

PIPELINES_MAX = 6
ANSWER_SECONDS_MAX = 40.0
SHRINK_SECONDS_MAX = 60.0

# CAS values up to this one a node may have counted by itself: another key may have the same.
CAS_COUNTED_MAX = 1 << 40
UNUSABLE_CAS = 1
GENERATORS = {text: text.Generator, binary: binary.Generator}


def make_program(maker, prefix):
    """A list of pipelines."""
    maker.begin(prefix)
    dialects = maker.rng.choice(((text,), (text,), (binary,), (binary,), (text, binary)))
    pipelines = []
    for _ in range(maker.rng.randrange(1, PIPELINES_MAX + 1)):
        dialect = maker.rng.choice(dialects)
        maker.pending = 0
        pipelines.append(program.Pipeline(dialect, GENERATORS[dialect](maker).pipeline()))
        maker.shown += maker.pending
        if maker.is_over:
            break
    return pipelines


class Side:
    """One server, with a connection for each dialect."""

    def __init__(self, port):
        self.port = port
        self.connections = {}
        self.syncs = 0
        self.begin()

    def begin(self):
        self.answers = program.Answers()

    def connection(self, dialect):
        if dialect not in self.connections:
            self.connections[dialect] = harness.Raw(self.port, ANSWER_SECONDS_MAX)
        return self.connections[dialect]

    def run(self, pipeline, usable=()):
        """The comparable answers to a pipeline; USABLE: of each CAS that was shown, whether."""
        shown = self.answers.shown

        def own(index):
            return shown[index] if index < len(usable) and usable[index] else UNUSABLE_CAS

        data = b"".join(command.sent(own) for command in pipeline.commands)
        if pipeline.closes():
            return pipeline.dialect.parts(self.answers, self.ask_to_close(pipeline.dialect, data))
        self.syncs += 1
        request, answer = pipeline.dialect.sync(self.syncs)
        return pipeline.dialect.parts(
            self.answers, self.ask(pipeline.dialect, data + request, answer))

    def ask(self, dialect, data, last):
        """All that is answered, which ends with LAST, but for that."""
        raw = self.connection(dialect)
        raw.send(data)
        got = bytearray()
        while not got.endswith(last):
            more = raw.socket.recv(1 << 20)
            if not more:
                raise EOFError("closed after %r" % bytes(got[-200:]))
            got += more
        return bytes(got[:-len(last)])

    def ask_to_close(self, dialect, data):
        """All that is answered until the server closes."""
        raw = self.connection(dialect)
        got = bytearray()
        # What was answered before the end is there to be read, even if not all could be sent.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            raw.send(data)
        with contextlib.suppress(ConnectionResetError):
            while more := raw.socket.recv(1 << 20):
                got += more
        raw.close()
        del self.connections[dialect]
        return bytes(got)

    def end(self):
        for raw in self.connections.values():
            raw.close()


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
            usable = [cas is not None and cas > CAS_COUNTED_MAX
                      for cas in self.sides[1].answers.shown]
            answers = []
            for side in self.sides:
                try:
                    answers.append(side.run(pipeline, usable))
                except (OSError, EOFError, ValueError, struct.error) as error:
                    answers.append([repr(error)])
            if answers[0] != answers[1]:
                # What is still on its way must not be taken for other answers.
                self.end()
                self.sides = [Side(port) for port in self.ports]
                return number, *answers
        return None

    def copies(self, prefix, marked):
        """What the nodes' copies of a program's keys differ in; a key that may be marked lies on
        one node alone."""
        found = []
        for key in program.key_names(prefix):
            question = program.Pipeline(text, [text.Command(b"mg %s v f t u\r\n" % key)])
            seen = []
            for node in self.nodes:
                side = Side(node.port)
                seen.append(tuple(side.run(question)))
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
    return [pipeline.renamed(old, new) for pipeline in pipelines]


def commands_of(pipelines):
    return sum(len(pipeline.commands) for pipeline in pipelines)


def without(pipelines, first, count):
    """Without COUNT commands from the FIRST one on, and without pipelines that then are empty."""
    left, at = [], 0
    for pipeline in pipelines:
        kept = [command for number, command in enumerate(pipeline.commands, at)
                if not first <= number < first + count]
        at += len(pipeline.commands)
        if kept:
            left.append(program.Pipeline(pipeline.dialect, kept))
    return left


def shrink(pair, pipelines, prefix, fresh):
    """A program with as few commands as possible that is still answered differently."""
    end = time.monotonic() + SHRINK_SECONDS_MAX
    size = max(1, commands_of(pipelines) // 2)
    while size > 0 and time.monotonic() < end:
        for first in range(0, commands_of(pipelines), size):
            candidate = without(pipelines, first, size)
            if pair.difference(renamed(candidate, prefix, fresh())) is not None:
                pipelines = candidate
                break
        else:
            size //= 2
    return pipelines


def cut(part):
    return part if part is None or len(part) < 300 else part[:300]


def show(pipelines, difference):
    number, expected, got = difference
    for index, pipeline in enumerate(pipelines):
        for command in pipeline.commands:
            print("  %d %s > %r" % (index, pipeline.dialect.__name__, command))
    for index, (a, b) in enumerate(zip(expected + [None] * len(got), got + [None] * len(expected))):
        if a != b:
            print("  in pipeline %d, part %d of the answers:" % (number, index))
            print("    memcached: %r" % cut(a))
            print("    everwarm:  %r" % cut(b))
            return


# -- the run -------------------------------------------------------------------


def run(pair, options, is_old):
    maker = program.Maker(random.Random(options.seed), is_old)
    done = dict.fromkeys(GENERATORS, 0)
    prefixes = iter(range(1 << 30))

    def fresh():
        return b"d%08d-" % next(prefixes)

    while sum(done.values()) < options.commands:
        prefix = fresh()
        pipelines = make_program(maker, prefix)
        for pipeline in pipelines:
            done[pipeline.dialect] += len(pipeline.commands)
        difference = pair.difference(pipelines)
        if difference is not None:
            small = renamed(shrink(pair, pipelines, prefix, fresh), prefix, fresh())
            show(small, pair.difference(small) or difference)
            return done, False
        is_looked_at = maker.chance(20) and not maker.is_over
        wrong = pair.copies(prefix, maker.marked) if is_looked_at else []
        if wrong:
            show(pipelines, (0, [], []))
            for key, seen in wrong:
                print("  copies of %r: %r" % (key, seen))
            return done, False
    return done, True


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
        # On a busy machine no lease may end: what was written then is deleted (docs/limits.md).
        proxy = harness.Everwarm(nodes, timeouts={"request": "15s"}, health={"lease": "6s"})
        with harness.running(proxy):
            proxy.up(30)
            if options.nodes > 1:
                # A new pool's copies are compared first, and what looks at a stale item takes its
                # win: the view that ends it is the second.
                harness.wait_until("copies were compared", lambda: epoch(proxy) > 1, 30)
            pair = Pair(reference, proxy, nodes)
            version = harness.Raw(nodes[0].port).ask(b"version\r\n").split(b" ")[1].decode()
            print("seed %d, %d x memcached %s" % (options.seed, options.nodes, version), flush=True)
            # A CAS of 1 is used as one that is older than any item's: no item may have it.
            first = text.Command(b"set first 0 0 1\r\nx\r\n")
            assert pair.difference([program.Pipeline(text, [first] * 10)]) is None
            done, is_same = run(pair, options, version == "1.6.18")
            pair.end()
    print("%d commands of text and %d binary ones in %.0f s: %s" % (
        done[text], done[binary], time.monotonic() - begin,
        "the same answers" if is_same else "DIFFERENT"))
    return 0 if is_same else 1


if __name__ == "__main__":
    sys.exit(main())
