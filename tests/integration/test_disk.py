"""Where a state may lie, and what happens when its disk fills up."""

import os
import pathlib

from harness import daemon as program
from harness import disk
from harness import waiting
from test_savepoint import Base, SHORT, SOURCE

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
        self.started_from(other, taken["path"])
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
