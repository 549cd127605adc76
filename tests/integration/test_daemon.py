"""What the program says, and who writes."""

import collections
import http.client
import json
import os
import pathlib
import re
import shutil
import socket
import time
import unittest

from harness import daemon as program
from harness import traffic, waiting
from harness.world import World

BEGIN = 1_714_521_600_000
SHORT = """
[reduce.short]
key = ["user"]
window = { tumbling = "5s" }
values = { n = "count()" }
ttl = "none"
"""
SOURCE = 'timestamp = "at"\nout_of_order = "1s"\n'


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Daemon(World):
    def setUp(self):
        super().setUp()
        self.kafka.create_topic(self.topic, 2)
        self.stream = traffic.Traffic(self.random, BEGIN)
        traffic.produce(self.kafka, self.topic, 2, self.stream, 600, self.random)

    def test_endpoints(self):
        port = free_port()
        config = self.configure(SHORT, source=SOURCE)
        text = config.read_text().replace('listen = "off"', f'listen = "127.0.0.1:{port}"')
        config.write_text(text)
        daemon = self.sluice(config)
        daemon.start()
        daemon.wait_read(self.ends())
        daemon.wait_status(lambda status: status["checkpoints"], "a checkpoint")
        daemon.wait_ready()  # reading begins at the gate, readiness when Redis has every connection

        def get(path, method="GET"):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            try:
                connection.request(method, path)
                answer = connection.getresponse()
                return answer.status, answer.read().decode()
            finally:
                connection.close()

        self.assertEqual(get("/livez")[0], 200)
        self.assertEqual(get("/readyz")[0], 200)
        self.assertEqual(get("/")[0], 200)
        self.assertEqual(get("/nothing")[0], 404)
        self.assertIn(get("/status", "POST")[0], (404, 405))
        code, body = get("/status")
        self.assertEqual(code, 200)
        status = json.loads(body)
        self.check_names(status)
        self.check_status(status)
        code, metrics = get("/metrics")
        self.assertEqual(code, 200)
        self.assertRegex(metrics, r"(?m)^sluice_records_before_ready_total(\{[^}]*\})? 0(\.0+)?$")
        self.assertEqual(daemon.get("/readyz")[0], 200)
        # The commands reach it by name and by file.
        environment = {"RUNTIME_DIRECTORY": str(daemon.runtime)}
        for target in (daemon.name, config):
            said = program.command("status", target, "--json", environment=environment)
            self.assertEqual(said.returncode, 0, said.stderr)
            self.check_names(json.loads(said.stdout))
        taken = program.command("checkpoint", config, environment=environment)
        self.assertEqual(taken.returncode, 0, taken.stderr)
        stopped = program.command("stop", config, environment=environment)
        self.assertEqual(stopped.returncode, 0, stopped.stderr)
        self.assertEqual(daemon.wait_exit(), 0)
        self.assertEqual(program.command("status", config, environment=environment).returncode, 69)

    def check_names(self, status):
        """Every name of the contract is there."""
        contract = {
            "name", "state", "ready", "since", "epoch", "config_hash", "config_stale", "conditions", "ledger",
            "partitions", "reductions", "checkpoints", "sink", "restore", "records_before_ready",
        }
        self.assertEqual(contract - set(status), set())
        parts = {
            "conditions": {"name", "ok", "since", "reason"},
            "partitions": {"topic", "partition", "next_offset", "checkpointed_offset", "end_offset", "watermark",
                           "idle", "ledger"},
            "reductions": {"id", "reached", "folded", "filtered", "late", "refused", "open_windows", "keys", "fired",
                           "frontier"},
            "checkpoints": {"id", "kind", "taken", "bytes", "new_bytes", "pause_us", "duration_ms", "path"},
        }
        for name, members in parts.items():
            self.assertTrue(status[name], name)
            self.assertEqual(members - set(status[name][0]), set(), name)
        self.assertEqual(
            {"results", "commands", "pending", "retries", "reconnects", "refused", "last_error"} - set(status["sink"]),
            set())
        self.assertEqual(
            {"from", "bytes", "total_bytes", "duration_ms", "replayed_records", "rejected"} - set(status["restore"]),
            set())
        self.assertIn(status["state"], ("starting", "restoring", "running", "paused", "degraded", "stopping"))

    def test_ready_is_said_once_the_gate_is_open(self):
        notices = program.Notices(str(self.folder / "notify"))
        self.addCleanup(notices.close)
        environment = {"NOTIFY_SOCKET": notices.path, "WATCHDOG_USEC": "300000"}
        daemon = self.sluice(self.configure(SHORT, source=SOURCE), environment=environment)
        # Without Redis the gate stays shut.
        self.redis.kill()
        daemon.start()
        waiting.until(lambda: daemon.alive() and daemon.status() or not daemon.alive(), "the status is up")
        daemon.expect_alive()
        status = daemon.wait_status(
            lambda status: any(c["name"] == "sink" and not c["ok"] and c["reason"] for c in status["conditions"]),
            "the status says that Redis is missing",
        )
        self.assertFalse(status["ready"])
        self.assertEqual(status["ledger"]["consumed"], 0)
        daemon.wait_status(lambda status: status["state"] == "degraded", "waiting for Redis is called degraded")
        # Whoever waits is alive.
        waiting.until(lambda: len(notices.when("WATCHDOG=1")) > 2, "the watchdog is fed before the gate opens")
        self.assertEqual(notices.when("READY=1"), [])
        self.assertEqual(daemon.get("/readyz")[0], 503)
        self.redis.start()
        status = daemon.wait_ready()
        waiting.until(lambda: notices.when("READY=1"), "READY=1 is said")
        self.assertEqual(status["records_before_ready"], 0)
        self.assertEqual(daemon.terminate(), 0)
        waiting.until(lambda: notices.when("STOPPING=1"), "STOPPING=1 is said")
        self.assertEqual(len(notices.when("READY=1")), 1)

    def test_what_cannot_be_a_number_is_counted_and_null(self):
        """Also where no step and no reduction is to blame: what is decoded becomes null."""
        self.topic += "n"  # without what else is odd
        self.kafka.create_topic(self.topic, 1)
        numbers = ("9223372036854775808", "1e400", "123456789012345678901.5", "7", "[1]", "1e30")
        with self.kafka.producer() as producer:
            for number in numbers:
                producer.send(self.topic, f'{{"user":"odd","at":{BEGIN},"n":{number}}}'.encode(), partition=0)
            producer.flush()
        config = self.configure(SHORT.replace("count()", "sum(n)"), source=SOURCE)
        daemon = self.sluice(config)
        daemon.start()
        status = daemon.wait_read(self.ends())
        self.assertEqual(status["source"]["errors"], {"wrong_type": 1, "overflow": 3, "nan": 0})
        self.assertRegex(daemon.get("/metrics")[1].decode(), r'sluice_source_errors_total{[^}]*error="overflow"} 3')
        self.assertEqual(daemon.terminate(), 0, daemon.log_tail())
        self.finish(daemon)

    def test_a_stopped_partition_costs_no_time(self):
        """There are records behind the one that it stands at, and it does not turn round them."""
        with self.kafka.producer() as producer:
            for at in range(3000):
                producer.send(self.topic, None if at == 1000 else b"{}", partition=0, timestamp=BEGIN)
            producer.flush()
        daemon = self.sluice(self.configure(SHORT, source='on_null = "stop"'))
        daemon.start()
        daemon.wait_status(lambda status: status["state"] == "paused", "it stands")

        def used():  # processor time, in seconds
            words = pathlib.Path(f"/proc/{daemon.process.pid}/stat").read_text().rpartition(")")[2].split()
            return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

        began, before = time.monotonic(), used()
        waiting.until(lambda: daemon.status() and time.monotonic() - began > 2, "two seconds of standing", every=0.2)
        self.assertLess((used() - before) / (time.monotonic() - began), 0.5)
        self.assertEqual(daemon.terminate(), 0, daemon.log_tail())

    def backend(self, io):
        config = self.configure(SHORT, source=SOURCE, state=f'checkpoint = {{ every = "200ms" }}\nio = "{io}"')
        prefix = []
        trace = self.folder / "trace"
        if shutil.which("strace"):
            prefix = ["strace", "-f", "-y", "-qq", "-o", str(trace), "-e",
                      "trace=write,pwrite64,writev,pwritev,pwritev2,fsync,fdatasync,execve,prctl,io_uring_enter"]
        elif io == "io_uring":
            raise unittest.SkipTest("strace is missing: scripts/packages install test")
        daemon = self.sluice(config, command_prefix=prefix)
        daemon.start()
        status = daemon.wait_read(self.ends(), timeout=120)
        daemon.wait_status(lambda status: len(status["checkpoints"]) >= 2, "two checkpoints", timeout=120)
        # strace passes signals on to nobody: the daemon is its child.
        stopped = program.command("stop", config, environment={"RUNTIME_DIRECTORY": str(daemon.runtime)})
        self.assertEqual(stopped.returncode, 0, stopped.stderr)
        self.assertEqual(daemon.wait_exit(120), 0, daemon.log_tail())
        self.judge(daemon)
        return status, trace

    @staticmethod
    def is_directory(path):
        return re.fullmatch(r"journal|inputs|checkpoints(/\d+)?|savepoints(/[^/]+)?|live(/[^.]*)?", path) is not None

    def test_only_the_io_thread_writes_where_io_uring_is_reported(self):
        status, trace = self.backend("auto")
        said = program.command("version", "--verbose").stdout
        if status["io"]["backend"] != "io_uring":
            raise unittest.SkipTest(f"io_uring is refused here: {said}")
        state = re.escape(str(self.folder / "state"))
        writes = re.compile(rf"^(\d+) +(write|pwrite64|writev|pwritev2?|fsync|fdatasync)\(\d+<{state}/([^>]*)>")
        by_plain_calls = []
        for line in trace.read_text(errors="replace").splitlines():
            match = writes.match(line)
            # Directories are synced by plain calls; the lock file names its owner; dead letters are for
            # people and no part of the state.
            if match and not (self.is_directory(match[3]) or match[3] in ("LOCK", "dead-letters.jsonl")):
                by_plain_calls.append(line)
        self.assertEqual(by_plain_calls, [])
        enters = collections.Counter(
            line.split()[0] for line in trace.read_text(errors="replace").splitlines() if "io_uring_enter(" in line
        )
        (_, by_io), *others = enters.most_common()
        self.assertGreater(by_io, 20)
        # The start tries an operation before there is an io thread.
        self.assertLessEqual(sum(count for _, count in others), 1, enters)

    def test_threads_do_the_same(self):
        status, _ = self.backend("threads")
        self.assertEqual(status["io"]["backend"], "threads")


class Commands(World):
    def test_check(self):
        good = self.configure(SHORT, source=SOURCE)
        self.kafka.create_topic(self.topic, 1)
        said = program.command("check", good)
        self.assertEqual(said.returncode, 0, said.stderr + said.stdout)
        none = self.configure(SHORT, source=SOURCE, topics=[f"no{self.topic}", self.topic, f"nor{self.topic}"], file="none.toml")
        said = program.command("check", none)
        self.assertEqual(said.returncode, 78, said.stderr)  # Kafka was reached
        for missing in (f"no{self.topic}", f"nor{self.topic}"):
            self.assertIn(f"topic {missing}: ", said.stderr)
        (self.folder / "letters").mkdir()
        for place, word in (("letters", "is a directory"), ("nowhere/letters.jsonl", "does not exist")):
            away = self.configure(
                SHORT, source=SOURCE, dead_letter=f'file = "{self.folder / place}"', file="away.toml"
            )
            said = program.command("check", away, "--offline")
            self.assertEqual(said.returncode, 0, said.stderr)
            self.assertIn(word, said.stderr)
        bad = self.configure(
            SHORT.replace('"count()"', '"cuont()"').replace('"5s"', '"5 s"'), source="out_of_ordr = '1s'", file="bad.toml"
        )
        said = program.command("check", bad, "--offline")
        self.assertEqual(said.returncode, 78)
        self.assertRegex(said.stderr, rf"{re.escape(str(bad))}:\d+:\d+: error: ")
        for word in ("out_of_order", "count", "^"):
            self.assertIn(word, said.stderr)
        said = program.command("check", bad, "--offline", "--json")
        self.assertEqual(said.returncode, 78)
        found = json.loads(said.stdout)
        self.assertEqual(said.stderr, "")
        self.assertGreaterEqual(len(found), 3)
        for diagnostic in found:
            self.assertEqual(set(diagnostic), {"file", "line", "column", "severity", "message", "hint"})
        # The line numbers are the file's.
        lines = bad.read_text().splitlines()
        for diagnostic in found:
            if diagnostic["severity"] == "error":
                self.assertTrue(lines[diagnostic["line"] - 1].strip())

    def test_refusals(self):
        self.assertEqual(program.command("check", self.folder / "missing.toml").returncode, 66)
        self.assertEqual(program.command("run", self.folder / "missing.toml").returncode, 66)
        self.assertEqual(program.command("nonsense").returncode, 64)
        self.assertEqual(program.command("run").returncode, 64)
        self.assertEqual(program.command("status", "nobody").returncode, 69)
        never_ran = self.configure(SHORT, source=SOURCE, file="never.toml", state_directory="nowhere")
        for words in (["savepoint", never_ran], ["savepoint", "delete", never_ran, "one"]):
            said = program.command(*words)
            self.assertEqual(said.returncode, 69, said.stderr)
            self.assertIn("is not reachable", said.stderr)
        later = self.configure(SHORT.replace("{ tumbling = \"5s\" }", '{ session = "5s" }'), source=SOURCE, file="later.toml")
        said = program.command("check", later, "--offline")
        self.assertEqual(said.returncode, 78)
        self.assertIn("not available in this version", said.stderr)
        self.assertEqual(program.command("run", later).returncode, 78)

    def test_init_makes_a_file_that_check_accepts(self):
        for example in ("clicks", "ysb", "minimal"):
            said = program.command("init", example)
            self.assertEqual(said.returncode, 0, said.stderr)
            path = self.folder / f"{example}.toml"
            path.write_text(said.stdout)
            checked = program.command("check", path, "--offline")
            self.assertEqual(checked.returncode, 0, checked.stderr)

    def test_version(self):
        self.assertRegex(program.command("version").stdout, r"^sluice \d+\.\d+")
        verbose = program.command("version", "--verbose").stdout
        for library in ("rocksdb", "librdkafka", "hiredis", "liburing"):
            self.assertIn(library, verbose.lower())
        self.assertEqual(program.command("--help").returncode, 0)
        self.assertIn("sluice run", program.command("run", "--help").stdout)
        json.loads(program.command("version", "--json").stdout)
