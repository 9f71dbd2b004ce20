"""Builds that are watched: what they build, how their metrics are served, and what is done to them.

`held` builds until it may go, so that something always goes on; `package` fails until its cause is mended, each attempt when it is let;
fifty others need it. Does not know: Prometheus, who is told.
"""

import json
import subprocess

from build import Build
from common import demand
from servers import STUCK_SECONDS, free_port, until

PHASE = "base"
# What the framework counts: the second failed attempt is told of, the third is the last.
THRESHOLD, MOST = 2, 3
DEPENDENTS = [f"dependent{number}" for number in range(50)]


class Watched(Build):
    """A build of a definition of this name, in which this package fails. Everything of it runs in `journal`'s namespace."""

    def __init__(self, program, directory, journal, name, package):
        self.here = directory / name
        self.here.mkdir()
        (self.here / "kiln.log").touch()
        self.name, self.package, self.journal = name, package, journal
        super().__init__(program, write(self.here, name, package), self.here / "state")
        self.address = f"127.0.0.1:{free_port()}"
        # So that commands of mails can be typed.
        (self.here / "bin").mkdir()
        (self.here / "bin/kiln").symlink_to(program)
        self.environment = {"PATH": f"{self.here}/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(self.here)}

    def do(self, *arguments):
        """What a command about this build answers."""
        return self.answer(self.kiln, *arguments, self.definition, "--state", self.state)

    def type(self, command):
        """What a command answers that is typed as it is, in a directory that has nothing to do with it."""
        return self.answer("/bin/sh", "-c", command)

    def answer(self, *command):
        done = subprocess.run(
            self.journal.inside(*command), stdin=subprocess.DEVNULL, capture_output=True, text=True, env=self.environment, cwd="/"
        )
        demand(done.returncode == 0, f"{command}: exit code {done.returncode}: {done.stderr}")
        return done.stdout

    def launch(self, *arguments):
        """A process of kiln's that stays; what it says that is not for the journal is in kiln.log."""
        command = self.journal.inside(self.kiln, *arguments, self.definition, "--state", self.state, "--log-format", "journald")
        with (self.here / "kiln.log").open("a") as log:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment)

    def said(self):
        return (self.here / "kiln.log").read_text()

    def start(self, *options):
        """A runner, which waits for a person where it has to."""
        self.runner = self.launch("run", "--wait", "--jobs", "2", *options)

    def ends(self, code):
        until(lambda: self.runner.poll() is not None, f"the runner of {self.name} does not end")
        demand(self.runner.returncode == code, f"{self.name}: exit code {self.runner.returncode}:\n{self.said()}")

    def let(self, what):
        (self.here / what).touch()

    def times(self, kind):
        """When each record of this kind about the package was written."""
        rows = self.select("SELECT wall, record FROM records ORDER BY seq", [])
        records = ((wall / 1e9, json.loads(record)) for wall, record in rows)
        return [wall for wall, record in records if record["record"] == kind and record.get("package") == self.package]


class Inside(Watched):
    """Its runner serves its metrics itself: they end with it. It stays until its end has been seen, since it is scraped."""

    def start(self):
        super().start("--listen", self.address)


class Beside(Watched):
    """A sidecar serves its metrics, whatever becomes of the runner."""

    sidecar = None

    def start(self):
        super().start("--no-listen")

    def serve(self):
        self.sidecar = self.launch("serve", "--listen", self.address)

    def serve_no_more(self):
        if self.sidecar:
            self.sidecar.kill()
            self.sidecar.wait()

    def __exit__(self, *what):
        super().__exit__(*what)
        self.serve_no_more()


def write(here, name, package):
    """Its definition, which waits for files that are `here`."""
    definition = here / "definition"
    (definition / "packages").mkdir(parents=True)
    document = {
        "name": name,
        "build_phases": {PHASE: {"order": 1, "critical": True, "steps": ["held", package, *DEPENDENTS]}},
        "dependency_tracking": {"dependency_resolution": {"method": "parallel"}},
        "error_recovery": {
            "automatic_recovery": {"max_attempts": MOST, "delay_between_attempts": 0, "escalation_threshold": THRESHOLD}
        },
    }
    (definition / "kiln.yaml").write_text(json.dumps(document, indent=1))
    fails = f"[ -e '{here}/mended' ] || {{ echo \"{package}.c:3:12: error: 'answer' undeclared\" >&2; exit 1; }}"
    recipes = [
        recipe("held", [], waits(f"'{here}/go'")),
        recipe(package, [], waits(f"'{here}'/try$KILN_ATTEMPT") + "; " + fails),
        *(recipe(dependent, [package], ":") for dependent in DEPENDENTS),
    ]
    (definition / "packages/all.yaml").write_text("".join(f"---\n{json.dumps(each)}\n" for each in recipes))
    return definition


def waits(file):
    return f"until [ -e {file} ]; do sleep 0.1; done"


def recipe(package, needs, build):
    install = f'mkdir "$DESTDIR/{package}"'
    return {"package": package, "version": 1, "build_deps": needs, "tasks": {"build": build, "install": install}}
