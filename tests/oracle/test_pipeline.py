#!/usr/bin/python3
"""The rules of time, windows, the ledger and the journal, on records small enough to follow by hand."""

import dataclasses
import pathlib
import struct
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from oracle import checksum, database, journal, pipeline, settings, template  # noqa: E402
from oracle.pipeline import Start  # noqa: E402


@dataclasses.dataclass
class Record:
    partition: int
    offset: int
    timestamp: int
    value: bytes
    topic: str = "t"
    append_time: bool = False
    key: bytes = None
    headers: tuple = ()


def config(time="event", reduction="", source="", steps="", values='n = "count()", s = "sum(v)"', key='"k"'):
    return settings.parse(f"""
name = "p"
[source]
brokers = "b"
topic = "t"
start = "earliest"
out_of_order = "1s"
{source}
{steps}
[reduce.r]
key = [{key}]
window = {{ tumbling = "10s" }}
time = "{time}"
values = {{ {values} }}
ttl = "1h"
{reduction}
[sink]
redis = "redis://x"
""")


def stream(partition, *timed):
    """Records of one partition from (timestamp, value as JSON text)."""
    return [
        Record(partition, offset, timestamp, None if text is None else text.encode())
        for offset, (timestamp, text) in enumerate(timed)
    ]


def barrier(number, kind, time, offsets=(), idle=()):
    return journal.Entry(
        number, number - 1, kind, time, 0, tuple(("t", p) for p in idle),
        tuple((("t", p), o) for p, o in offsets),
    )


def content(outcome):
    return {key.decode(): item.content for key, item in outcome.database.items()}


class EventTime(unittest.TestCase):
    def test_a_window_is_written_when_the_watermark_reaches_its_end(self):
        records = stream(0, (1000, '{"k":"a","v":1}'), (9999, '{"k":"a","v":2.5}'), (10000, '{"k":"a","v":4}'),
                         (11000, '{"k":"b"}'))
        outcome = pipeline.compute(config(), records)
        self.assertEqual(outcome.watermark, 10000)
        self.assertEqual(content(outcome), {
            "p:r:a:0": {b"n": b"2", b"s": b"3.5", b"final": b"1", b"complete": b"1", b"rev": b"0"}})
        self.assertEqual(outcome.frontiers, {"r": 10000})
        self.assertEqual(outcome.open_windows, {"r": {20000}})

    def test_late_is_judged_by_the_own_partition(self):
        late = '{"k":"a","v":1}'
        records = stream(0, (20000, "{}"), (9000, late)) + stream(1, (9000, late), (30000, "{}"))
        outcome = pipeline.compute(config(), records)
        self.assertEqual(outcome.reductions["r"], {"reached": 4, "folded": 1, "filtered": 0, "late": 1, "refused": 2})
        self.assertEqual(content(outcome)["p:r:a:0"][b"n"], b"1")

    def test_the_record_itself_does_not_make_itself_late(self):
        outcome = pipeline.compute(config(), stream(0, (11000, '{"k":"a"}'), (9999, '{"k":"a"}')))
        self.assertEqual(outcome.reductions["r"]["late"], 1)
        outcome = pipeline.compute(config(), stream(0, (10999, '{"k":"a"}'), (9999, '{"k":"a"}')))
        self.assertEqual(outcome.reductions["r"]["late"], 0)

    def test_allowed_lateness_waits_and_counts_revisions(self):
        records = stream(0, (5000, '{"k":"a"}'), (12000, '{"k":"b"}'), (6000, '{"k":"a"}'), (16000, '{"k":"b"}'),
                         (6000, '{"k":"a"}'))
        waiting = config(reduction='allowed_lateness = "5s"')
        outcome = pipeline.compute(waiting, records)
        self.assertEqual(content(outcome)["p:r:a:0"][b"rev"], b"1")
        self.assertEqual(content(outcome)["p:r:a:0"][b"n"], b"2")
        self.assertEqual(outcome.reductions["r"]["late"], 1)
        self.assertEqual(pipeline.compute(waiting, records[:3]).database, {})

    def test_a_cut_is_a_floor_from_its_offsets_on(self):
        records = stream(0, (5000, '{"k":"a"}'), (6000, '{"k":"a"}'), (7000, '{"k":"a"}'))
        cut = barrier(1, journal.CUT, 10000, [(0, 2)])
        outcome = pipeline.compute(config(), records, [cut])
        self.assertEqual(content(outcome)["p:r:a:0"][b"n"], b"2")
        self.assertEqual(outcome.reductions["r"]["late"], 1)
        unlisted = pipeline.compute(config(), records, [barrier(1, journal.CUT, 10000)])
        self.assertEqual(unlisted.reductions["r"]["late"], 3)

    def test_the_future_guard_holds_the_watermark(self):
        records = stream(0, (5000, '{"k":"a"}'), (99000, '{"k":"z"}'), (6000, '{"k":"a"}'))
        cap = barrier(1, journal.CAP, 50000, [(0, 0)])
        outcome = pipeline.compute(config(), records, [cap])
        self.assertEqual(outcome.reductions["r"]["folded"], 3)
        self.assertEqual(outcome.watermark, 5000)
        self.assertEqual(pipeline.compute(config(), records).reductions["r"]["late"], 1)

    def test_one_partition_without_records_holds_all_back_until_idle(self):
        records = stream(0, (5000, '{"k":"a"}'), (30000, '{"k":"b"}'))
        starts = {("t", 0): Start(), ("t", 1): Start()}
        self.assertEqual(pipeline.compute(config(), records, [], starts).database, {})
        idle = barrier(1, journal.IDLE, 0, [(0, 2), (1, 0)], idle=[1])
        self.assertEqual(pipeline.compute(config(), records, [idle], starts).database, {})
        cut = barrier(2, journal.CUT, 29000, [(0, 2), (1, 0)])
        self.assertEqual(len(pipeline.compute(config(), records, [idle, cut], starts).database), 1)

    def test_incomplete_before_the_first_record(self):
        records = [dataclasses.replace(r, offset=r.offset + 5)
                   for r in stream(0, (3000, '{"k":"a"}'), (12000, '{"k":"a"}'), (40000, '{"k":"a"}'))]
        outcome = pipeline.compute(config(), records, [], {("t", 0): Start(5)})
        self.assertEqual([r.complete for r in outcome.results], [False, True])
        outcome = pipeline.compute(config(), records, [], {("t", 0): Start(5, empty=True)})
        self.assertEqual([r.complete for r in outcome.results], [True, True])
        hidden = config(reduction="suppress_incomplete = true")
        self.assertEqual(len(pipeline.compute(hidden, records, [], {("t", 0): Start(5)}).results), 1)


class ProcessingTime(unittest.TestCase):
    def test_a_record_belongs_to_the_last_tick_at_or_before_its_offset(self):
        records = stream(0, *[(0, '{"k":"a","v":1}')] * 5) + stream(1, (0, '{"k":"a","v":10}'))
        ticks = [barrier(1, journal.TICK, 100, [(0, 0), (1, 0)]), barrier(2, journal.TICK, 10000, [(0, 3), (1, 1)]),
                 barrier(3, journal.TICK, 20000, [(0, 5), (1, 1)])]
        outcome = pipeline.compute(config("processing"), records, ticks)
        self.assertEqual({k: v[b"s"] for k, v in content(outcome).items()}, {"p:r:a:0": b"13", "p:r:a:10000": b"2"})
        self.assertEqual(len(pipeline.compute(config("processing"), records, ticks[:2]).results), 1)


class Records(unittest.TestCase):
    def test_the_ledger_knows_every_record(self):
        records = stream(0, (0, None), (0, "{"), (0, '{"k":"a","v":5}'), (0, '{"k":null,"v":5}'), (0, '{"v":1}'),
                         (0, '{"k":"x","v":5,"f":true}'))
        steps = '[[step]]\nfilter = "v > 2"'
        outcome = pipeline.compute(config(steps=steps, reduction='filter = "f == null"'), records)
        self.assertEqual(outcome.ledger, {"consumed": 6, "exploded": 0, "reached": 3, "filtered": 1, "null": 1,
                                          "undecodable": 1, "duplicate": 0, "skipped": 0})
        self.assertEqual(outcome.reductions["r"], {"reached": 3, "folded": 1, "filtered": 1, "late": 0, "refused": 1})
        self.assertEqual([r.offset for r, _ in outcome.dead_letters], [1])

    def test_a_filtered_record_moves_the_watermark(self):
        records = stream(0, (5000, '{"k":"a","v":5}'), (50000, '{"k":"a","v":0}'))
        outcome = pipeline.compute(config(steps='[[step]]\nfilter = "v > 2"'), records)
        self.assertEqual(len(outcome.results), 1)

    def test_set_sees_the_record_before_the_step(self):
        steps = '[[step]]\nset = { v = "v + 1", k = "text(v)", "new.w" = "v" }'
        records = stream(0, (0, '{"v":5}'), (50000, '{"v":1}'))
        outcome = pipeline.compute(config(steps=steps, values='s = "sum(v)", w = "sum(new.w)"'), records)
        self.assertEqual(content(outcome)["p:r:5:0"][b"s"], b"6")
        self.assertEqual(content(outcome)["p:r:5:0"][b"w"], b"5")

    def test_event_times(self):
        for unit, text, ms in (("ms", "12.9", 12), ("s", '"2"', 2000), ("us", "-1", -1), ("ns", "1999999", 1),
                               ("rfc3339", '"1970-01-01T00:00:01Z"', 1000)):
            source = f'timestamp = "at"\ntimestamp_unit = "{unit}"'
            outcome = pipeline.compute(config(source=source), stream(0, (5, '{"at":%s}' % text)))
            self.assertEqual(outcome.watermark, ms - 1000, unit)
        for text in ("null", "true", '"x"', "1e30", "[]"):
            outcome = pipeline.compute(config(source='timestamp = "at"'), stream(0, (5, '{"at":%s}' % text)))
            self.assertEqual(outcome.ledger["undecodable"], 1, text)
        self.assertEqual(pipeline.compute(config(), stream(0, (-1, "{}"))).ledger["undecodable"], 1)


class Reductions(unittest.TestCase):
    def reduce(self, values, *bodies):
        records = stream(0, *[(i % 3, '{"k":"a",%s}' % body) for i, body in enumerate(bodies)], (90000, "{}"))
        outcome = pipeline.compute(config(values=values), records)
        return {name.decode(): value.decode() for name, value in content(outcome)["p:r:a:0"].items()
                if name not in (b"final", b"complete", b"rev")}

    def test_sums_take_the_widest_type_and_are_exact(self):
        self.assertEqual(self.reduce('s = "sum(v)"', '"v":9223372036854775807', '"v":1'), {"s": "9223372036854775808"})
        self.assertEqual(self.reduce('s = "sum(v)"', '"v":1', '"v":0.10', '"v":null'), {"s": "1.1"})
        most = '"v":' + "9" * 20
        self.assertEqual(self.reduce('s = "sum(v)"', f"{most}.9", '"v":0.2'), {"s": "1" + "0" * 20 + ".1"})
        self.assertEqual(self.reduce('s = "sum(v)"', f"{most}.{'9' * 18}", '"v":0.' + "0" * 17 + "2"), {"s": ""})
        self.assertEqual(self.reduce('s = "sum(v)"', '"v":1e16', '"v":1e0', '"v":-1e16'), {"s": "1"})
        self.assertEqual(self.reduce('s = "sum(v)", c = "count(v)", n = "count()"', '"v":"x"'),
                         {"s": "", "c": "1", "n": "1"})

    def test_mean_is_rounded_once(self):
        self.assertEqual(self.reduce('m = "mean(v)"', '"v":0.1', '"v":0.2', '"v":0.3'), {"m": "0.2"})

    def test_first_and_last_are_by_time_then_offset(self):
        # The times are 0, 1, 2, 0.
        self.assertEqual(self.reduce('f = "first(v)", l = "last(v)"', '"v":1', '"v":2', '"v":"x"', '"v":4'),
                         {"f": "1", "l": "x"})
        self.assertEqual(self.reduce('f = "first(v)"', '"v":null', '"v":2'), {"f": "2"})

    def test_extremes_are_of_one_kind(self):
        self.assertEqual(self.reduce('a = "min(v)", b = "max(v)"', '"v":1.5', '"v":1', '"v":1e0'), {"a": "1", "b": "1.5"})
        self.assertEqual(self.reduce('a = "min(v)", b = "max(v)"', '"v":"b"', '"v":"a"'), {"a": "a", "b": "b"})
        self.assertEqual(self.reduce('a = "min(v)"', '"v":"b"', '"v":1'), {"a": ""})

    def test_where_and_expressions_over_results(self):
        self.assertEqual(
            self.reduce('a = "sum(v) / count()", b = "count() where v > 1"', '"v":1', '"v":2', '"v":null'),
            {"a": "1", "b": "1"})


class Writing(unittest.TestCase):
    def render(self, text, **places):
        filled = {name.replace("_", ".") if name.startswith("window") else name: value for name, value in places.items()}
        return template.parse(text).render(filled.__getitem__)

    def test_words_are_split_before_anything_is_filled_in(self):
        self.assertEqual(self.render("SET a:{k} 'x {k}'", k=b"1 2"), [b"SET", b"a:1 2", b"x 1 2"])
        self.assertEqual(self.render("SET {{{k}}} ''", k=b"v"), [b"SET", b"{v}", b""])

    def test_formats(self):
        self.assertEqual(
            self.render("SET {k:enc} {window.start:s} {window.end:rfc3339} {window.start}", k=b"a b\xff~",
                        window_start=-1, window_end=1000),
            [b"SET", b"a%20b%FF~", b"-1", b"1970-01-01T00:00:01Z", b"-1"])

    def test_the_default_layout_encodes_separators_of_several_parts(self):
        records = stream(0, (0, '{"k":"a:b","l":"%"}'), (90000, "{}"))
        outcome = pipeline.compute(config(key='"k", "l"'), records)
        self.assertIn("p:r:a%3Ab:%25:0", content(outcome))
        outcome = pipeline.compute(config(key=""), records)
        self.assertIn("p:r:0", content(outcome))

    def test_keys_are_their_printed_parts(self):
        records = stream(0, (0, '{"k":1}'), (0, '{"k":"1"}'), (0, '{"k":1.0}'), (0, '{"k":null}'), (90000, "{}"))
        outcome = pipeline.compute(config(reduction='null_key = "keep"'), records)
        self.assertEqual({k: v[b"n"] for k, v in content(outcome).items()}, {"p:r:1:0": b"3", "p:r::0": b"1"})

    def test_the_comparison_goes_both_ways(self):
        expected = database.Expected()
        expected.apply([b"HSET", b"a", b"x", b"1"], ("none",))
        expected.apply([b"SET", b"b", b"1"], ("within", 1000))
        same = {b"a": ("hash", {b"x": b"1"}, -1), b"b": ("string", b"1", 500), b"sluice:p": ("hash", {}, -1)}
        self.assertEqual(database.differences(expected, same, "p"), [])
        for change in ({b"a": ("hash", {b"x": b"2"}, -1)}, {b"c": ("string", b"", -1)}, {b"b": ("string", b"1", -1)}):
            self.assertEqual(len(database.differences(expected, {**same, **change}, "p")), 1)
        del same[b"a"]
        self.assertEqual(len(database.differences(expected, same, "p")), 1)


def frame(position, previous, entries):
    body = struct.pack("<QH", previous, 1) + struct.pack("<H", 1) + b"t" + struct.pack("<I", len(entries))
    for number, kind, time, offset in entries:
        body += struct.pack("<QBqqII", number, kind, time, 5, 0, 1) + struct.pack("<Hiq", 0, 3, offset)
    body += bytes(-len(body) % 8)
    checked = struct.pack("<II", 0x464A4C53, len(body)) + body
    return struct.pack("<Q", checksum.xxh3(checked, position)) + checked


def segment(ordinal, previous, *frames):
    header = struct.pack("<8sII16sQQQ", b"SluiceJn", 1, 64, b"L" * 16, ordinal, previous, 0)
    data = header + struct.pack("<Q", checksum.xxh3(header))
    for before, entries in frames:
        data += frame(len(data), before, entries)
    return data


class Journal(unittest.TestCase):
    def test_a_torn_tail_is_left_out(self):
        data = segment(1, 0, (0, [(1, 2, 100, 0)]), (1, [(2, 2, 200, 7), (4, 1, 50, 7)]))
        lineage, entries = journal.read_segment(data)
        self.assertEqual([(e.number, e.kind, e.time, e.offset(("t", 3))) for e in entries],
                         [(1, 2, 100, 0), (2, 2, 200, 7), (4, 1, 50, 7)])
        self.assertEqual(len(journal.read_segment(data[:-1])[1]), 1)
        with self.assertRaises(journal.Damaged):
            journal.read_segment(b"x" + data[1:])

    def test_a_collection_outlives_the_segments_and_notices_gaps(self):
        with tempfile.TemporaryDirectory() as folder:
            first = pathlib.Path(folder, "1.journal")
            first.write_bytes(segment(1, 0, (0, [(1, 2, 100, 0)])))
            collection = journal.Collection(folder).read()
            first.unlink()
            pathlib.Path(folder, "2.journal").write_bytes(segment(2, 1, (1, [(2, 2, 200, 0)])))
            self.assertEqual([e.number for e in collection.read().entries()], [1, 2])
            pathlib.Path(folder, "3.journal").write_bytes(segment(3, 5, (5, [(6, 2, 300, 0)])))
            with self.assertRaises(journal.Damaged):
                collection.read().entries()
            pathlib.Path(folder, "2.journal").write_bytes(segment(2, 1, (1, [(2, 2, 201, 0)])))
            with self.assertRaises(journal.Damaged):
                collection.read()


if __name__ == "__main__":
    unittest.main()
