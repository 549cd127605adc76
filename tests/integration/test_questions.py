"""What people ask about snapshots before they trust them: each answer is a test. tests/README.md names the
others that answer, where one was there already."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import time

from harness import daemon as program
from harness import disk, traffic, waiting
from harness.world import World
from test_change import Load
from test_savepoint import BEGIN, Base, SHORT, SOURCE, bytes_of

# A window that stays open, for as many rows as a test likes to put into it.
LONG = """
[reduce.long]
key = ["user"]
window = { tumbling = "30d" }
values = { n = "count()", q = "sum(quantity)" }
ttl = "none"
"""
COUNTED = """
[reduce.ID]
key = ["user"]
window = { tumbling = "500ms" }
time = "TIME"
values = { n = "count()", q = "sum(quantity)" }
ttl = "none"
"""
UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def unaccounted(state):
    """Files of a state directory that belong to nothing, while no checkpoint is being made."""
    found = sorted((state / "live").iterdir())[1:]
    found += state.rglob("*.partial")
    for path in (state / "checkpoints").iterdir():
        manifest = path / "MANIFEST.json"
        named = {file["name"] for file in json.loads(manifest.read_text())["files"]} if manifest.exists() else set()
        found += [file for file in path.iterdir() if file.name not in named | {"MANIFEST.json"}]
    return found


class Questions(Base):
    """No record is late here, so that two runs over the same records have the same results, however often
    one of them was interrupted."""

    def setUp(self):
        World.setUp(self)
        self.kafka.create_topic(self.topic, self.partitions)
        self.stream = traffic.Traffic(self.random, BEGIN, disorder=800, late=0)
        self.produce(600)

    def another(self, word, reductions=SHORT, **options):
        """A pipeline of its own on the same topic."""
        config = self.configure(
            reductions, source=SOURCE, name=f"{self.topic}-{word}", state_directory=word, file=f"{word}.toml", **options
        )
        return self.sluice(config, folder=word)

    def results(self, name):
        """What Redis has of one of several pipelines, without its name."""
        start = f"{name}:".encode()
        return {key[len(start):]: value for key, value in self.database().items() if key.startswith(start)}

    def as_uninterrupted(self, *daemons):
        """The same results as a run that nothing befell. None of them runs."""
        for each in daemons:
            self.assertEqual(each.run("--until", "end"), 0, each.log_tail())
        whole = self.another("whole")
        self.assertEqual(whole.run("--until", "end"), 0, whole.log_tail())
        expected = self.results(whole.name)
        self.assertTrue(expected)
        for each in daemons:
            self.assertEqual(self.results(each.name), expected)
        self.check_changes()

    def restorable(self, daemon):
        """Snapshots of which every byte is right, as the tools see them without the daemon."""
        folders = [path for kind in ("checkpoints", "savepoints") for path in (daemon.state / kind).glob("*")]
        return [path for path in folders if program.command("checkpoint", "verify", path).returncode == 0]

    # ---- after any stop, the next start goes on

    def test_after_kill_9_it_goes_on_from_a_checkpoint(self):
        daemon = self.another("killed", state='checkpoint = { every = "100ms" }')
        self.record_redis()
        self.read(daemon)
        for _ in range(3):
            newest = max(c["id"] for c in daemon.status()["checkpoints"])
            self.produce(300)
            daemon.wait_status(
                lambda status, newest=newest: max(c["id"] for c in status["checkpoints"]) > newest, "a checkpoint"
            )
            daemon.kill()
            daemon.start()
            status = daemon.wait_ready()
            self.assertEqual(pathlib.Path(status["restore"]["from"]).parent, daemon.state / "checkpoints")
            self.assertEqual(status["restore"]["rejected"], [])
        daemon.kill()
        self.as_uninterrupted(daemon)

    def test_after_every_kind_of_stop_a_snapshot_is_there(self):
        daemon = self.another("stopped")
        self.record_redis()
        for number, code in ((signal.SIGKILL, -9), (signal.SIGTERM, 0), (signal.SIGQUIT, 75), (signal.SIGINT, 0)):
            self.read(daemon)
            self.produce(200)
            daemon.process.send_signal(number)
            self.assertEqual(daemon.wait_exit(), code, daemon.log_tail())
            whole = self.restorable(daemon)
            self.assertTrue(whole, number)
            daemon.start()
            self.assertIn(pathlib.Path(daemon.wait_ready()["restore"]["from"]), whole)
            daemon.kill()
        self.as_uninterrupted(daemon)

    def test_after_power_cuts_a_snapshot_is_there(self):
        """What the file system had not written is gone, as with the power: ext4's own way to stop at once."""
        mount = disk.mount_small(self, self.folder, 64 << 20)
        config = self.configure(
            SHORT, source=SOURCE, state='checkpoint = { every = "50ms" }', name=f"{self.topic}-cut",
            state_directory=mount / "state", file="cut.toml",
        )
        # Nobody reads its journal beside it: what is read there may be gone a moment later.
        daemon = self.sluice(config, folder="cut", watch=False)
        daemon.state = mount / "state"
        self.record_redis()
        for cut in range(6):
            before = sum(self.ends().values())
            daemon.start()
            status = daemon.wait_ready()
            self.assertEqual(status["restore"]["rejected"], [], daemon.log_tail())
            if cut:
                self.assertIn(pathlib.Path(status["restore"]["from"]), whole)
            load = Load(lambda: self.produce(40))
            try:
                # An instant under way, behind a random record.
                until = before + self.random.randrange(1, 400)
                daemon.wait_status(lambda status: sum(p["next_offset"] for p in status["partitions"]) >= until, "read")
                disk.cut_power(mount)
            finally:
                load.stop()
            daemon.kill()
            disk.give_power_back(mount)
            whole = self.restorable(daemon)
            self.assertTrue(whole, f"cut {cut}")
        self.as_uninterrupted(daemon)

    # ---- no record before the state

    def large(self, rows):
        """(a savepoint of a pipeline with LONG, with so many rows put into it, one of these rows as it is there)."""
        daemon = self.another("first", SHORT + LONG)
        self.read(daemon)
        taken = self.take(daemon, "base")
        daemon.kill()
        dump = program.command("state", "dump", "--rows", taken["path"]).stdout.splitlines()
        window = next(row["window"] for row in map(json.loads, dump) if row["reduction"] == "long")
        made = [
            {"reduction": "long", "window": window, "key": [self.random.randbytes(300).hex()],
             "state": [{"count": number + 1}, {"sum": 1}]}
            for number in range(rows)
        ]
        put = program.command("state", "put", taken["path"], self.folder / "large", stdin="\n".join(map(json.dumps, made)))
        self.assertEqual(put.returncode, 0, put.stderr)
        chosen = made[self.random.randrange(rows)]
        row = self.row(program.command("state", "get", self.folder / "large", *chosen["key"]))
        self.assertEqual(row["state"][0], chosen["state"][0])
        return self.folder / "large", row

    def row(self, got):
        self.assertEqual(got.returncode, 0, got.stderr)
        (row,) = [row for row in map(json.loads, got.stdout.splitlines()) if row["reduction"] == "long"]
        return row

    def live(self, daemon, key):
        """The row that a running daemon has of a key."""
        return self.row(program.command("state", "get", daemon.name, key, environment=daemon.environment))

    def test_no_record_is_read_before_a_slow_restore_is_over(self):
        large, row = self.large(30_000)
        held = sum(self.ends().values())
        # From another file system every byte is copied.
        mount = disk.mount_small(self, self.folder, 64 << 20)
        shutil.copytree(large, mount / "savepoint")
        notices = program.Notices(str(self.folder / "notify"))
        self.addCleanup(notices.close)
        # It stops before its first instruction, and gets the processor in slices from there on: it is as slow
        # as the producer beside it likes.
        daemon = self.another("slow", SHORT + LONG)
        daemon.environment["NOTIFY_SOCKET"] = notices.path
        daemon.prefix = ["/bin/sh", "-c", 'kill -STOP $$; exec "$@"', "sh"]
        self.record_redis()
        produced, seen = 0, []
        daemon.start("--from", str(mount / "savepoint"))
        while True:
            waiting.until(lambda: self.state_of(daemon) == "T", "it stands still")
            if notices.when("READY=1"):  # said behind the last question, before it stood still
                daemon.process.send_signal(signal.SIGCONT)
                break
            self.produce(25)
            produced += 25
            daemon.process.send_signal(signal.SIGCONT)
            threads = self.threads(daemon)
            status = daemon.status()
            if status is not None:
                if status["ready"]:
                    break
                seen.append(status)
                self.assertEqual(status["records_before_ready"], 0)
                if any(c["name"] == "restore" and not c["ok"] for c in status["conditions"]):
                    self.assertIn(status["state"], ("starting", "restoring"))
                    self.assertIn(status["ledger"]["consumed"], (0, held), "what the snapshot counts, and no more")
                    # Those that read Kafka were not made yet.
                    self.assertEqual([name for name in threads if name.startswith("worker-")], [])
            daemon.expect_alive()
            if notices.when("READY=1"):
                break
            daemon.process.send_signal(signal.SIGSTOP)
        self.assertIn("restoring", {status["state"] for status in seen})
        waiting.until(lambda: notices.when("READY=1"), "READY=1 is said")
        self.assertEqual(len(notices.when("READY=1")), 1)
        print(f"{produced} records in {len(seen)} slices before the gate", flush=True)
        self.produce(400)
        status = daemon.wait_read(self.ends())
        self.assertEqual(status["restore"]["from"], str(mount / "savepoint"))
        self.assertEqual(status["records_before_ready"], 0)
        # Nothing of the snapshot was missed: neither a row that was put nor a window that was open.
        self.assertEqual(self.live(daemon, *row["key"]), row)
        self.has_fired_as_uninterrupted(daemon, "first")

    def state_of(self, daemon):
        """The letter that the kernel has for what the process does."""
        return pathlib.Path(f"/proc/{daemon.process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0]

    def threads(self, daemon):
        names = []
        for path in pathlib.Path(f"/proc/{daemon.process.pid}/task").glob("*/comm"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
                names.append(path.read_text().strip())
        return names

    def has_fired_as_uninterrupted(self, daemon, before):
        """What ran, and what it began from, have together what a run over everything has. Windows stay open."""
        whole = self.another("whole")
        self.assertEqual(whole.run("--until", "end", "--keep-open"), 0, whole.log_tail())
        expected = self.results(whole.name)
        frontier = self.redis.call("HGET", f"sluice:{whole.name}", "frontier:short")

        def fired():
            daemon.expect_alive()
            return self.redis.call("HGET", f"sluice:{daemon.name}", "frontier:short") == frontier

        waiting.until(fired, "every window that has ended is written")
        found = self.results(daemon.name)
        self.assertTrue(found)
        self.assertEqual({**self.results(f"{self.topic}-{before}"), **found}, expected)
        self.check_changes()

    def test_kills_during_a_restore_and_during_the_next_one(self):
        large, row = self.large(30_000)
        mount = disk.mount_small(self, self.folder, 64 << 20)
        savepoint = shutil.copytree(large, mount / "savepoint")
        begun, took = time.monotonic(), None
        for number in range(6):
            daemon = self.another(f"kill-{number}", SHORT + LONG)
            for _ in range(2 if took else 0):
                self.begin_again(daemon, savepoint)
                until = time.monotonic() + self.random.random() * took
                while time.monotonic() < until:
                    daemon.expect_alive()
                    daemon.status()
                daemon.kill()
            begun = time.monotonic()
            self.begin_again(daemon, savepoint)
            status = daemon.wait_ready()
            took = took or time.monotonic() - begun
            self.assertEqual(status["restore"]["rejected"], [])
            self.assertEqual(self.live(daemon, *row["key"]), row)
            if number < 5:
                daemon.kill()
                shutil.rmtree(daemon.state)
        self.has_fired_as_uninterrupted(daemon, "first")

    def begin_again(self, daemon, savepoint, **options):
        """By itself, but for a start that died before it had noted what it was to begin from."""
        noted = (daemon.state / "BEGIN").exists()
        begun = any((daemon.state / "checkpoints").glob("*/MANIFEST.json"))
        daemon.start(*([] if noted or begun else ["--from", str(savepoint)]), **options)

    def test_dying_in_the_restore_of_a_restore(self):
        large, row = self.large(100)
        daemon = self.another("again", SHORT + LONG, state='checkpoint = { every = "1h" }')
        for point in ("restore.linked", "restore.opened", "begin.noted", "restore.linked", "snapshot.linked",
                      "restore.opened", "snapshot.committed", "begin.first_checkpoint", "restore.linked",
                      "restore.opened", "restore.opened"):
            self.begin_again(daemon, large, environment={"SLUICE_FAIL_POINT": point})
            self.assertEqual(daemon.wait_exit(), -signal.SIGKILL, f"{point}\n{daemon.log_tail()}")
        self.begin_again(daemon, large)
        self.assertEqual(daemon.wait_ready()["restore"]["rejected"], [])
        self.assertEqual(self.live(daemon, *row["key"]), row)
        self.assertEqual(unaccounted(daemon.state), [])
        self.has_fired_as_uninterrupted(daemon, "first")

    def test_every_snapshot_damaged_is_65_and_each_is_named(self):
        daemon = self.another("damaged", state='checkpoint = { every = "100ms" }')
        self.read(daemon)
        self.take(daemon, "mine")
        self.produce(100)
        daemon.wait_read(self.ends())
        self.assertEqual(daemon.terminate(), 0)
        whole = self.restorable(daemon)
        self.assertGreaterEqual(len(whole), 4)
        for path in whole:
            victim = self.random.choice([file for file in path.iterdir() if file.suffix in (".sst", ".json")])
            victim.write_bytes(victim.read_bytes()[:-1])
        before = self.database()
        self.assertEqual(daemon.run("--until", "end"), 65, daemon.log_tail())
        for path in whole:
            self.assertIn(str(path), daemon.log())
        after = self.database()
        self.assertEqual({k: v for k, v in after.items() if not k.endswith(b":fence")},
                         {k: v for k, v in before.items() if not k.endswith(b":fence")})

    # ---- put a value in, and get it back

    def test_a_value_put_in_is_there_after_kill_9_and_is_counted_on(self):
        daemon = self.another("first", SHORT + LONG)
        self.read(daemon)
        taken = self.take(daemon, "base")
        daemon.kill()
        dump = program.command("state", "dump", "--rows", taken["path"]).stdout.splitlines()
        window = next(row["window"] for row in map(json.loads, dump) if row["reduction"] == "long")
        row = {"reduction": "long", "window": window, "key": ["put by hand"], "state": [{"count": 1000}, {"sum": 77}]}
        edited = self.folder / "edited"
        put = program.command("state", "put", taken["path"], edited, stdin=json.dumps(row))
        self.assertEqual(put.returncode, 0, put.stderr)
        other = self.another("other", SHORT + LONG)
        other.start("--from", str(edited))
        other.wait_ready()
        other.kill()
        shutil.rmtree(edited)
        other.start()
        other.wait_ready()
        self.assertEqual(self.counted(other), (1000, "77"))
        with self.kafka.producer() as producer:
            value = {"user": "put by hand", "at": self.stream.now, "quantity": 3}
            producer.send(self.topic, json.dumps(value).encode(), partition=0)
            producer.flush()
        other.wait_read(self.ends())
        self.assertEqual(self.counted(other), (1001, "80"))
        self.assertEqual(other.terminate(), 0)
        # Without the daemon, and without its file.
        (savepoint,) = self.savepoints(other)
        os.unlink(other.config)
        dumped = program.command("state", "dump", savepoint)
        self.assertEqual(dumped.returncode, 0, dumped.stderr)
        self.assertIn('"put by hand"', dumped.stdout)
        again = program.command("state", "import", self.folder / "again", stdin=dumped.stdout)
        self.assertEqual(again.returncode, 0, again.stderr)
        self.assertEqual(program.command("state", "dump", self.folder / "again").stdout, dumped.stdout)

    def counted(self, daemon):
        count, total = self.live(daemon, "put by hand")["state"]
        return count["count"], total["sum"]["total"]

    # ---- the disk

    def test_a_disk_that_fills_up_while_a_savepoint_is_completed(self):
        large, row = self.large(30_000)
        mount = disk.mount_small(self, self.folder, 96 << 20)
        daemon = self.another("full", SHORT + LONG, more='[savepoint]\nrate = "4MiB"')
        config = pathlib.Path(daemon.config)
        config.write_text(config.read_text().replace(str(self.folder / "full"), str(mount / "state")))
        daemon = self.sluice(config, folder="full")
        daemon.start("--from", str(large))
        daemon.wait_ready()
        daemon.wait_read(self.ends())
        daemon.process.send_signal(signal.SIGUSR1)
        status = daemon.wait_status(lambda status: status["completion"]["bytes"], "a savepoint is being completed")
        filler = disk.fill(mount, leave=0)
        daemon.wait_status(lambda status: not status["ready"], "not ready")
        (savepoint,) = self.savepoints(daemon)
        self.assertIn(savepoint, self.restorable(daemon))
        self.assertFalse(self.no_links(savepoint), "it was complete before the disk was full")
        before = bytes_of(savepoint)
        daemon.kill()
        filler.unlink()
        daemon.start()
        daemon.wait_ready()
        self.produce(100)
        daemon.wait_read(self.ends())
        waiting.until(lambda: self.no_links(savepoint), "the savepoint stands alone", 30)
        self.assertEqual(bytes_of(savepoint), before)
        self.assertEqual(self.live(daemon, *row["key"]), row)
        self.has_fired_as_uninterrupted(daemon, "first")


class Year(Base):
    """Very many checkpoints and kills on one disk, with windows of event time and of processing time."""

    CHECKPOINTS = int(os.environ.get("SLUICE_CHECKPOINTS", "350"))  # 10000: ten minutes
    KILLS = 10
    KEEP = 3

    def taken_up(self, folder):
        """(bytes, files): what several names share counts once. Files may go while it counts."""
        inodes, files = {}, 0
        for place, _, names in os.walk(folder):
            for name in names:
                try:
                    about = os.lstat(os.path.join(place, name))
                except FileNotFoundError:
                    continue
                inodes[about.st_ino] = about.st_size
                files += 1
        return sum(inodes.values()), files

    def ceilings(self, config):
        """What `sluice check` says of the disk: (of the directory but for twice the live state, of checkpoints and
        one that is being made)."""
        said = program.command("check", config, "--offline").stdout
        size = r"([0-9.]+) ([KMG]?i?B)"
        found = re.search(
            rf"takes at most {size} of disk \({size} of checkpoints, .*; {size} of one that is being made;"
            " .* and twice the live state",
            said,
        )
        self.assertIsNotNone(found, said)
        everything, kept, made = (float(found[i]) * UNITS[found[i + 1]] for i in (1, 3, 5))
        return everything, kept + made

    def test_hundreds_of_checkpoints_and_kills_stay_below_the_ceiling(self):
        reductions = "".join(COUNTED.replace("ID", time).replace("TIME", time) for time in ("event", "processing"))
        config = self.configure(
            reductions, source=SOURCE, sink='result_retention = "1s"', dead_letter='max_bytes = "1MiB"',
            state=f'checkpoint = {{ every = "10ms", keep = {self.KEEP}, max_bytes = "2MiB" }}',
        )
        everything, checkpoints = self.ceilings(config)
        daemon = self.sluice(config)
        self.record_redis()
        total, steady = 0, None
        self.each = (max(self.CHECKPOINTS // self.KILLS - 15, 5), self.CHECKPOINTS // self.KILLS + 15)
        for _ in range(self.KILLS):
            daemon.start()
            first = newest = max((c["id"] for c in daemon.wait_ready()["checkpoints"]), default=0)
            target, files = first + self.random.randrange(*self.each), []
            while newest < target:
                self.produce(10)
                newest = max((c["id"] for c in daemon.wait_ready()["checkpoints"]), default=first)
                live, _ = self.taken_up(daemon.state / "live")
                size, count = self.taken_up(daemon.state)
                self.assertLess(size, everything + 2 * live)
                self.assertLess(self.taken_up(daemon.state / "checkpoints")[0], checkpoints)
                # One is being made, and one is going.
                self.assertLessEqual(len(os.listdir(daemon.state / "checkpoints")), self.KEEP + 2)
                self.assertEqual(len(os.listdir(daemon.state / "live")), 1)
                if newest > first + self.KEEP:
                    files.append(count)
            daemon.kill()
            total += newest - first
            steady = steady or max(files)
            # How many tables there are depends on where compaction stands; what nobody knows of is looked
            # for at the end.
            self.assertLess(min(files), 2 * steady, "kills leave files behind")
            print(f"{newest - first} checkpoints, {min(files)} to {max(files)} files, {size} bytes", flush=True)
        print(f"{total} checkpoints, {self.KILLS} kills", flush=True)
        self.finish(daemon)
        self.assertEqual(unaccounted(daemon.state), [])
        self.assertEqual(len(os.listdir(daemon.state / "checkpoints")), self.KEEP)
