"""The table at the end, and the line per figure in tests/reports/bench.jsonl."""
import datetime
import json
import os
import statistics
import subprocess

from servers import ROOT

REPORT = ROOT / "tests" / "reports" / "bench.jsonl"


def median(values):
    return statistics.median(values)


def machine():
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")),
                 "unknown processor")
    memory = next(int(line.split()[1]) for line in open("/proc/meminfo") if line.startswith("MemTotal")) / 1048576
    return {"cores": os.cpu_count(), "model": model, "memory_gb": round(memory, 1),
            "load_before": round(os.getloadavg()[0], 1)}


def commit():
    def git(*words):
        return subprocess.run(["git", "-C", ROOT, *words], capture_output=True, text=True, check=False).stdout.strip()
    return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")


def number(value):
    if value is None:
        return ""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.2f}"


class Report:
    def __init__(self, runs):
        self.runs, self.figures, self.failures = runs, [], []
        self.head = {"commit": commit(), "date": datetime.datetime.now(datetime.timezone.utc).isoformat("T", "seconds"),
                     "machine": machine()}

    def add(self, name, unit, values, *, reference=None, references=None, least=None, most=None, least_ratio=None, **more):
        """A figure with all its runs. `least`/`most` are wanted of the figure, `least_ratio` of its ratio to the
        median of `references`, the runs of the program named `reference`."""
        value, against = median(values), median(references) if references else None
        ratio = value / against if against else None
        wanted, met = "", None
        if least_ratio is not None and ratio is not None:
            wanted, met = f"≥ {least_ratio} ×", ratio >= least_ratio
        elif least is not None:
            wanted, met = f"≥ {number(least)}", value >= least
        elif most is not None:
            wanted, met = f"≤ {number(most)}", value <= most
        self.figures.append({"figure": name, "unit": unit, "median": value, "runs": values, "reference": reference,
                             "reference_median": against, "reference_runs": references, "ratio": ratio,
                             "wanted": wanted, "met": met, **more})

    def fail(self, part, error):
        self.failures.append({"figure": part, "failed": str(error)})

    def write(self):
        m = self.head["machine"]
        print(f"\n{m['cores']} cores, {m['model']}, {m['memory_gb']} GB; load before: {m['load_before']}; "
              f"commit {self.head['commit']}; median of {self.runs} runs")
        rows = [("figure", "median", "unit", "reference", "its median", "ratio", "wanted", "")]
        for f in self.figures:
            ratio = f"{f['ratio']:.2f} ×" if f["ratio"] is not None else ""
            verdict = {None: "", True: "yes", False: "NO"}[f["met"]]
            rows.append((f["figure"], number(f["median"]), f["unit"], f["reference"] or "",
                         number(f["reference_median"]), ratio, f["wanted"], verdict))
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        right = {1, 4, 5, 6}
        for row in rows:
            print("  ".join(c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths))).rstrip())
        commands = dict.fromkeys(f["command"] for f in self.figures if f.get("command"))
        inputs = dict.fromkeys(f["input"] for f in self.figures if f.get("input"))
        for title, lines in (("commands", commands), ("inputs", inputs)):
            if lines:
                print(f"\n{title}:")
                for line in lines:
                    print(f"  {line}")
        for f in self.failures:
            print(f"\nNO FIGURE for {f['figure']}: {f['failed']}")
        REPORT.parent.mkdir(parents=True, exist_ok=True)
        with open(REPORT, "a") as out:
            for f in self.figures + self.failures:
                out.write(json.dumps({**self.head, **f}, ensure_ascii=False) + "\n")
        print(f"\nappended to {REPORT.relative_to(ROOT)}")
