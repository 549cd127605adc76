"""The pipeline's rules, record by record: what is counted, which windows are written, and with what."""

import dataclasses
from fractions import Fraction

from . import database, decode, expression, journal, values

_NEVER = -(2**63)


@dataclasses.dataclass(frozen=True)
class Start:
    """Where the reading of a partition began."""

    offset: int = 0
    empty: bool = False  # it held nothing when it was first seen


def _ledger():
    return {"consumed": 0, "exploded": 0, "reached": 0, "filtered": 0, "null": 0, "undecodable": 0,
            "duplicate": 0, "skipped": 0}


def _reduction_ledger():
    return {"reached": 0, "folded": 0, "filtered": 0, "late": 0, "refused": 0}


@dataclasses.dataclass
class Result:
    reduction: str
    key: tuple  # printed parts
    start: int
    end: int
    values: dict
    complete: bool
    rev: int
    commands: list


@dataclasses.dataclass
class Outcome:
    results: list
    database: database.Expected
    frontiers: dict  # {reduction id: window end}; none for one without results
    ledgers: dict  # by (topic, partition)
    reductions: dict  # ledgers by id
    dead_letters: list  # of (record, reason)
    watermark: int  # the pipeline's, at the end of the records and of the journal
    records: int
    open_windows: dict  # by id: ends of windows with records that are not written yet

    @property
    def ledger(self):
        total = _ledger()
        for ledger in self.ledgers.values():
            for name, count in ledger.items():
                total[name] += count
        return total


class Gathered:
    """One reduction (a node) over the records of one key and window."""

    def __init__(self, node):
        self.name, self.argument, self.where = node[1:]
        self.values = []

    def add(self, scope, position, errors):
        if self.where is not None and expression.evaluate(self.where, scope, errors) is not True:
            return
        if self.argument is None:
            self.values.append((position, None))
            return
        value = expression.evaluate(self.argument, scope, errors)
        if value is None or isinstance(value, (list, dict)):
            return
        if self.name in ("sum", "mean") and not values.is_number(value):
            errors.wrong_type += 1
            return
        self.values.append((position, value))

    def result(self, errors):
        found = [value for _, value in self.values]
        if self.name == "count":
            return len(found)
        if not found:
            return None
        if self.name == "first":
            return min(self.values, key=lambda entry: entry[0])[1]
        if self.name == "last":
            return max(self.values, key=lambda entry: entry[0])[1]
        if self.name in ("min", "max"):
            return self._extreme(found, errors)
        total = sum((values.exact(value) for value in found), Fraction(0))
        if self.name == "mean":
            return values.to_float(total / len(found), errors)
        return self._sum(found, total, errors)

    def _extreme(self, found, errors):
        if len({values.kind(value) for value in found}) != 1:
            errors.wrong_type += 1
            return None
        order = values.exact if values.kind(found[0]) == "number" else lambda value: value
        return (min if self.name == "min" else max)(found, key=order)

    @staticmethod
    def _sum(found, total, errors):
        if any(isinstance(value, float) for value in found):
            return values.to_float(total, errors)
        if any(isinstance(value, values.Dec) for value in found):
            unscaled = int(total * values.SCALE)
            if values.digits(unscaled) <= 38:  # more before the point than a decimal that is computed with
                return values.Dec(unscaled)
        elif abs(total) < values.DECIMAL_BOUND:
            return int(total)
        errors.overflow += 1
        return None


class _Row:
    """What is known of one key in one window."""

    def __init__(self, nodes):
        self.gathered = {repr(node): Gathered(node) for node in nodes}
        self.rev = 0


class _RecordScope:
    def __init__(self, record, document, errors):
        self.record, self.document, self.errors = record, document, errors
        self.kafka = {
            "topic": record.topic.encode(),
            "partition": record.partition,
            "offset": record.offset,
            "timestamp": record.timestamp if record.timestamp >= 0 else None,
            "key": record.key,
        }

    def lookup(self, path):
        return decode.scalar(decode.look_up(self.document, path), self.errors)

    def kafka_header(self, name):
        for header, value in self.record.headers:
            if header.encode() == name:
                return value
        return None


class _ResultScope:
    kafka = {}

    def __init__(self, row, errors):
        self.row, self.errors = row, errors

    def reduce(self, node):
        return self.row.gathered[repr(node)].result(self.errors)


class Computation:
    """One pipeline over all records of all its partitions."""

    def __init__(self, versions, entries, starts):
        self.versions = versions  # the n-th reload entry is where versions[n + 1] takes over
        self.pipeline = versions[-1]
        self.entries = entries
        self.reloads = [entry for entry in entries if entry.kind == journal.RELOAD][: len(versions) - 1]
        self.at_reload = [[] for _ in self.reloads]  # (watermark, greatest timestamp) by partition
        self.starts = starts
        self.errors = values.Errors()
        everything = [reduction for version in versions for reduction in version.reductions]
        self.rows = {reduction.id: {} for reduction in everything}  # {(start, key): _Row}
        self.nodes = {reduction.id: {} for reduction in everything}
        for reduction in everything:
            self.nodes[reduction.id].update((repr(node), node) for node in _nodes(reduction))
        self.ledgers = {partition: _ledger() for partition in starts}
        self.reduction_ledgers = {reduction.id: _reduction_ledger() for reduction in everything}
        self.dead_letters = []
        self.watermarks = {}
        self.incomplete_before = []
        self.last_record = {}

    def run(self, records):
        by_partition = {partition: [] for partition in self.starts}
        for record in records:
            partition = (record.topic, record.partition)
            if partition in by_partition and record.offset >= self.starts[partition].offset:
                by_partition[partition].append(record)
        for partition, found in by_partition.items():
            found.sort(key=lambda record: record.offset)
            self._partition(partition, found)
        return self._outcome(sum(map(len, by_partition.values())))

    # ---- one partition

    def _partition(self, partition, records):
        version = 0
        self.pipeline = self.versions[0]
        ledger = self.ledgers[partition]
        greatest = floor = _NEVER
        cap = tick = None
        pending = [(entry.offset(partition), entry) for entry in self.entries]
        at = 0
        incomplete_before = None

        def marked():
            return max(greatest - self.pipeline.out_of_order if greatest != _NEVER else _NEVER, floor)

        for record in records:
            while at < len(pending) and pending[at][0] <= record.offset:
                entry = pending[at][1]
                if entry.kind == journal.CUT:
                    floor = max(floor, entry.time)
                elif entry.kind == journal.TICK:
                    if tick is not None and entry.time < tick:
                        raise AssertionError(f"barrier {entry.number}: processing time goes back")
                    tick = entry.time
                elif entry.kind == journal.CAP:
                    cap = entry.time
                elif entry.kind == journal.RELOAD and version < len(self.reloads):
                    floor = marked()
                    self.at_reload[version].append((floor, greatest))
                    version += 1
                    self.pipeline = self.versions[version]
                at += 1
            self.last_record[partition] = record.offset
            ledger["consumed"] += 1
            if record.value is None:
                ledger["null"] += 1
                if self.pipeline.on_null == "dead_letter":
                    self.dead_letters.append((record, "null"))
                continue
            try:
                document = decode.decode(record.value, self.pipeline.max_bytes, self.pipeline.max_depth)
                scope = _RecordScope(record, document, self.errors)
                timestamp = self._timestamp(scope)
            except decode.Undecodable as reason:
                ledger["undecodable"] += 1
                if self.pipeline.on_error == "dead_letter":
                    self.dead_letters.append((record, str(reason)))
                continue
            if incomplete_before is None:
                incomplete_before = timestamp + self.pipeline.out_of_order
            watermark = marked()
            self._record(scope, ledger, timestamp, watermark, tick)
            if not self._guarded(record, timestamp, cap):
                greatest = max(greatest, timestamp)
        for _, entry in pending[at:]:
            if entry.kind == journal.CUT:
                floor = max(floor, entry.time)
            elif entry.kind == journal.RELOAD and version < len(self.reloads):
                floor = marked()
                self.at_reload[version].append((floor, greatest))
                version += 1
                self.pipeline = self.versions[version]
        watermark = marked()
        self.watermarks[partition] = (watermark, greatest != _NEVER)
        start = self.starts[partition]
        if start.offset > 0 and not start.empty and incomplete_before is not None:
            self.incomplete_before.append(incomplete_before)

    def _guarded(self, record, timestamp, cap):
        skew = self.pipeline.max_future_skew
        if skew is None:
            return False
        if record.append_time:
            cap = record.timestamp + skew
        return cap is not None and timestamp > cap

    def _timestamp(self, scope):
        """Event time in ms; Undecodable if it cannot be read."""
        if self.pipeline.timestamp is None:
            if scope.record.timestamp < 0:
                raise decode.Undecodable("no Kafka timestamp")
            return scope.record.timestamp
        value = expression.evaluate(self.pipeline.timestamp, scope, self.errors)
        unit = self.pipeline.timestamp_unit
        if unit == "rfc3339":
            timestamp = values.rfc3339(value) if isinstance(value, bytes) else None
        else:
            if isinstance(value, bytes):
                value = values.text_number(value, self.errors)
            if not values.is_number(value):
                raise decode.Undecodable("no event time")
            per_ms = {"s": Fraction(1000), "ms": Fraction(1), "us": Fraction(1, 1000), "ns": Fraction(1, 10**6)}
            timestamp = values.exact(value) * per_ms[unit] // 1
        if timestamp is None or not values.TIME_MIN <= timestamp <= values.TIME_MAX:
            raise decode.Undecodable("no event time")
        return timestamp

    # ---- one record

    def _record(self, scope, ledger, timestamp, watermark, tick):
        for step in self.pipeline.steps:
            if step.filter is not None:
                if expression.evaluate(step.filter, scope, self.errors) is not True:
                    ledger["filtered"] += 1
                    return
            else:
                computed = [
                    (path, expression.evaluate(value, scope, self.errors)) for path, value in step.assign
                ]
                for path, value in computed:
                    decode.assign(scope.document, path, value)
        ledger["reached"] += 1
        for reduction in self.pipeline.reductions:
            self._reduce(reduction, scope, timestamp, watermark, tick)

    def _reduce(self, reduction, scope, timestamp, watermark, tick):
        ledger = self.reduction_ledgers[reduction.id]
        ledger["reached"] += 1
        if reduction.filter is not None:
            if expression.evaluate(reduction.filter, scope, self.errors) is not True:
                ledger["filtered"] += 1
                return
        parts = [expression.evaluate(part, scope, self.errors) for _, part in reduction.key]
        if any(part is None for part in parts) and not reduction.keep_null_key:
            ledger["refused"] += 1
            return
        key = tuple(values.printed(part) for part in parts)
        late_arrival = False
        if reduction.event_time:
            start, end = reduction.window(timestamp)
            if end + reduction.lateness <= watermark:
                ledger["late"] += 1
                return
            late_arrival = end <= watermark
        else:
            if tick is None:
                raise AssertionError(f"{scope.record}: no tick before it")
            start, end = reduction.window(tick)
        ledger["folded"] += 1
        rows = self.rows[reduction.id]
        row = rows.get((start, key))
        if row is None:
            row = rows[start, key] = _Row(self.nodes[reduction.id].values())
        row.rev += late_arrival
        record = scope.record
        position = (timestamp, record.topic.encode(), record.partition, record.offset)
        for node in _nodes(reduction):
            row.gathered[repr(node)].add(scope, position, self.errors)

    # ---- results

    def _pipeline_watermark(self):
        """Up to here every window is written."""
        idle = set()
        for entry in self.entries:
            if entry.kind == journal.IDLE:
                for partition in entry.idle:
                    if self.last_record.get(partition, -1) < entry.offset(partition):
                        idle.add(partition)
        cuts = [entry.time for entry in self.entries if entry.kind == journal.CUT]
        watermark = max(cuts, default=_NEVER)
        if not idle and self.watermarks:
            # A floor is a watermark, too; one partition without any holds all back.
            watermark = max(watermark, min(mark for mark, _ in self.watermarks.values()))
        return watermark

    def _definitions(self, identity):
        """[(reduction, written up to, whole from)] of one id, in the order of the versions."""
        found, whole_from, before = [], _NEVER, None
        for number, version in enumerate(self.versions[: len(self.reloads) + 1]):
            reduction = next((one for one in version.reductions if one.id == identity), None)
            if reduction is not None and number > 0:
                nodes = {repr(node) for node in _nodes(reduction)}
                if before is None or nodes - {repr(node) for node in _nodes(before)}:
                    last = max((greatest for _, greatest in self.at_reload[number - 1]), default=_NEVER)
                    last = last if reduction.event_time else self._tick_before(number - 1)
                    whole_from = max(whole_from, last + 1)
            if reduction is not None:
                found.append((reduction, self._passed(number, reduction), whole_from))
            before = reduction
        return found

    def _tick_before(self, number):
        ticks = [entry.time for entry in self.entries
                 if entry.kind == journal.TICK and entry.number < self.reloads[number].number]
        return max(ticks, default=_NEVER)

    def _passed(self, number, reduction):
        """Up to here (lateness included) version `number` writes."""
        if number < len(self.reloads):
            if not reduction.event_time:
                return self._tick_before(number)
            return min((mark for mark, _ in self.at_reload[number]), default=_NEVER)
        if reduction.event_time:
            return self._pipeline_watermark()
        return max((entry.time for entry in self.entries if entry.kind == journal.TICK), default=_NEVER)

    def _outcome(self, count):
        self.pipeline = self.versions[len(self.reloads)]
        watermark = self._pipeline_watermark()
        results, frontiers, open_windows = [], {}, {}
        for identity, rows in self.rows.items():
            definitions = self._definitions(identity)
            for (start, key), row in rows.items():
                for reduction, passed, whole_from in definitions:
                    end = start + reduction.size
                    if end + reduction.lateness <= passed:
                        frontiers[identity] = max(frontiers.get(identity, _NEVER), end)
                        result = self._result(reduction, start, key, row, whole_from)
                        if result.complete or not reduction.suppress_incomplete:
                            results.append(result)
                        break
                else:
                    open_windows.setdefault(identity, set()).add(start + definitions[-1][0].size)
        results.sort(key=lambda result: (result.end, result.reduction, result.key))
        expected = database.Expected()
        by_id = {one.id: one for version in self.versions for one in version.reductions}
        for result in results:
            reduction = by_id[result.reduction]
            ttl = ("none",)
            if reduction.ttl is not None:
                ttl = ("within", reduction.ttl)
                if reduction.ttl_from_window:
                    ttl = ("at", result.end + reduction.ttl)
            for command in result.commands:
                expected.apply(command, ttl)
        return Outcome(
            results,
            expected,
            frontiers,
            self.ledgers,
            self.reduction_ledgers,
            self.dead_letters,
            watermark,
            count,
            open_windows,
        )

    def _result(self, reduction, start, key, row, whole_from):
        scope = _ResultScope(row, self.errors)
        end = start + reduction.size
        computed = {
            name: expression.evaluate(value, scope, self.errors) for name, value in reduction.values
        }
        complete = all(start >= before for before in [*self.incomplete_before, whole_from])
        places = {
            **{name: part for (name, _), part in zip(reduction.key, key)},
            **{name: values.printed(value) for name, value in computed.items()},
            "pipeline": self.pipeline.name.encode(),
            "reduce": reduction.id.encode(),
            "window.start": start,
            "window.end": end,
            "final": b"1",
            "complete": b"1" if complete else b"0",
            "rev": b"%d" % row.rev,
        }
        commands = [command.render(places.__getitem__) for command in reduction.commands]
        return Result(reduction.id, key, start, end, computed, complete, row.rev, commands)


def _nodes(reduction):
    # By their text: to Python 1, 1.0 and True are equal, and so are nodes that hold them.
    found = {}
    for _, value in reduction.values:
        for node in expression.reductions(value):
            found[repr(node)] = node
    return list(found.values())


def compute(pipeline, records, entries=(), starts=None):
    """The outcome of `records` (any order), with the journal's entries in order. `starts`: {(topic,
    partition): Start}, every partition that is read; without it, those that have records, from 0.
    `pipeline` may be a list: each reload entry makes the next one take over. A reduction that is
    gone does not come back, and keeps its key, window and lateness while it is there."""
    records = list(records)
    if starts is None:
        starts = {(record.topic, record.partition): Start() for record in records}
    versions = pipeline if isinstance(pipeline, list) else [pipeline]
    return Computation(versions, list(entries), starts).run(records)
