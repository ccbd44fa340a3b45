# SPDX-License-Identifier: BSD-2-Clause
"""Reloads under 20,000 requests a second: settings, nodes and whole pools change, and files that
are wrong come between. No request fails, each answer is right, and a wrong file changes nothing.

RELOADS: how many; SEED: of their order.
"""
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import threading

from harness import (EVERWARM, Everwarm, Load, Memcached, Raw, free_port, running, say, wait_until)

RELOADS = int(os.environ.get("RELOADS", "60"))
SEED = int(os.environ.get("SEED", random.randrange(1 << 30)))
# Sanitizers leave less: one that falls behind its lease for want of a processor errs rightly.
IS_FAST = "/release/" in EVERWARM
RATE = 20000 if IS_FAST else 500
LG = str(pathlib.Path(EVERWARM).resolve().parents[1] / "release/bench/lg")

# Each live setting with values that may stand together in any way.
SETTINGS = {
    "read": ["leader", "nearest", "spread"],
    "miss_fallback": ["auto", "always", "never"],
    "on_no_replica": ["miss", "error"],
    "last_copy": ["flush", "keep"],
    "timeouts.request": ["1500ms", "2500ms", "10s"],
    "timeouts.connect": ["200ms", "900ms"],
    "health.timeout": ["50ms", "100ms"],
    "health.fall": [3, 5],
    "health.rise": [2, 4],
    "health.hold_down_max": ["60s", "10s"],
    "fill.rate": ["0", "100mb"],
    "fill.window": [256, 1, 1024],
    "fill.warm_for": ["10m", "0", "30s"],
    "settle.delay": ["20ms", "0", "300ms"],
    "verify.background": [True, False],
    "verify.rate": ["2mb", "0"],
}
LIMITS = {
    "max_clients": [10000, 500, 65536],
    "limits.client_output": ["16mb", "1mb"],
    "limits.client_pipeline": [256, 1024],
    "limits.client_stall": ["30s", "60s"],
    "log.level": ["info", "warning"],
}


def put(where, path, value):
    *sections, name = path.split(".")
    for section in sections:
        where = where.setdefault(section, {})
    where[name] = value


class Tale:
    """What the file says, and what has to be so."""

    def __init__(self, proxy, spare, second):
        self.proxy = proxy
        self.dice = random.Random(SEED)
        self.spare = spare
        self.second = {"name": "second", "listen": ["127.0.0.1:%d" % free_port()],
                       "nodes": [{"name": "x%d" % i, "address": address(node)}
                                 for i, node in enumerate(second)]}
        self.config = proxy.config
        self.main = self.config["pools"][0]
        self.counts = {}

    def write(self, text=None):
        with open(self.proxy.file.name, "w", encoding="utf-8") as file:
            file.write(text if text is not None else json.dumps(self.config, indent=1))

    def shown(self):
        return self.proxy.request("GET", "/v1/config")[1]

    def refused(self, word):
        before = self.shown()
        status, problem = self.proxy.request("POST", "/v1/config/reload")
        assert status == 422 and problem["type"] == "/problems/bad-config", (status, problem)
        assert word in problem["detail"], problem
        assert self.shown() == before
        self.write()

    def taken(self):
        """By the API, or by a signal; what comes of it is the file."""
        self.write()
        epoch = self.shown()["epoch"]
        if self.dice.random() < 0.3:
            self.proxy.process.send_signal(signal.SIGHUP)
            wait_until("the signal is heard", lambda: self.shown()["epoch"] > epoch)
            status, done = self.proxy.request("POST", "/v1/config/reload")
            assert status == 200 and done["changes"] == [], done
        else:
            status, done = self.proxy.request("POST", "/v1/config/reload")
            assert status == 200 and done["refused"] is None, (status, done)
            assert not done["restart_needed"] and done["changes"], done
            assert all(change["applied"] for change in done["changes"]), done

    # --- What may change ---

    def settings(self):
        pool = self.dice.choice(self.config["pools"])
        for path in self.dice.sample(sorted(SETTINGS), 5):
            put(pool, path, self.dice.choice(SETTINGS[path]))
        for path in self.dice.sample(sorted(LIMITS), 2):
            put(self.config, path, self.dice.choice(LIMITS[path]))
        put(self.config, "limits.client_pipeline", self.dice.randrange(100, 1000))  # something did
        self.taken()

    def node(self):
        """The spare node comes, or goes."""
        nodes = self.main["nodes"]
        if nodes[-1]["name"] == "spare":
            nodes.pop()
        else:
            nodes.append({"name": "spare", "address": address(self.spare)})
        self.taken()
        wait_until("all are complete", lambda: all(
            node["data"]["state"] == "complete"
            for node in self.proxy.request("GET", "/v1/nodes")[1]["nodes"]), 60)

    def pool(self):
        """The second pool comes, or goes, with a client that has asked for something."""
        pools = self.config["pools"]
        port = int(self.second["listen"][0].split(":")[1])
        if self.second in pools:
            client = Raw(port)
            assert client.ask(b"set k 0 0 1\r\nv\r\n") == b"STORED"
            client.send(b"get k\r\n" * 50)
            wait_until("it was asked", lambda: self.proxy.process.poll() is None)
            pools.remove(self.second)
            for _ in range(50):
                assert client.values() == {b"k": (0, b"v")}
            self.taken()
            assert client.file.readline() == b"", "the client was not let go"
            client.close()
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                raise AssertionError("somebody listens there still")
            except ConnectionRefusedError:
                pass
        else:
            pools.append(self.second)
            if self.dice.random() < 0.5:
                self.second["listen"] = ["127.0.0.1:%d" % free_port()]
                port = int(self.second["listen"][0].split(":")[1])
            self.come(port)
        assert self.proxy.is_ready()

    def come(self, port):
        """Its nodes may be the last one's of that name still."""
        def is_in_effect():
            self.write()
            status, done = self.proxy.request("POST", "/v1/config/reload")
            assert status == 200 or "reload again when it has gone" in done["detail"], done
            return status == 200
        wait_until("it is there", is_in_effect)
        assert self.proxy.is_ready(), "nobody waits for a pool that is only coming"
        # As at any start: the last proxy of the pool was there a moment ago, under another id.
        wait_until("it serves", lambda: self.proxy.data_of("x0") == "complete")
        client = Raw(port)
        assert client.ask(b"set k 0 0 1\r\nv\r\n") == b"STORED"
        assert client.get(b"k") == {b"k": (0, b"v")}
        client.close()

    def listener(self):
        """The second pool, or the first one, has one more address, or another."""
        pool = self.dice.choice(self.config["pools"])
        if pool is self.main:
            self.config["listen"] = self.config["listen"][:1] + ["127.0.0.1:%d" % free_port()]
            at = self.config["listen"][1]
        else:
            pool["listen"] = ["127.0.0.1:%d" % free_port()]
            at = pool["listen"][0]
        self.taken()
        client = Raw(int(at.split(":")[1]))
        assert client.ask(b"version\r\n").startswith(b"VERSION")
        client.close()

    def hand_over(self):
        """An address goes from the second pool, which goes, to the first, and back: nobody who
        connects meanwhile is refused."""
        at = self.second["listen"][0]
        assert self.second not in self.config["pools"]
        for _ in range(3):
            self.config["pools"].append(self.second)
            caller = Caller(int(at.split(":")[1]))
            self.come(caller.port)
            caller.start()
            with running(caller):
                self.config["pools"].remove(self.second)
                self.config["listen"].append(at)
                self.taken()
                caller.await_calls(20)
                self.config["listen"].remove(at)
                self.config["pools"].append(self.second)
                self.come(caller.port)
                caller.await_calls(20)
            self.config["pools"].remove(self.second)
            self.taken()

    # --- What is wrong ---

    def nonsense(self):
        self.write(self.dice.choice(["", "{", "[]", "{\"nodes\": [1}", "\0\1", "{\"pools\": []}"]))
        self.refused("")

    def typing_error(self):
        self.write(json.dumps(dict(self.config, thraeds=3)))
        self.refused("did you mean \"threads\"")

    def contradiction(self):
        text = json.loads(json.dumps(self.config))
        put(text["pools"][0], "timeouts.request", "900ms")
        self.write(json.dumps(text))
        self.refused("health.lease")

    def taken_address(self):
        """Somebody else listens there: with all else that the file says it is refused."""
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            text = json.loads(json.dumps(self.config))
            text["listen"].append("127.0.0.1:%d" % other.getsockname()[1])
            put(text["pools"][0], "health.fall", 9)
            self.write(json.dumps(text))
            self.refused("can't listen on 127.0.0.1")

    def unknown_name(self):
        text = json.loads(json.dumps(self.config))
        text["pools"].append({"name": "third", "listen": ["127.0.0.1:%d" % free_port()],
                              "nodes": ["no-such-host.invalid"]})
        self.write(json.dumps(text))
        self.refused("no-such-host.invalid")

    def run(self, count):
        deeds = [self.settings] * 4 + [self.node, self.pool, self.pool, self.listener,
                                       self.nonsense, self.typing_error, self.contradiction,
                                       self.taken_address, self.unknown_name]
        for _ in range(count):
            deed = self.dice.choice(deeds)
            self.counts[deed.__name__] = self.counts.get(deed.__name__, 0) + 1
            deed()


class Caller(threading.Thread):
    """Connects again and again, and asks for the version. Who was with a pool that goes may be
    let go unanswered."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port = port
        self.is_over = threading.Event()
        self.answered = 0
        self.let_go = 0
        self.faults = []

    def run(self):
        while not self.is_over.is_set():
            try:
                conn = Raw(self.port)
            except OSError as error:
                self.faults.append(error)
                continue
            try:
                assert conn.ask(b"version\r\n").startswith(b"VERSION")
                self.answered += 1
            except (EOFError, ConnectionResetError):
                self.let_go += 1
            conn.close()

    def await_calls(self, count):
        before = self.answered
        wait_until("calls are answered", lambda: self.answered >= before + count)

    def end(self):
        self.is_over.set()
        self.join(20)
        say("%d calls answered, %d let go" % (self.answered, self.let_go))
        assert not self.faults, self.faults
        assert self.let_go < 20


def address(node):
    return "127.0.0.1:%d" % node.port


class Generator:
    """lg, which checks each answer and ends at the first that is wrong, late or missing."""

    def __init__(self, port):
        self.command = [LG, "-p", str(port), "-c", "20" if IS_FAST else "1", "-k", "2000",
                        "-s", "10"]
        subprocess.run(self.command + ["-L"], check=True, timeout=60)
        self.process = None

    def start(self, seconds):
        self.process = subprocess.Popen(self.command + ["-r", str(RATE), "-t", str(seconds)],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        return self

    def is_running(self):
        return self.process.poll() is None

    def end(self):
        """Its own account; it must have come to its end by itself."""
        out, err = self.process.communicate(timeout=120)
        assert self.process.returncode == 0, (self.process.returncode, out, err)
        return json.loads(out)


def all_at_once(proxy, spare, second):
    generator = Generator(proxy.port)
    load = Load([proxy], 4 if IS_FAST else 1).start()
    with running(load):
        tale = Tale(proxy, spare, second)
        tale.hand_over()
        tale.run(3)
        done = 3
        while done < RELOADS:
            generator.start(6)
            while generator.is_running() and done < RELOADS:
                tale.run(1)
                done += 1
            account = generator.end()
            say(account)
        say(tale.counts)
    say("%d operations, the slowest %.0f ms" % (load.operations(), 1000 * load.slowest()))
    with open("/proc/%d/status" % proxy.process.pid, encoding="ascii") as file:
        say([line.strip() for line in file if line.startswith(("VmRSS", "Threads", "FDSize"))])


def main():
    say("SEED=%d" % SEED)
    a, b, spare, c, d = [Memcached().up() for _ in range(5)]
    proxy = Everwarm([a, b])
    proxy.config["pools"] = [{"name": "main", "nodes": proxy.config.pop("nodes")}]
    with running(a, b, spare, c, d, proxy):
        proxy.up()
        all_at_once(proxy, spare, [c, d])


if __name__ == "__main__":
    sys.exit(main())
