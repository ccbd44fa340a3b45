# SPDX-License-Identifier: BSD-2-Clause
"""Real memcacheds, real everwarms, real clients, and a load that knows what every answer must be.

Environment: EVERWARM, the proxy; MEMCACHED, the memcached. Everything runs on loopback, on ports
that were free a moment before, and is ended by its own pid.
"""
import base64
import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

EVERWARM = os.environ.get("EVERWARM", "build/everwarm")
MEMCACHED = os.environ.get("MEMCACHED", "/usr/bin/memcached")
RESERVED = b"_everwarm:"


def say(*words):
    print("%8.3f" % time.monotonic(), *words, flush=True)


GIVEN_PORTS = set()


def free_port():
    """Each one once: who got it may not listen yet."""
    while True:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        if port not in GIVEN_PORTS:
            GIVEN_PORTS.add(port)
            return port


def wait_until(what, condition, seconds=15.0):
    """Poll CONDITION until it is true; its last value is returned."""
    end = time.monotonic() + seconds
    pause = threading.Event()
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("not within %.0f s: %s" % (seconds, what))
        pause.wait(0.01)


def enter(host):
    """What a command begins with that is to run in the network of HOST."""
    return host.enter if host is not None else []


def inside(host):
    """In the network of HOST (network.py); None: in ours."""
    return host.inside() if host is not None else contextlib.nullcontext()


class Raw:
    """A connection that speaks the protocol byte by byte."""

    def __init__(self, port, timeout=10.0, host=None):
        with inside(host):
            self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def send(self, data):
        self.socket.sendall(data)

    def line(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise EOFError("closed after %r" % line)
        return line[:-2]

    def ask(self, data):
        self.send(data)
        return self.line()

    def get(self, *keys):
        """{key: (flags, value)}"""
        self.send(b"get " + b" ".join(keys) + b"\r\n")
        return self.values()

    def values(self):
        found = {}
        while True:
            line = self.line()
            if line == b"END":
                return found
            if not line.startswith(b"VALUE "):
                raise ValueError(line)
            _, key, flags, size = line.split(b" ")[:4]
            data = self.file.read(int(size) + 2)
            assert data.endswith(b"\r\n"), data[-10:]
            found[key] = (int(flags), data[:-2])

    def set(self, key, value, flags=0, expire=0):
        return self.ask(b"set %s %d %d %d\r\n%s\r\n" % (key, flags, expire, len(value), value))

    def close(self):
        self.file.close()
        self.socket.close()


class Memcached:
    """One node. It is always started on the same port, empty."""

    def __init__(self, options=(), host=None):
        self.port = free_port()
        self.options = list(options)
        self.host = host
        self.address = "%s:%d" % (host.address if host is not None else "127.0.0.1", self.port)
        self.process = None

    def start(self):
        listen = "127.0.0.1" if self.host is None else "127.0.0.1," + self.host.address
        command = enter(self.host) + [MEMCACHED, "-l", listen, "-p", str(self.port), "-U", "0"]
        command += ["-t", "2", "-m", "256"] + self.options
        if os.geteuid() == 0:
            command += ["-u", "root"]
        self.process = subprocess.Popen(command)
        return self

    def is_listening(self):
        with contextlib.suppress(OSError), inside(self.host):
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            return True
        return False

    def up(self):
        self.start()
        wait_until("memcached listens", self.is_listening)
        return self

    def kill(self):
        self.process.kill()
        self.process.wait()

    def restart_at_once(self):
        """kill -9 and start again; the seconds in which nobody listened."""
        self.process.kill()
        self.process.wait()
        begin = time.monotonic()
        self.start()
        while not self.is_listening():
            assert time.monotonic() - begin < 10
        return time.monotonic() - begin

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def items(self):
        """{key: (flags, ttl, value)} of all that is not everwarm's own."""
        conn = Raw(self.port, host=self.host)
        conn.send(b"lru_crawler metadump hash\r\n")
        keys = []
        while True:
            line = conn.file.readline().rstrip(b"\r\n")  # dump lines end with LF alone
            if line == b"END":
                break
            if line == b"OK":
                continue
            if line.startswith(b"BUSY"):
                conn.close()
                return self.items()
            assert line.startswith(b"key="), line
            key = urllib.parse.unquote_to_bytes(line[4:line.index(b" ")])
            if not key.startswith(RESERVED):
                keys.append(key)
        conn.close()
        conn = Raw(self.port, host=self.host)
        found = {}
        for at in range(0, len(keys), 500):
            part = keys[at:at + 500]
            conn.send(b"".join(b"mg %s b v f t u\r\n" % base64.b64encode(key) if b" " in key
                               else b"mg %s v f t u\r\n" % key for key in part))
            for key in part:
                line = conn.line()
                if line == b"EN":
                    continue
                words = line.split(b" ")
                assert words[0] == b"VA", line
                value = conn.file.read(int(words[1]) + 2)[:-2]
                flags = {w[:1]: int(w[1:]) for w in words[2:] if w[1:]}
                found[key] = (flags[b"f"], flags[b"t"], value)
        conn.close()
        return found

    def spoil(self):
        """Write another value to each item behind everwarm's back: a fill has to copy all."""
        conn = Raw(self.port, host=self.host)
        for key in self.items():
            assert conn.set(key, b"spoilt") == b"STORED"
        conn.close()

    def end(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Relay:
    """A way to PORT that can be cut and joined again. A proxy that goes by it looks like one on
    another network."""

    def __init__(self, port):
        self.target = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.lock = threading.Lock()
        self.sockets = set()
        self.is_cut = False
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                near = self.listener.accept()[0]
                try:
                    far = socket.create_connection(("127.0.0.1", self.target), 5)
                except OSError:
                    near.close()
                    continue
                far.settimeout(None)
                with self.lock:
                    is_cut = self.is_cut
                    if not is_cut:
                        self.sockets |= {near, far}
                if is_cut:
                    near.close()
                    far.close()
                    continue
                for a, b in ((near, far), (far, near)):
                    a.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    threading.Thread(target=self.pump, args=(a, b), daemon=True).start()

    def pump(self, source, sink):
        with contextlib.suppress(OSError):
            while True:
                data = source.recv(65536)
                if not data:
                    break
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        with self.lock:
            self.sockets -= {source, sink}

    def cut(self):
        with self.lock:
            self.is_cut = True
            for end in self.sockets:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def join(self):
        with self.lock:
            self.is_cut = False

    def end(self):
        self.cut()
        self.listener.close()


class Everwarm:
    """One proxy in front of NODES (Memcached), named a, b, c, ..."""

    def __init__(self, nodes, host=None, **config):
        self.port = free_port()
        self.admin = free_port()
        self.host = host
        self.config = {
            "listen": ["127.0.0.1:%d" % self.port],
            "threads": 2,
            "admin": {"listen": "127.0.0.1:%d" % self.admin},
            "nodes": [{"name": "abcdefgh"[i],
                       "address": getattr(node, "address", "127.0.0.1:%d" % node.port)}
                      for i, node in enumerate(nodes)],
        }
        self.config.update(config)
        self.process = None

    def start(self):
        self.file = tempfile.NamedTemporaryFile("w", suffix=".json")
        json.dump(self.config, self.file)
        self.file.flush()
        self.process = subprocess.Popen(enter(self.host) + [EVERWARM, "-c", self.file.name])
        return self

    def request(self, method, path):
        """(status, parsed body)"""
        request = urllib.request.Request("http://127.0.0.1:%d%s" % (self.admin, path),
                                         method=method)
        try:
            with inside(self.host), urllib.request.urlopen(request, timeout=10) as reply:
                body = reply.read()
                status = reply.status
        except urllib.error.HTTPError as error:
            body = error.read()
            status = error.code
        try:
            return status, json.loads(body)
        except ValueError:
            return status, body.decode()

    def is_ready(self):
        with contextlib.suppress(OSError):
            return self.request("GET", "/readyz")[0] == 200
        return False

    def up(self, seconds=15.0):
        self.start()
        wait_until("everwarm is ready", self.is_ready, seconds)
        return self

    def stats(self):
        return self.request("GET", "/stats")[1]

    def node(self, name):
        return self.request("GET", "/v1/nodes/" + name)[1]

    def data_of(self, name):
        return self.node(name)["data"]["state"]

    def kill(self):
        self.process.kill()
        self.process.wait()

    def end(self):
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError("everwarm did not end on SIGTERM")
            assert self.process.returncode == 0, self.process.returncode


class LoadClient(threading.Thread):
    """One connection of the load. Its keys are its own, so it knows what each answer must be."""

    KEYS = 20

    def __init__(self, load, number, proxy):
        super().__init__(daemon=True)
        self.load = load
        self.number = number
        self.proxy = proxy
        self.random = random.Random(number)
        self.state = {}
        self.sequence = 0
        self.operations = 0
        self.slowest = 0.0
        self.faults = []

    def key(self, i):
        return b"load:%d:%d" % (self.number, i)

    def counter(self):
        return b"load:%d:n#" % self.number

    def check(self, what, got, want):
        if got != want:
            text = "%.3f client %d %s: got %r, want %r" % (
                time.monotonic(), self.number, what, got, want)
            self.faults.append(re.sub("x{20,}", "x..", text))

    def get(self, conn, keys):
        self.compare(keys, conn.get(*keys))

    def compare(self, keys, found):
        want = {k: (0 if k.endswith(b"#") else self.number, self.state[k])
                for k in keys if self.state.get(k) is not None}
        self.check("get %r" % keys, found, want)

    def set(self, key):
        self.sequence += 1
        value = b"%s=%d:" % (key, self.sequence) + b"x" * self.random.choice((0, 10, 100, 3000))
        return b"set %s %d 0 %d\r\n%s\r\n" % (key, self.number, len(value), value), b"STORED", value

    def delete(self, key):
        want = b"DELETED" if self.state.get(key) is not None else b"NOT_FOUND"
        return b"delete %s\r\n" % key, want, None

    def incr(self, key):
        if self.state.get(key) is None:
            return b"add %s 0 0 1\r\n0\r\n" % key, b"STORED", b"0"
        want = b"%d" % (int(self.state[key]) + 3)
        return b"incr %s 3\r\n" % key, want, want

    def write(self, conn, key, command):
        """COMMAND: its text, the answer it must get, the key's value after it."""
        text, want, value = command
        self.check(text[:40], conn.ask(text), want)
        self.state[key] = value

    def one(self, conn):
        dice = self.random.random()
        key = self.key(self.random.randrange(self.KEYS))
        if dice < 0.60:
            self.get(conn, [key] if dice < 0.5 else
                     [self.key(i) for i in self.random.sample(range(self.KEYS), 5)])
        elif dice < 0.80:
            self.write(conn, key, self.set(key))
        elif dice < 0.88:
            self.write(conn, key, self.delete(key))
        else:
            key = self.counter()
            self.write(conn, key, self.incr(key))

    def rest(self):
        """Wait here while the load is paused."""
        with self.load.may_run:
            while self.load.is_paused:
                self.load.idle.release()
                self.load.may_run.wait()

    def run(self):
        try:
            conn = Raw(self.proxy.port)
            while not self.load.is_over.is_set():
                self.rest()
                begin = time.monotonic()
                self.one(conn)
                self.operations += 1
                self.slowest = max(self.slowest, time.monotonic() - begin)
            conn.close()
        except Exception as error:  # whatever ends a client is a fault of what it talks to
            self.faults.append("client %d: %r" % (self.number, error))


class Load:
    """Mixed gets, sets, deletes and incrs from CONNECTIONS connections over all PROXIES."""

    def __init__(self, proxies, connections=16, client=LoadClient):
        self.is_over = threading.Event()
        self.may_run = threading.Condition()
        self.is_paused = False
        self.idle = threading.Semaphore(0)
        self.clients = [client(self, i, proxies[i % len(proxies)]) for i in range(connections)]

    def start(self):
        for client in self.clients:
            client.start()
        return self

    @contextlib.contextmanager
    def paused(self):
        """All clients are between two requests."""
        with self.may_run:
            self.is_paused = True
        alive = [c for c in self.clients if c.is_alive()]
        for _ in alive:
            assert self.idle.acquire(timeout=20), "a client hangs"
        try:
            yield
        finally:
            with self.may_run:
                self.is_paused = False
                self.may_run.notify_all()

    def faults(self):
        return [fault for client in self.clients for fault in client.faults]

    def operations(self):
        return sum(client.operations for client in self.clients)

    def slowest(self):
        return max(client.slowest for client in self.clients)

    def end(self):
        self.is_over.set()
        for client in self.clients:
            client.join(20)
            assert not client.is_alive(), "a client hangs"
        faults = self.faults()
        assert not faults, "%d faults:\n%s" % (len(faults), "\n".join(faults[:20]))
        assert min(client.operations for client in self.clients) > 0


class Reader(threading.Thread):
    """Reads keys that are not written any more, through all proxies, and counts false misses."""

    def __init__(self, proxies):
        super().__init__(daemon=True)
        self.proxies = proxies
        self.values = {}
        self.is_over = threading.Event()
        self.reads = 0
        self.faults = []

    def run(self):
        try:
            dice = random.Random(1)
            conns = [Raw(proxy.port) for proxy in self.proxies]
            while not self.is_over.is_set():
                values = self.values
                if not values:
                    self.is_over.wait(0.01)
                    continue
                keys = dice.sample(sorted(values)[:2000], min(10, len(values)))
                for conn in conns:
                    found = conn.get(*keys)
                    self.reads += len(keys)
                    for key in keys:
                        got = found.get(key, (0, None))[1]
                        if got != values[key]:
                            self.faults.append("%r: got %r, want %r" % (key, got, values[key]))
            for conn in conns:
                conn.close()
        except Exception as error:
            self.faults.append(repr(error))

    def end(self):
        self.is_over.set()
        self.join(20)
        assert not self.is_alive(), "the reader hangs"
        assert not self.faults, "%d faults:\n%s" % (len(self.faults), "\n".join(self.faults[:20]))


def differences(a, b):
    """What two nodes' items() differ in, expiry within 2 s."""
    found = []
    for key in sorted(set(a) | set(b)):
        x, y = a.get(key), b.get(key)
        if x is None or y is None:
            found.append((key, x and x[:2], y and y[:2]))
        elif x[0] != y[0] or x[2] != y[2] or abs(x[1] - y[1]) > 2 or (x[1] < 0) != (y[1] < 0):
            found.append((key, x, y))
    return found


@contextlib.contextmanager
def running(*things):
    """End all THINGS at the end, the last first, whatever happened."""
    try:
        yield
    finally:
        failure = None
        for thing in reversed(things):
            try:
                thing.end()
            except Exception as error:
                failure = failure or error
        if failure is not None and sys.exc_info()[0] is None:
            raise failure
