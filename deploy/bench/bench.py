"""Measures; deploy/bench.sh is the way to call it and names its variables."""
import json
import os
import pathlib
import re
import shutil
import signal
import sys
import tempfile
import time

from measure import Failed, cpu_seconds, end, end_all, health, memory, run, start
from report import Report
from servers import CACHE, WORK, Kafka, MySql, free_port, generated, lock, say

PARTS = ("steps", "tail", "kafka", "latency", "idle", "instructions")
STEPS = ["cargo", "bench", "--quiet", "--workspace", "--bench", "split", "--bench", "rows", "--bench", "format", "--",
         "--warm-up-time", "0.5", "--measurement-time", "2"]
RUNS = int(os.environ.get("BENCH_RUNS", 3))
ROWS = {"bulk": int(os.environ.get("BENCH_ROWS", 1_000_000)), "small": int(os.environ.get("BENCH_SMALL", 300_000)),
        "mixed": int(os.environ.get("BENCH_MIXED", 300_000)), "many": int(os.environ.get("BENCH_MANY", 20_000))}
TABLES = 50  # of `many`, each with its number of rows
SECONDS = int(os.environ.get("BENCH_SECONDS", 15))
RELEASE = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", CACHE / "target")) / "release"
BINLAKE, LOAD = RELEASE / "binlake", RELEASE / "binlake-load"
RSS = 200  # MB, wanted of every run
IDLE_SOURCES = 8  # beyond the first


def rates(runs, amount):
    return [amount / r["seconds"] for r in runs]


def source(kind):
    return generated(kind, [LOAD, kind], ROWS[kind])


def described(kind, server):
    logs = [line.split("\t") for line in server.sql("SHOW BINARY LOGS").splitlines()]
    size = sum(int(line[1]) for line in logs)
    return logs[0][0], f"{kind}: MySQL 9.7 on loopback, {ROWS[kind] * (TABLES if kind == 'many' else 1):,} rows, log of {size:,} bytes in {len(logs)} files"


def steps(report, tmp):
    """Each hot step by itself, on one core, by criterion."""
    wanted = {"rows/decode bulk": 1500, "rows/decode mixed": 600, "encode/maxwell-json": 400, "encode/binlake": 800}
    found = {}
    for n in range(RUNS):
        say(f"steps, run {n + 1}")
        results = tmp / f"steps-{n}"
        run(["env", f"CRITERION_HOME={results}", *STEPS], tmp / "steps.log", timeout=1800)
        for file in results.glob("**/new/benchmark.json"):
            step = json.loads(file.read_text())
            ns = json.loads((file.parent / "estimates.json").read_text())["median"]["point_estimate"]
            (unit, amount), = step["throughput"].items()
            # MB/s, or millions a second
            found.setdefault((step["full_id"], "MB/s" if unit == "Bytes" else "M/s"), []).append(amount / ns * 1e3)
    if missing := wanted.keys() - {name for name, _ in found}:
        raise Failed(f"criterion left no figure of {', '.join(sorted(missing))}")
    for (name, unit), values in sorted(found.items()):
        report.add(f"step {name}", unit, values, least=wanted.get(name), command=" ".join(STEPS))


def tail(report, tmp):
    for kind in ("bulk", "small", "mixed", "many"):
        with MySql(source(kind)) as server:
            first, about = described(kind, server)
            say(f"tail, {kind}")
            pull, text, ours = [], [], []
            # Of `many` one table is wanted: the others are passed over undecoded.
            command = [BINLAKE, "tail", "--source", server.url(), "--format", "none", "--from", "earliest",
                       "--until", "now", *(["--tables", "bench.many_0"] if kind == "many" else [])]
            for _ in range(RUNS):
                raw = tmp / "raw"
                shutil.rmtree(raw, ignore_errors=True)
                raw.mkdir()
                pull.append(run(server.mysqlbinlog("--ssl-mode=DISABLED", "--read-from-remote-server", "--raw",
                                                   "--to-last-log", f"--result-file={raw}/", first), tmp / "pull.log"))
                files = sorted(raw.iterdir())
                size = sum(f.stat().st_size for f in files)
                if kind in ("bulk", "mixed"):
                    text.append(run(server.mysqlbinlog("-vv", "--base64-output=decode-rows", *files), tmp / "text.log"))
                ours.append(run(command, tmp / "tail.log"))
                counted = re.search(r"\brows=(\d+)", (tmp / "tail.log").read_text())
                if not counted or int(counted[1]) != ROWS[kind]:
                    raise Failed(f"tail counted {counted and counted[1]} rows of {ROWS[kind]}")
        shown = " ".join(["binlake", *("URL" if c == server.url() else str(c) for c in command[1:])])
        more, rows, mb = {"input": about, "command": shown}, ROWS[kind], size / 1e6
        against_pull = {"reference": "mysqlbinlog --raw", **more}
        against_text = {"reference": "mysqlbinlog -vv", "references": rates(text, rows), **more}
        if kind == "bulk":
            report.add("tail bulk", "MB/s", rates(ours, mb), references=rates(pull, mb), least_ratio=0.8, **against_pull)
            report.add("tail bulk", "rows/s", rates(ours, rows), least_ratio=2, **against_text)
        elif kind == "small":
            report.add("tail small", "rows/s", rates(ours, rows), references=rates(pull, rows), least_ratio=3,
                       **against_pull)
        elif kind == "mixed":
            report.add("tail mixed", "rows/s", rates(ours, rows), least_ratio=3, **against_text)
        else:
            report.add("tail 1 of 50 tables", "MB/s", rates(ours, mb), references=rates(pull, mb), least_ratio=1,
                       **against_pull)
        if kind != "many":
            cpu = [r["cpu"] / rows * 1e6 for r in ours]
            report.add(f"tail {kind}", "CPU-s/M rows", cpu, **({"most": 0.5} if kind == "bulk" else {}), **more)
        report.add(f"tail {kind}", "MB peak RSS", [r["rss"] for r in ours], most=RSS, **more)


def up(tmp, arguments, log):
    """`binlake up` with fresh data; gives the process and the address of its page."""
    data = tmp / "data"
    shutil.rmtree(data, ignore_errors=True)
    address = f"127.0.0.1:{free_port()}"
    with open(log, "wb") as out:
        return start([BINLAKE, "up", "--data-dir", data, "--listen", address, *arguments], out, out), address


def check_running(process, log):
    if process.poll() is not None:
        lines = log.read_text(errors="replace").strip().splitlines()[-3:]
        raise Failed(f"binlake up ended with {process.returncode}: {' | '.join(lines)}")


def wait_streaming(process, address, log, sources):
    until = time.monotonic() + 60
    while True:
        seen = health(address)
        if seen and sum(s["state"] == "streaming" for s in seen) == sources:
            return
        check_running(process, log)
        if time.monotonic() > until:
            raise Failed(f"not all of {sources} sources stream after 60 s: {seen}")
        time.sleep(0.1)


def publish_all(tmp, server, kafka, form, topic, rows):
    """From start to the last acknowledgement of `rows` rows; then the topic is counted."""
    log = tmp / "up.log"
    began = time.monotonic()
    process, address = up(tmp, ["--source", server.url(), "--to", f"kafka://{kafka.bootstrap}", "--topic", topic,
                                "--format", form, "--from", "earliest"], log)
    try:
        while True:
            check_running(process, log)
            seen = health(address)
            last = {"seconds": time.monotonic() - began, "cpu": cpu_seconds(process.pid)}
            # Nothing on its way: all that was read is acknowledged.
            if seen and seen[0]["rows"] >= rows and seen[0]["in_flight_bytes"] == seen[0]["queued_bytes"] == 0:
                break
            if last["seconds"] > 600:
                raise Failed(f"not all acknowledged after 600 s: {seen}")
            time.sleep(0.05)
        last["rss"] = memory(process.pid, "VmHWM")
    finally:
        end(process)
    count = tmp / "count"
    with open(count, "wb") as out:
        run([LOAD, "count", "--consume", f"kafka://{kafka.bootstrap}/{topic}"], tmp / "count.log", stdout=out)
    found = dict(pair.split("=") for pair in count.read_text().split())
    # Statements that changed the schema are records, too: at most a handful.
    if not rows <= int(found["rows"]) <= rows + 20 or int(found["without_header"]) > 0:
        raise Failed(f"the topic holds {count.read_text().strip()}, wanted {rows} rows")
    kafka.topic(topic, "--delete")
    return last


def kafka(report, tmp):
    with Kafka(tmp / "kafka") as broker:
        for kind in ("bulk", "small"):
            with MySql(source(kind)) as server:
                _, about = described(kind, server)
                rows, runs, performance, payload = ROWS[kind], {"maxwell-json": [], "binlake": []}, [], tmp / "payload"
                with open(payload, "wb") as out:
                    run([BINLAKE, "tail", "--source", server.url(), "--format", "maxwell-json", "--from", "earliest",
                         "--limit", "20000"], tmp / "payload.log", stdout=out)
                lines = payload.read_text().splitlines()
                about += f"; {sum(map(len, lines)) / len(lines):.0f} bytes per maxwell-json record"
                if kind == "bulk":
                    # A broker just started is slow; whoever is measured first must not pay for it.
                    say("kafka, warm-up of the broker")
                    broker.topic("warm-up")
                    run(broker.producer_performance("warm-up", rows, payload), tmp / "perf.log")
                    broker.topic("warm-up", "--delete")
                for n in range(RUNS):
                    if kind == "bulk":
                        say(f"kafka, ProducerPerformance, run {n + 1}")
                        broker.topic(f"perf-{n}")
                        printed = tmp / "perf"
                        with open(printed, "wb") as out:
                            run(broker.producer_performance(f"perf-{n}", rows, payload), tmp / "perf.log", stdout=out)
                        performance.append(float(re.findall(r"([\d.]+) records/sec", printed.read_text())[-1]))
                        broker.topic(f"perf-{n}", "--delete")
                    for form, results in runs.items():
                        say(f"kafka, {kind} {form}, run {n + 1}")
                        topic = f"{kind}-{form}-{n}"
                        broker.topic(topic)
                        results.append(publish_all(tmp, server, broker, form, topic, rows))
            for form, results in runs.items():
                more = {"input": about,
                        "command": f"binlake up --source URL --to kafka://… --topic T --format {form} --from earliest"}
                against = {}
                if kind == "bulk" and form == "maxwell-json":
                    against = {"reference": "ProducerPerformance", "references": performance, "least_ratio": 0.3}
                elif kind == "bulk":
                    against = {"reference": "our maxwell-json", "references": rates(runs["maxwell-json"], rows),
                               "least_ratio": 2.5}
                report.add(f"kafka {kind} {form}", "rows/s", rates(results, rows), **against, **more)
                most = {"maxwell-json": 2.5, "binlake": 0.8}[form] if kind == "bulk" else None
                report.add(f"kafka {kind} {form}", "CPU-s/M rows", [r["cpu"] / rows * 1e6 for r in results], most=most, **more)
                report.add(f"kafka {kind} {form}", "MB peak RSS", [r["rss"] for r in results], most=RSS, **more)


def latency(report, tmp):
    with Kafka(tmp / "kafka") as broker, MySql(tmp / "mysql") as server:
        for form in ("maxwell-json", "binlake"):
            for rate in (500, 2000):
                found = {"p50_ms": [], "p99_ms": [], "p99.9_ms": [], "max_ms": [], "rss": [], "reached": []}
                for n in range(RUNS):
                    say(f"latency, {form}, {rate} transactions/s, run {n + 1}")
                    topic, log, printed = f"latency-{form}-{rate}-{n}", tmp / "up.log", tmp / "latency"
                    broker.topic(topic)
                    process, address = up(tmp, ["--source", server.url(), "--to", f"kafka://{broker.bootstrap}", "--topic",
                                                topic, "--format", form, "--from", "now"], log)
                    try:
                        wait_streaming(process, address, log, 1)
                        with open(printed, "wb") as out:
                            run([LOAD, "latency", "--source", server.url(), "--rate", rate, "--seconds", SECONDS, "--consume",
                                 f"kafka://{broker.bootstrap}/{topic}"], tmp / "latency.log", stdout=out, timeout=SECONDS + 90)
                        found["rss"].append(memory(process.pid, "VmHWM"))
                    finally:
                        end(process)
                    values = dict(pair.split("=") for pair in printed.read_text().split())
                    for name in found.keys() - {"rss"}:
                        found[name].append(float(values[name]))
                more = {"command": f"binlake-load latency --rate {rate} --seconds {SECONDS} (COMMIT to our consumer: an upper "
                                   f"bound of COMMIT to acknowledgement)"}
                wanted = {"p50_ms": 4, "p99_ms": 20, "rss": RSS}
                name = f"latency {form} {rate}/s"
                for key, unit in (("p50_ms", "ms p50"), ("p99_ms", "ms p99"), ("p99.9_ms", "ms p99.9"), ("max_ms", "ms max"),
                                  ("rss", "MB peak RSS")):
                    report.add(name, unit, found[key], most=wanted.get(key), **more)
                report.add(name, "tx/s reached", found["reached"], least=rate * 0.98, **more)


def idle(report, tmp):
    with MySql(tmp / "mysql", addresses=IDLE_SOURCES + 1) as server:
        say("idle sources")
        extra_rss, extra_cpu = [], []
        for _ in range(RUNS):
            seen = []
            for count in (1, IDLE_SOURCES + 1):
                # The server on another address is another source.
                log, sources = tmp / "up.log", [w for a in server.addresses[:count] for w in ("--source", server.url(a))]
                process, address = up(tmp, [*sources, "--from", "now"], log)
                try:
                    wait_streaming(process, address, log, count)
                    time.sleep(3)
                    before = cpu_seconds(process.pid)
                    time.sleep(15)
                    seen.append((memory(process.pid, "VmRSS"), (cpu_seconds(process.pid) - before) / 15))
                finally:
                    end(process)
            extra_rss.append((seen[1][0] - seen[0][0]) / IDLE_SOURCES)
            extra_cpu.append((seen[1][1] - seen[0][1]) / IDLE_SOURCES * 100)
        more = {"command": f"binlake up with {IDLE_SOURCES + 1} idle sources, less the same with 1, divided by {IDLE_SOURCES}"}
        report.add("idle source", "MB RSS", extra_rss, most=1, **more)
        # Below a tenth of a percent lies under the kernel's tick over this time.
        report.add("idle source", "% of a core", extra_cpu, most=0.1, **more)


def instructions(report, tmp):
    """Of decoding and encoding, per row: what a change costs, even while other programs run."""
    if not shutil.which("valgrind"):
        raise Failed("valgrind is missing: apt-get install valgrind")
    for kind in ("bulk", "mixed"):
        # What the start of the program takes is in both runs and falls out of their difference.
        few = min(10_000, ROWS[kind] // 4)
        many = 3 * few
        logs = [w for path in sorted((source(kind) / "data").glob("binlog.[0-9]*")) for w in ("--file", path)]
        for form in ("none", "maxwell-json", "binlake"):
            say(f"instructions, {kind} {form}")
            counts = {}
            for rows in (few, many):
                log = tmp / "callgrind.log"
                run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={tmp}/callgrind.out", BINLAKE, "tail", *logs,
                     "--format", form, "--limit", rows], log, timeout=1800)
                counts[rows] = int(re.search(r"Collected : (\d+)", log.read_text())[1])
            report.add(f"tail --file {kind} {form}", "instructions/row", [(counts[many] - counts[few]) / (many - few)],
                       input=f"{kind}: binary log files of MySQL 9.7",
                       command=f"valgrind --tool=callgrind binlake tail --file … --format {form} --limit {many:,}, less the same "
                               f"with {few:,}, per row between")


def main():
    names = [n for n in os.environ.get("BENCH", "all").replace(" ", ",").split(",") if n]
    if names == ["all"]:
        names = [n for n in PARTS if n != "instructions" or shutil.which("valgrind")]
    if unknown := [n for n in names if n not in PARTS]:
        raise SystemExit(f"bench: BENCH={unknown[0]}: the parts are {', '.join(PARTS)} and all")
    for binary in (BINLAKE, LOAD):
        if not binary.exists():
            raise SystemExit(f"bench: {binary} is missing; call deploy/bench.sh")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))
    held = lock()
    report = Report(RUNS)
    try:
        for name in names:
            tmp = pathlib.Path(tempfile.mkdtemp(prefix="run-", dir=WORK))
            try:
                globals()[name](report, tmp)
            except Failed as error:
                say(f"{name}: {error}")
                report.fail(name, error)
            finally:
                end_all()
                shutil.rmtree(tmp, ignore_errors=True)
    except KeyboardInterrupt:
        raise SystemExit(130)
    finally:
        held.close()
    report.write()
    if report.failures:
        raise SystemExit(1)


main()
