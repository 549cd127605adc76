"""Redis goes away, comes back, forgets, is full."""

import threading

from harness import short, traffic, waiting
from harness.short import BEGIN, SOURCE
from harness.world import World

SHORT = (
    short.SHORT
    + """
[reduce.wide]
key = []
window = { tumbling = "20s" }
values = { n = "count()" }
ttl = "1d"
"""
)


def degraded(status):
    return any(condition["name"] == "sink" and not condition["ok"] for condition in status["conditions"])


class Redis(World):
    def setUp(self):
        super().setUp()
        self.kafka.create_topic(self.topic, 2)
        self.stream = traffic.Traffic(self.random, BEGIN)
        self.produce(800)
        self.daemon = self.sluice(self.configure(SHORT, source=SOURCE))
        self.record_redis()
        self.daemon.start()
        self.daemon.wait_read(self.ends())
        self.wait_judged(self.daemon)

    def produce(self, count=400):
        traffic.produce(self.kafka, self.topic, 2, self.stream, count, self.random)

    def settle(self):
        self.daemon.wait_status(lambda status: status["ready"], "ready again")
        self.daemon.wait_read(self.ends())
        self.wait_judged(self.daemon)
        self.check_status(self.daemon.status())
        self.assertEqual(self.daemon.terminate(), 0, self.daemon.log_tail())
        return self.finish(self.daemon)

    def test_killed_and_empty_when_it_comes_back(self):
        self.redis.kill()
        self.produce()
        status = self.daemon.wait_status(degraded, "the sink is down")
        self.assertEqual(status["state"], "degraded")
        self.daemon.wait_status(lambda status: not status["ready"], "not ready after a while")
        self.redis.start()
        self.settle()

    def test_flushed(self):
        self.redis.call("FLUSHALL")
        self.produce()
        self.settle()

    def test_flushed_while_the_daemon_is_down(self):
        self.daemon.kill()
        self.redis.call("FLUSHALL")
        self.daemon.start()
        self.settle()

    def test_the_control_hash_alone_is_lost(self):
        self.redis.call("DEL", f"sluice:{self.daemon.name}")
        self.redis.kill()
        self.redis.start()
        self.produce()
        self.settle()

    def test_paused(self):
        self.redis.pause()
        self.produce()
        self.daemon.wait_status(degraded, "the sink does not answer", timeout=90)
        self.redis.resume()
        self.settle()

    def test_out_of_memory(self):
        used = int(self.redis.call("INFO", "memory").split(b"used_memory:")[1].split(b"\r")[0])
        self.redis.call("CONFIG", "SET", "maxmemory", str(max(used // 2, 1)))
        self.produce()
        status = self.daemon.wait_status(degraded, "the sink is out of memory")
        reasons = " ".join(condition["reason"] for condition in status["conditions"])
        self.assertIn("OOM", reasons)
        self.redis.call("CONFIG", "SET", "maxmemory", "0")
        self.settle()

    def test_read_only(self):
        client = self.redis.client()
        client.call("REPLICAOF", "127.0.0.1", "1")
        self.produce()
        self.daemon.wait_status(degraded, "the sink is read only")
        client.call("REPLICAOF", "NO", "ONE")
        client.close()
        self.settle()

    def test_a_key_of_another_type_becomes_a_dead_letter(self):
        outcome = self.outcome(self.daemon)
        end = max(outcome.frontiers.values()) + 60000
        start = end - end % 5000
        self.redis.call("SET", f"{self.topic}:short:u1:{start}", "in the way")
        self.stream.now = start
        self.produce(900)
        self.daemon.wait_status(lambda status: status["sink"]["refused"] == 1, "one result is refused")
        self.daemon.wait_read(self.ends())
        self.redis.call("DEL", f"{self.topic}:short:u1:{start}")
        self.assertEqual(self.daemon.terminate(), 0)
        self.assertEqual(self.daemon.run("--until", "end"), 0)
        outcome = self.outcome(self.daemon)
        del outcome.database[f"{self.topic}:short:u1:{start}".encode()]
        self.check_database(self.daemon, outcome)

    def test_connections_are_cut(self):
        stop = threading.Event()

        def cut():
            client = self.redis.client()
            while not stop.wait(0.02):
                client.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            client.close()

        thread = threading.Thread(target=cut)
        thread.start()
        try:
            for _ in range(5):
                self.produce(300)
                self.daemon.wait_read(self.ends())
        finally:
            stop.set()
            thread.join()
        self.settle()

    def test_a_newer_instance_fences_this_one(self):
        fence = self.redis.call("GET", f"sluice:{self.daemon.name}:fence")
        epoch = int(fence.split()[0])
        self.redis.call("SET", f"sluice:{self.daemon.name}:fence", f"{epoch + 1} somebody-else")
        before = self.database()
        self.produce(600)
        self.assertEqual(self.daemon.wait_exit(), 76, self.daemon.log_tail())
        now = self.database()
        self.assertEqual({k: v[1] for k, v in now.items()}, {k: v[1] for k, v in before.items()})


class Persistent(World):
    persistent_redis = True

    def test_killed_and_complete_when_it_comes_back(self):
        self.kafka.create_topic(self.topic, 2)
        stream = traffic.Traffic(self.random, BEGIN)
        daemon = self.sluice(self.configure(SHORT, source=SOURCE))
        self.record_redis()
        daemon.start()
        for _ in range(4):
            traffic.produce(self.kafka, self.topic, 2, stream, 400, self.random)
            self.redis.kill()
            self.redis.start()
        daemon.wait_read(self.ends())
        self.wait_judged(daemon)
        self.assertEqual(daemon.terminate(), 0)
        self.finish(daemon)
