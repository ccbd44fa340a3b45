# SPDX-License-Identifier: BSD-2-Clause
"""`make install` puts everything in its place, and systemd has nothing to say about the unit."""
import os
import pathlib
import subprocess
import tempfile

from harness import say

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILES = ["bin/everwarm", "bin/everwarmctl", "share/man/man1/everwarm.1",
         "share/man/man1/everwarmctl.1", "share/everwarm/production.json",
         "share/everwarm/monitoring/alerts.yml", "share/everwarm/monitoring/dashboard.json",
         "share/bash-completion/completions/everwarmctl", "lib/systemd/system/everwarm.service",
         "lib/systemd/system/everwarm.socket",
         "lib/sysusers.d/everwarm.conf"]


def output(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          cwd=ROOT, timeout=280)
    assert done.returncode == 0, (command, done.stdout)
    return done.stdout


def main():
    with tempfile.TemporaryDirectory() as folder:
        say("make install")
        output("make", "-s", "install", "PREFIX=" + folder)
        for name in FILES:
            assert os.path.getsize(os.path.join(folder, name)) > 0, name
        assert "everwarm" in output(folder + "/bin/everwarmctl", "-V")
        say("the unit")
        unit = folder + "/lib/systemd/system/everwarm.service"
        with open(unit) as file:
            assert "ExecStart=%s/bin/everwarm -c" % folder in file.read()
        for kind in (unit, unit.replace(".service", ".socket")):
            assert output("systemd-analyze", "verify", "--man=no", kind) == "", kind
        say("DESTDIR goes before all of it")
        output("make", "-s", "install", "DESTDIR=%s/root" % folder, "PREFIX=/usr")
        with open(folder + "/root/usr/lib/systemd/system/everwarm.service") as file:
            assert "ExecStart=/usr/bin/everwarm -c" in file.read()


if __name__ == "__main__":
    main()
