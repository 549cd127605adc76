"""What a start finds, and how a stop leaves things."""

import json
import os
import shutil

from harness import daemon as program
from harness import traffic
from harness.short import BEGIN, SHORT, SOURCE
from harness.world import World
from oracle.pipeline import Start


class Restart(World):
    def setUp(self):
        super().setUp()
        self.kafka.create_topic(self.topic, 2)
        self.stream = traffic.Traffic(self.random, BEGIN)
        self.produce(600)

    def produce(self, count):
        traffic.produce(self.kafka, self.topic, 2, self.stream, count, self.random)

    def make(self, **options):
        return self.sluice(self.configure(SHORT, source=SOURCE, **options))

    def snapshots(self, daemon):
        return sorted(path for path in (daemon.state / "checkpoints").iterdir())

    def refused(self, daemon, code, *words, options=()):
        """The daemon must end with this code, saying these words, and change nothing in Redis."""
        before = self.results()
        log = len(daemon.log()) if daemon.log_path.exists() else 0
        self.assertEqual(daemon.run(*options), code, daemon.log_tail())
        said = daemon.log()[log:]
        for word in words:
            self.assertIn(word, said)
        self.assertEqual(self.results(), before)
        return said

    def results(self):
        """Everything but the fence, which every start takes."""
        return {key: value for key, value in self.database().items() if not key.endswith(b":fence")}

    def test_until_end_twice_writes_nothing_the_second_time(self):
        daemon = self.make()
        self.finish(daemon)
        before = self.database()
        self.record_redis()
        self.assertEqual(daemon.run("--until", "end"), 0, daemon.log_tail())
        self.assertEqual(self.recorder.writes, 0)
        now = self.database()
        self.assertEqual({k: v for k, v in now.items() if not k.startswith(b"sluice:")},
                         {k: v for k, v in before.items() if not k.startswith(b"sluice:")})

    def test_after_until_end_what_is_older_is_late(self):
        daemon = self.make()
        self.finish(daemon)
        self.stream.now = BEGIN + 5000
        self.produce(50)
        outcome = self.finish(daemon)
        self.assertGreater(outcome.reductions["short"]["late"], 20)

    def test_keep_open_leaves_windows_open(self):
        daemon = self.make()
        self.assertEqual(daemon.run("--until", "end", "--keep-open"), 0, daemon.log_tail())
        outcome = self.judge(daemon)
        self.assertTrue(outcome.open_windows["short"])
        self.produce(200)
        self.finish(daemon)

    def test_term_stops_in_order_and_fires_nothing_unfinished(self):
        daemon = self.make()
        daemon.start()
        daemon.wait_read(self.ends())
        self.wait_judged(daemon)
        self.assertEqual(daemon.terminate(), 0, daemon.log_tail())
        outcome = self.judge(daemon)
        self.assertTrue(outcome.open_windows["short"])
        self.assertFalse(os.path.exists(daemon.socket_path))
        # The last checkpoint holds all: nothing is replayed.
        daemon.start()
        status = daemon.wait_ready()
        self.assertEqual(status["restore"]["replayed_records"], 0)
        self.assertTrue(status["restore"]["from"])
        self.check_ledgers(status, self.outcome(daemon))
        self.produce(200)
        daemon.wait_read(self.ends())
        self.wait_judged(daemon)
        self.assertEqual(daemon.terminate(), 0)

    def test_the_checkpoints_of_earlier_runs_are_listed(self):
        daemon = self.make(state='checkpoint = { every = "1h" }', more="[savepoint]\non_stop = false")
        for run in (1, 2):
            daemon.start()
            daemon.wait_read(self.ends())
            self.assertEqual(daemon.terminate(), 0)
            self.produce(100)
        kept = {int(path.name): path for path in self.snapshots(daemon)}
        self.assertEqual(len(kept), 3)
        daemon.start()
        listed = daemon.wait_ready()["checkpoints"]
        self.assertEqual([one["id"] for one in listed], sorted(kept, reverse=True))
        for one in listed:
            self.assertEqual(one["path"], str(kept[one["id"]]))
            self.assertEqual(one["kind"], "checkpoint")
            self.assertTrue(one["taken"])
            self.assertEqual(one["bytes"], sum(file.stat().st_size for file in kept[one["id"]].iterdir()))
        self.assertEqual(daemon.terminate(), 0)

    def test_retained_results_are_bounded_in_bytes(self):
        # Every record a key of its own, so that windows weigh something.
        reduction = SHORT.replace("5s", "1s").replace('["user"]', '[{ offset = "kafka.offset" }]')
        daemon = self.sluice(self.configure(
            reduction, source=SOURCE, sink='result_retention = "1h"\nresult_retention_bytes = "64KiB"',
            state='checkpoint = { every = "100ms" }',
        ))
        daemon.start()
        for _ in range(60):
            status = daemon.wait_read(self.ends())
            if status["sink"]["given_up"]:
                break
            self.produce(500)
        self.assertGreater(status["sink"]["given_up"], 0)
        self.assertIn("retention_ms", status["sink"])
        self.wait_judged(daemon)
        self.assertEqual(daemon.terminate(), 0)
        self.finish(daemon)

    def test_a_kill_is_replayed(self):
        daemon = self.make()
        self.record_redis()
        daemon.start()
        daemon.wait_read(self.ends())
        daemon.kill()
        daemon.start()
        self.produce(300)
        daemon.wait_read(self.ends())
        self.wait_judged(daemon)
        daemon.kill()
        self.finish(daemon)

    def test_a_missing_topic_keeps_the_gate_shut(self):
        config = self.configure(SHORT, source=SOURCE, topics=[f"missing-{self.topic}"], name="p")
        daemon = self.sluice(config)
        daemon.start()

        def said(status):
            return any("missing-" in condition["reason"] for condition in status["conditions"] if not condition["ok"])

        status = daemon.wait_status(said, "the status names the topic")
        self.assertFalse(status["ready"])
        self.kafka.create_topic(f"missing-{self.topic}", 1)
        daemon.wait_ready(90)
        self.assertEqual(daemon.terminate(), 0)

    def test_an_edit_that_breaks_state_is_refused(self):
        daemon = self.make()
        self.finish(daemon)
        self.configure(SHORT.replace("5s", "6s"), source=SOURCE)
        self.refused(daemon, 78, "--drop-state short")
        # What cannot change a result may change.
        self.configure(SHORT, source=SOURCE, more='[log]\nlevel = "debug"')
        self.assertEqual(daemon.run("--until", "end"), 0, daemon.log_tail())

    def test_a_second_instance_is_refused(self):
        daemon = self.make()
        daemon.start()
        daemon.wait_ready()
        other = self.sluice(self.configure(SHORT, source=SOURCE, file="other.toml"), folder="other", watch=False)
        self.assertEqual(other.run(), 73, other.log_tail())
        self.assertIn(str(daemon.process.pid), other.log())
        daemon.expect_alive()
        self.assertEqual(daemon.terminate(), 0)

    def test_a_state_without_snapshots_is_no_fresh_start(self):
        daemon = self.make()
        self.finish(daemon)
        shutil.rmtree(daemon.state / "checkpoints")
        self.refused(daemon, 65)
        (daemon.state / "checkpoints").mkdir(exist_ok=True)
        self.refused(daemon, 65)

    def test_a_damaged_snapshot_is_named_and_the_next_older_one_used(self):
        daemon = self.make(state='checkpoint = { every = "200ms" }\nverify = "full"')
        daemon.start()
        daemon.wait_status(lambda status: len(status["checkpoints"]) >= 2, "two checkpoints")
        self.produce(300)
        daemon.wait_read(self.ends())
        self.assertEqual(daemon.terminate(), 0)
        newest = max(
            self.snapshots(daemon), key=lambda path: json.loads((path / "MANIFEST.json").read_text())["barrier"]
            if "barrier" in json.loads((path / "MANIFEST.json").read_text()) else path.stat().st_mtime_ns
        )
        manifest = newest / "MANIFEST.json"
        data = bytearray(manifest.read_bytes())
        data[len(data) // 2] ^= 1
        manifest.write_bytes(data)
        daemon.start()
        status = daemon.wait_ready()
        self.assertIn(str(newest), [rejection["path"] for rejection in status["restore"]["rejected"]])
        daemon.wait_read(self.ends())
        self.wait_judged(daemon)
        self.assertEqual(daemon.terminate(), 0)

    def test_damage_found_behind_the_gate_ends_the_run(self):
        # A table of several blocks, the middle of which nobody reads but the verification: nothing fires.
        reduction = SHORT.replace("5s", "9h").replace('["user"]', '[{ offset = "kafka.offset" }]')
        daemon = self.sluice(self.configure(
            reduction, source=SOURCE, state='checkpoint = { every = "1h" }', more="[savepoint]\non_stop = false"
        ))
        self.produce(4000)
        for _ in range(2):
            daemon.start()
            daemon.wait_read(self.ends())
            self.assertEqual(daemon.terminate(), 0)
            self.produce(4000)
        *older, newest = sorted(self.snapshots(daemon), key=lambda path: int(path.name))
        shared = {file.stat().st_ino for path in older for file in path.iterdir()}
        own = [file for file in newest.glob("*.sst") if file.stat().st_ino not in shared]
        table = max(own, key=lambda file: file.stat().st_size)
        with open(table, "r+b") as file:  # in place: its other names show the same
            file.seek(table.stat().st_size // 2)
            byte = file.read(1)
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte[0] ^ 1]))
        self.assertEqual(daemon.run(), 74, daemon.log_tail())
        self.assertIn(str(table), daemon.log())
        daemon.start()
        status = daemon.wait_ready()
        self.assertIn(str(newest), [rejection["path"] for rejection in status["restore"]["rejected"]])
        self.assertEqual(status["restore"]["from"], str(older[-1]))
        self.assertIn(f"path={newest} ", daemon.log())
        daemon.wait_status(
            lambda status: 0 < status["restore"]["verify_bytes"] == status["restore"]["verified_bytes"], "verified"
        )
        self.assertEqual(daemon.terminate(), 0)
        self.finish(daemon)

    def test_a_lost_tail_of_the_journal_is_noticed(self):
        daemon = self.make()
        self.finish(daemon)
        journal = sorted((daemon.state / "journal").glob("*.journal"))[-1]
        journal.write_bytes(journal.read_bytes()[:64])
        self.refused(daemon, 65)

    def test_another_state_of_the_same_name_is_refused(self):
        daemon = self.make()
        self.finish(daemon)
        stranger = self.sluice(self.configure(SHORT, source=SOURCE, file="stranger.toml", state_directory="elsewhere"))
        self.refused(stranger, 65)

    def test_fresh_forgets_and_computes_again(self):
        daemon = self.make()
        self.finish(daemon)
        self.configure(SHORT.replace("5s", "4s"), source=SOURCE)
        self.refused(daemon, 64, options=["--fresh"])
        self.assertEqual(daemon.run("--fresh", "--yes", "--until", "end"), 0, daemon.log_tail())
        # What the old windows left in Redis stays: the new ones are added.
        from oracle import settings

        daemon.rules = settings.load(daemon.config)
        outcome = self.outcome(daemon)
        now = self.database()
        for key, item in outcome.database.items():
            self.assertEqual(now[key][1], item.content)
        self.check_control(daemon, outcome)

    def test_an_interrupted_fresh_start_repeats_itself(self):
        daemon = self.make()
        self.finish(daemon)
        client = self.redis.client()
        self.addCleanup(client.close)
        lineages = [client.call("HGET", f"sluice:{self.topic}", "lineage")]
        for point in ("begin.noted", "begin.lineage", "snapshot.synced", "snapshot.committed",
                      "begin.first_checkpoint", "sink.before_transaction", "sink.reset"):
            self.assertEqual(
                daemon.run("--fresh", "--yes", environment={"SLUICE_FAIL_POINT": point}), -9, daemon.log_tail()
            )
            self.produce(100)
            self.assertEqual(daemon.run("--until", "end"), 0, daemon.log_tail())
            self.judge(daemon)
            daemon.start()
            # Nothing of the old state counts: all was read again.
            self.check_ledgers(daemon.wait_ready(), self.outcome(daemon))
            self.assertEqual(daemon.terminate(), 0)
            lineages.append(client.call("HGET", f"sluice:{self.topic}", "lineage"))
        self.assertEqual(len(set(lineages)), len(lineages))

    def test_expired_offsets_are_named(self):
        daemon = self.make()
        daemon.start()
        daemon.wait_read(self.ends())
        self.assertEqual(daemon.terminate(), 0)
        position = self.ends()[self.topic, 1]
        self.produce(400)
        with self.kafka.admin() as admin:
            admin.delete_records(self.topic, 1, position + 10)
        daemon.start()
        expected = f"{self.topic}[1]: offsets {position}..{position + 9} are gone, log starts at {position + 10}"

        def said(status):
            return any(expected in condition["reason"] for condition in status["conditions"] if not condition["ok"])

        status = daemon.wait_status(said, expected)
        self.assertFalse(status["ready"])
        self.assertEqual(daemon.get("/readyz")[0], 503)
        self.assertEqual(daemon.terminate(), 0)
        self.assertIn("hint=", daemon.log())
        self.refused(daemon, 65, expected, "--accept-gap", options=["--until", "end"])

    def test_an_accepted_gap_is_skipped_counted_and_kept(self):
        daemon = self.make()
        daemon.start()
        daemon.wait_read(self.ends())
        self.wait_judged(daemon)
        self.assertEqual(daemon.terminate(), 0)
        before = self.database()
        position = self.ends()[self.topic, 1]
        self.produce(400)
        with self.kafka.admin() as admin:
            admin.delete_records(self.topic, 1, position + 10)
        gone = f"{self.topic}[1]: offsets {position}..{position + 9} are gone, log starts at {position + 10}"
        self.refused(daemon, 65, gone, options=["--until", "end"])
        daemon.start("--accept-gap")
        status = daemon.wait_read(self.ends())
        self.assertIn(gone + "; accepted", daemon.log())
        self.check_status(status)
        self.assertEqual(status["ledger"]["skipped"], 10)
        self.assertEqual([p["ledger"]["skipped"] for p in status["partitions"]], [0, 10])
        self.assertEqual(sum(self.ends().values()), status["ledger"]["consumed"])
        daemon.wait_status(
            lambda status: status["partitions"][1]["checkpointed_offset"] > position, "the gap is in a checkpoint"
        )
        daemon.kill()
        # It is in a checkpoint: nobody asks again.
        self.assertEqual(daemon.run("--until", "end"), 0, daemon.log_tail())
        daemon.start()
        self.assertEqual(daemon.wait_ready()["ledger"]["skipped"], 10)
        self.assertEqual(daemon.terminate(), 0)
        after = self.database()
        complete = {}
        for key, (_, content, *_) in after.items():
            if not key.startswith(b"sluice:"):
                self.assertEqual(before.get(key, (None, content))[1], content)  # what was final stays
                complete[int(key.rsplit(b":", 1)[1])] = content[b"complete"]
        self.assertEqual(set(complete.values()), {b"0", b"1"})
        last = max(start for start, value in complete.items() if value == b"0")
        first = min(start for start, value in complete.items() if value == b"0")
        self.assertTrue(all(value == b"0" for start, value in complete.items() if first <= start <= last))
        # What is sent again is what it was, whatever is known of the gap by now.
        self.redis.client().call("FLUSHALL")
        self.assertEqual(daemon.run("--until", "end"), 0, daemon.log_tail())
        again = self.database()
        self.assertEqual({key: item for key, item in again.items() if not key.startswith(b"sluice:")},
                         {key: item for key, item in after.items() if not key.startswith(b"sluice:")})

    def test_a_compacted_topic_is_refused_until_accepted(self):
        topic = f"compacted-{self.topic}"
        self.kafka.create_topic(topic, 1, cleanup_policy="compact")
        with self.kafka.producer() as producer:
            for _ in range(50):
                value, at = self.stream.record()
                producer.send(topic, value, key=b"k", partition=0, timestamp=at)
            producer.flush()
        config = self.configure(SHORT, source=SOURCE, topics=[topic], name="compacted")
        daemon = self.sluice(config)
        checked = program.command("check", config)
        self.assertEqual(checked.returncode, 78, checked.stderr)
        self.assertIn("is compacted", checked.stderr)
        daemon.start()
        status = daemon.wait_status(
            lambda status: any(not c["ok"] and "is compacted" in c["reason"] for c in status["conditions"]),
            "the status says that the topic is compacted",
        )
        self.assertFalse(status["ready"])
        self.assertEqual(status["ledger"]["consumed"], 0)
        self.assertEqual(daemon.terminate(), 0)
        self.assertEqual(daemon.run("--accept-compacted", "--until", "end"), 0, daemon.log_tail())

    def test_a_topic_that_was_made_anew_is_refused(self):
        daemon = self.make()
        daemon.start()
        daemon.wait_read(self.ends())
        self.assertEqual(daemon.terminate(), 0)
        with self.kafka.admin() as admin:
            admin.delete_topic(self.topic)
        self.kafka.create_topic(self.topic, 2)
        self.produce(1200)
        before = self.results()
        daemon.start()
        status = daemon.wait_status(
            lambda status: any(not c["ok"] and self.topic in c["reason"] for c in status["conditions"]),
            "the status says that the topic is another one",
        )
        self.assertFalse(status["ready"])
        self.assertEqual(status["ledger"]["consumed"], 0)
        self.assertEqual(daemon.terminate(), 0)
        self.assertEqual(self.results(), before)

    def test_a_topic_made_anew_while_it_runs_is_not_read(self):
        daemon = self.make()
        daemon.start()
        daemon.wait_read(self.ends())
        self.wait_judged(daemon)
        consumed, before = daemon.status()["ledger"]["consumed"], self.results()

        def kafka_says(word):
            return lambda status: any(
                c["name"] == "kafka" and not c["ok"] and word in c["reason"] for c in status["conditions"]
            )

        with self.kafka.admin() as admin:
            admin.delete_topic(self.topic)
        daemon.wait_status(kafka_says("Unknown topic"), "the topic is away")
        self.kafka.create_topic(self.topic, 2)
        self.produce(1200)
        status = daemon.wait_status(kafka_says("the topic was made anew"), "the topic is another one")
        self.assertEqual(status["ledger"]["consumed"], consumed)
        self.assertEqual(self.results(), before)
        self.assertEqual(daemon.terminate(), 0)
        self.assertIn("the topic was made anew", self.refused(daemon, 65, options=["--until", "end"]))

    def test_the_log_starts_above_zero(self):
        with self.kafka.admin() as admin:
            admin.delete_records(self.topic, 0, 100)
        self.starts = {(self.topic, 0): Start(100)}
        outcome = self.finish(self.make())
        self.assertIn(False, {result.complete for result in outcome.results})

    def test_markers_at_the_end_may_expire(self):
        """Nothing is missing where the log has dropped markers and aborted records behind the last one read."""
        with self.kafka.producer(transactional_id=f"tx-{self.topic}") as producer:
            for fate in ("commit", "abort"):
                producer.begin()
                traffic.produce(self.kafka, self.topic, 2, self.stream, 50, self.random, producer=producer)
                getattr(producer, fate)()
        daemon = self.make()
        daemon.start()
        daemon.wait_read(self.ends())
        self.wait_judged(daemon)
        before = self.outcome(daemon).records
        self.assertEqual(daemon.terminate(), 0)
        with self.kafka.admin() as admin:
            for (topic, partition), end in self.ends().items():
                admin.delete_records(topic, partition, end)
        daemon.start()
        status = daemon.wait_ready()
        self.assertEqual(status["ledger"]["consumed"], before)
        self.assertEqual(status["ledger"]["skipped"], 0)
        self.produce(200)
        daemon.wait_read(self.ends())
        self.assertEqual(daemon.status()["ledger"]["consumed"], before + 200)
        self.assertEqual(daemon.terminate(), 0)

    def test_workers_may_change(self):
        for workers in (1, 2, 4):
            self.produce(200)
            daemon = self.make(more=f"[threads]\nworkers = {workers}")
            daemon.start()
            daemon.wait_read(self.ends())
            daemon.kill()
        self.finish(daemon)

    def test_the_disk_is_not_filled(self):
        daemon = self.make(state='checkpoint = { every = "100ms", keep = 2 }')
        daemon.start()
        for _ in range(5):
            taken = max((c["id"] for c in daemon.wait_ready()["checkpoints"]), default=0)
            self.produce(100)
            daemon.wait_status(
                lambda status, taken=taken: max((c["id"] for c in status["checkpoints"]), default=0) > taken + 1,
                "another checkpoint",
            )
        self.assertEqual(daemon.terminate(), 0)
        self.assertLessEqual(len(self.snapshots(daemon)), 2)
        # A directory without a manifest is a leftover.
        leftover = daemon.state / "checkpoints" / "999999999"
        leftover.mkdir()
        (leftover / "000001.sst").write_bytes(b"x" * 4096)
        self.finish(daemon)
        self.assertFalse(leftover.exists())
