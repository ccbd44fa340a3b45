# SPDX-License-Identifier: BSD-2-Clause
"""Recording what clients of real proxies ask and are told, for `sim --judge` (tests/sim/judge.h).

A key belongs to one proxy: its clients write it, several at once, and clients of all proxies read
it. Keys are used for a while, then others are, so that what the judge looks at stays short; at the
end every key is read once more, through every proxy.
"""
import os
import random
import subprocess
import tempfile
import threading
import time

from harness import MEMCACHED, Raw, wait_until

SEED = os.environ.get("HISTORY_SEED") or str(random.SystemRandom().randrange(10 ** 6))
SIM = os.environ.get("SIM", "build/release/sim")
CLIENTS_PER_PROXY = 4
HEAL_S = 30
TROUBLE_S = 4.0  # after it is up again, a proxy's clients may still have been told errors before

REQUEST_S = 1.5
SLACK_S = 0.5
KINDS = ("register", "counter", "cas", "lock")
PAUSE_S = 0.004  # between two requests of a client


def now_us():
    return int(time.monotonic() * 1e6)


def knows_tokens():
    """Does this memcached take a CAS of the writer's choice (1.6.27 and later)?"""
    told = subprocess.run([MEMCACHED, "-V"], capture_output=True, text=True, check=True).stdout
    return tuple(int(part) for part in told.split()[1].split(".")) >= (1, 6, 27)


class Recorder:
    """Without tokens a CAS is one node's: as soon as a key has another leader, because a node left
    or entered, a cas with it is refused. That says nothing of the key, so it is not recorded."""

    def __init__(self):
        self.has_tokens = knows_tokens()
        self.lock = threading.Lock()
        self.lines = []
        self.operations = 0
        self.keys = {}  # name: (its proxy's number, kind)
        self.errors = []
        self.faults = []
        self.is_over = threading.Event()

    def note(self, client, key, kind, asked, result, value="-", seen="-", number="-"):
        line = "op %s %d %d %d %s %s %s %s %s" % (
            key, client, asked, now_us(), kind, result, value, seen, number)
        with self.lock:
            self.lines.append(line)
            self.operations += 1

    def mark(self, word, what):
        with self.lock:
            self.lines.append("%s %s" % (word, what))


class Client(threading.Thread):
    """One connection at a time. An answer that is an error, or none, is a fault unless its proxy
    was harmed; what it was about is recorded as unknown."""

    def __init__(self, recorder, number, proxies, own):
        super().__init__(daemon=True)
        self.recorder = recorder
        self.number = number
        self.proxies = proxies
        self.own = own
        self.proxy = proxies[own]
        self.random = random.Random(number)
        self.sequence = 0
        self.conn = None
        self.pending = None  # key of a write under way

    def connect(self):
        while self.conn is None and not self.recorder.is_over.is_set():
            try:
                self.conn = Raw(self.proxy.port, timeout=REQUEST_S + SLACK_S, host=self.proxy.host)
            except OSError:
                self.recorder.is_over.wait(0.02)

    def key(self):
        """One of the keys of now: mostly our proxy's, else one to read."""
        epoch = int(time.monotonic())
        own = self.own if self.random.random() < 0.8 else self.random.randrange(len(self.proxies))
        kind = self.random.choice(KINDS)
        name = "%s.%d.%d.%d" % (kind, own, epoch, self.random.randrange(2))
        with self.recorder.lock:
            self.recorder.keys[name] = (own, kind)
        return name, kind, own == self.own

    def value(self):
        self.sequence += 1
        return "%d.%d" % (self.number, self.sequence)

    def ask(self, key, kind, text, results, value="-", seen="-"):
        """One line asked, one line told. RESULTS: what each line means."""
        asked = now_us()
        self.pending = key
        line = self.conn.ask(text.encode())
        self.pending = None
        if kind == "delta" and line.isdigit():
            self.recorder.note(self.number, key, kind, asked, "ok", value, "-", int(line))
        elif line.startswith(b"SERVER_ERROR"):
            self.unknown(key, kind, asked, value, seen)
            self.fault("%s %s: %r" % (kind, key, line))
        else:
            result = results[line.decode()]
            if result != "exists" or self.recorder.has_tokens:
                self.recorder.note(self.number, key, kind, asked, result, value, seen)
            return result
        return None

    def unknown(self, key, kind, asked, value, seen):
        self.recorder.note(self.number, key, kind, asked, "unknown", value, seen)

    def fault(self, what):
        if not self.proxy.is_harmed:
            self.recorder.errors.append("%.3f client %d: %s" %
                                        (time.monotonic(), self.number, what))

    def get(self, key, command="get"):
        asked = now_us()
        self.conn.send(("%s %s\r\n" % (command, key)).encode())
        line = self.conn.line()
        if line == b"END":
            self.recorder.note(self.number, key, "get", asked, "no")
            return None, None
        words = line.split(b" ")
        assert words[0] == b"VALUE" and words[1] == key.encode(), line  # C1
        value = self.conn.file.read(int(words[3]) + 2)[:-2].decode().strip()
        assert self.conn.line() == b"END"
        self.recorder.note(self.number, key, "get", asked, "ok", "-", value)
        return value, words[4].decode() if len(words) > 4 else None

    def store(self, key, word, value, seen="-", cas=""):
        text = "%s %s 0 0 %d%s\r\n%s\r\n" % (word, key, len(value), cas, value)
        return self.ask(key, word, text, {"STORED": "ok", "NOT_STORED": "no", "EXISTS": "exists",
                                          "NOT_FOUND": "no"}, value, seen)

    def delete(self, key):
        return self.ask(key, "delete", "delete %s\r\n" % key, {"DELETED": "ok", "NOT_FOUND": "no"})

    def act(self):
        key, kind, is_own = self.key()
        dice = self.random.random()
        if not is_own or dice < 0.4:
            self.get(key)
        elif kind == "register":
            if dice < 0.75:
                self.store(key, "set", self.value())
            else:
                self.delete(key)
        elif kind == "counter":
            if dice < 0.5:
                self.store(key, "add", "0")
            else:
                self.ask(key, "delta", "incr %s 1\r\n" % key, {"NOT_FOUND": "no"}, "1")
        elif kind == "cas":
            value, cas = self.get(key, "gets")
            if cas is None:
                self.store(key, "add", self.value())
            else:
                self.store(key, "cas", self.value(), value, " " + cas)
        elif dice < 0.7:
            self.store(key, "add", self.value())
        else:
            self.delete(key)

    def run(self):
        while not self.recorder.is_over.is_set():
            self.connect()
            begin = time.monotonic()
            try:
                if self.conn is not None:
                    self.act()
            except (EOFError, OSError, ValueError, KeyError, AssertionError) as error:
                self.lost(error, begin)
            if time.monotonic() - begin > REQUEST_S + SLACK_S:
                self.fault("answered after %.3f s" % (time.monotonic() - begin))
            self.recorder.is_over.wait(PAUSE_S)
        if self.conn is not None:
            self.conn.close()

    def lost(self, error, begin):
        """The connection is over, and what was asked last may or may not have happened."""
        self.fault(repr(error))
        if self.pending is not None:
            self.recorder.mark("split", self.pending)  # docs/limits.md: copies may differ
            self.pending = None
        self.conn.close()
        self.conn = None


def read_all(recorder, proxies):
    """Every key once more, through every proxy."""
    for i, proxy in enumerate(proxies):
        reader = Client(recorder, 1000 + i, proxies, i)
        reader.connect()
        for key in sorted(recorder.keys):
            reader.get(key)
        reader.conn.close()


# -- a run, and its judgement --------------------------------------------------


def is_whole(proxies):
    for proxy in proxies:
        if not proxy.is_ready():
            return False
        nodes = proxy.request("GET", "/v1/nodes")[1]["nodes"]
        if any(n["data"]["state"] != "complete" or n["oper"]["state"] != "up" for n in nodes):
            return False
    return True


def start(nodes, proxies):
    for node in nodes:
        node.up()
    for proxy in proxies:
        proxy.is_harmed = False
        proxy.start()
    for proxy in proxies:
        wait_until("everwarm is ready", proxy.is_ready)


def record(recorder, proxies, rounds, harm):
    """What clients are told while HARM(number) is done ROUNDS times, each time when all is complete
    and they have asked for a while; and what is there at the end."""
    clients = [Client(recorder, i, proxies, i % 2) for i in range(2 * CLIENTS_PER_PROXY)]
    for client in clients:
        client.start()
    for number in range(rounds):
        wait_until("all nodes are complete", lambda: is_whole(proxies), HEAL_S)
        wait_until("clients have asked", lambda n=recorder.operations:
                   recorder.operations > n + 400, HEAL_S)
        harm(number)
    wait_until("all nodes are complete", lambda: is_whole(proxies), HEAL_S)
    recorder.is_over.set()
    for client in clients:
        client.join(10)
    recorder.is_over.clear()
    read_all(recorder, proxies)


def judge(lines):
    """(0 or 1, what it said)"""
    with tempfile.NamedTemporaryFile("w", suffix=".history") as file:
        file.write("\n".join(lines) + "\n")
        file.flush()
        done = subprocess.run([SIM, "--judge", file.name], capture_output=True, text=True,
                              check=False)
    assert done.returncode in (0, 1), done
    return done.returncode, done.stdout


def keep(lines):
    """Where they can be looked at; the path."""
    path = "build/test/e2e/history-%s.txt" % SEED
    with open(path, "w", encoding="ascii") as out:
        out.write("\n".join(lines) + "\n")
    return path


def check_order(recorder):
    assert not recorder.errors, "\n".join(recorder.errors[:20])
    code, text = judge(recorder.lines)
    print(text)
    assert code == 0, "a history has no order, see %s; HISTORY_SEED=%s" % (
        keep(recorder.lines), SEED)
