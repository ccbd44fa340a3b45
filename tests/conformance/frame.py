# SPDX-License-Identifier: BSD-2-Clause
"""Frames of the binary protocol in the conformance tables.

    set k={k} x=00000007:00000000 v=value c={cas1} o=2a keylen=9        a request
    set exists k= x= v= c=any                                           an answer

k, v and x are key, value and extras (x in hexadecimal, colons between for the eye), c the CAS (a
number), o the opaque in hexadecimal. keylen, extlen, bodylen and magic (hexadecimal) say otherwise
than the parts do. In an answer, what is not success holds memcached's words unless v or k is given;
c is `any` unless it is given, 0 where an answer has none; v={text} is any text. "stats" as a
value stands for any number of stat frames and the empty one behind them.
"""
import re
import struct

REQUEST, REPLY = 0x80, 0x81
OPAQUE = 0x0A0B0C0D

OPCODES = {name: code for code, name in enumerate(
    "get set add replace delete increment decrement quit flush getq noop version getk getkq append "
    "prepend stat setq addq replaceq deleteq incrementq decrementq quitq flushq appendq prependq "
    "verbosity touch gat gatq".split())}
OPCODES |= {"sasl_list": 0x20, "sasl_auth": 0x21, "sasl_step": 0x22, "gatk": 0x23, "gatkq": 0x24}

STATUSES = {
    "ok": (0x00, b""),
    "not_found": (0x01, b"Not found"),
    "exists": (0x02, b"Data exists for key."),
    "too_large": (0x03, b"Too large."),
    "invalid": (0x04, b"Invalid arguments"),
    "not_stored": (0x05, b"Not stored."),
    "non_numeric": (0x06, b"Non-numeric server-side value for incr or decr"),
    "unknown": (0x81, b"Unknown command"),
    "out_of_memory": (0x82, b"Out of memory"),
}
# Of these, success has no CAS.
NO_CAS = {"delete", "quit", "flush", "noop", "version", "stat", "deleteq", "flushq", "verbosity"}
ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|.)")
ESCAPED = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0", b"\\": b"\\", b"s": b" "}


def unescape(text):
    def one(match):
        code = match.group(1)
        return bytes([int(code[1:], 16)]) if code[:1] == b"x" and len(code) == 3 else ESCAPED[code]
    return ESCAPE.sub(one, text)


def captured(name, value):
    """What was captured as NAME, as a number in decimal: frames hold it as eight bytes."""
    if name.startswith("b_"):
        return name[2:].encode(), b"%d" % int.from_bytes(value, "big")
    return name.encode(), value


class Frame:
    def __init__(self, text, magic):
        self.text = text
        self.magic = magic
        words = text.split(b" ")
        self.name = words.pop(0).decode()
        self.opcode = OPCODES[self.name] if self.name in OPCODES else int(self.name, 16)
        self.status = words.pop(0).decode() if magic == REPLY else None
        if self.status is not None and self.status not in STATUSES:
            raise ValueError(f"no such status: {self.status}")
        self.parts = {}
        for word in words:
            part, sign, value = word.partition(b"=")
            if not sign or part.decode() not in ("k x v c o keylen extlen bodylen magic".split()):
                raise ValueError(f"what is {word}?")
            self.parts[part.decode()] = value

    def __bytes__(self):
        return b"[%s]" % self.text

    def __repr__(self):
        return "[%s]" % self.text.decode(errors="replace")

    def part(self, name, fill):
        return fill(unescape(self.parts.get(name, b"")))

    def header(self, lengths, status, cas):
        key, extras, body = lengths
        key = int(self.parts.get("keylen", key))
        extras = int(self.parts.get("extlen", extras))
        body = int(self.parts.get("bodylen", body))
        magic = int(self.parts.get("magic", b"%x" % self.magic), 16)
        opaque = int(self.parts.get("o", b"%x" % OPAQUE), 16)
        return struct.pack(">BBHBBHII", magic, self.opcode, key, extras, 0, status, body,
                           opaque) + cas

    def fill(self, fill):
        """The bytes of a request."""
        key, value = self.part("k", fill), self.part("v", fill)
        extras = bytes.fromhex(self.parts.get("x", b"").decode().replace(":", ""))
        cas = int(fill(self.parts.get("c", b"0"))).to_bytes(8, "big")
        lengths = len(key), len(extras), len(key) + len(extras) + len(value)
        return self.header(lengths, 0, cas) + extras + key + value

    def cas_pattern(self, known, named):
        """(bytes, False) or (a pattern, True)."""
        wanted = self.parts.get("c")
        if wanted is None:
            wanted = b"any" if self.status == "ok" and self.name not in NO_CAS else b"0"
        if wanted == b"any":
            return rb"(?!\0{8})[\s\S]{8}", True
        name = wanted.strip(b"{}")
        if wanted[:1] == b"{" and name not in known:
            again = name in named
            named.add(name)
            return (rb"(?P=b_%s)" if again else rb"(?P<b_%s>[\s\S]{8})") % name, True
        return int(known[name] if wanted[:1] == b"{" else wanted).to_bytes(8, "big"), False

    def pattern(self, fill, known, named):
        """What the bytes of an answer must be: a list of (bytes, False) and (pattern, True)."""
        status, words = STATUSES[self.status]
        key = self.part("k", fill)
        value = self.parts.get("v", b"" if "k" in self.parts else words)
        extras = bytes.fromhex(self.parts.get("x", b"").decode().replace(":", ""))
        if value == b"{stats}":
            end = self.header((0, 0, 0), 0, b"\0" * 8)
            return [(rb"(?:\x81\x10[\s\S]{22}[ -~]+)+", True), (end, False)]
        if value == b"{text}":
            head = self.header((0, 0, 0), status, b"\0" * 8)
            return [(head[:8], False), (rb"[\s\S]{4}", True), (head[12:], False),
                    (rb"[ -~]+", True)]
        value = fill(unescape(value)) if "v" in self.parts else value
        lengths = len(key), len(extras), len(key) + len(extras) + len(value)
        return [(self.header(lengths, status, b""), False), self.cas_pattern(known, named),
                (extras + key + value, False)]
