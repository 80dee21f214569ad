"""The servers that are measured with, over deploy/servers. Whatever was started is stopped when the program ends."""
import contextlib
import fcntl
import os
import pathlib
import shutil
import socket
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "deploy" / "servers"
CACHE = pathlib.Path(os.environ["BINLAKE_CACHE"])
WORK = CACHE / "bench"
# Durability of the server that writes is not what is measured; the names are those of the manual's "Server System Variables".
MYSQL_OPTIONS = ["--sync-binlog=0", "--innodb-flush-log-at-trx-commit=0", "--binlog-expire-logs-seconds=0",
                 "--innodb-buffer-pool-size=256M", "--max-connections=200"]
START_SECONDS, STOP_SECONDS = 900, 90  # the first start downloads


def say(text):
    print(f"-- {text}", file=sys.stderr, flush=True)


def free_port(count=1):
    """The first of `count` neighbouring free ports, below the range that the kernel gives to clients."""
    for port in range(21000 + os.getpid() % 4000, 32000, count):
        with contextlib.ExitStack() as stack:
            try:
                for n in range(count):
                    s = stack.enter_context(socket.socket())
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    s.bind(("127.0.0.1", port + n))
                return port
            except OSError:
                continue
    raise SystemExit("bench: no free port")


def lock():
    """One benchmark at a time: two would measure each other."""
    WORK.mkdir(parents=True, exist_ok=True)
    held = open(WORK / "lock", "w")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise SystemExit("bench: another benchmark is running on this machine")
    return held


class MySql:
    """A server on a data folder; use with `with`."""

    def __init__(self, folder, addresses=1):
        self.dir, self.port = pathlib.Path(folder), None
        self.addresses = [f"127.0.0.{n + 1}" for n in range(addresses)]

    def __enter__(self):
        self.port = free_port()
        options = MYSQL_OPTIONS + [f"--bind-address={','.join(self.addresses)}"]
        try:
            subprocess.run([SCRIPTS / "mysql.sh", "start", self.dir, str(self.port), *options], check=True,
                           timeout=START_SECONDS, stdout=sys.stderr)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.dir.is_dir():
            subprocess.run([SCRIPTS / "mysql.sh", "stop", self.dir], timeout=STOP_SECONDS, check=False)

    def url(self, address="127.0.0.1"):
        # Without TLS, as the reference programs are called.
        return f"mysql://binlake:binlake@{address}:{self.port}/?ssl-mode=disabled"

    def sql(self, text):
        return subprocess.check_output([SCRIPTS / "mysql.sh", "sql", self.dir, "-N", "-B", "-e", text], text=True,
                                       timeout=120).strip()

    def mysqlbinlog(self, *arguments):
        """A command line of mysqlbinlog."""
        return [str(CACHE / "mysql-9.7" / "run"), "mysqlbinlog", f"--defaults-file={self.dir}/client.cnf", *arguments]


class Kafka:
    """One broker with the memory that a real one has; use with `with`."""

    def __init__(self, folder):
        self.dir = pathlib.Path(folder)

    def __enter__(self):
        env = dict(os.environ, KAFKA_HEAP="1g")
        try:
            subprocess.run([SCRIPTS / "kafka.sh", "start", self.dir, str(free_port(2))], check=True, env=env,
                           timeout=START_SECONDS, stdout=sys.stderr)
        except BaseException:
            self.__exit__()
            raise
        self.bootstrap = (self.dir / "bootstrap").read_text().strip()
        return self

    def __exit__(self, *_):
        if self.dir.is_dir():
            subprocess.run([SCRIPTS / "kafka.sh", "stop", self.dir], timeout=STOP_SECONDS, check=False)

    def topic(self, name, verb="--create"):
        shape = ["--partitions", "6", "--replication-factor", "1"] if verb == "--create" else []
        subprocess.run([SCRIPTS / "kafka.sh", "run", "org.apache.kafka.tools.TopicCommand", "--bootstrap-server",
                        self.bootstrap, verb, "--topic", name, *shape], check=True, timeout=60,
                       stdout=subprocess.DEVNULL)

    def producer_performance(self, topic, records, payload):
        """A command line of Kafka's own load tool, with settings that are good for throughput."""
        return ["java", "-Xms512m", "-Xmx512m", "-XX:+UseG1GC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
                "-cp", str(CACHE / "kafka-4.3.1" / "*"), "org.apache.kafka.tools.ProducerPerformance",
                "--bootstrap-server", self.bootstrap, "--topic", topic, "--num-records", str(records),
                "--throughput", "-1", "--payload-file", str(payload), "--command-property", "acks=all",
                "compression.type=lz4", "batch.size=131072", "linger.ms=5"]


def generated(name, load, rows):
    """The folder of a server whose log holds `rows` rows of this load; made once, then kept in the cache."""
    folder = WORK / f"mysql-9.7-{name}-{rows}"
    if not (folder / "complete").exists():
        if folder.exists():
            subprocess.run([SCRIPTS / "mysql.sh", "kill", folder], check=False, timeout=STOP_SECONDS)
            shutil.rmtree(folder)
        say(f"writing {rows} rows of {name} into a new server (once)")
        with MySql(folder) as server:
            subprocess.run([*load, "--source", server.url(), "--rows", str(rows)], check=True, timeout=1800,
                           stdout=sys.stderr)
        (folder / "complete").touch()
    return folder
