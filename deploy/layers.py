#!/usr/bin/env python3
"""Holds the direction of dependencies that ARCHITECTURE.md draws, from `cargo metadata`.

Pure crates know no runtime; a heavy client library is known to one crate only; below knows nothing of above.
"""
import json
import subprocess
import sys

RUNTIMES = {"tokio", "mio", "actix-web", "rdkafka", "zookeeper-client", "elasticsearch", "socket2", "signal-hook"}
PURE = {"binlake-proto", "binlake-mysql-wire", "binlake-binlog", "binlake-pipeline"}
ONLY = {  # library -> the crates that may use it
    "mio": {"binlake-watch"},
    "rdkafka": {"binlake-publish"},
    "actix-web": {"binlake-wave"},
    "mysql_common": {"binlake-mysql-wire"},
    "clap": {"binlake"},
}
MAY_USE = {  # own crate -> own crates it may use (dev-dependencies are free)
    "binlake-proto": set(),
    "binlake-mysql-wire": set(),
    "binlake-binlog": set(),
    "binlake-durable": set(),
    "binlake-coord": {"binlake-durable"},
    "binlake-telemetry": set(),
    "binlake-kit": set(),
    "binlake-publish": {"binlake-proto", "binlake-durable"},
    "binlake-pipeline": {"binlake-proto", "binlake-binlog"},
    "binlake-watch": {"binlake-mysql-wire", "binlake-binlog"},
}

meta = json.loads(subprocess.check_output(["cargo", "metadata", "--format-version", "1", "--no-deps"]))
own = {p["name"] for p in meta["packages"]}
wrong = []
for package in meta["packages"]:
    name = package["name"]
    deps = {d["name"] for d in package["dependencies"] if d["kind"] is None}
    if name in PURE:
        wrong += [f"{name} is pure but depends on {d}" for d in sorted(deps & RUNTIMES)]
    for library, users in ONLY.items():
        if library in deps and name not in users:
            wrong.append(f"{name} depends on {library}, which only {', '.join(sorted(users))} may")
    if name in MAY_USE:
        wrong += [f"{name} may not depend on {d}" for d in sorted((deps & own) - MAY_USE[name])]
for line in wrong:
    print(line, file=sys.stderr)
sys.exit(bool(wrong))
