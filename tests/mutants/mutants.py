#!/usr/bin/python3
"""A build that is broken on purpose, and a test that must notice.

  tests/mutants/mutants.py NAME    builds the mutant in build/mutants and runs the tests that should catch it
  tests/mutants/mutants.py --all   every mutant of state/model/mutant.h
  tests/mutants/mutants.py --list  their names

A mutant is caught when a test that passes on the sound build fails on this one by itself: with a finding,
not because it could not be built, started or ended in time. Exit 0: caught.
"""

import fcntl
import os
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TREE = ROOT / "build" / "mutants"
RUNNER = str(ROOT / "tests" / "integration" / "run.py")


def program(name, *arguments):
    """A test program of the tree: (what to build, command)."""
    return name, [name, *arguments]


def world(what):
    """A test over real processes, by the mutant's daemon."""
    return "sluice", [RUNNER, what]


SIMULATION = program("simulation", "--seeds", "300")

# Cheapest first; the first that fails has caught the mutant.
CATCHERS = {
    "FENCE_NOT_CHECKED": [SIMULATION, world("test_redis.Redis.test_a_newer_instance_fences_this_one")],
    "BARRIER_BEFORE_FSYNC": [SIMULATION],
    "OFFSETS_PLUS_ONE": [SIMULATION],
    "WATERMARK_NOT_SAVED": [SIMULATION],
    "SHORT_COMPLETION_ACCEPTED": [program("state_io_test")],
    "READY_BEFORE_RESTORE": [world("test_daemon.Daemon.test_ready_is_said_once_the_gate_is_open")],
    "DROP_ON_ACKNOWLEDGEMENT": [SIMULATION],
    "FRONTIER_AFTER_SEALS": [SIMULATION],
    "SEALS_OUT_OF_ORDER": [SIMULATION],
    "LANE_MARK_OUTSIDE": [SIMULATION],
}


def names():
    text = (ROOT / "state" / "model" / "mutant.h").read_text()
    return re.findall(r"^#define SLUICE_MUTANT_([A-Z_]+) 0$", text, re.M)


def run(command, **options):
    return subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, **options)


def build(mutant, target):
    configure = ["cmake", "--preset", "mutants", "--log-level=WARNING", f"-DSLUICE_MUTANT={mutant}"]
    run(configure, check=True, stdout=subprocess.DEVNULL)
    run(["cmake", "--build", str(TREE), "--target", target], check=True, stdout=subprocess.DEVNULL)


def find(name):
    """The built program: at the top of the tree, or where its folder is."""
    for path in [TREE / name, *TREE.glob(f"tests/**/{name}")]:
        if path.is_file() and os.access(path, os.X_OK):
            return str(path)
    raise FileNotFoundError(f"{name} is not in {TREE}")


def caught(mutant):
    TREE.mkdir(parents=True, exist_ok=True)
    with open(TREE.parent / "mutants.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one tree, one mutant at a time
        for target, command in CATCHERS[mutant]:
            begun = time.monotonic()
            build(mutant, target)
            built = time.monotonic()
            environment = dict(os.environ)
            if command[0] == RUNNER:
                environment["SLUICE_BINARY"] = find("sluice")
            else:
                command = [find(command[0]), *command[1:]]
            done = run(command, env=environment, capture_output=True, text=True, errors="replace")
            said = (done.stdout + done.stderr).strip().splitlines()
            print(
                f"{mutant}: {' '.join(command[:3])}: exit {done.returncode} "
                f"(build {built - begun:.0f} s, run {time.monotonic() - built:.0f} s)"
            )
            if done.returncode in (1, -6, 70):  # findings; an invariant that the program itself checks
                for line in said[:8]:
                    print(f"    {line[:240]}")
                return True
            if done.returncode != 0:
                print("\n".join(said[-20:]))
                raise ChildProcessError(f"{command[0]} did not end as a test does: {done.returncode}")
    return False


def main(arguments):
    known = names()
    without = sorted(set(known) ^ set(CATCHERS))
    if without:
        print(f"no test is named, or no mutant: {', '.join(without)}")
        return 1
    if arguments == ["--list"]:
        print("\n".join(known))
        return 0
    wanted = known if arguments == ["--all"] else arguments
    if not wanted or set(wanted) - set(known):
        print(__doc__)
        return 64
    survivors = [mutant for mutant in wanted if not caught(mutant)]
    for mutant in survivors:
        print(f"{mutant}: SURVIVED, no test noticed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
