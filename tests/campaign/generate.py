"""A definition of N packages that a seed decides: pure shell, quick, and with something of everything.

Files, symlinks, hard links, shared directories, paths taken over, sources that are tarballs, dependencies of all types, checks (one or
the other fails, and may), tasks that fail at their first attempts, packages that are written straight into the sysroot.
"""

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path

# Chains stay shorter than max_depth: a package needs others of its own dozen alone.
DOZEN = 12
# What a failure looks like, by what kiln should take it for.
FAILURES = (
    "echo \"main.c:3:12: error: 'answer' undeclared\" >&2",
    "echo \"main.c:(.text+0x5): undefined reference to \\`answer'\" >&2",
    "echo 'fatal: out of luck' >&2",
)


def generate(directory, packages, chance):
    """Writes it, for the random.Random `chance`. Returns the directory."""
    directory = Path(directory)
    (directory / "packages").mkdir(parents=True)
    tarballs = [tarball(directory, number, chance) for number in range(4)]
    names = [f"p{number}" for number in range(packages)]
    recipes = [recipe(number, names, tarballs, chance) for number in range(packages)]
    (directory / "packages/all.yaml").write_text("".join(f"---\n{json.dumps(each)}\n" for each in recipes))
    # In order, so that a phase needs nothing of a later one.
    parts = [names[: packages // 3], names[packages // 3 : 2 * packages // 3], names[2 * packages // 3 :]]
    document = {
        "name": f"generated-{packages}",
        "build_phases": {
            key: {"name": key, "order": order, "critical": key != "extra", "steps": steps}
            for order, (key, steps) in enumerate(zip(("base", "system", "extra"), parts), 1)
            if steps
        },
        "dependency_tracking": {"dependency_resolution": {"method": "parallel", "max_depth": DOZEN}},
        "progress_tracking": {"checkpoints": {"frequency": 10, "type": "incremental", "verification": True}},
        "error_recovery": {"automatic_recovery": {"delay_between_attempts": 0, "max_attempts": 3}},
    }
    (directory / "kiln.yaml").write_text(json.dumps(document, indent=1))
    return directory


def tarball(directory, number, chance):
    """As an entry of `sources`."""
    made = directory / f"upstream/source{number}.tar.gz"
    made.parent.mkdir(exist_ok=True)
    # Without the time of day: the same for the same seed, whenever.
    with gzip.GzipFile(made, "wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as archive:
        for name in ("top/one", "top/sub/two", "top/sub/deep/three"):
            content = chance.randbytes(chance.randint(0, 40_000))
            facts = tarfile.TarInfo(name)
            facts.size, facts.mtime = len(content), 1_000_000_000
            archive.addfile(facts, io.BytesIO(content))
    digest = hashlib.sha256(made.read_bytes()).hexdigest()
    return {"file": made.name, "sha256": digest, "from": [f"file:{made.absolute()}"]}


def recipe(number, names, tarballs, chance):
    name = names[number]
    made = {"package": name, "version": f"1.{chance.randint(0, 9)}", "accept_failed_check": True, "tasks": {}}
    tasks = made["tasks"]
    dozen = names[number - number % DOZEN : number]
    for kind, odds in (("build_deps", 0.25), ("runtime_deps", 0.1), ("optional_deps", 0.1)):
        made[kind] = [other for other in dozen if chance.random() < odds]
    if chance.random() < 0.3:
        made["sources"] = [chance.choice(tarballs)]
    if chance.random() < 0.6:
        tasks["configure"] = f"test ! -e made; echo {name} > made"
        # Big enough to be caught in the middle of being written, unpacked, packed.
        tasks["build"] = f"cat made > built; head -c {chance.randint(1, 300_000)} /dev/zero | tr '\\0' {name[-1]} > large\n"
        tasks["build"] += f"sleep {chance.uniform(0, 0.05):.3f}\n"
        if chance.random() < 0.4:
            fails = chance.random() < 0.1
            run = "grep -q . built" + ("; echo '1 of 9 tests failed' >&2; exit 1" if fails else "")
            tasks["check"] = {"run": run, "required": not fails}
    if chance.random() < 0.95 or not tasks:
        tasks["install"] = install(name, made, dozen, chance)
    if chance.random() < 0.08:
        failing = chance.choice([task for task in tasks if task != "check"])
        times = chance.randint(1, 2)
        tasks[failing] = f'if test "$KILN_ATTEMPT" -le {times}; then {chance.choice(FAILURES)}; exit 1; fi\n' + tasks[failing]
    return made


def install(name, made, dozen, chance):
    shared = f"usr/share/{'abcdefg'[chance.randint(0, 6)]}"
    lines = [
        'cd "$DESTDIR"',
        f"mkdir -p usr/bin {shared}/{name}",
        f"echo {name} > usr/bin/{name}; chmod 755 usr/bin/{name}; ln -s {name} usr/bin/{name}.link",
    ]
    for number in range(chance.randint(0, 4)):
        content = f"head -c {chance.randint(0, 200_000)} /dev/zero | tr '\\0' {number}"
        lines.append(f"{content} > {shared}/{name}/{number}; echo {chance.random()} >> {shared}/{name}/{number}")
    if chance.random() < 0.3:
        lines.append(f"ln usr/bin/{name} usr/bin/{name}.hard; mkdir -p usr/empty/{name}; chmod 700 usr/empty/{name}")
    if "build" in made["tasks"] and chance.random() < 0.5:
        lines.append(f'cp "$OLDPWD/large" {shared}/{name}/large')
    if dozen and chance.random() < 0.3:
        # The one before it, which so is nobody else's to take over.
        replaced = dozen[-1]
        made["replaces"] = [replaced]
        made["build_deps"] = sorted({*made["build_deps"], replaced})
        lines.append(f"echo taken over by {name} > usr/bin/{replaced}; chmod 755 usr/bin/{replaced}")
    if chance.random() < 0.05:
        # Straight into the sysroot, with others at work there.
        made["direct"] = True
        lines = [f'mkdir -p "$SYSROOT/var/{name}"', f'echo direct > "$SYSROOT/var/{name}/file"']
        made.pop("replaces", None)
    return "\n".join(lines) + "\n"
