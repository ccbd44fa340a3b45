#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Send the rows of the conformance tables to a server and compare every byte of its answers.

usage: run.py --target HOST:PORT [--split none|every] [--label X]... [--only NAME] [FILE...]

A table (default: classic.txt beside this file) is rows of

    == NAME
    !LABEL why a server of this kind answers differently
    > bytes to send, with C escapes
    < bytes expected, with C escapes; nothing when it must stay silent
    <!LABEL the bytes expected instead when --label LABEL is given

Each row runs on a connection of its own; > and < may repeat. Lines that begin with # are comments.
A row ends with a "version" of ours, whose answer must be the next thing to come: so silence, and
the end of each answer, are checked too. In both kinds of bytes stand

    {k}         a key of this run alone          {k250} {k251}   the same, padded to that length
    {x*300}     300 times x                      {now+60}        Unix time, 60 seconds from now
    {cas1}      a number: taken when first expected, the same from then on
and in what is expected
    {number} {text}      any digits; anything up to the end of the line
    {stats}              one or more STAT lines
    {close}              the server closes the connection here

--split every runs each row once more for every byte at which what it sends can be cut in two (of
what is longer than SPLIT_WHOLE bytes: the ends and some places between).
"""
import argparse
import fcntl
import os
import pathlib
import re
import socket
import struct
import sys
import time

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
PLACEHOLDER = re.compile(rb"\{([a-z]\w*|[^{}]\*\d+|now[+-]\d+)\}")
OPEN_PATTERNS = {b"number": rb"\d+", b"text": rb"[^\r\n]*", b"stats": rb"(?:STAT [^\r\n]*\r\n)+"}


class Mismatch(Exception):
    pass


class Row:
    def __init__(self, name):
        self.name = name
        self.labels = set()
        self.steps = []  # [bytes to send, bytes expected, {label: bytes expected instead}]


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
                rows[-1].steps.append([unescape(line[2:]), b"", {}])
            elif line == b"<" or line.startswith(b"< "):
                rows[-1].steps[-1][1] = unescape(line[2:])
            elif line.startswith(b"<!"):
                label, _, text = line[2:].partition(b" ")
                if label.decode() not in rows[-1].labels:
                    raise ValueError("this label's reason is missing")
                rows[-1].steps[-1][2][label.decode()] = unescape(text)
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
        if re.fullmatch(rb"k\d+", name):
            return self.key.ljust(int(name[1:]), b"k")
        if name[1:2] == b"*":
            return name[:1] * int(name[2:])
        if name[:4] in (b"now+", b"now-"):
            return b"%d" % (int(time.time()) + int(name[3:]))
        return self.captured.get(name)

    def fill(self, template):
        def one(match):
            value = self.closed_value(match.group(1))
            if value is None:
                raise Mismatch(f"nothing is known of {match.group().decode()} yet")
            return value
        return PLACEHOLDER.sub(one, template)

    def matcher(self, template):
        """What TEMPLATE stands for: its bytes, or a pattern where something in it is open."""
        parts, at, named, is_open = [], 0, set(), False
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
            return b"".join(text for text, _ in parts)
        return re.compile(b"".join(re.escape(text) if fixed else text for text, fixed in parts))

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
            self.captured |= {name.encode(): value for name, value in match.groupdict().items()}
        return match is not None

    def expect(self, template):
        wants_close = template.endswith(b"{close}")
        matcher = self.matcher(template.removesuffix(b"{close}"))
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
        raise Mismatch(f"expected {show(template)}\n    received {show(self.received)}{ending}")

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
                if expected.endswith(b"{close}"):
                    return
            self.send(b"version\r\n", None)
            try:
                self.expect(b"VERSION {text}\r\n")
            except Mismatch as error:
                raise Mismatch(f"after the row, sent version\n    {error}") from None
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
        probe.captured = {b"cas%d" % i: b"1000" for i in range(10)}
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
