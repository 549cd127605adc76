"""`sluice demo` as a user types it: it proves exactness, it sees a difference, it leaves nothing behind."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import unittest

from harness import daemon, redis, waiting

NOBODY = 65534


class Demo(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="sluice-", dir="/tmp"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.temporary = self.folder / "t"  # what the demo takes for /tmp
        self.temporary.mkdir()
        self.binary = daemon.BINARY
        self.user = None

    def as_nobody(self):
        """What follows runs without privileges; the tree may be closed to others, so from a copy."""
        self.binary = shutil.copy(daemon.BINARY, self.folder / "sluice")
        for path in (self.folder, self.temporary):
            os.chown(path, NOBODY, NOBODY)
        self.user = NOBODY

    def demo(self, *words):
        self.stdout, self.stderr = self.folder / "stdout", self.folder / "stderr"
        with self.stdout.open("wb") as stdout, self.stderr.open("wb") as stderr:
            process = subprocess.Popen(
                [self.binary, "demo", *words], stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
                env={"PATH": os.environ["PATH"], "TMPDIR": str(self.temporary)},
                user=self.user, group=self.user, extra_groups=[] if self.user else None, cwd="/",
            )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def said(self):
        return self.stderr.read_text()

    def children(self):
        """Processes of this demo: its directory is in the environment, or (Redis writes over that) in the
        command line."""
        found = []
        for entry in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                words = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
                if (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z":
                    continue
            except OSError:
                continue
            if str(self.temporary).encode() in words:
                found.append((int(entry.name), (entry / "comm").read_text().strip()))
        return found

    def nothing_left(self):
        self.assertEqual(self.children(), [])
        self.assertEqual(list(self.temporary.iterdir()), [])

    def outcome(self, process, code):
        self.assertEqual(process.wait(timeout=120), code, self.said())
        return json.loads(self.stdout.read_text())

    def test_is_exact_without_privileges(self):
        if os.geteuid() == 0:
            self.as_nobody()
        outcome = self.outcome(self.demo("--json"), 0)
        self.assertTrue(outcome["exact"])
        self.assertEqual(len(outcome["kills"]), 3)
        self.assertEqual(outcome["counted"], outcome["produced"])
        self.assertGreater(outcome["expected"], 10_000)
        self.assertEqual(outcome["records_before_ready"], 0)
        self.assertLess(outcome["duration_ms"], 60_000)
        self.assertEqual(self.said().count("kill -9"), 3)
        self.nothing_left()

    def test_sees_every_kind_of_difference(self):
        process = self.demo("--json", "--seed", "1")
        waiting.until(lambda: "kill -9, the third" in self.said(), self.said)
        waiting.until(lambda: "ready again" in self.said().rpartition("third")[2], self.said)
        (place,) = self.temporary.iterdir()
        client = redis.Client(str(place / "redis.sock"))
        self.addCleanup(client.close)
        # Of the first window: no run that is still to come writes it again.
        keys = sorted(client.call("KEYS", "spend:*"), key=lambda key: int(key.rpartition(b":")[2]))
        client.call("DEL", keys[0])
        client.call("HINCRBY", keys[1], "clicks", "1")
        client.call("HSET", b"spend:u999999:" + keys[0].rpartition(b":")[2], "clicks", "1", "spend", "1")
        outcome = self.outcome(process, 1)
        self.assertFalse(outcome["exact"])
        self.assertEqual([outcome[kind] for kind in ("missing", "surplus", "different")], [1, 1, 1])
        self.nothing_left()

    def started(self):
        process = self.demo()
        waiting.until(lambda: re.search("ready", self.said()), self.said)
        self.assertGreaterEqual(len(self.children()), 4)  # demo, broker, Redis, daemon
        return process

    def test_leaves_nothing_behind_after_ctrl_c(self):
        process = self.started()
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(timeout=20), -signal.SIGINT)
        self.nothing_left()

    def test_takes_its_children_along_when_it_is_killed(self):
        process = self.started()
        process.kill()
        process.wait()
        waiting.until(lambda: not self.children(), lambda: f"still there: {self.children()}")


if __name__ == "__main__":
    unittest.main()
