"""Where a state may lie, and what happens when its disk fills up."""

import fcntl
import os
import pathlib
import signal

from harness import daemon as program
from harness import disk
from harness import waiting
from test_savepoint import Base, SHORT, SOURCE, bytes_of

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


class Place(Base):
    """run() without the --force that the harness adds."""

    def refused(self, directory, words, code=73):
        config = self.configure(SHORT, source=SOURCE)
        config.write_text(config.read_text().replace(str(self.folder / "state"), str(directory)))
        done = program.command("run", config, "--until", "end", environment={"RUNTIME_DIRECTORY": str(self.folder)})
        self.assertEqual(done.returncode, code, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)
        check = program.command("check", config, "--offline")
        self.assertEqual(check.returncode, 0, check.stderr)
        self.assertIn("--force", check.stderr)

    def test_a_temp_directory_is_refused(self):
        self.refused(self.folder / "state", ["/tmp", "--force"])
        self.assertFalse((self.folder / "state").exists(), "nothing is made there")

    def test_memory_is_refused(self):
        self.refused(f"/dev/shm/{self.topic}/state", ["tmpfs", "--force"])
        self.assertFalse(os.path.exists(f"/dev/shm/{self.topic}"))

    def test_a_link_to_a_temp_directory_is_refused(self):
        place = ROOT / "build" / f"link-{self.topic}"
        place.symlink_to(self.folder)
        self.addCleanup(place.unlink)
        self.refused(place / "state", ["/tmp"])

    def test_check_says_how_much_disk_it_may_take(self):
        config = self.configure(SHORT, source=SOURCE, state='checkpoint = { every = "1s", max_bytes = "1GiB" }')
        said = program.command("check", config, "--offline").stdout
        self.assertIn("takes at most", said)
        self.assertIn("1.0 GiB of checkpoints", said)


class Stall(Base):
    def test_a_start_that_does_not_move_says_so(self):
        daemon = self.make(state='checkpoint = { every = "100ms" }')
        self.read(daemon)
        daemon.wait_status(lambda status: len(status["checkpoints"]) > 1, "checkpoints")
        daemon.kill()
        # One that was being made has no manifest yet.
        whole = (daemon.state / "checkpoints").glob("*/MANIFEST.json")
        manifest = max(whole, key=lambda path: int(path.parent.name.split(".")[0]))
        newest = manifest.parent
        # Whoever opens a file that is leased to another waits, as for a dead disk.
        self.addCleanup(signal.signal, signal.SIGIO, signal.signal(signal.SIGIO, signal.SIG_IGN))
        lease = os.open(manifest, os.O_RDWR)
        fcntl.fcntl(lease, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        daemon.start()
        status = daemon.wait_status(lambda status: status["restore"]["stalled_ms"] > 0, "stalled")
        self.assertEqual(status["state"], "restoring")
        self.assertEqual(status["restore"]["phase"], "locate")
        (condition,) = [c for c in status["conditions"] if c["name"] == "restore"]
        self.assertFalse(condition["ok"])
        self.assertIn("no progress for", condition["reason"])
        self.assertRegex(daemon.get("/metrics")[1].decode(), r"sluice_restore_stalled_seconds\{[^}]*\} 1[0-9]")
        self.assertIn("the start is stalled", daemon.log())
        os.truncate(lease, 100)
        os.close(lease)
        status = daemon.wait_ready()
        self.assertEqual(status["restore"]["stalled_ms"], 0)
        self.assertEqual([r["path"] for r in status["restore"]["rejected"]], [str(newest)])
        daemon.kill()
        self.finish(daemon)


class Full(Base):
    """A state directory on a small file system of its own."""

    size = 48 << 20

    def setUp(self):
        super().setUp()
        self.mount = disk.mount_small(self, self.folder, self.size)

    def make_small(self, **options):
        config = self.configure(SHORT, source=SOURCE, **options)
        text = config.read_text().replace(str(self.folder / "state"), str(self.mount / "state"))
        config.write_text(text.replace('reserve = "1MiB"', 'reserve = "16MiB"'))
        return self.sluice(config)

    def test_input_waits_while_the_disk_is_short_and_no_savepoint_is_lost(self):
        daemon = self.make_small(state='checkpoint = { every = "200ms" }')
        self.read(daemon)
        self.take(daemon, "kept")
        before = {path.name: path.read_bytes() for path in (daemon.state / "savepoints" / "kept").iterdir()}
        filler = disk.fill(self.mount, leave=4 << 20)
        status = daemon.wait_status(
            lambda status: any(c["name"] == "disk" and not c["ok"] for c in status["conditions"]), "disk is short"
        )
        self.assertEqual(status["state"], "degraded")
        daemon.wait_status(lambda status: not status["ready"], "not ready", 30)
        refused = program.command("savepoint", daemon.config, "--name", "none", environment=daemon.environment)
        self.assertEqual(refused.returncode, 75, refused.stderr)
        self.assertIn("reserve", refused.stderr)
        refused = program.command("checkpoint", daemon.config, environment=daemon.environment)
        self.assertEqual(refused.returncode, 75, refused.stderr)
        self.assertIn("reserve", refused.stderr)
        position = sum(p["next_offset"] for p in daemon.status()["partitions"])
        self.produce(200)
        self.assertEqual(position, sum(p["next_offset"] for p in daemon.status()["partitions"]))
        filler.unlink()
        daemon.wait_ready()
        daemon.wait_read(self.ends())
        after = {path.name: path.read_bytes() for path in (daemon.state / "savepoints" / "kept").iterdir()}
        self.assertEqual(after, before)
        self.assertEqual([path.name for path in self.savepoints(daemon)], ["kept"])
        daemon.kill()
        self.finish(daemon)

    def test_a_start_on_a_full_disk_waits_for_room(self):
        daemon = self.make_small(state='checkpoint = { every = "200ms" }')
        self.read(daemon)
        daemon.kill()
        (daemon.state / "BALLAST").unlink(missing_ok=True)
        self.produce(200)
        filler = disk.fill_to_the_last_block(self.mount)
        daemon.start()
        status = daemon.wait_status(
            lambda status: any("space" in c["reason"] for c in status["conditions"]), "waits for room"
        )
        self.assertFalse(status["ready"])
        self.assertEqual(status["records_before_ready"], 0)
        (condition,) = [c for c in status["conditions"] if c["name"] == "disk"]
        self.assertFalse(condition["ok"])
        filler.unlink()
        daemon.wait_ready()
        daemon.wait_read(self.ends())
        daemon.kill()
        self.finish(daemon)

    def test_full_at_stepped_sizes_while_it_writes(self):
        daemon = self.make_small(state='checkpoint = { every = "100ms" }')
        config = pathlib.Path(daemon.config)
        # Below the reserve nothing is begun; here it is to fail in the middle of something.
        config.write_text(config.read_text().replace('reserve = "16MiB"', 'reserve = "1B"'))
        self.read(daemon)
        self.take(daemon, "kept")
        kept = bytes_of(daemon.state / "savepoints" / "kept")
        deaths = 0
        for leave in (2 << 20, 512 << 10, 200 << 10, 100 << 10, 48 << 10, 16 << 10, 0):
            filler = disk.fill(self.mount, leave=leave)
            self.produce(300)
            program.command("savepoint", daemon.config, "--name", f"at-{leave}", environment=daemon.environment)

            def noticed():
                status = daemon.status() if daemon.alive() else None
                return not daemon.alive() or (
                    status is not None
                    and (
                        any(not c["ok"] for c in status["conditions"])
                        or status["checkpoints_failed"] > 0
                        or sum(p["next_offset"] for p in status["partitions"]) == sum(self.ends().values())
                    )
                )

            waiting.until(noticed, f"the disk with {leave} bytes left is noticed", 60)
            filler.unlink()
            # What RocksDB cannot go on from ends the run; the service manager starts it again.
            if not daemon.alive() or daemon.process.poll() is not None:
                self.assertEqual(daemon.wait_exit(), 74, daemon.log_tail())
                deaths += 1
                daemon.start()
            try:
                daemon.wait_read(self.ends())
            except AssertionError:
                self.assertEqual(daemon.wait_exit(), 74, daemon.log_tail())
                deaths += 1
                daemon.start()
                daemon.wait_read(self.ends())
            daemon.wait_ready()
            for savepoint in self.savepoints(daemon):
                done = program.command("savepoint", "verify", savepoint)
                self.assertEqual(done.returncode, 0, f"half a savepoint: {done.stdout}{done.stderr}")
        self.assertEqual(bytes_of(daemon.state / "savepoints" / "kept"), kept)
        daemon.kill()
        self.finish(daemon)

    def test_the_ballast_makes_room_for_the_last_snapshot(self):
        daemon = self.make_small(state='checkpoint = { every = "1h" }')
        self.read(daemon)
        ballast = daemon.state / "BALLAST"
        waiting.until(ballast.exists, "the ballast is held", 20)
        self.assertEqual(ballast.stat().st_blocks * 512, 8 << 20)
        filler = disk.fill(self.mount, leave=0)
        self.assertEqual(daemon.terminate(), 0, daemon.log_tail())
        self.assertFalse(ballast.exists())
        (savepoint,) = self.savepoints(daemon)
        filler.unlink()
        daemon.start()
        status = self.started_from(daemon, savepoint)
        self.assertEqual(status["restore"]["replayed_records"], 0)
        self.assertEqual(daemon.terminate(), 0)
        self.finish(daemon)

    def test_savepoints_is_another_file_system(self):
        config = self.configure(SHORT, source=SOURCE)
        state = self.folder / "state"
        state.mkdir()
        (state / "savepoints").symlink_to(self.mount)
        done = program.command("run", config, "--force", environment={"RUNTIME_DIRECTORY": str(self.folder)})
        self.assertEqual(done.returncode, 73, done.stderr)
        self.assertIn("another file system", done.stderr)

    def test_from_and_to_another_file_system(self):
        folder = self.mount / "mine"
        daemon = self.make(more=f'[savepoint]\ndirectory = "{folder}"')
        self.read(daemon)
        taken = self.take(daemon, "far")
        self.assertEqual(taken["path"], str(folder / "far"))
        daemon.kill()
        other = self.make(name=f"{self.topic}-b", state_directory="b", file="b.toml", folder="b")
        other.start("--from", taken["path"])
        status = self.started_from(other, taken["path"])
        self.assertEqual(status["restore"]["phase"], "done")
        self.assertEqual(status["restore"]["bytes"], status["restore"]["total_bytes"])
        other.wait_read(self.ends())
        other.kill()
        self.assertEqual(other.run("--until", "end"), 0, other.log_tail())
        self.assertEqual(daemon.run("--until", "end"), 0, daemon.log_tail())
        found = self.database()
        mine, theirs = (
            {k[len(name) + 1 :]: v for k, v in found.items() if k.startswith(f"{name}:".encode())}
            for name in (daemon.name, other.name)
        )
        self.assertTrue(theirs)
        self.assertEqual(theirs, {key: mine[key] for key in theirs})
