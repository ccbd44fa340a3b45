# SPDX-License-Identifier: BSD-2-Clause
"""The page in a real Chromium: a node dies, is filled and returns; one is drained by keyboard; a
last copy is refused and insisted on; the proxy goes and comes back. A breach of the content policy,
an error of a script, or a dialog that no one opened fails it.

With SHOTS=FOLDER it leaves screenshots there.
"""
import base64
import hashlib
import os
import pathlib
import re
import tempfile
import urllib.request

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.chrome.service import Service

from harness import Everwarm, Memcached, Raw, running, say, wait_until

HOSTILE = "<img/src=x/onerror=alert(1)>"
KEYS = 3000
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--no-first-run"]
SIZES = [(360, 740), (800, 600), (1440, 900)]


class Page:
    """Chromium with a fresh profile, on one proxy's page."""

    def __init__(self, proxy):
        self.folder = tempfile.TemporaryDirectory()
        options = webdriver.ChromeOptions()
        options.binary_location = "/usr/bin/chromium"
        for flag in FLAGS + ["--user-data-dir=" + self.folder.name]:
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)
        self.resize(1440, 900)
        self.driver.get("http://127.0.0.1:%d/" % proxy.admin)

    def resize(self, width, height):
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": False})

    def scheme(self, name):
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [
            {"name": "prefers-color-scheme", "value": name},
            {"name": "prefers-reduced-motion", "value": "reduce"}]})

    def text(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector).text

    def until(self, selector, wanted, seconds=20):
        """Wait until WANTED is in the text of SELECTOR."""
        wait_until("%s shows %r" % (selector, wanted), lambda: wanted in self.text(selector),
                   seconds)

    def is_open(self):
        return self.driver.execute_script("return document.getElementById('ask').open")

    def row(self, name):
        for row in self.driver.find_elements(By.CSS_SELECTOR, ".nodes .row:not(.head)"):
            if row.find_element(By.CSS_SELECTOR, ".name").text == name:
                return row
        raise AssertionError("no row of " + name)

    def until_row(self, name, wanted, seconds=20):
        wait_until("the row of %s shows %r" % (name, wanted),
                   lambda: wanted in self.row(name).text, seconds)

    def press(self, *keys):
        for key in keys:
            self.driver.switch_to.active_element.send_keys(key)

    def focused(self):
        return self.driver.execute_script("return document.activeElement.getAttribute("
                                          "'aria-label') || document.activeElement.textContent")

    def tab_to(self, label):
        """Press Tab until the element with this label or text has the focus."""
        for _ in range(60):
            self.press(Keys.TAB)
            if self.focused().startswith(label):
                return
        raise AssertionError("Tab never reaches %r" % label)

    def shoot(self, name):
        for width, height in SIZES:
            self.resize(width, height)
            for scheme in ("light", "dark"):
                self.scheme(scheme)
                wide = self.driver.execute_script(
                    "return document.documentElement.scrollWidth - innerWidth")
                assert wide <= 0, "%d px wide: the page is %d px wider" % (width, wide)
                if "SHOTS" in os.environ:
                    data = self.driver.execute_cdp_cmd("Page.captureScreenshot",
                                                       {"format": "png"})["data"]
                    path = "%s/%s-%d-%s.png" % (os.environ["SHOTS"], name, width, scheme)
                    with open(path, "wb") as file:
                        file.write(base64.b64decode(data))
        self.resize(1440, 900)

    def check_log(self):
        """Nothing but requests that the proxy refused, or did not answer, as this test wanted."""
        for entry in self.driver.get_log("browser"):
            text = entry["message"]
            assert "Content Security Policy" not in text, text
            assert entry["level"] != "SEVERE" or "Failed to load resource" in text or \
                "net::ERR_" in text, text

    def end(self):
        self.driver.quit()
        self.folder.cleanup()


def every_event_has_its_sentence():
    """In the page, or it is left to the log there."""
    root = pathlib.Path(__file__).resolve().parents[2]
    events = re.findall(r'X\(\w+, "([a-z-]+)"',
                        (root / "include/everwarm/core/trace.h").read_text())
    script = (root / "admin/web/events.js").read_text()
    known = set(re.findall(r"^    '?([a-z-]+)'?: ", script, re.M))
    silent = set(re.findall(r"'([a-z-]+)'", script.split("SILENT = ")[1].split("\n")[0]))
    assert len(events) > 25 and not set(events) - known - silent, set(events) - known - silent


def headers_are_strict(proxy):
    say("headers; a file that the browser has is not sent again")
    url = "http://127.0.0.1:%d/" % proxy.admin
    with urllib.request.urlopen(url) as reply:
        policy = reply.headers["Content-Security-Policy"]
        text = reply.read().decode()
    assert "default-src 'none'" in policy and "unsafe" not in policy, policy
    assert " style=" not in text and " onclick=" not in text and "//" not in text.replace(
        "<!-- ", ""), "inline or from outside"
    for line in text.splitlines():
        assert "<script" not in line or ' src="/web/' in line, line
    with urllib.request.urlopen(url + "web/main.js") as reply:
        assert reply.headers["Content-Type"].startswith("text/javascript")
        etag = reply.headers["ETag"]
    request = urllib.request.Request(url + "web/main.js", headers={"If-None-Match": etag})
    try:
        urllib.request.urlopen(request)
        raise AssertionError("sent again")
    except urllib.error.HTTPError as error:
        assert error.code == 304, error.code
    assert proxy.request("GET", "/web/none.js")[0] == 404
    assert proxy.request("POST", "/")[0] == 405


def looks_fine(page):
    say("all is fine; a node's name is text and nothing else")
    page.until("#verdict-text", "Fine. All 3 nodes hold everything.")
    page.until("#live", "live")
    page.until("#figures", "3 of 3")
    page.until_row(HOSTILE, "complete")
    assert page.driver.find_elements(By.CSS_SELECTOR, ".nodes img") == []
    page.until("#events", "This proxy serves.")
    page.until("#now-requests", "0")
    page.shoot("fine")


def node_dies_and_returns(page, nodes):
    say("a node dies")
    nodes[1].kill()
    page.until("#verdict-text", "Serving with less redundancy: 2 of 3 nodes")
    page.until("#findings", "b is down")
    page.until_row("b", "down")
    page.until_row("b", "connection refused")
    page.until("#events", "b is down")
    assert page.driver.title.startswith("!"), page.driver.title
    page.shoot("down")
    say("it returns empty: the fill and its time left are seen")
    nodes[1].up()
    page.until_row("b", "filling")
    page.until_row("b", "of 3,000 items")
    page.until("#verdict-fix", "b is being filled")
    page.until_row("b", "writes only")
    page.shoot("filling")
    page.until_row("b", "complete", 40)
    page.until("#verdict-text", "Fine.")
    page.until("#events", "b is filled: 3,000 items")


def drains_by_keyboard(page, proxy):
    say("drain by keyboard: Cancel has the focus, Escape leaves, Enter on the button does it")
    page.driver.execute_script("document.activeElement.blur()")
    page.tab_to("Drain b")
    page.press(Keys.ENTER)
    wait_until("the dialog opens", page.is_open)
    assert "Drain b?" in page.text("#ask-title")
    assert "Reads are served by a and " + HOSTILE in page.text("#ask-text"), page.text("#ask-text")
    assert page.focused() == "Cancel"
    page.press(Keys.ESCAPE)
    wait_until("the dialog closes", lambda: not page.is_open())
    assert page.focused().startswith("Drain b") and proxy.node("b")["admin"]["state"] == "ready"
    page.press(Keys.ENTER)
    wait_until("the dialog opens", page.is_open)
    page.tab_to("Drain it")
    page.press(Keys.ENTER)
    wait_until("the dialog closes", lambda: not page.is_open())
    page.until_row("b", "drain")
    assert proxy.node("b")["admin"]["state"] == "drain"
    page.until("#events", "b is put from ready to drain")


def last_copy_is_refused(page, proxy):
    say("a last copy: refused with its fix, then insisted on")
    proxy.request("POST", "/v1/nodes/a/drain")
    button = page.row(HOSTILE).find_element(By.XPATH, ".//button[text()='Drain']")
    wait_until("the page knows of it", lambda: "drain" in page.row("a").text)
    button.click()
    wait_until("the dialog opens", page.is_open)
    assert "No other node can be read" in page.text("#ask-text"), page.text("#ask-text")
    page.driver.find_element(By.ID, "ask-yes").click()
    page.until("#ask-error", "This would leave no readable copy")
    assert 'What to do: press "Ready" at a and let it fill.' in page.text("#ask-text")
    page.shoot("last-copy")
    page.driver.find_element(By.ID, "ask-yes").click()
    wait_until("the dialog closes", lambda: not page.is_open())
    page.until_row(HOSTILE, "drain")
    say("ready asks nothing")
    for name in ("a", "b", HOSTILE):
        page.row(name).find_element(By.XPATH, ".//button[text()='Ready']").click()
        assert not page.is_open()
        page.until_row(name, "ready")
    page.until("#verdict-text", "Fine.")


def proxy_goes_and_returns(page, proxy):
    say("the proxy goes: what is seen is old, and said to be")
    proxy.kill()
    page.until("#lost", "No answer from the proxy since")
    assert "What you see below is old." in page.text("#lost")
    assert page.text("#live") == "no answer"
    assert page.text("#verdict-text").startswith("Last known: Fine.")
    page.shoot("lost")
    say("it returns")
    proxy.up()
    wait_until("the banner goes", lambda: page.text("#lost") == "")
    page.until("#verdict-text", "Fine.")
    page.until("#live", "live")


def asks_for_a_token():
    say("a proxy with tokens: the page asks for one, and says what a viewer may not")
    with tempfile.NamedTemporaryFile("w") as known:
        known.write("viewer %s eve\n" % hashlib.sha256(b"see").hexdigest())
        known.flush()
        nodes = [Memcached().up(), Memcached().up()]
        proxy = Everwarm(nodes)
        proxy.config["admin"]["tokens"] = known.name
        with running(*nodes, proxy.up()):
            page = Page(proxy)
            with running(page):
                page.until("#gate", "This proxy asks for a token")
                page.shoot("token")
                for word in ("wrong", "see"):
                    field = page.driver.find_element(By.ID, "token")
                    wait_until("the field is there", field.is_displayed)
                    field.send_keys(word, Keys.ENTER)
                page.until("#verdict-text", "Fine. Both nodes hold everything.")
                wait_until("the form goes", lambda: page.text("#gate") == "")
                page.row("a").find_element(By.XPATH, ".//button[text()='Drain']").click()
                wait_until("the dialog opens", page.is_open)
                page.driver.find_element(By.ID, "ask-yes").click()
                page.until("#ask-error", "Refused")
                page.press(Keys.ENTER)
                wait_until("the dialog closes", lambda: not page.is_open())
                assert proxy.process.poll() is None
                page.check_log()


def main():
    asks_for_a_token()
    nodes = [Memcached().up() for _ in range(3)]
    proxy = Everwarm(nodes, fill={"rate": "400kb"})
    proxy.config["nodes"][2]["name"] = HOSTILE
    with running(*nodes, proxy.up()):
        every_event_has_its_sentence()
        headers_are_strict(proxy)
        conn = Raw(proxy.port)
        for i in range(KEYS):
            assert conn.set(b"k%d" % i, b"x" * 1000) == b"STORED"
        conn.close()
        page = Page(proxy)
        with running(page):
            looks_fine(page)
            node_dies_and_returns(page, nodes)
            drains_by_keyboard(page, proxy)
            last_copy_is_refused(page, proxy)
            page.check_log()
            proxy_goes_and_returns(page, proxy)
            page.check_log()
    say("done")


if __name__ == "__main__":
    main()
