# SPDX-License-Identifier: BSD-2-Clause
"""The manuals render without a warning, and tell of every command and option that help knows."""
import os
import pathlib
import re
import subprocess

from harness import EVERWARM, say

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"


def output(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=60)
    assert done.returncode == 0, (command, done.stdout)
    return done.stdout


def words_of_help(program):
    """Long options, and the words that begin an indented line."""
    text = output(os.path.join(os.path.dirname(EVERWARM), program), "-h")
    found = set(re.findall(r"--[a-z][a-z-]+", text))
    if program == "everwarmctl":
        found |= set(re.findall(r"^  ([a-z][a-z-]+)", text, re.MULTILINE))
    return found


def main():
    for program in ("everwarm", "everwarmctl"):
        say("manual of", program)
        page = str(DOCS / (program + ".1"))
        assert output("mandoc", "-T", "lint", "-W", "warning", page) == ""
        assert output("groff", "-mandoc", "-Tutf8", "-ww", "-z", page) == ""
        text = output("mandoc", "-T", "ascii", page)
        text = re.sub(r".\x08", "", text)
        words = words_of_help(program)
        missing = [word for word in sorted(words) if word not in text
                   and word not in ("--help", "--version")]
        assert words and not missing, missing


if __name__ == "__main__":
    main()
