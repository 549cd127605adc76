"""The daemon under test, as a child process."""

import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import threading
import time

from . import waiting

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BINARY = os.environ.get("SLUICE_BINARY") or str(ROOT / "build" / "release" / "sluice")


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Notices:
    """Stands in for systemd: what the daemon says by sd_notify, with the time."""

    def __init__(self, path):
        self.path = path
        self.said = []  # of (monotonic, text)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(path)
        self._thread = threading.Thread(target=self._run, name="notices", daemon=True)
        self._thread.start()

    def _run(self):
        while True:
            try:
                text = self._socket.recv(65536).decode(errors="replace")
            except OSError:
                return
            if not text:
                return
            self.said.append((time.monotonic(), text))

    def when(self, word):
        """The instants at which a line `word` was said."""
        return [at for at, text in list(self.said) if word in text.splitlines()]

    def close(self):
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._socket.close()


class Daemon:
    """One pipeline: a configuration file, a state directory, a control socket. Runs many times."""

    def __init__(self, folder, config, name, environment=None, command_prefix=(), runtime=None):
        self.folder = pathlib.Path(folder)
        self.config = str(config)
        self.name = name
        self.runtime = pathlib.Path(runtime or self.folder / "run")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.runtime.mkdir(parents=True, exist_ok=True)
        self.socket_path = str(self.runtime / "control.sock")
        self.log_path = self.folder / "daemon.log"
        self.prefix = list(command_prefix)
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("SLUICE_") or key == "SLUICE_MUTANT"},
            "RUNTIME_DIRECTORY": str(self.runtime),
            **(environment or {}),
        }
        self.process = None
        self.starts = 0

    def start(self, *options, environment=None, binary=None):
        """Does not wait for anything."""
        if self.process is not None and self.process.poll() is None:
            raise AssertionError("the daemon already runs")
        if os.path.exists(self.socket_path):
            os.unlink(self.socket_path)  # so that nobody talks to the last run
        with open(self.log_path, "ab") as log:
            log.write(f"---- start {self.starts}: {' '.join(options)} {environment or ''}\n".encode())
            log.flush()
            self.process = subprocess.Popen(
                [*self.prefix, binary or BINARY, "run", self.config, "--force", *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**self.environment, **(environment or {})},
            )
        self.starts += 1
        return self

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def wait_exit(self, timeout=60):
        """The exit code; minus the signal if it died of one."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise waiting.TimedOut(f"the daemon did not end within {timeout} s\n{self.log_tail()}") from None

    def kill(self):
        if self.alive():
            self.process.send_signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()

    def terminate(self, timeout=60):
        self.process.send_signal(signal.SIGTERM)
        return self.wait_exit(timeout)

    def run(self, *options, timeout=120, environment=None):
        """Starts, waits for the end, returns the exit code."""
        self.start(*options, environment=environment)
        return self.wait_exit(timeout)

    # ---- what it says

    def get(self, path, timeout=5):
        """(HTTP status, body) from the control socket."""
        connection = _UnixConnection(self.socket_path, timeout)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def status(self):
        """The status as a dictionary; None while there is none to be had."""
        try:
            code, body = self.get("/status")
        except (OSError, http.client.HTTPException):
            return None
        if code != 200:
            raise AssertionError(f"/status: {code} {body!r}")
        return json.loads(body)

    def expect_alive(self):
        if not self.alive():
            raise AssertionError(f"the daemon ended with {self.process.returncode}\n{self.log_tail()}")

    def wait_status(self, condition, what, timeout=60):
        """The first status that meets `condition`."""
        last = None

        def check():
            nonlocal last
            self.expect_alive()
            last = self.status()
            return last if last is not None and condition(last) else None

        return waiting.until(check, lambda: f"{what}; last status: {json.dumps(last)}\n{self.log_tail()}", timeout)

    def wait_ready(self, timeout=60):
        return self.wait_status(lambda status: status["ready"], "ready", timeout)

    def wait_read(self, ends, timeout=60):
        """Until every partition was read up to its end. `ends`: {(topic, partition): next offset}."""

        def read(status):
            at = {(p["topic"], p["partition"]): p["next_offset"] for p in status["partitions"]}
            return all(at.get(partition, -1) >= end for partition, end in ends.items())

        return self.wait_status(read, f"everything up to {ends} is read", timeout)

    def log_tail(self, lines=40):
        try:
            text = self.log_path.read_text(errors="replace")
        except FileNotFoundError:
            return "(no log)"
        return "\n".join(text.splitlines()[-lines:])

    def log(self):
        return self.log_path.read_text(errors="replace")


def command(*words, environment=None, timeout=60, stdin=None, binary=None):
    """Runs another command of the program: the finished process, with its texts."""
    return subprocess.run(
        [binary or BINARY, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=timeout,
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        env={**{k: v for k, v in os.environ.items() if not k.startswith("SLUICE_")}, **(environment or {})},
    )
