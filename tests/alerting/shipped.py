"""What is shipped: rules, Alertmanager's configuration, templates, runbooks. Does not know: what is right about them."""

import subprocess
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
ALERTS = ROOT / "alerts"
RULES = ALERTS / "kiln.rules.yml"
RULE_TESTS = sorted((ALERTS / "tests").glob("*.yml"))
CONFIG = ALERTS / "alertmanager.yml"
TEMPLATES = ALERTS / "templates"
RUNBOOKS = ALERTS / "runbooks"
RUNBOOK_URL = "file:///usr/share/kiln/alerts/runbooks/"
CHANNELS = ("system_log", "email", "dashboard")


def read(path):
    return yaml.safe_load(path.read_text())


def rules():
    return [rule for group in read(RULES)["groups"] for rule in group["rules"]]


def alerts():
    return [rule for rule in rules() if "alert" in rule]


def run(*command):
    """What a program answers, and whether it is content."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return done.returncode == 0, done.stdout + done.stderr
