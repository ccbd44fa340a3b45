# SPDX-License-Identifier: BSD-2-Clause
"""What the benchmarks share: processes on a core of their own, and questions to them."""
import contextlib
import os
import pathlib
import socket
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
LG = ROOT / "build/release/bench/lg"
EVERWARM = ROOT / "build/everwarm"
START_SECONDS_MAX = 15


class CannotMeasure(Exception):
    """Something that the benchmark needs is not there or does not work."""


def free_ports(count):
    """COUNT loopback ports that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def ask(port, request, until=b"\r\n"):
    """One exchange with a memcached or proxy; b"" when it does not answer."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(request)
            answer = b""
            while not answer.endswith(until):
                more = connection.recv(65536)
                if not more:
                    return b""
                answer += more
            return answer
    except OSError:
        return b""


class Process:
    """A child on one core (None: on any), ended by its pid when its block is left."""

    def __init__(self, arguments, core, log):
        every_core = os.sched_getaffinity(0)
        cores = {core} if core is not None and core < len(every_core) else every_core
        self.name = pathlib.Path(arguments[0]).name
        self.log = log
        with open(log, "wb") as output:
            self.child = subprocess.Popen(
                [str(argument) for argument in arguments], stdin=subprocess.DEVNULL,
                stdout=output, stderr=output,
                preexec_fn=lambda: os.sched_setaffinity(0, cores))
        self.pid = self.child.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.terminate()
        try:
            self.child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()

    def wait_for(self, condition, what):
        """Until CONDITION() holds; the process must live as long."""
        deadline = time.monotonic() + START_SECONDS_MAX
        while not condition():
            if self.child.poll() is not None or time.monotonic() > deadline:
                raise CannotMeasure(f"{self.name}: {what} does not come about\n{self.tail()}")
            time.sleep(0.02)

    def tail(self):
        """The end of its log, for the message that says it has failed."""
        return pathlib.Path(self.log).read_text(errors="replace")[-2000:]

    def cpu_ns(self):
        total = 0
        for task in os.listdir(f"/proc/{self.pid}/task"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                text = pathlib.Path(f"/proc/{self.pid}/task/{task}/schedstat").read_text()
                total += int(text.split()[0])
        return total


def start_node(stack, core, log, megabytes=256):
    """A memcached with one thread; its port."""
    port, = free_ports(1)
    node = stack.enter_context(Process(
        ["/usr/bin/memcached", "-u", "nobody", "-l", "127.0.0.1", "-p", port, "-U", "0", "-t", "1",
         "-m", megabytes], core, log))
    node.wait_for(lambda: ask(port, b"version\r\n").startswith(b"VERSION"), "an answer")
    return port
