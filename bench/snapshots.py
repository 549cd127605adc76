#!/usr/bin/python3
"""What snapshots cost, and how long a restart takes: the numbers of docs/SNAPSHOTS.md.

restart and pause   For each size a state of so many GiB in one table is made (state_tool seed), begun from with
                    `run --from`, and folded into while checkpoints are taken: the longest time that a worker
                    waited for one. Then kill -9, the page cache emptied, and a start: from the beginning of the
                    process to the open gate.
throughput          A topic is drained with checkpoints and without, in turns. Every interval dirties all users.
latency             Fold latency while records come at a steady rate: its 99th percentile while one savepoint after
                    the other is taken and completed, by that of the turns between, in which none is.
written             Bytes written for a checkpoint by bytes of the rows that it is of; compaction apart.
copies              Files of a savepoint copied, and a restore from another file system (where this machine lets
                    us mount one), beside a bare ring that writes and reads as many bytes.

Ratios are of one run. Exit 1 if a goal is missed with --strict, or if something does not work.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "kafka"), str(ROOT / "bench")]

from end_to_end import Wrong, measured  # noqa: E402
from harness import daemon, kafka, metrics, redis, waiting  # noqa: E402

PROGRAMS = pathlib.Path(daemon.BINARY).parent / "bench"
GIB = 1 << 30
WINDOW_MS = 30 * 86_400_000
PAUSE_US, RESTART_MS, RESTART_MS_PER_FILE, LOSS, WRITTEN, COPY_GIB = 1000, 500, 0.1, 0.05, 1.5, 0.5
LATENCY = 2

CONFIG = """
name = "snap"
[source]
brokers = "{brokers}"
topic   = "{topic}"
start   = "earliest"
[reduce.spend]
key    = ["user_id"]
window = {{ tumbling = "30d" }}
time   = "processing"
values = {{ clicks = "count()", spend = "sum(price * quantity)" }}
ttl    = "1h"
[sink]
redis = "{redis}"
[state]
directory  = "{state}"
checkpoint = {{ every = "{every}" }}
reserve    = "64MiB"
[savepoint]
on_stop = {on_stop}
[http]
listen = "off"
"""


class Bench:
    def __init__(self, options):
        self.options = options
        build = ROOT / "build"
        build.mkdir(exist_ok=True)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="bench-", dir=build))
        self.short = pathlib.Path(tempfile.mkdtemp(prefix="sluice-bench-", dir="/tmp"))
        self.kafka = kafka.Broker(self.folder / "kafka", heap="1g")
        self.redis = redis.Server(self.short)
        self.instances = 0
        self.mount = None
        self.results = {}
        self.missed = []

    def close(self):
        self.redis.stop()
        self.kafka.stop(kill=True, remove=True)
        if self.mount is not None:
            subprocess.run(["umount", "-l", str(self.mount)], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.short, ignore_errors=True)

    def say(self, text):
        print(text, file=sys.stderr if self.options.json else sys.stdout, flush=True)

    def goal(self, what, value, most=None, least=None):
        good = value <= most if most is not None else value >= least
        if not good:
            self.missed.append(what)
        return ("" if good else "MISSED: ") + (f"goal <= {most:g}" if most is not None else f"goal >= {least:g}")

    def tool(self, *words):
        done = subprocess.run([PROGRAMS / "state_tool", *map(str, words)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Wrong(done.stderr.strip())
        return json.loads(done.stdout)

    def load(self, topic, records):
        words = [PROGRAMS / "load", "clicks", "--brokers", self.kafka.brokers, "--topic", topic, "--answer", os.devnull]
        words += ["--records", records, "--users", self.options.users, "--partitions", self.options.partitions]
        subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True)

    def instance(self, topic, every, state=None, on_stop=False):
        self.instances += 1
        place = self.folder / f"run-{self.instances}"
        place.mkdir()
        config = place / "snap.toml"
        config.write_text(CONFIG.format(
            brokers=self.kafka.brokers, topic=topic, redis=self.redis.url, state=state or place / "state",
            every=every, on_stop=str(on_stop).lower(),
        ))
        one = daemon.Daemon(place, config, "snap")
        one.runtime = self.short  # a Unix socket's name is short
        one.socket_path = str(self.short / "control.sock")
        one.environment["RUNTIME_DIRECTORY"] = str(self.short)
        one.place = place
        one.state = pathlib.Path(state or place / "state")
        return one

    def empty_page_cache(self):
        os.sync()
        try:
            pathlib.Path("/proc/sys/vm/drop_caches").write_text("3", encoding="ascii")
        except OSError:
            return False
        return True

    # ---- a savepoint of the daemon's own, which seeded ones are made like

    def make_base(self):
        self.kafka.create_topic("base", self.options.partitions)
        self.load("base", self.options.users)
        one = self.instance("base", "10s", on_stop=True)
        one.start()
        one.wait_ready()
        one.wait_status(lambda s: s["ledger"]["consumed"] >= self.options.users, "all is read", 120)
        if one.terminate() != 0:
            raise Wrong(one.log_tail())
        (savepoint,) = (one.state / "savepoints").iterdir()
        self.base = self.folder / "base"
        savepoint.rename(self.base)
        shutil.rmtree(one.place)

    def seed(self, to, gib):
        end = (int(time.time() * 1000) // WINDOW_MS + 1) * WINDOW_MS
        return self.tool(
            "seed", self.base, to, "--reduction", "spend", "--window-end", end, "--bytes", int(gib * GIB)
        )

    # ---- restart and pause

    def restart_and_pause(self):
        self.say(
            "\n      GiB   files   --from s   pause µs (checkpoints)   restart ms   ms per file over 500 ms   (restarts)"
        )
        rows = self.results["states"] = []
        for gib in self.options.sizes:
            seeded = self.folder / "seeded"
            self.seed(seeded, gib)
            one = self.instance("base", "2s")
            one.start("--from", str(seeded))
            began = one.wait_ready(900)["restore"]["duration_ms"] / 1000
            pauses = {}

            def see(one=one, pauses=pauses):
                for checkpoint in one.status()["checkpoints"]:
                    if checkpoint["pause_us"] > 0:
                        pauses[checkpoint["id"]] = checkpoint["pause_us"]

            for _ in range(self.options.rounds):
                self.load("base", self.options.users // 2)
                count = len(pauses)
                waiting.until(lambda count=count: see() or len(pauses) > count, "a checkpoint", 120)
            shutil.rmtree(seeded)
            restarts = []
            for _ in range(3):
                one.kill()
                cold = self.empty_page_cache()
                one.start()
                restarts.append(one.wait_ready(300)["restore"]["duration_ms"])
                files = sum(1 for path in (one.state / "live").rglob("*.sst"))
            one.kill()
            shutil.rmtree(one.place)
            row = {
                "gib": gib, "files": files, "from_seconds": began, "pause_us": max(pauses.values()),
                "checkpoints": len(pauses), "restart_ms": statistics.median(restarts), "restarts": restarts, "cold": cold,
            }
            rows.append(row)
            allowed = RESTART_MS + RESTART_MS_PER_FILE * files
            self.say(
                f"  {gib:7g} {files:7} {began:10.2f} {row['pause_us']:10,} ({row['checkpoints']:2})"
                f" {row['restart_ms']:21,.0f} {max(0, row['restart_ms'] - RESTART_MS) / files:25.2f}   {restarts}"
                f"{'' if cold else ', page cache warm'}"
            )
            self.say(
                f"          pause: {self.goal(f'pause at {gib} GiB', row['pause_us'], most=PAUSE_US)} µs;"
                f" restart: {self.goal(f'restart at {gib} GiB', row['restart_ms'], most=allowed)} ms"
            )

    # ---- throughput

    def drain(self, every):
        one = self.instance("drain", every)
        begun = time.monotonic()
        one.start("--until", "end", "--keep-open")
        code, cpu = measured(one.process)
        seconds = time.monotonic() - begun
        if code != 0:
            raise Wrong(one.log_tail())
        shutil.rmtree(one.place)
        self.redis.call("FLUSHALL")
        return {"seconds": seconds, "cpu": cpu}

    def throughput(self):
        records = self.options.records
        self.kafka.create_topic("drain", self.options.partitions)
        self.load("drain", records)
        pairs = []
        self.say(f"\n  {records:,} records of {self.options.users:,} users: s (CPU s) with checkpoints, without")
        for number in range(self.options.pairs):
            turns = ("10s", "1h") if number % 2 == 0 else ("1h", "10s")
            run = {every: self.drain(every) for every in turns}
            pairs.append(run)
            self.say("  " + "   ".join(f"{run[e]['seconds']:7.2f} ({run[e]['cpu']:6.2f})" for e in ("10s", "1h")))
        loss = statistics.median(1 - run["1h"]["seconds"] / run["10s"]["seconds"] for run in pairs)
        cpu = statistics.median(1 - run["1h"]["cpu"] / run["10s"]["cpu"] for run in pairs)
        self.results["throughput"] = {"pairs": pairs, "loss": loss, "cpu": cpu}
        self.say(f"  throughput loss {loss:.1%} of time, {cpu:.1%} of CPU; {self.goal('throughput loss', loss, most=LOSS)}")

    # ---- latency

    def fold_latency(self, one):
        return metrics.Histogram.read(one.get("/metrics")[1].decode(), "sluice_fold_latency_seconds")

    def savepoint(self, one, name):
        """Taken, completed by copies, and removed."""
        for words, shared in (
            (("savepoint", one.config, "--name", name), [0]), (("savepoint", "delete", one.config, name), [])
        ):
            done = daemon.command(*words, environment=one.environment, timeout=300)
            if done.returncode != 0:
                raise Wrong(done.stderr)
            one.wait_status(
                lambda s, shared=shared: [c["shared_bytes"] for c in s["checkpoints"] if c["kind"] == "savepoint"] == shared,
                "the savepoint is complete", 300,
            )

    def latency(self):
        options = self.options
        seeded = self.folder / "seeded"
        self.seed(seeded, options.latency_gib)
        one = self.instance("base", "2s")
        one.start("--from", str(seeded))
        one.wait_ready(900)
        shutil.rmtree(seeded)
        words = [PROGRAMS / "load", "clicks", "--brokers", self.kafka.brokers, "--topic", "base", "--answer", os.devnull]
        words += ["--records", 1 << 40, "--rate", options.rate, "--linger-ms", 5, "--users", options.users]
        words += ["--partitions", options.partitions]
        self.say(
            f"\n  {options.latency_gib:g} GiB of state, {options.rate:,} records/s;"
            " fold latency, p50 and p99 ms (ranges folded) with savepoints, without"
        )
        turns, taken = [], 0
        with subprocess.Popen([str(word) for word in words]) as load:
            try:
                one.wait_status(lambda s: s["rates"]["records_per_second"] > options.rate / 2, "the load is there")
                for number in range(options.turns):
                    turn = {}
                    for what in ("with", "without") if number % 2 == 0 else ("without", "with"):
                        before, until = self.fold_latency(one), time.monotonic() + options.turn_seconds
                        while time.monotonic() < until:
                            if what == "with":
                                taken += 1
                                self.savepoint(one, f"turn-{taken}")
                            else:
                                time.sleep(0.1)
                        turn[what] = self.fold_latency(one) - before
                    turns.append(turn)
                    self.say("  " + "   ".join(self.latency_line(turn[what]) for what in ("with", "without")))
            finally:
                load.kill()
        one.kill()
        shutil.rmtree(one.place)
        ratio = statistics.median(turn["with"].quantile(0.99) / turn["without"].quantile(0.99) for turn in turns)
        whole = {what: sum((turn[what] for turn in turns), metrics.Histogram({})) for what in ("with", "without")}
        self.results["latency"] = {
            "ratio": ratio, "savepoints": taken,
            **{what: {"p50_ms": h.quantile(0.5) * 1e3, "p99_ms": h.quantile(0.99) * 1e3, "ranges": h.count}
               for what, h in whole.items()},
        }
        self.say("  all turns: " + "   ".join(self.latency_line(whole[what]) for what in ("with", "without")))
        self.say(
            f"  p99 with {taken} savepoints by p99 without, median of {len(turns)} turns: {ratio:.2f}"
            f" ({self.goal('fold latency under savepoints', ratio, most=LATENCY)})"
        )

    @staticmethod
    def latency_line(histogram):
        return f"{histogram.quantile(0.5) * 1e3:7.3f} {histogram.quantile(0.99) * 1e3:8.3f} ({histogram.count:6,})"

    # ---- bytes

    def written(self):
        found = self.tool("dirty", self.folder / "dirty", "--keys", self.options.users, "--rounds", 5)
        shutil.rmtree(self.folder / "dirty")
        self.results["written"] = found
        self.say(f"\n  {found['keys']:,} keys dirtied in each of {found['rounds']} intervals; MiB")
        for family in ("long", "brief"):
            one = found[family]
            ratio = one["written"] / one["dirtied"]
            self.say(
                f"  {family:5} windows: {one['dirtied'] >> 20:5} dirtied, {one['written'] >> 20:5} written: {ratio:.2f}"
                f" ({self.goal(f'bytes of {family} windows', ratio, most=WRITTEN)});"
                f" with what was compacted meanwhile {one['written_and_compacted'] >> 20}"
            )

    # ---- copies

    def another_file_system(self, gib):
        """An ext4 on a loop device, or None."""
        image, mount = self.folder / "other.img", self.folder / "other"
        mount.mkdir()
        with open(image, "wb") as file:
            file.truncate(int((gib * 1.2 + 1) * GIB))
        subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", image], check=True)
        if subprocess.run(["mount", "-o", "loop", image, mount], check=False, capture_output=True).returncode != 0:
            return None
        self.mount = mount
        return mount

    def copies(self):
        gib = self.options.copy_gib
        seeded = self.folder / "seeded"
        made = self.seed(seeded, gib)
        rates = {}
        raw = self.folder / "raw"
        for _ in range(2):
            for what, words in (("bare write", ("write", raw, "--bytes", made["bytes"])), ("bare read", ("read", raw))):
                rates.setdefault(what, []).append(self.tool(*words)["gib_per_second"])
            raw.unlink()
            self.empty_page_cache()
            rates.setdefault("copy of a savepoint", []).append(self.tool("copy", seeded, self.folder / "copied")["gib_per_second"])
            shutil.rmtree(self.folder / "copied")
        here = self.instance("base", "1h")
        self.empty_page_cache()
        here.start("--from", str(seeded))
        seconds = here.wait_ready(900)["restore"]["duration_ms"] / 1000
        rates["restore, same file system"] = [made["bytes"] / GIB / seconds]
        here.kill()
        shutil.rmtree(here.place)
        mount = self.another_file_system(gib)
        if mount is None:
            self.say("  this machine does not let us mount a file system: no restore from another one")
        else:
            there = self.instance("base", "1h", state=mount / "state")
            self.empty_page_cache()
            there.start("--from", str(seeded))
            seconds = there.wait_ready(900)["restore"]["duration_ms"] / 1000
            rates["restore, another file system"] = [made["bytes"] / GIB / seconds]
            there.kill()
        write, read = max(rates["bare write"]), max(rates["bare read"])
        # Reading and writing share one device; of that, a copy is to leave little.
        device = write * read / (write + read)
        self.results["copies"] = {**rates, "device": device}
        self.say(f"\n  {made['bytes'] / GIB:.2f} GiB in {made['files']} files; GiB/s")
        for what, each in rates.items():
            goal = "" if what.startswith("bare") else self.goal(what, max(each), least=min(COPY_GIB, 0.8 * device))
            self.say(f"  {what:30} {max(each):6.2f}   {goal}")
        self.say(f"  what the device can copy       {device:6.2f}")

    def run(self):
        self.redis.start()
        self.kafka.start()
        if {"restart", "latency", "copies"} & set(self.options.what):
            self.make_base()
        for what, measure in (
            ("restart", self.restart_and_pause), ("throughput", self.throughput), ("latency", self.latency),
            ("written", self.written), ("copies", self.copies),
        ):
            if what in self.options.what:
                measure()
        if self.missed:
            self.say("\nmissed: " + ", ".join(self.missed))
        if self.options.json:
            print(json.dumps({**self.results, "missed": self.missed}))


ALL = ["restart", "throughput", "latency", "written", "copies"]


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", help=f"{', '.join(ALL)}; all of them")
    parser.add_argument("--sizes", type=float, nargs="+", default=[0.1, 1, 4, 10, 16], help="GiB of state (0.1 1 4 10 16)")
    parser.add_argument("--rounds", type=int, default=4, help="checkpoints under load for each size (%(default)s)")
    parser.add_argument("--records", type=int, default=36_000_000, help="of throughput (%(default)s)")
    parser.add_argument("--users", type=int, default=1_000_000, help="keys (%(default)s)")
    parser.add_argument("--pairs", type=int, default=2, help="runs with and without checkpoints (%(default)s)")
    parser.add_argument("--latency-gib", type=float, default=1, help="of state under savepoints (%(default)s)")
    parser.add_argument("--rate", type=int, default=100_000, help="records per second under savepoints (%(default)s)")
    parser.add_argument("--turns", type=int, default=7, help="with and without savepoints (%(default)s)")
    parser.add_argument("--turn-seconds", type=float, default=4, help="the least length of one (%(default)s)")
    parser.add_argument("--copy-gib", type=float, default=2, help="of copies (%(default)s)")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--strict", action="store_true", help="exit 1 if a goal is missed")
    parser.add_argument("--json", action="store_true", help="print all numbers as JSON; talk goes to stderr")
    options = parser.parse_args()
    options.what = options.what or ALL
    if wrong := set(options.what) - set(ALL):
        parser.error(f"{', '.join(sorted(wrong))}: not one of {', '.join(ALL)}")
    return options


def main():
    bench = Bench(parse())
    try:
        bench.run()
    except (Wrong, FileNotFoundError, ChildProcessError, waiting.TimedOut, AssertionError) as failure:
        print(f"snapshots: {failure}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as failure:
        print(f"snapshots: {failure}\n{failure.stderr}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        bench.close()
    return 1 if bench.missed and bench.options.strict else 0


if __name__ == "__main__":
    sys.exit(main())
