"""Savepoints: taken by signal, command and stop; completed behind that; begun from; never lost."""

import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

from harness import daemon as program
from harness import metrics, traffic, waiting
from harness.short import BEGIN, SHORT, SOURCE
from harness.world import World


def contents(folder):
    """{file: (SHA-256, inode)} of a directory."""
    return {
        path.name: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_ino)
        for path in folder.iterdir()
    }


def bytes_of(folder):
    return {name: digest for name, (digest, _) in contents(folder).items()}


class Base(World):
    partitions = 2

    def setUp(self):
        super().setUp()
        self.kafka.create_topic(self.topic, self.partitions)
        self.stream = traffic.Traffic(self.random, BEGIN)
        self.produce(600)

    def produce(self, count):
        traffic.produce(self.kafka, self.topic, self.partitions, self.stream, count, self.random)

    def make(self, **options):
        folder = options.pop("folder", ".")
        return self.sluice(self.configure(SHORT, source=SOURCE, **options), folder=folder)

    def run_command(self, daemon, *words, code=0):
        done = program.command(*words, environment=daemon.environment)
        self.assertEqual(done.returncode, code, done.stderr + daemon.log_tail())
        return done

    def take(self, daemon, name):
        return json.loads(
            self.run_command(daemon, "savepoint", daemon.config, "--name", name, "--json").stdout
        )

    def savepoints(self, daemon):
        folder = daemon.state / "savepoints"
        return sorted(folder.iterdir()) if folder.exists() else []

    def no_links(self, folder):
        return all(path.stat().st_nlink == 1 for path in folder.iterdir())

    def read(self, daemon, *options):
        daemon.start(*options)
        daemon.wait_ready()
        return daemon.wait_read(self.ends())

    def started_from(self, daemon, path):
        status = daemon.wait_ready()
        self.assertEqual(status["restore"]["from"], str(path), daemon.log_tail())
        return status


class Savepoint(Base):
    # ---- stop

    def test_term_takes_one_and_the_next_start_replays_nothing(self):
        daemon = self.make()
        self.read(daemon)
        self.assertEqual(daemon.terminate(), 0, daemon.log_tail())
        (savepoint,) = self.savepoints(daemon)
        daemon.start()
        status = self.started_from(daemon, savepoint)
        self.assertEqual(status["restore"]["replayed_records"], 0)
        self.assertEqual(status["restore"]["rejected"], [])
        self.check_ledgers(status, self.outcome(daemon))
        # Taken on stop, completed after the next start.
        waiting.until(lambda: self.no_links(savepoint), "the savepoint stands alone", 30)
        self.assertEqual(daemon.terminate(), 0)
        self.assertEqual(len(self.savepoints(daemon)), 2, "nothing changed, and still one is taken")
        self.finish(daemon)

    def test_no_savepoint_on_stop_by_policy(self):
        daemon = self.make(more="[savepoint]\non_stop = false")
        self.read(daemon)
        self.assertEqual(daemon.terminate(), 0)
        self.assertEqual(self.savepoints(daemon), [])
        self.read(daemon)
        daemon.process.send_signal(signal.SIGUSR2)
        self.assertEqual(daemon.wait_exit(), 0)
        self.assertEqual(len(self.savepoints(daemon)), 1)
        self.finish(daemon)

    def test_stop_before_ready_takes_none(self):
        daemon = self.make(topics=["missing-" + self.topic])
        daemon.start()
        daemon.wait_status(lambda status: any("missing" in c["reason"] for c in status["conditions"]), "waits")
        self.assertEqual(daemon.terminate(), 0)
        self.assertEqual(self.savepoints(daemon), [])

    def test_a_second_term_gives_it_up(self):
        daemon = self.make()
        self.read(daemon)
        self.take(daemon, "whole")
        self.produce(100)
        daemon.wait_read(self.ends())
        # While Redis does not answer, a stop waits: there is time for the second one.
        self.redis.pause()
        try:
            self.produce(300)
            daemon.wait_read(self.ends())
            daemon.process.send_signal(signal.SIGTERM)
            daemon.wait_status(lambda status: status["state"] == "stopping", "stops")
            daemon.process.send_signal(signal.SIGTERM)
            self.assertEqual(daemon.wait_exit(), 75)
        finally:
            self.redis.resume()
        self.finish(daemon)
        self.assertIn("whole", [path.name for path in self.savepoints(daemon)])

    def test_term_while_redis_is_down_ends_with_a_savepoint(self):
        daemon = self.make()
        self.read(daemon)
        self.wait_judged(daemon)
        self.redis.pause()
        try:
            self.produce(300)
            daemon.wait_read(self.ends())
            self.assertEqual(daemon.terminate(timeout=30), 0, daemon.log_tail())
        finally:
            self.redis.resume()
        self.assertEqual(len(self.savepoints(daemon)), 1)
        # What Redis had not acknowledged is in the savepoint by its frontier.
        self.finish(daemon)

    def test_a_stop_that_waits_too_long_leaves_without(self):
        daemon = self.make(more='[savepoint]\ntimeout = "300ms"')
        self.read(daemon)
        self.redis.pause()
        try:
            self.produce(300)
            daemon.wait_read(self.ends())
            self.assertEqual(daemon.terminate(), 75, daemon.log_tail())
        finally:
            self.redis.resume()
        self.finish(daemon)

    def test_quit_leaves_at_once(self):
        daemon = self.make()
        self.read(daemon)
        daemon.process.send_signal(signal.SIGQUIT)
        self.assertEqual(daemon.wait_exit(), 75)
        self.assertEqual(self.savepoints(daemon), [])
        self.finish(daemon)

    def test_stop_says_how_it_ends(self):
        daemon = self.make(more="[savepoint]\non_stop = false")
        self.read(daemon)
        self.run_command(daemon, "stop", daemon.config, "--savepoint")
        self.assertEqual(daemon.wait_exit(), 0)
        self.assertEqual(len(self.savepoints(daemon)), 1)
        self.read(daemon)
        self.run_command(daemon, "stop", daemon.config, "--no-savepoint")
        self.assertEqual(daemon.wait_exit(), 0)
        self.assertEqual(len(self.savepoints(daemon)), 1)

    def test_stop_says_whether_there_is_the_wanted_savepoint(self):
        daemon = self.make(more='[savepoint]\ntimeout = "300ms"')
        self.read(daemon)
        said = json.loads(self.run_command(daemon, "stop", daemon.config, "--json").stdout)
        self.assertEqual([said["savepoint"]], [path.name for path in self.savepoints(daemon)])
        self.assertEqual(said["exit_code"], 0)
        self.assertEqual(daemon.wait_exit(), 0)
        self.read(daemon)
        self.redis.pause()
        try:
            self.produce(300)
            daemon.wait_read(self.ends())
            done = self.run_command(daemon, "stop", daemon.config, "--savepoint", "--json", code=75)
        finally:
            self.redis.resume()
        self.assertEqual(json.loads(done.stdout)["exit_code"], 75)
        self.assertIn("no savepoint", done.stderr)
        self.assertEqual(daemon.wait_exit(), 75)
        self.finish(daemon)

    def test_a_drain_ends_with_a_savepoint_as_any_stop(self):
        daemon = self.make()
        for options in ((), ("--savepoint",), ("--no-savepoint",)):
            self.read(daemon)  # nothing is left to read: the drain is over at once
            self.run_command(daemon, "stop", daemon.config, "--drain", *options)
            self.assertEqual(daemon.wait_exit(), 0, daemon.log_tail())
        self.assertEqual(len(self.savepoints(daemon)), 2)

    def test_a_drain_closes_every_window(self):
        daemon = self.make()
        self.read(daemon)
        self.assertTrue(self.outcome(daemon).open_windows["short"])
        self.run_command(daemon, "stop", daemon.config, "--drain")
        self.assertEqual(daemon.wait_exit(), 0, daemon.log_tail())
        outcome = self.judge(daemon)
        self.assertFalse(outcome.open_windows.get("short"))

    # ---- taken while it runs

    def test_usr1_ten_times_in_a_row(self):
        daemon = self.make()
        self.read(daemon)
        for count in range(1, 11):
            daemon.process.send_signal(signal.SIGUSR1)
            daemon.wait_status(lambda status, count=count: status["savepoints_taken"] == count, f"savepoint {count}")
            self.produce(20)
        daemon.wait_read(self.ends())
        daemon.wait_status(lambda status: status["completion"]["settled"], "all are complete")
        self.assertEqual(len(self.savepoints(daemon)), 10)
        for savepoint in self.savepoints(daemon):
            self.assertTrue(self.no_links(savepoint), savepoint)
        self.assertEqual(daemon.terminate(), 0)
        self.finish(daemon)

    def test_listed_with_what_it_shares(self):
        daemon = self.make(more="[savepoint]\ncopy = false")
        self.read(daemon)
        taken = self.take(daemon, "shared")
        self.assertGreater(taken["shared_bytes"], 0)
        daemon.wait_status(
            lambda status: {c["kind"] for c in status["checkpoints"]} == {"checkpoint", "savepoint"}, "both kinds"
        )
        (one,) = json.loads(self.run_command(daemon, "savepoint", "list", daemon.config, "--json").stdout)
        self.assertEqual((one["name"], one["owner"]), ("shared", "user"))
        self.assertGreater(one["shared_bytes"], 0)
        self.assertEqual(daemon.terminate(), 0)
        listed = json.loads(self.run_command(daemon, "savepoint", "list", daemon.state, "--json").stdout)
        self.assertIn("shared", [each["name"] for each in listed])
        self.assertTrue(json.loads(self.run_command(daemon, "checkpoint", "list", daemon.state, "--json").stdout))

    def test_damage_is_listed_while_it_runs(self):
        daemon = self.make()
        self.read(daemon)
        self.take(daemon, "good")
        for name, victim in (("manifest", "MANIFEST.json"), ("gone", "CURRENT")):
            self.take(daemon, name)
            path = daemon.state / "savepoints" / name / victim
            data = bytearray(path.read_bytes())
            path.unlink()
            if name == "manifest":
                data[40] ^= 1
                path.write_bytes(data)
        self.run_command(daemon, "checkpoint", daemon.config)
        listed = json.loads(self.run_command(daemon, "savepoint", "list", daemon.config, "--json").stdout)
        damage = {one["name"]: one["damage"] for one in listed}
        self.assertEqual(set(damage), {"good", "manifest", "gone"})
        self.assertEqual(damage["good"], "")
        self.assertIn("manifest does not match", damage["manifest"])
        self.assertIn("CURRENT is missing", damage["gone"])
        # A checkpoint that cannot be used is in the list, too, and folders of snapshots are as good as
        # the state that they are of.
        daemon.kill()
        newest = max((daemon.state / "checkpoints").iterdir(), key=lambda path: int(path.name))
        (newest / "MANIFEST.json").write_text("{}")
        for what in (daemon.state, daemon.state / "checkpoints"):
            listed = json.loads(self.run_command(daemon, "checkpoint", "list", what, "--json").stdout)
            self.assertEqual([one["name"] for one in listed if one["damage"]], [newest.name])
            self.assertGreater(len(listed), 1)
        listed = json.loads(self.run_command(daemon, "savepoint", "list", daemon.state / "savepoints", "--json").stdout)
        self.assertEqual({one["name"] for one in listed}, {"good", "manifest", "gone"})

    def test_a_completed_one_shares_nothing(self):
        daemon = self.make()
        self.read(daemon)
        taken = self.take(daemon, "alone")
        self.assertEqual(taken["shared_bytes"], 0)
        self.assertTrue(self.no_links(daemon.state / "savepoints" / "alone"))

    def test_names_are_checked(self):
        daemon = self.make()
        self.read(daemon)
        for name in ("../x", "a/b", ".hidden", "", "-x", "x.partial", "x" * 129, "a b"):
            done = program.command("savepoint", daemon.config, f"--name={name}", environment=daemon.environment)
            if name:
                self.assertEqual(done.returncode, 64, name + done.stderr)
        self.take(daemon, "twice")
        before = bytes_of(daemon.state / "savepoints" / "twice")
        self.run_command(daemon, "savepoint", daemon.config, "--name", "twice", code=64)
        self.assertEqual(bytes_of(daemon.state / "savepoints" / "twice"), before)
        outside = self.folder / "outside"
        outside.mkdir()
        (outside / "precious").write_text("mine")
        (daemon.state / "savepoints" / "link").symlink_to(outside)
        self.run_command(daemon, "savepoint", daemon.config, "--name", "link", code=64)
        self.run_command(daemon, "savepoint", "delete", daemon.config, "link", code=66)
        self.assertEqual(list(outside.iterdir()), [outside / "precious"])

    def test_delete(self):
        daemon = self.make()
        self.read(daemon)
        self.take(daemon, "one")
        self.take(daemon, "two")
        self.run_command(daemon, "savepoint", "delete", daemon.config, "one")
        self.assertEqual([path.name for path in self.savepoints(daemon)], ["two"])
        self.run_command(daemon, "savepoint", "delete", daemon.config, "one", code=66)
        self.assertEqual(daemon.terminate(), 0)
        self.run_command(daemon, "savepoint", "delete", daemon.config, "two")
        self.assertNotIn("two", [path.name for path in self.savepoints(daemon)])
        self.finish(daemon)

    def test_a_completion_can_be_cancelled(self):
        daemon = self.make(more='[savepoint]\nrate = "1B"')
        self.read(daemon)
        daemon.process.send_signal(signal.SIGUSR1)
        status = daemon.wait_status(lambda status: status["completion"]["name"], "a savepoint is being completed")
        name = status["completion"]["name"]
        self.run_command(daemon, "savepoint", "cancel", daemon.config, name)
        self.assertEqual(self.savepoints(daemon), [])
        daemon.wait_status(lambda status: not status["completion"]["name"], "nothing is being completed")
        self.run_command(daemon, "savepoint", "cancel", daemon.config, name, code=1)

    def test_who_waits_for_one_that_is_given_up_is_told(self):
        daemon = self.make(more='[savepoint]\nrate = "1B"')
        self.read(daemon)
        waits = subprocess.Popen(
            [program.BINARY, "savepoint", daemon.config, "--name", "slow"],
            env=daemon.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        daemon.wait_status(lambda status: status["completion"]["name"] == "slow", "it is being completed")
        self.run_command(daemon, "savepoint", "delete", daemon.config, "slow")
        out, said = waits.communicate(timeout=30)
        self.assertEqual((waits.returncode, out), (75, ""))
        self.assertIn("given up or removed", said)

    def test_savepoints_in_folders_of_folders_are_left_alone(self):
        daemon = self.make()
        self.read(daemon)
        self.take(daemon, "precious")
        daemon.kill()
        kept = daemon.state / "savepoints" / "archive" / "precious"
        kept.parent.mkdir()
        (daemon.state / "savepoints" / "precious").rename(kept)
        before = bytes_of(kept)
        self.read(daemon)
        self.assertIn(f"left alone, it is no snapshot: {kept.parent}", daemon.log())
        self.assertEqual(bytes_of(kept), before)

    def test_kept_in_a_folder_of_the_users_own(self):
        folder = self.folder / "mine"
        folder.mkdir()
        (folder / "photos").mkdir()
        (folder / "photos" / "cat").write_text("a cat")
        daemon = self.make(more=f'[savepoint]\ndirectory = "{folder}"')
        self.read(daemon)
        taken = self.take(daemon, "moved")
        self.assertEqual(taken["path"], str(folder / "moved"))
        self.assertEqual(self.savepoints(daemon), [])
        self.assertTrue(self.no_links(folder / "moved"))
        daemon.kill()
        shutil.rmtree(daemon.state / "checkpoints")
        daemon.start()
        self.started_from(daemon, folder / "moved")
        daemon.kill()
        self.finish(daemon)
        self.assertEqual((folder / "photos" / "cat").read_text(), "a cat")

    def test_made_of_a_checkpoint_without_a_daemon(self):
        daemon = self.make()
        self.read(daemon)
        daemon.wait_status(lambda status: len(status["checkpoints"]) > 1, "checkpoints")
        daemon.kill()
        taken = self.take(daemon, "later")
        self.assertTrue(self.no_links(daemon.state / "savepoints" / "later"))
        self.assertEqual(taken["shared_bytes"], 0)
        shutil.rmtree(daemon.state / "checkpoints")
        daemon.start()
        self.started_from(daemon, daemon.state / "savepoints" / "later")
        daemon.kill()
        self.finish(daemon)

    def test_without_a_daemon_the_rate_is_kept_to(self):
        daemon = self.make(more='[savepoint]\nrate = "10KiB"')
        self.read(daemon)
        daemon.wait_status(lambda status: len(status["checkpoints"]) > 1, "checkpoints")
        daemon.kill()
        begun = time.monotonic()
        self.take(daemon, "slow")
        took = time.monotonic() - begun
        sizes = sorted(path.stat().st_size for path in (daemon.state / "savepoints" / "slow").iterdir())
        tables = [path.stat().st_size for path in (daemon.state / "savepoints" / "slow").glob("*.sst")]
        self.assertGreater(len(tables), 0, sizes)
        # All but the last piece is waited for; a slow machine only takes longer.
        self.assertGreaterEqual(took, (sum(tables) - max(sizes)) / 10240)
        self.assertTrue(self.no_links(daemon.state / "savepoints" / "slow"))
        daemon.start()
        daemon.kill()
        self.finish(daemon)

    def test_under_load(self):
        daemon = self.make(state='checkpoint = { every = "100ms" }')
        self.record_redis()
        self.read(daemon)
        for number in range(8):
            self.produce(400)
            self.take(daemon, f"load-{number}")
        daemon.wait_read(self.ends())
        self.wait_judged(daemon)
        # Each of them is a place to begin again from: all the same results.
        self.assertEqual(daemon.terminate(), 0)
        self.finish(daemon)

    # ---- never lost, never depended on

    def test_retention_leaves_savepoints_alone(self):
        daemon = self.make(state='checkpoint = { every = "50ms", keep = 2 }')
        self.read(daemon)
        self.take(daemon, "kept")
        before = bytes_of(daemon.state / "savepoints" / "kept")
        newest = max(c["id"] for c in daemon.status()["checkpoints"])
        for _ in range(3):
            self.produce(50)
            daemon.wait_status(
                lambda status, newest=newest: max(c["id"] for c in status["checkpoints"]) > newest + 5, "checkpoints"
            )
            newest += 5
        daemon.kill()
        leftover = daemon.state / "savepoints" / "no-manifest"
        leftover.mkdir()
        (leftover / "000001.sst").write_bytes(b"x" * 5000)
        self.read(daemon)
        self.assertFalse(leftover.exists())
        self.assertIn("5000 bytes freed", daemon.log())
        self.assertEqual(bytes_of(daemon.state / "savepoints" / "kept"), before)
        # And nothing rests on one.
        self.run_command(daemon, "savepoint", "delete", daemon.config, "kept")
        daemon.kill()
        self.finish(daemon)

    def test_deleted_behind_a_start_from_it(self):
        daemon = self.make()
        self.read(daemon)
        self.assertEqual(daemon.terminate(), 0)
        (savepoint,) = self.savepoints(daemon)
        daemon.start()
        self.started_from(daemon, savepoint)
        newest = max(c["id"] for c in daemon.status()["checkpoints"])
        daemon.wait_status(
            lambda status: any(c["kind"] == "checkpoint" and c["id"] > newest for c in status["checkpoints"]),
            "a checkpoint of its own",
        )
        self.run_command(daemon, "savepoint", "delete", daemon.config, savepoint.name)
        daemon.kill()
        self.finish(daemon)

    def test_without_checkpoints_a_savepoint_is_taken(self):
        daemon = self.make()
        self.read(daemon)
        self.take(daemon, "only")
        daemon.kill()
        shutil.rmtree(daemon.state / "checkpoints")
        daemon.start()
        self.started_from(daemon, daemon.state / "savepoints" / "only")
        daemon.kill()
        self.finish(daemon)

    def test_dying_at_every_step(self):
        daemon = self.make(state='checkpoint = { every = "200ms" }')
        self.read(daemon)
        self.take(daemon, "first")
        whole = bytes_of(daemon.state / "savepoints" / "first")
        daemon.kill()
        points = [
            "snapshot.directory_made", "snapshot.linked", "snapshot.synced", "snapshot.manifest_written",
            "snapshot.manifest_renamed", "snapshot.committed", "snapshot.dropped", "savepoint.copied",
            "savepoint.replaced", "savepoint.completed",
        ]
        for point in points:
            # The checkpoints are far apart: the point is passed by the savepoint.
            calm = self.make(state='checkpoint = { every = "1h" }')
            calm.start(environment={"SLUICE_FAIL_POINT": f"{point}:{2 if point.startswith('snapshot') else 1}"})
            for _ in range(4):
                try:
                    calm.wait_ready(20)
                    calm.process.send_signal(signal.SIGUSR1)
                    calm.wait_exit(2)
                    break
                except (waiting.TimedOut, AssertionError):
                    if not calm.alive():
                        break
            self.assertFalse(calm.alive(), point)
            self.assertEqual(calm.process.returncode, -signal.SIGKILL, point)
            self.produce(30)
            calm.start()
            calm.wait_ready()
            calm.wait_read(self.ends())
            calm.wait_status(lambda status: status["completion"]["settled"], f"{point}: completed")
            for savepoint in self.savepoints(calm):
                self.assertTrue((savepoint / "MANIFEST.json").exists(), f"{point}: {savepoint}")
                self.assertTrue(self.no_links(savepoint), f"{point}: {savepoint}")
                self.assertFalse(any(path.name.endswith(".partial") for path in savepoint.iterdir()), point)
            calm.kill()
        self.assertEqual(bytes_of(daemon.state / "savepoints" / "first"), whole)
        for point in ("snapshot.manifest_removed", "snapshot.removed"):
            calm = self.make(state='checkpoint = { every = "1h" }')
            calm.start(environment={"SLUICE_FAIL_POINT": point})
            calm.wait_ready()
            program.command("savepoint", "delete", calm.config, self.savepoints(calm)[-1].name,
                            environment=calm.environment)
            self.assertEqual(calm.wait_exit(), -signal.SIGKILL, point)
            calm.start()
            calm.wait_ready()
            for savepoint in self.savepoints(calm):
                self.assertTrue((savepoint / "MANIFEST.json").exists(), f"{point}: {savepoint}")
            calm.kill()
        self.finish(daemon)

    # ---- --from

    def test_from_rolls_back_and_the_savepoint_may_go(self):
        daemon = self.make()
        self.read(daemon)
        taken = self.take(daemon, "then")
        copy = self.folder / "elsewhere"
        shutil.copytree(taken["path"], copy)
        before = contents(copy)
        self.produce(400)
        daemon.wait_read(self.ends())
        self.wait_judged(daemon)
        self.assertEqual(daemon.terminate(), 0)
        self.assertEqual(daemon.run("--from", str(copy)), 73)
        self.assertIn("--fresh", daemon.log())
        daemon.start("--from", str(copy), "--fresh", "--yes")
        status = self.started_from(daemon, copy)
        self.assertIn("new lineage", daemon.log())
        self.assertEqual(contents(copy), before)
        shutil.rmtree(copy)
        daemon.wait_read(self.ends())
        daemon.kill()
        self.assertEqual(daemon.run("--until", "end"), 0, daemon.log_tail())
        # In event time the same results: the same records, folded once each.
        self.check_database(daemon, self.outcome(daemon))
        self.assertEqual(status["records_before_ready"], 0)

    def test_from_takes_the_name_of_one_of_its_own(self):
        daemon = self.make()
        self.read(daemon)
        taken = self.take(daemon, "then")
        self.assertEqual(daemon.terminate(), 0)
        self.assertEqual(daemon.run("--from", "then"), 73)
        self.assertEqual(daemon.run("--from", "never"), 66)
        self.assertIn("never", daemon.log())
        daemon.start("--from", "then", "--fresh", "--yes")
        self.started_from(daemon, taken["path"])
        daemon.kill()
        (self.folder / "empty").mkdir()
        self.assertEqual(daemon.run("--from", str(self.folder / "empty")), 65)
        self.assertEqual(daemon.run("--from", daemon.config), 65)
        self.assertIn("savepoint import", daemon.log())
        self.finish(daemon)

    def test_from_a_damaged_one_is_refused(self):
        daemon = self.make()
        self.read(daemon)
        taken = self.take(daemon, "then")
        daemon.kill()
        for victim in sorted(os.listdir(taken["path"])):
            copy = self.folder / "damaged"
            shutil.copytree(taken["path"], copy)
            data = bytearray((copy / victim).read_bytes())
            if not data:
                shutil.rmtree(copy)
                continue
            data[self.random.randrange(len(data))] ^= 1 << self.random.randrange(8)
            (copy / victim).write_bytes(data)
            other = self.make(name=self.topic, state_directory="other", file="other.toml", folder="other")
            self.assertEqual(other.run("--from", str(copy)), 65, f"{victim}\n{other.log_tail()}")
            shutil.rmtree(copy)
            shutil.rmtree(self.folder / "other-state", ignore_errors=True)
        self.assertEqual(daemon.run("--from", "/nowhere"), 66)

    def test_a_fork_runs_beside_the_first(self):
        daemon = self.make()
        self.read(daemon)
        taken = self.take(daemon, "fork")
        fork = self.make(name=f"{self.topic}-b", state_directory="b", file="b.toml", folder="b")
        fork.start("--from", taken["path"])
        self.started_from(fork, taken["path"])
        self.produce(500)
        daemon.wait_read(self.ends())
        fork.wait_read(self.ends())
        # The next starts go on by themselves.
        fork.kill()
        self.assertEqual(fork.run("--until", "end"), 0, fork.log_tail())
        self.assertEqual(daemon.terminate(), 0)
        self.assertEqual(daemon.run("--until", "end"), 0)
        mine, theirs = {}, {}
        for key, value in self.database().items():
            for name, into in ((daemon.name, mine), (fork.name, theirs)):
                if key.startswith(f"{name}:".encode()):
                    into[key[len(name) :]] = value
        outcome = self.outcome(daemon)
        self.assertTrue(theirs)
        for key, value in theirs.items():
            self.assertEqual(mine[key], value)
        missing = set(mine) - set(theirs)
        self.assertLess(len(missing), len(mine), "what was final before the savepoint stays with the first")
        self.assertTrue(outcome.database)

    def test_dying_while_it_begins_from_a_savepoint(self):
        daemon = self.make()
        self.read(daemon)
        taken = self.take(daemon, "then")
        self.produce(200)
        daemon.wait_read(self.ends())
        self.assertEqual(daemon.terminate(), 0)
        points = ["restore.linked", "restore.opened", "inputs.kept", "snapshot.directory_made", "snapshot.linked",
                  "snapshot.manifest_written", "snapshot.committed", "begin.noted", "begin.first_checkpoint"]
        for number, point in enumerate(points):
            other = self.make(name=f"{self.topic}-{number}", state_directory=f"s{number}", file=f"{number}.toml",
                              folder=f"f{number}")
            other.start("--from", taken["path"], environment={"SLUICE_FAIL_POINT": point})
            self.assertEqual(other.wait_exit(), -signal.SIGKILL, f"{point}\n{other.log_tail()}")
            # It begins again by itself, from the same savepoint; but for the first step, which it noted.
            noted = (other.state / "BEGIN").exists()
            begun = any((other.state / "checkpoints").glob("*/MANIFEST.json"))
            if begun and not noted:
                self.assertEqual(other.run("--from", taken["path"]), 73, point)
            other.start(*([] if noted or begun else ["--from", taken["path"]]))
            other.wait_ready()
            other.wait_read(self.ends())
            other.kill()
            self.assertEqual(other.run("--until", "end"), 0, other.log_tail())
            other.journal.stop()
        self.assertEqual(daemon.run("--until", "end"), 0)
        found = self.database()
        for number, point in enumerate(points):
            prefix = f"{self.topic}-{number}:".encode()
            theirs = {k[len(prefix):]: v for k, v in found.items() if k.startswith(prefix)}
            self.assertTrue(theirs, point)
            for key, value in theirs.items():
                self.assertEqual(found[f"{self.topic}:".encode() + key], value, point)


class Latency(World):
    """Whether savepoints are felt by the records that come meanwhile: many of them, from bench/load, which writes
    down what they add up to."""

    partitions, rate, users = 8, 100_000, 20_000
    turn_seconds, pairs = 1.0, 15
    reductions = """
[reduce.spend]
key = ["user_id"]
window = { tumbling = "1h" }
values = { clicks = "count()", spend = "sum(price * quantity)" }
ttl = "none"
[reduce.wide]
key = ["wide"]
window = { tumbling = "1h" }
values = { n = "count()" }
ttl = "none"
"""

    def test_fold_latency_under_savepoints(self):
        """Turns in which one savepoint after the other is taken and completed, and turns without, by pairs. The
        99th percentile of one turn is a number of chance on a machine that does other things; so the pairs are
        asked until most of them, of all that there may be, have said the same."""
        wide = f"{self.topic}-wide"
        for topic in (self.topic, wide):
            self.kafka.create_topic(topic, self.partitions)
        daemon = self.sluice(
            self.configure(self.reductions, topics=[self.topic, wide], more="[savepoint]\non_stop = false"), watch=False
        )
        with self.kafka.producer() as producer:
            for number in range(4000):  # 32 MB of state
                value = json.dumps({"wide": self.random.randbytes(4096).hex()}).encode()
                producer.send(wide, value, partition=number % self.partitions)
        daemon.start()
        daemon.wait_ready()
        daemon.wait_read(self.ends(wide))
        answer = self.folder / "answer"
        words = [pathlib.Path(program.BINARY).parent / "bench" / "load", "clicks", "--brokers", self.kafka.brokers,
                 "--topic", self.topic, "--answer", answer, "--partitions", self.partitions, "--users", self.users,
                 "--records", 1 << 40, "--rate", self.rate, "--linger-ms", 5, "--seed", self.seed]
        within, beyond, said = 0, 0, []
        with subprocess.Popen([str(word) for word in words], stdout=subprocess.DEVNULL) as load:
            self.addCleanup(load.kill)
            daemon.wait_status(lambda status: status["rates"]["records_per_second"] > self.rate / 4, "the load is there")
            while max(within, beyond) <= self.pairs // 2:
                p99 = {}
                for saves in (len(said) % 2 == 0, len(said) % 2 == 1):
                    before = self.fold_latency(daemon)
                    self.turn(daemon, saves)
                    p99[saves] = (self.fold_latency(daemon) - before).quantile(0.99)
                within += p99[True] <= 2 * p99[False]
                beyond += p99[True] > 2 * p99[False]
                said.append(f"{p99[True] * 1e3:.3f} and {p99[False] * 1e3:.3f} ms")
            load.terminate()
        said = "p99 with savepoints and without: " + ", ".join(said)
        print(said, file=sys.stderr, flush=True)
        self.assertEqual(load.returncode, 0)
        daemon.wait_read(self.ends())
        self.assertEqual(daemon.terminate(), 0)
        self.assertEqual(daemon.run("--until", "end"), 0, daemon.log_tail())
        self.check_sums(answer)
        self.assertGreater(within, beyond, said)

    def turn(self, daemon, saves):
        taken, until = 0, time.monotonic() + self.turn_seconds
        while time.monotonic() < until:
            if not saves:
                time.sleep(0.1)
                continue
            taken += 1
            done = program.command("savepoint", daemon.config, "--name", "one", environment=daemon.environment)
            self.assertEqual(done.returncode, 0, done.stderr)
            daemon.wait_status(
                lambda status: [c["shared_bytes"] for c in status["checkpoints"] if c["kind"] == "savepoint"] == [0],
                "it stands alone",
            )
            done = program.command("savepoint", "delete", daemon.config, "one", environment=daemon.environment)
            self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(taken > 0, saves)

    def check_sums(self, answer):
        """Over all windows, as the load wrote it down."""
        wanted = {}
        for line in answer.read_text().splitlines():
            user, clicks, cents = line.split()
            wanted[user.encode()] = (int(clicks), int(cents))
        found = {}
        for key, (_, content, *_) in self.database().items():
            name, reduction, user = key.split(b":")[:3] if not key.startswith(b"sluice:") else (None, None, None)
            if reduction == b"spend":
                clicks, cents = found.get(user, (0, 0))
                found[user] = (clicks + int(content[b"clicks"]), cents + round(100 * float(content[b"spend"])))
        self.assertEqual(found, wanted)

    def fold_latency(self, daemon):
        return metrics.Histogram.read(daemon.get("/metrics")[1].decode(), "sluice_fold_latency_seconds")


class Scale(Base):
    """One snapshot, any number of workers and of partitions."""

    partitions = 4

    def test_workers_and_added_partitions_from_one_savepoint(self):
        daemon = self.make(more="[threads]\nworkers = 2")
        self.read(daemon)
        taken = self.take(daemon, "base")
        daemon.kill()
        self.produce(600)
        with self.kafka.admin() as admin:
            admin.add_partitions(self.topic, 6)
        traffic.produce(self.kafka, self.topic, 6, self.stream, 600, self.random)
        results = []
        for workers in (1, 2, 4):
            self.redis.call("FLUSHALL")
            other = self.make(state_directory=f"w{workers}", file=f"w{workers}.toml", folder=f"w{workers}",
                              more=f"[threads]\nworkers = {workers}")
            self.assertEqual(other.run("--from", taken["path"], "--until", "end"), 0, other.log_tail())
            results.append({k: v for k, v in self.database().items() if not k.startswith(b"sluice:")})
            self.assertTrue(results[-1])
        self.assertEqual(results[0], results[1])
        self.assertEqual(results[0], results[2])
        # What was final before the savepoint apart: as of a run over everything, so of all six partitions.
        self.redis.call("FLUSHALL")
        whole = self.make(state_directory="whole", file="whole.toml", folder="whole")
        self.assertEqual(whole.run("--until", "end"), 0, whole.log_tail())
        found = self.database()
        self.assertEqual(results[0], {key: found[key] for key in results[0]})
        last = max(int(key.rsplit(b":", 1)[1]) for key in found if not key.startswith(b"sluice:"))
        self.assertIn(last, {int(key.rsplit(b":", 1)[1]) for key in results[0]})
