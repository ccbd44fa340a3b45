# SPDX-License-Identifier: BSD-2-Clause
"""Random classic and meta commands, and their answers made comparable."""
import base64
import re

from program import EXPIRIES, KEYS, renamed_text

TTL_SLACK_S = 60
CAS_NAME = re.compile(rb"\{(\d+)\}")


class Command:
    """TEXT has {N} for the N-th CAS that was shown before this pipeline. IS_LAST: nothing may
    follow it in its pipeline, because it takes the win of a stale item and gives it back (see
    docs/protocol.md)."""

    def __init__(self, text, is_last=False, closes=False):
        self.text = text
        self.is_last = is_last or closes
        self.closes = closes

    def sent(self, own):
        """OWN(index): the CAS that this side was shown."""
        return CAS_NAME.sub(lambda match: b"%d" % own(int(match.group(1))), self.text)

    def renamed(self, old, new):
        return Command(renamed_text(self.text, old, new), self.is_last, self.closes)

    def __repr__(self):
        return repr(self.text if len(self.text) < 300 else self.text[:300] + b"...")


class Generator:
    def __init__(self, maker):
        self.maker = maker
        self.rng = maker.rng
        self.chance = maker.chance

    def cas(self):
        number, index = self.maker.cas()
        return b"%d" % number if index is None else b"{%d}" % index

    def expiry(self):
        return b"%d" % self.maker.expiry()

    def number(self):
        return b"%d" % self.maker.number()

    def noreply(self):
        return b" noreply" if self.chance(15) else b""

    # -- classic --

    def store(self):
        key = self.maker.key()
        word = self.rng.choice((b"set", b"set", b"set", b"add", b"replace", b"append", b"prepend",
                                b"cas", b"cas"))
        value = self.maker.value(key, word in (b"append", b"prepend"))
        cas = b" " + self.cas() if word == b"cas" else b""
        if word == b"set":
            self.maker.stale.discard(key)
        return Command(b"%s %s %d %s %d%s%s\r\n%s\r\n" % (
            word, key, self.maker.flags(), self.expiry(), len(value), cas, self.noreply(), value))

    def get(self):
        words = [self.rng.choice((b"get", b"gets"))]
        if self.chance(20):
            words = [self.rng.choice((b"gat", b"gats")), self.expiry()]
        keys = [self.maker.key() for _ in range(self.rng.randrange(1, 7))]
        if words[0].endswith(b"s"):
            self.maker.pending += 1
        return Command(b" ".join(words + keys) + b"\r\n")

    def many(self):
        """A multiget of up to 10,000 keys, many of them again and again."""
        count = self.rng.choice((100, 300, 1000, 10000))
        keys = self.maker.keys() + [self.maker.prefix + b"absent"]
        return Command(b"get " + b" ".join(self.rng.choices(keys, [1] * KEYS + [40], k=count)) +
                       b"\r\n")

    def delete(self):
        return Command(b"delete %s%s\r\n" % (self.maker.key(), self.noreply()))

    def delta(self):
        key = self.maker.fresh_key()
        word = self.rng.choice((b"incr", b"decr")) if self.maker.counts_down(key) else b"incr"
        return Command(b"%s %s %s%s\r\n" % (word, key, self.number(), self.noreply()))

    def touch(self):
        return Command(b"touch %s %s%s\r\n" % (self.maker.key(), self.expiry(), self.noreply()))

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
        key = self.maker.key()
        flags = self.some(b"vfsthlcu")
        if self.chance(10):
            flags.append(b"N" + self.expiry())
            self.maker.marked.add(key)
        if self.chance(10):
            flags.append(b"T" + self.expiry())
        if self.chance(10):
            flags.append(b"R" + self.rng.choice((b"30", b"500", b"5000", b"-1")))
            self.maker.marked.add(key)
        self.maker.pending += b"c" in flags
        return Command(self.meta(b"mg", key, [], flags, self.chance(10)))

    def ms(self):
        key = self.maker.key()
        flags = self.some(b"cs")
        mode = self.rng.choice((b"", b"", b"", b"", b"S", b"E", b"R", b"A", b"P"))
        is_added = mode in (b"A", b"P")
        if is_added and self.maker.is_old and key in self.maker.stale:
            return self.mistake()  # giving a win back without E changes the CAS
        is_last = is_added and key in self.maker.stale
        value = self.maker.value(key, is_added)
        if mode:
            flags.append(b"M" + mode)
        if self.chance(30):
            is_mark = self.chance(30)
            # Which of two keys' CAS is older is not to be known; 1 is older than all.
            flags.append(b"C" + (b"1" if is_mark else self.cas()))
            if is_mark:
                flags.append(b"I")
                self.maker.stale.add(key)
                self.maker.marked.add(key)
        elif mode in (b"", b"S"):
            self.maker.stale.discard(key)
        if self.chance(30):
            flags.append(b"F%d" % self.rng.choice((0, 3, 4294967295)))
        if self.chance(30):
            flags.append(b"T" + self.expiry())
        if self.chance(20) and not self.maker.is_old:
            flags.append(b"N" + self.expiry())
        self.maker.pending += b"c" in flags
        return Command(self.meta(b"ms", key, [b"%d" % len(value)], flags, self.chance(10)) +
                       value + b"\r\n", is_last)

    def md(self):
        key = self.maker.key()
        flags = []
        if self.chance(25):
            flags.append(b"C" + self.cas())
        if self.chance(35):
            flags.append(b"I")
            self.maker.stale.add(key)
            self.maker.marked.add(key)
        if self.chance(30):
            flags.append(b"T" + self.expiry())
        # Not x: it keeps the item's CAS, and ours gives it a new one.
        return Command(self.meta(b"md", key, [], flags, self.chance(10)))

    def ma(self):
        key = self.maker.fresh_key()
        counts_down = self.maker.counts_down(key)
        # Not c and T: where memcached can't count in place, they speak of the old item.
        flags = self.some(b"vt")
        if self.chance(30):
            flags.append(b"N" + self.expiry())
            flags.append(b"J%d" % self.maker.initial(key))
        if self.chance(40):
            flags.append(b"D" + self.number())
        if self.chance(40):
            flags.append(b"M" + self.rng.choice((b"I", b"D", b"+", b"-") if counts_down
                                                else (b"I", b"+")))
        if self.chance(20):
            flags.append(b"C" + self.cas())
        return Command(self.meta(b"ma", key, [], flags, self.chance(10)))

    def me(self):
        return Command(b"me %s\r\n" % self.maker.key())

    # -- mistakes --

    def mistake(self):
        key = self.maker.key()
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
                                        b"add %s 0 0 -1\r\nx\r\n")) % self.maker.key())

    def quit(self):
        return Command(b"quit\r\n", closes=True)

    def pipeline(self):
        kinds = ((self.store, 2200), (self.get, 1800), (self.delete, 400), (self.delta, 700),
                 (self.touch, 400), (self.mg, 1600), (self.ms, 1400), (self.md, 600),
                 (self.ma, 800), (self.me, 100), (self.mistake, 300), (self.bad_data, 100),
                 (self.many, 15), (self.quit, 20))
        return self.maker.commands(kinds)


# -- answers -------------------------------------------------------------------


def sync(number):
    """A request that is answered last, and its answer."""
    return b"mg nothing Osync%d\r\n" % number, b"EN Osync%d\r\n" % number


def ttl(text):
    seconds = int(text)
    if seconds == -1:
        return b"never"
    if seconds > 2 ** 31:
        return b"past"
    for expiry in sorted(set(EXPIRIES)):
        if expiry - TTL_SLACK_S <= seconds <= expiry + 2:
            return b"%d" % expiry
    return text


def number(answers, cas):
    if cas == b"0":
        return b"0"
    answers.take(int(cas))
    return b"#"


def comparable_word(answers, word):
    letter = word[:1]
    if letter == b"c" and word[1:].isdigit():
        return b"c" + number(answers, word[1:])
    if letter == b"t" and word[1:].lstrip(b"-").isdigit():
        return b"t" + ttl(word[1:])
    if letter in (b"l", b"h") and word[1:].isdigit():
        return letter  # h of an item that was counted depends on time in the same way
    return word


def comparable_line(answers, line):
    words = line.split(b" ")
    if words[0] == b"VALUE" and len(words) == 5:
        words[4] = number(answers, words[4])
    elif words[0] in (b"HD", b"VA", b"NS", b"EX", b"NF", b"EN"):
        words = [comparable_word(answers, word) for word in words]
        if b"b" in words:
            # Whether an item remembers that its key came in base64 depends on how it was counted.
            at = words.index(b"b")
            words[at - 1:at + 1] = [b"k" + base64.b64decode(words[at - 1][1:])]
    elif words[0] == b"ME":
        # Not the key: how it is spelled depends on time, as above.
        words = words[:1] + [word.split(b"=")[0] for word in words[2:]]
    else:
        return line
    return b" ".join(words)


def parts(answers, data):
    """The parts of DATA, made comparable: lines, and data blocks whole."""
    found, at = [], 0
    while at < len(data):
        end = data.index(b"\n", at) + 1
        line = data[at:end]
        size = 0
        if line.startswith(b"VALUE "):
            size = int(line.split(b" ")[3]) + 2
        elif line.startswith(b"VA "):
            size = int(line.split(b" ")[1]) + 2
        found.append(comparable_line(answers, line[:-2]))
        if size:
            found.append(data[end:end + size])
        at = end + size
    return found
