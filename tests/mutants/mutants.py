#!/usr/bin/python3
"""A program that is broken on purpose, and a test that must notice.

  tests/mutants/mutants.py NAME    breaks what NAME says and runs the tests that should catch it
  tests/mutants/mutants.py NONE    breaks nothing: every catcher must pass, else it proves nothing
  tests/mutants/mutants.py --list  the names

The programs are those of `cmake --build --preset release --target mutants`; SLUICE_MUTANT_TREE names another
folder with them. A mutant is caught when a test fails on it with a finding, not because it could not be
started or did not end. Exit 0: caught.
"""

import os
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TREE = pathlib.Path(os.environ.get("SLUICE_MUTANT_TREE", ROOT / "build" / "release" / "tests" / "mutants"))

SIMULATION = [str(TREE / "mutant_simulation"), "--seeds", "600"]
WRITER = [str(TREE / "mutant_io_engine_test"), "--gtest_filter=Protocol.OnlyTheFullLengthCounts"]
SINK = [str(TREE / "mutant_redis_sink_test")]
READINESS = [
    str(ROOT / "tests" / "integration" / "run.py"),
    "test_daemon.Daemon.test_ready_is_said_once_the_gate_is_open",
]

# Mutant: its catcher.
CATCHERS = {
    "FENCE_NOT_CHECKED": SINK,
    "BARRIER_BEFORE_FSYNC": SIMULATION,
    "OFFSETS_PLUS_ONE": SIMULATION,
    "WATERMARK_NOT_SAVED": SIMULATION,
    "SHORT_COMPLETION_ACCEPTED": WRITER,
    "READY_BEFORE_RESTORE": READINESS,
    "DROP_ON_ACKNOWLEDGEMENT": SIMULATION,
    "FRONTIER_AFTER_SEALS": SIMULATION,
    "SEALS_OUT_OF_ORDER": SIMULATION,
    "LANE_MARK_OUTSIDE": SIMULATION,
}

# How a test says that it has found something, or the program itself.
FINDING = re.compile(r"^    repeat: |^\[  FAILED  \]|^(FAIL|ERROR): |^broken invariant: ")


def asked():
    """The names that our sources ask for."""
    names = set()
    for module in ("config", "daemon", "ingest", "sinks", "state"):
        for source in (ROOT / module).rglob("*.cc"):
            names.update(re.findall(r"SLUICE_MUTANT\(([A-Z_]+)\)", source.read_text()))
    return names


def run(command, mutant):
    """Runs a catcher until it has found something or ends: (has found something, its exit status, its lines)."""
    environment = dict(os.environ, SLUICE_BINARY=str(TREE / "mutant_sluice"), SLUICE_MUTANT=mutant)
    catcher = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    lines = []
    found = False
    with catcher:
        for line in catcher.stdout:
            lines.append(line.rstrip())
            found = found or FINDING.search(line) is not None
            if found and command is SIMULATION:
                catcher.kill()  # one seed is enough, and what is broken may take long to end
                break
    return found, catcher.returncode, lines


def caught(mutant):
    begun = time.monotonic()
    found, status, lines = run(CATCHERS[mutant], mutant)
    print(f"{mutant}: {CATCHERS[mutant][0]}: {time.monotonic() - begun:.0f} s")
    print("\n".join(f"    {line[:240]}" for line in lines[-20:]))
    if found:
        return True
    print(f"{mutant}: SURVIVED" if status == 0 else f"{mutant}: the test did not run as a test does: exit {status}")
    return False


def sound():
    """Nothing is broken, and no catcher finds anything."""
    well = True
    for command in (SIMULATION, WRITER, SINK, READINESS):
        found, status, lines = run(command, "")
        if found or status != 0:
            print("\n".join(lines[-20:]))
            print(f"{command[0]}: exit {status}, and nothing was broken")
            well = False
    return well


def main(arguments):
    without = sorted(asked() ^ set(CATCHERS))
    if without:
        print(f"no test is named, or no source asks for it: {', '.join(without)}")
        return 1
    if arguments == ["--list"]:
        print("\n".join(CATCHERS))
        return 0
    if arguments == ["NONE"]:
        return 0 if sound() else 1
    if len(arguments) != 1 or arguments[0] not in CATCHERS:
        print(__doc__)
        return 64
    return 0 if caught(arguments[0]) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
