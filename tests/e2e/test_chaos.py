# SPDX-License-Identifier: BSD-2-Clause
"""Random faults, round after round, under a load whose every answer is checked.

A round hurts nodes (killed, frozen, shut out, emptied), now and then a proxy (killed, stopped), and
gives operators' words in between, but never takes the last complete node. Then all must heal:
complete within 30 s, all copies equal, no client with a wrong answer or one that came too late,
nothing kept that a round ago was not there.

Environment: CHAOS_SECONDS, how long rounds are begun (60); CHAOS_SEED, to see the same rounds again;
CHAOS_SLACK, seconds that a request may take beyond its deadline on a machine as slow as this (0.3).

Each key belongs to one connection: writers of one key through several are not settled yet. A write
under way in a proxy that is killed may have reached one copy only, for the same reason; so its
client writes that key again, as the application would that got no answer.
"""
import os
import random
import sys
import threading
import time

from harness import (Everwarm, Load, LoadClient, Memcached, Raw, differences, running, say,
                     wait_until)

SECONDS = float(os.environ.get("CHAOS_SECONDS", "60"))
SEED = os.environ.get("CHAOS_SEED") or str(random.SystemRandom().randrange(10**6))
SLACK_S = float(os.environ.get("CHAOS_SLACK", "0.3"))
REQUEST_S = 1.5
# A node that leaves often is held down ever longer; here it must be back soon.
CONFIG = {"health": {"hold_down_max": "1s"}}
SANITIZED_BYTES = 1 << 40  # virtual memory that only a sanitizer's shadow has
RSS_GROWTH_BYTES = 16 << 20
FDS_GROWTH = 8


class Excused(Exception):
    """A request failed, and its proxy was killed or stopped meanwhile."""


class ChaosClient(LoadClient):
    """Its proxy may be killed: then it connects again, and takes for the state of the one key that
    it was writing what it finds, if that is the old or the new value."""

    def __init__(self, load, number, proxy):
        super().__init__(load, number, proxy)
        self.excused = 0
        self.harms = 0
        self.pending = {}

    def is_excused(self):
        return self.proxy.is_harmed or self.proxy.harms != self.harms

    def check(self, what, got, want):
        if isinstance(got, bytes) and got.startswith(b"SERVER_ERROR") and self.is_excused():
            raise Excused
        super().check(what, got, want)

    def before_write(self, key):
        self.pending = {key: self.state.get(key)}

    def set(self, conn, key):
        self.before_write(key)
        super().set(conn, key)

    def delete(self, conn, key):
        self.before_write(key)
        super().delete(conn, key)

    def incr(self, conn):
        self.before_write(b"load:%d:n#" % self.number)
        super().incr(conn)

    def learn(self, conn):
        """What became of the write whose proxy was harmed."""
        for key, old in self.pending.items():
            found = conn.get(key).get(key, (0, None))[1]
            number = key.endswith(b"#")
            new = b"%d" % (int(old) + 3) if number and old is not None else b"0" if number else None
            is_new = found == new if number else found is None or found == self.written
            if found != old and not is_new:
                self.faults.append("client %d: %r is %r after its proxy was harmed, was %r" % (
                    self.number, key, found, old))
            again = found if found is not None else b"again"
            flags = 0 if number else self.number
            if number and found is None:
                again = b"0"
            answer = conn.set(key, again, flags)
            if answer.startswith(b"SERVER_ERROR") and self.is_excused():
                raise Excused
            super().check("set again", answer, b"STORED")
            self.state[key] = again
        self.pending = {}

    def connect(self):
        return Raw(self.proxy.port)
