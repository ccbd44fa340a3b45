# SPDX-License-Identifier: BSD-2-Clause
"""What all dialects share: keys, values, what a program has done to them, one side's answers."""
import base64

COMMANDS_MAX = 40
KEYS = 5
# memcached counts in place, unless an answer on its way still holds the item. Only in place it
# leaves spaces behind a number that becomes shorter, and the item as stale as it was: all that
# depends on time, on both sides. So keys whose numbers go down begin with this one, whose length
# then does not change, and the others only grow.
NUMBER = 5000000000000000000
# Far enough from each other that a second more or less changes none into another. The last one is
# of keys that are gone at once.
PAST = -1
EXPIRIES = (0, 0, 0, PAST, 100, 1000, 100000)


def key_names(prefix):
    return [prefix + b"k%d" % number for number in range(KEYS)]


def renamed_text(text, old, new):
    """TEXT with another program's keys."""
    out = text.replace(old, new)
    for before, after in zip(key_names(old), key_names(new)):
        out = out.replace(base64.b64encode(before), base64.b64encode(after))
    return out


class Pipeline:
    """Commands of one dialect that are sent in one go. DIALECT: a module, text or binary."""

    def __init__(self, dialect, commands):
        self.dialect = dialect
        self.commands = commands

    def renamed(self, old, new):
        return Pipeline(self.dialect, [command.renamed(old, new) for command in self.commands])

    def closes(self):
        return bool(self.commands) and self.commands[-1].closes


class Maker:
    """Makes one program; what its commands so far may have done to its keys."""

    def __init__(self, rng, is_old):
        self.rng = rng
        self.is_old = is_old  # the nodes are 1.6.18
        self.begin(b"")

    def begin(self, prefix):
        self.prefix = prefix
        self.shown = 0  # CAS values that may have been shown by earlier pipelines
        self.pending = 0  # and by this one
        self.stale = set()  # keys that may be marked stale
        self.marked = set()  # keys that may lie on their leader alone
        self.is_over = False  # what its keys hold from now on depends on time

    def chance(self, percent):
        return self.rng.random() * 100 < percent

    def commands(self, kinds):
        """Those of one pipeline. KINDS: what makes one, and how often it is to."""
        makers, weights = zip(*kinds)
        made = []
        for make in self.rng.choices(makers, weights, k=self.rng.randrange(1, COMMANDS_MAX)):
            made.append(make())
            if made[-1].is_last:
                break
        return made

    def keys(self):
        return key_names(self.prefix)

    def key(self):
        return self.rng.choice(self.keys())

    def fresh_key(self):
        """Not one that may be marked: a count that is not in place unmarks it."""
        keys = [key for key in self.keys() if key not in self.stale | self.marked]
        return self.rng.choice(keys) if keys else self.prefix + b"other"

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

    def flags(self):
        return self.rng.choice((0, 7, 4294967295))

    def cas(self):
        """A number, or the index of one that was shown: (number, None) or (None, index)."""
        if self.shown and self.chance(85):
            return None, self.rng.randrange(self.shown)
        return self.rng.choice((0, 1, 18446744073709551615)), None

    def number(self):
        return self.rng.choice((0, 1, 5, 100))

    def initial(self, key):
        return NUMBER if self.counts_down(key) else 7

    def expiry(self):
        return self.rng.choice(EXPIRIES)


class Answers:
    """One side's answers to one program. A CAS only shows whether there is one: what it is worth is
    seen when a later pipeline uses it. Two keys may have the same one, since what a node counts by
    itself is not told apart from another's."""

    def __init__(self):
        self.shown = []

    def take(self, cas):
        """A CAS that was shown: None when it must not be used again."""
        self.shown.append(cas)
