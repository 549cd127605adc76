#!/usr/bin/python3
"""Rules for every text file: no leftover markers, no tabs, no blanks at the end of a line, one line end at
the end of the file; for C++ also no debug output left behind, no disabled tests, no sleeping tests, and no
class whose name says nothing. Every module has a README.md."""

import re

import lint

# Spelled so that this file does not find itself.
EVERYWHERE = [
    (re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX|HA" r"CK)\b"), "leftover marker"),
    (re.compile(r"[ \t]+$"), "blanks at the end of the line"),
    (re.compile(r"\r"), "carriage return"),
    (re.compile(r"^(<{7}|>{7}|={7})( |$)"), "merge conflict"),
]
CPP = [
    (re.compile(r"\t"), "tab"),
    (re.compile(r"std::(cout|cerr|clog)\b"), "iostreams: use the log, or stdio in a command"),
    (re.compile(r"\busing namespace std;"), "using namespace std"),
    (re.compile(r"\bDISABLED_|\bGTEST_SKIP\(\);"), "a disabled test is deleted or fixed; a skip says its reason"),
    (
        re.compile(r"\b(class|struct)\s+\w*(Manager|Handler|Utils?|Helper|Data|Info|Processor)\b\s*[:{]"),
        "the name says nothing",
    ),
    (re.compile(r"\bNOLINT(NEXTLINE)?\b(?!\([a-z0-9.,*-]+\): \S)"), "NOLINT(check-name): reason"),
]
SLEEP = re.compile(r"\bsleep_(for|until)\b|\b(u|nano)?sleep\s*\(")
# What deals with real processes and real time: the wiring, the wait for a dead owner's lock (behind a seam),
# measurements, and tests over processes.
MAY_SLEEP = ("bench/", "daemon/", "state/io/lock.cc", "tests/integration/", "tests/crash/", "tests/kafka/")
BINARY = {".png", ".zst", ".lz4", ".gz", ".sst", ".bin"}
GOLDEN = ("tests", "golden")  # written by the program, and never again
MODULES = ["config", "daemon", "ingest", "sinks", "state", "state/model", "state/tools"]


def main():
    findings = lint.Findings()
    names = [name for name in lint.files() if name.suffix not in BINARY and name.parts[:2] != GOLDEN]
    for name in names:
        text = lint.read(name)
        if text and not text.endswith("\n"):
            findings.add(name, text.count("\n") + 1, "no line end at the end of the file")
        if text.endswith("\n\n"):
            findings.add(name, text.count("\n"), "empty line at the end of the file")
        cpp = name.suffix in (".h", ".cc")
        rules = EVERYWHERE + (CPP if cpp else [])
        for number, line in enumerate(text.split("\n"), 1):
            for pattern, what in rules:
                if pattern.search(line):
                    findings.add(name, number, what)
            if cpp and SLEEP.search(line) and not str(name).startswith(MAY_SLEEP):
                findings.add(name, number, "waiting is for a clock, an event or a condition, not for a sleep")
    for module in MODULES:
        if not (lint.ROOT / module / "README.md").is_file():
            findings.add(f"{module}/README.md", 1, "is missing")
    findings.exit(len(names))


if __name__ == "__main__":
    main()
