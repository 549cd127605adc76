"""Records with everything that records can have: disorder, lateness, nulls, garbage, odd keys."""

import json

USERS = ["u1", "u2", "u3", "u4", "u5", "ü ñ", "a:b%c", "line\nbreak", 'quo"te', "nul\0byte", "", "back\\slash", "'"]
COUNTRIES = ["de", "fr", "us", None]
GARBAGE = [b"", b"{", b'{"user":"u1"} tail', b"[1,2]", b"\xef\xbb\xbf{}", b'{"user":"\xff"}', b'{"a":' + b"[" * 70 + b"]" * 70 + b"}",
           b'{"user":"u1","at":NaN}', b"null", b"\x00\x01\x02"]


class Traffic:
    """Calls of record() are one stream of event time over all partitions.

    `step`: how far a record moves event time on average, in ms; `disorder`: how far back one may lie;
    `late`, `odd`, `early`: how often one lies far behind, is null or garbage, or lies far ahead."""

    def __init__(self, random, begin, step=20, disorder=1500, late=0.01, odd=0.02, early=0.0, users=USERS):
        self.random = random
        self.now = begin
        self.step = step
        self.disorder = disorder
        self.late = late
        self.odd = odd
        self.early = early
        self.users = users
        self.made = 0

    def record(self):
        """(value, event time)."""
        r = self.random
        self.made += 1
        self.now += r.randrange(2 * self.step + 1)
        at = self.now - r.randrange(self.disorder)
        if r.random() < self.late:
            at -= r.randrange(60000)
        if r.random() < self.early:
            at += 600_000
        if r.random() < self.odd:
            return r.choice([None, r.choice(GARBAGE), self._without_time()]), at
        return self.value(at), at

    def _without_time(self):
        return json.dumps({"user": "u1", "at": self.random.choice([None, "x", True, [], 1e300])}).encode()

    def value(self, at):
        r = self.random
        body = {
            "user": r.choice(self.users) if r.random() > 0.02 else r.choice([None, 7, 7.0, "7", True]),
            "at": at if r.random() < 0.5 else str(at),
            "quantity": r.choice([1, 2, 3, 10, 0, -1, "two", None, 2**63 - 1]) if r.random() < 0.1 else r.randrange(1, 9),
            "kind": r.choice(["view", "buy", "noise"]),
            "geo": {"country": r.choice(COUNTRIES)},
        }
        text = json.dumps(body, ensure_ascii=r.random() < 0.5)
        # json has no decimals: the price is spelled by hand.
        price = r.choice(["9.90", "0.01", "19.999999999999999999", "1e3", "1.5e-9", "100", "-3.25", "null", '"x"'])
        if r.random() < 0.7:
            price = f"{r.randrange(1000)}.{r.randrange(100):02d}"
        return (text[:-1] + f', "price": {price}' + "}").encode()


# A job for this traffic, in event time, with every reduction and every way to write.
STEPS = """
[[step]]
filter = "kind != 'noise' or quantity > 5"
[[step]]
set = { amount = "price * quantity", country = "upper(geo.country ?? 'unknown')", "geo.user" = "user" }
"""
SOURCE = """timestamp = "at"
out_of_order = "2s"
idle_after = "2s"
"""
SPEND = """
[reduce.spend]
key = ["country", "user"]
window = { tumbling = "10s" }
time = "TIME"
values = { n = "count()", spend = "sum(amount)", dear = "count() where price >= 100", mean = "mean(amount)", low = "min(price)", high = "max(quantity)", each = "sum(amount) / count(amount)" }
ttl = "none"
"""
LAST = """
[reduce.last]
filter = "kind == 'buy'"
key = [{ who = "geo.user" }]
window = { tumbling = "7s", offset = "3s" }
time = "TIME"
values = { first = "first(kind)", last = "last(price)", q = "sum(quantity)", total = "sum(float(price))" }
write = ["HSET last:{who:enc}:{window.start} since {window.start:s} first {first} last {last} q {q} total {total} end {window.end:rfc3339} rev {rev}", "SET 'last user:{who}:{window.end}' {q}"]
ttl = "2h"
null_key = "keep"
"""
ALL = """
[reduce.all]
key = []
window = { tumbling = "30s" }
time = "TIME"
values = { n = "count()", users = "count(user)", some = "max(user) where kind == 'view'" }
ttl = "none"
"""


def reductions(time="event", lateness="0s", short=False):
    """`short`: windows for tests that cannot wait."""
    text = (SPEND + LAST + ALL).replace("TIME", time)
    if short:
        for long, brief in (("10s", "1s"), ("7s", "700ms"), ("3s", "300ms"), ("30s", "2s")):
            text = text.replace(f'"{long}"', f'"{brief}"')
    if lateness != "0s":
        text = text.replace('[reduce.all]\n', f'[reduce.all]\nallowed_lateness = "{lateness}"\n')
    return text


def produce(broker, topic, partitions, traffic, count, random, codec="none", producer=None, timestamps=True):
    """Sends `count` records of the stream to random partitions."""
    own = producer is None
    producer = producer or broker.producer(codec=codec)
    for _ in range(count):
        value, at = traffic.record()
        key = random.choice([None, b"", b"k\xff", b"key"])
        producer.send(
            topic, value, key=key, partition=random.randrange(partitions),
            timestamp=max(at, 1) if timestamps else 0, headers=[("h", b"1")] if random.random() < 0.01 else (),
        )
    if own:
        producer.flush()
        producer.close()
