"""Event time over several partitions, against the oracle."""

import base64
import json
import threading
import time

from harness import traffic, waiting
from harness.world import World
from oracle.pipeline import Start

BEGIN = 1_714_521_600_000  # 2024-05-01T00:00:00Z


class EventTime(World):
    def test_everything_at_once(self):
        """Disorder, late, null and undecodable records, odd keys, every codec, aborted transactions."""
        self.kafka.create_topic(self.topic, 4)
        stream = traffic.Traffic(self.random, BEGIN)
        for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
            traffic.produce(self.kafka, self.topic, 4, stream, 800, self.random, codec=codec)
        with self.kafka.producer(transactional_id=f"tx-{self.topic}") as producer:
            for fate in ("commit", "abort", "commit", "abort"):
                producer.begin()
                traffic.produce(self.kafka, self.topic, 4, stream, 200, self.random, producer=producer)
                getattr(producer, fate)()
        # A partition's position stands behind its last record, not behind a marker of a transaction.
        traffic.produce(self.kafka, self.topic, 4, stream, 200, self.random)
        config = self.configure(
            traffic.reductions(lateness="4s"), source=traffic.SOURCE, steps=traffic.STEPS,
            dead_letter='file = "dead.jsonl"',
        )
        daemon = self.sluice(config)
        self.record_redis()
        daemon.start()
        ends = {p: end for p, end in self.ends().items()}
        status = daemon.wait_read(ends)
        self.check_status(status)
        self.wait_judged(daemon)
        # More while it runs, then everything that is open.
        traffic.produce(self.kafka, self.topic, 4, stream, 2000, self.random)
        status = daemon.wait_read(self.ends())
        self.assertEqual(daemon.terminate(), 0, daemon.log_tail())
        outcome = self.finish(daemon)
        self.assertGreater(outcome.reductions["spend"]["late"], 0)
        self.assertGreater(outcome.ledger["undecodable"], 0)
        self.assertGreater(len(outcome.database), 500)
        self.check_dead_letters(daemon.state / "dead.jsonl", outcome)
        # The ledger as the state keeps it, after a restart.
        daemon.start()
        self.check_ledgers(daemon.wait_ready(), self.outcome(daemon))
        self.assertEqual(daemon.terminate(), 0)

    def check_dead_letters(self, path, outcome):
        expected = {}
        for record, _ in outcome.dead_letters:
            expected[record.topic, record.partition, record.offset] = (record.timestamp, record.key, record.value)
        found = {}
        for line in path.read_text().splitlines():
            letter = json.loads(line)
            self.assertTrue(letter["reason"])
            place = letter["topic"], letter["partition"], letter["offset"]
            key, value = (None if letter[m] is None else base64.b64decode(letter[m]) for m in ("key", "value"))
            found[place] = (letter["timestamp"], key, value)
        self.assertEqual(found, expected)

    def test_times_near_now_and_expiry(self):
        """The future guard, `ttl_from`, Kafka's own timestamps."""
        self.kafka.create_topic(self.topic, 2)
        now = int(time.time() * 1000)
        stream = traffic.Traffic(self.random, now - 60_000, late=0.05)
        with self.kafka.producer() as producer:
            for i in range(1500):
                value, at = stream.record()
                if i % 100 == 50:
                    at = now + 1_800_000 + i  # beyond any cap
                producer.send(self.topic, value, partition=i % 2, timestamp=at)
            producer.flush()
        config = self.configure(
            """
            [reduce.soon]
            key = ["user"]
            window = { tumbling = "5s" }
            values = { n = "count()" }
            ttl = "3h"
            ttl_from = "window"
            """,
            source='out_of_order = "1s"\nmax_future_skew = "1m"',
        )
        daemon = self.sluice(config)
        self.finish(daemon)
        self.assertGreater(len(self.database()), 50)

    def test_started_at_the_end_is_incomplete_at_first(self):
        self.kafka.create_topic(self.topic, 2)
        stream = traffic.Traffic(self.random, BEGIN)
        traffic.produce(self.kafka, self.topic, 2, stream, 300, self.random)
        ranges = self.kafka.ranges(self.topic)
        self.starts = {(self.topic, p): Start(end, end == 0) for p, (_, end) in ranges.items()}
        reductions = traffic.reductions()
        config = self.configure(reductions, source=traffic.SOURCE + 'start = "latest"', steps=traffic.STEPS)
        daemon = self.sluice(config)
        daemon.start()
        daemon.wait_ready()
        traffic.produce(self.kafka, self.topic, 2, stream, 1000, self.random)
        daemon.wait_read(self.ends())
        self.assertEqual(daemon.terminate(), 0, daemon.log_tail())
        outcome = self.finish(daemon)
        self.assertEqual({result.complete for result in outcome.results}, {False, True})

    def test_the_last_window_closes_by_itself(self):
        """All partitions idle: event time goes on to the end of what is open, and not beyond."""
        self.kafka.create_topic(self.topic, 3)
        stream = traffic.Traffic(self.random, BEGIN, odd=0)
        traffic.produce(self.kafka, self.topic, 2, stream, 500, self.random)
        reductions = """
            [reduce.short]
            key = ["user"]
            window = { tumbling = "2s" }
            values = { n = "count()" }
            ttl = "none"
        """
        config = self.configure(reductions, source='timestamp = "at"\nout_of_order = "1s"\nidle_after = "500ms"')
        daemon = self.sluice(config)
        self.record_redis()
        daemon.start()
        daemon.wait_ready()

        def nothing_open(status):
            return status["reductions"][0]["open_windows"] == 0 and all(p["idle"] for p in status["partitions"])

        daemon.wait_read(self.ends())
        daemon.wait_status(nothing_open, "nothing is open")
        outcome = self.wait_judged(daemon)
        self.assertEqual(outcome.open_windows, {})
        # An outage of the producer makes nothing late that was not open.
        stream.now += 1000
        traffic.produce(self.kafka, self.topic, 3, stream, 300, self.random)
        daemon.wait_read(self.ends())
        daemon.wait_status(nothing_open, "nothing is open again")
        self.wait_judged(daemon)
        self.assertEqual(daemon.terminate(), 0, daemon.log_tail())

    def test_what_waits_for_a_transaction_is_not_idle(self):
        """Records of a transaction that is open for longer than `idle_after` are not late once it commits."""
        self.kafka.create_topic(self.topic, 2)
        config = self.configure(
            """
            [reduce.short]
            key = ["user"]
            window = { tumbling = "2s" }
            values = { n = "count()" }
            ttl = "none"
            """,
            source='timestamp = "at"\nout_of_order = "1s"\nidle_after = "500ms"',
        )
        daemon = self.sluice(config)
        with (
            self.kafka.producer(transactional_id=f"tx-{self.topic}") as slow,
            self.kafka.producer() as producer,
        ):
            slow.begin()
            for at in range(10):
                value = json.dumps({"user": "u", "at": BEGIN + at}).encode()
                slow.send(self.topic, value, partition=0, timestamp=BEGIN)
            slow.flush()
            daemon.start()
            daemon.wait_ready()
            for at in range(0, 60_000, 1000):
                value = json.dumps({"user": "v", "at": BEGIN + at}).encode()
                producer.send(self.topic, value, partition=1, timestamp=BEGIN)
            producer.flush()
            status = daemon.wait_status(lambda status: status["partitions"][1]["idle"], "the other one is idle")
            self.assertFalse(status["partitions"][0]["idle"])
            slow.commit()
        status = daemon.wait_read(self.ends())
        self.assertEqual(status["reductions"][0]["late"], 0)
        daemon.wait_status(lambda status: all(p["idle"] for p in status["partitions"]), "both are idle")
        self.assertEqual(daemon.terminate(), 0, daemon.log_tail())
        self.finish(daemon)

    def test_a_partition_added_while_running(self):
        self.kafka.create_topic(self.topic, 2)
        stream = traffic.Traffic(self.random, BEGIN)
        traffic.produce(self.kafka, self.topic, 2, stream, 800, self.random)
        config = self.configure(
            traffic.reductions(), source=traffic.SOURCE, steps=traffic.STEPS,
            more="[source.rdkafka]\ntopic.metadata.refresh.interval.ms = 1000",
        )
        daemon = self.sluice(config)
        self.record_redis()
        daemon.start()
        daemon.wait_read(self.ends())
        with self.kafka.admin() as admin:
            admin.add_partitions(self.topic, 4)
        traffic.produce(self.kafka, self.topic, 4, stream, 800, self.random)
        status = daemon.wait_read(self.ends(), timeout=90)
        self.assertEqual(len(status["partitions"]), 4)
        daemon.kill()
        outcome = self.finish(daemon)
        self.assertGreater(outcome.ledgers[self.topic, 3]["reached"], 0)


class ProcessingTime(World):
    def test_every_record_is_in_exactly_one_window(self):
        self.kafka.create_topic(self.topic, 3)
        config = self.configure(
            traffic.reductions("processing", short=True),
            source='timestamp = "at"', steps=traffic.STEPS,
        )
        daemon = self.sluice(config)
        self.record_redis()
        daemon.start()
        daemon.wait_ready()
        stream = traffic.Traffic(self.random, BEGIN)
        stop = threading.Event()

        def run():
            with self.kafka.producer() as producer:
                while not stop.is_set():
                    traffic.produce(self.kafka, self.topic, 3, stream, 50, self.random, producer=producer)
                    producer.flush()
                    stop.wait(0.01)

        producer = threading.Thread(target=run)
        producer.start()
        try:
            waiting.until(lambda: self.redis.call("DBSIZE") > 300, "some windows are written", 60, 0.1)
        finally:
            stop.set()
            producer.join()
        daemon.wait_read(self.ends())
        outcome = self.wait_judged(daemon)
        self.assertEqual(daemon.terminate(), 0, daemon.log_tail())
        outcome = self.finish(daemon)
        counted = sum(result.values["n"] for result in outcome.results if result.reduction == "all")
        self.assertEqual(counted, outcome.ledger["reached"])
        in_redis = sum(int(content[b"n"]) for key, (kind, content, _) in self.database().items()
                       if key.startswith(f"{self.topic}:all:".encode()))
        self.assertEqual(in_redis, counted)
