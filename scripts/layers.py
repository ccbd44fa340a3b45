#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Checks the include graph: which layer may include which, and what from outside.

The table is the one of the architecture, and the only place where it stands as code. A header
under include/everwarm/LAYER/ is for other layers; one beside its .c is that layer's own.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

FREESTANDING = {"float.h", "iso646.h", "limits.h", "stdalign.h", "stdarg.h", "stdbool.h",
                "stddef.h", "stdint.h", "stdnoreturn.h", "string.h"}
HOSTED = FREESTANDING | {"ctype.h", "errno.h", "inttypes.h", "locale.h", "math.h", "setjmp.h",
                         "signal.h", "stdatomic.h", "stdio.h", "stdlib.h", "time.h"}
# Any header below these, or of these names, is the operating system's.
SYSTEM = re.compile(r"(sys|netinet|arpa|net|linux)/\w+\.h|(unistd|fcntl|poll|pthread|sched|spawn|"
                    r"getopt|netdb|grp|pwd|strings|syslog|dirent|libgen|execinfo|semaphore)\.h")
# Parsing an address without connecting to it.
ADDRESS = re.compile(r"arpa/inet\.h|netinet/in\.h|sys/(socket|un)\.h")
# Command lines, and how many cores there are.
OPTIONS = re.compile(r"(getopt|unistd)\.h")
EVENT = re.compile(r"event2/\w+\.h")
JANSSON = re.compile(r"jansson\.h")
OPENSSL = re.compile(r"openssl/\w+\.h")
HTTPD = re.compile(r"microhttpd\.h")
TERMINAL = re.compile(r"termios\.h")
CURL = re.compile(r"curl/\w+\.h")
XXHASH = re.compile(r"xxhash\.h")
# Base64 by the block, which is as pure as memcpy; scripts/purity.sh sees that it is no more.
BASE64 = re.compile(r"openssl/evp\.h")
CHECK = re.compile(r"check\.h")
# What a program that makes many worlds tells its allocator to keep.
MALLOC = re.compile(r"malloc\.h")

# layer: (layers, or single headers, that it may include; standard headers; other outside headers)
RULES = {
    "base": (set(), FREESTANDING, []),
    "mc": ({"base"}, FREESTANDING, [BASE64]),
    "core": ({"mc", "base"}, FREESTANDING, [XXHASH]),
    "config": ({"base", "core/topology.h"}, HOSTED, [JANSSON, OPENSSL, ADDRESS, OPTIONS]),
    "shell": ({"core", "mc", "base", "config"}, HOSTED, [EVENT, SYSTEM]),
    "admin": ({"shell/control_port.h", "shell/task.h", "shell/inspect.h", "shell/trace_fields.h",
               "shell/log.h", "shell/inherit.h",
               "core/topology.h", "core/view.h", "core/trace.h", "config/value.h", "config/show.h",
               "base"},
              HOSTED, [HTTPD, JANSSON, OPENSSL, SYSTEM]),
    "ctl": ({"base"}, HOSTED, [CURL, JANSSON, SYSTEM, TERMINAL]),
    "main": ({"admin", "shell", "config", "core", "base"}, HOSTED, [SYSTEM]),
    "sim": ({"core", "mc", "base"}, HOSTED, [SYSTEM, MALLOC]),
}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def layer_of(path):
    """The layer that a file below ROOT belongs to, or None."""
    parts = path.relative_to(ROOT).parts
    if parts[:2] == ("include", "everwarm") and len(parts) == 4:
        return parts[2]
    if parts[0] == "src":
        return "main" if len(parts) == 2 else parts[1]
    if parts[0] == "admin":
        return "admin"
    if parts[:2] == ("tests", "sim"):
        return "sim"
    return None


def complaint(path, layer, bracket, name):
    """What is wrong with PATH of LAYER including NAME, or None."""
    layers, standard, outside = RULES[layer]
    if bracket == "<":
        if name in standard or any(pattern.fullmatch(name) for pattern in outside):
            return None
        return f"{layer} may not include <{name}>"
    folders = [path.parent, ROOT / "include"] + ([ROOT / "tests"] if layer == "sim" else [])
    target = next(((folder / name).resolve() for folder in folders if (folder / name).is_file()),
                  None)
    if target is None:
        return f'"{name}" is not there'
    owner = layer_of(target)
    if owner is None:
        return f'"{name}" belongs to no layer'
    if owner == layer:
        return None
    if not target.is_relative_to(ROOT / "include"):
        return f'"{name}" is private to {owner}'
    if owner in layers or f"{owner}/{target.name}" in layers:
        return None
    return f'{layer} may not include {owner}: "{name}"'


def main():
    complaints = []
    count = 0
    for folder in ("include", "src", "admin", "tests/sim"):
        for path in sorted((ROOT / folder).rglob("*.[ch]")):
            layer = layer_of(path)
            where = path.relative_to(ROOT)
            if layer not in RULES:
                complaints.append(f"{where}: no such layer in the table: {layer}")
                continue
            count += 1
            for number, line in enumerate(path.read_text().splitlines(), 1):
                include = INCLUDE.match(line)
                wrong = include and complaint(path, layer, *include.groups())
                if wrong:
                    complaints.append(f"{where}:{number}: {wrong}")
    for line in complaints:
        print(line, file=sys.stderr)
    if complaints:
        sys.exit(f"layers: {len(complaints)} includes against the table")
    print(f"layers: {count} files, every include allowed")


if __name__ == "__main__":
    main()
