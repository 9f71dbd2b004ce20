"""A build of `definition` with a real Prometheus that watches it, both on free ports, and what can be asked of that.

Does not know: dashboards, but for the variables in their queries.
"""

import contextlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import definition

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests/campaign"))

from common import demand, kiln  # noqa: E402
from servers import Prometheus, free_port, until  # noqa: E402

RULES = ROOT / "alerts/kiln.rules.yml"
# How long anything may take that is waited for; pictures are of a build of some minutes.
PATIENCE = 600


def label_values(prometheus, expression):
    """Of `label_values(selector, label)`."""
    selector, label = expression.removeprefix("label_values(").removesuffix(")").rsplit(", ", 1)
    return prometheus.get(f"label/{label}/values", **{"match[]": selector})


def interpolate(expression, start, end, step):
    """What Grafana makes of it, with all instances chosen."""
    values = {
        "$__rate_interval": f"{max(4, step + 1)}s",
        "$__interval": f"{step}s",
        "$__range": f"{int(end - start)}s",
        "$job": ".+",
        "$instance": ".+",
    }
    for name, value in values.items():
        expression = expression.replace(name, value)
    return expression


class Watched:
    """The build, from its start until Prometheus has seen its end."""

    def __init__(self, second, **definition):
        """`second` is how long what takes a second takes."""
        self.how = {"second": second, **definition}

    def __enter__(self):
        self.stack = contextlib.ExitStack()
        self.directory = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="kiln-dashboards-")))
        self.held = self.directory / "go"
        self.held.mkdir()
        for package in definition.WAIT:
            self.let(package)
        written = definition.write(self.directory / "definition", held=self.held, **self.how)
        self.place = [written, "--state", self.directory / "state"]
        self.log = self.stack.enter_context((self.directory / "kiln.log").open("w+"))
        self.program = kiln()
        self.address = f"127.0.0.1:{free_port()}"
        self.prometheus = Prometheus(self.directory, [self.address], RULES)
        self.stack.callback(self.prometheus.stop)
        return self

    def __exit__(self, *_):
        self.stack.close()

    def let(self, package):
        (self.held / package).touch()

    def hold(self, package):
        (self.held / package).unlink()

    def start(self, *options):
        """A runner, which stays until Prometheus has seen the end."""
        command = [self.program, "run", *self.place, "--jobs", "3", "--listen", self.address, "--linger", str(PATIENCE)]
        command += options
        self.runner = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        self.stack.callback(self.runner.kill)

    def said(self):
        self.log.seek(0)
        return self.log.read()

    def seen(self, *expressions):
        """When Prometheus has had all of them, one after another."""
        for expression in expressions:
            until(lambda: self.prometheus.has(expression) or self.runner.poll() is not None, f"no {expression}", PATIENCE)
            demand(self.runner.poll() is None, f"kiln ended before {expression}:\n{self.said()}")
        return time.time()

    def end(self):
        until(lambda: self.runner.poll() is not None, "the run does not end", PATIENCE)
        demand(self.runner.returncode == 0, f"exit code {self.runner.returncode}:\n{self.said()}")
        return time.time()

    def run(self):
        """All of it, with a person who answers: start, the moment at which a person is asked, end."""
        start = time.time()
        self.hold(definition.HELD)
        self.start("--wait")
        self.seen(f'kiln_active_task_expected_duration_seconds{{package="{definition.HELD}"}}')
        self.let(definition.HELD)
        asked = self.seen("kiln_gates_open > 0", 'ALERTS{alertstate="firing"}')
        self.seen('kiln_run_state{state="paused"} == 1')
        self.answer("skip")
        return start, asked, self.end()

    def answer(self, answer):
        subprocess.run([self.program, "resolve", definition.ASKS, answer, *self.place], check=True, stdout=subprocess.DEVNULL)

    def again(self):
        """A run in which one package is built, and the rest is there."""
        self.start("--package", definition.LAST, "--force", definition.LAST)
        return self.end()

    def ask_again(self):
        """A run that builds all of it, has one answer, and needs another: when the first gate was seen, answered, seen as that, and
        when the second one was."""
        self.hold(definition.BESIDE)
        self.start("--wait", "--force", definition.FIRST)
        asked = self.seen("kiln_gates_open > 0")
        self.hold(definition.ASKS)
        self.answer("retry")
        level = f'kiln_escalation_level{{package="{definition.ASKS}"}}'
        answered = self.seen(f"{level} < 3")
        (changed,) = self.prometheus.query(f"kiln_escalation_timestamp_seconds and {level} < 3")
        self.let(definition.ASKS)
        self.seen(
            f"{level} == 3",
            f'kiln_active_task_start_timestamp_seconds{{package="{definition.BESIDE}",task="build"}}',
            # Nothing else moves any more.
            'sum(kiln_tasks{state=~"ready|running|backoff"}) == 1',
        )
        return asked, float(changed["value"][1]), answered, time.time()

    def die(self):
        """The runner is killed, and nobody answers, as Prometheus has seen."""
        self.runner.kill()
        self.runner.wait()
        until(lambda: self.prometheus.has("up == 0"), "Prometheus does not see that kiln is gone")
        return time.time()

    def serve(self):
        """A sidecar tells of the run whose runner was killed."""
        command = [self.program, "serve", *self.place, "--listen", self.address]
        self.runner = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        self.stack.callback(self.runner.kill)
        return self.seen("up == 1 and on (job, instance) kiln_runner_up == 0")
