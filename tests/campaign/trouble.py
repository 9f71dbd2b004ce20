"""A build that bad times come over: they begin, kiln notices or does not, they end, and it has to complete.

Owns: the cases of a campaign one after another; when it is bad, how a run that has ended goes on, what must hold at each end. Does not know: what
is bad.
"""

import contextlib
import json
import random
import re
import signal
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

from build import Build
from checks import check_redone, demand_same
from common import demand, die_tidily, kiln, parser, say
from disks import unmount_all
from generate import generate

# How long kiln may go on without noticing before that is taken for "does not need what is missing".
UNNOTICED_SECONDS = 5
# How long it may do nothing once all is good again.
STUCK_SECONDS = 120
# How often it may end before it completes.
MOST_ENDS = 30
NOTICED = re.compile(
    r"no space|space left|disk_space|disk is full|read-only|bytes left|inodes|input/output|disk i/o|waits", re.IGNORECASE
)


def options(description):
    made = parser(description)
    made.add_argument("--packages", type=int, default=40, metavar="N", help="in the definition [40]")
    made.add_argument("--times", type=int, default=3, metavar="N", help="how often times are bad in each case [3]")
    made.add_argument("--keep", type=Path, metavar="DIR", help="where to put the state of what went wrong")
    return made


def try_all(arguments, cases, prepare, at_start, expected):
    """Each on a build of its own. `prepare` makes the Trouble of a case, and names it; `at_start`: how likely it begins before kiln does."""
    program = kiln()
    die_tidily()
    wrong = []
    with tempfile.TemporaryDirectory() as space, contextlib.ExitStack() as at_end:
        at_end.callback(unmount_all)
        space = Path(space)
        chance = random.Random(arguments.seed)
        definition = generate(space / "definition", arguments.packages, chance)
        with Build(program, definition, space / "undisturbed") as undisturbed:
            undisturbed.complete()
        tasks = undisturbed.tasks()
        say(f"undisturbed: {len(undisturbed.completed())} packages, {tasks} tasks")
        for number, case in enumerate(cases):
            with Build(program, definition, space / f"disturbed{number}") as build, contextlib.ExitStack() as after:
                trouble, name = prepare(build, case, chance, space / f"disk{number}", after)

                def go():
                    trouble.go(tasks, arguments.times, at_start(case))
                    trouble.compare(undisturbed, expected)

                keep = arguments.keep and arguments.keep / re.sub(r"\W+", "-", name)
                error = tried(trouble, go, keep)
                if error:
                    wrong.append(f"{name}: {error}")
            unmount_all()
            say(f"{name}: {trouble.told(f'WRONG: {error}' if error else 'identical')}")
    for line in wrong:
        say(line)
    demand(not wrong, f"{len(wrong)} of {len(cases)} went wrong")


class Trouble:
    """Of a build. `begin` and `end` make times bad and good.

    `durable`: what had been recorded has to be there afterwards. `redone`: tasks that a complete package may have again.
    """

    def __init__(self, build, begin, end, chance, durable=True, redone=()):
        self.build, self.begin, self.end, self.chance, self.durable, self.redone = build, begin, end, chance, durable, redone
        self.counts = Counter()
        self.position, self.complete = 0, set()

    def start(self):
        self.position, self.complete = self.build.last(), set(self.build.completed())
        self.build.start()

    def go(self, tasks, times, at_start):
        """Bad times so often in a build of so many tasks. `at_start`: some begin before kiln does."""
        build, chance = self.build, self.chance
        self.start()
        for goal in sorted(chance.randrange(tasks) for _ in range(times)):
            while build.tasks() < goal and not build.ended_within(0.01):
                pass
            if build.runner.poll() is not None:
                self.go_on()
                if build.runner.poll() is not None:
                    return
            build.scrape()
            said = len(build.said())
            bad_already = chance.random() < at_start
            if bad_already:
                build.runner.send_signal(signal.SIGTERM)
                # By the signal itself while it does not listen yet.
                demand(build.runner.wait() in (0, 130, -signal.SIGTERM), f"told to stop: exit code {build.runner.returncode}:\n{build.said()}")
                self.counts["starts in bad times"] += 1
                said = 0
                self.position, self.complete = build.last(), set(build.completed())
            self.begin()
            self.counts["bad times"] += 1
            if bad_already:
                build.start()
            until = time.monotonic() + UNNOTICED_SECONDS
            while not build.ended_within(0.01) and time.monotonic() < until:
                if NOTICED.search(build.said()[said:]):
                    self.counts["noticed"] += 1
                    # What comes of it: it waits for a person, or for better times, or has gone on.
                    build.ended_within(chance.uniform(0, 1))
                    break
            self.end()
            if build.runner.poll() is not None:
                self.go_on()
        self.wait()

    def wait(self):
        """To the end, with all good; what was tried before that was good may still open a gate."""
        build = self.build
        while True:
            demand(build.ended_within(STUCK_SECONDS), f"stuck although all is good again:\n{build.said()[-2000:]}")
            ends = sum(count for what, count in self.counts.items() if what.startswith("ends"))
            demand(ends < MOST_ENDS, f"it never completes:\n{build.said()[-2000:]}")
            completed = build.runner.returncode == 0
            self.go_on()
            if completed:
                return

    def go_on(self):
        """It has ended. Now that all is good its gates are answered, and it goes on, if there is anything left."""
        build, code = self.build, self.build.runner.returncode
        self.counts[f"ends with exit code {code}"] += 1
        said = build.said()
        demand("panicked" not in said, f"a panic:\n{said}")
        if self.durable:
            check_redone(build, self.position, self.complete, self.redone)
        if code == 0:
            return
        demand(code in (1, 4, 130), f"exit code {code}:\n{said}")
        if code == 1:
            demand(build.status() != "ERROR", f"the run ended in error:\n{said[-2000:]}")
            self.counts["last words: " + re.sub(re.escape(str(build.state)), "STATE", said.strip().splitlines()[-1])[:300]] += 1
        for gate in json.loads(build.do("gates", "--json").stdout or "[]"):
            answer = build.do("resolve", str(gate["gate_id"]), "retry")
            demand(answer.returncode == 0, f"`kiln resolve {gate['gate_id']} retry`: {answer.stderr}")
            self.counts[f"gates for {gate['reason']}"] += 1
        self.start()

    def compare(self, undisturbed, expected):
        """With an undisturbed build. Tells what failed more than in that, but for what is of the category that was expected."""
        build = self.build
        known = {text(record) for record in undisturbed.records() if record["record"] == "task_failed"}
        for record in build.records():
            if record["record"] == "task_failed" and text(record) not in known:
                category = record["failure"]["category"]
                self.counts[f"more failed attempts, {category}" + ("" if category == expected else f" ({text(record)})")] += 1
        demand_same(undisturbed.sysroot(), build.sysroot(), "paths of the sysroot")
        demand_same(undisturbed.archives(), build.archives(), "archives")
        missing = sorted(set(undisturbed.completed()) - set(build.completed()))
        demand(not missing, f"never completed: {missing}")

    def told(self, outcome):
        return ", ".join(f"{count} {what}" for what, count in self.counts.items()) + f": {outcome}"


def tried(trouble, go, keep):
    """What was wrong with it, or nothing. What is left running is ended."""
    build, wrong = trouble.build, None
    try:
        go()
    except SystemExit as error:
        wrong = str(error)
    finally:
        if build.runner and build.runner.poll() is None:
            build.kill()
            build.wait_for_orphans()
    if wrong and keep:
        keep.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-a", build.seen_at, keep], check=True)
    return wrong


def text(record):
    return f"{record['task']}: {record['failure']['evidence']['text']}"
