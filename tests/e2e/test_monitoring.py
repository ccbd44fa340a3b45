# SPDX-License-Identifier: BSD-2-Clause
"""Alerts and dashboard: promtool accepts them, each alert fires and stays quiet where it must, and
every metric, label and word that they name is in a live /metrics."""
import json
import pathlib
import re
import subprocess
import tempfile

from harness import Everwarm, Memcached, Raw, running, say, wait_until

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


# All that is promised, each with its labels.
PROMISED = """
build_info{version} up ready start_time_seconds commands_total{command,status}
request_duration_seconds_bucket{command,le} request_duration_seconds_count{command}
client_connections client_connections_total client_connections_rejected_total{reason}
client_closes_total{reason} client_received_bytes_total client_sent_bytes_total
protocol_errors_total{side} foreign_protocols_total
node_info{node,pool,zone} node_admin_state{node,state} node_oper_state{node,state}
node_data_state{node,state} node_serving{node,kind} node_transitions_total{node,to}
node_checks_total{node,result} node_check_duration_seconds{node} node_requests_total{node}
node_request_duration_seconds_bucket{node,le} node_request_errors_total{node,reason}
node_connections{node} node_pending_requests{node}
replication_factor{pool} replication_factor_wanted{pool} replicated_writes_total{result}
read_failovers_total repairs_total divergences_total settle_checks_total view_changes_total{pool}
fill_active{pool} fill_items_total{pool,outcome} fill_bytes_total{pool}
fill_duration_seconds{pool} fills_total{pool,trigger}
memory_bytes memory_limit_bytes shed_requests_total{reason} config_reloads_total{result}
admin_requests_total{route,code} log_messages_dropped_total event_loop_lag_seconds
"""
OF_PROCESS = ["cpu_seconds_total", "max_fds", "open_fds", "resident_memory_bytes",
              "start_time_seconds", "virtual_memory_bytes"]


def check_promises(series):
    for word in PROMISED.split():
        name, labels = re.fullmatch(r"(\w+)(?:\{(.*)\})?", word).groups()
        assert "everwarm_" + name in series, "there is no everwarm_" + name
        assert set(series["everwarm_" + name]) == set(labels.split(",") if labels else ()), word
    for name in OF_PROCESS:
        assert "process_" + name in series, name


def figure(proxy, series):
    text = proxy.request("GET", "/metrics")[1]
    return float(re.search("^%s (.*)$" % re.escape(series), text, re.M).group(1))


def check_figures(proxy, nodes):
    """What was done shows, and /stats says the same."""
    for command in ("get", "set"):
        series = 'everwarm_request_duration_seconds_count{command="%s"}' % command
        count = wait_until("it is published", lambda: figure(proxy, series))
        assert proxy.stats()["latency"][command]["count"] == count
    assert figure(proxy, 'everwarm_request_duration_seconds_count{command="touch"}') == 0
    say("a resync and a restart are counted as such")
    before = proxy.stats()["fill"]["pools"]["main"]
    assert proxy.request("POST", "/v1/nodes/a/resync")[0] == 202
    wait_until("it is done", lambda: proxy.stats()["fill"]["pools"]["main"]["done"] == 1, 30)
    assert figure(proxy, 'everwarm_fills_total{pool="main",trigger="resync"}') == 1
    nodes[1].restart_at_once()
    wait_until("it is filled", lambda: proxy.stats()["fill"]["pools"]["main"]["done"] == 2, 30)
    assert figure(proxy, 'everwarm_fills_total{pool="main",trigger="returned"}') == 1
    after = proxy.stats()["fill"]["pools"]["main"]
    assert before["items"]["copied"] == before["items"]["equal"] == 0
    assert after["items"]["copied"] + after["items"]["equal"] == 2, after
    assert after["begun"] == {"returned": 1, "resync": 1, "orphaned": 0, "last_copy": 0,
                              "retry": 0}, after
    for outcome in ("copied", "equal"):
        series = 'everwarm_fill_items_total{pool="main",outcome="%s"}' % outcome
        assert figure(proxy, series) == after["items"][outcome]
    say("HTTP on the data port is counted")
    conn = Raw(proxy.port)
    conn.send(b"GET / HTTP/1.1\r\n\r\n")
    assert conn.file.read() == b""
    conn.close()
    wait_until("it is counted", lambda: figure(proxy, "everwarm_foreign_protocols_total") == 1)


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
        check_promises(series)
        check_figures(proxy, nodes)
        said = subprocess.run(["promtool", "check", "metrics"], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=60,
                              input=proxy.request("GET", "/metrics")[1])
        assert said.returncode == 0 and said.stdout == "", said.stdout
        for name, expression in alerts().items():
            check_names(name, expression, series)
        for title, expression in queries:
            check_names(title, expression, series)
    assert len(queries) > 20
    say("done,", len(queries), "queries")


if __name__ == "__main__":
    main()
