"""Which receivers each alert gets, in each combination of channels: asked of amtool, and known here a second time."""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from itertools import product

from common import demand, say
from shipped import CHANNELS, CONFIG, alerts, read, run

DEPRECATED = {"match", "match_re", "source_match", "source_match_re", "target_match", "target_match_re", "mute_time_intervals"}
# Parsed alike by Alertmanagers before and after 0.27, in UTF-8 strict mode, too.
MATCHER = re.compile(r'^[a-zA-Z_]\w* (=|!=|=~|!~) "[^"\\]*"$')


def check():
    good, said = run("amtool", "check-config", CONFIG)
    demand(good and "1 templates" in said, said)
    current(read(CONFIG))
    cases = [({"alertname": "SomethingElse", "severity": "critical"}, ["dashboard"])]
    for rule in alerts():
        labels = {"alertname": rule["alert"], **rule["labels"]}
        for states in [*product(("on", "off"), repeat=len(CHANNELS)), None]:
            channels = dict(zip(CHANNELS, states)) if states else {}
            cases.append((labels | channels, receivers(labels, channels)))
    with ThreadPoolExecutor(os.cpu_count()) as workers:
        for (labels, wanted), (good, said) in zip(cases, workers.map(route, cases)):
            demand(good, f"{labels} should be sent to {wanted}, and is sent to {said}")
    say(f"amtool: {len(cases)} combinations of alert and channels get to their receivers")


def current(config):
    """Nothing that current versions have put aside, and no matcher that they read differently."""

    def walk(part):
        if isinstance(part, dict):
            demand(not DEPRECATED & set(part), f"alertmanager.yml has {DEPRECATED & set(part)}")
            for key, value in part.items():
                if key.endswith("matchers"):
                    wrong = [matcher for matcher in value if not MATCHER.match(matcher)]
                    demand(not wrong, f"alertmanager.yml has matchers that depend on the version: {wrong}")
                walk(value)
        elif isinstance(part, list):
            for item in part:
                walk(item)

    walk(config)


def receivers(labels, channels):
    """As notification_channels and the framework's escalation have it."""
    if labels["alertname"] == "KilnWatchdog":
        return ["dead-man-switch"]
    found = []
    if labels["severity"] in ("warning", "critical"):
        if channels.get("system_log") != "off":
            found.append("system_log")
        if channels.get("email") != "off":
            person = "on-call" if labels["severity"] == "critical" else "team"
            found.append("lead" if labels["alertname"] == "KilnPersonRequiredUnattended" else person)
    return found or ["dashboard"]


def route(case):
    labels, wanted = case
    told = [f"{name}={value}" for name, value in labels.items()]
    return run("amtool", "config", "routes", "test", f"--config.file={CONFIG}", f"--verify.receivers={','.join(wanted)}", *told)
