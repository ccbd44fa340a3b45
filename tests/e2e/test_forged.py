# SPDX-License-Identifier: BSD-2-Clause
"""Somebody writes rubbish over what proxies keep on real nodes: views, heartbeats and ids of wrong
formats, of absurd epochs and identities, megabytes long or with millions of lines. It is ignored,
counted and overwritten, under load, and no client notices; clients can't write there at all."""
from harness import Everwarm, Load, Memcached, Raw, running, say, wait_until

VIEW = b"_everwarm:1:main:view"
MEGABYTES = 900 * 1024  # memcached takes up to 1 MiB


def raw(node):
    return Raw(node.port)


def view_of(node):
    conn = raw(node)
    found = conn.get(VIEW).get(VIEW)
    conn.close()
    return None if found is None else found[1]


def write(node, key, value):
    conn = raw(node)
    assert conn.set(key, value) == b"STORED", key
    conn.close()


def epoch_of(view):
    return int(view.split(b"\n")[1].split(b" ")[1])


def changed(view, old, new):
    assert old in view, (old, view)
    return view.replace(old, new, 1)


def lines(view, word):
    return [line for line in view.split(b"\n") if line.startswith(word + b" ")]


def forgeries(view):
    """(what, text); each is no view, or one of an epoch that nobody can have reached."""
    node = lines(view, b"node")[0]
    digits = lines(view, b"hash")[0]
    yield "nothing", b""
    yield "text", b"nonsense"
    yield "zero bytes", b"\0" * 1000
    yield "of another version", changed(view, b"everwarm-view 1", b"everwarm-view 2")
    yield "cut off", view[:len(view) // 2]
    yield "with more behind it", view + b"more\n"
    yield "with the hash of another", changed(view, digits, b"hash 0123456789abcdef")
    yield "with another epoch and the old hash", changed(
        view, b"epoch %d\n" % epoch_of(view), b"epoch 18446744073709551615\n")
    yield "with a number beyond all", changed(
        view, b"epoch %d\n" % epoch_of(view), b"epoch " + b"9" * 1000 + b"\n")
    yield "with absurd identities", changed(view, node, b" ".join(
        b"18446744073709551616" if word.isdigit() else word for word in node.split(b" ")))
    yield "megabytes long", b"x" * MEGABYTES
    yield "with many entries", changed(
        view, node, (node + b"\n") * (MEGABYTES // (len(node) + 1)))
    yield "with many ancestors", changed(
        view, node, b"ancestor 0123456789abcdef\n" * (MEGABYTES // 26) + node)
    yield "without line ends", view.replace(b"\n", b" ")


def damaged(proxies):
    return [p.stats()["replication"]["pools"]["main"]["views_damaged"] for p in proxies]


def is_well(proxies):
    return all(p.is_ready() and all(p.data_of(name) == "complete" for name in "ab")
               for p in proxies)


def forge_views(nodes, proxies):
    count = 0
    for what, text in forgeries(view_of(nodes[0])):
        for node in nodes:
            view = view_of(node)
            before = damaged(proxies)
            write(node, VIEW, text)
            wait_until("the view %s is overwritten" % what,
                       lambda n=node, v=view: view_of(n) == v)
            # Who overwrote it has seen it, the other perhaps.
            wait_until("the view %s is counted" % what,
                       lambda b=before: sum(damaged(proxies)) > sum(b))
            assert is_well(proxies), what
            count += 1
    return count


def forge_others(nodes, proxies):
    """Heartbeats and ids of proxies that don't exist, and of those that do."""
    texts = [b"", b"nonsense", b"x" * MEGABYTES, b"everwarm-heartbeat 1\n" * 40000,
             b"everwarm-heartbeat 1\nid 7\nnonce 0000000000000000\n"]
    for node in nodes:
        for number in range(256):
            for kind in (b"hb", b"id"):
                write(node, b"_everwarm:1:main:%s:%d" % (kind, number), texts[number % len(texts)])
    for proxy in proxies:
        wait_until("proxies see each other and no others", lambda p=proxy: p.stats()[
            "replication"]["pools"]["main"]["proxies"] == len(proxies))
    assert is_well(proxies)


def clients_can_not(proxy):
    conn = Raw(proxy.port)
    for command in (b"get %s\r\n", b"set %s 0 0 1\r\nx\r\n", b"delete %s\r\n", b"mg %s v\r\n",
                    b"touch %s 0\r\n", b"incr %s 1\r\n", b"ms %s 1\r\nx\r\n",
                    b"md X2V2ZXJ3YXJtOjE6bWFpbjp2aWV3 b\r\n%.0s"):
        line = conn.ask(command % VIEW)
        assert line.startswith(b"CLIENT_ERROR"), (command, line)
    conn.close()


def main():
    nodes = [Memcached().up(), Memcached().up()]
    proxies = [Everwarm(nodes).up(), Everwarm(nodes).up()]
    with running(*nodes, *proxies):
        wait_until("all is well", lambda: is_well(proxies))
        wait_until("copies were compared", lambda: b"\ndue -\n" in view_of(nodes[0]))
        load = Load(proxies, 8).start()
        epoch = epoch_of(view_of(nodes[0]))
        count = forge_views(nodes, proxies)
        assert epoch_of(view_of(nodes[0])) == epoch, "the view changed"
        forge_others(nodes, proxies)
        clients_can_not(proxies[0])
        load.end()
        say("%d forged views, %d operations, the slowest %.3f s" % (
            count, load.operations(), load.slowest()))


if __name__ == "__main__":
    main()
