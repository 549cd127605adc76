#!/usr/bin/python3
"""Runs tests over real processes by name: tests/integration/run.py test_event_time[.CLASS[.METHOD]] …

`run.py --kafka start` and `--kafka stop` are ctest's: the broker that the tests share. Without it each
program starts one, and stops it at its end. Exit 77: skipped, with the reason; with CI=true a failure.
"""

import os
import pathlib
import sys
import unittest

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "kafka"), str(HERE), str(HERE.parent / "crash")]

from harness import kafka  # noqa: E402


def main(arguments):
    if arguments[:1] == ["--kafka"]:
        if arguments[1] == "start":
            kafka.Broker(kafka.SHARED).stop(kill=True, remove=True)  # what a killed run may have left
            print(kafka.shared()[0].brokers)
        else:
            kafka.Broker(kafka.SHARED).stop(kill=True, remove=True)
        return 0
    broker, started = kafka.shared()
    try:
        suite = unittest.defaultTestLoader.loadTestsFromNames(arguments)
        result = unittest.TextTestRunner(verbosity=2).run(suite)
    finally:
        if started:
            broker.stop(kill=True, remove=True)
    if not result.wasSuccessful() or result.testsRun == 0:
        return 1
    if result.skipped:
        print("skipped: " + "; ".join(reason for _, reason in result.skipped))
        return 1 if os.environ.get("CI") == "true" else 77
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
