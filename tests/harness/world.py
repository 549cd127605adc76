"""The base of tests over real processes: a directory, a seed, the processes, and the judgement."""

import json
import os
import pathlib
import random
import secrets
import shutil
import sys
import tempfile
import threading
import time
import unittest

from oracle import database, journal, pipeline, settings

from . import daemon, kafka, redis, waiting

LEDGER_IN = ("consumed", "exploded")
LEDGER_OUT = ("reached", "filtered", "null", "undecodable", "duplicate", "skipped")


class JournalWatcher:
    """Collects the journal while the daemon forgets it."""

    def __init__(self, directory):
        self.collection = journal.Collection(directory)
        self.failure = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def _run(self):
        while not self._stop.wait(0.05):
            try:
                self.read()
            except journal.Damaged as damage:
                self.failure = damage
                return

    def read(self):
        with self._lock:
            self.collection.read()

    def entries(self):
        if self.failure is not None:
            raise self.failure
        self.read()
        with self._lock:
            return self.collection.entries()

    def stop(self):
        self._stop.set()
        self._thread.join(10)


class World(unittest.TestCase):
    """setUp() makes what every test needs; a test adds topics, records and the daemon."""

    maxDiff = None
    private_kafka = False  # a broker of its own, for tests that stop it
    persistent_redis = False
    redis_options = ()

    @classmethod
    def setUpClass(cls):
        if not os.access(daemon.BINARY, os.X_OK):
            raise FileNotFoundError(f"{daemon.BINARY}: cmake --preset release && cmake --build --preset release")

    def setUp(self):
        self.seed = int(os.environ.get("SLUICE_SEED") or secrets.randbits(32))
        self.random = random.Random(self.seed)
        print(f"{self.id()}: SLUICE_SEED={self.seed}", file=sys.stderr, flush=True)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="sluice-", dir="/tmp"))
        self.addCleanup(self._remove_folder)
        self.daemons = []
        self.addCleanup(self._tell)
        if self.private_kafka:
            self.kafka = kafka.Broker(self.folder / "kafka")
            self.addCleanup(lambda: self.kafka.stop(kill=True))
            self.kafka.start()
        else:
            self.kafka, started = kafka.shared()
            if started:
                self.addCleanup(lambda: self.kafka.stop(remove=True))
        self.redis = redis.Server(
            self.folder / "redis", persistent=self.persistent_redis, options=self.redis_options
        )
        self.addCleanup(self.redis.stop)
        self.redis.start()
        self.topic = f"t{secrets.token_hex(6)}"
        self.recorder = None
        self.starts = {}

    def _remove_folder(self):
        if os.environ.get("SLUICE_KEEP"):
            print(f"kept: {self.folder}", file=sys.stderr)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _tell(self):
        """After a failure: what the daemons said last."""
        outcome = self._outcome
        result = getattr(outcome, "result", None)
        failed = not outcome.success or (result is not None and (result.errors or result.failures))
        if failed:
            for instance in self.daemons:
                print(f"==== {instance.log_path}\n{instance.log_tail(60)}", file=sys.stderr, flush=True)

    # ---- making things

    def record_redis(self):
        self.recorder = redis.Recorder(self.redis)
        self.addCleanup(self.recorder.stop)

    def configure(
        self,
        reductions,
        *,
        source="",
        steps="",
        sink="",
        state='checkpoint = { every = "500ms" }',
        dead_letter="",
        more="",
        name=None,
        topics=None,
        file="pipeline.toml",
        state_directory="state",
    ):
        """Writes the configuration file and returns its path. Texts are lines of their tables."""
        name = name or self.topic
        topics = topics or [self.topic]
        start = "" if "start " in source or source.startswith("start") else 'start = "earliest"\n'
        text = f"""name = "{name}"
[source]
brokers = "{self.kafka.brokers}"
topics = {json.dumps(topics)}
{start}{source}
{steps}
{reductions}
[sink]
redis = "{self.redis.url}"
{sink}
[state]
directory = "{self.folder / state_directory}"
reserve = "1MiB"
{state}
[http]
listen = "off"
{"[dead_letter]" if dead_letter else ""}
{dead_letter}
{more}
"""
        path = self.folder / file
        path.write_text(text)
        return path

    def sluice(self, config, *, folder=".", watch=True, **options):
        """A daemon for a file (not started)."""
        rules = settings.load(config)
        made = daemon.Daemon(self.folder / folder, config, rules.name, **options)
        made.rules = rules
        self.daemons.append(made)
        self.addCleanup(made.kill)
        if watch:
            import tomllib

            state = tomllib.loads(pathlib.Path(config).read_text())["state"]["directory"]
            made.state = pathlib.Path(state)
            made.journal = JournalWatcher(made.state / "journal")
            self.addCleanup(made.journal.stop)
        return made

    def ends(self, topic=None):
        topic = topic or self.topic
        return {(topic, p): end for p, (_, end) in self.kafka.ranges(topic).items()}

    # ---- judging

    def outcome(self, instance, starts=None):
        """The oracle's, of everything that is in Kafka now."""
        records, found = [], {}
        for topic in instance.rules.topics:
            records += self.kafka.records(topic)
            for partition in self.kafka.ranges(topic):
                found[topic, partition] = pipeline.Start()
        found.update(self.starts)
        found.update(starts or {})
        versions = [*getattr(instance, "former_rules", []), instance.rules]
        return pipeline.compute(versions, records, instance.journal.entries(), found)

    def database(self):
        client = self.redis.client()
        try:
            return database.read(client)
        finally:
            client.close()

    def check_database(self, instance, outcome, limit=20):
        outcome.database.drop_expired(int(time.time() * 1000))
        found = database.differences(outcome.database, self.database(), instance.name)
        if found:
            self.fail(
                f"{len(found)} differences among {len(outcome.database)} keys:\n" + "\n".join(found[:limit])
            )

    def check_control(self, instance, outcome):
        """The control hash vouches for exactly what is written."""
        control = self.redis.client()
        self.addCleanup(control.close)
        flat = control.call("HGETALL", f"sluice:{instance.name}")
        fields = dict(zip(flat[::2], flat[1::2]))
        frontiers = {
            key[len(b"frontier:") :].decode(): int(value)
            for key, value in fields.items()
            if key.startswith(b"frontier:")
        }
        self.assertEqual(frontiers, outcome.frontiers)
        entries = instance.journal.entries()
        self.assertLessEqual(int(fields.get(b"barrier", b"0")), entries[-1].number if entries else 0)

    def check_changes(self):
        if self.recorder is not None:
            changed = self.recorder.changed()
            if changed:
                key = min(changed)
                self.fail(f"{len(changed)} keys were written with different contents; {key!r}: {changed[key]}")

    def check_status(self, status):
        """What holds in every status."""
        self.assertEqual(status["records_before_ready"], 0)
        ledgers = [status["ledger"], *(partition["ledger"] for partition in status["partitions"])]
        for ledger in ledgers:
            self.assertEqual(
                sum(ledger[name] for name in LEDGER_IN), sum(ledger[name] for name in LEDGER_OUT), ledger
            )
        for reduction in status["reductions"]:
            self.assertEqual(
                reduction["reached"],
                sum(reduction[name] for name in ("folded", "filtered", "late", "refused")),
                reduction,
            )

    def check_ledgers(self, status, outcome):
        """The daemon's numbers are the oracle's."""
        self.check_status(status)
        self.assertEqual(status["ledger"], outcome.ledger)
        mine = {
            (p["topic"], p["partition"]): p["ledger"] for p in status["partitions"] if sum(p["ledger"].values())
        }
        self.assertEqual(mine, {p: ledger for p, ledger in outcome.ledgers.items() if sum(ledger.values())})
        for reduction in status["reductions"]:
            expected = outcome.reductions[reduction["id"]]
            self.assertEqual({name: reduction[name] for name in expected}, expected, reduction["id"])

    def judge(self, instance, starts=None):
        """Everything that must hold once the daemon has written all it can; returns the outcome."""
        outcome = self.outcome(instance, starts)
        self.check_database(instance, outcome)
        self.check_control(instance, outcome)
        self.check_changes()
        return outcome

    def finish(self, instance, starts=None, timeout=120):
        """Lets the daemon write everything (`--until end`), judges, and compares the ledger of the state
        that it leaves behind. The daemon must not run."""
        code = instance.run("--until", "end", timeout=timeout)
        self.assertEqual(code, 0, instance.log_tail())
        return self.judge(instance, starts)

    def wait_judged(self, instance, starts=None, timeout=60):
        """The same of a running daemon: until Redis is what it should be by now."""
        last = None

        def same():
            nonlocal last
            instance.expect_alive()
            outcome = self.outcome(instance, starts)
            found = database.differences(outcome.database, self.database(), instance.name)
            last = f"{len(found)} differences: {found[:3]}"
            return outcome if not found else None

        outcome = waiting.until(same, lambda: last, timeout, every=0.1)
        self.check_changes()
        return outcome
