"""The broker goes away and comes back."""

from harness import traffic
from harness.short import BEGIN, SHORT, SOURCE
from harness.world import World


class Broker(World):
    private_kafka = True

    def test_restarted_and_killed(self):
        self.kafka.create_topic(self.topic, 3)
        stream = traffic.Traffic(self.random, BEGIN)
        daemon = self.sluice(self.configure(SHORT, source=SOURCE))
        self.record_redis()
        daemon.start()
        daemon.wait_ready()
        for kill in (False, True):
            traffic.produce(self.kafka, self.topic, 3, stream, 500, self.random)
            self.kafka.stop(kill=kill)
            status = daemon.wait_status(lambda status: not status["ready"], "not ready without its broker")
            self.assertEqual(status["state"], "degraded")
            self.assertTrue(any(c["name"] == "kafka" and not c["ok"] for c in status["conditions"]))
            self.kafka.start()
            traffic.produce(self.kafka, self.topic, 3, stream, 500, self.random)
            daemon.wait_status(lambda status: status["ready"], "ready again", timeout=90)
            daemon.wait_read(self.ends(), timeout=90)
            self.wait_judged(daemon)
        self.assertEqual(daemon.terminate(), 0)
        # A start without a broker waits for it.
        self.kafka.stop()
        daemon.start()
        daemon.wait_status(lambda status: not status["ready"], "waits for its broker")
        self.kafka.start()
        daemon.wait_ready(timeout=90)
        self.assertEqual(daemon.terminate(), 0)
        self.finish(daemon)
