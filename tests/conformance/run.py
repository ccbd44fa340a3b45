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
what is longer than SPLIT_WHOLE bytes: the ends and some places between).
"""
import argparse
import base64
import fcntl
import os
import pathlib
import re
import socket
import struct
import sys
import time

import frame

ANSWER_TIMEOUT_S = 5.0
# How long the first part of a cut request may take to be acknowledged before the second follows.
DELIVERY_TIMEOUT_S = 0.005
SIOCOUTQ = 0x5411
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
        patterns = [part.pattern(self.fill_text, self.captured, named)
                    if isinstance(part, frame.Frame) else self.text_pattern(part, named)
                    for part in parts]
        if all(not is_open for _, is_open in patterns):
            return b"".join(text for text, _ in patterns)
        return re.compile(b"".join(text if is_open else re.escape(text)
                                   for text, is_open in patterns))

    def text_pattern(self, template, named):
        """(bytes, False), or (a pattern, True) where something in TEMPLATE is open."""
        parts, at, is_open = [], 0, False
        for match in PLACEHOLDER.finditer(template):
            name = match.group(1)
            parts.append((template[at:match.start()], True))
            at = match.end()
            value = self.closed_value(name)
            if value is not None:
                parts.append((value, True))
                continue
            again = b"(?P=%s)" if name in named else b"(?P<%s>\\d+)"
            parts.append((OPEN_PATTERNS.get(name) or again % name, False))
            named.add(name)
            is_open = True
        parts.append((template[at:], True))
        if not is_open:
            return b"".join(text for text, _ in parts), False
        return b"".join(re.escape(text) if fixed else text for text, fixed in parts), True

    def wait_until_delivered(self):
        deadline = time.monotonic() + DELIVERY_TIMEOUT_S
        while time.monotonic() < deadline:
            queued = fcntl.ioctl(self.socket.fileno(), SIOCOUTQ, struct.pack("i", 0))
            os.sched_yield()
            if struct.unpack("i", queued)[0] == 0:
                return

    def send(self, data, cut):
        try:
            if cut is None:
                self.socket.sendall(data)
                return
            self.socket.sendall(data[:cut])
            self.wait_until_delivered()
            self.socket.sendall(data[cut:])
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
        match = matcher.fullmatch(self.received)
        if match:
            self.captured |= dict(frame.captured(name, value)
                                  for name, value in match.groupdict().items())
        return match is not None

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

    def expect_nothing_more(self, is_binary):
        if is_binary:
            question = frame.Frame(b"noop o=feed", frame.REQUEST)
            answer = frame.Frame(b"noop ok o=feed", frame.REPLY)
        else:
            question, answer = b"version\r\n", b"VERSION {text}\r\n"
        self.send(self.fill([question]), None)
        try:
            self.expect([answer])
        except Mismatch as error:
            raise Mismatch(f"after the row, sent one more request\n    {error}") from None

    def row(self, row, labels, cut_step=None, cut=None):
        try:
            for index, (send, expected, others) in enumerate(row.steps):
                for label in labels:
                    expected = others.get(label, expected)
                data = self.fill(send)
                self.send(data, cut if index == cut_step else None)
                if expected:
                    try:
                        self.expect(expected)
                    except Mismatch as error:
                        raise Mismatch(f"sent     {show(data)}\n    {error}") from None
                if expected and isinstance(expected[-1], bytes) and \
                        expected[-1].endswith(b"{close}"):
                    return
            self.expect_nothing_more(row.is_binary())
        finally:
            self.socket.close()


def show(data):
    text = repr(data)[2:-1]
    return text if len(text) <= 400 else f"{text[:300]} ... {text[-60:]} ({len(data)} bytes)"


def cuts(length):
    if length <= SPLIT_WHOLE:
        return range(1, length)
    between = [length * i // SPLIT_BETWEEN for i in range(1, SPLIT_BETWEEN)]
    return sorted({*range(1, SPLIT_ENDS), *between, *range(length - SPLIT_ENDS, length)})


def run_row(target, row, options):
    """Run ROW whole, or cut everywhere; the first mismatch ends it."""
    if options.split == "none":
        Run(target).row(row, options.label)
        return
    for index, step in enumerate(row.steps):
        probe = Run(target)
        probe.socket.close()
        probe.captured = {b"cas%d" % i: b"1000" for i in range(10)}  # any will do for its length
        for cut in cuts(len(probe.fill(step[0]))):
            try:
                Run(target).row(row, options.label, index, cut)
            except Mismatch as error:
                raise Mismatch(f"step {index + 1} cut at byte {cut}\n    {error}") from None


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
    passed = failed = 0
    for path in options.files:
        for row in read_table(path):
            if options.only and options.only not in row.name:
                continue
            try:
                run_row((host.strip("[]"), int(port)), row, options)
                passed += 1
            except (Mismatch, OSError) as error:
                failed += 1
                print(f"FAILED {path.name}: {row.name}\n    {error}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
