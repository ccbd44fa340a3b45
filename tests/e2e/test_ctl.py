# SPDX-License-Identifier: BSD-2-Clause
"""everwarmctl against real proxies: exit codes, waiting, tables, terminals, completion."""
import fcntl
import hashlib
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time

from harness import EVERWARM, Everwarm, Memcached, Raw, free_port, running, say, wait_until

CTL = os.path.join(os.path.dirname(EVERWARM), "everwarmctl")
DONE, REFUSED, USAGE, UNREACHABLE, TIMEOUT, PARTIAL = range(6)
KEYS = 4000


def ctl(*words, code=DONE, **environment):
    """(stdout, stderr) of a call that must end with CODE."""
    done = subprocess.run([CTL, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          stdin=subprocess.DEVNULL, timeout=60, env={**os.environ, **environment})
    assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
    assert "\033" not in done.stdout + done.stderr, "escapes without a terminal"
    return done.stdout, done.stderr


def at(*proxies):
    return ["-H", ",".join("127.0.0.1:%d" % proxy.admin for proxy in proxies)]


def calls_without_proxy():
    say("calls that need no proxy")
    assert "usage:" in ctl("-h")[0]
    assert re.match(r"everwarmctl \d+\.\d+", ctl("-V")[0])
    assert "usage:" in ctl(code=USAGE)[1]
    assert "did you mean: status" in ctl("statsu", code=USAGE)[1]
    assert "usage: everwarmctl drain NODE" in ctl("drain", code=USAGE)[1]
    assert "takes no --force" in ctl("--force", "status", code=USAGE)[1]
    ctl("-H", "127.0.0.1:%d" % free_port(), "status", code=UNREACHABLE)
    ctl("--socket", "/nonexistent", "status", code=UNREACHABLE)
    ctl("top", code=USAGE)
    with tempfile.NamedTemporaryFile("w") as token:
        token.write("secret\n")
        token.flush()
        os.chmod(token.name, 0o644)
        assert "chmod 600" in ctl("--token-file", token.name, "status", code=USAGE)[1]


def looking(proxy):
    say("looking")
    out, _ = ctl(*at(proxy), "status")
    assert "Fine: both nodes hold everything." in out, out
    assert "redundancy  2 of 2" in out, out
    lines = ctl(*at(proxy), "nodes")[0].splitlines()
    assert lines[0].split() == ["NODE", "ADDRESS", "ADMIN", "OPER", "DATA", "FILL", "SERVES",
                                "REQUESTS", "ERRORS", "P99"], lines[0]
    words = [line.split() for line in lines[1:]]
    assert [len(w) for w in words] == [10, 10], lines
    assert [w[0] for w in words] == ["a", "b"] and words[0][2:7] == [
        "ready", "up", "complete", "-", "rw"], words
    found = json.loads(ctl(*at(proxy), "-o", "json", "nodes")[0])
    assert [node["name"] for node in found["nodes"]] == ["a", "b"]
    assert "oper.state" in ctl(*at(proxy), "node", "a")[0]
    out, err = ctl(*at(proxy), "node", "aardvark", code=REFUSED)
    assert "No node has this name (404)" in err and "fix: everwarmctl nodes" in err, err
    out, _ = ctl(*at(proxy), "-o", "json", "node", "aardvark", code=REFUSED)
    assert json.loads(out)["type"] == "/problems/no-such-node"
    assert json.loads(ctl(*at(proxy), "-o", "json", "doctor")[0])[0]["findings"] is not None


def listing(proxy):
    say("tasks, check, route, clients, slow and hot, events")
    assert "There are no tasks." in ctl(*at(proxy), "tasks")[1]
    out, _ = ctl(*at(proxy), "check", "a", "--wait", "10s")
    assert "check a, task 1" in out and "task 1 done" in out, out
    lines = ctl(*at(proxy), "tasks")[0].splitlines()
    assert lines[0].split()[:4] == ["ID", "KIND", "NODE", "STATE"], lines
    assert lines[1].split()[:4] == ["1", "check", "a", "done"], lines
    assert "kind" in ctl(*at(proxy), "tasks", "1")[0]
    assert "No task has this number" in ctl(*at(proxy), "tasks", "77", code=REFUSED)[1]
    ctl(*at(proxy), "tasks", "cancel", code=USAGE)
    out, _ = ctl(*at(proxy), "route", "some key/100%")
    assert re.search(r": leader [ab], read from [ab], pool main\n", out), out
    assert out.splitlines()[1].split() == ["NODE", "LEADS", "READS", "WRITES", "SKIPPED"], out
    conn = Raw(proxy.port)
    assert conn.set(b"k", b"v") == b"STORED"
    out, _ = ctl(*at(proxy), "verify", "--repair", "--wait", "20s")
    assert re.search(r"task \d+ done", out), out
    lines = ctl(*at(proxy), "clients")[0].splitlines()
    assert len(lines) == 2 and lines[1].split()[1].startswith("127.0.0.1:"), lines
    out, _ = ctl(*at(proxy), "clients", "kill", lines[1].split()[0])
    assert "disconnected" in out and "task" not in out, out
    assert conn.file.read() == b""
    conn.close()
    ctl(*at(proxy), "slowlog")
    ctl(*at(proxy), "hotkeys")
    follow = subprocess.Popen([CTL, *at(proxy), "events", "--since", "0"],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    while not re.search(r"notice   serving +pool=main", follow.stdout.readline()):
        assert follow.poll() is None
    follow.terminate()
    follow.wait()


def configuring(proxy):
    say("configuration: shown, changed, read again, refused")
    rows = [line.split() for line in ctl(*at(proxy), "config")[0].splitlines()]
    assert rows[0] == ["KEY", "SOURCE", "LIVE", "VALUE"], rows[0]
    assert ["health.fall", "default", "yes", "3"] in rows, rows
    assert ["listen", "file", "yes", '["127.0.0.1:%d"]' % proxy.port] in rows, rows
    assert "health.fall: 3 -> 5" in ctl(*at(proxy), "config", "set", "health.fall=5")[0]
    assert "health.fall: 5 -> 3" in ctl(*at(proxy), "reload")[0]
    _, err = ctl(*at(proxy), "config", "set", "health.fal=5", code=REFUSED)
    assert '(422)' in err and 'did you mean "fall"' in err, err
    ctl(*at(proxy), "config", "set", "nonsense", code=USAGE)


def draining(proxy):
    say("the proxy itself: drained, and back")
    assert "not ready any more" in ctl(*at(proxy), "proxy-drain", "--wait", "10s")[0]
    out, _ = ctl(*at(proxy), "doctor", code=REFUSED)
    assert "proxy-undrain" in out, out
    ctl(*at(proxy), "proxy-undrain", "--wait", "10s")
    assert "Fine" in ctl(*at(proxy), "status")[0]


def several(proxies):
    say("several proxies, one of them gone")
    gone = "127.0.0.1:%d" % free_port()
    both = at(*proxies)
    lines = ctl(*both, "nodes")[0].splitlines()
    assert lines[0].startswith("PROXY") and len(lines) == 5, lines
    out, err = ctl(both[0], both[1] + "," + gone, "nodes", code=PARTIAL)
    assert gone in err and len(out.splitlines()) == 5
    answers = json.loads(ctl(both[0], both[1] + "," + gone, "-o", "json", "nodes",
                             code=PARTIAL)[0])
    assert [answer["status"] for answer in answers] == [200, 200, 0]
    out, _ = ctl(*both, "drain", "b", "--wait", "10s")
    assert out.count("drain b") == 2, out
    assert [proxy.node("b")["admin"]["state"] for proxy in proxies] == ["drain"] * 2
    _, err = ctl(*both, "drain", "a", code=REFUSED)
    assert "This would leave no readable copy (409)" in err and "--force" in err, err
    assert "fix: everwarmctl ready b" in err, err
    ctl(*both, "drain", "a", "--force")
    ctl(*both, "ready", "a", "--wait", "10s")
    ctl(*both, "ready", "b", "--wait", "10s")


def waiting(proxy, other, node):
    say("a node dies; waiting for it in vain, then not")
    conn = Raw(proxy.port)
    for i in range(KEYS):
        assert conn.set(b"k%d" % i, b"x" * 1000) == b"STORED"
    node.kill()
    wait_until("b is out", lambda: proxy.data_of("b") == "out")
    begin = time.monotonic()
    out, err = ctl(*at(proxy), "--wait", "1s", "status", code=TIMEOUT)
    assert 0.9 < time.monotonic() - begin < 6
    assert "the wait ran out" in err and "last copy: 1 of 2 nodes" in out, (out, err)
    out, _ = ctl(*at(proxy), "doctor", code=REFUSED)
    assert out.startswith("critical  Pool main serves from its last copy"), out
    assert "start memcached at 127.0.0.1:%d" % node.port in out, out
    back = threading.Timer(0.5, node.up)
    back.start()
    _, err = ctl(*at(proxy), "--wait", "30s", "ready", "b")
    back.join()
    assert "b: ready, down, out" in err, err
    assert proxy.data_of("b") == "complete"
    assert "Fine" in ctl(*at(proxy), "--wait", "10s", "status")[0]
    say("resync, waited for")
    ctl(*at(proxy), "resync", "b", "--wait", "30s")
    assert len(node.items()) >= KEYS and set(node.items()) == set(other.items())
    say("maint, waited for")
    ctl(*at(proxy), "maint", "b", "--wait", "10s")
    assert proxy.data_of("b") == "out"
    _, err = ctl(*at(proxy), "ready", "b", "--wait", "30s")
    assert proxy.data_of("b") == "complete"
    conn.close()


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, *command, columns=80, lines=24, **environment):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update({"TERM": "xterm", "LANG": "C.UTF-8", **environment})
            os.execv(command[0], command)
        self.text = ""
        self.resize(columns, lines)

    def resize(self, columns, lines):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def read(self):
        """Take what is there; False at the end."""
        if select.select([self.fd], [], [], 0.05)[0]:
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                return False
            self.text += data.decode()
            return bool(data)
        return True

    def until(self, what):
        wait_until("the terminal shows %r" % what,
                   lambda: self.read() and re.search(what, self.text))

    def key(self, data):
        os.write(self.fd, data)

    def code(self):
        wait_until("the program ends", lambda: not self.read())
        _, status = os.waitpid(self.pid, 0)
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)


def terminals(proxy):
    say("colour on a terminal, none with NO_COLOR")
    terminal = Terminal(CTL, *at(proxy), "status")
    assert terminal.code() == DONE and "\033[32mFine" in terminal.text, terminal.text
    terminal = Terminal(CTL, *at(proxy), "status", NO_COLOR="1")
    assert terminal.code() == DONE and "\033" not in terminal.text, terminal.text
    say("top: draws, follows the size, quits, leaves the terminal as it was")
    terminal = Terminal(CTL, *at(proxy), "top")
    terminal.until(r"requests/s")
    assert terminal.text.startswith("\033[?1049h")
    terminal.text = ""
    terminal.resize(40, 10)
    terminal.until(r"\033\[10;1Hq quits")
    frame = terminal.text.rsplit("\033[H", 1)[1]
    lines = re.sub(r"\033\[[0-9;?]*[a-zA-Z]", "", frame).split("\r\n")
    assert max(len(line.rstrip("\r")) for line in lines) == 40 and len(lines) <= 10, lines
    terminal.key(b"q")
    assert terminal.code() == DONE and terminal.text.endswith("\033[?25h\033[?1049l")


def progress(proxy, node):
    say("a bar while a node is filled")
    node.spoil()
    terminal = Terminal(CTL, *at(proxy), "resync", "b", "--wait", "30s")
    assert terminal.code() == DONE, terminal.text
    assert re.search(r"\r\033\[Kb: ready, up, filling", terminal.text), terminal.text


def complete(*lines):
    """What bash offers for each line."""
    script = """
        source <("$1" completion bash)
        PATH=$(dirname "$1"):$PATH
        for COMP_LINE in "${@:2}"; do
            COMP_POINT=${#COMP_LINE} COMPREPLY=()
            _everwarmctl
            echo "${COMPREPLY[*]}"
        done
    """
    done = subprocess.run(["bash", "-c", script, "bash", CTL, *lines], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=30)
    assert done.stderr == "", done.stderr
    return "; ".join(done.stdout.splitlines())


def completion(proxy):
    say("completion of bash")
    found = complete("everwarmctl st", "everwarmctl -H 127.0.0.1:%d drain " % proxy.admin,
                     "everwarmctl -o j", "everwarmctl drain --wa", "everwarmctl proxy-")
    assert found == "status; a b; json; --wait; proxy-drain proxy-undrain", found


def socket():
    say("through the unix socket")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "admin.sock")
        node = Memcached().up()
        proxy = Everwarm([node])
        proxy.config["admin"]["socket"] = path
        proxy.config["nodes"] = ["127.0.0.1:%d" % node.port]
        with running(node, proxy.up()):
            out, _ = ctl("--socket", path, "status")
            assert "Fine: the one node is served." in out, out
            say("a name with colons is completed from where bash begins its last word")
            found = complete("everwarmctl --socket %s node 127.0.0.1:" % path)
            assert found == str(node.port), (found, node.port)


def tokens():
    say("tokens: none, a viewer's, an operator's")
    with tempfile.TemporaryDirectory() as folder:
        def write(name, text):
            path = os.path.join(folder, name)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
                file.write(text)
            return path

        digest = {word: hashlib.sha256(word.encode()).hexdigest() for word in ("see", "act")}
        known = write("tokens", "viewer %(see)s eve\noperator %(act)s olga\n" % digest)
        viewer, operator = write("viewer", "see\n"), write("operator", "act\n")
        nodes = [Memcached().up(), Memcached().up()]
        proxy = Everwarm(nodes)
        proxy.config["admin"]["tokens"] = known
        with running(*nodes, proxy.up()):
            assert "(401)" in ctl(*at(proxy), "status", code=REFUSED)[1]
            ctl(*at(proxy), "--token-file", viewer, "status")
            assert "(403)" in ctl(*at(proxy), "--token-file", viewer, "drain", "a",
                                  code=REFUSED)[1]
            ctl(*at(proxy), "--token-file", operator, "drain", "a", "--wait", "10s")


def main():
    calls_without_proxy()
    socket()
    tokens()
    nodes = [Memcached().up(), Memcached().up()]
    proxy = Everwarm(nodes, fill={"rate": "1500kb"}).up()
    other = Everwarm(nodes)
    with running(*nodes, proxy, other):
        looking(proxy)
        completion(proxy)
        listing(proxy)
        configuring(proxy)
        draining(proxy)
        waiting(proxy, *nodes)
        progress(proxy, nodes[1])
        terminals(proxy)
        other.up()
        several([proxy, other])
    say("done")


if __name__ == "__main__":
    sys.exit(main())
