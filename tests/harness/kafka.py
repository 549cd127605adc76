"""A private Kafka: scripts/kafka, and rdkafka.py for what is in it."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "kafka"))

import rdkafka  # noqa: E402

SHARED = ROOT / "build" / "kafka" / "tests"


class Broker:
    """A node in `folder`. Several may run; one that is stopped keeps its data and its address. `properties`
    are more lines of its settings, `scram` is a user of it."""

    def __init__(self, folder, heap="384m", port=0, properties=None, scram=""):
        self.folder = str(folder)
        self.port = port
        self.brokers = None
        lines = [f"{name}={value}".replace(" ", "\\u0020") for name, value in (properties or {}).items()]
        self.environment = {
            "SLUICE_KAFKA_HEAP": heap, "SLUICE_KAFKA_PROPERTIES": " ".join(lines), "SLUICE_KAFKA_SCRAM": scram
        }

    def _script(self, *words):
        command = [str(ROOT / "scripts" / "kafka"), words[0], "--dir", self.folder, *words[1:]]
        done = subprocess.run(
            command, env={**os.environ, **self.environment}, capture_output=True, text=True,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode != 0:
            raise ChildProcessError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout.strip()

    def start(self):
        self.brokers = self._script("start", "--port", str(self.port)).splitlines()[-1]
        return self

    def runs(self):
        try:
            self.brokers = self._script("status")
            return True
        except ChildProcessError:
            return False

    def stop(self, kill=False, remove=False):
        self._script("stop", *["--kill"] * kill, *["--remove"] * remove)

    def admin(self):
        return rdkafka.Admin(self.brokers)

    def create_topic(self, name, partitions, **config):
        with self.admin() as admin:
            admin.create_topic(name, partitions, {key.replace("_", "."): value for key, value in config.items()})

    def producer(self, **options):
        return rdkafka.Producer(self.brokers, **options)

    def records(self, topic):
        return list(rdkafka.read_topic(self.brokers, topic))

    def ranges(self, topic):
        """{partition: (log start, end of the log)}."""
        with self.admin() as admin:
            return {p: admin.range(topic, p) for p in range(admin.topics()[topic])}


def shared():
    """The node that tests share: (broker, whether this call started it). Topics must have names of their
    own."""
    broker = Broker(SHARED, heap="512m")
    if broker.runs():
        return broker, False
    return broker.start(), True
