#!/usr/bin/python3
"""systemd has nothing to say about the unit file, systemd's filter for system services leaves io_uring in,
and the exit codes that a restart cannot cure are the documented ones."""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import lint

UNIT = "systemd/sluice@.service"
# CONFIG.md's exit codes without 69 (tools only), 74 and 75, which a new start may cure, and 1.
NO_RESTART = {0, 64, 65, 66, 70, 73, 76, 77, 78}


def verify(text):
    """What systemd-analyze says about `text`."""
    with tempfile.TemporaryDirectory() as folder:
        unit = pathlib.Path(folder) / "sluice@clicks.service"
        unit.write_text(text)
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", str(unit)],
            capture_output=True,
            text=True,
            check=False,
        )
    return done.returncode, (done.stdout + done.stderr).splitlines()


def main():
    lint.skip_without("systemd-analyze", shutil.which("systemd-analyze"))
    findings = lint.Findings()
    text = lint.read(UNIT)
    code, said = verify(text)
    for line in said:
        findings.add(UNIT, 1, line)
    if code != 0 and not said:
        findings.add(UNIT, 1, f"systemd-analyze verify exits {code}")

    prevented = re.findall(r"^RestartPreventExitStatus=(.*)$", text, flags=re.MULTILINE)
    if {int(number) for line in prevented for number in line.split()} != NO_RESTART:
        findings.add(UNIT, 1, f"RestartPreventExitStatus should be {sorted(NO_RESTART)}")

    filtered = subprocess.run(
        ["systemd-analyze", "syscall-filter", "@aio"], capture_output=True, text=True, check=False
    )
    if "io_uring_setup" not in filtered.stdout:
        findings.add(UNIT, 1, "systemd's @aio does not hold io_uring: name its calls in the unit")

    # The test must be able to fail: a line that no systemd knows.
    if not verify(text.replace("[Service]\n", "[Service]\nNoSuchDirective=1\n"))[1]:
        print("systemd-analyze verify does not see a wrong line: the test is broken")
        sys.exit(1)
    findings.exit(1)


if __name__ == "__main__":
    main()
