"""Waiting for a condition, with a deadline."""

import time


class TimedOut(Exception):
    """What did not come."""


def until(condition, what, timeout=60.0, every=0.02):
    """The first true value of condition()."""
    deadline = time.monotonic() + timeout
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise TimedOut(f"after {timeout:.0f} s: {what() if callable(what) else what}")
        time.sleep(every)
