"""What all campaigns share: a build and what can be seen of it from outside, how two are compared, how it is said.

Does not know: what a campaign does to a build. Nothing here asks kiln what only its files can say.
"""

import argparse
import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# How long a process of a killed runner may take to vanish.
VANISH_SECONDS = 20
# Those that count what this process saw, and begin anew with it.
PROCESS = ("kiln_log_", "kiln_ledger_write_failures_total")
# How long its files may not fit together while they are read.
COPY_SECONDS = 10
ENVIRONMENT = "Environment: KILN, a kiln to use instead of the development build."


def say(text):
    print(text, flush=True)


def demand(holds, otherwise):
    if not holds:
        sys.exit(f"{Path(sys.argv[0]).name}: {otherwise}")


def parser(description):
    """With the options that every campaign has."""
    made = argparse.ArgumentParser(
        description=description, epilog=ENVIRONMENT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--seed", type=int, default=1, metavar="N", help="decides everything that is random [1]")
    return made


def die_tidily():
    """A campaign that is ended ends what it has started."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(f"{Path(sys.argv[0]).name}: terminated"))


def kiln():
    named = os.environ.get("KILN")
    if not named:
        subprocess.run(["cargo", "build", "--locked"], cwd=ROOT, check=True)
        named = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug/kiln"
    return str(Path(named).absolute())


class Build:
    """A definition, its state directory, and the runner if there is one."""

    def __init__(self, program, definition, state):
        self.kiln, self.definition, self.state = program, str(definition), Path(state).absolute()
        # Where to look at what kiln does there: another place where kiln's own view of it is made to fail.
        self.seen_at = self.state
        self.counters = {}
        self.runner = None
        self.log = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.runner and self.runner.poll() is None:
            self.kill()

    def do(self, *arguments, **environment):
        """A command about this build, and its end."""
        command = [self.kiln, *arguments, self.definition, "--state", self.state]
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=dict(os.environ, **environment)
        )

    def make_state(self):
        """A state directory is made by kiln itself; this asks for what it cannot have."""
        self.do("fetch", KILN_SET_OFFLINE="true")

    def take_sources(self, other):
        """As if they had been fetched: the network is not what is tried here."""
        self.make_state()
        shutil.copytree(other.state / "sources/sha256", self.state / "sources/sha256", dirs_exist_ok=True)

    def start(self, *options):
        self.log = tempfile.TemporaryFile("w+")
        command = [self.kiln, "run", self.definition, "--state", self.state, "--listen", "127.0.0.1:0", *options]
        self.runner = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.log)

    def said(self):
        self.log.seek(0)
        return self.log.read()

    def run(self, *options):
        """To its end, whatever that is: the exit code."""
        self.start(*options)
        return self.runner.wait()

    def complete(self, *options):
        code = self.run(*options)
        demand(code == 0, f"exit code {code}:\n{self.said()}")

    def ended_within(self, seconds):
        try:
            self.runner.wait(seconds)
            return True
        except subprocess.TimeoutExpired:
            return False

    def kill(self):
        self.runner.send_signal(signal.SIGKILL)
        self.runner.wait()

    def kill_everything(self):
        """The runner and all that it has started, as at one moment: what is stopped does not see the others die."""
        self.runner.send_signal(signal.SIGSTOP)
        doomed = descendants(self.runner.pid)
        self.kill()
        for process in doomed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        return len(doomed)

    def wait_for_orphans(self):
        """Until none is left, which there must not be for long."""
        until = time.monotonic() + VANISH_SECONDS
        while self.orphans() and time.monotonic() < until:
            time.sleep(0.05)
        left = self.orphans()
        demand(not left, f"processes {left} outlived their runner")

    def orphans(self):
        """Processes that work below the state directory."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                directory = os.readlink(process / "cwd")
                zombie = "\nState:\tZ" in (process / "status").read_text()
            except OSError:
                continue
            if not zombie and (directory + "/").startswith(f"{self.state}/"):
                found.append(process.name)
        return found

    def scrape(self):
        """Counters now; none is less than it was. Nothing while nobody answers yet."""
        address = re.search(r"metrics at (http:\S+)", self.said())
        if not address:
            return
        try:
            with urllib.request.urlopen(address[1], timeout=10) as answer:
                self.read_counters(answer.read().decode())
        except OSError:
            return

    def read_counters(self, text):
        """What only grows; those of the process begin anew with it."""
        for line in text.splitlines():
            series, _, value = line.rpartition(" ")
            if re.match(r"kiln_\w+_(total|count|bucket)\b", series) and not series.startswith(PROCESS):
                before = self.counters.get(series, 0.0)
                demand(float(value) >= before, f"{series} went back from {before} to {value}")
                self.counters[series] = float(value)

    def select(self, query, otherwise):
        """Reads the ledger, and does nothing else: whoever may write, and goes last, would put the log into the file."""
        ledger = self.seen_at / "ledger.sqlite"
        if not ledger.exists():
            return otherwise
        if self.seen_at == self.state:
            with contextlib.suppress(sqlite3.OperationalError):
                return answer(f"file:{ledger}?mode=ro", query, otherwise)
        # A reader, too, wants to write beside it. Where that cannot be, the files are read as they are.
        until = time.monotonic() + COPY_SECONDS
        while True:
            with tempfile.TemporaryDirectory() as space:
                try:
                    for file in (ledger, ledger.with_name("ledger.sqlite-wal")):
                        if file.exists():
                            shutil.copy(file, space)
                    return answer(f"file:{space}/ledger.sqlite", query, otherwise)
                except (sqlite3.DatabaseError, FileNotFoundError):
                    # The log was put into the file between the two.
                    if time.monotonic() > until:
                        raise

    def records(self, after=0):
        rows = self.select(f"SELECT record FROM records WHERE seq > {after} ORDER BY seq", [])
        return [json.loads(row[0]) for row in rows]

    def last(self):
        """The ledger's last position."""
        return self.select("SELECT max(seq) FROM records", [(0,)])[0][0] or 0

    def completed(self):
        return [record["package"] for record in self.records() if record["record"] == "package_completed"]

    def tasks(self):
        """How many have ended well; what ran again to restore a work directory is one with what it restored."""
        columns = "json_extract(record, '$.package') || ' ' || json_extract(record, '$.task')"
        query = f"SELECT count(DISTINCT {columns}) FROM records WHERE record LIKE '{{\"record\":\"task_finished\"%'"
        return self.select(query, [(0,)])[0][0]

    def seconds(self):
        return self.select("SELECT max(elapsed) FROM records", None)[0][0] / 1e9

    def status(self):
        answer = self.do("status", "--json")
        return json.loads(answer.stdout)["status"] if answer.returncode == 0 else None

    def sysroot(self):
        """Every path with its type and mode, owner, and content or link target."""
        listing = {}
        root = self.seen_at / "sysroot"
        for directory, directories, files in os.walk(root):
            for name in directories + files:
                path = Path(directory) / name
                facts = path.lstat()
                content = None
                if stat.S_ISLNK(facts.st_mode):
                    content = os.readlink(path)
                elif stat.S_ISREG(facts.st_mode):
                    content = hashlib.sha256(path.read_bytes()).hexdigest()
                listing[str(path.relative_to(root))] = (oct(facts.st_mode), facts.st_uid, facts.st_gid, content)
        return listing

    def archives(self):
        below = self.seen_at / "packages"
        return {str(file.relative_to(below)): hashlib.sha256(file.read_bytes()).hexdigest() for file in below.rglob("*.tar.zst")}


def answer(ledger, query, otherwise):
    with contextlib.closing(sqlite3.connect(ledger, uri=True, timeout=60)) as db:
        try:
            return db.execute(query).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):  # being made this moment
                return otherwise
            raise


def descendants(process):
    """All that it has started, and what that has started."""
    children = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            # After the name, which is in parentheses: the state, the parent.
            parent = int(status.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(status.parent.name))
    found, ahead = [], [process]
    while ahead:
        mine = children.get(ahead.pop(), [])
        found += mine
        ahead += mine
    return found


def check_redone(build, after, complete, allowed=()):
    """Of what was complete when the ledger ended there, nothing was started again since, but for such tasks."""
    started = (record for record in build.records(after) if record["record"] == "task_started")
    redone = {(record["package"], record["task"]) for record in started if record["package"] in complete}
    redone = sorted(f"{package} {task}" for package, task in redone if task not in allowed)
    demand(not redone, f"were complete, and ran again: {', '.join(redone)}")


def failures(records):
    """How often each task failed."""
    return Counter((record["package"], record["task"]) for record in records if record["record"] == "task_failed")


def check_failures(undisturbed, disturbed):
    """None that an undisturbed run has not; and less only of what was cut off: that took a number, which tells a task when to fail."""
    records = disturbed.records()
    ours, theirs = failures(records), failures(undisturbed.records())
    cut_off = {(record["package"], record["task"]) for record in records if record["record"] == "task_interrupted"}
    demand(not ours - theirs, f"failed attempts that an undisturbed run has not: {ours - theirs}")
    missing = sorted((theirs - ours).keys() - cut_off)
    demand(not missing, f"never cut off, and failed less than undisturbed: {missing}")


def difference(theirs, ours):
    """What is not the same in two listings, in words."""
    differ = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
    return [f"{name}: {theirs.get(name)} undisturbed, {ours.get(name)} disturbed" for name in differ]


def demand_same(theirs, ours, what):
    differ = difference(theirs, ours)
    for line in differ[:20]:
        say(line)
    demand(not differ, f"{len(differ)} {what} differ")


def compare(undisturbed, disturbed):
    """As if nothing had been: each package completed once, the same failures, sysroot and archives."""
    names = sorted(disturbed.completed())
    demand(names == sorted(undisturbed.completed()), f"completed: {names}")
    check_failures(undisturbed, disturbed)
    sysroot, archives = disturbed.sysroot(), disturbed.archives()
    demand_same(undisturbed.sysroot(), sysroot, "paths of the sysroot")
    demand_same(undisturbed.archives(), archives, "archives")
    say(f"identical: {len(sysroot)} paths of the sysroot, {len(archives)} archives; {len(names)} packages, each completed once")


def true_counters(records):
    """What /metrics must say of a ledger with these records, found out without kiln."""
    true, running, tried, mended = Counter(), {}, set(), set()
    for record in records:
        kind, package, work = record["record"], record.get("package"), (record.get("package"), record.get("task"))
        true["kiln_ledger_writes_total"] += 1
        if kind == "run_started" or (kind == "run_resumed" and record.get("afresh")):
            running, tried = {}, set()
        elif kind == "decided":
            mended = set()
        elif kind == "task_started":
            running[work] = record
        elif kind == "task_interrupted":
            running.pop(work, None)
        elif kind in ("task_finished", "task_failed") and work in running:
            started = running.pop(work)
            if not started.get("restore"):
                labels = f'{{phase="{started["phase"]}",task="{work[1]}"}}'
                true[f"kiln_task_attempts_total{labels}"] += 1
                true[f"kiln_task_retries_total{labels}"] += work in tried
                if kind == "task_failed":
                    tried.add(work)
                    true[f"kiln_task_failures_total{labels}"] += 1
                    true[f'kiln_errors_total{{category="{record["failure"]["category"]}"}}'] += 1
        elif kind == "action_finished":
            true[f'kiln_recovery_actions_total{{action="{record["action"]}"}}'] += 1
        elif kind == "package_damaged":
            # Merged again is not built again.
            (mended.add if record.get("archive", True) else mended.discard)(package)
        elif kind == "package_completed":
            true[f'kiln_packages_completed_total{{phase="{record["phase"]}"}}'] += package not in mended
            mended.discard(package)
        elif kind == "run_ended":
            true[f'kiln_runs_total{{state="{record["state"]}"}}'] += 1
    return true


COUNTED = (
    "kiln_ledger_writes_total", "kiln_runs_total", "kiln_packages_completed_total", "kiln_task_attempts_total",
    "kiln_task_failures_total", "kiln_task_retries_total", "kiln_errors_total", "kiln_recovery_actions_total",
)  # fmt: skip


def check_counters(build, metrics):
    """`metrics` is what a run wrote at its end (`--textfile`)."""
    build.read_counters(metrics.read_text())
    ours = {series: value for series, value in build.counters.items() if series.split("{")[0] in COUNTED and value}
    theirs = {series: float(value) for series, value in true_counters(build.records()).items() if value}
    differ = sorted(series for series in ours.keys() | theirs.keys() if ours.get(series) != theirs.get(series))
    for series in differ:
        say(f"{series}: the ledger's records say {theirs.get(series)}, /metrics {ours.get(series)}")
    demand(not differ, f"{len(differ)} counters are not what the ledger says")
    total = Counter()
    for series, value in ours.items():
        total[series.split("{")[0]] += int(value)
    say("true counters: " + ", ".join(f"{name} {value}" for name, value in sorted(total.items())))
