# SPDX-License-Identifier: BSD-2-Clause
"""Histories of real proxies and memcacheds under real kills, judged key by key (C1-C6, C10).

Each round harms one node or one proxy - kill -9 and a start, empty; SIGSTOP for a while - under
clients that record all they ask and are told; then all must be complete again. At the end the
history of each key must have an order in which one memcached would have answered the same, and no
client may have got an error but of a proxy that was itself harmed. Then the judge is shown the same
histories with one thing made wrong each, and must refuse them.

Environment: HISTORY_ROUNDS (6), HISTORY_SEED, SIM, the simulator, which is the judge.
"""
import os
import random
import subprocess
import tempfile
import threading

from harness import Everwarm, Memcached, running, say, wait_until
from history import Client, Recorder, now_us, read_all

ROUNDS = int(os.environ.get("HISTORY_ROUNDS", "6"))
SEED = os.environ.get("HISTORY_SEED") or str(random.SystemRandom().randrange(10 ** 6))
SIM = os.environ.get("SIM", "build/release/sim")
CLIENTS_PER_PROXY = 4
HEAL_S = 30
TROUBLE_S = 4.0  # after it is up again, a proxy's clients may still have been told errors before


def is_whole(proxies):
    for proxy in proxies:
        if not proxy.is_ready():
            return False
        nodes = proxy.request("GET", "/v1/nodes")[1]["nodes"]
        if any(n["data"]["state"] != "complete" or n["oper"]["state"] != "up" for n in nodes):
            return False
    return True


def harm_node(dice, recorder, node):
    pause = threading.Event()
    recorder.mark("fault", now_us())
    if dice.random() < 0.5:
        say("a node is killed, and back, empty")
        node.kill()
        pause.wait(dice.choice((0.0, 0.05, 0.5, 1.5)))
        node.up()
    else:
        say("a node is stopped")
        node.freeze()
        pause.wait(dice.choice((0.2, 0.8, 2.5)))
        node.thaw()
    recorder.mark("fault", now_us())


def harm_proxy(dice, recorder, proxy):
    pause = threading.Event()
    proxy.is_harmed = True
    recorder.mark("lapse", now_us())
    if dice.random() < 0.5:
        say("a proxy is killed")
        proxy.kill()
        pause.wait(dice.choice((0.0, 0.5)))
        proxy.up()
    else:
        say("a proxy is stopped")
        proxy.process.send_signal(19)
        pause.wait(dice.choice((0.3, 1.2, 2.5)))
        proxy.process.send_signal(18)
    recorder.mark("lapse", now_us())
    wait_until("the proxy is ready", proxy.is_ready, HEAL_S)
    pause.wait(TROUBLE_S)
    proxy.is_harmed = False


def judge(lines):
    """(0 or 1, what it said)"""
    with tempfile.NamedTemporaryFile("w", suffix=".history") as file:
        file.write("\n".join(lines) + "\n")
        file.flush()
        done = subprocess.run([SIM, "--judge", file.name], capture_output=True, text=True,
                              check=False)
    assert done.returncode in (0, 1), done
    return done.returncode, done.stdout


def planted(lines):
    """(what, LINES with that one thing wrong), made of real histories far from any fault."""
    ops = [line.split(" ") for line in lines if line.startswith("op ")]
    late = 10 ** 8 + max(int(op[4]) for op in ops)
    # What may have happened at any time makes room for much.
    uncertain = {op[1] for op in ops if op[6] == "unknown"}
    uncertain |= {line.split(" ")[1] for line in lines if line.startswith("split ")}

    def after(what, *more):
        """MORE operations on a key of its own, one after the other, behind all others."""
        made = []
        for i, words in enumerate(more):
            made.append("op planted 0 %d %d %s" % (late + 10 * i, late + 10 * i + 5, words))
        return what, lines + made

    yield after("lost write", "set ok x - -", "get no - - -")
    yield after("stale read", "set ok x - -", "set ok y - -", "get ok - x -")
    yield after("undone delete", "set ok x - -", "delete ok - - -", "get ok - x -")
    yield after("increment done twice", "add ok 0 - -", "delta ok 1 - 1", "get ok - 2 -")
    yield after("delete that succeeds twice", "set ok x - -", "delete ok - - -", "delete ok - - -")
    yield after("lock taken twice", "add ok x - -", "add ok y - -")
    yield after("cas over a newer value", "set ok x - -", "set ok y - -", "cas ok z x -")
    for kind, words in (("get", "ok"), ("cas", "ok")):
        mine = [i for i, op in enumerate(ops)
                if op[5] == kind and op[6] == words and op[1] not in uncertain]
        assert mine, "no %s in the history" % kind
        op = list(ops[mine[len(mine) // 2]])
        again = " ".join(op)
        if kind == "get":
            op[8] = "9999.9999"
            yield "a value nobody wrote", [line for line in lines if line != again] + [" ".join(op)]
        else:
            op[3], op[4] = str(late), str(late + 5)
            yield "a cas that succeeds twice", lines + [" ".join(op)]


def main():
    say("HISTORY_SEED=%s" % SEED)
    dice = random.Random(SEED)
    nodes = [Memcached() for _ in range(3)]
    proxies = [Everwarm(nodes, threads=1, health={"hold_down_max": "1s"}) for _ in range(2)]
    recorder = Recorder()
    with running(*nodes, *proxies):
        for node in nodes:
            node.up()
        for proxy in proxies:
            proxy.is_harmed = False
            proxy.start()
        for proxy in proxies:
            wait_until("everwarm is ready", proxy.is_ready)
        clients = [Client(recorder, i, proxies, i % 2) for i in range(2 * CLIENTS_PER_PROXY)]
        for client in clients:
            client.start()
        for number in range(ROUNDS):
            wait_until("all nodes are complete", lambda: is_whole(proxies), HEAL_S)
            wait_until("clients have asked", lambda n=recorder.operations:
                       recorder.operations > n + 400, HEAL_S)
            if number % 3 == 2:
                harm_proxy(dice, recorder, dice.choice(proxies))
            else:
                harm_node(dice, recorder, dice.choice(nodes))
        wait_until("all nodes are complete", lambda: is_whole(proxies), HEAL_S)
        recorder.is_over.set()
        for client in clients:
            client.join(10)
        recorder.is_over.clear()
        read_all(recorder, proxies)
    assert not recorder.errors, "\n".join(recorder.errors[:20])
    code, text = judge(recorder.lines)
    print(text)
    if code != 0:
        recorder.write("build/test/e2e/history-%s.txt" % SEED)
    assert code == 0, "a history has no order; HISTORY_SEED=%s" % SEED
    count = 0
    for what, lines in planted(recorder.lines):
        if judge(lines)[0] != 1:
            recorder.write("build/test/e2e/history-%s.txt" % SEED)
            raise AssertionError("the judge lets pass: %s; HISTORY_SEED=%s" % (what, SEED))
        count += 1
    say("%d operations in order; %d planted mistakes refused" % (recorder.operations, count))


if __name__ == "__main__":
    main()
