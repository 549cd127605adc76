#!/usr/bin/python3
"""What Redis must hold, by hand.

  tests/oracle/oracle.py FILE --brokers HOST:PORT [--journal STATE/journal] [--redis SOCKET]

Reads the topics of FILE from Kafka, prints each expected key as a JSON line, and, with --redis, only the
differences between that and what is there; exit 1 if there are any. The journal must reach back to the
beginning.
"""

import argparse
import json
import pathlib
import sys

sys.dont_write_bytecode = True
TESTS = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS), str(TESTS / "kafka")]

import rdkafka  # noqa: E402

from harness import redis  # noqa: E402
from oracle import database, journal, pipeline, settings  # noqa: E402


def text(value):
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    if isinstance(value, dict):
        return {text(key): text(member) for key, member in value.items()}
    if isinstance(value, (list, set)):
        return [text(member) for member in value]
    return value


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--brokers", required=True)
    parser.add_argument("--journal")
    parser.add_argument("--redis")
    options = parser.parse_args()

    rules = settings.load(options.file)
    records, starts = [], {}
    with rdkafka.Admin(options.brokers) as admin:
        for topic in rules.topics:
            for partition in range(admin.topics()[topic]):
                begin, end = admin.range(topic, partition)
                starts[topic, partition] = pipeline.Start(begin, begin == end)
            records += rdkafka.read_topic(options.brokers, topic)
    entries = journal.Collection(options.journal).read().entries() if options.journal else []
    outcome = pipeline.compute(rules, records, entries, starts)
    if options.redis is None:
        for key, item in sorted(outcome.database.items()):
            print(json.dumps({"key": text(key), "type": item.kind, "value": text(item.content)}))
        return 0
    found = database.differences(outcome.database, database.read(redis.Client(options.redis)), rules.name)
    for line in found:
        print(line)
    print(f"{len(outcome.database)} keys expected, {len(found)} differences", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
