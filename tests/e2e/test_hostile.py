# SPDX-License-Identifier: BSD-2-Clause
"""Clients that mean no good, and secrets that must not get out (S8, S9, S16, S17, S18).

Each defect was one of a program like this one; the numbers are those of the list of such defects.
What needs no process of its own is in tests/unit/test_admin_gate.c and test_admin_tokens.c.

WATCHERS_SECONDS: how long watchers come and go, 0 by default; the list says a minute.
"""
import hashlib
import json
import os
import pathlib
import random
import re
import select
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request

from harness import (EVERWARM, Everwarm, Load, Memcached, Raw, free_port, running, say, wait_until)

CTL = os.path.join(os.path.dirname(EVERWARM), "everwarmctl")
SANITIZED_BYTES = 1 << 40  # so much virtual memory has only a sanitizer's shadow
EMPTY_LINES = 10**6
TOKEN_BYTES = 1 << 30
WATCHERS = 1000
WATCHERS_SECONDS = float(os.environ.get("WATCHERS_SECONDS", "0"))  # they go on for so long
WATCHERS_AT_ONCE = 24
RSS_GROWTH_BYTES = 24 << 20


def resident(proxy):
    """Bytes; 0 where a sanitizer's own memory is in them."""
    memory = proxy.stats()["memory"]
    return 0 if memory["virtual_bytes"] > SANITIZED_BYTES else memory["resident_bytes"]


# -- S8 ------------------------------------------------------------------------------

def empty_lines(proxy):
    say("S8: a million empty lines on the data port")
    before = resident(proxy)
    conn = Raw(proxy.port, timeout=60)
    got = bytearray()
    is_over = threading.Event()

    def read():
        while not got.endswith(b"END\r\n"):
            piece = conn.socket.recv(1 << 20)
            if not piece:
                break
            got.extend(piece)
        is_over.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    for _ in range(EMPTY_LINES // 10000):
        conn.send(b"\r\n" * 5000 + b"\n" * 5000)
    conn.send(b"get none\r\n")
    assert is_over.wait(60), "they are not answered"
    # As memcached: each line is an error of its own.
    assert got == b"ERROR\r\n" * EMPTY_LINES + b"END\r\n", (len(got), got[:40], got[-40:])
    conn.close()
    assert resident(proxy) - before < RSS_GROWTH_BYTES


def huge_token(proxy):
    say("S8: a token of a gigabyte")
    before = resident(proxy)
    conn = socket.create_connection(("127.0.0.1", proxy.admin), timeout=20)
    conn.sendall(b"GET /stats HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ")
    sent = 0
    answer = b""
    try:
        while sent < TOKEN_BYTES:
            sent += conn.send(b"t" * (1 << 16))
            if select.select([conn], [], [], 0)[0]:
                answer = conn.recv(4096)
                break
    except OSError:
        pass  # it has had enough
    conn.close()
    assert sent < 16 << 20, "it took %d MiB of it" % (sent >> 20)
    assert answer == b"" or re.match(rb"HTTP/1.1 4\d\d ", answer), answer
    assert resident(proxy) - before < RSS_GROWTH_BYTES


# -- S9 ------------------------------------------------------------------------------

class Watcher(threading.Thread):
    """Opens the event stream again and again, and leaves it in every way there is."""

    def __init__(self, proxy, number, left):
        super().__init__(daemon=True)
        self.proxy = proxy
        self.dice = random.Random(number)
        self.left = left
        self.statuses = {}
        self.fault = None

    def run(self):
        try:
            while True:
                if not self.left.take():
                    return
                self.watch()
        except Exception as error:
            self.fault = error

    def watch(self):
        conn = socket.socket()
        if self.dice.random() < 0.5:
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        conn.settimeout(20)
        conn.connect(("127.0.0.1", self.proxy.admin))
        text = (b"GET /v1/events?since=%d HTTP/1.1\r\nHost: localhost\r\n\r\n"
                % self.dice.choice((0, 0, 1, 5, 10**9)))
        how = self.dice.random()
        if how < 0.1:
            conn.sendall(text[:self.dice.randrange(len(text))])  # it dies amid its request
        else:
            conn.sendall(text)
            if how < 0.9:
                line = conn.recv(12)
                self.statuses[line[9:12]] = self.statuses.get(line[9:12], 0) + 1
        if how > 0.7:
            self.dice_wait(conn)  # it stalls
        if self.dice.random() < 0.5:
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # reset
        conn.close()

    def dice_wait(self, conn):
        select.select([], [], [conn], self.dice.random() * 0.3)


class Left:
    """How many watchers are still to come."""

    def __init__(self, count, seconds):
        self.count = count
        self.taken = 0
        self.until = time.monotonic() + seconds
        self.lock = threading.Lock()

    def is_over(self):
        return self.taken >= self.count and time.monotonic() >= self.until

    def take(self):
        with self.lock:
            if self.is_over():
                return False
            self.taken += 1
            return True


def watchers(proxy):
    say("S9: %d watchers and %.0f s at least: they open, stall and die while clients work"
        " and nodes change" % (WATCHERS, WATCHERS_SECONDS))
    before = resident(proxy)
    load = Load([proxy], connections=4).start()
    left = Left(WATCHERS, WATCHERS_SECONDS)
    crowd = [Watcher(proxy, i, left) for i in range(WATCHERS_AT_ONCE)]
    for watcher in crowd:
        watcher.start()
    words = 0
    while not left.is_over() and not any(watcher.fault for watcher in crowd):
        for word in ("drain", "ready"):
            assert proxy.request("POST", "/v1/nodes/a/" + word)[0] == 200
            words += 1
    for watcher in crowd:
        watcher.join(60)
        assert not watcher.is_alive() and watcher.fault is None, watcher.fault
    load.end()
    statuses = {}
    for watcher in crowd:
        for status, count in watcher.statuses.items():
            statuses[status] = statuses.get(status, 0) + count
    assert set(statuses) <= {b"200", b"503", b""} and statuses[b"200"] > 100, statuses
    say("   %d came: %s; %d events made meanwhile, no client had to wait %.0f ms"
        % (left.taken, statuses, words, load.slowest() * 1e3))
    wait_until("all of them are gone", lambda: watch_once(proxy), 20)
    assert resident(proxy) - before < RSS_GROWTH_BYTES


def watch_once(proxy):
    try:
        with urllib.request.urlopen("http://127.0.0.1:%d/v1/events?since=0" % proxy.admin,
                                    timeout=5) as stream:
            return stream.readline() != b""
    except urllib.error.HTTPError as error:
        assert error.code == 503
        return False


# -- S16, S17 ------------------------------------------------------------------------

HEAD = b"POST /v1/nodes/a/drain HTTP/1.1\r\nHost: localhost\r\n"
SMUGGLED = [
    HEAD + b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    HEAD + b"Content-Length: 0\r\nContent-Length: 60\r\n\r\n",
    HEAD + b"Content-Length:\r\n\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
    HEAD + b"X: " + b"x" * (1 << 20) + b"\r\n\r\n",
    HEAD + b"".join(b"X-%d: y\r\n" % i for i in range(10**4)) + b"\r\n",
    HEAD + b"Content-Type: application/json\r\nContent-Length: 67108864\r\n\r\n" + b"[" * (1 << 20),
]


def smuggling(proxy):
    say("S16, S17: odd lengths, a huge head, ten thousand headers, 64 MB of brackets, many times")
    before = resident(proxy)
    drained = HEAD + b"Content-Length: 0\r\nConnection: close\r\n\r\n"
    for text in SMUGGLED * 20:
        conn = socket.create_connection(("127.0.0.1", proxy.admin), timeout=20)
        answer = b""
        try:
            conn.sendall(text + drained)
            while piece := conn.recv(65536):
                answer += piece
        except OSError:
            pass  # closed while it was still talking
        conn.close()
        # (The library may write the head of such an answer twice.)
        statuses = re.findall(rb"HTTP/1.1 (\d)", answer)
        assert set(statuses) <= {b"4"} and bool(statuses) == bool(answer), (text[:200], answer)
    assert proxy.node("a")["admin"]["state"] == "ready", "what was smuggled was done"
    assert resident(proxy) - before < RSS_GROWTH_BYTES


def tokens_file():
    say("S17: a token file that others may read, or a link, is refused at the start")
    with tempfile.TemporaryDirectory() as folder:
        tokens = pathlib.Path(folder) / "tokens"
        tokens.write_text("admin %s me\n" % hashlib.sha256(b"t").hexdigest())
        config = pathlib.Path(folder) / "everwarm.json"
        for what, words in (("mode", "chmod 600"), ("link", "symbolic link")):
            path = tokens
            if what == "mode":
                tokens.chmod(0o644)
            else:
                tokens.chmod(0o600)
                path = pathlib.Path(folder) / "link"
                path.symlink_to(tokens)
            config.write_text(json.dumps({
                "listen": "127.0.0.1:%d" % free_port(), "nodes": ["127.0.0.1:1"],
                "admin": {"listen": "127.0.0.1:%d" % free_port(), "tokens": str(path)}}))
            done = subprocess.run([EVERWARM, "-c", str(config)], stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True, timeout=20)
            assert done.returncode == 1 and words in done.stdout, done.stdout


# -- S18 -----------------------------------------------------------------------------

CANARY = "canary-7f3a9c21"
ROUTES = ["/stats", "/stats?format=text", "/metrics", "/v1/nodes", "/v1/nodes/a", "/v1/tasks",
          "/v1/clients", "/v1/slowlog", "/v1/hotkeys", "/v1/config", "/v1/verify", "/version",
          "/openapi.json", "/", "/livez?verbose", "/readyz?verbose"]


def find_canary(what, text):
    assert CANARY not in text and CANARY.encode().hex() not in text, "%s tells the secret" % what


class Guarded(Everwarm):
    """Wants a token; its log goes to a file, all of it."""

    def __init__(self, nodes, folder, **config):
        self.folder = pathlib.Path(folder)
        tokens = self.folder / "tokens"
        tokens.write_text("admin %s me\n" % hashlib.sha256(CANARY.encode()).hexdigest())
        tokens.chmod(0o600)
        super().__init__(nodes, state_file=str(self.folder / "state.json"), **config)
        self.config["admin"]["tokens"] = str(tokens)

    def start(self):
        self.file = tempfile.NamedTemporaryFile("w", suffix=".json")
        json.dump(self.config, self.file)
        self.file.flush()
        with open(self.folder / "log", "wb") as log:
            self.process = subprocess.Popen([EVERWARM, "-v", "-c", self.file.name], stdout=log,
                                            stderr=log)
        return self

    def log(self):
        return (self.folder / "log").read_text()

    def ask(self, method, path, token=CANARY, body=None):
        request = urllib.request.Request("http://127.0.0.1:%d%s" % (self.admin, path),
                                         method=method)
        request.add_header("Authorization", "Bearer " + token)
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=20) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


def use_secrets(proxy):
    """Values, tokens, right and wrong, all with the secret in them."""
    conn = Raw(proxy.port)
    value = CANARY.encode() * 100
    for i in range(200):
        assert conn.set(b"k%d" % i, value) == b"STORED"
        assert conn.get(b"k%d" % i) == {b"k%d" % i: (0, value)}
    conn.send(b"set k 0 0 10\r\n" + value + b"\r\nbogus " + value[:40] + b"\r\nget k0\r\n")
    while conn.line() != b"END":
        pass
    conn.close()
    assert proxy.ask("GET", "/stats", token=CANARY + "x")[0] == 401
    assert proxy.ask("POST", "/v1/config/reload")[0] == 200
    assert proxy.ask("PATCH", "/v1/config", body={"admin": {"tokens": CANARY}})[0] == 422
    status, task = proxy.ask("POST", "/v1/nodes/a/resync")
    assert status == 202, task
    path = "/v1/tasks/%d" % json.loads(task)["id"]
    wait_until("it is filled",
               lambda: json.loads(proxy.ask("GET", path)[1])["state"] == "done", 60)


def secrets_stay(nodes):
    say("S18: a secret in values and tokens is in no output")
    with tempfile.TemporaryDirectory() as folder:
        proxy = Guarded(nodes, folder)
        with running(proxy):
            proxy.up()
            use_secrets(proxy)
            for route in ROUTES:
                status, text = proxy.ask("GET", route)
                assert status == 200, (route, status, text)
                find_canary(route, text)
            token = pathlib.Path(folder) / "token"
            token.write_text(CANARY + "\n")
            token.chmod(0o600)
            for words in (["status"], ["nodes"], ["clients"], ["slowlog"], ["hotkeys"], ["config"],
                          ["doctor"], ["route", "k0"], ["-o", "json", "nodes"]):
                done = subprocess.run(
                    [CTL, "-H", "127.0.0.1:%d" % proxy.admin, "--token-file", str(token), *words],
                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
                assert done.returncode in (0, 1), (words, done.stdout)
                find_canary("everwarmctl " + words[0], done.stdout)
            conn = Raw(proxy.port)
            for what in (b"stats\r\n", b"stats settings\r\n", b"stats proxy\r\n"):
                conn.send(what)
                line = b""
                while line != b"END":
                    line = conn.line()
                    find_canary(what, line.decode())
            conn.close()
            log_injection(proxy)
        find_canary("the log", proxy.log())
        for file in pathlib.Path(folder).iterdir():
            if file.name != "token":
                find_canary(file.name, file.read_text())


def log_injection(proxy):
    say("S18: what others write into the log stays within its line")
    before = proxy.log().count("\n")
    reason = "a\n2026-01-01T00:00:00.000Z error forged\x1b[31m\r\u2028"
    status, answer = proxy.ask("POST", "/v1/nodes/a/drain", body={"reason": reason})
    assert status == 422, (status, answer)
    status, answer = proxy.ask("POST", "/v1/nodes/a/drain", body={"reason": "plain <b>'\"\\ words"})
    assert status == 200, (status, answer)
    assert proxy.ask("POST", "/v1/nodes/a/ready")[0] == 200
    wait_until("it is logged", lambda: "word=ready" in proxy.log())
    log = proxy.log()
    assert log.count("\n") > before
    assert not re.search(r"^2026-01-01T00:00:00.000Z error forged", log, re.M)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", log), "control bytes in the log"


def main():
    nodes = [Memcached().up(), Memcached().up()]
    with running(*nodes):
        proxy = Everwarm(nodes).up()
        with running(proxy):
            empty_lines(proxy)
            huge_token(proxy)
            smuggling(proxy)
            watchers(proxy)
            assert proxy.process.poll() is None
        tokens_file()
        secrets_stay(nodes)


if __name__ == "__main__":
    main()
