#!/usr/bin/python3
"""Shell scripts parse and shellcheck finds nothing in them; Python programs compile; programs may be
executed."""

import os
import shutil
import subprocess

import lint


def main():
    findings = lint.Findings()
    bash = lint.scripts("bash")
    for name in bash:
        done = subprocess.run(
            ["bash", "-n", str(name)], cwd=lint.ROOT, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            findings.add(name, 1, done.stderr.strip())
    python = lint.scripts("python3")
    for name in python:
        try:
            compile(lint.read(name), str(name), "exec")
        except SyntaxError as error:
            findings.add(name, error.lineno, error.msg)
    for name in bash + python:
        with open(lint.ROOT / name, "rb") as file:
            starts = file.read(2) == b"#!"
        if starts and not os.access(lint.ROOT / name, os.X_OK):
            findings.add(name, 1, "has a #! line but may not be executed")

    shellcheck = shutil.which("shellcheck")
    if findings.count == 0:
        lint.skip_without("shellcheck", shellcheck)
    if shellcheck and bash:
        done = subprocess.run(
            [shellcheck, "--format=gcc", "--external-sources", *map(str, bash)],
            cwd=lint.ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        print(done.stdout + done.stderr, end="")
        findings.count += len(done.stdout.splitlines())
        if done.returncode != 0 and not done.stdout:
            findings.count += 1
    findings.exit(len(bash + python))


if __name__ == "__main__":
    main()
