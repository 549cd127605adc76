"""The storm: the daemon is killed with -9 again and again, and Redis ends up as the oracle says.

SLUICE_STORM_KILLS: how often, per job (32).
"""

import collections
import json
import os
import signal
import threading
import time

from harness import daemon as program
from harness import traffic
from harness.world import World
from oracle import database, journal

BEGIN = 1_714_521_600_000
KILLS = int(os.environ.get("SLUICE_STORM_KILLS", "32"))
PARTITIONS = 4


def fail_points():
    """Every named point of the program."""
    said = program.command("version", "--verbose", "--json")
    if said.returncode != 0:
        raise AssertionError(said.stderr)
    points = json.loads(said.stdout)["fail_points"]
    if not points:
        raise AssertionError("the program names no fail points")
    return points


class Producer(threading.Thread):
    """Produces until stopped; one partition rests for long stretches, so that it becomes idle."""

    def __init__(self, world, stream, seed):
        super().__init__(name="producer")
        import random

        self.world, self.stream = world, stream
        self.random = random.Random(seed)
        self.failure = None
        self._over = threading.Event()

    def run(self):
        try:
            with self.world.kafka.producer() as producer:
                turn = 0
                while not self._over.wait(0.04):
                    turn += 1
                    partitions = PARTITIONS if turn // 40 % 2 else PARTITIONS - 1
                    traffic.produce(
                        self.world.kafka, self.world.topic, partitions, self.stream, 20, self.random, producer=producer
                    )
                    producer.flush()
        except Exception as failure:  # told by finish()
            self.failure = failure

    def finish(self):
        self._over.set()
        self.join()
        if self.failure is not None:
            raise self.failure


class Storm(World):
    def storm(self, reductions, source, stream):
        self.kafka.create_topic(self.topic, PARTITIONS)
        config = self.configure(
            reductions, source=source, steps=traffic.STEPS, state='checkpoint = { every = "300ms" }',
            sink='result_retention = "2s"', more="[threads]\nworkers = 2",
        )
        daemon = self.sluice(config)
        self.record_redis()
        points = fail_points()
        producer = Producer(self, stream, self.seed)
        producer.start()
        lives = []  # of (how it was to end, ready, seconds)
        try:
            while len(lives) < KILLS:
                lives.append(self.life(daemon, points))
        finally:
            producer.finish()
        kinds = collections.Counter(entry.kind for entry in daemon.journal.entries())
        print(f"{len(lives)} kills, {sum(ready for _, ready, _ in lives)} of them behind the gate; barriers: "
              + ", ".join(f"{kinds[kind]} {name}" for name, kind in journal.KINDS.items()), flush=True)
        for life in lives:
            print("  {}, {} the gate, {:.2f} s".format(life[0], "behind" if life[1] else "before", life[2]))
        self.assertGreater(sum(ready for _, ready, _ in lives), KILLS // 4)
        outcome = self.finish(daemon)
        print(f"{outcome.records} records, {len(outcome.results)} results, {self.recorder.writes} writes", flush=True)
        daemon.start()
        self.check_ledgers(daemon.wait_ready(), self.outcome(daemon))
        self.assertEqual(daemon.terminate(), 0)
        return outcome

    def life(self, daemon, points):
        """One run of the daemon, until it is killed or kills itself at a named point."""
        r = self.random
        environment, how = {}, "at an instant"
        if r.random() < 0.25:
            how = f"{r.choice(points)}:{r.choice([1, 1, 2, 3, 7])}"
            environment = {"SLUICE_FAIL_POINT": how}
        begun = time.monotonic()
        # Either an instant of the start, or one of the running.
        early = r.random() < 0.3
        until = begun + (r.random() * 0.5 if early else 3.0)
        daemon.start(environment=environment)
        ready = False
        while time.monotonic() < until and daemon.alive():
            status = daemon.status()
            if status is not None:
                self.check_status(status)
                if status["ready"] and not ready:
                    ready = True
                    until = time.monotonic() + r.random() * 1.5 if not early else until
            time.sleep(0.005)
        if not daemon.alive() and daemon.process.returncode != -9:
            self.fail(f"ended with {daemon.process.returncode} by itself\n{daemon.log_tail()}")
        daemon.kill()
        return how, ready, time.monotonic() - begun

    def test_event_time(self):
        # Event time at the pace of the clock, a partition that rests, records beyond the cap: so that cuts,
        # caps and idleness are in the journal, too.
        source = 'timestamp = "at"\nout_of_order = "1s"\nidle_after = "400ms"\nmax_future_skew = "5s"\n'
        begin = int(time.time() * 1000) - 3000
        stream = traffic.Traffic(self.random, begin, step=2, disorder=700, early=0.003)
        self.storm(traffic.reductions(lateness="700ms", short=True), source, stream)

    def test_processing_time(self):
        outcome = self.storm(
            traffic.reductions("processing", short=True), traffic.SOURCE, traffic.Traffic(self.random, BEGIN)
        )
        counted = sum(result.values["n"] for result in outcome.results if result.reduction == "all")
        self.assertEqual(counted, outcome.ledger["reached"])


class Points(World):
    def test_dying_at_every_named_point(self):
        self.kafka.create_topic(self.topic, 2)
        stream = traffic.Traffic(self.random, BEGIN)
        options = {
            "source": traffic.SOURCE, "steps": traffic.STEPS, "state": 'checkpoint = { every = "100ms", keep = 1 }',
            "sink": 'result_retention = "0s"',
        }
        # Keys that name their pipeline: several share one Redis here.
        reductions = (traffic.SPEND + traffic.ALL).replace("TIME", "event")
        daemon = self.sluice(self.configure(reductions, **options))
        self.record_redis()
        never = []
        # Those of the offline tools: test_tools.Points.
        points = [point for point in fail_points() if not point.startswith(("export.", "import."))]
        for number, point in enumerate(points):
            traffic.produce(self.kafka, self.topic, 2, stream, 150, self.random)
            if self.dies(daemon, point, stream):
                continue
            # Perhaps one of a first start.
            name = f"{self.topic}-{number}"
            config = self.configure(
                reductions, **options, name=name, file=f"{name}.toml", state_directory=f"state-{number}"
            )
            first = self.sluice(config, folder=f"first-{number}")
            # Or of a lineage that takes over the results of another one.
            if not self.dies(first, point, stream) and not self.dies(first, point, stream, "--fresh", "--yes"):
                never.append(point)
                continue
            first.journal.stop()
            self.finish_beside(first)
        # A journal forgets segments of 8 MiB: JournalDeathTest.DyingBeforeASegmentIsForgotten. A start from a
        # savepoint: test_savepoint.Savepoint.test_dying_while_it_begins_from_a_savepoint. One that moves to a
        # folder of the user's: CompletionTest.ACrashAnywhereLosesNothing. An edit of the file:
        # test_change.Change.test_a_kill_before_and_after_the_edit.
        elsewhere = [
            "journal.before_forget",
            "reload.delivered",
            "reload.journaled",
            "savepoint.renamed",
            "savepoint.transferred",
        ]
        self.assertEqual(never, elsewhere, "points that were never passed")
        self.finish_beside(daemon)

    def dies(self, daemon, point, stream, *options):
        daemon.start(*options, environment={"SLUICE_FAIL_POINT": point})
        begun = time.monotonic()
        fed, first = 0, None
        while daemon.alive() and time.monotonic() < begun + 30:
            status = daemon.status()
            if status is not None and status["ready"]:
                # Checkpoints, results and a journal that is forgotten: what a run goes through.
                taken = max((checkpoint["id"] for checkpoint in status["checkpoints"]), default=0)
                first = taken if first is None else first
                if fed == 4 and taken > first + 3:
                    break
                if fed == 0:
                    daemon.process.send_signal(signal.SIGUSR1)
                if fed < 4:
                    traffic.produce(self.kafka, self.topic, 2, stream, 40, self.random)
                    fed += 1
            time.sleep(0.02)
        died = not daemon.alive()
        if died:
            self.assertEqual(daemon.process.returncode, -9, f"{point}\n{daemon.log_tail()}")
        daemon.kill()
        print(f"{point}: {'died' if died else 'not passed'} in {time.monotonic() - begun:.2f} s", flush=True)
        return died

    def finish_beside(self, daemon):
        """As finish(), where several pipelines share one Redis."""
        self.assertEqual(daemon.run("--until", "end"), 0, daemon.log_tail())
        outcome = self.outcome(daemon)
        self.assertTrue(outcome.database)
        prefix = f"{daemon.name}:".encode()
        mine = {key: value for key, value in self.database().items() if key.startswith(prefix)}
        self.assertEqual(database.differences(outcome.database, mine, daemon.name), [])
        self.check_control(daemon, outcome)
        self.check_changes()
