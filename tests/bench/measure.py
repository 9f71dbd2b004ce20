"""What a command costs, seen from outside.

Owns: how CPU time, wall time and memory are read, and system calls counted. Does not know: what is run.
"""

import os
import re
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from dataclasses import dataclass

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Cost:
    wall: float  # seconds from its start to its end
    own: float  # seconds of CPU of the process itself, all threads, children excluded
    own_user: float  # of these, in user mode (10 ms ticks)
    own_system: float
    children: float  # seconds of CPU of the children that it waited for, and theirs
    peak_memory: int  # bytes of the process itself; what came in its last 50 ms (2 ms of a short one) may be missing
    scrapes: int
    scrape_worst: float  # seconds


class Failed(Exception):
    pass


def run(argv, env, cwd, scrape=None, status=0):
    """Runs a command to its end, which is to be `status`. `scrape`: a URL that is fetched once a second meanwhile."""
    errors = os.path.join(cwd, "stderr")
    started = time.monotonic()
    with open(errors, "wb") as stderr:
        process = subprocess.Popen(
            argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr
        )
    watcher = Watcher(process.pid, scrape)
    # The process stays a zombie: its times, its own apart from its children's, can still be read.
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    wall = time.monotonic() - started
    watcher.stop()
    own = time.clock_gettime(~process.pid << 3 | 2)  # clock_getcpuclockid(3), in nanoseconds
    with open(f"/proc/{process.pid}/stat", encoding="ascii", errors="replace") as stat:
        fields = stat.read().rpartition(")")[2].split()
    user, system, children_user, children_system = (int(field) / CLOCK_TICKS for field in fields[11:15])
    if (ended := process.wait()) != status:
        with open(errors, encoding="utf-8", errors="replace") as stderr:
            tail = stderr.read()[-2000:]
        raise Failed(f"{' '.join(map(str, argv))}: exit status {ended}\n{tail}")
    os.remove(errors)
    return Cost(
        wall=wall,
        own=own,
        own_user=user,
        own_system=system,
        children=children_user + children_system,
        peak_memory=watcher.peak_memory,
        scrapes=watcher.scrapes,
        scrape_worst=watcher.scrape_worst,
    )


class Watcher(threading.Thread):
    """Looks at a running process: its peak memory, and its metrics once a second."""

    # wait4 would say the peak of whatever ran in the process before exec, too: of this Python.
    def __init__(self, pid, scrape):
        super().__init__(daemon=True)
        self.pid, self.url = pid, scrape
        self.peak_memory, self.scrapes, self.scrape_worst = 0, 0, 0.0
        self.over = threading.Event()
        self.start()

    def run(self):
        started = next_scrape = time.monotonic()
        # Of a command that takes milliseconds there would be no peak at all.
        while not self.over.wait(0.05 if time.monotonic() > started + 0.5 else 0.002):
            self.look()
            if self.url and time.monotonic() >= next_scrape:
                next_scrape += 1
                self.scrape()

    def look(self):
        try:
            with open(f"/proc/{self.pid}/status", encoding="ascii", errors="replace") as status:
                found = re.search(r"^VmHWM:\s+(\d+) kB", status.read(), re.M)
        except OSError:
            return
        if found:
            self.peak_memory = max(self.peak_memory, int(found[1]) * 1024)

    def scrape(self):
        started = time.monotonic()
        try:
            with urllib.request.urlopen(self.url, timeout=5) as answer:
                answer.read()
        except (OSError, urllib.error.URLError):
            return  # not listening yet, or not any more
        self.scrapes += 1
        self.scrape_worst = max(self.scrape_worst, time.monotonic() - started)

    def stop(self):
        self.over.set()
        self.join()


def system_calls(argv, env, cwd):
    """How often a command makes each system call itself, in all its threads. Needs strace."""
    trace = os.path.join(cwd, "strace")
    subprocess.run(
        ["strace", "-f", "-qq", "-o", trace, *argv],
        env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        check=True,
    )
    calls, threads, starting = Counter(), set(), set()
    with open(trace, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            thread, _, rest = line.partition(" ")
            rest = rest.lstrip()
            threads = threads or {thread}
            if thread not in threads or rest[:1] in "+-":
                continue
            if not rest.startswith("<..."):
                calls[rest[:rest.index("(")]] += 1
                if rest.startswith("clone") and "CLONE_THREAD" in rest:
                    starting.add(thread)
            if thread in starting and (made := re.search(r"= (\d+)$", rest)):
                threads.add(made[1])
                starting.discard(thread)
    os.remove(trace)
    return calls
