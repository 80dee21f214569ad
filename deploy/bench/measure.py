"""Runs programs and takes time, CPU time and peak memory of each."""
import json
import os
import pathlib
import signal
import subprocess
import time
import urllib.request

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
_running = set()


class Failed(Exception):
    """A measurement that has no figure; the text says why."""


def start(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
    """In a process group of its own, ended with this program."""
    process = subprocess.Popen([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
                               start_new_session=True)
    _running.add(process)
    return process


def end(process, seconds=20):
    """SIGTERM, and SIGKILL for one that stays."""
    if process.poll() is None:
        for sign in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, sign)
                process.wait(seconds)
                break
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
    _running.discard(process)


def end_all():
    for process in list(_running):
        end(process, 5)


def run(command, log, stdout=subprocess.DEVNULL, timeout=300):
    """Runs to the end; stderr goes to the file `log`. Gives seconds, cpu (seconds), rss (MB, peak)."""
    with open(log, "wb") as err:
        began = time.monotonic()
        process = start(command, stdout, err)
        usage = None
        while usage is None:
            # Waiting by hand: only wait4 tells what this one child has used.
            pid, status, found = os.wait4(process.pid, os.WNOHANG)
            if pid:
                usage, seconds = found, time.monotonic() - began
                process.returncode = os.waitstatus_to_exitcode(status)
            elif time.monotonic() - began > timeout:
                end(process)
                raise Failed(f"{shown(command)} did not end within {timeout} s")
            else:
                time.sleep(0.002)
    _running.discard(process)
    if process.returncode != 0:
        tail = pathlib.Path(log).read_text(errors="replace").strip().splitlines()[-3:]
        raise Failed(f"{shown(command)} ended with {process.returncode}: {' | '.join(tail)}")
    return {"seconds": seconds, "cpu": usage.ru_utime + usage.ru_stime, "rss": usage.ru_maxrss / 1024}


def shown(command):
    return " ".join(str(c) for c in command[:3])


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory(pid, field):
    """A field of /proc/PID/status, VmHWM (peak) or VmRSS, in MB."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise Failed(f"/proc/{pid}/status has no {field}")


def health(address):
    """What `binlake up` says of its sources; None while nobody answers."""
    try:
        with urllib.request.urlopen(f"http://{address}/healthz", timeout=2) as page:
            return json.load(page)["sources"]
    except OSError:
        return None
