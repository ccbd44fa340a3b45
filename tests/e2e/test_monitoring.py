# SPDX-License-Identifier: BSD-2-Clause
"""Alerts and dashboard: promtool accepts them, each alert fires and stays quiet where it must, and
every metric, label and word that they name is in a live /metrics."""
import json
import pathlib
import re
import subprocess
import tempfile

from harness import Everwarm, Memcached, Raw, running, say

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "admin/monitoring"
ALERTS = {"NodeDown", "RedundancyLost", "LastCopy", "Flapping", "FillStalled", "ReloadFailed",
          "SlowReaders", "FdsNearLimit", "LoopLag", "MaintForgotten"}
METRIC = re.compile(r"\b(?:everwarm|process)_[a-z0-9_]+\b")
SELECTOR = re.compile(r"\b((?:everwarm|process)_[a-z0-9_]+)\{([^}]*)\}")
MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
OF_PROMETHEUS = {"instance", "job"}


def promtool(*words):
    done = subprocess.run(["promtool", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    return done.stdout


def alerts():
    """{name: expression}; the file is ours, so its layout is known."""
    found = {}
    text = (FOLDER / "alerts.yml").read_text()
    for part in text.split("- alert: ")[1:]:
        expression = part.split("expr:")[1]
        found[part.split()[0]] = re.split(r"\n\s+(?:for|labels):", expression)[0].lstrip(" >-\n")
    return found


def dashboard():
    """(title, expression) of each query, with Grafana's variables filled in."""
    board = json.loads((FOLDER / "dashboard.json").read_text())
    assert {v["name"] for v in board["templating"]["list"]} == {"datasource", "instance"}
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    for panel in board["panels"]:
        assert panel["type"] == "row" or panel["datasource"]["uid"] == "${datasource}", panel
        for target in panel.get("targets", ()):
            assert "$instance" in target["expr"], target
            yield panel["title"], target["expr"].replace("$__rate_interval", "1m").replace(
                "$instance", ".*")


def check_by_promtool(queries):
    say("promtool: rules, their tests, and the dashboard's queries")
    promtool("check", "rules", str(FOLDER / "alerts.yml"))
    promtool("test", "rules", str(FOLDER / "alerts_test.yml"))
    tests = (FOLDER / "alerts_test.yml").read_text()
    for name in alerts():
        ends = re.findall("alertname: " + name + r"\n\s+exp_alerts:(.*)", tests)
        assert " []" in ends and "" in ends, name + " must fire in one test and not in another"
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        rules = [{"record": "query:%d" % i, "expr": expression}
                 for i, (_, expression) in enumerate(queries)]
        json.dump({"groups": [{"name": "dashboard", "rules": rules}]}, file)  # JSON is YAML
        file.flush()
        promtool("check", "rules", file.name)


def live_series(proxy):
    """{metric: {label: values}} of what the proxy shows."""
    found = {}
    for line in proxy.request("GET", "/metrics")[1].splitlines():
        match = re.match(r"([a-z_0-9]+)(?:\{(.*)\})? ", line)
        if match:
            labels = found.setdefault(match.group(1), {})
            for label, value in re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match.group(2) or ""):
                labels.setdefault(label, set()).add(value)
    return found


def check_names(what, expression, series):
    for metric in METRIC.findall(expression):
        assert metric in series, "%s: there is no %s" % (what, metric)
    for metric, matchers in SELECTOR.findall(expression):
        for label, operator, value in MATCHER.findall(matchers):
            if label in OF_PROMETHEUS:
                continue
            values = series[metric].get(label)
            assert values, "%s: %s has no label %s" % (what, metric, label)
            if operator in ("=", "=~"):
                missing = set(value.split("|")) - values
                assert not missing, "%s: %s is never %s" % (what, label, missing)
    for labels in re.findall(r"(?:by|on) \(([^)]*)\)", expression):
        for label in re.split(r",\s*", labels):
            known = any(label in series[metric] for metric in METRIC.findall(expression))
            assert known or label in OF_PROMETHEUS, "%s: no label %s" % (what, label)


def main():
    assert set(alerts()) == ALERTS, set(alerts()) ^ ALERTS
    queries = list(dashboard())
    check_by_promtool(queries)
    say("every name is in a live /metrics")
    nodes = [Memcached().up(), Memcached().up()]
    proxy = Everwarm(nodes)
    with running(*nodes, proxy.up()):
        conn = Raw(proxy.port)
        assert conn.set(b"k", b"v") == b"STORED" and conn.get(b"k")
        conn.close()
        series = live_series(proxy)
        for name, expression in alerts().items():
            check_names(name, expression, series)
        for title, expression in queries:
            check_names(title, expression, series)
    assert len(queries) > 20
    say("done,", len(queries), "queries")


if __name__ == "__main__":
    main()
