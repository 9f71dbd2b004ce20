"""A small system to build, in which everything happens that a dashboard shows: what is tried again, what only a person can
decide, what is skipped, checkpoints, waiting.

Does not know: kiln's metrics, Prometheus.
"""

import hashlib
import json
from pathlib import Path

# How tools put it: kiln reads the category from such lines.
SYNTAX = "echo \"main.c:3:12: error: 'answer' undeclared\" >&2"
HEADER = "echo 'main.c:1:10: fatal error: zconf.h: No such file or directory' >&2"
LINK = "echo \"main.c:(.text+0x5): undefined reference to \\`answer'\" >&2"
DISK = "echo 'ld: final link failed: No space left on device' >&2"

# The package that others of its phase need, one that many do, the one for which a person is asked, one of its phase and one of the last
# that nothing needs.
FIRST, HELD, ASKS, BESIDE, LAST = "binutils", "gcc", "bash", "tar", "editor"
# Those that go on when they are let.
WAIT = (HELD, ASKS, BESIDE)

# Phase, package, what it needs, seconds of its build, attempts that fail, how they fail.
PACKAGES = [
    ("toolchain", "linux_headers", [], 1, 0, ""),
    ("toolchain", "binutils", [], 4, 1, SYNTAX),
    ("toolchain", HELD, ["binutils"], 5, 0, ""),
    ("toolchain", "glibc", [HELD, "linux_headers"], 4, 2, LINK),
    ("base_system", "ncurses", ["glibc"], 2, 0, ""),
    ("base_system", "readline", ["ncurses"], 1, 0, ""),
    ("base_system", ASKS, ["readline"], 3, 9, HEADER),
    ("base_system", "coreutils", ["glibc"], 4, 0, ""),
    ("base_system", "grep", ["glibc"], 2, 0, ""),
    ("base_system", "make", ["glibc"], 2, 1, DISK),
    ("base_system", "sed", ["glibc"], 2, 0, ""),
    ("base_system", "tar", ["glibc"], 2, 0, ""),
    ("desktop", "xorg", ["coreutils"], 5, 0, ""),
    ("desktop", "fonts", [], 1, 9, SYNTAX),
    ("desktop", "terminal", ["xorg", "fonts"], 2, 0, ""),
    ("desktop", LAST, ["xorg"], 3, 0, ""),
]
CRITICAL = {"toolchain": True, "base_system": True, "desktop": False}


def write(directory, second, held, requirements=(("1M", "1M"), ("2M", "1M"), ("3M", "2M"))):
    """Where a build's second takes `second` seconds, and each of `WAIT` goes on when there is a file of its name in `held`. Phases
    require so much disk and memory."""
    directory = Path(directory)
    (directory / "packages").mkdir(parents=True)
    source = b"answer\n"
    (directory / "source").write_bytes(source)
    digest = hashlib.sha256(source).hexdigest()
    phases = {
        key: {
            "name": key.replace("_", " ").capitalize(),
            "order": order,
            "critical": critical,
            "requirements": dict(zip(("disk_space", "memory"), requirements[order - 1])),
            "steps": [package for phase, package, *_ in PACKAGES if phase == key],
        }
        for order, (key, critical) in enumerate(CRITICAL.items(), 1)
    }
    document = {
        "name": "sketch",
        "build_phases": phases,
        "dependency_tracking": {"dependency_resolution": {"method": "parallel"}},
        "progress_tracking": {"checkpoints": {"frequency": 2}},
        "error_recovery": {
            "automatic_recovery": {"max_attempts": 3, "delay_between_attempts": 1, "escalation_threshold": 2}
        },
    }
    (directory / "kiln.yaml").write_text(json.dumps(document, indent=1))
    recipes = [recipe(directory, digest, second, held, *package) for package in PACKAGES]
    (directory / "packages/all.yaml").write_text("".join(f"---\n{json.dumps(each)}\n" for each in recipes))
    return directory


def recipe(directory, digest, second, held, _phase, package, needs, seconds, failing, how):
    work = [
        "memory=$(head -c 20000000 /dev/zero | tr '\\0' x)",
        f"timeout {seconds * second / 2} sh -c 'while :; do :; done' || true",
        f"sleep {seconds * second / 2}",
        *([f"until [ -e '{held}/{package}' ]; do sleep 0.1; done"] if package in WAIT else []),
        f'[ "$KILN_ATTEMPT" -gt {failing} ] || {{ {how or ":"}; exit 1; }}',
    ]
    return {
        "package": package,
        "version": 1,
        "sources": [{"file": f"{package}.txt", "sha256": digest, "from": [f"file:{directory}/source"]}],
        "build_deps": needs,
        "tasks": {
            "configure": f"sleep {second / 2}",
            "build": "\n".join(work),
            "check": f"sleep {second / 2}",
            "install": f'mkdir -p "$DESTDIR/usr/share" && echo {package} > "$DESTDIR/usr/share/{package}"',
        },
    }
