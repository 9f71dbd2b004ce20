"""The tools side by side: where they come from, and how each is told to run a graph.

Owns: installation, command lines, environments. Does not know: how they are measured.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import graphs

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SCRATCH = ROOT / "target" / "bench"


@dataclass
class Tool:
    """One column of the comparison. `prepare` writes the graph; `command` is what is measured."""

    name: str
    program: str
    kind: str  # kiln, ninja, make or loop
    settings: dict = field(default_factory=dict)

    def prepare(self, graph, directory, outputs):
        if self.kind == "kiln":
            graphs.kiln(graph, directory, "true" if outputs else graphs.NOOP)
        elif self.kind == "ninja":
            graphs.ninja(graph, directory, outputs)
        elif self.kind == "make":
            graphs.make(graph, directory, outputs)

    def fresh(self, directory):
        """As if it had never run here."""
        if self.kind == "kiln":
            shutil.rmtree(directory / "state", ignore_errors=True)
        for name in (".ninja_log", ".ninja_deps", ".n2_db"):
            directory.joinpath(name).unlink(missing_ok=True)

    def command(self, graph, directory, jobs, port=None):
        if self.kind == "kiln":
            listen = ["--listen", f"127.0.0.1:{port}"] if port else ["--no-listen"] if self.serves else []
            return [self.program, "run", directory, "--state", directory / "state", f"--jobs={jobs}", *listen]
        if self.kind == "ninja":
            return [self.program, f"-j{jobs}"]
        if self.kind == "make":
            return [self.program, "-rR", f"-j{jobs}", "all"]
        return [self.program, str(len(graph)), str(jobs), "/bin/sh", "-e", "-c", graphs.NOOP]

    @property
    def serves(self):
        """Whether there is anything to scrape."""
        if self.kind != "kiln":
            return False
        if "_serves" not in self.__dict__:
            usage = subprocess.run([self.program, "run", "--help"], capture_output=True, text=True).stdout
            self.__dict__["_serves"] = "--listen" in usage
        return self.__dict__["_serves"]

    def environment(self, task_environment):
        """kiln makes its tasks' environment; the others hand down their own, so they get that one."""
        if self.kind == "kiln":
            return kiln_environment() | self.settings
        # MAKEFLAGS would be an order to make itself.
        return {name: value for name, value in task_environment.items() if name != "MAKEFLAGS"}


def kiln_environment():
    return {"PATH": os.environ["PATH"], "HOME": str(SCRATCH), "KILN_SET_SANDBOX": "off", "KILN_SET_CGROUPS": "off"}


def all_tools(names, kilns):
    """The tools of these names; `kilns`: programs of `NAME=PATH` instead of one that is built here."""
    SCRATCH.mkdir(parents=True, exist_ok=True)
    found = []
    for name in names:
        if name == "loop":
            found.append(Tool(name, build_loop(), "loop"))
        elif name == "make":
            found.append(Tool(name, installed("make", "make"), "make"))
        elif name == "ninja":
            found.append(Tool(name, ninja_of_pypi(), "ninja"))
        elif name == "ninja-debian":
            found.append(Tool(name, installed("/usr/bin/ninja", "ninja-build"), "ninja"))
        elif name == "n2":
            found.append(Tool(name, installed("n2", None), "ninja"))
        elif name in ("kiln", "kiln-confined"):
            confined = {"KILN_SET_SANDBOX": "on", "KILN_SET_CGROUPS": "on"} if name == "kiln-confined" else {}
            for label, program in kilns or [("", None)]:
                label = name if label in ("", "kiln") else name.replace("kiln", label)
                found.append(Tool(label, program or build("kiln"), "kiln", confined))
        else:
            sys.exit(f"unknown tool `{name}`")
    return found


def build(name, *what):
    """The program of this name, by cargo."""
    print(f"building {name} …", file=sys.stderr)
    command = ["cargo", "build", "--release", "--message-format=json-render-diagnostics", *what]
    built = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    for line in built.stdout.splitlines():
        artifact = json.loads(line)
        if artifact.get("executable") and artifact["target"]["name"] == name:
            return artifact["executable"]
    sys.exit(f"cargo built no {name}")


def build_loop():
    program = SCRATCH / "spawn_loop"
    compiler = installed(os.environ.get("CC", "cc"), "gcc")
    subprocess.run([compiler, "-O2", "-Wall", "-Wextra", "-o", program, HERE / "spawn_loop.c"], check=True)
    return str(program)


def ninja_of_pypi():
    venv = SCRATCH / "venv"
    program = venv / "bin" / "ninja"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([venv / "bin" / "pip", "install", "--quiet", "ninja==1.13.*"], check=True)
    return str(program)


def installed(program, package):
    if found := shutil.which(program):
        return found
    if package and os.geteuid() == 0:
        subprocess.run(["apt-get", "install", "--yes", "--quiet", package], check=True, stdout=sys.stderr)
    return shutil.which(program) or sys.exit(f"`{program}` is not there" + (f": install {package}" if package else ""))


def task_environment(kiln):
    """The environment that kiln's tasks really get, asked of one of them."""
    with tempfile.TemporaryDirectory(dir=SCRATCH) as name:
        directory = Path(name)
        graphs.kiln(graphs.flat(1), directory, "tr '\\0' '\\n' < /proc/$$/environ")
        command = kiln.command([None], directory, 1)
        subprocess.run(command, env=kiln_environment(), check=True, capture_output=True)
        (log,) = directory.glob("state/logs/*/*.log")
        # The paths are as long as those of the measured run.
        lines = log.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def version(tool):
    if tool.kind == "loop":
        return "posix_spawn"
    answer = subprocess.run([tool.program, "--version"], capture_output=True, text=True).stdout
    return answer.splitlines()[0] if answer else "?"
