#!/usr/bin/python3
"""The daemon beside a bare librdkafka drain of the same topic, from a real Kafka into a real Redis.

Two jobs. `ysb`: the Yahoo Streaming Benchmark, preloaded, in event time, views per campaign and 10 s.
`clicks`: the 15-second job, count() and sum(price * quantity) per user in processing time. Each run reads
the topic from its beginning (`run --until end`) with checkpoints on; what Redis holds is compared with the
exact answer. Runs of drain and daemon alternate, and each ratio is of two runs next to each other: the
machine's speed drifts, the ratio does not. A run may end before the first checkpoint is due; more of them:
`--set state.checkpoint.every=2s`.

CPU is user + system time of the whole process, from its start to its end. Exit 1 if a result is wrong.
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
import threading
import time

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "kafka")]

from harness import daemon, kafka, redis  # noqa: E402

PROGRAMS = pathlib.Path(daemon.BINARY).parent / "bench"
RATIO_TARGET, RSS_TARGET_MIB, PAUSE_TARGET_US = 2.5, 400, 1000

CLICKS = """
name = "clicks"
[source]
brokers = "set by --set"
topic   = "clicks"
start   = "earliest"
[reduce.spend]
key    = ["user_id"]
window = { tumbling = "15s" }
time   = "processing"
values = { clicks = "count()", spend = "sum(price * quantity)" }
write  = "HSET spend:{user_id}:{window.start} clicks {clicks} spend {spend}"
ttl    = "1h"
[sink]
redis = "redis://localhost"
"""


class Wrong(Exception):
    """A result that is not exact, or a run that did not end well."""


# ---- judging


def scan(client):
    """All keys, some thousand at a time."""
    cursor = "0"
    while True:
        cursor, keys = client.call("SCAN", cursor, "COUNT", "5000")
        yield [key for key in keys if not key.startswith(b"sluice:")]
        if cursor == b"0":
            return


def read_answer(path):
    with open(path, encoding="ascii") as file:
        for line in file:
            yield line.split()


def check_ysb(client, answer):
    expected = {f"ysb:{campaign}:{start}".encode(): views.encode() for campaign, start, views in read_answer(answer)}
    total = 0
    for keys in scan(client):
        found = client.pipeline(("HGET", key, "seen_count") for key in keys)
        for key, views in zip(keys, found):
            if expected.pop(key, None) != views:
                raise Wrong(f"{key.decode()}: seen_count {views}")
            total += 1
    if expected:
        raise Wrong(f"{len(expected)} windows are missing, for instance {next(iter(expected))}")
    return total


def check_clicks(client, answer):
    """Which window a click falls into, a clock decides: over all of them, each user's sums are exact."""
    expected = {f"{user}".encode(): (int(clicks), int(cents)) for user, clicks, cents in read_answer(answer)}
    sums = dict.fromkeys(expected, (0, 0))
    total = 0
    for keys in scan(client):
        found = client.pipeline(("HMGET", key, "clicks", "spend") for key in keys)
        for key, (clicks, spend) in zip(keys, found):
            user = key.split(b":")[1]
            whole, _, part = spend.partition(b".")
            cents = int(whole) * 100 + int(part.ljust(2, b"0"))
            before = sums[user]
            sums[user] = (before[0] + int(clicks), before[1] + cents)
            total += 1
    if sums != expected:
        user = next(user for user in expected if sums[user] != expected[user])
        raise Wrong(f"{user.decode()}: (clicks, cents) {sums[user]}, exact {expected[user]}")
    return total


# ---- running


def measured(process):
    """(exit code, CPU seconds) of a child that is ending."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_utime + usage.ru_stime


def peak_rss_mib(process):
    """Up to now; 0 when it has ended. What wait4() tells counts the memory of this script, too: a child begins
    with its parent's."""
    try:
        status = pathlib.Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    except OSError:
        return 0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0)


class Watch(threading.Thread):
    """Looks at a run while it lasts."""

    def __init__(self, instance):
        super().__init__(name="watch", daemon=True)
        self.instance = instance
        self.pauses = {}  # by checkpoint
        self.rss = 0
        self.over = threading.Event()

    def run(self):
        while not self.over.wait(0.2):
            self.rss = max(self.rss, peak_rss_mib(self.instance.process))
            status = self.instance.status()
            if status is not None:
                for checkpoint in status["checkpoints"]:
                    # Those of the start seal nothing.
                    if checkpoint["pause_us"] > 0:
                        self.pauses[checkpoint["id"]] = checkpoint["pause_us"]


class Job:
    def __init__(self, name, records, partitions, check, text):
        self.name, self.records, self.partitions, self.check, self.text = name, records, partitions, check, text
        self.topic = {"ysb": "ad-events", "clicks": "clicks"}[name]
        self.runs = []


class Bench:
    def __init__(self, options):
        self.options = options
        build = ROOT / "build"
        build.mkdir(exist_ok=True)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="bench-", dir=build))
        # A Unix socket's name is short.
        self.short = pathlib.Path(tempfile.mkdtemp(prefix="sluice-bench-", dir="/tmp"))
        self.kafka = kafka.Broker(self.folder / "kafka", heap="1g")
        self.redis = redis.Server(self.short)

    def close(self):
        self.redis.stop()
        self.kafka.stop(kill=True, remove=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.short, ignore_errors=True)

    def say(self, text):
        print(text, file=sys.stderr if self.options.json else sys.stdout, flush=True)

    def answer(self, job):
        return self.folder / f"{job.name}.answer"

    def load(self, job):
        begun = time.monotonic()
        self.kafka.create_topic(job.topic, job.partitions)
        words = [PROGRAMS / "load", job.name, "--brokers", self.kafka.brokers, "--topic", job.topic]
        words += ["--answer", self.answer(job), "--records", str(job.records), "--seed", str(self.options.seed)]
        words += ["--partitions", str(job.partitions), "--users", str(self.options.users)]
        done = subprocess.run(words, check=True, capture_output=True, text=True)
        mean = int(done.stdout) / job.records
        self.say(
            f"\n{job.name}: {job.records:,} records of {mean:.0f} bytes in {job.partitions} partitions"
            f" ({time.monotonic() - begun:.0f} s to load)"
        )

    def drain(self, job):
        words = [PROGRAMS / "bare_drain", "--brokers", self.kafka.brokers, "--topic", job.topic]
        words += ["--partitions", str(job.partitions), "--api", self.options.api]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        said = process.stdout.read()
        code, cpu = measured(process)
        if code != 0 or json.loads(said)["records"] != job.records:
            raise Wrong(f"the drain ended with {code}: {said}")
        return {"cpu": cpu, "seconds": json.loads(said)["seconds"]}

    def daemon(self, job):
        self.redis.call("FLUSHALL")
        place = self.folder / f"{job.name}-{len(job.runs)}"
        place.mkdir()
        config = place / f"{job.name}.toml"
        config.write_text(job.text)
        instance = daemon.Daemon(place, config, job.name)
        # A control socket needs a short name, too.
        instance.runtime = self.short
        instance.socket_path = str(self.short / "control.sock")
        instance.environment["RUNTIME_DIRECTORY"] = str(self.short)
        watch = Watch(instance)
        begun = time.monotonic()
        options = ["--until", "end"]
        for setting in (
            f"source.brokers={self.kafka.brokers}", f"sink.redis={self.redis.url}",
            f"state.directory={place / 'state'}", "http.listen=off", *self.options.set,
        ):
            options += ["--set", setting]
        instance.start(*options)
        watch.start()
        code, cpu = measured(instance.process)
        seconds = time.monotonic() - begun
        watch.over.set()
        watch.join()
        if code != 0:
            raise Wrong(f"the daemon ended with {code}\n{instance.log_tail()}")
        client = self.redis.client()
        try:
            results = job.check(client, self.answer(job))
        finally:
            client.close()
        state = sum(path.stat().st_size for path in (place / "state").rglob("*") if path.is_file())
        shutil.rmtree(place)
        return {
            "cpu": cpu, "rss": watch.rss, "seconds": seconds, "results": results,
            "pause_us": max(watch.pauses.values(), default=None), "checkpoints": len(watch.pauses),
            "state_mib": state / 2**20,
        }

    def measure(self, job):
        self.load(job)
        self.say(
            "  pair   bare µs/record   daemon µs/record   ratio   daemon records/s   RSS MiB"
            "   pause µs (checkpoints)   results"
        )
        for number in range(self.options.pairs):
            runs = {}
            for what in (("drain", "daemon") if number % 2 == 0 else ("daemon", "drain")):
                runs[what] = getattr(self, what)(job)
            for run in runs.values():
                run["us_per_record"] = run["cpu"] / job.records * 1e6
            runs["ratio"] = runs["daemon"]["cpu"] / runs["drain"]["cpu"]
            job.runs.append(runs)
            mine = runs["daemon"]
            pause = "-" if mine["pause_us"] is None else f"{mine['pause_us']:,}"
            self.say(
                f"  {number + 1:4} {runs['drain']['us_per_record']:16.3f} {mine['us_per_record']:18.3f}"
                f" {runs['ratio']:7.2f} {job.records / mine['seconds']:18,.0f} {mine['rss']:9.0f}"
                f" {pause:>10} ({mine['checkpoints']}) {mine['results']:18,} exact"
            )

    def summary(self, job):
        daemons = [runs["daemon"] for runs in job.runs]
        pauses = [run["pause_us"] for run in daemons if run["pause_us"] is not None]
        return {
            "job": job.name,
            "records": job.records,
            "pairs": len(job.runs),
            "bare_us_per_record": statistics.median(runs["drain"]["us_per_record"] for runs in job.runs),
            "daemon_us_per_record": statistics.median(run["us_per_record"] for run in daemons),
            "ratio": statistics.median(runs["ratio"] for runs in job.runs),
            "daemon_records_per_second": statistics.median(job.records / run["seconds"] for run in daemons),
            "peak_rss_mib": max(run["rss"] for run in daemons),
            "checkpoints": sum(run["checkpoints"] for run in daemons),
            "longest_pause_us": max(pauses, default=None),
            "results": daemons[-1]["results"],
        }

    def tell(self, summary):
        def against(value, target, unit, digits=0):
            if value is None:
                return f"none seen (target < {target}{unit})"
            return f"{value:,.{digits}f}{unit} (target {'≤' if digits else '<'} {target}{unit})"

        ysb = summary["job"] == "ysb"
        self.say(
            f"\n{summary['job']}: median of {summary['pairs']}: bare drain {summary['bare_us_per_record']:.3f}"
            f" µs/record, daemon {summary['daemon_us_per_record']:.3f} µs/record,"
            f" {summary['daemon_records_per_second']:,.0f} records/s"
        )
        ratio = summary["ratio"]
        self.say(f"  daemon / bare drain: {against(ratio, RATIO_TARGET, '', 2) if ysb else f'{ratio:.2f}'}")
        self.say(f"  peak RSS: {against(summary['peak_rss_mib'], RSS_TARGET_MIB, ' MiB')}")
        self.say(
            f"  longest pause of {summary['checkpoints']} checkpoints:"
            f" {against(summary['longest_pause_us'], PAUSE_TARGET_US, ' µs')}"
        )

    def run(self):
        self.redis.start()
        self.kafka.start()
        ysb = (ROOT / "config" / "examples" / "ysb.toml").read_text()
        jobs = [Job("ysb", self.options.records, self.options.partitions, check_ysb, ysb)]
        jobs += [Job("clicks", self.options.clicks, self.options.partitions, check_clicks, CLICKS)]
        jobs = [job for job in jobs if job.records > 0]
        for job in jobs:
            self.measure(job)
        summaries = [self.summary(job) for job in jobs]
        for summary in summaries:
            self.tell(summary)
        if self.options.json:
            print(json.dumps({"jobs": summaries, "runs": {job.name: job.runs for job in jobs}}))


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=10_000_000, help="of ysb; 0: without it (%(default)s)")
    parser.add_argument("--clicks", type=int, default=5_000_000, help="records of clicks; 0: without it (%(default)s)")
    parser.add_argument("--users", type=int, default=1_000_000, help="of clicks (%(default)s)")
    parser.add_argument("--pairs", type=int, default=5, help="runs of drain and daemon, each (%(default)s)")
    parser.add_argument("--partitions", type=int, default=8)
    parser.add_argument("--api", choices=["callback", "batch"], default="callback", help="of the drain (%(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for the daemon")
    parser.add_argument("--json", action="store_true", help="print all numbers as JSON; talk goes to stderr")
    return parser.parse_args()


def main():
    bench = Bench(parse())
    try:
        bench.run()
    except (Wrong, FileNotFoundError, ChildProcessError) as failure:
        print(f"end_to_end: {failure}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as failure:
        print(f"end_to_end: {failure}\n{failure.stderr}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        bench.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
