#!/usr/bin/python3
"""Dependencies point one way only.

daemon -> ingest, state, sinks -> config -> state/model; siblings never include one another. The same holds
for what CMake links, and each foreign library belongs to one module: Kafka's stays out of state, Redis'
out of ingest. Beside that: a header is included by its path from the root, and exists; a source file
includes its own header first; a header is guarded by #pragma once.
"""

import re

import lint

MODEL = "model"
ALLOWED = {
    MODEL: {MODEL},
    "config": {"config", MODEL},
    "ingest": {"ingest", "config", MODEL},
    "state": {"state", "config", MODEL},
    "sinks": {"sinks", "config", MODEL},
    "daemon": {"daemon", "ingest", "state", "sinks", "config", MODEL},
}
# Include prefix: the modules that may use it. config asks librdkafka whether a property exists; the
# demo in daemon runs its mock cluster as a broker.
LIBRARIES = {
    "librdkafka/": {"ingest", "daemon", "config"},
    "hiredis/": {"sinks", "daemon"},
    "rocksdb/": {"state"},
    "liburing": {"state"},
    "simdjson": {"ingest"},
    "toml++/": {"config"},
    "boost/": {"daemon"},
    "CLI/": {"daemon"},
    "prometheus/": {"daemon"},
    "systemd/": {"daemon"},
}
INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)', re.MULTILINE)
LINK = re.compile(r"target_link_libraries\(\s*(\w+)([^)]*)\)")


def module_of(name):
    parts = name.parts
    if parts[:2] == ("state", "model"):
        return MODEL
    return parts[0] if parts[0] in ALLOWED else None


def check_source(name, known, findings):
    text = lint.read(name)
    module = module_of(name)
    own = name.with_suffix(".h")
    first = True
    for match in INCLUDE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        ours, foreign = match.groups()
        if name.suffix == ".cc" and own in known and first and ours != str(own):
            findings.add(name, line, f'its own header "{own}" comes first')
        first = False
        if foreign is not None:
            for prefix, users in LIBRARIES.items():
                if foreign.startswith(prefix) and module is not None and module not in users:
                    findings.add(name, line, f"<{foreign}> stays out of {module}")
            continue
        target = type(name)(ours)
        if target not in known:
            findings.add(name, line, f'"{ours}" is no file of the project (paths start at its root)')
        elif module is not None and module_of(target) not in ALLOWED[module]:
            to = module_of(target) or target.parts[0]
            findings.add(name, line, f"{module} must not include {to}: {ours}")
    if name.suffix == ".h" and "#pragma once" not in text:
        findings.add(name, 1, "no #pragma once")


def check_links(name, findings):
    text = re.sub(r"#.*", "", lint.read(name))
    for match in LINK.finditer(text):
        module, libraries = match.group(1), match.group(2).split()
        if module not in ALLOWED:
            continue
        for library in libraries:
            library = library.removeprefix("sluice::")
            if library in ALLOWED and library not in ALLOWED[module]:
                line = text.count("\n", 0, match.start()) + 1
                findings.add(name, line, f"{module} must not link {library}")


def main():
    findings = lint.Findings()
    sources = lint.files("*.h", "*.cc")
    known = set(sources)
    for name in sources:
        check_source(name, known, findings)
    for name in lint.files("CMakeLists.txt"):
        check_links(name, findings)
    findings.exit(len(sources))


if __name__ == "__main__":
    main()
