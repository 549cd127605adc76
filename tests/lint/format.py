#!/usr/bin/python3
"""Every C++ file is as clang-format writes it. Versions differ in their taste, so it is one version."""

import shutil
import subprocess
import sys

import lint

VERSION = 19


def main():
    tool = shutil.which(f"clang-format-{VERSION}")
    lint.skip_without(f"clang-format-{VERSION}", tool)
    names = lint.files("*.h", "*.cc")
    if sys.argv[1:] == ["--fix"]:
        subprocess.run([tool, "-i", *map(str, names)], cwd=lint.ROOT, check=True)
        return
    done = subprocess.run([tool, "--dry-run", "-Werror", *map(str, names)], cwd=lint.ROOT, check=False)
    if done.returncode != 0:
        print("tests/lint/format.py --fix puts it right")
        sys.exit(1)
    lint.Findings().exit(len(names))


if __name__ == "__main__":
    main()
