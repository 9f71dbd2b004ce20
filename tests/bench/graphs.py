"""The same graph, written down for each tool.

Owns: shapes and their spelling. Does not know: what is measured, where the tools are.
"""

import hashlib
import json
import random
from dataclasses import dataclass
from pathlib import Path

# An argument keeps GNU make from skipping the command: it knows that a bare `:` does nothing.
NOOP = ": x"

# Every package installs into the directories that every other has, as they do, and a file of its own.
INSTALL = 'mkdir -p "$DESTDIR/usr/bin" "$DESTDIR/usr/lib" "$DESTDIR/usr/share/doc"; : > "$DESTDIR/usr/bin/{name}"'

SCRIPTS = ("configure", "build", "check", "install")


@dataclass(frozen=True)
class Package:
    name: str
    tasks: tuple[str, ...]
    deps: tuple[int, ...]


def flat(count, seed=1):
    """`count` packages of one task each; a package depends on up to 3 earlier ones."""
    return _graph(seed, [("build",)] * count)


def deep(count, seed=1):
    """`count` tasks in packages that have most kinds of task: 15,000 packages for 100,000 tasks."""
    # Five of six packages have sources, so that 20 tasks make 3 packages.
    with_sources = ("fetch", "unpack", *SCRIPTS, "merge")
    kinds = []
    while count > 0:
        kind = with_sources if len(kinds) % 6 else (*SCRIPTS, "merge")
        # A package cannot be cut anywhere: `merge` comes with `install`, `unpack` with `fetch`.
        kind = kind if len(kind) <= count else SCRIPTS[:min(count, 3)]
        kinds.append(kind)
        count -= len(kind)
    return _graph(seed, kinds)


def _graph(seed, kinds):
    chance = random.Random(seed)
    packages = []
    for at, tasks in enumerate(kinds):
        deps = chance.sample(range(at), min(at, chance.randint(0, 3)))
        packages.append(Package(f"p{at:06}", tasks, tuple(sorted(deps))))
    return packages


def task_count(graph):
    return sum(len(package.tasks) for package in graph)


def kiln(graph, directory: Path, script=NOOP):
    """A definition of one phase. All recipes are in one file, as the other tools' graphs are."""
    directory.joinpath("packages").mkdir(parents=True)
    data = b"data\n"
    directory.joinpath("data").write_bytes(data)
    steps = "".join(f"      - {package.name}\n" for package in graph)
    directory.joinpath("kiln.yaml").write_text(
        "name: bench\n"
        "build_phases:\n"
        "  all:\n"
        "    name: All\n"
        "    order: 1\n"
        "    critical: true\n"
        "    steps:\n" + steps + "dependency_tracking:\n"
        "  dependency_resolution:\n"
        "    method: parallel\n"
        f"    max_depth: {len(graph) + 1}\n"
    )
    recipes = []
    for package in graph:
        recipe = f"package: {package.name}\nversion: 1\n"
        if package.deps:
            recipe += f"build_deps: [{', '.join(graph[dep].name for dep in package.deps)}]\n"
        if "fetch" in package.tasks:
            digest = hashlib.sha256(data).hexdigest()
            recipe += f'sources: [{{file: data, sha256: "{digest}", from: ["file:data"]}}]\n'
        scripts = {task: script for task in package.tasks if task in SCRIPTS}
        if "install" in scripts:
            scripts["install"] = INSTALL.format(name=package.name)
        scripts = ", ".join(f"{task}: {json.dumps(text)}" for task, text in scripts.items())
        recipes.append(recipe + f"tasks: {{{scripts}}}\n")
    directory.joinpath("packages/all.yaml").write_text("---\n".join(recipes))


def ninja(graph, directory: Path, outputs):
    """build.ninja. Without `outputs` no task makes its file, so that all of them run every time."""
    command = ": > $out" if outputs else NOOP
    lines = [f"rule t\n  command = {command}\n"]
    for output, needs in _edges(graph):
        lines.append(f"build {output}: t {' '.join(needs)}\n")
    directory.joinpath("build.ninja").write_text("".join(lines))


def make(graph, directory: Path, outputs):
    """A Makefile; `outputs` as for ninja."""
    command = ": > $@" if outputs else NOOP
    edges = list(_edges(graph))
    lines = [".SHELLFLAGS = -e -c\n", f"all: {' '.join(output for output, _ in edges)}\n"]
    for output, needs in edges:
        lines.append(f"{output}: {' '.join(needs)}\n\t@{command}\n")
    directory.joinpath("Makefile").write_text("".join(lines))


def _edges(graph):
    """Output and inputs of each task: a package's tasks are a chain behind the last ones of its dependencies."""
    for package in graph:
        needs = [f"{graph[dep].name}.{graph[dep].tasks[-1]}" for dep in package.deps]
        for task in package.tasks:
            yield f"{package.name}.{task}", needs
            needs = [f"{package.name}.{task}"]
