"""What the lint tests share: the project's files, and one way to report and to end.

A lint test prints `file:line: what is wrong` for each finding and exits 1 if there was any. Where a tool
is missing it exits 77, which ctest shows as skipped; with CI=true that is a failure.
"""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SKIPPED = 77


def files(*patterns):
    """The project's files, relative to its root, that match a pattern; all without one. New files count
    as soon as they are there, ignored ones never."""
    command = ["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT), "ls-files", "-z"]
    command += ["--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        names = {pathlib.PurePosixPath(name) for name in listed.stdout.split("\0") if name}
    else:  # a source archive
        names = {
            pathlib.PurePosixPath(path.relative_to(ROOT))
            for path in ROOT.rglob("*")
            if path.is_file() and path.relative_to(ROOT).parts[0] not in ("build", ".git")
        }
    chosen = sorted(name for name in names if (ROOT / name).is_file())
    if patterns:
        chosen = [name for name in chosen if any(name.match(pattern) for pattern in patterns)]
    return chosen


def scripts(language):
    """The project's programs in `language` (bash, python3): by suffix, or by their first line."""
    suffix = {"bash": ".sh", "python3": ".py"}[language]
    found = []
    for name in files():
        if name.suffix == suffix:
            found.append(name)
        elif name.suffix == "":
            with open(ROOT / name, "rb") as file:
                first = file.readline(200)
            if first.startswith(b"#!") and language.encode() in first:
                found.append(name)
    return found


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


class Findings:
    def __init__(self):
        self.count = 0

    def add(self, name, line, text):
        self.count += 1
        print(f"{name}:{line}: {text}")

    def exit(self, looked_at):
        """`looked_at`: how many files; a test that found nothing to look at has failed."""
        if looked_at == 0:
            print("nothing to look at: the test is broken")
            sys.exit(1)
        print(f"{looked_at} looked at, {self.count} findings")
        sys.exit(1 if self.count else 0)


def skip_without(tool, found):
    if not found:
        print(f"{tool} is missing: scripts/packages install test")
        sys.exit(1 if os.environ.get("CI") == "true" else SKIPPED)
