"""A private redis-server, a client for it, and a recorder of every write that it executes."""

import os
import re
import shutil
import signal
import socket
import subprocess
import threading

from . import waiting


class Error(Exception):
    """An error reply."""


class Client:
    """Blocking, one thread at a time. Words may be bytes or str; replies are bytes, int, list or None."""

    def __init__(self, path, timeout=30.0):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.socket.connect(path)
        self.reader = self.socket.makefile("rb", buffering=1 << 16)

    def send(self, commands):
        out = []
        for command in commands:
            out.append(b"*%d\r\n" % len(command))
            for word in command:
                word = word.encode() if isinstance(word, str) else word
                out.append(b"$%d\r\n%b\r\n" % (len(word), word))
        self.socket.sendall(b"".join(out))

    def reply(self):
        line = self.reader.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("redis closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest
        if kind == b"-":
            raise Error(rest.decode(errors="replace"))
        if kind == b":":
            return int(rest)
        if kind == b"$":
            length = int(rest)
            return None if length < 0 else self.reader.read(length + 2)[:-2]
        if kind == b"*":
            count = int(rest)
            return None if count < 0 else [self.reply() for _ in range(count)]
        raise ConnectionError(f"no reply of redis: {line!r}")

    def call(self, *words):
        self.send([words])
        return self.reply()

    def pipeline(self, commands):
        commands = list(commands)
        found = []
        for at in range(0, len(commands), 1000):
            part = commands[at : at + 1000]
            self.send(part)
            found += [self.reply() for _ in part]
        return found

    def close(self):
        self.reader.close()
        self.socket.close()


class Server:
    """A redis-server on a Unix socket in `folder`. Without `persistent` it forgets all when it ends."""

    def __init__(self, folder, persistent=False, options=()):
        self.folder = str(folder)
        os.makedirs(self.folder, exist_ok=True)
        self.path = os.path.join(self.folder, "redis.sock")
        self.url = f"unix:{self.path}"
        self.persistent = persistent
        self.options = list(options)
        self.process = None

    def start(self):
        program = shutil.which("redis-server")
        if program is None:
            raise FileNotFoundError("redis-server: scripts/packages install test")
        if os.path.exists(self.path):
            os.unlink(self.path)
        command = [program, "--port", "0", "--unixsocket", self.path, "--dir", self.folder, "--save", ""]
        command += ["--appendonly", "yes" if self.persistent else "no", "--appendfsync", "always"]
        command += ["--logfile", os.path.join(self.folder, "redis.log"), "--enable-debug-command", "local"]
        self.process = subprocess.Popen(command + self.options, stdin=subprocess.DEVNULL)
        waiting.until(self._answers, "redis-server does not answer", timeout=30)
        return self

    def _answers(self):
        if self.process.poll() is not None:
            raise ChildProcessError(f"redis-server ended with {self.process.returncode}")
        try:
            client = Client(self.path, timeout=5)
        except OSError:
            return False
        try:
            return client.call("PING") == b"PONG"
        except Error:
            return False  # loading
        finally:
            client.close()

    def client(self):
        return Client(self.path)

    def call(self, *words):
        client = self.client()
        try:
            return client.call(*words)
        finally:
            client.close()

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()


_WORD = re.compile(rb'"((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(rb"\\(x[0-9a-f]{2}|.)", re.S)
_ESCAPED = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b"}


def _unescape(word):
    def replace(match):
        escape = match[1]
        if escape[:1] == b"x" and len(escape) == 3:
            return bytes([int(escape[1:], 16)])
        return _ESCAPED.get(escape, escape)

    return _ESCAPE.sub(replace, word) if b"\\" in word else word


class Recorder:
    """Sees every write that the server executes, whoever sends it, from MONITOR: so not only every value
    that a reader could have seen, but every one that ever was. Keeps, for each key, the distinct writes.

    A server that comes back is watched again; what it executes before that is not seen."""

    WRITES = {b"HSET", b"HMSET", b"SET", b"SADD", b"ZADD", b"INCRBY", b"HINCRBY", b"RPUSH", b"LPUSH"}

    def __init__(self, server, ignore_prefix=b"sluice:"):
        self.server = server
        self.ignore = ignore_prefix
        self.seen = {}  # {key: {command: count}}
        self.writes = 0
        self._stop = threading.Event()
        self._watching = threading.Event()
        self._client = None
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()
        if not self._watching.wait(30):
            raise waiting.TimedOut("MONITOR did not begin")

    def _run(self):
        while not self._stop.is_set():
            try:
                self._client = Client(self.server.path, timeout=None)
                self._client.call("MONITOR")
                self._watching.set()
                while True:
                    self._take(self._client.reply())
            except (OSError, Error, ValueError):
                self._stop.wait(0.05)

    def _take(self, line):
        words = [_unescape(word) for word in _WORD.findall(line)]
        if not words or words[0].upper() not in self.WRITES or words[1].startswith(self.ignore):
            return
        self.writes += 1
        commands = self.seen.setdefault(words[1], {})
        command = tuple(words)
        commands[command] = commands.get(command, 0) + 1

    def changed(self):
        """Keys that were written with more than one content: {key: writes}."""
        return {key: list(commands) for key, commands in dict(self.seen).items() if len(commands) > 1}

    def stop(self):
        self._stop.set()
        if self._client is not None:
            try:
                self._client.socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self._thread.join(10)
