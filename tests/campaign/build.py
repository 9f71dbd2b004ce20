"""A build and what can be seen of it from outside.

Nothing here asks kiln what only its files can say. Does not know: what a campaign does to a build, what is right.
"""

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
import tempfile
import time
import urllib.request
from pathlib import Path

from common import demand

# How long a process of a killed runner may take to vanish.
VANISH_SECONDS = 20
# Those that count what this process saw, and begin anew with it.
PROCESS = ("kiln_log_", "kiln_ledger_write_failures_total")
# How long its files may not fit together while they are read.
COPY_SECONDS = 10


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
