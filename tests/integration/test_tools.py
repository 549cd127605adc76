"""The tools over snapshots, on what a real daemon has written."""

import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

from harness import disk, traffic
from harness.daemon import BINARY, ROOT, command
from harness.world import World

BEGIN = 1_714_521_600_000
REDUCTIONS = """
[reduce.all]
key = ["country", "user"]
window = { tumbling = "5s" }
values = { n = "count()", q = "sum(quantity)", p = "sum(price)", mean = "mean(price)", lo = "min(price)", hi = "max(user)", f = "first(price)", l = "last(user)" }
ttl = "none"

[reduce.ratio]
key = ["user"]
window = { tumbling = "1h" }
values = { n = "count()", each = "sum(quantity) / count()" }
ttl = "none"
"""
SOURCE = 'timestamp = "at"\nout_of_order = "1s"\n'
READER = ROOT / "docs" / "read_savepoint.py"
GOLDEN = ROOT / "tests" / "golden" / "format-1"


class Tools(World):
    def setUp(self):
        super().setUp()
        self.kafka.create_topic(self.topic, 2)
        self.stream = traffic.Traffic(self.random, BEGIN)
        traffic.produce(self.kafka, self.topic, 2, self.stream, 2000, self.random)

    def tool(self, *words, code=0, **options):
        done = command(*words, **options)
        self.assertEqual(done.returncode, code, f"{words}: {done.stderr}{done.stdout[:500]}")
        return done

    def run_daemon(self, until="end"):
        """A daemon that has read everything, still running; its newest checkpoint."""
        daemon = self.sluice(self.configure(REDUCTIONS, source=SOURCE), watch=True)
        daemon.start()
        daemon.wait_ready()
        daemon.wait_read(self.ends())
        return daemon

    def newest(self, daemon):
        self.tool("checkpoint", daemon.name, environment={"RUNTIME_DIRECTORY": str(daemon.runtime)})
        folder = daemon.state / "checkpoints"
        return max((path for path in folder.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))

    def kept_checkpoint(self):
        """A checkpoint of a daemon that has ended, in a directory of its own."""
        daemon = self.run_daemon()
        kept = self.folder / "kept"
        shutil.copytree(self.newest(daemon), kept)
        daemon.terminate()
        return kept

    def test_dump_import_export_agree_byte_for_byte(self):
        snapshot = self.kept_checkpoint()
        before = {path.name: path.read_bytes() for path in snapshot.iterdir()}
        dump = self.tool("state", "dump", snapshot).stdout
        self.assertGreater(len(dump.splitlines()), 20)
        self.tool("state", "import", self.folder / "again", stdin=dump)
        self.assertEqual(self.tool("state", "dump", self.folder / "again").stdout, dump)
        for codec in ("none", "zstd"):
            stream = self.folder / f"{codec}.sluice"
            self.tool("savepoint", "export", snapshot, stream, "--compression", codec)
            self.tool("savepoint", "verify", stream)
            self.assertEqual(self.tool("state", "dump", stream).stdout, dump)
            self.tool("savepoint", "import", stream, self.folder / codec)
            self.tool("savepoint", "verify", self.folder / codec)
            self.assertEqual(self.tool("state", "dump", self.folder / codec).stdout, dump)
            self.tool("state", "diff", snapshot, self.folder / codec)
            self.assertEqual(self.read_with_python(stream), self.without_expressions(dump))
        # Through a pipe.
        piped = subprocess.run(
            f"'{BINARY}' savepoint export '{snapshot}' - | '{BINARY}' savepoint import - '{self.folder}/piped'",
            shell=True,
            capture_output=True,
            check=False,
        )
        self.assertEqual(piped.returncode, 0, piped.stderr)
        self.assertEqual(self.tool("state", "dump", self.folder / "piped").stdout, dump)
        self.assertEqual({path.name: path.read_bytes() for path in snapshot.iterdir()}, before)
        self.assertEqual([path for path in self.folder.iterdir() if path.suffix == ".partial"], [])

    def test_a_key_is_found_in_a_stream_and_what_needs_a_snapshot_says_so(self):
        rows = [json.loads(line) for line in (GOLDEN / "dump.jsonl").read_text().splitlines()][1:]
        wanted = next(row["key"] for row in rows if all(isinstance(part, str) for part in row["key"]))
        for stream in (GOLDEN / "zstd.sluice", *GOLDEN.parent.glob("stream-*/zstd.sluice")):
            found = self.tool("state", "get", stream, *wanted).stdout.splitlines()
            self.assertEqual([json.loads(line) for line in found], [row for row in rows if row["key"] == wanted])
            self.tool("state", "get", stream, "nobody at all", code=1)
            for words in (("diff", stream, stream), ("delete", stream, self.folder / "new", "--reduction", "all")):
                self.assertIn("`sluice savepoint import`", self.tool("state", *words, code=65).stderr)

    def test_the_page_is_enough_for_streams_of_every_version(self):
        dump = (GOLDEN / "dump.jsonl").read_text()
        expected = re.sub(r',"share":[^}]*', "", dump)
        for folder in (GOLDEN, *GOLDEN.parent.glob("stream-*")):
            for codec in ("none", "zstd"):
                self.assertEqual(self.read_with_python(folder / f"{codec}.sluice"), expected, folder.name)
                self.assertEqual(self.tool("state", "dump", folder / f"{codec}.sluice").stdout, dump)

    def read_with_python(self, stream):
        done = subprocess.run(
            [sys.executable, READER, stream], capture_output=True, text=True, check=False, env={**os.environ}
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def without_expressions(self, dump):
        """What a reader without an evaluator of expressions can know."""
        lines = []
        for line in dump.splitlines(keepends=True):
            at = line.find(',"each":')
            lines.append(line if at < 0 else line[:at] + "}}\n")
        return "".join(lines)

    def test_the_dump_is_what_redis_will_get(self):
        daemon = self.run_daemon()
        snapshot = self.newest(daemon)
        rows = [json.loads(line) for line in self.tool("state", "dump", "--rows", snapshot).stdout.splitlines()]
        daemon.terminate()
        self.finish(daemon)  # closes every window, and judges Redis by the oracle
        client = self.redis.client()
        self.addCleanup(client.close)
        for row in rows:
            if row["reduction"] != "all":
                continue
            key = ":".join([daemon.name, "all", *row["key"], str(row["window"]["start"])])
            flat = client.call("HGETALL", key)
            stored = dict(zip(flat[::2], flat[1::2]))
            self.assertEqual(int(stored[b"n"]), row["result"]["n"], key)
            self.assertEqual(stored[b"hi"].decode(), row["result"]["hi"], key)

    def test_get_live_and_from_a_snapshot(self):
        daemon = self.run_daemon()
        snapshot = self.newest(daemon)
        rows = [json.loads(line) for line in self.tool("state", "dump", "--rows", snapshot).stdout.splitlines()]
        wanted = next(row["key"] for row in rows if row["reduction"] == "ratio")
        expected = [row for row in rows if row["key"] == wanted]
        offline = self.tool("state", "get", snapshot, *wanted).stdout
        self.assertEqual([json.loads(line) for line in offline.splitlines()], expected)
        live = self.tool(
            "state", "get", daemon.name, *wanted, environment={"RUNTIME_DIRECTORY": str(daemon.runtime)}
        ).stdout
        self.assertEqual(live, offline)
        self.tool("state", "get", snapshot, "nobody at all", code=1)
        daemon.terminate()
        self.tool("state", "get", daemon.name, *wanted, code=69, environment={"RUNTIME_DIRECTORY": str(daemon.runtime)})

    def test_put_and_delete_make_new_savepoints(self):
        snapshot = self.kept_checkpoint()
        rows = [json.loads(line) for line in self.tool("state", "dump", "--rows", snapshot).stdout.splitlines()]
        row = next(row for row in rows if row["reduction"] == "ratio")
        row["state"] = [{"count": 1000}, {"sum": 5}]
        del row["result"]
        self.tool("state", "put", snapshot, self.folder / "put", stdin=json.dumps(row))
        found = self.tool("state", "diff", snapshot, self.folder / "put", code=1).stdout.splitlines()
        self.assertEqual(len(found), 1)
        self.assertEqual(json.loads(found[0])["b"][0], {"count": 1000})
        said = json.loads(self.tool("savepoint", "inspect", "--json", self.folder / "put").stdout)
        self.assertEqual((said["kind"], said["provenance"]), ("savepoint", "edited"))
        words = [word for part in row["key"] for word in ("--key", part)]
        self.tool("state", "delete", snapshot, self.folder / "less", "--reduction", "ratio", *words)
        gone = self.tool("state", "diff", snapshot, self.folder / "less", code=1).stdout.splitlines()
        self.assertEqual([json.loads(line)["change"] for line in gone], ["removed"] * len(gone))
        self.assertEqual(len(gone), sum(r["key"] == row["key"] and r["reduction"] == "ratio" for r in rows))
        self.tool("state", "delete", snapshot, self.folder / "none", "--reduction", "ratio", "--key", "nobody", code=1)
        self.assertFalse((self.folder / "none").exists())
        self.tool("state", "put", snapshot, self.folder / "put", code=73, stdin="")
        self.tool("state", "put", snapshot, self.folder / "bad", code=65, stdin="{}\n")

    def test_damage_is_65_and_names_the_file(self):
        snapshot = self.kept_checkpoint()
        self.assertIn("whole", self.tool("checkpoint", "verify", snapshot).stdout)
        for path in sorted(snapshot.iterdir()):
            whole = path.read_bytes()
            place = self.random.randrange(len(whole))
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            self.assertIn(path.name, self.tool("checkpoint", "verify", snapshot, code=65).stderr)
            path.write_bytes(whole[:place])
            self.assertIn(path.name, self.tool("savepoint", "verify", snapshot, code=65).stderr)
            path.unlink()
            self.assertIn(path.name, self.tool("savepoint", "verify", snapshot, code=65).stderr)
            path.symlink_to("/etc/hostname")
            self.assertIn(path.name, self.tool("savepoint", "verify", snapshot, code=65).stderr)
            path.unlink()
            path.write_bytes(whole)
        self.tool("savepoint", "verify", snapshot)
        self.tool("savepoint", "verify", self.folder / "nowhere", code=66)

    def test_all_of_a_state_are_verified_at_once(self):
        daemon = self.run_daemon()
        newest = self.newest(daemon)
        daemon.kill()
        said = json.loads(self.tool("checkpoint", "verify", daemon.state, "--json").stdout)
        self.assertIn(str(newest), [one["path"] for one in said])
        self.assertTrue(all(one["ok"] for one in said))
        table = next(newest.glob("*.sst"))
        data = bytearray(table.read_bytes())
        data[len(data) // 2] ^= 1
        table.unlink()  # it is linked from others
        table.write_bytes(data)
        for what in (daemon.state, daemon.state / "checkpoints"):
            done = self.tool("checkpoint", "verify", what, code=65)
            self.assertIn(table.name, done.stderr)
            self.assertIn("whole", done.stdout)

    def test_streams_come_through_pipes_and_snapshots_through_links(self):
        kept = self.kept_checkpoint()
        stream = self.folder / "stream"
        self.tool("savepoint", "export", kept, stream)
        (self.folder / "latest").symlink_to(kept)
        dump = self.tool("state", "dump", kept).stdout
        self.assertEqual(self.tool("state", "dump", self.folder / "latest").stdout, dump)
        self.tool("savepoint", "verify", self.folder / "latest")
        pipe = self.folder / "pipe"
        os.mkfifo(pipe)
        for words in (("state", "dump", pipe), ("savepoint", "verify", pipe), ("savepoint", "inspect", pipe),
                      ("savepoint", "import", pipe, self.folder / "made")):
            with subprocess.Popen(["cp", stream, pipe]):
                done = self.tool(*words)
        self.assertEqual(self.tool("state", "dump", self.folder / "made").stdout, dump)
        with subprocess.Popen(["cp", stream, pipe]):
            self.assertEqual(self.tool("state", "dump", pipe).stdout, dump)
        self.assertTrue(done.stdout)

    def test_du_and_list(self):
        daemon = self.run_daemon()
        self.newest(daemon)
        traffic.produce(self.kafka, self.topic, 2, self.stream, 500, self.random)
        daemon.wait_read(self.ends())
        newest = self.newest(daemon)
        daemon.terminate()
        usage = json.loads(self.tool("state", "du", "--json", daemon.state).stdout)
        by_path = {entry["path"]: entry for entry in usage["snapshots"]}
        self.assertGreater(by_path[str(newest)]["shared"], 0)
        for path, entry in by_path.items():
            files = [file.stat() for file in pathlib.Path(path).iterdir()]
            self.assertEqual(entry["exclusive"], sum(f.st_size for f in files if f.st_nlink == 1), path)
            self.assertEqual(entry["shared"], sum(f.st_size for f in files if f.st_nlink > 1), path)
        listed = json.loads(self.tool("checkpoint", "list", "--json", daemon.state).stdout)
        self.assertEqual(
            {entry["path"] for entry in listed if entry["kind"] == "checkpoint"},
            {path for path in by_path if "/checkpoints/" in path},
        )

    def test_a_start_from_an_edited_snapshot(self):
        snapshot = self.kept_checkpoint()
        rows = [json.loads(line) for line in self.tool("state", "dump", "--rows", snapshot).stdout.splitlines()]
        row = next(row for row in rows if row["reduction"] == "ratio")
        row["state"] = [{"count": 100_000}, {"sum": 100_000}]
        del row["result"]
        edited, moved = self.folder / "edited", self.folder / "moved"
        self.tool("state", "put", snapshot, edited, stdin=json.dumps(row))
        # By a stream, as to another machine, under another name.
        self.tool("savepoint", "export", edited, self.folder / "stream")
        self.tool("savepoint", "import", self.folder / "stream", moved)
        name = f"{self.topic}-b"
        other = self.sluice(
            self.configure(REDUCTIONS, source=SOURCE, name=name, file="b.toml", state_directory="b"), folder="b"
        )
        self.assertEqual(other.run("--from", str(moved), "--until", "end"), 0, other.log_tail())
        client = self.redis.client()
        self.addCleanup(client.close)
        flat = client.call("HGETALL", ":".join([name, "ratio", *row["key"], str(row["window"]["start"])]))
        self.assertEqual(dict(zip(flat[::2], flat[1::2]))[b"n"], b"100000")
        # The next start is like any other: what it takes from there on is its own.
        self.assertEqual(other.run("--until", "end"), 0, other.log_tail())
        # It was no candidate of its own accord, and it is as it was.
        self.tool("savepoint", "verify", moved)


class Points(World):
    """kill -9 at each named step of export and import, on the golden savepoint."""

    def points(self):
        listed = json.loads(command("version", "--verbose", "--json").stdout)["fail_points"]
        return [point for point in listed if point.startswith(("export.", "import."))]

    def killed(self, point, *words, stdin=None):
        done = command(*words, environment={"SLUICE_FAIL_POINT": point}, stdin=stdin)
        self.assertEqual(done.returncode, -9, f"{point}: {done.stderr}")

    def test_export(self):
        points = [point for point in self.points() if point.startswith("export.")]
        self.assertGreaterEqual(len(points), 5)
        snapshot, stream = GOLDEN / "savepoint", self.folder / "stream"
        for point in points:
            self.killed(point, "savepoint", "export", snapshot, stream)
            if stream.exists():
                self.assertEqual(command("savepoint", "verify", stream).returncode, 0, point)
            else:
                done = command("savepoint", "export", snapshot, stream)
                self.assertEqual(done.returncode, 0, f"{point}: {done.stderr}")
            self.assertEqual([path.name for path in self.folder.glob("stream*")], ["stream"])
            self.assertEqual(command("state", "dump", stream).stdout, (GOLDEN / "dump.jsonl").read_text())
            stream.unlink()

    def test_import(self):
        points = [point for point in self.points() if point.startswith("import.")]
        self.assertGreaterEqual(len(points), 6)
        made, dump = self.folder / "made", (GOLDEN / "dump.jsonl").read_text()
        for words, stdin in (
            (("savepoint", "import", GOLDEN / "zstd.sluice", made), None),
            (("state", "import", made), dump),
        ):
            for point in points:
                self.killed(point, *words, stdin=stdin)
                if made.exists():
                    self.assertEqual(command("savepoint", "verify", made).returncode, 0, point)
                else:
                    done = command(*words, stdin=stdin)
                    self.assertEqual(done.returncode, 0, f"{point}: {done.stderr}")
                self.assertEqual([path.name for path in self.folder.glob("made*")], ["made"])
                self.assertEqual(command("state", "dump", made).stdout, dump)
                shutil.rmtree(made)

    def test_rocksdb_reads_the_tables(self):
        rows = [json.loads(line) for line in (GOLDEN / "dump.jsonl").read_text().splitlines()[1:]]
        found = 0
        for table in sorted((GOLDEN / "savepoint").glob("*.sst")):
            for what in ("verify", "check"):
                done = self.foreign("sst_dump", f"--file={table}", f"--command={what}")
                self.assertNotIn("orrupt", done)
            keys = re.findall("^'([0-9A-F]+)' seq", self.foreign("sst_dump", f"--file={table}", "--command=scan", "--output_hex"), re.M)
            found += sum(not key.startswith("00000000") for key in keys)
        self.assertEqual(found, len(rows))
        copy = self.folder / "copy"  # ldb writes a log beside what it reads
        shutil.copytree(GOLDEN / "savepoint", copy)
        for family, name in (("default", "all"), ("short", "short")):
            lines = self.foreign("ldb", f"--db={copy}", f"--column_family={family}", "--hex", "scan").splitlines()
            keys = [line for line in lines if line.startswith("0x") and not line.startswith("0x00000000")]
            self.assertEqual(len(keys), sum(row["reduction"] == name for row in rows))

    def foreign(self, *words):
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_a_newer_version_is_named(self):
        stream = bytearray((GOLDEN / "none.sluice").read_bytes())
        stream[8] = 99
        (self.folder / "newer").write_bytes(stream)
        done = command("savepoint", "import", self.folder / "newer", self.folder / "made")
        self.assertEqual(done.returncode, 65)
        self.assertIn("written by a newer Sluice: format 99", done.stderr)


class FullDisk(unittest.TestCase):
    """What export and import leave on a file system that is too small for them."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        lines = (GOLDEN / "dump.jsonl").read_text().splitlines()[:1]
        for number in range(40_000):
            key = hashlib.sha256(str(number).encode()).hexdigest()
            lines.append(json.dumps({"reduction": "short", "window": {"end": 2000}, "key": [key], "state": [{"count": number}, {"sum": 1}]}))
        self.tool("state", "import", self.folder / "big", stdin="\n".join(lines))
        self.tool("savepoint", "export", self.folder / "big", self.folder / "stream")
        self.mount = disk.mount_small(self, self.folder, 24 << 20)

    def tool(self, *words, stdin=None):
        done = command(*words, stdin=stdin)
        self.assertEqual(done.returncode, 0, f"{words}: {done.stderr}")

    def each_size(self, needed, target, *words):
        """The failure lands in each phase: the room grows by steps until the tool succeeds."""
        steps, left = 0, 0
        while True:
            filler = disk.fill(self.mount, left)
            there = sorted(path.name for path in self.mount.iterdir())
            done = command(*words)
            if done.returncode == 0:
                break
            self.assertEqual(done.returncode, 73, f"with {left} bytes: {done.stderr}")
            self.assertRegex(done.stderr, "space|full")
            self.assertEqual(sorted(path.name for path in self.mount.iterdir()), there, f"with {left} bytes")
            filler.unlink()
            steps, left = steps + 1, left + needed // 8
            self.assertLess(left, 4 * needed, "it never fits")
        self.assertGreaterEqual(steps, 6)
        self.tool("savepoint", "verify", target)

    def test_export_onto_a_full_disk(self):
        size = (self.folder / "stream").stat().st_size
        self.each_size(size, self.mount / "x", "savepoint", "export", self.folder / "big", self.mount / "x")
        self.assertEqual((self.mount / "x").read_bytes(), (self.folder / "stream").read_bytes())

    def test_import_onto_a_full_disk(self):
        size = sum(path.stat().st_size for path in (self.folder / "big").iterdir())
        self.each_size(size, self.mount / "x", "savepoint", "import", self.folder / "stream", self.mount / "x")
        self.tool("state", "diff", self.folder / "big", self.mount / "x")
