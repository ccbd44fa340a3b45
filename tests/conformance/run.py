#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Send the rows of the conformance tables to a server and compare every byte of its answers.

usage: run.py --target HOST:PORT [--split none|every] [--label X]... [--only NAME] [FILE...]

A table (default: classic.txt beside this file) is rows of

    == NAME
    !LABEL why a server of this kind answers differently
    > bytes to send, with C escapes
    < bytes expected, with C escapes; nothing when it must stay silent
    <!LABEL the bytes expected instead when --label LABEL is given; the last such label counts

Each row runs on a connection of its own; > and < may repeat. Lines that begin with # are comments.
A row ends with a "version" of ours, whose answer must be the next thing to come: so silence, and
the end of each answer, are checked too. In both kinds of bytes stand

    {k}         a key of this run alone          {k250} {k251}   the same, padded to that length
    {b}         {k} in base64                    {blf}   {k}, a line feed, a space: in base64
    {x*300}     300 times x; {(ab )*9}: 9 times  {now+60}        Unix time, 60 seconds from now
    {cas1}      a number: taken when first expected, the same from then on
and in what is expected
    {number} {text}      any digits; anything up to the end of the line
    {stats}              one or more STAT lines
    {close}              the server closes the connection here

The binary protocol's frames are written by their parts; several in a row make one send, or one
answer (frame.py tells more):

    >b set k={k} x=00000007:00000000 v=value c={cas1} o=2a keylen=9
    <b set exists
    <b!LABEL set ok

Such a row ends with a noop of ours instead.

--split every runs each row once more for every byte at which what it sends can be cut in two (of
what is longer than SPLIT_WHOLE bytes: the ends and some places between). Many such runs go through
the row side by side, step by step, each with keys of its own; but a row with the line

    ~ WHY

has its runs one after the other.
"""
import argparse
import base64
import itertools
import os
import pathlib
import re
import socket
import sys
import time

import frame

ANSWER_TIMEOUT_S = 5.0
# So many cuts of a row are tried side by side; of large ones as few as a memcached of little memory
# holds without an eviction.
RUNS_AT_ONCE = 32
BYTES_AT_ONCE = 256 << 10
# Connections that are asked something between the parts of cut requests. They are spread over the
# server's threads, and a thread that has answered has also read what came before.
FENCES = 8
LITERAL_BYTES_MAX = 1000
SPLIT_WHOLE = 1500
SPLIT_ENDS = 48
SPLIT_BETWEEN = 8

ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|.)")
ESCAPED = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0", b"\\": b"\\", b"v": b"\v",
           b"f": b"\f", b"s": b" "}
PLACEHOLDER = re.compile(rb"\{([a-z]\w*|\([^(){}]+\)\*\d+|[^{}]\*\d+|now[+-]\d+)\}")
OPEN_PATTERNS = {b"number": rb"\d+", b"text": rb"[^\r\n]*", b"stats": rb"(?:STAT [^\r\n]*\r\n)+"}


class Mismatch(Exception):
    pass


class Row:
    def __init__(self, name):
        self.name = name
        self.labels = set()
        self.is_alone = False
        self.steps = []  # [parts to send, parts expected, {label: parts expected instead}]

    def is_binary(self):
        return any(isinstance(part, frame.Frame) for part in self.steps[0][0])

    def add_frame_to_send(self, text):
        is_new = not self.steps or self.steps[-1][1] or self.steps[-1][2]
        if is_new:
            self.steps.append([[], [], {}])
        self.steps[-1][0].append(frame.Frame(text, frame.REQUEST))


def unescape(text):
    def one(match):
        code = match.group(1)
        return bytes([int(code[1:], 16)]) if code[:1] == b"x" and len(code) == 3 else ESCAPED[code]
    return ESCAPE.sub(one, text)


def read_table(path):
    rows = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            if not line or line.startswith(b"#"):
                continue
            if line.startswith(b"== "):
                rows.append(Row(line[3:].decode()))
            elif line.startswith(b"!"):
                label, why = line[1:].decode().split(" ", 1)
                if not why.strip():
                    raise ValueError("a label wants a reason")
                rows[-1].labels.add(label)
            elif line.startswith(b"~ "):
                rows[-1].is_alone = True
            elif line.startswith(b"> "):
                rows[-1].steps.append([[unescape(line[2:])], [], {}])
            elif line.startswith(b">b "):
                rows[-1].add_frame_to_send(line[3:])
            elif line == b"<" or line.startswith(b"< "):
                rows[-1].steps[-1][1].append(unescape(line[2:]))
            elif line.startswith(b"<b "):
                rows[-1].steps[-1][1].append(frame.Frame(line[3:], frame.REPLY))
            elif line.startswith((b"<!", b"<b!")):
                word, _, text = line.partition(b" ")
                label = word.partition(b"!")[2].decode()
                if label not in rows[-1].labels:
                    raise ValueError("this label's reason is missing")
                part = frame.Frame(text, frame.REPLY) if word[1:2] == b"b" else unescape(text)
                rows[-1].steps[-1][2].setdefault(label, []).append(part)
            else:
                raise ValueError("what is this?")
        except (ValueError, IndexError, KeyError) as error:
            sys.exit(f"{path}:{number}: {error!r}")
    names = [row.name for row in rows]
    for name in names:
        if names.count(name) > 1:
            sys.exit(f"{path}: two rows are named {name}")
    return rows


class Pattern:
    """Bytes with open places. Long texts in it are no part of the regular expression, which would
    take long to make."""

    def __init__(self, pieces):
        self.texts = {}
        expression = b""
        for text, is_open in pieces:
            if not is_open and len(text) > LITERAL_BYTES_MAX:
                name = "text%d" % len(self.texts)
                self.texts[name] = text
                expression += b"(?P<%s>[\\s\\S]{%d})" % (name.encode(), len(text))
            else:
                expression += text if is_open else re.escape(text)
        self.expression = re.compile(expression)

    def captures(self, received):
        """{name: bytes}, or None when RECEIVED is something else."""
        match = self.expression.fullmatch(received)
        if match is None:
            return None
        found = match.groupdict()
        if any(found.pop(name) != text for name, text in self.texts.items()):
            return None
        return found


class Run:
    """One row on one connection."""

    count = 0

    def __init__(self, target):
        Run.count += 1
        self.key = b"ct%d-%d" % (os.getpid(), Run.count)
        self.captured = {}
        self.socket = socket.create_connection(target, ANSWER_TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""

    def closed_value(self, name):
        """The bytes of the placeholder NAME, None when only the server's answer can tell."""
        if name == b"k":
            return self.key
        if name == b"b":
            return base64.b64encode(self.key)
        if name == b"blf":
            return base64.b64encode(self.key + b"\n ")
        if re.fullmatch(rb"k\d+", name):
            return self.key.ljust(int(name[1:]), b"k")
        if name[1:2] == b"*":
            return name[:1] * int(name[2:])
        if name[:1] == b"(":
            text, _, count = name[1:].partition(b")*")
            return text * int(count)
        if name[:4] in (b"now+", b"now-"):
            return b"%d" % (int(time.time()) + int(name[3:]))
        return self.captured.get(name)

    def fill(self, parts):
        """The bytes of what is to be sent."""
        return b"".join(part.fill(self.fill_text) if isinstance(part, frame.Frame)
                        else self.fill_text(part) for part in parts)

    def fill_text(self, template):
        def one(match):
            value = self.closed_value(match.group(1))
            if value is None:
                raise Mismatch(f"nothing is known of {match.group().decode()} yet")
            return value
        return PLACEHOLDER.sub(one, template)

    def matcher(self, parts):
        """What PARTS stand for: bytes, or a pattern where something in them is open."""
        named = set()
        pieces = []
        for part in parts:
            pieces += part.pattern(self.fill_text, self.captured, named) \
                if isinstance(part, frame.Frame) else self.text_pattern(part, named)
        if all(not is_open for _, is_open in pieces):
            return b"".join(text for text, _ in pieces)
        return Pattern(pieces)

    def text_pattern(self, template, named):
        """A list of (bytes, False), and (pattern, True) where something in TEMPLATE is open."""
        pieces, at = [], 0
        for match in PLACEHOLDER.finditer(template):
            name = match.group(1)
            pieces.append((template[at:match.start()], False))
            at = match.end()
            value = self.closed_value(name)
            if value is not None:
                pieces.append((value, False))
                continue
            again = b"(?P=%s)" if name in named else b"(?P<%s>\\d+)"
            pieces.append((OPEN_PATTERNS.get(name) or again % name, True))
            named.add(name)
        return pieces + [(template[at:], False)]

    def send(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # what was answered before the end is still to be read

    def receive(self):
        """More bytes; False at the end of the connection."""
        try:
            data = self.socket.recv(1 << 20)
        except ConnectionResetError:
            data = b""
        self.received += data
        return bool(data)

    def is_met(self, matcher):
        """Whether what was received is all that MATCHER stands for; takes the captures."""
        if isinstance(matcher, bytes):
            return self.received == matcher
        found = matcher.captures(self.received)
        self.captured |= dict(frame.captured(*item) for item in (found or {}).items())
        return found is not None

    def expect(self, parts):
        wants_close = isinstance(parts[-1], bytes) and parts[-1].endswith(b"{close}")
        if wants_close:
            parts = parts[:-1] + [parts[-1].removesuffix(b"{close}")]
        matcher = self.matcher(parts)
        deadline = time.monotonic() + ANSWER_TIMEOUT_S
        is_open = True
        while is_open and (wants_close or not self.is_met(matcher)):
            if isinstance(matcher, bytes) and not matcher.startswith(self.received):
                break
            self.socket.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                is_open = self.receive()
            except TimeoutError:
                break
        if self.is_met(matcher) and is_open != wants_close:
            self.received = b""
            return
        ending = "" if is_open else " and the end of the connection"
        wanted = b"".join(b"%r" % part if isinstance(part, frame.Frame) else part
                          for part in parts)
        raise Mismatch(f"expected {show(wanted)}\n    received {show(self.received)}{ending}")

    def ask_for_the_end(self, is_binary):
        """One request more; its answer must be the next thing to come."""
        question = frame.Frame(b"noop o=feed", frame.REQUEST) if is_binary else b"version\r\n"
        self.send(self.fill([question]))

    def expect_the_end(self, is_binary):
        answer = frame.Frame(b"noop ok o=feed", frame.REPLY) if is_binary else b"VERSION {text}\r\n"
        try:
            self.expect([answer])
        except Mismatch as error:
            raise Mismatch(f"after the row, sent one more request\n    {error}") from None


class Fences:
    def __init__(self, target):
        self.sockets = [socket.create_connection(target, ANSWER_TIMEOUT_S) for _ in range(FENCES)]

    def wait(self):
        """Until the server has read all that was sent before."""
        for fence in self.sockets:
            fence.sendall(b"version\r\n")
        for fence in self.sockets:
            while not fence.recv(200).endswith(b"\n"):
                pass


def closes(expected):
    return expected and isinstance(expected[-1], bytes) and expected[-1].endswith(b"{close}")


class Lockstep:
    """Runs of one row side by side: no run is a step ahead of another."""

    def __init__(self, target, fences, row, labels):
        self.target, self.fences = target, fences
        self.row, self.labels = row, labels

    def expected(self, index):
        _, expected, others = self.row.steps[index]
        for label in self.labels:
            expected = others.get(label, expected)
        return expected

    def go(self, cut_step=None, cuts=(None,)):
        """One run for each of CUTS, in which step CUT_STEP is cut there."""
        runs = []
        try:
            runs.extend(Run(self.target) for _ in cuts)
            for index, (send, _, _) in enumerate(self.row.steps):
                self.step(runs, send, self.expected(index), cuts if index == cut_step else None)
                if closes(self.expected(index)):
                    return
            is_binary = self.row.is_binary()
            for run in runs:
                run.ask_for_the_end(is_binary)
            self.each(runs, cuts, lambda run: run.expect_the_end(is_binary))
        finally:
            for run in runs:
                run.socket.close()

    def step(self, runs, send, expected, cuts):
        data = [run.fill(send) for run in runs]
        if cuts is None:
            for run, all_of_it in zip(runs, data):
                run.send(all_of_it)
        else:
            for run, all_of_it, cut in zip(runs, data, cuts):
                run.send(all_of_it[:cut])
            self.fences.wait()
            for run, all_of_it, cut in zip(runs, data, cuts):
                run.send(all_of_it[cut:])
        if expected:
            self.each(runs, cuts, lambda run: run.expect(expected),
                      lambda number: f"sent     {show(data[number])}\n    ")

    @staticmethod
    def each(runs, cuts, check, what=lambda number: ""):
        for number, run in enumerate(runs):
            try:
                check(run)
            except Mismatch as error:
                where = f"cut at byte {cuts[number]}: " if cuts and cuts[number] else ""
                raise Mismatch(f"{where}{what(number)}{error}") from None


def show(data):
    text = repr(data)[2:-1]
    return text if len(text) <= 400 else f"{text[:300]} ... {text[-60:]} ({len(data)} bytes)"


def cuts(length):
    if length <= SPLIT_WHOLE:
        return range(1, length)
    between = [length * i // SPLIT_BETWEEN for i in range(1, SPLIT_BETWEEN)]
    return sorted({*range(1, SPLIT_ENDS), *between, *range(length - SPLIT_ENDS, length)})


def run_row(target, fences, row, options):
    """Run ROW whole, or cut everywhere; the first mismatch ends it."""
    lockstep = Lockstep(target, fences, row, options.label)
    if options.split == "none":
        lockstep.go()
        return
    for index, step in enumerate(row.steps):
        probe = Run(target)
        probe.socket.close()
        probe.captured = {b"cas%d" % i: b"1000" for i in range(10)}  # any will do for its length
        largest = max(len(probe.fill(send)) for send, _, _ in row.steps)
        at_once = 1 if row.is_alone else max(1, min(RUNS_AT_ONCE, BYTES_AT_ONCE // largest))
        todo = iter(cuts(len(probe.fill(step[0]))))
        while batch := list(itertools.islice(todo, at_once)):
            try:
                lockstep.go(index, batch)
            except Mismatch as error:
                raise Mismatch(f"step {index + 1}, one of {len(batch)} cuts from byte {batch[0]} "
                               f"on\n    {error}") from None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", required=True, metavar="HOST:PORT")
    parser.add_argument("--split", choices=("none", "every"), default="none")
    parser.add_argument("--label", action="append", default=[])
    parser.add_argument("--only", help="run the rows whose name holds this")
    parser.add_argument("files", nargs="*", type=pathlib.Path,
                        default=[pathlib.Path(__file__).with_name("classic.txt")])
    options = parser.parse_args()
    host, _, port = options.target.rpartition(":")
    target = host.strip("[]"), int(port)
    fences = Fences(target) if options.split == "every" else None
    passed = failed = 0
    for path in options.files:
        for row in read_table(path):
            if options.only and options.only not in row.name:
                continue
            try:
                run_row(target, fences, row, options)
                passed += 1
            except (Mismatch, OSError) as error:
                failed += 1
                print(f"FAILED {path.name}: {row.name}\n    {error}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
