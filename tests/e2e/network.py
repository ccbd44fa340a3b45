# SPDX-License-Identifier: BSD-2-Clause
"""A network of the test's own: hosts that are network namespaces, joined by a bridge in one more,
in which the test itself runs. All of it goes when the last process in it ends.

What a host sends to another is lost while it believes that the other has an address (of Ethernet)
that nobody has. So each direction of each pair can be cut, silently, as a broken switch would.
"""
import contextlib
import ctypes
import os
import subprocess
import sys

NOBODY = "02:77:00:00:ff:ff"
CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)


def ip(*words, pid=None):
    prefix = [] if pid is None else ["nsenter", "-t", str(pid), "-n"]
    subprocess.run(prefix + ["ip"] + list(words), check=True)


def begin():
    """Go on in a network of our own, from the start of the program. Returns False, with a reason
    printed, where that is not allowed."""
    if os.environ.get("EVERWARM_NETWORK") == "1":
        ip("link", "set", "lo", "up")
        ip("link", "add", "bridge", "type", "bridge")
        ip("link", "set", "bridge", "up")
        return True
    # Is all there that a host needs?
    trial = ("ip link add bridge type bridge && ip link add one type veth peer name two && "
             "ip link set one master bridge && exec nsenter -t $$ -n true")
    done = subprocess.run(["unshare", "--net", "sh", "-c", trial], capture_output=True, text=True,
                          check=False)
    if done.returncode != 0:
        print("skipped: no network namespaces here: %s" % done.stderr.strip(), flush=True)
        return False
    os.environ["EVERWARM_NETWORK"] = "1"
    os.execvp("unshare", ["unshare", "--net", sys.executable] + sys.argv)


class Host:
    """A namespace that lives as long as a process in it does."""

    count = 0

    def __init__(self):
        Host.count += 1
        self.number = Host.count
        self.address = "10.77.0.%d" % self.number
        self.mac = "02:77:00:00:00:%02x" % self.number
        self.holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec cat"],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.holder.stdout.readline() == b"\n"
        pid = self.holder.pid
        self.enter = ["nsenter", "-t", str(pid), "-n"]
        port = "host%d" % self.number
        ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "address", self.mac,
           "netns", str(pid))
        ip("link", "set", port, "master", "bridge", "up")
        ip("link", "set", "lo", "up", pid=pid)
        ip("address", "add", self.address + "/24", "dev", "eth0", pid=pid)
        ip("link", "set", "eth0", "up", pid=pid)

    @contextlib.contextmanager
    def inside(self):
        """Sockets that this thread makes belong to this host."""
        with open("/proc/self/task/%d/ns/net" % _thread(), "rb") as ours, \
                open("/proc/%d/ns/net" % self.holder.pid, "rb") as theirs:
            _setns(theirs)
            try:
                yield
            finally:
                _setns(ours)

    def believe(self, other, mac):
        ip("neigh", "replace", other.address, "lladdr", mac, "dev", "eth0", "nud", "permanent",
           pid=self.holder.pid)

    def end(self):
        self.holder.stdin.close()
        self.holder.wait()


def _thread():
    return LIBC.gettid()


def _setns(file):
    if LIBC.setns(file.fileno(), CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def cut(sender, receiver):
    """Nothing that SENDER sends reaches RECEIVER."""
    sender.believe(receiver, NOBODY)


def mend(sender, receiver):
    sender.believe(receiver, receiver.mac)
