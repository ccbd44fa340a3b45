# SPDX-License-Identifier: BSD-2-Clause
"""What everwarm tells a service manager, which is played here: ready, how it stands, reloading,
stopping, and that all loops turn; and that it says no such thing when one of them hangs."""
import ctypes
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time

from harness import EVERWARM, Everwarm, Memcached, running, say, wait_until

WATCHDOG_S = 0.8
PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 17, 0x4206, 0x4207
WALL = 0x40000000  # waitpid: threads too
ROOT = pathlib.Path(__file__).resolve().parents[2]


class Manager:
    """The other end of $NOTIFY_SOCKET."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = self.folder.name + "/notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.setblocking(False)
        self.heard = []

    def listen(self):
        while True:
            try:
                text = self.socket.recv(4096).decode()
            except BlockingIOError:
                return self.heard
            self.heard.extend((time.monotonic(), line) for line in text.split("\n"))

    def lines(self):
        return [line for _, line in self.listen()]

    def count(self, line):
        return self.lines().count(line)

    def await_line(self, start, seconds=10):
        wait_until(start, lambda: any(line.startswith(start) for line in self.lines()), seconds)

    def end(self):
        self.socket.close()
        self.folder.cleanup()


class Service(Everwarm):
    """Started as a service manager would."""

    def __init__(self, nodes, manager, **environment):
        super().__init__(nodes)
        self.environment = dict(os.environ, NOTIFY_SOCKET=manager.path, **environment)

    def start(self):
        self.file = tempfile.NamedTemporaryFile("w", suffix=".json")
        json.dump(self.config, self.file)
        self.file.flush()
        self.process = subprocess.Popen([EVERWARM, "-c", self.file.name], env=self.environment)
        return self

    def threads(self):
        """{name: thread id}"""
        folder = pathlib.Path("/proc/%d/task" % self.process.pid)
        return {(task / "comm").read_text().strip(): int(task.name) for task in folder.iterdir()}


def ptrace(request, thread):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long
    if libc.ptrace(request, thread, None, None) != 0:
        raise OSError(ctypes.get_errno(), "ptrace %d" % request)


def fed_for(manager, times):
    count = manager.count("WATCHDOG=1")
    wait_until("it is fed", lambda: manager.count("WATCHDOG=1") >= count + times)


def one_loop_hangs(manager, service, name):
    say("the thread \"%s\" hangs: it is not fed until that goes on" % name)
    thread = service.threads()[name]
    try:
        ptrace(PTRACE_SEIZE, thread)
    except PermissionError:
        say("   may not be tried here: ptrace is forbidden")
        return
    ptrace(PTRACE_INTERRUPT, thread)
    os.waitpid(thread, WALL)  # it has stopped
    try:
        manager.listen()
        stopped = time.monotonic()
        wait_until("the manager loses patience", lambda: manager.listen() and
                   time.monotonic() - stopped > 2 * WATCHDOG_S)
        # The ping before may have been answered; the next is not.
        fed = [at for at, line in manager.heard if line == "WATCHDOG=1"]
        assert fed[-1] - stopped < WATCHDOG_S / 2, fed[-1] - stopped
    finally:
        ptrace(PTRACE_DETACH, thread)
    fed_for(manager, 2)


def told(manager, nodes):
    service = Service(nodes, manager, WATCHDOG_USEC=str(int(WATCHDOG_S * 1e6)))
    with running(service):
        service.start()
        manager.await_line("READY=1")
        wait_until("it is ready", service.is_ready)
        manager.await_line("STATUS=running; main: 2 of 2 nodes complete")
        say("the watchdog is fed four times in its time")
        begin = time.monotonic()
        fed_for(manager, 8)
        assert time.monotonic() - begin < 4 * WATCHDOG_S
        assert {"worker 0", "worker 1", "control"} <= set(service.threads())
        for name in ("worker 1", "control"):
            one_loop_hangs(manager, service, name)
        say("a node that is lost shows in the status")
        nodes[1].kill()
        manager.await_line("STATUS=running; main: 1 of 2 nodes complete")
        nodes[1].up()
        wait_until("it is back", lambda: service.data_of("b") == "complete", 30)
        say("a reload: RELOADING with its time, then READY")
        ready = manager.count("READY=1")
        before = time.monotonic() * 1e6
        service.process.send_signal(signal.SIGHUP)
        wait_until("it is ready again", lambda: manager.count("READY=1") == ready + 1)
        lines = manager.lines()
        at = lines.index("RELOADING=1")
        assert before <= int(lines[at + 1].split("MONOTONIC_USEC=")[1]) <= time.monotonic() * 1e6
        assert "READY=1" in lines[at:]
        say("SIGUSR1 harms nothing; SIGTERM: STOPPING")
        service.process.send_signal(signal.SIGUSR1)
        fed_for(manager, 1)
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(15) == 0
        assert manager.lines()[-2:] == ["STOPPING=1", "STATUS=answering what is under way"]


def reload_that_waits(manager, nodes):
    say("a reload that waits for another proxy, which is frozen, keeps nobody else waiting")
    slow = {"timeouts": {"request": "30s"}, "health": {"lease": "20s"}}
    service = Service(nodes, manager, WATCHDOG_USEC=str(int(WATCHDOG_S * 1e6)))
    service.config.update(slow)
    other = Everwarm(nodes, **slow)
    extra = Memcached().up()
    with running(extra, other, service):
        other.up(60)
        service.start()
        wait_until("it is ready", service.is_ready, 60)
        service.config["nodes"].append({"name": "c", "address": "127.0.0.1:%d" % extra.port})
        with open(service.file.name, "w", encoding="utf-8") as file:
            json.dump(service.config, file)
        other.process.send_signal(signal.SIGSTOP)
        try:
            begun = manager.count("RELOADING=1")
            service.process.send_signal(signal.SIGHUP)
            wait_until("it reloads", lambda: manager.count("RELOADING=1") == begun + 1)
            asked = time.monotonic()
            fed_for(manager, 4)
            assert time.monotonic() - asked < 3, "it was not fed meanwhile"
            stopping = manager.count("STOPPING=1")
            asked = time.monotonic()
            service.process.send_signal(signal.SIGTERM)
            wait_until("it stops", lambda: manager.count("STOPPING=1") == stopping + 1, 3)
            assert service.process.wait(3) == 0
            say("it took %.1f s" % (time.monotonic() - asked))
        finally:
            other.process.send_signal(signal.SIGCONT)


def not_meant_for_us(manager, nodes):
    say("a watchdog for another process is not fed; without one the status is told all the same")
    service = Service(nodes, manager, WATCHDOG_USEC="400000", WATCHDOG_PID="1")
    fed = manager.count("WATCHDOG=1")
    with running(service):
        service.start()
        wait_until("it is ready", service.is_ready)
        manager.await_line("STATUS=")
        assert manager.count("WATCHDOG=1") == fed


def the_unit():
    text = (ROOT / "etc/everwarm.service").read_text()
    for line in ("Type=notify", "WatchdogSec=30", "ExecReload=/bin/kill -HUP $MAINPID"):
        assert line in text.split("\n"), line


def main():
    nodes = [Memcached().up(), Memcached().up()]
    manager = Manager()
    with running(*nodes, manager):
        told(manager, nodes)
        reload_that_waits(manager, nodes)
        not_meant_for_us(manager, nodes)
        the_unit()


if __name__ == "__main__":
    main()
