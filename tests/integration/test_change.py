"""Edits of the configuration, at a restart and while the daemon runs."""

import json
import pathlib
import re
import signal
import threading

from harness import daemon as program
from harness import traffic, waiting
from harness.world import World
from oracle import journal, settings

BEGIN = 1_714_521_600_000
SOURCE = 'timestamp = "at"\nout_of_order = "1s"\nidle_after = "2s"\n'
STEPS = """
[[step]]
filter = "kind != 'noise'"
"""
BEFORE = """
[reduce.spend]
key = ["user"]
window = { tumbling = "5s" }
values = { n = "count()", q = "sum(quantity)", low = "min(quantity)" }
ttl = "none"
"""
OTHER = """
[reduce.views]
key = ["kind"]
window = { tumbling = "4s" }
values = { n = "count()" }
ttl = "none"
"""
# A value goes, one comes (first in the list), a filter comes, a reduction comes.
AFTER = """
[reduce.spend]
filter = "quantity > 1"
key = ["user"]
window = { tumbling = "5s" }
values = { high = "max(quantity)", n = "count()", q = "sum(quantity)" }
ttl = "none"
"""

PLANNED = """\
1: step.1: live
    before  filter kind != 'noise'
    kept    all state; windows that are open keep what they hold, records from then on follow the new text
    do      sluice reload NAME
13: reduce.spend.filter: live
    after   quantity > 1
    kept    all state of spend; windows that are open keep what they hold, records from then on follow the new text
    do      sluice reload NAME
16: reduce.spend.values.high: new, starts empty
    after   max(quantity)
    kept    every other value of spend; complete = 0 until its first whole window
    do      sluice reload NAME
16: reduce.spend.values.low: migrates
    before  min(quantity)
    kept    every other value of spend
    lost    this value
    do      sluice reload NAME
19: reduce.views: new, starts empty
    after   [reduce.views]
    kept    what others hold
    do      sluice reload NAME
37: log.level: restart
    before  info
    after   debug
    kept    all state
    do      restart NAME
39: threads.workers: live
    before  0
    after   1
    kept    all state
    do      sluice reload NAME
"""


class Load:
    """Somebody goes on producing."""

    def __init__(self, produce):
        self._produce = produce
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self._thread.start()

    def _run(self):
        while not self._stop.wait(0.05):
            self._produce()

    def stop(self):
        self._stop.set()
        self._thread.join()


class Change(World):
    def setUp(self):
        super().setUp()
        self.kafka.create_topic(self.topic, 2)
        self.stream = traffic.Traffic(self.random, BEGIN, late=0, users=["u1", "u2", "u3"])

    def produce(self, count):
        traffic.produce(self.kafka, self.topic, 2, self.stream, count, self.random)

    def write(self, reductions, steps=STEPS, **options):
        return self.configure(reductions, source=SOURCE, steps=steps, **options)

    def edit(self, instance, reductions, **options):
        """The file changes; the oracle knows what was before."""
        instance.former_rules = [*getattr(instance, "former_rules", []), instance.rules]
        instance.rules = settings.load(self.write(reductions, **options))

    def reloads(self, instance):
        return [entry for entry in instance.journal.entries() if entry.kind == journal.RELOAD]

    def reload(self, daemon):
        return program.command(
            "reload", daemon.config, "--wait", environment={"RUNTIME_DIRECTORY": str(daemon.runtime)}
        )

    def plan(self, *options):
        return program.command("plan", str(self.folder / "pipeline.toml"), *options)

    def test_an_edit_takes_over_where_the_records_of_a_final_result_are_gone(self):
        for end in ("end", "live"):
            with self.subTest(end):
                daemon = self.sluice(
                    self.write(BEFORE, state='checkpoint = { every = "1h" }', name=f"{self.topic}-{end}",
                               state_directory=f"state-{end}"),
                )
                self.produce(600)
                daemon.start()
                daemon.wait_read(self.ends())
                daemon.wait_status(lambda status: (status["reductions"][0]["frontier"] or 0) > BEGIN, "results")
                daemon.kill()
                self.write(AFTER, state='checkpoint = { every = "1h" }', name=daemon.name, state_directory=f"state-{end}")
                with self.kafka.admin() as admin:
                    admin.delete_records(self.topic, 1, self.ends()[self.topic, 1])
                if end == "end":
                    self.assertEqual(daemon.run("--until", "end", "--accept-gap", timeout=60), 0, daemon.log_tail())
                else:
                    daemon.start("--accept-gap")
                    daemon.wait_status(lambda status: not status["config_stale"], "ready again")
                    waiting.until(lambda daemon=daemon: self.reloads(daemon), "the edit takes over")
                    self.assertEqual(daemon.terminate(), 0)
                self.assertEqual(len(self.reloads(daemon)), 1)
                daemon.journal.stop()

    def test_an_edit_at_a_restart_takes_over_at_one_barrier(self):
        daemon = self.sluice(self.write(BEFORE))
        self.record_redis()
        self.produce(600)
        daemon.start()
        daemon.wait_read(self.ends())
        self.assertEqual(daemon.terminate(), 0)
        self.edit(daemon, AFTER + OTHER, steps="")
        self.produce(600)
        daemon.start()
        daemon.wait_read(self.ends())
        self.wait_judged(daemon)
        self.assertEqual(daemon.terminate(), 0)
        self.assertEqual(len(self.reloads(daemon)), 1)
        outcome = self.finish(daemon)
        of_spend = [result for result in outcome.results if result.reduction == "spend"]
        self.assertTrue(any("low" in result.values for result in of_spend))
        self.assertEqual({True, False}, {result.complete for result in of_spend if "high" in result.values})

    def test_a_kill_before_and_after_the_edit(self):
        daemon = self.sluice(self.write(BEFORE, state='checkpoint = { every = "1h" }'))
        self.record_redis()
        self.produce(600)
        daemon.start()
        daemon.wait_read(self.ends())
        daemon.kill()
        self.edit(daemon, AFTER, steps="", state='checkpoint = { every = "1h" }')
        self.produce(300)
        # Dies on the way, once behind each step that makes the reload durable.
        for point in ("reload.journaled", "reload.delivered", "snapshot.committed", "restore.opened"):
            daemon.start(environment={"SLUICE_FAIL_POINT": f"{point}:1"})
            daemon.wait_exit()
        daemon.start()
        daemon.wait_read(self.ends())
        daemon.kill()
        self.produce(300)
        self.finish(daemon)
        self.assertEqual(len(self.reloads(daemon)), 1)

    def test_hup_and_reload_apply_while_it_runs(self):
        daemon = self.sluice(self.write(BEFORE))
        self.record_redis()
        daemon.start()
        daemon.wait_ready()
        self.produce(600)
        daemon.wait_read(self.ends())
        self.edit(daemon, AFTER)
        self.assertEqual(self.reload(daemon).returncode, 0)
        self.produce(300)
        daemon.wait_read(self.ends())
        self.wait_judged(daemon)
        # One that breaks state is refused, one with a mistake is invalid; both change nothing.
        text = pathlib.Path(daemon.config).read_text()
        pathlib.Path(daemon.config).write_text(text.replace('"5s"', '"6s"'))
        refused = self.reload(daemon)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("--drop-state spend", refused.stderr)
        pathlib.Path(daemon.config).write_text(text.replace("max(quantity)", "maximum(quantity)"))
        self.assertEqual(self.reload(daemon).returncode, 78)
        pathlib.Path(daemon.config).write_text(text)
        self.edit(daemon, AFTER + OTHER)
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_status(lambda status: len(status["reductions"]) == 2, "the second reduction")
        self.produce(300)
        daemon.wait_read(self.ends())
        self.wait_judged(daemon)
        self.assertEqual(daemon.terminate(), 0)
        self.finish(daemon)
        self.assertEqual(len(self.reloads(daemon)), 2)

    def test_reload_waits_until_the_settings_are_in_force(self):
        daemon = self.sluice(self.write(BEFORE))
        daemon.start()
        daemon.wait_ready()
        self.produce(600)
        daemon.wait_read(self.ends())
        for text in (AFTER, AFTER + OTHER, AFTER):
            path = self.write(text, more='[http]\nlisten = "127.0.0.1:1"\n[log]\nlevel = "debug"')
            path.write_text(path.read_text().replace('[http]\nlisten = "off"\n', "", 1))
            done = self.reload(daemon)
            self.assertEqual(done.returncode, 1 if text == AFTER and len(self.reloads(daemon)) > 1 else 0, done.stderr)
            if done.returncode == 0:
                # What was said to need a restart is not in force, however often it is said.
                self.assertIn("http.listen needs a restart", done.stdout)
                self.assertIn("log.level needs a restart", done.stdout)
                self.assertTrue(daemon.status()["ready"])
            taken = program.command("savepoint", daemon.config, environment=daemon.environment)
            self.assertEqual(taken.returncode, 0, taken.stderr)
            planned = {change["key"]: change["verdict"] for change in json.loads(self.plan("--json").stdout)}
            self.assertEqual(planned["http.listen"], "restart")
        self.assertEqual(daemon.terminate(), 0)

    def held_reload(self):
        """A daemon whose reload waits at its barrier: what is over cannot be delivered until Redis resumes."""
        daemon = self.sluice(self.write(BEFORE))
        self.record_redis()
        daemon.start()
        daemon.wait_ready()
        self.produce(600)
        daemon.wait_read(self.ends())
        self.redis.pause()
        self.produce(300)
        daemon.wait_read(self.ends())
        self.edit(daemon, AFTER)
        daemon.process.send_signal(signal.SIGHUP)
        waiting.until(lambda: len(self.reloads(daemon)) == 1, "the reload's barrier")
        return daemon

    def test_a_hup_during_a_reload_waits_for_its_end(self):
        daemon = self.held_reload()
        self.edit(daemon, AFTER + OTHER)
        daemon.process.send_signal(signal.SIGHUP)
        self.redis.resume()
        daemon.wait_status(lambda status: len(status["reductions"]) == 2, "the second reduction")
        self.produce(300)
        daemon.wait_read(self.ends())
        self.wait_judged(daemon)
        self.assertEqual(daemon.terminate(), 0)
        self.finish(daemon)
        self.assertEqual(len(self.reloads(daemon)), 2)

    def test_a_drain_during_a_reload_comes_behind_it(self):
        daemon = self.held_reload()
        environment = {"RUNTIME_DIRECTORY": str(daemon.runtime)}
        drain = threading.Thread(
            target=program.command,
            args=("stop", daemon.config, "--drain"),
            kwargs={"environment": environment},
        )
        drain.start()
        waiting.until(lambda: "draining" in daemon.log(), "the drain")
        self.redis.resume()
        self.assertEqual(daemon.wait_exit(), 0)
        drain.join()

    def test_what_breaks_state_is_refused_until_it_is_given_up(self):
        daemon = self.sluice(self.write(BEFORE))
        self.produce(300)
        daemon.start()
        daemon.wait_read(self.ends())
        self.assertEqual(daemon.terminate(), 0)
        before = {key: value for key, value in self.database().items() if not key.endswith(b":fence")}
        self.write(BEFORE.replace('"5s"', '"3s"'))
        planned = self.plan()
        self.assertEqual(planned.returncode, 1, planned.stderr)
        self.assertIn("breaks state", planned.stdout)
        self.assertIn("--drop-state spend", planned.stdout)
        self.assertEqual(daemon.run("--until", "end"), 78, daemon.log_tail())
        self.assertIn("--drop-state spend", daemon.log())
        self.assertEqual({key: value for key, value in self.database().items() if not key.endswith(b":fence")}, before)
        self.assertEqual(self.plan("--drop-state", "spend").returncode, 0)
        self.assertEqual(daemon.run("--until", "end", "--drop-state", "spend"), 0, daemon.log_tail())

    def test_a_renamed_reduction_keeps_its_state_when_it_is_said(self):
        daemon = self.sluice(self.write(BEFORE))
        self.produce(300)
        daemon.start()
        daemon.wait_read(self.ends())
        daemon.wait_status(lambda status: status["reductions"][0]["folded"] > 0, "records")
        self.assertEqual(daemon.terminate(), 0)
        self.write(BEFORE.replace("reduce.spend", "reduce.revenue"))
        planned = self.plan()
        self.assertEqual(planned.returncode, 1, planned.stderr)
        self.assertIn("new, starts empty", planned.stdout)
        self.assertIn("--rename spend=NEW", planned.stdout)
        self.assertEqual(self.plan("--drop-state", "spend").returncode, 0)
        self.assertEqual(daemon.run("--until", "end"), 78, daemon.log_tail())
        self.assertIn("migrates", self.plan("--rename", "spend=revenue").stdout)
        self.assertEqual(daemon.run("--until", "end", "--rename", "spend=revenue"), 0, daemon.log_tail())
        first = {re.search(rb":(spend|revenue):", key)[1] for key in self.database() if b":u1:" in key}
        self.assertEqual(first, {b"spend", b"revenue"})

    def test_plan_says_what_each_line_does(self):
        daemon = self.sluice(self.write(BEFORE))
        self.produce(100)
        daemon.start()
        daemon.wait_read(self.ends())
        self.assertEqual(daemon.terminate(), 0)
        path = self.write(AFTER + OTHER, steps="", more='[log]\nlevel = "debug"\n[threads]\nworkers = 1')
        lines = path.read_text().splitlines()
        planned = self.plan("--json")
        self.assertEqual(planned.returncode, 0, planned.stderr)
        changes = {change["key"]: change for change in json.loads(planned.stdout)}
        verdicts = {key: change["verdict"] for key, change in changes.items()}
        self.assertEqual(verdicts, {
            "log.level": "restart",
            "reduce.spend.filter": "live",
            "reduce.spend.values.high": "new, starts empty",
            "reduce.spend.values.low": "migrates",
            "reduce.views": "new, starts empty",
            "step.1": "live",
            "threads.workers": "live",
        })
        other = self.write(BEFORE, more='[savepoint]\non_stop = false\nrate = "1MiB"')
        other.write_text(other.read_text().replace("earliest", "latest").replace(f'"{daemon.name}"', '"another"', 1))
        changes_of_others = {change["key"]: change["verdict"] for change in json.loads(self.plan("--json").stdout)}
        self.assertEqual(changes_of_others, {
            "name": "breaks state",
            "savepoint.on_stop": "live",
            "savepoint.rate": "live",
            "source.start": "live",
        })
        path = self.write(AFTER + OTHER, steps="", more='[log]\nlevel = "debug"\n[threads]\nworkers = 1')
        self.assertIn("filter", lines[changes["reduce.spend.filter"]["line"] - 1])
        self.assertIn("high", lines[changes["reduce.spend.values.high"]["line"] - 1])
        self.assertIn("views", lines[changes["reduce.views"]["line"] - 1])
        self.assertTrue(changes["reduce.spend.values.low"]["lost"])
        # For people: the whole text.
        said = re.sub(r"(?m)^.*pipeline.toml:", "", self.plan().stdout).replace(daemon.name, "NAME")
        self.assertEqual(said.splitlines(), PLANNED.splitlines())

    def test_workers_share_brokers_and_sink_change_freely(self):
        daemon = self.sluice(self.write(BEFORE))
        self.produce(400)
        daemon.start()
        daemon.wait_read(self.ends())
        daemon.kill()
        brokers = self.kafka.brokers.replace("127.0.0.1", "localhost")
        text = self.write(BEFORE, more="[threads]\nworkers = 2").read_text()
        self.assertIn(self.kafka.brokers, text)
        pathlib.Path(daemon.config).write_text(text.replace(self.kafka.brokers, brokers))
        self.assertEqual(self.plan().returncode, 0)
        # A share leaves the other partition where it was; it goes on there when it comes back.
        text = pathlib.Path(daemon.config).read_text()
        pathlib.Path(daemon.config).write_text(text.replace('start = "earliest"', 'start = "earliest"\npartitions = "0"'))
        daemon.start()
        daemon.wait_ready()
        self.assertEqual(daemon.terminate(), 0)
        pathlib.Path(daemon.config).write_text(text)
        self.produce(200)
        daemon.former_rules = [daemon.rules, daemon.rules]
        self.finish(daemon)

    # ---- blue and green

    def savepoint(self, daemon, name):
        done = program.command("savepoint", daemon.config, "--name", name, "--json", environment=daemon.environment)
        self.assertEqual(done.returncode, 0, done.stderr + daemon.log_tail())
        return json.loads(done.stdout)["path"]

    def compare(self, blue, green):
        done = program.command("compare", blue.config, green.config, "--json")
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        summaries = {line["summary"]["reduction"]: line["summary"] for line in lines if "summary" in line}
        return done, summaries, [line for line in lines if "summary" not in line]

    def written_up_to(self, daemon, end):
        daemon.wait_status(
            lambda status: all(reduction["frontier"] >= end for reduction in status["reductions"]), f"results up to {end}"
        )

    def spend(self, name):
        """{(user, window end): (n, q)}, as Redis has it."""
        found = {}
        for key, (_, fields, _) in self.database().items():
            match = re.fullmatch(rb"(.*):spend:(.*):(\d+)", key)
            if match and match[1].decode() == name:
                found[match[2].decode(), int(match[3]) + 5_000] = (fields[b"n"], fields[b"q"])
        return found

    def check_differences(self, blue, green, differences, summary):
        """Said is what Redis shows."""
        mine, theirs = self.spend(blue.name), self.spend(green.name)
        said = set()
        for line in differences:
            place = (line["key"][0], line["window"]["end"])
            said.add(place)
            for shown, side in ((mine, line["a"]), (theirs, line["b"])):
                told = None if side is None else (str(side["n"]).encode(), str(side["q"]).encode())
                self.assertEqual(shown.get(place), told, line)
        self.assertTrue(said)
        for place in set(mine) & set(theirs):
            if (summary["windows_after"] or 0) < place[1] <= summary["windows_until"]:
                self.assertEqual(place in said, mine[place] != theirs[place], place)

    def test_a_fork_under_load_is_edited_compared_and_switched_to(self):
        # The sockets lie in the state directories, where a command finds them by the file.
        blue = self.sluice(self.write(BEFORE + OTHER), runtime=self.folder / "state")
        self.record_redis()
        self.produce(400)
        blue.start()
        blue.wait_read(self.ends())
        load = Load(lambda: self.produce(40))
        self.addCleanup(load.stop)
        taken = self.savepoint(blue, "fork")
        # Same reductions, one of them with a filter and one value more.
        edited = BEFORE.replace('key = ["user"]', 'filter = "quantity > 1"\nkey = ["user"]').replace(
            'n = "count()"', 'n = "count()", high = "max(quantity)"'
        )
        config = self.write(edited + OTHER, name=f"{self.topic}-green", state_directory="green-state", file="green.toml")
        green = self.sluice(config, folder="green", runtime=self.folder / "green-state")
        green.former_rules = [settings.load(blue.config)]
        green.start("--from", taken)
        green.wait_ready()
        waiting.until(lambda: "the edited settings are in force" in green.log(), "green follows its own file")
        load.stop()
        self.produce(600)
        for daemon in (blue, green):
            daemon.wait_read(self.ends())
        # Both have written what the watermark has passed.
        end = min(one["watermark"] for one in blue.status()["partitions"]) - 5_000
        for daemon in (blue, green):
            self.written_up_to(daemon, end)
        done, summaries, differences = self.compare(blue, green)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertEqual(summaries["views"]["different"], 0)
        self.assertGreater(summaries["views"]["compared"], 0)
        self.assertEqual(summaries["spend"]["only_b"], ["high"])
        self.assertEqual({line["reduction"] for line in differences}, {"spend"})
        self.assertEqual(summaries["spend"]["different"], len(differences))
        self.check_differences(blue, green, differences, summaries["spend"])
        # Over to green: blue goes, and what green holds is what its own file says.
        self.assertEqual(blue.terminate(), 0)
        self.produce(300)
        green.wait_read(self.ends())
        self.assertEqual(green.terminate(), 0)
        self.assertEqual(green.run("--until", "end"), 0, green.log_tail())
        done, summaries, _ = self.compare(blue, green)  # without a daemon: from the newest checkpoints
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertEqual(summaries["views"]["different"], 0)
