#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The rules of the house that no compiler checks. Prints each breach as FILE:LINE: what.

usage: tests/tidy/tidy.py SOURCE.c...     the .c files that the build knows; others are dead
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDERS = ("include", "src", "admin", "tests", "scripts", ".ci")

LINE_COLUMNS_MAX = 100
FILE_LINES_MAX = 1000
TEST_LINES_MAX = 1600  # a test is a list; it is read by its entries
FUNCTION_LINES_WARN = 120
FUNCTION_LINES_MAX = 150

LEFTOVER = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX)\b")
SLEEP = re.compile(r"\b(u|nano|clock_nano)?sleep\s*\(")
BANNED_CALL = re.compile(r"\b(strcpy|strcat|sprintf|vsprintf|gets|atoi|atol|strtok)\s*\(")
ASSERT_HEADER = re.compile(r"#\s*include\s*<assert\.h>")
# What a snapshot says of a state is not the state.
STATE_SET = re.compile(r"(?<!\bout)->\s*state\s*=(?!=)")
FUNCTION_NAME = re.compile(r"(\w+)\s*\(")
# Comments, strings and character constants, in one pass so that each hides the others.
COMMENT_OR_LITERAL = re.compile(
    r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', re.DOTALL)


def code_only(text):
    """TEXT of C with comments and the insides of literals blanked, line for line."""
    def blank(match):
        return re.sub(r"[^\n]", " ", match.group())
    return COMMENT_OR_LITERAL.sub(blank, text).splitlines()


def functions(lines):
    """Yield (name, first line, last line), numbered from 1, of each function: a brace alone in the
    first column opens it and one closes it, as clang-format lays it out."""
    start = None
    for number, line in enumerate(lines, 1):
        if line.rstrip() == "{" and start is None:
            start = number
            head = number - 2
            while head > 0 and lines[head - 1].strip() and not lines[head][:1].isalpha():
                head -= 1
            name = FUNCTION_NAME.search(" ".join(lines[head:number - 1]))
        elif line.startswith("}") and start is not None:
            yield (name.group(1) if name else "?"), start, number
            start = None


def check_text(where, text):
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        if len(line) > LINE_COLUMNS_MAX:
            yield f"{where}:{number}: {len(line)} columns, at most {LINE_COLUMNS_MAX}"
        if LEFTOVER.search(line):
            yield f"{where}:{number}: left over; open an issue instead"
    limit = TEST_LINES_MAX if str(where).startswith("tests/") else FILE_LINES_MAX
    if len(lines) > limit:
        yield f"{where}:1: {len(lines)} lines, at most {limit}"
    if not any("SPDX-License-Identifier: BSD-2-Clause" in line for line in lines[:3]):
        yield f"{where}:1: no SPDX line in the first three"


def check_c(where, text):
    lines = code_only(text)
    for number, line in enumerate(lines, 1):
        banned = BANNED_CALL.search(line)
        if banned:
            yield f"{where}:{number}: {banned.group(1)} is banned"
        if ASSERT_HEADER.search(line):
            yield f"{where}:{number}: assert.h; use base/invariant.h"
    moves = set()
    for name, first, last in functions(lines):
        length = last - first + 1
        if length > FUNCTION_LINES_MAX:
            yield f"{where}:{first}: {name} has {length} lines, at most {FUNCTION_LINES_MAX}"
        elif length > FUNCTION_LINES_WARN:
            print(f"{where}:{first}: warning: {name} has {length} lines", file=sys.stderr)
        if name.endswith("_move"):
            moves.update(range(first, last + 1))
    if where.parts[0] != "tests":
        for number, line in enumerate(lines, 1):
            if STATE_SET.search(line) and number not in moves:
                yield f"{where}:{number}: a state is set outside of its _move()"


def check_sleep(where, lines):
    for number, line in enumerate(lines, 1):
        if SLEEP.search(line):
            yield f"{where}:{number}: a test waits for a condition with a deadline, never for time"


def check(path, known_sources):
    where = path.relative_to(ROOT)
    text = path.read_text()
    yield from check_text(where, text)
    is_c = path.suffix in (".c", ".h")
    if is_c:
        yield from check_c(where, text)
    if where.parts[0] == "tests" and path != pathlib.Path(__file__).resolve():
        yield from check_sleep(where, code_only(text) if is_c else text.splitlines())
    if path.suffix == ".c" and str(where) not in known_sources:
        yield f"{where}:1: no rule of the build takes this file"


def main():
    known_sources = set(sys.argv[1:])
    paths = [ROOT / "Makefile", ROOT / ".ci/run"]
    for folder in FOLDERS:
        paths += [path for path in sorted((ROOT / folder).rglob("*"))
                  if path.suffix in (".c", ".h", ".py", ".sh")]
    complaints = [line for path in paths for line in check(path, known_sources)]
    for line in complaints:
        print(line, file=sys.stderr)
    if complaints:
        sys.exit(f"tidy: {len(complaints)} breaches in {len(paths)} files")
    print(f"tidy: {len(paths)} files, nothing to say")


if __name__ == "__main__":
    main()
