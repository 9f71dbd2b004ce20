"""What all campaigns share: their command lines, the kiln they try, how what they find is said.

Does not know: builds.
"""

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = "Environment: KILN, a kiln to use instead of the development build."


def say(text):
    print(text, flush=True)


def demand(holds, otherwise):
    if not holds:
        sys.exit(f"{Path(sys.argv[0]).name}: {otherwise}")


def cannot(why):
    """What this machine does not let us try is said, and fails where everything has to be tried."""
    demand("CI" not in os.environ, f"cannot be done here: {why}")
    say(f"{Path(sys.argv[0]).name}: skipped, it cannot be done here: {why}")
    sys.exit(0)


def need(*packages):
    """Of Debian, installed where they are missing."""
    # What it says goes beside the campaign's answer.
    done = subprocess.run([ROOT / "packaging/need", *packages], stdout=sys.stderr)
    if done.returncode != 0:
        cannot(f"not all of these packages are there: {' '.join(packages)}")


def parser(description):
    """With the options that every campaign has."""
    made = argparse.ArgumentParser(
        description=description, epilog=ENVIRONMENT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--seed", type=int, default=1, metavar="N", help="decides everything that is random [1]")
    return made


def kinds(all_of_them):
    """An option's type: some of these, with commas between them."""

    def chosen(text):
        unknown = set(text.split(",")) - set(all_of_them)
        if unknown:
            raise argparse.ArgumentTypeError(f"no such: {', '.join(sorted(unknown))}")
        return text.split(",")

    return chosen


def die_tidily():
    """A campaign that is ended ends what it has started."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(f"{Path(sys.argv[0]).name}: terminated"))


def kiln():
    named = os.environ.get("KILN")
    if not named:
        subprocess.run(["cargo", "build", "--locked"], cwd=ROOT, check=True)
        named = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug/kiln"
    return str(Path(named).absolute())
