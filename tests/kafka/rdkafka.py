"""A small Kafka client for tests: librdkafka through ctypes, nothing but the standard library.

Topics, producing (with timestamps, headers, null values, codecs, transactions) and reading back. It is
for some hundred thousand records, not for millions: each one costs a few microseconds of Python.

    with Admin(brokers) as admin: admin.create_topic("clicks", 4)
    with Producer(brokers) as producer: producer.send("clicks", b'{"a":1}', partition=0, timestamp=1)
    for record in read_topic(brokers, "clicks"): ...

Every failure is a KafkaError. Not thread-safe: one object, one thread.
"""

import ctypes
import ctypes.util
import dataclasses
import time
from ctypes import POINTER, byref, c_char_p, c_int, c_int32, c_int64, c_size_t, c_ssize_t, c_void_p

_BEGINNING = -2
_ANY_PARTITION = -1
_PARTITION_EOF = -191
_QUEUE_FULL = -184
_UNKNOWN_TOPIC = 3
_LEADER_NOT_AVAILABLE = 5
_NOT_LEADER = 6
_TOPIC_ALREADY_EXISTS = 36
_COPY = 0x2  # the value is copied by send()
_PRODUCER, _CONSUMER = 0, 1


class KafkaError(Exception):
    """`code` is librdkafka's number, 0 where there is none."""

    def __init__(self, text, code=0):
        super().__init__(text)
        self.code = code


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    topic: str
    partition: int
    offset: int
    timestamp: int  # ms; -1: none
    append_time: bool  # the timestamp is the broker's
    key: bytes | None
    value: bytes | None
    headers: tuple  # of (name, value), in their order; value may be None


class _Mem(ctypes.Structure):
    _fields_ = [("ptr", c_char_p), ("size", c_size_t)]


class _Header(ctypes.Structure):
    _fields_ = [("name", c_char_p), ("value", c_char_p), ("size", c_ssize_t)]


class _Union(ctypes.Union):
    _fields_ = [
        ("cstr", c_char_p),
        ("i", c_int),
        ("i32", c_int32),
        ("i64", c_int64),
        ("mem", _Mem),
        ("header", _Header),
        ("ptr", c_void_p),
        ("pad", ctypes.c_char * 64),
    ]


class _Argument(ctypes.Structure):  # rd_kafka_vu_t
    _fields_ = [("vtype", c_int), ("u", _Union)]


_V_TOPIC, _V_PARTITION, _V_VALUE, _V_KEY = 1, 3, 4, 5
_V_MSGFLAGS, _V_TIMESTAMP, _V_HEADER = 7, 8, 9


class _Message(ctypes.Structure):
    _fields_ = [
        ("err", c_int),
        ("topic", c_void_p),
        ("partition", c_int32),
        ("payload", c_void_p),
        ("len", c_size_t),
        ("key", c_void_p),
        ("key_len", c_size_t),
        ("offset", c_int64),
        ("private", c_void_p),
    ]


class _TopicPartition(ctypes.Structure):
    _fields_ = [
        ("topic", c_char_p),
        ("partition", c_int32),
        ("offset", c_int64),
        ("metadata", c_void_p),
        ("metadata_size", c_size_t),
        ("opaque", c_void_p),
        ("err", c_int),
        ("private", c_void_p),
    ]


class _MetadataPartition(ctypes.Structure):
    _fields_ = [
        ("id", c_int32),
        ("err", c_int),
        ("leader", c_int32),
        ("replica_count", c_int),
        ("replicas", c_void_p),
        ("isr_count", c_int),
        ("isrs", c_void_p),
    ]


class _MetadataTopic(ctypes.Structure):
    _fields_ = [
        ("topic", c_char_p),
        ("partition_count", c_int),
        ("partitions", POINTER(_MetadataPartition)),
        ("err", c_int),
    ]


class _Metadata(ctypes.Structure):
    _fields_ = [
        ("broker_count", c_int),
        ("brokers", c_void_p),
        ("topic_count", c_int),
        ("topics", POINTER(_MetadataTopic)),
        ("origin_broker_id", c_int32),
        ("origin_broker_name", c_char_p),
    ]


_DeliveryReport = ctypes.CFUNCTYPE(None, c_void_p, POINTER(_Message), c_void_p)


def _load():
    lib = ctypes.CDLL("librdkafka.so.1")
    handle = c_void_p
    # Name: (result, arguments). What is not listed here returns an int and takes no pointer by value.
    signatures = {
        "conf_new": (handle, []),
        "conf_set": (c_int, [handle, c_char_p, c_char_p, c_char_p, c_size_t]),
        "conf_destroy": (None, [handle]),
        "conf_set_dr_msg_cb": (None, [handle, _DeliveryReport]),
        "new": (handle, [c_int, handle, c_char_p, c_size_t]),
        "destroy": (None, [handle]),
        "err2str": (c_char_p, [c_int]),
        "produceva": (handle, [handle, POINTER(_Argument), c_size_t]),
        "poll": (c_int, [handle, c_int]),
        "flush": (c_int, [handle, c_int]),
        "outq_len": (c_int, [handle]),
        "init_transactions": (handle, [handle, c_int]),
        "begin_transaction": (handle, [handle]),
        "commit_transaction": (handle, [handle, c_int]),
        "abort_transaction": (handle, [handle, c_int]),
        "error_code": (c_int, [handle]),
        "error_string": (c_char_p, [handle]),
        "error_destroy": (None, [handle]),
        "poll_set_consumer": (c_int, [handle]),
        "consumer_poll": (POINTER(_Message), [handle, c_int]),
        "consumer_close": (c_int, [handle]),
        "assign": (c_int, [handle, handle]),
        "message_destroy": (None, [POINTER(_Message)]),
        "message_timestamp": (c_int64, [POINTER(_Message), POINTER(c_int)]),
        "message_headers": (c_int, [POINTER(_Message), POINTER(handle)]),
        "header_get_all": (
            c_int,
            [handle, c_size_t, POINTER(c_char_p), POINTER(c_void_p), POINTER(c_size_t)],
        ),
        "query_watermark_offsets": (
            c_int,
            [handle, c_char_p, c_int32, POINTER(c_int64), POINTER(c_int64), c_int],
        ),
        "topic_partition_list_new": (handle, [c_int]),
        "topic_partition_list_add": (POINTER(_TopicPartition), [handle, c_char_p, c_int32]),
        "topic_partition_list_destroy": (None, [handle]),
        "metadata": (c_int, [handle, c_int, handle, POINTER(POINTER(_Metadata)), c_int]),
        "metadata_destroy": (None, [POINTER(_Metadata)]),
        "topic_new": (handle, [handle, c_char_p, handle]),
        "topic_destroy": (None, [handle]),
        "queue_new": (handle, [handle]),
        "queue_destroy": (None, [handle]),
        "queue_poll": (handle, [handle, c_int]),
        "event_error": (c_int, [handle]),
        "event_error_string": (c_char_p, [handle]),
        "event_destroy": (None, [handle]),
        "NewTopic_new": (handle, [c_char_p, c_int, c_int, c_char_p, c_size_t]),
        "NewTopic_set_config": (c_int, [handle, c_char_p, c_char_p]),
        "NewTopic_destroy": (None, [handle]),
        "CreateTopics": (None, [handle, POINTER(handle), c_size_t, handle, handle]),
        "event_CreateTopics_result": (handle, [handle]),
        "CreateTopics_result_topics": (POINTER(handle), [handle, POINTER(c_size_t)]),
        "DeleteTopic_new": (handle, [c_char_p]),
        "DeleteTopic_destroy": (None, [handle]),
        "DeleteTopics": (None, [handle, POINTER(handle), c_size_t, handle, handle]),
        "event_DeleteTopics_result": (handle, [handle]),
        "DeleteTopics_result_topics": (POINTER(handle), [handle, POINTER(c_size_t)]),
        "NewPartitions_new": (handle, [c_char_p, c_size_t, c_char_p, c_size_t]),
        "NewPartitions_destroy": (None, [handle]),
        "CreatePartitions": (None, [handle, POINTER(handle), c_size_t, handle, handle]),
        "event_CreatePartitions_result": (handle, [handle]),
        "CreatePartitions_result_topics": (POINTER(handle), [handle, POINTER(c_size_t)]),
        "topic_result_error": (c_int, [handle]),
        "topic_result_error_string": (c_char_p, [handle]),
        "DeleteRecords_new": (handle, [handle]),
        "DeleteRecords_destroy": (None, [handle]),
        "DeleteRecords": (None, [handle, POINTER(handle), c_size_t, handle, handle]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(lib, "rd_kafka_" + name)
        function.restype = result
        function.argtypes = arguments
    return lib


_lib = _load()


def _call(name, *arguments):
    return getattr(_lib, "rd_kafka_" + name)(*arguments)


def _check(code, what):
    if code != 0:
        raise KafkaError(f"{what}: {_call('err2str', code).decode()}", code)


def _check_error(error, what):
    if error:
        text, code = _call("error_string", error).decode(), _call("error_code", error)
        _call("error_destroy", error)
        raise KafkaError(f"{what}: {text}", code)


class _Client:
    def __init__(self, kind, brokers, properties):
        text = ctypes.create_string_buffer(512)
        conf = _call("conf_new")
        for name, value in {"bootstrap.servers": brokers, "log_level": 3, **properties}.items():
            if _call("conf_set", conf, name.encode(), str(value).encode(), text, 512) != 0:
                _call("conf_destroy", conf)
                raise KafkaError(text.value.decode())
        self._prepare(conf)
        self._handle = _call("new", kind, conf, text, 512)
        if not self._handle:
            _call("conf_destroy", conf)
            raise KafkaError(text.value.decode())

    def _prepare(self, conf):
        pass

    def close(self):
        if self._handle:
            _call("destroy", self._handle)
            self._handle = None

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


class Admin(_Client):
    """Topics, partitions, ranges."""

    def __init__(self, brokers, **properties):
        super().__init__(_PRODUCER, brokers, properties)

    def create_topic(self, name, partitions, config=None, timeout=60):
        """Creates a topic and waits until its partitions have a leader.

        A topic of the same name that is still being deleted is waited for."""
        deadline = time.monotonic() + timeout
        while True:
            text = ctypes.create_string_buffer(512)
            topic = _call("NewTopic_new", name.encode(), partitions, 1, text, 512)
            if not topic:
                raise KafkaError(text.value.decode())
            for key, value in (config or {}).items():
                code = _call("NewTopic_set_config", topic, key.encode(), str(value).encode())
                _check(code, f"topic {name}: {key}")
            was_there = name in self.topics()
            try:
                self._operation("CreateTopics", topic, timeout)
                break
            except KafkaError as error:
                deleted = error.code == _TOPIC_ALREADY_EXISTS and not was_there
                if not deleted or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            finally:
                _call("NewTopic_destroy", topic)
        self._wait_for_leaders(name, partitions, deadline)

    def add_partitions(self, name, total, timeout=60):
        """Grows a topic to `total` partitions."""
        deadline = time.monotonic() + timeout
        text = ctypes.create_string_buffer(512)
        request = _call("NewPartitions_new", name.encode(), total, text, 512)
        if not request:
            raise KafkaError(text.value.decode())
        try:
            self._operation("CreatePartitions", request, timeout)
        finally:
            _call("NewPartitions_destroy", request)
        self._wait_for_leaders(name, total, deadline)

    def delete_topic(self, name, timeout=60):
        """Deletes a topic and waits until it is out of the metadata."""
        deadline = time.monotonic() + timeout
        request = _call("DeleteTopic_new", name.encode())
        try:
            self._operation("DeleteTopics", request, timeout)
        finally:
            _call("DeleteTopic_destroy", request)
        while name in self.topics():
            if time.monotonic() > deadline:
                raise KafkaError(f"topic {name} is still there after its deletion")
            time.sleep(0.05)

    def delete_records(self, topic, partition, before, timeout=60):
        """Moves the log start of a partition up to `before`."""
        offsets = _call("topic_partition_list_new", 1)
        _call("topic_partition_list_add", offsets, topic.encode(), partition)[0].offset = before
        request = _call("DeleteRecords_new", offsets)
        try:
            self._operation("DeleteRecords", request, timeout)
        finally:
            _call("DeleteRecords_destroy", request)
            _call("topic_partition_list_destroy", offsets)
        if self.range(topic, partition)[0] != before:
            raise KafkaError(f"{topic}[{partition}]: the log start did not move to {before}")

    def topics(self, timeout=30):
        """{name: number of partitions}, without Kafka's own."""
        return {name: count for name, (count, _) in self._metadata(timeout).items()}

    def range(self, topic, partition, timeout=30):
        """(log start, end of the log) of a partition; the end counts open transactions, too."""
        begin, end = c_int64(), c_int64()
        deadline = time.monotonic() + timeout
        while True:
            code = _call(
                "query_watermark_offsets",
                self._handle,
                topic.encode(),
                partition,
                byref(begin),
                byref(end),
                int(timeout * 1000),
            )
            # A new partition's leader is known to the metadata before it takes up its office.
            if code not in (_LEADER_NOT_AVAILABLE, _NOT_LEADER) or time.monotonic() > deadline:
                _check(code, f"{topic}[{partition}]")
                return begin.value, end.value
            time.sleep(0.05)

    def _operation(self, name, request, timeout):
        requests = (c_void_p * 1)(request)
        queue = _call("queue_new", self._handle)
        try:
            _call(name, self._handle, requests, 1, None, queue)
            event = _call("queue_poll", queue, int(timeout * 1000))
            if not event:
                raise KafkaError(f"{name}: no answer within {timeout} s")
            try:
                code = _call("event_error", event)
                if code != 0:
                    raise KafkaError(f"{name}: {_call('event_error_string', event).decode()}", code)
                if name == "DeleteRecords":
                    return
                count = c_size_t()
                result = _call(f"event_{name}_result", event)
                topics = _call(f"{name}_result_topics", result, byref(count))
                for i in range(count.value):
                    code = _call("topic_result_error", topics[i])
                    if code != 0:
                        text = _call("topic_result_error_string", topics[i]) or b""
                        raise KafkaError(f"{name}: {text.decode()}", code)
            finally:
                _call("event_destroy", event)
        finally:
            _call("queue_destroy", queue)

    def _metadata(self, timeout):
        answer = POINTER(_Metadata)()
        code = _call("metadata", self._handle, 1, None, byref(answer), int(timeout * 1000))
        _check(code, "metadata")
        try:
            found = {}
            for i in range(answer[0].topic_count):
                topic = answer[0].topics[i]
                name = topic.topic.decode()
                if topic.err == 0 and not name.startswith("__"):
                    leaders = [
                        topic.partitions[j].leader >= 0 and topic.partitions[j].err == 0
                        for j in range(topic.partition_count)
                    ]
                    found[name] = (topic.partition_count, all(leaders))
            return found
        finally:
            _call("metadata_destroy", answer)

    def _wait_for_leaders(self, name, partitions, deadline):
        while self._metadata(30).get(name) != (partitions, True):
            if time.monotonic() > deadline:
                raise KafkaError(f"topic {name}: not all of its {partitions} partitions have a leader")
            time.sleep(0.05)


class Producer(_Client):
    """Sends records; flush() raises the first delivery error. With `transactional_id` every send must lie
    between begin() and commit() or abort()."""

    def __init__(self, brokers, codec="none", transactional_id=None, **properties):
        self.delivered = 0
        self._first_error = None
        self._arguments = (_Argument * 64)()
        properties = {"compression.codec": codec, "linger.ms": 5, **properties}
        if transactional_id is not None:
            properties["transactional.id"] = transactional_id
        super().__init__(_PRODUCER, brokers, properties)
        if transactional_id is not None:
            # The first transactional producer of a broker waits until the coordinator's topic is there.
            deadline = time.monotonic() + 60
            while True:
                error = _call("init_transactions", self._handle, 30000)
                if not error:
                    break
                if time.monotonic() > deadline:
                    _check_error(error, "init_transactions")
                _call("error_destroy", error)

    def _prepare(self, conf):
        def report(_, message, __):
            if message[0].err == 0:
                self.delivered += 1
            elif self._first_error is None:
                self._first_error = message[0].err

        self._report = _DeliveryReport(report)  # must outlive the handle
        _call("conf_set_dr_msg_cb", conf, self._report)

    def send(self, topic, value, key=None, partition=_ANY_PARTITION, timestamp=0, headers=()):
        """Queues one record; blocks while the queue is full. `timestamp` in ms, 0: now. A value or key of
        None is a null, b"" is not."""
        arguments = self._arguments
        arguments[0].vtype, arguments[0].u.cstr = _V_TOPIC, topic.encode()
        arguments[1].vtype, arguments[1].u.i32 = _V_PARTITION, partition
        arguments[2].vtype, arguments[2].u.i = _V_MSGFLAGS, _COPY
        arguments[3].vtype, arguments[3].u.i64 = _V_TIMESTAMP, timestamp
        count = 4
        for vtype, data in ((_V_VALUE, value), (_V_KEY, key)):
            arguments[count].vtype = vtype
            arguments[count].u.mem.ptr = data
            arguments[count].u.mem.size = len(data) if data is not None else 0
            count += 1
        for name, data in headers:
            arguments[count].vtype = _V_HEADER
            arguments[count].u.header.name = name.encode()
            arguments[count].u.header.value = data
            arguments[count].u.header.size = len(data) if data is not None else 0
            count += 1
        while True:
            error = _call("produceva", self._handle, arguments, count)
            if not error:
                break
            if _call("error_code", error) != _QUEUE_FULL:
                _check_error(error, "send")
            _call("error_destroy", error)
            _call("poll", self._handle, 100)
        _call("poll", self._handle, 0)

    def flush(self, timeout=60):
        code = _call("flush", self._handle, int(timeout * 1000))
        if self._first_error is not None:
            code, self._first_error = self._first_error, None
        _check(code, "flush")

    def begin(self):
        _check_error(_call("begin_transaction", self._handle), "begin")

    def commit(self, timeout=60):
        _check_error(_call("commit_transaction", self._handle, int(timeout * 1000)), "commit")

    def abort(self, timeout=60):
        """Aborts; what was sent is first brought to the log, so that the abort has something to hide."""
        self.flush(timeout)
        _check_error(_call("abort_transaction", self._handle, int(timeout * 1000)), "abort")

    def close(self):
        if self._handle and _call("outq_len", self._handle) > 0:
            _call("flush", self._handle, 10000)
        super().close()


class Consumer(_Client):
    """Reads assigned partitions, without group membership."""

    def __init__(self, brokers, committed=True, **properties):
        defaults = {
            "group.id": "sluice-tests",
            "enable.auto.commit": "false",
            "enable.partition.eof": "true",
            "isolation.level": "read_committed" if committed else "read_uncommitted",
            "fetch.error.backoff.ms": 50,
            "fetch.wait.max.ms": 50,
        }
        super().__init__(_CONSUMER, brokers, {**defaults, **properties})
        _call("poll_set_consumer", self._handle)

    def assign(self, topic, positions):
        """`positions`: {partition: first offset to read, -2 for the log start}."""
        offsets = _call("topic_partition_list_new", len(positions))
        for partition, offset in positions.items():
            entry = _call("topic_partition_list_add", offsets, topic.encode(), partition)
            entry[0].offset = offset
        code = _call("assign", self._handle, offsets)
        _call("topic_partition_list_destroy", offsets)
        _check(code, f"assign {topic}")
        self._topic = topic

    def poll(self, timeout=0.1):
        """A Record, the number of a partition whose end was reached, or None."""
        message = _call("consumer_poll", self._handle, int(timeout * 1000))
        if not message:
            return None
        try:
            m = message[0]
            if m.err == _PARTITION_EOF:
                return int(m.partition)
            if m.err != 0:
                _check(m.err, f"{self._topic}[{m.partition}]")
            kind = c_int()
            timestamp = _call("message_timestamp", message, byref(kind))
            return Record(
                self._topic,
                m.partition,
                m.offset,
                timestamp if kind.value != 0 else -1,
                kind.value == 2,
                None if not m.key else ctypes.string_at(m.key, m.key_len),
                None if not m.payload else ctypes.string_at(m.payload, m.len),
                self._headers(message),
            )
        finally:
            _call("message_destroy", message)

    @staticmethod
    def _headers(message):
        handle = c_void_p()
        if _call("message_headers", message, byref(handle)) != 0:
            return ()
        found = []
        name, value, size = c_char_p(), c_void_p(), c_size_t()
        while _call(
            "header_get_all", handle, len(found), byref(name), byref(value), byref(size)
        ) == 0:
            data = None if not value.value else ctypes.string_at(value.value, size.value)
            found.append((name.value.decode(), data))
        return tuple(found)

    def close(self):
        if self._handle:
            _call("consumer_close", self._handle)
        super().close()


def read_topic(brokers, topic, partitions=None, committed=True, timeout=60):
    """Yields every record that is in the topic now, partition by partition in no fixed order.

    `committed`: records of aborted and open transactions are left out."""
    if partitions is None:
        with Admin(brokers) as admin:
            count = admin.topics().get(topic)
        if count is None:
            raise KafkaError(f"unknown topic {topic}", _UNKNOWN_TOPIC)
        partitions = range(count)
    missing = set(partitions)
    with Consumer(brokers, committed) as consumer:
        consumer.assign(topic, {partition: _BEGINNING for partition in missing})
        deadline = time.monotonic() + timeout
        while missing:
            record = consumer.poll()
            if isinstance(record, Record):
                deadline = time.monotonic() + timeout
                if record.partition in missing:
                    yield record
            elif record is not None:
                missing.discard(record)
            elif time.monotonic() > deadline:
                raise KafkaError(f"{topic}: nothing came for {timeout} s")
