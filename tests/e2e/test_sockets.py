# SPDX-License-Identifier: BSD-2-Clause
"""Sockets that a service manager holds, which is played here: no restart refuses a client, be it
by a signal or by kill -9; and systemd's own launcher is understood.

RESTARTS: how many.
"""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile

from harness import EVERWARM, Everwarm, Memcached, Raw, free_port, running, say, wait_until
from test_reload import Caller

SUCCESSORS = 4
RESTARTS = int(os.environ.get("RESTARTS", "12"))
START = ('exec 3<&%d 4<&%d 5<&%d; LISTEN_PID=$$ LISTEN_FDS=3 LISTEN_FDNAMES=data:spare:admin; '
         'export LISTEN_PID LISTEN_FDS LISTEN_FDNAMES; exec "$@"')


def listening(port):
    server = socket.create_server(("127.0.0.1", port), backlog=1024)
    os.set_inheritable(server.fileno(), True)
    return server


class Managed(Everwarm):
    """Started by a manager that holds its sockets, and one that it has no use for."""

    def __init__(self, nodes, **config):
        super().__init__(nodes, **config)
        self.spare = free_port()
        self.sockets = [listening(port) for port in (self.port, self.spare, self.admin)]
        self.log = tempfile.TemporaryFile("w+")

    def start(self):
        self.file = tempfile.NamedTemporaryFile("w", suffix=".json")
        json.dump(self.config, self.file)
        self.file.flush()
        fds = tuple(server.fileno() for server in self.sockets)
        self.process = subprocess.Popen(["/bin/sh", "-c", START % fds, "sh", EVERWARM, "-c",
                                         self.file.name], pass_fds=fds, stderr=self.log)
        return self

    def lines(self):
        self.log.seek(0)
        return self.log.read().split("\n")

    def end(self):
        super().end()
        for server in self.sockets:
            server.close()


def restarts(proxy, caller, node):
    for i in range(RESTARTS):
        if i % 3 == 2:
            proxy.kill()
        else:
            proxy.process.send_signal(signal.SIGTERM)
            assert proxy.process.wait(15) == 0
        # Nobody is there: who comes now waits, and is answered by the next one.
        late = socket.create_connection(("127.0.0.1", proxy.port), timeout=15)
        late.sendall(b"get still\r\n")
        looker = socket.create_connection(("127.0.0.1", proxy.admin), timeout=15)
        looker.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        proxy.start()
        assert late.makefile("rb").readline() == b"VALUE still 0 5\r\n"
        assert looker.makefile("rb").readline().startswith(b"HTTP/1.1 200")
        late.close()
        looker.close()
        caller.await_calls(20)
    assert node.process.poll() is None


def clients_are_seen(proxy):
    """One worker takes them and deals them out; still everybody knows where they come from."""
    conns = [Raw(proxy.port) for _ in range(8)]
    for conn in conns:
        assert conn.ask(b"version\r\n").startswith(b"VERSION")
    clients = proxy.request("GET", "/v1/clients")[1]["clients"]
    own = {"127.0.0.1:%d" % conn.socket.getsockname()[1] for conn in conns}
    seen = [client for client in clients if client["address"] in own]
    assert len(seen) == len(own), clients
    assert {client["worker"] for client in seen} == {0, 1}, seen
    for conn in conns:
        conn.close()


def an_address_goes_and_comes(proxy):
    say("a reload takes an address away, and gives it back: the socket was there all the time")
    held = proxy.config["listen"]
    for listen in (["127.0.0.1:%d" % free_port()], held):
        proxy.config["listen"] = listen
        with open(proxy.file.name, "w", encoding="utf-8") as file:
            json.dump(proxy.config, file)
        status, done = proxy.request("POST", "/v1/config/reload")
        assert status == 200 and done["changes"][0]["applied"], done
        conn = Raw(int(listen[0].split(":")[1]))
        assert conn.ask(b"version\r\n").startswith(b"VERSION")
        conn.close()


def by_systemd(nodes):
    launcher = shutil.which("systemd-socket-activate")
    if launcher is None:
        say("systemd-socket-activate is not there: left out")
        return
    say("by systemd-socket-activate, which starts it for the first client")
    proxy = Everwarm(nodes)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(proxy.config, file)
        file.flush()
        proxy.process = subprocess.Popen([launcher, "-l", proxy.config["listen"][0], EVERWARM, "-c",
                                          file.name], stderr=subprocess.DEVNULL)
        with running(proxy):
            def is_connected():
                try:
                    return Raw(proxy.port)
                except ConnectionRefusedError:
                    return None
            conn = wait_until("the launcher listens", is_connected)
            assert conn.get(b"still") == {b"still": (0, b"value")}
            conn.close()


def main():
    a, b = Memcached().up(), Memcached().up()
    # After kill -9 the next one waits for the lease of the dead one; who asked waits with it.
    proxy = Managed([a, b], timeouts={"request": "10s"})
    with running(a, b, proxy):
        proxy.up()
        unused = [line for line in proxy.lines() if "socket-unused" in line]
        assert len(unused) == 1 and "name=spare" in unused[0], unused
        assert re.search(r"address=127\.0\.0\.1:%d " % proxy.spare, unused[0]), unused
        conn = Raw(proxy.port)
        assert conn.set(b"still", b"value") == b"STORED"
        conn.close()
        caller = Caller(proxy.port)
        caller.start()
        with running(caller):
            say("%d restarts" % RESTARTS)
            restarts(proxy, caller, a)
        wait_until("it is ready", proxy.is_ready)
        clients_are_seen(proxy)
        an_address_goes_and_comes(proxy)
        proxy.end()
        # With the timeout of the default, which is not much more than a lease: the next one waits
        # for none that took its leave.
        for _ in range(SUCCESSORS):
            by_systemd([a, b])


if __name__ == "__main__":
    main()
