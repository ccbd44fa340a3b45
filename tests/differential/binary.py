# SPDX-License-Identifier: BSD-2-Clause
"""Random commands of the binary protocol, and their answers made comparable."""
import struct

from program import PAST, renamed_text

REQUEST, REPLY = 0x80, 0x81
HEADER = struct.Struct(">BBHBBHIIQ")
# Above all opaques that commands have.
SYNC_OPAQUE = 0xFF000000

NAMES = ("get set add replace delete increment decrement quit flush getq noop version getk getkq "
         "append prepend stat setq addq replaceq deleteq incrementq decrementq quitq flushq "
         "appendq prependq verbosity touch gat gatq 1f sasl_list sasl_auth sasl_step gatk "
         "gatkq").split()
OPCODES = {name: code for code, name in enumerate(NAMES)}
COUNTS = {OPCODES[name] for name in ("increment", "decrement", "incrementq", "decrementq")}

# Lengths of extras, and is there a key (None: there may be)?
FORMS = {OPCODES[name]: form for names, form in (
    ("get getq getk getkq delete deleteq append appendq prepend prependq", ((0,), True)),
    ("set setq add addq replace replaceq", ((8,), True)),
    ("increment incrementq decrement decrementq", ((20,), True)),
    ("touch gat gatq gatk gatkq", ((4,), True)),
    ("quit quitq noop version", ((0,), False)),
    ("flush flushq", ((0, 4), False)),
    ("stat", ((0,), None))) for name in names.split()}

TOO_LARGE = b"L" * (2 << 20)
PAST_TIME = 1000000000  # in 2001
NOTHING_CREATED = 0xFFFFFFFF
# What header fields say that memcached does not look at.
DATA_TYPES = (0, 0, 0, 1, 255)
VBUCKETS = (0, 0, 0, 1, 65535)


def fits(opcode, key, extras):
    lengths, has_key = FORMS[opcode]
    return extras in lengths and has_key in (None, key > 0) and key <= 250


class Command:
    """One or more frames. CAS: the index of the one that the first frame is sent with."""

    def __init__(self, text, cas=None, is_last=False, closes=False):
        self.text = text
        self.cas = cas
        self.is_last = is_last or closes
        self.closes = closes

    def sent(self, own):
        """OWN(index): the CAS that this side was shown."""
        if self.cas is None:
            return self.text
        return self.text[:16] + own(self.cas).to_bytes(8, "big") + self.text[24:]

    def renamed(self, old, new):
        return Command(renamed_text(self.text, old, new), self.cas, self.is_last, self.closes)

    def __repr__(self):
        _, opcode, key, extras, kind, bucket, body, opaque, cas = HEADER.unpack(self.text[:24])
        name = NAMES[opcode] if opcode < len(NAMES) else "%02x" % opcode
        rest = self.text[24 + extras:]
        shown = "shown %d" % self.cas if self.cas is not None else cas
        return "%s x=%s k=%.200r v=%.200r opaque=%x cas=%s lengths=%d,%d,%d others=%d,%d" % (
            name, self.text[24:24 + extras].hex(), rest[:key], rest[key:], opaque, shown, key,
            extras, body, kind, bucket)


class Generator:
    def __init__(self, maker):
        self.maker = maker
        self.rng = maker.rng
        self.chance = maker.chance

    def header(self, opcode, key, extras, body, cas=0):
        return HEADER.pack(REQUEST, opcode, key, extras, self.rng.choice(DATA_TYPES),
                           self.rng.choice(VBUCKETS), body, self.rng.randrange(SYNC_OPAQUE), cas)

    def frame(self, name, key=b"", extras=b"", value=b"", cas=(0, None), **options):
        number, index = cas
        opcode = OPCODES.get(name, name)
        head = self.header(opcode, len(key), len(extras), len(extras + key + value), number or 0)
        return Command(head + extras + key + value, index, **options)

    def any_cas(self, percent):
        return self.maker.cas() if self.chance(percent) else (0, None)

    def expiry(self):
        expiry = self.maker.expiry()
        return struct.pack(">I", PAST_TIME if expiry == PAST else expiry)

    # -- reads --

    def get(self):
        self.maker.pending += 1
        return self.frame(self.rng.choice(("get", "getq", "getk", "getkq")), self.maker.key(),
                          cas=self.any_cas(5))

    def many(self):
        """Quiet gets as clients use them for many keys: what is there, and what ends them."""
        keys = self.maker.keys() + [self.maker.prefix + b"absent"] * 40
        name = self.rng.choice(("getq", "getkq"))
        frames = [self.frame(name, self.rng.choice(keys))
                  for _ in range(self.rng.choice((100, 300, 1000)))]
        if self.chance(80):
            frames.append(self.frame("noop"))
        return Command(b"".join(frame.text for frame in frames))

    def touch(self):
        self.maker.pending += 1
        return self.frame(self.rng.choice(("touch", "touch", "gat", "gatq", "gatk", "gatkq")),
                          self.maker.key(), self.expiry(), cas=self.any_cas(5))

    # -- writes --

    def store(self):
        self.maker.pending += 1
        key = self.maker.key()
        name = self.rng.choice(("set", "set", "setq", "setq", "add", "addq", "replace", "replaceq"))
        cas = self.any_cas(30)
        value = TOO_LARGE if self.chance(0.3) else self.maker.value(key)
        if cas == (0, None) and name.startswith("set"):
            self.maker.stale.discard(key)
        return self.frame(name, key, struct.pack(">I", self.maker.flags()) + self.expiry(), value,
                          cas)

    def added(self):
        self.maker.pending += 1
        key = self.maker.key()
        is_stale = key in self.maker.stale
        if is_stale and self.maker.is_old:
            return self.noop()  # giving a win back without E changes the CAS
        return self.frame(self.rng.choice(("append", "appendq", "prepend", "prependq")), key, b"",
                          self.maker.value(key, True), self.any_cas(20), is_last=is_stale)

    def delete(self):
        return self.frame(self.rng.choice(("delete", "deleteq")), self.maker.key(),
                          cas=self.any_cas(25))

    def count(self):
        self.maker.pending += 1
        key = self.maker.fresh_key()
        name = self.rng.choice(("increment", "incrementq"))
        if self.maker.counts_down(key) and self.chance(50):
            name = self.rng.choice(("decrement", "decrementq"))
        expiry = self.expiry() if self.chance(50) else struct.pack(">I", NOTHING_CREATED)
        extras = struct.pack(">QQ", self.maker.number(), self.maker.initial(key)) + expiry
        return self.frame(name, key, extras, cas=self.any_cas(15))

    def flush(self):
        """At once: what one that is to come takes depends on time. And the last of its program:
        memcached may miss what was stored in the second of the flush (docs/limits.md)."""
        self.maker.is_over = True
        return self.frame(self.rng.choice(("flush", "flushq")),
                          extras=self.rng.choice((b"", bytes(4))), is_last=True)

    # -- all else --

    def noop(self):
        return self.frame("noop", cas=self.any_cas(10))

    def version(self):
        return self.frame("version", cas=self.any_cas(10))

    def stat(self):
        return self.frame("stat", self.rng.choice((b"", b"settings", b"items", b"slabs", b"reset",
                                                   b"nonsense")))

    def unknown(self):
        name = self.rng.choice(("verbosity", "1f", "sasl_list", 0x25, 0x30, 0xFF))
        value = b"" if name == "sasl_list" else self.rng.choice((b"", b"v", b"value\r\n" * 20))
        return self.frame(name, value=value)

    def sasl(self):
        return self.frame(self.rng.choice(("sasl_auth", "sasl_step")), b"PLAIN", value=b"\0a\0b")

    def quit(self):
        return self.frame(self.rng.choice(("quit", "quitq")), closes=True)

    def bad_lengths(self):
        """Lengths that don't agree, or don't fit the command; as many bytes behind them as they say
        that key and extras have, which memcached waits for."""
        key = self.rng.choice((0, 0, 1, 10, 10, 250, 251, 300))
        extras = self.rng.choice((0, 0, 4, 4, 8, 8, 20, 20, 5, 255))
        opcode = self.rng.choice(list(FORMS))
        head = key + extras
        if not fits(opcode, key, extras):
            body = head + self.rng.choice((0, 1, 1000))
        elif head > 0:
            body = self.rng.randrange(head)
        else:
            return self.noop()
        return Command(self.header(opcode, key, extras, body) + b"k" * head, closes=True)

    def pipeline(self):
        kinds = ((self.get, 2400), (self.touch, 800), (self.store, 2600), (self.added, 800),
                 (self.delete, 600), (self.count, 1200), (self.noop, 300), (self.version, 50),
                 (self.stat, 30), (self.unknown, 80), (self.sasl, 30), (self.many, 15),
                 (self.flush, 5), (self.quit, 20), (self.bad_lengths, 30))
        return self.maker.commands(kinds)


# -- answers -------------------------------------------------------------------


def sync(number):
    """A request that is answered last, and its answer."""
    opcode, opaque = OPCODES["noop"], SYNC_OPAQUE + number
    return (HEADER.pack(REQUEST, opcode, 0, 0, 0, 0, 0, opaque, 0),
            HEADER.pack(REPLY, opcode, 0, 0, 0, 0, 0, opaque, 0))


def comparable_cas(answers, opcode, cas):
    if cas == 0:
        return 0
    # Where memcached can't count in place it loses the CAS that the proxy chose (docs/protocol.md).
    answers.take(None if opcode in COUNTS else cas)
    return 1


def parts(answers, data):
    """The frames of DATA, made comparable."""
    found, at = [], 0
    while at < len(data):
        magic, opcode, key, extras, kind, status, body, opaque, cas = \
            HEADER.unpack_from(data, at)
        rest = data[at + 24:at + 24 + body]
        if magic != REPLY or len(rest) < body or key + extras > body:
            raise ValueError("no frame: %r" % data[at:at + 100])
        at += 24 + body
        if opcode == OPCODES["stat"] and key > 0:
            continue  # statistics are a server's own; the empty frame ends them
        if opcode == OPCODES["version"] and status == 0:
            rest = rest.split(b" ")[0]  # ours has its own behind memcached's
            body = len(rest)
        cas = comparable_cas(answers, opcode, cas)
        found.append(HEADER.pack(magic, opcode, key, extras, kind, status, body, opaque, cas) +
                     rest)
    return found
