"""A build of `definition` with a real Prometheus that watches it, both on free ports, and what can be asked of that.

Does not know: dashboards, but for the variables in their queries.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path

import definition

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "alerts/kiln.rules.yml"
# How long anything may take that is waited for; pictures are of a build of some minutes.
PATIENCE = 600
# The rules are not there yet: until then one alert, so that there is one.
STAND_IN = {"groups": [{"name": "stand-in", "rules": [
    {"alert": "KilnPersonRequired", "expr": "kiln_escalation_level == 3", "labels": {"severity": "critical"}}]}]}  # fmt: skip


def demand(holds, otherwise):
    if not holds:
        sys.exit(f"dashboards: {otherwise}")


def kiln():
    named = os.environ.get("KILN")
    if not named:
        subprocess.run(["cargo", "build", "--locked"], cwd=ROOT, check=True)
        named = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug/kiln"
    return str(Path(named).absolute())


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(condition, what):
    until = time.monotonic() + PATIENCE
    while not condition():
        demand(time.monotonic() < until, f"waited {PATIENCE} s for {what}")
        time.sleep(0.1)


class Prometheus:
    """Scrapes `target`, as job kiln, each second."""

    def __init__(self, directory, target):
        self.url = f"http://127.0.0.1:{free_port()}"
        rules = RULES
        if not rules.exists():
            rules = directory / "rules.yml"
            rules.write_text(json.dumps(STAND_IN))
        config = directory / "prometheus.yml"
        config.write_text(json.dumps({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(rules)],
            "scrape_configs": [{"job_name": "kiln", "static_configs": [{"targets": [target]}]}],
        }))  # fmt: skip
        self.log = (directory / "prometheus.log").open("w+")
        self.process = subprocess.Popen(
            ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={directory / 'data'}",
             f"--web.listen-address={self.url.removeprefix('http://')}", "--log.level=warn"],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
        )  # fmt: skip
        wait_for(self.ready, f"Prometheus; it says: {directory / 'prometheus.log'}")

    def ready(self):
        demand(self.process.poll() is None, "Prometheus has ended")
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(f"{self.url}/-/ready", timeout=5).status == 200
        return False

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.log.close()

    def get(self, what, **parameters):
        """Its data; what is wrong with a query is for the caller to say."""
        url = f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(json.load(error)["error"]) from error

    def query(self, expression, when=None):
        return self.get("query", query=expression, **({"time": when} if when else {}))["result"]

    def query_range(self, expression, start, end, step):
        return self.get("query_range", query=expression, start=start, end=end, step=step)["result"]

    def has(self, expression):
        return bool(self.query(expression))

    def label_values(self, expression):
        """Of `label_values(selector, label)`."""
        selector, label = expression.removeprefix("label_values(").removesuffix(")").rsplit(", ", 1)
        return self.get(f"label/{label}/values", **{"match[]": selector})


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
        written = definition.write(self.directory / "definition", held=self.held, **self.how)
        self.place = [written, "--state", self.directory / "state"]
        self.log = self.stack.enter_context((self.directory / "kiln.log").open("w+"))
        self.program = kiln()
        self.address = f"127.0.0.1:{free_port()}"
        self.prometheus = Prometheus(self.directory, self.address)
        self.stack.callback(self.prometheus.stop)
        return self

    def __exit__(self, *_):
        self.stack.close()

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
            wait_for(lambda: self.prometheus.has(expression) or self.runner.poll() is not None, expression)
            demand(self.runner.poll() is None, f"kiln ended before {expression}:\n{self.said()}")
        return time.time()

    def end(self):
        wait_for(lambda: self.runner.poll() is not None, "the end of the run")
        demand(self.runner.returncode == 0, f"exit code {self.runner.returncode}:\n{self.said()}")
        return time.time()

    def run(self):
        """All of it, with a person who answers: start, the moment at which a person is asked, end."""
        start = time.time()
        self.start("--wait")
        self.seen(f'kiln_active_task_expected_duration_seconds{{package="{definition.HELD}"}}')
        self.held.touch()
        asked = self.seen("kiln_gates_open > 0", 'ALERTS{alertstate="firing"}')
        self.seen('kiln_run_state{state="paused"} == 1')
        subprocess.run([self.program, "resolve", definition.ASKS, "skip", *self.place], check=True, stdout=subprocess.DEVNULL)
        return start, asked, self.end()

    def again(self):
        """A run in which one package is built, and the rest is there."""
        self.start("--package", definition.LAST, "--force", definition.LAST)
        return self.end()

    def die(self):
        """A run that is killed in the middle, as Prometheus has seen."""
        self.held.unlink()
        self.start("--package", definition.HELD, "--force", definition.HELD)
        self.seen(f'kiln_active_task_start_timestamp_seconds{{package="{definition.HELD}",task="build"}}')
        self.runner.kill()
        self.runner.wait()
        self.held.touch()
        wait_for(lambda: self.prometheus.has("up == 0"), "Prometheus to see that kiln is gone")
